"""Blocks of layers that gate, scale or mix one another."""

import numpy as np

from tests.verify.courses.course import Course, draw


def sigmoid(z):
    return 1.0 / (1.0 + np.exp(-z))


def softmax_rows(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def two_experts_forward(x, Wg, We):
    """A mixture of linear experts: Wg (D, K) gates, We (K, D, M) holds the experts."""
    gate = softmax_rows(x @ Wg)
    experts = np.array([x @ We[k] for k in range(len(We))])
    y = sum(gate[:, k : k + 1] * experts[k] for k in range(len(We)))
    return y, (x, Wg, We, gate, experts)


def two_experts_backward(dy, cache):
    x, Wg, We, gate, experts = cache
    dx = np.zeros_like(x)
    dWe = np.zeros_like(We)
    dgate = np.zeros_like(gate)
    for k in range(We.shape[0]):
        dexpert = gate[:, k : k + 1] * dy
        dWe[k] += x.T @ dexpert
        dx += dexpert @ We[k].T
        dgate[:, k] = np.sum(dy * experts[k], axis=1)
    dscore = gate * (dgate - np.sum(dgate * gate, axis=1, keepdims=True))
    dWg = x.T @ dscore
    dx += dscore @ Wg.T
    return dx, dWg, dWe


def film_forward(x, cond, Wg, Wb):
    """Features (N, C, L) scaled and shifted by what a condition (N, K) says."""
    gamma = cond @ Wg
    beta = cond @ Wb
    return (1 + gamma)[:, :, None] * x + beta[:, :, None]


def film_backward(dout, x, cond, Wg, Wb):
    gamma = cond @ Wg
    dx = dout * (1 + gamma)[:, :, None]
    dgamma = (dout * x).sum(axis=-1)
    dbeta = dout.sum(axis=-1)
    dWg = cond.T @ dgamma
    dWb = cond.T @ dbeta
    dcond = dgamma @ Wg.T + dbeta @ Wb.T
    return dx, dcond, dWg, dWb


def low_rank_forward(x, U, V, s):
    """x U diag(s) V, the factored weight."""
    h = x.dot(U)
    hs = h * s
    return hs.dot(V), (x, U, V, s, h, hs)


def low_rank_backward(g, cache):
    x, U, V, s, h, hs = cache
    gV = hs.T.dot(g)
    ghs = g.dot(V.T)
    gs = np.sum(ghs * h, axis=0)
    gh = ghs * s
    gU = x.T.dot(gh)
    gx = gh.dot(U.T)
    return gx, gU, gV, gs


def squeeze_excite_forward(x, W1, W2):
    """x (N, C, L): each channel is rescaled by what all channels' means say."""
    squeeze = x.mean(axis=2)
    hidden = np.maximum(squeeze @ W1, 0)
    scale = sigmoid(hidden @ W2)
    return x * scale[:, :, None], (x, W1, W2, squeeze, hidden, scale)


def squeeze_excite_backward(dout, cache):
    x, W1, W2, squeeze, hidden, scale = cache
    dx = dout * scale[:, :, None]
    dscale = np.sum(dout * x, axis=2)
    dlogit = dscale * scale * (1 - scale)
    dW2 = hidden.T @ dlogit
    dhidden = dlogit @ W2.T
    dhidden[hidden == 0] = 0
    dW1 = squeeze.T @ dhidden
    dsqueeze = dhidden @ W1.T
    dx += dsqueeze[:, :, None] / x.shape[2]
    return dx, dW1, dW2


def two_heads_forward(x, W, Wa, Wb):
    """One trunk with two heads that have different activations."""
    h = np.maximum(0, x @ W)
    mean = h @ Wa
    scale = np.log1p(np.exp(h @ Wb))
    return mean, scale, (x, W, Wa, Wb, h)


def two_heads_backward(dmean, dscale, cache):
    x, W, Wa, Wb, h = cache
    dpre = dscale * sigmoid(h @ Wb)
    dWa = h.T @ dmean
    dWb = h.T @ dpre
    dh = dmean @ Wa.T
    dh += dpre @ Wb.T
    dh *= h > 0
    dW = x.T @ dh
    dx = dh @ W.T
    return dx, dW, dWa, dWb


def whiten_columns(x, y):
    """Both tables standardised and then correlated: the matrix of Pearson's r between their columns."""
    xs = (x - x.mean(0)) / x.std(0)
    ys = (y - y.mean(0)) / y.std(0)
    return xs.T @ ys / len(x)


def destandardise(dxs, x):
    std = x.std(0)
    xs = (x - x.mean(0)) / std
    return (dxs - dxs.mean(0) - xs * (dxs * xs).mean(0)) / std


def whiten_columns_backward(dr, x, y):
    n = len(x)
    xs = (x - x.mean(0)) / x.std(0)
    ys = (y - y.mean(0)) / y.std(0)
    dxs = ys @ dr.T / n
    dys = xs @ dr / n
    return destandardise(dxs, x), destandardise(dys, y)


COURSES = [
    Course(
        "correlation",
        whiten_columns,
        whiten_columns_backward,
        lambda: draw(13, x=(6, 3), y=(6, 2)),
        (destandardise,),
        ("x", "y"),
    ),
    Course(
        "two_experts",
        two_experts_forward,
        two_experts_backward,
        lambda: draw(10, x=(5, 4), Wg=(4, 2), We=(2, 4, 3)),
        (),
        ("x", "Wg", "We"),
    ),
    Course(
        "film",
        film_forward,
        film_backward,
        lambda: draw(11, x=(2, 4, 5), cond=(2, 3), Wg=(3, 4), Wb=(3, 4)),
        (),
        ("x", "cond", "Wg", "Wb"),
    ),
    Course(
        "low_rank",
        low_rank_forward,
        low_rank_backward,
        lambda: draw(12, x=(3, 5), U=(5, 2), V=(2, 4), s=(2,)),
        (),
        ("x", "U", "V", "s"),
    ),
    Course(
        "squeeze_excite",
        squeeze_excite_forward,
        squeeze_excite_backward,
        lambda: draw(13, x=(2, 4, 5), W1=(4, 3), W2=(3, 4)),
        (),
        ("x", "W1", "W2"),
    ),
    Course(
        "two_heads",
        two_heads_forward,
        two_heads_backward,
        lambda: draw(14, x=(5, 4), W=(4, 6), Wa=(6, 3), Wb=(6, 2)),
        (),
        ("x", "W", "Wa", "Wb"),
    ),
]
