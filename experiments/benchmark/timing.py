"""How the contenders are timed: they train a case in turns, A B C A B C …, so that all see the same machine."""

import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from experiments.benchmark.cases import QUICK_SAMPLES, SIZES, Case
from experiments.benchmark.contenders import BASELINE, CONTENDERS, RATE, product_flops
from experiments.benchmark.worker import Worker
from experiments.data import Data
from experiments.report import make_console
from experiments.tasks import TASKS
from scratch import checks

WARM_UP = 1  # turns
PAUSE = 0.1  # seconds before a turn: the threads of the one before spin on for a while


@dataclass(frozen=True)
class Timing:
    """A contender's turns at a case: seconds an epoch, turn by turn; or why it did not run."""

    contender: str
    seconds: list[float]
    accuracy: float
    peak_bytes: int
    problem: str | None = None

    @classmethod
    def of(cls, worker: Worker, case: Case) -> Self:
        """What a worker came to, without the warm-up."""
        seconds = [seconds / case.epochs for seconds in worker.seconds[WARM_UP:]]
        return cls(worker.contender, seconds, worker.end["accuracy"], worker.end["peak_bytes"], worker.problem)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


@dataclass(frozen=True)
class CaseTimings:
    """A case with the timings of all contenders, and the machine's rate, turn by turn."""

    case: Case
    timings: list[Timing]
    flops_per_second: list[float]

    def ratios(self, timing: Timing, to: str = BASELINE) -> list[float]:
        """The contender's seconds over those of ``to``, pair by pair: both were timed in the same round."""
        base = next((t for t in self.timings if t.contender == to and not t.problem), None)
        return [] if base is None else [a / b for a, b in zip(timing.seconds, base.seconds, strict=True)]

    def rate_fractions(self, timing: Timing) -> list[float]:
        """The fraction of the machine's matrix-product rate that the contender's products come to, pair by pair."""
        pairs = zip(timing.seconds, self.flops_per_second, strict=True)
        return [self.case.flops / seconds / rate for seconds, rate in pairs]


def time_sizes(
    sizes: list[str], contenders: list[str], rounds: int, threads: int, device: str, data_dir: str | None, quick: bool
) -> Iterator[CaseTimings]:
    """Let the contenders train every size; yield the timings of each.

    Raises
        ValueError, FileNotFoundError: an unknown name, or no MNIST; nothing has run
    """
    for name in sizes:
        checks.choice("sizes", name, SIZES)
    for name in contenders:
        checks.choice("contenders", name, {c: 0 for c in CONTENDERS if c != RATE})
    samples = QUICK_SAMPLES if quick else sys.maxsize
    cases = [replace(SIZES[name], turns=rounds + WARM_UP, device=device) for name in sizes]
    data = {task: TASKS[task](data_dir=data_dir).load() for task in dict.fromkeys(case.task for case in cases)}
    return (time_case(case, data[case.task], contenders, threads, samples) for case in cases)


def time_case(
    case: Case, data: Data, contenders: Sequence[str], threads: int, samples: int = sys.maxsize
) -> CaseTimings:
    """Time the contenders, and the machine's matrix products among them, in turns."""
    case = replace(case, samples=min(samples, len(data.train.x)))
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        case.save(data, Path(temporary))
        workers = []
        for contender in (*contenders, RATE):
            workers.append(Worker(contender, Path(temporary), threads))
            stack.callback(workers[-1].close)
        for worker in workers:  # they load at the same time, and train one after another
            worker.wait_until_ready()
        columns = (
            TextColumn(f"{case.name:<12}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.description}", markup=False),
        )
        with Progress(*columns, TimeRemainingColumn(), console=make_console(stderr=True), transient=True) as bar:
            task = bar.add_task("", total=case.turns * len(workers), completed=-1)
            for _ in range(case.turns):
                for worker in workers:
                    bar.update(task, advance=1, description=worker.contender)
                    time.sleep(PAUSE)
                    worker.turn()
        for worker in workers:
            worker.finish()
        *trained, rate = workers
        if rate.problem is not None:
            raise ValueError(f"the matrix products on device {case.device!r} failed: {rate.problem}")
        rates = [product_flops(case.device) / seconds for seconds in rate.seconds[WARM_UP:]]
        return CaseTimings(case, [Timing.of(worker, case) for worker in trained], rates)
