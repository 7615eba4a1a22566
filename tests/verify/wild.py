"""Wrong gradients as they were found in public code: the same mistakes in code of our own.

Each is one that somebody published, used and believed. ``mistake`` is its name in the catalogue, or "unknown" where
the catalogue has none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from torch_impl.verify import verify_derivative, verify_function, verify_network

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch_impl.verify import Report


@dataclass(frozen=True)
class Wild:
    """One mistake, where it was made, and the report of code that makes it."""

    mistake: str
    where: str
    run: Callable[[], Report]
    unnamed: bool = False  # the rule of its name does not reach this place: it may be called unknown


WILD: list[Wild] = []


def wild(mistake, where, unnamed=False):
    """Register the decorated function, which returns the report."""

    def register(run):
        WILD.append(Wild(mistake, where, run, unnamed))
        return run

    return register


def normal(*shape, seed=0, scale=1.0):
    return scale * np.random.default_rng(20 + seed).standard_normal(shape)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def softmax(z, axis=-1):
    e = np.exp(z - z.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def softmax_back(dp, p):
    return p * (dp - (dp * p).sum(axis=-1, keepdims=True))


# --- activations ------------------------------------------------------------------------------------------------------


@wild("softmax-diagonal-only", "softmax as a layer, p (1 − p)")
def _():
    def backward(dout, p):
        return dout * p * (1 - p)

    return verify_function(softmax, backward, {"z": normal(5, 4)})


@wild("unknown", "softmax's derivative, of the input where it is one of the output")
def _():
    def backward(dout, z):
        return dout * z * (1 - z)

    return verify_function(softmax, backward, {"z": normal(5, 4)})


@wild("activation-derivative-missing", "softmax as a layer that hands the upstream gradient on")
def _():
    class Softmax:
        def forward(self, z):
            self.p = softmax(z)
            return self.p

        def backward(self, dout):
            return dout

    return verify_network(Softmax(), x=normal(5, 4))


@wild("upstream-ignored", "softmax, the Jacobian without the upstream gradient")
def _():
    def forward(z):
        p = softmax(z)
        return p, p

    def backward(dout, p):
        jacobians = p[:, :, None] * (np.eye(p.shape[1]) - p[:, None, :])
        return jacobians.sum(axis=1)

    return verify_function(forward, backward, {"z": normal(5, 4)})


@wild("softmax-diagonal-only", "softmax over the channels of (N, C, H, W)")
def _():
    def forward(x):
        p = softmax(x, axis=1)
        return p, p

    def backward(dout, p):
        return dout * p * (1 - p)

    return verify_function(forward, backward, {"x": normal(2, 4, 3, 5)})


@wild("activation-derivative-missing", "ReLU that forgets its mask")
def _():
    class ReLU:
        def forward(self, x):
            self.x = x
            return np.maximum(0, x)

        def backward(self, dout):
            return dout * np.ones_like(self.x)

    return verify_network(ReLU(), x=normal(5, 4))


@wild("upstream-ignored", "sigmoid and tanh, the derivative taken at the upstream gradient")
def _():
    def backward(dout, out):
        return dout * (1 - dout)

    return verify_function(lambda x: sigmoid(x), backward, {"x": normal(5, 4)})


@wild("function-for-derivative", "tanh, its derivative tanh itself")
def _():
    return verify_derivative(np.tanh, lambda x: np.tanh(x), normal(5, 4))


@wild("function-for-derivative", "GELU by tanh, with the derivative of the exact one")
def _():
    def gelu(x):
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))

    def gelu_prime(x):
        cdf = 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
        return cdf + x * np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)

    return verify_derivative(gelu, gelu_prime, normal(5, 4))


@wild("leaky-slope-lost", "ELU, a comparison with a sum: x > 0.0 + …")
def _():
    alpha = 0.7

    def elu(x):
        return np.where(x > 0, x, alpha * (np.exp(x) - 1))

    def elu_prime(x):
        return (x > 0.0 + (x <= 0.0) * alpha * np.exp(x)).astype(float)

    return verify_derivative(elu, elu_prime, normal(5, 4))


# --- dense layers and losses ------------------------------------------------------------------------------------------


class Dense:
    """x W + b, the gradients in dW and db."""

    def __init__(self, n_in=4, n_out=3):
        self.W, self.b = normal(n_in, n_out, seed=1), normal(n_out, seed=2)

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def divisor(self):
        return 1

    def backward(self, dout):
        self.dW = self.x.T @ dout / self.divisor()
        self.db = dout.sum(axis=0) / self.divisor()
        return dout @ self.W.T


@wild("batch-mean-twice", "a dense layer that divides by the batch size, by itself")
def _():
    class Averaging(Dense):
        def divisor(self):
            return len(self.x)

    return verify_network(Averaging(), x=normal(7, 4))


class Classifier:
    """Two dense layers with tanh between them, softmax and the mean cross-entropy of class indices."""

    def __init__(self):
        self.W1, self.b1 = normal(4, 6, seed=1), normal(6, seed=2)
        self.W2, self.b2 = normal(6, 3, seed=3), normal(3, seed=4)

    def dz(self, p, y):
        d = p.copy()
        d[np.arange(len(y)), y] -= 1
        return d / len(y)

    def weight_divisor(self, y):
        return 1

    def bias(self, dh, da):
        return da.sum(axis=0)

    def loss(self, x, y):
        self.h = np.tanh(x @ self.W1 + self.b1)
        self.p = softmax(self.h @ self.W2 + self.b2)
        return -np.log(self.p[np.arange(len(y)), y]).mean()

    def backward(self, x, y):
        d = self.dz(self.p, y)
        dh = d @ self.W2.T
        da = dh * (1 - self.h**2)
        m = self.weight_divisor(y)
        self.dW2, self.db2 = self.h.T @ d / m, d.sum(axis=0) / m
        self.dW1, self.db1 = x.T @ da / m, self.bias(dh, da) / m


def verify_classifier(net):
    return verify_network(net, x=normal(7, 4), y=np.array([0, 2, 1, 1, 0, 2, 2]))


@wild("missing-batch-mean", "a mean loss, its gradients sums")
def _():
    class Sums(Classifier):
        def dz(self, p, y):
            return super().dz(p, y) * len(y)

    return verify_classifier(Sums())


@wild("missing-batch-mean", "softmax regression, the mean forgotten")
def _():
    def cost(w, x, t):
        p = softmax(x @ w)
        return -(t * np.log(p)).sum() / len(x), x.T @ (p - t)

    t = np.eye(3)[[0, 2, 1, 1, 0]]
    return verify_function(cost, None, {"w": normal(4, 3), "x": normal(5, 4, seed=1), "t": t})


@wild("batch-mean-twice", "a network, each layer of which divides once more")
def _():
    class Twice(Classifier):
        def weight_divisor(self, y):
            return len(y)

    return verify_classifier(Twice())


@wild("leaf-before-activation", "a hidden layer's bias, from the gradient after the activation")
def _():
    class BiasAfter(Classifier):
        def bias(self, dh, da):
            return dh.sum(axis=0)

    return verify_classifier(BiasAfter())


@wild("unknown", "cross-entropy, its operands exchanged")
def _():
    def loss(y, p):
        return -(y * np.log(p)).sum() / len(y)

    def gradient(y, p):
        return -(p / y) / len(y)

    return verify_function(loss, gradient, {"y": softmax(normal(5, 3)), "p": softmax(normal(5, 3, seed=1))})


@wild("jacobian-diagonal-only", "squared error of normalised predictions, the quotient's second term left out")
def _():
    def loss(p, y):
        q = p / p.sum(axis=1, keepdims=True)
        return ((q - y) ** 2).sum()

    def gradient(p, y):
        total = p.sum(axis=1, keepdims=True)
        return 2 * (p / total - y) / total

    return verify_function(loss, gradient, {"p": 1 + np.abs(normal(5, 3)), "y": normal(5, 3, seed=1)})


@wild("unknown", "softmax cross-entropy with the gradient of a binary one")
def _():
    def loss(p, y):
        return -(y * np.log(p)).sum() / len(y)

    def gradient(p, y):
        return (-y / p + (1 - y) / (1 - p)) / len(y)

    return verify_function(loss, gradient, {"p": softmax(normal(5, 3)), "y": np.eye(3)[[0, 2, 1, 1, 0]]})


@wild("unknown", "np.dot for an outer product, of the neighbouring activation")
def _():
    def forward(x, W1, W2):
        a1 = sigmoid(W1 @ x)
        a2 = sigmoid(W2 @ a1)
        return a2, (x, a1, a2, W2)

    def backward(dout, cache):
        _, a1, a2, W2 = cache
        d2 = dout * a2 * (1 - a2)
        d1 = (W2.T @ d2) * a1 * (1 - a1)
        return W2.T @ d1, np.outer(d1, a1), np.dot(d2, a2) * np.ones_like(W2)

    return verify_function(forward, backward, {"x": normal(4), "W1": normal(4, 4, seed=1), "W2": normal(4, 4, seed=2)})


# --- convolutions, pooling, embeddings --------------------------------------------------------------------------------


def convolved(x, k):
    """The cross-correlation of two matrices, where they overlap wholly."""
    h, w = x.shape[0] - k.shape[0] + 1, x.shape[1] - k.shape[1] + 1
    return np.array([[(x[i : i + k.shape[0], j : j + k.shape[1]] * k).sum() for j in range(w)] for i in range(h)])


@wild("unknown", "a convolution whose kernel is not flipped on the way back")
def _():
    def backward(dout, x, k):
        r, s = k.shape
        padded = np.pad(dout, ((r - 1, r - 1), (s - 1, s - 1)))
        return convolved(padded, k), convolved(x, dout)

    return verify_function(convolved, backward, {"x": normal(4, 5), "k": normal(2, 3, seed=1)})


@wild("unknown", "upsampling, every second entry instead of the block's sum")
def _():
    class UpSampling:
        def forward(self, x):
            return x.repeat(2, axis=2).repeat(2, axis=3)

        def backward(self, dout):
            return dout[:, :, ::2, ::2]

    return verify_network(UpSampling(), x=normal(2, 3, 4, 5))


@wild("transposed", "average pooling, two axes exchanged in a reshape", unnamed=True)
def _():
    def forward(x):
        n, d, h, w = x.shape
        blocks = x.reshape(n, d, h // 2, 2, w // 2, 2)
        return blocks.mean(axis=(3, 5))

    def backward(dout, x):
        n, d, h, w = x.shape
        spread = np.repeat(np.repeat(dout, 2, axis=2), 2, axis=3) / 4
        return spread.reshape(d, n, h, w).transpose(1, 0, 2, 3)

    return verify_function(forward, backward, {"x": normal(2, 3, 4, 6)})


@wild("unknown", "max pooling with a stride, the window begins at h")
def _():
    def forward(x, stride):
        h, w = x.shape[0] // stride, x.shape[1] // stride
        return np.array([
            [x[i * stride : i * stride + stride, j * stride : j * stride + stride].max() for j in range(w)]
            for i in range(h)
        ])  # fmt: skip

    def backward(dout, x, stride):
        dx = np.zeros_like(x)
        for i, j in np.ndindex(dout.shape):
            window = x[i : i + stride, j : j + stride]
            dx[i : i + stride, j : j + stride] += (window == window.max()) * dout[i, j]
        return dx

    return verify_function(forward, backward, {"x": normal(6, 8), "stride": 2})


@wild("duplicate-indices", "pooled embeddings, = with repeated indices")
def _():
    def forward(E, ids):
        return E[ids].sum(axis=1)

    def backward(dout, E, ids):
        dE = np.zeros_like(E)
        dE[ids] = dout[:, None]
        return dE

    return verify_function(forward, backward, {"E": normal(6, 4), "ids": np.array([[0, 3, 3], [1, 3, 5]])})


# --- normalisation and attention --------------------------------------------------------------------------------------


@wild("batchnorm-stats-constant", "batch norm, the short form without the mean's and the variance's terms")
def _():
    def forward(x, gamma, beta):
        sigma = np.sqrt(x.var(axis=0) + 1e-5)
        x_hat = (x - x.mean(axis=0)) / sigma
        return gamma * x_hat + beta, (x_hat, gamma, sigma)

    def backward(dout, cache):
        x_hat, gamma, sigma = cache
        return dout * gamma / sigma, (dout * x_hat).sum(axis=0), dout.sum(axis=0)

    return verify_function(
        forward, backward, {"x": normal(7, 4), "gamma": normal(4, seed=1), "beta": normal(4, seed=2)}
    )


@wild("scale-outside", "layer norm, γ outside the sums")
def _():
    def forward(x, gamma, beta):
        sigma = np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)
        x_hat = (x - x.mean(axis=1, keepdims=True)) / sigma
        return gamma * x_hat + beta, (x_hat, gamma, sigma)

    def backward(dout, cache):
        x_hat, gamma, sigma = cache
        mean, with_x = dout.mean(axis=1, keepdims=True), (dout * x_hat).mean(axis=1, keepdims=True)
        dx = gamma * (dout - mean - x_hat * with_x) / sigma
        return dx, (dout * x_hat).sum(axis=0), dout.sum(axis=0)

    return verify_function(
        forward, backward, {"x": normal(7, 4), "gamma": normal(4, seed=1), "beta": normal(4, seed=2)}
    )


def verify_attention(dk=lambda ds, q: ds.T @ q, divisor=lambda q: 1):
    def forward(q, k, v):
        a = softmax(q @ k.T / np.sqrt(q.shape[1]))
        return a @ v, (q, k, v, a)

    def backward(dout, cache):
        q, k, v, a = cache
        ds = softmax_back(dout @ v.T, a) / np.sqrt(q.shape[1]) / divisor(q)
        return ds @ k, dk(ds, q), a.T @ dout

    inputs = {"q": normal(4, 4), "k": normal(4, 4, seed=1), "v": normal(4, 3, seed=2)}
    return verify_function(forward, backward, inputs)


@wild("transposed", "attention, the gradient of the keys not transposed")
def _():
    return verify_attention(dk=lambda ds, q: q.T @ ds)


@wild("batch-mean-twice", "attention, divided by the number of queries once more")
def _():
    return verify_attention(divisor=len)


# --- recurrent networks -----------------------------------------------------------------------------------------------


def verify_rnn(dz=lambda dh, h: dh * (1 - h * h), carried=lambda da, Wh: da @ Wh.T, first=0, kept=lambda dh: dh):
    """All hidden states of a tanh RNN; the gradients of x, h0, Wx and Wh."""

    def forward(x, h0, Wx, Wh):
        hs = [h0]
        for t in range(x.shape[1]):
            hs.append(np.tanh(x[:, t] @ Wx + hs[-1] @ Wh))
        return np.stack(hs[1:], axis=1), (x, hs, Wx, Wh)

    def backward(dout, cache):
        x, hs, Wx, Wh = cache
        dx, dWx, dWh, dh = np.zeros_like(x), np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(hs[0])
        for t in reversed(range(first, x.shape[1])):
            da = dz(dout[:, t] + dh, hs[t + 1])
            dx[:, t] = da @ Wx.T
            dWx += x[:, t].T @ da
            dWh += hs[t].T @ da
            dh = kept(carried(da, Wh))
        return dx, dh, dWx, dWh

    inputs = {"x": normal(3, 4, 2), "h0": normal(3, 5, seed=1), "Wx": normal(2, 5, seed=2, scale=0.5)}
    return verify_function(forward, backward, inputs | {"Wh": normal(5, 5, seed=3, scale=0.5)})


@wild("transposed", "an RNN, carried back through Wh instead of its transpose")
def _():
    return verify_rnn(carried=lambda da, Wh: da @ Wh)


@wild("carry-lost", "an RNN, the terms of later steps left out")
def _():
    return verify_rnn(kept=np.zeros_like)


@wild("carry-lost", "an RNN, not carried back in time and one step left out")
def _():
    return verify_rnn(kept=np.zeros_like, first=1)


def verify_lstm(upstream=lambda t, steps, dout: dout if t == steps - 1 else 0, carry="right"):
    """The last hidden state of an LSTM without biases; the gradients of x and of W, for [x, h]."""

    def forward(x, W):
        n, steps, d = x.shape
        k = W.shape[1] // 4
        h, c, kept = np.zeros((n, k)), np.zeros((n, k)), []
        for t in range(steps):
            both = np.concatenate((x[:, t], h), axis=1)
            a = both @ W
            i, f, o, g = (
                sigmoid(a[:, :k]),
                sigmoid(a[:, k : 2 * k]),
                sigmoid(a[:, 2 * k : 3 * k]),
                np.tanh(a[:, 3 * k :]),
            )
            before, c = c, f * c + i * g
            h = o * np.tanh(c)
            kept.append((both, i, f, o, g, before, c))
        return h, (kept, W, d)

    def backward(dout, cache):
        kept, W, d = cache
        steps, dW = len(kept), np.zeros_like(W)
        dh, dc, dxs = np.zeros_like(dout), np.zeros_like(dout), []
        for t in reversed(range(steps)):
            both, i, f, o, g, before, c = kept[t]
            dht, tc = dh + upstream(t, steps, dout), np.tanh(c)
            dct = dht * o * (1 - tc**2) + dc if carry != "after tanh" else (dht * o + dc) * (1 - tc**2)
            gates = dct * g * i * (1 - i), dct * before * f * (1 - f), dht * tc * o * (1 - o), dct * i * (1 - g**2)
            da = np.concatenate(gates, axis=1)
            dW += both.T @ da
            dboth = da @ W.T
            dxs.insert(0, dboth[:, :d])
            if carry != "not handed on":
                dh, dc = dboth[:, d:], dct * f
        return np.stack(dxs, axis=1), dW

    return verify_function(forward, backward, {"x": normal(3, 2, 2), "W": normal(5, 12, seed=1, scale=0.5)})


@wild("carry-lost", "an LSTM, the cell's carried gradient goes through tanh′")
def _():
    return verify_lstm(carry="after tanh")


@wild("carry-lost", "an LSTM, the carried gradients are not handed on")
def _():
    return verify_lstm(carry="not handed on")


@wild("carry-lost", "an LSTM, the upstream gradient of the last state added at every step")
def _():
    return verify_lstm(upstream=lambda t, steps, dout: dout)
