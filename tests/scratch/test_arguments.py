"""A few of the campaign's wrong arguments (python -m tests.faults arguments), and those that once passed in silence."""

import numpy as np
import pytest

import scratch
from scratch import (
    SGD,
    Adam,
    CosineDecay,
    CrossEntropy,
    Parameters,
    Recipe,
    State,
    Tanh,
    Warmup,
    confusion_matrix,
    initial_parameters,
    mlp,
    per_class,
)
from tests.faults import arguments

NETWORK = mlp((5, 4, 3), Tanh())


def test_every_public_callable_has_an_entry_in_the_campaign():
    assert not arguments.missing()


def test_every_entry_takes_its_good_arguments():
    for called in arguments.calls().values():
        called.function(**{name: kind.good() for name, kind in called.kinds.items()})


def test_wrong_arguments_are_refused_by_name():
    problems = [f"{o.case}: {o.problem}" for o in arguments.outcomes(300, seed=0) if o.problem is not None]
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u8", ">i4"])
def test_a_confusion_matrix_of_small_integers_is_that_of_large_ones(dtype, rng):
    labels, predicted = rng.integers(0, 100, (2, 500))
    expected = confusion_matrix(labels, predicted, 100)
    np.testing.assert_array_equal(
        confusion_matrix(labels.astype(dtype), predicted.astype(dtype), np.int8(100)), expected
    )
    assert expected.sum() == 500


def test_scores_of_a_confusion_matrix_of_small_integers_do_not_overflow():
    small = np.full((2, 2), 100, np.int8)
    np.testing.assert_array_equal(per_class(small).f1, per_class(small.astype(int)).f1)


def test_arrays_whose_arithmetic_is_another_are_refused_and_told_how_to_convert(rng):
    logits, y = rng.standard_normal((7, 3)), rng.integers(0, 3, 7)
    masked = np.ma.masked_array(logits, logits > 1)
    with pytest.raises(TypeError, match=r"logits is a masked array, .* convert it with logits.filled\(value\)"):
        CrossEntropy()(masked, y)
    with pytest.raises(TypeError, match=r"logits is a matrix, .* convert it with np.asarray\(logits\)"):
        CrossEntropy()(logits.view(np.matrix), y)
    with pytest.raises(TypeError, match="y is a masked array"):
        CrossEntropy()(logits, np.ma.masked_array(y, y > 1))
    with pytest.raises(TypeError, match="x is a masked array"):
        Tanh().forward(masked)


def test_an_array_in_a_file_is_one(rng, tmp_path):
    np.save(tmp_path / "x.npy", rng.standard_normal((7, 5)))
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    params = initial_parameters(NETWORK, rng)
    np.testing.assert_array_equal(NETWORK.apply(params, x)[0], NETWORK.apply(params, np.array(x))[0])


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (lambda rng: SGD(0.1, 0.9, nesterov="no"), "nesterov is 'no', expected True or False"),
        (lambda rng: scratch.BatchNorm(5, affine="no"), "affine is 'no', expected True or False"),
        (lambda rng: mlp((5, 4, 3), Tanh(), residual="no"), "residual is 'no', expected True or False"),
        (lambda rng: Adam(betas=(0.9,)), r"betas is \(0.9,\), expected a tuple of two numbers"),
        (lambda rng: Warmup(10, CosineDecay), "after is the class CosineDecay, expected a schedule"),
        (lambda rng: Warmup(10, len), "after is <built-in function len>, expected a schedule .* at step 0 it raised"),
        (lambda rng: initial_parameters(NETWORK, rng, bias=None), "bias is None, expected a number"),
        (lambda rng: initial_parameters(NETWORK, rng, bias=np.nan), "bias is nan, expected a finite number"),
        (lambda rng: initial_parameters(NETWORK, rng, bias=1e300, dtype="f"), "bias: the initial 0.bias holds inf"),
        (lambda rng: initial_parameters(NETWORK, rng, weights=lambda *_: np.ones(1)), "weights: the initial 0.weight"),
        (lambda rng: initial_parameters(NETWORK, rng, weights=lambda _, s: np.full(s, np.nan)), "0.weight holds nan"),
        (lambda rng: Parameters({"a": (2,)}, untrained="a"), "untrained is a str"),
        (lambda rng: Parameters({"a": (2,)}, None), "dtype is None"),
        (lambda rng: scratch.Linear(5, 3).forward(np.ones((7, 5)), np.ones((3, 5)), np.ones(1)), r"b has shape \(1,\)"),
        (lambda rng: scratch.Linear(5, 3).forward(np.ones((7, 5)), np.ones((3, 5), "f"), np.ones(3)), "W has dtype"),
    ],
)  # fmt: skip
def test_what_passed_in_silence_is_refused(attempt, message, rng):
    with pytest.raises((TypeError, ValueError), match=message):
        attempt(rng)


def test_a_float64_array_is_not_rounded_into_float32_parameters(rng):
    params = initial_parameters(NETWORK, rng, dtype="float32")
    with pytest.raises(TypeError, match="0.bias has dtype float64, expected float32"):
        params["0.bias"] = np.ones(4)


def test_a_step_refuses_another_network_optimizer_or_gradient(rng):
    recipe = Recipe(loss=CrossEntropy(), optimizer=Adam(), epochs=1, batch_size=4)
    state = State.start(initial_parameters(NETWORK, rng), recipe)
    grads, other = state.params.gradients(), mlp((5, 6, 3), Tanh())
    with pytest.raises(ValueError, match="network is another than the state's"):
        state.step(Adam(), grads, 0.1, other)
    with pytest.raises(ValueError, match=r"expected \['momentum_buffer'\] for SGD"):
        state.step(SGD(momentum=0.9), grads, 0.1)
    with pytest.raises(ValueError, match="grads has"):
        state.step(Adam(), other.parameters(), 0.1)
    before = state.params.copy()
    for wrong in (state.slots["exp_avg"].astype("f"), state.slots["exp_avg"][:1]):
        state.slots["exp_avg"] = wrong
        with pytest.raises((TypeError, ValueError), match=r"state.slots\['exp_avg'\] has"):
            scratch.fit(NETWORK, recipe, np.ones((4, 5)), np.zeros(4, int), state)
    np.testing.assert_array_equal(state.params.vector, before.vector)
