"""Mistakes in gradients of losses, linear layers, activations and softmax, each planted in several places.

Every helper is right with its defaults (``CORRECT`` lists them so); a plant changes one formula of one of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from scratch.activations import ELU, LeakyReLU, ReLU, Sigmoid, SiLU, Softmax, Tanh, sigmoid
from scratch.layers import Linear
from scratch.losses import MAE, MSE, BCEWithLogits, CrossEntropy
from scratch.network import Network
from tests.verify.planting import plant
from torch_impl.verify import Model, Report, verify_function, verify_layer, verify_loss, verify_network

Y = np.array([0, 2, 1, 1, 0, 2, 2])  # classes of a batch of seven


def draw(dtype: str = "float64", **shapes: tuple[int, ...]) -> dict[str, Any]:
    rng = np.random.default_rng(5)
    return {name: rng.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def softmax_back(dp, p):
    return p * (dp - (dp * p).sum(axis=-1, keepdims=True))


def dw_rows(a, dz):
    return a.T @ dz


def db_rows(dz):
    return dz.sum(axis=0)


# --- plain functions: each takes the formulas of its backward, and returns the report ---------------------------------


def check_affine(
    dx=lambda dout, x, W: dout @ W.T,
    dW=lambda dout, x, W: x.T @ dout,
    db=lambda dout: dout.sum(axis=0),
    shape=(5, 3),
    dtype="float64",
):
    """Out = x W + b, (batch, in) to (batch, out)."""

    def affine_forward(x, W, b):
        return x @ W + b, (x, W)

    def affine_backward(dout, cache):
        return dx(dout, *cache), dW(dout, *cache), db(dout)

    inputs = draw(dtype, x=(7, shape[0]), W=shape, b=shape[1:])
    return verify_function(affine_forward, affine_backward, **inputs)


def check_elementwise(f, backward, shape=(7, 5), dtype="float64"):
    def activation(x):
        return f(x)

    return verify_function(activation, backward, **draw(dtype, x=shape))


def check_classifier(
    dz2=lambda p, t: (p - t) / len(t),
    da1=lambda dz2, W2: dz2 @ W2.T,
    dz1=lambda da1, z1: da1 * (z1 > 0),
    dW=dw_rows,
    db=db_rows,
    hidden=9,
    dtype="float64",
    **given,
):
    """Linear, ReLU, linear, softmax cross-entropy, all in one function."""

    def classifier(x, y, W1, b1, W2, b2):
        z1 = x @ W1 + b1
        a1 = np.maximum(z1, 0)
        p = softmax(a1 @ W2 + b2)
        t = np.eye(3, dtype=x.dtype)[y]
        loss = -np.log(p[np.arange(len(y)), y]).mean()
        d2 = dz2(p, t)
        d1 = dz1(da1(d2, W2), z1)
        return loss, {"dx": d1 @ W1.T, "dW1": dW(x, d1), "db1": db(d1), "dW2": dW(a1, d2), "db2": db(d2)}

    inputs = draw(dtype, x=(7, 5), W1=(5, hidden), b1=(hidden,), W2=(hidden, 3), b2=(3,)) | given
    return verify_function(classifier, None, y=Y, **inputs)


def check_logistic(
    dz=lambda p, y: (p - y) / len(y), dw=lambda x, dz: x.T @ dz, db=lambda dz: dz.sum(), squared=False, dtype="float64"
):
    """One sigmoid unit with binary cross-entropy, or with half the squared error."""

    def logistic(x, w, b, y):
        p = 1 / (1 + np.exp(-(x @ w + b)))
        loss = np.mean((p - y) ** 2) / 2 if squared else -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))
        d = dz(p, y)
        return loss, {"w": dw(x, d), "b": db(d)}

    return verify_function(logistic, None, **draw(dtype, x=(7, 5), w=(5,), b=()), y=Y // 2)


def check_columns(
    dZ2=lambda A2, T: 2 * (A2 - T), divisor=lambda X: X.shape[1], db=lambda dZ: dZ.sum(axis=1, keepdims=True)
):
    """Examples are columns, and 1/m comes with each dW and db; tanh, then squared error."""

    def columns(X, W1, b1, W2, b2, T):
        A1 = np.tanh(W1 @ X + b1)
        A2 = W2 @ A1 + b2
        m = X.shape[1]
        loss = np.sum((A2 - T) ** 2) / m
        m = divisor(X)
        d2 = dZ2(A2, T)
        d1 = (W2.T @ d2) * (1 - A1**2)
        return loss, {"dW1": d1 @ X.T / m, "db1": db(d1) / m, "dW2": d2 @ A1.T / m, "db2": db(d2) / m}

    return verify_function(columns, None, **draw(X=(5, 7), W1=(9, 5), b1=(9, 1), W2=(3, 9), b2=(3, 1), T=(3, 7)))


def check_deep(dz1=lambda da1, x, a1, a2: da1 * (1 - a1**2), da2=lambda dz3, W3, dW3: dz3 @ W3.T, dtype="float64"):
    """Two hidden tanh layers of one width, half the squared error, each array with a name of its own."""

    def deep(x, W1, b1, W2, b2, W3, b3, t):
        a1 = np.tanh(x @ W1 + b1)
        a2 = np.tanh(a1 @ W2 + b2)
        out = a2 @ W3 + b3
        loss = 0.5 * np.sum((out - t) ** 2) / len(x)
        dz3 = (out - t) / len(x)
        dW3 = a2.T @ dz3
        dz2 = da2(dz3, W3, dW3) * (1 - a2**2)
        d1 = dz1(dz2 @ W2.T, x, a1, a2)
        gradients = {"x": d1 @ W1.T, "W1": x.T @ d1, "b1": d1.sum(axis=0), "W2": a1.T @ dz2, "b2": dz2.sum(axis=0)}
        return loss, gradients | {"W3": dW3, "b3": dz3.sum(axis=0)}

    shapes = {"x": (7, 5), "W1": (5, 9), "b1": (9,), "W2": (9, 9), "b2": (9,), "W3": (9, 3), "b3": (3,), "t": (7, 3)}
    return verify_function(deep, None, **draw(dtype, **shapes))


def check_attention(dscores=softmax_back, dk=lambda ds, q: ds.T @ q, n_keys=3, dtype="float64"):
    """Out = softmax(q kᵀ) v for q (queries, d), k (keys, d), v (keys, out)."""

    def attention_forward(q, k, v):
        p = softmax(q @ k.T)
        return p @ v, (q, k, v, p)

    def attention_backward(dout, cache):
        q, k, v, p = cache
        ds = dscores(dout @ v.T, p)
        return ds @ k, dk(ds, q), p.T @ dout

    return verify_function(attention_forward, attention_backward, **draw(dtype, q=(7, 5), k=(n_keys, 5), v=(n_keys, 9)))


def check_gate(ds=lambda dout, x, s: dout * x * s * (1 - s), dz=lambda ds, s: ds):
    """Out = x σ(h W + b): a gate, as in an LSTM."""

    def gate(x, h, W, b):
        return x * (1 / (1 + np.exp(-(h @ W + b))))

    def gate_backward(dout, x, h, W, b):
        s = 1 / (1 + np.exp(-(h @ W + b)))
        d = dz(ds(dout, x, s), s)
        return dout * s, d @ W.T, h.T @ d, d.sum(axis=0)

    return verify_function(gate, gate_backward, **draw(x=(7, 3), h=(7, 5), W=(5, 3), b=(3,)))


def check_rnn(dz=lambda dh, h: dh * (1 - h * h)):
    """h_t = tanh(x_t Wx + h_{t−1} Wh + b) over x (batch, steps, in); the last h comes out."""

    def rnn_forward(x, Wx, Wh, b):
        hs = [np.zeros((len(x), len(Wh)))]
        for t in range(x.shape[1]):
            hs.append(np.tanh(x[:, t] @ Wx + hs[-1] @ Wh + b))
        return hs[-1], (x, Wx, Wh, hs)

    def rnn_backward(dout, cache):
        x, Wx, Wh, hs = cache
        dx, dWx, dWh, db, dh = np.zeros_like(x), np.zeros_like(Wx), np.zeros_like(Wh), np.zeros(len(Wh)), dout
        for t in reversed(range(x.shape[1])):
            d = dz(dh, hs[t + 1])
            dx[:, t], dh = d @ Wx.T, d @ Wh.T
            dWx, dWh, db = dWx + x[:, t].T @ d, dWh + hs[t].T @ d, db + d.sum(axis=0)
        return dx, dWx, dWh, db

    return verify_function(rnn_forward, rnn_backward, **draw(x=(7, 4, 5), Wx=(5, 3), Wh=(3, 3), b=(3,)))


def check_pool(dx=lambda dout, x: np.repeat(dout[:, None], x.shape[1], axis=1) / x.shape[1]):
    """The mean over the steps of x (batch, steps, channels)."""

    def pool(x):
        return x.mean(axis=1)

    return verify_function(pool, dx, **draw(x=(7, 3, 5)))


def check_flatten(dx=lambda dflat, x: dflat.reshape(len(x), x.shape[2], x.shape[1]).transpose(0, 2, 1)):
    """Channels last, flat, then linear: x (batch, channels, length)."""

    def flatten_forward(x, W):
        flat = x.transpose(0, 2, 1).reshape(len(x), -1)
        return flat @ W, (x, W, flat)

    def flatten_backward(dout, cache):
        x, W, flat = cache
        return dx(dout @ W.T, x), flat.T @ dout

    return verify_function(flatten_forward, flatten_backward, **draw(x=(7, 3, 5), W=(15, 9)))


def check_channels(dshift=lambda dout: dout.sum(axis=(0, 2))):
    """x (batch, channels, length) times a scale plus a shift for each channel."""

    def channels_forward(x, scale, shift):
        return x * scale[:, None] + shift[:, None], (x, scale)

    def channels_backward(dout, cache):
        x, scale = cache
        return dout * scale[:, None], (dout * x).sum(axis=(0, 2)), dshift(dout)

    return verify_function(channels_forward, channels_backward, **draw(x=(7, 3, 5), scale=(3,), shift=(3,)))


def check_distance(db=lambda d, dout: -2 * d * dout[:, None]):
    """The squared distance of each pair of rows, as in a contrastive loss."""

    def distance(a, b):
        return np.sum((a - b) ** 2, axis=1)

    def distance_backward(dout, a, b):
        d = a - b
        return 2 * d * dout[:, None], db(d, dout)

    return verify_function(distance, distance_backward, **draw(a=(7, 5), b=(7, 5)))


def check_residual(dz=lambda dout, z, x: dout * (z > 0), dtype="float64"):
    """Out = x + max(x W + b, 0)."""

    def residual_forward(x, W, b):
        z = x @ W + b
        return x + np.maximum(z, 0), (x, W, z)

    def residual_backward(dout, cache):
        x, W, z = cache
        d = dz(dout, z, x)
        return dout + d @ W.T, x.T @ d, d.sum(axis=0)

    return verify_function(residual_forward, residual_backward, **draw(dtype, x=(7, 5), W=(5, 5), b=(5,)))


def check_prelu(dx=lambda dout, x, a: np.where(x > 0, dout, a * dout)):
    """max(x, 0) + a min(x, 0) with a learned for each column."""

    def prelu(x, a):
        return np.where(x > 0, x, a * x)

    def prelu_backward(dout, x, a):
        return dx(dout, x, a), np.where(x > 0, 0, dout * x).sum(axis=0)

    return verify_function(prelu, prelu_backward, x=draw(x=(7, 5))["x"], a=np.array([0.1, 0.25, 0.2, 0.3, 0.15]))


def check_soft_targets(dz=softmax_back, squared=False, dtype="float64"):
    """Linear and softmax, then cross-entropy by way of dL/dp, or half the squared error."""

    def soft(x, W, b):
        t = np.eye(3, dtype=x.dtype)[Y]
        p = softmax(x @ W + b)
        loss = np.sum((p - t) ** 2) / (2 * len(x)) if squared else -np.sum(t * np.log(p)) / len(x)
        dp = (p - t) / len(x) if squared else -t / p / len(x)
        d = dz(dp, p)
        return loss, {"x": d @ W.T, "W": x.T @ d, "b": d.sum(axis=0)}

    return verify_function(soft, None, **draw(dtype, x=(7, 5), W=(5, 3), b=(3,)))


# --- layers and losses of the protocol --------------------------------------------------------------------------------


def faulty(layer: type, backward: Any) -> type:
    """The layer with another backward."""
    return type("My" + layer.__name__, (layer,), {"backward": backward})


@dataclass(frozen=True)
class RowSquares:
    """L = 1/B Σ_b Σ_k (z − t)²; ``grad`` takes z − t."""

    grad: Any = lambda r: 2 * r / len(r)
    kinks_at_target = False

    def check_targets(self, y, shape, dtype, name="y"):
        pass

    def value_and_grad(self, z, y):
        return np.sum((z - y) ** 2) / len(z), self.grad(z - y)

    __call__ = value_and_grad


def faulty_loss(loss: type, grad: Any) -> Any:
    """The loss with another gradient, ``grad(z, y)``."""
    return type("My" + loss.__name__, (loss,), {"value_and_grad": lambda self, z, y: (loss()(z, y)[0], grad(z, y))})()


def check_loss(loss: Any, dtype: str = "float64") -> Report:
    return verify_loss(loss, **draw(dtype, logits=(7, 3), y=(7, 3)))


def check_network(*layers: Any, loss: Any = None, dtype: str = "float64") -> Report:
    x = draw(dtype, x=(7, 5))["x"]
    y = Y if loss is None else np.eye(3, dtype=dtype)[Y]
    return verify_network(Network(layers), loss or CrossEntropy(), x=x, y=y)


@dataclass(frozen=True)
class Threshold:
    """y = x Wᵀ − θ, with the threshold of an old perceptron."""

    n_in: int
    n_out: int

    def shapes(self):
        return {"weight": (self.n_out, self.n_in), "theta": (self.n_out,)}

    def forward(self, x, W, theta):
        return x @ W.T - theta, (x, W)

    def backward(self, dy, cache, dW, dtheta, need_dx=True):
        x, W = cache
        dW[:] = dy.T @ x
        dtheta[:] = self.dtheta(dy)
        return dy @ W

    def dtheta(self, dy):
        return -dy.sum(axis=0)


@dataclass(frozen=True)
class Block:
    """Two linear maps of one width, each with a sigmoid: a block of a deeper network."""

    width: int

    def shapes(self):
        return {"W1": (self.width, self.width), "W2": (self.width, self.width)}

    def forward(self, x, W1, W2):
        a1 = sigmoid(x @ W1)
        a2 = sigmoid(a1 @ W2)
        return a2, (x, W1, W2, a1, a2)

    def backward(self, dy, cache, dW1, dW2, need_dx=True):
        x, W1, W2, a1, a2 = cache
        dz2 = dy * a2 * (1 - a2)
        dW2[:] = a1.T @ dz2
        dz1 = self.dz1(dz2 @ W2.T, a1, a2)
        dW1[:] = x.T @ dz1
        return dz1 @ W1.T

    def dz1(self, da1, a1, a2):
        return da1 * a1 * (1 - a1)


# --- objects that hold their weights ----------------------------------------------------------------------------------


class Net:
    """A perceptron in loops: ReLU between the layers, half the squared error at the end."""

    def __init__(self, *sizes, dtype="float64"):
        rng = np.random.default_rng(3)
        self.W = [rng.standard_normal(s).astype(dtype) for s in pairwise(sizes)]
        self.b = [rng.standard_normal(n).astype(dtype) for n in sizes[1:]]

    def f(self, z):
        return np.maximum(z, 0)

    def df(self, z, a):
        return z > 0

    def out(self, z):
        return z

    def value(self, out, t):
        return np.sum((out - t) ** 2) / (2 * len(t))

    def d_out(self, out, t):
        return (out - t) / len(t)

    def loss(self, x, t):
        self.z, self.a = [], [x]
        for i, (W, b) in enumerate(zip(self.W, self.b, strict=True)):
            self.z.append(self.a[i] @ W + b)
            self.a.append(self.f(self.z[i]) if i + 1 < len(self.W) else self.out(self.z[i]))
        return self.value(self.a[-1], t)

    def layer_grads(self, i, d):
        return self.a[i].T @ d, d.sum(axis=0)

    def through(self, i, d):
        """The gradient at z[i − 1] from that at z[i]."""
        return d @ self.W[i].T * self.df(self.z[i - 1], self.a[i])

    def backward(self, t):
        self.dW, self.db = [None] * len(self.W), [None] * len(self.W)
        d = self.d_out(self.a[-1], t)
        for i in reversed(range(len(self.W))):
            self.dW[i], self.db[i] = self.layer_grads(i, d)
            d = self.through(i, d) if i else d

    def train_step(self, t, lr):
        self.backward(t)
        for i in range(len(self.W)):
            self.W[i] -= lr * self.dW[i]
            self.b[i] -= lr * self.db[i]


class TanhNet(Net):
    def f(self, z):
        return np.tanh(z)

    def df(self, z, a):
        return 1 - a * a


class SigmoidNet(Net):
    """Sigmoids between the layers and at the end, half the squared error."""

    def f(self, z):
        return sigmoid(z)

    out = f

    def df(self, z, a):
        return sigmoid(z) * (1 - sigmoid(z))

    def d_out(self, out, t):
        return (out - t) * out * (1 - out) / len(t)


class SoftmaxNet(Net):
    """Softmax cross-entropy at the end."""

    def out(self, z):
        return softmax(z)

    def value(self, out, t):
        return -np.sum(t * np.log(out)) / len(t)


def check_net(net: Net, *, lr: float | None = None, reference: Any = None) -> Report:
    """The net's gradients, or with ``lr`` what its training step did."""
    n = range(len(net.W))
    dtype = net.W[0].dtype
    batch = {"x": draw(dtype, x=(7, len(net.W[0])))["x"], "y": np.eye(3, dtype=dtype)[Y]}
    if net.W[-1].shape[1] != 3:
        batch["y"] = draw(dtype, a=(2,), y=(7, net.W[-1].shape[1]))["y"]
    if lr is not None:
        names = [f"{w}.{i}" for i in n for w in "Wb"]
        step = Model(net, lambda m, x, t: m.loss(x, t), lambda m, x, t: m.train_step(t, lr), weights=names, lr=lr)
        return verify_network(step, **batch)
    gradients = {f"{w}.{i}": f"d{w}.{i}" for i in n for w in "Wb"}
    filled = Model(net, lambda m, x, t: m.loss(x, t), lambda m, x, t: m.backward(t), gradients)
    return verify_network(filled, **batch, reference=reference)


