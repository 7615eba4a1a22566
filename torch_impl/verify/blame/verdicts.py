"""A verdict for each line of the user's backward: right, first wrong, affected, or equal to nothing that is known."""

from __future__ import annotations

import ast
import itertools
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from torch_impl.verify.blame.faults import Fault, Overrides, Seen, faults, places
from torch_impl.verify.blame.meaning import Meanings, names_of
from torch_impl.verify.blame.runs import right
from torch_impl.verify.blame.watch import Watch
from torch_impl.verify.listing import Line, LineVerdict, Listing
from torch_impl.verify.observe.observation import close
from torch_impl.verify.units.unit import UserCodeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch_impl.verify.blame.meaning import Meaning
    from torch_impl.verify.blame.runs import Subject
    from torch_impl.verify.blame.watch import Step
    from torch_impl.verify.limits import Limit
    from torch_impl.verify.observe.observation import Observation
    from torch_impl.verify.source.functions import File, Function

KNOWN = 3
MOST_SCALES = 2
MOST_SEEN = 3  # observations that are watched: what a value is, it is in all of them


@dataclass(eq=False)
class Blame:
    """What the lines of a backward are, and which are the first wrong ones."""

    functions: list[Function]  # in which the gradients are computed
    forward: list[Function]
    watch: Watch  # with the inputs as given
    steps: dict[ast.stmt, list[Step]] = field(default_factory=dict)
    said: dict[Step, str] = field(default_factory=dict)  # what a step's values are, where they are something known
    exact: set[Step] = field(default_factory=set)  # those that are gradients as they stand
    faults: list[Fault] = field(default_factory=list)
    changed: set[Step] = field(default_factory=set)  # those that are other ones once the faults are mended

    def __post_init__(self) -> None:
        for step in self.watch.steps:
            self.steps.setdefault(step.node, []).append(step)

    def listings(self) -> tuple[Listing, ...]:
        """The functions with a verdict at each line that computed something; without helpers that tell nothing."""
        made = [_listing(self, function) for function in self.functions]
        telling = [{line.verdict for line in listing.lines} - {"", "unmatched"} for listing in made]
        return tuple(listing for listing, tells in zip(made, telling, strict=True) if tells)

    @property
    def places(self) -> list[tuple[File, int]]:
        """The file and the line of each fault."""
        homes = _homes(self.functions)
        return [(homes[fault.node], fault.node.lineno) for fault in self.faults if fault.node in homes]

    def note_changes(self, mended: Watch, old_line: Callable[[str, int], int] = lambda _, line: line) -> None:
        """Keep which steps are other ones in a run in which all is right; ``old_line`` tells what its lines were."""
        before, now = _homes(self.functions), _homes(mended.functions)

        def key(step: Step, home: str, line: int) -> tuple[Any, ...]:
            return home, line, *step.values, step.count

        files = {step: now[step.node].name for step in mended.steps}
        after = {key(s, files[s], old_line(files[s], s.node.lineno)): s for s in mended.steps}
        for step in itertools.chain(*self.steps.values()):
            other = after.get(key(step, before[step.node].name, step.node.lineno))
            if other is None or any(not close(v, other.values[name]) for name, v in step.values.items()):
                self.changed.add(step)

    def settle(self, places: Sequence[tuple[str, int]]) -> None:
        """Put the faults where edits have mended them: in the statements at these lines of files."""
        should, homes = {fault.node: fault.said for fault in reversed(self.faults)}, _homes(self.functions)
        nodes = [
            max(
                (n for n in self.steps if homes[n].name == file and n.lineno <= line),
                key=lambda n: n.lineno, default=None,
            )
            for file, line in places
        ]  # fmt: skip
        self.faults = [Fault(n, should.get(n, ""), (), {}) for n in dict.fromkeys(nodes) if n is not None]


def _homes(functions: Sequence[Function]) -> dict[ast.AST, File]:
    """The file of every node of some functions."""
    return {node: function.file for function in functions for node in ast.walk(function.node)}


def blame(subject: Subject, observations: list[Observation], wrong: list[str], limit: Limit) -> Blame:
    """Watch the backward, and find the first wrong statement of each fault.

    Raises
        UserCodeError: the code raises when it is watched
    """
    base = observations[0]
    watch = Watch(subject.functions)
    subject.run(base, watch)
    found = Blame(subject.functions, subject.forward, watch)
    seen, ahead = _seen(subject, observations, watch)
    if seen:
        _name(found, seen)
    doubtful = {node for node, steps in found.steps.items() if not all(s in found.exact for s in steps)}
    plain = {n for n, steps in found.steps.items() if all(map(_is_plain, steps))}
    doubtful -= _as_ahead(found) | ahead | plain
    if seen:
        found.faults = faults(subject, seen, wrong, doubtful, limit)
    found.faults = (
        _earlier(subject, found, base, doubtful, limit)
        if found.faults
        else _suspects(subject, found, base, wrong, doubtful, limit)
    )
    if seen:
        overrides: Overrides = {}
        for fault in found.faults:
            overrides |= fault.overrides
        mended = Watch(subject.functions, instead=overrides)
        try:
            subject.run(base, mended)
            found.note_changes(mended)
        except UserCodeError:  # what is affected is then not known
            pass
    return found


