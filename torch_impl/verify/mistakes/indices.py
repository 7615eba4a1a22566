"""Indices: a row that is taken more than once, as of an embedding, gets several contributions."""

import itertools
from typing import Any

import torch

from torch_impl.verify.mistakes.catalogue import LATE, Here, Hypotheses, Hypothesis, Rule, mistake
from torch_impl.verify.mistakes.parts import Windows, windows
from torch_impl.verify.mistakes.sites import Gather, Sites, taken
from torch_impl.verify.trace.tape import Node, line


@mistake(
    "duplicate-indices",
    "where an index repeats, one of its contributions is kept and the others are lost",
    "Add up what belongs to one row: np.add.at(dW, idx, dout); dW[idx] += dout adds once for each distinct index, "
    "and dW[idx] = dout assigns.",
)
def duplicate_indices(sites: Sites) -> Hypotheses:
    """Of a row that is taken several times, the last contribution alone, or the first; so with windows that overlap."""
    for site, which in itertools.product(sites.gathers, ("last", "first")):
        formula = f"dW[i] = the {which} dout that belongs to row i; should be the sum of all that do"
        yield Hypothesis({site.node: lambda here, g, s=site, w=which: _put(here, g, s, w)}, formula)
    yield from _overlapping(sites)


def _put(here: Here, g: torch.Tensor, site: Gather, which: str) -> dict[Node, torch.Tensor]:
    """The gradient assigned to its rows one after another, as NumPy does: what comes last stays."""
    dW, places = torch.zeros_like(here[site.table]), taken(here.tape, here.node(site.node), here.node(site.table))
    order = slice(None) if which == "last" else slice(None, None, -1)
    dW.numpy().reshape(-1)[places.numpy()[order]] = g.numpy().reshape(-1)[order]
    return {site.table: dW}


def _overlapping(sites: Sites) -> Hypotheses:
    """Parts that a loop takes out of one array, or uses of the whole: of one entry's contributions one is kept."""
    for site in windows(sites):
        for which in ("last", "first"):
            words = f"of the windows that an entry is in, the {which} one's contribution is kept; should be their sum"
            rules = {v: _owned(site, k, which) for k, v in enumerate(site.nodes)}
            if len(rules) > 1:
                yield Hypothesis(rules, words, rank=LATE)
    for leaf in (sites.leaves[name] for name in sites.parameters):
        by_line: dict[Any, list[Node]] = {}
        for user in sites.tape.users(leaf):
            by_line.setdefault((line(user), user.target), []).append(user)
        for users in (users for (place, _), users in by_line.items() if place and len(users) > 1):
            for k, which in ((-1, "last"), (0, "first")):
                others = {u: _without(u, leaf) for u in users if u is not users[k]}
                words = f"of what each step of the loop contributes, the {which} one's is kept; should be their sum"
                yield Hypothesis(others, words, rank=LATE)


def _owned(site: Windows, k: int, which: str) -> Rule:
    """The rule of window k: what a later one, or an earlier one, overwrites is lost."""

    def rule(here: Here, g: torch.Tensor) -> dict[Node, torch.Tensor]:
        if site.source not in here.kept:
            owner, numbered = torch.full_like(here[site.source], -1).view(-1), torch.arange(here[site.source].numel())
            for j in range(len(site.nodes)) if which == "last" else reversed(range(len(site.nodes))):
                owner[here.along(site.paths[j], numbered.reshape(here[site.source].shape)).reshape(-1)] = j
            here.kept[site.source] = owner.reshape(here[site.source].shape)
        mine = here.along(site.paths[k], here.kept[site.source]) == k
        return here.only(site.nodes[k], site.nodes[k].all_input_nodes[0], g * mine)

    return rule


def _without(user: Node, leaf: Node) -> Rule:
    """The rule of a node that sends nothing to a parameter, where what goes back to the data is right nonetheless."""
    others = [a for a in user.all_input_nodes if a is not leaf]

    def rule(here: Here, g: torch.Tensor) -> Any:
        o = here.observation
        data = [name for name in o.auto if name in o.hand and name not in o.unit.parameters]
        if not data or any(o.differs(name) for name in data):
            return g
        return {to: sent for a in others for to, sent in here.only(user, a, g).items()}

    return rule
