"""Correct forward/backward pairs the way students write them in assignments: the verifier must find nothing in any."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from torch_impl.verify import Model, verify_function, verify_network

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch_impl.verify import Report

CASES: list[tuple[str, Callable[[], Report]]] = []


def case(name: str) -> Callable[[Callable[[], Report]], Callable[[], Report]]:
    """Put the decorated function into CASES under this name."""

    def add(function: Callable[[], Report]) -> Callable[[], Report]:
        CASES.append((name, function))
        return function

    return add


def normal(*shape: int, seed: int = 0) -> Any:
    """Normal numbers; arrays of distinct shapes are independent enough without a seed each."""
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def labels(n: int, n_classes: int) -> Any:
    return np.random.default_rng(n).integers(0, n_classes, n)


# --- affine -----------------------------------------------------------------------------------------------------------


def affine_forward(x, w, b):
    out = x.dot(w) + b
    cache = (x, w, b)
    return out, cache


def affine_backward(dout, cache):
    x, w, _ = cache
    dx = dout.dot(w.T)
    dw = x.T.dot(dout)
    db = np.sum(dout, axis=0)
    return dx, dw, db


@case("affine")
def _():
    return verify_function(affine_forward, affine_backward, x=normal(3, 5), w=normal(5, 7), b=normal(7))


@case("affine, float32")
def _():
    x, w, b = (a.astype(np.float32) for a in (normal(3, 5), normal(5, 7), normal(7)))
    return verify_function(affine_forward, affine_backward, x=x, w=w, b=b)


@case("affine of images, reshaped")
def _():
    def affine_images_forward(x, w, b):
        n = x.shape[0]
        rows = x.reshape(n, -1)
        out = rows @ w + b
        return out, (x, w)

    def affine_images_backward(dout, cache):
        x, w = cache
        dx = (dout @ w.T).reshape(x.shape)
        dw = x.reshape(x.shape[0], -1).T @ dout
        db = dout.sum(axis=0)
        return dx, dw, db

    inputs = {"x": normal(3, 2, 4, 5), "w": normal(40, 7), "b": normal(7)}
    return verify_function(affine_images_forward, affine_images_backward, **inputs)


@case("affine, backward(dout, x, w, b) without a cache")
def _():
    def forward(x, w, b):
        return np.dot(x, w) + b

    def backward(dout, x, w, b):
        return np.dot(dout, w.T), np.dot(x.T, dout), np.ones(len(x)) @ dout

    return verify_function(forward, backward, x=normal(3, 5), w=normal(5, 7), b=normal(7))


@case("affine, backward returns a dict")
def _():
    def forward(X, W, b):
        Z = W @ X + b  # a column is an example
        return Z, {"X": X, "W": W}

    def backward(dZ, cache):
        grads = {}
        grads["dW"] = dZ @ cache["X"].T
        grads["db"] = np.sum(dZ, axis=1, keepdims=True)
        grads["dX"] = cache["W"].T @ dZ
        return grads

    return verify_function(forward, backward, X=normal(5, 3), W=normal(7, 5), b=normal(7, 1))


# --- activations ------------------------------------------------------------------------------------------------------


@case("relu, np.maximum")
def _():
    def relu_forward(x):
        return np.maximum(0, x), x

    def relu_backward(dout, cache):
        dx = np.array(dout, copy=True)
        dx[cache <= 0] = 0
        return dx

    return verify_function(relu_forward, relu_backward, x=normal(5, 7))


@case("relu, x * (x > 0)")
def _():
    def relu_forward(x):
        return x * (x > 0), x

    def relu_backward(dout, x):
        return dout * (x > 0)

    return verify_function(relu_forward, relu_backward, x=normal(5, 7))


@case("relu, a copy with the negatives set to zero")
def _():
    def relu_forward(x):
        mask = x <= 0
        out = x.copy()
        out[mask] = 0
        return out, mask

    def relu_backward(dout, mask):
        dx = dout.copy()
        dx[mask] = 0
        return dx

    return verify_function(relu_forward, relu_backward, x=normal(5, 7))


@case("leaky relu, np.where")
def _():
    def leaky_relu_forward(x, alpha=0.1):
        return np.where(x > 0, x, alpha * x), (x, alpha)

    def leaky_relu_backward(dout, cache):
        x, alpha = cache
        return dout * np.where(x > 0, 1.0, alpha)

    return verify_function(leaky_relu_forward, leaky_relu_backward, x=normal(5, 7))


@case("sigmoid")
def _():
    def sigmoid_forward(x):
        out = 1 / (1 + np.exp(-x))
        return out, out

    def sigmoid_backward(dout, out):
        return dout * out * (1 - out)

    return verify_function(sigmoid_forward, sigmoid_backward, x=normal(5, 7))


@case("sigmoid, each sign by itself")
def _():
    def sigmoid_forward(x):
        s = np.empty_like(x)
        right = x >= 0
        s[right] = 1.0 / (1.0 + np.exp(-x[right]))
        e = np.exp(x[~right])
        s[~right] = e / (1.0 + e)
        return s, s

    def sigmoid_backward(dout, s):
        return (1 - s) * s * dout

    return verify_function(sigmoid_forward, sigmoid_backward, x=normal(5, 7))


@case("tanh")
def _():
    def tanh_forward(x):
        t = np.tanh(x)
        return t, t

    def tanh_backward(dout, t):
        return dout * (1 - t**2)

    return verify_function(tanh_forward, tanh_backward, x=normal(5, 7))


@case("elu")
def _():
    def elu_forward(x, alpha=0.7):
        return np.where(x > 0, x, alpha * (np.exp(x) - 1)), (x, alpha)

    def elu_backward(dout, cache):
        x, alpha = cache
        dx = dout.copy()
        dx[x <= 0] *= alpha * np.exp(x[x <= 0])
        return dx

    return verify_function(elu_forward, elu_backward, x=normal(5, 7))


@case("gelu, tanh")
def _():
    c = np.sqrt(2 / np.pi)

    def gelu_forward(x):
        inner = c * (x + 0.044715 * x**3)
        return 0.5 * x * (1 + np.tanh(inner)), x

    def gelu_backward(dout, x):
        t = np.tanh(c * (x + 0.044715 * x**3))
        dinner = c * (1 + 3 * 0.044715 * x**2)
        return dout * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * dinner)

    return verify_function(gelu_forward, gelu_backward, x=normal(5, 7))


@case("softplus, naive")
def _():
    def softplus_forward(x):
        return np.log(1 + np.exp(x)), x

    def softplus_backward(dout, x):
        return dout / (1 + np.exp(-x))

    return verify_function(softplus_forward, softplus_backward, x=normal(5, 7))


@case("softplus, np.logaddexp")
def _():
    def softplus_forward(x):
        return np.logaddexp(0, x), x

    def softplus_backward(dout, x):
        return dout * (0.5 + 0.5 * np.tanh(0.5 * x))

    return verify_function(softplus_forward, softplus_backward, x=normal(5, 7))


@case("silu")
def _():
    def silu_forward(x):
        s = 1 / (1 + np.exp(-x))
        return x * s, (x, s)

    def silu_backward(dout, cache):
        x, s = cache
        return dout * (s + x * s * (1 - s))

    return verify_function(silu_forward, silu_backward, x=normal(5, 7))


@case("prelu")
def _():
    def prelu_forward(x, a):
        return np.maximum(x, 0) + a * np.minimum(x, 0), (x, a)

    def prelu_backward(dout, cache):
        x, a = cache
        dx = np.where(x > 0, dout, a * dout)
        da = np.sum(dout * np.minimum(x, 0), axis=0)
        return dx, da

    return verify_function(prelu_forward, prelu_backward, x=normal(5, 7), a=np.linspace(0.1, 0.6, 7))


@case("softmax alone")
def _():
    def softmax_forward(x):
        e = np.exp(x - np.max(x, axis=1, keepdims=True))
        p = e / np.sum(e, axis=1, keepdims=True)
        return p, p

    def softmax_backward(dout, p):
        return p * (dout - np.sum(dout * p, axis=1, keepdims=True))

    return verify_function(softmax_forward, softmax_backward, x=normal(5, 7))


@case("softmax alone, a Jacobian for each row")
def _():
    def softmax_forward(x):
        out = np.zeros_like(x)
        for i in range(len(x)):
            e = np.exp(x[i] - x[i].max())
            out[i] = e / e.sum()
        return out, out

    def softmax_backward(dout, out):
        dx = np.empty_like(dout)
        for i, (p, dp) in enumerate(zip(out, dout, strict=True)):
            p = p.reshape(-1, 1)
            jacobian = np.diagflat(p) - p @ p.T
            dx[i] = jacobian @ dp
        return dx

    return verify_function(softmax_forward, softmax_backward, x=normal(5, 7))


# --- losses -----------------------------------------------------------------------------------------------------------


def softmax_loss(x, y):
    n = x.shape[0]
    shifted = x - x.max(axis=1, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    loss = -log_probs[np.arange(n), y].sum() / n
    dx = np.exp(log_probs)
    dx[np.arange(n), y] -= 1
    dx /= n
    return loss, dx


@case("softmax loss, labels")
def _():
    return verify_function(softmax_loss, None, x=normal(5, 7), y=labels(5, 7))


@case("softmax loss, labels, float32")
def _():
    return verify_function(softmax_loss, None, x=normal(5, 7).astype(np.float32), y=labels(5, 7))


@case("softmax loss, one-hot")
def _():
    def softmax_loss_one_hot(scores, targets):
        e = np.exp(scores - scores.max(axis=1, keepdims=True))
        probs = e / e.sum(axis=1, keepdims=True)
        loss = -np.sum(targets * np.log(probs)) / len(scores)
        return loss, (probs - targets) / len(scores)

    return verify_function(softmax_loss_one_hot, None, scores=normal(5, 7), targets=np.eye(7)[labels(5, 7)])


@case("softmax loss, one-hot made inside")
def _():
    def cross_entropy_loss(logits, y):
        n, k = logits.shape
        one_hot = np.zeros((n, k))
        one_hot[range(n), y] = 1
        p = np.exp(logits)
        p = p / p.sum(1)[:, None]
        loss = np.mean(-np.log((p * one_hot).sum(1)))
        return loss, (p - one_hot) / n

    return verify_function(cross_entropy_loss, None, logits=normal(5, 7), y=labels(5, 7))


@case("svm hinge loss")
def _():
    def svm_loss(x, y):
        n = x.shape[0]
        correct = x[np.arange(n), y][:, np.newaxis]
        margins = np.maximum(0, x - correct + 1.0)
        margins[np.arange(n), y] = 0
        loss = np.sum(margins) / n
        dx = (margins > 0).astype(x.dtype)
        dx[np.arange(n), y] -= dx.sum(axis=1)
        return loss, dx / n

    return verify_function(svm_loss, None, x=normal(5, 7), y=labels(5, 7))


@case("svm hinge loss of a linear classifier, two loops, with a penalty")
def _():
    def svm_loss_naive(W, X, y, reg):
        dW = np.zeros_like(W)
        n, loss = X.shape[0], 0.0
        for i in range(n):
            scores = X[i].dot(W)
            for j in range(W.shape[1]):
                margin = scores[j] - scores[y[i]] + 1
                if j != y[i] and margin > 0:
                    loss += margin
                    dW[:, j] += X[i]
                    dW[:, y[i]] -= X[i]
        loss = loss / n + reg * np.sum(W * W)
        return loss, dW / n + 2 * reg * W

    return verify_function(svm_loss_naive, None, W=normal(5, 7), X=normal(3, 5), y=labels(3, 7), reg=0.05)


@case("mse")
def _():
    def mse_loss(pred, target):
        diff = pred - target
        return np.mean(diff**2), 2 * diff / diff.size

    return verify_function(mse_loss, None, pred=normal(5, 7), target=normal(5, 7, seed=1))


@case("bce from probabilities, clipped")
def _():
    def bce_loss(p, y):
        eps = 1e-7
        q = np.clip(p, eps, 1 - eps)
        loss = -np.mean(y * np.log(q) + (1 - y) * np.log(1 - q))
        dq = (q - y) / (q * (1 - q)) / p.size
        dp = dq * ((p > eps) & (p < 1 - eps))
        return loss, dp

    p = np.random.default_rng(1).uniform(0.05, 0.95, (5, 3))
    y = np.random.default_rng(2).integers(0, 2, (5, 3))
    return verify_function(bce_loss, None, p=p, y=y)


@case("bce from probabilities, float targets, in two functions")
def _():
    def bce_forward(p, y):
        p = np.minimum(np.maximum(p, 1e-9), 1 - 1e-9)
        return -np.sum(y * np.log(p) + (1 - y) * np.log(1 - p)) / len(y), (p, y)

    def bce_backward(dout, cache):
        p, y = cache
        inside = (p > 1e-9) & (p < 1 - 1e-9)
        return dout * inside * ((1 - y) / (1 - p) - y / p) / len(y)

    p = np.random.default_rng(1).uniform(0.05, 0.95, 11)
    y = np.random.default_rng(2).integers(0, 2, 11).astype(float)
    return verify_function(bce_forward, bce_backward, p=p, y=y)


@case("bce from logits")
def _():
    def bce_logits(z, y):
        loss = np.mean(np.maximum(z, 0) - z * y + np.log1p(np.exp(-np.abs(z))))
        dz = (1 / (1 + np.exp(-z)) - y) / len(z)
        return loss, dz

    return verify_function(bce_logits, None, z=normal(11), y=labels(11, 2))


@case("huber")
def _():
    def huber_loss(pred, target, delta=0.8):
        r = pred - target
        small = np.abs(r) <= delta
        loss = np.where(small, 0.5 * r**2, delta * (np.abs(r) - 0.5 * delta)).mean()
        return loss, np.where(small, r, delta * np.sign(r)) / r.size

    return verify_function(huber_loss, None, pred=normal(5, 7), target=normal(5, 7, seed=1))


# --- normalisation ----------------------------------------------------------------------------------------------------


@case("batch norm, step by step")
def _():
    def batchnorm_forward(x, gamma, beta, eps=1e-5):
        n = x.shape[0]
        mu = 1.0 / n * np.sum(x, axis=0)
        xc = x - mu
        sq = xc**2
        var = 1.0 / n * np.sum(sq, axis=0)
        std = np.sqrt(var + eps)
        inv = 1.0 / std
        xhat = xc * inv
        out = gamma * xhat + beta
        return out, (xhat, gamma, xc, inv, std, var, eps)

    def batchnorm_backward(dout, cache):
        xhat, gamma, xc, inv, std, var, eps = cache
        n = dout.shape[0]
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * xhat, axis=0)
        dxhat = dout * gamma
        dinv = np.sum(dxhat * xc, axis=0)
        dxc = dxhat * inv
        dstd = -dinv / std**2
        dvar = 0.5 * dstd / np.sqrt(var + eps)
        dsq = np.ones_like(dout) * dvar / n
        dxc += 2 * xc * dsq
        dmu = -np.sum(dxc, axis=0)
        return dxc + np.ones_like(dout) * dmu / n, dgamma, dbeta

    inputs = {"x": 2 * normal(5, 7) + 1, "gamma": 1 + 0.3 * normal(7), "beta": normal(7, seed=1)}
    return verify_function(batchnorm_forward, batchnorm_backward, **inputs)


def compact_batchnorm_forward(x, gamma, beta):
    std = np.sqrt(x.var(axis=0) + 1e-5)
    xhat = (x - x.mean(axis=0)) / std
    return gamma * xhat + beta, (xhat, gamma, std)


def compact_batchnorm_backward(dout, cache):
    xhat, gamma, std = cache
    n = len(dout)
    dgamma = (dout * xhat).sum(axis=0)
    dbeta = dout.sum(axis=0)
    dx = gamma / (n * std) * (n * dout - dbeta - xhat * dgamma)
    return dx, dgamma, dbeta


@case("batch norm, compact")
def _():
    inputs = {"x": 2 * normal(5, 7) + 1, "gamma": 1 + 0.3 * normal(7), "beta": normal(7, seed=1)}
    return verify_function(compact_batchnorm_forward, compact_batchnorm_backward, **inputs)


@case("batch norm, compact, float32")
def _():
    inputs = {"x": 2 * normal(5, 7) + 1, "gamma": 1 + 0.3 * normal(7), "beta": normal(7, seed=1)}
    inputs = {name: a.astype(np.float32) for name, a in inputs.items()}
    return verify_function(compact_batchnorm_forward, compact_batchnorm_backward, **inputs)


def bn_param_forward(x, gamma, beta, bn_param):
    mode = bn_param["mode"]
    eps = bn_param.get("eps", 1e-5)
    momentum = bn_param.get("momentum", 0.9)
    d = x.shape[1]
    running_mean = bn_param.get("running_mean", np.zeros(d, dtype=x.dtype))
    running_var = bn_param.get("running_var", np.zeros(d, dtype=x.dtype))
    if mode == "train":
        mean, var = x.mean(axis=0), x.var(axis=0)
        running_mean = momentum * running_mean + (1 - momentum) * mean
        running_var = momentum * running_var + (1 - momentum) * var
    elif mode == "test":
        mean, var = running_mean, running_var
    else:
        raise ValueError(f"mode is {mode!r}, expected 'train' or 'test'")
    inv = 1 / np.sqrt(var + eps)
    xhat = (x - mean) * inv
    bn_param["running_mean"] = running_mean
    bn_param["running_var"] = running_var
    return gamma * xhat + beta, (xhat, gamma, inv, mode)


def bn_param_backward(dout, cache):
    xhat, gamma, inv, mode = cache
    dbeta, dgamma = dout.sum(axis=0), np.sum(xhat * dout, axis=0)
    dxhat = dout * gamma
    if mode == "test":
        return dxhat * inv, dgamma, dbeta
    dx = inv * (dxhat - dxhat.mean(axis=0) - xhat * np.mean(dxhat * xhat, axis=0))
    return dx, dgamma, dbeta


@case("batch norm, bn_param with running means")
def _():
    inputs = {"x": 2 * normal(5, 7) + 1, "gamma": 1 + 0.3 * normal(7), "beta": normal(7, seed=1)}
    return verify_function(bn_param_forward, bn_param_backward, **inputs, bn_param={"mode": "train"})


@case("batch norm, bn_param, test time")
def _():
    inputs = {"x": 2 * normal(5, 7) + 1, "gamma": 1 + 0.3 * normal(7), "beta": normal(7, seed=1)}
    bn_param = {"mode": "test", "running_mean": normal(7, seed=2), "running_var": 1 + normal(7, seed=3) ** 2}
    return verify_function(bn_param_forward, bn_param_backward, **inputs, bn_param=bn_param)


@case("spatial batch norm, through the plain one")
def _():
    def spatial_forward(x, gamma, beta):
        n, c, h, w = x.shape
        rows = x.transpose(0, 2, 3, 1).reshape(-1, c)
        out, cache = compact_batchnorm_forward(rows, gamma, beta)
        return out.reshape(n, h, w, c).transpose(0, 3, 1, 2), cache

    def spatial_backward(dout, cache):
        n, c, h, w = dout.shape
        rows = dout.transpose(0, 2, 3, 1).reshape(-1, c)
        dx, dgamma, dbeta = compact_batchnorm_backward(rows, cache)
        return dx.reshape(n, h, w, c).transpose(0, 3, 1, 2), dgamma, dbeta

    inputs = {"x": 2 * normal(2, 3, 4, 5) + 1, "gamma": 1 + 0.3 * normal(3), "beta": normal(3, seed=1)}
    return verify_function(spatial_forward, spatial_backward, **inputs)


@case("layer norm")
def _():
    def layernorm_forward(x, gamma, beta):
        mu = np.mean(x, axis=-1, keepdims=True)
        var = np.var(x, axis=-1, keepdims=True)
        inv = (var + 1e-5) ** -0.5
        xhat = (x - mu) * inv
        return xhat * gamma + beta, (xhat, inv, gamma)

    def layernorm_backward(dout, cache):
        xhat, inv, gamma = cache
        d = xhat.shape[-1]
        g = dout * gamma
        sums = g.sum(axis=-1, keepdims=True) + xhat * (g * xhat).sum(axis=-1, keepdims=True)
        dx = inv * (g - sums / d)
        return {"dx": dx, "dgamma": (dout * xhat).sum(axis=0), "dbeta": dout.sum(axis=0)}

    inputs = {"x": 2 * normal(5, 7) + 1, "gamma": 1 + 0.3 * normal(7), "beta": normal(7, seed=1)}
    return verify_function(layernorm_forward, layernorm_backward, **inputs)


@case("group norm")
def _():
    def groupnorm_forward(x, gamma, beta, groups):
        n, c, h, w = x.shape
        grouped = x.reshape(n, groups, -1)
        mean = grouped.mean(axis=2, keepdims=True)
        std = np.sqrt(grouped.var(axis=2, keepdims=True) + 1e-5)
        xhat = ((grouped - mean) / std).reshape(n, c, h, w)
        return gamma * xhat + beta, (xhat, std, gamma, groups)

    def groupnorm_backward(dout, cache):
        xhat, std, gamma, groups = cache
        n = dout.shape[0]
        dgamma = np.sum(dout * xhat, axis=(0, 2, 3), keepdims=True)
        dbeta = np.sum(dout, axis=(0, 2, 3), keepdims=True)
        g, v = (dout * gamma).reshape(n, groups, -1), xhat.reshape(n, groups, -1)
        dx = (g - g.mean(axis=2, keepdims=True) - v * (g * v).mean(axis=2, keepdims=True)) / std
        return dx.reshape(dout.shape), dgamma, dbeta

    inputs = {"x": normal(2, 6, 3, 5), "gamma": 1 + 0.3 * normal(1, 6, 1, 1), "beta": normal(1, 6, 1, 1, seed=1)}
    return verify_function(groupnorm_forward, groupnorm_backward, **inputs, groups=3)


@case("rms norm")
def _():
    def rmsnorm_forward(x, g):
        r = np.sqrt(np.mean(np.square(x), axis=-1, keepdims=True) + 1e-6)
        return x / r * g, (x, g, r)

    def rmsnorm_backward(dout, cache):
        x, g, r = cache
        dn = dout * g
        dx = dn / r - x * np.mean(dn * x, axis=-1, keepdims=True) / r**3
        dg = np.sum(dout * x / r, axis=(0, 1))
        return dx, dg

    return verify_function(rmsnorm_forward, rmsnorm_backward, x=normal(2, 3, 7), g=1 + 0.3 * normal(7))


# --- dropout ----------------------------------------------------------------------------------------------------------


@case("dropout, np.random in forward")
def _():
    def dropout_forward(x, keep):
        mask = (np.random.rand(*x.shape) < keep) / keep  # noqa: NPY002  as students write it
        return x * mask, mask

    def dropout_backward(dout, mask):
        return dout * mask

    return verify_function(dropout_forward, dropout_backward, x=normal(5, 7), keep=0.6)


@case("dropout, dropout_param with a seed")
def _():
    def dropout_forward(x, dropout_param):
        p, mode = dropout_param["p"], dropout_param["mode"]
        if "seed" in dropout_param:
            np.random.seed(dropout_param["seed"])  # noqa: NPY002
        mask = None
        out = x
        if mode == "train":
            mask = np.random.binomial(1, p, size=x.shape) / p  # noqa: NPY002
            out = x * mask
        return out.astype(x.dtype, copy=False), (dropout_param, mask)

    def dropout_backward(dout, cache):
        dropout_param, mask = cache
        return dout * mask if dropout_param["mode"] == "train" else dout

    param = {"p": 0.6, "mode": "train", "seed": 3}
    return verify_function(dropout_forward, dropout_backward, x=normal(5, 7), dropout_param=param)


@case("dropout, the mask is an argument")
def _():
    def dropout_forward(x, mask, p):
        return x * mask / (1 - p), (mask, p)

    def dropout_backward(dout, cache):
        mask, p = cache
        return dout * mask / (1 - p)

    mask = np.random.default_rng(4).random((5, 7)) > 0.4
    return verify_function(dropout_forward, dropout_backward, x=normal(5, 7), mask=mask, p=0.4)


# --- convolution and pooling ------------------------------------------------------------------------------------------


@case("convolution, four loops")
def _():
    def conv_forward_naive(x, w, b, conv_param):
        stride, pad = conv_param["stride"], conv_param["pad"]
        n, _, h, wd = x.shape
        f, _, kh, kw = w.shape
        xp = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)), mode="constant")
        ho, wo = 1 + (h + 2 * pad - kh) // stride, 1 + (wd + 2 * pad - kw) // stride
        out = np.zeros((n, f, ho, wo))
        for i in range(n):
            for k in range(f):
                for r in range(ho):
                    for c in range(wo):
                        window = xp[i, :, r * stride : r * stride + kh, c * stride : c * stride + kw]
                        out[i, k, r, c] = np.sum(window * w[k]) + b[k]
        return out, (x, w, b, conv_param)

    def conv_backward_naive(dout, cache):
        x, w, b, conv_param = cache
        stride, pad = conv_param["stride"], conv_param["pad"]
        kh, kw = w.shape[2:]
        xp = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        dxp, dw, db = np.zeros_like(xp), np.zeros_like(w), np.zeros_like(b)
        for i, k, r, c in np.ndindex(*dout.shape):
            rows, cols = slice(r * stride, r * stride + kh), slice(c * stride, c * stride + kw)
            dw[k] += dout[i, k, r, c] * xp[i, :, rows, cols]
            dxp[i, :, rows, cols] += dout[i, k, r, c] * w[k]
            db[k] += dout[i, k, r, c]
        return dxp[:, :, pad:-pad, pad:-pad], dw, db

    inputs = {"x": normal(2, 3, 4, 5), "w": normal(4, 3, 3, 3), "b": normal(4)}
    return verify_function(conv_forward_naive, conv_backward_naive, **inputs, conv_param={"stride": 2, "pad": 1})


def patch_indices(shape, kh, kw, pad, stride):
    _, c, h, w = shape
    ho, wo = (h + 2 * pad - kh) // stride + 1, (w + 2 * pad - kw) // stride + 1
    i0 = np.tile(np.repeat(np.arange(kh), kw), c)
    j0 = np.tile(np.arange(kw), kh * c)
    i = i0[:, None] + stride * np.repeat(np.arange(ho), wo)
    j = j0[:, None] + stride * np.tile(np.arange(wo), ho)
    k = np.repeat(np.arange(c), kh * kw)[:, None]
    return k, i, j, ho, wo


@case("convolution, im2col")
def _():
    def conv_forward(x, w, b, stride, pad):
        n, f = x.shape[0], w.shape[0]
        k, i, j, ho, wo = patch_indices(x.shape, w.shape[2], w.shape[3], pad, stride)
        xp = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        cols = xp[:, k, i, j].transpose(1, 2, 0).reshape(k.shape[0], -1)  # (patch, place · n)
        out = w.reshape(f, -1) @ cols + b.reshape(-1, 1)
        return out.reshape(f, ho, wo, n).transpose(3, 0, 1, 2), (x.shape, w, cols, stride, pad)

    def conv_backward(dout, cache):
        shape, w, cols, stride, pad = cache
        n, c, h, wd = shape
        f = w.shape[0]
        db = np.sum(dout, axis=(0, 2, 3))
        rows = dout.transpose(1, 2, 3, 0).reshape(f, -1)
        dw = rows.dot(cols.T).reshape(w.shape)
        k, i, j, _, _ = patch_indices(shape, w.shape[2], w.shape[3], pad, stride)
        dcols = (w.reshape(f, -1).T @ rows).reshape(k.shape[0], -1, n).transpose(2, 0, 1)
        dxp = np.zeros((n, c, h + 2 * pad, wd + 2 * pad))
        np.add.at(dxp, (slice(None), k, i, j), dcols)
        return dxp[:, :, pad : pad + h, pad : pad + wd], dw, db

    inputs = {"x": normal(2, 3, 5, 7), "w": normal(4, 3, 3, 3), "b": normal(4)}
    return verify_function(conv_forward, conv_backward, **inputs, stride=2, pad=1)


@case("convolution, sliding windows and einsum")
def _():
    def conv_forward(x, w):
        windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], axis=(2, 3))
        return np.einsum("nchwij,fcij->nfhw", windows, w), (windows, w)

    def conv_backward(dout, cache):
        windows, w = cache
        kh, kw = w.shape[2:]
        dw = np.einsum("nchwij,nfhw->fcij", windows, dout)
        padded = np.pad(dout, ((0, 0), (0, 0), (kh - 1, kh - 1), (kw - 1, kw - 1)))
        around = np.lib.stride_tricks.sliding_window_view(padded, (kh, kw), axis=(2, 3))
        dx = np.einsum("nfhwij,fcij->nchw", around, w[:, :, ::-1, ::-1])
        return dx, dw

    return verify_function(conv_forward, conv_backward, x=normal(2, 3, 5, 7), w=normal(4, 3, 3, 2))


def max_pool_forward(x, pool_param):
    ph, pw, s = pool_param["pool_height"], pool_param["pool_width"], pool_param["stride"]
    n, c, h, w = x.shape
    ho, wo = 1 + (h - ph) // s, 1 + (w - pw) // s
    out = np.zeros((n, c, ho, wo))
    for r in range(ho):
        for k in range(wo):
            out[:, :, r, k] = np.max(x[:, :, r * s : r * s + ph, k * s : k * s + pw], axis=(2, 3))
    return out, (x, pool_param)


POOL = {"pool_height": 2, "pool_width": 3, "stride": 2}


@case("max pooling, loops, the first of equals")
def _():
    def max_pool_backward(dout, cache):
        x, pool_param = cache
        ph, pw, s = pool_param["pool_height"], pool_param["pool_width"], pool_param["stride"]
        dx = np.zeros_like(x)
        for i, c, r, k in np.ndindex(*dout.shape):
            window = x[i, c, r * s : r * s + ph, k * s : k * s + pw]
            a, b = np.unravel_index(np.argmax(window), window.shape)
            dx[i, c, r * s + a, k * s + b] += dout[i, c, r, k]
        return dx

    return verify_function(max_pool_forward, max_pool_backward, x=normal(2, 3, 5, 7), pool_param=POOL)


@case("max pooling, loops, a mask of the window")
def _():
    def max_pool_backward(dout, cache):
        x, pool_param = cache
        ph, pw, s = pool_param["pool_height"], pool_param["pool_width"], pool_param["stride"]
        dx = np.zeros_like(x)
        for i, c, r, k in np.ndindex(*dout.shape):
            rows, cols = slice(r * s, r * s + ph), slice(k * s, k * s + pw)
            window = x[i, c, rows, cols]
            dx[i, c, rows, cols] += (window == window.max()) * dout[i, c, r, k]
        return dx

    return verify_function(max_pool_forward, max_pool_backward, x=normal(2, 3, 5, 7), pool_param=POOL)


@case("max pooling, reshaped, equals share")
def _():
    def pool_forward(x):
        n, c, h, w = x.shape
        blocks = x.reshape(n, c, h // 2, 2, w // 2, 2)
        out = blocks.max(axis=3).max(axis=4)
        return out, (blocks, out)

    def pool_backward(dout, cache):
        blocks, out = cache
        mask = blocks == out[:, :, :, None, :, None]
        d = np.where(mask, dout[:, :, :, None, :, None], 0) / np.sum(mask, axis=(3, 5), keepdims=True)
        n, c, h, _, w, _ = blocks.shape
        return d.reshape(n, c, 2 * h, 2 * w)

    return verify_function(pool_forward, pool_backward, x=normal(2, 3, 4, 6))


@case("global average pooling")
def _():
    def gap_forward(x):
        return x.mean(axis=(2, 3)), x.shape

    def gap_backward(dout, shape):
        n, c, h, w = shape
        return np.broadcast_to(dout.reshape(n, c, 1, 1), shape) / (h * w)

    return verify_function(gap_forward, gap_backward, x=normal(2, 3, 4, 5))


# --- sequences --------------------------------------------------------------------------------------------------------


@case("embedding, repeated indices")
def _():
    def embedding_forward(x, W):
        return W[x], (x, W.shape)

    def embedding_backward(dout, cache):
        x, shape = cache
        dW = np.zeros(shape)
        np.add.at(dW, x, dout)
        return dW

    x = np.array([[0, 3, 3, 1], [5, 3, 0, 2]])  # 4 and 6 never come
    return verify_function(embedding_forward, embedding_backward, x=x, W=normal(7, 5))


def rnn_step_forward(x, prev_h, Wx, Wh, b):
    next_h = np.tanh(x @ Wx + prev_h @ Wh + b)
    return next_h, (x, prev_h, Wx, Wh, next_h)


def rnn_step_backward(dnext_h, cache):
    x, prev_h, Wx, Wh, next_h = cache
    da = dnext_h * (1 - next_h**2)
    return da @ Wx.T, da @ Wh.T, x.T @ da, prev_h.T @ da, da.sum(axis=0)


def rnn_forward(x, h0, Wx, Wh, b):
    n, steps, _ = x.shape
    h = np.zeros((n, steps, h0.shape[1]))
    caches, prev_h = [], h0
    for t in range(steps):
        prev_h, cache = rnn_step_forward(x[:, t, :], prev_h, Wx, Wh, b)
        h[:, t, :] = prev_h
        caches.append(cache)
    return h, caches


def rnn_backward(dh, caches):
    n, steps, hidden = dh.shape
    x, _, Wx, Wh, _ = caches[0]
    dx, dprev = np.zeros((n, steps, x.shape[1])), np.zeros((n, hidden))
    dWx, dWh, db = np.zeros_like(Wx), np.zeros_like(Wh), np.zeros(hidden)
    for t in reversed(range(steps)):
        dx[:, t], dprev, dWx_t, dWh_t, db_t = rnn_step_backward(dh[:, t] + dprev, caches[t])
        dWx += dWx_t
        dWh += dWh_t
        db += db_t
    return dx, dprev, dWx, dWh, db


@case("rnn step")
def _():
    inputs = {"x": normal(3, 4), "prev_h": normal(3, 5), "Wx": normal(4, 5), "Wh": normal(5, 5) / 2, "b": normal(5)}
    return verify_function(rnn_step_forward, rnn_step_backward, **inputs)


@case("rnn over time")
def _():
    inputs = {"x": normal(3, 6, 4), "h0": normal(3, 5), "Wx": normal(4, 5), "Wh": normal(5, 5) / 2, "b": normal(5)}
    return verify_function(rnn_forward, rnn_backward, **inputs)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@case("lstm step, two outputs")
def _():
    def lstm_step_forward(x, prev_h, prev_c, Wx, Wh, b):
        hidden = prev_h.shape[1]
        a = x.dot(Wx) + prev_h.dot(Wh) + b
        i, f = sigmoid(a[:, :hidden]), sigmoid(a[:, hidden : 2 * hidden])
        o, g = sigmoid(a[:, 2 * hidden : 3 * hidden]), np.tanh(a[:, 3 * hidden :])
        next_c = f * prev_c + i * g
        next_h = o * np.tanh(next_c)
        return next_h, next_c, (x, prev_h, prev_c, Wx, Wh, i, f, o, g, next_c)

    def lstm_step_backward(dnext_h, dnext_c, cache):
        x, prev_h, prev_c, Wx, Wh, i, f, o, g, next_c = cache
        t = np.tanh(next_c)
        dc = dnext_c + dnext_h * o * (1 - t**2)
        da = np.hstack(
            [
                dc * g * i * (1 - i),
                dc * prev_c * f * (1 - f),
                dnext_h * t * o * (1 - o),
                dc * i * (1 - g**2),
            ]
        )
        return da.dot(Wx.T), da.dot(Wh.T), dc * f, x.T.dot(da), prev_h.T.dot(da), da.sum(axis=0)

    inputs = {"x": normal(3, 4), "prev_h": normal(3, 5), "prev_c": normal(3, 5, seed=1)}
    inputs |= {"Wx": normal(4, 20) / 2, "Wh": normal(5, 20) / 2, "b": normal(20)}
    return verify_function(lstm_step_forward, lstm_step_backward, **inputs)


@case("gru step, concatenated")
def _():
    def gru_forward(x, h, Wg, Wn):
        z, r = np.split(sigmoid(np.concatenate([x, h], axis=1) @ Wg), 2, axis=1)
        n = np.tanh(np.concatenate((x, r * h), axis=1) @ Wn)
        return z * h + (1 - z) * n, (x, h, Wg, Wn, z, r, n)

    def gru_backward(dout, cache):
        x, h, Wg, Wn, z, r, n = cache
        d = x.shape[1]
        dn = dout * (1 - z) * (1 - n**2)
        dxr = dn @ Wn.T
        dWn = np.hstack((x, r * h)).T @ dn
        dr, dh = dxr[:, d:] * h, dxr[:, d:] * r + dout * z
        dz = dout * (h - n)
        da = np.hstack((dz * z * (1 - z), dr * r * (1 - r)))
        dxh = da @ Wg.T
        dWg = np.hstack((x, h)).T @ da
        return dxr[:, :d] + dxh[:, :d], dh + dxh[:, d:], dWg, dWn

    inputs = {"x": normal(3, 4), "h": normal(3, 5), "Wg": normal(9, 10) / 2, "Wn": normal(9, 5) / 2}
    return verify_function(gru_forward, gru_backward, **inputs)


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


@case("attention, one head")
def _():
    def attention_forward(q, k, v):
        a = softmax(q @ k.T / np.sqrt(q.shape[1]))
        return a @ v, (q, k, v, a)

    def attention_backward(dout, cache):
        q, k, v, a = cache
        dv = a.T @ dout
        da = dout @ v.T
        ds = a * (da - np.sum(da * a, axis=1, keepdims=True)) / np.sqrt(q.shape[1])
        return ds @ k, ds.T @ q, dv

    return verify_function(attention_forward, attention_backward, q=normal(3, 4), k=normal(5, 4), v=normal(5, 7))


@case("attention, heads, causal mask")
def _():
    def split(x, heads):
        n, t, d = x.shape
        return x.reshape(n, t, heads, d // heads).transpose(0, 2, 1, 3)

    def join(x):
        n, heads, t, d = x.shape
        return x.transpose(0, 2, 1, 3).reshape(n, t, heads * d)

    def attention_forward(x, Wq, Wk, Wv, Wo, heads):
        t = x.shape[1]
        q, k, v = split(x @ Wq, heads), split(x @ Wk, heads), split(x @ Wv, heads)
        scores = q @ k.transpose(0, 1, 3, 2) / np.sqrt(q.shape[-1])
        future = np.triu(np.ones((t, t), dtype=bool), k=1)
        a = softmax(np.where(future, -1e9, scores))
        y = join(a @ v)
        return y @ Wo, (x, Wq, Wk, Wv, Wo, q, k, v, a, y)

    def attention_backward(dout, cache):
        x, Wq, Wk, Wv, Wo, q, k, v, a, y = cache
        dWo = np.einsum("nti,ntj->ij", y, dout)
        dy = split(dout @ Wo.T, q.shape[1])
        dv = a.swapaxes(2, 3) @ dy
        da = dy @ v.swapaxes(2, 3)
        ds = a * (da - (da * a).sum(axis=-1, keepdims=True)) / np.sqrt(q.shape[-1])
        dq, dk, dv = join(ds @ k), join(ds.swapaxes(2, 3) @ q), join(dv)
        dx = dq @ Wq.T + dk @ Wk.T + dv @ Wv.T
        dWq, dWk, dWv = (np.tensordot(x, d, axes=([0, 1], [0, 1])) for d in (dq, dk, dv))
        return dx, dWq, dWk, dWv, dWo

    weights = {name: normal(6, 6, seed=i) / 2 for i, name in enumerate(("Wq", "Wk", "Wv", "Wo"))}
    return verify_function(attention_forward, attention_backward, x=normal(2, 5, 6), **weights, heads=3)


@case("attention, -inf set where the mask is")
def _():
    def attention_forward(q, k, v, mask):
        scores = np.einsum("nid,njd->nij", q, k) / q.shape[-1] ** 0.5
        scores[:, mask] = -np.inf
        a = softmax(scores)
        return np.einsum("nij,njd->nid", a, v), (q, k, v, a)

    def attention_backward(dout, cache):
        q, k, v, a = cache
        dv = np.einsum("nij,nid->njd", a, dout)
        da = np.einsum("nid,njd->nij", dout, v)
        ds = (da - np.sum(da * a, axis=-1, keepdims=True)) * a / q.shape[-1] ** 0.5
        return np.matmul(ds, k), np.matmul(np.swapaxes(ds, 1, 2), q), dv

    mask = ~np.tril(np.ones((5, 5), dtype=bool))
    inputs = {"q": normal(2, 5, 3), "k": normal(2, 5, 3, seed=1), "v": normal(2, 5, 4)}
    return verify_function(attention_forward, attention_backward, **inputs, mask=mask)


# --- whole networks ---------------------------------------------------------------------------------------------------


@case("two-layer net, loss and a dict of gradients, L2")
def _():
    def two_layer_loss(X, W1, b1, W2, b2, y, reg):
        n = X.shape[0]
        h = np.maximum(0, X @ W1 + b1)
        scores = h @ W2 + b2
        probs = np.exp(scores - np.max(scores, axis=1, keepdims=True))
        probs /= np.sum(probs, axis=1, keepdims=True)
        loss = np.sum(-np.log(probs[range(n), y])) / n
        loss += 0.5 * reg * (np.sum(W1 * W1) + np.sum(W2**2))
        dscores = probs.copy()
        dscores[range(n), y] -= 1
        dscores /= n
        grads = {"W2": h.T @ dscores + reg * W2, "b2": np.sum(dscores, axis=0)}
        dh = dscores @ W2.T
        dh[h <= 0] = 0
        grads["W1"] = X.T @ dh + reg * W1
        grads["b1"] = np.sum(dh, axis=0)
        return loss, grads

    inputs = {"X": normal(5, 4), "W1": normal(4, 6), "b1": normal(6), "W2": normal(6, 3), "b2": normal(3)}
    return verify_function(two_layer_loss, None, **inputs, y=labels(5, 3), reg=0.1)


class TwoLayerNet:
    """Sigmoid, then a linear layer, and the mean squared error; the gradients are left in self.dW1 …"""

    def __init__(self, n_in, n_hidden, n_out):
        self.W1, self.b1 = normal(n_in, n_hidden), normal(n_hidden)
        self.W2, self.b2 = normal(n_hidden, n_out), normal(n_out)

    def forward(self, x):
        self.x = x
        self.a1 = 1 / (1 + np.exp(-(x @ self.W1 + self.b1)))
        self.out = self.a1 @ self.W2 + self.b2
        return self.out

    def loss(self, x, y):
        return 0.5 * np.sum((self.forward(x) - y) ** 2) / len(x)

    def backward(self, y):
        delta2 = (self.out - y) / len(y)
        self.dW2 = self.a1.T @ delta2
        self.db2 = delta2.sum(axis=0)
        delta1 = (delta2 @ self.W2.T) * self.a1 * (1 - self.a1)
        self.dW1 = self.x.T @ delta1
        self.db1 = delta1.sum(axis=0)


@case("a Model with gradient attributes")
def _():
    model = Model(
        TwoLayerNet(4, 6, 3),
        loss=lambda net, x, y: net.loss(x, y),
        backward=lambda net, x, y: net.backward(y),
        gradients={"W1": "dW1", "b1": "db1", "W2": "dW2", "b2": "db2"},
    )
    return verify_network(model, x=normal(5, 4), y=normal(5, 3))


class SelfTraining:
    """A list of weights and one of biases, columns as examples, and a step that updates them."""

    def __init__(self, sizes):
        self.weights = [normal(n, m) for m, n in itertools.pairwise(sizes)]
        self.biases = [normal(n, 1) for n in sizes[1:]]

    def feedforward(self, a):
        self.activations = [a]
        for W, b in zip(self.weights, self.biases, strict=True):
            a = np.tanh(np.dot(W, a) + b)
            self.activations.append(a)
        return a

    def cost(self, x, y):
        return 0.5 * np.sum((self.feedforward(x.T) - y.T) ** 2)

    def train_step(self, x, y, lr):
        delta = self.feedforward(x.T) - y.T
        for i in reversed(range(len(self.weights))):
            delta = delta * (1 - self.activations[i + 1] ** 2)
            dW, db = np.dot(delta, self.activations[i].T), delta.sum(axis=1, keepdims=True)
            delta = np.dot(self.weights[i].T, delta)  # before the weights change
            self.weights[i] -= lr * dW
            self.biases[i] -= lr * db


@case("a Model that updates itself")
def _():
    model = Model(
        SelfTraining([4, 6, 3]),
        loss=lambda net, x, y: net.cost(x, y),
        backward=lambda net, x, y: net.train_step(x, y, lr=0.1),
        weights=("weights.0", "biases.0", "weights.1", "biases.1"),
        lr=0.1,
    )
    return verify_network(model, x=normal(5, 4), y=normal(5, 3))


class Dense:
    """A layer that keeps its input, its weights and its gradients in dicts."""

    def __init__(self, n_in, n_out):
        self.params = {"W": normal(n_in, n_out), "b": normal(n_out)}
        self.grads = {name: np.zeros_like(value) for name, value in self.params.items()}

    def forward(self, x):
        self.x = x
        return x @ self.params["W"] + self.params["b"]

    def backward(self, dout):
        self.grads["W"] = self.x.T @ dout
        self.grads["b"] = dout.sum(axis=0)
        return dout @ self.params["W"].T


class ReLU:
    """The usual mask."""

    def forward(self, x):
        self.mask = x > 0
        return np.where(self.mask, x, 0.0)

    def backward(self, dout):
        return dout * self.mask


class Sequential:
    """A list of layers under a softmax loss of labels."""

    def __init__(self, *layers):
        self.layers = list(layers)

    def loss(self, x, y):
        for layer in self.layers:
            x = layer.forward(x)
        self.p = softmax(x)
        return -np.mean(np.log(self.p[np.arange(len(y)), y]))

    def backward(self, y):
        d = self.p.copy()
        d[np.arange(len(y)), y] -= 1
        d /= len(y)
        for layer in reversed(self.layers):
            d = layer.backward(d)


@case("a Model of layers with dicts of parameters")
def _():
    model = Model(
        Sequential(Dense(4, 6), ReLU(), Dense(6, 3)),
        loss=lambda net, x, y: net.loss(x, y),
        backward=lambda net, x, y: net.backward(y),
        gradients={f"layers.{i}.params.{n}": f"layers.{i}.grads.{n}" for i in (0, 2) for n in "Wb"},
    )
    return verify_network(model, x=normal(5, 4), y=labels(5, 3))


@case("residual block")
def _():
    def block_forward(x, W1, b1, W2, b2):
        z1 = x @ W1 + b1
        a1 = np.maximum(z1, 0)
        z2 = a1 @ W2 + b2 + x
        return np.maximum(z2, 0), (x, W1, W2, z1, a1, z2)

    def block_backward(dout, cache):
        x, W1, W2, z1, a1, z2 = cache
        dz2 = dout * (z2 > 0)
        da1 = dz2 @ W2.T
        dz1 = da1 * (z1 > 0)
        dx = dz1 @ W1.T + dz2
        return dx, x.T @ dz1, dz1.sum(axis=0), a1.T @ dz2, dz2.sum(axis=0)

    inputs = {"x": normal(3, 5), "W1": normal(5, 7), "b1": normal(7), "W2": normal(7, 5), "b2": normal(5)}
    return verify_function(block_forward, block_backward, **inputs)


# --- single formulas --------------------------------------------------------------------------------------------------


@case("L2-normalise")
def _():
    def normalise_forward(x):
        norm = np.linalg.norm(x, axis=1, keepdims=True)
        u = x / norm
        return u, (u, norm)

    def normalise_backward(dout, cache):
        u, norm = cache
        return (dout - u * np.sum(u * dout, axis=1, keepdims=True)) / norm

    return verify_function(normalise_forward, normalise_backward, x=normal(5, 7))


@case("cosine similarity")
def _():
    def cosine_forward(a, b):
        na, nb = np.sqrt((a * a).sum(axis=1)), np.sqrt((b * b).sum(axis=1))
        cos = (a * b).sum(axis=1) / (na * nb)
        return cos, (a, b, na, nb, cos)

    def cosine_backward(dout, cache):
        a, b, na, nb, cos = cache
        da = b / (na * nb)[:, None] - a * (cos / na**2)[:, None]
        db = a / (na * nb)[:, None] - b * (cos / nb**2)[:, None]
        return dout[:, None] * da, dout[:, None] * db

    return verify_function(cosine_forward, cosine_backward, a=normal(5, 7), b=normal(5, 7, seed=1))


@case("logsumexp")
def _():
    def logsumexp_forward(x):
        m = np.max(x, axis=1)
        out = m + np.log(np.exp(x - m[:, None]).sum(axis=1))
        return out, (x, out)

    def logsumexp_backward(dout, cache):
        x, out = cache
        return dout[:, None] * np.exp(x - out[:, None])

    return verify_function(logsumexp_forward, logsumexp_backward, x=normal(5, 7))


@case("quadratic form")
def _():
    def quadratic_forward(x, A):
        return np.sum((x @ A) * x, axis=1)

    def quadratic_backward(dout, x, A):
        dx = dout[:, None] * (x @ (A + A.T))
        dA = (x * dout[:, None]).T @ x
        return dx, dA

    return verify_function(quadratic_forward, quadratic_backward, x=normal(3, 5), A=normal(5, 5))


@case("bilinear form")
def _():
    def bilinear_forward(x, y, A):
        return np.einsum("ni,kij,nj->nk", x, A, y), (x, y, A)

    def bilinear_backward(dout, cache):
        x, y, A = cache
        dx = np.einsum("nk,kij,nj->ni", dout, A, y)
        dy = np.einsum("nk,kij,ni->nj", dout, A, x)
        dA = np.einsum("nk,ni,nj->kij", dout, x, y)
        return dx, dy, dA

    return verify_function(bilinear_forward, bilinear_backward, x=normal(3, 5), y=normal(3, 4), A=normal(2, 5, 4))


@case("logistic regression of one vector of weights, a scalar bias")
def _():
    def propagate(w, b, X, Y):
        m = X.shape[1]
        A = 1 / (1 + np.exp(-(np.dot(w.T, X) + b)))
        cost = -1 / m * np.sum(Y * np.log(A) + (1 - Y) * np.log(1 - A))
        dw = 1 / m * np.dot(X, (A - Y).T)
        db = 1 / m * np.sum(A - Y)
        return np.squeeze(cost), {"dw": dw, "db": db}

    return verify_function(propagate, None, w=normal(5, 1), b=np.array(0.3), X=normal(5, 7), Y=labels(7, 2)[None])
