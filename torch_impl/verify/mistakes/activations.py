"""Activations: f′ left out, taken twice, at the wrong array, of another layer, without its negative side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from torch_impl.verify.mistakes.catalogue import mistake
from torch_impl.verify.mistakes.hypothesis import LATE, Here, Hypothesis
from torch_impl.verify.mistakes.sites import aten
from torch_impl.verify.trace.tape import line, packet_of, reshapes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch_impl.verify.mistakes.sites import Elementwise, Sites
    from torch_impl.verify.trace.tape import Node

MOST_ARRAYS = 80  # how many other arrays of the shape of z are tried in its place

# Derivatives as functions of the activation's *output*.
_BY_OUTPUT: dict[str, tuple[str, Callable[[torch.Tensor], torch.Tensor]]] = {
    "sigmoid": ("y (1 − y)", lambda y: y * (1 - y)),
    "tanh": ("1 − y²", lambda y: 1 - y * y),
    "exp": ("y", lambda y: y),
    "softplus": ("1 − e⁻ʸ", lambda y: 1 - torch.exp(-y)),
}

RIGHT = "should be dz = dy f′(z)"
SHORTCUT = "dz ∝ p − t, t the targets; should be dz = dL/dp · p (1 − p)"
ON_TOP = "dz ∝ (p − t) p (1 − p), t the targets; should be dz ∝ p − t"

mistake(
    "kink-convention",
    what="at a kink the other one-sided derivative is taken",
    fix="Nothing to mend: all values between the one-sided derivatives are subgradients; torch has f′(0) = 0 for ReLU.",
    kind="convention",
)


def _slope_is(
    site: Elementwise, slope: Callable[[Here], torch.Tensor], formula: str, rank: int = 0, mistake: str = ""
) -> Hypothesis:
    """The reverse pass with ``slope`` in the place of f′(z)."""
    return Hypothesis(
        {site.v: lambda here, g: {site.u: g * slope(here)}}, formula, line(site.v) or line(site.u), rank, mistake
    )


def _f(site: Elementwise) -> str:
    return f", f = {site.name}" if site.name else ", f what this line computes"


@mistake(
    "activation-derivative-missing",
    what="f′ is left out",
    fix="Multiply the arriving gradient by f′(z).",
)
def missing(sites: Sites) -> Iterator[Hypothesis]:
    """Before a loss that is no cross-entropy, a sigmoid's f′ left out is the shortcut p − y."""
    for site in sites.elementwise:
        shortcut = site.name == "sigmoid" and sites.feeds(site.v) == "another"
        said = SHORTCUT if shortcut else f"dz = dy; {RIGHT}"
        formula, name = said + _f(site), "loss-shortcut-misused" if shortcut else ""
        yield _slope_is(site, lambda here, v=site.v: torch.ones_like(here[v]), formula, mistake=name)


@mistake(
    "activation-derivative-twice",
    what="f′ is applied twice",
    fix="Multiply by f′(z) once.",
)
def twice(sites: Sites) -> Iterator[Hypothesis]:
    """After the shortcut p − y of cross-entropy, a second f′ is p(1 − p) on top of it."""
    for site in sites.elementwise:
        shortcut = site.name == "sigmoid" and sites.feeds(site.v) == "cross-entropy"
        said = ON_TOP if shortcut else f"dz = dy f′(z)²; {RIGHT}"
        formula, name = said + _f(site), "loss-shortcut-misused" if shortcut else ""
        yield _slope_is(site, lambda here, s=site: here.slope(s.u, s.v) ** 2, formula, mistake=name)


@mistake(
    "activation-derivative-wrong-argument",
    what="f′ is evaluated at the wrong array: at the output where it expects the input, or the reverse",
    fix="Give f′ the array that its formula is written for.",
)
def wrong_argument(sites: Sites) -> Iterator[Hypothesis]:
    """f′(a), with f′ a function of z; or a formula in a that is given z."""
    for site in sites.elementwise:
        said = f"dz = dy f′(y); {RIGHT}{_f(site)}"
        yield _slope_is(site, lambda here, s=site: here.slope(s.u, s.v, here[s.v]), said)
        if site.name in _BY_OUTPUT:
            words, of = _BY_OUTPUT[site.name]
            said = f"f′ = {words} is computed with z in the place of y, y = f(z){_f(site)}"
            yield _slope_is(site, lambda here, u=site.u, of=of: of(here[u]), said)


@mistake(
    "leaky-slope-lost",
    what="the slope of the negative side is dropped",
    fix="Multiply by the negative side's slope where z < 0, not by 0.",
)
def slope_lost(sites: Sites) -> Iterator[Hypothesis]:
    """The slope of a leaky ReLU, given or learned."""
    said = f"dz = dy [z > 0]; {RIGHT}, which is not 0 for z < 0"
    for site in (site for site in sites.elementwise if site.bends):
        yield _slope_is(site, lambda here, s=site: here.slope(s.u, s.v) * (here[s.u] > 0), said)
    for node, weight, _, _ in sites.products:
        if packet_of(node) is aten.mul and any(packet_of(user) in (aten.where, aten.maximum) for user in node.users):
            rule = lambda here, g, n=node, w=weight: here.only(n, w, g)  # noqa: E731
            yield Hypothesis({node: rule}, said, line(node))


@mistake(
    "wrong-layer-mask",
    what="the mask or derivative of another layer is used",
    fix="Use the pre-activation of the very layer that the gradient passes through.",
)
def wrong_layer(sites: Sites) -> Iterator[Hypothesis]:
    """f′ at any other array of the shape of z, or the derivative of another layer's activation."""
    for site in (s for s in sites.elementwise if (s.name or s.bends) and not sites.long):
        u, v, shape = site.u, site.v, sites.values[site.u].shape
        for w, name in list(_arrays_like(sites, site))[:MOST_ARRAYS]:
            said = f"dz = dy f′(w), w = {name}; {RIGHT}"
            yield _slope_is(site, lambda here, w=w, u=u, v=v: here.slope(u, v, here[w]), said, LATE)
            if site.name in _BY_OUTPUT:
                words, of = _BY_OUTPUT[site.name]
                said = f"f′ = {words} is computed with {name} in the place of y"
                yield _slope_is(site, lambda here, w=w, of=of: of(here[w]), said, LATE)
        for other in sites.elementwise:
            if other is not site and sites.values[other.u].shape == shape:
                said = f"dz = dy f′(w), f′(w) that of {line(other.u) or other.u}; {RIGHT}"
                yield _slope_is(site, lambda here, s=other: here.slope(s.u, s.v), said, LATE)
        for name, array in sites.neighbours.items():
            if tuple(array.shape) == tuple(shape):
                at, said = torch.from_numpy(np.asarray(array, np.float64)), f"dz = dy f′(w), w = {name}; {RIGHT}"
                rule = lambda here, at=at, u=u, v=v: here.slope(u, v, at)  # noqa: E731
                yield _slope_is(site, rule, said, LATE)


def _arrays_like(sites: Sites, site: Elementwise) -> Iterator[tuple[Node, str]]:
    """The other arrays of the shape of z, and what to call them."""
    names = {leaf: name for name, leaf in sites.tape.leaves.items()}
    z = sites.values[site.u]
    for w in sites.tape.nodes:
        value = sites.values.get(w)
        if isinstance(value, torch.Tensor) and value.shape == z.shape and value.dtype == z.dtype:
            if w not in (site.u, site.v) and not reshapes(w):
                yield w, names.get(w) or line(w) or str(w)
