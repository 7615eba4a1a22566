"""Mistakes in loops over time, gates, attention and residual blocks, each planted in several places."""

from __future__ import annotations

from functools import partial

import numpy as np

from scratch.activations import sigmoid
from tests.verify.planted_gradients import CORRECT, draw, softmax, softmax_back
from tests.verify.planting import plant
from torch_impl.verify import verify_function, verify_network

# --- a tanh RNN that gives every state, filled into an array as courses do --------------------------------------------


def check_states(dz=lambda dh, carried, h: (dh + carried) * (1 - h * h), back=lambda d, Wh: d @ Wh.T, first=0):
    """x (batch, steps, in), h0 (batch, k); the loop keeps its states in h."""

    def states_forward(x, h0, Wx, Wh, b):
        h, before = np.zeros((x.shape[0], x.shape[1], len(b))), h0
        for t in range(x.shape[1]):
            h[:, t] = np.tanh(x[:, t] @ Wx + before @ Wh + b)
            before = h[:, t]
        return h, (x, h0, Wx, Wh, h)

    def states_backward(dh, cache):
        x, h0, Wx, Wh, h = cache
        dx, dWx, dWh, db, carried = np.zeros_like(x), np.zeros_like(Wx), np.zeros_like(Wh), 0, np.zeros_like(h0)
        for t in range(x.shape[1] - 1, first - 1, -1):
            d = dz(dh[:, t], carried, h[:, t])
            dx[:, t] = d @ Wx.T
            dWx += x[:, t].T @ d
            dWh += (h[:, t - 1] if t else h0).T @ d
            db += d.sum(axis=0)
            carried = back(d, Wh)
        return dx, carried, dWx, dWh, db

    return verify_function(
        states_forward, states_backward, **draw(x=(7, 4, 5), h0=(7, 3), Wx=(5, 3), Wh=(3, 3), b=(3,))
    )


plant("carry-lost", "an RNN, dh alone at every step")(lambda: check_states(lambda dh, carried, h: dh * (1 - h * h)))
plant("carry-lost", "an RNN, nothing carried, h0's gradient zero")(
    lambda: check_states(back=lambda d, Wh: np.zeros_like(d))
)
plant("carry-lost", "an RNN, added after tanh′")(
    lambda: check_states(lambda dh, carried, h: dh * (1 - h * h) + carried)
)
plant("carry-lost", "an RNN, without Wh on the way")(lambda: check_states(back=lambda d, Wh: d))
plant("carry-lost", "an RNN, the loop ends one step early")(lambda: check_states(first=1))


# --- an LSTM: one matrix for its gates, over time and as a single step ------------------------------------------------

GATES = {
    "di": lambda g, before, dc: dc * g,
    "df": lambda g, before, dc: dc * before,
    "dg": lambda i, dc: dc * i,
    "z": lambda i, f, o, g: (i * (1 - i), f * (1 - f), o * (1 - o), 1 - g * g),
    "order": lambda di, df, do, dg: (di, df, do, dg),
    "cell": lambda dh, dc, o, tc: dh * o * (1 - tc * tc) + dc,
    "carry": lambda dh, dc, f: (dh, dc * f),
}


def lstm_step(x, h, c, W, b):
    k = h.shape[1]
    both = np.concatenate([x, h], axis=1)
    a = both @ W + b
    i = sigmoid(a[:, :k])
    f = sigmoid(a[:, k : 2 * k])
    o = sigmoid(a[:, 2 * k : 3 * k])
    g = np.tanh(a[:, 3 * k :])
    c_next = f * c + i * g
    h_next = o * np.tanh(c_next)
    return h_next, c_next, (both, i, f, o, g, c, c_next, W)


