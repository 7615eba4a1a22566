"""Mistakes in losses, penalties, dropout, normalisation, state and optimizers, each planted in several places."""

# ruff: noqa: NPY002  course code draws from np.random

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

import scratch
from scratch import SGD, Adam, AdamW, CrossEntropy, Dropout, Linear, ReLU, RMSprop, Tanh
from scratch.layers import dropout_mask
from tests.verify.planting import plant
from torch_impl.counterparts import module
from torch_impl.verify import Model, verify_function, verify_layer, verify_loss, verify_network, verify_optimizer


def normal(*shape, seed=0, scale=1.0, dtype="float64"):
    return (scale * np.random.default_rng(10 + seed).standard_normal(shape)).astype(dtype)


def classes(n, k):
    return np.random.default_rng(1).integers(0, k, n)


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


# --- a network of two layers that holds its weights -------------------------------------------------------------------


class Net:
    """x (batch, 5) → tanh → (batch, 3) → softmax cross-entropy, the gradients in dW1, db1, dW2, db2."""

    def __init__(self, dtype="float64"):
        self.W1, self.b1 = normal(5, 9, seed=2, dtype=dtype), normal(9, seed=3, dtype=dtype)
        self.W2, self.b2 = normal(9, 3, seed=4, dtype=dtype), normal(3, seed=5, dtype=dtype)
        for name in ("W1", "b1", "W2", "b2"):
            setattr(self, "d" + name, np.zeros_like(getattr(self, name)))

    def hidden(self, h):
        return h

    def hidden_back(self, dh):
        return dh

    def penalty(self):
        return 0

    def log(self, p):
        return np.log(p)

    def loss(self, x, y):
        self.x, self.y = x, y
        self.a = np.tanh(x @ self.W1 + self.b1)
        self.h = self.hidden(self.a)
        self.p = softmax(self.h @ self.W2 + self.b2)
        return -self.log(self.p[np.arange(len(y)), y]).mean() + self.penalty()

    def gradients(self):
        dz = self.p.copy()
        dz[np.arange(len(self.y)), self.y] -= 1
        dz /= len(self.y)
        dh = self.hidden_back(dz @ self.W2.T)
        da = dh * (1 - self.a**2)
        return {"dW1": self.x.T @ da, "db1": da.sum(axis=0), "dW2": self.h.T @ dz, "db2": dz.sum(axis=0)}

    def backward(self):
        for name, gradient in self.gradients().items():
            setattr(self, name, gradient)

    def step(self, lr):
        self.backward()
        for name in ("W1", "b1", "W2", "b2"):
            setattr(self, name, getattr(self, name) - lr * getattr(self, "d" + name))


def verify_net(net, dtype="float64"):
    gradients = {name: "d" + name for name in ("W1", "b1", "W2", "b2")}
    model = Model(net, lambda n, x, y: n.loss(x, y), lambda n, x, y: n.backward(), gradients)
    return verify_network(model, x=normal(7, 5, seed=6, dtype=dtype), y=classes(7, 3))


def verify_stepping(net):
    model = Model(
        net, lambda n, x, y: n.loss(x, y), lambda n, x, y: n.step(0.1), weights=("W1", "b1", "W2", "b2"), lr=0.1
    )
    return verify_network(model, x=normal(7, 5, seed=6), y=classes(7, 3))


def verify_layers(*layers, dtype="float64"):
    """The layers between Linear(5, 9) and Linear(9, 3)."""
    network = scratch.Network((Linear(5, 9), *layers, Linear(9, 3)))
    return verify_network(network, CrossEntropy(), x=normal(7, 5, seed=6, dtype=dtype), y=classes(7, 3))


# --- clipping-mismatch ------------------------------------------------------------------------------------------------


@plant("clipping-mismatch", "log(p + ε) of probabilities, its gradient without ε")
def _():
    def loss(p, t):
        value = -(t * np.log(p + 1e-7) + (1 - t) * np.log(1 - p + 1e-7)).mean()
        return value, (1 - t) / (1 - p) / p.size - t / p / p.size

    return verify_function(loss, None, p=sigmoid(normal(7, 3)), t=classes(21, 2).reshape(7, 3))


def clipped_cross_entropy(z, y):
    p = softmax(z)
    value = -np.log(np.clip(p[np.arange(len(y)), y], 1e-6, 1)).mean()
    p[np.arange(len(y)), y] -= 1
    return value, p / len(y)


