"""Normalisations of batches, features, groups and vectors."""

import numpy as np

from tests.verify.courses.course import Course, draw


def batchnorm_graph_forward(x, gamma, beta, eps=1e-5):
    """Batch normalisation in nine small steps, so that each is easy to go back through."""
    N, _ = x.shape
    mu = 1.0 / N * np.sum(x, axis=0)
    xmu = x - mu
    sq = xmu**2
    var = 1.0 / N * np.sum(sq, axis=0)
    sqrtvar = np.sqrt(var + eps)
    ivar = 1.0 / sqrtvar
    xhat = xmu * ivar
    gammax = gamma * xhat
    out = gammax + beta
    cache = (xhat, gamma, xmu, ivar, sqrtvar, var, eps)
    return out, cache


def batchnorm_graph_backward(dout, cache):
    xhat, gamma, xmu, ivar, sqrtvar, var, eps = cache
    N, D = dout.shape

    # step 9
    dbeta = np.sum(dout, axis=0)
    dgammax = dout
    # step 8
    dgamma = np.sum(dgammax * xhat, axis=0)
    dxhat = dgammax * gamma
    # step 7
    divar = np.sum(dxhat * xmu, axis=0)
    dxmu1 = dxhat * ivar
    # step 6
    dsqrtvar = -1.0 / (sqrtvar**2) * divar
    # step 5
    dvar = 0.5 * 1.0 / np.sqrt(var + eps) * dsqrtvar
    # step 4
    dsq = 1.0 / N * np.ones((N, D)) * dvar
    # step 3
    dxmu2 = 2 * xmu * dsq
    # step 2
    dx1 = dxmu1 + dxmu2
    dmu = -1 * np.sum(dxmu1 + dxmu2, axis=0)
    # step 1
    dx2 = 1.0 / N * np.ones((N, D)) * dmu
    # step 0
    dx = dx1 + dx2
    return dx, dgamma, dbeta


def batchnorm_forward(x, gamma, beta):
    mean = x.mean(axis=0)
    std = np.sqrt(x.var(axis=0) + 1e-5)
    x_norm = (x - mean) / std
    return gamma * x_norm + beta, {"x_norm": x_norm, "std": std, "gamma": gamma}


def batchnorm_short_backward(dout, cache):
    x_norm, std, gamma = cache["x_norm"], cache["std"], cache["gamma"]
    m = dout.shape[0]
    dbeta = dout.sum(axis=0)
    dgamma = (dout * x_norm).sum(axis=0)
    dx = gamma / (m * std) * (m * dout - dbeta - x_norm * dgamma)
    return dx, dgamma, dbeta


def spatial_batchnorm_forward(x, gamma, beta):
    N, C, L = x.shape
    flat = x.transpose(0, 2, 1).reshape(-1, C)
    out, cache = batchnorm_forward(flat, gamma, beta)
    return out.reshape(N, L, C).transpose(0, 2, 1), cache


def spatial_batchnorm_backward(dout, cache):
    N, C, L = dout.shape
    dflat = dout.transpose(0, 2, 1).reshape(-1, C)
    dx, dgamma, dbeta = batchnorm_short_backward(dflat, cache)
    dx = dx.reshape(N, L, C).transpose(0, 2, 1)
    return dx, dgamma, dbeta


def batchnorm_eval(x, gamma, beta, running_mean, running_logvar):
    """At test time the statistics are constants of the layer."""
    return gamma * (x - running_mean) * np.exp(-0.5 * running_logvar) + beta


def batchnorm_eval_backward(dout, x, gamma, running_mean, running_logvar):
    inv_std = np.exp(-0.5 * running_logvar)
    centered = x - running_mean
    dgamma = np.sum(dout * centered * inv_std, axis=0)
    dbeta = np.sum(dout, axis=0)
    dx = dout * gamma * inv_std
    return dx, dgamma, dbeta


def layernorm_forward(x, gamma, beta, eps=1e-5):
    mu = np.mean(x, axis=1, keepdims=True)
    var = np.mean((x - mu) ** 2, axis=1, keepdims=True)
    xc = x - mu
    std = np.sqrt(var + eps)
    xn = xc / std
    return gamma * xn + beta, (xc, std, xn, gamma)