def lstm_step_back(dh, dc, cache, m):
    both, i, f, o, g, c, c_next, W = cache
    k, tc = c.shape[1], np.tanh(c_next)
    dct = m["cell"](dh, dc, o, tc)
    si, sf, so, sg = m["z"](i, f, o, g)
    parts = m["di"](g, c, dct) * si, m["df"](g, c, dct) * sf, dh * tc * so, m["dg"](i, dct) * sg
    d = np.concatenate(m["order"](*parts), axis=1)
    dboth = d @ W.T
    dh_before, dc_before = m["carry"](dboth[:, -k:], dct, f)
    return dboth[:, :-k], dh_before, dc_before, both.T @ d, d.sum(axis=0)


def check_lstm_step(**formulas):
    formulas = GATES | formulas

    def lstm_step_forward(x, h, c, W, b):
        h_next, c_next, cache = lstm_step(x, h, c, W, b)
        return (h_next, c_next), cache

    def lstm_step_backward(dout, cache):
        return lstm_step_back(*dout, cache, formulas)

    return verify_function(
        lstm_step_forward, lstm_step_backward, **draw(x=(7, 5), h=(7, 3), c=(7, 3), W=(8, 12), b=(12,))
    )


def check_lstm(every=lambda dh, dout, last: dh, last_only=True, **formulas):
    """The last state of a loop of steps, or every one."""
    formulas = GATES | formulas

    def lstm_forward(x, W, b):
        k = len(b) // 4
        h = c = np.zeros((len(x), k))
        caches, hs = [], []
        for t in range(x.shape[1]):
            h, c, cache = lstm_step(x[:, t], h, c, W, b)
            caches.append(cache)
            hs.append(h)
        return (h if last_only else np.stack(hs, axis=1)), (x, caches)

    def lstm_backward(dout, cache):
        x, caches = cache
        dx, dW, db = np.zeros_like(x), 0, 0
        dh = dc = np.zeros(caches[0][1].shape)
        for t in reversed(range(x.shape[1])):
            last = t == x.shape[1] - 1
            arriving = (dout if last else 0) if last_only else dout[:, t]
            dx[:, t], dh, dc, dWt, dbt = lstm_step_back(every(dh, dout, last) + arriving, dc, caches[t], formulas)
            dW, db = dW + dWt, db + dbt
        return dx, dW, db

    return verify_function(lstm_forward, lstm_backward, **draw(x=(7, 3, 5), W=(8, 12), b=(12,)))


plant("carry-lost", "an LSTM, the cell's gradient through tanh′")(
    lambda: check_lstm(cell=lambda dh, dc, o, tc: (dh * o + dc) * (1 - tc * tc))
)
plant("carry-lost", "an LSTM, the cell's gradient not handed on")(
    lambda: check_lstm(carry=lambda dh, dc, f: (dh, np.zeros_like(dc)))
)
plant("carry-lost", "an LSTM, the cell's gradient without the forget gate")(
    lambda: check_lstm(carry=lambda dh, dc, f: (dh, dc))
)
plant("carry-lost", "an LSTM, the state's gradient not handed on, every state given")(
    lambda: check_lstm(last_only=False, carry=lambda dh, dc, f: (np.zeros_like(dh), dc * f))
)
plant("carry-lost", "an LSTM, neither handed on, every state given")(
    lambda: check_lstm(last_only=False, carry=lambda dh, dc, f: (np.zeros_like(dh), np.zeros_like(dc)))
)
plant("carry-lost", "an LSTM, the last upstream gradient at every step")(
    lambda: check_lstm(lambda dh, dout, last: dh if last else dh + dout)
)
SWAPPED = {"di": GATES["df"], "df": GATES["di"]}
for how, formulas in (
    ("the gradients of i and f exchanged", SWAPPED),
    ("the blocks of i and f exchanged", {"order": lambda di, df, do, dg: (df, di, do, dg)}),
    ("the blocks of f and o exchanged", {"order": lambda di, df, do, dg: (di, do, df, dg)}),
    ("f's derivative at i", {"z": lambda i, f, o, g: (i * (1 - i), i * (1 - i), o * (1 - o), 1 - g * g)}),
    ("o's derivative at f", {"z": lambda i, f, o, g: (i * (1 - i), f * (1 - f), f * (1 - f), 1 - g * g)}),
):
    plant("gates-exchanged", f"an LSTM over time, {how}")(partial(check_lstm, **formulas))
    plant("gates-exchanged", f"one step of an LSTM, {how}")(partial(check_lstm_step, **formulas))
