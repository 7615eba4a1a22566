"""torch's epochs without the host, on the CPU, where nothing is captured: the same training. On a GPU: test_cuda.py."""

from itertools import pairwise

import numpy as np
import pytest

import scratch
import torch_impl
from scratch import SGD, AdaGrad, Adam, AdamW, RMSprop, State
from tests.torch_impl.trainings import NETWORK, SEQUENCES, data, initial, recipe
from torch_impl import TwinState

PLAIN = scratch.mlp((5, 8, 6, 3), scratch.GELU())


def trained(r, network=PLAIN, **options):
    x, y, validation = data(network=network)
    initial = scratch.initial_parameters(network, np.random.default_rng(5), bias=0.1)
    state = TwinState.start(network, r, State.start(initial, r))
    return list(torch_impl.fit(network, r, x, y, state, validation, **options)), state.to_scratch(r)


NORMED = scratch.mlp((5, 8, 8, 3), scratch.Tanh(), norm=scratch.BatchNorm, residual=True)


@pytest.mark.parametrize("network", [PLAIN, NORMED, SEQUENCES], ids=["mlp", "norms", "sequences"])
@pytest.mark.parametrize("optimizer", [SGD(0.1, momentum=0.9, dampening=0.2), AdaGrad(), RMSprop(), Adam(), AdamW()])
def test_an_epoch_without_the_host_is_the_same(optimizer, network):
    r = recipe(optimizer=optimizer)
    steps, stepwise = trained(r, network)
    epochs, whole = trained(r, network, capture=True)
    np.testing.assert_allclose(whole.params.vector, stepwise.params.vector, rtol=0, atol=1e-13)
    for i, record in enumerate(epochs):
        assert record.loss == pytest.approx(np.mean([s.loss for s in steps[3 * i : 3 * i + 3]]), rel=1e-12)
        assert record.validation.loss == pytest.approx(steps[3 * i + 2].validation.loss, rel=1e-12)


@pytest.mark.parametrize("capture", [False, True])
def test_moved_images_are_those_of_scratch(capture):
    r, network = recipe(augment=scratch.Shift((2, 4))), scratch.mlp((8, 6, 3), scratch.Tanh())
    x, y = np.random.default_rng(0).standard_normal((23, 8)), data()[1]
    initial = scratch.initial_parameters(network, np.random.default_rng(5))
    ours, theirs = State.start(initial, r), TwinState.start(network, r, State.start(initial, r))
    list(scratch.fit(network, r, x, y, ours))
    list(torch_impl.fit(network, r, x, y, theirs, capture=capture))
    np.testing.assert_allclose(theirs.to_scratch(r).params.vector, ours.params.vector, rtol=0, atol=1e-13)


def test_dropout_masks_are_torchs_and_follow_from_the_seed():
    weights = [trained(recipe(seed=seed), NETWORK, capture=True)[1].params.vector for seed in (1, 1, 2)]
    shared = trained(recipe(seed=1), NETWORK)[1].params.vector
    np.testing.assert_array_equal(weights[0], weights[1])
    assert np.abs(weights[0] - weights[2]).max() > 1e-3
    assert np.abs(weights[0] - shared).max() > 1e-3, "these masks are NumPy's"


def test_every_epoch_has_masks_of_its_own():
    r = recipe(optimizer=SGD(0.0), penalty=scratch.Penalty())
    state = TwinState.start(NETWORK, r, State.start(initial(), r))
    x, y = np.ones((23, 5)), np.zeros(23, int)  # so masks alone change the logits
    epochs = [record.logits for record in torch_impl.fit(NETWORK, r, x, y, state, capture=True)]
    for a, b in pairwise(epochs):
        assert np.abs(a - b).max() > 1e-3
