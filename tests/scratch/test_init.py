from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch

from scratch import BatchNorm, Network, ReLU, initial_parameters, mlp
from scratch.activations import Activation
from scratch.init import he, normal, xavier

NETWORK = mlp((400, 300, 10), ReLU())


def test_scales_are_those_of_the_papers(rng):
    assert he(rng, (300, 400)).std() == pytest.approx((2 / 400) ** 0.5, rel=0.02)
    bound = (6 / 700) ** 0.5
    W = xavier(rng, (300, 400))
    assert bound * 0.999 < np.abs(W).max() <= bound
    assert W.std() == pytest.approx(bound / 3**0.5, rel=0.02)
    assert normal(rng, (300, 400)).std() == pytest.approx(0.01, rel=0.02)


@pytest.mark.parametrize("shape", [(30, 40), (8, 4, 3, 3)], ids=str)
def test_fans_are_torchs(shape):
    """Of images too: fan-in and fan-out hold the pixels of a filter."""
    fan_in, fan_out = torch.nn.init._calculate_fan_in_and_fan_out(torch.empty(shape))
    drawn = np.random.default_rng(0).standard_normal(shape)
    np.testing.assert_allclose(he(np.random.default_rng(0), shape), drawn * (2 / fan_in) ** 0.5)
    bound = (6 / (fan_in + fan_out)) ** 0.5
    drawn = np.random.default_rng(0).uniform(-bound, bound, shape)
    np.testing.assert_allclose(xavier(np.random.default_rng(0), shape), drawn)


@pytest.mark.parametrize(("name", "draw"), [("he", he), ("xavier", xavier), ("normal", normal)])
def test_each_has_a_name(name, draw):
    network = mlp((5, 3), ReLU())
    weight = initial_parameters(network, np.random.default_rng(0), weights=name)["0.weight"]
    np.testing.assert_array_equal(weight, draw(np.random.default_rng(0), (3, 5)))


def test_one_seed_gives_the_same_weights_in_either_dtype():
    double = initial_parameters(NETWORK, np.random.default_rng(1), bias=0.5)
    single = initial_parameters(NETWORK, np.random.default_rng(1), bias=0.5, dtype="float32")
    np.testing.assert_array_equal(double.vector.astype("float32"), single.vector)
    np.testing.assert_array_equal(double["0.bias"], 0.5)


def test_any_function_can_draw(rng):
    params = initial_parameters(NETWORK, rng, weights=partial(normal, std=3.0))
    assert params["0.weight"].std() == pytest.approx(3, rel=0.02)


def test_bad_input_is_named(rng):
    with pytest.raises(ValueError, match="^weights is 'xaver', expected one of .* did you mean 'xavier'"):
        initial_parameters(NETWORK, rng, weights="xaver")
    with pytest.raises(TypeError, match="^rng is a int, expected a NumPy Generator"):
        initial_parameters(NETWORK, 0)
    with pytest.raises(TypeError, match="^network is a tuple, expected a Network"):
        initial_parameters((5, 3), rng)
    with pytest.raises(TypeError, match="^dtype is float16"):
        initial_parameters(NETWORK, rng, dtype="float16")


@dataclass(frozen=True)
class Off(Activation):
    values: tuple

    def shapes(self):
        return {"gain": (3,)}

    def initial(self, rng):
        return {name: np.ones(n) for name, n in self.values}


def test_initial_values_that_do_not_fit_are_named(rng):
    with pytest.raises(ValueError, match=r"^the name in initial\(\) of Off.* is 'gian', expected one of 'gain'"):
        initial_parameters(Network((Off((("gian", 3),)),)), rng)
    with pytest.raises(ValueError, match=r"^the initial 0.gain has shape \(1,\), expected \(3,\)"):
        initial_parameters(Network((Off((("gain", 1),)),)), rng)
    with pytest.raises(ValueError, match=r"^weights: the initial 0.weight has shape \(1,\), expected \(300, 400\)"):
        initial_parameters(NETWORK, rng, weights=lambda rng, shape: np.ones(1))


def test_running_statistics_are_not_biases(rng):
    params = initial_parameters(mlp((5, 4, 3), ReLU(), norm=BatchNorm), rng, bias=0.5)
    np.testing.assert_array_equal(params["1.running_mean"], 0)
    np.testing.assert_array_equal(params["1.running_var"], 1)


class Running(Off):
    untrained = ("gain",)

    def initial(self, rng):
        return {}


def test_an_untrained_array_starts_at_zero(rng):
    np.testing.assert_array_equal(initial_parameters(Network((Running(()),)), rng, bias=0.5)["0.gain"], 0)


def test_a_deviation_below_zero_is_named(rng):
    with pytest.raises(ValueError, match="^std is -1, expected a number at least 0"):
        normal(rng, (2, 3), -1)
