"""What backward hands out: gradients in each other's places, or in an array that can't hold them."""

import itertools
from typing import Any

import numpy as np
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
    for name, leaf in sites.leaves.items():
        rule = lambda here, g, name=name: g.trunc() if _is_whole(here.observation.hand[name]) else g  # noqa: E731
        yield Hypothesis({leaf: rule}, "h = a without its fractions", sites.titles[leaf])
    steps = {node for site in sites.elementwise for node in site[:2]} | {p.node for p in sites.products}
    for node in (n for n in sites.calls if n in steps and not sites.long):
        words = "a gradient on the way loses its fractions; what comes after is computed from whole numbers"
        # One that loses everything can't be told from one that is forgotten.
        yield Hypothesis({node: lambda here, g: g.trunc() if bool((g.abs() >= 1).any()) else g}, words, rank=LATE)


def _is_whole(gradient: Any) -> bool:
    return bool(np.all(np.equal(gradient, np.round(gradient))))
