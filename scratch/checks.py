"""What every entry point checks, and the sentences it says: the argument, what came, what was expected."""

from __future__ import annotations

import difflib
import math
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

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
        TypeError: not an array, or of another dtype (nothing is cast silently)
        ValueError: another shape (nothing is broadcast silently)
    """
    _array(name, x)
    if dtype is not None and x.dtype != dtype:
        raise TypeError(
            f"{name} has dtype {x.dtype}, expected {np.dtype(dtype).name}; "
            f"convert it with {name}.astype({np.dtype(dtype).name!r})"
        )
    if x.dtype.char not in "fd":
        raise TypeError(f"{name} has dtype {x.dtype}, expected float32 or float64")
    has_shape(name, x, shape)


def class_array(name: str, y: Any, shape: Shape, n_classes: int | None = None) -> None:
    """Raise unless ``y`` is an integer array of this shape, with classes from 0 to ``n_classes`` − 1 if that is given.

    Raises
        TypeError: not an array, or not of integers
        ValueError: another shape, or a class out of range
    """
    _array(name, y)
    if not np.issubdtype(y.dtype, np.integer):
        raise TypeError(f"{name} has dtype {y.dtype}, expected integer classes")
    has_shape(name, y, shape)
    if n_classes is not None and (y.min() < 0 or y.max() >= n_classes):
        raise ValueError(f"{name} holds classes from {y.min()} to {y.max()}, expected 0 to {n_classes - 1}")


def _array(name: str, x: Any) -> None:
    # NumPy's protocol, which CuPy's arrays speak too, and torch's tensors do not.
    if not hasattr(x, "__array_function__"):
        raise TypeError(f"{name} is a {type(x).__name__}, expected a NumPy array")


def has_shape(name: str, x: Any, shape: Shape) -> None:
    """Raise ValueError unless ``x`` has this shape: see :func:`float_array`."""
    if not _fits(x.shape, shape):
        if ... in shape:
            i, more = shape.index(...), x.ndim - len(shape) + 1
            if more >= 0 and _fits(x.shape, (*shape[:i], *["any"] * more, *shape[i + 1 :])):
                return
        comma = "," if len(shape) == 1 else ""
        said = ", ".join("…" if n is ... else str(n) for n in shape)
        raise ValueError(
            f"{name} has shape {tuple(x.shape)}, expected ({said}{comma})"
            + (" with at least one row" if 0 in x.shape else "")
        )


def _fits(lengths: Sequence[int], shape: Shape) -> bool:
    fits = len(lengths) == len(shape)
    for n, want in zip(lengths, shape, strict=False):  # a plain loop: this runs at every layer of every step
        if n != want and (n == 0 or not isinstance(want, str)):
            fits = False
    return fits


def finite(name: str, x: np.ndarray) -> None:
    """Raise ValueError if ``x`` holds a NaN or an infinity, and say where the first one is."""
    if not np.isfinite(x).all():
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(x))[0])
        raise ValueError(f"{name} holds {x[index]} at index {index}, expected finite numbers")


def choice(name: str, value: str, known: Mapping[str, T]) -> T:
    """The entry of ``known`` called ``value``; else a ValueError that names the nearest one."""
    if value in known:
        return known[value]
    near = difflib.get_close_matches(str(value), list(known), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"{name} is {value!r}, expected one of {', '.join(map(repr, known))}{hint}")


def instance(name: str, value: Any, kind: Any, example: str) -> None:
    """Raise TypeError unless ``value`` is an instance of ``kind``; ``example`` says what one looks like."""
    if isinstance(value, type) or not isinstance(value, kind):
        came = f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"
        raise TypeError(f"{name} is {came}, expected {example}")


def whole(name: str, value: Any, least: int) -> None:
    """Raise unless ``value`` is an integer ≥ ``least``."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} is {value!r}, expected an integer")
    if value < least:
        raise ValueError(f"{name} is {value}, expected at least {least}")


def number(name: str, value: Any, least: float, below: float = math.inf, *, above: bool = False) -> None:
    """Raise unless ``least ≤ value < below`` (``least < value`` with ``above``)."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{name} is {value!r}, expected a number")
    if not (least < value < below if above else least <= value < below):
        low = f"greater than {least:g}" if above else f"at least {least:g}"
        high = "" if below == math.inf else f" and less than {below:g}"
        raise ValueError(f"{name} is {value!r}, expected a number {low}{high}")
