"""What a layer is, and the layers that are not activations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from scratch import checks
from scratch.device import device_of, to_device

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    Array = NDArray[Any]


@runtime_checkable
class Layer(Protocol):
    """A frozen record of hyperparameters. It holds no arrays: what it needs is given, what it makes is returned.

    ``forward(x, *params)`` returns the output and a cache; ``backward(dy, cache, *grads)`` takes that cache, writes
    the gradient of every parameter into ``grads`` (overwriting, so there is nothing to zero) and returns ``dx``.
    ``params`` and ``grads`` come in the order of ``shapes()``.

    The one rule: **a cache is valid until the parameters are next updated.** It refers to them and to the input,
    without copies.

    Three things are optional. A layer *with parameters* takes ``need_dx``: with ``need_dx=False`` it may skip
    ``dx`` and return None, as the first layer does in training. A layer that *behaves differently in training*
    declares ``stochastic = True`` and takes ``rng``: a Generator in training, None in evaluation. A layer with
    *kinks* (inputs where the derivative jumps) declares them, so that finite differences can keep away from them.
    """

    def shapes(self) -> dict[str, tuple[int, ...]]: ...
    def forward(self, x: Array, *params: Any, **rng: Any) -> tuple[Array, Any]: ...
    def backward(self, dy: Array, cache: Any, *grads: Any, **need_dx: Any) -> Array | None: ...


@dataclass(frozen=True)
class Linear:
    """y = x Wᵀ + b  for x (batch, in), W (out, in), b (out,)."""

    n_in: int
    n_out: int

    def __post_init__(self) -> None:
        checks.whole("n_in", self.n_in, 1)
        checks.whole("n_out", self.n_out, 1)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"weight": (self.n_out, self.n_in), "bias": (self.n_out,)}

    def forward(self, x: Array, W: Array, b: Array) -> tuple[Array, tuple[Array, Array]]:
        checks.has_shape("x", x, ("batch", self.n_in))
        y = x.dot(W.T)  # half the overhead of @, which tells in a network of eight neurons
        y += b
        return y, (x, W)

    def backward(
        self, dy: Array, cache: tuple[Array, Array], dW: Array, db: Array, need_dx: bool = True
    ) -> Array | None:
        x, W = cache
        checks.has_shape("dy", dy, (len(x), self.n_out))
        dy.T.dot(x, out=dW)  # ∂L/∂W = dyᵀ x
        dy.sum(axis=0, out=db)  # ∂L/∂b = Σ_batch dy
        return dy.dot(W) if need_dx else None  # ∂L/∂x = dy W


@dataclass(frozen=True)
class Dropout:
    """y = x m / (1 − p) in training, each m ∈ {0, 1} zero with probability p; y = x in evaluation.

    "Inverted" dropout, as in torch, so that evaluation needs no scaling (Srivastava et al., 2014).
    """

    p: float
    stochastic = True

    def __post_init__(self) -> None:
        checks.number("p", self.p, 0, below=1)
        object.__setattr__(self, "p", float(self.p))

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {}

    def forward(self, x: Array, rng: Generator | None = None) -> tuple[Array, Array | None]:
        if rng is None or self.p == 0:
            return x, None
        mask = to_device(dropout_mask(rng, x.shape, self.p, x.dtype), device_of(x))
        return x * mask, mask

    def backward(self, dy: Array, cache: Array | None) -> Array:
        return dy if cache is None else dy * cache  # ∂L/∂x = dy m / (1 − p)


def dropout_mask(rng: Generator, shape: tuple[int, ...], p: float, dtype: Any) -> Array:
    """m / (1 − p): zero with probability p, else 1 / (1 − p).

    Drawn in float32 whatever the ``dtype``, so that both twins, in either precision, drop the same units.
    """
    kept = rng.random(shape, dtype=np.float32) >= p
    return np.multiply(kept, 1 / (1 - p), dtype=dtype)
