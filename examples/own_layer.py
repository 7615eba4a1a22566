"""A layer of your own: written by hand, verified against autograd, and trained in both twins."""

from dataclasses import dataclass

import numpy as np
from sklearn.datasets import load_digits
from torch import nn

import scratch as s
import torch_impl as t
from torch_impl.counterparts import LAYERS
from torch_impl.verify import verify_layer


@dataclass(frozen=True)
class PReLU:
    """y = x for x > 0, else a x  for x (batch, width), with a learned slope a (width,) (He et al., 2015)."""

    width: int
    kinks = (0.0,)
    keeps_shape = True

    def shapes(self):
        """The layer's arrays, named as torch names them."""
        return {"weight": (self.width,)}

    def initial(self, rng):  # noqa: ARG002
        """The slopes before the first step."""
        return {"weight": np.full(self.width, 0.25)}

    def forward(self, x, a):
        """The output and the cache."""
        return np.where(x > 0, x, a * x), (x, a)

    def backward(self, dy, cache, da):
        """∂L/∂x; ∂L/∂a is written into ``da``."""
        x, a = cache
        np.sum(dy * np.minimum(x, 0), axis=0, out=da)  # ∂L/∂a = Σ_batch dy min(x, 0)
        return np.where(x > 0, dy, a * dy)  # ∂L/∂x = dy or a dy


LAYERS[PReLU] = lambda layer: nn.PReLU(layer.width)

for check in verify_layer(PReLU(5), x_shape=(7, 5)).sections[0].checks:
    print(f"{check.tensor}: {check.verdict}")

x, y = load_digits(return_X_y=True)
x = x / 16
network = s.Network((s.Linear(64, 32), PReLU(32), s.Linear(32, 10)))
recipe = s.Recipe(loss=s.CrossEntropy(), optimizer=s.Adam(0.005), epochs=10, batch_size=64)
ours = s.State.start(s.initial_parameters(network, np.random.default_rng(0)), recipe)
theirs = t.TwinState.start(network, recipe, ours)
for _ in s.fit(network, recipe, x, y, ours):
    pass
for _ in t.fit(network, recipe, x, y, theirs):
    pass
slopes, learned = ours.params["1.weight"], t.parameters_of(theirs.module)
print(f"slopes: 0.25 before the training, {slopes.min():.2f} to {slopes.max():.2f} after it")
print(f"largest difference of a weight: {np.abs(ours.params.vector - learned.vector).max():.0e}")
