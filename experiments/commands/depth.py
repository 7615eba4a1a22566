"""A deep network of sigmoids on the digits, with and without norms and residual blocks, and its gradients by layer."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jsonargparse import ArgumentParser, Namespace

import scratch
from experiments import report
from experiments.command_line import PROGRAM, add_text, check_name, check_whole
from experiments.experiment import Experiment, TrainedTwin
from experiments.run_folder import RunFolder, dated
from experiments.tasks import Digits
from experiments.training import train
from scratch import Interrupted
from scratch.engine import gradient
from scratch.parameters import is_weight

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "layer norm": {"layer_norm": True},
    "batch norm": {"batch_norm": True},
    "residual": {"residual": True},
    "residual, layer norm": {"residual": True, "layer_norm": True},
    "residual, batch norm": {"residual": True, "batch_norm": True},
}
MOST_LAYERS = 1000
SAMPLES = 256  # of the training data, to take gradients on


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--depth", type=int, default=24, help="hidden layers")
    parser.add_argument("--width", type=int, default=32, help="units in each")
    parser.add_argument("--activation", type=str, default="sigmoid", help="of the hidden layers")
    parser.add_argument("--epochs", type=int, default=20, help="passes over the training data")
    parser.add_argument("--lr", type=float, default=1e-2, help="learning rate, before the schedule")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random")
    add_text(parser, "--out", "folder of the runs, to go on with; else runs/depth-DATE-TIME")


def run(options: Namespace) -> int:
    """Train every variant with both twins, print the table, draw the picture."""
    check_whole("depth", options.depth, 1)
    check_whole("width", options.width, 1)
    check_name("out", options.out)
    if options.depth > MOST_LAYERS:
        raise ValueError(f"depth is {options.depth}, expected at most {MOST_LAYERS}")
    out = Path(options.out or dated("depth"))
    shared = Digits(
        hidden=(options.width,) * options.depth, activation=options.activation, epochs=options.epochs, lr=options.lr,
        seed=options.seed, weights="xavier", dropout=0.0, input_dropout=0.0, dtype="float64",
    )  # fmt: skip
    trained: dict[str, list[TrainedTwin]] = {}
    norms: dict[str, dict[str, list[float]]] = {}
    try:
        for name, changes in VARIANTS.items():
            path = out / name.replace(", ", "-").replace(" ", "-")
            experiment = Experiment.of(replace(shared, out=str(path), **changes))
            with RunFolder.create_or_resume(experiment.config) as folder:
                report.console.print(name)
                trained[name] = train(experiment, folder)
                report.loss_warnings(experiment, trained[name])
            norms[name] = gradient_norms(experiment)
    except Interrupted as stop:
        again = shlex.join([*options.typed, *([] if options.out else ["--out", str(out)])])
        raise Interrupted(stop.number, f"Go on with\n\n    {PROGRAM} {again}\n") from stop
    show(trained, norms)

    from experiments import plots  # matplotlib takes a second

    plots.save(plots.gradient_norms(norms, trained), out / "gradient-norms.png")
    contents = " holds gradient-norms.png, and a folder for each network"
    report.console.print(report.bold("\n", str(out), contents), soft_wrap=True)
    return 0


def show(trained: dict[str, list[TrainedTwin]], norms: dict[str, dict[str, list[float]]]) -> None:
    """Print a line for each network."""
    title = "first / last: norms of the gradients of the hidden layers' weights, before the training"
    impls = [twin.impl for twin in trained["plain"]]
    table = report.make_table(title, "network", "first / last", *impls, "twins apart", left=("network",))
    for name, twins in trained.items():
        first, *_, last, _ = norms[name]["scratch"]  # the output layer stands behind the last hidden one
        accuracies = (f"{twin.test_accuracy:.1%}" for twin in twins)
        table.add_row(name, f"{first / last:.0e}", *accuracies, f"{report.largest_difference(twins):.0e}")
    report.console.print(table)


def gradient_norms(experiment: Experiment) -> dict[str, list[float]]:
    """‖∂L/∂W‖ of every layer on the way to the output, at the initial parameters, by hand and by autograd."""
    import torch_impl
    from torch_impl.engine import TorchEngine

    network, recipe, initial = experiment.network, experiment.recipe, experiment.initial
    train = experiment.data.train
    x, y = train.x[:SAMPLES], train.y[:SAMPLES]
    grads = initial.gradients()
    gradient(network, recipe, initial, x, y, grads, np.random.default_rng(0))
    state = torch_impl.TwinState.start(network, recipe, scratch.State.start(initial, recipe))
    engine = TorchEngine(network, recipe, x, y, state, None)
    engine.gradient(engine.x, engine.y)
    by_autograd = {name: np.asarray(p.grad) for name, p in state.module.named_parameters()}
    names = [name for name in grads if is_weight(grads[name]) and ".shortcut." not in name]
    return {
        "scratch": [float(np.linalg.norm(grads[name])) for name in names],
        "torch": [float(np.linalg.norm(by_autograd[name])) for name in names],
    }
