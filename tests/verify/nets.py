"""Networks and loops with backward passes by hand, right and wrong, whose lines the tests name."""

import numpy as np


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


# --- dense ------------------------------------------------------------------------------------------------------------


def dense(x, w, b):
    return x @ w + b, (x, w)


def dense_backward_in_a_loop(dout, cache):
    x, w = cache
    dw = np.zeros_like(w)
    for i in range(len(x)):
        dw += np.outer(x[i], dout[i])
    db = dout.sum(axis=0)
    dx = dout @ w.T
    return dx, dw, db


# --- two layers -------------------------------------------------------------------------------------------------------


def two_layers(x, W1, b1, W2, b2):
    z1 = x @ W1 + b1
    a1 = sigmoid(z1)
    z2 = a1 @ W2 + b2
    a2 = np.tanh(z2)
    return a2, (x, W1, W2, a1, a2)


def two_layers_backward(dout, cache):
    x, W1, W2, a1, a2 = cache
    dz2 = dout * (1 - a2**2)
    dW2 = a1.T @ dz2
    db2 = dz2.sum(axis=0)
    da1 = dz2 @ W2.T
    dz1 = da1 * a1 * (1 - a1)
    dW1 = x.T @ dz1
    db1 = dz1.sum(axis=0)
    dx = dz1 @ W1.T
    return dx, dW1, db1, dW2, db2


def two_layers_wrong(dout, cache):
    x, W1, W2, a1, a2 = cache
    dz2 = dout * (1 - a2**2)
    dW2 = a1.T @ dz2
    db2 = dz2.sum(axis=0)
    da1 = dz2 @ W2.T
    dz1 = da1 * sigmoid(a1)  # a1 * (1 - a1)
    dW1 = x.T @ dz1
    db1 = dz1.sum(axis=0)
    dx = dz1 @ W1.T
    return dx, dW1, db1, dW2, db2


def two_layers_three_faults(dout, cache):
    x, W1, W2, a1, a2 = cache
    dz2 = dout * (1 - a2**2)
    dW2 = a1.T @ dz2
    db2 = dz2.mean(axis=0)  # sum
    da1 = dz2 @ W2.T
    dz1 = da1 * a1 * (1 + a1)  # 1 - a1
    dW1 = x.T @ dz1
    db1 = dz1.sum(axis=0)
    dx = -dz1 @ W1.T  # no sign
    return dx, dW1, db1, dW2, db2


# --- through time -----------------------------------------------------------------------------------------------------


def rnn(x, Wx, Wh, h0):
    h, hs = h0, [h0]
    for t in range(len(x)):
        h = np.tanh(x[t] @ Wx + h @ Wh)
        hs.append(h)
    return np.stack(hs[1:]), (x, Wx, Wh, hs)


def rnn_wrong(dhs, cache):
    x, Wx, Wh, hs = cache
    dWx, dWh, dx = np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(x)
    dh_next = np.zeros_like(hs[0])
    for t in reversed(range(len(x))):
        dh = dhs[t]  # + dh_next
        dz = dh * (1 - hs[t + 1] ** 2)
        dWx += x[t].T @ dz
        dWh += hs[t].T @ dz
        dx[t] = dz @ Wx.T
        dh_next = dz @ Wh.T
    return dx, dWx, dWh, dh_next


# --- a loss and its gradients in one function, and an object that updates itself --------------------------------------


def logistic(w, b, x, y):
    p = sigmoid(x @ w + b)
    loss = -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))
    dz = (y - p) / len(y)  # p - y
    dw = x.T @ dz
    db = dz.sum()
    return loss, {"w": dw, "b": db}


class Net:
    """A network of one hidden layer that updates its weights in its backward."""

    def __init__(self, rng):
        self.W1, self.W2 = rng.standard_normal((3, 5)), rng.standard_normal((5, 2))

    def forward(self, x):
        self.x = x
        self.h = np.tanh(x @ self.W1)
        return self.h @ self.W2

    def backward(self, dout):
        self.dW2 = self.h.T @ dout
        dh = dout @ self.W2.T
        dz = dh * (1 - self.h)  # self.h**2
        self.dW1 = self.x.T @ dz
        return dz @ self.W1.T