plant("function-for-derivative", "an LSTM over time, g (1 − g) for tanh")(
    lambda: check_lstm(z=lambda i, f, o, g: (i * (1 - i), f * (1 - f), o * (1 - o), g * (1 - g)))
)
plant("upstream-ignored", "one step of an LSTM, the cell's gradient left out")(
    lambda: check_lstm_step(cell=lambda dh, dc, o, tc: dh * o * (1 - tc * tc))
)


def check_split(df=lambda dc, g, c: dc * c, da=lambda di, df, dg, do: (di, df, dg, do), back=lambda dc, f: dc * f):
    """An LSTM in one function, its gates in columns and split by NumPy: x (steps, in, batch), every state given."""

    def cell_forward(x, h, c, Wx, Wh, b):
        hs, kept = [], []
        for xt in x:
            before, (ai, af, ag, ao) = (h, c), np.split(Wx @ xt + Wh @ h + b, 4)
            i, f, g, o = sigmoid(ai), sigmoid(af), np.tanh(ag), sigmoid(ao)
            c = f * c + i * g
            h = o * np.tanh(c)
            kept.append((xt, before, i, f, g, o, c))
            hs.append(h)
        return np.stack(hs), (kept, Wx, Wh)

    def cell_backward(dout, cache):
        kept, Wx, Wh = cache
        dxs, dWx, dWh, db, dh, dc = [], 0, 0, 0, 0, 0
        for t in reversed(range(len(dout))):
            xt, (h, c), i, f, g, o, c_next = kept[t]
            dh = dh + dout[t]
            tc = np.tanh(c_next)
            dct = dc + dh * o * (1 - tc * tc)
            parts = dct * g * i * (1 - i), df(dct, g, c) * f * (1 - f), dct * i * (1 - g * g), dh * tc * o * (1 - o)
            d = np.concatenate(da(*parts))
            dxs.insert(0, Wx.T @ d)
            dWx, dWh, db = dWx + d @ xt.T, dWh + d @ h.T, db + d.sum(axis=1, keepdims=True)
            dh, dc = Wh.T @ d, back(dct, f)
        return np.stack(dxs), dh, dc, dWx, dWh, db

    arrays = draw(x=(4, 5, 7), h=(3, 7), c=(3, 7), Wx=(12, 5), Wh=(12, 3), b=(12, 1))
    return verify_function(cell_forward, cell_backward, **arrays)


plant("carry-lost", "an LSTM of columns, the cell's gradient without the forget gate")(
    lambda: check_split(back=lambda dc, f: dc)
)
plant("carry-lost", "an LSTM of columns, the cell's gradient not handed on")(
    lambda: check_split(back=lambda dc, f: 0 * dc)
)
plant("gates-exchanged", "an LSTM of columns, the blocks of g and o exchanged")(
    lambda: check_split(da=lambda di, df, dg, do: (di, df, do, dg))
)


# --- a GRU, a matrix for each gate ------------------------------------------------------------------------------------


