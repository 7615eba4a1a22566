"""A recipe: how to train, all but the network, its initial parameters and the data."""

from __future__ import annotations

from dataclasses import dataclass

from scratch import checks
from scratch.augment import Shift
from scratch.losses import Loss
from scratch.optim import Optimizer, Penalty
from scratch.schedules import Constant, Schedule, check_schedule

__all__ = ["EarlyStopping", "Recipe"]


@dataclass(frozen=True)
class EarlyStopping:
    """Stop when the validation loss has had no new minimum for ``patience`` epochs."""

    patience: int

    def __post_init__(self) -> None:
        checks.settle(self, patience=checks.whole("patience", self.patience, 1))


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train: everything but the network, its initial parameters and the data.

    ``augment`` changes the inputs of every batch, in training alone.

    ``epochs`` passes over the data in batches of ``batch_size`` (the last of an epoch may be shorter); the learning
    rate of step k is ``optimizer.lr * schedule(k)``; ``max_norm`` clips the gradient's global norm.
    """

    loss: Loss
    optimizer: Optimizer
    epochs: int
    batch_size: int
    schedule: Schedule = Constant()
    penalty: Penalty = Penalty()
    augment: Shift | None = None
    max_norm: float | None = None
    early_stopping: EarlyStopping | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        checks.instance("loss", self.loss, Loss, "a loss such as CrossEntropy()")
        checks.instance("optimizer", self.optimizer, Optimizer, "an optimizer such as Adam(lr=1e-3)")
        check_schedule("schedule", self.schedule)
        checks.instance("augment", self.augment, Shift | None, "a Shift(shape=(28, 28))")
        checks.instance("penalty", self.penalty, Penalty, "a Penalty(l1=..., l2=...)")
        checks.instance("early_stopping", self.early_stopping, EarlyStopping | None, "an EarlyStopping(patience=...)")
        for name, least in (("epochs", 1), ("batch_size", 1), ("seed", 0)):
            checks.settle(self, **{name: checks.whole(name, getattr(self, name), least)})
        if self.max_norm is not None:
            checks.settle(self, max_norm=checks.number("max_norm", self.max_norm, 0, above=True))

    def lr(self, step: int) -> float:
        """The learning rate of step 0, 1, …; a Python float, beside which float32 stays float32."""
        return float(self.optimizer.lr * self.schedule(step))

    def steps_per_epoch(self, n: int) -> int:
        """The minibatches that an epoch of ``n`` samples has."""
        return -(-checks.whole("n", n, 1) // self.batch_size)
