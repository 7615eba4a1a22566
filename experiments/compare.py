"""How far apart trained twins are: their losses after every epoch, their weights at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table

from experiments.report import console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from experiments.run import Outcome, Row

EQUAL = 1e-12  # what float64 is held to


def difference_tables(outcomes: Sequence[Outcome], most_epochs: int = 20) -> float:
    """Print the differences of every twin to the first one; return the largest of any weight."""
    first, *others = outcomes
    epochs = Table(title="Largest difference of a loss, by epoch", title_justify="left")
    epochs.add_column("epoch", justify="right")
    epochs.add_column(f"training loss ({first.impl})", justify="right")
    for other in others:
        epochs.add_column(f"{first.impl} – {other.impl}", justify="right")
    every = -(-len(first.rows) // most_epochs)
    for i, row in enumerate(first.rows):
        if (i + 1) % every == 0 or i + 1 == len(first.rows):
            epochs.add_row(str(row.epoch), f"{row.train_loss:.6f}", *(f"{_apart(row, o.rows[i]):.1e}" for o in others))
    console.print(epochs)

    weights = Table(title="Largest difference of a weight, at the end", title_justify="left")
    weights.add_column("tensor")
    weights.add_column("largest weight", justify="right")
    for other in others:
        weights.add_column(f"{first.impl} – {other.impl}", justify="right")
    largest = 0.0
    for name, value in first.params.items():
        apart = [float(np.abs(value - other.params[name]).max()) for other in others]
        largest = max(largest, *apart)
        weights.add_row(name, f"{np.abs(value).max():.3f}", *(f"{d:.1e}" for d in apart))
    console.print(weights)
    return largest


def _apart(a: Row, b: Row) -> float:
    """The larger difference of the two losses; one of them where there is no validation."""
    return float(np.nanmax([abs(a.train_loss - b.train_loss), abs(a.val_loss - b.val_loss)]))
