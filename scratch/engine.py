"""What the training loop drives: an engine, which runs training steps on the device that holds its arrays.

scratch's engine is here, for NumPy's arrays and CuPy's; its twin, for torch's tensors, is torch_impl/engine.py. Either
runs one step at a time, or within :class:`scratch.epochs.WholeEpochs` an epoch at a time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from scratch import checks
from scratch.batches import mask_rng, shift_rng
from scratch.device import Captured, computing, to_device
from scratch.losses import Loss
from scratch.network import Network
from scratch.optim import clip_by_global_norm

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from numpy.random import Generator

    from scratch.batches import Steps
    from scratch.device import Array, Precision
    from scratch.parameters import Parameters
    from scratch.recipe import Recipe
    from scratch.state import Progress, State

__all__ = ["evaluate"]

EVALUATION_BATCH = 1024  # samples that a network evaluates at once


@dataclass(frozen=True)
class Evaluation:
    """The mean loss over a data set, and the logits (n, …, out)."""

    loss: float
    logits: Any


class Engine(Protocol):
    """Runs the steps of a training. The loop asks for nothing else."""

    progress: Progress
    whole_epochs: bool  # whether it takes the rest of an epoch at once

    def run(self, steps: Steps) -> tuple[list[float], Any]:
        """Take these steps: the loss of each before its update, and the logits of all their samples.

        A single step whose loss is NaN or infinite changes no trained array.
        """

    def evaluate(self) -> Evaluation | None:
        """The loss and the logits of the validation data, as in evaluation; None without any."""

    def largest(self) -> float:
        """The largest absolute value of any parameter; NaN or infinite if one is."""

    def keep_best(self) -> None:
        """Note the parameters as those of the best epoch so far."""

    def restore_best(self) -> None:
        """Put them back, if some were noted."""


class NumpyEngine:
    """scratch's engine, on the device of its state: NumPy's on the CPU, CuPy's on a GPU."""

    whole_epochs = False

    def __init__(
        self,
        network: Network,
        recipe: Recipe,
        x: Array,
        y: Array,
        state: State,
        validation: tuple[Array, Array] | None,
        precision: Precision,
    ) -> None:
        self.network, self.recipe, self.state, self.precision = network, recipe, state, precision
        self.progress, self.device = state.progress, state.params.device
        self.grads, self.drawn = state.params.gradients(), state.progress.step
        self.width, self.columns = x.shape[-1], self.move(np.arange(x.shape[-1]))
        self.x, self.y = self.move(x if recipe.augment is None else recipe.augment.padded(x)), self.move(y)
        self.validation = None if validation is None else (self.move(validation[0]), self.move(validation[1]))

    def run(self, steps: Steps) -> tuple[list[float], Array]:
        step, _, _, (batch,), (lr,) = steps
        recipe = self.recipe
        x = self.x.take(batch, 0)
        if recipe.augment is not None:
            start = recipe.augment.start(shift_rng(recipe.seed, step))
            x = x[:, start : start + self.width]
        # Kept until the next step: memory that is freed here goes back to the system, and comes again page by page.
        self.rows = x
        with np.errstate(over="ignore", invalid="ignore"):  # the loop says better what is wrong
            rng = mask_rng(recipe.seed, step) if self.network.differs_in_training else None
            y, params = self.y.take(batch, 0), self.state.params
            loss, logits, caches = gradient(self.network, recipe, params, x, y, self.grads, rng)
            losses = [float(loss)]
            if math.isfinite(losses[0]):
                self.network.track(caches, *params.untrained_arrays)
                del caches  # the optimizer's buffer takes their memory, which is in the processor's caches
                self.update(lr, step + 1)
        return losses, logits

    def update(self, lr: Any, t: Any) -> None:
        """Step ``t`` (1, 2, …) down the gradient, which is clipped in place if the recipe says so."""
        recipe, params, g = self.recipe, self.state.params, self.grads.vector
        if recipe.max_norm is not None:
            clip_by_global_norm(g, recipe.max_norm)
        recipe.optimizer.update(params.trained, g, self.state.slots, lr, t)

    def step(self, batch: Array, start: Array, lr: Array, t: Array) -> tuple[Any, Array]:
        """A step that reads all it needs from arrays of the device: see :class:`scratch.epochs.DeviceEngine`."""
        x, y = self.x.take(batch, 0), self.y.take(batch, 0)
        if self.recipe.augment is not None:
            x = x.take(start + self.columns, 1)
        rng = mask_rng(self.recipe.seed, self.drawn) if self.network.differs_in_training else None
        loss, logits, caches = gradient(self.network, self.recipe, self.state.params, x, y, self.grads, rng)
        self.drawn += 1
        self.network.track(caches, *self.state.params.untrained_arrays)
        self.update(lr, t)
        return loss, logits

    def captured(self, function: Callable[[], None]) -> Callable[[], None]:
        # Masks are drawn by the host, anew for every step: they cannot be replayed.
        return function if self.network.stochastic else Captured(function, self.device)

    def computing(self) -> AbstractContextManager[None]:
        return computing(self.device, self.precision)

    def move(self, a: Array) -> Array:
        return to_device(a, self.device)

    def host(self, a: Array) -> Array:
        return to_device(a, "cpu").copy()

    def evaluate(self) -> Evaluation | None:
        if self.validation is None:
            return None
        with np.errstate(over="ignore", invalid="ignore"):
            seen = evaluate(self.network, self.recipe.loss, self.state.params, *self.validation)
        return Evaluation(seen.loss, self.host(seen.logits))

    def largest(self) -> float:
        with self.computing():
            return float(np.abs(self.state.params.vector).max(initial=0))

    def keep_best(self) -> None:
        self.state.best = self.state.params.vector.copy()

    def restore_best(self) -> None:
        if self.state.best is not None:
            self.state.params.vector[:] = self.state.best


def gradient(
    network: Network,
    recipe: Recipe,
    params: Parameters,
    x: Array,
    y: Array,
    grads: Parameters,
    training: Generator | None = None,
) -> tuple[Any, Array, Any]:
    """Write ∂(loss + penalty)/∂(trained arrays) into ``grads``; return the loss, a scalar, the logits and the caches.

    ``params`` and ``grads`` are as ``network.parameters()`` and ``params.gradients()`` make them; nothing is checked.
    """
    logits, caches = network.forward(x, *params.arrays, training=training)
    loss, dlogits = recipe.loss.value_and_grad(logits, y)
    network.backward(dlogits, caches, *grads.arrays, need_dx=False)
    if recipe.penalty:
        loss = loss + recipe.penalty.add_grad(params, grads)
    return loss, logits, caches


def evaluate(
    network: Network, loss: Loss, params: Parameters, x: Array, y: Array, batch_size: int = EVALUATION_BATCH
) -> Evaluation:
    """The mean loss and the logits over a data set, as in evaluation (no dropout, no penalty).

    Raises
        TypeError, ValueError: x or y of another dtype or shape than the network and the loss take, or anything else of
            another kind
    """
    checks.instance("network", network, Network, "a Network, as mlp() makes it")
    checks.instance("loss", loss, Loss, "a loss such as CrossEntropy()")
    network.check_parameters("params", params)
    network.check_input("x", x, params.dtype)
    batch_size = checks.whole("batch_size", batch_size, 1)
    starts = range(0, len(x), batch_size)
    logits = np.concatenate([network.apply(params, x[i : i + batch_size])[0] for i in starts])
    return Evaluation(float(loss(logits, y)[0]), logits)
