"""Training an epoch at a time, for a device that should not be asked at every step.

A GPU does an MNIST step in the time that it takes to ask it for the loss. So here the host hands over an epoch: its
order and its learning rates. Every step finds its own place in them by a counter on the device, and leaves its loss and
its logits there; the host looks at them when the epoch is over. Nothing of a step depends on the host, so a step can be
captured as a CUDA graph and replayed.

The arrays may be CuPy's or torch's (or, in tests, on the CPU): only indexing and arithmetic is used that all share. An
:class:`Engine` does the rest; ``OnDevice`` is scratch's, torch_impl/train.py has torch's.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from scratch.device import Captured, computing, to_device
from scratch.train import (
    DivergenceError,
    Evaluation,
    Record,
    epoch_batches,
    evaluate,
    gradient,
    mask_rng,
    shift_rng,
    update,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from scratch.device import Precision
    from scratch.network import Network
    from scratch.train import Progress, Recipe, State

    Array = NDArray[Any]


class Engine(Protocol):
    """What trains, where its arrays are."""

    progress: Progress

    def step(self, batch: Any, start: Any, lr: Any, t: Any) -> tuple[Any, Any]:
        """Step ``t`` on these samples, whose inputs begin at ``start``, if they are augmented: the loss and the logits.

        All are arrays of the device, the last three of one number.
        """

    def captured(self, function: Callable[[], None]) -> Callable[[], None]:
        """The function, or what replays it."""

    def computing(self) -> AbstractContextManager[Any]:
        """What an epoch runs in."""

    def move(self, a: Array) -> Any:
        """A copy of NumPy's array on the device."""

    def host(self, a: Any) -> Array:
        """A copy of the device's array in NumPy, once all that writes to it is done."""

    def evaluate(self) -> Evaluation | None:
        """The validation data, if there are any."""

    def keep_best(self) -> None:
        """Note the parameters as the best so far."""

    def restore_best(self) -> None:
        """Put them back."""


def fit_epochs(engine: Engine, recipe: Recipe, n: int, n_out: int, dtype: Any) -> Iterator[Record]:
    """Train on ``n`` samples; yield a record an epoch, its loss the mean of its steps.

    Between two records the state is whole. A loss that turned NaN or infinite is seen when its epoch is over.

    Raises
        DivergenceError: the loss turned NaN or infinite
    """
    progress, per_epoch = engine.progress, -(-n // recipe.batch_size)
    with engine.computing():
        order, lrs = engine.move(np.zeros(n, np.int64)), engine.move(np.zeros(per_epoch))
        starts = engine.move(np.zeros(per_epoch, np.int64))
        losses, logits = engine.move(np.zeros(per_epoch, dtype)), engine.move(np.zeros((n, n_out), dtype))
        k, t = engine.move(np.zeros(1, np.int64)), engine.move(np.ones(1))  # the step in its epoch; and in all, from 1
        within = engine.move(np.arange(recipe.batch_size))

    def step(size: int) -> None:
        rows = k * recipe.batch_size + within[:size]
        losses[k], logits[rows] = engine.step(order[rows], starts[k], lrs[k], t)
        k.__iadd__(1)
        t.__iadd__(1)

    short = n % recipe.batch_size
    whole_batch, last_batch = (engine.captured(partial(step, size)) for size in (recipe.batch_size, short))
    for epoch in range(progress.step // per_epoch, recipe.epochs):
        if progress.stopped:
            break
        begun, first = progress.step - epoch * per_epoch, epoch * per_epoch
        batch = np.concatenate(list(epoch_batches(n, recipe, epoch)))
        rates = [recipe.lr(first + i) for i in range(per_epoch)]
        with engine.computing():
            order[:], lrs[:] = engine.move(batch), engine.move(np.array(rates))
            if recipe.augment is not None:
                moves = [recipe.augment.start(shift_rng(recipe.seed, first + i)) for i in range(per_epoch)]
                starts[:] = engine.move(np.array(moves))
            k[:], t[:] = begun, progress.step + 1
            for i in range(begun, per_epoch):
                (last_batch if short and i == per_epoch - 1 else whole_batch)()
            seen_losses = engine.host(losses)[begun:].tolist()
            rows = slice(begun * recipe.batch_size, n)
            seen_logits = engine.host(logits)[rows]
            for i, loss in enumerate(seen_losses, begun):
                if not math.isfinite(loss):
                    raise DivergenceError(first + i, rates[i], loss)
            progress.step = first + per_epoch
            seen = engine.evaluate()
        if seen is not None:
            if not math.isfinite(seen.loss):
                raise DivergenceError(progress.step - 1, rates[-1], seen.loss, "validation loss")
            if recipe.early_stopping is not None and progress.observe(epoch, seen.loss, recipe.early_stopping):
                engine.keep_best()
        mean = sum(seen_losses) / len(seen_losses)
        yield Record(progress.step, epoch, True, rates[-1], mean, batch[rows], seen_logits, seen)
    engine.restore_best()


class OnDevice:
    """scratch's engine: the state's arrays on a GPU, or on the CPU."""

    def __init__(
        self,
        network: Network,
        recipe: Recipe,
        x: Array,
        y: Array,
        state: State,
        validation: tuple[Array, Array] | None,
        precision: Precision = "float32",
    ) -> None:
        self.network, self.recipe, self.state, self.precision = network, recipe, state, precision
        self.progress, self.device, self.grads = state.progress, state.params.device, state.params.like()
        self.columns = self.move(np.arange(x.shape[1]))
        self.x, self.y = self.move(x if recipe.augment is None else recipe.augment.padded(x)), self.move(y)
        self.validation = None if validation is None else (self.move(validation[0]), self.move(validation[1]))
        self.masked = state.progress.step  # steps that have drawn their masks

    def step(self, batch: Array, start: Array, lr: Array, t: Array) -> tuple[Any, Array]:
        network, recipe, params = self.network, self.recipe, self.state.params
        rng = mask_rng(recipe.seed, self.masked) if network.stochastic else None
        self.masked += 1
        x, y = self.x.take(batch, 0), self.y.take(batch, 0)
        if recipe.augment is not None:
            x = x.take(start + self.columns, 1)
        value, logits = gradient(network, recipe, params, x, y, self.grads, rng)
        update(recipe, self.state, self.grads, lr, t)
        return value, logits

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
        seen = evaluate(self.network, self.recipe.loss, self.state.params, *self.validation)
        return Evaluation(seen.loss, self.host(seen.logits))

    def keep_best(self) -> None:
        self.state.best = self.state.params.vector.copy()

    def restore_best(self) -> None:
        if self.state.best is not None:
            self.state.params.vector[:] = self.state.best
