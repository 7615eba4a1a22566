"""Whole networks against autograd, at every boundary."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import scratch
from scratch import (
    BatchNorm,
    Dropout,
    Embedding,
    Flatten,
    Layer,
    LayerNorm,
    Linear,
    Network,
    Parameters,
    Projection,
    ReLU,
    Residual,
    Softmax,
    Tanh,
    gradcheck,
    initial_parameters,
    mlp,
)
from scratch.activations import Activation
from scratch.composite import Composite, traced
from scratch.losses import CrossEntropy
from tests.helpers import ACTIVATIONS, assert_matches_autograd
from tests.scratch.test_losses import LOSSES
from torch_impl import twin
from torch_impl.parity import every_loss, network_parity
from torch_impl.verify.networks import random_parameters


@st.composite
def plain(draw, n_in):
    """Depth 1 to 5, widths 1 to 17, any activations, dropout or none."""
    layers = []
    for n_out in draw(st.lists(st.integers(1, 17), min_size=1, max_size=5)):
        layers += [Linear(n_in, n_out), ACTIVATIONS[draw(st.sampled_from(sorted(ACTIVATIONS)))]]
        layers += [Dropout(draw(st.sampled_from([0.1, 0.5])))] if draw(st.booleans()) else []
        n_in = n_out
    return Network((*layers, Linear(n_in, 3)))


@st.composite
def dense(draw, n_in, level=2):
    """One to four layers of (batch, n_in), residual and nested ones among them."""
    layers, width = [], n_in
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(
            st.sampled_from(["linear", "activation", "norm", "dropout"] + ["residual", "network"] * (level > 0))
        )
        if kind == "linear":
            layers.append(Linear(width, draw(st.integers(3, 9))))  # fewer, and a norm behind it cancels them
        elif kind == "network":
            layers.append(draw(dense(width, level - 1)))
        else:
            layers.append(draw(kept(kind, width, level)))
        width = getattr(layers[-1], "n_out", None) or width
    return Network(tuple(layers))


@st.composite
def kept(draw, kind, width, level=2):
    """A layer that keeps the shape of (batch, …, width)."""
    if kind == "residual":
        inner = draw(dense(width, level - 1))
        shortcut = draw(st.sampled_from([None, Projection(width, width)]))
        return Residual(Network((*inner.layers, Linear(inner.n_out or width, width))), shortcut)
    if kind == "norm":
        # Of one or two numbers a LayerNorm makes 0 or ±1, whatever they are: its gradient is rounding.
        norms = [BatchNorm(width), BatchNorm(width, affine=False), *([LayerNorm(width)] if width > 2 else [])]
        return draw(st.sampled_from(norms))
    return ACTIVATIONS[draw(st.sampled_from(sorted(ACTIVATIONS)))] if kind == "activation" else Dropout(0.3)


@st.composite
def sequences(draw):
    """Embedded sequences of length 3, normalised, flattened, and then dense; with x of (batch, 3)."""
    width = draw(st.integers(3, 5))
    norms = [LayerNorm(width), BatchNorm(3), Residual(LayerNorm(width)), Residual(Residual(ACTIVATIONS["Tanh"]))]
    between = draw(st.lists(st.sampled_from([*norms, ACTIVATIONS["GELU"], Dropout(0.2)]), max_size=3))
    return Network((Embedding(11, width), *between, Flatten(), *draw(dense(3 * width)).layers))


def with_shape(networks):
    return st.integers(3, 9).flatmap(lambda n: st.tuples(st.just((7, n)), networks(n)))


CASES = with_shape(plain) | with_shape(dense) | st.tuples(st.just((7, 3)), sequences())


@settings(max_examples=200, deadline=None)
@given(CASES, st.sampled_from(LOSSES), st.booleans(), st.integers(0, 2**32))
def test_random_network_matches_autograd_at_every_boundary(case, loss_name, training, seed):
    (shape, network), rng = case, np.random.default_rng(seed)
    params = random_parameters(network, rng)
    x = rng.integers(0, 11, shape) if network.integer_input else rng.standard_normal(shape)
    logits, _ = network.apply(params, x)
    loss, y = every_loss(logits, rng)[loss_name]
    assert_matches_autograd(network_parity(network, loss, params, x, y, seed=seed if training else None), 1e-11)


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
        (lambda: Network((Linear(5, 4), ReLU)), r"layers\[1\] is the class ReLU"),
        (lambda: Network((Linear(5, 4), "relu")), r"layers\[1\] is 'relu', expected a layer"),
        (lambda: Network((Linear(5, 4), Embedding(4, 2))), r"layers\[1\] is Embedding.*, which takes integers"),
        (lambda: Network((Linear(5, 4), LayerNorm(3))), r"layers\[1\] is LayerNorm.*, expected n_in=4"),
        (lambda: Network((mlp((5, 4), ReLU()), Linear(5, 2))), r"layers\[1\] is Linear.*, expected n_in=4"),
        (lambda: mlp((5,), ReLU()), r"sizes is \(5,\), expected at least"),
        (lambda: mlp((5, 4, 3), "relu"), r"activation is 'relu', expected a layer such as ReLU\(\)"),
        (lambda: mlp((5, 0, 3), ReLU()), r"sizes\[1\] is 0"),
        (lambda: mlp((5, 4, 3), ReLU(), dropout=1.5), "dropout is 1.5"),
    ],
)
def test_bad_networks_are_named(make, message):
    with pytest.raises((ValueError, TypeError), match=f"^{message}"):
        make()


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((7, 4)), r"x has shape \(7, 4\), expected \(batch, 5\)"),
        (np.zeros(5), r"layers\[0\], Linear.*: x has shape \(5,\), expected \(batch, 5\)"),
        (np.zeros((0, 5)), r"x has shape \(0, 5\), expected .* with at least one row"),
        (np.zeros((7, 5), "float32"), r"x has dtype float32, expected float64; convert it with x.astype\('float64'\)"),
        (np.zeros((0, 5, 1)), r"x has shape \(0, 5, 1\), expected \(batch, …\) with at least one row"),
        ([[0.0] * 5], "x is a list, expected a NumPy array"),
        (torch.zeros(7, 5, dtype=torch.float64), "x is a Tensor, expected a NumPy array"),
    ],
)
def test_bad_inputs_are_named(x, message):
    network = Network((Linear(5, 3), Softmax()))
    with pytest.raises((ValueError, TypeError), match=f"^{message}"):
        network.apply(Parameters(network.shapes()), x)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.array([[0, 11]]), "x holds classes from 0 to 11, expected 0 to 10"),
        (np.array([[-1, 10]]), "x holds classes from -1 to 10, expected 0 to 10"),
        (np.array([[0.0, 1.0]]), "x has dtype float64, expected integer classes"),
        (np.zeros((0, 2), int), r"x has shape \(0, 2\), expected \(batch, …\) with at least one row"),
    ],
)
def test_integers_that_are_not_looked_up_are_named(x, message):
    network = Network((Embedding(11, 4), Flatten()))
    network.apply(Parameters(network.shapes()), np.array([[0, 10]]))
    with pytest.raises((ValueError, TypeError), match=f"^{message}"):
        network.apply(Parameters(network.shapes()), x)


def test_parameters_of_another_network_are_named():
    network = mlp((5, 4, 3), ReLU())
    turned = Parameters(dict(reversed(network.shapes().items())))  # they are handed over one by one
    with pytest.raises(ValueError, match=r"^params has {'2.bias': .*, expected {'0.weight'"):
        network.apply(turned, np.zeros((7, 5)))
    with pytest.raises(ValueError, match=r"^params has .*'0.weight': \(3, 5\).*, expected .*'0.weight': \(4, 5\)"):
        network.apply(Parameters(mlp((5, 3), ReLU()).shapes()), np.zeros((7, 5)))


def test_an_upstream_gradient_of_another_shape_is_not_broadcast(rng):
    network = mlp((5, 4, 3), ReLU())
    params = initial_parameters(network, rng)
    _, caches = network.apply(params, np.ones((7, 5)))
    with pytest.raises(ValueError, match=r": dy has shape \(7, 1\), expected \(7, 3\)"):
        network.backward(np.ones((7, 1)), caches, *params.gradients().arrays)


@dataclass(frozen=True)
class Silent(Activation):
    """Forgets its dx."""

    def forward(self, x):
        return x, None

    def backward(self, dy, cache):
        return None


def test_a_layer_in_the_middle_that_returns_no_dx_is_named(rng):
    network = Network((Linear(5, 4), Residual(Network((Linear(4, 4), Silent()))), Linear(4, 3)))
    params = initial_parameters(network, rng)
    y, caches = network.apply(params, rng.standard_normal((7, 5)))
    message = r"layers\[1\]\.inner\.layers\[1\], Silent\(\): backward returned None, expected ∂L/∂x"
    with pytest.raises(TypeError, match=message):
        network.backward(y, caches, *params.gradients().arrays)


def test_a_layer_with_parameters_need_not_take_need_dx(rng):
    @dataclass(frozen=True)
    class Plain(Linear):
        def backward(self, dy, cache, dW, db):
            return super().backward(dy, cache, dW, db)

    network, same = Network((Plain(5, 4), Tanh(), Plain(4, 3))), mlp((5, 4, 3), Tanh())
    params, x, y = initial_parameters(network, rng), rng.standard_normal((7, 5)), rng.integers(0, 3, 7)
    ends = []
    for net in (network, same):
        recipe = scratch.Recipe(loss=CrossEntropy(), optimizer=scratch.SGD(0.1), epochs=2, batch_size=4)
        state = scratch.State.start(params, recipe)
        list(scratch.fit(net, recipe, x, y, state))
        ends.append(state.params.vector)
    np.testing.assert_array_equal(*ends)


def test_an_error_says_which_layer_it_came_from(rng):
    network = Network((Flatten(), Network((Tanh(), Linear(5, 3)))))
    with pytest.raises(
        ValueError, match=r"^layers\[1\]\.layers\[1\], Linear.*: x has shape \(7, 6\), expected \(batch, 5"
    ):
        network.apply(initial_parameters(network, rng), np.ones((7, 2, 3)))
    with pytest.raises(TypeError, match=r"forward got 1 arrays after x, expected 2; or call apply\(params, x\)"):
        network.forward(np.ones((7, 5)), initial_parameters(network, rng))


def test_a_network_of_a_list_of_layers_is_that_of_the_tuple():
    assert Network([Tanh(), ReLU()]) == Network((Tanh(), ReLU()))
    assert hash(Network([Tanh()])) == hash(Network((Tanh(),)))


def test_a_network_without_anything_to_train_gives_dx_only_where_it_is_asked_for(rng):
    for network in (Network((Tanh(),)), Network((Tanh(), ReLU()))):
        y, caches = network.apply(network.parameters(), rng.standard_normal((7, 5)))
        assert network.backward(y, caches, need_dx=False) is None
        assert network.backward(y, caches).shape == y.shape


def test_a_trace_ends_with_its_block(rng):
    network = mlp((5, 4, 3), Tanh())
    params, x = initial_parameters(network, rng), rng.standard_normal((7, 5))
    with traced() as trace:
        network.apply(params, x)
    network.apply(params, x.copy())
    assert list(trace.inputs) == ["0", "1", "2"]
    assert trace.inputs["0"] is x


def test_names_nest_as_those_of_torch_do():
    network = Network((Embedding(7, 4), Residual(Network((LayerNorm(4), Tanh()))), Flatten(), mlp((12, 5, 2), ReLU())))
    shapes = network.shapes()
    assert list(shapes) == list(twin(network, network.parameters()).state_dict())
    assert [n for n in shapes if n.startswith("1.")] == ["1.inner.0.weight", "1.inner.0.bias"]
    assert (network.n_in, network.n_out, network.integer_input) == (7, 2, True)


@pytest.mark.parametrize(
    ("layers", "n_in", "n_out", "keeps_shape"),
    [
        ((Linear(5, 3), Tanh(), Dropout(0.1)), 5, 3, False),
        ((Tanh(), Linear(5, 3), Softmax()), 5, 3, False),
        ((Flatten(), Linear(6, 3)), None, 3, False),  # of what shape the input is, nothing says
        ((Linear(5, 3), Flatten()), 5, None, False),
        ((Tanh(), Dropout(0.1)), None, None, True),
        ((Tanh(), LayerNorm(4)), 4, 4, True),
        ((Tanh(), Residual(Tanh())), None, None, True),
        ((Residual(Linear(5, 5)), Tanh()), 5, 5, True),
        ((Residual(Linear(5, 3), Projection(5, 3)), Tanh()), 5, 3, False),
        ((LayerNorm(5), Linear(5, 3), BatchNorm(3)), 5, 3, False),
    ],
    ids=str,
)
def test_a_networks_widths_are_those_that_its_layers_say(layers, n_in, n_out, keeps_shape):
    network = Network(layers)
    assert (network.n_in, network.n_out, network.keeps_shape) == (n_in, n_out, keeps_shape)
    assert Network((network,)).n_in == n_in


def test_untrained_arrays_lie_behind_the_trained_ones_and_move_with_each_step(rng):
    network = mlp((5, 4, 3), ReLU(), norm=BatchNorm)
    params = initial_parameters(network, rng)
    assert params.untrained == network.untrained == ("1.running_mean", "1.running_var")
    assert list(params)[:5] == ["0.weight", "1.weight", "1.bias", "1.running_mean", "1.running_var"]
    np.testing.assert_array_equal(params.vector[-8:], [0] * 4 + [1] * 4)
    assert len(params.trained) == len(params.gradients().vector) == len(params.vector) - 8
    before = params.vector.copy()
    _, caches = network.apply(params, rng.standard_normal((7, 5)), rng)
    np.testing.assert_array_equal(params.vector, before)
    network.track(caches, *params.untrained_arrays)
    np.testing.assert_array_equal(params.trained, before[:-8])
    assert (params.vector[-8:] != before[-8:]).all()


@dataclass(frozen=True)
class Sometimes(Composite):
    """Stochastic depth (Huang et al., 2016): in training the inner layer is left out half of the time."""

    inner: Layer
    stochastic = True

    def parts(self):
        return {"inner": self.inner}

    def forward(self, x, *arrays, training=None):
        f, cache = self.forward_part(0, x, arrays, training)
        share = 0.5 if training is None else float(training.random() < 0.5)
        return x + share * f, (cache, share)

    def backward(self, dy, cache, *grads, need_dx=True):
        return dy + self.backward_part(0, cache[1] * dy, cache[0], grads)


def test_a_composite_that_draws_is_told_of_the_training(rng):
    for network in (Network((Sometimes(Linear(5, 5)),)), Network((Network((Sometimes(Linear(5, 5)),)), Linear(5, 5)))):
        assert network.stochastic
        assert network.differs_in_training
        params, x = initial_parameters(network, rng, bias=0.1), rng.standard_normal((7, 5))
        recipe = scratch.Recipe(loss=scratch.MSE(), optimizer=scratch.SGD(0.1), epochs=8, batch_size=7)
        records = list(scratch.fit(network, recipe, x, x, scratch.State.start(params, recipe)))
        left_out = [np.abs(record.logits - network.apply(params, x)[0]).max() for record in records[:1]]
        assert left_out[0] > 1e-3, "the first step was taken as in evaluation"


def test_a_composites_own_cache_stands_behind_those_of_its_parts(rng):
    network = Network((Sometimes(BatchNorm(5)),))
    params = initial_parameters(network, rng)
    _, caches = network.apply(params, rng.standard_normal((7, 5)), rng)
    network.track(caches, *params.untrained_arrays)
    assert (params["0.inner.running_mean"] != 0).all()


@pytest.mark.parametrize(
    ("changes", "stochastic", "differs"),
    [({}, False, False), ({"dropout": 0.1}, True, True), ({"norm": BatchNorm}, False, True)],
    ids=["plain", "dropout", "batch norm"],
)
def test_a_network_says_whether_it_draws_and_whether_training_differs(changes, stochastic, differs):
    inner = mlp((5, 4, 5), ReLU(), **changes)
    for network in (inner, Network((inner, Tanh())), Network((Tanh(), Residual(inner)))):
        assert (network.stochastic, network.differs_in_training) == (stochastic, differs)


def test_a_norm_that_makes_no_layer_is_named():
    with pytest.raises(TypeError, match=r"^norm\(5\) is 10, expected a layer such as BatchNorm\(5\)"):
        mlp((5, 4, 3), scratch.Tanh(), norm=lambda n: 2 * n)
