"""Arrays within dicts, lists and tuples, as people hand parameters and caches on: taken out by name and put back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np


def leaves(tree: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """(path, value) of whatever is no dict, list or tuple; "parameters.W1", "layers.0.W"."""
    if depth < 6 and isinstance(tree, Mapping):
        parts: Any = ((key if isinstance(key, str) else f"[{key!r}]", part) for key, part in tree.items())
    elif depth < 6 and isinstance(tree, list | tuple):
        parts = enumerate(tree)
    else:
        yield path, tree
        return
    for key, part in parts:
        yield from leaves(part, f"{path}.{key}" if path else str(key), depth + 1)


def mapped(tree: Any, function: Callable[[str, Any], Any], path: str = "", depth: int = 0) -> Any:
    """The same tree with ``function(path, value)`` in the place of each value."""

    def below(key: Any, part: Any) -> Any:
        return mapped(part, function, f"{path}.{key}" if path else str(key), depth + 1)

    if depth < 6 and isinstance(tree, Mapping):
        named = {k: below(k if isinstance(k, str) else f"[{k!r}]", part) for k, part in tree.items()}
        try:
            return type(tree)(named)  # type: ignore[call-arg]
        except TypeError:  # a mapping that is made in another way
            return named
    if depth < 6 and isinstance(tree, list | tuple):
        parts = [below(i, part) for i, part in enumerate(tree)]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    return function(path, tree)


def is_number(value: Any) -> bool:
    """Whether it may be a gradient: an array, a number, or None for a constant."""
    return value is None or (isinstance(value, np.ndarray | float | int | np.number) and not isinstance(value, bool))


def is_float_array(value: Any) -> bool:
    """Whether it is an array that has a gradient."""
    return isinstance(value, np.ndarray) and np.issubdtype(value.dtype, np.floating)


def is_numeric(value: list[Any]) -> bool:
    """Whether a list, perhaps of lists, holds numbers alone, as many in each: an array written as a list."""
    try:
        return np.array(value).dtype.kind in "fiu"
    except ValueError:  # rows of different lengths
        return False


def as_list(array: Any) -> Any:
    """An array as nested lists; what it holds stays traced if it is."""
    if type(array) is np.ndarray:
        return array.tolist()
    return [as_list(row) for row in array] if array.ndim else array
