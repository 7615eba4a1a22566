"""Every tolerance of the verifier, by name, and why it is as large as it is."""

from __future__ import annotations

import numpy as np

# Relative, in float64: a right gradient may differ from autograd's by the rounding of another order of operations.
RIGHT = 1e-10
# Beside autograd there is what cancels: of the upstream gradient times the inputs, this much may be left of nothing.
CANCELLED = 1e-12
# Central differences: where the h² of truncation meets the ε/h of rounding, and what they can promise there.
STEP = float(np.finfo(np.float64).eps ** (1 / 3))
DIFFERENCES = 1e-6
# Relative: a slope by differences, and a gradient, that are taken to be the same.
AGREE = 1e-4
# A forward that computes in float32 whatever it is given has gradients that are no better than this.
SINGLE = 1e-4
# What goes through a whole network, relative and absolute.
THROUGH, THROUGH_SMALL = 1e-9, 1e-13
# Two arrays that are meant to be the same: relative, and absolute beside numbers of order one.
SAME, SAME_SMALL = 1e-9, 1e-12
# float32: differences up to so many units in the last place need no look at float64.
ROUNDING_32 = 16
# Times what random rounding changes: what an ill-conditioned gradient may differ by.
NOISE = 50

# A loss with an ε or a clip of at most LARGEST_GUARD, and a gradient without: relative, they may part by so much.
LARGEST_GUARD, GUARDED = 1e-3, 1e-4

# Explanations.
RATIO = 1e-7  # relative: a number that was fitted, and the number that it should be
RATE = 1e-6  # relative: a fitted learning rate, which is seen through a small difference of weights
NOTHING = 1e-12  # a fitted number below it is zero
TINY = 1e-15  # absolute: what rounding leaves of a step of nothing
JUMP = 1e-6  # two slopes further apart than this are those of a kink
BESIDE = 1e-9  # how far beside a kink its two slopes are taken
AROUND, HULL = 1e-8, 1e-5  # how far around a tie its slopes are drawn, and the slack, relative, of what lies between
CENTRED = 1e-7  # the largest mean of what a normalisation has centred
SCALED = 0.05  # how far ε may keep the variance of what a normalisation has scaled from 1
SLACK = 3  # times an observation's tolerance: what a prediction may be apart from the user's gradient
EPSILONS = tuple(10.0**-k for k in range(3, 17))  # what people add to the argument of a logarithm

# Blame: relative, a value of a backward pass and what it is taken to be.
MEANS = 1e-9
