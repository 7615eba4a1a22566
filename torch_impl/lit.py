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
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from torchmetrics.classification import BinaryAccuracy, MulticlassAccuracy

from scratch import BCEWithLogits, CrossEntropy, DivergenceError, checks
from scratch.device import Precision, check_precision
from scratch.train import Evaluation, Record, check_data, epoch_batches, mask_rng, shift_rng
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
    Chunk = list["Batch"]


class LitTwin(L.LightningModule):
    """The twin of ``network``, starting from ``params``, with what ``recipe`` says of loss, optimizer and schedule.

    Lightning spends as long around a batch as such a network needs for it. So what Lightning is given as one batch are
    several minibatches (:class:`Chunk`), and ``training_step`` is the plain loop over them, in Lightning's terms:
    manual optimization, which counts every step and divides it among processes as the automatic kind does.
    """

    automatic_optimization = False

    def __init__(self, network: Network, recipe: Recipe, params: Parameters) -> None:
        super().__init__()
        self.network, self.recipe = network, recipe
        self.twin = twin(network, params)
        self.loss = torch_loss(recipe.loss)
        self.train_accuracy, self.val_accuracy = (_accuracy(recipe.loss, params) for _ in range(2))
        self.steps: list[Step] = []  # of the epoch so far
        self.validation: list[tuple[Tensor, Tensor]] = []

    def on_fit_end(self) -> None:
        self.trainer.strategy.barrier()  # gloo may abort in a process whose peer has already left

    def forward(self, x: Tensor) -> Tensor:
        return self.twin(x)

    def on_train_epoch_start(self) -> None:
        self.steps.clear()

    def training_step(self, chunk: Chunk, batch_idx: int) -> None:  # noqa: ARG002
        optimizer: Any = self.optimizers()
        for step, batch in enumerate(chunk, self.global_step):
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
        value = self.loss(logits, y) * share if len(x) else logits.sum()
        if self.recipe.penalty:
            value = value + penalty(self.recipe.penalty, self.twin)
        # Kept, not logged: on a GPU a log would wait for the step.
        self.steps.append(Step(value.detach(), logits.detach(), y, part.indices, part.whole))
        return value

    def on_train_epoch_end(self) -> None:
        losses, logits, y, _, n = zip(*self.steps, strict=True)
        sizes = torch.tensor(n, device=self.device)
        self.log("train_loss", (torch.stack(losses) * sizes).sum() / sizes.sum(), sync_dist=True)
        self._log_accuracy("train_accuracy", torch.cat(logits), torch.cat(y))

    def validation_step(self, chunk: Chunk, batch_idx: int) -> None:  # noqa: ARG002
        for x, y, _ in chunk:
            self.validation.append((self.twin(x), y))

    def on_validation_epoch_start(self) -> None:
        self.validation.clear()

    def on_validation_epoch_end(self) -> None:
        seen = self.evaluation()
        self.log("val_loss", seen.loss, sync_dist=True)
        self._log_accuracy("val_accuracy", seen.logits, torch.cat([y for _, y in self.validation]))

    def evaluation(self) -> Evaluation:
        """The last pass over the validation set."""
        logits, y = (torch.cat(parts) for parts in zip(*self.validation, strict=True))
        return Evaluation(self.loss(logits, y).item(), logits)

    def _log_accuracy(self, name: str, logits: Tensor, y: Tensor) -> None:
        metric = getattr(self, name)
        if metric is not None:
            if len(y):  # of small batches, no sample may fall to this process
                metric.update(logits, y)
            self.log(name, metric)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch_optimizer(self.recipe.optimizer, self.twin)


class Step(NamedTuple):
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
    columns: slice  # of the data


class Batch(NamedTuple):
    """A part with its data."""

    x: Tensor
    y: Tensor
    part: Part


