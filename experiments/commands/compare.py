"""All three implementations on the same batches, in float64; exit status 1 if a weight differs by over 1e-12."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from jsonargparse import ArgumentParser, Namespace

from experiments.command_line import Command, add_command
from experiments.commands.train import add_options, train
from experiments.experiment import TrainedTwin
from experiments.report import bold, console, largest_difference, make_table
from experiments.run_folder import Row
from experiments.tasks import TASKS

EQUAL = 1e-12  # what float64 is held to


def add_arguments(parser: ArgumentParser) -> None:
    """Add the tasks, each with its options."""
    tasks = parser.add_subcommands(dest="task", required=True)
    for name, task in TASKS.items():
        add_command(tasks, name, Command(task.__doc__, partial(add_options, task=task, comparing=True), run))


def run(options: Namespace) -> int:
    """Train all three, and print how far apart they are."""
    own = options[options.task]
    own.typed = options.typed
    twins = train(TASKS[options.task], own, words=2, comparing=True)
    if not twins:
        return 0
    difference_tables(twins)
    largest = largest_difference(twins)
    equal = largest <= EQUAL
    verdict = f" Equal to {EQUAL:g}: {'yes' if equal else 'NO'}."
    rounded = twins[0].params.vector.dtype == np.float32
    if rounded:
        verdict = f" No verdict: float32 rounds too soon; in float64 they are held to {EQUAL:g}."
    console.print(bold("The largest difference of any weight is ", f"{largest:.1e}", f".{verdict}"))
    return 0 if equal or rounded else 1


def difference_tables(twins: Sequence[TrainedTwin], most_epochs: int = 20) -> None:
    """Print the differences of every twin to the first one: their losses by epoch, their weights at the end."""
    first, *others = twins
    columns = [f"{first.impl} – {other.impl}" for other in others]
    epochs = make_table("Largest difference of a loss, by epoch", "epoch", f"training loss ({first.impl})", *columns)
    every = -(-len(first.rows) // most_epochs)
    for i, row in enumerate(first.rows):
        if (i + 1) % every == 0 or i + 1 == len(first.rows):
            epochs.add_row(str(row.epoch), f"{row.train_loss:.6f}", *(f"{_apart(row, o.rows[i]):.1e}" for o in others))
    console.print(epochs)

    names = ("tensor", "largest weight", *columns)
    weights = make_table("Largest difference of a weight, at the end", *names, left=["tensor"])
    for name, value in first.params.items():
        apart = (np.abs(value - other.params[name]).max() for other in others)
        weights.add_row(name, f"{np.abs(value).max():.3f}", *(f"{d:.1e}" for d in apart))
    console.print(weights)


def _apart(a: Row, b: Row) -> float:
    """The larger difference of the two losses; one of them where there is no validation."""
    return float(np.nanmax([abs(a.train_loss - b.train_loss), abs(a.val_loss - b.val_loss)]))
