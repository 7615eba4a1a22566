"""What an object holds: every array that can be reached from it, how to set one, and how to put everything back."""

from __future__ import annotations

import io
from collections import deque
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Path = tuple[Any, ...]

DEPTH = 12  # attributes, keys and indices on the way to an array
_CODE = (ModuleType, type, FunctionType, BuiltinFunctionType, staticmethod, classmethod, property)
_CLOSED = (
    np.ndarray, np.generic, str, bytes, int, float, complex, type(None), np.random.Generator, np.random.RandomState,
    io.IOBase, *_CODE,
)  # fmt: skip


def contents(thing: Any, root: bool = False) -> dict[Any, Any] | None:
    """What a container holds by key: a dict's items, a list's elements, an object's attributes; None for other things.

    Arrays of its class are an object's attributes too.

    A module or a class counts as a container where it is the ``root`` alone, without its functions and imports.
    """
    if isinstance(thing, dict):
        return dict(thing)
    if isinstance(thing, list | tuple | deque):
        return dict(enumerate(thing))
    if isinstance(thing, np.ndarray) and thing.dtype == object:
        return dict(enumerate(thing.flat))
    if isinstance(thing, MethodType):
        return {"__self__": thing.__self__}
    if root and isinstance(thing, ModuleType | type):
        return {n: v for n, v in vars(thing).items() if not n.startswith("__") and not isinstance(v, _CODE)}
    if isinstance(thing, _CLOSED):
        return None
    state = object.__getstate__(thing)  # the attributes; with __slots__, a pair of them and what is in the slots
    parts = state if isinstance(state, tuple) else (state,)
    shared = {n: v for c in type(thing).__mro__ for n, v in vars(c).items() if isinstance(v, np.ndarray)}
    return shared | {name: value for part in reversed(parts) for name, value in (part or {}).items()}


def walk(root: Any) -> Iterator[tuple[Path, Any]]:
    """Everything that can be reached, by the keys that lead there, nearest first; a container's insides once."""
    queue: deque[tuple[Path, Any]] = deque([((), root)])
    entered: set[int] = set()
    while queue:
        path, thing = queue.popleft()
        yield path, thing
        if id(thing) not in entered and len(path) < DEPTH:
            entered.add(id(thing))
            queue.extend(((*path, k), v) for k, v in (contents(thing, not path) or {}).items())


def reach(thing: Any, path: Path) -> Any:
    """What lies at a path.

    Raises
        KeyError: nothing does
    """
    for i, key in enumerate(path):
        held = contents(thing, root=i == 0) or {}
        thing = held[key] if key in held else getattr(thing, str(key), None)
        if thing is None:
            raise KeyError(dotted(path))
    return thing


def put(root: Any, path: Path, value: Any) -> None:
    """Set what lies at a path; a tuple on the way is replaced by one that holds the value."""
    owner = reach(root, path[:-1])
    if isinstance(owner, tuple):
        put(root, path[:-1], tuple(value if i == path[-1] else v for i, v in enumerate(owner)))
    else:
        _assign(owner, path[-1], value)


def _assign(owner: Any, key: Any, value: Any) -> None:
    if isinstance(owner, dict | list | deque):
        owner[key] = value
    elif isinstance(owner, np.ndarray):
        owner.flat[key] = value
    elif isinstance(owner, type):
        setattr(owner, key, value)
    elif key in getattr(owner, "__dict__", {}):  # past properties and frozen dataclasses
        owner.__dict__[key] = value
    else:
        object.__setattr__(owner, key, value)


def dotted(path: Sequence[Any]) -> str:
    """A path as it is written: attributes, indices and keys with dots between them."""
    return ".".join(map(str, path))


class Snapshot:
    """What some objects hold at one moment: the insides of containers, numbers of arrays, the places of generators."""

    def __init__(self, roots: Sequence[Any]) -> None:
        things = {id(thing): (thing, not path) for root in roots for path, thing in walk(root)}
        self.containers = [(t, held) for t, top in things.values() if (held := contents(t, top)) is not None]
        arrays = [t for t, _ in things.values() if isinstance(t, np.ndarray) and t.dtype != object]
        self.arrays = [(a, a.copy()) for a in arrays if a.flags.writeable]
        self.generators = [(t, t.bit_generator.state) for t, _ in things.values() if isinstance(t, np.random.Generator)]
        self.old_generators = [(t, t.get_state()) for t, _ in things.values() if isinstance(t, np.random.RandomState)]

    def restore(self) -> None:
        """Put everything back as it was, into the same containers and the same arrays."""
        for array, numbers in self.arrays:
            if not np.array_equal(array, numbers):
                array[...] = numbers
        for generator, state in self.generators:
            generator.bit_generator.state = state
        for old_generator, old_state in self.old_generators:
            old_generator.set_state(old_state)
        for thing, held in self.containers:
            _put_back(thing, held)


def _put_back(thing: Any, held: dict[Any, Any]) -> None:
    now = contents(thing, root=True) or {}
    if list(now) == list(held) and all(now[k] is v for k, v in held.items()):
        return
    if isinstance(thing, dict):
        thing.clear()
        thing.update(held)
    elif isinstance(thing, list | deque):
        thing.clear()
        thing.extend(held.values())
    else:
        for key in now:
            old = held.get(key)
            hides_the_class = isinstance(old, np.ndarray) and old is getattr(type(thing), key, None) is not now[key]
            if key not in held or hides_the_class:
                delattr(thing, key)
        for key, value in held.items():
            if getattr(thing, key, None) is not value:  # what the class holds need not be set
                _assign(thing, key, value)
