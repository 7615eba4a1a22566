"""A multilayer perceptron on two moons, trained by hand and by autograd."""

import numpy as np
from sklearn.datasets import make_moons

import scratch as s
import torch_impl as t

x, classes = make_moons(500, noise=0.2, random_state=0)
y = classes[:, None].astype(float)
network = s.mlp((2, 32, 32, 1), s.ReLU())
recipe = s.Recipe(loss=s.BCEWithLogits(), optimizer=s.Adam(0.01), epochs=40, batch_size=64)
ours = s.State.start(s.initial_parameters(network, np.random.default_rng(0)), recipe)
theirs = t.TwinState.start(network, recipe, ours)
by_hand = [record.loss for record in s.fit(network, recipe, x[:400], y[:400], ours)]
by_autograd = [record.loss for record in t.fit(network, recipe, x[:400], y[:400], theirs)]
logits, _ = network.apply(ours.params, x[400:])
print(f"accuracy on 100 new points: {np.mean((logits > 0) == y[400:]):.2f}")
print(f"largest difference of a loss: {np.abs(np.subtract(by_hand, by_autograd)).max():.0e}")
print(f"largest difference of a weight: {np.abs(ours.params.vector - t.parameters_of(theirs.module).vector).max():.0e}")
