"""A training in Lightning: devices, DDP, checkpoints and TensorBoard around :mod:`torch_impl.lit_chunks`."""

from __future__ import annotations

import logging
import time
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger

from scratch import checks
from scratch.batches import Steps
from scratch.device import Precision, check_precision
from scratch.train import check_data, check_smallest_batch, outputs, record
from torch_impl.convert import parameters_of
from torch_impl.device import check_device
from torch_impl.lit_chunks import ChunkedData, ChunkedTwin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scratch import Network, Parameters, Recipe, Record
    from scratch.device import Array


def steps_done(folder: str | Path) -> int:
    """The step that ``fit`` would go on from in this folder."""
    path = _last_checkpoint(folder)
    return 0 if path is None else int(torch.load(path, weights_only=True)["global_step"])


def _last_checkpoint(folder: str | Path | None) -> Path | None:
    """The checkpoint in the folder to go on from, if there is one."""
    path = None if folder is None else Path(folder) / "last.ckpt"
    return path if path is not None and path.is_file() else None


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
    TensorBoard and keeps a Lightning checkpoint, written at the end of an epoch, ``checkpoint_every`` seconds apart;
    where the folder has a ``last.ckpt`` the training goes on from it. It is loaded with ``weights_only=True``:
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
    checks.whole("chunk", chunk, 1)
    device = _check_machines(device, devices, num_nodes, strategy)
    check_precision(precision, device.type, params.dtype)
    check_smallest_batch(network, recipe, x, params.dtype, devices * num_nodes)
    n_out = outputs(network, x, params.dtype)[-1]
    module, data = ChunkedTwin(network, recipe, params, n_out), ChunkedData(recipe, x, y, validation, chunk)
    with _quiet(), _tf32(precision == "tf32"):
        trainer = L.Trainer(
            max_epochs=recipe.epochs,
            accelerator=device.type,
            devices=devices if device.index is None else [device.index],
            num_nodes=num_nodes,
            strategy="ddp_spawn" if devices > 1 and strategy == "auto" else strategy,
            precision="64-true" if params.dtype == np.float64 else "bf16-mixed" if precision == "bf16" else "32-true",
            limit_val_batches=None if validation is not None else 0,
            **_outputs(folder, Recording(on_record), checkpoint_every),
            **_OPTIONS,
        )
        trainer.fit(module, datamodule=data, ckpt_path=_last_checkpoint(folder), weights_only=True)
    return parameters_of(module.twin)


def _check_machines(device: str | torch.device, devices: int, num_nodes: int, strategy: str) -> torch.device:
    """The device; a TypeError or ValueError unless Lightning can start so many processes there."""
    checks.whole("devices", devices, 1)
    checks.whole("num_nodes", num_nodes, 1)
    checks.choice("strategy", strategy, dict.fromkeys(("auto", "ddp", "ddp_spawn")))
    found = check_device(device)
    if devices > 1 and found.index is not None:
        raise ValueError(f"devices is {devices} with device {str(found)!r}, expected device {found.type!r}")
    return found


def _outputs(folder: str | Path | None, recording: Callback, checkpoint_every: float) -> dict[str, Any]:
    """What a Trainer writes: nothing without a folder."""
    if folder is None:
        return {"callbacks": [recording], "logger": False, "enable_checkpointing": False}
    logger = TensorBoardLogger(folder, name="", version="tensorboard")
    return {"callbacks": [recording, LastCheckpoint(Path(folder), checkpoint_every)], "logger": logger}


_OPTIONS: dict[str, Any] = {
    "num_sanity_val_steps": 0,
    "use_distributed_sampler": False,  # ChunkedData gives every process its share
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "log_every_n_steps": 1,
}


class Recording(Callback):
    """Makes a record of every chunk at its end, and of all processes; stops a training that diverges or is done."""

    def __init__(self, on_record: Callable[[Record], object] | None) -> None:
        self.on_record = on_record
        self.recorded = 0  # steps of the epoch

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:  # noqa: ARG002
        if trainer.world_size > 1:
            _hush()  # this is a process of its own

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
        recipe, taken, self.recorded = module.recipe, module.taken[self.recorded :], len(module.taken)
        first = trainer.global_step - len(taken)
        losses = trainer.strategy.reduce(torch.stack([step.loss for step in taken]), reduce_op="mean").tolist()
        lrs = [recipe.lr(first + i) for i in range(len(taken))]
        steps = Steps(first, trainer.current_epoch, ends, [step.indices for step in taken], lrs)
        made = record(module, recipe, steps, losses, torch.cat([step.logits for step in taken]))
        trainer.should_stop = trainer.should_stop or module.progress.stopped
        if trainer.is_global_zero and self.on_record is not None:
            self.on_record(made)


class LastCheckpoint(ModelCheckpoint):
    """A checkpoint at the end of an epoch, if the one before is ``seconds`` old, and at the end of the training."""

    def __init__(self, folder: Path, seconds: float) -> None:
        super().__init__(folder, "last", save_on_train_epoch_end=True, enable_version_counter=False)
        self.seconds, self.saved = seconds, time.monotonic()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        pass  # all that it remembers is where the folder was, which may have moved

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        last = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        due = last or time.monotonic() - self.saved >= self.seconds
        if trainer.strategy.broadcast(due):  # all processes save, or none
            super().on_train_epoch_end(trainer, pl_module)
            self.saved = time.monotonic()


@contextmanager
def _tf32(wanted: bool) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if wanted else before)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


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
