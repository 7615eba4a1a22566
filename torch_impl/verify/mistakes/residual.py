"""Residual blocks, y = x + f(x): the shortcut left out in the backward pass."""

from torch_impl.verify.mistakes.catalogue import Hypotheses, Hypothesis, mistake
from torch_impl.verify.mistakes.sites import Sites, aten
from torch_impl.verify.trace.tape import Node, packet_of, reshapes


@mistake("residual-lost", "the shortcut of a residual block is left out: what goes back past the block is missing",
         "Add the gradient that arrives at the sum: dx = dy + what comes back through the block.")  # fmt: skip
def residual_lost(sites: Sites) -> Hypotheses:
    """Of a sum x + f(x), the gradient goes back through f alone."""
    for total in (n for n in sites.calls if packet_of(n) is aten.add and len(n.all_input_nodes) == 2):
        for x, block in (total.all_input_nodes, total.all_input_nodes[::-1]):
            if _is_shortcut(sites, x, block):
                rule = lambda here, g, n=total, x=x: here.sends(n, g, but=x)  # noqa: E731
                yield Hypothesis({total: rule}, "dx = what comes back through f; should be dy + that, y = x + f(x)")


def _is_shortcut(sites: Sites, x: Node, block: Node) -> bool:
    """Whether the block is computed from x, by more than elementwise operations."""
    if x not in sites.variable or sites.values[x].shape != sites.values[block].shape:
        return False
    while reshapes(x) and x.all_input_nodes:
        x = x.all_input_nodes[0]
    return x in sites.tape.ancestors(block) and not sites.tape.sources(block) <= sites.tape.sources(x)
