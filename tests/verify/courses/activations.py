"""Activation functions, gates of single numbers, and functions of whole rows."""

import numpy as np

from tests.verify.courses.course import Course, draw


def prelu_forward(x, alpha):
    """x (N, C, L) with one slope per channel, alpha (C,)."""
    out = np.maximum(0, x) + alpha[None, :, None] * np.minimum(0, x)
    return out, (x, alpha)


def prelu_backward(dout, cache):
    x, alpha = cache
    neg = x < 0
    dx = dout.copy()
    dx[neg] = (dout * alpha.reshape(1, -1, 1))[neg]
    dalpha = np.sum(dout * x * neg, axis=(0, 2))
    return dx, dalpha


def leaky_forward(x):
    out = x.copy()
    out[x < 0] *= 0.01
    return out, x


def leaky_backward(dout, cache):
    dx = np.ones_like(cache)
    dx[cache < 0] = 0.01
    dx *= dout
    return dx


def elu_forward(x):
    y = np.where(x > 0, x, 1.5 * (np.exp(np.minimum(x, 0)) - 1))
    return y, {"x": x, "y": y}


def elu_backward(dy, cache):
    x, y = cache["x"], cache["y"]
    slope = np.ones(x.shape)
    below = x <= 0
    slope[below] = y[below] + 1.5
    return dy * slope


def softplus_forward(x, beta):
    """log(1 + exp(beta x)) / beta without overflow, with one beta per column."""
    bx = beta * x
    sp = np.maximum(bx, 0) + np.log1p(np.exp(-np.abs(bx)))
    return sp / beta, (x, beta, bx, sp)


def softplus_backward(dout, cache):
    x, beta, bx, sp = cache
    sig = 1 / (1 + np.exp(-bx))
    dsp = dout / beta
    dbx = dsp * sig
    dx = dbx * beta
    dbeta = np.sum(dbx * x, axis=0)
    dbeta -= np.sum(dout * sp, axis=0) / beta**2
    return dx, dbeta


def stable_sigmoid(x):
    out = np.empty_like(x)
    pos = x >= 0
    out[pos] = 1 / (1 + np.exp(-x[pos]))
    e = np.exp(x[~pos])
    out[~pos] = e / (1 + e)
    return out


def swish_forward(x, beta):
    s = stable_sigmoid(beta * x)
    return x * s, (x, beta, s)


def swish_backward(dout, cache):
    x, beta, s = cache
    ds = dout * x
    dz = ds * s * (1 - s)
    dx = dout * s + dz * beta
    dbeta = (dz * x).sum(axis=0)
    return dx, dbeta


def gelu_forward(x):
    c = np.sqrt(2 / np.pi)
    t = np.tanh(c * (x + 0.044715 * x**3))
    return 0.5 * x * (1 + t), (x, t)


def gelu_backward(dout, cache):
    x, t = cache
    c = np.sqrt(2 / np.pi)
    dinner = c * (1 + 3 * 0.044715 * x**2)
    dt = (1 - t * t) * dinner
    return dout * (0.5 * (1 + t) + 0.5 * x * dt)


def mish(x):
    return x * np.tanh(np.log1p(np.exp(x)))


def mish_backward(dy, x):
    e = np.exp(x)
    sp = np.log1p(e)
    th = np.tanh(sp)
    dsp = e / (1 + e)
    dth = (1 - th**2) * dsp
    return dy * (th + x * dth)


def hard_sigmoid(x):
    return np.clip(0.2 * x + 0.5, 0, 1)


def hard_sigmoid_backward(grad, x):
    inside = (0.2 * x + 0.5 > 0) & (0.2 * x + 0.5 < 1)
    gx = 0.2 * grad
    gx[~inside] = 0.0
    return gx


def soft_threshold(x, lam):
    """Shrinks towards zero; lam has one threshold per feature."""
    return np.sign(x) * np.maximum(np.abs(x) - np.abs(lam), 0)


def soft_threshold_backward(dy, x, lam):
    alive = np.abs(x) > np.abs(lam)
    dx = np.zeros_like(dy)
    dx[alive] = dy[alive]
    dlam = -np.sum(dx * np.sign(x), axis=0) * np.sign(lam)
    return dx, dlam


def softmax_forward(x):
    shifted = x - np.max(x, axis=1, keepdims=True)
    e = np.exp(shifted)
    p = e / np.sum(e, axis=1, keepdims=True)
    return p, p


def softmax_jacobian_backward(dout, cache):
    p = cache
    dx = np.zeros_like(p)
    for i in range(p.shape[0]):
        s = p[i].reshape(-1, 1)
        jac = np.diagflat(s) - s @ s.T
        dx[i] = jac @ dout[i]
    return dx


def temperature_softmax(logits, T):
    """Rows of logits softened by one temperature per row, T (N, 1)."""
    z = logits / T
    z -= z.max(axis=1, keepdims=True)
    p = np.exp(z)
    p /= p.sum(axis=1, keepdims=True)
    return p


def temperature_softmax_backward(dp, logits, T):
    p = temperature_softmax(logits, T)
    dot = np.sum(dp * p, axis=1, keepdims=True)
    dz = p * (dp - dot)
    dlogits = dz / T
    dT = -np.sum(dz * logits, axis=1, keepdims=True) / T**2
    return dlogits, dT


