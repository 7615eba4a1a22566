"""The training of an experiment, by every implementation that its config asks for."""

import os
import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

import scratch
from experiments.experiment import Experiment, TrainedTwin
from experiments.observer import Observer
from experiments.run_folder import Row, RunFolder
from scratch import Interrupted, Parameters, Record, State, Stop, interruptible
from scratch.checkpoint import save_while_finite


def train(experiment: Experiment, folder: RunFolder) -> list[TrainedTwin]:
    """Train every twin that the config asks for, from where the folder's checkpoints are; evaluate each.

    Raises
        Interrupted: Ctrl-C was pressed, or another signal came; what was reached is in the folder
        DivergenceError: a loss turned NaN or infinite; the folder's checkpoints are from before
        ValueError: a checkpoint is damaged, or of another training
    """
    twins = []
    with interruptible() as stop:
        for impl in experiment.config.impls:
            begin = train_lightning if impl == "lightning" else partial(train_twin, impl, stop)
            params, rows = begin(experiment, folder)
            scratch.save_parameters(folder.weights(impl), params)
            twins.append(experiment.trained(impl, params, rows))
            if stop.number:
                raise Interrupted(stop.number)
    return twins


def train_twin(impl: str, stop: Stop, experiment: Experiment, folder: RunFolder) -> tuple[Parameters, list[Row]]:
    """Train scratch, or its twin in a plain torch loop."""
    checkpoint, start = folder.checkpoint(impl), start_of(impl, experiment, folder)
    observer = Observer(impl, experiment.data, experiment.config.epochs, folder, start.progress.step)
    records, state = (begin_scratch if impl == "scratch" else begin_torch)(experiment, start)
    saved = time.monotonic()
    observer.start()
    try:
        for record in records:
            due = observer(record) is not None and time.monotonic() - saved >= experiment.config.checkpoint_every
            if due or stop.number:
                save_while_finite(checkpoint, state())
                saved = time.monotonic()
            if stop.number:
                raise Interrupted(stop.number)
    finally:
        observer.stop()
    end = state()
    scratch.save_state(checkpoint, end)
    return end.params.to("cpu"), observer.rows


def start_of(impl: str, experiment: Experiment, folder: RunFolder) -> State:
    """Where a training begins: at its checkpoint, if there is one.

    Raises
        ValueError: the checkpoint is damaged, or of another training
    """
    path = folder.checkpoint(impl)
    if not path.is_file():
        return State.start(experiment.initial, experiment.recipe)
    state = scratch.load_state(path, experiment.network)
    if state.params.dtype != np.dtype(experiment.config.dtype):
        raise ValueError(f"{path} holds {state.params.dtype}, expected {experiment.config.dtype}, as config.yaml says")
    return state


def begin_scratch(experiment: Experiment, start: State) -> tuple[Iterator[Record], Callable[[], State]]:
    """The records of a training by scratch, and what tells its state at the moment."""
    state = start.to(experiment.scratch_device)
    x, y, validation = experiment.training_data
    precision = experiment.precision(experiment.scratch_device)
    return scratch.fit(experiment.network, experiment.recipe, x, y, state, validation, precision), lambda: state


def begin_torch(experiment: Experiment, start: State) -> tuple[Iterator[Record], Callable[[], State]]:
    """The same of a training by the plain torch loop."""
    import torch_impl

    network, recipe, device = experiment.network, experiment.recipe, experiment.device
    state = torch_impl.TwinState.start(network, recipe, start, device)
    x, y, validation = experiment.training_data
    capture = experiment.config.capture and device.type == "cuda"
    precision = experiment.precision(device.type)
    records = torch_impl.fit(network, recipe, x, y, state, validation, precision, capture)
    return records, lambda: state.to_scratch(recipe)


def train_lightning(experiment: Experiment, folder: RunFolder) -> tuple[Parameters, list[Row]]:
    """Train the twin in Lightning."""
    start = start_of("lightning", experiment, folder)
    observer = Observer("lightning", experiment.data, experiment.config.epochs, folder, start.progress.step)
    try:
        join(experiment, start, folder, observer)
    finally:
        observer.stop()
    return start.params, [row for row in folder.rows() if row.impl == "lightning"]


def join(experiment: Experiment, start: State, folder: RunFolder, on_record: Observer | None = None) -> None:
    """Take part in Lightning's training of ``start``; as any process of DDP but the first, without an observer."""
    from torch_impl import lit_train  # seconds, which the other twins need not wait

    config, device = experiment.config, experiment.device
    x, y, validation = experiment.training_data
    lit_train.fit(
        experiment.network, experiment.recipe, x, y, start, validation,
        on_record=on_record, checkpoint=folder.checkpoint("lightning"), checkpoint_every=config.checkpoint_every,
        tensorboard=folder.tensorboard, chunk=16, device=device, devices=config.devices, num_nodes=config.num_nodes,
        strategy=config.strategy, precision=experiment.precision(device.type),
    )  # fmt: skip


def is_first_process() -> bool:
    """Whether this is no process of DDP, or the first one: by what Lightning, torchrun and clusters put in place."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "NODE_RANK", "LOCAL_RANK", "SLURM_PROCID"))
