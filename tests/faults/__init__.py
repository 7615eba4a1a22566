"""The campaign against the project: kills, full disks, damaged files, wrong arguments; what must end well, many times.

    python -m tests.faults                     every family, at the counts that docs/reliability.md states
    python -m tests.faults bits --count 50     one family, fewer cases

A family is a file of this folder: ``WHAT`` is done to the project in each of its ``COUNT`` cases, and ``outcomes`` does
it. The tests beside this folder run a few cases of those that are quick.
"""

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Outcome:
    """How a case ended: well, where ``problem`` is None."""

    case: str
    problem: str | None = None


class Family(Protocol):
    """A file of this folder."""

    WHAT: str  # a line of the table
    COUNT: int  # of the cases in the whole campaign

    def outcomes(self, count: int, seed: int) -> Iterator[Outcome]:
        """Run so many cases, drawn by the seed."""


def families() -> dict[str, Family]:
    """The families, by the names of their files."""
    names = [file.name for file in pkgutil.iter_modules(__path__) if not file.name.startswith("_")]
    modules = {name: importlib.import_module(f"{__name__}.{name}") for name in names}
    return {name: module for name, module in modules.items() if hasattr(module, "WHAT")}
