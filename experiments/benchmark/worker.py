"""A contender in a process of its own: python -m experiments.benchmark.worker NAME FOLDER.

The process says when it is ready, trains a turn for every line that it reads, and answers with the seconds. At the end
of its input it answers with the accuracy that it has reached and the most memory that it has had. Answers are JSON.
"""

import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import scratch
from experiments.benchmark.cases import Work
from experiments.benchmark.contenders import CONTENDERS
from scratch.device import bytes_held


class Worker:
    """The process, as the one that started it sees it."""

    def __init__(self, contender: str, folder: Path, threads: int) -> None:
        self.contender = contender
        limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
        same_packages = {"PYTHONPATH": os.pathsep.join(sys.path)}  # and with -P none of those in the current folder
        self.log = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 - close() closes it
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "experiments.benchmark.worker", contender, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env={**os.environ, **limits, **same_packages},
            start_new_session=True,  # Ctrl-C is for the benchmark, which then ends its workers
        )
        self.stdin: Any = self.process.stdin
        self.stdout: Any = self.process.stdout
        self.seconds: list[float] = []
        self.problem: str | None = None
        self.end: dict[str, Any] = {"accuracy": float("nan"), "peak_bytes": 0}

    def wait_until_ready(self) -> None:
        self._answer()

    def turn(self) -> None:
        """Let it train a turn, and keep the seconds."""
        if self.problem is None:
            with contextlib.suppress(BrokenPipeError):  # then it does not answer either
                self.stdin.write("go\n")
                self.stdin.flush()
        answer = self._answer()
        if answer:
            self.seconds.append(answer["seconds"])

    def finish(self) -> None:
        """Take its accuracy and peak memory."""
        if self.problem is None:
            self.stdin.close()
        self.end = self._answer() or self.end

    def _answer(self) -> dict[str, Any]:
        """What it says next; nothing if it has failed."""
        line = self.stdout.readline() if self.problem is None else ""
        if not line and self.problem is None:
            self.process.wait()
            self.log.seek(0)
            lines = self.log.read().strip().splitlines()
            self.problem = lines[-1][:200] if lines else f"it ended with status {self.process.returncode}"
        return json.loads(line or "{}")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.stdin, self.stdout, self.log):
            stream.close()


def main(name: str, folder: Path) -> None:
    """The process: train as ``name``, on the case in the folder."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w")

    def answer(**values: Any) -> None:
        out.write(json.dumps(values) + "\n")
        out.flush()

    warnings.simplefilter("ignore")
    os.environ["TTY_COMPATIBLE"] = "1"  # so that Lightning's bar is drawn, though nobody sees it
    with Path(os.devnull).open("w") as quiet, contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
        os.dup2(quiet.fileno(), 1)
        work = Work(folder, Path(tempfile.mkdtemp(dir=folder)), turns(answer))
        classes = CONTENDERS[name](work)
    answer(accuracy=scratch.accuracy(work.test_labels, classes), peak_bytes=peak_bytes(work.case.device))


def turns(answer: Callable[..., None]) -> Iterator[int]:
    """The numbers of the turns. What happens between two of them is timed, and the seconds are answered."""
    answer(ready=True)
    for turn, _ in enumerate(sys.stdin):
        start = time.perf_counter()
        yield turn
        answer(seconds=time.perf_counter() - start)


def peak_bytes(device: str) -> int:
    """The most memory that this process has had; on a GPU, of the GPU."""
    if device != "cpu" and "torch" in sys.modules:
        import torch

        return torch.cuda.max_memory_reserved()
    if device != "cpu":
        return bytes_held()
    status = Path("/proc/self/status")
    if status.is_file():  # Linux, where getrusage remembers the process that this one was forked from
        return next(int(line.split()[1]) * 1024 for line in status.open() if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
