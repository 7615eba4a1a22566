"""Recurrent networks."""

import numpy as np


def rnn_forward(x, h0, Wx, Wh):
    hs = [h0]
    for t in range(x.shape[1]):
        hs.append(np.tanh(x[:, t] @ Wx + hs[-1] @ Wh))
    return np.stack(hs[1:], axis=1), (x, hs, Wx, Wh)


def rnn_backward_own_steps(dout, cache):
    x, hs, Wx, Wh = cache
    dx, dWx, dWh, dh = np.zeros_like(x), np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(hs[0])
    for t in reversed(range(x.shape[1])):
        slope = 1 - hs[t + 1] ** 2
        da = (dout[:, t] + dh) * slope
        dWx += x[:, t].T @ da
        dWh += hs[t].T @ da
        own = dout[:, t] * slope
        dx[:, t] = own @ Wx.T
        dh = da @ Wh.T
    return dx, dh, dWx, dWh


def last_state_forward(x, Wxh, Whh):
    hs = [np.zeros(len(Whh))]
    for t in range(len(x)):
        hs.append(np.tanh(Wxh @ x[t] + Whh @ hs[-1]))
    return hs[-1], (x, hs, Wxh, Whh)


def last_state_backward(dh, cache):
    x, hs, Wxh, Whh = cache
    dx, dWxh, dWhh = np.zeros_like(x), np.zeros_like(Wxh), np.zeros_like(Whh)
    for t in reversed(range(len(x))):
        da = dh * (1 - hs[t + 1] ** 2)
        dWxh += np.outer(da, x[t])
        dWhh += np.outer(da, hs[t])
        dx[t] = Wxh.T @ da
        dh = Whh @ da
    return dx, dWxh, dWhh


def all_states_forward(x, Wxh, Whh):
    hs = [np.zeros(len(Whh))]
    for t in range(len(x)):
        hs.append(np.tanh(Wxh @ x[t] + Whh @ hs[-1]))
    return np.array(hs[1:]), (x, hs, Wxh, Whh)


def all_states_backward(dout, cache):
    x, hs, Wxh, Whh = cache
    dWxh, dWhh = np.zeros_like(Wxh), np.zeros_like(Whh)
    for t in range(len(x) - 1):
        dh = dout[t]
        dt = dh * (1 - hs[t + 1] ** 2)
        dWxh += np.outer(dt, x[t])
        dWhh += np.outer(dt, hs[t])
    return {"Wxh": dWxh, "Whh": dWhh}
