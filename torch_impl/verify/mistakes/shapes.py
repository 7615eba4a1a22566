"""Shapes: a gradient transposed, in another shape, or not summed over the axes of a broadcast."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import torch

from torch_impl.verify.mistakes.catalogue import mistake
from torch_impl.verify.mistakes.hypothesis import Here, Hypothesis, keep
from torch_impl.verify.mistakes.sites import PRODUCTS
from torch_impl.verify.trace.tape import line, packet_of, reshapes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch_impl.verify.mistakes.sites import Broadcast, Sites
    from torch_impl.verify.trace.tape import Node


@mistake(
    "transposed",
    what="the gradient is transposed, or reshaped in the wrong order",
    fix="Transpose it back; the gradient of an array has that array's axes, in that order.",
)
def transposed(sites: Sites) -> Iterator[Hypothesis]:
    """A leaf's gradient with its axes in another order; a product gone back through with its matrix transposed."""
    for name, leaf in sites.leaves.items():
        value, place = sites.values[leaf], sites.unit.title(name)
        for axes in itertools.permutations(range(value.ndim)) if 1 < value.ndim <= 4 else ():
            shape = tuple(value.shape[a] for a in axes)
            if axes == tuple(range(value.ndim)):
                continue
            words = "aᵀ" if value.ndim == 2 else f"a with its axes in the order {axes}"
            yield Hypothesis({leaf: lambda here, g, a=axes: g.permute(a).contiguous()}, f"h = {words}", place)
            if shape != tuple(value.shape):
                yield Hypothesis(
                    {leaf: lambda here, g, a=axes: g.permute(a).reshape(g.shape)},
                    f"h = {words}, read into the shape of a",
                    place,
                )
                yield Hypothesis(
                    {leaf: lambda here, g, a=axes: g.reshape([g.shape[k] for k in a])},
                    "h holds a's elements in a's order, in another shape",
                    place,
                )
    for node, weight, other, name in sites.products:
        if packet_of(node) in PRODUCTS[:2] and len({*sites.values[weight].shape[-2:]}) == 1:
            right = node.args[1] is weight

            def through(
                here: Here, g: torch.Tensor, n: Node = node, w: Node = weight, x: Node = other, right: bool = right
            ) -> dict[Node, torch.Tensor]:
                return {x: g @ here[w] if right else here[w] @ g, **here.only(n, w, g)}

            words = f"the gradient goes back through {name}ᵀ where it should go through {name}"
            yield Hypothesis({node: through}, words, line(node))


@mistake(
    "shape-only",
    what="the gradient's values are right, and its shape is not the array's",
    fix="Give the gradient the shape of its array: keepdims=True in a sum, or a reshape at the end.",
    kind="right, but",
)
def shape_only(sites: Sites) -> Iterator[Hypothesis]:
    """The right values with axes of length one too many or too few, or flat."""

    def reshaped(here: Here, g: torch.Tensor, name: str) -> torch.Tensor:
        shape = np.shape(here.observation.hand[name])
        alike = [n for n in shape if n > 1] == [n for n in g.shape if n > 1]
        return g.reshape(shape) if alike or shape == (g.numel(),) else g

    for name, leaf in sites.leaves.items():
        yield Hypothesis(
            {leaf: lambda here, g, name=name: reshaped(here, g, name)},
            f"h holds a's values, a has shape {tuple(sites.values[leaf].shape)}",
            sites.unit.title(name),
            -1,
        )


@mistake(
    "bias-not-summed",
    what="the gradient of a broadcast parameter is not summed over the axes that it was broadcast along",
    fix="Sum over the batch: the parameter acts on every row, so its gradients add up.",
)
def not_summed(sites: Sites) -> Iterator[Hypothesis]:
    """Not summed at all, over other axes, over everything, or averaged."""
    titles = {leaf: sites.unit.title(name) for name, leaf in sites.leaves.items()}
    for site in sites.broadcasts:
        keeping = {user: keep(user) for user in site.users}
        for formula, reduce in _reductions(site, sites.values[site.users[0]].ndim):

            def reduced(
                here: Here, g: torch.Tensor, site: Broadcast = site, reduce: Callable[..., torch.Tensor] = reduce
            ) -> torch.Tensor:
                wide = _unreduced(here, site)
                return g if wide is None else reduce(wide, g)

            yield Hypothesis({**keeping, site.leaf: reduced}, formula, titles[site.leaf], 1)


def _reductions(site: Broadcast, ndim: int) -> Iterator[tuple[str, Callable[..., torch.Tensor]]]:
    delta = "δ" if site.additive else "δ x"
    where = "δ the gradient that arrives" + ("" if site.additive else ", x what the parameter scales")
    yield f"h = {delta}, not summed; a = Σ {delta}, {where}", lambda wide, g: wide
    total = f"h = Σ {delta} over everything"
    yield f"{total}, the same number in every entry, {where}", lambda wide, g: wide.sum().expand(g.shape)
    yield f"{total}, one number, {where}", lambda wide, g: wide.sum()
    yield f"h = the first row of {delta}; a = Σ {delta}, {where}", lambda wide, g: wide[0].reshape(g.shape)
    for axes in (axes for n in range(1, ndim + 1) for axes in itertools.combinations(range(ndim), n)):
        over = f"over axis {', '.join(map(str, axes))}"
        words = f"h = {delta} summed {over}; a sums over all that it was broadcast along, {where}"
        yield words, lambda wide, g, axes=axes: wide.sum(dim=axes)
        if site.additive:
            mean = lambda wide, g, axes=axes: _in_shape(wide.mean(dim=axes), g)  # noqa: E731
            yield f"h = {delta} averaged {over}; a = Σ {delta}, {where}", mean


def _unreduced(here: Here, site: Broadcast) -> torch.Tensor | None:
    """The gradient before the sum over what was broadcast, all the users' together."""
    parts = []
    for user, argument in zip(site.users, site.arguments, strict=True):
        g = here.kept[user]
        if not reshapes(user):
            wide = here[argument].expand(here[user].shape).clone().requires_grad_()
            (g,) = torch.autograd.grad(here.run(user, {argument: wide}), wide, g, allow_unused=True)
        parts.append(g)
    return None if any(p is None for p in parts) else torch.stack(parts).sum(dim=0)


def _in_shape(value: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return value.reshape(like.shape) if value.numel() == like.numel() else value
