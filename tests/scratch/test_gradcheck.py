"""gradcheck accepts what is right, and finds what is wrong."""

import numpy as np
import pytest

from scratch import MAE, MSE, CrossEntropy, Flatten, Linear, Network, ReLU, Tanh, gradcheck, initial_parameters, mlp
from scratch.gradcheck import GradcheckResult, Slope
from tests.helpers import ACTIVATIONS
from tests.scratch.test_losses import LOSSES
from torch_impl.counterparts import EXAMPLES
from torch_impl.parity import every_loss
from torch_impl.verify.networks import random_parameters


@pytest.mark.parametrize("loss_name", LOSSES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_right_backwards_pass(name, loss_name, rng):
    network = mlp((5, 7, 3), ACTIVATIONS[name])
    params = initial_parameters(network, rng, weights="xavier", bias=0.1)
    x = rng.standard_normal((7, 5))
    loss, y = every_loss(np.ones((7, 3)), rng)[loss_name]
    result = gradcheck(network, loss, params, x, y, rng)
    assert result.ok, result
    assert {slope.tensor for slope in result.slopes} == {"x", *params}


@pytest.mark.parametrize("name", EXAMPLES)
def test_right_layers_pass(name, rng):
    """In evaluation, in which no two passes differ; among others, so that what comes and goes counts too."""
    layer, shape = EXAMPLES[name]
    integers = getattr(layer, "integer_input", False)
    x = rng.integers(0, layer.n_in, (7, *shape)) if integers else rng.standard_normal((7, *shape))
    body = Network((*([] if integers else [Tanh()]), layer, Flatten()))
    width = body.apply(random_parameters(body, rng), x)[0].shape[1]
    network = Network((*body.layers, Linear(width, 3)))
    result = gradcheck(network, CrossEntropy(), random_parameters(network, rng), x, rng.integers(0, 3, 7), rng)
    assert result.ok, result


def test_directions_that_cross_a_kink_are_skipped(rng):
    network = Network((ReLU(), Linear(5, 3)))
    params, y = initial_parameters(network, rng), rng.integers(0, 3, 7)
    x = rng.standard_normal((7, 5))
    x[2, 3] = 0  # any direction crosses it
    result = gradcheck(network, CrossEntropy(), params, x, y, rng)
    assert not result.ok
    assert result.unchecked == ("x",)
    assert str(result).startswith("incomplete")
    assert result.skipped == 30
    assert {slope.tensor for slope in result.slopes} == set(params)
    targets = rng.standard_normal((7, 3))
    targets[0, 0] = network.apply(params, x)[0][0, 0]
    assert gradcheck(network, MAE(), params, x, targets, rng).skipped > 30


def test_a_gradient_off_by_a_thousandth_is_found(rng, monkeypatch):
    network = mlp((5, 7, 3), ReLU())
    params, x, y = initial_parameters(network, rng, bias=0.1), rng.standard_normal((7, 5)), rng.integers(0, 3, 7)
    right = Linear.backward

    def off(self, dy, cache, dW, db, need_dx=True):
        dx = right(self, dy, cache, dW, db, need_dx)
        db *= 1.001
        return dx

    monkeypatch.setattr(Linear, "backward", off)
    result = gradcheck(network, CrossEntropy(), params, x, y, rng)
    assert not result.ok
    assert result.worst.tensor in ("0.bias", "2.bias")
    assert str(result).startswith("WRONG")


def test_differences_are_as_sharp_as_their_step_allows(rng):
    """h² of truncation and ε/h of rounding are about 4e-11 each at h = ε^(1/3), and 1e-8 at its neighbours."""
    network = mlp((5, 7, 3), Tanh())
    params, x, y = initial_parameters(network, rng, bias=0.1), rng.standard_normal((7, 5)), rng.integers(0, 3, 7)
    assert gradcheck(network, CrossEntropy(), params, x, y, rng, directions=20).worst.error < 1e-9


def slope(error, tensor="x"):
    return Slope(tensor, analytic=1 + error, numeric=1.0, scale=1.0)


@pytest.mark.parametrize(
    ("slopes", "unchecked", "ok", "text"),
    [
        ((slope(0.5), slope(0.25, "w")), (), True, "right: 2 slopes, largest error 5.0e-01 in x (backward +1.500"),
        ((slope(0.25, "w"), slope(0.75)), (), False, "WRONG: 2 slopes, largest error 7.5e-01 in x"),
        ((slope(0.25),), ("w", "b"), False, "incomplete: 1 slopes, largest error 2.5e-01 in x"),
        ((slope(0.75),), ("w",), False, "WRONG: 1 slopes"),
        (
            (),
            ("x",),
            False,
            "incomplete: 0 slopes; 4 directions skipped at kinks; NOT CHECKED, every direction crosses a",
        ),
    ],
)
def test_what_a_result_says(slopes, unchecked, ok, text):
    result = GradcheckResult(slopes, 4, unchecked, tolerance=0.5)
    assert result.ok == ok
    assert str(result).startswith(text)
    assert str(result).count("; 4 directions skipped at kinks") == 1
    end = f"; NOT CHECKED, every direction crosses a kink: {', '.join(unchecked)}"
    assert str(result).endswith(end if unchecked else "kinks")
    assert (result.worst is None) == (not slopes)


def test_an_error_counts_against_the_gradient_where_that_is_large(rng):
    """Without the scale, a large gradient would fail for its rounding; one below 1 counts as 1."""
    network = Network((Linear(5, 3),))
    params, x, y = initial_parameters(network, rng), 1e3 * rng.standard_normal((7, 5)), rng.standard_normal((7, 3))
    result = gradcheck(network, MSE(), params, x, network.apply(params, x)[0] + y, rng)
    assert result.ok, result
    large, small = (next(s for s in result.slopes if s.tensor == name) for name in ("0.weight", "x"))
    assert large.scale > 100
    assert small.scale == 1


def test_bad_input_is_named(rng):
    network = mlp((5, 7, 3), ReLU())
    params = initial_parameters(network, rng, dtype="float32")
    with pytest.raises(TypeError, match="^x has dtype float32, expected float64"):
        gradcheck(network, CrossEntropy(), params, np.zeros((7, 5), "float32"), np.zeros(7, int), rng)
    with pytest.raises(TypeError, match=r"^params.vector has dtype float32, expected float64"):
        gradcheck(network, CrossEntropy(), params, np.zeros((7, 5)), np.zeros(7, int), rng)
    with pytest.raises(ValueError, match="^directions is 0, expected at least 1"):
        gradcheck(network, CrossEntropy(), params, np.zeros((7, 5)), np.zeros(7, int), rng, directions=0)
    with pytest.raises(TypeError, match="^rng is a int, expected a NumPy Generator"):
        gradcheck(network, CrossEntropy(), params, np.zeros((7, 5)), np.zeros(7, int), 0)
    with pytest.raises(ValueError, match="^y holds classes from 5 to 5"):
        gradcheck(network, CrossEntropy(), initial_parameters(network, rng), np.zeros((7, 5)), np.full(7, 5), rng)
