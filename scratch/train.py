"""Training: the one loop, whatever engine it drives, and fit() as a generator of records."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from scratch import checks
from scratch.batches import steps
from scratch.composite import traced
from scratch.device import check_precision
from scratch.engine import NumpyEngine
from scratch.epochs import WholeEpochs
from scratch.identity import identify
from scratch.network import Network
from scratch.recipe import Recipe
from scratch.state import check_state

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.random import Generator

    from scratch.batches import Steps
    from scratch.device import Array, Precision
    from scratch.engine import Engine, Evaluation
    from scratch.state import State

__all__ = ["DivergenceError", "Record", "fit"]


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
    """A loss of a step, before its update, or of the validation after it, or a weight turned NaN or infinite."""

    @classmethod
    def at(cls, step: int, lr: float, loss: float, name: str = "loss") -> Self:
        """The error at that step, with the advice."""
        return cls(
            f"the {name} is {loss} at step {step} (learning rate {lr:g}). "
            "Train with a smaller learning rate, a warm-up, or clipped gradients (max_norm)"
        )


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

    x (n, …) in the parameters' dtype, y as the loss takes it; ``validation`` is an (x, y) of its own, evaluated at the
    end of every epoch. With early stopping the parameters of the best epoch are put back at the end.

    On a GPU (``state.to("cuda")``) the data, which are NumPy's all the same, are copied there once; the step is
    captured as a CUDA graph (not with dropout, whose masks the host draws); a record comes with the end of an epoch.
    ``precision`` is that of float32 matrix products there: see :func:`scratch.device.computing`.

    Raises
        TypeError, ValueError: data of a wrong dtype or shape, or with NaN or inf; early stopping without validation;
            the state of another training, be it by its network, its recipe or its data. Nothing has been changed.
        DivergenceError: the loss, or at the end a weight, turned NaN or infinite
    """
    check_state(network, recipe, state)
    check_data(network, recipe, x, y, state.params.dtype, validation)
    check_precision(precision, state.params.device, state.params.dtype)
    identify(state, network, recipe, x, y, validation)
    engine: Any = NumpyEngine(network, recipe, x, y, state, validation, precision)
    if state.params.device != "cpu":
        engine = WholeEpochs(engine, recipe, len(x), outputs(network, x, state.params.dtype), state.params.dtype)
    return train(engine, recipe, len(x))


def train(engine: Engine, recipe: Recipe, n: int) -> Iterator[Record]:
    """The training loop: drive ``engine`` through the recipe's epochs on ``n`` samples, from where its progress is.

    Raises
        DivergenceError: the loss, or at the end a weight, turned NaN or infinite
    """
    for these in steps(n, recipe, engine.progress.step, engine.whole_epochs):
        if recipe.early_stopping is not None and engine.progress.stopped:
            break
        losses, logits = engine.run(these)
        yield record(engine, recipe, these, losses, logits)
    check_weights(engine, recipe)
    if recipe.early_stopping is not None:
        engine.restore_best()


def check_weights(engine: Engine, recipe: Recipe) -> None:
    """Raise DivergenceError if the last update, which no loss comes after, made a weight NaN or infinite."""
    last, largest = engine.progress.step - 1, engine.largest()
    if not math.isfinite(largest):
        raise DivergenceError.at(last, recipe.lr(last), largest, "largest weight")


def record(engine: Engine, recipe: Recipe, these: Steps, losses: list[float], logits: Any) -> Record:
    """The record of steps that were just done; at the end of an epoch with the validation, which early stopping heeds.

    Raises
        DivergenceError: a loss is NaN or infinite
    """
    first, epoch, ends_epoch, batches, lrs = these
    if not all(map(math.isfinite, losses)):
        i = next(i for i, loss in enumerate(losses) if not math.isfinite(loss))
        raise DivergenceError.at(first + i, lrs[i], losses[i])
    progress, end, lr, seen = engine.progress, first + len(losses), lrs[-1], None
    progress.step = end
    if ends_epoch:
        seen = engine.evaluate()
        if seen is not None and not math.isfinite(seen.loss):
            raise DivergenceError.at(end - 1, lr, seen.loss, "validation loss")
        stopping = recipe.early_stopping
        if seen is not None and stopping is not None and progress.observe(epoch, seen.loss, stopping):
            engine.keep_best()
    batch = batches[0] if len(batches) == 1 else np.concatenate(batches)
    return Record(end, epoch, ends_epoch, lr, sum(losses) / len(losses), batch, logits, seen)


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
            network.check_input(f"{prefix}x", features, dtype)
            checks.finite(f"{prefix}x", features)
            try:
                shape = (len(features), *outputs(network, features, dtype))
            except (TypeError, ValueError) as error:
                raise type(error)(f"{prefix}{error}") from error  # "validation layers[0], …: x has shape …"
            recipe.loss.check_targets(targets, shape, dtype, f"{prefix}y")
    check_smallest_batch(network, recipe, x, dtype)
    if recipe.augment is not None and x.shape[1:] != (math.prod(recipe.augment.shape),):
        raise ValueError(f"augment is {recipe.augment}, expected a shape of {x.shape[1]} pixels, as x has them")


def check_smallest_batch(network: Network, recipe: Recipe, x: Array, dtype: Any, processes: int = 1) -> None:
    """Raise ValueError if what a process gets of the smallest batch is too little for the network in training."""
    smallest = (len(x) % recipe.batch_size or recipe.batch_size) // processes
    if network.differs_in_training and (smallest or network.untrained):
        try:
            outputs(network, x, dtype, smallest, np.random.default_rng(0))
        except ValueError as error:
            whose = f"the last batch of {len(x)} samples" if processes == 1 else "the smallest share of a process"
            raise ValueError(f"batch_size is {recipe.batch_size}, and {whose} has {smallest}: {error}") from error


def outputs(
    network: Network, x: Array, dtype: Any, rows: int = 3, training: Generator | None = None
) -> tuple[int, ...]:
    """The shape of one sample's logits for data like ``x`` (n, …), found by a rehearsal with a few rows of it.

    Raises
        ValueError: the gradient of a layer's input has another shape than that input
    """
    params, x = network.parameters(dtype), x[:rows].copy()
    with np.errstate(all="ignore"), traced() as trace:  # of zero parameters, anything may come
        logits, caches = network.apply(params, x, training)
        try:
            network.backward(np.zeros_like(logits), caches, *params.gradients().arrays)
            refused = None
        except (TypeError, ValueError) as error:
            refused = error  # by the layer before the one whose dx is wrong, maybe
    for path, dx in trace.input_gradients.items():
        if dx is not None and dx.shape != trace.inputs[path].shape:
            came, expected = dx.shape, trace.inputs[path].shape
            raise ValueError(f"layer {path}, {trace.layers[path]}: dx has shape {came}, expected {expected}, that of x")
    if refused is not None:
        raise refused
    return tuple(logits.shape[1:])
