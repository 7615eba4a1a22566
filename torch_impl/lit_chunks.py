"""The twin in Lightning at the pace of a plain loop: several minibatches to a Lightning batch.

Lightning spends as long around a batch as a small network needs for it. So what it is given as one batch is a chunk of
several minibatches, already on the device, and ``training_step`` is the plain loop over them, with manual
optimization, which counts every step and divides it among processes as the automatic kind does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import lightning as L
import numpy as np
import torch
from torchmetrics.classification import BinaryAccuracy, MulticlassAccuracy

from scratch import BCEWithLogits, CrossEntropy
from scratch.batches import epoch_batches, mask_rng, shift_rng
from scratch.engine import EVALUATION_BATCH, Evaluation
from torch_impl.convert import copy_to_optimizer, largest, snapshot, tensor
from torch_impl.counterparts import torch_loss, torch_optimizer, torch_penalty
from torch_impl.network import twin
from torch_impl.state import TwinState, best_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.random import Generator
    from torchmetrics import Metric

    from scratch import Network, Recipe, State
    from scratch.device import Array
    from scratch.losses import Loss

    Tensor = torch.Tensor
    Chunk = list["Batch"]


class ChunkedTwin(L.LightningModule):
    """The twin of ``network``, trained by a recipe from a state on, a chunk of minibatches at a time.

    To :func:`scratch.train.record` it is an engine: it has the progress, evaluates, and keeps the best epoch.
    """

    automatic_optimization = False

    def __init__(self, network: Network, recipe: Recipe, state: State, n_out: int) -> None:
        """``state`` is where it begins, and stays as it is; ``n_out`` is the length of the logits' last axis."""
        super().__init__()
        self.network, self.recipe, self.start, self.progress = network, recipe, state, replace(state.progress)
        self.twin = twin(network, state.params.to("cpu"))
        self.loss = torch_loss(recipe.loss)
        self.best = best_of(state, "cpu")
        self.train_accuracy, self.val_accuracy = (accuracy_metric(recipe.loss, n_out) for _ in range(2))
        self.taken: list[Taken] = []  # the steps of the epoch so far, in this process
        self.begun = 0  # the step before them
        self.validated: list[tuple[Tensor, Tensor]] = []  # logits and targets of the validation so far
        self.evaluation: Evaluation | None = None  # of the last validation

    def forward(self, x: Tensor) -> Tensor:
        return self.twin(x)

    def on_train_epoch_start(self) -> None:
        self.taken.clear()
        self.begun = self.progress.step

    def training_step(self, chunk: Chunk, batch_idx: int) -> None:  # noqa: ARG002
        optimizer: Any = self.optimizers()
        for step, batch in enumerate(chunk, self.begun + len(self.taken)):
            optimizer.zero_grad()
            self.manual_backward(self.step_loss(batch, step))
            if self.recipe.max_norm is not None:
                torch.nn.utils.clip_grad_norm_(self.twin.parameters(), self.recipe.max_norm)
            optimizer.param_groups[0]["lr"] = self.recipe.lr(step)
            optimizer.step()

    def step_loss(self, batch: Batch, step: int) -> Tensor:
        """This process's part of the loss, penalty included; the mean over the processes is that of the whole batch."""
        x, y, part = batch
        rng: Any = None
        if self.network.stochastic:
            rng = mask_rng(self.recipe.seed, step)
            if self.trainer.world_size > 1:
                rng = RowsOf(rng, part.whole, part.first)
        logits = self.twin(x, rng)
        # DDP averages over the processes, and their shares of the batch may differ by a sample (or one have none).
        share = self.trainer.world_size * len(x) / part.whole
        loss = self.loss(logits, y) * share if len(x) else logits.sum()
        if self.recipe.penalty:
            loss = loss + torch_penalty(self.recipe.penalty, self.twin)
        # Kept, not logged: on a GPU a log would wait for the step.
        self.taken.append(Taken(loss.detach(), logits.detach(), y, part.indices, part.whole))
        return loss

    def on_train_epoch_end(self) -> None:
        losses, logits, y, _, n = zip(*self.taken, strict=True)
        sizes = torch.tensor(n, device=self.device)
        self.log("step", float(self.begun + len(self.taken)))  # what TensorBoard has for its axis
        self.log("train_loss", (torch.stack(losses) * sizes).sum() / sizes.sum(), sync_dist=True)
        self._log_accuracy("train_accuracy", torch.cat(logits), torch.cat(y))

    def on_validation_epoch_start(self) -> None:
        self.validated.clear()

    def validation_step(self, chunk: Chunk, batch_idx: int) -> None:  # noqa: ARG002
        for x, y, _ in chunk:
            self.validated.append((self.twin(x), y))

    def on_validation_epoch_end(self) -> None:
        logits, y = (torch.cat(parts) for parts in zip(*self.validated, strict=True))
        # The mean over the processes, so that all decide alike.
        loss = self.trainer.strategy.reduce(self.loss(logits, y), reduce_op="mean")
        self.evaluation = Evaluation(float(loss), logits)
        self.log("step", float(self.begun + len(self.taken)))
        self.log("val_loss", self.evaluation.loss)
        self._log_accuracy("val_accuracy", logits, y)

    def evaluate(self) -> Evaluation | None:
        return self.evaluation

    def largest(self) -> float:
        return largest(self.twin)

    def keep_best(self) -> None:
        self.best = snapshot(self.twin)

    def on_fit_end(self) -> None:
        self.trainer.strategy.barrier()  # gloo may abort in a process whose peer has already left

    def state(self) -> State:
        """A copy of the whole training, as it is between two records."""
        optimizer: Any = self.optimizers(use_pl_optimizer=False)
        twin_state = TwinState(self.twin, optimizer, self.progress, self.best, self.start.training)
        return twin_state.to_scratch(self.recipe)

    def _log_accuracy(self, name: str, logits: Tensor, y: Tensor) -> None:
        metric = getattr(self, name)
        if metric is not None:
            if len(y):  # of small batches, no sample may fall to this process
                metric.update(logits, y)
            self.log(name, metric)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        optimizer = torch_optimizer(self.recipe.optimizer, self.twin)
        copy_to_optimizer(self.start.slots, self.start.progress.step, optimizer)
        return optimizer