def _as_ahead(found: Blame) -> set[ast.stmt]:
    """The statements that stand in the forward as well, as they do where both find the window that they are at."""
    functions = {f.node for f in found.functions}
    ahead = {ast.dump(n) for f in found.forward if f.node not in functions for n in ast.walk(f.node) if _assigns(n)}
    return {node for node in found.steps if _assigns(node) and ast.dump(node) in ahead}


def _assigns(node: ast.AST) -> bool:
    return isinstance(node, ast.Assign) and not isinstance(node.targets[0], ast.Subscript)


def _seen(subject: Subject, observations: list[Observation], watch: Watch) -> tuple[list[Seen], set[ast.stmt]]:
    """Observations whose tapes are of one structure, watched, with what a value can be in each; none without a tape.

    With them the statements that the forward pass runs as well: what is wrong there would be seen in its outputs.
    """
    base = observations[0]
    ahead, shared = watch, set[ast.stmt]()
    if subject.phase == "backward":
        ahead = Watch(subject.forward)
        subject.run(base, ahead, "forward")
        shared = {step.node for step in ahead.steps}
    if base.tape is None:
        return [], shared
    names = names_of(base.tape, ahead)
    structure = [str(n.target) for n in base.tape.nodes]
    seen = [Seen(base, watch.steps, Meanings(base, names))]
    for o in observations[1:]:
        if len(seen) == MOST_SEEN or o.probe in ("saturated", "at the kinks") or o.unit.name != base.unit.name:
            continue
        if o.tape is None or [str(n.target) for n in o.tape.nodes] != structure:
            continue
        other = Watch(subject.functions)
        subject.run(o, other)
        if len(other.steps) == len(watch.steps):
            seen.append(Seen(o, other.steps, Meanings(o, names)))
    return seen, shared


def _name(found: Blame, seen: list[Seen]) -> None:
    """What each step's values are with every observation."""
    tape = seen[0].meanings.tape
    met: dict[Any, ast.AST | None] = {("∂", tape.index[node], ""): None for node in tape.outputs}
    scales: Counter[str] = Counter()  # of gradients: a backward may divide by the batch's size at its end
    for steps in zip(*(each.steps for each in seen), strict=True):
        texts, exact = [], True
        for name in steps[0].values:
            first = seen[0].meanings.of(steps[0].values[name])
            keys: Any = [
                {m.key for m in each.meanings.of(step.values.get(name, np.nan))}
                for each, step in zip(seen[1:], steps[1:], strict=True)
            ]
            kept = [m for m in first if all(m.key in k for k in keys)]
            best = min(kept, key=_preference, default=None)
            exact = exact and best is not None and best.key[0] == "∂" and best.key[-1] == "" and "sum" not in best.key
            if best is not None:  # where it was met before, a factor may be left out
                exact = exact and met.setdefault(best.key, steps[0].node) is steps[0].node
            texts += [best.said] if best is not None else []
            if best is not None and best.key[0] == "∂" and best.key[-1] != "":
                scales[best.key[-1]] += 1
        if texts and len(texts) == len(steps[0].values):
            found.said[steps[0]] = ", ".join(dict.fromkeys(texts))
            if exact:
                found.exact.add(steps[0])
    for each in seen:
        each.meanings.scaled_by([said for said, _ in scales.most_common(MOST_SCALES)])


def _preference(meaning: Meaning) -> tuple[Any, ...]:
    """Gradients before their pieces, values and slopes; the shortest name."""
    kinds = ("∂", "value", "slope", "part")
    return kinds.index(meaning.key[0]), "sum" in meaning.key, len(meaning.said)


def _earlier(subject: Subject, found: Blame, o: Observation, doubtful: set[ast.stmt], limit: Limit) -> list[Fault]:
    """Where a returned gradient has only been found to be wrong itself: the first of what it alone is made of."""
    kept: list[Fault] = []
    doubtful = doubtful - {step.node for step in found.said}
    for fault in found.faults:
        before = set(itertools.takewhile(lambda node, last=fault.node: node is not last, found.steps))
        suspects = _suspects(subject, found, o, [*fault.tensors], doubtful & before, limit) if fault.is_leaf else []
        kept += [s for s in suspects if s.node not in {k.node for k in kept}] if suspects else [fault]
    return kept


