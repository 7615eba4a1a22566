"""Training an epoch at a time, for a device that should not be asked at every step.

A GPU does an MNIST step in the time that it takes to ask it for the loss. So here the host hands over an epoch: its
order and its learning rates. Every step finds its own place in them by a counter on the device, and leaves its loss and
its logits there; the host looks at them when the epoch is over. Nothing of a step depends on the host, so a step can be
captured as a CUDA graph and replayed.

The arrays may be CuPy's or torch's (or, in tests, on the CPU): only indexing and arithmetic is used that all share.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from scratch.batches import shift_rng

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from scratch.batches import Steps
    from scratch.device import Array
    from scratch.engine import Evaluation
    from scratch.recipe import Recipe
    from scratch.state import Progress


class DeviceEngine(Protocol):
    """An engine whose steps need not ask the host: what :class:`WholeEpochs` makes epochs of."""

    progress: Progress

    def step(self, batch: Any, start: Any, lr: Any, t: Any) -> tuple[Any, Any]:
        """Step ``t`` on these samples, whose inputs begin at ``start``, if they are augmented: the loss and the logits.

        All are arrays of the device, the last three of one number.
        """

    def captured(self, function: Callable[[], None]) -> Callable[[], None]:
        """The function, or what replays it."""

    def computing(self) -> AbstractContextManager[Any]:
        """The context that an epoch runs in."""

    def move(self, a: Array) -> Any:
        """A copy of NumPy's array on the device."""

    def host(self, a: Any) -> Array:
        """A copy of the device's array in NumPy, once all that writes to it is done."""

    def evaluate(self) -> Evaluation | None: ...
    def largest(self) -> float: ...
    def keep_best(self) -> None: ...
    def restore_best(self) -> None: ...


class WholeEpochs:
    """An engine that runs the rest of an epoch at once, on the device of another engine.

    A loss that turned NaN or infinite is seen when its epoch is over.
    """

    whole_epochs = True

    def __init__(self, engine: DeviceEngine, recipe: Recipe, n: int, n_out: tuple[int, ...], dtype: Any) -> None:
        """For ``n`` samples with logits (``n``, *``n_out``) of that dtype."""
        self.engine, self.recipe, self.progress, move = engine, recipe, engine.progress, engine.move
        self.keep_best, self.restore_best, self.largest = engine.keep_best, engine.restore_best, engine.largest
        self.per_epoch, self.short = recipe.steps_per_epoch(n), n % recipe.batch_size
        with engine.computing():
            self.order, self.lrs = move(np.zeros(n, np.int64)), move(np.zeros(self.per_epoch))
            self.starts = move(np.zeros(self.per_epoch, np.int64))
            self.losses, self.logits = move(np.zeros(self.per_epoch, dtype)), move(np.zeros((n, *n_out), dtype))
            self.k, self.t = move(np.zeros(1, np.int64)), move(np.ones(1))  # the step in its epoch; in all, from 1
            self.within = move(np.arange(recipe.batch_size))
        sizes = (recipe.batch_size, self.short)
        self.whole_batch, self.last_batch = (engine.captured(partial(self._step, size)) for size in sizes)

    def _step(self, size: int) -> None:
        rows = self.k * self.recipe.batch_size + self.within[:size]
        found = self.engine.step(self.order[rows], self.starts[self.k], self.lrs[self.k], self.t)
        self.losses[self.k], self.logits[rows] = found
        self.k += 1  # in place: a replayed step counts on from the last one
        self.t += 1

    def run(self, steps: Steps) -> tuple[list[float], Array]:
        recipe, engine = self.recipe, self.engine
        begun = self.per_epoch - len(steps.batches)
        rows = slice(begun * recipe.batch_size, None)
        with engine.computing():
            self.order[rows] = engine.move(np.concatenate(steps.batches))
            self.lrs[begun:] = engine.move(np.array(steps.lrs))
            if recipe.augment is not None:
                moves = [
                    recipe.augment.start(shift_rng(recipe.seed, step))
                    for step, _ in enumerate(steps.batches, steps.first)
                ]
                self.starts[begun:] = engine.move(np.array(moves))
            self.k[:], self.t[:] = begun, steps.first + 1
            for i in range(begun, self.per_epoch):
                (self.last_batch if self.short and i == self.per_epoch - 1 else self.whole_batch)()
            return engine.host(self.losses)[begun:].tolist(), engine.host(self.logits)[rows]

    def evaluate(self) -> Evaluation | None:
        with self.engine.computing():
            return self.engine.evaluate()
