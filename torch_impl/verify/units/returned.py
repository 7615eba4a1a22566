"""Whose gradients a backward returned: told by keys, by the order of the inputs, by shapes."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from torch_impl.verify.units import roles
from torch_impl.verify.units.trees import is_float_array, is_number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


def assigned(
    parts: dict[str, Any], candidates: dict[str, Any], targets: tuple[str, ...]
) -> Iterator[tuple[dict[str, str], tuple[str, ...], int]]:
    """The inputs of the gradients that backward returned, what belongs to none, how many shapes fit; the best first.

    A dict says it by its keys ("w" or "dw"). Else they come in the order of the inputs, of which those may be left out
    that have no gradient, such as targets; or in another order, where shapes tell.
    """
    parts = {path: value for path, value in parts.items() if is_number(value)}

    def fits(path: str, name: str) -> bool:
        return parts[path] is None or np.shape(parts[path]) == np.shape(candidates[name])

    named: dict[str, str] = {}
    for path in parts:
        name = None if is_place(path) else _meant(path, candidates)
        if name is not None and name not in named.values():
            named[path] = name
    paths = [path for path in parts if is_place(path)]
    left = {name: v for name, v in candidates.items() if name not in named.values()}
    last = targets_among(left, targets) | {n for n, v in left.items() if not is_float_array(v)}

    def cost(pairs: list[tuple[str, str]]) -> tuple[int, int]:
        return -sum(fits(*pair) for pair in pairs), sum(n in last for _, n in pairs)

    for pairs in sorted(_alignments(paths, list(left), fits), key=cost):
        found = named | dict(pairs)
        others = tuple(path for path in parts if path not in found)
        yield found, others, sum(fits(path, name) for path, name in found.items())


def targets_among(candidates: Mapping[str, Any], targets: tuple[str, ...]) -> set[str]:
    """The inputs that are targets, by what they are called and what they hold."""
    called = {n for n in candidates if n in targets or n.lower() in ("y", "t", "target", "targets", "y_true", "labels")}
    return called | {n for n, v in candidates.items() if roles.kind_of(np.asarray(v)) in ("one-hot", "choice")}


def is_place(path: str) -> bool:
    """Whether a part of what was returned has no name, but a place in a tuple or list."""
    return path.rsplit(".", 1)[-1].isdigit()


def _alignments(paths: list[str], names: list[str], fits: Callable[[str, str], bool]) -> list[list[tuple[str, str]]]:
    """Ways in which gradients may belong to inputs: in their order, some of either left out; or each where it fits."""
    count = min(len(paths), len(names))
    chosen = itertools.islice(itertools.combinations(names, count), 500)
    made = [list(zip(paths, names_, strict=False)) for names_ in chosen]
    if len(paths) > len(names):
        made += [list(zip(p, names, strict=True)) for p in itertools.islice(itertools.combinations(paths, count), 500)]
    matcher, i = [], 0
    for path in paths:  # the first that fits, after those before it
        k = next((k for k in range(i, len(names)) if fits(path, names[k])), None)
        if k is not None:
            matcher.append((path, names[k]))
            i = k + 1
    made.append(matcher)
    alone = [(p, [n for n in names if fits(p, n)]) for p in paths]
    if all(len(fitting) == 1 for _, fitting in alone) and len({f[0] for _, f in alone}) == len(paths):
        made.append([(p, f[0]) for p, f in alone])
    return made + list(_by_groups(paths, names, fits))


def _by_groups(paths: list[str], names: list[str], fits: Callable[[str, str], bool]) -> Iterator[list[tuple[str, str]]]:
    """Lists of gradients that belong to lists of inputs, in another order: (biases', weights')."""
    returned, given = _grouped(paths), _grouped(names)
    if not all("." in path for path in paths):
        return
    for i, chosen in enumerate(itertools.islice(itertools.permutations(given, len(returned)), 120)):
        pairs = [p for r, g in zip(returned, chosen, strict=True) for p in zip(returned[r], given[g], strict=False)]
        if len(pairs) == len(paths) and all(fits(*pair) for pair in pairs):
            yield pairs
            if i == 0:  # the order of the inputs fits
                return


def _grouped(paths: list[str]) -> dict[str, list[str]]:
    """The paths that lie in a list or dict, by that."""
    groups: dict[str, list[str]] = {}
    for path in paths:
        if "." in path:
            groups.setdefault(path.rpartition(".")[0], []).append(path)
    return groups


def _meant(path: str, candidates: Mapping[str, Any]) -> str | None:
    """The input whose gradient a key names: "dW1" is that of "parameters.W1"."""
    key = path.rsplit(".", 1)[-1]
    bare = [key, re.sub(r"^(d_?|grad_?|g_|nabla_?|delta_?)", "", key), re.sub(r"_?(grad|gradient|g)s?$", "", key)]
    tails = {name: name.rsplit(".", 1)[-1] for name in candidates}
    for word in bare:
        for fold in (str, str.lower):
            hits = [name for name, tail in tails.items() if name == path or fold(tail) == fold(word)]
            if hits:
                return hits[0]
    return None
