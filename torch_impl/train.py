"""A plain torch training loop: line for line the twin of scratch/train.py, with autograd in place of backward()."""

from __future__ import annotations

import math
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import scratch
from scratch import checks
from scratch.device import Precision, check_precision
from scratch.epochs import fit_epochs
from scratch.train import (
    DivergenceError,
    Evaluation,
    Progress,
    Record,
    State,
    check_data,
    check_state,
    mask_rng,
    outputs,
    shift_rng,
    steps,
)
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

# The torch counterpart of every loss, which takes the same hyperparameters; for a loss of your own add an entry.
LOSSES: dict[type, TorchLoss] = {
    scratch.CrossEntropy: F.cross_entropy,
    scratch.BCEWithLogits: F.binary_cross_entropy_with_logits,
    scratch.MSE: F.mse_loss,
    scratch.MAE: F.l1_loss,
}

# The torch counterpart of every optimizer, which takes the same hyperparameters and keeps the same state.
OPTIMIZERS: dict[type, Callable[..., torch.optim.Optimizer]] = {
    scratch.SGD: torch.optim.SGD,
    scratch.AdaGrad: torch.optim.Adagrad,
    scratch.RMSprop: torch.optim.RMSprop,
    scratch.Adam: torch.optim.Adam,
    scratch.AdamW: torch.optim.AdamW,
}
FUSED = {scratch.SGD, scratch.Adam, scratch.AdamW}  # those that torch has in one kernel
CAPTURABLE = {scratch.RMSprop, scratch.Adam, scratch.AdamW}  # those that torch can make count their steps on the GPU


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
        module = twin(network, state.params.to("cpu"), device)
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
    """The torch counterpart of an optimizer, for the parameters of ``module``; fused and capturable where it can be.

    Raises
        TypeError: OPTIMIZERS has none
    """
    if type(optimizer) not in OPTIMIZERS:
        raise TypeError(f"no torch counterpart of {optimizer!r} is known; add one to torch_impl.train.OPTIMIZERS")
    parameters, kind = list(module.parameters()), type(optimizer)
    options: dict[str, Any] = {}
    if all(p.is_cuda for p in parameters) and kind in CAPTURABLE:
        options["capturable"] = True
    # On a GPU the fused kernel reads the learning rate in float32, which float64 would notice.
    if kind in FUSED and all(not p.is_cuda or p.dtype == torch.float32 for p in parameters):
        options["fused"] = True
    return OPTIMIZERS[kind](parameters, **vars(optimizer), **options)


def torch_loss(loss: Loss) -> TorchLoss:
    """The torch counterpart of a loss: (logits, y) -> a scalar.

    Raises
        TypeError: LOSSES has none
    """
    if type(loss) not in LOSSES:
        raise TypeError(f"no torch counterpart of {loss!r} is known; add one to torch_impl.train.LOSSES")
    return with_options(type(loss), loss)


def with_options(kind: type, loss: Loss) -> TorchLoss:
    """The torch counterpart of ``kind``, a class of LOSSES, with those of its hyperparameters that ``loss`` has."""
    return partial(LOSSES[kind], **{f.name: getattr(loss, f.name) for f in fields(kind)})


def fit(
    network: Network,
    recipe: Recipe,
    x: Array,
    y: Array,
    state: TwinState,
    validation: tuple[Array, Array] | None = None,
    precision: Precision = "float32",
    capture: bool = False,
) -> Iterator[Record]:
    """Train ``state`` in place, from where it is; yield a record after every step.

    The arguments, batches, masks, records and errors are those of :func:`scratch.fit`, the logits in the records are
    tensors. The data are NumPy arrays; they are copied to the module's device once.

    With ``capture`` the host stays out of an epoch, for which it yields one record: on a GPU the whole step is captured
    as a CUDA graph and replayed. Dropout's masks are then torch's own, drawn where the module is, from a seed that
    follows from (seed, epoch). What torch can only run from the host (AdaGrad; SGD in float64) is not captured.
    """
    checks.instance("state", state, TwinState, "a TwinState, as TwinState.start() makes it")
    weight = next(state.module.parameters())
    dtype = str(weight.dtype).removeprefix("torch.")
    check_data(network, recipe, x, y, dtype, validation)
    check_precision(precision, weight.device.type, np.dtype(dtype))
    engine = OnDevice(recipe, x, y, state, validation, precision, own_masks=capture and network.stochastic)
    if capture:
        return fit_epochs(engine, recipe, len(x), outputs(network, x), dtype)
    return _steps(network, recipe, engine)


def _steps(network: Network, recipe: Recipe, engine: OnDevice) -> Iterator[Record]:
    progress, stopping = engine.progress, recipe.early_stopping
    for step, epoch, epoch_ends, batch in steps(len(engine.x), recipe, progress.step):
        if progress.stopped:
            break
        rng = mask_rng(recipe.seed, step) if network.stochastic else None
        start = None if recipe.augment is None else recipe.augment.start(shift_rng(recipe.seed, step))
        with engine.computing():
            value, logits = engine.gradient(engine.move(batch), start, rng)
        loss, lr = value.item(), recipe.lr(step)
        if not math.isfinite(loss):
            raise DivergenceError(step, lr, loss)
        engine.update(lr)
        progress.step = step + 1

        seen = engine.evaluate() if epoch_ends else None
        if seen is not None:
            if not math.isfinite(seen.loss):
                raise DivergenceError(step, lr, seen.loss, "validation loss")
            if stopping is not None and progress.observe(epoch, seen.loss, stopping):
                engine.keep_best()
        yield Record(step + 1, epoch, epoch_ends, lr, loss, batch, logits, seen)
    engine.restore_best()


