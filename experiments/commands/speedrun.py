"""Time to an accuracy on MNIST: mean and standard deviation over many seeds, by a recipe chosen beforehand.

The time is from MNIST's bytes in host memory to trained weights and the accuracy that they reach. A recipe
has a fixed number of epochs; the test images are looked at once, when they are over, and nothing is chosen by them. The
recipes were chosen on 10,000 images held out of the training set (``--validate`` repeats that).
"""

import dataclasses
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jsonargparse import ArgumentParser, Namespace

import scratch
from experiments.benchmark.tables import machine, machine_line
from experiments.command_line import add_device, add_flag, add_json, check_file, check_name, check_whole, write_text
from experiments.data import Images, mnist_images
from experiments.experiment import choose_device
from experiments.report import bold, make_console
from experiments.tasks import MNIST
from scratch import checks
from scratch.device import Precision, check_device, check_precision, to_device

HELD_OUT = 10_000


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--target", type=float, default=98.0, help="accuracy in %, of the test images")
    parser.add_argument("--runs", type=int, default=30, help="how many seeds, after one run to warm up")
    add_device(parser)
    impl = "scratch or torch; else by the device"
    parser.add_argument("--impl", type=Literal["scratch", "torch"] | None, default=None, help=impl)
    parser.add_argument("--precision", type=Precision, default="float32", help="of matrix products on a GPU")
    add_flag(parser, "--validate", "on held-out training images: to choose recipes")
    add_json(parser)


def run(options: Namespace) -> int:
    """Train with one seed after another, and print each run and their mean."""
    checks.number("target", options.target, 0, above=True)
    check_whole("runs", options.runs, 1)
    check_file("json", options.json)
    check_name("data_dir", options.data_dir)

    import torch

    recipe, device = recipe_for(options.target), str(choose_device(options.device))
    impl = options.impl or ("scratch" if device == "cpu" else "torch")
    if impl == "scratch":
        check_device(device)
    check_precision(options.precision, device, "float32")
    images = mnist_images(options.data_dir)
    found = machine(torch.get_num_threads(), device)
    console = make_console(stderr=options.json == "-")
    console.print(machine_line(found), soft_wrap=True)
    console.print(f"{recipe}, by {impl} on {device}, {options.precision}\n", soft_wrap=True)
    runs = []
    for run in speedrun(recipe, images, options.runs, impl, device, options.precision, options.validate):
        runs.append(run)
        console.print(f"seed {run.seed:>2}  {run.seconds:6.3f} s  {run.accuracy:.2f} %")
    values = as_dict(recipe, runs, options.target)
    mean = values["summary"]
    tested = f"{HELD_OUT:,} training images held out" if options.validate else "10,000 test images"
    console.print(
        bold(
            "\n",
            f"{mean['seconds']:.2f} ± {mean['seconds_sd']:.2f} s",
            ", ",
            f"{mean['accuracy']:.2f} ± {mean['accuracy_sd']:.2f} %",
            f" of the {tested}; "
            f"{mean['reached']:.0%} of {len(runs)} runs reached {options.target:g} % (mean ± standard deviation).\n"
            "Timed: from the images' bytes in memory to trained weights and the accuracy, copies to the device "
            "included. Not timed: imports, reading the files, and one run before the first.",
        ),
        soft_wrap=True,
    )
    text = json.dumps({**found, "impl": impl, "device": device, "precision": options.precision, **values}, indent=1)
    write_text(options.json, text + "\n")
    return 0


@dataclass(frozen=True)
class SpeedRecipe:
    """A ReLU network and its training by Adam: up to the learning rate and down to zero in straight lines."""

    target: float  # % of the test images, which all but a few seeds should exceed
    hidden: tuple[int, ...]
    epochs: int
    batch_size: int = 256
    lr: float = 8e-3
    betas: tuple[float, float] = (0.9, 0.99)
    warmup: float = 0.1  # fraction of the steps
    label_smoothing: float = 0.1
    shift: int = 1  # pixels, the same for all images of a batch

    def training(self, samples: int, seed: int) -> tuple[scratch.Network, scratch.Recipe, scratch.Parameters]:
        """The network, how to train it, and its initial parameters."""
        own = {name: value for name, value in vars(self).items() if name not in ("target", "betas")}
        config = MNIST(**own, seed=seed, schedule="linear", dropout=0.0, input_dropout=0.0)
        network, optimizer = config.network(784), scratch.Adam(self.lr, self.betas)
        recipe = dataclasses.replace(config.recipe(samples), optimizer=optimizer)
        return network, recipe, config.initial_parameters(network)


