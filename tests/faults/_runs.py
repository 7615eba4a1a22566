"""Small trainings to be disturbed, each in a process of its own, which is forked: so torch is loaded once for all."""

import importlib
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import yaml

import scratch
from experiments.__main__ import main
from experiments.tasks import TASKS

# All that a training imports is imported before it is forked: another user may not read it.
for module in (
    "encodings.utf_8_sig",
    "experiments.plots",
    "torch_impl.lit_train",
    "sklearn.datasets",
    "torch.utils.tensorboard",
):
    importlib.import_module(module)

KINDS = ("scratch", "torch", "lightning", "ddp")
LIMIT = 120.0  # seconds that a process may take


def options(kind: str, epochs: int = 40, every: float = 0.0) -> list[str]:
    """The command of a training of that kind, but for its folder."""
    given = f"moons --samples 400 --epochs {epochs} --hidden 16 --dropout 0.2 --residual --layer-norm".split()
    impl = ["--impl", "lightning", "--devices", "2"] if kind == "ddp" else ["--impl", kind]
    return [*given, *impl, "--checkpoint-every", str(every)]


def resume(folder: Path) -> list[str]:
    """The command that goes on with the run in a folder."""
    return ["moons", "--resume", str(folder)]


@dataclass
class Process:
    """A command in a process of its own."""

    pid: int
    output: Path
    status: int | None = None  # negative: by a signal

    def poll(self) -> int | None:
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def wait(self, seconds: float = LIMIT) -> int | None:
        """Its exit status; None if it did not end."""
        end = time.monotonic() + seconds
        while self.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        return self.status

    def end(self) -> None:
        """Kill it with all that it started, if it is still there."""
        if self.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
            self.wait()

    @property
    def printed(self) -> str:
        return self.output.read_text(errors="replace")


@contextmanager
def started(command: Sequence[str], prepare: Callable[[], object] = lambda: None) -> Iterator[Process]:
    """The command in a process group of its own, after ``prepare`` in it; it is gone at the end."""
    handle, name = tempfile.mkstemp(prefix="faults-")
    pid = os.fork()
    if pid == 0:
        _become(handle, command, prepare)
    os.close(handle)
    process = Process(pid, Path(name))
    try:
        yield process
    finally:
        process.end()
        process.output.unlink()


def _become(handle: int, command: Sequence[str], prepare: Callable[[], object]) -> None:
    status = 70
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the campaign may ignore it, under nohup, and a training then too
        signal.signal(signal.SIGINT, signal.default_int_handler)
        prepare()
        status = main(command)
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
        status = 71
    finally:
        os._exit(status)


def run(command: Sequence[str], prepare: Callable[[], object] = lambda: None) -> tuple[int | None, str]:
    """The exit status of a command, and what it printed."""
    with started(command, prepare) as process:
        return process.wait(), process.printed


def descendants(pid: int) -> list[int]:
    """The processes that a process started, and they, by /proc."""
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                command = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if fields[0] != "Z" and b"resource_tracker" not in command:  # which looks after files of multiprocessing
                parents[int(folder.name)] = int(fields[1])
    found, new = [], [pid]
    while new:
        new = [child for child, parent in parents.items() if parent in new]
        found += new
    return found


def is_alive(pid: int) -> bool:
    """Whether a process still runs."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def weights(folder: Path, impl: str) -> np.ndarray:
    """The trained weights in a run's folder."""
    config = yaml.safe_load((folder / "config.yaml").read_text())
    network = TASKS[config.pop("task")](**{**config, "hidden": tuple(config["hidden"])}).network(2)
    return scratch.load_parameters(folder / f"{impl}.safetensors", network).vector


def impl_of(kind: str) -> str:
    """The implementation that a kind of training is by."""
    return "lightning" if kind == "ddp" else kind


@cache
def undisturbed(kind: str, epochs: int = 40) -> tuple[np.ndarray, float]:
    """What a training ends with if nothing happens to it, and the seconds that it takes."""
    with tempfile.TemporaryDirectory() as folder:
        begun = time.monotonic()
        status, printed = run([*options(kind, epochs), "--out", f"{folder}/run"])
        assert status == 0, printed
        return weights(Path(folder, "run"), impl_of(kind)), time.monotonic() - begun


def ends_equal(folder: Path, kind: str, epochs: int = 40) -> str | None:
    """What is wrong with a training that is resumed and then left alone."""
    command = resume(folder) if (folder / "config.yaml").is_file() else [*options(kind, epochs), "--out", str(folder)]
    status, printed = run(command)
    if status != 0:
        return f"resumed, it ends with status {status}: {printed.strip()[-300:]}"
    if not np.array_equal(weights(folder, impl_of(kind)), undisturbed(kind, epochs)[0]):
        return "resumed, it ends with other weights"
    if list(folder.glob(".*.part")):
        return "a temporary file was left behind"
    return None


def sentence(status: int | None, printed: str, expected: int = 2) -> str | None:
    """What is wrong with an end that should be a sentence with that status."""
    if "Traceback" in printed:
        return f"a traceback: {printed.strip()[-300:]}"
    if status != expected:
        return f"status {status}, expected {expected}: {printed.strip()[-200:]}"
    if expected in (1, 2) and "error: " not in printed:
        return f"no sentence: {printed.strip()[-200:]}"
    return None