class Dense:
    """One layer of a list, with tanh; it updates itself when the gradient comes by."""

    def __init__(self, n_in, n_out, rng):
        self.W, self.b = rng.standard_normal((n_in, n_out)), rng.standard_normal(n_out)

    def forward(self, x):
        self.x, self.y = x, np.tanh(x @ self.W + self.b)
        return self.y

    def backward(self, dy, lr):
        dz = dy * (1 - self.y**2)
        dx = dz @ self.W.T
        self.update(dz, lr)
        return dx

    def update(self, dz, lr):
        self.W -= lr * self.x.T @ dz
        self.b -= lr * dz.sum(axis=0)


class Stack:
    """A list of such layers; the loss is the mean of the squares."""

    def __init__(self, dense=Dense):
        rng = np.random.default_rng(4)
        self.layers = [dense(5, 9, rng), dense(9, 4, rng), dense(4, 3, rng)]

    def loss(self, x, t):
        for layer in self.layers:
            x = layer.forward(x)
        self.r = x - t
        return np.mean(self.r**2)

    def step(self, lr):
        d = 2 * self.r / self.r.size
        for layer in reversed(self.layers):
            d = layer.backward(d, lr)


def check_stack(dense=Dense, lr=0.1):
    weights = [f"layers.{i}.{w}" for i in range(3) for w in "Wb"]
    model = Model(Stack(dense), lambda m, x, t: m.loss(x, t), lambda m, x, t: m.step(lr), weights=weights, lr=lr)
    return verify_network(model, **draw(x=(7, 5), y=(7, 3)))


