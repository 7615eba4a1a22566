"""Moved images."""

import numpy as np
import pytest

import scratch
from scratch import Shift, State
from tests.torch_impl.trainings import data, recipe


def test_a_move_is_that_of_the_image():
    image = np.zeros((6, 7))  # no square: a row down is seven pixels on
    image[2:4, 2:4] = [[1, 2], [3, 4]]
    shift = Shift((6, 7), pixels=2)
    padded = shift.padded(image.reshape(1, -1))
    seen = set()
    for seed in range(200):
        start = shift.start(np.random.default_rng(seed))
        moved = padded[:, start : start + 42].reshape(6, 7)
        corners = [
            (down, right)
            for down in range(-2, 3)
            for right in range(-2, 3)
            if np.array_equal(moved, np.roll(image, (-down, -right), (0, 1)))
        ]
        assert len(corners) == 1
        seen.update(corners)
    assert len(seen) == 25, "every move comes up"


def test_an_image_may_be_one_row_or_one_column():
    for shape in ((1, 4), (4, 1)):
        np.testing.assert_array_equal(Shift(shape).padded(np.ones((2, 4)))[:, Shift(shape).margin :][:, :4], 1)


def test_the_background_comes_in():
    padded = Shift((2, 3)).padded(np.arange(6.0).reshape(1, 6) - 9)
    np.testing.assert_array_equal(padded, [[*[-9] * 4, -9, -8, -7, -6, -5, -4, *[-9] * 4]])


def test_every_batch_is_moved_and_evaluation_is_not():
    network, r = scratch.mlp((8, 3), scratch.ReLU()), recipe(optimizer=scratch.SGD(0.0), epochs=1)
    x, y = np.random.default_rng(0).standard_normal((23, 8)), data()[1]
    runs = []
    for augment in (None, Shift((2, 4))):
        changed = recipe(optimizer=scratch.SGD(0.0), epochs=1, augment=augment)
        state = State.start(scratch.initial_parameters(network, np.random.default_rng(1)), changed)
        runs.append(list(scratch.fit(network, changed, x, y, state, (x, y))))
    assert runs[0][-1].validation.loss == runs[1][-1].validation.loss
    assert sum(np.abs(a.logits - b.logits).max() > 1e-6 for a, b in zip(*runs, strict=True)) >= 2
    assert r.augment is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Shift((0, 4)), r"shape\[0\] is 0, expected at least 1"),
        (lambda: Shift((2, 4), 0), "pixels is 0, expected at least 1"),
        (lambda: Shift((2, 4)).padded(np.ones((3, 5))), r"x has shape \(3, 5\), expected \(n, 8\)"),
        (lambda: recipe(augment="shift"), "augment is a str, expected a Shift"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        call()


def test_data_that_are_no_such_images_are_named():
    network = scratch.mlp((5, 3), scratch.ReLU())
    r = recipe(augment=Shift((2, 4)))
    x, y, _ = data()
    state = State.start(scratch.initial_parameters(network, np.random.default_rng(1)), r)
    with pytest.raises(ValueError, match="expected a shape of 5 pixels, as x has them"):
        scratch.fit(network, r, x, y, state)
