"""What no formula shows: memory, aliasing, rounding. These have no rule on the tape; the judges find them."""

from torch_impl.verify.mistakes.catalogue import mistake

mistake("grads-accumulate", "gradients are added to what was there: a second call gives more",
        "Overwrite (=, out=), or set the gradients to zero before every backward pass.", "right, but")  # fmt: skip
mistake("aliasing", "an input, a cache, a parameter or the upstream gradient is changed in place",
        "Write into an array of your own: x = x * m, not x *= m, where x is somebody else's.")  # fmt: skip
mistake("rounding", "no mistake: the difference is the rounding of float32 and is gone in float64",
        "Nothing to mend.", "convention")  # fmt: skip