def _suspects(
    subject: Subject, found: Blame, o: Observation, wrong: list[str], doubtful: set[ast.stmt], limit: Limit
) -> list[Fault]:
    """The first statement that equals nothing and reaches nothing but what is wrong, seen by moving its value."""
    _, hand = subject.run(o)
    right_ones = {n for n in o.auto if n in hand and n not in wrong and right(o, n, hand[n])}
    known = {step.node for step in found.said}  # as steps on the way are that are right
    for node in sorted((n for n in found.steps if n in doubtful), key=lambda n: n in known):
        if limit.over:
            break
        moved: Overrides = {e: lambda _, v: _moved(v) for _, e in places(node)}
        try:
            _, gradients = subject.run(o, Watch(subject.functions, instead=moved))
        except UserCodeError:
            continue
        reached = {n for n, g in gradients.items() if n in hand and not close(g, hand[n])}
        if reached & set(wrong) and not reached & right_ones:
            return [Fault(node, "", tuple(n for n in wrong if n in reached), {})]
    return []


def _moved(value: Any) -> Any:
    return np.asarray(value) * 1.37 + 0.11 if np.asarray(value).dtype.kind == "f" else value


# --- the listing ------------------------------------------------------------------------------------------------------


def _listing(found: Blame, function: Function) -> Listing:
    node, texts = function.node, function.file.lines
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
    marks: dict[int, tuple[LineVerdict, str]] = {}
    order = {fault.node: i for i, fault in enumerate(found.faults)}
    inside = set(ast.walk(node))
    for statement, steps in found.steps.items():
        if statement in inside:
            verdict, said = _verdict(found, statement, steps, order)
            if verdict:
                marks.setdefault(statement.lineno, (verdict, said))
    lines = [Line(n, texts[n - 1], *marks.get(n, ("", ""))) for n in range(first, (node.end_lineno or first) + 1)]
    return Listing(function.file.name, function.name, tuple(lines))


def _verdict(
    found: Blame, statement: ast.stmt, steps: list[Step], order: dict[ast.stmt, int]
) -> tuple[LineVerdict, str]:
    """The verdict of a statement, and what is said of it; of one that runs in a loop, by its runs.

    What a loop adds up is right or wrong at its end.
    """
    if isinstance(statement, ast.AugAssign) and statement not in order:
        steps = steps[-1:]
    right_ones = [s for s in steps if s in found.said and s not in found.changed]
    when = _when(steps, right_ones)
    if statement in order:
        fault = found.faults[order[statement]]
        should = f"should be {fault.said}" if fault.said else ""
        words = "a fault of its own" if order[statement] else ""
        return "wrong", "; ".join(filter(None, [words, when, should]))
    if any(s in found.changed for s in steps):
        return "affected", when if when.startswith("right at") else ""
    if _unpacks(statement) or all(_is_plain(s) for s in steps):
        return "", ""
    if len(right_ones) == len(steps):
        said = list(dict.fromkeys(found.said[s] for s in steps))
        if ", ".join(steps[0].values) == said[0]:
            return "", ""  # it is what it is called
        return "right", said[0] if len(said) == 1 else f"{said[0].partition(' at ')[0]}, in every round"
    return "unmatched", ""


def _is_plain(step: Step) -> bool:
    """Whether a step leaves nothing to judge: no array, whole numbers, or nothing but zeros."""
    return not any(v.dtype.kind == "f" and v.any() for v in step.values.values())


def _unpacks(node: ast.stmt) -> bool:
    """Whether a statement only gives names to what a tuple holds."""
    return isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple) and isinstance(node.value, ast.Name)


def _when(steps: list[Step], right_ones: list[Step]) -> str:
    """In a loop: up to which of its rounds a statement is right."""
    if len(steps) < 2 or not steps[0].loop or not right_ones or len(right_ones) == len(steps):
        return ""
    n = next(i for i, s in enumerate(steps) if s not in right_ones)
    if n == 0 or any(s in right_ones for s in steps[n:]):
        return f"right in {len(right_ones)} of {len(steps)} rounds"
    varies = [k for k in steps[0].loop if len({s.loop.get(k) for s in steps}) > 1] or [*steps[0].loop]
    ago, now = (", ".join(f"{k} = {s.loop[k]}" for k in varies) for s in (steps[n - 1], steps[n]))
    return f"right at {ago}, wrong from {now} on"


def by_distance(found: Blame, function: Function) -> dict[int, int]:
    """By line, how many statements those of a function are from the nearest first wrong one: the order of a search.

    What is known to be right is as far as it would be with ``KNOWN`` statements more between. A statement within
    another one is no farther than that.
    """
    known = {node for node, steps in found.steps.items() if all(s in found.exact for s in steps)}
    faults = {fault.node for fault in found.faults}
    every = [n for n in ast.walk(function.node) if isinstance(n, ast.stmt)]
    statements = sorted(every, key=lambda n: n.lineno)
    wrong = [i for i, n in enumerate(statements) if n in faults]
    far: dict[ast.AST, int] = {}
    for i, statement in enumerate(statements):
        nearest = min((abs(i - k) for k in wrong), default=10 if faults else 3)
        nearest += KNOWN if statement in known and i not in wrong else 0
        for node in ast.walk(statement):
            far[node] = min(far.get(node, nearest), nearest)
    return {n.lineno: far[n] for n in every}
