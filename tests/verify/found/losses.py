"""Losses with their gradients."""

import numpy as np


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def network_loss(x, y, W1, b1, W2, b2):
    n = len(x)
    h = np.tanh(x @ W1 + b1)
    p = softmax(h @ W2 + b2)
    loss = -np.log(p[np.arange(n), y]).sum() / n
    d = p.copy()
    d[np.arange(n), y] -= 1
    da = d @ W2.T * (1 - h**2)
    return loss, {"W1": x.T @ da, "b1": da.sum(axis=0), "W2": h.T @ d, "b2": d.sum(axis=0)}


def softmax_regression(x, t, W):
    p = softmax(x @ W)
    loss = -(t * np.log(p)).sum() / len(x)
    dz = p - t
    dW = x.T @ dz
    return loss, {"W": dW}


def cross_entropy(y, p):
    n = len(y)
    return -(y * np.log(p)).sum() / n


def cross_entropy_gradient(y, p):
    n = len(y)
    dp = -p / y
    return dp / n


def normalised_error(p, y):
    q = p / p.sum(axis=1, keepdims=True)
    loss = ((q - y) ** 2).sum() / len(y)
    return loss, (p, q, y)


def normalised_error_gradient(cache):
    p, q, y = cache
    dq = 2 * (q - y) / len(y)
    return dq


def softmax_loss(z, t):
    p = softmax(z)
    each = t * np.log(p) + (1 - t) * np.log(1 - p)
    loss = -each.sum() / len(z)
    dz = (p - t) / len(z)
    return loss, {"z": dz}
