"""A report with the place of each fault in the user's own source, and with the edits that mend it."""

from __future__ import annotations

import difflib
import threading
import warnings
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from torch_impl.verify.blame.runs import right, subject_of
from torch_impl.verify.blame.verdicts import Blame, blame
from torch_impl.verify.blame.watch import Watch
from torch_impl.verify.limits import limit
from torch_impl.verify.observe.observation import close
from torch_impl.verify.repair.search import repairs
from torch_impl.verify.report import UNKNOWN, Finding, Report, finding
from torch_impl.verify.source.functions import Function, Sources
from torch_impl.verify.source.running import quiet
from torch_impl.verify.units.unit import UserCodeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch_impl.verify.blame.runs import Subject
    from torch_impl.verify.limits import Limit
    from torch_impl.verify.listing import Repair
    from torch_impl.verify.observe.observation import Observation
    from torch_impl.verify.repair.search import Case
    from torch_impl.verify.source.functions import File
    from torch_impl.verify.units.unit import Unit

_ONE_AT_A_TIME = threading.RLock()  # warnings are silenced for the whole process
Judged = tuple[bool, list[str]]  # whether all is right, and which tensors are wrong


def mended(
    unit: Unit, report: Report, observations: list[Observation], wrong: list[str], judged: Callable[[], Judged]
) -> Report:
    """The report with blame and repairs; as it is where there is no source, or no time to look.

    ``judged`` does the whole check once more, with the code as it runs then.
    """
    if limit().seconds <= 0:
        return report
    with _searching():
        base = observations[0]
        subject = subject_of(unit, base)
        try:
            _, hand = subject.run(base) if subject is not None else (None, {})
            # One that remembers what was called before tells nothing by what it gives when it is changed.
            if subject is None or not all(close(hand[n], base.hand[n]) for n in base.hand):
                return report
            return _searched(report, _UnitCase(subject, observations, wrong, judged), subject.functions)
        except UserCodeError:  # watching changes nothing that code may see, except how deep a recursion may go
            return report


def mended_run(
    report: Report, run: Callable[[], object], wrong: Callable[[], list[str]], judged: Callable[[], Judged]
) -> Report:
    """The same for what is no pair: ``run`` calls the user's code, ``wrong`` says what of it is wrong."""
    if limit().seconds <= 0:
        return report
    with _searching():
        functions = Sources().called_in(run)
        return _searched(report, _RunCase(report.title, run, wrong, judged), functions) if functions else report


@contextmanager
def _searching() -> Iterator[None]:
    """Inside, code may run a thousand times, and nothing is heard of it."""
    with _ONE_AT_A_TIME, quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _searched(report: Report, case: Case, functions: list[Function]) -> Report:
    bounds = limit()
    bounds.progress(f"{case.name}: looking for the first wrong line")
    try:
        found = case.blamed(functions, case.wrong, bounds.part(0.3))
        made, mended = repairs(case, found, bounds)
    finally:
        bounds.progress("")
    if mended is not None:
        old_line = _lines_before(made)
        found.settle([(r.file, old_line(r.file, r.line)) for r in made])
        if made[-1].mends_all:
            found.changed.clear()
            found.note_changes(mended, old_line)
    sections = tuple(replace(s, listings=found.listings()) for s in report.sections)
    notes = report.notes
    if not (made and made[-1].mends_all):
        what = "the rest" if made else "it"
        late = f"no edit that mends {what} was found in {bounds.seconds:g} s; with a longer limit there may be one"
        notes = (*notes, f"{case.name}: {late if bounds.over else f'no single edit mends {what}'}")
    return replace(report, sections=sections, findings=_with_repairs(case, report.findings, found, made), notes=notes)


