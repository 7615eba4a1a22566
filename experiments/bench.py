"""The benchmark: both twins beside what a person would use instead, and how the time grows with the task."""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from experiments import data
from experiments.contenders import CONTENDERS, Case, product_flops
from scratch import checks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from experiments.data import Data

BASELINE, RATE = "torch loop", "matrix products"
WARM_UP = 1  # turns
PAUSE = 0.1  # seconds before a turn: the threads of the one before spin on for a while

SIZES: dict[str, Case] = {
    "xor": Case("xor", (2, 8, 1), "tanh", 4, 4, 500, 0),
    "digits": Case("digits", (64, 256, 128, 10), "relu", 64, 1077, 20, 0),
    **{
        f"mnist-{batch}": Case(f"mnist-{batch}", (784, 256, 128, 10), "relu", batch, 55_000, 1, 0)
        for batch in (32, 128, 512, 4096)
    },
}
QUICK_SIZES = ("xor", "mnist-128")
QUICK_SAMPLES = 12_800
QUICK_CONTENDERS = ("scratch", BASELINE, "lightning twin", "scikit-learn", "textbook NumPy")
GPU_ONLY = ("torch twin, captured",)
CPU_ONLY = ("scikit-learn", "textbook NumPy")


def contenders_for(device: str, quick: bool) -> tuple[str, ...]:
    """Those who can train there; with ``quick``, a few of them."""
    left_out = {RATE, *(GPU_ONLY if device == "cpu" else CPU_ONLY)}
    return tuple(name for name in (QUICK_CONTENDERS if quick else CONTENDERS) if name not in left_out)


@dataclass(frozen=True)
class Timing:
    """A contender's turns at a case: seconds an epoch, turn by turn; or why it did not run."""

    contender: str
    seconds: list[float]
    accuracy: float
    peak_bytes: int
    problem: str | None = None

    @classmethod
    def of(cls, worker: Worker, case: Case) -> Timing:
        """What a worker came to, without the warm-up."""
        seconds = [seconds / case.epochs for seconds in worker.seconds[WARM_UP:]]
        return cls(worker.contender, seconds, worker.end["accuracy"], worker.end["peak_bytes"], worker.problem)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


@dataclass(frozen=True)
class Outcome:
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


class Worker:
    """A contender in a process of its own, that trains when it is told to."""

    def __init__(self, contender: str, folder: Path, threads: int) -> None:
        self.contender = contender
        limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - close() closes it
        self.process = subprocess.Popen(
            [sys.executable, "-m", "experiments.contenders", contender, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env={**os.environ, **limits},
            start_new_session=True,  # Ctrl-C is for the benchmark, which then ends its workers
        )
        self.seconds: list[float] = []
        self.problem: str | None = None
        self.end: dict[str, Any] = {"accuracy": float("nan"), "peak_bytes": 0}

    def turn(self) -> float | None:
        """Let it train a turn; the seconds, or None if it failed."""
        self._write("go\n")
        seconds = self._answer().get("seconds")
        if seconds is not None:
            self.seconds.append(seconds)
        return seconds

    def wait_until_ready(self) -> None:
        self._answer()

    def finish(self) -> None:
        """Take its accuracy and peak memory."""
        if self.problem is None and self.process.stdin is not None:
            self.process.stdin.close()
            self.end = self._answer() or self.end

    def _write(self, line: str) -> None:
        if self.problem is None and self.process.stdin is not None:
            try:
                self.process.stdin.write(line)
                self.process.stdin.flush()
            except BrokenPipeError:
                self._fail()

    def _answer(self) -> dict[str, Any]:
        if self.problem is not None or self.process.stdout is None:
            return {}
        line = self.process.stdout.readline()
        if not line:
            self._fail()
            return {}
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _fail(self) -> None:
        self.process.wait()
        self.log.seek(0)
        lines = self.log.read().strip().splitlines()
        self.problem = lines[-1][:200] if lines else f"it ended with status {self.process.returncode}"

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.log):
            if stream is not None:
                stream.close()


def bench(
    sizes: Sequence[str],
    contenders: Sequence[str],
    rounds: int,
    threads: int,
    device: str,
    data_dir: str | None,
    quick: bool,
) -> Iterator[Outcome]:
    """Let the contenders train in turns, A B C A B C …; yield the outcome of every size.

    Raises
        ValueError, FileNotFoundError: an unknown name, fewer than five rounds, or no MNIST; nothing has run
    """
    for name in sizes:
        checks.choice("sizes", name, SIZES)
    for name in contenders:
        checks.choice("contenders", name, {c: 0 for c in CONTENDERS if c != RATE})
    checks.whole("rounds", rounds, 5)
    checks.whole("threads", threads, 1)
    samples = QUICK_SAMPLES if quick else sys.maxsize
    cases = [replace(SIZES[name], turns=rounds + WARM_UP, device=device) for name in sizes]
    loaded = {case.name.partition("-")[0]: None for case in cases}
    tasks: dict[str, Data] = {task: load(task, data_dir) for task in loaded}
    return (run_case(case, tasks[case.name.partition("-")[0]], contenders, threads, samples) for case in cases)