class Neurons:
    """One example, sums written out over the neurons; two layers of sigmoids, trained by the example."""

    def __init__(self):
        rng = np.random.default_rng(6)
        self.hidden, self.output = rng.standard_normal((4, 5)), rng.standard_normal((3, 4))

    def loss(self, x, t):
        self.h = 1 / (1 + np.exp(-(self.hidden @ x)))
        self.o = 1 / (1 + np.exp(-(self.output @ self.h)))
        return ((self.o - t) ** 2).sum() / 2

    def step(self, x, t, lr):
        do = [(o - t[k]) * o * (1 - o) for k, o in enumerate(self.o)]
        dh = self.hidden_deltas(do)
        self.update(do, lr)
        for j, d in enumerate(dh):
            self.hidden[j] -= lr * d * x

    def update(self, do, lr):
        for k, d in enumerate(do):
            self.output[k] -= lr * d * self.h

    def hidden_deltas(self, do):
        return [h * (1 - h) * sum(d * self.output[k, j] for k, d in enumerate(do)) for j, h in enumerate(self.h)]


def check_neurons(neurons=Neurons, lr=0.5):
    weights = ("hidden", "output")
    model = Model(neurons(), lambda m, x, t: m.loss(x, t), lambda m, x, t: m.step(x, t, lr), weights=weights, lr=lr)
    return verify_network(model, **draw(x=(5,), y=(3,)))


