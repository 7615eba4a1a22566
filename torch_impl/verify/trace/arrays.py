"""Arrays that are NumPy's for the code under test, and that compute with torch: so that its forward can be traced.

They speak NumPy's dispatch protocols (``__array_ufunc__``, ``__array_function__``; NEP 13 and 18) and hand every call
to torch's own NumPy, ``torch._numpy``.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch._numpy as tnp

from torch_impl.verify.trace.functions import FUNCTIONS
from torch_impl.verify.trace.isolation import replaced
from torch_impl.verify.trace.recording import TraceError, record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from torch_impl.verify.trace.recording import Recording
    from torch_impl.verify.trace.tape import Tape

_REDUCED = {"add": "sum", "multiply": "prod", "maximum": "max", "minimum": "min"}
_REDUCED |= {"logical_and": "all", "logical_or": "any"}
_ACCUMULATED = {"add": "cumsum", "multiply": "cumprod"}
# What of an array is read as NumPy has it.
_PLAIN = frozenset(
    {"shape", "ndim", "size", "dtype", "itemsize", "nbytes", "flags", "strides", "base"}
    | {"inner", "recording", "parent"}
)


class TracedArray(np.ndarray):
    """An array with ``inner``, the torch._numpy array that it stands for.

    Its own memory holds NaN, so that what reads it behind our back shows; integers and booleans have their values. An
    array without ``inner`` is as NumPy made it, and becomes traced when something traced is written into it.
    """

    inner: Any = None
    recording: Recording
    parent: tuple[TracedArray, Any] | None = None  # of a view, and its index

    @classmethod
    def of(cls, inner: Any, recording: Recording) -> TracedArray:
        """The array that stands for ``inner``."""
        dtype = np.dtype(inner.dtype.name)
        if dtype.kind == "f":
            memory = np.broadcast_to(np.array(np.nan, dtype), inner.shape)
        else:
            memory = recording.look(inner.tensor).numpy()
        made = memory.view(cls)
        made.inner, made.recording = inner, recording
        return made

    @classmethod
    def to_fill(cls, array: np.ndarray, recording: Recording) -> TracedArray:
        """An array that something traced may be written into."""
        made = array.view(cls)
        made.recording = recording
        return made

    def __array_finalize__(self, of: Any) -> None:
        self.recording = getattr(of, "recording", None)  # type: ignore[assignment]
        inner = getattr(of, "inner", None)
        if inner is not None and self.size == of.size:  # a copy or view that NumPy made in C, of the same elements
            self.inner = inner.reshape(self.shape).copy()

    def __getattribute__(self, name: str) -> Any:
        get = object.__getattribute__
        if name.startswith("__") or name in _PLAIN or name in _OWN or (inner := get(self, "inner")) is None:
            return get(self, name)
        attribute = getattr(inner, name, None)
        if attribute is None:
            raise TypeError(f"the attribute {name} of an array is not traced")
        if not callable(attribute):
            return _wrapped(attribute, get(self, "recording"))
        return lambda *args, **kwargs: _called(attribute, get(self, "recording"), args, kwargs)

    # --- NumPy's protocols --------------------------------------------------------------------------------------------

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        out = kwargs.pop("out", None)
        if not any(isinstance(a, TracedArray) and a.inner is not None for a in (*inputs, *(out or ()))):
            plain = [np.asarray(a) if isinstance(a, TracedArray) else a for a in inputs]
            target = {} if out is None else {"out": tuple(_memory(o) for o in out)}
            made = getattr(ufunc, method)(*plain, **kwargs, **target)
            return made if out is None else out[0]
        recording = next(a.recording for a in (*inputs, *(out or ())) if isinstance(a, TracedArray))
        name = ufunc.__name__
        if method == "at":
            return _at(name, *inputs)
        table = {"__call__": {name: name}, "reduce": _REDUCED, "accumulate": _ACCUMULATED, "outer": {name: "outer"}}
        name = table.get(method, {}).get(name, "")
        function = FUNCTIONS.get(name) or getattr(tnp, name, None)
        if function is None:
            raise TypeError(f"{ufunc.__name__}.{method} is not traced")
        if method == "accumulate" and len(inputs) + len(kwargs) == 1:
            kwargs["axis"] = 0
        where = kwargs.pop("where", True)
        made = _called(function, recording, inputs, kwargs)
        if out is None:
            return made
        (target,) = out
        target[...] = made if where is True else np.where(where, made, target)
        return target

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        name = function.__name__
        if not _floats_in((args, kwargs)):  # of masks and indices alone, or of nothing traced yet
            return function(*_plain(args), **_plain(kwargs))
        linear = function.__module__ == "numpy.linalg"
        found = getattr(tnp.linalg, name, None) if linear else FUNCTIONS.get(name) or getattr(tnp, name, None)
        if found is None:
            raise TypeError(f"numpy.{name} is not traced")
        return _called(found, self.recording, args, kwargs)

    def __getitem__(self, index: Any) -> Any:
        if self.inner is None:
            if _floats_in(index):
                raise TypeError("an index that is a float")
            made = super().__getitem__(_plain(index))
            if isinstance(made, TracedArray):
                made.parent = (self, _plain(index))
            return made
        if isinstance(index, (int, slice)):
            return TracedArray.of(self.inner[index], self.recording)
        return _wrapped(self.inner[_unwrapped(index)], self.recording)

    def __setitem__(self, index: Any, value: Any) -> None:
        if self.inner is None and not _floats_in(value):
            super().__setitem__(_plain(index), _plain(value))
            return
        self.promote()
        self.inner[_unwrapped(index)] = _unwrapped(value)
        if self.dtype.kind != "f":
            super().__setitem__(_plain(index), _plain(value))

    def promote(self) -> None:
        """Be traced from here on."""
        if self.inner is None:
            if self.parent is None:
                made = torch.tensor(_memory(self))
                self.inner = tnp.ndarray(made.clone())  # a write into what torch.tensor makes would get lost
            else:
                owner, index = self.parent
                owner.promote()
                self.inner = owner.inner[_unwrapped(index)]

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        return bool(_memory(self)) if self.inner is None or self.dtype.kind != "f" else bool(self.inner)

    def __float__(self) -> float:
        return float(_memory(self)) if self.inner is None else float(self.inner.tensor)

    def __int__(self) -> int:
        return int(_memory(self)) if self.inner is None else int(self.inner.tensor)

    def item(self, *index: Any) -> Any:
        """The number that it holds, which stays traced."""
        return _memory(self).item(*index) if self.inner is None else self.reshape(-1)[index[0] if index else 0]

    def astype(self, dtype: Any, *_: Any, **__: Any) -> Any:
        """Of another dtype."""
        if self.inner is None:
            return super().astype(dtype)
        return _wrapped(self.inner.astype(np.dtype(dtype).name), self.recording)

    def copy(self, *_: Any) -> Any:
        """An array of its own."""
        if self.inner is None:
            return TracedArray.to_fill(np.array(_memory(self)), self.recording)
        return TracedArray.of(self.inner.copy(), self.recording)

    def __copy__(self) -> Any:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> Any:
        return self.copy()

    def __repr__(self) -> str:
        return f"array of shape {self.shape}"

    __str__ = __repr__
    __hash__ = None

    def __format__(self, spec: str) -> str:
        return format(float(self), spec) if self.size == 1 else repr(self)


_OWN = frozenset(name for name in vars(TracedArray) if callable(getattr(TracedArray, name)))


def trace(function: Callable[[dict[str, Any]], Any], inputs: Mapping[str, Any]) -> Tape:
    """The tape of a NumPy function of ``inputs`` by name, arrays and others, that returns a tuple of outputs.

    Raises
        TraceError: it cannot be traced; the text says why
    """
    arrays = {name: value for name, value in inputs.items() if isinstance(value, np.ndarray)}
    rest = {name: value for name, value in inputs.items() if name not in arrays}

    def run(recording: Recording, tensors: dict[str, torch.Tensor]) -> list[Any]:
        given = {
            name: TracedArray.of(tnp.ndarray(t), recording) if t.is_floating_point() else np.array(arrays[name])
            for name, t in tensors.items()
        }
        with creating(recording):
            outputs = function(rest | given)
        for output in outputs:
            if isinstance(output, TracedArray):
                output.promote()
        return [o.inner.tensor if isinstance(o, TracedArray) else o for o in outputs]

    try:
        return record(run, arrays)
    except TraceError:
        raise
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise TraceError(reason) from error


@contextmanager
def creating(recording: Recording) -> Iterator[None]:
    """Inside, NumPy makes float arrays that can be filled with traced ones, as in ``out = np.zeros(…); out[i] = …``."""

    def making(original: Callable[..., Any]) -> Callable[..., Any]:
        def make(*args: Any, **kwargs: Any) -> Any:
            if _floats_in((args, kwargs)):
                return original(*args, **kwargs)
            made = original(*_plain(args), **_plain(kwargs))
            return TracedArray.to_fill(made, recording) if made.dtype.kind == "f" else made

        return make

    def converting(original: Callable[..., Any], copies: bool) -> Callable[..., Any]:
        def convert(a: Any, dtype: Any = None, *args: Any, **kwargs: Any) -> Any:
            if not _floats_in(a):
                made = original(_plain(a), dtype, *args, **_plain(kwargs))
                return TracedArray.to_fill(made, recording) if made.dtype.kind == "f" and copies else made
            if not isinstance(a, TracedArray):
                a = _stacked(a)
            a = a if dtype is None or np.dtype(dtype) == a.dtype else a.astype(dtype)
            a = a.reshape((1,) * (kwargs.get("ndmin", 0) - a.ndim) + a.shape) if kwargs.get("ndmin", 0) > a.ndim else a
            return a.copy() if copies and kwargs.get("copy", True) else a

        return convert

    functions = {name: making(getattr(np, name)) for name in _MAKING}
    functions |= {name: converting(getattr(np, name), name == "array") for name in _CONVERTING}
    with replaced(np, functions):
        yield


_MAKING = ("zeros", "ones", "full", "empty", "zeros_like", "ones_like", "full_like", "empty_like", "eye")
_CONVERTING = ("array", "asarray", "asanyarray", "ascontiguousarray", "asfortranarray")


def _memory(array: np.ndarray) -> np.ndarray:
    """What NumPy holds of it."""
    return np.ndarray.view(array, np.ndarray)


# --- between the two worlds -------------------------------------------------------------------------------------------


def _called(function: Callable[..., Any], recording: Recording, args: Any, kwargs: Any) -> Any:
    return _wrapped(function(*_unwrapped(args), **_unwrapped(kwargs)), recording)


def _wrapped(value: Any, recording: Recording) -> Any:
    if isinstance(value, tnp.ndarray):
        return TracedArray.of(value, recording)
    if isinstance(value, tuple | list):
        return type(value)(_wrapped(v, recording) for v in value)
    return value


def _unwrapped(value: Any) -> Any:
    """For torch._numpy."""
    if isinstance(value, TracedArray) and value.inner is not None:
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


def _plain(value: Any) -> Any:
    """For NumPy: masks and indices with their values, arrays to fill as they are."""
    if isinstance(value, TracedArray):
        return _memory(value)
    if isinstance(value, tuple | list):
        return type(value)(_plain(v) for v in value)
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return value


def _floats_in(value: Any) -> bool:
    """Whether there is a traced float in it."""
    if isinstance(value, TracedArray):
        return value.inner is not None and value.dtype.kind == "f"
    if isinstance(value, tuple | list):
        return any(map(_floats_in, value))
    return isinstance(value, dict) and any(map(_floats_in, value.values()))


def _stacked(parts: Any) -> Any:
    """What np.array makes of a list."""
    if isinstance(parts, tuple | list):
        return np.stack([_stacked(part) for part in parts])
    return parts if isinstance(parts, np.ndarray) else np.float64(parts)


def _at(name: str, target: Any, index: Any, *values: Any) -> None:
    if name != "add":
        raise TypeError(f"{name}.at is not traced")
    target.promote()
    indices = index if isinstance(index, tuple) else (index,)
    where = [torch.as_tensor(np.asarray(_plain(i))) for i in indices]
    value = _unwrapped(values[0])
    value = value.tensor if isinstance(value, tnp.ndarray) else torch.as_tensor(value, dtype=target.inner.tensor.dtype)
    target.inner.tensor.index_put_(where, value, accumulate=True)
