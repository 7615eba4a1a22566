"""Which of the arrays that a backward leaves behind is the gradient of which weight: by name, by place, by shape."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from torch_impl.verify.units.objects import dotted, walk

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from torch_impl.verify.units.objects import Path

    Array = NDArray[Any]

RETURNED = "what backward returned"
_MARK = re.compile(
    r"^(?:gradients?_?(?:wrt_)?|grads?_?(?:wrt_)?|nabla_|del_|g_|dl_d_?|d_l_d_|d_|d(?=\w)|(?-i:g(?=[A-Z])))"
    r"|(?:_?grads?|_?gradients?|_diff)$",
    re.IGNORECASE,
)
_CASES = {"", "params", "param", "parameters", "data", "value", "values"}  # what weights are kept in, by any name
# What a backward calls the gradient of its input where it keeps it.
_INPUTS = {"x", "input", "inputs", "in", "a_prev", "bottom"}


def is_number(value: Any) -> bool:
    """Whether this is an array of floats."""
    return isinstance(value, np.ndarray | np.floating) and value.dtype.kind == "f"


def leaves(returned: Any) -> dict[Path, Array]:
    """The float arrays that backward returned, each with the place where it stands."""
    if not isinstance(returned, np.ndarray | np.floating | dict | list | tuple):
        return {}
    return {(RETURNED, *path): np.asarray(value) for path, value in walk(returned) if is_number(value)}


def matched(
    data: Mapping[str, Array], weights: Mapping[str, tuple[Array, Sequence[Path]]], given: Mapping[Path, Array],
    held: Mapping[Path, Array], fresh: set[Path], settled: set[str], inputs_too: bool,
) -> dict[str, Path]:  # fmt: skip
    """Where the gradient of each input and weight is found.

    ``given`` is what backward returned, ``held`` the arrays that the object holds after it; ``fresh`` is where it
    changed or made one. What is ``settled`` has a gradient by its name or none. With ``inputs_too`` that of the input
    may be an attribute.

    Raises
        ValueError: more than one array may be a weight's gradient
    """
    new = dict(given) | {p: a for p, a in held.items() if p in fresh}
    everything = new | dict(held)
    names = {place: _names_of_the_weight(place) for place in everything}
    found: dict[str, Path] = {}
    for name, (array, paths) in weights.items():
        wanted = {_words(map(_plain, path)) for path in paths}
        places = [p for p in everything if wanted & names[p]]
        same = [p for p in places if everything[p].shape == array.shape]
        if not places:  # a dict beside the weights' with the very same keys
            places = same = [p for p in fresh if _is_beside(p, paths) and everything[p].shape == array.shape]
        if places:
            found[name] = (same or places)[0]
    for path in given:
        found |= {n: path for n in data if n not in found and path[-1:] != (RETURNED,) and _base(path[-1]) == n}
    left = {n: a for n, (a, _) in weights.items() if n not in found and n not in settled}
    unnamed = [p for p in given if p not in found.values() and (p == (RETURNED,) or not isinstance(p[-1], str))]
    found |= _in_order(data, left, {p: given[p] for p in unnamed})
    if inputs_too and "x" in data and "x" not in found:
        places = [p for p in new if len(p) == 1 and _is_marked(p[0]) and _base(p[0]) in _INPUTS]
        found |= dict(zip(["x"], places, strict=False))
    left = {n: a for n, a in left.items() if n not in found}
    return found | _by_shape(left, {p: a for p, a in new.items() if p not in found.values()})


def _is_beside(place: Path, weight: Sequence[Path]) -> bool:
    return any(len(place) == len(w) > 1 and place[-1] == w[-1] and isinstance(place[-1], str) for w in weight)


def _in_order(data: Mapping[str, Array], weights: Mapping[str, Array], given: Mapping[Path, Array]) -> dict[str, Path]:
    """Arrays that were returned without names, in the order of the inputs: (dx, dW, db), dx alone, dW and db alone."""
    everything, shapes = {**data, **weights}, [a.shape for a in given.values()]
    orders = [[*everything], [*weights], [*list(data)[:1], *weights], [*data]]
    orders = [names for names in orders if len(names) == len(shapes)]
    expected = [[everything[n].shape for n in names] for names in orders]
    for names, fitting in zip(orders, expected, strict=True):
        if fitting == shapes:
            return dict(zip(names, given, strict=True))
    for names, fitting in zip(orders, expected, strict=True):
        if sorted(fitting) != sorted(shapes):  # one has a wrong shape: the order still tells
            return dict(zip(names, given, strict=True))
    return {n: p for n, p, shape in zip(data, given, shapes, strict=False) if shape == data[n].shape}


def _by_shape(weights: Mapping[str, Array], left: Mapping[Path, Array]) -> dict[str, Path]:
    """What has a weight's shape, where nothing else has."""
    found = {}
    for name, array in weights.items():
        places = [p for p, a in left.items() if np.shape(a) == array.shape]
        kinds = {left[p].tobytes() for p in places}
        rivals = [n for n, a in weights.items() if a.shape == array.shape]
        if len(kinds) == 1 and len(rivals) == 1:
            found[name] = places[0]
        elif kinds:
            came = " or ".join(repr(dotted(p)) for p in places)
            raise ValueError(
                f"the gradient of {' and of '.join(map(repr, rivals))} may be {came}, of its shape {array.shape}; "
                f"say which: Model(obj, gradients={{{name!r}: {dotted(places[0])!r}}})"
            )
    return found


def is_gradient(part: Any) -> bool:
    """Whether something has the name of a weight's gradient: dW and grad_b, but not dx."""
    return _is_marked(part) and _base(part) not in _INPUTS | {"", "out", "output", "y", "z"}


def is_named_for(place: Path, weight: Path) -> bool:
    """Whether what lies at ``place`` has the name of the gradient of what lies at ``weight``: grads.W1 of params.W1."""
    return _words(map(_plain, weight)) in _names_of_the_weight(place)


def _names_of_the_weight(place: Path) -> set[tuple[str, ...]]:
    """What the weight may be called whose gradient lies at ``place``; what backward returned need not say "d"."""
    returned = place[0] == RETURNED
    keys = place[1:] if returned else place
    if not any(isinstance(key, str) if returned else _is_marked(key) for key in keys):
        return set()
    readings = [(_plain(key), _base(key)) if _is_marked(key) else (_plain(key),) for key in keys]
    names = set(map(_words, itertools.product(*readings)))
    if not returned:
        return names - {_words(map(_plain, keys))}
    return names | ({name[1:] for name in names} if isinstance(keys[0], int) else set())


def _words(path: Iterable[str]) -> tuple[str, ...]:
    return tuple(word for word in path if word not in _CASES)


def _is_marked(part: Any) -> bool:
    return isinstance(part, str) and _MARK.search(part) is not None


def _base(part: Any) -> str:
    """The name of the array whose gradient has this name."""
    return _plain(_MARK.sub("", str(part), count=1))


def _plain(part: Any) -> str:
    word = str(part).lower().strip("_")
    return re.sub(r"^bias(es)?", "b", re.sub(r"^weights?", "w", word))
