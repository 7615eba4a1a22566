"""A training in Lightning: devices, DDP and TensorBoard around :mod:`torch_impl.lit_chunks`."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger

from scratch import Interrupted, Stop, checks, interruptible, load_state
from scratch.batches import Steps
from scratch.checkpoint import save_while_finite
from scratch.device import Precision, check_precision
from scratch.identity import identify
from scratch.state import check_state
from scratch.train import check_data, check_smallest_batch, check_weights, outputs, record
from torch_impl.device import check_device
from torch_impl.lit_chunks import ChunkedData, ChunkedTwin
from torch_impl.lit_processes import NoSignals, agreed, explained, is_orphan, passed_on, tidied, watched
from torch_impl.lit_shared import QUIET, InTurn, hush

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scratch import Network, Recipe, Record, State
    from scratch.device import Array


def fit(
    network: Network,
    recipe: Recipe,
    x: Array,
    y: Array,
    state: State,
    validation: tuple[Array, Array] | None = None,
    *,
    on_record: Callable[[Record], object] | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_every: float = 0.0,
    tensorboard: str | Path | None = None,
    device: str | torch.device = "cpu",
    devices: int = 1,
    num_nodes: int = 1,
    strategy: str = "auto",
    precision: Precision = "float32",
    chunk: int = 1,
) -> None:
    """Train ``state`` by the Lightning twin, from where it is; at the end it is that of the whole training.

    The data, the records and the errors are those of :func:`scratch.fit`. The training is saved to ``checkpoint``, for
    :func:`scratch.load_state`, at the ends of epochs ``checkpoint_every`` seconds apart, at the last one, and when
    Ctrl-C, SIGTERM or SIGHUP stop it between two records. ``tensorboard`` is the folder that metrics are logged to.

    ``chunk`` is how many steps Lightning is given at once, and how many a record is of: its loss is their mean, its
    batch and logits are those of all their samples. Eight or more spare most of what Lightning spends around a step.

    With ``devices`` > 1 every batch is divided among as many processes (DDP: gloo on CPUs, nccl on GPUs), on each of
    ``num_nodes`` machines. ``on_record`` is called in the first of them, with its share of the batch. The ``strategy``
    "ddp_spawn" (or "auto") starts them from this process, for which ``on_record`` must be picklable; "ddp" runs the
    program again in each, unless torchrun or a cluster has started them.

    Raises
        TypeError, ValueError: a device that is not there; data or a state that do not fit; early stopping without
            validation
        FileNotFoundError: the folder of the checkpoint is not there
        DivergenceError: the loss, or at the end a weight, turned NaN or infinite
        Interrupted: a signal came; ``state`` is that of its step, unless several processes train
        ChildProcessError: a process ended before the training was done
    """
    check_state(network, recipe, state)
    check_data(network, recipe, x, y, state.params.dtype, validation)
    checks.whole("chunk", chunk, 1)
    _check_outputs(on_record, checkpoint, checkpoint_every, tensorboard)
    machines = _machines(device, devices, num_nodes, strategy, min(recipe.batch_size, len(x)))
    check_precision(precision, machines["accelerator"], state.params.dtype)
    check_smallest_batch(network, recipe, x, state.params.dtype, devices * num_nodes)
    identify(state, network, recipe, x, y, validation)
    if not is_done(state, recipe, len(x)):
        module = ChunkedTwin(network, recipe, state, outputs(network, x, state.params.dtype)[-1])
        data = ChunkedData(recipe, x, y, validation, chunk, state.progress.step)
        recording = Recording(on_record, checkpoint, checkpoint_every)
        board = False if tensorboard is None else TensorBoardLogger(tensorboard, name="", version="")
        steps = InTurn(torch.device(machines["accelerator"]), precision)
        options = {**machines, "plugins": [steps], "logger": board, "callbacks": [recording], **_OPTIONS}
        with QUIET, _ended(module, state, recording, machines):
            _train(module, data, recipe.steps_per_epoch(len(x)), options)
    if recipe.early_stopping is not None and state.best is not None:
        state.params.vector[:] = state.best


def _train(module: ChunkedTwin, data: ChunkedData, per_epoch: int, options: dict[str, Any]) -> None:
    """Run Lightning from the data's first step on, which may be within an epoch."""
    trainer = L.Trainer(
        max_epochs=module.recipe.epochs,
        limit_val_batches=None if data.validation is not None else 0,
        reload_dataloaders_every_n_epochs=int(data.start % per_epoch > 0),  # since its first epoch has fewer batches
        **options,
    )
    trainer._signal_connector = NoSignals()  # type: ignore[assignment]
    epochs: Any = trainer.fit_loop.epoch_progress.current
    epochs.processed = epochs.completed = data.start // per_epoch
    trainer.fit(module, datamodule=data)


