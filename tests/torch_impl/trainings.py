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


ODD = recipe(epochs=3, batch_size=11)  # of 23 samples: 11, 11 and a last batch of one


def data(dtype="float64"):
    rng = np.random.default_rng(11)
    x, y = rng.standard_normal((35, 5)).astype(dtype), rng.integers(0, 3, 35)
    return x[:23], y[:23], (x[23:], y[23:])  # three batches an epoch, the last one short


def initial(dtype="float64"):
    return scratch.initial_parameters(NETWORK, np.random.default_rng(5), bias=0.1, dtype=dtype)
