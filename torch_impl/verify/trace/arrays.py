"""Arrays that NumPy's functions take for arrays and that compute with torch: a second way to trace a forward.

torch.compile goes through most NumPy code, but not, in 2.x, through ``x.dtype``. These arrays speak NumPy's dispatch
protocols (``__array_ufunc__``, ``__array_function__``; NEP 13 and 18) and hand every call to torch's own NumPy,
``torch._numpy``.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import torch
import torch._numpy as tnp

if TYPE_CHECKING:
    from collections.abc import Iterator


class TracedArray(np.lib.mixins.NDArrayOperatorsMixin):
    """A tensor that acts as a NumPy array. What it cannot do raises TypeError, and the tracer gives up."""

    __array_priority__ = 1000

    def __init__(self, inner: Any) -> None:
        self.inner = inner  # a torch._numpy array

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        out = kwargs.pop("out", None)
        if method == "reduce":
            name = {"add": "sum", "multiply": "prod", "maximum": "max", "minimum": "min"}[ufunc.__name__]
        elif method == "__call__":
            name = ufunc.__name__
        else:
            raise TypeError(f"{ufunc.__name__}.{method} is not traced")
        made = _wrapped(getattr(tnp, name)(*_unwrapped(inputs), **_unwrapped(kwargs)))
        if out is None:
            return made
        (target,) = out
        if not isinstance(target, TracedArray):
            raise TypeError("a result that depends on the inputs is written into an array that does not")
        target.inner[...] = made.inner.astype(target.inner.dtype)
        return target

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        module = tnp.linalg if function.__module__ == "numpy.linalg" else tnp
        implementation = getattr(module, function.__name__, None)
        if implementation is None:
            raise TypeError(f"numpy.{function.__name__} is not traced")
        return _wrapped(implementation(*_unwrapped(args), **_unwrapped(kwargs)))

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("an array that depends on the inputs is turned into a plain one")

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.inner.dtype.name)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        attribute = getattr(self.inner, name)
        if not callable(attribute):
            return _wrapped(attribute)

        def method(*args: Any, **kwargs: Any) -> Any:
            if name == "astype":
                kwargs.pop("copy", None)
            return _wrapped(attribute(*_unwrapped(args), **_unwrapped(kwargs)))

        return method

    def __getitem__(self, index: Any) -> Any:
        return _wrapped(self.inner[_unwrapped(index)])

    def __setitem__(self, index: Any, value: Any) -> None:
        self.inner[_unwrapped(index)] = _unwrapped(value)

    def __len__(self) -> int:
        return len(self.inner)

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self)))


def traced(tensor: torch.Tensor) -> TracedArray:
    """A NumPy-like array of a tensor."""
    return TracedArray(tnp.ndarray(tensor))


@contextmanager
def traced_creation() -> Iterator[None]:
    """Inside, NumPy makes float arrays that can be filled with traced ones, as in ``out = np.zeros(…); out[i] = …``."""

    def making(fill: float | None) -> Any:
        def make(shape: Any, *args: Any, dtype: Any = float, **_: Any) -> Any:
            value = args[0] if fill is None else fill
            shape = (shape,) if isinstance(shape, int | np.integer) else tuple(int(n) for n in shape)
            if np.dtype(dtype).kind != "f" or isinstance(value, TracedArray):
                return np.broadcast_to(np.asarray(value, dtype), shape).copy()
            return traced(torch.full(shape, float(value), dtype=torch.float64))

        return make

    # Not np.empty: NumPy's own generators fill what it gives them, in C.
    fills = {"zeros": 0.0, "ones": 1.0, "full": None}
    with ExitStack() as stack:
        for name, fill in fills.items():
            stack.enter_context(mock.patch.object(np, name, making(fill)))
        yield


def pad_with_constant(x: Any, pad_width: Any, mode: str = "constant", constant_values: float = 0.0) -> Any:
    """np.pad in words that every tracer understands.

    Raises
        TypeError: a mode other than "constant"
    """
    if mode != "constant":
        raise TypeError(f"np.pad with mode {mode!r} is not traced")
    widths = [pad_width] * x.ndim if isinstance(pad_width, int) else list(pad_width)
    pairs = [(w, w) if isinstance(w, int) else tuple(w) for w in widths]
    pairs = pairs * x.ndim if len(pairs) == 1 else pairs
    out = np.full([before + n + after for n, (before, after) in zip(x.shape, pairs)], constant_values, dtype="float64")  # noqa: B905
    out[tuple(slice(before, before + n) for n, (before, _) in zip(x.shape, pairs))] = x  # noqa: B905
    return out


def tensor_of(array: Any) -> torch.Tensor:
    """The tensor of what came out.

    Raises
        TypeError: it does not depend on the inputs
    """
    if not isinstance(array, TracedArray):
        raise TypeError(f"an output of the forward is a {type(array).__name__} that does not depend on its arrays")
    return array.inner.tensor


def _wrapped(value: Any) -> Any:
    if isinstance(value, tnp.ndarray):
        return TracedArray(value)
    if isinstance(value, tuple | list):
        return type(value)(_wrapped(v) for v in value)
    return value


def _unwrapped(value: Any) -> Any:
    if isinstance(value, TracedArray):
        return value.inner
    if isinstance(value, np.ndarray | np.bool_ | np.number):
        return tnp.ndarray(torch.as_tensor(np.array(value)))
    if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic)):
        return np.dtype(value).name
    if isinstance(value, tuple | list):
        return type(value)(_unwrapped(v) for v in value)
    if isinstance(value, dict):
        return {k: _unwrapped(v) for k, v in value.items()}
    return value