RECIPES = (SpeedRecipe(98.0, (256, 128), 4), SpeedRecipe(98.5, (384, 192), 8))


def held_out(images: Images, seed: int) -> Images:
    """The training images alone, some of them, drawn by ``seed``, in the place of the test images."""
    order = np.random.default_rng((seed, 3)).permutation(len(images.train_x))
    rest, held = order[HELD_OUT:], order[:HELD_OUT]
    return Images(images.train_x[rest], images.train_y[rest], images.train_x[held], images.train_y[held])


@dataclass(frozen=True)
class Run:
    """One training."""

    seed: int
    seconds: float
    accuracy: float  # %


def recipe_for(target: float) -> SpeedRecipe:
    """The shortest recipe for an accuracy.

    Raises
        ValueError: there is none
    """
    for recipe in RECIPES:
        if recipe.target >= target:
            return recipe
    raise ValueError(f"target is {target:g}, expected at most {RECIPES[-1].target:g} %: no recipe here goes further")


def speedrun(
    recipe: SpeedRecipe, images: Images, runs: int, impl: str, device: str, precision: Precision, validate: bool
) -> Iterator[Run]:
    """Train with seeds 0, 1, …; yield every run as it ends. An untimed run with another seed warms up first.

    Timed are the scaling of the bytes, the initial weights, the copies to the device, the training and the evaluation.
    Not timed: imports, reading the files, and what the warm-up loads or compiles.
    """
    for seed in (runs, *range(runs)):
        own = held_out(images, seed) if validate else images
        start = time.perf_counter()
        hits = train(recipe, own, seed, impl, device, precision)
        seconds = time.perf_counter() - start
        if seed < runs:
            yield Run(seed, seconds, 100 * hits / len(own.test_y))


def train(recipe: SpeedRecipe, images: Images, seed: int, impl: str, device: str, precision: Precision) -> int:
    """Train once; the number of test images that are taken for what they are."""
    x, test_x = standardised(images.train_x, images.test_x)
    network, own, initial = recipe.training(len(x), seed)
    state = scratch.State.start(initial, own)
    if impl == "scratch":
        state = state.to(device)
        for _ in scratch.fit(network, own, x, images.train_y, state, precision=precision):
            pass
        logits = to_device(network.apply(state.params, to_device(test_x, device))[0], "cpu")
    else:
        import torch

        import torch_impl

        twin = torch_impl.TwinState.start(network, own, state, device)
        capture = device != "cpu"
        for _ in torch_impl.fit(network, own, x, images.train_y, twin, precision=precision, capture=capture):
            pass
        with torch.no_grad():
            logits = twin.module(torch.from_numpy(test_x).to(device)).cpu().numpy()
    return int((logits.argmax(axis=1) == images.test_y).sum())


def standardised(x: np.ndarray, test_x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bytes as float32, scaled so that ``x`` has mean 0 and standard deviation 1."""
    a, b = x.astype(np.float32), test_x.astype(np.float32)
    mean = a.mean()
    a -= mean
    b -= mean
    scale = 1 / np.sqrt(a.ravel().dot(a.ravel()) / a.size)
    a *= scale
    b *= scale
    return a, b


def summary(runs: list[Run], target: float) -> dict[str, float]:
    """Mean and standard deviation of seconds and accuracy, and the fraction of runs that reached the target."""

    def spread(values: list[float]) -> float:
        return statistics.stdev(values) if len(values) > 1 else 0.0

    seconds, accuracies = [run.seconds for run in runs], [run.accuracy for run in runs]
    return {
        "seconds": statistics.mean(seconds),
        "seconds_sd": spread(seconds),
        "accuracy": statistics.mean(accuracies),
        "accuracy_sd": spread(accuracies),
        "reached": sum(accuracy >= target for accuracy in accuracies) / len(runs),
    }


def as_dict(recipe: SpeedRecipe, runs: list[Run], target: float) -> dict[str, Any]:
    """All of it, for JSON."""
    return {
        "target": target,
        "recipe": dataclasses.asdict(recipe),
        "summary": summary(runs, target),
        "runs": [dataclasses.asdict(run) for run in runs],
    }
