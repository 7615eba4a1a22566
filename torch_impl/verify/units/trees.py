"""Arrays within dicts, lists and tuples, as people hand parameters and caches on: taken out by name and put back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np


def leaves(tree: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """(path, value) of whatever is no dict, list or tuple; "parameters.W1", "layers.0.W"."""
    if depth < 6 and isinstance(tree, Mapping):
        parts: Any = tree.items()
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
        try:
            return type(tree)({key: below(key, part) for key, part in tree.items()})  # type: ignore[call-arg]
        except TypeError:  # a mapping that is made in another way
            return {key: below(key, part) for key, part in tree.items()}
    if depth < 6 and isinstance(tree, list | tuple):
        parts = [below(i, part) for i, part in enumerate(tree)]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    return function(path, tree)


def is_float_array(value: Any) -> bool:
    """Whether it is an array that has a gradient."""
    return isinstance(value, np.ndarray) and np.issubdtype(value.dtype, np.floating)
