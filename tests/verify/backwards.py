"""Backward passes as people write them, to be edited."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Backward:
    """The source of a file, the function in it that is edited, and how it is run."""

    source: str
    function: str
    run: Callable[[dict[str, Any]], Any]
    called: str = ""


def _r(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).standard_normal(shape)


AFFINE = '''
import numpy as np

def forward(x, W1, b1, W2, b2):
    z1 = x @ W1 + b1
    a1 = np.tanh(z1)
    return a1 @ W2 + b2, (x, W1, z1, a1, W2)

def backward(dout, cache):
    """Gradients of both layers."""
    x, W1, z1, a1, W2 = cache
    n = len(x)
    dz2 = dout / n              # ∂L/∂z2
    dW2 = a1.T @ dz2
    db2 = dz2.sum(axis=0)
    da1 = dz2 @ W2.T
    dz1 = da1 * (1 - a1*a1)     # é
    dW1 = x.T @ dz1
    db1 = dz1.sum(axis=0)
    return dz1 @ W1.T, dW1, db1, dW2, db2
'''

LSTM = """
import numpy as np

def sigmoid(z):
    return 1 / (1 + np.exp(-z))

def lstm_forward(x, h, c, Wx, Wh, b):
    T, H, cache, hs = len(x), len(h), [], []
    for t in range(T):
        z = x[t] @ Wx + h @ Wh + b
        i, f, o = sigmoid(z[:H]), sigmoid(z[H:2*H]), sigmoid(z[2*H:3*H])
        g = np.tanh(z[3*H:])
        c_prev, h_prev = c, h
        c = f * c_prev + i * g
        h = o * np.tanh(c)
        cache.append((x[t], h_prev, c_prev, i, f, o, g, c, Wx, Wh))
        hs.append(h)
    return np.array(hs), cache

def lstm_backward(dhs, cache):
    dWx, dWh, db = 0, 0, 0
    dh_next, dc_next = np.zeros_like(dhs[0]), np.zeros_like(dhs[0])
    dx = []
    for t in reversed(range(len(cache))):
        x, h_prev, c_prev, i, f, o, g, c, Wx, Wh = cache[t]
        dh = dhs[t] + dh_next
        tc = np.tanh(c)
        do = dh * tc
        dc = dh * o * (1 - tc ** 2) + dc_next
        di, df, dg = dc * g, dc * c_prev, dc * i
        dz = np.concatenate([di * i * (1 - i), df * f * (1 - f),
                             do * o * (1 - o),  # the gates
                             dg * (1 - g ** 2)])
        dWx += np.outer(x, dz)
        dWh += np.outer(h_prev, dz)
        db += dz
        dx.append(dz @ Wx.T)
        dh_next = dz @ Wh.T; dc_next = dc * f
    return np.array(dx[::-1]), dWx, dWh, db
"""

CONVOLUTION = """
import numpy as np

def conv_backward(dout, x, w, stride, pad):
    N, C, H, W = x.shape
    F, _, KH, KW = w.shape
    xp = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    dxp = np.zeros_like(xp)
    dw = np.zeros_like(w)
    db = dout.sum(axis=(0, 2, 3))
    for i in range(dout.shape[2]):
    \tfor j in range(dout.shape[3]):
    \t\ttop, left = i * stride, j * stride
    \t\twindow = xp[:, :, top:top+KH, left:left+KW]
    \t\tfor f in range(F):
    \t\t\tdw[f] += (window * dout[:, f, i, j][:, None, None, None]).sum(axis=0)
    \t\t\tdxp[:, :, top:top+KH, left:left+KW] += w[f] * dout[:, f, i, j][:, None, None, None]
    return dxp[:, :, pad:-pad, pad:-pad], dw, db
"""

BATCH_NORM = """
import numpy as np

def batchnorm_backward(dout, cache):
    xhat, gamma, var, eps = cache['xhat'], cache['gamma'], cache['var'], cache["eps"]
    N = dout.shape[0]
    dbeta = np.sum(dout, axis=0); dgamma = np.sum(dout * xhat, axis=0)
    dxhat = dout * gamma
    dx = (1. / N) / np.sqrt(var + eps) * (
        N * dxhat
        - dxhat.sum(0)              # the mean
        - xhat * np.sum(dxhat * xhat, axis=0)
    )
    return {'dx': dx, 'dgamma': dgamma, 'dbeta': dbeta}
"""

CROSS_ENTROPY = """
import numpy as np
def softmax(z): e = np.exp(z - z.max(axis=1, keepdims=True)); return e / e.sum(axis=1, keepdims=True)
def grad(z, y):
    if y.ndim == 1:
        y = np.eye(z.shape[1])[y]
    else: y = y / y.sum(axis=1)
    p = softmax(z)
    return (p - y) / z.shape[0]
"""

METHOD = '''
import numpy

class Layer:
    """A dense layer with ReLU."""

    def __init__(self, n, m):
        self.W = numpy.ones((n, m)) / 3
        self.b = numpy.zeros(m)

    def forward(self, x):
        self.x = x
        self.z = x @ self.W + self.b
        self.mask = self.z > 0
        return numpy.maximum(self.z, 0)

    @property
    def size(self):
        return self.W.size

    def backward(self, dout, lr=0.1):
        dout = numpy.where(self.mask, dout, 0.01 * dout)
        self.dW = self.x.T.dot(dout)
        self.db = dout.sum(axis=0, keepdims=False)
        dx = dout.dot(self.W.T)
        self.W -= lr * self.dW
        self.b -= lr * self.db
        slope = lambda z: 1 - numpy.tanh(z) ** 2
        def scaled(g):
            return g * slope(g) if g.ndim > 1 else -g
        return scaled(dx)
'''


def _affine(names: dict[str, Any]) -> None:
    out, cache = names["forward"](_r(7, 4), _r(4, 5), _r(5), _r(5, 3), _r(3))
    names["backward"](out, cache)


def _lstm(names: dict[str, Any]) -> None:
    hs, cache = names["lstm_forward"](_r(4, 2), _r(3), _r(3), _r(2, 12), _r(3, 12), _r(12))
    names["lstm_backward"](hs, cache)


def _layer(names: dict[str, Any]) -> None:
    layer = names["Layer"](4, 3)
    layer.backward(layer.forward(_r(5, 4)))


BACKWARDS = {
    "affine": Backward(AFFINE, "backward", _affine),
    "lstm": Backward(LSTM, "lstm_backward", _lstm, "sigmoid"),
    "convolution": Backward(
        CONVOLUTION, "conv_backward", lambda n: n["conv_backward"](_r(2, 3, 3, 2), _r(2, 2, 5, 3), _r(3, 2, 3, 3), 2, 1)
    ),
    "batch norm": Backward(
        BATCH_NORM,
        "batchnorm_backward",
        lambda n: n["batchnorm_backward"](
            _r(6, 3), {"xhat": _r(6, 3) * 2, "gamma": _r(3), "var": _r(3) ** 2, "eps": 0.1}
        ),
    ),
    "cross-entropy": Backward(CROSS_ENTROPY, "grad", lambda n: n["grad"](_r(4, 3), np.array([0, 2, 1, 1])), "softmax"),
    "method": Backward(METHOD, "backward", _layer, "scaled slope"),
}