class Taken(NamedTuple):
    """What is kept of a training step until the epoch ends: this process's share, and the size of the whole batch."""

    loss: Tensor
    logits: Tensor
    y: Tensor
    indices: Array
    n: int


class Part(NamedTuple):
    """A process's share of a minibatch."""

    indices: Array
    whole: int  # samples in the minibatch
    first: int  # of its rows, the first one here
    columns: slice | None  # of the data, where a batch's inputs are moved


class Batch(NamedTuple):
    """A part with its data."""

    x: Tensor
    y: Tensor
    part: Part


class ChunkedData(L.LightningDataModule):
    """Data in memory, on the module's device, in batches that are scratch's, in scratch's order."""

    def __init__(
        self,
        recipe: Recipe,
        x: Array,
        y: Array,
        validation: tuple[Array, Array] | None = None,
        chunk: int = 1,
        start: int = 0,
    ) -> None:
        """The first batch is that of step ``start``."""
        super().__init__()
        self.recipe, self.chunk, self.start = recipe, chunk, start
        self.data, self.validation = (tensor(x), tensor(y)), validation

    def train_dataloader(self) -> Chunks:
        trainer = self.trainer
        assert trainer is not None  # Lightning sets it

        (x, y), recipe = self.data, self.recipe
        n, width, augment, per_epoch = len(x), x.shape[-1], recipe.augment, recipe.steps_per_epoch(len(x))
        if augment is not None:
            x = torch.from_numpy(augment.padded(x.numpy()))

        def parts() -> Iterator[Part]:
            first = trainer.current_epoch * per_epoch
            for step, batch in enumerate(epoch_batches(n, recipe, trainer.current_epoch), first):
                if step < self.start:
                    continue
                ranks = (trainer.global_rank, trainer.global_rank + 1)
                begin, end = (len(batch) * rank // trainer.world_size for rank in ranks)
                start = None if augment is None else augment.start(shift_rng(recipe.seed, step))
                columns = None if start is None else slice(start, start + width)
                yield Part(batch[begin:end], len(batch), begin, columns)

        left = per_epoch - max(0, self.start - trainer.current_epoch * per_epoch)
        return Chunks(*self._moved((x, y)), parts, left, self.chunk)

    def val_dataloader(self) -> Any:
        if self.validation is None:
            return []
        x, y = (tensor(a) for a in self.validation)

        def parts() -> Iterator[Part]:
            for start in range(0, len(x), EVALUATION_BATCH):
                indices = np.arange(start, min(start + EVALUATION_BATCH, len(x)))
                yield Part(indices, len(indices), 0, None)

        return Chunks(*self._moved((x, y)), parts, -(-len(x) // EVALUATION_BATCH), self.chunk)

    def _moved(self, data: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        assert self.trainer is not None
        device = self.trainer.strategy.root_device
        return data[0].to(device), data[1].to(device)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:  # noqa: ARG002
        return batch  # it was made there


@dataclass
class Chunks:
    """What stands for a DataLoader: lists of ``size`` minibatches, each gathered in one go from data in memory."""

    x: Tensor
    y: Tensor
    parts: Callable[[], Iterator[Part]]  # of an epoch
    count: int  # of the parts
    size: int

    def __len__(self) -> int:
        return -(-self.count // self.size)

    def __iter__(self) -> Iterator[Chunk]:
        parts = self.parts()
        while chunk := [self._batch(part) for part in islice(parts, self.size)]:
            yield chunk

    def _batch(self, part: Part) -> Batch:
        rows = torch.from_numpy(part.indices).to(self.x.device)
        x = self.x.index_select(0, rows)
        return Batch(x if part.columns is None else x[:, part.columns], self.y.index_select(0, rows), part)


class RowsOf:
    """A generator that draws for a whole batch and gives this process's rows, so that N processes draw as one does."""

    def __init__(self, rng: Generator, n: int, start: int) -> None:
        self.rng, self.n, self.start = rng, n, start

    def random(self, shape: tuple[int, ...], dtype: Any) -> Array:
        return self.rng.random((self.n, *shape[1:]), dtype=dtype)[self.start : self.start + shape[0]]


def accuracy_metric(loss: Loss, n_out: int) -> Metric | None:
    """The accuracy of a classifier's logits (…, ``n_out``), by torchmetrics; None for a regression."""
    if isinstance(loss, CrossEntropy):
        return SoftTargetAccuracy(n_out, average="micro")
    return LogitAccuracy() if isinstance(loss, BCEWithLogits) else None


class SoftTargetAccuracy(MulticlassAccuracy):
    """Accuracy of logits with the classes last, that takes soft targets too: their class is the most probable one."""

    def update(self, preds: Tensor, target: Tensor) -> None:
        classes = target.argmax(dim=-1) if target.is_floating_point() else target
        super().update(preds.flatten(0, -2), classes.flatten())


class LogitAccuracy(BinaryAccuracy):
    """Accuracy of logits, class 1 above 0; BinaryAccuracy itself takes logits between 0 and 1 for probabilities."""

    def update(self, preds: Tensor, target: Tensor) -> None:
        super().update((preds > 0).int(), (target > 0.5).int())
