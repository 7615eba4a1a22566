from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

import scratch
from scratch import (
    MSE,
    SGD,
    Adam,
    BCEWithLogits,
    CosineDecay,
    CrossEntropy,
    DivergenceError,
    EarlyStopping,
    Penalty,
    Recipe,
    ReLU,
    State,
    Tanh,
    fit,
    minibatches,
    mlp,
)
from scratch.activations import Activation
from scratch.batches import Steps, mask_rng, order_rng, shift_rng
from scratch.state import Progress
from scratch.train import check_smallest_batch

NETWORK = mlp((5, 8, 3), Tanh(), dropout=0.2)
NORMED = mlp((5, 8, 8, 3), Tanh(), dropout=0.2, norm=scratch.BatchNorm, residual=True)


def problem(rng, n=23):
    return rng.standard_normal((n, 5)), rng.integers(0, 3, n)


def recipe(**changes):
    base = {"loss": CrossEntropy(), "optimizer": Adam(0.05), "epochs": 6, "batch_size": 8, "schedule": CosineDecay(18)}
    return Recipe(**{**base, **changes})


def start(rng, recipe, network=NETWORK):
    return State.start(scratch.initial_parameters(network, rng), recipe)


def test_minibatches_are_a_permutation_with_a_short_last_batch(rng):
    batches = list(minibatches(23, 8, rng))
    assert [len(batch) for batch in batches] == [8, 8, 7]
    assert sorted(np.concatenate(batches)) == list(range(23))


@pytest.mark.parametrize("batch_size", [23, 24])
def test_a_batch_of_all_samples_keeps_their_order(batch_size, rng):
    x, y = problem(rng)
    r = recipe(batch_size=batch_size)
    for record in fit(NETWORK, r, x, y, start(rng, r)):
        np.testing.assert_array_equal(record.batch, np.arange(23))


def test_every_epoch_and_every_seed_has_an_order_of_its_own(rng):
    x, y = problem(rng)
    orders = []
    for seed in (0, 1):
        r = recipe(seed=seed)
        batches = [record.batch for record in fit(NETWORK, r, x, y, start(rng, r))]
        orders += [tuple(np.concatenate(batches[i : i + 3])) for i in range(0, 18, 3)]
    assert len(set(orders)) == 12
    assert all(sorted(order) == list(range(23)) for order in orders)


def test_every_stream_of_random_numbers_is_the_released_one():
    """A training that is resumed with a newer version goes on as it began, and no two streams are alike."""
    first = {f: [f(7, i).integers(1000, size=3).tolist() for i in (0, 1)] for f in (order_rng, mask_rng, shift_rng)}
    assert first == {
        order_rng: [[944, 625, 684], [728, 833, 797]],
        mask_rng: [[870, 770, 875], [62, 744, 129]],
        shift_rng: [[531, 204, 754], [961, 495, 248]],
    }


