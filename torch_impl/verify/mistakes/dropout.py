"""Dropout: its mask left out in the backward pass, drawn anew, or with another scale."""

from torch_impl.verify.mistakes.attention import attention_masks
from torch_impl.verify.mistakes.catalogue import Hypotheses, Hypothesis, mistake
from torch_impl.verify.mistakes.sites import Sites


@mistake("dropout-mask-missing", "the dropout mask is not applied in the backward pass",
         "Multiply the gradient by the very mask of the forward pass.")  # fmt: skip
def mask_missing(sites: Sites) -> Hypotheses:
    """With its scale, or without."""
    of_attention = attention_masks(sites)
    for u, v, scale in (mask for mask in sites.masks if mask not in of_attention):
        yield Hypothesis({v: lambda here, g, u=u: {u: g}}, "dx = dy; should be dx = dy m, m the mask")
        said = "dx = dy / (1 − p); should be dx = dy m / (1 − p), m the mask, p the probability to drop"
        yield Hypothesis({v: lambda here, g, u=u, scale=scale: {u: g * scale}}, said)


# A factor at the mask, which the rule of factors finds.
mistake(
    "dropout-scale",
    "the dropout's scale is another one in the backward than in the forward pass",
    "Scale the gradient as the forward scales: by 1/(1 − p) with inverted dropout, p the probability to drop.",
)
# Found by handing backward the draws of forward.
mistake("dropout-mask-resampled", "the backward pass draws a dropout mask of its own",
        "Keep the forward's mask in the cache and use that.")  # fmt: skip