def _check_outputs(on_record: Any, checkpoint: Any, checkpoint_every: Any, tensorboard: Any) -> None:
    """Raise TypeError, ValueError or FileNotFoundError unless they can take what comes."""
    if on_record is not None and not callable(on_record):
        raise TypeError(f"on_record is {checks.said(on_record)}, expected a function of a record")
    for name, path in {"checkpoint": checkpoint, "tensorboard": tensorboard}.items():
        checks.instance(name, path, str | Path | None, "a path, or None")
    if checkpoint is not None and not Path(checkpoint).parent.is_dir():
        raise FileNotFoundError(f"checkpoint is {str(checkpoint)!r}, expected a file in a folder that exists")
    if tensorboard is not None and Path(tensorboard).is_file():
        raise ValueError(f"tensorboard is {str(tensorboard)!r}, which is a file, expected a folder")
    checks.number("checkpoint_every", checkpoint_every, 0)


def is_done(state: State, recipe: Recipe, n: int) -> bool:
    """Whether there is nothing left to train on ``n`` samples."""
    stopped = recipe.early_stopping is not None and state.progress.stopped
    return stopped or state.progress.step >= recipe.epochs * recipe.steps_per_epoch(n)


@contextmanager
def _ended(module: ChunkedTwin, state: State, recording: Recording, machines: dict[str, Any]) -> Iterator[None]:
    """A training within it, whose end, its own or by a signal, is then that of ``state``."""
    spawned, several = machines["strategy"] == "ddp_spawn", machines["strategy"] != "auto"
    with ExitStack() as stack:
        recording.stop = stack.enter_context(interruptible())
        if spawned:
            stack.enter_context(passed_on(recording.stop))
            recording.failures = multiprocessing.get_context("spawn").SimpleQueue()
            if recording.checkpoint is None:
                folder = stack.enter_context(tempfile.TemporaryDirectory())
                recording.checkpoint = Path(folder) / "training.safetensors"
        elif several:
            launched = int(os.environ.get("LOCAL_RANK", 0)) > 0  # by the first process, or by torchrun
            stack.enter_context(watched(os.getppid() if launched else None))
            stack.enter_context(tidied())
        try:
            yield
        except Interrupted:
            _become(state, module.state())
            raise
        except SystemExit as error:  # what Lightning makes of a second Ctrl-C
            raise KeyboardInterrupt from error
        except Exception as error:
            if error is recording.raised:
                raise
            found = explained(error, recording.stop, recording.failures) if several else error
            if found is not error:
                raise found from error
            if isinstance(error, OSError) and error.errno is not None:  # a checkpoint's error is a sentence
                raise OSError(f"TensorBoard's log cannot be written ({error})") from error
            raise
        told = recording.checkpoint if spawned else None
        _become(state, module.state() if told is None else load_state(told, module.network))
        if recording.stop.number:  # it came after the last record
            raise Interrupted(recording.stop.number)


def _become(state: State, end: State) -> None:
    """Let ``state`` be ``end``, where its arrays are."""
    end = end.to(state.params.device)
    state.params.vector[:] = end.params.vector
    state.slots, state.progress, state.best = end.slots, end.progress, end.best


