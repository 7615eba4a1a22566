"""What a report shows of the user's own source: its lines with a verdict beside each, and the edit that mends it."""

from __future__ import annotations

import difflib
import io
import re
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

# "right" equals what is named; "wrong" is the first one that does not; "affected" uses what is wrong and is not right;
# "unmatched" equals nothing that is known. A line that computes nothing has none.
LineVerdict = Literal["", "right", "wrong", "affected", "unmatched"]
MARKS = {"": "", "right": "✓", "wrong": "✗ first wrong", "affected": "affected", "unmatched": "matches nothing"}
LONG, NEAR, FEW = 30, 5, 4  # lines: of a long function, of those beside the first wrong one, of those not worth folding


def shown_path(file: str) -> str:
    """The file as a reader finds it: from the current folder, else its name alone."""
    path = Path(file)
    return (path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else Path(path.name)).as_posix()


@dataclass(frozen=True)
class Line:
    """One line of the source; ``said`` is what its value is, or should be: "∂L/∂z2", "should be ∂L/∂z1"."""

    number: int
    text: str
    verdict: LineVerdict = ""
    said: str = ""

    @property
    def mark(self) -> str:
        """The verdict in words: "✓ ∂L/∂z2", "✗ first wrong; should be ∂L/∂z1"."""
        return (" " if self.verdict == "right" else "; ").join(filter(None, (MARKS[self.verdict], self.said)))


@dataclass(frozen=True)
class Listing:
    """One function of the user's that the backward pass runs through."""

    file: str
    function: str
    lines: tuple[Line, ...]

    @property
    def first_wrong(self) -> Line | None:
        return next((line for line in self.lines if line.verdict == "wrong"), None)

    @property
    def folded(self) -> list[Line | str]:
        """The lines; of a long function a phrase stands for what is right, or has no verdict, and lies far away."""
        if len(self.lines) <= LONG:
            return list(self.lines)
        wrong = next((i for i, line in enumerate(self.lines) if line.verdict == "wrong"), -LONG)
        far = [i > 0 and abs(i - wrong) > NEAR and x.verdict in ("", "right") for i, x in enumerate(self.lines)]
        shown: list[Line | str] = []
        for fold, grouped in groupby(zip(far, self.lines, strict=True), lambda pair: pair[0]):
            run = [line for _, line in grouped]
            said = "all right" if any(line.verdict for line in run) else "without a verdict"
            shown += [f"… {len(run)} lines, {said}"] if fold and len(run) >= FEW else run
        return shown


@dataclass(frozen=True)
class Repair:
    """One edit with which the tensors in ``tensors`` are right with every probe.

    ``said`` is the edit in words, ``line`` the first line of ``file`` that it changes, ``before`` and ``after`` are the
    whole text of the file. Of several repairs of one file each begins where the one before it ended.
    """

    file: str
    line: int
    said: str
    before: str
    after: str
    tensors: tuple[str, ...] = ()
    mends_all: bool = True  # or another fault is left

    @property
    def diff(self) -> str:
        """A unified diff, as ``patch`` takes it."""
        name = "".join(c if c.isprintable() else "?" for c in shown_path(self.file))  # the header is a line
        # Lines end at "\n" alone, as they do for patch: a form feed stands inside one.
        old, new = (io.StringIO(text, newline="\n").readlines() for text in (self.before, self.after))
        made = difflib.unified_diff(old, new, f"a/{name}", f"b/{name}")
        return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in made)

    @property
    def sentence(self) -> str:
        """Where the edit is, what it is in words, and what it does."""
        are = "are" if len(self.tensors) > 1 else "is"
        done = f"; then {', '.join(self.tensors)} {are} right with every probe" if self.tensors else ""
        left = "" if self.mends_all else "; another fault is left"
        said = re.sub("`([^`]*)`", "“\\1”", self.said)
        return f"{shown_path(self.file)}, line {self.line}: {said}{done}{left}"
