"""What looks on while a network is trained: it shows the progress and writes metrics.csv."""

import time
from typing import Any

import numpy as np
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

import scratch
from experiments.data import Data
from experiments.report import console, leave_dead_terminal
from experiments.run_folder import Row, RunFolder
from scratch import Record


class Observer:
    """Looks at every record of one implementation's training: progress bar, metrics.csv.

    Until its first record it can be pickled, so that a process of Lightning's can run it.
    """

    def __init__(self, impl: str, data: Data, epochs: int, folder: RunFolder, start: int) -> None:
        """``start`` is the step that the training goes on from."""
        self.impl, self.epochs, self.folder = impl, epochs, folder
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
        leave_dead_terminal()
        if self.bar is not None:
            self.bar.stop()
        console.show_cursor()  # which the bar hides, and did in another process if Lightning spawned one

    def __call__(self, record: Record) -> Row | None:
        """Take a record; return the epoch's row if it is the last of one."""
        if self.started is None:
            self.start()
        if self.bar is None:
            self.bar = EpochBar(self.impl, self.epochs)
        steps, self.step = record.step - self.step, record.step
        self.epoch_loss += record.loss * steps
        self.epoch_steps += steps
        if len(record.batch):
            self.epoch_hits += int((_predicted(record.logits) == self.labels[record.batch]).sum())
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
        return row if record.epoch_ends else None

    def _row(self, record: Record) -> Row:
        assert self.started is not None
        seconds = time.perf_counter() - self.started
        val_loss = val_accuracy = float("nan")
        if record.validation is not None and self.validation is not None:
            val_loss = record.validation.loss
            val_accuracy = scratch.accuracy(self.validation.labels, _predicted(record.validation.logits))
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


def _predicted(logits: Any) -> np.ndarray:
    """The classes that logits predict, be they NumPy's or torch's."""
    return scratch.predicted_classes(logits if isinstance(logits, np.ndarray) else logits.cpu().numpy())


class EpochBar:
    """A progress bar over the epochs of one twin, with loss, accuracy and samples/s."""

    def __init__(self, impl: str, epochs: int) -> None:
        self.shown = 0.0
        self.validation = ""  # of the last epoch that has one
        self.progress = Progress(
            TextColumn("{task.description:<9}", markup=False),
            BarColumn(bar_width=8),
            TextColumn("{task.completed}/{task.total}{task.fields[numbers]}", markup=False),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            console=console,
            refresh_per_second=4,  # each time takes milliseconds from a training in Python
        )
        self.task = self.progress.add_task(impl, total=epochs, numbers="")
        self.progress.start()

    def show(self, row: Row, ends: bool) -> None:
        """Show an epoch so far, or at its end; four times a second at most, and the very last."""
        if not np.isnan(row.val_accuracy):
            self.validation = f"  val {row.val_accuracy:.1%}"
        now = time.monotonic()
        if now - self.shown < 0.25 and not (ends and row.epoch == self.progress.tasks[0].total):
            return
        self.shown = now
        numbers = f"  loss {row.train_loss:.4f}  acc {row.train_accuracy:.1%}{self.validation}"
        speed = row.samples_per_second
        numbers += f"  {speed:,.0f} samples/s" if speed < 1000 else f"  {speed / 1000:,.0f}k samples/s"
        self.progress.update(self.task, completed=row.epoch - (not ends), numbers=numbers)

    def stop(self) -> None:
        self.progress.stop()
