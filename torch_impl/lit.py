"""The twin as a LightningModule, as Lightning's users know one: train it with a Trainer of your own.

    trainer = L.Trainer(max_epochs=recipe.epochs, gradient_clip_val=recipe.max_norm)
    trainer.fit(LitTwin(network, recipe, params), loader(recipe, x, y))

In float64, on one device, its weights stay equal to those of the other twins. :mod:`torch_impl.lit_train` is what the
command line uses: the same training, at the pace of the plain loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Sampler, TensorDataset

from scratch.batches import epoch_batches, mask_rng
from torch_impl.convert import tensor
from torch_impl.counterparts import torch_loss, torch_optimizer, torch_penalty
from torch_impl.network import twin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lightning.pytorch.utilities.types import OptimizerLRScheduler

    from scratch import Network, Parameters, Recipe
    from scratch.device import Array

    Batch = tuple[torch.Tensor, torch.Tensor]


class LitTwin(L.LightningModule):
    """The twin of ``network``, starting from ``params``, with the recipe's loss, penalty, optimizer and schedule.

    Its epochs and the norm that gradients are clipped to are the Trainer's, as above.

    Raises
        ValueError: the recipe augments its inputs or stops early, which only :mod:`torch_impl.lit_train` does
    """

    def __init__(self, network: Network, recipe: Recipe, params: Parameters) -> None:
        super().__init__()
        for name in ("augment", "early_stopping"):
            if getattr(recipe, name) is not None:
                raise ValueError(
                    f"recipe has {name}={getattr(recipe, name)}, expected None, or torch_impl.lit_train.fit"
                )
        self.network, self.recipe = network, recipe
        self.twin = twin(network, params)
        self.loss = torch_loss(recipe.loss)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.twin(x)

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:  # noqa: ARG002
        x, y = batch
        rng = mask_rng(self.recipe.seed, self.global_step) if self.network.stochastic else None
        loss = self.loss(self.twin(x, rng), y)
        if self.recipe.penalty:
            loss = loss + torch_penalty(self.recipe.penalty, self.twin)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002
        x, y = batch
        self.log("val_loss", self.loss(self(x), y), prog_bar=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = torch_optimizer(self.recipe.optimizer, self.twin)
        schedule = LambdaLR(optimizer, self.recipe.schedule)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def loader(recipe: Recipe, x: Array, y: Array) -> DataLoader[Batch]:
    """A DataLoader of scratch's minibatches, in scratch's order."""
    data: Any = TensorDataset(tensor(x), tensor(y))
    own = torch.Generator()  # else a DataLoader takes a seed for workers, of which it has none, from torch's global one
    return DataLoader(data, batch_size=None, sampler=Minibatches(recipe, len(x)), generator=own)


class Minibatches(Sampler[torch.Tensor]):
    """The indices of each minibatch of an epoch, which Lightning sets."""

    def __init__(self, recipe: Recipe, n: int) -> None:
        self.recipe, self.n, self.epoch = recipe, n, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[torch.Tensor]:
        yield from map(torch.from_numpy, epoch_batches(self.n, self.recipe, self.epoch))

    def __len__(self) -> int:
        return self.recipe.steps_per_epoch(self.n)
