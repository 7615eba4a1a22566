"""Whole trainings of scratch and the plain torch loop, side by side."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

import scratch
import torch_impl
from scratch import MAE, MSE, SGD, Adam, AdamW, BCEWithLogits, DivergenceError, EarlyStopping, RMSprop, State
from tests.torch_impl.trainings import NETWORK, NETWORKS, NORMED, SEQUENCES, data, initial, recipe
from torch_impl import TwinState
from torch_impl.counterparts import LAYERS, torch_loss
from torch_impl.parity import Difference
from torch_impl.verify import verify_layer


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("optimizer", [None, Adam(0.02), AdamW(0.02), RMSprop(0.01, momentum=0.9)], ids=str)
def test_both_trainings_are_equal_step_by_step(optimizer, network):
    r = recipe() if optimizer is None else recipe(optimizer=optimizer)
    x, y, validation = data(network=network)
    ours = State.start(initial(network=network), r)
    theirs = TwinState.start(network, r, ours)
    records = zip(
        scratch.fit(network, r, x, y, ours, validation),
        torch_impl.fit(network, r, x, y, theirs, validation),
        strict=True,
    )
    for a, b in records:
        assert (a.step, a.epoch, a.epoch_ends, a.lr) == (b.step, b.epoch, b.epoch_ends, b.lr)
        np.testing.assert_array_equal(a.batch, b.batch)
        assert a.loss == pytest.approx(b.loss, rel=1e-12)
        np.testing.assert_allclose(a.logits, b.logits.numpy(), rtol=0, atol=1e-12)
        if a.validation:
            assert a.validation.loss == pytest.approx(b.validation.loss, rel=1e-12)
    end = theirs.to_scratch(r)
    np.testing.assert_allclose(ours.params.vector, end.params.vector, rtol=0, atol=1e-12)
    for key in ours.slots:
        np.testing.assert_allclose(ours.slots[key], end.slots[key], rtol=0, atol=1e-12)


@pytest.mark.parametrize("loss", [BCEWithLogits(), MSE(), MAE()], ids=str)
def test_trainings_are_equal_with_every_loss(loss):
    r = recipe(loss=loss)
    x, _, _ = data()
    y = np.random.default_rng(2).random((23, 3))
    ours = State.start(initial(), r)
    theirs = TwinState.start(NETWORK, r, ours)
    for a, b in zip(scratch.fit(NETWORK, r, x, y, ours), torch_impl.fit(NETWORK, r, x, y, theirs), strict=True):
        assert a.loss == pytest.approx(b.loss, rel=1e-12)
    np.testing.assert_allclose(ours.params.vector, theirs.to_scratch(r).params.vector, rtol=0, atol=1e-12)


@pytest.mark.parametrize("network", [NETWORK, NORMED], ids=["mlp", "norms"])
def test_both_stop_early_at_the_same_epoch_with_the_same_weights(network):
    r = recipe(epochs=100, early_stopping=EarlyStopping(3), schedule=scratch.Constant())
    x, y, validation = data()
    ours = State.start(initial(network=network), r)
    theirs = TwinState.start(network, r, ours)
    a = list(scratch.fit(network, r, x, y, ours, validation))
    b = list(torch_impl.fit(network, r, x, y, theirs, validation))
    assert len(a) == len(b) < 300
    assert ours.progress.best_epoch == theirs.progress.best_epoch
    np.testing.assert_allclose(ours.params.vector, theirs.to_scratch(r).params.vector, rtol=0, atol=1e-12)


@pytest.mark.parametrize("optimizer", [SGD(0.1, momentum=0.9), Adam(0.02), SGD(0.1)], ids=str)
@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("stop", [1, 5, 12])
def test_a_resumed_torch_training_is_the_same_bit_for_bit(optimizer, stop, network, tmp_path):
    r = recipe(optimizer=optimizer, early_stopping=EarlyStopping(50))
    x, y, validation = data("float32", network)
    start = State.start(initial("float32", network), r)
    whole = TwinState.start(network, r, start)
    list(torch_impl.fit(network, r, x, y, whole, validation))
    part = TwinState.start(network, r, start)
    for record in torch_impl.fit(network, r, x, y, part, validation):
        if record.step == stop:
            break
    scratch.save_state(tmp_path / "state.safetensors", part.to_scratch(r))
    resumed = TwinState.start(network, r, scratch.load_state(tmp_path / "state.safetensors", network))
    list(torch_impl.fit(network, r, x, y, resumed, validation))
    np.testing.assert_array_equal(resumed.to_scratch(r).params.vector, whole.to_scratch(r).params.vector)


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_one_twin_takes_over_from_the_other(network):
    r = recipe(optimizer=Adam(0.02))
    x, y, _ = data(network=network)
    whole = State.start(initial(network=network), r)
    list(scratch.fit(network, r, x, y, whole))
    state = State.start(initial(network=network), r)
    for record in scratch.fit(network, r, x, y, state):
        if record.step == 5:
            break
    taken = TwinState.start(network, r, state)
    for record in torch_impl.fit(network, r, x, y, taken):
        if record.step == 11:
            break
    state = taken.to_scratch(r)
    list(scratch.fit(network, r, x, y, state))
    np.testing.assert_allclose(state.params.vector, whole.params.vector, rtol=0, atol=1e-12)


def test_a_loss_that_diverges_stops_the_training():
    r = recipe(loss=MSE(), optimizer=SGD(1e4), epochs=100, max_norm=None, schedule=scratch.Constant())
    x, _, _ = data()
    network = scratch.mlp((5, 8, 3), scratch.ReLU())
    state = State.start(scratch.initial_parameters(network, np.random.default_rng(0)), r)
    with pytest.raises(DivergenceError, match=r"the loss is (nan|inf) at step \d+ \(learning rate 10000\)"):
        list(torch_impl.fit(network, r, x, np.ones((23, 3)), TwinState.start(network, r, state)))


def test_a_gradient_of_another_shape_is_not_parity():
    ones = np.ones((7, 5))
    for wrong in (ones[:1], ones[:, :1], ones[0]):
        assert Difference("dx", wrong, ones).relative == np.inf
        assert "by hand, (7, 5) by autograd" in str(Difference("dx", wrong, ones))


@dataclass(frozen=True)
class Affine:
    """y = g x + b, whose torch counterpart names its arrays in another order."""

    width: int

    def shapes(self):
        return {"gain": (self.width,), "shift": (self.width,)}

    def forward(self, x, g, b):
        return g * x + b, (x, g)

    def backward(self, dy, cache, dg, db):
        x, g = cache
        np.sum(dy * x, axis=0, out=dg)
        np.sum(dy, axis=0, out=db)
        return dy * g


class TorchAffine(torch.nn.Module):
    def __init__(self, names):
        super().__init__()
        for name in names:
            self.register_parameter(name, torch.nn.Parameter(torch.ones(5)))

    def forward(self, x):
        return self.gain * x + self.shift


def test_a_counterpart_with_its_arrays_in_another_order_is_refused(monkeypatch):
    """scratch takes them one by one: the optimizer's state, and the weights, would go to the wrong ones."""
    network = scratch.Network((Affine(5), scratch.Linear(5, 3)))
    params = scratch.initial_parameters(network, np.random.default_rng(0))
    for names, right in ((("gain", "shift"), True), (("shift", "gain"), False)):
        monkeypatch.setitem(LAYERS, Affine, lambda _, names=names: TorchAffine(names))
        report = verify_layer(Affine(5), (7, 5))
        assert report.ok == right
        if right:
            torch_impl.twin(network, params)
            continue
        assert "expected those of shapes(), in its order" in report.sections[0].checks[0].note
        with pytest.raises(ValueError, match="expected those of params, in order"):
            torch_impl.twin(network, params)


