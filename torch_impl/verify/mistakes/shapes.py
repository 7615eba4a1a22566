"""Shapes: a gradient transposed, in another shape, or not summed over the axes of a broadcast."""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from torch_impl.verify.mistakes.catalogue import Here, Hypotheses, Hypothesis, Rule, mistake
from torch_impl.verify.mistakes.sites import PRODUCTS, Broadcast, Product, Sites
from torch_impl.verify.trace.tape import Node, packet_of, reshapes

Reduction = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@mistake("transposed", "the gradient is transposed, or reshaped in the wrong order",
         "Transpose it back; the gradient of an array has that array's axes, in that order.")  # fmt: skip
def transposed(sites: Sites) -> Hypotheses:
    """A leaf's gradient with its axes in another order; a product gone back through with its matrix transposed."""
    for leaf, title in sites.titles.items():
        shape = sites.values[leaf].shape
        for axes in itertools.permutations(range(len(shape))) if 1 < len(shape) <= 4 else ():
            words = "h = aᵀ" if len(shape) == 2 else f"h = a with its axes in the order {axes}"
            if axes != tuple(range(len(shape))):
                yield Hypothesis({leaf: lambda here, g, a=axes: g.permute(a).contiguous()}, words, title)
                read = f"{words}, read into the shape of a"
                yield Hypothesis({leaf: lambda here, g, a=axes: g.permute(a).reshape(g.shape)}, read, title)
    for p in sites.products:
        if packet_of(p.node) in PRODUCTS[:2] and len({*sites.values[p.weight].shape[-2:]}) == 1:
            words = f"the gradient goes back through {p.parameter}ᵀ where it should go through {p.parameter}"
            yield Hypothesis({p.node: lambda here, g, p=p: _through_transposed(here, g, p)}, words)


def _through_transposed(here: Here, g: torch.Tensor, p: Product) -> dict[Node, torch.Tensor]:
    W = here[p.weight]
    return {p.other: g @ W if p.node.args[1] is p.weight else W @ g, **here.only(p.node, p.weight, g)}


@mistake("shape-only", "the gradient's values are right, and its shape is not the array's",
         "Give the gradient the shape of its array: keepdims=True in a sum, or a reshape at the end.")  # fmt: skip
def shape_only(sites: Sites) -> Hypotheses:
    """The right values with axes of length one too many or too few, or flat."""
    for name, leaf in sites.leaves.items():
        rule = lambda here, g, n=name: reshaped(g, np.shape(here.observation.hand[n]))  # noqa: E731
        words = f"h holds a's values, a has shape {tuple(sites.values[leaf].shape)}"
        yield Hypothesis({leaf: rule}, words, sites.titles[leaf], -1)


def reshaped(g: Any, shape: tuple[int, ...]) -> Any:
    """The gradient in another shape, where that is flat or has the same axes beside those of length one."""
    alike = [n for n in shape if n > 1] == [n for n in g.shape if n > 1]
    return g.reshape(shape) if alike or shape == (math.prod(g.shape),) else g


@mistake("bias-not-summed",
         "the gradient of a broadcast parameter is not summed over the axes that it was broadcast along",
         "Sum over the batch: the parameter acts on every row, so its gradients add up.")  # fmt: skip
def not_summed(sites: Sites) -> Hypotheses:
    """Not summed at all, over other axes, over everything, or averaged."""
    for site in sites.broadcasts:
        for formula, reduce in _reductions(site, sites.values[site.users[0]].ndim):
            rule = lambda here, g, s=site, reduce=reduce: _reduced(here, g, s, reduce)  # noqa: E731
            rules = {user: _keep(user) for user in site.users} | {site.leaf: rule}
            yield Hypothesis(rules, formula, sites.titles[site.leaf], 1)


def _keep(node: Node) -> Rule:
    """The gradient as it is, kept for the rule of the leaf."""

    def rule(here: Here, g: torch.Tensor) -> torch.Tensor:
        here.kept[node] = g
        return g

    return rule


def _reductions(site: Broadcast, ndim: int) -> Iterator[tuple[str, Reduction]]:
    delta = "δ" if site.additive else "δ x"
    where = "δ the gradient that arrives" + ("" if site.additive else ", x what the parameter scales")
    total = f"h = Σ {delta} over everything"
    yield f"h = {delta}, not summed; a = Σ {delta}, {where}", lambda wide, g: wide
    yield f"{total}, the same number in every entry, {where}", lambda wide, g: wide.sum().expand(g.shape)
    yield f"{total}, one number, {where}", lambda wide, g: wide.sum()
    for axes in (axes for n in range(1, ndim + 1) for axes in itertools.combinations(range(ndim), n)):
        over = f"over axis {', '.join(map(str, axes))}"
        words = f"h = {delta} summed {over}; a sums over all that it was broadcast along, {where}"
        yield words, lambda wide, g, axes=axes: wide.sum(dim=axes)
        if site.additive:
            averaged = f"h = {delta} averaged {over}; a = Σ {delta}, {where}"
            yield averaged, lambda wide, g, axes=axes: wide.mean(dim=axes).reshape(g.shape)


def _reduced(here: Here, g: torch.Tensor, site: Broadcast, reduce: Reduction) -> torch.Tensor:
    """The gradient before the sum over what was broadcast, all the users' together, reduced in another way."""
    parts = []
    for user, argument in zip(site.users, site.arguments, strict=True):
        part = here.kept[user]
        if not reshapes(user):
            wide = here[argument].expand(here[user].shape).clone().requires_grad_()
            (part,) = torch.autograd.grad(here.run(user, {argument: wide}), wide, part, allow_unused=True)
        parts.append(part)
    return g if any(part is None for part in parts) else reduce(torch.stack(parts).sum(dim=0), g)