CORRECT = {
    "affine": check_affine,
    "affine float32": lambda: check_affine(dtype="float32"),
    "classifier": check_classifier,
    "classifier float32": lambda: check_classifier(dtype="float32"),
    "logistic": check_logistic,
    "logistic squared": lambda: check_logistic(lambda p, y: (p - y) * p * (1 - p) / len(y), squared=True),
    "columns": check_columns,
    "deep": check_deep,
    "attention": check_attention,
    "gate": check_gate,
    "rnn": check_rnn,
    "pool": check_pool,
    "flatten": check_flatten,
    "channels": check_channels,
    "distance": check_distance,
    "residual": check_residual,
    "prelu": check_prelu,
    "softmax entropy": check_soft_targets,
    "softmax squared": lambda: check_soft_targets(squared=True),
    "row squares": lambda: check_loss(RowSquares()),
    "network": lambda: check_network(Linear(5, 9), Tanh(), Linear(9, 3), loss=RowSquares(), dtype="float32"),
    "threshold": lambda: verify_layer(Threshold(5, 3), (7, 5)),
    "block": lambda: verify_layer(Block(5), (7, 5)),
    "net": lambda: check_net(Net(5, 9, 4, 3)),
    "tanh net step": lambda: check_net(TanhNet(5, 9, 3), lr=0.1),
    "sigmoid net float32": lambda: check_net(SigmoidNet(5, 9, 3, dtype="float32")),
    "softmax net": lambda: check_net(SoftmaxNet(5, 9, 3)),
    "stack": check_stack,
    "neurons": check_neurons,
}


