"""Every layer against autograd."""

import dataclasses

import numpy as np
import pytest

import scratch
from scratch.activations import erfc
from scratch.layers import Layer, takes
from tests.helpers import assert_as_exact_as_autograd, assert_matches_autograd
from torch_impl.parity import every_layer, layer_parity, random_case

LAYERS = every_layer()


def test_every_layer_is_tested():
    public = {getattr(scratch, name) for name in scratch.__all__}
    layers = {c for c in public if dataclasses.is_dataclass(c) and hasattr(c, "shapes") and c is not scratch.Network}
    assert layers == {type(layer) for layer in LAYERS.values()}


@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.parametrize("name", LAYERS)
def test_backward_matches_autograd_in_float64(name, batch, rng):
    layer = LAYERS[name]
    for _ in range(5):
        assert_matches_autograd(layer_parity(layer, *random_case(layer, rng, batch), seed=3), 1e-12)


@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.parametrize("name", LAYERS)
def test_float32_is_as_exact_as_autograd(name, batch, rng):
    layer = LAYERS[name]
    for _ in range(5):
        params, x, dy = random_case(layer, rng, batch, "float32")
        doubled = ({k: v.astype("float64") for k, v in params.items()}, x.astype("float64"), dy.astype("float64"))
        assert_as_exact_as_autograd(layer_parity(layer, params, x, dy, seed=3), layer_parity(layer, *doubled, seed=3))


@pytest.mark.parametrize("name", [n for n in LAYERS if n != "Linear"])
def test_matches_autograd_at_extreme_inputs(name, rng):
    layer = LAYERS[name]
    x = np.array([[-1e4, -700.0, -40.0, -6.0, -1e-8], [0.0, 1e-8, 6.0, 40.0, 1e4]])
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        assert_matches_autograd(layer_parity(layer, {}, x, rng.standard_normal(x.shape), seed=3), 1e-12)


def test_first_layer_may_skip_dx(rng):
    layer = scratch.Linear(5, 3)
    params, x, dy = random_case(layer, rng, 7)
    _, cache = layer.forward(x, *params.values())
    dW, db = np.empty((3, 5)), np.empty(3)
    assert layer.backward(dy, cache, dW, db, need_dx=False) is None
    np.testing.assert_array_equal(dW, dy.T @ x)


@pytest.mark.parametrize("name", LAYERS)
def test_nothing_given_is_changed_and_a_second_call_gives_the_same(name, rng):
    layer = LAYERS[name]
    params, x, dy = random_case(layer, rng, 7)
    before = [a.copy() for a in (*params.values(), x, dy)]
    stochastic = {"training": np.random.default_rng(3)} if takes(layer.forward, "training") else {}
    _, cache = layer.forward(x, *params.values(), **stochastic)
    grads = [np.full_like(p, np.nan) for p in params.values()]
    first = layer.backward(dy, cache, *grads)
    again = [g.copy() for g in grads]
    second = layer.backward(dy, cache, *grads)
    np.testing.assert_array_equal(first, second)
    for a, b in zip(grads, again, strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip((*params.values(), x, dy), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_dropout_keeps_the_mean_and_evaluation_is_the_identity(rng):
    x = np.ones((400, 500))
    y, _ = scratch.Dropout(0.3).forward(x, rng)
    assert set(np.unique(y)) == {0.0, 1 / 0.7}
    assert y.mean() == pytest.approx(1, abs=0.01)
    assert scratch.Dropout(0.3).forward(x)[0] is x


def test_erfc_matches_the_standard_library():
    import math

    x = np.linspace(-26, 26, 20_001)
    exact = np.array([math.erfc(v) for v in x])
    assert (np.abs(erfc(x) - exact) / exact).max() < 2e-13


def test_a_layer_is_a_record_without_arrays():
    for layer in LAYERS.values():
        assert isinstance(layer, Layer)
        assert not any(isinstance(value, np.ndarray) for value in vars(layer).values())
        with pytest.raises(dataclasses.FrozenInstanceError):
            layer.anything = 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: scratch.Linear(0, 3), "n_in is 0, expected at least 1"),
        (lambda: scratch.Linear(2, 2.5), "n_out is 2.5, expected an integer"),
        (lambda: scratch.Dropout(1.0), "p is 1.0, expected a number at least 0 and less than 1"),
        (lambda: scratch.Dropout("0.5"), "p is '0.5', expected a number"),
        (lambda: scratch.LeakyReLU(-1), "slope is -1"),
        (lambda: scratch.ELU(float("nan")), "alpha is nan"),
        (lambda: scratch.GELU("tan"), "approximate is 'tan', expected one of 'none', 'tanh'; did you mean 'tanh'?"),
        (lambda: scratch.Linear(5, 3).forward(np.ones((7, 4)), np.ones((3, 5)), np.ones(3)), r"x has shape \(7, 4\)"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises((ValueError, TypeError), match=message.replace("?", r"\?")):
        make()
