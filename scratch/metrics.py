"""Metrics of classifiers, on integer arrays of classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scratch import checks

if TYPE_CHECKING:
    from scratch.device import Array

__all__ = ["accuracy", "confusion_matrix", "per_class", "predicted_classes"]


@dataclass(frozen=True)
class PerClass:
    """Precision, recall, F1 score and number of samples of every class, each an array (classes,)."""

    precision: Array
    recall: Array
    f1: Array
    support: Array


def predicted_classes(logits: Array) -> Array:
    """The classes (n, …) that logits (n, …, classes) speak for; a single column speaks for class 1 where it is > 0.

    Raises
        TypeError, ValueError: no float array of that shape, or NaN or inf in it
    """
    checks.float_array("logits", logits, ("n", ..., "classes"))
    checks.finite("logits", logits)
    return (logits[..., 0] > 0).astype(np.int64) if logits.shape[-1] == 1 else logits.argmax(axis=-1)


def accuracy(labels: Array, predicted: Array) -> float:
    """The fraction of samples whose predicted class is their label; both (n, …).

    Raises
        TypeError, ValueError: no integer arrays of one shape
    """
    _check(labels, predicted)
    return float((labels == predicted).mean())


def confusion_matrix(labels: Array, predicted: Array, n_classes: int) -> Array:
    """Counts (n_classes, n_classes): row i, column j holds the samples of class i that were taken for class j.

    Raises
        TypeError, ValueError: no integer arrays of one shape, or a class outside 0 … n_classes − 1
    """
    n_classes = checks.whole("n_classes", n_classes, 1)
    _check(labels, predicted, n_classes)
    # In int64, whatever the labels came in: 16 · 17 is no uint8.
    pairs = labels.astype(np.int64) * n_classes + predicted.astype(np.int64)
    return np.bincount(pairs.ravel(), minlength=n_classes**2).reshape(n_classes, n_classes)


def per_class(confusion: Array) -> PerClass:
    """Precision, recall and F1 score of every class from a confusion matrix; 0 where there is nothing to divide by.

    Raises
        TypeError: ``confusion`` is no array of integers
        ValueError: it is not square, or holds a count below 0
    """
    checks.class_array("confusion", confusion, ("classes", "classes"))
    checks.has_shape("confusion", confusion, ("classes", len(confusion)))
    if confusion.min() < 0:
        raise ValueError(f"confusion holds {confusion.min()}, expected counts of at least 0")
    confusion = confusion.astype(np.int64)  # the sums of small integers are no small integers
    hits, taken, support = confusion.diagonal(), confusion.sum(axis=0), confusion.sum(axis=1)
    return PerClass(
        precision=hits / np.maximum(taken, 1),
        recall=hits / np.maximum(support, 1),
        f1=2 * hits / np.maximum(taken + support, 1),  # = 2 P R / (P + R)
        support=support,
    )


def _check(labels: Array, predicted: Array, n_classes: int | None = None) -> None:
    checks.class_array("labels", labels, ("n", ...), n_classes)
    checks.class_array("predicted", predicted, ("n", ...), n_classes)
    if predicted.shape != labels.shape:
        raise ValueError(f"predicted has shape {predicted.shape}, expected {labels.shape}, that of labels")