# --- the plants -------------------------------------------------------------------------------------------------------


def one(mistake: str, where: str, check: Any, *args: Any, **kwargs: Any) -> None:
    """Plant ``check(*args, **kwargs)``."""
    plant(mistake, where)(lambda: check(*args, **kwargs))


def in_network(mistake: str, where: str, *layers: Any, **kwargs: Any) -> None:
    one(mistake, where, lambda: check_network(*layers, **kwargs))


def in_net(
    mistake: str, where: str, net: type, sizes: tuple[int, ...], lr: float | None = None, **methods: Any
) -> None:
    one(mistake, where, check_net, subclass(net, **methods)(*sizes), lr=lr)


def subclass(base: type, **methods: Any) -> type:
    return type("My" + base.__name__, (base,), methods)


one("missing-batch-mean", "softmax cross-entropy in one function", check_classifier, lambda p, t: p - t)
one(
    "missing-batch-mean",
    "logistic regression, only the bias",
    check_logistic,
    lambda p, y: p - y,
    lambda x, dz: x.T @ dz / len(x),
)
one("missing-batch-mean", "logistic regression, float32", check_logistic, lambda p, y: p - y, dtype="float32")
one("missing-batch-mean", "columns as examples, 1/m forgotten everywhere", check_columns, divisor=lambda X: 1)
in_net("missing-batch-mean", "a net in loops", Net, (5, 9, 4, 3), d_out=lambda m, out, t: out - t)
one("missing-batch-mean", "a loss of the protocol", check_loss, RowSquares(lambda r: 2 * r))
in_network(
    "missing-batch-mean",
    "a network with its own loss, float32",
    *(Linear(5, 9), Tanh(), Linear(9, 3)),
    loss=RowSquares(lambda r: 2 * r),
    dtype="float32",
)


def averaged_linear(self, dy, cache, dW, db, need_dx=True):
    x, W = cache
    dW[:] = dy.T @ x / len(x)
    db[:] = dy.sum(axis=0)
    return dy @ W


one("batch-mean-twice", "cross-entropy, dW and dx", check_classifier, lambda p, t: (p - t) / len(t) / len(t))
one("batch-mean-twice", "cross-entropy, dW only", check_classifier, dW=lambda a, dz: a.T @ dz / len(dz))
one("batch-mean-twice", "logistic regression, dw", check_logistic, dw=lambda x, dz: x.T @ dz / len(x))
one("batch-mean-twice", "a linear layer in a layer's test", verify_layer, faulty(Linear, averaged_linear)(5, 3), (7, 5))
in_network(
    "batch-mean-twice", "a linear layer in a network", Linear(5, 9), ReLU(), faulty(Linear, averaged_linear)(9, 3)
)
in_net(
    "batch-mean-twice",
    "every step of a loop, compounding",
    Net,
    (5, 9, 4, 3),
    through=lambda m, i, d: d @ m.W[i].T * m.df(m.z[i - 1], m.a[i]) / len(d),
)
in_net(
    "batch-mean-twice",
    "dW and db of a net in loops",
    Net,
    (5, 9, 4, 3),
    layer_grads=lambda m, i, d: (m.a[i].T @ d / len(d), d.sum(axis=0) / len(d)),
)

one("wrong-divisor", "columns, divided by the inputs", check_columns, divisor=lambda X: X.shape[0])
one(
    "wrong-divisor",
    "mean over the steps, divided by the batch",
    check_pool,
    lambda dout, x: (np.zeros_like(x) + dout[:, None]) / len(x),
)
one("wrong-divisor", "cross-entropy divided by the classes", check_classifier, lambda p, t: (p - t) / t.shape[1])
one("wrong-divisor", "a sum over outputs divided by all elements", check_loss, RowSquares(lambda r: 2 * r / r.size))
one(
    "wrong-divisor",
    "MSE divided by the batch alone",
    check_loss,
    faulty_loss(MSE, lambda z, y: 2 * (z - y) / len(z)),
    dtype="float32",
)
in_network(
    "wrong-divisor",
    "MSE in a network",
    Linear(5, 9),
    Sigmoid(),
    Linear(9, 3),
    loss=faulty_loss(MSE, lambda z, y: 2 * (z - y) / len(z)),
)
in_net("wrong-divisor", "a net in loops, divided by B K", Net, (5, 9, 3), d_out=lambda m, out, t: (out - t) / out.size)

one("constant-factor", "the 2 of a square forgotten", check_columns, lambda A2, T: A2 - T)
in_net(
    "constant-factor",
    "a 2 that the half has cancelled, in an update",
    Net,
    (5, 9, 3),
    lr=0.1,
    d_out=lambda m, out, t: 2 * (out - t) / len(t),
)
in_net(
    "constant-factor", "the same, filled gradients", TanhNet, (5, 9, 3), d_out=lambda m, out, t: 2 * (out - t) / len(t)
)
one("constant-factor", "MSE of the protocol", check_loss, faulty_loss(MSE, lambda z, y: (z - y) / z.size))
one("constant-factor", "x squared", check_elementwise, lambda x: x * x, lambda dout, x: dout * x)
one("constant-factor", "one side of a distance", check_distance, lambda d, dout: -d * dout[:, None])
in_network(
    "constant-factor",
    "a loss in a network, float32",
    Linear(5, 9),
    ReLU(),
    Linear(9, 3),
    loss=RowSquares(lambda r: r / len(r)),
    dtype="float32",
)

one("wrong-sign", "y − p", check_classifier, lambda p, t: (t - p) / len(t))
one("wrong-sign", "logistic regression, float32", check_logistic, lambda p, y: (y - p) / len(y), dtype="float32")
one("wrong-sign", "the other side of a distance", check_distance, lambda d, dout: 2 * d * dout[:, None])
one("wrong-sign", "a threshold", verify_layer, subclass(Threshold, dtheta=lambda m, dy: dy.sum(axis=0))(5, 3), (7, 5))


