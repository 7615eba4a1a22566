"""What a person reads in the terminal before and after a training: the header, the tables."""

import errno
import os
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

import scratch
from experiments.data import Split
from experiments.experiment import Experiment, TrainedTwin
from experiments.run_folder import RunFolder
from scratch.batches import mask_rng
from scratch.engine import gradient


class PlainConsole(Console):
    """A console that leaves it to its caller what to do where nobody reads; rich's own exits without a word."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def make_console(stderr: bool = False) -> Console:
    """A console that prints text as it is: no folder's name, no option acts as markup. :func:`bold` is what is bold."""
    return PlainConsole(stderr=stderr, highlight=False, markup=False, emoji=False)


def bold(*parts: str) -> Text:
    """Text whose 2nd, 4th, … part is bold."""
    return Text.assemble(*((part, "bold" if i % 2 else "") for i, part in enumerate(parts)))


console = make_console()


def leave_dead_terminal() -> None:
    """Print nowhere from now on if the terminal was closed: an error in writing there would hide what matters."""
    for stream in (1, 2):
        with suppress(OSError):  # closed: nothing is printed there anyway
            if stat.S_ISCHR(os.fstat(stream).st_mode) and not os.isatty(stream):
                with Path(os.devnull).open("w") as nowhere:
                    os.dup2(nowhere.fileno(), stream)


def make_table(title: str | None, *columns: str, left: Sequence[str] = ("",)) -> Table:
    """An empty table, whose columns are aligned to the right but for those named in ``left``."""
    table = Table(title=title, title_justify="left")
    for name in columns:
        table.add_column(name, justify="left" if name in left else "right")
    return table


def header(experiment: Experiment, folder: RunFolder) -> None:
    """What is about to be trained, on what, and where it goes."""
    config, data = experiment.config, experiment.data
    sizes = [len(data.train.x), 0 if data.validation is None else len(data.validation.x), len(data.test.x)]
    names = ["train", "validation", "test"]
    epochs, steps = _count(config.epochs, "epoch"), -(-sizes[0] // config.batch_size)
    lines = {
        "data": f"{config.task}: " + ", ".join(f"{n:,} {name}" for n, name in zip(sizes, names, strict=True) if n),
        "network": f"{network_line(experiment)}, {len(experiment.initial.trained):,} parameters",
        "training": f"{config.optimizer}, learning rate {config.lr:g} {config.schedule}, {epochs} of "
        f"{_count(steps, 'step')}, batches of {min(config.batch_size, sizes[0])}, {config.dtype}, seed {config.seed}",
        "device": device_line(experiment),
    }
    if config.batch_norm and config.devices * config.num_nodes > 1:
        lines["batch norm"] = "each process normalises by its own share of a batch: not the training of one process"
    lines |= {
        "folder": str(folder.path),
    }
    grid = Table.grid(padding=(0, 2))
    grid.add_column()
    grid.add_column(overflow="fold")  # of a long path, all is shown
    for name, text in lines.items():
        grid.add_row(bold("", name), text)
    console.print(grid)
    console.print()


def _count(n: int, thing: str) -> str:
    return f"{n:,} {thing}{'s' * (n != 1)}"


def network_line(experiment: Experiment) -> str:
    """The network's widths, activation and dropout."""
    config, data = experiment.config, experiment.data
    widths = "-".join(str(n) for n in (data.train.x.shape[1], *config.hidden, config.n_out))
    flags = {"batch norm": config.batch_norm, "layer norm": config.layer_norm, "residual": config.residual}
    dropout = {"dropout": config.dropout, "input dropout": config.input_dropout}
    parts = [name for name, given in flags.items() if given] + [f"{name} {p:g}" for name, p in dropout.items() if p]
    return ", ".join([f"{widths} {config.activation}", *parts])


def device_line(experiment: Experiment) -> str:
    """Which twin runs where."""
    import torch  # seconds, which `--help` need not wait

    device = experiment.device
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    parts = []
    if "scratch" in experiment.config.impls:
        numpy = f"NumPy {np.__version__} (CPU)"
        parts.append(f"scratch on {numpy if experiment.scratch_device == 'cpu' else f'CuPy ({device})'}")
    if set(experiment.config.impls) - {"scratch"}:
        parts.append(f"torch {torch.__version__} on {device} ({where})")
    return ", ".join(parts)


def twins_table(twins: Sequence[TrainedTwin]) -> None:
    """Both twins side by side, and their largest difference."""
    table = make_table(None, "", *(twin.impl for twin in twins), *["difference"] * (len(twins) == 2))

    def add(name: str, values: Iterable[float], form: str, difference: bool = True) -> None:
        values = list(values)
        cells = [form.format(value) for value in values]
        if len(values) == 2:
            cells.append(f"{abs(values[0] - values[1]):.1e}" if difference else "")
        table.add_row(name, *cells)

    add("test accuracy", (o.test_accuracy for o in twins), "{:.2%}")
    add("test loss", (o.test.loss for o in twins), "{:.6f}")
    if all(o.rows for o in twins):  # metrics.csv may have been deleted
        add("last training loss", (o.rows[-1].train_loss for o in twins), "{:.6f}")
        add("seconds", (o.rows[-1].seconds for o in twins), "{:.1f}", difference=False)
        add("samples/s", (o.rows[-1].samples_per_second for o in twins), "{:,.0f}", difference=False)
    console.print(table)
    if len(twins) > 1:
        weights = twins[0].params.trained
        console.print(
            bold(
                "The largest difference of any weight is ",
                f"{largest_difference(twins):.1e}",
                f" ({weights.dtype}; the largest weight is {np.abs(weights).max():.2g}).",
            )
        )


def loss_warnings(experiment: Experiment, twins: Sequence[TrainedTwin]) -> None:
    """Say so where a training loss has grown since before the training, as in training, on the first of the samples.

    By a tenth it may: other samples and other masks make as much of a difference.
    """
    network, recipe, initial, first = experiment.network, experiment.recipe, experiment.initial, slice(1000)
    x, y, _ = experiment.training_data
    rng = mask_rng(recipe.seed, 0) if network.differs_in_training else None
    loss, _, _ = gradient(network, recipe, initial, x[first], y[first], initial.gradients(), rng)
    for twin in twins:
        if twin.rows and not twin.rows[-1].train_loss <= 1.1 * loss:
            console.print(
                f"Warning: the training loss of {twin.impl} has grown from {loss:.4g} before the training to "
                f"{twin.rows[-1].train_loss:.4g}. Train with a smaller learning rate (--lr), a warm-up (--warmup) or "
                "clipped gradients (--max-norm)."
            )


def largest_difference(twins: Sequence[TrainedTwin]) -> float:
    """The largest difference of any weight between the first twin and the others."""
    first, *others = (twin.params.vector for twin in twins)
    return max(float(np.abs(first - other).max()) for other in others)


def perceptron_line(split: Split) -> None:
    """What a model without a hidden layer makes of the same points."""
    perceptron = scratch.fit_perceptron(split.x, split.labels, np.random.default_rng(0))
    right = int((perceptron.predict(split.x) == split.labels).sum())
    verdict = "converged" if perceptron.converged else "never comes to rest: no line parts the classes"
    console.print(f"Rosenblatt's perceptron gets {right} of {len(split.x)} right, and its rule {verdict}.")


def contents(folder: RunFolder) -> None:
    """Say where the run is and what is in it."""
    names = sorted(p.name + "/" * p.is_dir() for p in folder.path.iterdir() if not p.name.startswith("."))
    console.print(bold("\n", str(folder.path), f" holds {', '.join(names)}\n"), soft_wrap=True)