def check_gru(dgates=lambda dz, dr: (dz, dr), slopes=lambda z, r: (z * (1 - z), r * (1 - r)), direct=True, steps=3):
    """h_t = (1 − z) h_{t−1} + z n over x (batch, steps, in); the last state comes out."""

    def gru_forward(x, h, Wz, Wr, Wn, Uz, Ur, Un):
        kept = []
        for t in range(x.shape[1]):
            z = sigmoid(x[:, t] @ Wz + h @ Uz)
            r = sigmoid(x[:, t] @ Wr + h @ Ur)
            n = np.tanh(x[:, t] @ Wn + (r * h) @ Un)
            kept.append((h, z, r, n))
            h = (1 - z) * h + z * n
        return h, (x, kept, (Wz, Wr, Wn, Uz, Ur, Un))

    def gru_backward(dh, cache):
        x, kept, (Wz, Wr, Wn, Uz, Ur, Un) = cache
        dx, grads = np.zeros_like(x), [np.zeros_like(W) for W in cache[2]]
        for t in reversed(range(x.shape[1])):
            h, z, r, n = kept[t]
            an = dh * z * (1 - n * n)
            drh = an @ Un.T
            dz, dr = dgates(dh * (n - h), drh * h)
            sz, sr = slopes(z, r)
            az, ar = dz * sz, dr * sr
            terms = x[:, t].T @ az, x[:, t].T @ ar, x[:, t].T @ an, h.T @ az, h.T @ ar, (r * h).T @ an
            grads = [g + term for g, term in zip(grads, terms, strict=True)]
            dx[:, t] = az @ Wz.T + ar @ Wr.T + an @ Wn.T
            dh = (dh * (1 - z) if direct else 0) + az @ Uz.T + ar @ Ur.T + drh * r
        return dx, dh, *grads

    weights = draw(Wz=(5, 3), Wr=(5, 3), Wn=(5, 3), Uz=(3, 3), Ur=(3, 3), Un=(3, 3))
    return verify_function(gru_forward, gru_backward, **draw(x=(7, steps, 5), h=(7, 3)), **weights)


plant("carry-lost", "a GRU, not carried past its gates")(lambda: check_gru(direct=False))
plant("gates-exchanged", "a GRU, dz and dr exchanged")(lambda: check_gru(lambda dz, dr: (dr, dz)))
plant("gates-exchanged", "a GRU, r's derivative at z")(
    lambda: check_gru(slopes=lambda z, r: (z * (1 - z), z * (1 - z)))
)
plant("gates-exchanged", "one step of a GRU, dz and dr exchanged")(lambda: check_gru(lambda dz, dr: (dr, dz), steps=1))
CORRECT |= {"RNN of all states": check_states, "LSTM": check_lstm, "one step of an LSTM": check_lstm_step,
            "LSTM of columns": check_split,
            "LSTM of all states": partial(check_lstm, last_only=False), "GRU by time": check_gru}  # fmt: skip


# --- attention --------------------------------------------------------------------------------------------------------

CAUSAL = np.tril(np.ones((6, 6), dtype=bool))


def check_masked(
    mask=lambda s, kept: np.where(kept, s, -1e9),
    weigh=lambda p, kept: p,
    p_back=lambda p, s, kept: p,
    ds=lambda ds, kept: ds,
    scale=lambda d: np.sqrt(d),
    dp=lambda dp, kept: dp,
    kept=CAUSAL,
):
    """softmax of masked q kᵀ / √d, times v."""

    def attention_forward(q, k, v):
        s = q @ k.T / np.sqrt(q.shape[-1])
        p = softmax(mask(s, kept))
        w = weigh(p, kept)
        return w @ v, (q, k, v, s, p, w)

    def attention_backward(dout, cache):
        q, k, v, s, p, w = cache
        d = softmax_back(dp(dout @ v.T, kept), p_back(p, s, kept))
        d = ds(d, kept) / scale(q.shape[-1])
        return d @ k, d.T @ q, w.T @ dout

    return verify_function(attention_forward, attention_backward, **draw(q=(6, 5), k=(6, 5), v=(6, 3)))


def softly(s, kept):
    return np.where(kept, s, -2.0)


def times(s, kept):
    return s * kept


def check_weighed(dp=times):
    """A mask of the probabilities."""
    return check_masked(lambda s, kept: s, times, dp=dp)