def test_records_tell_what_was_done(rng):
    x, y = problem(rng)
    r = recipe()
    state = start(rng, r)
    records = list(fit(NETWORK, r, x, y, state, (x, y)))
    assert [record.step for record in records] == list(range(1, 19))
    assert [record.epoch for record in records] == [i // 3 for i in range(18)]
    assert [record.epoch_ends for record in records] == [i % 3 == 2 for i in range(18)]
    assert [record.lr for record in records] == pytest.approx([0.05 * CosineDecay(18)(i) for i in range(18)])
    assert all((record.validation is not None) == record.epoch_ends for record in records)
    assert records[-1].validation.loss < records[2].validation.loss
    last = scratch.evaluate(NETWORK, r.loss, state.params, x, y)
    assert last.loss == records[-1].validation.loss
    np.testing.assert_array_equal(last.logits, records[-1].validation.logits)
    assert state.best is None  # nobody asked for it
    assert records[0].logits.shape == (8, 3)
    assert len(records[2].batch) == 7


def test_the_initial_parameters_stay_as_they_are(rng):
    x, y = problem(rng)
    params = scratch.initial_parameters(NETWORK, rng)
    before = params.vector.copy()
    list(fit(NETWORK, recipe(), x, y, State.start(params, recipe())))
    np.testing.assert_array_equal(params.vector, before)


@pytest.mark.parametrize("network", [NETWORK, NORMED], ids=["mlp", "norms"])
@pytest.mark.parametrize("stop", [1, 2, 3, 7, 17])
def test_resumed_at_any_step_the_weights_are_the_same_bit_for_bit(stop, network, rng, tmp_path):
    x, y = problem(rng)
    r = recipe(optimizer=SGD(0.1, momentum=0.9), penalty=Penalty(1e-3, 1e-3), max_norm=0.5)
    params = scratch.initial_parameters(network, rng)
    whole = State.start(params, r)
    list(fit(network, r, x, y, whole, (x, y)))
    part = State.start(params, r)
    for record in fit(network, r, x, y, part, (x, y)):
        if record.step == stop:
            break
    scratch.save_state(tmp_path / "state.safetensors", part)
    resumed = scratch.load_state(tmp_path / "state.safetensors", network)
    rest = list(fit(network, r, x, y, resumed, (x, y)))
    assert len(rest) == 18 - stop
    np.testing.assert_array_equal(resumed.params.vector, whole.params.vector)
    np.testing.assert_array_equal(resumed.slots["momentum_buffer"], whole.slots["momentum_buffer"])


def test_a_last_batch_too_small_for_a_batch_norm_is_named_before_the_training(rng):
    x, y = problem(rng, 17)
    r = recipe()
    message = r"batch_size is 8, and the last batch of 17 samples has 1: .*BatchNorm.*: x has shape \(1, 8"
    with pytest.raises(ValueError, match=message):
        fit(NORMED, r, x, y, start(rng, r, NORMED))
    fit(NETWORK, r, x, y, start(rng, r))


def test_what_a_process_gets_of_the_smallest_batch_is_checked_too(rng):
    x, _ = problem(rng, 24)
    message = r"^batch_size is 8, and the smallest share of a process has 1: .*BatchNorm"
    with pytest.raises(ValueError, match=message):
        check_smallest_batch(NORMED, recipe(), x, x.dtype, processes=8)
    with pytest.raises(ValueError, match="^batch_size is 8, and the smallest share of a process has 0"):
        check_smallest_batch(NORMED, recipe(), x, x.dtype, processes=9)
    check_smallest_batch(NORMED, recipe(), x, x.dtype, processes=4)
    check_smallest_batch(NETWORK, recipe(), x, x.dtype, processes=9)
    with pytest.raises(ValueError, match="^batch_size is 1, and the last batch of 24 samples has 1: "):
        check_smallest_batch(NORMED, recipe(batch_size=1), x, x.dtype)


def test_only_a_new_minimum_is_the_best_epoch_and_patience_counts_from_it():
    progress, rule = Progress(), EarlyStopping(2)
    seen = []
    for epoch, loss in enumerate((0.5, 0.5, 0.25, 0.25, 0.5)):
        seen.append((progress.observe(epoch, loss, rule), progress.best_epoch, progress.stopped))
    assert seen == [(True, 0, False), (False, 0, False), (True, 2, False), (False, 2, False), (False, 2, True)]


def test_early_stopping_stops_and_puts_the_best_weights_back(rng):
    x, y = problem(rng)
    x_val, y_val = problem(rng)
    r = recipe(epochs=100, early_stopping=EarlyStopping(4), schedule=scratch.Constant())
    state = start(rng, r)
    losses = [rec.validation.loss for rec in fit(NETWORK, r, x, y, state, (x_val, y_val)) if rec.epoch_ends]
    best = int(np.argmin(losses))
    assert len(losses) == best + 5 < 100
    assert scratch.evaluate(NETWORK, r.loss, state.params, x_val, y_val).loss == losses[best]
    assert list(fit(NETWORK, r, x, y, state, (x_val, y_val))) == []  # stopped is stopped


def test_a_best_epoch_is_heeded_by_early_stopping_alone(rng):
    x, y = problem(rng)
    state = start(rng, recipe())
    state.best, state.progress.stopped = np.zeros_like(state.params.vector), True
    assert len(list(fit(NETWORK, recipe(), x, y, state))) > 0
    assert np.abs(state.params.vector).max() > 0


def test_a_loop_of_ones_own_moves_running_statistics(rng):
    x, y = problem(rng)
    adam, params = Adam(0.05), scratch.initial_parameters(NORMED, rng)
    state, grads = State.start(params, adam), params.gradients()
    for _ in range(18):
        logits, caches = NORMED.apply(state.params, x, rng)
        _, dlogits = CrossEntropy()(logits, y)
        NORMED.backward(dlogits, caches, *grads.arrays)
        state.step(adam, grads, 0.05, NORMED, caches)
    assert state.progress.step == 18
    assert all(np.abs(state.params[n] - params[n]).min() > 0 for n in params.untrained)
    with pytest.raises(
        ValueError, match="network is None, expected it and its caches: this step moves 0.inner.1.running_"
    ):
        state.step(adam, grads, 0.05)


def test_a_loop_of_ones_own_needs_no_network_where_nothing_else_moves(rng):
    x, y = problem(rng)
    network, sgd = mlp((5, 4, 3), Tanh()), SGD(0.1)
    params = scratch.initial_parameters(network, rng)
    state, grads = State.start(params, sgd), params.gradients()
    logits, caches = network.apply(state.params, x)
    network.backward(CrossEntropy()(logits, y)[1], caches, *grads.arrays)
    state.step(sgd, grads, 0.1)
    np.testing.assert_array_equal(state.params.vector, params.vector - 0.1 * grads.vector)
    assert state.progress.step == 1


@dataclass(frozen=True)
class Mean(Activation):
    """Returns the mean of its gradient, which the layer before would broadcast."""

    def forward(self, x):
        return x, None

    def backward(self, dy, cache):
        return dy.mean(axis=0, keepdims=True)


def test_a_gradient_of_another_shape_than_its_input_is_named(rng):
    x, y = problem(rng)
    network = scratch.Network((scratch.Linear(5, 3), Tanh(), Mean()))
    with pytest.raises(ValueError, match=r"^layer 2, Mean\(\): dx has shape \(1, 3\), expected \(3, 3\), that of x"):
        fit(network, recipe(), x, y, start(rng, recipe(), network))
    inner = scratch.Network((Tanh(), scratch.Residual(Mean()), scratch.Linear(5, 3)))
    with pytest.raises(ValueError, match=r"^layer 0\.1\.inner, Mean\(\): dx has shape \(1, 5\)"):
        fit(scratch.Network((inner,)), recipe(), x, y, start(rng, recipe(), scratch.Network((inner,))))


@dataclass(frozen=True)
class Divided(Activation):
    """y = x / w, which the rehearsal with weights of zero makes NaN or infinite."""

    asked: ClassVar = []  # whether dx is needed, each time

    def shapes(self):
        return {"weight": (5,)}

    def initial(self, rng):
        return {"weight": np.ones(5)}

    def forward(self, x, w):
        return x / w, (x, w)

    def backward(self, dy, cache, dw, need_dx=True):
        self.asked.append(need_dx)
        x, w = cache
        dw[:] = -(dy * x).sum(axis=0) / w**2
        return dy / w


def test_a_rehearsal_gives_no_warning_and_the_first_layer_is_not_asked_for_dx(rng):
    x, y = problem(rng)
    network, r = scratch.Network((Divided(), Tanh(), Divided(), scratch.Linear(5, 3))), recipe(epochs=1)
    records = fit(network, r, x, y, start(rng, r, network))
    Divided.asked.clear()
    list(records)
    assert Divided.asked == [True, False] * 3  # the last one's backward comes first


def test_integers_of_one_axis_train(rng):
    network = scratch.Network((scratch.Embedding(3, 4), Tanh(), scratch.Linear(4, 3)))
    y = rng.integers(0, 3, 23)
    r = recipe(epochs=30)
    state = start(rng, r, network)
    list(fit(network, r, y, y, state))
    np.testing.assert_array_equal(network.apply(state.params, y)[0].argmax(axis=1), y)


def test_a_loss_that_diverges_stops_the_training_before_the_step(rng):
    x, y = rng.standard_normal((23, 5)), rng.standard_normal((23, 1))
    network = mlp((5, 8, 1), ReLU())
    r = Recipe(loss=MSE(), optimizer=SGD(1e3), epochs=50, batch_size=8)
    state, vectors = start(rng, r, network), []
    with (
        np.errstate(all="ignore"),
        pytest.raises(
            DivergenceError, match=r"the loss is (nan|inf) at step \d+ \(learning rate 1000\).*smaller learning rate"
        ),
    ):
        vectors.extend(state.params.vector.copy() for _ in fit(network, r, x, y, state))
    np.testing.assert_array_equal(state.params.vector, vectors[-1])


@pytest.mark.parametrize(("batch_size", "name"), [(8, "loss"), (23, "validation loss")])
@pytest.mark.parametrize("loss", [MSE(), CrossEntropy()], ids=str)
def test_a_divergence_gives_no_warning_beside_its_error(loss, batch_size, name, rng):
    """Overflow in the one loss, inf − inf in the other; a warning would be an error here."""
    x, classes = problem(rng)
    y = classes if loss == CrossEntropy() else rng.standard_normal((23, 3))
    network = mlp((5, 8, 3), ReLU())
    r = Recipe(loss=loss, optimizer=SGD(1e200), epochs=2, batch_size=batch_size)
    state = start(rng, r, network)
    with pytest.raises(DivergenceError, match=f"^the {name} is (inf|nan) at step [01] "):
        list(fit(network, r, x, y, state, (x, y)))


def evaluation(x, y):
    return scratch.evaluate(NETWORK, CrossEntropy(), scratch.Parameters(NETWORK.shapes()), x, y)


def bad(x=None, y=None, validation=None, **changes):
    def attempt(rng):
        good_x, good_y = problem(rng)
        r = recipe(**changes)
        state = start(rng, r)
        before = state.params.vector.copy()
        try:
            fit(NETWORK, r, good_x if x is None else x, good_y if y is None else y, state, validation)
        finally:
            np.testing.assert_array_equal(state.params.vector, before)

    return attempt


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (bad(x=np.zeros((23, 4))), r"x has shape \(23, 4\), expected \(batch, 5\)"),
        (bad(x=np.zeros((0, 5)), y=np.zeros(0, int)), r"x has shape \(0, 5\), expected .* with at least one row"),
        (bad(x=np.zeros((23, 5), "float32")), "x has dtype float32, expected float64"),
        (bad(x=np.full((23, 5), np.inf)), r"x holds inf at index \(0, 0\), expected finite numbers"),
        (bad(y=np.zeros(22, int)), r"y has shape \(22,\), expected \(23,\)"),
        (bad(y=np.full(23, 3)), "y holds classes from 3 to 3, expected 0 to 2"),
        (bad(y=np.zeros((23, 3)), loss=BCEWithLogits(), x=np.full((23, 5), np.nan)), "x holds nan"),
        (bad(validation=(np.zeros((2, 5)), np.array([0, 9]))), "validation y holds classes from 0 to 9"),
        (bad(validation=(np.zeros((2, 4)), np.array([0, 1]))), "validation x has shape"),
        (bad(early_stopping=EarlyStopping(3)), r"validation is None, expected \(x, y\)"),
        (bad(validation=np.zeros((2, 5))), r"validation is a ndarray, expected a tuple \(x, y\)"),
        (
            lambda rng: fit(recipe(), NETWORK, *problem(rng), start(rng, recipe())),
            "network is a Recipe, expected a Network",
        ),
        (lambda rng: fit(NETWORK, recipe(), *problem(rng), rng), "state is a Generator, expected a scratch.State"),
        (
            lambda rng: fit(NETWORK, recipe(optimizer=SGD(0.1)), *problem(rng), start(rng, recipe())),
            r"state holds the optimizer state \['exp_avg', 'exp_avg_sq'\], expected \[\] for SGD",
        ),
        (
            lambda rng: fit(NETWORK, recipe(), *problem(rng), start(rng, recipe(), NORMED)),
            r"state.params has {'0.inner.0.weight'.*}, expected {'1?0?.",
        ),
        (lambda rng: recipe(max_norm=np.inf), "max_norm is inf, expected a number greater than 0"),
        (lambda rng: SGD(np.inf), "lr is inf, expected a number at least 0"),
        (lambda rng: State.start(recipe(), None), "params is a Recipe, expected Parameters"),
        (
            lambda rng: State.start(scratch.initial_parameters(NETWORK, rng), "adam"),
            "recipe is a str, expected a Recipe, or an optimizer",
        ),
        (
            lambda rng: recipe(loss=CrossEntropy),
            r"loss is the class CrossEntropy, expected a loss such as CrossEntropy\(\)",
        ),
        (lambda rng: recipe(optimizer="adam"), "optimizer is a str, expected an optimizer such as"),
        (lambda rng: recipe(schedule=0.1), "schedule is a float, expected a schedule"),
        (lambda rng: recipe(penalty=0.1), "penalty is a float, expected a Penalty"),
        (lambda rng: recipe(early_stopping=3), "early_stopping is a int, expected an EarlyStopping"),
        (lambda rng: recipe(batch_size=0), "batch_size is 0, expected at least 1"),
        (lambda rng: recipe(epochs=-1), "epochs is -1"),
        (lambda rng: recipe(epochs=1.5), "epochs is 1.5, expected an integer"),
        (lambda rng: recipe(max_norm=0), "max_norm is 0, expected a number greater than 0"),
        (lambda rng: recipe(seed=-1), "seed is -1"),
        (lambda rng: EarlyStopping(0), "patience is 0"),
        (lambda rng: list(minibatches(0, 8, rng)), "n is 0"),
        (lambda rng: evaluation(np.zeros((0, 5)), np.zeros(0, int)), "x has shape"),
        (lambda rng: evaluation(np.zeros((2, 5), "float32"), np.zeros(2, int)), "x has dtype float32"),
        (lambda rng: evaluation(np.zeros((2, 5)), np.full(2, 3)), "y holds classes from 3 to 3"),
    ],
)
def test_bad_input_is_named_and_nothing_is_changed(attempt, message, rng):
    with pytest.raises((ValueError, TypeError), match=f"^{message}"):
        attempt(rng)


def test_of_several_losses_the_first_that_is_not_finite_stops_the_training():
    """As of an epoch on a GPU, whose other losses are numbers."""
    these = Steps(4, 0, False, [np.arange(2)] * 3, [0.3, 0.2, 0.1])
    for losses in ([1.0, np.nan, 2.0], [1.0, np.inf, np.nan]):
        with pytest.raises(DivergenceError, match=r"^the loss is (nan|inf) at step 5 \(learning rate 0.2\)"):
            scratch.train.record(None, recipe(), these, losses, None)
