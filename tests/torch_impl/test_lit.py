"""The Lightning twin beside scratch."""

import subprocess
import sys
import textwrap
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch

import scratch
import torch_impl
from scratch import MSE, SGD, Adam, BCEWithLogits, CrossEntropy, DivergenceError, EarlyStopping, State
from tests.installed import mislead
from tests.torch_impl.trainings import NETWORK, NETWORKS, NORMED, ODD, data, initial, recipe
from torch_impl import lit, lit_train

ROOT = Path(__file__).parent.parent.parent


def by_scratch(r, validation=None, dtype="float64", network=NETWORK):
    x, y, _ = data(dtype, network)
    state = State.start(initial(dtype, network), r)
    return state, list(scratch.fit(network, r, x, y, state, validation))


def by_lightning(network, r, x, y, params, validation=None, **options):
    """What lit_train.fit comes to, from these parameters or the checkpoint that is there."""
    checkpoint = options.get("checkpoint")
    start = State.start(params, r)
    state = scratch.load_state(checkpoint, network) if checkpoint and checkpoint.is_file() else start
    lit_train.fit(network, r, x, y, state, validation, **options)
    return state.params


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("optimizer", [None, Adam(0.02)], ids=str)
def test_the_training_is_equal_to_scratchs_step_by_step(optimizer, network):
    r = recipe() if optimizer is None else recipe(optimizer=optimizer)
    x, y, validation = data(network=network)
    state, ours = by_scratch(r, validation, network=network)
    theirs = []
    params = by_lightning(network, r, x, y, initial(network=network), validation, on_record=theirs.append)
    np.testing.assert_allclose(params.vector, state.params.vector, rtol=0, atol=1e-12)
    for a, b in zip(ours, theirs, strict=True):
        assert (a.step, a.epoch, a.epoch_ends, a.lr) == (b.step, b.epoch, b.epoch_ends, b.lr)
        np.testing.assert_array_equal(a.batch, b.batch)
        assert a.loss == pytest.approx(b.loss, rel=1e-12)
        assert (a.validation is None) == (b.validation is None)
        if a.validation:
            assert a.validation.loss == pytest.approx(b.validation.loss, rel=1e-12)
            np.testing.assert_allclose(a.validation.logits, b.validation.logits.numpy(), rtol=0, atol=1e-12)


@pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*treespec, LeafSpec", "ignore:.*num_batches"
)
@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_the_lightning_module_that_everybody_knows_is_equal_too(network):
    """Automatic optimization, a DataLoader, a plain Trainer."""
    r = recipe()
    x, y, validation = data(network=network)
    state, _ = by_scratch(r, network=network)
    module = lit.LitTwin(network, r, initial(network=network))
    trainer = L.Trainer(
        max_epochs=r.epochs, gradient_clip_val=r.max_norm, precision="64-true", accelerator="cpu", logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, lit.loader(r, x, y), lit.loader(r, *validation))
    np.testing.assert_allclose(torch_impl.parameters_of(module.twin).vector, state.params.vector, rtol=0, atol=1e-12)
    assert module(torch.from_numpy(x)).shape == (23, 3)
    with pytest.raises(ValueError, match=r"recipe has augment=Shift.*, expected None"):
        lit.LitTwin(network, recipe(augment=scratch.Shift((1, 5))), initial(network=network))


@pytest.mark.parametrize("loss", [MSE(), BCEWithLogits(), CrossEntropy()], ids=str)
def test_trainings_are_equal_with_float_targets(loss, tmp_path):
    r = recipe(loss=loss, epochs=2)
    x, _, _ = data()
    y = np.random.default_rng(2).dirichlet([1, 1, 1], 23)
    state = State.start(initial(), r)
    ours = list(scratch.fit(NETWORK, r, x, y, state, (x, y)))
    theirs = []
    params = by_lightning(NETWORK, r, x, y, initial(), (x, y), on_record=theirs.append)
    np.testing.assert_allclose(params.vector, state.params.vector, rtol=0, atol=1e-12)
    assert ours[-1].validation.loss == pytest.approx(theirs[-1].validation.loss, rel=1e-12)