class Ascent(TanhNet):
    def train_step(self, t, lr):
        self.backward(t)
        for i in range(len(self.W)):
            self.W[i] += lr * self.dW[i]
            self.b[i] += lr * self.db[i]


one("wrong-sign", "ascent", check_net, Ascent(5, 9, 3), lr=0.1)
in_network(
    "wrong-sign",
    "a threshold in a network",
    subclass(Threshold, dtheta=lambda m, dy: dy.sum(axis=0))(5, 9),
    Tanh(),
    Linear(9, 3),
)
one(
    "wrong-sign",
    "y − z in a loss of the protocol",
    verify_loss,
    faulty_loss(BCEWithLogits, lambda z, y: (y - sigmoid(z)) / z.size),
    logits=draw(z=(7, 3))["z"],
    y=np.eye(3)[Y],
)


def transposed_linear(self, dy, cache, dW, db, need_dx=True):
    x, W = cache
    dW[:] = x.T @ dy
    db[:] = dy.sum(axis=0)
    return dy @ W


one("transposed", "a square linear layer", verify_layer, faulty(Linear, transposed_linear)(5, 5), (7, 5))
in_network(
    "transposed",
    "a square linear layer in a network",
    Linear(5, 9),
    Tanh(),
    faulty(Linear, transposed_linear)(9, 9),
    ReLU(),
    Linear(9, 3),
)
one("transposed", "a rectangular dW, its shape wrong", check_affine, dW=lambda dout, x, W: dout.T @ x)
one("transposed", "a square dW", check_affine, dW=lambda dout, x, W: dout.T @ x, shape=(5, 5), dtype="float32")
one("transposed", "back through W for Wᵀ, square", check_affine, lambda dout, x, W: dout @ W, shape=(5, 5))
one("transposed", "keys of attention, as many as dimensions", check_attention, dk=lambda ds, q: q.T @ ds, n_keys=5)
one(
    "transposed",
    "unflattened without going back to channels first",
    check_flatten,
    lambda dflat, x: dflat.reshape(x.shape),
)
in_net(
    "transposed", "a square net in loops", TanhNet, (3, 3, 3), layer_grads=lambda m, i, d: (d.T @ m.a[i], d.sum(axis=0))
)

one("bias-not-summed", "affine, db = dout", check_affine, db=lambda dout: dout)
one("bias-not-summed", "affine, averaged", check_affine, db=lambda dout: dout.mean(axis=0))
one("bias-not-summed", "affine, over the outputs", check_affine, db=lambda dout: dout.sum(axis=1), shape=(5, 7))
one("bias-not-summed", "affine, summed over everything", check_affine, db=lambda dout: dout.sum(), dtype="float32")
one("bias-not-summed", "columns, db = dZ", check_columns, db=lambda dZ: dZ)
one("bias-not-summed", "logistic regression, db = dz", check_logistic, db=lambda dz: dz)
one("bias-not-summed", "channels, not over the length", check_channels, lambda dout: dout.sum(axis=0))
in_net(
    "bias-not-summed",
    "a net in loops, averaged",
    Net,
    (5, 9, 3),
    layer_grads=lambda m, i, d: (m.a[i].T @ d, d.mean(axis=0)),
)


def total_bias(self, dy, cache, dW, db, need_dx=True):
    x, W = cache
    dW[:] = dy.T @ x
    db[:] = np.sum(dy)
    return dy @ W


one("bias-not-summed", "a layer, all entries equal", verify_layer, faulty(Linear, total_bias)(5, 3), (7, 5))
in_network("bias-not-summed", "a layer in a network", Linear(5, 9), ReLU(), faulty(Linear, total_bias)(9, 3))


class UpdatesFirst(TanhNet):
    """Each layer is updated as soon as its gradient is known, and the rest goes back through the new weights."""

    def train_step(self, t, lr):
        d = self.d_out(self.a[-1], t)
        for i in reversed(range(len(self.W))):
            dW, db = self.layer_grads(i, d)
            self.W[i] -= lr * dW
            self.b[i] -= lr * db
            d = self.through(i, d) if i else d


class DenseUpdatesFirst(Dense):
    def backward(self, dy, lr):
        dz = dy * (1 - self.y**2)
        self.update(dz, lr)
        return dz @ self.W.T


class NeuronsUpdateFirst(Neurons):
    def step(self, x, t, lr):
        do = [(o - t[k]) * o * (1 - o) for k, o in enumerate(self.o)]
        self.update(do, lr)
        for j, d in enumerate(self.hidden_deltas(do)):
            self.hidden[j] -= lr * d * x


one("updated-weights", "a training step in a loop", check_net, UpdatesFirst(5, 9, 3), lr=0.1)
one("updated-weights", "a training step in a loop, three layers", check_net, UpdatesFirst(5, 9, 4, 3), lr=0.05)
one("updated-weights", "a list of layers that update themselves", check_stack, DenseUpdatesFirst)
one("updated-weights", "the same with a small learning rate", check_stack, DenseUpdatesFirst, lr=0.01)
one("updated-weights", "sums over neurons, one example", check_neurons, NeuronsUpdateFirst)
one(
    "updated-weights", "one function, W3 already stepped", check_deep, da2=lambda dz3, W3, dW3: dz3 @ (W3 - 0.1 * dW3).T
)

one("activation-derivative-missing", "ReLU in a classifier", check_classifier, dz1=lambda da1, z1: da1)
one("activation-derivative-missing", "the gate of an LSTM", check_gate, lambda dout, x, s: dout * x)
one("activation-derivative-missing", "tanh through time", check_rnn, lambda dh, h: dh)
one("activation-derivative-missing", "a sigmoid layer", verify_layer, faulty(Sigmoid, lambda m, dy, y: dy)(), (7, 5))
in_network(
    "activation-derivative-missing",
    "tanh in a network, float32",
    Linear(5, 9),
    faulty(Tanh, lambda m, dy, y: dy)(),
    Linear(9, 3),
    dtype="float32",
)
in_net("activation-derivative-missing", "a net in loops", TanhNet, (5, 9, 4, 3), df=lambda m, z, a: 1)
one("activation-derivative-missing", "first of two hidden layers", check_deep, lambda da1, x, a1, a2: da1)

