"""Mistakes with indices, shapes and penalties, in loops over time, and two at once, each planted in several places."""

from __future__ import annotations

import numpy as np

from scratch.activations import sigmoid
from tests.verify.planted_gradients import (
    CORRECT,
    Net,
    SigmoidNet,
    check_columns,
    check_net,
    check_rnn,
    draw,
    softmax,
    subclass,
)
from tests.verify.planting import plant
from torch_impl.verify import Model, verify_function, verify_network

WORDS = np.array([[0, 3, 3, 1], [2, 0, 5, 5], [1, 1, 4, 0]])  # three sentences of four words out of six
Y = np.array([0, 2, 1])


# --- indices ----------------------------------------------------------------------------------------------------------


def add_at(dE, idx, d):
    np.add.at(dE, idx, d)


def assign(dE, idx, d):
    dE[idx] = d


def add_once(dE, idx, d):
    dE[idx] += d


def check_embedding(collect=add_at, take=lambda E, idx: E[idx], dtype="float64"):
    def embedding_forward(E, idx):
        return take(E, idx), (E, idx)

    def embedding_backward(dout, cache):
        E, idx = cache
        dE = np.zeros_like(E)
        collect(dE, idx, dout)
        return dE

    return verify_function(embedding_forward, embedding_backward, **draw(dtype, E=(6, 5)), idx=WORDS)


def check_pooled(collect=add_at):
    """The mean of a sentence's words, then linear."""

    def pooled_forward(E, W, idx):
        h = E[idx].mean(axis=1)
        return h @ W, (E, W, idx, h)

    def pooled_backward(dout, cache):
        E, W, idx, h = cache
        dE = np.zeros_like(E)
        dh = dout @ W.T / idx.shape[1]
        collect(dE, idx, np.repeat(dh[:, None], idx.shape[1], axis=1))
        return dE, h.T @ dout

    return verify_function(pooled_forward, pooled_backward, **draw(E=(6, 5), W=(5, 2)), idx=WORDS)


class Reader:
    """Words, the mean of their rows, tanh, softmax cross-entropy."""

    collect = staticmethod(add_at)

    def __init__(self):
        weights = draw(E=(6, 5), W=(5, 7), V=(7, 3))
        self.E, self.W, self.V = weights["E"], weights["W"], weights["V"]

    def loss(self, idx, y):
        self.h = self.E[idx].mean(axis=1)
        self.a = np.tanh(self.h @ self.W)
        self.p = softmax(self.a @ self.V)
        return -np.log(self.p[np.arange(len(y)), y]).mean()

    def backward(self, idx, y):
        d = self.p.copy()
        d[np.arange(len(y)), y] -= 1
        d /= len(y)
        da = (d @ self.V.T) * (1 - self.a**2)
        self.dV, self.dW, self.dE = self.a.T @ d, self.h.T @ da, np.zeros_like(self.E)
        each = np.repeat((da @ self.W.T)[:, None], idx.shape[1], axis=1) / idx.shape[1]
        self.collect(self.dE, idx, each)


def check_reader(collect=add_at):
    model = Model(
        subclass(Reader, collect=staticmethod(collect))(),
        lambda m, x, y: m.loss(x, y),
        lambda m, x, y: m.backward(x, y),
        {w: "d" + w for w in "EWV"},
    )
    return verify_network(model, x=WORDS, y=Y)


def recurrent(x, E, Wh, collect=add_at, dz=lambda dh, h: dh * (1 - h * h), through=lambda d, Wh: d @ Wh.T):
    """h_t = tanh(E[x_t] + h_{t−1} Wh) over x (batch, steps), and the backward pass of the last h."""
    hs = [np.zeros((len(x), len(Wh)))]
    for t in range(x.shape[1]):
        hs.append(np.tanh(E[x[:, t]] + hs[-1] @ Wh))

    def backward(dh):
        dE, dWh = np.zeros_like(E), np.zeros_like(Wh)
        for t in reversed(range(x.shape[1])):
            d = dz(dh, hs[t + 1])
            collect(dE, x[:, t], d)
            dWh += hs[t].T @ d
            dh = through(d, Wh)
        return dE, dWh

    return hs[-1], backward


