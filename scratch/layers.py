"""What a layer is, and the layers that belong to no family of their own."""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from scratch import checks
from scratch.device import add_at, device_of, to_device

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.random import Generator

    from scratch.device import Array

    Shapes = dict[str, tuple[int, ...]]

__all__ = ["Dropout", "Embedding", "Flatten", "Layer", "Linear", "Projection"]


@runtime_checkable
class Layer(Protocol):
    """A frozen record of hyperparameters. It holds no arrays: what it needs is given, what it makes is returned.

    ``shapes()`` names the layer's arrays. ``forward(x, *arrays)`` takes them in that order and returns the output and a
    cache; it changes nothing. ``backward(dy, cache, *grads)`` takes that cache, writes the gradient of every trained
    array into ``grads``, in that order (overwriting, so there is nothing to zero), and returns ``dx``.

    The one rule: **a cache is valid until the arrays are next updated.** It refers to them and to the input, without
    copies.

    The rest is optional, and read from the layer itself:

    - ``forward`` that behaves differently in training takes the keyword ``training``: a Generator to draw from in
      training, None in evaluation. A layer that does draw from it says ``stochastic = True``.
    - ``backward`` that can do without dx takes the keyword ``need_dx``. With ``need_dx=False``, as the first layer is
      called in training, it may return None. Everywhere else None is an error.
    - ``untrained`` names the arrays that no optimizer changes (running statistics). In a training step
      ``track(cache, *untrained)`` moves them in place, while the cache of the forward pass is valid. ``shapes()`` names
      them last, as torch lists a module's buffers behind its parameters.
    - ``initial(rng)`` returns the initial values, by name, that :mod:`scratch.init` should not choose by its own rule.
    - ``n_in`` and ``n_out`` are widths that neighbours in a network must agree on; ``keeps_shape = True`` says that
      the output has the input's shape.
    - ``integer_input = True`` says that x holds integers from 0 to ``n_in`` − 1. Such a layer returns no dx, and
      stands at the input of a network.
    - ``kinks`` are inputs where the derivative jumps, so that finite differences can keep away from them.
    """

    def shapes(self) -> Shapes: ...
    def forward(self, x: Array, *arrays: Any, **training: Any) -> tuple[Array, Any]: ...
    def backward(self, dy: Array, cache: Any, *grads: Any, **need_dx: Any) -> Array | None: ...


def takes(method: Any, keyword: str) -> bool:
    """Whether a layer's method takes this keyword: "training" or "need_dx"."""
    return keyword in inspect.signature(method).parameters


def trained_shapes(layer: Layer) -> Shapes:
    """The shapes of the arrays that an optimizer changes, by name."""
    untrained = getattr(layer, "untrained", ())
    return {name: shape for name, shape in layer.shapes().items() if name not in untrained}


@dataclass(frozen=True)
class Linear:
    """y = x Wᵀ + b  for x (batch, in), W (out, in), b (out,)."""

    n_in: int
    n_out: int

    def __post_init__(self) -> None:
        widths(self)

    def shapes(self) -> Shapes:
        return {"weight": (self.n_out, self.n_in), "bias": (self.n_out,)}

    def forward(self, x: Array, W: Array, b: Array) -> tuple[Array, tuple[Array, Array]]:
        checks.float_array("x", x, ("batch", self.n_in))
        checks.float_array("W", W, (self.n_out, self.n_in), x.dtype)
        checks.float_array("b", b, (self.n_out,), x.dtype)
        y = x.dot(W.T)  # half the overhead of @, which tells in a network of eight neurons
        y += b
        return y, (x, W)

    def backward(
        self, dy: Array, cache: tuple[Array, Array], dW: Array, db: Array, need_dx: bool = True
    ) -> Array | None:
        x, W = cache
        checks.float_array("dy", dy, (len(x), self.n_out), x.dtype)
        checks.float_array("dW", dW, W.shape, x.dtype)
        checks.float_array("db", db, (self.n_out,), x.dtype)
        dy.T.dot(x, out=dW)  # ∂L/∂W = dyᵀ x
        dy.sum(axis=0, out=db)  # ∂L/∂b = Σ_batch dy
        return dy.dot(W) if need_dx else None  # ∂L/∂x = dy W


@dataclass(frozen=True)
class Projection:
    """y = x Wᵀ  for x (batch, in), W (out, in): a linear layer without bias.

    It stands before a BatchNorm, which would take a bias out again: the gradient of such a bias is rounding alone, of
    which Adam makes steps nevertheless.
    """

    n_in: int
    n_out: int

    def __post_init__(self) -> None:
        widths(self)

    def shapes(self) -> Shapes:
        return {"weight": (self.n_out, self.n_in)}

    def forward(self, x: Array, W: Array) -> tuple[Array, tuple[Array, Array]]:
        checks.float_array("x", x, ("batch", self.n_in))
        checks.float_array("W", W, (self.n_out, self.n_in), x.dtype)
        return x.dot(W.T), (x, W)

    def backward(self, dy: Array, cache: tuple[Array, Array], dW: Array, need_dx: bool = True) -> Array | None:
        x, W = cache
        checks.float_array("dy", dy, (len(x), self.n_out), x.dtype)
        checks.float_array("dW", dW, W.shape, x.dtype)
        dy.T.dot(x, out=dW)  # ∂L/∂W = dyᵀ x
        return dy.dot(W) if need_dx else None  # ∂L/∂x = dy W


