"""Dropout: its mask left out in the backward pass, drawn anew, or with another scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch_impl.verify.mistakes.catalogue import mistake
from torch_impl.verify.mistakes.hypothesis import Hypothesis
from torch_impl.verify.trace.tape import line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch_impl.verify.mistakes.sites import Sites


@mistake(
    "dropout-mask-missing",
    what="the dropout mask is not applied in the backward pass",
    fix="Multiply the gradient by the very mask of the forward pass.",
)
def mask_missing(sites: Sites) -> Iterator[Hypothesis]:
    """With its scale, or without."""
    for u, v, scale in sites.masks:
        yield Hypothesis({v: lambda here, g, u=u: {u: g}}, "dx = dy; should be dx = dy m, m the mask", line(v))
        scaled = {v: lambda here, g, u=u, scale=scale: {u: g * scale}}
        yield Hypothesis(scaled, "dx = dy / (1 − p); should be dx = dy m / (1 − p), m the mask, p the probability to drop", line(v))


# A factor at the mask: the rule of a factor gives it this name.
mistake(
    "dropout-scale",
    what="the dropout's scale is another one in the backward than in the forward pass",
    fix="Scale the gradient as the forward scales: by 1/(1 − p) with inverted dropout, p the probability to drop.",
)
mistake(  # found by handing backward the forward's draws
    "dropout-mask-resampled",
    what="the backward pass draws a dropout mask of its own",
    fix="Keep the forward's mask in the cache and use that.",
)