class OnDevice:
    """torch's :class:`scratch.epochs.Engine`: the parts of a training step, where the module is."""

    def __init__(
        self,
        recipe: Recipe,
        x: Array,
        y: Array,
        state: TwinState,
        validation: tuple[Array, Array] | None,
        precision: Precision = "float32",
        own_masks: bool = False,
    ) -> None:
        """With ``own_masks`` torch's generator is seeded for every epoch, and left as it was."""
        self.recipe, self.state, self.progress, self.own_masks = recipe, state, state.progress, own_masks
        self.parameters, self.loss = list(state.module.parameters()), torch_loss(recipe.loss)
        self.device, self.precision = self.parameters[0].device, precision
        self.width, self.columns = x.shape[1], self.move(np.arange(x.shape[1]))
        self.x, self.y = self.move(x if recipe.augment is None else recipe.augment.padded(x)), self.move(y)
        self.validation = None if validation is None else (self.move(validation[0]), self.move(validation[1]))
        # A graph reads the learning rate from where it was captured: the fused kernels from a float32.
        exact = self.parameters[0].dtype == torch.float64
        self.lr = torch.zeros((), dtype=torch.float64 if exact else torch.float32, device=self.device)

    def gradient(
        self, batch: torch.Tensor, start: int | torch.Tensor | None, rng: Generator | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Let autograd put ∂(loss + penalty)/∂parameters into every ``.grad``; return the value and the logits."""
        module, recipe = self.state.module.train(), self.recipe
        x = self.x.index_select(0, batch)
        if isinstance(start, int):
            x = x[:, start : start + self.width]
        elif start is not None:
            x = x.index_select(1, start + self.columns)
        self.state.optimizer.zero_grad()
        logits = module(x, rng)
        value = self.loss(logits, self.y.index_select(0, batch))
        if recipe.penalty:
            value = value + penalty(recipe.penalty, module)
        value.backward()
        return value.detach(), logits.detach().to(self.parameters[0].dtype)

    def update(self, lr: float | torch.Tensor) -> None:
        """One step of the optimizer, clipped if the recipe says so."""
        if self.recipe.max_norm is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.recipe.max_norm)
        self.state.optimizer.param_groups[0]["lr"] = lr
        self.state.optimizer.step()

    def step(
        self,
        batch: torch.Tensor,
        start: torch.Tensor,
        lr: torch.Tensor,
        t: torch.Tensor,  # noqa: ARG002 - torch's optimizers count for themselves
    ) -> tuple[torch.Tensor, torch.Tensor]:
        seen = self.gradient(batch, None if self.recipe.augment is None else start, None)
        self.update(self.lr.copy_(lr[0]) if self.capturable else lr.item())
        return seen

    @property
    def capturable(self) -> bool:
        """Whether nothing of a step depends on the host."""
        options = self.state.optimizer.defaults
        return self.device.type == "cuda" and bool(options.get("capturable") or options.get("fused"))

    def captured(self, function: Callable[[], None]) -> Callable[[], None]:
        return Captured(function) if self.capturable else function

    @contextmanager
    def computing(self) -> Iterator[None]:
        with ExitStack() as stack:
            if self.own_masks:
                stack.enter_context(torch.random.fork_rng([self.device] if self.device.type == "cuda" else []))
                torch.manual_seed(int(mask_rng(self.recipe.seed, self.progress.step).integers(2**63)))
            if self.precision == "tf32":
                stack.callback(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision())
                torch.set_float32_matmul_precision("high")
            if self.precision == "bf16":
                # A cache of rounded weights would outlive the step that a graph replays.
                stack.enter_context(torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False))
            yield

    def move(self, a: Array) -> torch.Tensor:
        return torch.from_numpy(a).to(self.device)

    def host(self, a: torch.Tensor) -> Array:
        return a.cpu().numpy().copy()

    def evaluate(self) -> Evaluation | None:
        return None if self.validation is None else evaluate(self.state.module, self.recipe.loss, *self.validation)

    def keep_best(self) -> None:
        self.state.best = nn.utils.parameters_to_vector(self.parameters).detach().clone()

    def restore_best(self) -> None:
        if self.state.best is not None:
            nn.utils.vector_to_parameters(self.state.best.clone(), self.parameters)


class Captured:
    """A function without arguments or result as a CUDA graph: run once as it is, then captured, then replayed.

    scratch.device.Captured says what such a function may do.
    """

    def __init__(self, function: Callable[[], None]) -> None:
        self.function, self.called = function, False
        self.stream, self.graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
        self.captured = False

    def __call__(self) -> None:
        if self.called and not self.captured:
            with torch.cuda.graph(self.graph, stream=self.stream):
                self.function()
            self.captured = True
        if self.captured:
            self.graph.replay()
            return
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):  # autograd remembers the stream of a warm-up
            self.function()
        torch.cuda.current_stream().wait_stream(self.stream)
        self.called = True


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
