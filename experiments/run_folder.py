"""The folder of a run: config.yaml, metrics.csv, checkpoints, trained weights, pictures.

It may come from anybody: what a file in it says is checked, and everything that is read or written lies within it.
"""

import csv
import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, get_type_hints

import yaml
from filelock import FileLock, Timeout

from experiments.config import Config
from experiments.options_file import read_options
from scratch.checkpoint import unfinished, write_atomically

LOCK = ".lock"


@dataclass(frozen=True)
class Row:
    """A line of metrics.csv: one epoch of one twin."""

    impl: str
    epoch: int  # epochs done
    step: int  # steps done
    lr: float
    train_loss: float  # mean of the epoch's batches as they came (since the resume, if within it), with the penalty
    train_accuracy: float  # likewise, with dropout; under DDP, of the first process's samples
    val_loss: float  # NaN where there is no validation set
    val_accuracy: float
    seconds: float  # since the first epoch began, validation included
    samples_per_second: float  # likewise


@dataclass(frozen=True)
class RunFolder:
    """config.yaml, metrics.csv, each twin's checkpoint and trained weights, the pictures."""

    path: Path

    @classmethod
    @contextmanager
    def create(cls, config: Config) -> Iterator[Self]:
        """A new folder, with the config in it, for this process alone.

        Raises
            ValueError: the folder that the config names is not empty, or cannot be made
        """
        path = Path(config.out) if config.out is not None else dated(config.task)
        make_folder(path, f" (or --resume {path})")
        folder = cls(path)
        with folder.held():
            make_folder(path, f" (or --resume {path})")  # again: now nobody else can fill it
            write_atomically(folder.config, yaml.safe_dump(config.as_dict(), sort_keys=False).encode())
            yield folder

    @contextmanager
    def resumed(self) -> Iterator[Self]:
        """The folder of a run to go on with, for this process alone, without what a crash left unfinished.

        Raises
            ValueError: something in it is a link, or another process trains in it
        """
        with self.held():
            self.check_own()
            for path in unfinished(self.path):
                path.unlink(missing_ok=True)
            yield self

    @classmethod
    @contextmanager
    def create_or_resume(cls, config: Config) -> Iterator[Self]:
        """The folder that ``config.out`` names: a new one, or one whose run has these options, to go on with.

        Raises
            ValueError: it holds something else, or a run with other options
        """
        folder = cls(Path(config.out or "runs"))
        if not folder.config.is_file():
            with cls.create(config) as folder:
                yield folder
            return
        with folder.resumed():
            saved = folder.saved_config()
            for name, value in config.as_dict().items():
                if saved.get(name) != value:
                    was = f"but {saved.get(name)!r} in {folder.path}"
                    raise ValueError(f"{name} is {value!r}, {was}; take another folder")
            yield folder

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from training in the folder, until this one leaves it or ends, however it ends.

        Raises
            ValueError: another one does already
        """
        lock = FileLock(self.path / LOCK, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise ValueError(
                f"another process trains in {self.path} at the moment, expected none; wait until it is done, or stop it"
            ) from None
        except OSError as error:
            raise ValueError(f"{self.path} cannot be trained in ({error.strerror or error})") from error
        try:
            yield
        finally:
            lock.release()

    def check_own(self) -> None:
        """Raise ValueError unless everything in the folder is a plain file or a folder, so that nothing leads out."""
        for path in self.path.rglob("*"):
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise ValueError(f"{path} is a link, or no plain file, expected a run's folder to hold its own files")

    def saved_config(self) -> dict[str, Any]:
        """The options in config.yaml.

        Raises
            ValueError: the file is damaged, or a link
        """
        self.check_own()
        return read_options(self.config)

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.csv"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

    def checkpoint(self, impl: str) -> Path:
        """The whole training of a twin, to resume from."""
        return self.path / f"{impl}-training.safetensors"

    def weights(self, impl: str) -> Path:
        """The trained parameters of a twin."""
        return self.path / f"{impl}.safetensors"

    def rows(self) -> list[Row]:
        """The lines of metrics.csv; one cut short by a crash is left out.

        Raises
            ValueError: the file is something else
        """
        if not self.metrics.is_file():
            return []
        types = get_type_hints(Row).values()
        try:
            lines = self.metrics.read_text(encoding="utf-8").splitlines(keepends=True)[1:]
            cells = list(csv.reader(line for line in lines if line.endswith("\n")))
            return [Row(*(kind(cell) for kind, cell in zip(types, line, strict=True))) for line in cells]
        except (ValueError, csv.Error) as error:
            raise ValueError(f"{self.metrics} is damaged ({error}); delete it to go on without its history") from error

    def keep_rows(self, impl: str, step: int) -> list[Row]:
        """Take the rows of a twin after ``step`` out of metrics.csv; return those that it keeps."""
        rows = [row for row in self.rows() if row.impl != impl or row.step <= step]
        lines = [",".join(f.name for f in dataclasses.fields(Row)), *map(_line, rows)]
        write_atomically(self.metrics, "".join(f"{line}\n" for line in lines).encode())
        return [row for row in rows if row.impl == impl]

    def add_row(self, row: Row) -> None:
        """Append a line to metrics.csv.

        Raises
            OSError: it cannot be written
        """
        try:
            with self.metrics.open("a", encoding="utf-8") as file:
                file.write(_line(row) + "\n")
        except OSError as error:
            raise OSError(f"{self.metrics} cannot be written ({error.strerror or error})") from error


def dated(name: str) -> Path:
    """The new folder of a command where none is asked for: runs/NAME-DATE-TIME."""
    path = f"runs/{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    return next(p for i in range(1, 10_000) if not (p := Path(path if i == 1 else f"{path}-{i}")).exists())


def make_folder(path: Path, instead: str = "") -> None:
    """Make a folder; a ValueError if it is not empty (which ``instead`` says what to do about) or cannot be made."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        filled = any(file.name != LOCK for file in path.iterdir())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"out is {str(path)!r}, where no folder can be made ({reason})") from error
    if filled:
        raise ValueError(f"out is {str(path)!r}, which is not empty, expected a new folder{instead}")


def _line(row: Row) -> str:
    return ",".join(str(value) for value in vars(row).values())
