"""A plain torch training loop: line for line the twin of scratch/train.py, with autograd in place of backward()."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F

import scratch
from scratch import checks
from scratch.train import DivergenceError, Evaluation, Progress, Record, State, check_data, check_state, mask_rng, steps
from torch_impl.convert import copy_to_optimizer, parameters_of, slots_of
from torch_impl.network import Twin, twin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.random import Generator
    from numpy.typing import NDArray

    from scratch import Network, Penalty, Recipe
    from scratch.losses import Loss
    from scratch.optim import Optimizer

    Array = NDArray[Any]
    TorchLoss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

# The torch counterpart of every loss; for a loss of your own add an entry.
LOSSES: dict[type, TorchLoss] = {
    scratch.CrossEntropy: F.cross_entropy,
    scratch.BCEWithLogits: F.binary_cross_entropy_with_logits,
    scratch.MSE: F.mse_loss,
    scratch.MAE: F.l1_loss,
}

# The torch counterpart of every optimizer, which takes the same hyperparameters and keeps the same state; fused, that
# is in one kernel, where torch has it.
OPTIMIZERS: dict[type, Callable[..., torch.optim.Optimizer]] = {
    scratch.SGD: partial(torch.optim.SGD, fused=True),
    scratch.AdaGrad: torch.optim.Adagrad,
    scratch.RMSprop: torch.optim.RMSprop,
    scratch.Adam: partial(torch.optim.Adam, fused=True),
    scratch.AdamW: partial(torch.optim.AdamW, fused=True),
}


@dataclass
class TwinState:
    """scratch's State with torch's tensors: all that a training changes."""

    module: Twin
    optimizer: torch.optim.Optimizer
    progress: Progress
    best: torch.Tensor | None = None  # the parameters of the best epoch in one vector, with early stopping

    @classmethod
    def start(cls, network: Network, recipe: Recipe, state: State, device: str | torch.device = "cpu") -> TwinState:
        """Where scratch's ``state`` is, which stays as it is: either twin may take over from the other.

        Raises
            TypeError, ValueError: no State, one of another optimizer or network, or a device that is not there
        """
        check_state(recipe, state)
        module = twin(network, state.params, device)
        optimizer = torch_optimizer(recipe.optimizer, module)
        copy_to_optimizer(state.slots, state.progress.step, optimizer)
        best = None if state.best is None else torch.from_numpy(state.best.copy()).to(device)
        return cls(module, optimizer, replace(state.progress), best)

    def to_scratch(self, recipe: Recipe) -> State:
        """A copy of it in NumPy, which scratch can go on with, or save."""
        params = parameters_of(self.module)
        slots = slots_of(self.optimizer, recipe.optimizer.slots(params.vector))
        best = None if self.best is None else self.best.cpu().numpy().copy()
        return State(params, slots, replace(self.progress), best)


def torch_optimizer(optimizer: Optimizer, module: nn.Module) -> torch.optim.Optimizer:
    """The torch counterpart of an optimizer, for the parameters of ``module``.

    Raises
        TypeError: OPTIMIZERS has none
    """
    if type(optimizer) not in OPTIMIZERS:
        raise TypeError(f"no torch counterpart of {optimizer!r} is known; add one to torch_impl.train.OPTIMIZERS")
    return OPTIMIZERS[type(optimizer)](module.parameters(), **vars(optimizer))


def torch_loss(loss: Loss) -> TorchLoss:
    """The torch counterpart of a loss: (logits, y) -> a scalar.

    Raises
        TypeError: LOSSES has none
    """
    if type(loss) not in LOSSES:
        raise TypeError(f"no torch counterpart of {loss!r} is known; add one to torch_impl.train.LOSSES")
    return LOSSES[type(loss)]


def fit(
    network: Network,
    recipe: Recipe,
    x: Array,
    y: Array,
    state: TwinState,
    validation: tuple[Array, Array] | None = None,
) -> Iterator[Record]:
    """Train ``state`` in place, from where it is; yield a record after every step.

    The arguments, batches, masks, records and errors are those of :func:`scratch.fit`, the logits in the records are
    tensors. The data are NumPy arrays; they are copied to the module's device once.
    """
    checks.instance("state", state, TwinState, "a TwinState, as TwinState.start() makes it")
    weight = next(state.module.parameters())
    check_data(network, recipe, x, y, str(weight.dtype).removeprefix("torch."), validation)

    def move(a: Array) -> torch.Tensor:
        return torch.from_numpy(a).to(weight.device)

    moved = None if validation is None else (move(validation[0]), move(validation[1]))
    return _steps(network, recipe, move(x), move(y), state, moved)


def _steps(
    network: Network,
    recipe: Recipe,
    x: torch.Tensor,
    y: torch.Tensor,
    state: TwinState,
    validation: tuple[torch.Tensor, torch.Tensor] | None,
) -> Iterator[Record]:
    module, progress = state.module, state.progress
    stopping = recipe.early_stopping
    for step, epoch, epoch_ends, batch in steps(len(x), recipe, progress.step):
        if progress.stopped:
            break
        rng = mask_rng(recipe.seed, step) if network.stochastic else None
        rows = torch.from_numpy(batch).to(x.device)
        state.optimizer.zero_grad()
        value, logits = gradient(module, recipe, x.index_select(0, rows), y.index_select(0, rows), rng)
        lr = recipe.optimizer.lr * recipe.schedule(step)
        if not math.isfinite(value):
            raise DivergenceError(step, lr, value)
        if recipe.max_norm is not None:
            nn.utils.clip_grad_norm_(module.parameters(), recipe.max_norm)
        state.optimizer.param_groups[0]["lr"] = lr
        state.optimizer.step()
        progress.step = step + 1

        seen = None
        if epoch_ends and validation is not None:
            seen = evaluate(module, recipe.loss, *validation)
            if not math.isfinite(seen.loss):
                raise DivergenceError(step, lr, seen.loss, "validation loss")
            if stopping is not None and progress.observe(epoch, seen.loss, stopping):
                state.best = nn.utils.parameters_to_vector(module.parameters()).detach().clone()
        yield Record(step + 1, epoch, epoch_ends, lr, value, batch, logits, seen)
    if state.best is not None:
        nn.utils.vector_to_parameters(state.best.clone(), module.parameters())


def gradient(
    module: Twin, recipe: Recipe, x: torch.Tensor, y: torch.Tensor, rng: Generator | None
) -> tuple[float, torch.Tensor]:
    """Let autograd add ∂(loss + penalty)/∂parameters to every ``.grad``; return the value and the logits."""
    logits = module.train()(x, rng)
    value = torch_loss(recipe.loss)(logits, y)
    if recipe.penalty:
        value = value + penalty(recipe.penalty, module)
    value.backward()
    return value.item(), logits.detach()


def penalty(penalty: Penalty, module: nn.Module) -> torch.Tensor:
    """l1 Σ|w| + l2/2 Σw²  over the parameters with at least two axes."""
    weights = [W for W in module.parameters() if W.ndim >= 2]
    return sum((penalty.l1 * W.abs().sum() + penalty.l2 / 2 * W.square().sum() for W in weights), torch.tensor(0.0))


@torch.no_grad()
def evaluate(module: Twin, loss: Loss, x: torch.Tensor, y: torch.Tensor, batch_size: int = 1024) -> Evaluation:
    """The mean loss and the logits over a data set, as in evaluation (no dropout, no penalty)."""
    module.eval()
    logits = torch.cat([module(rows) for rows in x.split(batch_size)])
    return Evaluation(torch_loss(loss)(logits, y).item(), logits)
