"""What backward hands out: gradients in each other's places, or in an array that can't hold them."""

import itertools

import torch

from torch_impl.verify.mistakes.catalogue import LATE, Here, Hypotheses, Hypothesis, mistake
from torch_impl.verify.mistakes.sites import Sites


@mistake("returned-exchanged", "two gradients are returned in each other's place",
         "Return the gradients in the order of forward's arguments, or each under its own name.")  # fmt: skip
def exchanged(sites: Sites) -> Hypotheses:
    """h of each of two inputs is a of the other."""
    for (one, leaf), (other, there) in itertools.combinations(sites.leaves.items(), 2):
        rules = {
            leaf: lambda here, g, a=one, b=other: _others(here, g, a, b),
            there: lambda here, g, a=other, b=one: _others(here, g, a, b),
        }
        words = f"{sites.titles[leaf]} holds the gradient of {other}, and {sites.titles[there]} that of {one}"
        yield Hypothesis(rules, words, "what backward returns", 3)


def _others(here: Here, g: torch.Tensor, mine: str, other: str) -> torch.Tensor:
    """The other's gradient, if the user's two are exchanged: one alone in the wrong place is another mistake."""
    seen = here.observation
    both = {mine, other} <= seen.hand.keys() & seen.auto.keys()
    if both and seen.matches(mine, seen.auto[other]) and seen.matches(other, seen.auto[mine]):
        return torch.from_numpy(seen.auto[other])
    return g


@mistake("integer-buffer", "the gradient is written into an array of integers, which drops what comes after the point",
         "Make the array of floats: np.zeros(shape), or np.zeros_like of an array of floats.")  # fmt: skip
def integer_buffer(sites: Sites) -> Hypotheses:
    """A gradient that is returned, or one on the way, without its fractions."""
    ends = set(sites.titles)
    steps = {node for site in sites.elementwise for node in site[:2]} | {p.node for p in sites.products}
    steps |= {node for s in sites.softmaxes for node in s[:2]}
    for node in sites.nodes:
        if node in ends or (node in steps and not sites.long):
            words = "h = a without its fractions" if node in ends else "a gradient on the way loses its fractions"
            place = sites.titles.get(node, "")
            yield Hypothesis({node: lambda here, g: g.trunc()}, words, place, 0 if node in ends else LATE)