def check_heads(scale=lambda d: np.sqrt(d), first=False, biased=None, without=lambda s: s):
    """Self-attention of x (batch, steps, width) in two heads, the mask added."""
    bias = np.where(CAUSAL[:4, :4], 0, -3.0) if biased is None else biased

    def split(a, heads):
        return a.reshape(*a.shape[:2], heads, -1).transpose(0, 2, 1, 3)

    def merge(a):
        return a.transpose(0, 2, 1, 3).reshape(a.shape[0], a.shape[2], -1)

    def attention_forward(x, Wq, Wk, Wv, heads):
        q, k, v = (split(x @ W, heads) for W in (Wq, Wk, Wv))
        d = q.shape[-1]
        s = (q / np.sqrt(d)) @ k.transpose(0, 1, 3, 2) if first else q @ k.transpose(0, 1, 3, 2) / np.sqrt(d)
        p = softmax(s + bias)
        return merge(p @ v), (x, Wq, Wk, Wv, q, k, v, p, heads)

    def attention_backward(dout, cache):
        x, Wq, Wk, Wv, q, k, v, p, heads = cache
        dout = split(dout, heads)
        dp, dv = dout @ v.transpose(0, 1, 3, 2), without(p).transpose(0, 1, 3, 2) @ dout
        ds = softmax_back(dp, without(p))
        root, right = scale(q.shape[-1]), np.sqrt(q.shape[-1])
        dq, dk = ds @ k / root, ds.transpose(0, 1, 3, 2) @ q / (right if first else root)
        dq, dk, dv = merge(dq), merge(dk), merge(dv)
        dx = dq @ Wq.T + dk @ Wk.T + dv @ Wv.T
        return dx, *(np.tensordot(x, d, axes=((0, 1), (0, 1))) for d in (dq, dk, dv))

    return verify_function(
        attention_forward, attention_backward, **draw(x=(7, 4, 5), Wq=(5, 6), Wk=(5, 6), Wv=(5, 6)), heads=2
    )


def check_query(scale=lambda d: np.sqrt(d)):
    """One query at a time, over the steps of a memory (batch, steps, width)."""

    def attend_forward(q, memory):
        s = np.einsum("bd,btd->bt", q, memory) / np.sqrt(q.shape[1])
        p = softmax(s)
        return np.einsum("bt,btd->bd", p, memory), (q, memory, p)

    def attend_backward(dout, cache):
        q, memory, p = cache
        ds = softmax_back(np.einsum("bd,btd->bt", dout, memory), p) / scale(q.shape[1])
        return np.einsum("bt,btd->bd", ds, memory), ds[:, :, None] * q[:, None] + p[:, :, None] * dout[:, None]

    return verify_function(attend_forward, attend_backward, **draw(q=(7, 5), memory=(7, 4, 5)))


plant("attention-scale", "with a mask")(lambda: check_masked(scale=lambda d: 1))
plant("attention-scale", "two heads")(lambda: check_heads(lambda d: 1))
plant("attention-scale", "two heads, the queries scaled")(lambda: check_heads(lambda d: 1, first=True))
plant("attention-scale", "one query over a memory, einsum")(lambda: check_query(lambda d: 1))
plant("attention-mask", "np.where, ds not masked")(lambda: check_masked(softly))
plant("attention-mask", "np.where, p computed again without it")(
    lambda: check_masked(p_back=lambda p, s, kept: softmax(s))
)
plant("attention-mask", "scores times a mask")(lambda: check_masked(times))
plant("attention-mask", "probabilities times a mask")(lambda: check_weighed(lambda dp, kept: dp))
plant("attention-mask", "two heads, everything without the mask")(
    lambda: check_heads(without=lambda p: softmax_without(p))
)


def softmax_without(p):
    """The probabilities without the −3 where the mask is: softmax(log p − bias)."""
    return softmax(np.log(p) - np.where(CAUSAL[:4, :4], 0, -3.0))


