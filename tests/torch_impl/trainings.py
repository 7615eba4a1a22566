"""A small training that uses everything: what the trainings of all twins are compared on."""

import numpy as np

import scratch
from scratch import SGD, CosineDecay, CrossEntropy, Penalty, Recipe, Warmup, mlp

NETWORK = mlp((5, 8, 6, 3), scratch.Tanh(), dropout=0.2, input_dropout=0.1)


def recipe(**changes):
    base = {
        "loss": CrossEntropy(),
        "optimizer": SGD(0.1, momentum=0.9, nesterov=True, weight_decay=1e-3),
        "epochs": 6,
        "batch_size": 8,
        "schedule": Warmup(4, CosineDecay(14)),
        "penalty": Penalty(1e-3, 1e-2),
        "max_norm": 0.5,
        "seed": 7,
    }
    return Recipe(**{**base, **changes})


# Running statistics, nested networks and masks; then integers of three axes.
NORMED = mlp((5, 8, 8, 3), scratch.Tanh(), dropout=0.2, norm=scratch.BatchNorm, residual=True)
SEQUENCES = scratch.Network(
    (
        scratch.Embedding(11, 4),
        scratch.Residual(scratch.LayerNorm(4)),
        scratch.Flatten(),
        mlp((12, 6, 3), scratch.GELU()),
    )
)
NETWORKS = {"mlp": NETWORK, "norms": NORMED, "sequences": SEQUENCES}

ODD = recipe(epochs=3, batch_size=11)  # of 23 samples: 11, 11 and a last batch of one


def data(dtype="float64", network=NETWORK):
    rng = np.random.default_rng(11)
    x, y = rng.standard_normal((35, 5)).astype(dtype), rng.integers(0, 3, 35)
    if network.integer_input:
        x = rng.integers(0, network.n_in, (35, 3))
    return x[:23], y[:23], (x[23:], y[23:])  # three batches an epoch, the last one short


def initial(dtype="float64", network=NETWORK):
    return scratch.initial_parameters(network, np.random.default_rng(5), bias=0.1, dtype=dtype)