class LitData(L.LightningDataModule):
    """Data in memory, on the module's device, in batches that are scratch's, in scratch's order."""

    def __init__(
        self,
        recipe: Recipe,
        x: Array,
        y: Array,
        validation: tuple[Array, Array] | None = None,
        chunk: int = 1,
    ) -> None:
        super().__init__()
        self.recipe, self.chunk = recipe, chunk
        self.data, self.validation = (torch.from_numpy(x), torch.from_numpy(y)), validation

    def setup(self, stage: str) -> None:  # noqa: ARG002
        if self.trainer is not None and self.trainer.world_size > 1:
            _hush()  # this is a process of its own

    def train_dataloader(self) -> Chunks:
        trainer = self.trainer
        assert trainer is not None  # Lightning sets it

        (x, y), recipe = self.data, self.recipe
        per_epoch, width, augment = -(-len(x) // recipe.batch_size), x.shape[1], recipe.augment
        if augment is not None:
            x = torch.from_numpy(augment.padded(x.numpy()))

        def parts() -> Iterator[Part]:
            begun = trainer.current_epoch * per_epoch
            for step, batch in enumerate(epoch_batches(len(x), recipe, trainer.current_epoch), begun):
                ranks = (trainer.global_rank, trainer.global_rank + 1)
                first, end = (len(batch) * rank // trainer.world_size for rank in ranks)
                start = 0 if augment is None else augment.start(shift_rng(recipe.seed, step))
                yield Part(batch[first:end], len(batch), first, slice(start, start + width))

        return Chunks(*self._moved((x, y)), parts, per_epoch, self.chunk)

    def val_dataloader(self) -> Any:
        if self.validation is None:
            return []
        x, y = (torch.from_numpy(a) for a in self.validation)

        def parts() -> Iterator[Part]:
            for start in range(0, len(x), 1024):
                indices = np.arange(start, min(start + 1024, len(x)))
                yield Part(indices, len(indices), 0, slice(None))

        return Chunks(*self._moved((x, y)), parts, -(-len(x) // 1024), self.chunk)

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
        return Batch(self.x.index_select(0, rows)[:, part.columns], self.y.index_select(0, rows), part)


class RowsOf:
    """A generator that draws for a whole batch and gives this process's rows, so that N processes draw as one does."""

    def __init__(self, rng: Generator, n: int, start: int) -> None:
        self.rng, self.n, self.start = rng, n, start

    def random(self, shape: tuple[int, ...], dtype: Any) -> Array:
        return self.rng.random((self.n, *shape[1:]), dtype=dtype)[self.start : self.start + shape[0]]


class Recorder(Callback):
    """Gives ``on_record`` a record of every chunk, at its end, and of all processes; stops a training that diverges."""

    def __init__(self, on_record: Callable[[Record], object] | None) -> None:
        self.on_record = on_record
        self.recorded = 0  # steps of the epoch

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        self.recorded = 0

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,  # noqa: ARG002
        batch: Any,  # noqa: ARG002
        batch_idx: int,
    ) -> None:
        if batch_idx + 1 < trainer.num_training_batches:  # the last one waits for the validation
            self._record(trainer, pl_module, ends=False)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._record(trainer, pl_module, ends=True)

    def _record(self, trainer: L.Trainer, module: Any, ends: bool) -> None:
        recipe, steps, self.recorded = module.recipe, module.steps[self.recorded :], len(module.steps)
        last = trainer.global_step - 1
        losses = trainer.strategy.reduce(torch.stack([step.loss for step in steps]), reduce_op="mean").tolist()
        for step, loss in enumerate(losses, last + 1 - len(losses)):
            if not math.isfinite(loss):
                raise DivergenceError(step, recipe.lr(step), loss)
        lr, loss = recipe.lr(last), sum(losses) / len(losses)
        seen = module.evaluation() if ends and module.validation else None
        if seen is not None and not math.isfinite(seen.loss):
            raise DivergenceError(last, lr, seen.loss, "validation loss")
        if trainer.is_global_zero and self.on_record is not None:
            batch, logits = np.concatenate([s.indices for s in steps]), torch.cat([s.logits for s in steps])
            self.on_record(Record(last + 1, trainer.current_epoch, ends, lr, loss, batch, logits, seen))


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
    num_nodes: int = 1,
    strategy: str = "auto",
    precision: Precision = "float32",
    chunk: int = 1,
    checkpoint_every: float = 0.0,
) -> Parameters:
    """Train the Lightning twin from ``params``; return the trained parameters.

    The data, the records and the errors are those of :func:`scratch.fit`. With a ``folder`` it logs there for
    TensorBoard and keeps Lightning checkpoints, written at the end of an epoch, ``checkpoint_every`` seconds apart;
    where the folder has a ``last.ckpt`` the training goes on from it. They are loaded with ``weights_only=True``:
    nothing is unpickled.

    ``chunk`` is how many steps Lightning is given at once, and how many a record is of: its loss is their mean, its
    batch and logits are those of all their samples. Eight or more spare most of what Lightning spends around a step.

    With ``devices`` > 1 every batch is divided among as many processes (DDP: gloo on CPUs, nccl on GPUs), on each of
    ``num_nodes`` machines. ``on_record`` is called in the first of them, with its share of the batch. The ``strategy``
    "ddp_spawn" (or "auto") starts them from this process, for which ``on_record`` must be picklable; "ddp" runs the
    program again in each, unless torchrun or a cluster has started them.

    Raises
        TypeError, ValueError: a device that is not there; data that do not fit; early stopping without validation
        DivergenceError: the loss turned NaN or infinite
    """
    check_data(network, recipe, x, y, params.dtype, validation)
    checks.whole("devices", devices, 1)
    checks.whole("num_nodes", num_nodes, 1)
    checks.choice("strategy", strategy, dict.fromkeys(("auto", "ddp", "ddp_spawn")))
    checks.whole("chunk", chunk, 1)
    device = check_device(device)
    check_precision(precision, device.type, params.dtype)
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
    with _quiet(), _tf32(precision == "tf32"):
        trainer = L.Trainer(
            max_epochs=recipe.epochs,
            accelerator=device.type,
            devices=devices if device.index is None else [device.index],
            num_nodes=num_nodes,
            strategy="ddp_spawn" if devices > 1 and strategy == "auto" else strategy,
            precision="64-true" if params.dtype == np.float64 else "bf16-mixed" if precision == "bf16" else "32-true",
            callbacks=callbacks,
            logger=TensorBoardLogger(folder, name="", version="tensorboard") if folder is not None else False,
            enable_checkpointing=folder is not None,
            num_sanity_val_steps=0,
            limit_val_batches=None if validation is not None else 0,
            use_distributed_sampler=False,  # LitData gives every process its share
            enable_progress_bar=False,
            enable_model_summary=False,
            log_every_n_steps=1,
        )
        trainer.fit(
            module,
            datamodule=LitData(recipe, x, y, validation, chunk),
            ckpt_path=last if last is not None and last.is_file() else None,
            weights_only=True,
        )
    if best is not None and best.best_model_path:
        module.load_state_dict(torch.load(best.best_model_path, weights_only=True)["state_dict"])
    return parameters_of(module.twin)


@contextmanager
def _tf32(wanted: bool) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if wanted else before)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


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
