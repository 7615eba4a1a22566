"""Convolutions, upsampling, pooling, and rows of a table."""

import numpy as np


def correlate(x, k):
    r, s = k.shape
    h, w = x.shape[0] - r + 1, x.shape[1] - s + 1
    return np.array([[(x[i : i + r, j : j + s] * k).sum() for j in range(w)] for i in range(h)])


def convolution_forward(x, k):
    y = correlate(x, k)
    return y, (x, k)


def convolution_backward(dout, cache):
    x, k = cache
    r, s = k.shape
    padded = np.pad(dout, ((r - 1, r - 1), (s - 1, s - 1)))
    dx = correlate(padded, k)
    dk = correlate(x, dout)
    return dx, dk


def batch_convolution_forward(x, k, b):
    r, s = k.shape
    out = np.zeros((len(x), x.shape[1] - r + 1, x.shape[2] - s + 1))
    for i, j in np.ndindex(out.shape[1:]):
        out[:, i, j] = (x[:, i : i + r, j : j + s] * k).sum(axis=(1, 2)) + b
    return out, (x, k)


def batch_convolution_backward(dout, cache):
    x, k = cache
    r, s = k.shape
    dx, dk = np.zeros_like(x), np.zeros_like(k)
    for i, j in np.ndindex(dout.shape[1:]):
        d = dout[:, i, j, None, None]
        dx[:, i : i + r, j : j + s] += d * k
        dk += (d * x[:, i : i + r, j : j + s]).sum(axis=0)
    n = len(x)
    db = dout.sum() / n
    return dx, dk / n, db


def upsampling_forward(x):
    wide = np.repeat(x, 2, axis=3)
    return np.repeat(wide, 2, axis=2)


def upsampling_backward(dout, x):
    n, c, h, w = x.shape
    dx = dout[:, :, ::2, ::2]
    return dx


def max_pooling_forward(x):
    n, d, h, w = x.shape
    blocks = x.reshape(n, d, h // 2, 2, w // 2, 2)
    return blocks.max(axis=(3, 5)), x


def max_pooling_backward(dout, x):
    n, d, w, h = x.shape
    images = x.reshape(n * d, h, w)
    each = dout.reshape(n * d, h // 2, w // 2)
    spread = each.repeat(2, axis=1).repeat(2, axis=2)
    blocks = images.reshape(n * d, h // 2, 2, w // 2, 2)
    largest = blocks.max(axis=(2, 4)).repeat(2, axis=1).repeat(2, axis=2)
    return (spread * (images == largest)).reshape(x.shape)


def average_pooling_forward(x):
    n, d, h, w = x.shape
    blocks = x.reshape(n, d, h // 2, 2, w // 2, 2)
    return blocks.mean(axis=(3, 5)), x


def average_pooling_backward(dout, x):
    n, d, w, h = x.shape
    each = dout.reshape(n * d, h // 2, w // 2) / 4
    spread = each.repeat(2, axis=1).repeat(2, axis=2)
    return spread.reshape(x.shape)


def strided_pooling_forward(x, stride):
    h, c = len(x) // stride, x.shape[1]
    out = np.zeros((h, c))
    for i in range(h):
        out[i] = x[i * stride : i * stride + stride].max(axis=0)
    return out, (x, stride)


def strided_pooling_backward(dout, cache):
    x, stride = cache
    dx = np.zeros_like(x)
    for i in range(len(dout)):
        start = i
        window = x[start : start + stride]
        mask = window == window.max(axis=0)
        dx[start : start + stride] += mask * dout[i]
    return dx


def bags_forward(E, ids):
    rows = E[ids]
    return rows.sum(axis=1), (E, ids)


def bags_backward(dout, cache):
    E, ids = cache
    dE = np.zeros_like(E)
    dE[ids] = dout[:, None]
    return dE
