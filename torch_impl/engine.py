"""torch's engine: line for line the twin of scratch/engine.py, with autograd in place of backward()."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from scratch.batches import mask_rng, shift_rng
from scratch.engine import EVALUATION_BATCH, Evaluation
from torch_impl.convert import largest, tensor
from torch_impl.counterparts import Twin, torch_loss, torch_penalty
from torch_impl.device import Captured, computing

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from scratch import Network, Recipe
    from scratch.batches import Steps
    from scratch.device import Array, Precision
    from scratch.losses import Loss
    from torch_impl.counterparts import Masks
    from torch_impl.state import TwinState


class TorchEngine:
    """torch's :class:`scratch.engine.Engine`, on the device of its module."""

    whole_epochs = False

    def __init__(
        self,
        network: Network,
        recipe: Recipe,
        x: Array,
        y: Array,
        state: TwinState,
        validation: tuple[Array, Array] | None,
        precision: Precision = "float32",
        own_masks: bool = False,
    ) -> None:
        """With ``own_masks`` they come from a generator of torch's on the device, which is seeded for every epoch."""
        self.network, self.recipe, self.state, self.precision = network, recipe, state, precision
        self.progress, self.loss = state.progress, torch_loss(recipe.loss)
        self.keep_best, self.restore_best = state.keep_best, state.restore_best
        self.parameters = list(state.module.parameters())
        self.device = self.parameters[0].device
        self.masks = torch.Generator(self.device) if own_masks else None  # of its own: others draw from torch's
        self.width, self.columns = x.shape[-1], self.move(np.arange(x.shape[-1]))
        self.x, self.y = self.move(x if recipe.augment is None else recipe.augment.padded(x)), self.move(y)
        self.validation = None if validation is None else (self.move(validation[0]), self.move(validation[1]))
        # A graph reads the learning rate from where it was captured: the fused kernels from a float32.
        exact = self.parameters[0].dtype == torch.float64
        self.lr = torch.zeros((), dtype=torch.float64 if exact else torch.float32, device=self.device)

    def run(self, steps: Steps) -> tuple[list[float], torch.Tensor]:
        step, _, _, (batch,), (lr,) = steps
        recipe, rows = self.recipe, self.move(batch)
        x = self.x.index_select(0, rows)
        if recipe.augment is not None:
            start = recipe.augment.start(shift_rng(recipe.seed, step))
            x = x[:, start : start + self.width]
        with self.computing():
            rng = mask_rng(recipe.seed, step) if self.network.stochastic else None
            loss, logits = self.gradient(x, self.y.index_select(0, rows), rng)
        losses = [loss.item()]
        if math.isfinite(losses[0]):
            self.update(lr)
        return losses, logits

    def gradient(self, x: torch.Tensor, y: torch.Tensor, rng: Masks | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Let autograd put ∂(loss + penalty)/∂parameters into every ``.grad``; return the loss and the logits."""
        module, recipe = self.state.module.train(), self.recipe
        self.state.optimizer.zero_grad()
        logits = module(x, rng)
        loss = self.loss(logits, y)
        if recipe.penalty:
            loss = loss + torch_penalty(recipe.penalty, module)
        loss.backward()
        return loss.detach(), logits.detach().to(self.parameters[0].dtype)

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
        """A step that reads all it needs from tensors of the device: see :class:`scratch.epochs.DeviceEngine`."""
        x, y = self.x.index_select(0, batch), self.y.index_select(0, batch)
        if self.recipe.augment is not None:
            x = x.index_select(1, start + self.columns)
        seen = self.gradient(x, y, self.masks)
        self.update(self.lr.copy_(lr[0]) if self.capturable else lr.item())
        return seen

    @property
    def capturable(self) -> bool:
        """Whether nothing of a step depends on the host."""
        options = self.state.optimizer.defaults
        return self.device.type == "cuda" and bool(options.get("capturable") or options.get("fused"))

    def captured(self, function: Callable[[], None]) -> Callable[[], None]:
        return Captured(function, self.masks) if self.capturable else function

    def computing(self) -> AbstractContextManager[None]:
        if self.masks is not None:
            self.masks.manual_seed(int(mask_rng(self.recipe.seed, self.progress.step).integers(2**63)))
        return computing(self.device, self.precision)

    def move(self, a: Array) -> torch.Tensor:
        return tensor(a).to(self.device)

    def host(self, a: torch.Tensor) -> Array:
        return a.cpu().numpy().copy()

    def largest(self) -> float:
        with computing(self.device):
            return largest(self.state.module)

    def evaluate(self) -> Evaluation | None:
        if self.validation is None:
            return None
        with computing(self.device):
            return evaluate(self.state.module, self.recipe.loss, *self.validation)


@torch.no_grad()
def evaluate(
    module: Twin, loss: Loss, x: torch.Tensor, y: torch.Tensor, batch_size: int = EVALUATION_BATCH
) -> Evaluation:
    """The mean loss and the logits over a data set, as in evaluation, which mode the module keeps."""
    module.eval()
    logits = torch.cat([module(rows) for rows in x.split(batch_size)])
    return Evaluation(torch_loss(loss)(logits, y).item(), logits)
