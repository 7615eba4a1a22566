"""One experiment, from its config to its folder: train the twins, watch them, save them, resume them."""

from __future__ import annotations

import csv
import dataclasses
import os
import signal
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import yaml

import scratch
import torch_impl
from experiments.report import EpochBar
from scratch.checkpoint import write_atomically
from scratch.device import check_precision, is_available
from torch_impl.network import check_device

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from experiments.config import Config
    from experiments.data import Data, Split
    from scratch import Network, Parameters, Recipe, Record
    from scratch.device import Precision
    from scratch.train import Evaluation

    Array = NDArray[Any]


class Interrupted(Exception):  # noqa: N818 - no error: the user asked for it
    """Ctrl-C: the training stopped between two steps."""


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
class Outcome:
    """A trained twin."""

    impl: str
    params: Parameters
    test: Evaluation
    test_accuracy: float
    rows: list[Row]


@dataclass(frozen=True)
class RunFolder:
    """config.yaml, metrics.csv, each twin's checkpoint and trained weights, the pictures."""

    path: Path

    @classmethod
    def create(cls, config: Config) -> RunFolder:
        """A new folder, with the config in it.

        Raises
            ValueError: the folder that the config names is not empty
        """
        stem = Path("runs") / f"{config.task}-{time.strftime('%Y%m%d-%H%M%S')}"
        path = Path(config.out) if config.out is not None else stem
        if config.out is None and path.exists():
            path = next(p for i in range(2, 10_000) if not (p := Path(f"{stem}-{i}")).exists())
        make_folder(path, f" (or --resume {path})")
        folder = cls(path)
        write_atomically(folder.config, yaml.safe_dump(config.as_dict(), sort_keys=False).encode())
        return folder

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
        types = [{"str": str, "int": int}.get(str(f.type), float) for f in dataclasses.fields(Row)]
        try:
            lines = self.metrics.read_text().splitlines(keepends=True)[1:]
            cells = list(csv.reader(line for line in lines if line.endswith("\n")))
            return [Row(*(kind(cell) for kind, cell in zip(types, line, strict=True))) for line in cells]
        except ValueError as error:
            raise ValueError(f"{self.metrics} is damaged ({error}); delete it to go on without its history") from error

    def keep_rows(self, impl: str, step: int) -> list[Row]:
        """Take the rows of a twin after ``step`` out of metrics.csv; return those that it keeps."""
        rows = [row for row in self.rows() if row.impl != impl or row.step <= step]
        self._write(rows)
        return [row for row in rows if row.impl == impl]

    def _write(self, rows: list[Row]) -> None:
        lines = [",".join(f.name for f in dataclasses.fields(Row)), *map(_line, rows)]
        write_atomically(self.metrics, "".join(f"{line}\n" for line in lines).encode())

    def add_row(self, row: Row) -> None:
        with self.metrics.open("a") as file:
            file.write(_line(row) + "\n")


def make_folder(path: Path, instead: str = "") -> None:
    """Make a folder; a ValueError if it is not empty (which ``instead`` says what to do about) or cannot be made."""
    if path.is_dir() and any(path.iterdir()):
        raise ValueError(f"out is {str(path)!r}, which is not empty, expected a new folder{instead}")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"out is {str(path)!r}, where no folder can be made ({error.strerror})") from error


