"""Time to an accuracy: from MNIST's bytes in host memory to trained weights and the accuracy that they reach.

A recipe has a fixed number of epochs; the test images are looked at once, when they are over, and nothing is chosen by
them. The recipes were chosen on 10,000 images held out of the training set (``--validate`` repeats that).
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import scratch
from experiments.data import Images
from scratch import checks
from scratch.device import to_device

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from scratch.device import Precision

    Array = NDArray[Any]

HELD_OUT = 10_000


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

    @property
    def network(self) -> scratch.Network:
        return scratch.mlp((784, *self.hidden, 10), scratch.ReLU())

    def recipe(self, samples: int, seed: int) -> scratch.Recipe:
        steps = -(-samples // self.batch_size) * self.epochs
        warmup = round(self.warmup * steps)
        return scratch.Recipe(
            loss=scratch.CrossEntropy(self.label_smoothing),
            optimizer=scratch.Adam(self.lr, self.betas),
            epochs=self.epochs,
            batch_size=self.batch_size,
            schedule=scratch.Warmup(warmup, scratch.LinearDecay(steps - warmup)),
            augment=scratch.Shift((28, 28), self.shift),
            seed=seed,
        )


RECIPES = (
    SpeedRecipe(98.0, (256, 128), 4),
    SpeedRecipe(98.5, (384, 192), 8),
)


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

    Raises
        ValueError: no runs
    """
    checks.whole("runs", runs, 1)
    return _runs(recipe, images, runs, impl, device, precision, validate)


def _runs(
    recipe: SpeedRecipe, images: Images, runs: int, impl: str, device: str, precision: Precision, validate: bool
) -> Iterator[Run]:
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
    network, own = recipe.network, recipe.recipe(len(x), seed)
    initial = scratch.initial_parameters(network, np.random.default_rng((seed, 2)), dtype="float32")
    state = scratch.State.start(initial, own)
    if impl == "scratch":
        state = state.to(device)
        for _ in scratch.fit(network, own, x, images.train_y, state, precision=precision):
            pass
        logits = to_device(network.forward(state.params, to_device(test_x, device))[0], "cpu")
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


def standardised(x: Array, test_x: Array) -> tuple[Array, Array]:
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