@dataclass(frozen=True)
class Dropout:
    """y = x m / (1 − p) in training, each m ∈ {0, 1} zero with probability p; y = x in evaluation.

    "Inverted" dropout, as in torch, so that evaluation needs no scaling (Srivastava et al., 2014).
    """

    p: float
    stochastic = True
    keeps_shape = True

    def __post_init__(self) -> None:
        checks.settle(self, p=checks.number("p", self.p, 0, below=1))

    def shapes(self) -> Shapes:
        return {}

    def forward(self, x: Array, training: Generator | None = None) -> tuple[Array, Array | None]:
        checks.floats("x", x)
        if training is None or self.p == 0:
            return x, None
        checks.generator("training", training)
        mask = to_device(dropout_mask(training, x.shape, self.p, x.dtype), device_of(x))
        return x * mask, mask

    def backward(self, dy: Array, cache: Array | None) -> Array:
        checks.floats("dy", dy)
        if cache is not None:
            checks.has_shape("dy", dy, cache.shape)
        return dy if cache is None else dy * cache  # ∂L/∂x = dy m / (1 − p)


@dataclass(frozen=True)
class Embedding:
    """y = W[x]  for integers x (batch, …) from 0 to in − 1, W (in, out): a row of W for each, y (batch, …, out).

    It is a linear layer of one-hot vectors. Integers have no gradient, so it stands at the input of a network, which
    checks their range.
    """

    n_in: int
    n_out: int
    integer_input = True

    def __post_init__(self) -> None:
        widths(self)

    def shapes(self) -> Shapes:
        return {"weight": (self.n_in, self.n_out)}

    def initial(self, rng: Generator) -> dict[str, Array]:
        checks.generator("rng", rng)
        return {"weight": rng.standard_normal((self.n_in, self.n_out))}  # no fan-in: a row is taken, not summed over

    def forward(self, x: Array, W: Array) -> tuple[Array, Array]:
        checks.class_array("x", x, ("batch", ...))
        checks.float_array("W", W, (self.n_in, self.n_out))
        return W.take(x, axis=0), x

    def backward(self, dy: Array, cache: Array, dW: Array) -> None:
        x = cache
        checks.float_array("dy", dy, (*x.shape, self.n_out))
        checks.float_array("dW", dW, (self.n_in, self.n_out), dy.dtype)
        dW[...] = 0
        add_at(dW, x, dy)  # ∂L/∂W_k = Σ_{i: x_i = k} dy_i


@dataclass(frozen=True)
class Flatten:
    """y = x as rows: (batch, …) becomes (batch, the product of the rest)."""

    def shapes(self) -> Shapes:
        return {}

    def forward(self, x: Array) -> tuple[Array, tuple[int, ...]]:
        checks.float_array("x", x, ("batch", ...))
        return x.reshape(len(x), -1), x.shape

    def backward(self, dy: Array, cache: tuple[int, ...]) -> Array:
        checks.float_array("dy", dy, (cache[0], math.prod(cache[1:])))
        return dy.reshape(cache)  # ∂L/∂x is dy in the shape of x


def check_layer(name: str, value: Any, example: str = "a layer with shapes, forward and backward") -> None:
    """Raise TypeError unless ``value``, to be called ``name``, is a layer."""
    if isinstance(value, type) or not isinstance(value, Layer):
        came = f"the class {value.__name__}" if isinstance(value, type) else checks.said(value)
        raise TypeError(f"{name} is {came}, expected {example}")


def check_arrays(shapes: Shapes, arrays: Sequence[Array], dtype: Any, prefix: str = "") -> None:
    """Raise unless ``arrays`` are those of ``shapes``, in order, of this dtype; of gradients the ``prefix`` is "d"."""
    if len(arrays) != len(shapes):
        names = ", ".join(prefix + name for name in shapes) or "none"
        raise TypeError(f"{len(arrays)} arrays came, expected {len(shapes)}: {names}")
    for (name, shape), a in zip(shapes.items(), arrays, strict=True):
        checks.float_array(prefix + name, a, shape, dtype)


def widths(layer: Any) -> None:
    """Raise unless ``n_in`` and ``n_out`` are positive integers; make them Python's, which cannot overflow."""
    n_in, n_out = (checks.whole(name, getattr(layer, name), 1) for name in ("n_in", "n_out"))
    checks.settle(layer, n_in=n_in, n_out=n_out)


def dropout_mask(rng: Generator, shape: tuple[int, ...], p: float, dtype: Any) -> Array:
    """m / (1 − p): zero with probability p, else 1 / (1 − p).

    Drawn in float32 whatever the ``dtype``, so that both twins, in either precision, drop the same units.
    """
    kept = rng.random(shape, dtype=np.float32) >= p
    return np.multiply(kept, 1 / (1 - p), dtype=dtype)
