"""Every loss against autograd."""

import numpy as np
import pytest

import scratch
from scratch import MAE, MSE, BCEWithLogits, CrossEntropy
from tests.helpers import assert_as_exact_as_autograd, assert_matches_autograd
from torch_impl.counterparts import LOSSES as TORCH_LOSSES
from torch_impl.parity import every_loss, loss_parity

LOSSES = tuple(every_loss(np.ones((2, 2)), np.random.default_rng(0)))


@pytest.mark.parametrize("shape", [(1, 3), (7, 3), (7, 5), (7, 4, 3), (2, 3, 4, 5)], ids=str)
@pytest.mark.parametrize("name", LOSSES)
def test_loss_matches_autograd_in_float64(name, shape, rng):
    for _ in range(5):
        logits = 3 * rng.standard_normal(shape)
        loss, y = every_loss(logits, rng)[name]
        if loss.kinks_at_target:
            y.ravel()[0] = logits.ravel()[0]
        assert_matches_autograd(loss_parity(loss, logits, y), 1e-12)


@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.parametrize("name", LOSSES)
def test_float32_is_as_exact_as_autograd(name, batch, rng):
    single, double = [], []
    for _ in range(5):
        logits = (3 * rng.standard_normal((batch, 5))).astype("float32")
        loss, y = every_loss(logits, rng)[name]
        doubled = y.astype("float64") if y.dtype == "float32" else y
        single.append(loss_parity(loss, logits, y))
        double.append(loss_parity(loss, logits.astype("float64"), doubled))
    assert_as_exact_as_autograd(single, double)


@pytest.mark.parametrize("name", LOSSES)
def test_loss_is_stable_at_extreme_logits(name, rng):
    logits = np.array([[1e4, -1e4, 0.0], [-1e4, -1e4, 1e4]])
    loss, y = every_loss(logits, rng)[name]
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        assert_matches_autograd(loss_parity(loss, logits, y), 1e-12)


def test_gradient_does_not_alias_what_was_given(rng):
    logits = rng.standard_normal((7, 3))
    for loss, y in every_loss(logits, rng).values():
        given = logits.copy(), y.copy()
        _, dlogits = loss(logits, y)
        dlogits[:] = 1e9
        np.testing.assert_array_equal(logits, given[0])
        np.testing.assert_array_equal(y, given[1])


def test_every_loss_is_tested():
    public = [getattr(scratch, name) for name in dir(scratch)]
    losses = {c for c in public if isinstance(c, type) and hasattr(c, "value_and_grad")}
    assert losses == {type(loss) for loss, _ in every_loss(np.ones((2, 2)), np.random.default_rng(0)).values()}
    assert losses == set(TORCH_LOSSES)


@pytest.mark.parametrize(
    ("loss", "inside", "outside"),
    [
        (CrossEntropy(), np.eye(3), np.array([[1 + 1e-9, -1e-9, 0]])),
        (CrossEntropy(), np.array([[0.999, 0, 0], [0, 0, 1.001]]), np.array([[0.5, 0.501, 0], [0, 0, 1.0012]])),
        (CrossEntropy(), np.array([0, 2]), np.array([0, 3])),
        (BCEWithLogits(), np.array([[0.0, 1.0]]), np.array([[0.0, 1 + 1e-15]])),
        (BCEWithLogits(), np.array([[0.0, 1.0]]), np.array([[-1e-300, 1.0]])),
    ],
    ids=["soft target 0", "sum 1", "class", "1", "0"],
)
def test_targets_are_taken_up_to_their_bounds_and_not_beyond(loss, inside, outside):
    for y in (inside, outside):
        shape = (len(y), 3) if isinstance(loss, CrossEntropy) else y.shape
        if y is inside:
            loss.check_targets(y, shape, np.float64)
        else:
            with pytest.raises(ValueError, match=r"^y (is no distribution|holds)"):
                loss.check_targets(y, shape, np.float64)


Z = np.zeros((4, 3))


@pytest.mark.parametrize(
    ("loss", "logits", "y", "message"),
    [
        (CrossEntropy(), Z, np.array([0, 1, 2, 3]), "y holds classes from 0 to 3, expected 0 to 2"),
        (CrossEntropy(), Z, np.array([0, 1, 2, -1]), "y holds classes from -1 to 2, expected 0 to 2"),
        (CrossEntropy(), Z, np.array([0, 1, 2]), r"y has shape \(3,\), expected \(4,\)"),
        (CrossEntropy(), Z, np.array([0.0, 1, 2, 0]), "y has dtype float64, expected integer classes"),
        (CrossEntropy(), Z, np.ones((4, 3)), "y is no distribution over classes"),
        (
            CrossEntropy(),
            Z[:2],
            np.array([[0.5, 0.5, 0], [0.5, 0.75, 0.0]]),
            r"y is no distribution over classes: its least entry is 0.0, row 1 sums to 1.25; expected entries ≥ 0",
        ),
        (CrossEntropy(), np.zeros((4, 2, 3)), np.zeros(4, int), r"y has shape \(4,\), expected \(4, 2\)"),
        (CrossEntropy(), np.zeros((4, 2, 3)), np.full((4, 2), 3), "y holds classes from 3 to 3, expected 0 to 2"),
        (CrossEntropy(), np.zeros((4, 2, 3)), np.ones((4, 2, 3)), "y is no distribution over classes"),
        (CrossEntropy(), Z, [0, 1, 2, 0], "y is a list, expected a NumPy array"),
        (
            CrossEntropy(),
            Z[:0],
            np.zeros(0, int),
            r"logits has shape \(0, 3\), expected \(batch, …, out\) with at least",
        ),
        (BCEWithLogits(), Z, Z + 1.5, "y holds values from 1.5 to 1.5, expected 0 to 1"),
        (BCEWithLogits(), Z, np.zeros(4), r"y has shape \(4,\), expected \(4, 3\)"),
        (MSE(), Z, np.zeros((4, 1)), r"y has shape \(4, 1\), expected \(4, 3\)"),
        (MSE(), Z, Z.astype("float32"), "y has dtype float32, expected float64"),
        (MAE(), Z, np.full((4, 3), np.nan), r"y holds nan at index \(0, 0\), expected finite numbers"),
        (MSE(), Z.astype(int), Z, "logits has dtype int64, expected float32 or float64"),
        (MSE(), "logits", Z, "logits is a str"),
    ],
)
def test_bad_input_is_named(loss, logits, y, message):
    with pytest.raises((ValueError, TypeError), match=f"^{message}"):
        loss(logits, y)
