"""The one source of initial weights. Torch's twin copies them and never draws its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from scratch import checks
from scratch.composite import leaves
from scratch.network import Network
from scratch.parameters import is_weight

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import DTypeLike

    from scratch.device import Array
    from scratch.parameters import Parameters

    Draw = Callable[[Generator, tuple[int, ...]], Array]

__all__ = ["initial_parameters"]


def initial_parameters(
    network: Network,
    rng: Generator,
    *,
    weights: str | Draw = "he",
    bias: float = 0.0,
    dtype: DTypeLike = np.float64,
) -> Parameters:
    """Initial parameters of ``network``: every weight drawn from ``rng``, every vector filled with ``bias``,
    every untrained array with zeros.

    A layer whose arrays should start elsewhere says so in ``initial(rng)``: see :class:`scratch.Layer`.

    ``weights`` is "he", "xavier", "normal" (standard deviation 0.01) or a function of (rng, shape), such as
    ``functools.partial(normal, std=0.1)``. The numbers are drawn in float64 and then rounded to ``dtype``, so a
    float32 network starts from the float64 one's weights.

    Raises
        TypeError: ``dtype`` is neither float32 nor float64; no Network, no Generator, no number; values that are no
            float arrays
        ValueError: ``weights`` is not one of the names; values of another shape, for an array that is not there, or
            that are not finite in ``dtype``
    """
    checks.instance("network", network, Network, "a Network, as mlp() makes it")
    checks.generator("rng", rng)
    checks.instance(
        "weights", weights, str | Callable, 'one of "he", "xavier", "normal", or a function of (rng, shape)'
    )
    draw = checks.choice("weights", weights, INITIALIZERS) if isinstance(weights, str) else weights
    bias = checks.number("bias", bias, -math.inf)
    params = network.parameters(dtype)
    for prefix, layer in leaves(network):
        own = layer.initial(rng) if hasattr(layer, "initial") else {}
        for name in own:
            checks.choice(f"the name in initial() of {layer}", name, layer.shapes())
        for name, shape in layer.shapes().items():
            array, said = params[prefix + name], f"the initial {prefix}{name}"
            if name in own:
                value = own[name]
            elif name in getattr(layer, "untrained", ()):
                continue
            elif is_weight(array):
                value, said = _drawn(draw, rng, shape), f"weights: {said}"
            else:
                value, said = np.full(shape, bias), f"bias: {said}"
            checks.float_array(said, value, shape)
            with np.errstate(over="ignore"):
                array[...] = value
            checks.finite(said, array)  # what float32 cannot hold is infinite there
    return params


def _drawn(draw: Draw, rng: Generator, shape: tuple[int, ...]) -> Array:
    try:
        return draw(rng, shape)
    except TypeError as error:  # a function of other arguments, most likely
        raise TypeError(f"weights is {checks.said(draw)}, expected a function of (rng, shape): {error}") from error


def he(rng: Generator, shape: tuple[int, ...]) -> Array:
    """Normal with standard deviation √(2 / fan_in): keeps the variance through ReLU layers (He et al., 2015)."""
    return rng.standard_normal(shape) * math.sqrt(2 / math.prod(shape[1:]))


def xavier(rng: Generator, shape: tuple[int, ...]) -> Array:
    """Uniform in ±√(6 / (fan_in + fan_out)): keeps the variance both ways (Glorot & Bengio, 2010, eq. 16)."""
    fan_in, fan_out = math.prod(shape[1:]), shape[0] * math.prod(shape[2:])
    bound = math.sqrt(6 / (fan_in + fan_out))
    return rng.uniform(-bound, bound, shape)


def normal(rng: Generator, shape: tuple[int, ...], std: float = 0.01) -> Array:
    """Normal with standard deviation ``std``, whatever the fan."""
    checks.number("std", std, 0)
    return rng.standard_normal(shape) * std


INITIALIZERS: dict[str, Draw] = {"he": he, "xavier": xavier, "normal": normal}