class _UnitCase:
    """A pair of forward and backward, judged by what its gradients are with every observation."""

    def __init__(
        self, subject: Subject, observations: list[Observation], wrong: list[str], judged: Callable[[], Judged]
    ) -> None:
        self.subject, self.observations, self.wrong, self.judged = subject, observations, wrong, judged
        self.name, self.title = subject.unit.name, subject.unit.title
        # Where everything saturates, the right code may be further apart than wrong code's rounding allowed for.
        self.quick = [o for o in observations if o.probe not in ("saturated", "large inputs", "at the kinks")]
        self.outputs = [subject.run(o)[0] for o in self.quick]

    def mended(self, todo: list[str]) -> list[str]:
        left = list(todo)
        for o, before in zip(self.quick, self.outputs, strict=True):
            outputs, gradients = self.subject.run(o)
            if len(outputs) != len(before) or not all(map(close, outputs, before)):
                return []  # a function that the forward uses too must do there what it did
            names = [n for n in o.auto if n in o.hand]
            if not all(n in gradients and (n in todo or right(o, n, gradients[n])) for n in names):
                return []
            left = [n for n in left if n not in names or right(o, n, gradients[n])]
            if todo and not left:
                return []
        return left

    def blamed(self, functions: list[Function], todo: list[str], limit: Limit) -> Blame:
        return blame(replace(self.subject, functions=functions), self.observations, todo, limit)

    def watched(self, functions: list[Function]) -> Watch:
        watch = Watch(functions)
        self.subject.run(self.observations[0], watch)
        return watch


class _RunCase:
    """Code that is run as a whole, such as an optimizer's steps: nothing is known of what lies between."""

    def __init__(
        self, name: str, run: Callable[[], object], wrong: Callable[[], list[str]], judged: Callable[[], Judged]
    ) -> None:
        self.name, self.run, self.now_wrong, self.judged = name, run, wrong, judged
        self.wrong = wrong()

    def title(self, name: str) -> str:
        return name

    def mended(self, todo: list[str]) -> list[str]:
        return [] if self.now_wrong() else list(todo)  # steps are right as a whole or not at all

    def blamed(self, functions: list[Function], todo: list[str], limit: Limit) -> Blame:  # noqa: ARG002
        return Blame(functions, [], self.watched(functions))

    def watched(self, functions: list[Function]) -> Watch:
        watch = Watch(functions)
        with watch.watching():
            self.run()
        return watch


def _lines_before(made: list[Repair]) -> Callable[[str, int], int]:
    """Which line of a file before all repairs a line of it after them was."""
    was: dict[tuple[str, int], int] = {}
    for file in {r.file for r in made}:
        mine = [r for r in made if r.file == file]
        before, after = mine[0].before.splitlines(), mine[-1].after.splitlines()
        for _, i, i_end, j, j_end in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
            was |= {(file, n + 1): min(i + n - j, max(i, i_end - 1)) + 1 for n in range(j, j_end)}
    return lambda file, line: was.get((file, line), line)


def _with_repairs(case: Case, findings: tuple[Finding, ...], found: Blame, made: list[Repair]) -> tuple[Finding, ...]:
    """Each finding with its edit and its line; what has no name and was several faults as several findings."""
    wrong = [f for f in findings if f.verdict == "wrong"]
    mine: dict[int, list[Repair]] = {id(f): [] for f in wrong}
    left: list[Repair] = []
    for r in made:
        shared = [f for f in wrong if set(r.tensors) & set(f.tensors or (f.tensor,))]
        takes = [f for f in shared or wrong if not mine[id(f)] or (f.mistake == UNKNOWN and f in shared)]
        (mine[id(takes[0])] if takes else left).append(r)
    done: list[Finding] = []
    for each in findings:
        own = mine.get(id(each), [])
        several = [replace(each, tensor=(r.tensors or (each.tensor,))[0], tensors=r.tensors, repair=r) for r in own]
        done += several if len(own) > 1 else [replace(each, repair=own[0]) if own else each]
    mended = {name for r in made for name in r.tensors}
    # What an edit mends by the way is no fault of its own.
    done = [f for f in done if f.repair or f.mistake != UNKNOWN or not {f.tensor, *f.tensors} <= mended]
    text = "beside it is another fault, which the edit shows" if done else "what is wrong, the edit shows"
    done += [replace(finding(UNKNOWN, r.tensors, case.name, text=text), repair=r) for r in left]
    places = iter(found.places)
    return tuple(_placed(each, next(places, None)) if each.verdict == "wrong" else each for each in done)


def _placed(each: Finding, place: tuple[File, int] | None) -> Finding:
    """A finding with the line of the user's backward in which it began."""
    if each.repair is not None:
        file, line, lines = each.repair.file, each.repair.line, each.repair.before.splitlines()
    elif place is not None:
        file, line, lines = place[0].name, place[1], place[0].lines
    else:
        return each
    text = lines[line - 1].strip() if line <= len(lines) else ""
    return replace(each, blamed=f"{Path(file).name}, line {line}: {text}")
