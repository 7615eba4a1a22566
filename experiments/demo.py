"""The demonstration: parity of every layer and loss; the tasks that both twins then train on need no download."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from experiments import report
from torch_impl.parity import every_layer, every_loss, layer_parity, loss_parity, random_case

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch_impl.parity import Difference

TASKS = ("xor", "moons", "digits")


def parity(seed: int) -> None:
    """Print how far every layer and loss is from autograd, in float64."""
    rng = np.random.default_rng(seed)

    def layers() -> Iterator[tuple[str, list[Difference]]]:
        for name, layer in every_layer().items():
            yield name, layer_parity(layer, *random_case(layer, rng, batch=7), seed=seed)

    def losses() -> Iterator[tuple[str, list[Difference]]]:
        logits = rng.standard_normal((7, 5))
        for name, (loss, y) in every_loss(logits, rng).items():
            yield name, loss_parity(loss, logits, y)

    largest = report.parity_table("Layers, by hand and by autograd: relative differences in float64", layers())
    largest = max(largest, report.parity_table("Losses, likewise", losses()))
    report.console.print(f"The largest of them is [bold]{largest:.1e}[/]; a float64 holds 2.2e-16.\n")
