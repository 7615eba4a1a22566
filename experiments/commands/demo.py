"""The main job in a minute: every layer and loss against autograd, then XOR, moons and digits with both twins."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from jsonargparse import ArgumentParser, Namespace

from experiments import report
from experiments.command_line import PROGRAM, add_text, check_name, check_whole
from experiments.commands.train import train_and_report
from experiments.experiment import Experiment
from experiments.run_folder import RunFolder, dated, make_folder
from experiments.tasks import XOR, Digits, Moons


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options."""
    add_text(parser, "--out", "folder of the runs; else runs/demo-DATE-TIME")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random")


def run(options: Namespace) -> int:
    """Print the parities, then train on what needs no download."""
    start = time.perf_counter()
    check_whole("seed", options.seed, 0)
    check_name("out", options.out)
    out = Path(options.out or dated("demo"))
    make_folder(out)  # now, so that no work is lost for want of one
    parity(options.seed)
    for task in (XOR, Moons, Digits):
        name = task.__name__.lower()
        report.console.rule(name, align="left")
        config = task(seed=options.seed, out=str(out / name))
        experiment = Experiment.of(config)
        with RunFolder.create(config) as folder:
            train_and_report(experiment, folder)
    report.console.rule(align="left")
    report.console.print(
        report.bold(
            f"All done in {time.perf_counter() - start:.0f} s. The pictures are in ",
            str(out),
            ".\nNext, MNIST with both twins (it is downloaded to ./data if it is nowhere else):\n\n"
            f"    {PROGRAM} mnist\n",
        ),
        soft_wrap=True,
    )
    return 0


def parity(seed: int) -> None:
    """Print how far every layer and loss is from autograd, in float64."""
    from torch_impl.counterparts import EXAMPLES
    from torch_impl.parity import every_loss, layer_parity, loss_parity, random_case

    rng = np.random.default_rng(seed)
    layers = (
        (name, layer_parity(layer, *random_case(layer, shape, rng, 7), seed=seed))
        for name, (layer, shape) in EXAMPLES.items()
    )
    largest = parity_table("Layers, by hand and by autograd: relative differences in float64", layers)
    logits = rng.standard_normal((7, 5))
    losses = ((name, loss_parity(loss, logits, y)) for name, (loss, y) in every_loss(logits, rng).items())
    largest = max(largest, parity_table("Losses, likewise", losses))
    report.console.print(report.bold("The largest of them is ", f"{largest:.1e}", "; a float64 holds 2.2e-16.\n"))


def parity_table(title: str, rows: Iterable[tuple[str, Any]]) -> float:
    """Every layer or loss with the relative differences of its tensors; returns the largest."""
    table = report.make_table(title, "", "output", "gradients", "largest difference", left=["", "gradients"])
    largest = []
    for name, (output, *gradients) in rows:
        largest.append(max(d.relative for d in (output, *gradients)))
        shown = "  ".join(f"{d.tensor} {d.relative:.0e}" for d in gradients)
        table.add_row(name, f"{output.relative:.0e}", shown, f"{largest[-1]:.1e}")
    report.console.print(table)
    return max(largest)