def load(task: str, data_dir: str | None) -> Data:
    """The data of a task, as the experiments split them."""
    if task == "mnist":
        return data.mnist(data_dir, 0, "float32")
    return data.digits(0, "float32") if task == "digits" else data.xor("float32")


def run_case(case: Case, dataset: Data, contenders: Sequence[str], threads: int, samples: int = sys.maxsize) -> Outcome:
    """Time the contenders, and the machine's matrix products among them, in turns."""
    case = replace(case, samples=min(samples, len(dataset.train.x)))
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        save(case, dataset, Path(temporary))
        workers = []
        for contender in (*contenders, RATE):
            workers.append(Worker(contender, Path(temporary), threads))
            stack.callback(workers[-1].close)
        for worker in workers:  # they load at the same time, and train one after another
            worker.wait_until_ready()
        with progress(case, len(workers)) as advance:
            for _ in range(case.turns):
                for worker in workers:
                    advance(worker.contender)
                    time.sleep(PAUSE)
                    worker.turn()
        for worker in workers:
            worker.finish()
        *trained, rate = workers
        if rate.problem is not None:
            raise ValueError(f"the matrix products on device {case.device!r} failed: {rate.problem}")
        rates = [product_flops(case.device) / seconds for seconds in rate.seconds[WARM_UP:]]
        return Outcome(case, [Timing.of(worker, case) for worker in trained], rates)


def save(case: Case, dataset: Data, folder: Path) -> None:
    """Put there what the contenders need."""
    case.save(folder)
    train, test = dataset.train, dataset.test
    arrays = {"x": train.x[: case.samples], "y": train.y[: case.samples], "test_x": test.x, "test_labels": test.labels}
    for name, a in arrays.items():
        np.save(folder / f"{name}.npy", a)


