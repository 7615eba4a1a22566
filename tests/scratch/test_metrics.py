import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from scratch import accuracy, confusion_matrix, per_class, predicted_classes


@pytest.mark.parametrize("n", [3, 10, 200])
def test_metrics_are_scikit_learns(n, rng):
    labels, predicted = rng.integers(0, 5, n), rng.integers(0, 6, n)  # class 5 is predicted but never true
    matrix = confusion_matrix(labels, predicted, 7)  # class 6 is neither
    np.testing.assert_array_equal(matrix, sklearn_metrics.confusion_matrix(labels, predicted, labels=range(7)))
    assert accuracy(labels, predicted) == sklearn_metrics.accuracy_score(labels, predicted)
    ours = per_class(matrix)
    theirs = sklearn_metrics.precision_recall_fscore_support(labels, predicted, labels=range(7), zero_division=0)
    for a, b in zip((ours.precision, ours.recall, ours.f1, ours.support), theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-14)


def test_predicted_classes_of_one_column_and_of_many():
    np.testing.assert_array_equal(predicted_classes(np.array([[-1.0], [0.0], [0.5]])), [0, 0, 1])
    np.testing.assert_array_equal(predicted_classes(np.array([[[0.0, 2, 1], [5, 4, 3]]])), [[1, 0]])
    np.testing.assert_array_equal(predicted_classes(np.array([[1.0, 2.0, 0.0], [3.0, 2.0, 0.0]])), [1, 0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: accuracy(np.array([0, 1]), np.array([0])), r"predicted has shape \(1,\), expected \(2,\)"),
        (lambda: accuracy(np.zeros(0, int), np.zeros(0, int)), r"labels has shape \(0,\), expected \(n, …\)"),
        (lambda: accuracy(np.array([0.0]), np.array([0])), "labels has dtype float64, expected integer classes"),
        (lambda: accuracy([0], [0]), "labels is a list, expected a NumPy array"),
        (
            lambda: confusion_matrix(np.array([3]), np.array([0]), 3),
            "labels holds classes from 3 to 3, expected 0 to 2",
        ),
        (lambda: confusion_matrix(np.array([0]), np.array([-1]), 3), "predicted holds classes from -1"),
        (lambda: confusion_matrix(np.array([0]), np.array([0]), 0), "n_classes is 0, expected at least 1"),
        (lambda: per_class(np.zeros((2, 3), int)), r"confusion has shape \(2, 3\)"),
        (lambda: predicted_classes(np.full((1, 3), np.nan)), "logits holds nan"),
        (lambda: predicted_classes(np.zeros(3)), r"logits has shape \(3,\), expected \(n, …, classes\)"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises((ValueError, TypeError), match=f"^{message}"):
        call()