@plant("clipping-mismatch", "softmax cross-entropy of clipped probabilities, large logits")
def _():
    return verify_function(clipped_cross_entropy, None, z=normal(7, 5, scale=15), y=classes(7, 5))


@plant("clipping-mismatch", "softmax cross-entropy of clipped probabilities, logits of order one, verify_loss")
def _():
    return verify_loss(clipped_cross_entropy, normal(9, 5), classes(9, 5))


@plant("clipping-mismatch", "logits clipped to ±15 before a sigmoid, out and cache, float32")
def _():
    def forward(z, t):
        p = sigmoid(np.clip(z, -15, 15))
        return -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean(), (p, t)

    def backward(dout, cache):
        p, t = cache
        return dout * (p - t) / p.size

    t = classes(27, 2).reshape(9, 3).astype("float32")
    return verify_function(forward, backward, z=normal(9, 3, scale=12, dtype="float32"), t=t)


@plant("clipping-mismatch", "log(p + ε) in a network object")
def _():
    class Guarded(Net):
        def log(self, p):
            return np.log(p + 1e-8)

    return verify_net(Guarded())


# --- penalties --------------------------------------------------------------------------------------------------------


class Decayed(Net):
    """λ/2 Σ W² over both matrices."""

    reg = 0.3

    def penalty(self):
        return self.reg / 2 * ((self.W1**2).sum() + (self.W2**2).sum())

    def gradients(self):
        g = super().gradients()
        return g | {"dW1": g["dW1"] + self.reg * self.W1, "dW2": g["dW2"] + self.reg * self.W2}


def ridge(x, w, b, y, lam=0.2, penalty=1.0, slope=1.0, bias_penalty=0.0, bias_slope=0.0):
    """Mean squared error with λ/2 Σ w², x (batch, in), w (in, out); the factors are of both terms and their slopes."""
    r = x @ w + b - y
    value = (r * r).mean() + lam / 2 * (penalty * (w**2).sum() + bias_penalty * (b**2).sum())
    dz = 2 * r / r.size
    return value, {"w": x.T @ dz + lam * slope * w, "b": dz.sum(axis=0) + lam * bias_slope * b}


def verify_ridge(dtype="float64", **factors):
    def loss(x, w, b, y):
        value, grads = ridge(x, w, b, y, **factors)
        return value, {"x": 2 * (x @ w + b - y) @ w.T / y.size, "y": -2 * (x @ w + b - y) / y.size} | grads

    arrays = {"x": normal(7, 5), "w": normal(5, 3, seed=1), "b": normal(3, seed=2), "y": normal(7, 3, seed=3)}
    return verify_function(loss, None, **{name: a.astype(dtype) for name, a in arrays.items()})


def logistic_regression(theta, x, y, lam=1.5, slope=1.0, bias_slope=0.0):
    """The course's J(θ), x (batch, in) with a column of ones first; λ/(2m) Σ θ² without θ₀."""
    m = len(y)
    h = sigmoid(x @ theta)
    value = -(y * np.log(h) + (1 - y) * np.log(1 - h)).mean() + lam / (2 * m) * (theta[1:] ** 2).sum()
    grad = x.T @ (h - y) / m
    grad[1:] += slope * lam / m * theta[1:]
    grad[0] += bias_slope * lam / m * theta[0]
    return value, grad


def verify_logistic(**factors):
    x = np.column_stack([np.ones(11), normal(11, 4)])
    return verify_function(
        lambda theta, x, y: logistic_regression(theta, x, y, **factors), None, theta=normal(5), x=x, y=classes(11, 2)
    )


plant("penalty-factor", "ridge, 2λw for λ/2 Σ w²")(partial(verify_ridge, slope=2.0))
plant("penalty-factor", "ridge, λw for λ Σ w², float32")(partial(verify_ridge, "float32", penalty=2.0))
plant("penalty-factor", "ridge, −λw")(partial(verify_ridge, slope=-1.0))
plant("penalty-factor", "logistic regression, λθ for λ/(2m) Σ θ²")(partial(verify_logistic, slope=11.0))
plant("penalty-on-bias", "ridge, λb in db, not in the loss")(partial(verify_ridge, bias_slope=1.0))
plant("penalty-on-bias", "ridge, b² in the loss, not in db, float32")(
    partial(verify_ridge, "float32", bias_penalty=1.0)
)
plant("penalty-on-bias", "logistic regression, θ₀ penalised as the others")(partial(verify_logistic, bias_slope=1.0))


