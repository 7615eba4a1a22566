"""Activations: layers without parameters. All but Softmax act on each element by itself.

Where a derivative jumps, the convention is torch's and is stated: ReLU′(0) = 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache as memoized
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from scratch import checks

if TYPE_CHECKING:
    from scratch.device import Array

__all__ = ["ELU", "GELU", "Identity", "LeakyReLU", "ReLU", "SiLU", "Sigmoid", "Softmax", "Tanh"]


class Activation:
    """A layer without parameters: ``forward(x) -> (y, cache)``, ``backward(dy, cache) -> dx``, x of any shape."""

    kinks: ClassVar[tuple[float, ...]] = ()  # inputs where the derivative jumps
    keeps_shape: ClassVar[bool] = True

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {}

    def forward(self, x: Array) -> tuple[Array, Any]:
        raise NotImplementedError

    def backward(self, dy: Array, cache: Any) -> Array:
        raise NotImplementedError


@dataclass(frozen=True)
class Identity(Activation):
    """y = x."""

    def forward(self, x: Array) -> tuple[Array, None]:
        checks.floats("x", x)
        return x, None

    def backward(self, dy: Array, cache: None) -> Array:  # noqa: ARG002
        checks.floats("dy", dy)
        return dy


@dataclass(frozen=True)
class ReLU(Activation):
    """y = max(x, 0); the derivative at 0 is 0."""

    kinks = (0.0,)

    def forward(self, x: Array) -> tuple[Array, Array]:
        checks.floats("x", x)
        return np.maximum(x, 0), x

    def backward(self, dy: Array, cache: Array) -> Array:
        x = cache
        checks.float_array("dy", dy, x.shape, x.dtype)
        return dy * (x > 0)  # y′ = [x > 0]


@dataclass(frozen=True)
class LeakyReLU(Activation):
    """y = x for x > 0, else slope · x; the derivative at 0 is the slope (Maas et al., 2013)."""

    slope: float = 0.01
    kinks = (0.0,)

    def __post_init__(self) -> None:
        checks.settle(self, slope=checks.number("slope", self.slope, 0))

    def forward(self, x: Array) -> tuple[Array, Array]:
        checks.floats("x", x)
        return np.where(x > 0, x, self.slope * x), x

    def backward(self, dy: Array, cache: Array) -> Array:
        x = cache
        checks.float_array("dy", dy, x.shape, x.dtype)
        return np.where(x > 0, dy, self.slope * dy)  # y′ = 1 or slope


@dataclass(frozen=True)
class ELU(Activation):
    """y = x for x > 0, else α (eˣ − 1); the derivative at 0 is α (Clevert et al., 2016)."""

    alpha: float = 1.0
    kinks = (0.0,)  # for α ≠ 1

    def __post_init__(self) -> None:
        checks.settle(self, alpha=checks.number("alpha", self.alpha, 0))

    def forward(self, x: Array) -> tuple[Array, Array]:
        checks.floats("x", x)
        return np.where(x > 0, x, self.alpha * np.expm1(np.minimum(x, 0))), x

    def backward(self, dy: Array, cache: Array) -> Array:
        x = cache
        checks.float_array("dy", dy, x.shape, x.dtype)
        return np.where(x > 0, dy, dy * self.alpha * np.exp(np.minimum(x, 0)))  # y′ = 1 or α eˣ


@dataclass(frozen=True)
class Sigmoid(Activation):
    """y = σ(x) = 1 / (1 + e⁻ˣ)."""

    def forward(self, x: Array) -> tuple[Array, Array]:
        checks.floats("x", x)
        y = sigmoid(x)
        return y, y

    def backward(self, dy: Array, cache: Array) -> Array:
        y = cache
        checks.float_array("dy", dy, y.shape, y.dtype)
        return dy * y * (1 - y)  # y′ = y (1 − y)


@dataclass(frozen=True)
class Tanh(Activation):
    """y = tanh x."""

    def forward(self, x: Array) -> tuple[Array, Array]:
        checks.floats("x", x)
        y = np.tanh(x)
        return y, y

    def backward(self, dy: Array, cache: Array) -> Array:
        y = cache
        checks.float_array("dy", dy, y.shape, y.dtype)
        return dy * (1 - y * y)  # y′ = 1 − y²


@dataclass(frozen=True)
class SiLU(Activation):
    """y = x σ(x), also called swish (Elfwing et al., 2018)."""

    def forward(self, x: Array) -> tuple[Array, tuple[Array, Array]]:
        checks.floats("x", x)
        s = sigmoid(x)
        return x * s, (x, s)

    def backward(self, dy: Array, cache: tuple[Array, Array]) -> Array:
        x, s = cache
        checks.float_array("dy", dy, x.shape, x.dtype)
        return dy * s * (1 + x * (1 - s))  # y′ = σ + x σ (1 − σ)


@dataclass(frozen=True)
class GELU(Activation):
    """y = x Φ(x), Φ the normal distribution function, or its approximation with tanh (Hendrycks & Gimpel, 2016).

    ``approximate`` is "none" (Φ from the error function) or "tanh", as in torch.
    """

    approximate: Literal["none", "tanh"] = "none"

    def __post_init__(self) -> None:
        checks.choice("approximate", self.approximate, {"none": 0, "tanh": 0})

    def forward(self, x: Array) -> tuple[Array, tuple[Array, Array, Array]]:
        checks.floats("x", x)
        if self.approximate == "tanh":
            u = math.sqrt(8 / math.pi) * (x + 0.044715 * x**3)
            phi, rest = sigmoid(u), sigmoid(-u)  # Φ ≈ (1 + tanh(u/2)) / 2 = σ(u), and 1 − Φ without cancellation
        else:
            phi, rest = erfc(-x / math.sqrt(2)) / 2, x
        return x * phi, (x, phi, rest)

    def backward(self, dy: Array, cache: tuple[Array, Array, Array]) -> Array:
        x, phi, rest = cache
        checks.float_array("dy", dy, x.shape, x.dtype)
        if self.approximate == "tanh":
            dphi = phi * rest * math.sqrt(8 / math.pi) * (1 + 3 * 0.044715 * x * x)  # Φ′ ≈ σ (1 − σ) u′
        else:
            dphi = np.exp(-x * x / 2) / math.sqrt(2 * math.pi)  # Φ′ = the normal density
        return dy * (phi + x * dphi)  # y′ = Φ + x Φ′


@dataclass(frozen=True)
class Softmax(Activation):
    """y_k = eˣᵏ / Σ_j eˣʲ over the last axis, whose rows sum to one.

    A classifier does not end in one: :class:`scratch.losses.CrossEntropy` takes logits.
    """

    def forward(self, x: Array) -> tuple[Array, Array]:
        checks.floats("x", x)
        y = np.exp(x - x.max(axis=-1, keepdims=True))
        y /= y.sum(axis=-1, keepdims=True)
        return y, y

    def backward(self, dy: Array, cache: Array) -> Array:
        y = cache
        checks.float_array("dy", dy, y.shape, y.dtype)
        return y * (dy - (dy * y).sum(axis=-1, keepdims=True))  # ∂L/∂x_k = y_k (dy_k − Σ_j dy_j y_j)


def sigmoid(x: Array) -> Array:
    """σ(x) = 1 / (1 + e⁻ˣ) = e^min(x, 0) / (1 + e^−|x|), where e is only raised to powers ≤ 0."""
    return np.exp(np.minimum(x, 0)) / (1 + np.exp(-np.abs(x)))


def erfc(x: Array) -> Array:
    """The complementary error function 1 − erf(x), which NumPy lacks; relative error below 2e-13 for |x| ≤ 26.

    For z ≥ 0, erfc(z) = t exp(g(t) − z²) with t = 2 / (2 + z), and g is so smooth that a Chebyshev series of
    degree 24 holds it to the last bits; erfc(−z) = 2 − erfc(z). The mapping is that of Numerical Recipes, § 6.2.2;
    the coefficients are interpolated here, from the standard library's ``math.erfc``.
    """
    z = np.minimum(np.abs(x), _ERFC_END)
    t = 2 / (2 + z)
    y = t * np.exp(_erfc_series(t) - z * z)
    return np.where(x >= 0, y, 2 - y)


_ERFC_END = 26.0  # erfc(26) = 6e-296; at 27 it is no longer a normal double


def _erfc_series(t: Array) -> Array:
    """g(t) by Clenshaw's recurrence."""
    u = (t - _ERFC_MIDDLE) / _ERFC_HALF
    b0, b1 = np.zeros_like(u), np.zeros_like(u)
    coefficients = _erfc_coefficients()
    for c in coefficients[:0:-1]:
        b0, b1 = c + 2 * u * b0 - b1, b0
    return coefficients[0] + u * b0 - b1


_ERFC_MIDDLE = (1 + 2 / (2 + _ERFC_END)) / 2  # t runs from 2 / (2 + 26) to 1
_ERFC_HALF = (1 - 2 / (2 + _ERFC_END)) / 2


@memoized
def _erfc_coefficients() -> tuple[float, ...]:
    def g(u: Array) -> Array:
        z = 2 / (_ERFC_MIDDLE + _ERFC_HALF * u) - 2
        return np.array([math.log(math.erfc(v) * (1 + v / 2)) + v * v for v in z])

    return tuple(np.polynomial.chebyshev.chebinterpolate(g, 24).tolist())  # type: ignore[type-var]
