"""The first wrong statement: what has the right gradient put in its place, and makes all that follows right.

A statement whose value equals nothing may be a step on a way of the author's own. So each is tried: the gradient that
it may have been meant to be is put in its place while the backward runs. Where what comes out is right then, the fault
lies in that statement and in none before it.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from torch_impl.verify.blame.runs import right
from torch_impl.verify.blame.watch import Step, Watch
from torch_impl.verify.units.unit import UserCodeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch_impl.verify.blame.meaning import Meaning, Meanings
    from torch_impl.verify.blame.runs import Subject
    from torch_impl.verify.limits import Limit
    from torch_impl.verify.observe.observation import Observation

Overrides = dict[ast.expr, "Callable[[int, Any], Any]"]  # what to put in the place of an expression's value

MOST_MEANT = 12  # gradients of one shape that a statement is tried with


@dataclass(frozen=True, eq=False)
class Fault:
    """A statement that is wrong, what it should be, and the tensors that are right with that."""

    node: ast.stmt
    said: str
    tensors: tuple[str, ...]
    overrides: Overrides  # with the inputs as given
    is_leaf: bool = False  # it should be the very gradient that is returned, which tells only that this is wrong


@dataclass(eq=False)
class Seen:
    """One observation, watched: its steps, and what each value may be."""

    observation: Observation
    steps: list[Step]
    meanings: Meanings


def faults(subject: Subject, seen: list[Seen], wrong: list[str], doubtful: set[ast.stmt], limit: Limit) -> list[Fault]:
    """The first wrong statement, and where there are several faults those of the others.

    ``doubtful`` are the statements whose values are not known to be right.
    """
    found: list[Fault] = []
    fixed: list[Overrides] = [{} for _ in seen]
    todo = list(wrong)
    while todo and not limit.over:
        best: tuple[list[str], Fault, list[Overrides]] | None = None
        for node in _in_order(seen[0], doubtful):
            for said, leaf, overrides in _trials(node, seen):
                if limit.over:
                    break
                mended = list(todo)
                for each, kept, more in zip(seen, fixed, overrides, strict=True):
                    mended = _mended(subject, each, kept | more, mended, todo)
                    if not mended:
                        break
                if mended and (best is None or len(mended) > len(best[0])):
                    best = mended, Fault(node, said, tuple(mended), overrides[0], leaf), overrides
            if best is not None and len(best[0]) == len(todo):
                break
        if best is None:
            break
        found.append(best[1])
        fixed = [kept | more for kept, more in zip(fixed, best[2], strict=True)]
        todo = [name for name in todo if name not in best[0]]
    return found


def _in_order(seen: Seen, doubtful: set[ast.stmt]) -> list[ast.stmt]:
    return [node for node in dict.fromkeys(step.node for step in seen.steps) if node in doubtful]


def _mended(subject: Subject, seen: Seen, overrides: Overrides, names: list[str], wrong: list[str]) -> list[str]:
    """Which of ``names`` are right with other values in some places; none if what is right without would not be."""
    o, watch = seen.observation, Watch(subject.functions, instead=overrides)
    try:
        _, gradients = subject.run(o, watch)
    except UserCodeError:
        return []
    others = [n for n in o.auto if n not in wrong and n in o.hand and not o.differs(n)]
    if not all(right(o, n, gradients.get(n)) for n in others):
        return []
    return [n for n in names if right(o, n, gradients.get(n))]


def _trials(node: ast.stmt, seen: list[Seen]) -> Iterator[tuple[str, bool, list[Overrides]]]:
    """What may be put in a statement's place, with every observation."""
    for name, expression in places(node):
        runs = [[s for s in each.steps if s.node is node and name in s.values] for each in seen]
        if not all(runs) or runs[0][0].values[name].dtype.kind not in "fi":
            continue
        if all(len(steps) == 1 for steps in runs):
            for meant in _meant(runs[0][0].values[name], seen[0].meanings):
                puts = [_of_key(each.meanings, meant) for each in seen]
                if all(p is not None for p in puts):
                    leaf = seen[0].meanings.tape.nodes[meant.key[1]] in seen[0].meanings.tape.leaves.values()
                    yield meant.said, leaf, [{expression: _always(p)} for p in puts if p is not None]
        else:
            yield from _in_loops(name, expression, runs, seen)


def _in_loops(
    name: str, expression: ast.expr, runs: list[list[Step]], seen: list[Seen]
) -> Iterator[tuple[str, bool, list[Overrides]]]:
    """A gradient for each time that a statement in a loop runs: those of one line of the forward, forth or back."""
    families = [_families(each.meanings, steps[0].values[name].shape) for each, steps in zip(seen, runs, strict=True)]
    for key, members in families[0].items():
        for step in (1, -1):
            rows = [family.get(key, [])[::step] for family in families]
            if all(len(row) == len(steps) for row, steps in zip(rows, runs, strict=True)):
                said = members[0].said.partition(" at ")[0]
                yield said, False, [{expression: _each(row)} for row in rows]


def _families(meanings: Meanings, shape: tuple[int, ...]) -> dict[Any, list[Meaning]]:
    """Gradients of one shape, by the line of the forward and the operation that they belong to, in forward order."""
    found: dict[Any, list[Meaning]] = {}
    for m in sorted(meanings.gradients, key=lambda m: m.key):
        node = meanings.tape.nodes[m.key[1]]
        if m.value.shape == shape:
            found.setdefault((m.key[0], node.place, str(node.target)), []).append(m)
    return {key: members for key, members in found.items() if len(members) > 1}


def _meant(value: Any, meanings: Meanings) -> list[Meaning]:
    """The gradients of a value's shape, each once, named places first."""
    found: list[Meaning] = []
    for m in sorted(
        meanings.gradients, key=lambda m: (m.key[0] != "∂", not meanings.names.get(m.key[1], "").isidentifier())
    ):
        if m.value.shape == np.shape(value) and not any(np.array_equal(m.value, k.value) for k in found):
            found.append(m)
    return found[:MOST_MEANT]


def _of_key(meanings: Meanings, meant: Meaning) -> Any:
    return next((m.value for m in meanings.gradients if m.key == meant.key), None)


def _always(value: Any) -> Callable[[int, Any], Any]:
    return lambda _, __: value.copy()


def _each(row: list[Meaning]) -> Callable[[int, Any], Any]:
    return lambda count, old: row[count].value.copy() if count < len(row) else old


def places(node: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    """The expressions whose values a statement gives to names or returns, by those names."""
    value = getattr(node, "value", None)
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        (target,) = node.targets
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
            yield from ((ast.unparse(t), v) for t, v in zip(target.elts, value.elts, strict=True))
        elif not isinstance(target, ast.Tuple):
            yield ast.unparse(target), node.value
    elif isinstance(node, ast.AugAssign | ast.AnnAssign) and value is not None:
        yield ast.unparse(node.target), value
    elif isinstance(node, ast.Return):
        yield from _parts(value)


def _parts(value: ast.expr | None) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(value, ast.Tuple | ast.List):
        for part in value.elts:
            yield from _parts(part)
    elif isinstance(value, ast.Dict):
        for part in value.values:
            yield from _parts(part)
    elif value is not None:
        yield ast.unparse(value), value
