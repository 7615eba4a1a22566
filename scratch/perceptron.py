"""Rosenblatt's perceptron: the one model here without a gradient."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scratch import checks

if TYPE_CHECKING:
    from numpy.random import Generator

    from scratch.device import Array

__all__ = ["Perceptron", "fit_perceptron"]


@dataclass(frozen=True)
class Perceptron:
    """Class 1 where w · x + b > 0, else class 0; w (in,)."""

    w: Array
    b: float
    mistakes: tuple[int, ...]  # corrections in each epoch of its training; the last is 0 if it converged

    def __post_init__(self) -> None:
        checks.float_array("w", self.w, ("in",))
        b, mistakes = (
            checks.number("b", self.b, -math.inf),
            checks.sequence("mistakes", self.mistakes, "a tuple of counts"),
        )
        for i, n in enumerate(mistakes):
            checks.whole(f"mistakes[{i}]", n, 0)
        checks.settle(self, b=b, mistakes=mistakes)

    @property
    def converged(self) -> bool:
        return bool(self.mistakes) and self.mistakes[-1] == 0

    def predict(self, x: Array) -> Array:
        """The classes (batch,) of x (batch, in).

        Raises
            TypeError, ValueError: x is no array of that shape and of the dtype of w, or holds NaN or inf
        """
        checks.float_array("x", x, ("batch", len(self.w)), self.w.dtype)
        checks.finite("x", x)
        return (x @ self.w + self.b > 0).astype(np.int64)


def fit_perceptron(x: Array, y: Array, rng: Generator, epochs: int = 100) -> Perceptron:
    """Rosenblatt's rule (1958): at every misclassified sample  w ← w + (y − ŷ) x,  b ← b + (y − ŷ).

    x (n, in), y (n,) of classes 0 and 1. Samples come in a new random order each epoch; it ends at the first epoch
    without a mistake, which comes if and only if a hyperplane parts the classes (Novikoff, 1962), or after ``epochs``.

    Raises
        TypeError, ValueError: x or y of another kind or shape, NaN or inf in x, a class other than 0 and 1
    """
    checks.generator("rng", rng)
    checks.float_array("x", x, ("n", "in"))
    checks.finite("x", x)
    checks.whole("epochs", epochs, 1)
    checks.class_array("y", y, (len(x),), n_classes=2)
    w, b, mistakes = np.zeros(x.shape[1], x.dtype), 0.0, []
    for _ in range(epochs):
        mistakes.append(0)
        for i in rng.permutation(len(x)):
            error = int(y[i]) - int(x[i] @ w + b > 0)
            if error:
                w += error * x[i]
                b += error
                mistakes[-1] += 1
        if mistakes[-1] == 0:
            break
    return Perceptron(w, b, tuple(mistakes))
