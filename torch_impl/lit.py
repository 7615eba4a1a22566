"""The twin in Lightning: module, data module and trainer. The only file that imports lightning.

The Trainer brings devices, DDP, checkpoints and TensorBoard; batches, masks, loss, optimizer and schedule are those of
scratch, so its weights stay equal to the other twins'.
"""

from __future__ import annotations

import logging
import math
import time
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.data import DataLoader, Dataset, Sampler
from torchmetrics.classification import BinaryAccuracy, MulticlassAccuracy

from scratch import BCEWithLogits, CrossEntropy, DivergenceError, checks
from scratch.train import Evaluation, Record, check_data, epoch_batches, mask_rng
from torch_impl.convert import parameters_of
from torch_impl.network import check_device, twin
from torch_impl.train import penalty, torch_loss, torch_optimizer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.random import Generator
    from numpy.typing import NDArray
    from torchmetrics import Metric

    from scratch import Network, Parameters, Recipe
    from scratch.losses import Loss

    Array = NDArray[Any]
    Tensor = torch.Tensor
    Batch = tuple[Tensor, Tensor, Array, int, int]  # x, y, their indices, samples in the whole batch, first row here


class LitTwin(L.LightningModule):
    """The twin of ``network``, starting from ``params``, with what ``recipe`` says of loss, optimizer and schedule."""

    def __init__(self, network: Network, recipe: Recipe, params: Parameters) -> None:
        super().__init__()
        self.network, self.recipe = network, recipe
        self.twin = twin(network, params)
        self.loss = torch_loss(recipe.loss)
        self.train_accuracy, self.val_accuracy = (_accuracy(recipe.loss, params) for _ in range(2))
        self.validation: list[tuple[Tensor, Tensor]] = []

    def setup(self, stage: str) -> None:  # noqa: ARG002
        if self.trainer.world_size > 1:
            _hush()  # this is a process of its own

    def on_fit_end(self) -> None:
        self.trainer.strategy.barrier()  # gloo may abort in a process whose peer has already left

    def forward(self, x: Tensor) -> Tensor:
        return self.twin(x)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:  # noqa: ARG002
        x, y, _, n, start = batch
        rng: Any = None
        if self.network.stochastic:
            rng = mask_rng(self.recipe.seed, self.global_step)
            if self.trainer.world_size > 1:
                rng = RowsOf(rng, n, start)
        logits = self.twin(x, rng)
        # DDP averages over the processes, and their shares of the batch may differ by a sample (or one have none).
        share = self.trainer.world_size * len(x) / n
        value = self.loss(logits, y) * share if len(x) else logits.sum()
        if self.recipe.penalty:
            value = value + penalty(self.recipe.penalty, self.twin)
        weight: Any = {"on_step": False, "on_epoch": True, "batch_size": max(len(x), 1)}
        self.log("train_loss", value, sync_dist=True, **weight)
        if self.train_accuracy is not None:
            if len(x):  # of a small batch, no sample may fall to this process
                self.train_accuracy.update(logits.detach(), y)
            self.log("train_accuracy", self.train_accuracy, **weight)
        return {"loss": value, "logits": logits.detach()}

    def validation_step(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002
        x, y, *_ = batch
        logits = self.twin(x)
        self.validation.append((logits, y))
        if self.val_accuracy is not None:
            self.val_accuracy.update(logits, y)

    def on_validation_epoch_start(self) -> None:
        self.validation.clear()

    def on_validation_epoch_end(self) -> None:
        self.log("val_loss", self.evaluation().loss, sync_dist=True)
        if self.val_accuracy is not None:
            self.log("val_accuracy", self.val_accuracy)

    def evaluation(self) -> Evaluation:
        """The last pass over the validation set."""
        logits, y = (torch.cat(parts) for parts in zip(*self.validation, strict=True))
        return Evaluation(self.loss(logits, y).item(), logits)

    def configure_optimizers(self) -> Any:
        optimizer = torch_optimizer(self.recipe.optimizer, self.twin)
        # A function, not the record itself, which a checkpoint would try to pickle.
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self.recipe.schedule(step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class LitData(L.LightningDataModule):
    """Data in memory, on the module's device, in batches that are scratch's, in scratch's order."""

    def __init__(self, recipe: Recipe, x: Array, y: Array, validation: tuple[Array, Array] | None = None) -> None:
        super().__init__()
        self.recipe, self.train, self.validation = recipe, InMemory(x, y), validation and InMemory(*validation)

    def train_dataloader(self) -> DataLoader[Any]:
        assert self.trainer is not None  # Lightning sets it
        sampler = EpochBatches(len(self.train), self.recipe, self.trainer.global_rank, self.trainer.world_size)
        return self._loader(self.train, sampler)

    def val_dataloader(self) -> Any:
        return self._loader(self.validation, InOrder(len(self.validation))) if self.validation else []

    def _loader(self, data: InMemory, sampler: Sampler[Any]) -> DataLoader[Any]:
        assert self.trainer is not None
        data.to(self.trainer.strategy.root_device)
        # No batch size and no workers: the sampler gives whole batches of indices, and one gather makes the batch.
        return DataLoader(data, sampler=sampler, batch_size=None, collate_fn=_as_it_is)


class InMemory(Dataset[Any]):
    """Arrays as tensors, indexed by whole batches."""

    def __init__(self, x: Array, y: Array) -> None:
        self.x, self.y = torch.from_numpy(x), torch.from_numpy(y)

    def __len__(self) -> int:
        return len(self.x)

    def to(self, device: torch.device) -> None:
        self.x, self.y = self.x.to(device), self.y.to(device)

    def __getitem__(self, part: tuple[Array, int, int]) -> Batch:
        indices, n, start = part
        rows = torch.from_numpy(indices).to(self.x.device)
        return self.x[rows], self.y[rows], indices, n, start


class EpochBatches(Sampler[Any]):
    """scratch's minibatches of an epoch: (this process's indices, samples in the whole batch, its first row)."""

    def __init__(self, n: int, recipe: Recipe, rank: int, world_size: int) -> None:
        self.n, self.recipe, self.rank, self.world_size, self.epoch = n, recipe, rank, world_size, 0

    def set_epoch(self, epoch: int) -> None:  # called by the Trainer
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.n // self.recipe.batch_size)

    def __iter__(self) -> Iterator[tuple[Array, int, int]]:
        for batch in epoch_batches(self.n, self.recipe, self.epoch):
            start, end = (len(batch) * rank // self.world_size for rank in (self.rank, self.rank + 1))
            yield batch[start:end], len(batch), start


class InOrder(Sampler[Any]):
    """All samples in their order, 1,024 at a time."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return -(-self.n // 1024)

    def __iter__(self) -> Iterator[tuple[Array, int, int]]:
        for start in range(0, self.n, 1024):
            indices = np.arange(start, min(start + 1024, self.n))
            yield indices, len(indices), 0


class RowsOf:
    """A generator that draws for a whole batch and gives this process's rows, so that N processes draw as one does."""

    def __init__(self, rng: Generator, n: int, start: int) -> None:
        self.rng, self.n, self.start = rng, n, start

    def random(self, shape: tuple[int, ...], dtype: Any) -> Array:
        return self.rng.random((self.n, *shape[1:]), dtype=dtype)[self.start : self.start + shape[0]]


class Recorder(Callback):
    """Stops a training that diverges; gives ``on_record`` the records that the other twins' fit() yields."""

    def __init__(self, on_record: Callable[[Record], object] | None) -> None:
        self.on_record = on_record
        self.last: Record | None = None  # waits for the validation at the end of its epoch

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, LitTwin)
        recipe, step = pl_module.recipe, trainer.global_step
        loss = trainer.strategy.reduce(outputs["loss"], reduce_op="mean")  # of all processes
        lr, value = recipe.optimizer.lr * recipe.schedule(step - 1), float(loss)
        if not math.isfinite(value):
            raise DivergenceError(step - 1, lr, value)
        ends = batch_idx + 1 == trainer.num_training_batches
        record = Record(step, trainer.current_epoch, ends, lr, value, batch[2], outputs["logits"])
        if ends:
            self.last = record
        elif trainer.is_global_zero and self.on_record is not None:
            self.on_record(record)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, LitTwin)
        assert self.last is not None  # every epoch has a batch
        seen = pl_module.evaluation() if pl_module.validation else None
        if seen is not None and not math.isfinite(seen.loss):
            raise DivergenceError(self.last.step - 1, self.last.lr, seen.loss, "validation loss")
        if trainer.is_global_zero and self.on_record is not None:
            self.on_record(self.last._replace(validation=seen))


class LastCheckpoint(ModelCheckpoint):
    """A checkpoint at the end of an epoch, if the one before is ``seconds`` old, and at the end of the training."""

    def __init__(self, seconds: float, **options: Any) -> None:
        super().__init__(**options)
        self.seconds, self.saved = seconds, time.monotonic()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        last = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        due = last or time.monotonic() - self.saved >= self.seconds
        if trainer.strategy.broadcast(due):  # all processes save, or none
            super().on_train_epoch_end(trainer, pl_module)
            self.saved = time.monotonic()


def steps_done(folder: str | Path) -> int:
    """The step that ``fit`` would go on from in this folder."""
    path = Path(folder) / "last.ckpt"
    return int(torch.load(path, weights_only=True)["global_step"]) if path.is_file() else 0


def fit(
    network: Network,
    recipe: Recipe,
    x: Array,
    y: Array,
    params: Parameters,
    validation: tuple[Array, Array] | None = None,
    *,
    on_record: Callable[[Record], object] | None = None,
    folder: str | Path | None = None,
    device: str | torch.device = "cpu",
    devices: int = 1,
    checkpoint_every: float = 0.0,
) -> Parameters:
    """Train the Lightning twin from ``params``; return the trained parameters.

    The data, the records and the errors are those of :func:`scratch.fit`. With a ``folder`` it logs there for
    TensorBoard and keeps Lightning checkpoints, written at the end of an epoch, ``checkpoint_every`` seconds apart;
    where the folder has a ``last.ckpt`` the training goes on from it. They are loaded with ``weights_only=True``:
    nothing is unpickled.

    With ``devices`` > 1 every batch is divided among as many processes (DDP: gloo on CPUs, nccl on GPUs). ``on_record``
    is then called in the first of them, with its share of the batch, and must be picklable.

    Raises
        TypeError, ValueError: a device that is not there; data that do not fit; early stopping without validation
        DivergenceError: the loss turned NaN or infinite
    """
    check_data(network, recipe, x, y, params.dtype, validation)
    checks.whole("devices", devices, 1)
    device = check_device(device)
    if devices > 1 and device.index is not None:
        raise ValueError(f"devices is {devices} with device {str(device)!r}, expected device {device.type!r}")
    module = LitTwin(network, recipe, params)
    callbacks: list[Callback] = [Recorder(on_record)]
    best = last = None
    if recipe.early_stopping is not None:
        callbacks.append(EarlyStopping("val_loss", patience=recipe.early_stopping.patience))
    if folder is not None:
        folder = Path(folder)
        last = folder / "last.ckpt"
        keep: dict[str, Any] = {"dirpath": folder, "save_on_train_epoch_end": True, "enable_version_counter": False}
        if recipe.early_stopping is not None:  # before "last", which keeps what this one knows
            best = ModelCheckpoint(filename="best", monitor="val_loss", **keep)
            callbacks.append(best)
        callbacks.append(LastCheckpoint(checkpoint_every, filename="last", **keep))
    with _quiet():
        trainer = L.Trainer(
            max_epochs=recipe.epochs,
            accelerator=device.type,
            devices=devices if device.index is None else [device.index],
            strategy="ddp_spawn" if devices > 1 else "auto",
            precision="64-true" if params.dtype == np.float64 else "32-true",
            callbacks=callbacks,
            logger=TensorBoardLogger(folder, name="", version="tensorboard") if folder is not None else False,
            enable_checkpointing=folder is not None,
            gradient_clip_val=recipe.max_norm,
            num_sanity_val_steps=0,
            limit_val_batches=None if validation is not None else 0,
            use_distributed_sampler=False,  # EpochBatches gives every process its share
            enable_progress_bar=False,
            enable_model_summary=False,
            log_every_n_steps=1,
        )
        trainer.fit(
            module,
            datamodule=LitData(recipe, x, y, validation),
            ckpt_path=last if last is not None and last.is_file() else None,
            weights_only=True,
        )
    if best is not None and best.best_model_path:
        module.load_state_dict(torch.load(best.best_model_path, weights_only=True)["state_dict"])
    return parameters_of(module.twin)


def _accuracy(loss: Loss, params: Parameters) -> Metric | None:
    """The accuracy of a classifier's logits, by torchmetrics; None for a regression."""
    n_out = int(params[next(reversed(params.shapes))].shape[0])  # of the last bias
    if isinstance(loss, CrossEntropy):
        return SoftTargetAccuracy(n_out, average="micro")
    return LogitAccuracy() if isinstance(loss, BCEWithLogits) else None


class SoftTargetAccuracy(MulticlassAccuracy):
    """Accuracy that takes soft targets too: their class is the most probable one."""

    def update(self, preds: Tensor, target: Tensor) -> None:
        super().update(preds, target if target.ndim == 1 else target.argmax(dim=1))


class LogitAccuracy(BinaryAccuracy):
    """Accuracy of logits, class 1 above 0; BinaryAccuracy itself takes logits between 0 and 1 for probabilities."""

    def update(self, preds: Tensor, target: Tensor) -> None:
        super().update((preds > 0).int(), (target > 0.5).int())


def _as_it_is(batch: Any) -> Any:
    return batch


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Lightning's tips and its advice on loader workers, which data in memory do not need."""
    levels = {logger: logger.level for logger in _LOGGERS}
    try:
        with warnings.catch_warnings():
            _hush()
            yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)


_LOGGERS = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]


def _hush() -> None:
    for logger in _LOGGERS:
        logger.setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    warnings.filterwarnings("ignore", ".*[Cc]heckpoint directory .* exists and is not empty.*")
    warnings.filterwarnings("ignore", ".*treespec, LeafSpec.*")  # Lightning 2.6 beside torch 2.15
