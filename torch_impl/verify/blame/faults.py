"""The first wrong statement: what has the right gradient put in its place, and makes all that follows right.

A statement whose value equals nothing may be a step on a way of the author's own. So each is tried: the gradient that
it may have been meant to be is put in its place while the backward runs. Where what comes out is right then, the fault
lies in that statement and in none before it.
"""

from __future__ import annotations

import ast
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from torch_impl.verify.blame.runs import right
from torch_impl.verify.blame.watch import Step, Watch
from torch_impl.verify.units.unit import UserCodeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch_impl.verify.blame.meaning import Meaning, Meanings
    from torch_impl.verify.blame.runs import Subject
    from torch_impl.verify.limits import Limit
    from torch_impl.verify.observe.observation import Observation

Overrides = dict[ast.expr, "Callable[[int, Any], Any]"]  # what to put in the place of an expression's value

MOST_MEANT = 16  # values that a statement is tried with
MOST_CALLS = 3  # times that a helper runs, for each of which another gradient is tried


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
    gradients: list[Meaning] = field(default_factory=list)  # those that are tried
    watches: dict[frozenset[ast.expr], Watch] = field(default_factory=dict)  # by the expressions that get other values

    def run(self, subject: Subject, overrides: Overrides) -> dict[str, Any]:
        """The gradients with other values in the place of some expressions.

        Raises
            UserCodeError: the code raises with them
        """
        key = frozenset(overrides)
        if key not in self.watches:
            self.watches[key] = Watch(subject.functions, instead=overrides, only_instead=True)
        self.watches[key].instead = overrides
        return subject.run(self.observation, self.watches[key])[1]


def faults(subject: Subject, seen: list[Seen], wrong: list[str], doubtful: set[ast.stmt], limit: Limit) -> list[Fault]:
    """The first wrong statement, and where there are several faults those of the others.

    ``doubtful`` are the statements whose values are not known to be right.
    """
    found: list[Fault] = []
    fixed: list[Overrides] = [{} for _ in seen]
    todo = list(wrong)
    while todo and not limit.over:
        nodes = _in_order(seen[0], doubtful - {fault.node for fault in found})
        # A factor makes up for a wrong one anywhere before it: what needs none is tried first.
        best = _best(subject, seen, nodes, todo, fixed, scaled=False, limit=limit)
        best = best or _best(subject, seen, nodes, todo, fixed, scaled=True, limit=limit)
        if best is None:
            break
        found.append(best[0])
        fixed = [kept | more for kept, more in zip(fixed, best[1], strict=True)]
        todo = [name for name in todo if name not in best[0].tensors]
    return found


def _best(
    subject: Subject,
    seen: list[Seen],
    nodes: list[ast.stmt],
    todo: list[str],
    fixed: list[Overrides],
    *,
    scaled: bool,
    limit: Limit,
) -> tuple[Fault, list[Overrides]] | None:
    """The first statement that makes all of ``todo`` right, else the one that makes most of it right."""
    best: tuple[Fault, list[Overrides]] | None = None
    for each in seen:
        each.gradients = each.meanings.scaled if scaled else each.meanings.gradients
    for node in nodes:
        for said, leaf, overrides in _trials(node, seen, todo):
            if limit.over:
                return best
            mended = list(todo)
            for each, kept, more in zip(seen, fixed, overrides, strict=True):
                mended = _mended(subject, each, kept | more, mended, todo)
                if not mended:
                    break
            if mended and (best is None or len(mended) > len(best[0].tensors)):
                best = Fault(node, said, tuple(mended), overrides[0], leaf), overrides
        if best is not None and len(best[0].tensors) == len(todo):
            break
    return best


def _in_order(seen: Seen, doubtful: set[ast.stmt]) -> list[ast.stmt]:
    return [node for node in dict.fromkeys(step.node for step in seen.steps) if node in doubtful]


def _mended(subject: Subject, seen: Seen, overrides: Overrides, names: list[str], wrong: list[str]) -> list[str]:
    """Which of ``names`` are right with other values in some places; none if what is right without would not be."""
    o = seen.observation
    try:
        gradients = seen.run(subject, overrides)
    except UserCodeError:
        return []
    others = [n for n in o.auto if n not in wrong and n in o.hand and not o.differs(n)]
    if not all(right(o, n, gradients.get(n)) for n in others):
        return []
    return [n for n in names if right(o, n, gradients.get(n))]


