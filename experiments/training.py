"""The training of an experiment, by every implementation that its config asks for."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator

import scratch
from experiments.experiment import Experiment, TrainedTwin
from experiments.interrupts import Interrupted, interruptible
from experiments.observer import Observer
from experiments.run_folder import Row, RunFolder
from scratch import Parameters, Record, State


def train(experiment: Experiment, folder: RunFolder) -> list[TrainedTwin]:
    """Train every twin that the config asks for, from where the folder's checkpoints are; evaluate each.

    Raises
        Interrupted: Ctrl-C was pressed; what was reached is in the folder
        DivergenceError: a loss turned NaN or infinite; the folder's checkpoints are from before
    """
    twins = []
    with interruptible() as interrupt:
        for impl in experiment.config.impls:
            if impl == "lightning":
                params, rows = train_lightning(experiment, folder, interrupt)
            else:
                params, rows = train_twin(impl, experiment, folder, interrupt)
            scratch.save_parameters(folder.weights(impl), params)
            twins.append(experiment.trained(impl, params, rows))
    return twins


def train_twin(
    impl: str, experiment: Experiment, folder: RunFolder, interrupt: threading.Event
) -> tuple[Parameters, list[Row]]:
    """Train scratch, or its twin in a plain torch loop; both keep their whole state in one checkpoint."""
    checkpoint = folder.checkpoint(impl)
    if checkpoint.is_file():
        start = scratch.load_state(checkpoint, experiment.network)
    else:
        start = scratch.State.start(experiment.initial, experiment.recipe)
    observer = Observer(impl, experiment.data, experiment.config.epochs, folder, interrupt, start.progress.step)
    records, state = (begin_scratch if impl == "scratch" else begin_torch)(experiment, start)
    saved = time.monotonic()
    observer.start()
    try:
        for record in records:
            if observer(record) and time.monotonic() - saved >= experiment.config.checkpoint_every:
                scratch.save_state(checkpoint, state())
                saved = time.monotonic()
    except Interrupted:
        scratch.save_state(checkpoint, state())
        raise
    finally:
        observer.stop()
    end = state()
    scratch.save_state(checkpoint, end)
    return end.params.to("cpu"), observer.rows


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


def train_lightning(
    experiment: Experiment, folder: RunFolder, interrupt: threading.Event
) -> tuple[Parameters, list[Row]]:
    """Train the twin in Lightning, which keeps checkpoints of its own, at the ends of epochs."""
    from torch_impl import lit_train  # seconds, which the other twins need not wait

    config = experiment.config
    if folder.weights("lightning").is_file():  # it was done before
        params = scratch.load_parameters(folder.weights("lightning"), experiment.network)
        return params, folder.keep_rows("lightning", sys.maxsize)
    alone, start = config.devices * config.num_nodes == 1, lit_train.steps_done(folder.lightning)
    observer = Observer("lightning", experiment.data, config.epochs, folder, interrupt if alone else None, start)
    try:
        params = join(experiment, folder, observer)
    except Exception as error:
        if interrupt.is_set():  # a process of Lightning's saw it too, and ended
            raise Interrupted from error
        raise
    finally:
        observer.stop()
    return params, [row for row in folder.rows() if row.impl == "lightning"]


def join(experiment: Experiment, folder: RunFolder, on_record: Observer | None = None) -> Parameters:
    """Take part in Lightning's training; as any process of DDP but the first, without an observer."""
    from torch_impl import lit_train

    config, device = experiment.config, experiment.device
    x, y, validation = experiment.training_data
    return lit_train.fit(
        experiment.network, experiment.recipe, x, y, experiment.initial, validation,
        on_record=on_record, folder=folder.lightning, checkpoint_every=config.checkpoint_every, chunk=16,
        device=device, devices=config.devices, num_nodes=config.num_nodes, strategy=config.strategy,
        precision=experiment.precision(device.type),
    )  # fmt: skip


def is_first_process() -> bool:
    """Whether this is no process of DDP, or the first one: by what Lightning, torchrun and clusters put in place."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "NODE_RANK", "LOCAL_RANK", "SLURM_PROCID"))
