"""Dense layers and small networks."""

import numpy as np


def affine_forward(x, W, b):
    z = x @ W + b
    return z, (x, W)


def affine_backward_averaged_weights(dout, cache):
    x, W = cache
    n = len(x)
    dW = x.T @ dout / n
    db = dout.sum(axis=0)
    dx = dout @ W.T
    return dx, dW, db


def affine_backward_averaged(dout, cache):
    x, W = cache
    n = len(x)
    dW = x.T @ dout / n
    db = dout.sum(axis=0) / n
    dx = dout @ W.T
    return dx, dW, db


def hidden_forward(x, W1, b1, W2, b2):
    h = np.tanh(x @ W1 + b1)
    out = h @ W2 + b2
    return out, (x, W1, W2, h)


def hidden_backward(dout, cache):
    x, W1, W2, h = cache
    dW2 = h.T @ dout
    db2 = dout.sum(axis=0)
    dh = dout @ W2.T
    da = dh * (1 - h**2)
    dW1 = x.T @ da
    db1 = dh.sum(axis=0)
    dx = da @ W1.T
    return dx, dW1, db1, dW2, db2


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


class OneSample:
    """Two layers of sigmoids that see one sample at a time."""

    def __init__(self, W1, W2):
        self.W1, self.W2 = W1, W2

    def loss(self, x, y):
        self.a1 = sigmoid(self.W1 @ x)
        self.a2 = sigmoid(self.W2 @ self.a1)
        return 0.5 * ((self.a2 - y) ** 2).sum()

    def train_step(self, x, y, lr):
        d2 = (self.a2 - y) * self.a2 * (1 - self.a2)
        d1 = (self.W2.T @ d2) * self.a1 * (1 - self.a1)
        self.W2 -= lr * np.dot(d2, self.a2)
        self.W1 -= lr * np.dot(d1, self.a1)
