"""Training: what a recipe is, seeded minibatches, and fit() as a generator of records.

Everything random in a training comes from the recipe's seed by a rule without memory: the order of an epoch from
(seed, epoch), the dropout masks of a step from (seed, step). So a training resumed at step k goes on exactly
as one that never stopped, and torch's twin, which uses the same rule, sees the same batches and masks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scratch import checks
from scratch.augment import Shift
from scratch.device import Precision, check_precision, to_device
from scratch.losses import Loss
from scratch.network import Network
from scratch.optim import Optimizer, Penalty, clip_by_global_norm
from scratch.parameters import Parameters
from scratch.schedules import Constant, Schedule

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.random import Generator
    from numpy.typing import NDArray

    from scratch.optim import Slots

    Array = NDArray[Any]


@dataclass(frozen=True)
class EarlyStopping:
    """Stop when the validation loss has had no new minimum for ``patience`` epochs."""

    patience: int

    def __post_init__(self) -> None:
        checks.whole("patience", self.patience, 1)


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
        checks.instance("schedule", self.schedule, Schedule, "a schedule such as CosineDecay(steps=1000)")
        checks.instance("augment", self.augment, Shift | None, "a Shift(shape=(28, 28))")
        checks.instance("penalty", self.penalty, Penalty, "a Penalty(l1=..., l2=...)")
        checks.instance("early_stopping", self.early_stopping, EarlyStopping | None, "an EarlyStopping(patience=...)")
        checks.whole("epochs", self.epochs, 1)
        checks.whole("batch_size", self.batch_size, 1)
        checks.whole("seed", self.seed, 0)
        if self.max_norm is not None:
            checks.number("max_norm", self.max_norm, 0, above=True)
            object.__setattr__(self, "max_norm", float(self.max_norm))

    def lr(self, step: int) -> float:
        """The learning rate of step 0, 1, …; a Python float, beside which float32 stays float32."""
        return float(self.optimizer.lr * self.schedule(step))


@dataclass
class Progress:
    """How far a training is, and its best epoch so far by validation loss."""

    step: int = 0
    best_loss: float = math.inf
    best_epoch: int = -1
    stopped: bool = False  # by early stopping

    def observe(self, epoch: int, validation_loss: float, rule: EarlyStopping) -> bool:
        """Note an epoch's validation loss; True if it is the best so far."""
        if validation_loss < self.best_loss:
            self.best_loss, self.best_epoch = validation_loss, epoch
            return True
        self.stopped = epoch - self.best_epoch >= rule.patience
        return False


@dataclass
class State:
    """All that a training changes. Between two records of fit() it is whole: save it, and resume from it."""

    params: Parameters
    slots: Slots
    progress: Progress = field(default_factory=Progress)
    best: Array | None = None  # the parameter vector of the best epoch, with early stopping

    @classmethod
    def start(cls, params: Parameters, recipe: Recipe) -> State:
        """The state before the first step. It trains a copy: ``params`` stays as it is.

        Raises
            TypeError: no Parameters, or no Recipe
        """
        checks.instance("params", params, Parameters, "Parameters, as initial_parameters() makes them")
        checks.instance("recipe", recipe, Recipe, "a Recipe")
        params = params.copy()
        return cls(params, recipe.optimizer.slots(params.vector))

    def to(self, device: str) -> State:
        """A copy on that device: "cpu", "cuda" or "cuda:N".

        Raises
            ValueError: it is not there
        """
        params = self.params.to(device)
        slots = {key: to_device(v, device).copy() for key, v in self.slots.items()}
        best = None if self.best is None else to_device(self.best, device).copy()
        return State(params, slots, replace(self.progress), best)


@dataclass(frozen=True)
class Evaluation:
    """The mean loss over a data set, and the logits (n, out)."""

    loss: float
    logits: Any


class Record(NamedTuple):
    """One training step, as it was just done; or several, where asking after each would hold them up.

    ``loss`` is the value that the step went down on, penalty included, before the update (the mean, of several);
    ``logits`` are those of the samples ``batch`` (indices into the data). ``validation`` comes with the last step of an
    epoch, if asked for.
    """

    step: int  # steps done, this one included
    epoch: int  # 0, 1, …
    epoch_ends: bool
    lr: float
    loss: float
    batch: Array
    logits: Any
    validation: Evaluation | None = None


