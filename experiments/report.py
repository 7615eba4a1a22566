"""What a person reads in the terminal: the header, the progress bar, the tables."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

import scratch

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from experiments.data import Split
    from experiments.run import Experiment, Outcome, Row, RunFolder
    from torch_impl.parity import Difference

console = Console(highlight=False)


class EpochBar:
    """A progress bar over the epochs of one twin, with loss, accuracy and samples/s."""

    def __init__(self, impl: str, epochs: int) -> None:
        self.shown = 0.0
        self.validation = ""  # of the last epoch that has one
        self.progress = Progress(
            TextColumn("{task.description:<9}"),
            BarColumn(bar_width=8),
            TextColumn("{task.completed}/{task.total}{task.fields[numbers]}"),
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


def header(experiment: Experiment, folder: RunFolder | None) -> None:
    """What is about to be trained, on what, and where it goes."""
    config, data = experiment.config, experiment.data
    sizes = [len(data.train.x), 0 if data.validation is None else len(data.validation.x), len(data.test.x)]
    names = ["train", "validation", "test"]
    epochs, steps = _count(config.epochs, "epoch"), -(-sizes[0] // config.batch_size)
    lines = {
        "data": f"{config.task}: " + ", ".join(f"{n:,} {name}" for n, name in zip(sizes, names, strict=True) if n),
        "network": f"{network_line(experiment)}, {len(experiment.initial.vector):,} parameters",
        "training": f"{config.optimizer}, learning rate {config.lr:g} {config.schedule}, {epochs} of "
        f"{_count(steps, 'step')}, batches of {min(config.batch_size, sizes[0])}, {config.dtype}, seed {config.seed}",
        "device": device_line(experiment),
    }
    if folder is not None:
        lines["folder"] = str(folder.path)
    grid = Table.grid(padding=(0, 2))
    for name, text in lines.items():
        grid.add_row(f"[bold]{name}", text)
    console.print(grid)
    console.print()


def _count(n: int, thing: str) -> str:
    return f"{n:,} {thing}{'s' * (n != 1)}"


def network_line(experiment: Experiment) -> str:
    """The network's widths, activation and dropout."""
    config, data = experiment.config, experiment.data
    widths = "-".join(str(n) for n in (data.train.x.shape[1], *config.hidden, data.n_out))
    dropout = {"dropout": config.dropout, "input dropout": config.input_dropout}
    return ", ".join([f"{widths} {config.activation}", *(f"{name} {p:g}" for name, p in dropout.items() if p)])


def device_line(experiment: Experiment) -> str:
    """Which twin runs where."""
    device = experiment.device
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    parts = []
    if "scratch" in experiment.config.impls:
        numpy = f"NumPy {np.__version__} (CPU)"
        parts.append(f"scratch on {numpy if experiment.scratch_device == 'cpu' else f'CuPy ({device})'}")
    if set(experiment.config.impls) - {"scratch"}:
        parts.append(f"torch {torch.__version__} on {device} ({where})")
    return ", ".join(parts)


def outcomes_table(outcomes: Sequence[Outcome]) -> None:
    """Both twins side by side, and their largest difference."""
    table = Table(title_justify="left")
    table.add_column("")
    for outcome in outcomes:
        table.add_column(outcome.impl, justify="right")
    if len(outcomes) == 2:
        table.add_column("difference", justify="right")

    def add(name: str, values: Iterable[float], form: str, difference: bool = True) -> None:
        values = list(values)
        cells = [form.format(value) for value in values]
        if len(values) == 2:
            cells.append(f"{abs(values[0] - values[1]):.1e}" if difference else "")
        table.add_row(name, *cells)

    add("test accuracy", (o.test_accuracy for o in outcomes), "{:.2%}")
    add("test loss", (o.test.loss for o in outcomes), "{:.6f}")
    if all(o.rows for o in outcomes):  # metrics.csv may have been deleted
        add("last training loss", (o.rows[-1].train_loss for o in outcomes), "{:.6f}")
        add("seconds", (o.rows[-1].seconds for o in outcomes), "{:.1f}", difference=False)
        add("samples/s", (o.rows[-1].samples_per_second for o in outcomes), "{:,.0f}", difference=False)
    console.print(table)
    if len(outcomes) > 1:
        first, *others = (o.params.vector for o in outcomes)
        apart = max(np.abs(first - other).max() for other in others)
        console.print(
            f"The largest difference of any weight is [bold]{apart:.1e}[/] ({first.dtype}; the largest weight is "
            f"{np.abs(first).max():.2g})."
        )


def parity_table(title: str, rows: Iterable[tuple[str, list[Difference]]]) -> float:
    """Every layer or loss with the relative differences of its tensors; returns the largest."""
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for column in ("output", "gradients", "largest difference"):
        table.add_column(column, justify="left" if column == "gradients" else "right")
    largest = 0.0
    for name, differences in rows:
        output, *gradients = differences
        worst = max(d.relative for d in differences)
        largest = max(largest, worst)
        shown = "  ".join(f"{d.tensor} {d.relative:.0e}" for d in gradients)
        table.add_row(name, f"{output.relative:.0e}", shown, f"{worst:.1e}")
    console.print(table)
    return largest


def perceptron_line(split: Split) -> None:
    """What a model without a hidden layer makes of the same points."""
    perceptron = scratch.fit_perceptron(split.x, split.labels, np.random.default_rng(0))
    right = int((perceptron.predict(split.x) == split.labels).sum())
    verdict = (
        "its rule converged" if perceptron.converged else "its rule never comes to rest: no line parts the classes"
    )
    console.print(f"Rosenblatt's perceptron gets {right} of {len(split.x)} right, and {verdict}.")


def contents(folder: RunFolder) -> None:
    """Say where the run is and what is in it."""
    names = sorted(p.name + "/" * p.is_dir() for p in folder.path.iterdir())
    console.print(f"\n[bold]{folder.path}[/] holds {', '.join(names)}\n", soft_wrap=True)
