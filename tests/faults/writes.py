"""Trainings killed within the write of a checkpoint, on another file system than TMPDIR's."""

import os
import random
import resource
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.faults import Outcome
from tests.faults._runs import KINDS, ends_equal, options, started

WHAT = "kills within a checkpoint's write, on another file system than TMPDIR: whole or the old one, and resumed equal"
COUNT = 20
ELSEWHERE = "/dev/shm"  # where there is one


def outcomes(count: int, seed: int) -> Iterator[Outcome]:
    rng = random.Random(seed)
    place = ELSEWHERE if Path(ELSEWHERE).is_dir() else None
    for i in range(count):
        kind, moment = KINDS[i % 3], MOMENTS[rng.randrange(len(MOMENTS))]
        with tempfile.TemporaryDirectory(dir=place) as parent:
            folder, turn = Path(parent, "run"), rng.randint(3, 30)
            with started([*options(kind), "--out", str(folder)], lambda moment=moment, n=turn: moment(n)) as process:
                status = process.wait()
            name = f"{kind}, killed {moment.__name__.replace('_', ' ')}, write {turn}"
            problem = None if status and status < 0 else f"it was not killed: status {status}"
            yield Outcome(name, problem or ends_equal(folder, kind))


def _at(owner: object, name: str, turn: int, after: bool) -> None:
    """Kill this process at the ``turn``-th call."""
    original: Callable = getattr(owner, name)
    calls = 0

    def call(*arguments: object, **named: object) -> object:
        nonlocal calls
        calls += 1
        if calls == turn and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*arguments, **named)
        if calls == turn:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, call)


def before_the_bytes_are_safe(turn: int) -> None:
    _at(os, "fsync", turn, after=False)


def after_they_are(turn: int) -> None:
    _at(os, "fsync", turn, after=True)


def before_the_name_is_changed(turn: int) -> None:
    _at(Path, "replace", turn, after=False)


def after_it_was(turn: int) -> None:
    _at(Path, "replace", turn, after=True)


def in_the_middle_of_the_bytes(turn: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000 + 10 * turn, resource.RLIM_INFINITY))


MOMENTS = [
    before_the_bytes_are_safe,
    after_they_are,
    before_the_name_is_changed,
    after_it_was,
    in_the_middle_of_the_bytes,
]
