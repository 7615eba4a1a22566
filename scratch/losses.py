"""Losses: the value and the gradient in one call, from logits, averaged as torch averages them.

Each is a record with two methods: ``loss(logits, y)`` checks what it is given and returns ``(value, dlogits)``;
``value_and_grad(logits, y)`` does the same without the checks, for a training loop that made them once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from scratch import checks

if TYPE_CHECKING:
    from scratch.device import Array

__all__ = ["MAE", "MSE", "BCEWithLogits", "CrossEntropy"]


@runtime_checkable
class Loss(Protocol):
    """A mean over the batch, with its gradient.

    ``kinks_at_target`` is True where the derivative jumps at ``logits == y``.
    """

    kinks_at_target: bool

    def check_targets(self, y: Array, shape: tuple[int, ...], dtype: Any, name: str = "y") -> None:
        """Raise unless ``y``, to be called ``name``, is a target for logits of this shape (batch, …, out) and dtype."""

    def value_and_grad(self, logits: Array, y: Array) -> tuple[np.floating, Array]:
        """The loss, and its gradient with respect to ``logits``, unchecked."""
        ...

    def __call__(self, logits: Array, y: Array) -> tuple[np.floating, Array]:
        """The loss, and its gradient with respect to ``logits``."""
        ...


class _Checked:
    """The part that all losses share."""

    kinks_at_target = False

    def check_targets(self, y: Array, shape: tuple[int, ...], dtype: Any, name: str = "y") -> None:
        checks.float_array(name, y, shape, dtype)
        checks.finite(name, y)

    def value_and_grad(self, logits: Array, y: Array) -> tuple[np.floating, Array]:
        raise NotImplementedError

    def __call__(self, logits: Array, y: Array) -> tuple[np.floating, Array]:
        """The loss, and its gradient with respect to ``logits``.

        Raises
            TypeError: a dtype that is not the one expected
            ValueError: a shape, a class or a value that is not one expected
        """
        checks.float_array("logits", logits, ("batch", ..., "out"))
        self.check_targets(y, logits.shape, logits.dtype)
        return self.value_and_grad(logits, y)


@dataclass(frozen=True)
class CrossEntropy(_Checked):
    """L = −1/B Σ_b Σ_k t_bk log softmax(z_b)_k  for logits z (batch, …, classes), B the product of all other axes.

    ``y`` is an integer array (batch, …) of classes, or soft targets t (batch, …, classes) whose rows sum to one. With
    ``label_smoothing`` ε the target is (1 − ε) t + ε / classes (Szegedy et al., 2016).
    """

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        checks.settle(self, label_smoothing=checks.number("label_smoothing", self.label_smoothing, 0, below=1))

    def check_targets(self, y: Array, shape: tuple[int, ...], dtype: Any, name: str = "y") -> None:
        *batch, n_classes = shape
        if np.ndim(y) == len(batch) or np.issubdtype(getattr(y, "dtype", float), np.integer):
            checks.class_array(name, y, batch, n_classes)
            return
        super().check_targets(y, shape, dtype, name)
        sums = y.sum(axis=-1).ravel()
        if y.min() < 0 or not np.allclose(sums, 1, atol=1e-3):
            row = int(np.abs(sums - 1).argmax())
            raise ValueError(
                f"{name} is no distribution over classes: its least entry is {y.min()}, row {row} sums to {sums[row]}; "
                "expected entries ≥ 0 and rows that sum to 1"
            )

    def value_and_grad(self, logits: Array, y: Array) -> tuple[np.floating, Array]:
        if logits.ndim > 2:  # every position is a sample
            flat = logits.reshape(-1, logits.shape[-1])
            value, p = self.value_and_grad(flat, y.reshape(len(flat), *y.shape[logits.ndim - 1 :]))
            return value, p.reshape(logits.shape)
        n, eps, uniform = len(logits), self.label_smoothing, self.label_smoothing / logits.shape[1]
        z = logits - logits.max(axis=1, keepdims=True)
        p = np.exp(z)
        total = p.sum(axis=1, keepdims=True)
        p /= total
        z -= np.log(total)  # log p
        if y.ndim == 2:
            t = (1 - eps) * y + uniform if eps else y
            return -(t * z).sum() / n, (p * t.sum(axis=1, keepdims=True) - t) / n  # ∂L/∂z = (p Σt − t) / B
        rows = np.arange(n, like=y)
        value = -(1 - eps) * z[rows, y].sum() / n
        p[rows, y] -= 1 - eps
        if eps:
            value -= uniform * z.sum() / n
            p -= uniform
        p /= n  # ∂L/∂z = (p − t) / B, t = (1 − ε) onehot(y) + ε / classes
        return value, p


@dataclass(frozen=True)
class BCEWithLogits(_Checked):
    """L = mean(−t log σ(z) − (1 − t) log(1 − σ(z)))  for logits z and targets t in [0, 1], both (batch, …, out).

    Computed as max(z, 0) − z t + log(1 + e^−|z|), which is exact at any z.
    """

    def check_targets(self, y: Array, shape: tuple[int, ...], dtype: Any, name: str = "y") -> None:
        super().check_targets(y, shape, dtype, name)
        if y.min() < 0 or y.max() > 1:
            raise ValueError(f"{name} holds values from {y.min()} to {y.max()}, expected 0 to 1")

    def value_and_grad(self, logits: Array, y: Array) -> tuple[np.floating, Array]:
        z = logits
        e = np.exp(-np.abs(z))
        value = (np.maximum(z, 0) - z * y + np.log1p(e)).sum() / z.size
        p = np.exp(np.minimum(z, 0)) / (1 + e)  # σ(z), as scratch.activations.sigmoid has it
        return value, (p - y) / z.size  # ∂L/∂z = (σ(z) − t) / (B K)


@dataclass(frozen=True)
class MSE(_Checked):
    """L = mean((z − t)²)  over all elements of z and t (batch, …, out)."""

    def value_and_grad(self, logits: Array, y: Array) -> tuple[np.floating, Array]:
        r = logits - y
        return (r * r).sum() / r.size, r * (2 / r.size)  # ∂L/∂z = 2 (z − t) / (B K)


@dataclass(frozen=True)
class MAE(_Checked):
    """L = mean(|z − t|)  over all elements of z and t (batch, …, out); the derivative at z = t is 0."""

    kinks_at_target = True

    def value_and_grad(self, logits: Array, y: Array) -> tuple[np.floating, Array]:
        r = logits - y
        return np.abs(r).sum() / r.size, np.sign(r) / r.size  # ∂L/∂z = sign(z − t) / (B K)
