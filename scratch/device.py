"""Where arrays are: NumPy's on the CPU, CuPy's on a CUDA GPU. The only file that names cupy.

The rest of scratch is written in calls that either kind of array answers (``np.exp``, ``x.dot``, ``np.zeros_like``), so
where its parameters are is where it computes.
"""

from __future__ import annotations

import importlib
import threading
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from scratch import checks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from numpy.typing import DTypeLike, NDArray

    Array = NDArray[Any]  # NumPy's, or CuPy's, whose arrays answer the same calls

Precision = Literal["float32", "tf32", "bf16"]

# Held while a training computes on a GPU, scratch's or torch's, a step or an epoch at a time: the precision of products
# and the capturing of a graph concern the whole process, so its trainings take turns there.
TURN = threading.RLock()


def check_device(device: str) -> str:
    """The device, if scratch can compute there: "cpu", "cuda" or "cuda:N".

    Raises
        ValueError: no such device, none on this machine, or no CuPy to use it
    """
    kind, _, number = str(device).partition(":")
    if device != "cpu" and (kind != "cuda" or not (number.isdigit() or device == "cuda")):
        raise ValueError(f"device is {str(device)!r}, expected 'cpu', 'cuda' or 'cuda:N'")
    if kind == "cuda":
        gpus = _count()
        if gpus is None:
            raise ValueError(
                f"device is {str(device)!r}, for which scratch needs CuPy; install it with "
                "pip install -e '.[cuda]' (or cupy-cuda12x, beside a torch for CUDA 12), or take device 'cpu'"
            )
        if int(number or 0) >= gpus:
            raise ValueError(f"device is {str(device)!r}, but CuPy finds {gpus or 'no'} CUDA GPUs here; expected 'cpu'")
    return str(device)


def check_precision(precision: str, device: str, dtype: Any) -> None:
    """Raise ValueError unless matrix products can be had in this precision."""
    checks.choice("precision", precision, dict.fromkeys(get_args(Precision)))
    if precision != "float32" and (device == "cpu" or dtype != np.float32):
        raise ValueError(
            f"precision is {precision!r} with {np.dtype(dtype).name} on {device}, expected 'float32' "
            "(tf32 and bf16 are for float32 on a GPU)"
        )


def is_available() -> bool:
    """Whether scratch can compute on a GPU here."""
    return bool(_count())


def device_of(a: Any) -> str:
    """The device that an array is on."""
    return "cpu" if isinstance(a, np.ndarray) else f"cuda:{a.device.id}"


def zeros(n: int, dtype: DTypeLike, device: str) -> Array:
    """A vector of zeros."""
    if device == "cpu":
        return np.zeros(n, dtype)
    with _on(device):
        return _cupy().zeros(n, dtype)


def to_device(a: Any, device: str) -> Array:
    """``a`` itself if it is on the device, else a copy there."""
    if device == "cpu":
        return a if isinstance(a, np.ndarray) else _cupy().asnumpy(a)
    with _on(device):
        return _cupy().asarray(a)


def add_at(a: Array, rows: Array, values: Array) -> None:
    """``a[rows] += values``, where a row that is named twice gets both."""
    (np if isinstance(a, np.ndarray) else _cupy()).add.at(a, rows, values)


def bytes_held() -> int:
    """The GPU memory that CuPy has taken and not given back."""
    return int(_cupy().get_default_memory_pool().total_bytes())


@contextmanager
def computing(device: str, precision: Precision) -> Iterator[None]:
    """Compute on the device, on a stream of its own, with float32 matrix products in this precision.

    ``tf32`` and ``bf16`` round the factors to 10 and 7 bits and sum in float32. The CPU knows only float32. On a GPU
    other threads wait for their turn.
    """
    if device == "cpu":
        yield
        return
    products = importlib.import_module("cupy._core._routines_linalg")
    name = {"float32": "COMPUTE_TYPE_FP32", "tf32": "COMPUTE_TYPE_TF32", "bf16": "COMPUTE_TYPE_BF16"}[precision]
    with TURN, _on(device), _cupy().cuda.Stream(non_blocking=True) as stream:
        before = products.get_compute_type(np.float32)
        _cupy().cuda.Stream.null.synchronize()  # where the arrays were made; this stream would not wait for it
        products.set_compute_type(np.float32, getattr(products, name))
        try:
            yield
        finally:
            products.set_compute_type(np.float32, before)
            stream.synchronize()


class Captured:
    """A function without arguments or result, captured as a CUDA graph: its launches are then one launch.

    The first call runs it as it is, which loads what it needs; the second captures it; the later ones replay it.
    Arrays that it makes are made once and used again, so it may keep none, and everything that changes from call to
    call it must read from arrays. On the CPU it is called each time.
    """

    def __init__(self, function: Callable[[], None], device: str) -> None:
        self.function, self.device, self.called = function, device, False
        self.graph: Any = None
        self.memory: Any = None  # of the arrays that it makes; nobody else may get it while the graph is there

    def __call__(self) -> None:
        if self.device != "cpu" and self.called:
            if self.graph is None:
                self._capture()
            self.graph.launch()
            return
        self.function()
        self.called = True

    def _capture(self) -> None:
        cupy = _cupy()
        stream, self.memory = cupy.cuda.get_current_stream(), cupy.cuda.MemoryPool()
        with cupy.cuda.using_allocator(self.memory.malloc):
            stream.begin_capture()
            try:
                self.function()
            finally:
                self.graph = stream.end_capture()


def _cupy() -> Any:
    return importlib.import_module("cupy")


def _count() -> int | None:
    """The CUDA GPUs that CuPy finds; None without CuPy."""
    try:
        cupy = _cupy()
    except ImportError:
        return None
    try:
        return int(cupy.cuda.runtime.getDeviceCount())
    except cupy.cuda.runtime.CUDARuntimeError:  # no driver
        return 0


def _on(device: str) -> AbstractContextManager[Any]:
    """CuPy's current device within it."""
    number = device.partition(":")[2]
    return _cupy().cuda.Device(int(number)) if number else nullcontext()
