"""Right code as people publish it: nothing must be found, nothing crash, nothing stay unchecked.

    python -m tests.verify.published [PART OF A NAME …]

prints the table of docs/verifier.md.
"""

from __future__ import annotations

import importlib
import pkgutil
import statistics
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.verify import published
from tests.verify.published.cases import CASES
from tests.verify.published.judging import report_of

OTHERS = ("cases", "judging", "differences", "__main__")


def load() -> None:
    """Import every file of cases, which registers them."""
    for module in pkgutil.iter_modules([str(Path(published.__file__).parent)]):
        if module.name not in OTHERS:
            importlib.import_module(f"{published.__name__}.{module.name}")


def main() -> int:
    """Print the table; 1 if anything is found in right code."""
    load()
    console, rows, bad = Console(width=110, highlight=False), [], []
    for case in CASES:
        if sys.argv[1:] and not any(part in f"{case.kind}: {case.name}" for part in sys.argv[1:]):
            continue
        start = time.perf_counter()
        try:
            report = report_of(case)
            problem = "" if report.ok and not any(f.verdict == "wrong" for f in report.findings) else report.verdict
            said = str(report)
        except Exception as error:
            problem, said = "crash", f"{type(error).__name__}: {error}"
        rows.append((case, problem, time.perf_counter() - start))
        if problem:
            bad.append((case, problem, said))
            print(f"--- {case.kind}: {case.name}: {problem}", flush=True)
    table = Table(title="Right code as people publish it", title_justify="left")
    for column in ("", "cases", "with an adapter", "wrong", "crashes", "not checked", "median s", "longest s"):
        table.add_column(column, justify="right" if column else "left")
    for kind in dict.fromkeys(case.kind for case, _, _ in rows):
        mine = [row for row in rows if row[0].kind == kind]
        seconds = [s for _, _, s in mine]
        counts = [sum(p == problem for _, p, _ in mine) for problem in ("wrong", "crash", "could not be checked")]
        adapters = sum(case.adapter for case, _, _ in mine)
        times = (f"{statistics.median(seconds):.2f}", f"{max(seconds):.1f}")
        table.add_row(kind, str(len(mine)), str(adapters), *map(str, counts), *times)
    console.print(table)
    for case, problem, said in bad:
        console.print(f"{case.kind}: {case.name}: {problem}\n{said}", markup=False)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