CORRECT |= {
    "masked attention": check_masked, "masked softly": partial(check_masked, softly, ds=times), "heads": check_heads,
    "scores times a mask": partial(check_masked, times, ds=times), "probabilities times a mask": check_weighed,
    "heads, queries scaled": partial(check_heads, first=True), "a query over a memory": check_query,
}  # fmt: skip


# --- residual blocks --------------------------------------------------------------------------------------------------


def check_residual(shortcut=lambda dout: dout, dtype="float64"):
    """y = x + relu(x W1) W2."""

    def block_forward(x, W1, W2):
        a = np.maximum(x @ W1, 0)
        return x + a @ W2, (x, a, W1, W2)

    def block_backward(dout, cache):
        x, a, W1, W2 = cache
        dz = dout @ W2.T * (a > 0)
        return shortcut(dout) + dz @ W1.T, x.T @ dz, a.T @ dout

    return verify_function(block_forward, block_backward, **draw(dtype, x=(7, 5), W1=(5, 9), W2=(9, 5)))


def check_normed_residual(shortcut=lambda dout: dout):
    """y = relu(x + tanh(layer norm of x)), the norm without γ."""

    def block_forward(x):
        sigma = np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5)
        x_hat = (x - x.mean(axis=-1, keepdims=True)) / sigma
        a = np.tanh(x_hat)
        return np.maximum(x + a, 0), (x_hat, sigma, a, x)

    def block_backward(dout, cache):
        x_hat, sigma, a, x = cache
        dout = dout * (x + a > 0)
        d = dout * (1 - a * a)
        mean, with_x = d.mean(axis=-1, keepdims=True), (d * x_hat).mean(axis=-1, keepdims=True)
        return shortcut(dout) + (d - mean - x_hat * with_x) / sigma

    return verify_function(block_forward, block_backward, **draw(x=(7, 3, 5)))


class ResidualNet:
    """Two residual blocks of tanh, then linear, squared error."""

    def __init__(self):
        weights = draw(W1=(5, 5), W2=(5, 5), V=(5, 3))
        self.W1, self.W2, self.V = weights["W1"], weights["W2"], weights["V"]

    def past(self, dh, block):
        return dh

    def loss(self, x, y):
        self.x = x
        self.a1 = np.tanh(x @ self.W1)
        self.h1 = x + self.a1
        self.a2 = np.tanh(self.h1 @ self.W2)
        self.h2 = self.h1 + self.a2
        self.r = self.h2 @ self.V - y
        return (self.r**2).sum() / 2

    def backward(self, x, y):
        self.dV = self.h2.T @ self.r
        dh = self.r @ self.V.T
        d2 = dh * (1 - self.a2**2)
        self.dW2 = self.h1.T @ d2
        dh = self.past(dh, 2) + d2 @ self.W2.T
        d1 = dh * (1 - self.a1**2)
        self.dW1 = self.x.T @ d1
        return self.past(dh, 1) + d1 @ self.W1.T


def check_residual_net(past=lambda self, dh, block: dh):
    net = type("ResidualNet", (ResidualNet,), {"past": past})()
    inputs = draw(x=(7, 5), y=(7, 3))
    return verify_network(net, x=inputs["x"], y=inputs["y"])


plant("residual-lost", "a block of two layers")(lambda: check_residual(np.zeros_like))
plant("residual-lost", "a block of two layers, float32")(lambda: check_residual(np.zeros_like, "float32"))
plant("residual-lost", "around a layer norm, before ReLU")(lambda: check_normed_residual(np.zeros_like))
plant("residual-lost", "the second block of a network object")(
    lambda: check_residual_net(lambda self, dh, block: dh * (block == 1))
)
CORRECT |= {
    "residual block, two layers": check_residual, "residual block, normed": check_normed_residual,
    "residual network": check_residual_net,
}  # fmt: skip
