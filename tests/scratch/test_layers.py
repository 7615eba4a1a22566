"""Every layer against autograd."""

import dataclasses

import numpy as np
import pytest
import torch

import scratch
from scratch.activations import erfc
from scratch.layers import Layer, dropout_mask, takes, trained_shapes
from tests.helpers import ACTIVATIONS, assert_as_exact_as_autograd, assert_matches_autograd
from torch_impl.counterparts import EXAMPLES, module
from torch_impl.parity import layer_parity, random_case


def fewest(layer):
    """The smallest batch that the layer takes in training."""
    return (
        2 if layer in (EXAMPLES["BatchNorm"][0], EXAMPLES["BatchNorm, not affine"][0], EXAMPLES["Residual"][0]) else 1
    )


def test_every_layer_is_tested():
    public = [getattr(scratch, name) for name in dir(scratch)]
    layers = {c for c in public if isinstance(c, type) and dataclasses.is_dataclass(c) and hasattr(c, "backward")}
    assert layers == {type(layer) for layer, _ in EXAMPLES.values()}


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("batch", ["fewest", 7])
@pytest.mark.parametrize("name", EXAMPLES)
def test_backward_matches_autograd_in_float64(name, batch, training, rng):
    layer, shape = EXAMPLES[name]
    for _ in range(5):
        case = random_case(layer, shape, rng, fewest(layer) if batch == "fewest" else batch)
        assert_matches_autograd(layer_parity(layer, *case, seed=3 if training else None), 1e-12)


