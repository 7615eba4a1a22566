"""Network: a tuple of layers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from scratch import checks
from scratch.layers import Dropout, Layer, Linear

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.random import Generator
    from numpy.typing import NDArray

    from scratch.activations import Activation
    from scratch.parameters import Parameters

    Array = NDArray[Any]


@dataclass(frozen=True)
class Network:
    """Layers applied one after another. Like a layer it holds no arrays: the parameters are given to it.

    The parameters of layer i are called ``"i.weight"``, ``"i.bias"``, as in a ``torch.nn.Sequential``.

    Raises
        TypeError: a layer without ``shapes``, ``forward`` and ``backward``
        ValueError: no layer, or one whose width is not that of the one before it
    """

    layers: tuple[Layer, ...]

    def __post_init__(self) -> None:
        checks.instance("layers", self.layers, (tuple, list), "a tuple of layers")
        object.__setattr__(self, "layers", tuple(self.layers))
        if not self.layers:
            raise ValueError("layers is empty, expected at least one layer")
        width = None
        for i, layer in enumerate(self.layers):
            if not isinstance(layer, Layer) or isinstance(layer, type):
                raise TypeError(f"layers[{i}] is {layer!r}, expected a layer with shapes, forward and backward")
            n_in = getattr(layer, "n_in", None)
            if None not in (width, n_in) and width != n_in:
                raise ValueError(f"layers[{i}] is {layer}, expected n_in={width}: the width of the layer before it")
            width = getattr(layer, "n_out", width)

    @cached_property
    def n_in(self) -> int | str:
        """Columns of the input; the word "in" where no layer says."""
        return next((layer.n_in for layer in self.layers if hasattr(layer, "n_in")), "in")

    @cached_property
    def stochastic(self) -> bool:
        """Whether the forward pass in training draws random numbers."""
        return any(getattr(layer, "stochastic", False) for layer in self.layers)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every parameter, by name, in order."""
        return dict(self._shapes)

    @cached_property
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {f"{i}.{key}": s for i, layer in enumerate(self.layers) for key, s in layer.shapes().items()}

    @cached_property
    def _first_with_parameters(self) -> int:
        return next((i for i, layer in enumerate(self.layers) if layer.shapes()), 0)

    def forward(self, params: Parameters, x: Array, rng: Generator | None = None) -> tuple[Array, list[Any]]:
        """The output (batch, out) for x (batch, in), and the cache of every layer for ``backward``.

        With ``rng`` the layers behave as in training, without it as in evaluation.

        Raises
            TypeError: x is no array, or not of the parameters' dtype
            ValueError: x has another shape, or the parameters are another network's
        """
        checks.float_array("x", x, ("batch", self.n_in), params.dtype)
        if params.shapes != self._shapes:
            raise ValueError(f"params has {params.shapes}, expected {self._shapes}")
        caches = []
        for i, layer in enumerate(self.layers):
            training = {"rng": rng} if getattr(layer, "stochastic", False) else {}
            x, layer_cache = layer.forward(x, *params.group(str(i)), **training)
            caches.append(layer_cache)
        return x, caches

    def backward(self, dy: Array, caches: list[Any], grads: Parameters, need_dx: bool = True) -> Array | None:
        """Write every parameter's gradient into ``grads``; return ∂L/∂x, or None without ``need_dx``.

        ``dy`` is ∂L/∂output, ``caches`` those of one forward pass with parameters that have not changed since.
        """
        *_, (_, dx) = self.backward_steps(dy, caches, grads, need_dx)
        return dx

    def backward_steps(
        self, dy: Array, caches: list[Any], grads: Parameters, need_dx: bool = True
    ) -> Iterator[tuple[int, Array | None]]:
        """The backward pass as it goes: (i, ∂L/∂input of layer i), from the last layer to the first.

        Without ``need_dx`` it ends at the first layer that has parameters, whose dx is None.
        """
        first = 0 if need_dx else self._first_with_parameters
        for i in range(len(self.layers) - 1, first - 1, -1):
            out = grads.group(str(i))
            skip = {"need_dx": False} if out and i == first and not need_dx else {}
            dx = self.layers[i].backward(dy, caches[i], *out, **skip)
            yield i, dx
            if dx is not None:
                dy = dx


def mlp(
    sizes: Sequence[int],
    activation: Activation,
    *,
    dropout: float = 0.0,
    input_dropout: float = 0.0,
) -> Network:
    """A multilayer perceptron: Linear, activation and Dropout for every hidden layer, then a last Linear.

        mlp((784, 256, 128, 10), ReLU(), dropout=0.2)

    Raises
        TypeError, ValueError: fewer than two sizes, a size that is no positive integer, p outside [0, 1)
    """
    if len(sizes) < 2:
        raise ValueError(f"sizes is {tuple(sizes)}, expected at least an input and an output width")
    if not isinstance(activation, Layer) or isinstance(activation, type):
        raise TypeError(f"activation is {activation!r}, expected a layer such as ReLU()")
    layers: list[Layer] = [Dropout(input_dropout)] if input_dropout else []
    for n_in, n_out in pairwise(sizes[:-1]):
        layers += [Linear(n_in, n_out), activation]
        if dropout:
            layers.append(Dropout(dropout))
    return Network((*layers, Linear(sizes[-2], sizes[-1])))