@plant("penalty-factor", "network object, the first layer's 2λW for λ/2 Σ W²")
def _():
    class Doubled(Decayed):
        def gradients(self):
            g = super().gradients()
            return g | {"dW1": g["dW1"] + self.reg * self.W1}

    return verify_net(Doubled())


@plant("penalty-factor", "network object that steps, −λW in both layers")
def _():
    class Growing(Decayed):
        def gradients(self):
            g = super().gradients()
            return g | {"dW1": g["dW1"] - 2 * self.reg * self.W1, "dW2": g["dW2"] - 2 * self.reg * self.W2}

    return verify_stepping(Growing())


@plant("penalty-on-bias", "network object, λb in both layers")
def _():
    class Everything(Decayed):
        def gradients(self):
            g = super().gradients()
            return g | {"db1": g["db1"] + self.reg * self.b1, "db2": g["db2"] + self.reg * self.b2}

    return verify_net(Everything())


# --- dropout ----------------------------------------------------------------------------------------------------------


def masked_forward(x, w, mask, p):
    """Inverted dropout of x (batch, in), then x @ w; the mask is given as booleans."""
    h = x * mask / (1 - p)
    return h @ w, (h, w, mask, p)


def masked_backward(dout, cache, masked=True, scaled=lambda p: 1 - p):
    h, w, mask, p = cache
    dh = dout @ w.T / scaled(p)
    return dh * mask if masked else dh, h.T @ dout


def verify_masked(dtype="float64", p=0.3, **fault):
    mask = np.random.default_rng(3).random((7, 5)) >= p
    x, w = normal(7, 5, dtype=dtype), normal(5, 3, seed=1, dtype=dtype)
    return verify_function(
        masked_forward, lambda d, cache: masked_backward(d, cache, **fault), x=x, w=w, mask=mask, p=p
    )


def drawn_forward(x, w, b, p=0.4):
    """Course style: affine, ReLU, then a mask drawn here, already divided by 1 − p."""
    z = x @ w + b
    mask = (np.random.rand(*z.shape) >= p) / (1 - p)
    return np.maximum(z, 0) * mask, (x, w, z, mask, p)


def drawn_backward(dout, cache, back=lambda dout, mask, p: dout * mask):
    x, w, z, mask, p = cache
    dz = back(dout, mask, p) * (z > 0)
    return dz @ w.T, x.T @ dz, dz.sum(axis=0)


def verify_drawn(back=lambda dout, mask, p: dout * mask):
    x, w, b = normal(9, 5), normal(5, 7, seed=1), normal(7, seed=2)
    return verify_function(drawn_forward, lambda d, cache: drawn_backward(d, cache, back), x=x, w=w, b=b)


class MaskMissing(Dropout):
    def backward(self, dy, cache):
        return dy if cache is None else dy / (1 - self.p)


class Unscaled(Dropout):
    def backward(self, dy, cache):
        return dy if cache is None else dy * (cache > 0)


class DividedByP(Dropout):
    def forward(self, x, training=None):
        y, mask = super().forward(x, training)
        return (y, None) if mask is None else (y * (1 - self.p) / self.p, mask * (1 - self.p) / self.p)


class Resampled(Dropout):
    """Keeps the generator instead of the mask."""

    def forward(self, x, training=None):
        return (x, None) if training is None else (super().forward(x, training)[0], training)

    def backward(self, dy, cache):
        return dy if cache is None else dy * dropout_mask(cache, dy.shape, self.p, dy.dtype)


class Dropping(Net):
    """Drops hidden units with probability 0.35."""

    def draw(self):
        return (np.random.rand(7, 9) < 0.65) / 0.65

    def hidden(self, h):
        self.mask = self.draw()
        return h * self.mask

    def hidden_back(self, dh):
        return dh * self.mask


