"""Trainings that are killed at random moments, once or twice, and resumed."""

import os
import random
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.faults import Outcome
from tests.faults._runs import KINDS, descendants, ends_equal, is_alive, options, resume, started, undisturbed

WHAT = "trainings of four kinds killed at random moments and resumed: the same weights, bit for bit"
COUNT = 80
PATIENCE = 15.0  # seconds within which all processes end, whichever was killed


def outcomes(count: int, seed: int) -> Iterator[Outcome]:
    rng = random.Random(seed)
    for i in range(count):
        kind = KINDS[i % len(KINDS)]
        with tempfile.TemporaryDirectory() as folder:
            yield case(kind, Path(folder, "run"), rng)


def case(kind: str, folder: Path, rng: random.Random) -> Outcome:
    seconds = undisturbed(kind)[1]
    name, problem = f"{kind}, killed", None
    for _ in range(rng.choice([1, 2])):
        command = resume(folder) if (folder / "config.yaml").is_file() else [*options(kind), "--out", str(folder)]
        with started(command) as process:
            delay = rng.uniform(0, seconds)
            process.wait(delay)
            everyone = [process.pid, *descendants(process.pid)]
            victim = rng.choice([pid for pid in everyone if is_alive(pid)] or [process.pid])
            name += f" after {delay:.2f} s" + f" (process {everyone.index(victim)})" * (kind == "ddp")
            if process.poll() is None:
                os.kill(victim, signal.SIGKILL)
            end = time.monotonic() + PATIENCE
            while any(map(is_alive, everyone)) and time.monotonic() < end:
                process.poll()
                time.sleep(0.05)
            left = [pid for pid in everyone if is_alive(pid)]
            if left:
                problem = f"processes {left} of {everyone} still ran after {PATIENCE:g} s"
            elif "Traceback" in process.printed and victim != process.pid:  # else nobody is left to say a sentence
                problem = f"a traceback: {process.printed[-300:]}"
    return Outcome(name, problem or ends_equal(folder, kind))