def _trials(node: ast.stmt, seen: list[Seen], todo: list[str]) -> Iterator[tuple[str, bool, list[Overrides]]]:
    """What may be put in a statement's place, with every observation."""
    leaves = seen[0].meanings.tape.leaves
    wanted = {seen[0].meanings.tape.index[leaves[name]] for name in todo if name in leaves}
    for name, expression in places(node):
        runs = [[s for s in each.steps if s.node is node and name in s.values] for each in seen]
        if not all(runs) or runs[0][0].values[name].dtype.kind not in "fi":
            continue
        if all(len(steps) == 1 for steps in runs):
            for meant in _meant(name, runs[0][0].values[name], seen[0], wanted):
                puts = [_of_key(each, meant) for each in seen]
                if all(p is not None for p in puts):
                    yield meant.said, meant.key[1] in wanted, [{expression: _always(p)} for p in puts if p is not None]
            continue
        yield from _in_loops(name, expression, runs, seen)
        if len(runs[0]) <= MOST_CALLS:
            yield from _in_calls(name, expression, runs, seen)
        if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add):
            yield from _added_up(name, expression, runs, seen, wanted)


def _in_calls(
    name: str, expression: ast.expr, runs: list[list[Step]], seen: list[Seen]
) -> Iterator[tuple[str, bool, list[Overrides]]]:
    """A gradient for each of the few times that a helper runs: of places of the forward, from its end."""
    each_run = [[m for m in _meant(name, step.values[name], seen[0], set()) if m.key[0] == "∂"] for step in runs[0]]
    rows = (row for row in itertools.product(*each_run) if all(a.key[1] > b.key[1] for a, b in itertools.pairwise(row)))
    for row in itertools.islice(rows, MOST_MEANT):
        found = [[_of_key(each, meant) for meant in row] for each in seen]
        if all(v is not None for values in found for v in values):
            said = ", then ".join(dict.fromkeys(m.said for m in row))
            yield said, False, [{expression: _each(values)} for values in found]


def _added_up(
    name: str, expression: ast.expr, runs: list[list[Step]], seen: list[Seen], wanted: set[int]
) -> Iterator[tuple[str, bool, list[Overrides]]]:
    """What a sum should be in the end, added in the first round."""
    for meant in _meant(name, runs[0][-1].values[name], seen[0], wanted):
        totals = [_of_key(each, meant) for each in seen]
        if meant.key[1] in wanted and all(
            t is not None and t.shape == runs[0][-1].values[name].shape for t in totals[:1]
        ):
            rows = [[t, *[np.zeros_like(t)] * (len(steps) - 1)] for t, steps in zip(totals, runs, strict=True)]
            yield f"{meant.said} in the end", True, [{expression: _each(row)} for row in rows]


def _in_loops(
    name: str, expression: ast.expr, runs: list[list[Step]], seen: list[Seen]
) -> Iterator[tuple[str, bool, list[Overrides]]]:
    """A gradient for each time that a statement in a loop runs: those of one line of the forward, forth or back."""
    families = [_families(each, steps[0].values[name].shape) for each, steps in zip(seen, runs, strict=True)]
    for key, members in families[0].items():
        for step in (1, -1):
            rows = [family.get(key, [])[::step] for family in families]
            if all(len(row) == len(steps) for row, steps in zip(rows, runs, strict=True)):
                said = members[0].said.partition(" at ")[0]
                yield said, False, [{expression: _each([m.value for m in row])} for row in rows]


def _families(seen: Seen, shape: tuple[int, ...]) -> dict[Any, list[Meaning]]:
    """Gradients of one shape, by the line of the forward and the operation that they belong to, in forward order."""
    found: dict[Any, list[Meaning]] = {}
    for m in sorted(seen.gradients, key=lambda m: m.key):
        node = seen.meanings.tape.nodes[m.key[1]]
        if m.value.shape == shape:
            found.setdefault((m.key[0], node.place, str(node.target), m.key[2:]), []).append(m)
    return {key: members for key, members in found.items() if len(members) > 1}


def _meant(target: str, value: Any, seen: Seen, wanted: set[int]) -> list[Meaning]:
    """What a value may be meant to be, each once: the gradients of its shape, named places first, then their factors.

    First of all comes that of what the target is called after: ∂L/∂h for ``dh``. A returned gradient that is ``wanted``
    has the shape that it should have.
    """
    found: list[Meaning] = []

    def order(m: Meaning) -> tuple[bool, ...]:
        name = seen.meanings.names.get(m.key[1], "")
        return (
            m.key[0] != "∂",
            not (name and target in (f"d{name}", f"d_{name}", f"grad_{name}")),
            not name.isidentifier(),
        )

    gradients = sorted(seen.gradients, key=order)
    for m in [*gradients, *seen.meanings.factors_of_it]:
        fits = m.value.shape == np.shape(value) or (m.key[0] == "∂" and m.key[1] in wanted)
        if fits and not any(np.array_equal(m.value, k.value) for k in found):
            found.append(m)
    return found[:MOST_MEANT]


def _of_key(seen: Seen, meant: Meaning) -> Any:
    every = itertools.chain(seen.gradients, seen.meanings.factors_of_it)
    return next((m.value for m in every if m.key == meant.key), None)


def _always(value: Any) -> Callable[[int, Any], Any]:
    return lambda _, __: value.copy()


def _each(row: Sequence[Any]) -> Callable[[int, Any], Any]:
    return lambda count, old: row[count].copy() if count < len(row) else old


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