class Watch:
    """Looks at every record of one twin's training: the progress bar, metrics.csv, whether Ctrl-C was pressed.

    Until its first record it can be pickled, so that a process of Lightning's can run it.
    """

    def __init__(
        self,
        impl: str,
        data: Data,
        epochs: int,
        folder: RunFolder,
        interrupt: threading.Event | None,
        start: int,
    ) -> None:
        """``start`` is the step that the training goes on from; ``interrupt`` is None in a process of Lightning's."""
        self.impl, self.epochs, self.folder, self.interrupt = impl, epochs, folder, interrupt
        self.labels, self.validation = data.train.labels, data.validation
        self.rows = folder.keep_rows(impl, start)
        self.seconds_before = self.rows[-1].seconds if self.rows else 0.0
        self.started: float | None = None
        self.bar: EpochBar | None = None  # comes with the first record: a run that is done already has none
        self.samples = 0  # since this process began
        self.step = start  # of the last record
        self._new_epoch()

    def _new_epoch(self) -> None:
        self.epoch_loss = 0.0
        self.epoch_steps = self.epoch_hits = self.epoch_samples = 0

    def start(self) -> None:
        """Start the clock; without this it starts after the first step."""
        self.started = time.perf_counter()

    def stop(self) -> None:
        if self.bar is not None:
            self.bar.stop()

    def __call__(self, record: Record) -> Row | None:
        """Take a record; return the epoch's row if it is the last of one.

        Raises
            Interrupted: Ctrl-C was pressed
        """
        if self.started is None:
            self.start()
        if self.bar is None:
            self.bar = EpochBar(self.impl, self.epochs)
        steps, self.step = record.step - self.step, record.step
        self.epoch_loss += record.loss * steps
        self.epoch_steps += steps
        if len(record.batch):
            self.epoch_hits += int((classes(record.logits) == self.labels[record.batch]).sum())
        self.epoch_samples += len(record.batch)
        self.samples += len(record.batch)
        row = self._row(record)
        self.bar.show(row, record.epoch_ends)
        if record.epoch_ends:
            self.rows.append(row)
            self.folder.add_row(row)
            self._new_epoch()
        if record.epoch_ends and record.epoch + 1 == self.epochs:
            self.stop()
        if self.interrupt is not None and self.interrupt.is_set():
            raise Interrupted
        return row if record.epoch_ends else None

    def _row(self, record: Record) -> Row:
        assert self.started is not None
        seconds = time.perf_counter() - self.started
        val_loss = val_accuracy = float("nan")
        if record.validation is not None and self.validation is not None:
            val_loss = record.validation.loss
            val_accuracy = accuracy(record.validation.logits, self.validation.labels)
        return Row(
            impl=self.impl,
            epoch=record.epoch + 1,
            step=record.step,
            lr=record.lr,
            train_loss=self.epoch_loss / self.epoch_steps,
            train_accuracy=self.epoch_hits / max(self.epoch_samples, 1),
            val_loss=val_loss,
            val_accuracy=val_accuracy,
            seconds=self.seconds_before + seconds,
            samples_per_second=self.samples / max(seconds, 1e-9),
        )


@dataclass(frozen=True)
class Experiment:
    """A config, and all that follows from it."""

    config: Config
    data: Data
    network: Network
    recipe: Recipe
    initial: Parameters
    device: torch.device  # of the torch twins
    scratch_device: str

    @classmethod
    def of(cls, config: Config) -> Experiment:
        """Load the data and build the rest.

        Raises
            ValueError, FileNotFoundError: a device or data that are not to be had
        """
        device = choose_device(config.device)  # first, since the data may take a download
        check_precision(config.precision, device.type, np.dtype(config.dtype))
        scratch_device = "cpu"
        if device.type == "cuda" and (config.impl == "scratch" or is_available()):
            scratch_device = scratch.device.check_device(str(device))
        data = config.load()
        if config.patience is not None and data.validation is None:
            raise ValueError(f"patience is {config.patience}, but {config.task} has no validation data to watch")
        network = config.network(data)
        initial = config.initial_parameters(network)
        return cls(config, data, network, config.recipe(data), initial, device, scratch_device)

    def precision(self, device: str) -> Precision:
        """That of matrix products on a device: the one that was asked for is for GPUs."""
        return "float32" if device == "cpu" else self.config.precision

    @property
    def training_data(self) -> tuple[Array, Array, tuple[Array, Array] | None]:
        """x, y and (validation x, y), as the twins' fit() takes them."""
        train, validation = self.data.train, self.data.validation
        return train.x, train.y, None if validation is None else (validation.x, validation.y)

    def evaluate(self, impl: str, params: Parameters, split: Split) -> Evaluation:
        """The loss and the logits of ``params`` on a split, by the twin that was trained."""
        if impl == "scratch":
            return scratch.evaluate(self.network, self.recipe.loss, params, split.x, split.y)
        module = torch_impl.twin(self.network, params, self.device)
        x, y = (torch.from_numpy(a).to(self.device) for a in (split.x, split.y))
        return torch_impl.evaluate(module, self.recipe.loss, x, y)


def choose_device(device: str) -> torch.device:
    """The device of that name, "auto" being cuda where there is one; a ValueError if this machine does not have it."""
    return check_device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)


def run(experiment: Experiment, folder: RunFolder) -> list[Outcome]:
    """Train every twin that the config asks for, from where the folder's checkpoints are; evaluate each.

    Raises
        Interrupted: Ctrl-C was pressed; what was reached is in the folder
        DivergenceError: a loss turned NaN or infinite; the folder's checkpoints are from before
    """
    outcomes = []
    with interruptible() as interrupt:
        for impl in experiment.config.impls:
            train = train_lightning if impl == "lightning" else train_twin
            params, rows = train(impl, experiment, folder, interrupt)
            scratch.save_parameters(folder.weights(impl), params)
            test = experiment.evaluate(impl, params, experiment.data.test)
            outcomes.append(Outcome(impl, params, test, accuracy(test.logits, experiment.data.test.labels), rows))
    return outcomes