def _machines(device: str | torch.device, devices: int, num_nodes: int, strategy: str, most: int) -> dict[str, Any]:
    """What a Trainer is told of devices; a TypeError or ValueError unless it can start so many processes there."""
    checks.whole("devices", devices, 1)
    checks.whole("num_nodes", num_nodes, 1)
    checks.choice("strategy", strategy, dict.fromkeys(("auto", "ddp", "ddp_spawn")))
    found = check_device(device)
    if devices * num_nodes > most:
        came = f"devices is {devices} on each of num_nodes {num_nodes}"
        raise ValueError(f"{came}, expected at most a process for each of the {most} samples of a batch")
    if num_nodes > 1 and strategy != "ddp":
        raise ValueError(f"num_nodes is {num_nodes} with strategy {strategy!r}, expected strategy 'ddp'")
    if devices > 1 and found.index is not None:
        raise ValueError(f"devices is {devices} with device {str(found)!r}, expected device {found.type!r}")
    return {
        "accelerator": found.type,
        "devices": devices if found.index is None else [found.index],
        "num_nodes": num_nodes,
        "strategy": "ddp_spawn" if devices > 1 and strategy == "auto" else strategy,
    }


_OPTIONS: dict[str, Any] = {
    "num_sanity_val_steps": 0,
    "use_distributed_sampler": False,  # ChunkedData gives every process its share
    "enable_checkpointing": False,  # Recording saves the training
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "log_every_n_steps": 1,
}


class Recording(Callback):
    """Makes a record of every chunk at its end, and of all processes; saves the training; stops it when it is done."""

    def __init__(
        self, on_record: Callable[[Record], object] | None, checkpoint: str | Path | None, seconds: float
    ) -> None:
        self.on_record, self.checkpoint, self.seconds, self.saved = on_record, checkpoint, seconds, time.monotonic()
        self.stop = Stop()
        self.home = os.getpid()  # of the process that called fit()
        self.failures: Any = None  # a queue from the processes that it spawned
        self.raised: Exception | None = None  # by on_record: the caller's own, which is no news of Lightning's
        self.recorded = 0  # steps of the epoch

    @property
    def spawned(self) -> bool:
        """Whether this is a process that Lightning made, with a copy of this object."""
        return os.getpid() != self.home

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:  # noqa: ARG002
        if trainer.world_size > 1:
            hush()
        if self.spawned:
            self.within = ExitStack()  # until the process ends
            self.stop = self.within.enter_context(interruptible())
            self.within.enter_context(watched(self.home))

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
        try:
            self._take(trainer, module, ends)
        except Exception as error:
            # The process itself tells no more than that it failed. A RuntimeError is gloo's, where a peer has gone.
            if self.spawned and (error is self.raised or not isinstance(error, RuntimeError)):
                self.failures.put(error)
            raise

    def _take(self, trainer: L.Trainer, module: Any, ends: bool) -> None:
        recipe, taken, self.recorded = module.recipe, module.taken[self.recorded :], len(module.taken)
        first = module.progress.step
        losses = trainer.strategy.reduce(torch.stack([step.loss for step in taken]), reduce_op="mean").tolist()
        lrs = [recipe.lr(first + i) for i in range(len(taken))]
        steps = Steps(first, trainer.current_epoch, ends, [step.indices for step in taken], lrs)
        made = record(module, recipe, steps, losses, torch.cat([step.logits for step in taken]))
        trainer.should_stop = trainer.should_stop or module.progress.stopped
        if trainer.is_global_zero and self.on_record is not None:
            try:
                self.on_record(made)
            except Exception as error:
                self.raised = error
                raise
        last = trainer.should_stop or (ends and trainer.current_epoch + 1 == trainer.max_epochs)
        if last:
            check_weights(module, recipe)
        number = agreed(self.stop, trainer)
        if number or last or (ends and time.monotonic() - self.saved >= self.seconds):
            self._save(trainer, module)
        if number:
            trainer.strategy.barrier()  # whoever left now would take its peers down
            raise Interrupted(number)

    def _save(self, trainer: L.Trainer, module: Any) -> None:
        orphan = self.spawned and is_orphan(self.home)  # then another process may have gone on with the training
        if trainer.is_global_zero and self.checkpoint is not None and not orphan:
            save_while_finite(self.checkpoint, module.state())
        self.saved = time.monotonic()
