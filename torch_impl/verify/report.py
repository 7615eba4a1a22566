"""What the verifier says: a verdict for every tensor, and findings in sentences."""

from __future__ import annotations

import io
import json
import math
import time
from dataclasses import asdict, dataclass, replace
from functools import wraps
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, get_args

from rich.console import Console

from torch_impl.verify.heat import Heat
from torch_impl.verify.listing import MARKS, shown_path
from torch_impl.verify.markdown import markdown
from torch_impl.verify.page import fragment, page
from torch_impl.verify.render import DIFF, Contents, clean, legend, printable
from torch_impl.verify.tensor import TensorCheck, Verdict, counted, shortened
from torch_impl.verify.terminal import terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from rich.console import ConsoleOptions, RenderableType

    from torch_impl.verify.listing import Listing, Repair
    from torch_impl.verify.render import Row

P = ParamSpec("P")
UNKNOWN = "unknown"


class WrongGradientError(AssertionError):
    """Raised by :meth:`Report.raise_if_wrong`; its text is the report."""


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, a convention that differs, or something else that should be known.

    ``mistake`` is a name of the catalogue, or "unknown" where nothing known explains the numbers. ``confidence`` is
    "certain" where one explanation alone reproduces every probe to rounding, "tie" where those in ``ties`` do so too,
    and "none" for "unknown". ``residual`` is what it leaves of the difference, over the tensor's largest element.
    """

    tensor: str
    mistake: str
    confidence: Literal["certain", "tie", "none"]
    residual: float
    explanation: str
    formula: str = ""
    where: str = ""
    evidence: str = ""
    verdict: Literal["wrong", "convention", "right, but"] = "wrong"
    ties: tuple[str, ...] = ()
    tensors: tuple[str, ...] = ()  # every tensor that this one fault made wrong
    fix: str = ""
    blamed: str = ""  # the line of the user's backward in which it began: "net.py, line 16: dz1 = da1 * sigmoid(a1)"
    repair: Repair | None = None  # the edit that mends it, where one was found

    @property
    def words(self) -> str:
        """What may hold symbols that need an explanation: no code, and after "In NAME: ", since a name is no symbol."""
        probes = "probe" if self.repair and self.repair.tensors else ""
        return "\n".join([self.explanation.partition(": ")[2], self.fix, self.evidence, self.formula, probes])

    @property
    def lines(self) -> list[tuple[str, str]]:
        """Labels and texts in the order of what a reader needs: what is wrong, where, how to mend it, the numbers."""
        said = [
            ("", self.ties and f"(or {', '.join(self.ties)}: what was tried does not tell them apart)"),
            ("", self.explanation),
            ("where: ", "" if self.explanation.startswith(f"In {self.where}: ") else self.where),
            ("first wrong: ", self.blamed),
            ("fix: ", self.fix),
            ("repair: ", self.repair.sentence if self.repair else ""),
            (DIFF, self.repair.diff if self.repair else ""),
            ("formula: ", self.formula),
            ("numbers: ", self.evidence),
        ]
        return [(label, text) for label, text in said if text]

    def __str__(self) -> str:
        lines = [clean(f"{self.tensor}: {self.mistake}")]
        for label, text in self.lines:
            lines += map(printable, text.splitlines()) if label == DIFF else [clean(label + text)]
        return "\n   ".join([*lines, *legend(self.words)])


def finding(
    mistake: Any, tensors: Sequence[str], where: str, line: str = "", *, text: str = "", formula: str = "",
    evidence: str = "", residual: float = math.nan, ties: Iterable[str] = (),
) -> Finding:  # fmt: skip
    """A finding that says "In {where}: {text}."; unless a text is given, it is the catalogue's.

    ``mistake`` is a row of the catalogue (name, what, fix, and the verdict as its kind) or "unknown".
    """
    verdict: Any = "wrong"
    name, what, fix = UNKNOWN, "the gradient differs, and no known mistake explains the numbers", ""
    if mistake != UNKNOWN:
        name, what, fix, verdict = mistake.name, mistake.what, mistake.fix, mistake.kind
    also = f" It makes {', '.join(tensors)} wrong." if len(tensors) > 1 and verdict == "wrong" else ""
    return Finding(
        tensors[0], name, "none" if name == UNKNOWN else "tie" if ties else "certain", residual,
        f"In {where}: {text or what}.{also}", formula, f"{where}, {line}" if line else where, evidence,
        verdict, tuple(ties), tuple(tensors), fix,
    )  # fmt: skip


@dataclass(frozen=True)
class Section:
    """The tensors of one function, layer, loss or optimizer, in backward order.

    ``listings`` are the functions of its backward pass, where something is wrong.
    """

    name: str
    checks: tuple[TensorCheck, ...]
    listings: tuple[Listing, ...] = ()


@dataclass(frozen=True)
class Report:
    """What was compared, and what was found."""

    title: str
    sections: tuple[Section, ...] = ()
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = math.nan

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of all tensors and findings."""
        verdicts = [*(check.verdict for _, check in self._checks), *(finding.verdict for finding in self.findings)]
        return min(verdicts, key=get_args(Verdict).index, default="could not be checked")

    @property
    def ok(self) -> bool:
        """Nothing is wrong, and everything could be checked; every other verdict is one without an error."""
        return self.verdict not in ("wrong", "could not be checked")

    @property
    def first_divergence(self) -> str:
        """The first tensor that is wrong, in the order of the computation: forward, then backward; "" if none is."""
        return next((f"{name}: {c.tensor}" for name, c in self._checks if c.verdict == "wrong"), "")

    def renamed(self, name: str) -> Report:
        """The same report, of something called ``name``."""
        sections = tuple(replace(s, name=s.name.replace(self.title, name, 1)) for s in self.sections)
        return replace(self, title=name, sections=sections)

    def raise_if_wrong(self) -> None:
        """For tests: raise WrongGradientError with the report in Markdown, unless the report is ok."""
        if not self.ok:
            raise WrongGradientError(self.to_markdown())

    def __str__(self) -> str:
        file = io.StringIO()  # in memory, so that it does not depend on the terminal's encoding
        Console(file=file, width=100, color_system=None, legacy_windows=False, force_jupyter=False).print(self)
        return "\n".join(line.rstrip() for line in file.getvalue().splitlines())

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        return terminal(self._contents, options)

    def to_markdown(self) -> str:
        """The findings, the code and the table, to paste into an issue."""
        return markdown(self._contents)

    def to_html(self) -> str:
        """A page of its own: no scripts, no links, nothing to load."""
        return page(self._contents)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return fragment(self._contents)

    def to_json(self) -> str:
        """Everything, for machines; NaN and infinities, which JSON does not have, are strings.

        A repair has its ``diff`` in place of the whole file before and after it.
        """
        said = {"verdict": self.verdict, "ok": self.ok, "first_divergence": self.first_divergence} | asdict(self)
        for found, written in zip(self.findings, said["findings"], strict=True):
            if found.repair:
                del written["repair"]["before"], written["repair"]["after"]
                written["repair"]["diff"] = found.repair.diff
        return json.dumps(json.loads(json.dumps(said), parse_constant=str), indent=2)

    @property
    def _contents(self) -> Contents:
        several = len(self.sections) > 1
        listings, heats = [], []
        for section in self.sections:
            of = f" ({section.name})" if several else ""
            listings += [(f"{shown_path(x.file)}, {x.function}{of}", x) for x in section.listings if x.lines]
            heats += [Heat(f"{x.tensor}{of}", x.apart, x.heat) for x in section.checks if x.heat]
        shown = (listings, heats, [*self._rows()] if self._checks else [])
        return Contents(self.title, self.verdict, self.summary(), self.findings, *shown, self._notes, self._words)

    @property
    def _checks(self) -> list[tuple[str, TensorCheck]]:
        return [(section.name, check) for section in self.sections for check in section.checks]

    @property
    def _notes(self) -> list[str]:
        noted = [f"{name}{f', {c.tensor}' * (c.tensor != 'all')}: {c.note}" for name, c in self._checks if c.note]
        return [f"Note: {note}" for note in (*noted, *self.notes)]

    @property
    def _words(self) -> str:
        """All that may hold symbols that need an explanation."""
        numbers = "relative and ulp" if any(relative for _, _, relative, _ in self._rows()) else ""
        derivatives = [name for name, *_ in self._rows() if name.startswith("∂ ")]
        lines = [line for section in self.sections for shown in section.listings for line in shown.lines]
        # Of what a line is said to be only this: the name after it is the user's.
        marks = {MARKS[line.verdict] for line in lines} | {"∂L/∂" for line in lines if "∂L/∂" in line.said}
        return "\n".join([*(finding.words for finding in self.findings), *self._notes, numbers, *derivatives, *marks])

    def _rows(self) -> Iterator[Row]:
        """A row for every tensor; in a long report one for all of a right section, so that what is wrong is seen."""
        for section in self.sections:
            checks = section.checks
            if len(self.sections) > 6 and {check.verdict for check in checks} == {"right"}:
                checks = (replace(max(checks, key=lambda check: check.relative), tensor=section.name),)
            elif len(self.sections) > 1:
                yield section.name, "", "", ""
            for check in checks:
                yield check.tensor, check.verdict, shortened(check.relative), shortened(check.ulp)

    def summary(self) -> str:
        """The verdict, and how much was compared."""
        verdicts, found = [check.verdict for _, check in self._checks], [finding.verdict for finding in self.findings]
        wrong, unchecked = verdicts.count("wrong"), verdicts.count("could not be checked")
        tensors, faults = counted(len(verdicts), "tensor"), counted(found.count("wrong"), "fault")
        said = {
            "wrong": f"WRONG: {faults}; {wrong} of {tensors} differ{'s' * (wrong == 1)}",
            "could not be checked": f"COULD NOT BE CHECKED: {unchecked} of {tensors}",
            "right, but": f"RIGHT, BUT: {counted(found.count('right, but'), 'remark')}; {tensors} compared",
            "convention": f"RIGHT, but for a convention: {tensors} compared",
            "rounding": f"RIGHT, to the rounding of float32: {tensors} compared",
            "right": f"RIGHT: {tensors} compared",
        }[self.verdict]
        took = "" if math.isnan(self.seconds) else f", in {self.seconds:.1f} s"
        first = f" The first divergence is {self.first_divergence}." if self.first_divergence else ""
        more = f" {unchecked} could not be checked." if unchecked and self.verdict == "wrong" else ""
        return f"{said}{took}.{first}{more}"


def timed(verify: Callable[P, Report]) -> Callable[P, Report]:
    """A function that makes a report, with the seconds that it took in it."""

    @wraps(verify)
    def measured(*args: P.args, **kwargs: P.kwargs) -> Report:
        start = time.perf_counter()
        return replace(verify(*args, **kwargs), seconds=time.perf_counter() - start)

    return measured


def could_not_be_checked(name: str, note: str) -> Report:
    """The report of something that could not be looked at, and why."""
    return Report(name, (Section(name, (TensorCheck("all", "could not be checked", note=note),)),))


def merged(title: str, reports: Iterable[Report], notes: Iterable[str] = (), seconds: float = math.nan) -> Report:
    """Several reports as one."""
    reports = list(reports)
    sections = tuple(section for report in reports for section in report.sections)
    findings = tuple(finding for report in reports for finding in report.findings)
    notes = dict.fromkeys([*notes, *(note for report in reports for note in report.notes)])
    return Report(title, sections, findings, tuple(notes), seconds)
