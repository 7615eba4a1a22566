import numpy as np
import pytest

from scratch import Perceptron, fit_perceptron

POINTS = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])


@pytest.mark.parametrize(
    "y", [[0, 0, 0, 1], [0, 1, 1, 1], [1, 1, 1, 0], [1, 0, 0, 0]], ids=["and", "or", "nand", "nor"]
)
def test_it_converges_where_a_line_parts_the_classes(y, rng):
    perceptron = fit_perceptron(POINTS, np.array(y), rng)
    assert perceptron.converged
    assert perceptron.mistakes.index(0) == len(perceptron.mistakes) - 1  # and stops there
    np.testing.assert_array_equal(perceptron.predict(POINTS), y)


def test_it_never_comes_to_rest_on_xor(rng):
    perceptron = fit_perceptron(POINTS, np.array([0, 1, 1, 0]), rng, epochs=500)
    assert not perceptron.converged
    assert len(perceptron.mistakes) == 500
    assert min(perceptron.mistakes) > 0


def test_a_point_is_of_class_one_beyond_the_line_and_not_on_it():
    perceptron = Perceptron(np.array([2.0, 0.0]), -1.0, ())
    np.testing.assert_array_equal(perceptron.predict(np.array([[0.5, 9.0], [0.75, 0.0], [0.25, 0.0]])), [0, 1, 0])
    assert not perceptron.converged
    with pytest.raises(ValueError, match=r"^x has shape \(4, 3\), expected \(batch, 2\)"):
        perceptron.predict(np.ones((4, 3)))


def test_every_step_is_rosenblatts():
    class InOrder(np.random.Generator):
        def permutation(self, n):
            return np.arange(n)

    x, y = np.array([[1.0, 2.0], [-1.0, 3.0]]), np.array([0, 1])
    # Sample 0: 0 > 0 is false, right. Sample 1: taken for 0, so w = (-1, 3), b = 1.
    # Then sample 0: -1 + 6 + 1 > 0, taken for 1, so w = (-2, 1), b = 0. Sample 1: 2 + 3 > 0, right.
    perceptron = fit_perceptron(x, y, InOrder(np.random.PCG64()), epochs=2)
    np.testing.assert_array_equal(perceptron.w, [-2, 1])
    assert perceptron.b == 0
    assert perceptron.mistakes == (1, 1)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (POINTS, np.array([0, 1, 2, 0]), "y holds classes from 0 to 2, expected 0 to 1"),
        (POINTS, np.array([0.0, 1, 1, 0]), "y has dtype float64, expected integer classes"),
        (POINTS, np.array([0, 1]), r"y has shape \(2,\), expected \(4,\)"),
        (POINTS[0], np.array([0, 1]), r"x has shape \(2,\), expected \(n, in\)"),
        (POINTS * np.nan, np.array([0, 1, 1, 0]), "x holds nan"),
        (POINTS.astype(int), np.array([0, 1, 1, 0]), "x has dtype int64"),
    ],
)
def test_bad_input_is_named(x, y, message, rng):
    with pytest.raises((ValueError, TypeError), match=f"^{message}"):
        fit_perceptron(x, y, rng)


def test_no_epoch_is_none(rng):
    with pytest.raises(ValueError, match="^epochs is 0, expected at least 1"):
        fit_perceptron(POINTS, np.array([0, 0, 0, 1]), rng, epochs=0)
