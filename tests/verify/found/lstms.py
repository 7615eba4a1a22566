"""The LSTM: a step each way, and the loops that go through time."""

import numpy as np


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def step_forward(x, h, c, W):
    both = np.concatenate((x, h), axis=1)
    i, f, o, g = np.split(both @ W, 4, axis=1)
    i, f, o, g = sigmoid(i), sigmoid(f), sigmoid(o), np.tanh(g)
    c_next = f * c + i * g
    h_next = o * np.tanh(c_next)
    return h_next, c_next, (both, i, f, o, g, c, c_next)


def step_backward(dh, dc, cache, W):
    both, i, f, o, g, c, c_next = cache
    tc = np.tanh(c_next)
    dc = dc + dh * o * (1 - tc**2)
    gates = (dc * g * i * (1 - i), dc * c * f * (1 - f), dh * tc * o * (1 - o), dc * i * (1 - g**2))
    da = np.concatenate(gates, axis=1)
    dboth = da @ W.T
    dx, dh_before = np.split(dboth, [-dh.shape[1]], axis=1)
    return dx, dh_before, dc * f, both.T @ da


def squashed_step_forward(x, h, c, W):
    both = np.concatenate((x, h), axis=1)
    i, f, o, g = np.split(both @ W, 4, axis=1)
    i, f, o, g = sigmoid(i), sigmoid(f), sigmoid(o), np.tanh(g)
    c_next = np.tanh(f * c + i * g)
    h_next = o * c_next
    return h_next, c_next, (both, i, f, o, g, c, c_next)


def squashed_step_backward(dh, dc, cache, W):
    both, i, f, o, g, c, c_next = cache
    dc = dh * o * (1 - c_next**2) + dc
    gates = (dc * g * i * (1 - i), dc * c * f * (1 - f), dh * c_next * o * (1 - o), dc * i * (1 - g**2))
    da = np.concatenate(gates, axis=1)
    dboth = da @ W.T
    dx, dh_before = np.split(dboth, [-dh.shape[1]], axis=1)
    return dx, dh_before, dc * f, both.T @ da


def squashed_states_forward(x, W):
    h = c = np.zeros((len(x), W.shape[1] // 4))
    hs, caches = [], []
    for t in range(x.shape[1]):
        h, c, cache = squashed_step_forward(x[:, t], h, c, W)
        hs.append(h)
        caches.append(cache)
    return np.stack(hs, axis=1), (x, W, caches)


def squashed_states_backward(dout, cache):
    x, W, caches = cache
    dx, dW = np.zeros_like(x), np.zeros_like(W)
    dh = dc = np.zeros_like(dout[:, 0])
    for t in reversed(range(len(caches))):
        dx[:, t], dh, dc, dW_t = squashed_step_backward(dout[:, t] + dh, dc, caches[t], W)
        dW += dW_t
    return dx, dW


def states_forward(x, W):
    h = c = np.zeros((len(x), W.shape[1] // 4))
    hs, caches = [], []
    for t in range(x.shape[1]):
        h, c, cache = step_forward(x[:, t], h, c, W)
        hs.append(h)
        caches.append(cache)
    return np.stack(hs, axis=1), (x, W, caches)


def states_backward(dout, cache):
    x, W, caches = cache
    dx, dW = np.zeros_like(x), np.zeros_like(W)
    dh = dc = np.zeros_like(dout[:, 0])
    for t in reversed(range(len(caches))):
        dx[:, t], dh_before, dc_before, dW_t = step_backward(dout[:, t] + dh, dc, caches[t], W)
        dW += dW_t
    return dx, dW


def last_state_forward(x, W):
    hs, cache = states_forward(x, W)
    return hs[:, -1], cache


def last_state_backward(dout, cache):
    x, W, caches = cache
    dx, dW = np.zeros_like(x), np.zeros_like(W)
    dh = dc = np.zeros_like(dout)
    for t in reversed(range(len(caches))):
        dx[:, t], dh, dc, dW_t = step_backward(dh + dout, dc, caches[t], W)
        dW += dW_t
    return dx, dW
