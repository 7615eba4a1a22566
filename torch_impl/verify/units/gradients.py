"""Which of the arrays that a backward leaves behind is the gradient of which weight: by name, by place, by shape."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from torch_impl.verify.units.objects import dotted, walk

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Array = NDArray[Any]
    Path = tuple[Any, ...]

RETURNED = "what backward returned"
_MARK = re.compile(
    r"^(?:gradients?_?(?:wrt_)?|grads?_?(?:wrt_)?|nabla_|del_|g_|dl_d_?|d_l_d_|d_|d(?=\w)|(?-i:g(?=[A-Z])))"
    r"|(?:_?grads?|_?gradients?|_diff)$",
    re.IGNORECASE,
)
_CASES = {"params", "param", "parameters", "data", "value", "values", "_params"}
# What a backward calls the gradient of its input where it keeps it.
_INPUTS = {"x", "input", "inputs", "in", "a_prev", "bottom", "_x"}


def is_number(value: Any) -> bool:
    """Whether this is an array of floats."""
    return isinstance(value, np.ndarray | np.floating) and value.dtype.kind == "f"


def leaves(returned: Any) -> dict[Path, Array]:
    """The float arrays that backward returned, each with the place where it stands."""
    if isinstance(returned, np.ndarray | np.floating):
        return {(RETURNED,): np.asarray(returned)} if is_number(returned) else {}
    if not isinstance(returned, dict | list | tuple):
        return {}
    return {(RETURNED, *path): value for path, value in walk(returned) if is_number(value)}


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
    found: dict[str, Path] = {}
    for name, (array, paths) in weights.items():
        places = [p for p in given if any(is_named_for(p, w) for w in paths)]
        places += [p for p in held if p in fresh and any(is_named_for(p, w) for w in paths)]
        places += [p for p in held if p not in fresh and any(is_named_for(p, w) for w in paths)]
        same = [p for p in places if (given[p] if p in given else held[p]).shape == array.shape]
        if places:
            found[name] = (same or places)[0]
    for path in given:
        found |= {n: path for n in data if n not in found and _base(path[-1]) == n and isinstance(path[-1], str)}
    unnamed = {
        p: a for p, a in given.items() if p == (RETURNED,) or (p not in found.values() and not isinstance(p[-1], str))
    }
    found |= _in_order(
        data, {n: a for n, (a, _) in weights.items() if n not in found | dict.fromkeys(settled)}, unnamed
    )
    if inputs_too and "x" in data and "x" not in found:
        places = [p for p in held if p in fresh and len(p) == 1 and _marked(p[0]) and _base(p[0]) in _INPUTS]
        found |= dict(zip(["x"], places, strict=False))
    rest = {n: a for n, (a, _) in weights.items() if n not in found and n not in settled}
    left = {p: a for p, a in {**given, **{p: held[p] for p in held if p in fresh}}.items() if p not in found.values()}
    return found | _by_shape(rest, left)


def _in_order(data: Mapping[str, Array], weights: Mapping[str, Array], given: Mapping[Path, Array]) -> dict[str, Path]:
    """Arrays that were returned without names: (dx, dW, db), dx alone, or lists that run parallel to the weights'."""
    places = list(given)
    for wanted in ({**data, **weights}, weights, {"x": data["x"], **weights} if "x" in data else {}, data):
        if wanted and [given[p].shape for p in places] == [a.shape for a in wanted.values()]:
            return dict(zip(wanted, places, strict=True))
    found: dict[str, Path] = {}
    if "x" in data and places:
        shape = given[places[0]].shape
        if shape == data["x"].shape or (len(places) == 1 and all(shape != a.shape for a in weights.values())):
            found["x"] = places.pop(0)
    if len(places) == len(weights) > 0:
        shapes = [given[p].shape for p in places]
        if sorted(shapes) != sorted(a.shape for a in weights.values()):  # a shape is wrong: the order still tells
            return found | dict(zip(weights, places, strict=True))
    for prefix in dict.fromkeys(p[:-1] for p in places):  # lists beside lists, in another order
        group = [p for p in places if p[:-1] == prefix]
        kin = [ws for ws in _groups(weights) if [weights[w].shape for w in ws] == [given[p].shape for p in group]]
        kin = [ws for ws in kin if not found.keys() & set(ws)]
        if len(kin) == 1:
            found |= dict(zip(kin[0], group, strict=True))
    return found


def _groups(weights: Mapping[str, Any]) -> list[list[str]]:
    stems = dict.fromkeys(name.rpartition(".")[0] for name in weights)
    return [[n for n in weights if n.rpartition(".")[0] == stem] for stem in stems]


def _by_shape(weights: Mapping[str, Array], left: Mapping[Path, Array]) -> dict[str, Path]:
    """What has a weight's shape, where nothing else has."""
    found = {}
    for name, array in weights.items():
        places = [p for p, a in left.items() if np.shape(a) == array.shape]
        kinds = {np.asarray(left[p]).tobytes() for p in places}
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
    return _marked(part) and _base(part) not in _INPUTS | {"", "out", "output", "y", "z"}


def _marked(part: Any) -> bool:
    return isinstance(part, str) and _MARK.search(part) is not None


def _base(part: Any) -> str:
    """The name of the array whose gradient has this name."""
    word = _MARK.sub("", str(part), count=1).lower().strip("_")
    return re.sub(r"^bias(es)?", "b", re.sub(r"^weights?", "w", word))


def _plain(part: Any) -> str:
    word = str(part).lower().strip("_")
    return re.sub(r"^bias(es)?", "b", re.sub(r"^weights?", "w", word))


def is_named_for(place: Path, weight: Path) -> bool:
    """Whether what lies at ``place`` has the name of the gradient of what lies at ``weight``: grads.W1 of params.W1."""
    wanted = [_plain(k) for k in weight if _plain(k) not in _CASES]
    if place[0] == RETURNED:
        if not any(isinstance(k, str) for k in place[1:]):
            return False
        rest = place[1:]
        variants = [[_plain(k) for k in rest], [_base(k) if _marked(k) else _plain(k) for k in rest]]
        variants += [v[1:] for v in variants if isinstance(rest[0], int)]
    else:
        variants = [
            [_base(k) if j == i else _plain(k) for j, k in enumerate(place)]
            for i in range(len(place))
            if _marked(place[i])
        ]
    return wanted in [[k for k in v if k and k not in _CASES] for v in variants]
