"""Gradients on a CUDA GPU beside those on the CPU."""

import numpy as np
import pytest
import torch

import scratch
import torch_impl
from scratch import State
from tests.helpers import assert_matches_autograd
from tests.torch_impl.trainings import NETWORK, data, initial, recipe
from torch_impl import TwinState, lit
from torch_impl.parity import every_layer, every_loss, network_parity

pytestmark = pytest.mark.cuda


@pytest.fixture(autouse=True)
def _no_tf32():
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32 = before


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-11), ("float32", 1e-5)])
@pytest.mark.parametrize("name", [n for n in every_layer() if n not in ("Linear", "Dropout")])
def test_scratchs_gradients_match_autograd_on_the_gpu(name, dtype, tolerance, rng):
    network = scratch.mlp((5, 7, 6, 3), every_layer()[name], dropout=0.3)
    params = scratch.initial_parameters(network, rng, weights="xavier", bias=0.1, dtype=dtype)
    x = rng.standard_normal((7, 5)).astype(dtype)
    logits, _ = network.forward(params, x)
    for loss, y in every_loss(logits, rng).values():
        if loss.kinks_at_target:
            continue  # a rounding error may change the side of a kink
        assert_matches_autograd(network_parity(network, loss, params, x, y, seed=3, device="cuda"), tolerance)


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
    ends.append(lit.fit(NETWORK, r, x, y, initial(dtype), validation, device="cuda").vector)
    for end in ends[1:]:
        np.testing.assert_allclose(end, ends[0], rtol=0, atol=tolerance)
