"""Where tensors are, and steps captured on a GPU: the twin of scratch/device.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable


def check_device(device: str | torch.device) -> torch.device:
    """The device.

    Raises
        ValueError: no such device, or none on this machine
    """
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


class Captured:
    """A function without arguments or result as a CUDA graph: run once as it is, then captured, then replayed.

    scratch.device.Captured says what such a function may do.
    """

    def __init__(self, function: Callable[[], None]) -> None:
        self.function, self.called = function, False
        self.stream, self.graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
        self.captured = False

    def __call__(self) -> None:
        if self.called and not self.captured:
            with torch.cuda.graph(self.graph, stream=self.stream):
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