class DivergenceError(ArithmeticError):
    """The loss of a step, before its update, or of the validation after it, turned NaN or infinite."""

    def __init__(self, step: int, lr: float, loss: float, name: str = "loss") -> None:
        super().__init__(
            f"the {name} is {loss} at step {step} (learning rate {lr:g}). "
            "Train with a smaller learning rate, a warm-up, or clipped gradients (max_norm)"
        )


def minibatches(n: int, batch_size: int, rng: Generator) -> Iterator[Array]:
    """The indices 0 … n − 1 in random order, ``batch_size`` at a time; the last batch may be shorter."""
    checks.whole("n", n, 1)
    checks.whole("batch_size", batch_size, 1)
    order = rng.permutation(n)
    for start in range(0, n, batch_size):
        yield order[start : start + batch_size]


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


def steps(n: int, recipe: Recipe, start: int) -> Iterator[tuple[int, int, bool, Array]]:
    """(step, epoch, whether it ends the epoch, indices of its batch) of every step from ``start`` to the last."""
    per_epoch = -(-n // recipe.batch_size)
    for epoch in range(start // per_epoch, recipe.epochs):
        for i, batch in enumerate(epoch_batches(n, recipe, epoch)):
            step = epoch * per_epoch + i
            if step >= start:
                yield step, epoch, i == per_epoch - 1, batch


def fit(
    network: Network,
    recipe: Recipe,
    x: Array,
    y: Array,
    state: State,
    validation: tuple[Array, Array] | None = None,
    precision: Precision = "float32",
) -> Iterator[Record]:
    """Train ``state`` in place, from where it is; yield a record after every step.

        state = State.start(params, recipe)
        for record in fit(network, recipe, x, y, state):
            print(record.step, record.loss)

    x (n, in) in the parameters' dtype, y as the loss takes it; ``validation`` is an (x, y) of its own, evaluated at the
    end of every epoch. With early stopping the parameters of the best epoch are put back at the end.

    On a GPU (``state.to("cuda")``) the data, which are NumPy's all the same, are copied there once; the step is
    captured as a CUDA graph (not with dropout, whose masks the host draws); a record comes with the end of an epoch.
    ``precision`` is that of float32 matrix products there: see :func:`scratch.device.computing`.

    Raises
        TypeError, ValueError: data of a wrong dtype or shape, or with NaN or inf; early stopping without validation.
            Nothing has been changed.
        DivergenceError: the loss turned NaN or infinite
    """
    check_state(recipe, state)
    check_data(network, recipe, x, y, state.params.dtype, validation)
    check_precision(precision, state.params.device, state.params.dtype)
    if state.params.device == "cpu":
        return _steps(network, recipe, x, y, state, validation)
    from scratch.epochs import OnDevice, fit_epochs  # which imports this file

    engine = OnDevice(network, recipe, x, y, state, validation, precision)
    return fit_epochs(engine, recipe, len(x), outputs(network, x), state.params.dtype)


def _steps(
    network: Network, recipe: Recipe, x: Array, y: Array, state: State, validation: tuple[Array, Array] | None
) -> Iterator[Record]:
    params, grads, progress = state.params, state.params.like(), state.progress
    stopping, augment, width = recipe.early_stopping, recipe.augment, x.shape[1]
    if augment is not None:
        x = augment.padded(x)
    for step, epoch, epoch_ends, batch in steps(len(x), recipe, progress.step):
        if progress.stopped:
            break
        rng = mask_rng(recipe.seed, step) if network.stochastic else None
        rows = x.take(batch, 0)
        if augment is not None:
            start = augment.start(shift_rng(recipe.seed, step))
            rows = rows[:, start : start + width]
        with np.errstate(over="ignore", invalid="ignore"):  # the check below says it better
            value, logits = gradient(network, recipe, params, rows, y.take(batch, 0), grads, rng)
        loss, lr = float(value), recipe.lr(step)
        if not math.isfinite(loss):
            raise DivergenceError(step, lr, loss)
        update(recipe, state, grads, lr, step + 1)
        progress.step = step + 1

        seen = None
        if epoch_ends and validation is not None:
            with np.errstate(over="ignore", invalid="ignore"):
                seen = evaluate(network, recipe.loss, params, *validation)
            if not math.isfinite(seen.loss):
                raise DivergenceError(step, lr, seen.loss, "validation loss")
            if stopping is not None and progress.observe(epoch, seen.loss, stopping):
                state.best = params.vector.copy()
        yield Record(step + 1, epoch, epoch_ends, lr, loss, batch, logits, seen)
    if state.best is not None:
        params.vector[:] = state.best


def gradient(
    network: Network, recipe: Recipe, params: Parameters, x: Array, y: Array, grads: Parameters, rng: Generator | None
) -> tuple[Any, Array]:
    """Write ∂(loss + penalty)/∂params into ``grads``; return the value, a scalar, and the logits."""
    logits, caches = network.forward(params, x, rng)
    value, dlogits = recipe.loss.value_and_grad(logits, y)
    network.backward(dlogits, caches, grads, need_dx=False)
    if recipe.penalty:
        value = value + recipe.penalty.add_grad(params, grads)
    return value, logits


def update(recipe: Recipe, state: State, grads: Parameters, lr: Any, t: Any) -> None:
    """Step ``t`` (1, 2, …) down ``grads``, which are clipped in place if the recipe says so."""
    if recipe.max_norm is not None:
        clip_by_global_norm(grads.vector, recipe.max_norm)
    recipe.optimizer.update(state.params.vector, grads.vector, state.slots, lr, t)


def evaluate(
    network: Network, loss: Loss, params: Parameters, x: Array, y: Array, batch_size: int = 1024
) -> Evaluation:
    """The mean loss and the logits over a data set, as in evaluation (no dropout, no penalty).

    Raises
        TypeError, ValueError: x or y of another dtype or shape than the network and the loss take
    """
    checks.float_array("x", x, ("n", network.n_in), params.dtype)
    starts = range(0, len(x), batch_size)
    logits = np.concatenate([network.forward(params, x[i : i + batch_size])[0] for i in starts])
    return Evaluation(float(loss(logits, y)[0]), logits)


def check_state(recipe: Recipe, state: State) -> None:
    """Raise TypeError or ValueError unless the state is one, of the recipe's optimizer."""
    checks.instance("recipe", recipe, Recipe, "a Recipe")
    checks.instance("state", state, State, "a scratch.State, as State.start() makes it")
    slots = recipe.optimizer.slots(state.params.vector)
    if state.slots.keys() != slots.keys():
        raise ValueError(
            f"state holds the optimizer state {sorted(state.slots)}, expected {sorted(slots)} for {recipe.optimizer}"
        )


def check_data(
    network: Network, recipe: Recipe, x: Array, y: Array, dtype: Any, validation: tuple[Array, Array] | None
) -> None:
    """Raise TypeError or ValueError unless the data fit the network, the loss and the dtype."""
    checks.instance("network", network, Network, "a Network, as mlp() makes it")
    checks.instance("recipe", recipe, Recipe, "a Recipe")
    if validation is not None and not (isinstance(validation, tuple) and len(validation) == 2):
        raise TypeError(f"validation is a {type(validation).__name__}, expected a tuple (x, y)")
    if recipe.early_stopping is not None and validation is None:
        raise ValueError("validation is None, expected (x, y): early stopping watches the validation loss")
    for prefix, data in {"": (x, y), "validation ": validation}.items():
        if data is not None:
            features, targets = data
            checks.float_array(f"{prefix}x", features, ("n", network.n_in), dtype)
            checks.finite(f"{prefix}x", features)
            recipe.loss.check_targets(targets, (len(features), outputs(network, features)), dtype, f"{prefix}y")
    if recipe.augment is not None and x.shape[1] != math.prod(recipe.augment.shape):
        raise ValueError(f"augment is {recipe.augment}, expected a shape of {x.shape[1]} pixels, as x has them")


def outputs(network: Network, x: Array) -> int:
    """Columns of the logits for data like ``x`` (n, in), found with one row of it."""
    logits, _ = network.forward(Parameters(network.shapes(), x.dtype), x[:1])
    return int(logits.shape[1])
