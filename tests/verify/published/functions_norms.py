"""Dropout and normalisations as functions."""
# Names, randomness and returns are as their authors would have them.
# ruff: noqa: N802, NPY002, RUF059, SIM300

import numpy as np

from .cases import functions

r = np.random.RandomState(4)


def dropout_forward(x, dropout_param):
    keep, mode = dropout_param["p"], dropout_param["mode"]
    if "seed" in dropout_param:
        np.random.seed(dropout_param["seed"])
    mask = None
    if mode == "train":
        mask = (np.random.rand(*x.shape) < keep) / keep
        out = x * mask
    elif mode == "test":
        out = x
    return out.astype(x.dtype, copy=False), (dropout_param, mask)


def dropout_backward(dout, cache):
    dropout_param, mask = cache
    if dropout_param["mode"] == "train":
        return dout * mask
    return dout


for param in ({"mode": "train", "p": 0.5, "seed": 123}, {"mode": "train", "p": 0.7}, {"mode": "test", "p": 0.5}):
    functions(
        f"dropout of a dict of parameters: {param}",
        dropout_forward,
        dropout_backward,
        {"x": r.randn(4, 6), "dropout_param": param},
    )


def inverted_dropout(A, keep_prob, seed):
    np.random.seed(seed)
    D = np.random.rand(A.shape[0], A.shape[1])
    D = (D < keep_prob).astype(int)
    A = A * D
    A = A / keep_prob
    return A, D


def inverted_dropout_backward(dA, D, keep_prob):
    dA = dA * D
    dA /= keep_prob
    return dA


functions(
    "inverted dropout, a mask of ints, an argument called seed",
    inverted_dropout,
    inverted_dropout_backward,
    {"A": r.randn(5, 4), "keep_prob": 0.8, "seed": 1},
)


def dropout_binomial(x, rate, rng):
    mask = rng.binomial(1, 1 - rate, size=x.shape) / (1 - rate)
    return x * mask, mask


def dropout_binomial_backward(grad, mask):
    return grad * mask


functions(
    "dropout with a generator as its argument",
    dropout_binomial,
    dropout_binomial_backward,
    {"x": r.randn(3, 5), "rate": 0.25, "rng": np.random.default_rng(7)},
)


def Dropout(x, dropout_ratio=0.5, train_flg=True):
    if train_flg:
        mask = np.random.rand(*x.shape) > dropout_ratio
        return x * mask, mask
    return x * (1.0 - dropout_ratio), None


functions(
    "dropout with a mask of bools, unseeded, ratio by default",
    Dropout,
    lambda dout, mask: dout * mask,
    {"x": r.randn(4, 4)},
)


def batchnorm_forward(x, gamma, beta, bn_param):
    mode = bn_param["mode"]
    eps = bn_param.get("eps", 1e-5)
    momentum = bn_param.get("momentum", 0.9)
    running_mean = bn_param.get("running_mean", np.zeros(x.shape[1], dtype=x.dtype))
    running_var = bn_param.get("running_var", np.zeros(x.shape[1], dtype=x.dtype))
    cache = None
    if mode == "train":
        mean = x.sum(axis=0) / len(x)
        centered = x - mean
        var = np.mean(centered**2, axis=0)
        inv_std = 1.0 / np.sqrt(var + eps)
        x_norm = centered * inv_std
        out = x_norm * gamma + beta
        cache = {"x_norm": x_norm, "centered": centered, "inv_std": inv_std, "gamma": gamma}
        bn_param["running_mean"] = momentum * running_mean + (1 - momentum) * mean
        bn_param["running_var"] = momentum * running_var + (1 - momentum) * var
    elif mode == "test":
        out = gamma * (x - running_mean) / np.sqrt(running_var + eps) + beta
    else:
        raise ValueError("unknown mode %s" % mode)  # noqa: UP031
    return out, cache