plant("dropout-mask-missing", "mask handed in, backward scales only")(partial(verify_masked, masked=False))
plant("dropout-mask-missing", "mask drawn in forward after ReLU, ignored")(partial(verify_drawn, lambda d, mask, p: d))
plant("dropout-mask-missing", "a layer, images, float32")(
    lambda: verify_layer(MaskMissing(0.4), (7, 3, 5), dtype="float32")
)
plant("dropout-mask-missing", "in a network after tanh")(lambda: verify_layers(Tanh(), MaskMissing(0.3)))
plant("dropout-scale", "mask handed in, 1/p for 1/(1 − p), float32")(
    partial(verify_masked, "float32", scaled=lambda p: p)
)
plant("dropout-scale", "mask handed in, not scaled")(partial(verify_masked, scaled=lambda p: 1))
plant("dropout-scale", "mask drawn in forward, not scaled")(partial(verify_drawn, lambda d, mask, p: d * (mask > 0)))
plant("dropout-scale", "a layer, not scaled")(lambda: verify_layer(Unscaled(0.3), (7, 5)))
plant("dropout-scale", "in a network after ReLU, not scaled, float32")(
    lambda: verify_layers(ReLU(), Unscaled(0.3), dtype="float32")
)
plant("dropout-scale", "a layer's forward divides by p, beside torch")(
    lambda: verify_layer(DividedByP(0.3), (7, 5), reference=module(Dropout(0.3)))
)
plant("dropout-mask-resampled", "drawn again from np.random")(
    partial(verify_drawn, lambda d, mask, p: d * (np.random.rand(*d.shape) >= p) / (1 - p))
)
plant("dropout-mask-resampled", "a layer that keeps the generator")(lambda: verify_layer(Resampled(0.3), (7, 5)))
plant("dropout-mask-resampled", "in a network after tanh")(lambda: verify_layers(Tanh(), Resampled(0.4)))


@plant("dropout-mask-missing", "network object")
def _():
    class Forgetful(Dropping):
        def hidden_back(self, dh):
            return dh

    return verify_net(Forgetful())


@plant("dropout-scale", "network object that steps, not scaled")
def _():
    class Kept(Dropping):
        def hidden_back(self, dh):
            return dh * (self.mask > 0)

    return verify_stepping(Kept())


@plant("dropout-mask-resampled", "network object")
def _():
    class Redrawing(Dropping):
        def hidden_back(self, dh):
            return dh * self.draw()

    return verify_net(Redrawing())


# --- normalisation ----------------------------------------------------------------------------------------------------


def norm_forward(x, gamma, beta, over=0, eps=1e-5):
    """Normalised over the axes ``over``: batch norm of (batch, in) with 0, layer norm with -1."""
    std = np.sqrt(x.var(axis=over, keepdims=True) + eps)
    x_hat = (x - x.mean(axis=over, keepdims=True)) / std
    return gamma * x_hat + beta, (x_hat, std, gamma)


def norm_backward(dout, cache, over=0, summed=0, mean=True, var=True, scaled=True):
    x_hat, std, gamma = cache
    dx_hat = dout * gamma if scaled else dout
    dx = dx_hat
    if mean:
        dx = dx - dx_hat.mean(axis=over, keepdims=True)
    if var:
        dx = dx - x_hat * (dx_hat * x_hat).mean(axis=over, keepdims=True)
    return dx / std, (dout * x_hat).sum(axis=summed), dout.sum(axis=summed)


def stepwise_backward(dout, cache, mean=True, var=True, scaled=True):
    """Batch norm's backward through every node of its graph: var, then mean."""
    x_hat, std, gamma = cache
    n, centred = len(dout), x_hat * std
    dx_hat = dout * gamma if scaled else dout
    dvar = (dx_hat * centred).sum(axis=0) * -0.5 / std**3
    dmean = -dx_hat.sum(axis=0) / std
    dx = dx_hat / std + (dvar * 2 * centred / n if var else 0) + (dmean / n if mean else 0)
    return dx, (dout * x_hat).sum(axis=0), dout.sum(axis=0)


def verify_norm(backward=norm_backward, dtype="float64", **fault):
    x, gamma, beta = normal(7, 5, scale=2, dtype=dtype), normal(5, seed=1, dtype=dtype), normal(5, seed=2, dtype=dtype)
    return verify_function(norm_forward, lambda d, cache: backward(d, cache, **fault), x=x, gamma=gamma, beta=beta)


def verify_images(**fault):
    """Batch norm of images (batch, height, width, channels), float32."""
    axes = (0, 1, 2)
    x = normal(7, 3, 2, 5, dtype="float32")
    gamma, beta = normal(5, seed=1, dtype="float32"), normal(5, seed=2, dtype="float32")
    return verify_function(
        lambda x, gamma, beta: norm_forward(x, gamma, beta, axes),
        lambda d, cache: norm_backward(d, cache, axes, axes, **fault),
        x=x,
        gamma=gamma,
        beta=beta,
    )


