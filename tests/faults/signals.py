"""Trainings that are asked to end: TERM, HUP and INT, to any of their processes."""

import os
import random
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.faults import Outcome
from tests.faults._runs import KINDS, descendants, ends_equal, impl_of, is_alive, options, sentence, started

WHAT = (
    "TERM, HUP and INT to trainings of four kinds: a checkpoint, 143, 129 and 130, nobody left; then the same weights"
)
COUNT = 32
SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
PATIENCE = 15.0


def outcomes(count: int, seed: int) -> Iterator[Outcome]:
    rng = random.Random(seed)
    for i in range(count):
        with tempfile.TemporaryDirectory() as folder:
            yield case(KINDS[i % 4], SIGNALS[i // 4 % 3], Path(folder, "run"), rng)


def case(kind: str, number: int, folder: Path, rng: random.Random) -> Outcome:
    name, epochs = f"{kind}, {signal.Signals(number).name}", 400  # long enough not to be over
    with started([*options(kind, epochs, every=1e6), "--out", str(folder)]) as process:
        end = time.monotonic() + 60
        while not _begun(folder) and process.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.3))
        everyone = [process.pid, *descendants(process.pid)]
        victim = rng.choice(everyone) if number == signal.SIGTERM else process.pid
        name += f" to process {everyone.index(victim)} of {len(everyone)}"
        if process.poll() is None and is_alive(victim):
            os.kill(victim, number)
        status = process.wait(PATIENCE)
        left = [pid for pid in everyone if is_alive(pid)]
        problem = sentence(status, process.printed, 128 + number)
        if left:
            problem = f"processes {left} still ran after {PATIENCE:g} s"
        elif problem is None and not (folder / f"{impl_of(kind)}-training.safetensors").is_file():
            problem = "no checkpoint"
    return Outcome(name, problem or ends_equal(folder, kind, epochs))


def _begun(folder: Path) -> bool:
    """Whether an epoch is in the history."""
    try:
        return len((folder / "metrics.csv").read_text().splitlines()) > 1
    except OSError:
        return False