def batchnorm_backward(dout, cache):
    x_norm, centered, inv_std, gamma = (cache[k] for k in ("x_norm", "centered", "inv_std", "gamma"))
    m, n = dout.shape
    # out = gamma * x_norm + beta
    dbeta = dout.sum(axis=0)
    dgamma = (x_norm * dout).sum(axis=0)
    dx_norm = gamma * dout
    # x_norm = centered * inv_std
    dcentered = inv_std * dx_norm
    dinv_std = (centered * dx_norm).sum(axis=0)
    # inv_std = (var + eps) ** -0.5
    dvar = -0.5 * inv_std**3 * dinv_std
    # var = mean(centered ** 2)
    dsquares = np.ones((m, n)) * dvar / m
    dcentered += 2 * centered * dsquares
    # centered = x - mean
    dmean = -dcentered.sum(axis=0)
    dx = dcentered + np.ones((m, n)) * dmean / m
    return dx, dgamma, dbeta


def batchnorm_backward_alt(dout, cache):
    x_norm, scale = cache["x_norm"], cache["gamma"] * cache["inv_std"]
    dbeta = np.sum(dout, axis=0)
    dgamma = np.sum(dout * x_norm, axis=0)
    dx = scale * (dout - (dbeta + x_norm * dgamma) / len(dout))
    return dx, dgamma, dbeta


for how, bn_backward in (("long", batchnorm_backward), ("short", batchnorm_backward_alt)):
    functions(
        f"batch norm with a dict of running averages, backward {how}",
        batchnorm_forward,
        bn_backward,
        {"x": r.randn(6, 4), "gamma": r.rand(4) + 0.5, "beta": r.randn(4), "bn_param": {"mode": "train"}},
    )


def spatial_batchnorm_forward(x, gamma, beta, bn_param):
    N, C, H, W = x.shape
    x_new = x.transpose(0, 2, 3, 1).reshape(N * H * W, C)
    out, cache = batchnorm_forward(x_new, gamma, beta, bn_param)
    out = out.reshape(N, H, W, C).transpose(0, 3, 1, 2)
    return out, cache


def spatial_batchnorm_backward(dout, cache):
    N, C, H, W = dout.shape
    dout_new = dout.transpose(0, 2, 3, 1).reshape(N * H * W, C)
    dx, dgamma, dbeta = batchnorm_backward_alt(dout_new, cache)
    dx = dx.reshape(N, H, W, C).transpose(0, 3, 1, 2)
    return dx, dgamma, dbeta


functions(
    "spatial batch norm over the one of two dimensions",
    spatial_batchnorm_forward,
    spatial_batchnorm_backward,
    {
        "x": r.randn(2, 3, 4, 4),
        "gamma": r.rand(3) + 0.5,
        "beta": r.randn(3),
        "bn_param": {"mode": "train", "running_mean": np.zeros(3), "running_var": np.ones(3)},
    },
)


def batch_norm_columns(Z, gamma, beta, epsilon=1e-8):
    mu = np.mean(Z, axis=1, keepdims=True)
    var = np.var(Z, axis=1, keepdims=True)
    Z_norm = (Z - mu) / np.sqrt(var + epsilon)
    return gamma * Z_norm + beta, {"Z_norm": Z_norm, "std": np.sqrt(var + epsilon), "gamma": gamma}


def batch_norm_columns_backward(dZ_tilde, cache):
    m = dZ_tilde.shape[1]
    Z_norm, std, gamma = cache["Z_norm"], cache["std"], cache["gamma"]
    dgamma = np.sum(dZ_tilde * Z_norm, axis=1, keepdims=True)
    dbeta = np.sum(dZ_tilde, axis=1, keepdims=True)
    dZ_norm = dZ_tilde * gamma
    dZ = (
        dZ_norm
        - np.sum(dZ_norm, axis=1, keepdims=True) / m
        - Z_norm * np.sum(dZ_norm * Z_norm, axis=1, keepdims=True) / m
    ) / std
    return {"dZ": dZ, "dgamma": dgamma, "dbeta": dbeta}


functions(
    "batch norm, samples as columns, gradients in a dict",
    batch_norm_columns,
    batch_norm_columns_backward,
    {"Z": r.randn(3, 6), "gamma": np.ones((3, 1)), "beta": np.zeros((3, 1))},
)


