"""How near two numbers must be to count as one; each tolerance has its name and its reason here."""

from __future__ import annotations

SAME = 1e-9  # relative: two arrays that were computed in two ways
RATIO = 1e-7  # relative: a number that was fitted, and the number that it should be
RATE = 1e-6  # relative: a fitted learning rate, which is seen through a small difference of weights
NOTHING = 1e-12  # a fitted number below it is zero
TINY = 1e-15  # absolute: what rounding leaves of a step of nothing
JUMP = 1e-6  # two slopes further apart than this are those of a kink
BESIDE = 1e-9  # how far beside a kink its two slopes are taken
CENTRED = 1e-7  # the largest mean of what a normalisation has centred
SCALED = 0.05  # how far ε may keep the variance of what a normalisation has scaled from 1
SLACK = 3  # times an observation's tolerance: what a prediction may be apart from the user's gradient
EPSILONS = tuple(10.0**-k for k in range(3, 17))  # what people add to the argument of a logarithm