def layernorm_backward(dout, cache):
    xc, std, xn, gamma = cache
    D = xc.shape[1]
    dbeta = dout.sum(axis=0)
    dgamma = np.sum(xn * dout, axis=0)
    dxn = gamma * dout
    dxc = dxn / std
    dstd = -np.sum((dxn * xc) / (std * std), axis=1, keepdims=True)
    dvar = 0.5 * dstd / std
    dxc += (2.0 / D) * xc * dvar
    dmu = np.sum(dxc, axis=1, keepdims=True)
    dx = dxc - dmu / D
    return dx, dgamma, dbeta


def layernorm_3d_forward(x, w, b):
    """x (B, T, C), as in a transformer."""
    mean = x.mean(-1, keepdims=True)
    rstd = (x.var(-1, keepdims=True) + 1e-5) ** -0.5
    norm = (x - mean) * rstd
    return norm * w + b, (norm, rstd, w)


def layernorm_3d_backward(dout, cache):
    norm, rstd, w = cache
    db = dout.sum((0, 1))
    dw = (dout * norm).sum((0, 1))
    dnorm = dout * w
    dx = dnorm - dnorm.mean(-1, keepdims=True) - norm * (dnorm * norm).mean(-1, keepdims=True)
    dx *= rstd
    return {"dx": dx, "dw": dw, "db": db}


