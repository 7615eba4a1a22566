"""Which samples a step sees, and in what order.

Everything random in a training comes from the recipe's seed by a rule without memory: the order of an epoch from
(seed, epoch), the dropout masks of a step from (seed, step). So a training resumed at step k goes on exactly
as one that never stopped, and torch's twin, which uses the same rule, sees the same batches and masks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scratch import checks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.random import Generator

    from scratch.device import Array
    from scratch.recipe import Recipe

__all__ = ["minibatches"]


def minibatches(n: int, batch_size: int, rng: Generator) -> Iterator[Array]:
    """The indices 0 … n − 1 in random order, ``batch_size`` at a time; the last batch may be shorter.

    Raises
        TypeError, ValueError: ``n`` or ``batch_size`` is no positive integer, or ``rng`` no Generator
    """
    n, batch_size = checks.whole("n", n, 1), checks.whole("batch_size", batch_size, 1)
    checks.generator("rng", rng)
    order = rng.permutation(n)
    return (order[start : start + batch_size] for start in range(0, n, batch_size))


def epoch_batches(n: int, recipe: Recipe, epoch: int) -> Iterable[Array]:
    """The minibatches of an epoch; a batch of all samples stays in their order, which its mean does not depend on."""
    if n <= recipe.batch_size:
        return (np.arange(n),)
    return minibatches(n, recipe.batch_size, order_rng(recipe.seed, epoch))


def order_rng(seed: int, epoch: int) -> Generator:
    """The generator that orders an epoch's samples."""
    return np.random.default_rng((seed, 0, epoch))


def mask_rng(seed: int, step: int) -> Generator:
    """The generator that draws the dropout masks of step 0, 1, …"""
    return np.random.default_rng((seed, 1, step))


def shift_rng(seed: int, step: int) -> Generator:
    """The generator that draws the move of step 0, 1, … (2 and 3 are the experiments')."""
    return np.random.default_rng((seed, 4, step))


class Steps(NamedTuple):
    """Steps that an engine takes without being asked in between: one, or the rest of an epoch."""

    first: int  # 0, 1, … over the whole training
    epoch: int
    ends_epoch: bool
    batches: Sequence[Array]  # the indices of each step's samples
    lrs: Sequence[float]  # the learning rate of each


def steps(n: int, recipe: Recipe, start: int, whole_epochs: bool) -> Iterator[Steps]:
    """The steps of a training on ``n`` samples from step ``start`` to the last, one at a time or an epoch at a time."""
    per_epoch = recipe.steps_per_epoch(n)
    for epoch in range(start // per_epoch, recipe.epochs):
        first = epoch * per_epoch
        if whole_epochs:
            begun = max(start - first, 0)
            lrs = [recipe.lr(first + i) for i in range(begun, per_epoch)]
            yield Steps(first + begun, epoch, True, list(epoch_batches(n, recipe, epoch))[begun:], lrs)
            continue
        for step, batch in enumerate(epoch_batches(n, recipe, epoch), first):
            if step >= start:
                yield Steps(step, epoch, step + 1 == first + per_epoch, (batch,), (recipe.lr(step),))
