"""What the verifier says: a verdict for every tensor, and findings in sentences."""

from __future__ import annotations

import io
import json
import math
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from torch_impl.verify.mistakes.catalogue import CATALOGUE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray
    from rich.console import RenderableType

Verdict = Literal["right", "convention", "rounding", "wrong", "could not be checked"]
UNKNOWN = "unknown"

_STYLES = {"right": "green", "convention": "yellow", "rounding": "yellow", "wrong": "bold red"}


class WrongGradientError(AssertionError):
    """Raised by :meth:`Report.raise_if_wrong`; its text is the report."""


@dataclass(frozen=True)
class TensorCheck:
    """One tensor beside the reference.

    ``relative`` is the largest difference of an element over the largest element of the reference, ``ulp`` the same
    difference in units in the last place of that largest element, ``worst`` the index of that element. ``probe`` names
    the inputs with which the difference was largest.
    """

    tensor: str
    verdict: Verdict
    relative: float = math.nan
    ulp: float = math.nan
    worst: tuple[int, ...] = ()
    hand: float = math.nan
    reference: float = math.nan
    shape: tuple[int, ...] = ()
    wrong_elements: int = 0
    probe: str = ""
    note: str = ""


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, or a convention that differs.

    ``mistake`` is a name of the catalogue, or "unknown" where nothing known explains the numbers. ``confidence`` is
    "certain" where one explanation alone reproduces every probe to rounding, "tie" where those in ``ties`` do so too,
    and "none" for an unknown fault. ``residual`` is what the explanation leaves of the difference, relative to the
    tensor's largest element (NaN for unknown).
    """

    tensor: str
    mistake: str
    confidence: Literal["certain", "tie", "none"]
    residual: float
    explanation: str
    formula: str = ""
    where: str = ""
    evidence: str = ""
    verdict: Literal["wrong", "convention"] = "wrong"
    ties: tuple[str, ...] = ()
    tensors: tuple[str, ...] = ()  # every tensor that this one fault made wrong

    @property
    def fix(self) -> str:
        return CATALOGUE[self.mistake].fix if self.mistake in CATALOGUE else ""

    def __str__(self) -> str:
        ties = f" (or {', '.join(self.ties)})" if self.ties else ""
        return "\n".join([f"{self.tensor}: {self.mistake}{ties}", *(f"   {text}" for text in _lines(self))])


@dataclass(frozen=True)
class Section:
    """The tensors of one function, layer, loss or optimizer, in backward order."""

    name: str
    checks: tuple[TensorCheck, ...]


@dataclass(frozen=True)
class Report:
    """What was compared, and what was found."""

    title: str
    sections: tuple[Section, ...] = ()
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = field(default=())
    seconds: float = math.nan

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of all tensors and findings: wrong, could not be checked, convention, rounding, right."""
        verdicts = {check.verdict for section in self.sections for check in section.checks}
        verdicts |= {finding.verdict for finding in self.findings}
        order: tuple[Verdict, ...] = ("wrong", "could not be checked", "convention", "rounding")
        return next((v for v in order if v in verdicts), "right" if verdicts else "could not be checked")

    @property
    def ok(self) -> bool:
        """Nothing is wrong, and everything could be checked; conventions and rounding are no errors."""
        return self.verdict not in ("wrong", "could not be checked")

    @property
    def first_divergence(self) -> str:
        """The first tensor that is wrong, in the order of the computation: forward, then backward; "" if none is."""
        return next((f"{s.name}: {c.tensor}" for s in self.sections for c in s.checks if c.verdict == "wrong"), "")

    def renamed(self, name: str) -> Report:
        """The same report, of something called ``name``."""
        sections = tuple(replace(s, name=s.name.replace(self.title, name, 1)) for s in self.sections)
        return replace(self, title=name, sections=sections)

    def raise_if_wrong(self) -> None:
        """For tests.

        Raises
            WrongGradientError: unless the report is ok; the message is the report as Markdown
        """
        if not self.ok:
            raise WrongGradientError(self.to_markdown())

    def __str__(self) -> str:
        console = Console(width=100, file=None, color_system=None, legacy_windows=False, force_terminal=False)
        with console.capture() as capture:
            console.print(self)
        return "\n".join(line.rstrip() for line in capture.get().splitlines())

    def __rich__(self) -> RenderableType:
        return Group(*self._parts())

    def _parts(self) -> Iterable[RenderableType]:
        # A long report shows right sections as a line each: what is wrong should not be searched for.
        brief = len(self.sections) > 6
        table = Table(title=self.title, title_justify="left", title_style="bold")
        table.add_column("tensor")
        table.add_column("verdict")
        table.add_column("relative", justify="right")
        table.add_column("ulp", justify="right")
        for section in self.sections:
            right = all(check.verdict == "right" for check in section.checks)
            if len(self.sections) > 1 and not (brief and right):
                table.add_section()
                table.add_row(Text(section.name, style="bold"), "", "", "")
            for check in [_widest(section)] if brief and right else section.checks:
                name = section.name if brief and right else check.tensor
                indent = "  " if len(self.sections) > 1 and not (brief and right) else ""
                table.add_row(
                    Text(indent + name),
                    Text(check.verdict, style=_STYLES.get(check.verdict, "magenta")),
                    _number(check.relative),
                    _ulp(check.ulp),
                )
        yield table
        for section in self.sections:
            for check in section.checks:
                if check.note:
                    yield Text(f"{section.name}, {check.tensor}: {check.note}")
        for note in self.notes:
            yield Text(f"Note: {note}")
        for i, finding in enumerate(self.findings, 1):
            ties = f"  (or {', '.join(finding.ties)}: what was tried does not tell them apart)"
            yield Text()
            yield Text.assemble(
                (f"{i}. {finding.tensor}: ", "bold"),
                (finding.mistake, "bold red" if finding.verdict == "wrong" else "bold yellow"),
                *([ties] if finding.ties else []),
            )
            for line in _lines(finding):
                yield Padding(Text(line), (0, 0, 0, 3))
        yield Text()
        yield Text(self.summary(), style=_STYLES.get(self.verdict, "magenta"))

    def summary(self) -> str:
        """One sentence: the verdict, and how much was compared."""
        checks = [check for section in self.sections for check in section.checks]
        n = sum(check.verdict == "wrong" for check in checks)
        unchecked = sum(check.verdict == "could not be checked" for check in checks)
        faults = sum(finding.verdict == "wrong" for finding in self.findings)
        took = "" if math.isnan(self.seconds) else f", in {self.seconds:.1f} s"
        if self.verdict == "wrong":
            first = f" The first divergence is {self.first_divergence}." if self.first_divergence else ""
            more = f" {unchecked} could not be checked." if unchecked else ""
            return (
                f"WRONG: {_count(faults, 'fault')}; {n} of {_count(len(checks), 'tensor')} differ{took}.{first}{more}"
            )
        if self.verdict == "could not be checked":
            return f"COULD NOT BE CHECKED: {unchecked} of {_count(len(checks), 'tensor')}{took}."
        aside = {"convention": ", but for a convention", "rounding": ", to the rounding of float32"}.get(
            self.verdict, ""
        )
        return f"RIGHT{aside}: {_count(len(checks), 'tensor')} compared{took}."

    def to_dict(self) -> dict[str, Any]:
        """Everything, in what JSON can hold; NaN and infinities become strings."""
        content = {
            "title": self.title,
            "verdict": self.verdict,
            "ok": self.ok,
            "first_divergence": self.first_divergence,
            "sections": [asdict(section) for section in self.sections],
            "findings": [asdict(finding) | {"fix": finding.fix} for finding in self.findings],
            "notes": list(self.notes),
            "seconds": self.seconds,
        }
        return _jsonable(content)

    def to_json(self) -> str:
        """The whole report for machines."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False)

    def to_markdown(self) -> str:
        """The table and the findings, to paste into an issue."""
        lines = [
            f"**{self.title}**: {self.summary()}",
            "",
            "| | tensor | verdict | relative | ulp |",
            "|---|---|---|---|---|",
        ]
        for section in self.sections:
            for check in section.checks:
                lines.append(
                    f"| {section.name} | {check.tensor} | {check.verdict} | {_number(check.relative)} "
                    f"| {_ulp(check.ulp)} |"
                )
                lines += [f"| | | {check.note} | | |"] if check.note else []
        lines += ["", *(f"Note: {note}" for note in self.notes)] if self.notes else []
        for i, finding in enumerate(self.findings, 1):
            ties = f" (or {', '.join(f'`{t}`' for t in finding.ties)})" if finding.ties else ""
            lines += [
                "",
                f"{i}. **{finding.tensor}**: `{finding.mistake}`{ties}",
                *(f"   - {x}" for x in _lines(finding)),
            ]
        return "\n".join(lines) + "\n"

    def to_html(self) -> str:
        """A page of its own, as the terminal shows it."""
        console = Console(width=92, record=True, file=_Nowhere(), force_terminal=True, color_system="truecolor")
        console.print(self)
        return console.export_html(inline_styles=True)


def could_not_be_checked(name: str, note: str) -> Report:
    """The report of something that could not be looked at, and why."""
    return Report(name, (Section(name, (TensorCheck("all", "could not be checked", note=note),)),))


def merged(title: str, reports: Iterable[Report], notes: Iterable[str] = (), seconds: float = math.nan) -> Report:
    """Several reports as one."""
    reports = list(reports)
    return Report(
        title,
        tuple(section for report in reports for section in report.sections),
        tuple(finding for report in reports for finding in report.findings),
        tuple(dict.fromkeys([*notes, *(note for report in reports for note in report.notes)])),
        seconds,
    )


def compare(
    tensor: str, hand: Any, reference: NDArray[Any], tolerance: float, probe: str, verdict: Verdict = "wrong"
) -> TensorCheck:
    """The check of one tensor: right within ``tolerance`` (absolute), else ``verdict``."""
    if not isinstance(hand, np.ndarray | np.generic) or np.asarray(hand).dtype == object:
        note = f"is a {type(hand).__name__}, expected an array of shape {reference.shape}"
        return TensorCheck(tensor, "wrong", math.inf, math.inf, shape=reference.shape, probe=probe, note=note)
    hand = np.asarray(hand)
    if hand.shape != reference.shape:
        note = f"has shape {hand.shape}, expected {reference.shape}"
        return TensorCheck(tensor, "wrong", math.inf, math.inf, shape=hand.shape, probe=probe, note=note)
    if hand.size == 0:
        return TensorCheck(tensor, "right", 0.0, 0.0, probe=probe)
    apart = np.abs(hand.astype(np.float64) - reference)
    apart = np.where(np.isnan(apart), np.inf, apart)
    worst = tuple(int(i) for i in np.unravel_index(apart.argmax(), apart.shape))
    largest, scale = float(apart[worst]), float(np.abs(reference).max())
    dtype = hand.dtype if hand.dtype in (np.float32, np.float64) else np.dtype(np.float64)
    unit = float(np.spacing(dtype.type(scale))) if scale else float(np.finfo(dtype).tiny)
    return TensorCheck(
        tensor,
        "right" if largest <= tolerance else verdict,
        largest / scale if scale else largest,
        largest / unit if scale else 0.0 if largest == 0 else math.inf,
        worst,
        float(hand[worst]),
        float(reference[worst]),
        hand.shape,
        int((apart > tolerance).sum()),
        probe,
    )


def _widest(section: Section) -> TensorCheck:
    return max(section.checks, key=lambda check: check.relative)


def _lines(finding: Finding) -> list[str]:
    labelled = {"where": finding.where, "formula": finding.formula, "numbers": finding.evidence, "fix": finding.fix}
    return [finding.explanation, *(f"{name}: {text}" for name, text in labelled.items() if text)]


def _count(n: int, thing: str) -> str:
    return f"{n:,} {thing}{'s' * (n != 1)}"


def _number(value: float) -> str:
    return "" if math.isnan(value) else "∞" if math.isinf(value) else "0" if value == 0 else f"{value:.1e}"


def _ulp(value: float) -> str:
    return "" if math.isnan(value) else "∞" if math.isinf(value) else f"{value:.1f}" if value < 1e4 else f"{value:.0e}"


def _jsonable(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _jsonable(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


class _Nowhere(io.StringIO):
    """A file that keeps nothing: rich's recording console writes somewhere while it records."""

    def write(self, text: str, /) -> int:
        return len(text)
