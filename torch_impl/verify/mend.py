"""A report with the place of each fault in the user's own source, and with the edits that mend it."""

from __future__ import annotations

import difflib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from torch_impl.verify.blame.runs import subject_of
from torch_impl.verify.blame.verdicts import blame
from torch_impl.verify.limits import limit
from torch_impl.verify.observe.observation import close
from torch_impl.verify.repair.search import Case, repairs
from torch_impl.verify.report import UNKNOWN, Finding, Report, finding
from torch_impl.verify.units.unit import UserCodeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch_impl.verify.blame.verdicts import Blame
    from torch_impl.verify.listing import Repair
    from torch_impl.verify.observe.observation import Observation
    from torch_impl.verify.units.unit import Unit


def mended(
    unit: Unit, report: Report, observations: list[Observation], wrong: list[str], is_right: Callable[[], bool]
) -> Report:
    """The report with blame and repairs; as it is where there is no source, or no time to look.

    ``is_right`` does the whole check once more, with the code as it runs then.
    """
    bounds, base = limit(), observations[0]
    subject = subject_of(unit, base) if bounds.seconds > 0 else None
    if subject is None:
        return report
    bounds.progress(f"{unit.name}: looking for the first wrong line")
    try:
        _, hand = subject.run(base)
        if not all(close(hand[n], base.hand[n]) for n in base.hand):
            return report  # it remembers what was called before: what it gives when it is changed tells nothing
        found = blame(subject, observations, wrong, bounds.part(0.3))
        made, steps = repairs(Case(subject, observations, wrong, is_right), found, bounds)
    except UserCodeError:  # watching changes nothing that code may see, except how deep a recursion may go
        return report
    if made:
        origin = _lines_before(made)
        found.settle([origin(r.line) for r in made])
        if made[-1].mends_all:
            found.changed.clear()
            found.note_changes(steps, origin)
    sections = tuple(replace(s, listings=found.listings()) for s in report.sections)
    return replace(report, sections=sections, findings=_with_repairs(unit, report.findings, found, made))


def _lines_before(made: list[Repair]) -> Callable[[int], int]:
    """Which line of the text before all repairs a line of the text after them was."""
    was: dict[int, int] = {}
    before, after = made[0].before.splitlines(), made[-1].after.splitlines()
    for _, i, i_end, j, j_end in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        was |= {n + 1: min(i + n - j, max(i, i_end - 1)) + 1 for n in range(j, j_end)}
    return lambda line: was.get(line, line)


def _with_repairs(
    unit: Unit, findings: tuple[Finding, ...], found: Blame, made: list[Repair]
) -> tuple[Finding, ...]:
    """Each finding with its edit and its line; what has no name and was several faults as several findings."""
    left, done = list(made), []
    for each in findings:
        mine = [r for r in left if each.verdict == "wrong" and set(r.tensors) & set(each.tensors or (each.tensor,))]
        if not mine:
            done.append(each)
        elif each.mistake != UNKNOWN or len(mine) == 1:
            done.append(replace(each, repair=mine[0]))
            left.remove(mine[0])
        else:
            done += [replace(each, tensor=r.tensors[0], tensors=r.tensors, repair=r) for r in mine]
            left = [r for r in left if r not in mine]
    text = "beside it is another fault, which the edit shows"
    done += [replace(finding(UNKNOWN, r.tensors, unit.name, text=text), repair=r) for r in left]
    lines = iter(fault.node.lineno for fault in found.faults)
    return tuple(_placed(each, found, next(lines, None)) if each.verdict == "wrong" else each for each in done)


def _placed(each: Finding, found: Blame, line: int | None) -> Finding:
    """A finding with the line of the user's backward in which it began."""
    if each.repair is not None:
        was = each.repair.before.splitlines()
        line, file = each.repair.line, each.repair.file
        text = was[line - 1].strip() if line <= len(was) else ""
    elif line is not None:
        of = found.subject.functions[0].file
        file, text = of.name, of.lines[line - 1].strip()
    else:
        return each
    return replace(each, blamed=f"{Path(file).name}, line {line}: {text}")