@dataclass(frozen=True)
class Norm:
    """A layer of the protocol: batch norm of (batch, n), or layer norm with ``over=-1``."""

    n: int
    over: int = 0
    fault: tuple[str, ...] = ()

    def shapes(self):
        return {"weight": (self.n,), "bias": (self.n,)}

    def forward(self, x, gamma, beta):
        return norm_forward(x, gamma, beta, self.over)

    def backward(self, dy, cache, dgamma, dbeta, need_dx=True):
        dx, dgamma[:], dbeta[:] = norm_backward(dy, cache, self.over, **dict.fromkeys(self.fault, False))
        return dx


class Normalised(Net):
    """Batch norm without scale and shift on the hidden units."""

    fault = ()

    def hidden(self, h):
        out, self.cache = norm_forward(h, 1.0, 0.0)
        return out

    def hidden_back(self, dh):
        return norm_backward(dh, self.cache, **dict.fromkeys(self.fault, False))[0]


class ConstantStatistics(Normalised):
    fault = ("mean", "var")


class NoMeanTerm(Normalised):
    fault = ("mean",)


class NoVarTerm(Normalised):
    fault = ("var",)


for mistake, fault, broken in (
    ("batchnorm-stats-constant", ("mean", "var"), ConstantStatistics),
    ("batchnorm-mean-term", ("mean",), NoMeanTerm),
    ("batchnorm-var-term", ("var",), NoVarTerm),
):
    off = dict.fromkeys(fault, False)
    plant(mistake, "plain functions")(partial(verify_norm, **off))
    plant(mistake, "step by step, float32")(partial(verify_norm, stepwise_backward, "float32", **off))
    plant(mistake, "images, float32")(partial(verify_images, **off))
    plant(mistake, "a layer beside torch")(
        lambda fault=fault: verify_layer(Norm(9, 0, fault), (7, 9), reference=torch.nn.BatchNorm1d(9).double())
    )
    plant(mistake, "in a network before ReLU")(lambda fault=fault: verify_layers(Norm(9, 0, fault), ReLU()))
    plant(mistake, "network object")(lambda broken=broken: verify_net(broken()))

plant("gamma-missing", "batch norm, plain functions")(partial(verify_norm, scaled=False))
plant("gamma-missing", "batch norm, step by step, float32")(
    partial(verify_norm, stepwise_backward, "float32", scaled=False)
)
plant("gamma-missing", "batch norm, in a network before tanh")(lambda: verify_layers(Norm(9, 0, ("scaled",)), Tanh()))
plant("gamma-missing", "layer norm, a layer")(lambda: verify_layer(Norm(5, -1, ("scaled",)), (7, 5)))
plant("gamma-missing", "layer norm, in a network before ReLU, float32")(
    lambda: verify_layers(Norm(9, -1, ("scaled",)), ReLU(), dtype="float32")
)


def rms_forward(x, gain):
    rms = np.sqrt((x * x).mean(axis=-1, keepdims=True) + 1e-6)
    return gain * x / rms, (x, rms, gain)


def rms_backward(dout, cache, scaled=True):
    x, rms, gain = cache
    g = dout * gain if scaled else dout
    dx = g / rms - x * (g * x).mean(axis=-1, keepdims=True) / rms**3
    return dx, (dout * x / rms).sum(axis=(0, 1))


@plant("gamma-missing", "rms norm of sequences (batch, time, in)")
def _():
    return verify_function(
        rms_forward, lambda d, c: rms_backward(d, c, False), x=normal(3, 7, 5), gain=normal(5, seed=1)
    )


@dataclass(frozen=True)
class Scale:
    """y = γ x + β."""

    n: int

    def shapes(self):
        return {"weight": (self.n,), "bias": (self.n,)}

    def forward(self, x, gamma, beta):
        return gamma * x + beta, (x, gamma)

    def backward(self, dy, cache, dgamma, dbeta, need_dx=True):
        x, gamma = cache
        np.sum(dy * x, axis=0, out=dgamma)
        np.sum(dy, axis=0, out=dbeta)
        return dy * gamma


@plant("gamma-missing", "scale and shift, a layer")
def _():
    class Lost(Scale):
        def backward(self, dy, cache, dgamma, dbeta, need_dx=True):
            super().backward(dy, cache, dgamma, dbeta)
            return dy

    return verify_layer(Lost(5), (9, 5))


# --- state ------------------------------------------------------------------------------------------------------------