def check_recurrent(x=WORDS, scale=1.0, **formulas):
    E, Wh = draw(E=(6, 5), Wh=(5, 5)).values()

    def reader_forward(x, E, Wh):
        return recurrent(x, E, Wh, **formulas)

    return verify_function(reader_forward, lambda dh, cache: cache(dh), x=x, E=E, Wh=scale * Wh)


for words, collect in (("dE[idx] = dout", assign), ("dE[idx] += dout", add_once)):
    plant("duplicate-indices", f"an embedding, {words}")(lambda c=collect: check_embedding(c))
    plant("duplicate-indices", f"pooled embeddings, {words}")(lambda c=collect: check_pooled(c))
    plant("duplicate-indices", f"a network that reads words, {words}")(lambda c=collect: check_reader(c))
plant("duplicate-indices", "np.take, float32")(
    lambda: check_embedding(add_once, lambda E, idx: np.take(E, idx, axis=0), "float32")
)
REPEATED = np.array([[0, 3], [3, 3], [0, 1]])
plant("duplicate-indices", "words in a loop over time, += in each step")(
    lambda: check_recurrent(REPEATED, collect=add_once)
)
CORRECT |= {
    "embedding": check_embedding, "pooled embeddings": check_pooled, "reader": check_reader,
    "recurrent reader": check_recurrent,
}  # fmt: skip


# --- shapes -----------------------------------------------------------------------------------------------------------


def check_row_bias(db=lambda d: d.sum(axis=0, keepdims=True), dW=lambda x, d: x.T @ d, dtype="float64"):
    """x W + b with b of shape (1, out)."""

    def rows_forward(x, W, b):
        return x @ W + b, (x, W)

    def rows_backward(dout, cache):
        x, W = cache
        return dout @ W.T, dW(x, dout), db(dout)

    return verify_function(rows_forward, rows_backward, **draw(dtype, x=(7, 5), W=(5, 3), b=(1, 3)))


plant("shape-only", "a bias of one row, its gradient without that axis")(
    lambda: check_row_bias(lambda d: d.sum(axis=0))
)
plant("shape-only", "a bias of one row, its gradient a column, float32")(
    lambda: check_row_bias(lambda d: d.sum(axis=0)[:, None], dtype="float32")
)
plant("shape-only", "a flat dW")(lambda: check_row_bias(dW=lambda x, d: (x.T @ d).ravel()))
plant("shape-only", "biases that are columns, keepdims forgotten")(lambda: check_columns(db=lambda dZ: dZ.sum(axis=1)))
plant("shape-only", "a net in loops, keepdims for vectors")(
    lambda: check_net(subclass(Net, layer_grads=lambda m, i, d: (m.a[i].T @ d, d.sum(axis=0, keepdims=True)))(5, 9, 3))
)
CORRECT["row bias"] = check_row_bias


# --- penalties and scales ---------------------------------------------------------------------------------------------


def check_lasso(dpenalty=np.sign, size=lambda W: np.abs(W).sum()):
    def lasso(x, W, b, y, reg=0.3):
        r = x @ W + b - y
        d = 2 * r / r.size
        return (r**2).mean() + reg * size(W), {"dW": x.T @ d + reg * dpenalty(W), "db": d.sum(axis=0)}

    return verify_function(lasso, None, **draw(x=(7, 5), W=(5, 3), b=(3,), y=(7, 3)))


plant("penalty-factor", "the lasso without its sign")(lambda: check_lasso(np.ones_like))
plant("penalty-factor", "the lasso with the ridge's gradient")(lambda: check_lasso(lambda W: W))
plant("penalty-factor", "the lasso, −λ sign(w)")(lambda: check_lasso(lambda W: -np.sign(W)))
CORRECT["lasso"] = check_lasso


def check_scaled_attention(factor=lambda d: 1 / np.sqrt(d)):
    """softmax(q kᵀ / √d) v."""

    def attention_forward(q, k, v):
        p = softmax(q @ k.T / np.sqrt(q.shape[1]))
        return p @ v, (q, k, v, p)

    def attention_backward(dout, cache):
        q, k, v, p = cache
        dp = dout @ v.T
        ds = p * (dp - (dp * p).sum(axis=-1, keepdims=True)) * factor(q.shape[1])
        return ds @ k, ds.T @ q, p.T @ dout

    return verify_function(attention_forward, attention_backward, **draw(q=(7, 5), k=(3, 5), v=(3, 9)))