def test_a_state_of_another_recipe_or_network_is_named():
    r, other = recipe(optimizer=Adam(0.02)), recipe(optimizer=Adam(0.02, betas=(0.5, 0.5)))
    x, y, _ = data()
    state = TwinState.start(NETWORK, r, State.start(initial(), r))
    with pytest.raises(
        ValueError, match=r"state.optimizer is Adam with .*, expected the counterpart of Adam\(.*0.5, 0.5"
    ):
        torch_impl.fit(NETWORK, other, x, y, state)
    with pytest.raises(ValueError, match="state.module has the parameters"):
        torch_impl.fit(scratch.mlp((5, 3), scratch.ReLU()), r, x, y, state)
    with pytest.raises(ValueError, match="state.params has .*, expected"):
        scratch.fit(scratch.mlp((5, 3), scratch.ReLU()), r, x, y, State.start(initial(), r))


def test_any_integers_are_targets_and_inputs_of_both():
    r = recipe(epochs=1)
    x, y, _ = data(network=SEQUENCES)
    x, y = x.astype(np.uint8), y.astype(np.int32)
    ours = State.start(initial(network=SEQUENCES), r)
    theirs = TwinState.start(SEQUENCES, r, ours)
    list(scratch.fit(SEQUENCES, r, x, y, ours))
    list(torch_impl.fit(SEQUENCES, r, x, y, theirs))
    np.testing.assert_allclose(ours.params.vector, theirs.to_scratch(r).params.vector, rtol=0, atol=1e-12)


def test_bad_input_is_named():
    r = recipe()
    with pytest.raises(
        ValueError, match=r"state holds the optimizer state \['momentum_buffer'\], expected \['exp_avg'"
    ):
        TwinState.start(NETWORK, recipe(optimizer=Adam()), State.start(initial(), r))
    x, y, _ = data()
    state = TwinState.start(NETWORK, r, State.start(initial(), r))
    with pytest.raises(TypeError, match="x has dtype float32, expected float64"):
        torch_impl.fit(NETWORK, r, x.astype("float32"), y, state)
    with pytest.raises(ValueError, match="y holds classes from 3 to 3, expected 0 to 2"):
        torch_impl.fit(NETWORK, r, x, np.full(23, 3), state)
    with pytest.raises(TypeError, match="no torch counterpart of"):
        torch_loss(object())
