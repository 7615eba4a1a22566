"""Whole networks against autograd, at every boundary."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scratch import Dropout, Linear, Network, Parameters, ReLU, Softmax, Tanh, gradcheck, initial_parameters, mlp
from scratch.losses import CrossEntropy
from tests.helpers import assert_matches_autograd
from tests.scratch.test_losses import LOSSES
from torch_impl.parity import every_layer, every_loss, network_parity

ACTIVATIONS = {name: layer for name, layer in every_layer().items() if name not in ("Linear", "Dropout")}


@st.composite
def networks(draw):
    """Depth 1 to 5, widths 1 to 17, any activations, dropout or none."""
    depth = draw(st.integers(1, 5))
    widths = draw(st.lists(st.integers(1, 17), min_size=depth + 1, max_size=depth + 1))
    layers = []
    for i in range(depth):
        layers.append(Linear(widths[i], widths[i + 1]))
        if i < depth - 1:
            layers.append(ACTIVATIONS[draw(st.sampled_from(sorted(ACTIVATIONS)))])
            if draw(st.booleans()):
                layers.append(Dropout(draw(st.sampled_from([0.1, 0.5]))))
    return Network(tuple(layers))


@settings(max_examples=200, deadline=None)
@given(networks(), st.sampled_from(LOSSES), st.sampled_from([1, 2, 7]), st.integers(0, 2**32))
def test_random_network_matches_autograd_at_every_boundary(network, loss_name, batch, seed):
    rng = np.random.default_rng(seed)
    params = initial_parameters(network, rng, weights="xavier", bias=0.1)
    x = rng.standard_normal((batch, network.n_in))
    logits, _ = network.apply(params, x)
    loss, y = every_loss(logits, rng)[loss_name]
    assert_matches_autograd(network_parity(network, loss, params, x, y, seed=seed), 1e-11)


def test_a_broken_backward_is_seen_at_its_boundary(rng, monkeypatch):
    """The test above can fail: a tanh with the derivative of its square root."""
    network = mlp((5, 4, 4, 3), Tanh())
    params, x, y = initial_parameters(network, rng, bias=0.1), rng.standard_normal((7, 5)), rng.integers(0, 3, 7)
    monkeypatch.setattr(Tanh, "backward", lambda self, dy, cache: dy * (1 - cache))
    wrong = {d.tensor for d in network_parity(network, CrossEntropy(), params, x, y) if d.relative > 1e-11}
    assert wrong == {f"∂ input of {i}" for i in range(4)} | {
        f"d{i}.{key}" for i in (0, 2) for key in ("weight", "bias")
    }
    with pytest.raises(AssertionError, match="∂ input of 3"):
        assert_matches_autograd(network_parity(network, CrossEntropy(), params, x, y), 1e-11)
    assert not gradcheck(network, CrossEntropy(), params, x, y, rng).ok


def test_backward_skips_what_training_does_not_need(rng):
    network = mlp((5, 4, 3), ReLU(), input_dropout=0.2)
    params, x, y = initial_parameters(network, rng), rng.standard_normal((7, 5)), rng.integers(0, 3, 7)
    logits, caches = network.apply(params, x, rng)
    _, dlogits = CrossEntropy()(logits, y)
    grads, again = params.gradients(), params.gradients()
    assert network.backward(dlogits, caches, *grads.arrays, need_dx=False) is None
    assert network.backward(dlogits, caches, *again.arrays).shape == x.shape
    np.testing.assert_array_equal(grads.vector, again.vector)


def test_names_and_shapes_are_those_of_a_torch_sequential():
    network = mlp((784, 256, 10), ReLU(), dropout=0.2)
    assert network.shapes() == {"0.weight": (256, 784), "0.bias": (256,), "3.weight": (10, 256), "3.bias": (10,)}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Network(()), "layers is empty"),
        (lambda: Network(Linear(5, 4)), "layers is a Linear, expected a tuple of layers"),
        (
            lambda: Network((Linear(5, 4), ReLU(), Linear(3, 2))),
            r"layers\[2\] is Linear\(n_in=3, n_out=2\), expected n_in=4",
        ),
        (lambda: Network((Linear(5, 4), ReLU)), r"layers\[1\] is <class"),
        (lambda: Network((Linear(5, 4), "relu")), r"layers\[1\] is 'relu', expected a layer"),
        (lambda: mlp((5,), ReLU()), r"sizes is \(5,\), expected at least"),
        (lambda: mlp((5, 4, 3), "relu"), r"activation is 'relu', expected a layer such as ReLU\(\)"),
        (lambda: mlp((5, 0, 3), ReLU()), "n_out is 0"),
        (lambda: mlp((5, 4, 3), ReLU(), dropout=1.5), "p is 1.5"),
    ],
)
def test_bad_networks_are_named(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((7, 4)), r"x has shape \(7, 4\), expected \(batch, 5\)"),
        (np.zeros(5), r"x has shape \(5,\)"),
        (np.zeros((0, 5)), "with at least one row"),
        (np.zeros((7, 5), "float32"), r"x has dtype float32, expected float64; convert it with x.astype\('float64'\)"),
        ([[0.0] * 5], "x is a list, expected a NumPy array"),
        (torch.zeros(7, 5, dtype=torch.float64), "x is a Tensor, expected a NumPy array"),
    ],
)
def test_bad_inputs_are_named(x, message):
    network = Network((Linear(5, 3), Softmax()))
    with pytest.raises((ValueError, TypeError), match=message):
        network.apply(Parameters(network.shapes()), x)


def test_parameters_of_another_network_are_named():
    network = mlp((5, 4, 3), ReLU())
    with pytest.raises(ValueError, match=r"params has .*'0.weight': \(3, 5\).*, expected .*'0.weight': \(4, 5\)"):
        network.apply(Parameters(mlp((5, 3), ReLU()).shapes()), np.zeros((7, 5)))


def test_an_upstream_gradient_of_another_shape_is_not_broadcast(rng):
    network = mlp((5, 4, 3), ReLU())
    params = initial_parameters(network, rng)
    _, caches = network.apply(params, np.ones((7, 5)))
    with pytest.raises(ValueError, match=r"dy has shape \(7, 1\), expected \(7, 3\)"):
        network.backward(np.ones((7, 1)), caches, *params.gradients().arrays)
