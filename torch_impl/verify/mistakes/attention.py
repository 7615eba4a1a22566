"""Attention, softmax(q kᵀ / √d) v: its scale or its mask left out in the backward pass."""

from collections import namedtuple

import torch

from torch_impl.verify.mistakes.catalogue import Here, Hypotheses, Hypothesis, mistake
from torch_impl.verify.mistakes.sites import PRODUCTS, Mask, Sites, aten
from torch_impl.verify.tolerances import SAME
from torch_impl.verify.trace.tape import Node, packet_of, reshapes

# p = softmax(t) over an axis; t is made of the scores that ``product`` gives by the nodes of ``path``.
Attention = namedtuple("Attention", "t p axis product path")
_MASKS = (aten.where, aten.masked_fill, aten.index_put)
_ON_THE_WAY = (aten.mul, aten.div, aten.add, aten.sub, *_MASKS)


@mistake("attention-scale", "attention's 1/√d is left out in the backward pass",
         "Divide the scores' gradient by √d, as the forward divides the scores.")  # fmt: skip
def scale_left_out(sites: Sites) -> Hypotheses:
    """Where the forward scales the scores, or q or k before them, the gradient goes on as it is."""
    for a in _attentions(sites):
        d = sites.values[a.product.all_input_nodes[0]].shape[-1]
        operands = [node for operand in a.product.all_input_nodes for node in _way_back(sites, operand)]
        for node in (n for n in (*a.path, *operands) if abs(sites.factor(n) - d**-0.5) < SAME):
            said, s = "ds = dt; should be ds = dt / √d, t = q kᵀ / √d, d the length of q", _from(sites, node)
            yield Hypothesis({node: lambda here, g, s=s: {s: g}}, said, rank=-1)


@mistake("attention-mask", "attention's mask is not applied in the backward pass",
         "Use the masked probabilities in the backward pass, and no gradient where the forward masks.")  # fmt: skip
def mask_left_out(sites: Sites) -> Hypotheses:
    """The gradient goes through the mask; or the probabilities are those without it, for the scores or everywhere."""
    words = "s the scores, t the masked ones, p = softmax(t)"
    for a in _attentions(sites):
        for node in (n for n in a.path if packet_of(n) in _MASKS or _adds_array(sites, n)):
            s = _from(sites, node)
            said, k = f"ds = dt; should be 0 where it masks, {words}", node.args.index(s)
            yield Hypothesis({node: lambda here, g, s=s: {s: g}}, said, rank=-1)
            said = f"h is that of attention without its mask, {words}"
            yield Hypothesis({}, said, rank=-1, targets={node: lambda *args, k=k, **_: args[k]})
            said = f"the backward's p is softmax(s); should be softmax(t), {words}"
            yield Hypothesis({a.p: lambda here, g, a=a, s=s: _softmax_back(here, g, a, s)}, said, rank=-1)
    for mask in attention_masks(sites):
        said = "the gradient is not masked; should be 0 where the forward's is"
        yield Hypothesis({mask.v: lambda here, g, u=mask.u: {u: g}}, said, rank=-1)


def attention_masks(sites: Sites) -> list[Mask]:
    """The masks of zeros and ones that attention multiplies its scores or its probabilities with."""
    attentions = _attentions(sites)
    on_scores = {node for a in attentions for node in a.path}
    return [m for m in sites.masks if m.scale == 1 and (m.v in on_scores or any(m.u is a.p for a in attentions))]


def _softmax_back(here: Here, g: torch.Tensor, a: Attention, s: Node) -> dict[Node, torch.Tensor]:
    """The gradient of softmax(s), handed on to s."""
    p = torch.softmax(here[s], a.axis)
    return {s: p * (g - (g * p).sum(dim=a.axis, keepdim=True))}


def _attentions(sites: Sites) -> list[Attention]:
    """Every softmax of a product that goes into another product."""
    found = []
    for z, p, axis in sites.softmaxes:
        path, product = _way_back(sites, z), _source(sites, z)
        weighs = any(p in sites.tape.ancestors(n) for n in sites.calls if packet_of(n) in PRODUCTS)
        if packet_of(product) in PRODUCTS and weighs:
            found.append(Attention(z, p, axis, product, path))
    return found


def _way_back(sites: Sites, node: Node) -> list[Node]:
    """The node and those before it, as long as each scales, masks or reshapes one array."""
    path = []
    while packet_of(node) in _ON_THE_WAY or reshapes(node):
        if len([a for a in node.all_input_nodes if a in sites.variable]) != 1:
            break
        path.append(node)
        node = _from(sites, node)
    return path


def _source(sites: Sites, node: Node) -> Node:
    path = _way_back(sites, node)
    return _from(sites, path[-1]) if path else node


def _from(sites: Sites, node: Node) -> Node:
    """The one argument that has a gradient."""
    return next(a for a in node.all_input_nodes if a in sites.variable)


def _adds_array(sites: Sites, node: Node) -> bool:
    """Whether a given array is added, as one of −10⁹ where the scores are masked."""
    given = [a for a in node.all_input_nodes if a not in sites.variable and sites.values[a].numel() > 1]
    return packet_of(node) in (aten.add, aten.sub) and bool(given)