def batchnorm_eval(x, gamma, beta, running_mean, running_var, eps=1e-5):
    std = np.sqrt(running_var + eps)
    xhat = (x - running_mean) / std
    return gamma * xhat + beta, (xhat, gamma, std)


def batchnorm_eval_backward(dout, cache):
    xhat, gamma, std = cache
    return dout * gamma / std, (dout * xhat).sum(axis=0), dout.sum(axis=0)


functions(
    "batch norm with fixed averages",
    batchnorm_eval,
    batchnorm_eval_backward,
    {
        "x": r.randn(5, 3),
        "gamma": r.rand(3) + 0.5,
        "beta": r.randn(3),
        "running_mean": r.randn(3),
        "running_var": r.rand(3) + 0.5,
    },
)


def layernorm_forward(x, gamma, beta, ln_param):
    eps = ln_param.get("eps", 1e-5)
    mu = x.mean(axis=1).reshape(-1, 1)
    var = x.var(axis=1).reshape(-1, 1)
    std = np.sqrt(var + eps)
    x_hat = (x - mu) / std
    out = gamma * x_hat + beta
    return out, {"x_hat": x_hat, "gamma": gamma, "std": std}


def layernorm_backward(dout, cache):
    x_hat, gamma, std = cache["x_hat"], cache["gamma"], cache["std"]
    D = dout.shape[1]
    dgamma = np.sum(dout * x_hat, axis=0)
    dbeta = np.sum(dout, axis=0)
    dx_hat = dout * gamma
    s1 = dx_hat.sum(axis=1, keepdims=True)
    s2 = (dx_hat * x_hat).sum(axis=1, keepdims=True)
    dx = (D * dx_hat - s1 - x_hat * s2) / (D * std)
    return dx, dgamma, dbeta


functions(
    "layer norm of rows, a dict of options that is empty",
    layernorm_forward,
    layernorm_backward,
    {"x": r.randn(4, 6), "gamma": r.rand(6) + 0.5, "beta": r.randn(6), "ln_param": {}},
)


def layer_norm_bt(inp, weight, bias):
    B, T, C = inp.shape
    mean = inp.sum(-1, keepdims=True) / C
    xshift = inp - mean
    rstd = (np.square(xshift).sum(-1, keepdims=True) / C + 1e-5) ** -0.5
    return xshift * rstd * weight + bias, (inp, weight, mean, rstd)


def layer_norm_bt_backward(dout, cache):
    x, w, mean, rstd = cache
    norm = (x - mean) * rstd
    db = dout.sum((0, 1))
    dw = (dout * norm).sum((0, 1))
    dnorm = dout * w
    dx = dnorm - dnorm.mean(-1, keepdims=True) - norm * (dnorm * norm).mean(-1, keepdims=True)
    dx *= rstd
    return dx, dw, db


functions(
    "layer norm of (B, T, C) in float32",
    layer_norm_bt,
    layer_norm_bt_backward,
    {
        "inp": r.randn(2, 3, 5).astype(np.float32),
        "weight": r.randn(5).astype(np.float32),
        "bias": r.randn(5).astype(np.float32),
    },
)


def rms_norm(x, g, eps=1e-6):
    rms = np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + eps)
    return x / rms * g, (x, g, rms)


def rms_norm_backward(dy, cache):
    x, g, rms = cache
    dg = np.sum(dy * x / rms, axis=tuple(range(x.ndim - 1)))
    dxg = dy * g
    dx = dxg / rms - x * np.mean(dxg * x, axis=-1, keepdims=True) / rms**3
    return dx, dg


functions("root mean square norm", rms_norm, rms_norm_backward, {"x": r.randn(2, 3, 4), "g": r.randn(4)})


