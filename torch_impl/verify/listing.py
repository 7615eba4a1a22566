"""What a report shows of the user's own source: its lines with a verdict beside each, and the edit that mends it."""

from __future__ import annotations

import difflib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

# "right" equals what is named; "wrong" is the first one that does not; "affected" uses what is wrong and is not right;
# "unmatched" equals nothing that is known. A line that computes nothing has none.
LineVerdict = Literal["", "right", "wrong", "affected", "unmatched"]


@dataclass(frozen=True)
class Line:
    """One line of the source; ``said`` is what its value is, or should be: "∂L/∂z2", "should be ∂L/∂z1"."""

    number: int
    text: str
    verdict: LineVerdict = ""
    said: str = ""


@dataclass(frozen=True)
class Listing:
    """One function of the user's that the backward pass runs through."""

    file: str
    function: str
    lines: tuple[Line, ...]

    @property
    def first_wrong(self) -> Line | None:
        return next((line for line in self.lines if line.verdict == "wrong"), None)


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
        path = Path(self.file)
        name = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else Path(path.name)
        old, new = (io.StringIO(text).readlines() for text in (self.before, self.after))  # a form feed ends no line
        made = difflib.unified_diff(old, new, f"a/{name.as_posix()}", f"b/{name.as_posix()}")
        return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in made)
