"""Code without a mistake, in which nothing must be found.

    python -m tests.verify.correct

goes through everything in scratch, the course-style functions of course.py and 200 random networks, float64 and float32
in turn, and prints how many findings there were.
"""

from __future__ import annotations

import itertools
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table

import scratch
from experiments.verifiable import verify_scratch
from tests.verify import (  # noqa: F401  they add to CORRECT
    planted_axes,
    planted_derivatives,
    planted_sequences,
    planted_windows,
)
from tests.verify.course import CASES
from tests.verify.planted_places import CORRECT
from torch_impl.verify import verify_network

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch_impl.verify import Report

ACTIVATIONS = (
    scratch.ReLU(), scratch.LeakyReLU(0.1), scratch.ELU(0.7), scratch.Sigmoid(), scratch.Tanh(), scratch.SiLU(),
    scratch.GELU(), scratch.GELU("tanh"), scratch.Softmax(), scratch.Identity(),
)  # fmt: skip


def random_network(seed: int) -> Report:
    """The report of a network of one to five layers of random widths, with a random loss, batch and dropout."""
    rng = np.random.default_rng(seed)
    dtype = ("float64", "float32")[seed % 2]
    sizes = rng.integers(1, 10, rng.integers(2, 6)).tolist()
    layers: list[Any] = []
    for i, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
        layers.append(scratch.Linear(n_in, n_out))
        if i < len(sizes) - 2:
            layers.append(ACTIVATIONS[rng.integers(len(ACTIVATIONS))])
            layers += [scratch.Dropout(float(rng.uniform(0.1, 0.6)))] if rng.random() < 0.3 else []
    batch, n_out = int(rng.integers(1, 12)), sizes[-1]
    floats = rng.random((batch, n_out)).astype(dtype)
    losses: list[tuple[Any, Any]] = [
        (scratch.CrossEntropy(), rng.integers(0, n_out, batch)),
        (scratch.BCEWithLogits(), floats),
        (scratch.MSE(), floats),
        (scratch.MAE(), floats),
    ]
    loss, y = losses[rng.integers(4)]
    x = (2 * rng.standard_normal((batch, sizes[0]))).astype(dtype)
    return verify_network(scratch.Network(tuple(layers)), loss, x=x, y=y, optimizer=scratch.Adam(), seed=seed)


def groups() -> Iterator[tuple[str, list[tuple[str, Callable[[], Report]]]]]:
    yield "everything in scratch, float64 and float32", [("scratch", verify_scratch)]
    yield "functions and objects in course style", [*CASES, *CORRECT.items()]
    yield "random networks", [(f"network {seed}", lambda seed=seed: random_network(seed)) for seed in range(200)]  # type: ignore[misc]


def main() -> int:
    """Print the table; 1 if there is a finding."""
    console = Console(width=110, highlight=False)
    table = Table(title="Code without a mistake", title_justify="left")
    for column in ("", "cases", "tensors", "findings", "not ok", "seconds"):
        table.add_column(column, justify="right" if column else "left")
    bad = []
    for name, cases in groups():
        start = time.perf_counter()
        reports = [(case, run()) for case, run in cases]
        mine = [(case, r) for case, r in reports if r.findings or not r.ok]
        tensors = sum(len(section.checks) for _, r in reports for section in r.sections)
        counts = (len(reports), tensors, sum(len(r.findings) for _, r in reports), sum(not r.ok for _, r in reports))
        table.add_row(name, *(f"{n:,}" for n in counts), f"{time.perf_counter() - start:.0f}")
        bad += mine
    console.print(table)
    for case, report in bad:
        console.print(f"{case}:", report)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
