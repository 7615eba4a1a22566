"""Runs the campaign and prints its table: python -m tests.faults [FAMILY …] [--count N] [--seed N]."""

import argparse
import os
import sys
import time

from tests.faults import families


def main() -> int:
    """0 if every case ended well, else 1."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy and torch are imported: several trainings run at once
    known = families()
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("family", nargs="*", help=f"of {', '.join(known)}; else all")
    parser.add_argument("--count", type=int, help="cases of each; else those of the whole campaign")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    unknown = set(options.family) - known.keys()
    if unknown:
        parser.error(f"family is {sorted(unknown)[0]!r}, expected one of {', '.join(known)}")
    rows, problems = ["| what | cases | ended well | seconds |", "|---|---|---|---|"], []
    for name in options.family or known:
        begun, found = time.monotonic(), []
        for outcome in known[name].outcomes(options.count or known[name].COUNT, options.seed):
            found.append(outcome)
            if outcome.problem is not None:
                problems.append(f"{name}: {outcome.case}: {outcome.problem}")
                print(problems[-1], file=sys.stderr, flush=True)
        well = sum(outcome.problem is None for outcome in found)
        rows.append(f"| {known[name].WHAT} | {len(found):,} | {well:,} | {time.monotonic() - begun:,.0f} |")
    print(*rows, sep="\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