in_net(
    "activation-derivative-wrong-argument",
    "σ′(a), which applies σ again",
    SigmoidNet,
    (5, 9, 4, 3),
    df=lambda m, z, a: sigmoid(a) * (1 - sigmoid(a)),
)
in_net("activation-derivative-wrong-argument", "z (1 − z)", SigmoidNet, (5, 9, 3), df=lambda m, z, a: z * (1 - z))
in_net(
    "activation-derivative-wrong-argument",
    "1 − z² in a tanh net, by its update",
    TanhNet,
    (5, 9, 3),
    lr=0.1,
    df=lambda m, z, a: 1 - z * z,
)
one(
    "activation-derivative-wrong-argument",
    "tanh′ of the output",
    check_elementwise,
    np.tanh,
    lambda dout, x: dout * (1 - np.tanh(np.tanh(x)) ** 2),
)
one(
    "activation-derivative-wrong-argument",
    "1 − x² for tanh, float32",
    check_elementwise,
    np.tanh,
    lambda dout, x: dout * (1 - x * x),
    dtype="float32",
)


def silu_back(self, dy, cache):
    x, s = cache
    y = x * s
    return dy * sigmoid(y) * (1 + y * (1 - sigmoid(y)))


one("activation-derivative-wrong-argument", "SiLU′ of the output", verify_layer, faulty(SiLU, silu_back)(), (7, 5))
in_network(
    "activation-derivative-wrong-argument",
    "eʸ for eˣ in an ELU",
    Linear(5, 9),
    faulty(ELU, lambda m, dy, x: np.where(x > 0, dy, dy * m.alpha * np.exp(np.minimum(m.forward(x)[0], 0))))(),
    Linear(9, 3),
)

one("activation-derivative-twice", "the gate of an LSTM", check_gate, dz=lambda ds, s: ds * s * (1 - s))
one("activation-derivative-twice", "tanh through time", check_rnn, lambda dh, h: dh * (1 - h * h) * (1 - h * h))
one(
    "activation-derivative-twice",
    "a tanh layer, float32",
    verify_layer,
    faulty(Tanh, lambda m, dy, y: dy * (1 - y * y) ** 2)(),
    (7, 5),
    dtype="float32",
)
in_network(
    "activation-derivative-twice",
    "a sigmoid in a network",
    Linear(5, 9),
    faulty(Sigmoid, lambda m, dy, y: dy * (y * (1 - y)) ** 2)(),
    Linear(9, 3),
)
in_net("activation-derivative-twice", "a net in loops", TanhNet, (5, 9, 4, 3), df=lambda m, z, a: (1 - a * a) ** 2)
in_net(
    "activation-derivative-twice",
    "the output's, in the loss and again",
    SigmoidNet,
    (5, 9, 3),
    d_out=lambda m, out, t: (out - t) * (out * (1 - out)) ** 2 / len(t),
)

one("wrong-layer-mask", "1 − a2² at the first layer", check_deep, lambda da1, x, a1, a2: da1 * (1 - a2**2))
one("wrong-layer-mask", "a residual block, the mask of its input", check_residual, lambda dout, z, x: dout * (x > 0))
in_net(
    "wrong-layer-mask",
    "ReLU, an index off by one",
    Net,
    (5, 9, 9, 9),
    through=lambda m, i, d: d @ m.W[i].T * (m.z[i] > 0),
)
in_net(
    "wrong-layer-mask",
    "tanh, an index off by one",
    TanhNet,
    (5, 5, 5, 3),
    through=lambda m, i, d: d @ m.W[i].T * (1 - m.a[i - 1] ** 2),
)
one(
    "wrong-layer-mask",
    "inside a block of two layers",
    verify_layer,
    subclass(Block, dz1=lambda m, da1, a1, a2: da1 * a2 * (1 - a2))(5),
    (7, 5),
)
in_network(
    "wrong-layer-mask",
    "a block in a network",
    Linear(5, 9),
    subclass(Block, dz1=lambda m, da1, a1, a2: da1 * a2 * (1 - a2))(9),
    Linear(9, 3),
)

one("leaky-slope-lost", "a leaky layer", verify_layer, faulty(LeakyReLU, lambda m, dy, x: dy * (x > 0))(0.2), (7, 5))
one("leaky-slope-lost", "a learned slope", check_prelu, lambda dout, x, a: dout * (x > 0))
one(
    "leaky-slope-lost",
    "a plain function, float32",
    check_elementwise,
    lambda x: np.maximum(0.01 * x, x),
    lambda dout, x: np.where(x > 0, dout, 0),
    dtype="float32",
)
in_net("leaky-slope-lost", "a net in loops", Net, (5, 9, 4, 3), f=lambda m, z: np.maximum(z, 0.1 * z))
in_network(
    "leaky-slope-lost",
    "a network, float32",
    Linear(5, 9),
    faulty(LeakyReLU, lambda m, dy, x: np.where(x > 0, dy, 0))(0.01),
    Linear(9, 3),
    dtype="float32",
)

