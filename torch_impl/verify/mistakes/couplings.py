"""Functions in which every element of a row acts on the others, as x / ‖x‖ and every norm: the others forgotten."""

from __future__ import annotations

import itertools
import math
import operator
from collections import namedtuple

import torch

from torch_impl.verify.mistakes.catalogue import LATE, Here, Hypotheses, Hypothesis, mistake
from torch_impl.verify.mistakes.sites import Product, Sites, aten
from torch_impl.verify.trace.tape import Node, line, packet_of, reshapes

# y, of the shape of x, is computed from x alone, by way of the sums ``sums`` over ``axes`` of it.
Coupling = namedtuple("Coupling", "x y axes sums")
_SUMS = (aten.sum, aten.mean, aten.var, aten.std, aten.amax, aten.linalg_vector_norm, aten.logsumexp, aten.var_mean)
_LAST = (aten.add, aten.sub, aten.mul, aten.div)
MOST = 64  # elements of a row, each of which is a pass


@mistake(
    "jacobian-diagonal-only",
    "a function that couples the elements of a row is treated as if it acted on each by itself",
    "Use the whole Jacobian: what an element changes in the others, through the row's sum, is a term of its own.",
)
def diagonal_only(sites: Sites) -> Hypotheses:
    """The Jacobian's diagonal; or the sums taken as constants, which leaves a diagonal as well."""
    softmaxes = {node for s in sites.softmaxes for node in (s.z, s.p)}
    normals = {n.normal for n in sites.normalisations}
    for c in _couplings(sites):
        if c.y in softmaxes:
            continue
        said = "dx = dy times the Jacobian's diagonal; should be dy times the whole Jacobian"
        yield Hypothesis({c.y: lambda here, g, c=c: {c.x: g * _diagonal(here, c)}}, said, line(c.y), LATE)
        if c.y not in normals:
            nothing = dict.fromkeys(c.sums, lambda here, g: 0 * g)
            said = "the sum over the row is taken for a constant, and depends on every element of it"
            yield Hypothesis(nothing, said, line(c.y), LATE)


@mistake("scale-outside", "γ stands outside the sums of a norm's gradient",
         "Multiply by γ first, and take the sums of dx̂ = dy γ.")  # fmt: skip
def scale_outside(sites: Sites) -> Hypotheses:
    """The norm's gradient of dy, times γ."""
    couplings = _couplings(sites)
    for product in (p for p in sites.products if packet_of(p.node) is aten.mul):
        for c in (c for c in couplings if c.y is product.other):

            def rule(here: Here, g: torch.Tensor, c: Coupling = c, p: Product = product) -> dict[Node, torch.Tensor]:
                gamma = here[p.weight]
                return {c.x: gamma * here.vjp(c.x, c.y, g), **here.only(p.node, p.weight, g)}

            said = "dx = γ (dy − mean(dy) − x̂ mean(dy x̂)) / σ; should have dx̂ = dy γ for each dy, and no γ before"
            yield Hypothesis({product.node: rule}, said, line(c.y), LATE)


def _diagonal(here: Here, c: Coupling) -> torch.Tensor:
    """∂y_i/∂x_i for every element, the rows at once."""
    y, found = here[c.y], torch.zeros_like(here[c.y])
    lengths = [range(y.shape[a]) for a in c.axes]
    for index in itertools.product(*lengths):
        place = [slice(None)] * y.ndim
        for axis, i in zip(c.axes, index, strict=True):
            place[axis] = slice(i, i + 1)
        one = torch.zeros_like(y)
        one[tuple(place)] = 1
        found += one * here.vjp(c.x, c.y, one)
    return found


def _couplings(sites: Sites) -> list[Coupling]:
    """What is computed from one array and from sums over its rows, and has its shape."""
    found: dict[tuple[Node, Node], Coupling] = {}
    for node in () if sites.long else sites.calls:  # in an unrolled loop every pair of nodes would be looked at
        total = node.all_input_nodes[0] if node.target is operator.getitem else node
        if packet_of(total) not in _SUMS:
            continue
        over = total.all_input_nodes[0]
        x, ndim = sites.source(over), sites.values[over].ndim
        axes = tuple(a % ndim for a in next((a for a in total.args if isinstance(a, list)), range(ndim)))
        many = math.prod(sites.values[over].shape[a] for a in axes)
        for y in (y for y in sites.calls if sites.index[y] > sites.index[node] and 1 < many <= MOST):
            alike = _combines(sites, y) and sites.values[y].shape == sites.values[x].shape
            if alike and node in sites.tape.ancestors(y) and sites.tape.only_through(x, y):
                sums = (*found[x, y].sums, node) if (x, y) in found else (node,)
                found[x, y] = Coupling(x, y, axes, sums)
    return [*found.values()]


def _combines(sites: Sites, y: Node) -> bool:
    """Whether an array is put together with a smaller one, such as a sum over its rows."""
    size = sites.values[y].numel()
    parts = [a.all_input_nodes[0] if reshapes(a) else a for a in y.all_input_nodes if a in sites.variable]
    return packet_of(y) in _LAST and any(sites.values[a].numel() < size for a in parts)