class AddingLinear(Linear):
    def backward(self, dy, cache, dW, db, need_dx=True):
        x, W = cache
        dW += dy.T @ x
        db += dy.sum(axis=0)
        return dy @ W


class AddingScale(Scale):
    def backward(self, dy, cache, dgamma, dbeta, need_dx=True):
        dgamma += (dy * cache[0]).sum(axis=0)
        np.sum(dy, axis=0, out=dbeta)
        return dy * cache[1]


plant("grads-accumulate", "a linear layer's dW and db")(lambda: verify_layer(AddingLinear(5, 3), (7, 5)))
plant("grads-accumulate", "γ of a scale layer, in a network, float32")(
    lambda: verify_layers(AddingScale(9), ReLU(), dtype="float32")
)


@plant("grads-accumulate", "network object, never set to zero")
def _():
    class Adding(Net):
        def backward(self):
            for name, gradient in self.gradients().items():
                setattr(self, name, getattr(self, name) + gradient)

    return verify_net(Adding())


@plant("grads-accumulate", "plain functions, gradients in a dict made once")
def _():
    grads = {"w": np.zeros((5, 3)), "b": np.zeros(3)}

    def backward(dout, x, w, b):
        grads["w"] += x.T @ dout
        grads["b"] += dout.sum(axis=0)
        return dout @ w.T, grads["w"].copy(), grads["b"].copy()

    return verify_function(lambda x, w, b: x @ w + b, backward, x=normal(7, 5), w=normal(5, 3), b=normal(3))


@plant("aliasing", "ReLU zeroes the upstream gradient itself")
def _():
    def backward(dout, x):
        dout[x <= 0] = 0
        return dout

    return verify_function(lambda x: np.maximum(x, 0), backward, x=normal(7, 5))


@plant("aliasing", "forward centres its input in place, float32")
def _():
    def forward(x, w):
        x -= x.mean(axis=0)
        return x @ w, (x, w)

    def backward(dout, cache):
        x, w = cache
        dx = dout @ w.T
        return dx - dx.mean(axis=0), x.T @ dout

    return verify_function(forward, backward, x=normal(7, 5, dtype="float32"), w=normal(5, 3, dtype="float32"))


@plant("aliasing", "softmax cross-entropy's backward makes dz of the cached p")
def _():
    def forward(z, y):
        p = softmax(z)
        return -np.log(p[np.arange(len(y)), y]).mean(), (p, y)

    def backward(dout, cache):
        dz, y = cache
        dz[np.arange(len(y)), y] -= 1
        dz *= dout / len(y)
        return dz

    return verify_function(forward, backward, z=normal(9, 3), y=classes(9, 3))


class InPlaceTanh(Tanh):
    def backward(self, dy, cache):
        dy *= super().backward(np.ones_like(dy), cache)
        return dy


plant("aliasing", "tanh's layer multiplies into dy")(lambda: verify_layer(InPlaceTanh(), (7, 3)))
plant("aliasing", "tanh's layer multiplies into dy, in a network")(lambda: verify_layers(InPlaceTanh()))


@plant("aliasing", "a loss that subtracts y from the logits in place")
def _():
    def loss(z, y):
        z -= y
        return (z * z).mean(), 2 * z / z.size

    return verify_loss(loss, normal(7, 3), normal(7, 3, seed=1))


# --- rounding: nothing is wrong ---------------------------------------------------------------------------------------


def far(*shape, seed=0):
    """Far from zero, so that differences lose digits."""
    return (200 + normal(*shape, seed=seed)).astype("float32")


@plant("rounding", "batch norm of inputs far from zero, float32")
def _():
    gamma, beta = normal(5, seed=1, dtype="float32"), normal(5, seed=2, dtype="float32")
    return verify_function(norm_forward, norm_backward, x=far(7, 5), gamma=gamma, beta=beta)


@plant("rounding", "a network whose batch norm comes first and gets inputs far from zero, float32")
def _():
    network = scratch.Network((Norm(5), Linear(5, 3)))
    return verify_network(network, CrossEntropy(), x=far(7, 5), y=classes(7, 3))


@plant("rounding", "a bias gradient summed row by row, float32")
def _():
    def backward(dout, x, w, b):
        return dout @ w.T, x.T @ dout, np.add.accumulate(dout)[-1]

    x, w, b = normal(60001, 5, dtype="float32"), normal(5, 3, seed=1, dtype="float32"), normal(3, dtype="float32")
    return verify_function(lambda x, w, b: x @ w + b, backward, x=x, w=w, b=b)


