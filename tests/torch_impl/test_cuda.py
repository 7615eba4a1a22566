"""Gradients and trainings on a CUDA GPU, torch's and CuPy's, beside those on the CPU."""

from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch

import scratch
import torch_impl
from scratch import SGD, AdaGrad, Adam, AdamW, RMSprop, State
from scratch.device import to_device
from scratch.engine import gradient
from tests.helpers import ACTIVATIONS, assert_matches_autograd
from tests.torch_impl.trainings import NETWORK, SEQUENCES, data, initial, recipe
from torch_impl import TwinState, lit_train
from torch_impl.parity import every_loss, network_parity

pytestmark = pytest.mark.cuda


@pytest.fixture(autouse=True)
def _no_tf32():
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32 = before


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-11), ("float32", 1e-5)])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_scratchs_gradients_match_autograd_on_the_gpu(name, dtype, tolerance, rng):
    network = scratch.mlp((5, 7, 6, 3), ACTIVATIONS[name], dropout=0.3)
    params = scratch.initial_parameters(network, rng, weights="xavier", bias=0.1, dtype=dtype)
    x = rng.standard_normal((7, 5)).astype(dtype)
    logits, _ = network.apply(params, x)
    for loss, y in every_loss(logits, rng).values():
        if loss.kinks_at_target:
            continue  # a rounding error may change the side of a kink
        assert_matches_autograd(network_parity(network, loss, params, x, y, seed=3, device="cuda"), tolerance)


def _start(r, network, dtype="float64"):
    initial = scratch.initial_parameters(network, np.random.default_rng(5), bias=0.1, dtype=dtype)
    return State.start(initial, r)


PLAIN = scratch.mlp((5, 8, 6, 3), scratch.GELU())  # whose masks nobody has to share


NORMED = scratch.mlp((5, 8, 8, 3), scratch.GELU(), norm=scratch.BatchNorm, residual=True)


@pytest.mark.parametrize("network", [PLAIN, NORMED, SEQUENCES], ids=["mlp", "norms", "sequences"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("optimizer", [SGD(0.1, momentum=0.9), AdaGrad(0.05), RMSprop(0.01), Adam(0.02), AdamW(0.02)])
def test_a_captured_training_is_the_eager_one(optimizer, dtype, network):
    r = recipe(optimizer=optimizer)
    x, y, validation = data(dtype, network)
    ends = []
    for device, capture in (("cpu", False), ("cuda", False), ("cuda", True)):
        state = TwinState.start(network, r, _start(r, network, dtype), device)
        list(torch_impl.fit(network, r, x, y, state, validation, capture=capture))
        ends.append(state.to_scratch(r).params.vector)
    for end in ends[1:]:
        np.testing.assert_allclose(end, ends[0], rtol=0, atol=1e-12 if dtype == "float64" else 1e-4)


def test_masks_are_drawn_anew_whenever_a_graph_is_replayed():
    network = scratch.mlp((5, 64, 3), scratch.ReLU(), dropout=0.5)
    r = recipe(optimizer=SGD(0.0), penalty=scratch.Penalty(), epochs=4)  # so masks alone change the logits
    x, y, _ = data("float32")
    runs = []
    for _ in range(2):
        state = TwinState.start(network, r, _start(r, network, "float32"), "cuda")
        records = torch_impl.fit(network, r, x, y, state, capture=True)
        runs.append([record.logits[np.argsort(record.batch)] for record in records])
    np.testing.assert_array_equal(*runs)
    for a, b in pairwise(runs[0]):
        assert np.abs(a - b).max() > 1e-3


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
@pytest.mark.parametrize("impl", ["torch", "scratch"])
def test_a_lower_precision_trains_to_about_the_same(impl, precision):
    if impl == "scratch":
        pytest.importorskip("cupy")
    network = scratch.mlp((5, 64, 64, 3), scratch.ReLU())
    r = recipe(optimizer=Adam(0.01), epochs=20)
    x, y, _ = data("float32")
    losses = []
    for lower in ("float32", precision):
        start = _start(r, network, "float32")
        if impl == "scratch":
            records = scratch.fit(network, r, x, y, start.to("cuda"), precision=lower)
        else:
            state = TwinState.start(network, r, start, "cuda")
            records = torch_impl.fit(network, r, x, y, state, precision=lower, capture=True)
        losses.append([record.loss for record in records])
    assert losses[0] != losses[1], "nothing was rounded"
    np.testing.assert_allclose(losses[1], losses[0], atol=0.05)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_cupys_gradients_are_numpys_and_those_of_autograd_on_the_gpu(name, rng):
    pytest.importorskip("cupy")
    network = scratch.mlp((5, 7, 6, 3), ACTIVATIONS[name])
    params = scratch.initial_parameters(network, rng, weights="xavier", bias=0.1)
    x = rng.standard_normal((7, 5))
    logits, _ = network.apply(params, x)
    for loss, y in every_loss(logits, rng).values():
        if loss.kinks_at_target:
            continue
        r = recipe(loss=loss)
        gradients = []
        for device in ("cpu", "cuda"):
            there, move = params.to(device), partial(to_device, device=device)
            grads = there.like()
            value, _, _ = gradient(network, r, there, move(x), move(y), grads)
            gradients.append((float(value), grads.to("cpu").vector))
        state = TwinState.start(network, r, State.start(params, r), "cuda")
        engine = torch_impl.engine.TorchEngine(network, r, x, y, state, None)
        value, _ = engine.gradient(engine.x, engine.y)
        gradients.append((value.item(), torch.cat([p.grad.ravel() for p in engine.parameters]).cpu().numpy()))
        for value, vector in gradients[1:]:
            assert value == pytest.approx(gradients[0][0], rel=1e-11)
            scale = np.abs(gradients[0][1]).max()
            np.testing.assert_allclose(vector, gradients[0][1], rtol=0, atol=1e-11 * scale)


@pytest.mark.parametrize("optimizer", [SGD(0.1, momentum=0.9), AdaGrad(0.05), RMSprop(0.01), Adam(0.02), AdamW(0.02)])
@pytest.mark.parametrize(
    "network", [PLAIN, NETWORK, NORMED, SEQUENCES], ids=["captured", "with dropout", "norms", "sequences"]
)
def test_a_training_on_cupy_is_the_one_on_numpy(network, optimizer):
    pytest.importorskip("cupy")
    r = recipe(optimizer=optimizer)
    x, y, validation = data(network=network)
    here, there = _start(r, network), _start(r, network).to("cuda")
    list(scratch.fit(network, r, x, y, here, validation))
    list(scratch.fit(network, r, x, y, there, validation))
    np.testing.assert_allclose(there.to("cpu").params.vector, here.params.vector, rtol=0, atol=1e-11)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-4)])
def test_whole_trainings_are_equal_on_cpu_and_gpu(dtype, tolerance):
    r = recipe()
    x, y, validation = data(dtype)
    start = State.start(initial(dtype), r)
    ends = []
    for device in ("cpu", "cuda"):
        state = TwinState.start(NETWORK, r, start, device)
        list(torch_impl.fit(NETWORK, r, x, y, state, validation))
        ends.append(state.to_scratch(r).params.vector)
    lit_train.fit(NETWORK, r, x, y, start, validation, device="cuda")
    ends.append(start.params.vector)
    for end in ends[1:]:
        np.testing.assert_allclose(end, ends[0], rtol=0, atol=tolerance)
