"""The folder of a run: config.yaml, metrics.csv, checkpoints, trained weights, pictures."""

import csv
import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, get_type_hints

import yaml

from experiments.config import Config
from scratch.checkpoint import write_atomically


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
    def create(cls, config: Config) -> Self:
        """A new folder, with the config in it.

        Raises
            ValueError: the folder that the config names is not empty
        """
        path = dated(config.task) if config.out is None else Path(config.out)
        make_folder(path, f" (or --resume {path})")
        folder = cls(path)
        write_atomically(folder.config, yaml.safe_dump(config.as_dict(), sort_keys=False).encode())
        return folder

    @classmethod
    def create_or_resume(cls, config: Config) -> Self:
        """The folder that ``config.out`` names: a new one, or one whose run has these options, to go on with.

        Raises
            ValueError: it holds something else, or a run with other options
        """
        folder = cls(Path(config.out or "runs"))
        if not folder.config.is_file():
            return cls.create(config)
        saved = folder.saved_config()
        for name, value in config.as_dict().items():
            if saved.get(name) != value:
                raise ValueError(f"{name} is {value!r}, but {saved.get(name)!r} in {folder.path}; take another folder")
        return folder

    def saved_config(self) -> dict[str, Any]:
        """The options in config.yaml.

        Raises
            ValueError: the file is damaged
        """
        try:
            values = yaml.safe_load(self.config.read_text(encoding="utf-8"))
        except (UnicodeDecodeError, yaml.YAMLError) as error:
            raise ValueError(f"{self.config} is damaged, expected YAML ({' '.join(str(error).split())})") from error
        if not isinstance(values, dict):
            raise ValueError(f"{self.config} is damaged, expected options with their values")
        return values

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.csv"

    @property
    def lightning(self) -> Path:
        return self.path / "lightning"

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
            lines = self.metrics.read_text().splitlines(keepends=True)[1:]
            cells = list(csv.reader(line for line in lines if line.endswith("\n")))
            return [Row(*(kind(cell) for kind, cell in zip(types, line, strict=True))) for line in cells]
        except ValueError as error:
            raise ValueError(f"{self.metrics} is damaged ({error}); delete it to go on without its history") from error

    def keep_rows(self, impl: str, step: int) -> list[Row]:
        """Take the rows of a twin after ``step`` out of metrics.csv; return those that it keeps."""
        rows = [row for row in self.rows() if row.impl != impl or row.step <= step]
        lines = [",".join(f.name for f in dataclasses.fields(Row)), *map(_line, rows)]
        write_atomically(self.metrics, "".join(f"{line}\n" for line in lines).encode())
        return [row for row in rows if row.impl == impl]

    def add_row(self, row: Row) -> None:
        with self.metrics.open("a") as file:
            file.write(_line(row) + "\n")


def dated(name: str) -> Path:
    """The new folder of a command where none is asked for: runs/NAME-DATE-TIME."""
    path = f"runs/{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    return next(p for i in range(1, 10_000) if not (p := Path(path if i == 1 else f"{path}-{i}")).exists())


def make_folder(path: Path, instead: str = "") -> None:
    """Make a folder; a ValueError if it is not empty (which ``instead`` says what to do about) or cannot be made."""
    if path.is_dir() and any(path.iterdir()):
        raise ValueError(f"out is {str(path)!r}, which is not empty, expected a new folder{instead}")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"out is {str(path)!r}, where no folder can be made ({error.strerror})") from error


def _line(row: Row) -> str:
    return ",".join(str(value) for value in vars(row).values())