@plant("rounding", "the variance of inputs far from zero, its gradient as 2x/n − 2x̄/n, float32")
def _():
    def backward(dout, x):
        return dout * (2 * x / len(x) - 2 * x.mean(axis=0) / len(x))

    return verify_function(lambda x: x.var(axis=0), backward, x=far(9, 5))


# --- optimizers -------------------------------------------------------------------------------------------------------


def adam(w, g, slots, lr, t, corrected=True, root=lambda v, eps: np.sqrt(v) + eps, decay=0.0, coupled=0.0, eps=1e-8):
    """Adam with β = (0.9, 0.999); decoupled decay as AdamW's, coupled decay as L2."""
    w -= lr * decay * w
    g = g + coupled * w
    m = slots["m"] = 0.9 * slots.get("m", 0) + 0.1 * g
    v = slots["v"] = 0.999 * slots.get("v", 0) + 0.001 * g * g
    if corrected:
        m, v = m / (1 - 0.9**t), v / (1 - 0.999**t)
    w -= lr * m / root(v, eps)


def inside(v, eps):
    return np.sqrt(v + eps)


class FrozenStep(Adam):
    """The step is counted nowhere: t stays 1."""

    def update(self, w, g, slots, lr, t):
        super().update(w, g, slots, lr, 1)


class Uncorrected(AdamW):
    def update(self, w, g, slots, lr, t):
        super().update(w, g, slots, lr, 10**9)  # 1 − βᵗ = 1


def plant_update(mistake, where, update, reference):
    plant(mistake, where)(lambda: verify_optimizer(update, reference))


plant_update("adam-no-bias-correction", "Adam, a function", partial(adam, corrected=False), Adam(1e-2))
plant_update("adam-no-bias-correction", "AdamW, a record", Uncorrected(1e-2), AdamW(1e-2))
plant_update("adam-no-bias-correction", "Adam, the step never advances", FrozenStep(1e-2), Adam(1e-2))
plant_update("adam-eps-placement", "Adam, a function", partial(adam, root=inside), Adam(1e-3))
plant_update(
    "adam-eps-placement", "AdamW, a function", partial(adam, root=inside, decay=0.1), AdamW(1e-2, weight_decay=0.1)
)


class InsideRMSprop(RMSprop):
    def update(self, w, g, slots, lr, t):
        g = g + self.weight_decay * w
        s = slots["square_avg"]
        s += (1 - self.alpha) * (g * g - s)
        w -= lr * g / np.sqrt(s + self.eps)


plant_update("adam-eps-placement", "RMSprop, a record", InsideRMSprop(1e-2), RMSprop(1e-2))


def velocity(w, g, slots, lr, t):
    v = slots["v"] = 0.9 * slots.get("v", 0) - lr * g
    w += v


def averaged(w, g, slots, lr, t):
    v = slots["v"] = 0.8 * slots.get("v", 0) + 0.2 * g
    w -= lr * v


class InsideVelocity(SGD):
    def update(self, w, g, slots, lr, t):
        v = slots["momentum_buffer"]
        v *= self.momentum
        v += lr * (g + self.weight_decay * w)
        w -= v


plant_update("momentum-convention", "lr in the velocity, a function", velocity, SGD(0.1, momentum=0.9))
plant_update("momentum-convention", "1 − μ before g, a function", averaged, SGD(0.05, momentum=0.8))
plant_update(
    "momentum-convention",
    "lr in the velocity, a record with weight decay",
    InsideVelocity(0.1, momentum=0.7, weight_decay=0.01),
    SGD(0.1, momentum=0.7, weight_decay=0.01),
)


class CoupledAdamW(AdamW):
    def update(self, w, g, slots, lr, t):
        Adam(self.lr, self.betas, self.eps, self.weight_decay).update(w, g, slots, lr, t)


plant_update("decay-coupled", "AdamW, a function", partial(adam, coupled=0.1), AdamW(1e-3, weight_decay=0.1))
plant_update("decay-coupled", "AdamW, a record", CoupledAdamW(1e-2), AdamW(1e-2))
plant_update(
    "decay-coupled",
    "AdamW with other β, Adam's record in its place",
    Adam(1e-2, (0.8, 0.95), weight_decay=0.05),
    AdamW(1e-2, (0.8, 0.95), weight_decay=0.05),
)
