"""What the verifier says: a verdict for every tensor, and findings in sentences."""

from __future__ import annotations

import io
import json
import math
import time
from dataclasses import asdict, dataclass, replace
from functools import wraps
from typing import TYPE_CHECKING, Any, Literal, ParamSpec

import numpy as np
from rich.console import Console

from torch_impl.verify.render import Entry, Line, Table, Terminal, clean, labelled, markdown, page, sentence, symbols

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from torch_impl.verify.render import Block

P = ParamSpec("P")
Verdict = Literal["right", "convention", "right, but", "rounding", "wrong", "could not be checked"]
UNKNOWN, NO_NAME = "unknown", "the gradient differs, and no known mistake explains the numbers"

# From the worst to the best. "right, but" is right in its numbers, and says something else that should be known.
_ORDER: tuple[Verdict, ...] = ("wrong", "could not be checked", "right, but", "convention", "rounding", "right")


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

    def entry(self, number: int = 0) -> Entry:
        """In the order of what a reader needs: what is wrong, where, how to mend it, and how that is known."""
        where = "" if self.explanation.startswith(f"In {self.where}: ") else self.where
        lines = ("", self.explanation), ("where", where), ("fix", self.fix), ("formula", self.formula)
        said = tuple((label, text) for label, text in (*lines, ("numbers", self.evidence)) if text)
        aside = f"(or {', '.join(self.ties)}: what was tried does not tell them apart)" if self.ties else ""
        return Entry(number, self.tensor, self.mistake, aside, self.verdict, said)

    def __str__(self) -> str:
        entry = self.entry()
        said = [*(labelled(*line) for line in entry.lines), *sentence(symbols([entry]))]
        return "\n   ".join(map(clean, [f"{self.tensor}: {self.mistake} {entry.aside}", *said]))


