"""What every entry point checks, and the sentences it says: the argument, what came, what was expected."""

from __future__ import annotations

import difflib
import math
import sys
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy import ndarray

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import EllipsisType

    Shape = Sequence[int | str | EllipsisType]

T = TypeVar("T")


def float_array(name: str, x: Any, shape: Shape, dtype: Any = None) -> None:
    """Raise unless ``x`` is a float32 or float64 array (of ``dtype``, if one is given) of this shape.

    ``shape`` holds a number for an axis of known length, a word for one of any length ≥ 1, and ``...`` for any number
    of those: ``("batch", 784)``, ``("batch", ..., "classes")``.

    Raises
        TypeError: not an array, one of a subclass, or of another dtype (nothing is cast silently)
        ValueError: another shape (nothing is broadcast silently)
    """
    if type(x) is ndarray and (x.dtype is dtype or (dtype is None and x.dtype in _FLOATS)):
        # Nearly always all is well, at every layer of every step: so that is found out first.
        found = x.shape
        if found == shape or (found[1:] == shape[1:] and found and found[0] and type(shape[0]) is str):
            return
    if type(x) is not ndarray:
        _array(name, x)
    if dtype is not None and x.dtype != dtype:
        raise TypeError(
            f"{name} has dtype {x.dtype}, expected {np.dtype(dtype).name}; "
            f"convert it with {name}.astype({np.dtype(dtype).name!r})"
        )
    floats(name, x)
    has_shape(name, x, shape)


def floats(name: str, x: Any) -> None:
    """Raise TypeError unless ``x`` is a float32 or float64 array, of whatever shape."""
    if type(x) is not ndarray:
        _array(name, x)
    if x.dtype not in _FLOATS:
        raise TypeError(f"{name} has dtype {x.dtype}, expected float32 or float64")


_FLOATS = (np.dtype(np.float64), np.dtype(np.float32))


def class_array(name: str, y: Any, shape: Shape, n_classes: int | None = None) -> None:
    """Raise unless ``y`` is an integer array of this shape, with classes from 0 to ``n_classes`` − 1 if that is given.

    Raises
        TypeError: not an array, one of a subclass, or not of integers
        ValueError: another shape, or a class out of range
    """
    _array(name, y)
    if y.dtype.kind not in "iu":
        raise TypeError(f"{name} has dtype {y.dtype}, expected integer classes")
    has_shape(name, y, shape)
    if n_classes is not None and (y.min() < 0 or y.max() >= n_classes):
        raise ValueError(f"{name} holds classes from {y.min()} to {y.max()}, expected 0 to {n_classes - 1}")


def _array(name: str, x: Any) -> None:
    # NumPy's protocol, which CuPy's arrays speak too, and torch's tensors do not.
    if isinstance(x, type) or not hasattr(x, "__array_function__"):
        raise TypeError(f"{name} is {_kind(x)}, expected a NumPy array")
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array, expected a NumPy array; convert it with {name}.filled(value)")
    if isinstance(x, np.ndarray) and type(x) not in (np.ndarray, np.memmap):  # such as np.matrix, whose * is another
        raise TypeError(f"{name} is {_kind(x)}, expected a NumPy array; convert it with np.asarray({name})")


def has_shape(name: str, x: Any, shape: Shape) -> None:
    """Raise ValueError unless ``x`` has this shape: see :func:`float_array`."""
    lengths = x.shape
    if lengths == shape or _fits(lengths, shape):
        return
    if ... in shape:
        i, more = shape.index(...), x.ndim - len(shape) + 1
        if more >= 0 and _fits(lengths, (*shape[:i], *["any"] * more, *shape[i + 1 :])):
            return
    comma = "," if len(shape) == 1 else ""
    expected = ", ".join("…" if n is ... else str(n) for n in shape)
    empty = " with at least one row" if 0 in lengths else ""
    raise ValueError(f"{name} has shape {tuple(lengths)}, expected ({expected}{comma}){empty}")


def _fits(lengths: Sequence[int], shape: Shape) -> bool:
    return len(lengths) == len(shape) and all(
        n == want or (n > 0 and isinstance(want, str)) for n, want in zip(lengths, shape, strict=True)
    )