def groupnorm_forward(x, gamma, beta, G=2, eps=1e-5):
    """x (N, C, L), gamma and beta (1, C, 1)."""
    N, C, L = x.shape
    xg = x.reshape(N, G, C // G, L)
    mean = xg.mean(axis=(2, 3), keepdims=True)
    var = xg.var(axis=(2, 3), keepdims=True)
    istd = 1 / np.sqrt(var + eps)
    xhat = ((xg - mean) * istd).reshape(N, C, L)
    return gamma * xhat + beta, (G, xhat, istd, gamma)


def groupnorm_backward(dout, cache):
    G, xhat, istd, gamma = cache
    N, C, L = dout.shape
    M = (C // G) * L
    dbeta = np.sum(dout, axis=(0, 2), keepdims=True)
    dgamma = np.sum(dout * xhat, axis=(0, 2), keepdims=True)
    dxhat = (dout * gamma).reshape(N, G, C // G, L)
    xh = xhat.reshape(N, G, C // G, L)
    s1 = dxhat.sum(axis=(2, 3), keepdims=True)
    s2 = (dxhat * xh).sum(axis=(2, 3), keepdims=True)
    dxg = istd / M * (M * dxhat - s1 - xh * s2)
    dx = dxg.reshape(N, C, L)
    return dx, dgamma, dbeta


def instance_norm_forward(x):
    mu = x.mean(axis=2, keepdims=True)
    sigma = np.sqrt(x.var(axis=2, keepdims=True) + 1e-3)
    return (x - mu) / sigma, (x, mu, sigma)


def instance_norm_backward(dout, cache):
    x, mu, sigma = cache
    N, C, L = x.shape
    dx = np.zeros_like(x)
    for n in range(N):
        for c in range(C):
            xc = x[n, c] - mu[n, c]
            s = sigma[n, c]
            dvar = np.sum(dout[n, c] * xc) * -0.5 * s**-3
            dmean = -np.sum(dout[n, c]) / s
            dx[n, c] = dout[n, c] / s + dvar * 2 * xc / L + dmean / L
    return dx


def rmsnorm_forward(x, g, eps=1e-6):
    ms = (x * x).mean(axis=-1, keepdims=True)
    r = 1.0 / np.sqrt(ms + eps)
    return x * r * g, (x, g, r)


def rmsnorm_backward(dy, cache):
    x, g, r = cache
    n = x.shape[-1]
    dg = np.sum(dy * x * r, axis=0)
    dxr = dy * g
    dr = np.sum(dxr * x, axis=-1, keepdims=True)
    dms = -0.5 * dr * r**3
    dx = dxr * r
    dx += dms * 2 * x / n
    return dx, dg


def unit_length(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def unit_length_backward(dy, x):
    norm = np.linalg.norm(x, axis=1, keepdims=True)
    y = x / norm
    radial = np.sum(dy * y, axis=1, keepdims=True)
    return (dy - y * radial) / norm


def weight_norm_forward(x, v, g, b):
    """Columns of v give directions and g their lengths."""
    norm = np.sqrt((v**2).sum(axis=0))
    w = v * (g / norm)
    return x @ w + b, (x, v, g, norm, w)


def weight_norm_backward(dout, cache):
    x, v, g, norm, w = cache
    dx = dout @ w.T
    dw = x.T @ dout
    db = dout.sum(axis=0)
    dg = np.sum(dw * v, axis=0) / norm
    dv = dw * (g / norm)
    dv -= v * (g * dg / norm**2)
    return dx, dv, dg, db


def local_response_forward(x, k=2.0, n=3, alpha=0.3, beta=0.75):
    """Each channel of x (N, C, L) is damped by its neighbours."""
    C = x.shape[1]
    half = n // 2
    scale = np.full_like(x, k)
    for c in range(C):
        lo, hi = max(0, c - half), min(C, c + half + 1)
        scale[:, c] += alpha * np.sum(x[:, lo:hi] ** 2, axis=1)
    return x * scale**-beta, (x, scale, half, alpha, beta)


def local_response_backward(dout, cache):
    x, scale, half, alpha, beta = cache
    C = x.shape[1]
    dx = dout * scale**-beta
    dscale = -beta * dout * x * scale ** (-beta - 1)
    for c in range(C):
        lo = max(0, c - half)
        hi = min(C, c + half + 1)
        for j in range(lo, hi):
            dx[:, j] += dscale[:, c] * 2 * alpha * x[:, j]
    return dx


NAMES = ("x", "gamma", "beta")

COURSES = [
    Course(
        "batchnorm_graph",
        batchnorm_graph_forward,
        batchnorm_graph_backward,
        lambda: draw(1, x=(5, 3), gamma=(3,), beta=(3,)),
        (),
        NAMES,
    ),
    Course(
        "batchnorm_short",
        batchnorm_forward,
        batchnorm_short_backward,
        lambda: draw(2, x=(6, 4), gamma=(4,), beta=(4,)),
        (),
        NAMES,
    ),
    Course(
        "batchnorm_spatial",
        spatial_batchnorm_forward,
        spatial_batchnorm_backward,
        lambda: draw(3, x=(4, 3, 2), gamma=(3,), beta=(3,)),
        (batchnorm_short_backward,),
        NAMES,
    ),
    Course(
        "batchnorm_eval",
        batchnorm_eval,
        batchnorm_eval_backward,
        lambda: draw(4, x=(5, 3), gamma=(3,), beta=(3,), running_mean=(3,), running_logvar=(3,)),
        (),
        NAMES,
    ),
    Course(
        "layernorm", layernorm_forward, layernorm_backward, lambda: draw(5, x=(3, 5), gamma=(5,), beta=(5,)), (), NAMES
    ),
    Course(
        "layernorm_3d",
        layernorm_3d_forward,
        layernorm_3d_backward,
        lambda: draw(6, x=(2, 3, 4), w=(4,), b=(4,)),
        (),
        {"dx": "x", "dw": "w", "db": "b"},
    ),
    Course(
        "groupnorm",
        groupnorm_forward,
        groupnorm_backward,
        lambda: draw(7, x=(3, 4, 5), gamma=(1, 4, 1), beta=(1, 4, 1)),
        (),
        NAMES,
    ),
    Course("instance_norm", instance_norm_forward, instance_norm_backward, lambda: draw(8, x=(2, 3, 5)), (), ("x",)),
    Course("rmsnorm", rmsnorm_forward, rmsnorm_backward, lambda: draw(9, x=(3, 4), g=(4,)), (), ("x", "g")),
    Course("unit_length", unit_length, unit_length_backward, lambda: draw(10, x=(4, 3)), (), ("x",)),
    Course(
        "weight_norm",
        weight_norm_forward,
        weight_norm_backward,
        lambda: draw(11, x=(5, 4), v=(4, 3), g=(3,), b=(3,)),
        (),
        ("x", "v", "g", "b"),
    ),
    Course(
        "local_response", local_response_forward, local_response_backward, lambda: draw(12, x=(2, 5, 3)), (), ("x",)
    ),
]