def finding(
    mistake: Any, tensors: Sequence[str], where: str, line: str = "", *, text: str = "", formula: str = "",
    evidence: str = "", residual: float = math.nan, ties: Iterable[str] = (),
) -> Finding:  # fmt: skip
    """A finding that says "In {where}: {text}."; unless a text is given, it is the catalogue's.

    ``mistake`` is a row of the catalogue (name, what, fix, and the verdict as its kind) or "unknown".
    """
    unknown = mistake == UNKNOWN
    said = text or (NO_NAME if unknown else mistake.what)
    verdict: Any = "wrong" if unknown else mistake.kind
    also = f" It makes {', '.join(tensors)} wrong." if len(tensors) > 1 and verdict == "wrong" else ""
    return Finding(
        tensors[0], UNKNOWN if unknown else mistake.name, "none" if unknown else "tie" if ties else "certain", residual,
        f"In {where}: {said}.{also}", formula, f"{where}, {line}" if line else where, evidence,
        verdict, tuple(ties), tuple(tensors), "" if unknown else mistake.fix,
    )  # fmt: skip


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
    notes: tuple[str, ...] = ()
    seconds: float = math.nan

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of all tensors and findings."""
        verdicts = {check.verdict for section in self.sections for check in section.checks}
        verdicts |= {finding.verdict for finding in self.findings}
        return next((v for v in _ORDER if v in verdicts), "could not be checked")

    @property
    def ok(self) -> bool:
        """Nothing is wrong, and everything could be checked; every other verdict is one without an error."""
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
        """For tests: raise WrongGradientError with the report in Markdown, unless the report is ok."""
        if not self.ok:
            raise WrongGradientError(self.to_markdown())

    def __str__(self) -> str:
        file = io.StringIO()  # in memory, so that it does not depend on the terminal's encoding
        Console(file=file, width=100, color_system=None, legacy_windows=False, force_jupyter=False).print(self)
        return "\n".join(line.rstrip() for line in file.getvalue().splitlines())

    def __rich__(self) -> Terminal:
        return Terminal(tuple(self.blocks()))

    def blocks(self, on_a_page: bool = False) -> list[Block]:
        """The content: what matters most comes first on a page, and last in a terminal, where the end is in view."""
        rows = tuple(row for section in self.sections for row in self._rows(section))
        table: list[Block] = [Table(rows)] if rows else []
        noted = [(section.name, check) for section in self.sections for check in section.checks if check.note]
        notes = [f"{name}{f', {check.tensor}' * (check.tensor != 'all')}: {check.note}" for name, check in noted]
        said: list[Block] = [finding.entry(i) for i, finding in enumerate(self.findings, 1)]
        said += [Line("note", f"Note: {text}") for text in (*notes, *self.notes)]
        for part in (table, said):
            part += [Line("legend", text) for text in sentence(symbols(part))]
        title, summary = Line("title", clean(self.title) or "Report"), Line("summary", self.summary(), self.verdict)
        return [title, summary, *said, *table] if on_a_page else [title, *table, *said, summary]

    def _rows(self, section: Section) -> list[Any]:
        """A row for every tensor; in a long report one for all of a right section, so that what is wrong is seen."""
        rows = [(check.tensor, check.verdict, check.relative, check.ulp) for check in section.checks]
        if len(self.sections) > 6 and {check.verdict for check in section.checks} == {"right"}:
            return [(section.name, *max(rows, key=lambda row: row[2])[1:])]
        return [(section.name, "", math.nan, math.nan), *rows] if len(self.sections) > 1 else rows

    def summary(self) -> str:
        """One sentence: the verdict, and how much was compared."""
        verdicts = [check.verdict for section in self.sections for check in section.checks]
        found = [finding.verdict for finding in self.findings]
        n, unchecked, total = verdicts.count("wrong"), verdicts.count("could not be checked"), len(verdicts)
        took = "" if math.isnan(self.seconds) else f", in {self.seconds:.1f} s"
        if self.verdict == "wrong":
            differ = f"{n} of {_count(total, 'tensor')} differ{'s' * (n == 1)}{took}."
            first = f" The first divergence is {self.first_divergence}." if self.first_divergence else ""
            more = f" {unchecked} could not be checked." if unchecked else ""
            return f"WRONG: {_count(found.count('wrong'), 'fault')}; {differ}{first}{more}"
        if self.verdict == "could not be checked":
            return f"COULD NOT BE CHECKED: {unchecked} of {_count(total, 'tensor')}{took}."
        remarks = _count(max(found.count("right, but"), verdicts.count("right, but")), "remark")
        aside = {"convention": ", but for a convention", "rounding": ", to the rounding of float32"}
        opening = f", BUT: {remarks};" if self.verdict == "right, but" else f"{aside.get(self.verdict, '')}:"
        return f"RIGHT{opening} {_count(total, 'tensor')} compared{took}."

    def to_dict(self) -> dict[str, Any]:
        """Everything, in what JSON can hold; NaN and infinities become strings."""
        said = {"verdict": self.verdict, "ok": self.ok, "first_divergence": self.first_divergence}
        return _jsonable({"title": self.title} | said | asdict(self))

    def to_json(self) -> str:
        """The whole report for machines."""
        # Half of a surrogate pair, as in a file's name, has no other form in UTF-8 than its escape.
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()

    def to_markdown(self) -> str:
        """The findings and the table, to paste into an issue."""
        return markdown(self.blocks(on_a_page=True))

    def to_html(self) -> str:
        """A page of its own."""
        return page(self.title, self.blocks(on_a_page=True))


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


def compare(
    tensor: str, hand: Any, reference: NDArray[Any], tolerance: float, probe: str, verdict: Verdict = "wrong"
) -> TensorCheck:
    """The check of one tensor: right within ``tolerance`` (absolute), else ``verdict``."""
    note, shape = "", reference.shape
    if not isinstance(hand, np.ndarray | np.generic):
        note = f"is a {type(hand).__name__}, expected an array of shape {reference.shape}"
    elif hand.dtype.kind not in "biuf":
        note = f"is an array of {hand.dtype}, expected real numbers"
    elif hand.shape != reference.shape:
        note, shape = f"has shape {hand.shape}, expected {reference.shape}", hand.shape
    if note:
        return TensorCheck(tensor, "wrong", math.inf, math.inf, shape=shape, probe=probe, note=note)
    if hand.size == 0:
        return TensorCheck(tensor, "right", 0.0, 0.0, probe=probe)
    apart = np.nan_to_num(np.abs(hand.astype(np.float64) - reference), nan=np.inf, posinf=np.inf)
    worst = tuple(int(i) for i in np.unravel_index(apart.argmax(), apart.shape))
    largest, scale = float(apart[worst]), float(np.abs(reference).max())
    dtype = hand.dtype if hand.dtype in (np.float32, np.float64) else np.dtype(np.float64)
    relative, ulp = (largest / scale, largest / float(np.spacing(dtype.type(scale)))) if scale else (largest, math.inf)
    return TensorCheck(
        tensor, "right" if largest <= tolerance else verdict, relative, ulp if largest else 0.0, worst,
        float(hand[worst]), float(reference[worst]), hand.shape, int((apart > tolerance).sum()), probe,
    )  # fmt: skip


def ratios(hand: ArrayLike, reference: ArrayLike) -> str:
    """In a phrase: the two where they differ most, and the range of their ratios; or the shapes where those differ."""
    hand, reference = np.asarray(hand), np.asarray(reference)
    if hand.shape != reference.shape:
        return f"yours has shape {hand.shape}, autograd's {reference.shape}"
    if not np.isfinite(hand).all():
        strange = hand[~np.isfinite(hand)]
        return f"yours holds {strange[0]} in {strange.size:,} of {hand.size:,} elements"
    known = np.isfinite(reference)
    if not known.any():
        return ""
    apart = np.where(known, np.abs(hand - reference), 0)
    index = tuple(int(i) for i in np.unravel_index(apart.argmax(), apart.shape))
    where = f"at index {list(index)} " if index else ""
    text = f"{where}yours is {hand[index]:.6g}, autograd's is {reference[index]:.6g}"
    used = known & (np.abs(reference) > 1e-9 * (np.abs(reference[known]).max() or 1))
    if used.sum() <= 1:
        return text
    r = hand[used] / reference[used]
    low, high = f"{r.min():.4g}", f"{r.max():.4g}"
    return f"{text}; yours/autograd's {f'is {low} everywhere' if low == high else f'from {low} to {high}'}"


def symbols_in(report: Report) -> dict[str, str]:
    """The symbols and words that need an explanation and stand in this very report, with what they mean."""
    return symbols(report.blocks())


def _count(n: int, thing: str) -> str:
    return f"{n:,} {thing}{'s' * (n != 1)}"


def _jsonable(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _jsonable(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