one("kink-convention", "a ReLU layer", verify_layer, faulty(ReLU, lambda m, dy, x: dy * (x >= 0))(), (7, 5))
one(
    "kink-convention", "a ReLU function", check_elementwise, lambda x: np.maximum(x, 0), lambda dout, x: dout * (x >= 0)
)
one(
    "kink-convention",
    "a leaky function",
    check_elementwise,
    lambda x: np.where(x > 0, x, 0.1 * x),
    lambda dout, x: np.where(x >= 0, 1, 0.1) * dout,
)
one(
    "kink-convention",
    "a classifier with a blank row and no biases",
    check_classifier,
    dz1=lambda da1, z1: da1 * (z1 >= 0),
    x=np.vstack([draw(x=(6, 5))["x"], np.zeros((1, 5))]),
    b1=np.zeros(9),
)
one(
    "kink-convention",
    "MAE, sign(0) = 1",
    check_loss,
    faulty_loss(MAE, lambda z, y: np.where(z >= y, 1.0, -1.0) / z.size),
)
in_network(
    "kink-convention", "a ReLU in a network", Linear(5, 9), faulty(ReLU, lambda m, dy, x: dy * (x >= 0))(), Linear(9, 3)
)


def hinge(dm=lambda m: m >= 0):
    def svm(x, w, b, y):
        s = 2 * y - 1
        m = 1 - s * (x @ w + b)
        d = -s * dm(m) / len(x)
        return np.maximum(m, 0).mean(), {"dx": np.outer(d, w), "dw": x.T @ d, "db": d.sum()}

    x = np.vstack([draw(x=(6, 5))["x"], [0.0, 1.0, 0.0, 0.0, 0.0]])
    return verify_function(svm, None, x=x, w=np.array([0.5, 1.0, -0.5, 0.25, 2.0]), b=np.array(0.0), y=Y // 2)


one("kink-convention", "a hinge, one example on the margin", hinge)
CORRECT["hinge"] = lambda: hinge(lambda m: m > 0)

one("softmax-diagonal-only", "attention", check_attention, lambda dp, p: dp * p * (1 - p))
one("softmax-diagonal-only", "attention, float32", check_attention, lambda dp, p: dp * p * (1 - p), dtype="float32")
one(
    "softmax-diagonal-only",
    "a softmax layer",
    verify_layer,
    faulty(Softmax, lambda m, dy, y: dy * y * (1 - y))(),
    (7, 5),
)
in_network(
    "softmax-diagonal-only",
    "softmax and squares in a network",
    Linear(5, 3),
    faulty(Softmax, lambda m, dy, y: dy * y * (1 - y))(),
    loss=RowSquares(),
)
one("softmax-diagonal-only", "cross-entropy by way of dL/dp", check_soft_targets, lambda dp, p: dp * p * (1 - p))
one(
    "softmax-diagonal-only",
    "softmax and squared error",
    check_soft_targets,
    lambda dp, p: dp * p * (1 - p),
    squared=True,
)


def softmax_twice(x, W, b):
    q = softmax(x @ W + b)
    p = softmax(q)
    d = softmax_back((p - np.eye(3)[Y]) / len(x), q)
    return -np.log(p[np.arange(7), Y]).mean(), (d @ W.T, x.T @ d, d.sum(axis=0))


def torch_entropy(x, W, b):
    return F.cross_entropy(x @ W + b, torch.as_tensor(Y))


class TwiceNet(SoftmaxNet):
    """It ends in softmax, and its loss takes that for logits."""

    def value(self, out, t):
        return -np.sum(t * np.log(softmax(out))) / len(t)

    def d_out(self, out, t):
        return softmax_back((softmax(out) - t) / len(t), out)


def torch_net(x, y, **w):
    return F.cross_entropy(F.relu(x @ w["W.0"] + w["b.0"]) @ w["W.1"] + w["b.1"], y)


class ProbabilityEntropy(CrossEntropy):
    """Cross-entropy that takes a softmax first, and goes back through it."""

    def value_and_grad(self, logits, y):
        p = softmax(logits)
        value, dp = super().value_and_grad(p, y)
        return value, softmax_back(dp, p)


def torch_logits(logits, y):
    return F.cross_entropy(logits, torch.as_tensor(y))


one(
    "double-softmax",
    "one function, with torch's loss as the reference",
    verify_function,
    softmax_twice,
    None,
    reference=torch_entropy,
    **draw(x=(7, 5), W=(5, 3), b=(3,)),
)
one(
    "double-softmax",
    "one function, its own forward the reference",
    verify_function,
    softmax_twice,
    None,
    **draw(x=(7, 5), W=(5, 3), b=(3,)),
)
in_network("double-softmax", "a network that ends in softmax", Linear(5, 9), ReLU(), Linear(9, 3), Softmax())
one("double-softmax", "a net in loops, with a reference", check_net, TwiceNet(5, 9, 3), reference=torch_net)
one(
    "double-softmax",
    "a loss of the protocol, with a reference",
    verify_loss,
    ProbabilityEntropy(),
    draw(z=(7, 3))["z"],
    Y,
    reference=torch_logits,
)

one("loss-shortcut-misused", "softmax and squared error", check_soft_targets, lambda dp, p: dp, squared=True)
one("loss-shortcut-misused", "sigmoid and squared error", check_logistic, lambda p, y: (p - y) / len(y), squared=True)
in_net(
    "loss-shortcut-misused",
    "sigmoids and squared error in a net",
    SigmoidNet,
    (5, 9, 3),
    d_out=lambda m, out, t: (out - t) / len(t),
)
one("loss-shortcut-misused", "p (1 − p) on top, logistic", check_logistic, lambda p, y: (p - y) * p * (1 - p) / len(y))
one("loss-shortcut-misused", "p (1 − p) on top, softmax", check_classifier, lambda p, t: (p - t) * p * (1 - p) / len(t))
in_net(
    "loss-shortcut-misused",
    "p (1 − p) on top, a net in loops",
    SoftmaxNet,
    (5, 9, 3),
    d_out=lambda m, out, t: (out - t) * out * (1 - out) / len(t),
)
in_network(
    "loss-shortcut-misused",
    "p (1 − p) on top, a network's loss",
    Linear(5, 9),
    Tanh(),
    Linear(9, 3),
    loss=faulty_loss(BCEWithLogits, lambda z, y: (sigmoid(z) - y) * sigmoid(z) * (1 - sigmoid(z)) / z.size),
)