def check_time_mean(divisor=lambda x: x.shape[1]):
    """The mean over time of x W, its square the loss."""

    def time_mean(x, W):
        h = (x @ W).mean(axis=1)
        d = np.repeat(h[:, None], x.shape[1], axis=1) / divisor(x)
        return (h**2).sum() / 2, {"x": d @ W.T, "W": np.tensordot(x, d, axes=((0, 1), (0, 1)))}

    return verify_function(time_mean, None, **draw(x=(7, 4, 5), W=(5, 3)))


def check_temperature(divisor=lambda T: T):
    """Cross-entropy of z / T, the temperature an array of its own."""

    def tempered(x, W, T):
        p = softmax(x @ W / T)
        y = np.arange(len(x)) % 3
        d = p.copy()
        d[np.arange(len(x)), y] -= 1
        d /= len(x)
        dT = -(d * (x @ W)).sum() / T**2
        dz = d / divisor(T)
        return -np.log(p[np.arange(len(x)), y]).mean(), {"x": dz @ W.T, "W": x.T @ dz, "T": dT}

    return verify_function(tempered, None, **draw(x=(7, 5), W=(5, 3)), T=np.array(1.7))


plant("attention-scale", "plain attention")(lambda: check_scaled_attention(lambda d: 1.0))
plant("wrong-divisor", "1/T of a mean over time left out")(lambda: check_time_mean(lambda x: 1))
plant("constant-factor", "1/T of a softmax with temperature T left out")(lambda: check_temperature(lambda T: 1))
CORRECT |= {
    "scaled attention": check_scaled_attention, "time mean": check_time_mean, "temperature": check_temperature,
}  # fmt: skip


# --- two at once ------------------------------------------------------------------------------------------------------


def check_sigmoid_squares(dz, dtype="float64"):
    """The mean square of a layer of sigmoids."""

    def squares(x, W, b, t):
        p = sigmoid(x @ W + b)
        d = dz(p, t)
        return np.mean((p - t) ** 2), {"x": d @ W.T, "W": x.T @ d, "b": d.sum(axis=0)}

    return verify_function(squares, None, **draw(dtype, x=(7, 5), W=(5, 3), b=(3,), t=(7, 3)))


def check_softmax_squares(dz):
    """The sum over classes of the squares, the mean over the batch."""

    def squares(x, W, t):
        p = softmax(x @ W)
        d = dz(p, t)
        return ((p - t) ** 2).sum() / len(x), {"x": d @ W.T, "W": x.T @ d}

    return verify_function(squares, None, **draw(x=(7, 5), W=(5, 3)), t=np.eye(3)[np.arange(7) % 3])


plant("loss-shortcut-misused", "sigmoid and mean square, (p − y)/B", "wrong-divisor")(
    lambda: check_sigmoid_squares(lambda p, t: (p - t) / len(t))
)
plant("loss-shortcut-misused", "softmax and squares, p − y, float64", "wrong-divisor")(
    lambda: check_softmax_squares(lambda p, t: p - t)
)
plant("loss-shortcut-misused", "sigmoid nets, p − y for the half of a mean", "missing-batch-mean")(
    lambda: check_net(subclass(SigmoidNet, d_out=lambda m, out, t: out - t)(5, 9, 3))
)
plant("softmax-diagonal-only", "softmax and squares, the 2 forgotten too", "constant-factor")(
    lambda: check_softmax_squares(lambda p, t: (p - t) / len(t) * p * (1 - p))
)


# --- loops over time --------------------------------------------------------------------------------------------------

LONG = np.arange(7 * 80).reshape(7, 80) % 6

plant("batch-mean-twice", "1/B in every step of a loop over time")(
    lambda: check_rnn(lambda dh, h: dh * (1 - h * h) / len(h))
)
plant("wrong-divisor", "what goes back through time divided by the sentences")(
    lambda: check_recurrent(through=lambda d, Wh: d @ Wh.T / len(d))
)
plant("constant-factor", "a 2 in every step of a loop over time")(
    lambda: check_recurrent(dz=lambda dh, h: 2 * dh * (1 - h * h))
)
plant("activation-derivative-missing", "tanh over eighty steps")(
    lambda: check_recurrent(LONG, 0.3, dz=lambda dh, h: dh)
)
plant("activation-derivative-twice", "tanh over eighty steps")(
    lambda: check_recurrent(LONG, 0.3, dz=lambda dh, h: dh * (1 - h * h) ** 2)
)