def finite(name: str, x: np.ndarray) -> None:
    """Raise ValueError if ``x`` holds a NaN or an infinity, and say where the first one is."""
    if not np.isfinite(x).all():
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(x))[0])
        raise ValueError(f"{name} holds {x[index]} at index {index}, expected finite numbers")


def choice(name: str, value: str, known: Mapping[str, T]) -> T:
    """The entry of ``known`` called ``value``; else a ValueError that names the nearest one."""
    if isinstance(value, str) and value in known:
        return known[value]
    near = difflib.get_close_matches(str(value), list(known), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"{name} is {said(value)}, expected one of {', '.join(map(repr, known))}{hint}")


def instance(name: str, value: Any, kind: Any, example: str) -> None:
    """Raise TypeError unless ``value`` is an instance of ``kind``; ``example`` says what one looks like."""
    if isinstance(value, type) or not isinstance(value, kind):
        raise TypeError(f"{name} is {_kind(value)}, expected {example}")


def generator(name: str, value: Any) -> None:
    """Raise TypeError unless ``value`` is a NumPy Generator."""
    instance(name, value, np.random.Generator, "a NumPy Generator, as numpy.random.default_rng(seed) makes it")


def flag(name: str, value: Any) -> bool:
    """``value``, if it is True or False: a TypeError else, since the string "no" counts as true."""
    if not isinstance(value, bool | np.bool):
        raise TypeError(f"{name} is {said(value)}, expected True or False")
    return bool(value)


def whole(name: str, value: Any, least: int) -> int:
    """``value`` as Python's int, which cannot overflow; raise unless it is an integer ≥ ``least``."""
    if type(value) is int and value >= least:
        return value  # as the step of a schedule is, at every step
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} is {said(value)}, expected an integer")
    if value < least:
        raise ValueError(f"{name} is {said(value)}, expected at least {least}")
    return int(value)


def number(name: str, value: Any, least: float, below: float = math.inf, *, above: bool = False) -> float:
    """``value`` as Python's float, beside which float32 stays float32; raise unless ``least ≤ value < below``.

    With ``above`` it is ``least < value``. A number is finite.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{name} is {said(value)}, expected a number")
    found: Any = value.item() if isinstance(value, np.generic) else value  # an np.float16 overflows beside the largest
    within = least < found < below if above else least <= found < below
    if not within or abs(found) > sys.float_info.max:
        low = "" if least == -math.inf else f" greater than {least:g}" if above else f" at least {least:g}"
        high = "" if below == math.inf else f" less than {below:g}" if not low else f" and less than {below:g}"
        raise ValueError(f"{name} is {said(value)}, expected a {'' if low or high else 'finite '}number{low}{high}")
    return float(found)


def sequence(name: str, value: Any, example: str, length: int | None = None) -> tuple[Any, ...]:
    """``value`` as a tuple; raise TypeError unless it is a tuple or a list, ValueError if not of this length."""
    instance(name, value, tuple | list, example)
    if length is not None and len(value) != length:
        raise ValueError(f"{name} is {said(value)}, expected {example}")
    return tuple(value)


def float_dtype(dtype: Any) -> np.dtype[Any]:
    """The dtype called so; raise TypeError unless it is float32 or float64."""
    came, found = said(dtype), None
    if isinstance(dtype, str | type | np.dtype):  # to NumPy None is float64 too, and a number names its own dtype
        try:
            found = np.dtype(dtype)
            came = found.name
        except (TypeError, ValueError, SyntaxError):
            pass
    if found is None or found not in _FLOATS:
        raise TypeError(f"dtype is {came}, expected float32 or float64")
    return found


def settle(record: Any, **values: Any) -> None:
    """Give the fields of a frozen record, in its ``__post_init__``, the values that the checks made of them."""
    for name, value in values.items():
        object.__setattr__(record, name, value)


def said(value: Any) -> str:
    """What came, in a line: its repr, cut where it is long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 100 else f"{text[:99]}…"


def _kind(value: Any) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"
