"""What no formula shows: memory, aliasing, rounding. These have no rule on the tape; the judges find them."""

from torch_impl.verify.mistakes.catalogue import mistake

mistake(
    "grads-accumulate",
    what="gradients are added to what was there: a second call gives more",
    fix="Overwrite (=, out=), or set the gradients to zero before every backward pass.",
    kind="right, but",
)
mistake(
    "aliasing",
    what="an input, a cache, a parameter or the upstream gradient is changed in place",
    fix="Write into an array of your own: x = x * m, not x *= m, where x is somebody else's.",
)
mistake(
    "rounding",
    what="no mistake: the difference is the rounding of float32 and is gone in float64",
    fix="Nothing to mend.",
    kind="convention",
)
