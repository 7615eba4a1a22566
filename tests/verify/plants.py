"""Every row of the catalogue, planted in several places: found, and called by its name?

    python -m tests.verify.plants [WORD ...]

prints the table of docs/verifier.md; with words, that of the plants that have one of them in their name.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unittest import mock

from rich.console import Console
from rich.table import Table

# They register their plants.
from tests.verify import (  # noqa: F401
    planted_axes,
    planted_derivatives,
    planted_gradients,
    planted_parts,
    planted_places,
    planted_sequences,
    planted_windows,
)
from tests.verify.planting import PLANTS
from torch_impl.verify import CATALOGUE, check
from torch_impl.verify.limits import limited

if TYPE_CHECKING:
    from tests.verify.planting import Plant
    from torch_impl.verify import Report


@dataclass(frozen=True)
class Judged:
    plant: Plant
    report: Report

    @property
    def found(self) -> bool:
        """Something was said; of rounding and of conventions no more than that is asked."""
        return self.report.verdict != "right"

    @property
    def named(self) -> bool:
        """By its name, first, and nothing else beside it."""
        if self.plant.mistake == "rounding":
            return self.report.verdict == "rounding" and not self.report.findings
        names = [f.mistake for f in self.report.findings]
        return bool(names) and set(names) == {self.plant.mistake, *self.plant.also}


def explaining(seconds: list[float]) -> Any:
    """Inside, the time of every explanation is kept."""
    explain = check.explain

    def timed(*args: Any) -> Any:
        start = time.process_time()
        findings = explain(*args)
        seconds.append(time.process_time() - start)
        return findings

    return mock.patch.object(check, "explain", timed)


def main(words: list[str]) -> int:
    """Print the table; 1 if a plant is not found, or fewer than 98 % are named."""
    start, console = time.perf_counter(), Console(width=110, highlight=False)
    plants = [plant for plant in PLANTS if not words or any(word in plant.name for word in words)]
    seconds: list[float] = []
    with explaining(seconds), limited(0):
        judged = [Judged(plant, plant.run()) for plant in plants]
    table = Table(title="Every mistake of the catalogue, planted", title_justify="left")
    for column in ("mistake", "places", "found", "named"):
        table.add_column(column, justify="left" if column == "mistake" else "right")
    for mistake in (m for m in CATALOGUE if any(plant.mistake == m for plant in plants)):
        mine = [j for j in judged if j.plant.mistake == mistake]
        table.add_row(mistake, str(len(mine)), str(sum(j.found for j in mine)), str(sum(j.named for j in mine)))
    found, named = sum(j.found for j in judged), sum(j.named for j in judged)
    table.add_section()
    table.add_row(
        "all", str(len(judged)), f"{found} ({found / len(judged):.0%})", f"{named} ({named / len(judged):.0%})"
    )
    console.print(table)
    for j in judged:
        if not (j.found and j.named):
            said = [(f.tensor, f.mistake) for f in j.report.findings]
            console.print(f"{j.plant.name}: {j.report.verdict}, {said}", soft_wrap=True, markup=False)
            for f in j.report.findings:
                console.print(f"     {f.tensor} {f.mistake} {f.where} {f.evidence}", soft_wrap=True, markup=False)
            for s in j.report.sections:
                for c in s.checks:
                    if c.note:
                        console.print("     note", c.note, soft_wrap=True, markup=False)
    console.print(
        f"{len(judged)} plants in {time.perf_counter() - start:.0f} s; explanations took {sum(seconds):.0f} s, one "
        f"{max(seconds, default=0):.2f} s at most"
    )
    return 0 if found == len(judged) and named >= 0.98 * len(judged) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
