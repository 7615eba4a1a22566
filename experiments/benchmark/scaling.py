"""How the time grows with the network and its data: one quantity grows, beside the least time that it could take."""

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from experiments.benchmark.cases import Case, random_data
from experiments.benchmark.contenders import BASELINE
from experiments.benchmark.timing import WARM_UP, CaseTimings, time_case


@dataclass(frozen=True)
class Sweep:
    """One quantity of the task that grows, and what grows with it."""

    quantity: str
    values: list[int]
    cases: list[CaseTimings]
    floors: list[float]  # seconds an epoch: the matrix products at the machine's rate, and Adam's passes over memory

    def seconds(self, contender: str) -> list[float]:
        """The median seconds an epoch, by value."""
        return [next(t.median for t in case.timings if t.contender == contender) for case in self.cases]


def scaling(rounds: int, threads: int, device: str) -> Iterator[Sweep]:
    """Time scratch and the plain torch loop while one of width, depth, batch size and data grows; on random data."""

    def case(samples: int = 8192, batch: int = 128, hidden: Sequence[int] = (256, 128)) -> Case:
        made = Case("", (784, *hidden, 10), "relu", batch, samples, 1, rounds + WARM_UP, device)
        steps = -(-samples // batch)
        guess = made.flops / 5e10 + steps * (2e-4 + made.parameters * 2e-9)
        return replace(made, epochs=max(1, round(0.05 / guess)))  # a turn should take longer than its timer

    sweeps = {
        "width": {width: case(2048, hidden=(width, width)) for width in (64, 128, 256, 512, 1024, 2048, 4096)},
        "depth": {depth: case(hidden=[256] * depth) for depth in (1, 2, 4, 8, 16)},
        "batch": {batch: case(batch=batch) for batch in (1, 8, 32, 128, 512, 2048, 8192)},
        "samples": {samples: case(samples) for samples in (1_000, 4_000, 16_000, 60_000)},
    }
    return (_sweep(quantity, cases, threads) for quantity, cases in sweeps.items())


def _sweep(quantity: str, cases: dict[int, Case], threads: int) -> Sweep:
    timed = []
    for value, case in cases.items():
        named = replace(case, name=f"{quantity} {value}")
        timed.append(time_case(named, random_data(named), ("scratch", BASELINE), threads))
    return Sweep(quantity, list(cases), timed, [floor(timings) for timings in timed])


def floor(timings: CaseTimings) -> float:
    """Seconds an epoch of the matrix products at the machine's rate, and of Adam at the rate of an addition in memory.

    Adam reads four numbers a parameter and writes three, an addition in place reads two and writes one.
    """
    case = timings.case
    a, b = np.zeros((2, case.parameters), np.float32)
    seconds = []
    for _ in range(20):
        start = time.perf_counter()
        a += b
        seconds.append(time.perf_counter() - start)
    steps = -(-case.samples // case.batch_size)
    return case.flops / statistics.median(timings.flops_per_second) + steps * statistics.median(seconds) * 7 / 3