def spatial_groupnorm_forward(x, gamma, beta, G, gn_param):
    eps = gn_param.get("eps", 1e-5)
    N, C, H, W = x.shape
    xg = x.reshape(N, G, C // G, H, W)
    mean = xg.mean(axis=(2, 3, 4), keepdims=True)
    var = xg.var(axis=(2, 3, 4), keepdims=True)
    xhat = ((xg - mean) / np.sqrt(var + eps)).reshape(x.shape)
    out = gamma * xhat + beta
    return out, (G, xhat, gamma, var, eps)


def spatial_groupnorm_backward(dout, cache):
    G, xhat, gamma, var, eps = cache
    N, C, H, W = dout.shape
    dbeta = np.sum(dout, axis=(0, 2, 3), keepdims=True)
    dgamma = np.sum(dout * xhat, axis=(0, 2, 3), keepdims=True)
    dxhat = (dout * gamma).reshape(N, G, C // G, H, W)
    xh = xhat.reshape(N, G, C // G, H, W)
    M = C // G * H * W
    dx = dxhat - dxhat.sum((2, 3, 4), keepdims=True) / M - xh * (dxhat * xh).sum((2, 3, 4), keepdims=True) / M
    dx = dx / np.sqrt(var + eps)
    return dx.reshape(N, C, H, W), dgamma, dbeta


functions(
    "spatial group norm, gamma (1, C, 1, 1)",
    spatial_groupnorm_forward,
    spatial_groupnorm_backward,
    {"x": r.randn(2, 4, 3, 3), "gamma": r.randn(1, 4, 1, 1), "beta": r.randn(1, 4, 1, 1), "G": 2, "gn_param": {}},
)


def instance_norm(x, gamma, beta):
    m = np.mean(x, axis=(2, 3), keepdims=True)
    s = np.sqrt(np.var(x, axis=(2, 3), keepdims=True) + 1e-5)
    z = (x - m) / s
    return z * gamma[None, :, None, None] + beta.reshape(1, -1, 1, 1), [z, s, gamma]


def instance_norm_backward(dy, cache):
    gamma = cache.pop()
    s = cache.pop()
    z = cache.pop()
    dbeta = np.einsum("nchw->c", dy)
    dgamma = np.einsum("nchw,nchw->c", dy, z)
    dz = dy * gamma[None, :, None, None]
    dx = (dz - dz.mean((2, 3), keepdims=True) - z * (dz * z).mean((2, 3), keepdims=True)) / s
    return [dx, dgamma, dbeta]


functions(
    "instance norm, list cache popped, gradients in a list",
    instance_norm,
    instance_norm_backward,
    {"x": r.randn(2, 3, 4, 4), "gamma": r.randn(3), "beta": r.randn(3)},
)


def l2_normalize(x, eps=1e-12):
    norm = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.maximum(norm, eps)


def l2_normalize_backward(dy, x):
    n = np.linalg.norm(x, axis=1, keepdims=True)
    y = x / n
    return (dy - y * np.sum(dy * y, axis=1, keepdims=True)) / n


functions("l2 normalisation of rows", l2_normalize, l2_normalize_backward, {"x": r.randn(4, 5)})


def weight_norm_linear(x, v, g, b):
    norms = np.sqrt((v**2).sum(axis=0))
    w = g * v / norms
    return x @ w + b, (x, v, g, norms, w)


def weight_norm_linear_backward(dout, cache):
    x, v, g, norms, w = cache
    dx = dout @ w.T
    dw = x.T @ dout
    db = dout.sum(axis=0)
    dg = (dw * v / norms).sum(axis=0)
    dv = g / norms * dw - g * dg / norms**2 * v
    return dx, dv, dg, db


functions(
    "affine with weight norm",
    weight_norm_linear,
    weight_norm_linear_backward,
    {"x": r.randn(5, 4), "v": r.randn(4, 3), "g": r.rand(3) + 0.5, "b": r.randn(3)},
)


def standardize(X):
    return (X - X.mean(axis=0)) / X.std(axis=0)


def standardize_backward(dY, X):
    N = len(X)
    Y = standardize(X)
    out = np.zeros_like(X)
    for j in range(X.shape[1]):
        J = (np.eye(N) - 1 / N - np.outer(Y[:, j], Y[:, j]) / N) / X[:, j].std()
        out[:, j] = J @ dY[:, j]
    return out


functions("standardised columns by a Jacobian each", standardize, standardize_backward, {"X": r.randn(6, 3)})
