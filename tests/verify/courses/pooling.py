"""Pooling, upsampling, padding and look-ups."""

from itertools import pairwise

import numpy as np

from tests.verify.courses.course import Course, draw


def max_pool_forward(x, size=2, stride=2):
    N, C, H, W = x.shape
    H_out = (H - size) // stride + 1
    W_out = (W - size) // stride + 1
    out = np.zeros((N, C, H_out, W_out))
    for i in range(H_out):
        for j in range(W_out):
            window = x[:, :, i * stride : i * stride + size, j * stride : j * stride + size]
            out[:, :, i, j] = window.max(axis=(2, 3))
    return out, (x, size, stride)


def max_pool_backward(dout, cache):
    x, size, stride = cache
    N, C, H_out, W_out = dout.shape
    dx = np.zeros_like(x)
    for n in range(N):
        for c in range(C):
            for i in range(H_out):
                for j in range(W_out):
                    hs, ws = i * stride, j * stride
                    window = x[n, c, hs : hs + size, ws : ws + size]
                    mask = window == np.max(window)
                    dx[n, c, hs : hs + size, ws : ws + size] += mask * dout[n, c, i, j]
    return dx


def max_pool_overlap_forward(x, k=3, s=1):
    """Windows overlap; what is stored is where each maximum was. x (N, T)."""
    N, T = x.shape
    out_len = (T - k) // s + 1
    out = np.empty((N, out_len))
    where = np.empty((N, out_len), dtype=int)
    for t in range(out_len):
        where[:, t] = t * s + np.argmax(x[:, t * s : t * s + k], axis=1)
        out[:, t] = x[np.arange(N), where[:, t]]
    return out, (x.shape, where)


def max_pool_overlap_backward(dout, cache):
    shape, where = cache
    dx = np.zeros(shape)
    rows = np.repeat(np.arange(shape[0]), where.shape[1])
    np.add.at(dx, (rows, where.ravel()), dout.ravel())
    return dx


def distribute_value(dz, shape):
    n_H, n_W = shape
    average = dz / (n_H * n_W)
    return np.ones(shape) * average


def avg_pool_forward(A_prev, f=2, stride=1):
    """A_prev (m, n_H, n_W, n_C)."""
    m, n_H_prev, n_W_prev, n_C = A_prev.shape
    n_H = 1 + (n_H_prev - f) // stride
    n_W = 1 + (n_W_prev - f) // stride
    A = np.zeros((m, n_H, n_W, n_C))
    for i in range(m):
        for h in range(n_H):
            for w in range(n_W):
                for c in range(n_C):
                    A[i, h, w, c] = np.mean(A_prev[i, h * stride : h * stride + f, w * stride : w * stride + f, c])
    return A, (A_prev, f, stride)


def avg_pool_backward(dA, cache):
    A_prev, f, stride = cache
    m, n_H, n_W, n_C = dA.shape
    dA_prev = np.zeros_like(A_prev)
    for i in range(m):
        for h in range(n_H):
            for w in range(n_W):
                for c in range(n_C):
                    vert, horiz = h * stride, w * stride
                    da = dA[i, h, w, c]
                    dA_prev[i, vert : vert + f, horiz : horiz + f, c] += distribute_value(da, (f, f))
    return dA_prev