@pytest.mark.parametrize("batch", ["fewest", 7])
@pytest.mark.parametrize("name", EXAMPLES)
def test_float32_is_as_exact_as_autograd(name, batch, rng):
    layer, shape = EXAMPLES[name]
    single, double = [], []
    for _ in range(5):
        case = random_case(layer, shape, rng, fewest(layer) if batch == "fewest" else batch, "float32")
        params, *arrays = case
        doubled = [a.astype("float64") if a.dtype == "float32" else a for a in arrays]
        single.append(layer_parity(layer, *case, seed=3))
        double.append(layer_parity(layer, {k: v.astype("float64") for k, v in params.items()}, *doubled, seed=3))
    assert_as_exact_as_autograd(single, double)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_matches_autograd_at_extreme_inputs(name, rng):
    layer = ACTIVATIONS[name]
    x = np.array([[-1e4, -700.0, -40.0, -6.0, -1e-8], [0.0, 1e-8, 6.0, 40.0, 1e4]])
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        assert_matches_autograd(layer_parity(layer, {}, x, rng.standard_normal(x.shape), seed=3), 1e-12)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_layer_that_takes_need_dx_may_skip_it_and_nothing_else(name, rng):
    layer, shape = EXAMPLES[name]
    if not takes(layer.backward, "need_dx"):
        pytest.skip("always gives dx")
    params, x, dy = random_case(layer, shape, rng, 7)
    _, cache = layer.forward(x, *params.values())
    grads, again = ([np.full(s, np.nan) for s in trained_shapes(layer).values()] for _ in range(2))
    assert layer.backward(dy, cache, *grads, need_dx=False) is None
    layer.backward(dy, cache, *again)
    for a, b in zip(grads, again, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", EXAMPLES)
def test_nothing_given_is_changed_and_a_second_call_gives_the_same(name, rng):
    layer, shape = EXAMPLES[name]
    params, x, dy = random_case(layer, shape, rng, 7)
    before = [a.copy() for a in (*params.values(), x, dy)]
    training = {"training": np.random.default_rng(3)} if takes(layer.forward, "training") else {}
    _, cache = layer.forward(x, *params.values(), **training)
    grads = [np.full(s, np.nan) for s in trained_shapes(layer).values()]
    first = layer.backward(dy, cache, *grads)
    again = [g.copy() for g in grads]
    second = layer.backward(dy, cache, *grads)
    np.testing.assert_array_equal(first, second)
    for a, b in zip(grads, again, strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip((*params.values(), x, dy), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_running_statistics_move_as_torchs_do(rng):
    """Several steps; the variance with the divisor m − 1, though the forward has m."""
    layer = scratch.BatchNorm(3, momentum=0.3)
    theirs = module(layer).double().train()
    mean, var = np.zeros(3), np.ones(3)
    for _ in range(4):
        x = rng.standard_normal((5, 3, 2)) * 3 + 1
        _, cache = layer.forward(x, np.ones(3), np.zeros(3), mean, var, training=rng)
        layer.track(cache, mean, var)
        theirs(torch.from_numpy(x))
    np.testing.assert_allclose(mean, theirs.running_mean.numpy(), rtol=1e-14)
    np.testing.assert_allclose(var, theirs.running_var.numpy(), rtol=1e-14)


def test_with_momentum_1_the_running_statistics_are_the_last_batchs(rng):
    layer, mean, var = scratch.BatchNorm(3, momentum=1), np.full(3, 9.0), np.full(3, 9.0)
    x = rng.standard_normal((5, 3))
    _, cache = layer.forward(x, np.ones(3), np.zeros(3), mean, var, training=rng)
    layer.track(cache, mean, var)
    np.testing.assert_allclose((mean, var), (x.mean(axis=0), x.var(axis=0, ddof=1)))


def test_a_row_that_is_looked_up_twice_gets_both_gradients():
    layer = scratch.Embedding(3, 2)
    y, cache = layer.forward(np.array([1, 1, 0]), np.arange(6.0).reshape(3, 2))
    np.testing.assert_array_equal(y, [[2, 3], [2, 3], [0, 1]])
    dW = np.full((3, 2), np.nan)
    assert layer.backward(np.array([[1.0, 2], [10, 20], [5, 6]]), cache, dW) is None
    np.testing.assert_array_equal(dW, [[5, 6], [11, 22], [0, 0]])


def test_dropout_keeps_the_mean_and_evaluation_is_the_identity(rng):
    x = np.ones((400, 500))
    y, _ = scratch.Dropout(0.3).forward(x, rng)
    assert set(np.unique(y)) == {0.0, 1 / 0.7}
    assert y.mean() == pytest.approx(1, abs=0.01)
    assert scratch.Dropout(0.3).forward(x)[0] is x
    assert scratch.Dropout(0).forward(x, rng)[0] is x


def test_either_dtype_drops_the_same_units():
    kept = np.random.default_rng(5).random((40, 5), dtype=np.float32) >= 0.3
    for dtype in ("float32", "float64"):
        mask = dropout_mask(np.random.default_rng(5), (40, 5), 0.3, dtype)
        np.testing.assert_array_equal(mask, np.where(kept, 1 / 0.7, 0).astype(dtype))
        assert mask.dtype == dtype


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_layer_whose_output_has_its_inputs_shape_says_so(name, rng):
    layer, shape = EXAMPLES[name]
    params, x, _ = random_case(layer, shape, rng, 7)
    y, _ = layer.forward(x, *params.values())
    assert getattr(layer, "keeps_shape", False) == (y.shape == x.shape)


def test_erfc_matches_the_standard_library():
    import math

    x = np.linspace(-26, 26, 20_001)
    exact = np.array([math.erfc(v) for v in x])
    assert (np.abs(erfc(x) - exact) / exact).max() < 2e-13


def test_a_layer_is_a_record_without_arrays():
    for layer, _ in EXAMPLES.values():
        assert isinstance(layer, Layer)
        assert not any(isinstance(getattr(layer, f.name), np.ndarray) for f in dataclasses.fields(layer))
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
        (lambda: scratch.BatchNorm(0), "channels is 0, expected at least 1"),
        (lambda: scratch.BatchNorm(5, eps=0), "eps is 0, expected a number greater than 0"),
        (lambda: scratch.BatchNorm(5, momentum=-1), "momentum is -1"),
        (lambda: scratch.BatchNorm(5, momentum=np.nextafter(1, 2)), "momentum is .*, expected a number at least 0 and"),
        (lambda: scratch.LayerNorm(5, eps=0), "eps is 0, expected a number greater than 0"),
        (lambda: scratch.BatchNorm(5, momentum=10), "momentum is 10, expected a number at least 0 and"),
        (
            lambda: scratch.BatchNorm(5).forward(np.ones((1, 5)), *np.ones((4, 5)), training=np.random.default_rng(0)),
            r"x has shape \(1, 5\), expected at least two values of each channel in training",
        ),
        (
            lambda: scratch.BatchNorm(5).forward(np.ones((7, 4, 3)), *np.ones((4, 5))),
            r"x has shape \(7, 4, 3\), expected \(batch, 5, …\)",
        ),
        (
            lambda: scratch.LayerNorm(5).forward(np.ones((7, 5, 3)), *np.ones((2, 5))),
            r"x has shape \(7, 5, 3\), expected \(batch, …, 5\)",
        ),
        (lambda: scratch.Embedding(3.5, 2), "n_in is 3.5, expected an integer"),
        (
            lambda: scratch.Residual(scratch.Linear(5, 3)),
            r"inner is Linear.*, expected n_out=5",
        ),
        (
            lambda: scratch.Residual(scratch.Linear(5, 3), scratch.Projection(5, 4)),
            "inner is Linear.*, expected n_out=4",
        ),
        (lambda: scratch.Residual(scratch.ReLU), "inner is the class ReLU, expected a layer of floats"),
        (lambda: scratch.Residual(scratch.Embedding(3, 3)), "inner is Embedding.*, expected a layer of floats"),
        (
            lambda: scratch.Residual(scratch.Flatten()).forward(np.ones((2, 3, 4))),
            r"inner made shape \(2, 12\) of x with shape \(2, 3, 4\), expected \(2, 3, 4\)",
        ),
        (
            lambda: scratch.Linear(5, 3).forward(np.ones((7, 4)), np.ones((3, 5)), np.ones(3)),
            r"x has shape \(7, 4\), expected \(batch, 5\)",
        ),
        (
            lambda: scratch.Linear(5, 3).backward(np.ones((7, 1)), (np.ones((7, 5)), np.ones((3, 5))), None, None),
            r"dy has shape \(7, 1\), expected \(7, 3\)",
        ),
        (
            lambda: scratch.Projection(5, 3).backward(np.ones((7, 1)), (np.ones((7, 5)), np.ones((3, 5))), None),
            r"dy has shape \(7, 1\), expected \(7, 3\)",
        ),
        (
            lambda: scratch.Projection(5, 3).forward(np.ones((7, 4)), np.ones((3, 5))),
            r"x has shape \(7, 4\), expected \(batch, 5\)",
        ),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises((ValueError, TypeError), match="^" + message.replace("?", r"\?")):
        make()


def test_arrays_that_are_missing_are_named(rng):
    with pytest.raises(TypeError, match="^0 arrays came, expected 4: weight, bias, running_mean, running_var$"):
        scratch.BatchNorm(3).forward(rng.standard_normal((7, 3)))
