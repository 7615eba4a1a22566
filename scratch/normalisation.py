"""Normalisation: layers that take the mean out of their input and scale it to variance one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scratch import checks
from scratch.layers import check_arrays, trained_shapes

if TYPE_CHECKING:
    from numpy.random import Generator

    from scratch.device import Array
    from scratch.layers import Shapes

__all__ = ["BatchNorm", "LayerNorm"]


@dataclass(frozen=True)
class BatchNorm:
    """y = γ x̂ + β,  x̂ = (x − μ) / √(σ² + ε)  for x (batch, channels, …), each channel over all axes but the second.

    In training μ and σ² are those of the batch, σ² with the divisor m, the number of values in a channel. In evaluation
    they are the running ones, which move in every training step: r ← (1 − momentum) r + momentum · batch's, for the
    variance with the divisor m − 1. That is torch's BatchNorm1d and 2d (Ioffe & Szegedy, 2015).

    Without ``affine`` there are no γ ("weight") and β ("bias").
    """

    channels: int
    momentum: float = 0.1
    eps: float = 1e-5
    affine: bool = True
    untrained = ("running_mean", "running_var")
    keeps_shape = True

    def __post_init__(self) -> None:
        # With momentum 1 the running statistics are the last batch's alone.
        checks.settle(
            self,
            channels=checks.whole("channels", self.channels, 1),
            momentum=checks.number("momentum", self.momentum, 0, below=math.nextafter(1, 2)),
            eps=checks.number("eps", self.eps, 0, above=True),
            affine=checks.flag("affine", self.affine),
        )

    def shapes(self) -> Shapes:
        names = (*(("weight", "bias") if self.affine else ()), *self.untrained)
        return dict.fromkeys(names, (self.channels,))

    def initial(self, rng: Generator) -> dict[str, Array]:  # noqa: ARG002
        one, zero = np.ones(self.channels), np.zeros(self.channels)
        return ({"weight": one, "bias": zero} if self.affine else {}) | {"running_mean": zero, "running_var": one}

    def forward(self, x: Array, *arrays: Array, training: Generator | None = None) -> tuple[Array, Any]:
        checks.float_array("x", x, ("batch", self.channels, ...))
        check_arrays(self.shapes(), arrays, x.dtype)
        *affine, mean, var = arrays
        axes, m = (0, *range(2, x.ndim)), x.size // self.channels
        if training is not None:
            checks.generator("training", training)
            if m < 2:
                raise ValueError(f"x has shape {x.shape}, expected at least two values of each channel in training")
            mean, var = x.mean(axis=axes), x.var(axis=axes)
        by_channel = (-1, *(1,) * (x.ndim - 2))
        scale = (1 / np.sqrt(var + self.eps)).reshape(by_channel)
        x_hat = (x - mean.reshape(by_channel)) * scale
        y = x_hat
        if affine:
            gamma, beta = (a.reshape(by_channel) for a in affine)
            y, scale = gamma * x_hat + beta, gamma * scale
        return y, (x_hat, scale, axes, None if training is None else (mean, var, m))

    def backward(self, dy: Array, cache: Any, *grads: Array) -> Array:
        x_hat, scale, axes, batch = cache
        checks.float_array("dy", dy, x_hat.shape, x_hat.dtype)
        check_arrays(trained_shapes(self), grads, dy.dtype, "d")
        if grads:
            dgamma, dbeta = grads
            (dy * x_hat).sum(axis=axes, out=dgamma)  # ∂L/∂γ = Σ dy x̂
            dy.sum(axis=axes, out=dbeta)  # ∂L/∂β = Σ dy
        if batch is None:
            return dy * scale  # ∂L/∂x = dy γ / √(σ² + ε)
        mean_dy, mean_dy_x_hat = (a.mean(axis=axes, keepdims=True) for a in (dy, dy * x_hat))
        return (dy - mean_dy - x_hat * mean_dy_x_hat) * scale  # ∂L/∂x = γ (dy − mean dy − x̂ mean(dy x̂)) / √(σ² + ε)

    def track(self, cache: Any, running_mean: Array, running_var: Array) -> None:
        """Move the running statistics by those of the batch that ``cache`` comes from."""
        mean, var, m = cache[3]
        running_mean *= 1 - self.momentum
        running_mean += self.momentum * mean
        running_var *= 1 - self.momentum
        running_var += self.momentum * m / (m - 1) * var


@dataclass(frozen=True)
class LayerNorm:
    """y = γ x̂ + β,  x̂ = (x − μ) / √(σ² + ε)  for x (batch, …, in), μ and σ² of each row over the last axis.

    σ² has the divisor ``n_in``; training and evaluation are alike (Ba et al., 2016). Without ``affine`` there are no γ
    ("weight") and β ("bias").
    """

    n_in: int
    eps: float = 1e-5
    affine: bool = True
    keeps_shape = True

    def __post_init__(self) -> None:
        checks.settle(
            self,
            n_in=checks.whole("n_in", self.n_in, 1),
            eps=checks.number("eps", self.eps, 0, above=True),
            affine=checks.flag("affine", self.affine),
        )

    def shapes(self) -> Shapes:
        return dict.fromkeys(("weight", "bias") if self.affine else (), (self.n_in,))

    def initial(self, rng: Generator) -> dict[str, Array]:  # noqa: ARG002
        return {"weight": np.ones(self.n_in), "bias": np.zeros(self.n_in)} if self.affine else {}

    def forward(self, x: Array, *affine: Array) -> tuple[Array, Any]:
        checks.float_array("x", x, ("batch", ..., self.n_in))
        check_arrays(self.shapes(), affine, x.dtype)
        centred = x - x.mean(axis=-1, keepdims=True)
        scale = 1 / np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + self.eps)
        x_hat = centred * scale
        if not affine:
            return x_hat, (x_hat, scale, None)
        gamma, beta = affine
        return gamma * x_hat + beta, (x_hat, scale, gamma)

    def backward(self, dy: Array, cache: Any, *grads: Array) -> Array:
        x_hat, scale, gamma = cache
        checks.float_array("dy", dy, x_hat.shape, x_hat.dtype)
        check_arrays(self.shapes(), grads, dy.dtype, "d")
        if grads:
            dgamma, dbeta = grads
            rows = tuple(range(dy.ndim - 1))
            (dy * x_hat).sum(axis=rows, out=dgamma)  # ∂L/∂γ = Σ_rows dy x̂
            dy.sum(axis=rows, out=dbeta)  # ∂L/∂β = Σ_rows dy
            dy = dy * gamma  # ∂L/∂x̂ = dy γ
        mean_dy, mean_dy_x_hat = dy.mean(axis=-1, keepdims=True), (dy * x_hat).mean(axis=-1, keepdims=True)
        return (dy - mean_dy - x_hat * mean_dy_x_hat) * scale  # ∂L/∂x = (∂x̂ − mean ∂x̂ − x̂ mean(∂x̂ x̂)) / √(σ² + ε)
