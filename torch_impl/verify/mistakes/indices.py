"""Indices: a row that is taken more than once, as of an embedding, gets several contributions."""

import torch

from torch_impl.verify.mistakes.catalogue import Here, Hypotheses, Hypothesis, mistake
from torch_impl.verify.mistakes.sites import Gather, Sites, taken
from torch_impl.verify.trace.tape import Node


@mistake(
    "duplicate-indices",
    "where an index repeats, one of its contributions is kept and the others are lost",
    "Add up what belongs to one row: np.add.at(dW, idx, dout); dW[idx] += dout adds once for each distinct index.",
)
def duplicate_indices(sites: Sites) -> Hypotheses:
    """Of a row that is taken several times, the last contribution alone."""
    for site in sites.gathers:
        formula = "dW[i] = the last dout that belongs to row i; should be the sum of all that do"
        yield Hypothesis({site.node: lambda here, g, site=site: _put(here, g, site)}, formula)


def _put(here: Here, g: torch.Tensor, site: Gather) -> dict[Node, torch.Tensor]:
    """The gradient assigned to its rows one after another, as NumPy does: what comes last stays."""
    dW, places = torch.zeros_like(here[site.table]), taken(here.tape, here.node(site.node), here.node(site.table))
    dW.numpy().reshape(-1)[places.numpy()] = g.numpy().reshape(-1)
    return {site.table: dW}
