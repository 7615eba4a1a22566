"""float32 stays float32: at every boundary, and in every operation between them."""

import numpy as np
import pytest

import scratch
from scratch import SGD, AdaGrad, Adam, AdamW, Penalty, Recipe, RMSprop, State, checks
from scratch.layers import takes, trained_shapes
from scratch.optim import clip_by_global_norm
from tests.helpers import every_array
from torch_impl.counterparts import EXAMPLES
from torch_impl.parity import every_loss, random_case


class Watched(np.ndarray):
    """An array none of whose ufuncs may see or make a float64, be it one of a single number."""

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **kwargs):
        plain = [a.view(np.ndarray) if isinstance(a, Watched) else a for a in inputs]
        if out is not None:
            kwargs["out"] = tuple(a.view(np.ndarray) if isinstance(a, Watched) else a for a in out)
        result = getattr(ufunc, method)(*plain, **kwargs)
        for a in (*plain, *(out or ()), result):
            if isinstance(a, np.ndarray | np.generic):
                assert a.dtype != np.float64, f"{ufunc.__name__} sees or makes a float64 of shape {a.shape}"
        if out is not None:
            return out[0]
        return result.view(Watched) if isinstance(result, np.ndarray) else result


@pytest.fixture(autouse=True)
def _watched_arrays_are_taken(monkeypatch):
    # A subclass is refused elsewhere; this one differs in nothing but that it watches.
    monkeypatch.setattr(checks, "_array", lambda name, x: None)


def watched(a):
    return np.asarray(a, np.float32).view(Watched)


def assert_float32(where, value):
    for a in every_array(value):
        assert a.dtype != np.float64, f"{where} holds a float64 array of shape {a.shape}"


@pytest.mark.parametrize("name", EXAMPLES)
def test_layers(name, rng):
    layer, shape = EXAMPLES[name]
    params, x, dy = random_case(layer, shape, rng, batch=7)
    values = {name: watched(value) for name, value in params.items()}
    draws = {"training": rng} if takes(layer.forward, "training") else {}
    y, cache = layer.forward(watched(x) if x.dtype.kind == "f" else x, *values.values(), **draws)
    grads = [watched(np.zeros_like(params[name])) for name in trained_shapes(layer)]
    dx = layer.backward(watched(dy), cache, *grads)
    untrained = [values[name] for name in getattr(layer, "untrained", ())]
    if untrained:
        layer.track(cache, *untrained)
    for where, value in {"y": y, "cache": cache, "dx": dx, "untrained": untrained}.items():
        assert_float32(where, value)
    assert y.dtype == np.float32
    assert dx is None or dx.dtype == np.float32


@pytest.mark.parametrize("name", every_loss(np.ones((2, 2)), np.random.default_rng(0)))
def test_losses(name, rng):
    logits = rng.standard_normal((7, 5))
    loss, y = every_loss(logits, rng)[name]
    value, dlogits = loss.value_and_grad(watched(logits), watched(y) if y.dtype.kind == "f" else y)
    assert value.dtype == dlogits.dtype == np.float32


OPTIMIZERS = [
    SGD(0.1),
    SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    SGD(0.1, momentum=0.9, dampening=0.1),
    AdaGrad(weight_decay=0.1),
    RMSprop(momentum=0.9),
    Adam(weight_decay=0.1),
    AdamW(),
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_optimizers(optimizer, rng):
    w, g = watched(rng.standard_normal(50)), watched(rng.standard_normal(50))
    slots = optimizer.slots(w)
    for t in (1, 2):
        clip_by_global_norm(g, 0.5)
        optimizer.update(w, g, slots, 0.1, t)
    for where, value in {"w": w, **slots}.items():
        assert value.dtype == np.float32, where


def test_numbers_that_numpy_made_are_no_upcast():
    half = np.float64(0.5)  # of a schedule in NumPy, or an element of np.logspace

    class Halved:
        def __call__(self, step):
            return half

    r = Recipe(
        loss=scratch.CrossEntropy(half / 5),
        optimizer=Adam(half, betas=(half, half), eps=half, weight_decay=half),
        epochs=1,
        batch_size=4,
        schedule=Halved(),
        penalty=Penalty(half, half),
        max_norm=half,
    )
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((10, 5)).astype("float32").view(Watched), rng.integers(0, 3, 10)
    for activation in (scratch.LeakyReLU(half), scratch.ELU(half)):
        network = scratch.mlp((5, 8, 3), activation, dropout=half)
        params = scratch.initial_parameters(network, rng, dtype="float32")
        w, state = watched(params.vector.copy()), State.start(params, r)
        list(scratch.fit(network, r, x, y, state))
        r.optimizer.update(w, watched(np.ones(len(w))), r.optimizer.slots(w), r.lr(0), 1)


def test_penalties(rng):
    params = scratch.Parameters({"0.weight": (3, 5), "0.bias": (3,)}, "float32")
    grads = params.gradients()
    params["0.weight"] = rng.standard_normal((3, 5)).astype("float32")
    assert Penalty(0.1, 0.2).add_grad(params, grads).dtype == np.float32


def test_what_a_training_keeps_and_yields():
    network = scratch.mlp((5, 8, 3), scratch.GELU(), dropout=0.2)
    r = Recipe(loss=scratch.CrossEntropy(0.1), optimizer=Adam(), epochs=2, batch_size=4, max_norm=1.0)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((10, 5)).astype("float32"), rng.integers(0, 3, 10)
    state = State.start(scratch.initial_parameters(network, rng, dtype="float32"), r)
    for record in scratch.fit(network, r, x, y, state, (x, y)):
        assert_float32("a record", record.logits)
    assert_float32("the state", [state.params.vector, *state.slots.values(), record.validation.logits])
