"""A state is known again: it goes on with what it trained, and with nothing else."""

from dataclasses import replace

import numpy as np
import pytest

import scratch
from scratch import Adam, Constant, CrossEntropy, EarlyStopping, Penalty, Recipe, Shift, State, Tanh, mlp
from scratch.identity import identity

NETWORK = mlp((5, 4, 3), Tanh())
RECIPE = Recipe(loss=CrossEntropy(), optimizer=Adam(), epochs=4, batch_size=8)
X, Y = np.random.default_rng(0).standard_normal((20, 5)), np.arange(20) % 3


def begun(recipe=RECIPE, validation=None, steps=2):
    state = State.start(scratch.initial_parameters(NETWORK, np.random.default_rng(1)), recipe)
    for record in scratch.fit(NETWORK, recipe, X, Y, state, validation):
        if record.step == steps:
            break
    return state


OTHER_X, OTHER_Y = X.copy(), Y.copy()
OTHER_X[7, 3] = np.nextafter(OTHER_X[7, 3], 9)
OTHER_Y[11] = (OTHER_Y[11] + 1) % 3


@pytest.mark.parametrize(
    ("changes", "x", "y", "network", "message"),
    [
        ({"batch_size": 10}, X, Y, NETWORK, "batch_size was 8 and is 10"),
        ({"seed": 1}, X, Y, NETWORK, "seed was 0 and is 1"),
        ({"optimizer": Adam(2e-3)}, X, Y, NETWORK, r"optimizer was Adam\(lr=0.001, .*\) and is Adam\(lr=0.002, .*\)"),
        ({"loss": CrossEntropy(0.1)}, X, Y, NETWORK, "loss was CrossEntropy"),
        ({"schedule": scratch.CosineDecay(12)}, X, Y, NETWORK, r"schedule was Constant\(\) and is CosineDecay"),
        ({"penalty": Penalty(l2=0.1)}, X, Y, NETWORK, "penalty was Penalty"),
        ({"max_norm": 1.0}, X, Y, NETWORK, "max_norm was None and is 1.0"),
        ({"augment": Shift((1, 5))}, X, Y, NETWORK, "augment was None and is Shift"),
        ({}, OTHER_X, Y, NETWORK, r"x was float64 \(20, 5\) with SHA-256 \w{16} and is float64 \(20, 5\) with SHA-256"),
        ({}, X, OTHER_Y, NETWORK, r"y was int64 \(20,\) with SHA-256"),
        ({}, X[:19], Y[:19], NETWORK, r"x was float64 \(20, 5\) .* and is float64 \(19, 5\) .*; y was"),
        ({}, X, Y, mlp((5, 4, 3), scratch.ReLU()), r"network was Network\(.*Tanh.*\) and is Network\(.*ReLU"),
        ({"seed": 1, "batch_size": 10}, X, Y, NETWORK, "batch_size was 8 and is 10; seed was 0 and is 1"),
    ],
)
def test_another_training_is_refused_with_what_differs_and_nothing_is_changed(changes, x, y, network, message):
    state = begun()
    before, noted = state.params.vector.copy(), dict(state.training)
    with pytest.raises(ValueError, match=f"^state is of another training: {message}.*State.start.*in a new folder$"):
        scratch.fit(network, replace(RECIPE, **changes), x, y, state)
    np.testing.assert_array_equal(state.params.vector, before)
    assert state.training == noted
    fresh = State.start(state.params, replace(RECIPE, **changes))  # as the sentence advises
    list(scratch.fit(network, replace(RECIPE, **changes), x, y, fresh))


def test_a_longer_training_begins_as_the_shorter_one_did():
    longer = replace(RECIPE, epochs=6)
    whole, state = begun(longer, steps=99), begun(steps=99)
    assert state.progress.step == 12
    list(scratch.fit(NETWORK, longer, X, Y, state))
    np.testing.assert_array_equal(state.params.vector, whole.params.vector)


def test_a_state_is_not_taken_beyond_the_end():
    state = begun(steps=99)
    assert list(scratch.fit(NETWORK, RECIPE, X, Y, state)) == []
    with pytest.raises(ValueError, match="^state is at step 12, expected at most the 9 of the recipe: epochs is 3"):
        scratch.fit(NETWORK, replace(RECIPE, epochs=3), X, Y, state)


def test_validation_data_and_epochs_belong_to_early_stopping():
    stopping = replace(RECIPE, early_stopping=EarlyStopping(9))
    state = begun(stopping, (X, Y))
    with pytest.raises(ValueError, match="validation y was int64"):
        scratch.fit(NETWORK, stopping, X, Y, state, (X, OTHER_Y))
    with pytest.raises(ValueError, match="validation x was float64"):
        scratch.fit(NETWORK, stopping, X, Y, state, (OTHER_X, Y))
    with pytest.raises(ValueError, match="epochs was 4 and is 5"):
        scratch.fit(NETWORK, replace(stopping, epochs=5), X, Y, state, (X, Y))
    state = begun(RECIPE, (X, Y))
    assert len(list(scratch.fit(NETWORK, RECIPE, X, Y, state, (X, OTHER_Y)))) == 10


def halved(step):
    return 0.5


def test_what_is_known_again_depends_on_neither_addresses_nor_memory():
    recipe = replace(RECIPE, schedule=halved)
    said = identity(NETWORK, recipe, X, Y, None)
    assert said["schedule"] == "<function halved>"
    for x in (np.asfortranarray(X), X.astype(">f8"), X[::-1].copy()[::-1]):
        assert identity(NETWORK, recipe, x, Y.astype(">i8"), None) == said
    assert identity(NETWORK, replace(recipe, schedule=Constant()), X, Y, None) != said


def test_a_checkpoint_keeps_it(tmp_path):
    state = begun()
    scratch.save_state(tmp_path / "state.safetensors", state)
    loaded = scratch.load_state(tmp_path / "state.safetensors", NETWORK)
    assert loaded.training == state.training == state.to("cpu").training
    assert loaded.training.keys() == {"network", "x", "y", *vars(RECIPE)}
    with pytest.raises(ValueError, match="seed was 0 and is 5"):
        scratch.fit(NETWORK, replace(RECIPE, seed=5), X, Y, loaded)