@contextmanager
def progress(case: Case, workers: int) -> Iterator[Callable[[str], None]]:
    """A bar over the turns, on standard error; gives a function that is told whose turn comes next."""
    columns = (TextColumn(f"{case.name:<12}"), BarColumn(bar_width=20), TextColumn("{task.description}"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=case.turns * workers)
        done = 0

        def advance(name: str) -> None:
            nonlocal done
            bar.update(task, completed=done, description=name)
            done += 1

        yield advance


def table(part: Outcome | Sweep) -> Table:
    """An outcome or a sweep, as the terminal shows it."""
    made = Table(title=title(part), title_justify="left", box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    header, *lines = rows(part)
    for i, name in enumerate(header):
        made.add_column(name, justify="left" if i == 0 else "right", no_wrap=True)
    for line in lines:
        made.add_row(*line)
    return made


CAPTION = (
    "Median ± half of least to most of the rounds. × loop: beside the plain torch loop, round by round. rate: of "
    "the machine's matrix products. MB: most memory that the process had, data included. Adam, float32."
)


def title(part: Outcome | Sweep) -> str:
    """What was trained."""
    if isinstance(part, Sweep):
        return f"seconds an epoch by {part.quantity}"
    outcome, case = part, part.case
    widths = "-".join(map(str, case.sizes))
    rate = spread([rate / 1e9 for rate in outcome.flops_per_second], 3)
    return (
        f"{case.name}: {widths} {case.activation}, {case.samples:,} samples in batches of {case.batch_size}, "
        f"on {case.device}. Matrix products: {case.flops / 1e9:.3g} GFLOP an epoch, at {rate} GFLOP/s"
    )


def rows(part: Outcome | Sweep) -> list[list[str]]:
    """The table's header and its lines."""
    return sweep_rows(part) if isinstance(part, Sweep) else outcome_rows(part)


def outcome_rows(outcome: Outcome) -> list[list[str]]:
    """Every contender at a size."""
    lines = [["contender", "an epoch", "samples/s", "× loop", "rate", "MB", "accuracy"]]
    for timing in outcome.timings:
        if timing.problem is not None:
            lines.append([timing.contender, "did not run", *[""] * 5])
            continue
        unit, name = next(
            (u, n) for u, n in ((1, "s"), (1e3, "ms"), (1e6, "µs")) if timing.median * u >= 1 or n == "µs"
        )
        ratios, rate = outcome.ratios(timing), statistics.median(outcome.rate_fractions(timing))
        lines.append(
            [
                timing.contender,
                f"{spread([seconds * unit for seconds in timing.seconds], 3)} {name}",
                short(outcome.case.samples / timing.median),
                spread(ratios, 2) if ratios else "",
                f"{rate:.0%}" if rate >= 0.01 else "<1%",
                f"{timing.peak_bytes / 2**20:,.0f}",
                f"{timing.accuracy:.2%}",
            ]
        )
    return lines


def problems(part: Outcome | Sweep) -> list[str]:
    """Who did not run, and why."""
    outcomes = part.outcomes if isinstance(part, Sweep) else [part]
    return [f"{o.case.name}: {t.contender} did not run: {t.problem}" for o in outcomes for t in o.timings if t.problem]


def spread(values: Sequence[float], digits: int) -> str:
    """The median of the values, and half the distance from the least to the most of them."""
    half = (max(values) - min(values)) / 2
    places = max(0, digits - 1 - math.floor(math.log10(max(statistics.median(values), 1e-12))))
    return f"{statistics.median(values):.{places}f} ±{half:.{places}f}"


def short(n: float) -> str:
    """A number of samples, in thousands or millions."""
    return f"{n / 1e6:.1f}M" if n >= 1e6 else f"{n / 1e3:.1f}k" if n >= 1e3 else f"{n:.0f}"


def machine(threads: int, device: str) -> dict[str, Any]:
    """What it was measured on."""
    packages = ("numpy", "torch", "lightning", "scikit-learn")
    found: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "threads": threads,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
    }
    if device != "cpu":
        import torch

        found["gpu"] = torch.cuda.get_device_name(device)
    return found


def machine_line(found: dict[str, Any]) -> str:
    """The same in a line."""
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    where = found["machine"] + (f", {found['gpu']}" if "gpu" in found else "")
    return f"{found['date']}; {where}; {found['threads']} threads; Python {found['python']}, {versions}"


def as_dict(part: Outcome | Sweep) -> dict[str, Any]:
    """All that was measured, for JSON."""
    if isinstance(part, Sweep):
        outcomes = [as_dict(outcome) for outcome in part.outcomes]
        return {"quantity": part.quantity, "values": part.values, "floors": part.floors, "outcomes": outcomes}
    timings = [{**asdict(timing), "ratios": [] if timing.problem else part.ratios(timing)} for timing in part.timings]
    case = {**asdict(part.case), "flops": part.case.flops, "parameters": part.case.parameters}
    return {"case": case, "flops_per_second": part.flops_per_second, "timings": timings}


def markdown(machine: dict[str, Any], parts: Sequence[Outcome | Sweep]) -> str:
    """All tables in Markdown."""
    text = machine_line(machine) + "\n"
    for part in parts:
        header, *lines = rows(part)
        table = [header, ["---", *["---:"] * (len(header) - 1)], *lines]
        text += f"\n{title(part)}\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in table)
    return text


@dataclass(frozen=True)
class Sweep:
    """One quantity of the task that grows, and what grows with it."""

    quantity: str
    values: list[int]
    outcomes: list[Outcome]
    floors: list[float]  # seconds an epoch: the matrix products at the machine's rate, and Adam's passes over memory

    def seconds(self, contender: str) -> list[float]:
        """The median seconds an epoch, by value."""
        return [next(t.median for t in o.timings if t.contender == contender) for o in self.outcomes]


def scaling(rounds: int, threads: int, device: str) -> Iterator[Sweep]:
    """Time scratch and the plain torch loop while one of width, depth, batch size and data grows; on random data.

    Raises
        ValueError: fewer than five rounds, or no thread; nothing has run
    """
    checks.whole("rounds", rounds, 5)
    checks.whole("threads", threads, 1)
    return _sweeps(rounds, threads, device)


def _sweeps(rounds: int, threads: int, device: str) -> Iterator[Sweep]:
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
    for quantity, cases in sweeps.items():
        outcomes = []
        for value, made in cases.items():
            named = replace(made, name=f"{quantity} {value}")
            outcomes.append(run_case(named, random_data(named), ("scratch", BASELINE), threads))
        yield Sweep(quantity, list(cases), outcomes, [floor(outcome) for outcome in outcomes])


def random_data(case: Case) -> Data:
    """Data of the case's shape, which mean nothing."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((case.samples, case.sizes[0]), dtype=np.float32)
    labels = rng.integers(0, case.sizes[-1], case.samples)
    split = data.Split(x, labels, labels)
    return data.Data(split, None, split, case.sizes[-1])


def floor(outcome: Outcome) -> float:
    """Seconds an epoch of the matrix products at the machine's rate, and of Adam at the rate of an addition in memory.

    Adam reads four numbers a parameter and writes three, an addition in place reads two and writes one.
    """
    case = outcome.case
    a, b = np.zeros((2, case.parameters), np.float32)
    seconds = []
    for _ in range(20):
        start = time.perf_counter()
        a += b
        seconds.append(time.perf_counter() - start)
    steps = -(-case.samples // case.batch_size)
    rate = statistics.median(outcome.flops_per_second)
    return case.flops / rate + steps * statistics.median(seconds) * 7 / 3


def sweep_rows(sweep: Sweep) -> list[list[str]]:
    """Every value of a quantity."""
    lines = [[sweep.quantity, "floor s/epoch", "scratch", "× floor", "torch loop", "× floor"]]
    for i, (value, least) in enumerate(zip(sweep.values, sweep.floors, strict=True)):
        line = [f"{value:,}", f"{least:.3g}"]
        for contender in ("scratch", BASELINE):
            seconds = sweep.seconds(contender)[i]
            line += [f"{seconds:.3g}", f"{seconds / least:.1f}"]
        lines.append(line)
    return lines