def train_twin(
    impl: str, experiment: Experiment, folder: RunFolder, interrupt: threading.Event
) -> tuple[Parameters, list[Row]]:
    """Train scratch, or its twin in a plain torch loop; both keep their whole state in one checkpoint."""
    network, recipe, checkpoint = experiment.network, experiment.recipe, folder.checkpoint(impl)
    state = scratch.State.start(experiment.initial, recipe)
    if checkpoint.is_file():
        state = scratch.load_state(checkpoint, network)
    watch = Watch(impl, experiment.data, recipe.epochs, folder, interrupt, state.progress.step)
    x, y, validation = experiment.training_data
    if impl == "scratch":
        state = state.to(experiment.scratch_device)
        precision = experiment.precision(experiment.scratch_device)
        records = scratch.fit(network, recipe, x, y, state, validation, precision)
    else:
        module = torch_impl.TwinState.start(network, recipe, state, experiment.device)
        capture = experiment.config.capture and experiment.device.type == "cuda"
        precision = experiment.precision(experiment.device.type)
        records = torch_impl.fit(network, recipe, x, y, module, validation, precision, capture)

    def save() -> None:
        scratch.save_state(checkpoint, state if impl == "scratch" else module.to_scratch(recipe))

    saved = time.monotonic()
    watch.start()
    try:
        for record in records:
            if watch(record) and time.monotonic() - saved >= experiment.config.checkpoint_every:
                save()
                saved = time.monotonic()
    except Interrupted:
        save()
        raise
    finally:
        watch.stop()
    save()
    return (state.to("cpu") if impl == "scratch" else module.to_scratch(recipe)).params, watch.rows


def train_lightning(
    impl: str, experiment: Experiment, folder: RunFolder, interrupt: threading.Event
) -> tuple[Parameters, list[Row]]:
    """Train the twin in Lightning, which keeps checkpoints of its own, at the ends of epochs."""
    from torch_impl import lit  # seconds, which the other twins need not wait

    config, recipe = experiment.config, experiment.recipe
    if folder.weights(impl).is_file():  # it was done before
        return scratch.load_parameters(folder.weights(impl), experiment.network), folder.keep_rows(impl, sys.maxsize)
    x, y, validation = experiment.training_data
    alone, start = config.devices * config.num_nodes == 1, lit.steps_done(folder.lightning)
    watch = Watch(impl, experiment.data, recipe.epochs, folder, interrupt if alone else None, start)
    try:
        params = lit.fit(
            experiment.network, recipe, x, y, experiment.initial, validation,
            on_record=watch, folder=folder.lightning, checkpoint_every=config.checkpoint_every,
            **lightning_options(experiment),
        )  # fmt: skip
    except Exception as error:
        if interrupt.is_set():  # a process of Lightning's saw it too, and ended
            raise Interrupted from error
        raise
    finally:
        watch.stop()
    return params, [row for row in folder.rows() if row.impl == impl]


def join(experiment: Experiment, folder: RunFolder) -> None:
    """Take part in a DDP training as another process than the first one, which does all that is to be seen."""
    from torch_impl import lit

    x, y, validation = experiment.training_data
    lit.fit(
        experiment.network, experiment.recipe, x, y, experiment.initial, validation,
        folder=folder.lightning, checkpoint_every=experiment.config.checkpoint_every, **lightning_options(experiment),
    )  # fmt: skip


def is_first_process() -> bool:
    """Whether this is no process of DDP, or the first one: by what Lightning, torchrun and clusters put in place."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "NODE_RANK", "LOCAL_RANK", "SLURM_PROCID"))


def lightning_options(experiment: Experiment) -> dict[str, Any]:
    """Where and how Lightning runs."""
    config, device = experiment.config, experiment.device
    return {
        "device": device,
        "devices": config.devices,
        "num_nodes": config.num_nodes,
        "strategy": config.strategy,
        "precision": experiment.precision(device.type),
        "chunk": 16,
    }


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets, so that no step is cut in two; a second one raises KeyboardInterrupt."""
    pressed = threading.Event()

    def press(number: int, frame: Any) -> None:  # noqa: ARG001
        signal.signal(signal.SIGINT, signal.default_int_handler)
        pressed.set()

    before = signal.signal(signal.SIGINT, press)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


def classes(logits: Any) -> Array:
    """The classes that logits speak for, be they NumPy's or torch's."""
    return scratch.predicted_classes(as_array(logits))


def as_array(logits: Any) -> Array:
    """NumPy's array of logits that may be torch's."""
    return logits if isinstance(logits, np.ndarray) else logits.cpu().numpy()


def accuracy(logits: Any, labels: Array) -> float:
    """The fraction of logits that speak for their label."""
    return scratch.accuracy(labels, classes(logits))


def _line(row: Row) -> str:
    return ",".join(str(value) for value in vars(row).values())
