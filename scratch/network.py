"""Network: a tuple of layers, itself a layer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from scratch import checks
from scratch.composite import Composite, Residual
from scratch.layers import Dropout, Layer, Linear, Projection, check_layer, trained_shapes
from scratch.normalisation import BatchNorm
from scratch.parameters import Parameters

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.random import Generator
    from numpy.typing import DTypeLike

    from scratch.activations import Activation
    from scratch.device import Array

__all__ = ["Network", "mlp"]


@dataclass(frozen=True)
class Network(Composite):
    """Layers applied one after another; itself a layer, so that networks nest.

    The arrays of layer i are called ``"i.weight"``, ``"i.bias"``, as in a ``torch.nn.Sequential``. Like every layer it
    holds none: ``forward(x, *arrays)`` and ``backward(dy, caches, *grads)`` are given them one by one, ``apply(params,
    x)`` takes them from :class:`Parameters` and checks what it is given.

    Raises
        TypeError: a layer without ``shapes``, ``forward`` and ``backward``
        ValueError: no layer; one whose width is not that of the one before it; one with integer inputs past the first
    """

    layers: tuple[Layer, ...]

    def __post_init__(self) -> None:
        checks.settle(self, layers=checks.sequence("layers", self.layers, "a tuple of layers"))
        if not self.layers:
            raise ValueError("layers is empty, expected at least one layer")
        self._widths()

    def _widths(self) -> tuple[int | None, int | None]:
        """The widths of the input and of the output, where the layers say; checked at every layer."""
        first = width = None
        for i, layer in enumerate(self.layers):
            check_layer(f"layers[{i}]", layer)
            if i and getattr(layer, "integer_input", False):
                raise ValueError(f"layers[{i}] is {layer}, which takes integers, expected it as layers[0]")
            n_in, keeps = getattr(layer, "n_in", None), getattr(layer, "keeps_shape", False)
            if None not in (width, n_in) and width != n_in:
                raise ValueError(f"layers[{i}] is {layer}, expected n_in={width}: the width of the layer before it")
            if first is None and all(getattr(before, "keeps_shape", False) for before in self.layers[:i]):
                first = n_in
            n_out = getattr(layer, "n_out", None)
            width = (width or n_in) if n_out is None and keeps else n_out
        return first, width

    @cached_property
    def n_in(self) -> int | None:
        """The width of the input; None where the layers do not say."""
        return self._widths()[0]

    @cached_property
    def n_out(self) -> int | None:
        """The width of the output; None where the layers do not say."""
        return self._widths()[1]

    @property
    def keeps_shape(self) -> bool:
        """Whether the output has the shape of the input."""
        return all(getattr(layer, "keeps_shape", False) for layer in self.layers)

    @property
    def integer_input(self) -> bool:
        """Whether x holds integers from 0 to ``n_in`` − 1."""
        return getattr(self.layers[0], "integer_input", False)

    def parts(self) -> dict[str, Layer]:
        return {str(i): layer for i, layer in enumerate(self.layers)}

    def place(self, name: str) -> str:
        return f"layers[{name}]"

    def parameters(self, dtype: DTypeLike = np.float64, device: str = "cpu") -> Parameters:
        """Its arrays, all zero; :func:`scratch.initial_parameters` gives them values to train from."""
        return Parameters(self._shapes, dtype, device, self.untrained)

    def check_input(self, name: str, x: Any, dtype: Any) -> None:
        """Raise unless ``x``, to be called ``name``, is an array that the network takes: (batch, …), of its dtype.

        Raises
            TypeError: no array, or of another dtype
            ValueError: no rows, or an integer out of range
        """
        if self.integer_input:
            checks.class_array(name, x, ("batch", ...), self.n_in)
            return
        width = self.n_in if getattr(x, "ndim", 0) == 2 else None  # with more axes, it need not be the last one
        checks.float_array(name, x, ("batch", ...) if width is None else ("batch", width), dtype)

    def check_parameters(self, name: str, params: Parameters) -> None:
        """Raise unless ``params``, to be called ``name``, has the network's arrays, in its order.

        Raises
            TypeError: no Parameters
            ValueError: other names, shapes or order
        """
        checks.instance(name, params, Parameters, "Parameters, as initial_parameters() makes them")
        if list(params.shapes.items()) != list(self._shapes.items()):
            raise ValueError(f"{name} has {params.shapes}, expected {self._shapes}")

    def apply(self, params: Parameters, x: Array, training: Generator | None = None) -> tuple[Array, list[Any]]:
        """The output for x (batch, …), and the cache of every layer for ``backward``.

        With ``training``, a Generator, the layers behave as in training, without it as in evaluation.

        Raises
            TypeError: x is no array, or not of the parameters' dtype; ``params`` or ``training`` of another kind
            ValueError: x has another shape, or the parameters are another network's
        """
        self.check_parameters("params", params)
        self.check_input("x", x, params.dtype)
        if training is not None:
            checks.generator("training", training)
        return self.forward(x, *params.arrays, training=training)

    def forward(self, x: Array, *arrays: Array, training: Generator | None = None) -> tuple[Array, list[Any]]:
        if len(arrays) != len(self._shapes):
            raise TypeError(
                f"forward got {len(arrays)} arrays after x, expected {len(self._shapes)}; or call apply(params, x)"
            )
        caches = []
        for k in range(len(self.layers)):
            x, cache = self.forward_part(k, x, arrays, training)
            caches.append(cache)
        return x, caches

    def backward(self, dy: Array, caches: Sequence[Any], *grads: Array, need_dx: bool = True) -> Array | None:
        """Write every trained array's gradient into ``grads``; return ∂L/∂x, or None without ``need_dx``.

        ``dy`` is ∂L/∂output, ``caches`` those of one forward pass with arrays that have not changed since.

        Raises
            TypeError: another number of ``caches`` or ``grads``; what the layers raise
        """
        if len(caches) != len(self.layers) or len(grads) != self._trained:
            raise TypeError(
                f"backward got {len(caches)} caches and {len(grads)} grads, "
                f"expected {len(self.layers)} and {self._trained}"
            )
        first = 0 if need_dx else self._first_trained  # what comes before it has nothing to train
        dx: Any = dy
        for k in range(len(self.layers) - 1, first - 1, -1):
            dx = self.backward_part(k, dx, caches[k], grads, need_dx or k > first)
        return dx

    @cached_property
    def _trained(self) -> int:
        return len(self._shapes) - len(self.untrained)

    @cached_property
    def _first_trained(self) -> int:
        return next((i for i, layer in enumerate(self.layers) if trained_shapes(layer)), 0)


def mlp(
    sizes: Sequence[int],
    activation: Activation,
    *,
    dropout: float = 0.0,
    input_dropout: float = 0.0,
    norm: Callable[[int], Layer] | None = None,
    residual: bool = False,
) -> Network:
    """A multilayer perceptron: Linear, norm, activation and Dropout for every hidden layer, then a last Linear.

        mlp((784, 256, 128, 10), ReLU(), dropout=0.2)
        mlp((64, *[32] * 20, 10), ReLU(), norm=BatchNorm, residual=True)

    ``norm`` is a class such as BatchNorm or LayerNorm, or another function of the width; before a BatchNorm stands a
    Projection, which has no bias. With ``residual`` every hidden layer is the inner one of a Residual, whose shortcut
    is a Projection where the widths differ.

    Raises
        TypeError, ValueError: fewer than two sizes, a size that is no positive integer, p outside [0, 1), something
            of another kind
    """
    sizes = [
        checks.whole(f"sizes[{i}]", n, 1) for i, n in enumerate(checks.sequence("sizes", sizes, "a tuple of widths"))
    ]
    if len(sizes) < 2:
        raise ValueError(f"sizes is {tuple(sizes)}, expected at least an input and an output width")
    check_layer("activation", activation, "a layer such as ReLU()")
    dropout = checks.number("dropout", dropout, 0, below=1)
    input_dropout = checks.number("input_dropout", input_dropout, 0, below=1)
    checks.flag("residual", residual)
    if norm is not None:
        if not callable(norm):
            raise TypeError(
                f"norm is {checks.said(norm)}, expected a class such as BatchNorm, or a function of a width"
            )
        check_layer("norm(5)", norm(5), "a layer such as BatchNorm(5)")
    layers: list[Layer] = [Dropout(input_dropout)] if input_dropout else []
    for n_in, n_out in pairwise(sizes[:-1]):
        norms = [norm(n_out)] if norm else []
        linear = Projection if any(isinstance(layer, BatchNorm) for layer in norms) else Linear
        hidden = [linear(n_in, n_out), *norms, activation, *([Dropout(dropout)] if dropout else [])]
        shortcut = None if n_in == n_out else Projection(n_in, n_out)
        layers += [Residual(Network(tuple(hidden)), shortcut)] if residual else hidden
    return Network((*layers, Linear(sizes[-2], sizes[-1])))
