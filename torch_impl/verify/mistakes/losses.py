"""Losses: the shortcut p − y where it does not hold, a clip or an ε that loss and gradient do not share."""

from collections.abc import Callable
from typing import Any

import torch

from torch_impl.verify.mistakes.activations import ON_TOP
from torch_impl.verify.mistakes.catalogue import Hypotheses, Hypothesis, mistake
from torch_impl.verify.mistakes.sites import Sites, aten
from torch_impl.verify.tolerances import EPSILONS
from torch_impl.verify.trace.tape import Node, line, packet_of

_FUSED = (aten._log_softmax, aten.log_sigmoid_forward, aten.binary_cross_entropy_with_logits)
_LARGEST_EPSILON = 1e-2


@mistake(
    "loss-shortcut-misused",
    "the shortcut p − y is used where the loss is not cross-entropy, or p(1 − p) is applied on top of it",
    "p − y is the gradient of cross-entropy with respect to the logits, complete; with any other loss, "
    "multiply dL/dp by the derivative of the output activation.",
)
def on_top(sites: Sites) -> Hypotheses:
    """p(1 − p) on top, at logits that a loss turns into probabilities, by a softmax of its own or by a fused one."""
    for z, p, _ in sites.softmaxes:
        if sites.feeds(p) == "cross-entropy":
            rule = lambda here, g, p=p: g * here[p] * (1 - here[p])  # noqa: E731
            yield Hypothesis({z: rule}, ON_TOP, line(p))
    first = next(iter(sites.tape.leaves.values()))
    for z in (z for z in sites.nodes if sites.values[z].ndim):
        if any(packet_of(user) in _FUSED for user in sites.tape.users(z)) or (z is first and sites.ends_in_loss):
            for name, f in (("softmax", lambda t: torch.softmax(t, -1)), ("sigmoid", torch.sigmoid)):
                rule = lambda here, g, z=z, f=f: g * f(here[z]) * (1 - f(here[z]))  # noqa: E731
                said = f"dz = a p (1 − p), p = {name}(z); should be dz = a"
                yield Hypothesis({z: rule}, said, line(z) or sites.titles.get(first, ""))


@mistake(
    "clipping-mismatch",
    "the loss clips or adds an ε, and its gradient does not (or the reverse)",
    "Differentiate the loss that is computed, ε and clipping included, or compute it from logits without either.",
)
def clipping(sites: Sites) -> Hypotheses:
    """The gradient of a loss without its ε or its clipping, or of one that has them where the forward has not."""
    for node, source in sites.clips.items():
        said = "the gradient goes through the clipping as if it were not there"
        yield Hypothesis({node: lambda here, g, source=source: {source: g}}, said)
    logs = [n for n in sites.calls if packet_of(n) is aten.log]
    near = {before for node in logs for before in sites.tape.ancestors(node)}
    sums = {n: sites.small_addend(n, _LARGEST_EPSILON) for n in sites.calls if packet_of(n) is aten.add and n in near}
    guards = dict.fromkeys(sites.clips, "its clipping") | {n: f"its ε = {e:g}" for n, e in sums.items() if e}
    groups = [([node], words) for node, words in guards.items()] + [([*guards], "its clipping")] * (len(guards) > 1)
    for nodes, words in groups:
        bypassed = {node: _hands_on(sites, node) for node in nodes}
        yield Hypothesis({}, f"h is the gradient of the loss without {words}", targets=bypassed)
    for nodes in [*([node] for node in logs), *([logs] if len(logs) > 1 else [])]:
        for epsilon in EPSILONS:
            said = f"h is the gradient of a loss with log(p + {epsilon:g}), the forward has log(p)"
            arguments = {node: node.all_input_nodes[0] for node in nodes}
            rules = {n: lambda here, g, p=p, e=epsilon: {p: g / (here[p] + e)} for n, p in arguments.items()}
            yield Hypothesis(rules, said)


def _hands_on(sites: Sites, node: Node) -> Callable[..., Any]:
    """The function that returns its one differentiable argument."""
    place = next(i for i, a in enumerate(node.args) if a in node.all_input_nodes and a in sites.variable)
    return lambda *args, **_: args[place]