def log_softmax_forward(x):
    m = x.max(axis=-1, keepdims=True)
    lse = m + np.log(np.exp(x - m).sum(axis=-1, keepdims=True))
    logp = x - lse
    return logp, logp


def log_softmax_backward(dlogp, cache):
    p = np.exp(cache)
    total = dlogp.sum(axis=-1, keepdims=True)
    return dlogp - p * total


def dropout_forward(x, keep=0.6, seed=3):
    rng = np.random.default_rng(seed)
    mask = rng.random(x.shape) < keep
    out = x * mask / keep
    return out, (mask, keep)


def dropout_backward(dout, cache):
    mask, keep = cache
    dx = dout.copy()
    dx[~mask] = 0
    dx /= keep
    return dx


def crelu_forward(x, w):
    """Both signs of x are kept, side by side, and then weighted."""
    h = np.hstack([np.maximum(x, 0), np.maximum(-x, 0)])
    return h @ w, (x, w, h)


def crelu_backward(dy, cache):
    x, w, h = cache
    D = x.shape[1]
    dw = h.T @ dy
    dh = dy @ w.T
    dpos, dneg = dh[:, :D], dh[:, D:]
    dx = dpos * (x > 0)
    dx -= dneg * (x < 0)
    return dx, dw


def power_mean_forward(x, p):
    """The mean of x^p over rows with one exponent per column, then the root; x is made positive first."""
    a = np.exp(x)
    powered = a**p
    mean = powered.mean(axis=0)
    out = mean ** (1 / p)
    return out, (a, p, powered, mean, out)


def power_mean_backward(dout, cache):
    a, p, powered, mean, out = cache
    N = a.shape[0]
    dmean = dout * out / (p * mean)
    dp = -dout * out * np.log(mean) / p**2
    dpowered = np.ones((N, 1)) * dmean / N
    da = dpowered * p * a ** (p - 1)
    dp += (dpowered * powered * np.log(a)).sum(axis=0)
    dx = da * a
    return dx, dp


def positional_scaling(x, scale, pos):
    """x (N, T, D) times a learned scale per feature, plus a learned offset per step."""
    T = x.shape[1]
    return x * scale + pos[:T]


def positional_scaling_backward(dout, x, scale, pos):
    dx = np.empty_like(x)
    dscale = np.zeros_like(scale)
    dpos = np.zeros_like(pos)
    for t in range(x.shape[1]):
        dx[:, t] = dout[:, t] * scale
        dscale += np.sum(dout[:, t] * x[:, t], axis=0)
        dpos[t] += dout[:, t].sum(axis=0)
    return dx, dscale, dpos


COURSES = [
    Course("prelu", prelu_forward, prelu_backward, lambda: draw(1, x=(2, 3, 4), alpha=(3,)), (), ("x", "alpha")),
    Course("leaky_relu", leaky_forward, leaky_backward, lambda: draw(2, x=(3, 5)), (), ("x",)),
    Course("elu", elu_forward, elu_backward, lambda: draw(3, x=(4, 5)), (), ("x",)),
    Course(
        "softplus_beta", softplus_forward, softplus_backward, lambda: draw(4, x=(3, 4), beta=(4,)), (), ("x", "beta")
    ),
    Course("swish_beta", swish_forward, swish_backward, lambda: draw(5, x=(5, 3), beta=(3,)), (), ("x", "beta")),
    Course("gelu_tanh", gelu_forward, gelu_backward, lambda: draw(6, x=(3, 4)), (), ("x",)),
    Course("mish", mish, mish_backward, lambda: draw(7, x=(2, 5)), (), ("x",)),
    Course("hard_sigmoid", hard_sigmoid, hard_sigmoid_backward, lambda: {"x": 3 * draw(8, x=(4, 5))["x"]}, (), ("x",)),
    Course(
        "soft_threshold", soft_threshold, soft_threshold_backward, lambda: draw(9, x=(5, 3), lam=(3,)), (), ("x", "lam")
    ),
    Course("softmax_jacobian", softmax_forward, softmax_jacobian_backward, lambda: draw(10, x=(3, 4)), (), ("x",)),
    Course(
        "softmax_temperature",
        temperature_softmax,
        temperature_softmax_backward,
        lambda: {"logits": draw(11, x=(3, 5))["x"], "T": np.array([[0.7], [1.0], [2.5]])},
        (),
        ("logits", "T"),
    ),
    Course("log_softmax", log_softmax_forward, log_softmax_backward, lambda: draw(12, x=(2, 3, 4)), (), ("x",)),
    Course("dropout", dropout_forward, dropout_backward, lambda: draw(13, x=(4, 6)), (), ("x",)),
    Course("crelu_linear", crelu_forward, crelu_backward, lambda: draw(14, x=(5, 3), w=(6, 2)), (), ("x", "w")),
    Course(
        "power_mean",
        power_mean_forward,
        power_mean_backward,
        lambda: {"x": draw(15, x=(5, 3))["x"], "p": np.array([0.5, 1.7, 3.0])},
        (),
        ("x", "p"),
    ),
    Course(
        "positional_scaling",
        positional_scaling,
        positional_scaling_backward,
        lambda: draw(16, x=(2, 3, 4), scale=(4,), pos=(5, 4)),
        (),
        ("x", "scale", "pos"),
    ),
]