@pytest.mark.parametrize("chunk", [2, 16])
def test_several_steps_to_a_chunk_are_the_same_training(chunk):
    r = recipe(augment=scratch.Shift((1, 5)))
    x, y, validation = data()
    state = State.start(initial(), r)
    ours = list(scratch.fit(NETWORK, r, x, y, state, validation))
    theirs = []
    params = by_lightning(NETWORK, r, x, y, initial(), validation, on_record=theirs.append, chunk=chunk)
    np.testing.assert_allclose(params.vector, state.params.vector, rtol=0, atol=1e-12)
    ends = [step for step in range(1, 19) if step % 3 == 0 or step % 3 % chunk == 0]
    assert [record.step for record in theirs] == ends
    for first, record in zip([0, *ends], theirs, strict=False):
        steps = ours[first : record.step]
        assert record.loss == pytest.approx(np.mean([s.loss for s in steps]), rel=1e-12)
        np.testing.assert_array_equal(record.batch, np.concatenate([s.batch for s in steps]))
        assert record.epoch_ends == steps[-1].epoch_ends


def test_metrics_are_logged_for_tensorboard(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    x, y, validation = data()
    records = []
    by_lightning(NETWORK, recipe(epochs=3), x, y, initial(), validation, on_record=records.append, tensorboard=tmp_path)
    logged = EventAccumulator(str(tmp_path)).Reload()
    losses = [event.value for event in logged.Scalars("val_loss")]
    assert losses == pytest.approx([r.validation.loss for r in records if r.epoch_ends], rel=1e-6)
    seen = [
        np.mean(scratch.predicted_classes(r.validation.logits.numpy()) == validation[1])
        for r in records
        if r.epoch_ends
    ]
    assert [event.value for event in logged.Scalars("val_accuracy")] == pytest.approx(seen, rel=1e-6)
    scalars = (logged.Scalars(name) for name in ("train_loss", "train_accuracy"))
    for epoch, (loss, accuracy) in enumerate(zip(*scalars, strict=True)):
        steps = [r for r in records if r.epoch == epoch]
        sizes = [len(r.batch) for r in steps]  # the last one is short
        hits = sum((scratch.predicted_classes(r.logits.numpy()) == y[r.batch]).sum() for r in steps)
        assert loss.value == pytest.approx(np.average([r.loss for r in steps], weights=sizes), rel=1e-6)
        assert accuracy.value == pytest.approx(hits / sum(sizes), rel=1e-6)
    assert epoch == 2


@pytest.mark.parametrize("network", [NETWORK, NORMED], ids=["mlp", "norms"])
def test_it_stops_early_with_the_best_weights(network, tmp_path):
    r = recipe(epochs=100, early_stopping=EarlyStopping(3), schedule=scratch.Constant())
    x, y, validation = data()
    state, ours = by_scratch(r, validation, network=network)
    theirs, start, path = [], initial(network=network), tmp_path / "training.safetensors"
    for _ in range(2):  # the second one goes no further
        params = by_lightning(network, r, x, y, start, validation, on_record=theirs.append, checkpoint=path)
        assert len(ours) == len(theirs) < 300
        np.testing.assert_allclose(params.vector, state.params.vector, rtol=0, atol=1e-12)


def test_classes_at_every_position_of_a_sequence():
    """Logits of three axes, one class or a distribution at each position."""
    network = scratch.Network((scratch.Embedding(11, 3),))
    x, y = np.random.default_rng(0).integers(0, 11, (23, 3)), np.random.default_rng(1).integers(0, 3, (23, 3))
    for targets in (y, np.eye(3)[y]):
        r = recipe(epochs=2)
        start = initial(network=network)
        state = State.start(start, r)
        ours = list(scratch.fit(network, r, x, targets, state, (x, targets)))
        theirs = []
        params = by_lightning(network, r, x, targets, start, (x, targets), on_record=theirs.append)
        np.testing.assert_allclose(params.vector, state.params.vector, rtol=0, atol=1e-12)
        assert theirs[-1].logits.shape == ours[-1].logits.shape == (7, 3, 3)


class Stop(Exception):  # noqa: N818
    pass


@pytest.mark.parametrize("killed", [11, 12], ids=["within an epoch", "at its end"])
@pytest.mark.parametrize("network", [NETWORK, NORMED], ids=["mlp", "norms"])
def test_a_resumed_training_is_the_same_bit_for_bit(killed, network, tmp_path):
    r = recipe(early_stopping=EarlyStopping(50), optimizer=Adam(0.02))
    x, y, validation = data("float32", network)
    start, path = initial("float32", network), tmp_path / "training.safetensors"
    whole = by_lightning(network, r, x, y, start, validation)

    def kill(record):
        if record.step == killed:
            raise Stop

    with pytest.raises(Stop):
        by_lightning(network, r, x, y, start, validation, on_record=kill, checkpoint=path)
    assert scratch.load_state(path, network).progress.step == 9
    steps = []
    options = {"on_record": lambda r: steps.append(r.step), "checkpoint": path, "tensorboard": tmp_path / "board"}
    resumed = by_lightning(network, r, x, y, start, validation, **options)
    assert steps == list(range(10, 19))
    np.testing.assert_array_equal(resumed.vector, whole.vector)
    assert list((tmp_path / "board").iterdir())


@pytest.mark.parametrize("step", [2, 9, 11, 18])
def test_any_twin_goes_on_where_another_was(step):
    """From any step on, not from ends of epochs alone."""
    r = recipe(optimizer=Adam(0.02))
    x, y, validation = data()
    whole, _ = by_scratch(r, validation)
    state = State.start(initial(), r)
    for record in scratch.fit(NETWORK, r, x, y, state, validation):
        if record.step == step:
            break
    steps = []
    lit_train.fit(NETWORK, r, x, y, state, validation, on_record=lambda r: steps.append(r.step))
    assert steps == list(range(step + 1, 19))
    np.testing.assert_allclose(state.params.vector, whole.params.vector, rtol=0, atol=1e-12)
    assert state.progress == whole.progress
    for key, slot in whole.slots.items():
        np.testing.assert_allclose(state.slots[key], slot, rtol=0, atol=1e-12)


def test_two_processes_train_as_one(tmp_path):
    """DDP on gloo: dropout masks, shares that differ in size, and a last batch too small to share, included.

    They are spawned here, from a folder that holds other files of the packages' names. That the command itself is run
    in each is tested with the command line.
    """
    script = tmp_path / "train.py"
    script.write_text(
        textwrap.dedent(
            """
            import sys
            import scratch
            from tests.torch_impl.trainings import NETWORK, ODD as RECIPE, data, initial
            from torch_impl import lit, lit_train

            if __name__ == "__main__":
                x, y, validation = data()
                state = scratch.State.start(initial(), RECIPE)
                lit_train.fit(NETWORK, RECIPE, x, y, state, validation, devices=2, chunk=2)
                scratch.save_parameters(sys.argv[1], state.params)
            """
        )
    )
    mislead(tmp_path / "elsewhere")
    command = [sys.executable, str(script), str(tmp_path / "weights.safetensors")]
    done = subprocess.run(
        command, cwd=tmp_path / "elsewhere", env=environment(), capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    two = scratch.load_parameters(tmp_path / "weights.safetensors", NETWORK)
    state, _ = by_scratch(ODD)
    np.testing.assert_allclose(two.vector, state.params.vector, rtol=0, atol=1e-12)


def environment():
    import os

    return {**os.environ, "PYTHONPATH": str(ROOT)}


def test_bad_input_is_named():
    x, y, _ = data()
    with pytest.raises(TypeError, match="x has dtype float32"):
        by_lightning(NETWORK, recipe(), x.astype("float32"), y, initial())
    with pytest.raises(ValueError, match="device is 'cuda:99'"):
        by_lightning(NETWORK, recipe(), x, y, initial(), device="cuda:99")
    with pytest.raises(ValueError, match="strategy is 'fsdp', expected one of 'auto', 'ddp', 'ddp_spawn'"):
        by_lightning(NETWORK, recipe(), x, y, initial(), strategy="fsdp")
    with pytest.raises(ValueError, match="precision is 'bf16' with float64 on cpu"):
        by_lightning(NETWORK, recipe(), x, y, initial(), precision="bf16")
    with pytest.raises(ValueError, match="chunk is 0, expected at least 1"):
        by_lightning(NETWORK, recipe(), x, y, initial(), chunk=0)
    with pytest.raises(ValueError, match="validation is None"):
        by_lightning(NETWORK, recipe(early_stopping=EarlyStopping(2)), x, y, initial())


def test_a_loss_that_diverges_stops_the_training():
    x, _, _ = data()
    network = scratch.mlp((5, 8, 3), scratch.ReLU())
    params = scratch.initial_parameters(network, np.random.default_rng(0))
    r = recipe(loss=MSE(), optimizer=SGD(1e4), epochs=100, max_norm=None, schedule=scratch.Constant())
    with pytest.raises(DivergenceError, match=r"the loss is (nan|inf) at step \d+"):
        by_lightning(network, r, x, np.ones((23, 3)), params)
