"""Arrays that NumPy's functions take for arrays and that compute with torch: a second way to trace a forward.

torch.compile goes through most NumPy code, but not, in 2.x, through ``x.dtype``. These arrays speak NumPy's dispatch protocols
(``__array_ufunc__``, ``__array_function__``; NEP 13 and 18) and hand every call to torch's own NumPy, ``torch._numpy``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch._numpy as tnp


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

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:  # noqa: ARG002
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
        return lambda *args, **kwargs: _wrapped(attribute(*_unwrapped(args), **_unwrapped(kwargs)))

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
