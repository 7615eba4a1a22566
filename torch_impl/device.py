"""Where tensors are, and steps captured on a GPU: the twin of scratch/device.py."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import torch

from scratch import checks
from scratch.device import TURN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scratch.device import Precision


def check_device(device: str | torch.device) -> torch.device:
    """The device.

    Raises
        TypeError: no name of one
        ValueError: no such device, or none on this machine
    """
    checks.instance("device", device, str | torch.device, "'cpu', 'cuda' or 'cuda:N'")
    try:
        parsed = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device is {device!r}, expected 'cpu', 'cuda' or 'cuda:N'") from error
    gpus = torch.cuda.device_count()
    if parsed.type == "cuda" and (parsed.index or 0) >= gpus:
        raise ValueError(f"device is {str(device)!r}, but torch finds {gpus or 'no'} CUDA GPUs here; expected 'cpu'")
    if parsed.type not in ("cpu", "cuda"):
        raise ValueError(f"device is {str(device)!r}, expected 'cpu', 'cuda' or 'cuda:N'")
    return parsed


@contextmanager
def computing(device: torch.device, precision: Precision = "float32") -> Iterator[None]:
    """Compute on the device with float32 matrix products in this precision; on a GPU, when it is this thread's turn."""
    if device.type == "cpu":
        yield
        return
    with TURN, ExitStack() as stack:
        if precision == "tf32":
            stack.callback(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision())
            torch.set_float32_matmul_precision("high")
        if precision == "bf16":
            # A cache of rounded weights would outlive the step that a graph replays.
            stack.enter_context(torch.autocast(device.type, torch.bfloat16, cache_enabled=False))
        yield


class Captured:
    """A function without arguments or result as a CUDA graph: run once as it is, then captured, then replayed.

    scratch.device.Captured says what such a function may do. A generator that it draws from is named here, and draws
    anew whenever the graph is replayed.
    """

    def __init__(self, function: Callable[[], None], generator: torch.Generator | None = None) -> None:
        self.function, self.called = function, False
        self.stream, self.graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
        self.captured = False
        if generator is not None:
            self.graph.register_generator_state(generator)

    def __call__(self) -> None:
        if self.called and not self.captured:
            # What other threads ask of the GPU meanwhile, such as memory, is no error.
            with torch.cuda.graph(self.graph, stream=self.stream, capture_error_mode="thread_local"):
                self.function()
            self.captured = True
        if self.captured:
            self.graph.replay()
            return
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):  # autograd remembers the stream of a warm-up
            self.function()
        torch.cuda.current_stream().wait_stream(self.stream)
        self.called = True
