"""Trainings whose disk fails them: full, read-only, limited, or whose folder is removed, moved or not theirs."""

import os
import random
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from tests.faults import Outcome
from tests.faults._runs import KINDS, Process, ends_equal, options, resume, sentence, started

WHAT = "a full disk, a read-only one, a limit of a file's size, a folder removed, moved, or not to be written to"
COUNT = 40
NOBODY = 65534


def outcomes(count: int, seed: int) -> Iterator[Outcome]:
    rng = random.Random(seed)
    for i in range(count):
        kind, fault = KINDS[i % 3], FAULTS[i % len(FAULTS)]
        with ExitStack() as stack:
            parent = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            yield Outcome(f"{kind}, {fault.__name__.replace('_', ' ')}", fault(kind, parent, rng, stack))


def mounted(parent: Path, stack: ExitStack, size: str) -> Path:
    """A small file system of its own; this takes root."""
    place = parent / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], check=True)
    stack.callback(subprocess.run, ["umount", "-l", str(place)], check=True)
    return place


def begun(process: Process, folder: Path, impl: str) -> None:
    """Wait until a training has a checkpoint."""
    end = time.monotonic() + 60
    while not (folder / f"{impl}-training.safetensors").is_file() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)


def full(kind: str, parent: Path, rng: random.Random, stack: ExitStack) -> str | None:
    """It is filled by somebody else, and then has room again."""
    folder = mounted(parent, stack, "400k") / "run"
    with started([*options(kind), "--out", str(folder)]) as process:
        begun(process, folder, kind)
        with (folder.parent / "filler").open("wb", buffering=0) as filler:
            try:
                while process.poll() is None:
                    filler.write(bytes(4096))
            except OSError:
                pass
        status, printed = process.wait(), process.printed
    (folder.parent / "filler").unlink()
    return ends(status, printed, folder, kind)


def too_small_from_the_start(kind: str, parent: Path, rng: random.Random, stack: ExitStack) -> str | None:
    folder = mounted(parent, stack, "4k") / "run"
    with started([*options(kind), "--out", str(folder)]) as process:
        status, printed = process.wait(), process.printed
    return sentence(status, printed)


def read_only(kind: str, parent: Path, rng: random.Random, stack: ExitStack) -> str | None:
    """It becomes so within the training."""
    folder = mounted(parent, stack, "4m") / "run"
    with started([*options(kind), "--out", str(folder)]) as process:
        begun(process, folder, kind)
        time.sleep(rng.uniform(0, 0.1))
        for _ in range(100):  # refused while a file is open for writing
            done = subprocess.run(["mount", "-o", "remount,ro", str(folder.parent)], capture_output=True, check=False)
            if done.returncode == 0:
                break
        status, printed = process.wait(), process.printed
    subprocess.run(["mount", "-o", "remount,rw", str(folder.parent)], check=True)
    if status == 0 or done.returncode != 0:
        return ends_equal(folder, kind)  # it was over before, or the system did not let it become so
    return ends(status, printed, folder, kind)


def a_limit_of_a_files_size(kind: str, parent: Path, rng: random.Random, stack: ExitStack) -> str | None:
    """What ``ulimit -f`` sets: small enough for a checkpoint, or for the metrics."""
    folder, size = parent / "run", rng.choice([500, 2000, 6000])
    limit = (size, resource.RLIM_INFINITY)
    command = [*options(kind), "--out", str(folder)]
    with started(command, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit)) as process:
        status, printed = process.wait(), process.printed
    return ends(status, printed, folder, kind)


def a_folder_that_is_removed(kind: str, parent: Path, rng: random.Random, stack: ExitStack) -> str | None:
    folder = parent / "run"
    with started([*options(kind), "--out", str(folder)]) as process:
        begun(process, folder, kind)
        while folder.exists() and process.poll() is None:
            shutil.rmtree(folder, ignore_errors=True)
        status, printed = process.wait(), process.printed
    return None if status == 0 and folder.exists() else sentence(status, printed)


def a_folder_that_is_moved(kind: str, parent: Path, rng: random.Random, stack: ExitStack) -> str | None:
    folder = parent / "run"
    with started([*options(kind), "--out", str(folder)]) as process:
        begun(process, folder, kind)
        time.sleep(rng.uniform(0, 0.1))
        folder.rename(parent / "moved")
        status, printed = process.wait(), process.printed
    return ends(status, printed, parent / "moved", kind)


def a_folder_of_another_user(kind: str, parent: Path, rng: random.Random, stack: ExitStack) -> str | None:
    folder = parent / "theirs"
    folder.mkdir(mode=0o700)
    parent.chmod(0o755)
    command = [*options(kind), "--out", str(folder / "run")]
    with started(command, lambda: os.setuid(NOBODY)) as process:
        status, printed = process.wait(), process.printed
    return sentence(status, printed) or ("something was written" if any(folder.iterdir()) else None)


def a_run_of_another_user(kind: str, parent: Path, rng: random.Random, stack: ExitStack) -> str | None:
    """Its files can be read, and not be written."""
    folder = parent / "run"
    with started([*options(kind), "--out", str(folder)]) as process:
        begun(process, folder, kind)
    parent.chmod(0o755)
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with started(resume(folder), lambda: os.setuid(NOBODY)) as process:
        status, printed = process.wait(), process.printed
    after = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    return sentence(status, printed) or ("files were changed" if before != after else ends_equal(folder, kind))


FAULTS = (
    full,
    too_small_from_the_start,
    read_only,
    a_limit_of_a_files_size,
    a_folder_that_is_removed,
    a_folder_that_is_moved,
    a_folder_of_another_user,
    a_run_of_another_user,
)


def ends(status: int | None, printed: str, folder: Path, kind: str) -> str | None:
    """What is wrong with how a training ended whose disk failed, and how it goes on when that is mended."""
    if status == 0:
        return ends_equal(folder, kind)
    return sentence(status, printed) or ends_equal(folder, kind)