def avg_pool_reshape_forward(x):
    N, H, W = x.shape
    return x.reshape(N, H // 2, 2, W // 2, 2).mean(axis=(2, 4)), (N, H, W)


def avg_pool_reshape_backward(g, cache):
    N, H, W = cache
    g = g[:, :, None, :, None] / 4.0
    dx = np.broadcast_to(g, (N, H // 2, 2, W // 2, 2))
    return dx.reshape(N, H, W)


def masked_mean_forward(x, mask):
    """The mean over the steps that are not padding: x (N, T, D), mask (N, T) of 0 and 1."""
    count = mask.sum(axis=1, keepdims=True)
    y = (x * mask[:, :, None]).sum(axis=1) / count
    return y, (mask, count)


def masked_mean_backward(dy, cache):
    mask, count = cache
    dsum = dy / count
    dx = np.repeat(dsum[:, None, :], mask.shape[1], axis=1)
    dx[mask == 0] = 0
    return dx


def max_over_time_forward(x, w):
    """Scores of n-grams, of which only the best one counts: x (N, T, D), w (D, F)."""
    scores = x @ w
    best = scores.argmax(axis=1)
    out = np.take_along_axis(scores, best[:, None, :], axis=1)[:, 0]
    return out, (x, w, best)


def max_over_time_backward(dout, cache):
    x, w, best = cache
    dx = np.zeros_like(x)
    dw = np.zeros_like(w)
    for n in range(x.shape[0]):
        for f in range(w.shape[1]):
            t = best[n, f]
            dw[:, f] += dout[n, f] * x[n, t]
            dx[n, t] += dout[n, f] * w[:, f]
    return dx, dw


def logsumexp_pool_forward(x, r):
    """Between the mean and the maximum, as r grows: x (N, C, L), r (C,)."""
    L = x.shape[2]
    scaled = r[:, None] * x
    m = scaled.max(axis=2, keepdims=True)
    e = np.exp(scaled - m)
    lse = m[:, :, 0] + np.log(e.sum(axis=2) / L)
    return lse / r, (x, r, e, lse)


def logsumexp_pool_backward(dout, cache):
    x, r, e, lse = cache
    weights = e / e.sum(axis=2, keepdims=True)
    dlse = dout / r
    dscaled = dlse[:, :, None] * weights
    dx = dscaled * r[:, None]
    dr = np.sum(dscaled * x, axis=(0, 2))
    dr -= np.sum(dout * lse, axis=0) / r**2
    return dx, dr


def upsample_nearest(x, factor=2):
    return x.repeat(factor, axis=1).repeat(factor, axis=2)


def upsample_nearest_backward(dout, x):
    factor = dout.shape[1] // x.shape[1]
    dx = np.zeros_like(x)
    for i in range(factor):
        for j in range(factor):
            dx += dout[:, i::factor, j::factor]
    return dx


def upsample_linear_forward(x, scale=2):
    """Linear interpolation along the last axis, ends aligned."""
    T = x.shape[1]
    pos = np.linspace(0, T - 1, T * scale)
    left = np.minimum(pos.astype(int), T - 2)
    frac = pos - left
    out = x[:, left] * (1 - frac) + x[:, left + 1] * frac
    return out, (x.shape, left, frac)


def upsample_linear_backward(dout, cache):
    shape, left, frac = cache
    dx = np.zeros(shape)
    for i, (lo, f) in enumerate(zip(left, frac, strict=True)):
        dx[:, lo] += dout[:, i] * (1 - f)
        dx[:, lo + 1] += dout[:, i] * f
    return dx


def pixel_shuffle_forward(x, r=2):
    N, C, H, W = x.shape
    c = C // r**2
    out = x.reshape(N, c, r, r, H, W).transpose(0, 1, 4, 2, 5, 3)
    return out.reshape(N, c, H * r, W * r), r


def pixel_shuffle_backward(dout, cache):
    r = cache
    N, c, HR, WR = dout.shape
    H, W = HR // r, WR // r
    d = dout.reshape(N, c, H, r, W, r)
    d = d.transpose(0, 1, 3, 5, 2, 4)
    return d.reshape(N, c * r * r, H, W)


def reflect_pad_forward(x, p=2):
    return np.pad(x, ((0, 0), (p, p)), mode="reflect"), p


def reflect_pad_backward(dout, cache):
    p = cache
    dx = dout[:, p:-p].copy()
    for i in range(1, p + 1):
        dx[:, i] += dout[:, p - i]
        dx[:, -1 - i] += dout[:, dout.shape[1] - 1 - p + i]
    return dx


def embedding_forward(idx, W):
    return W[idx], (idx, W.shape)


def embedding_backward(dout, cache):
    idx, shape = cache
    dW = np.zeros(shape)
    np.add.at(dW, idx, dout)
    return dW


def bag_of_words_forward(words, offsets, E, b):
    """Sentences of different lengths, one after another; offsets says where each begins."""
    bounds = [*offsets.tolist(), len(words)]
    means = [E[words[lo:hi]].mean(axis=0) for lo, hi in pairwise(bounds)]
    out = np.tanh(np.array(means) + b)
    return out, (words, bounds, E, out)


def bag_of_words_backward(dout, cache):
    words, bounds, E, out = cache
    dz = dout * (1 - out**2)
    db = dz.sum(axis=0)
    dE = np.zeros_like(E)
    for s in range(len(bounds) - 1):
        sentence = words[bounds[s] : bounds[s + 1]]
        for word in sentence:
            dE[word] += dz[s] / len(sentence)
    return dE, db


COURSES = [
    Course("max_pool", max_pool_forward, max_pool_backward, lambda: draw(1, x=(1, 3, 4, 5)), (), ("x",)),
    Course(
        "max_pool_overlap", max_pool_overlap_forward, max_pool_overlap_backward, lambda: draw(2, x=(3, 7)), (), ("x",)
    ),
    Course(
        "avg_pool",
        avg_pool_forward,
        avg_pool_backward,
        lambda: draw(3, A_prev=(1, 3, 4, 2)),
        (distribute_value,),
        ("A_prev",),
    ),
    Course(
        "avg_pool_reshape",
        avg_pool_reshape_forward,
        avg_pool_reshape_backward,
        lambda: draw(4, x=(2, 4, 6)),
        (),
        ("x",),
    ),
    Course(
        "masked_mean",
        masked_mean_forward,
        masked_mean_backward,
        lambda: {"x": draw(5, x=(2, 4, 3))["x"], "mask": np.array([[1, 1, 0, 0], [1, 1, 1, 0]])},
        (),
        ("x",),
    ),
    Course(
        "max_over_time",
        max_over_time_forward,
        max_over_time_backward,
        lambda: draw(6, x=(2, 5, 3), w=(3, 4)),
        (),
        ("x", "w"),
    ),
    Course(
        "logsumexp_pool",
        logsumexp_pool_forward,
        logsumexp_pool_backward,
        lambda: {"x": draw(7, x=(2, 3, 5))["x"], "r": np.array([0.5, 1.0, 3.0])},
        (),
        ("x", "r"),
    ),
    Course("upsample_nearest", upsample_nearest, upsample_nearest_backward, lambda: draw(8, x=(2, 3, 4)), (), ("x",)),
    Course("upsample_linear", upsample_linear_forward, upsample_linear_backward, lambda: draw(9, x=(3, 4)), (), ("x",)),
    Course(
        "pixel_shuffle", pixel_shuffle_forward, pixel_shuffle_backward, lambda: draw(10, x=(1, 4, 3, 5)), (), ("x",)
    ),
    Course("reflect_pad", reflect_pad_forward, reflect_pad_backward, lambda: draw(11, x=(3, 5)), (), ("x",)),
    Course(
        "embedding",
        embedding_forward,
        embedding_backward,
        lambda: {"idx": np.array([[0, 3, 3], [5, 0, 1]]), "W": draw(12, W=(6, 4))["W"]},
        (),
        ("W",),
    ),
    Course(
        "bag_of_words",
        bag_of_words_forward,
        bag_of_words_backward,
        lambda: {"words": np.array([4, 0, 4, 2, 1, 0]), "offsets": np.array([0, 2]), **draw(13, E=(5, 3), b=(3,))},
        (),
        ("E", "b"),
    ),
]
