"""Fully connected layers with parameter objects, lazy weights, contexts, and what else libraries of their own have."""

# The code is kept as published code is: its random numbers, names, returns and loops.
# ruff: noqa: NPY002, RET504, RUF012

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np

from tests.verify.published.cases import functions, layer

rng = np.random.default_rng(12)


class Parameter:
    def __init__(self, data):
        self.data = data
        self.grad = np.zeros_like(data)

    @property
    def shape(self):
        return self.data.shape

    def zero_grad(self):
        self.grad.fill(0.0)


class Module(ABC):
    def __call__(self, *args):
        return self.forward(*args)

    @abstractmethod
    def forward(self, x): ...

    @abstractmethod
    def backward(self, grad_output): ...

    def parameters(self):
        return [value for value in vars(self).values() if isinstance(value, Parameter)]

    def zero_grad(self):
        for parameter in self.parameters():
            parameter.zero_grad()


class Linear(Module):
    """Gradients accumulate in .grad of parameters; the weight lies as torch's, (out, in)."""

    def __init__(self, in_features, out_features, bias=True, generator=None):
        generator = generator or np.random.default_rng(0)
        k = 1 / np.sqrt(in_features)
        self.weight = Parameter(generator.uniform(-k, k, size=(out_features, in_features)))
        self.bias = Parameter(generator.uniform(-k, k, size=out_features)) if bias else None

    def forward(self, x):
        self._x = x
        out = x @ self.weight.data.T
        if self.bias is not None:
            out = out + self.bias.data
        return out

    def backward(self, grad_output):
        self.weight.grad += grad_output.T @ self._x
        if self.bias is not None:
            self.bias.grad += grad_output.sum(0)
        return grad_output @ self.weight.data


layer("dense: Parameter objects with data and grad", lambda: Linear(5, 3), rng.normal(size=(8, 5)))
layer("dense: Parameter objects, no bias", lambda: Linear(5, 3, bias=False), rng.normal(size=(8, 5)))


class LinearAccumulating:
    def __init__(self, n_in, n_out, rng):
        self.W = rng.standard_normal((n_in, n_out)) * np.sqrt(2.0 / n_in)
        self.b = np.zeros(n_out)
        self.zero_grad()

    def zero_grad(self):
        self.dW = np.zeros_like(self.W)
        self.db = np.zeros_like(self.b)

    def forward(self, x):
        self.cache = x
        return x @ self.W + self.b

    def backward(self, dout):
        self.dW += self.cache.T @ dout
        self.db += dout.sum(axis=0)
        return dout @ self.W.T


layer(
    "dense: dW += with zero_grad",
    lambda: LinearAccumulating(6, 6, np.random.default_rng(4)),
    rng.normal(size=(5, 6)),
)


class LazyDense:
    """The first forward builds the weights."""

    def __init__(self, units, seed=None):
        self.units = units
        self.seed = seed
        self.kernel = None
        self.bias = None

    def build(self, input_dim):
        gen = np.random.default_rng(self.seed)
        scale = np.sqrt(2.0 / (input_dim + self.units))
        self.kernel = gen.normal(0.0, scale, size=(input_dim, self.units))
        self.bias = np.zeros(self.units)

    def forward(self, inputs):
        if self.kernel is None:
            self.build(inputs.shape[-1])
        self.inputs = inputs
        return inputs @ self.kernel + self.bias

    def backward(self, upstream):
        self.kernel_grad = self.inputs.T @ upstream
        self.bias_grad = upstream.sum(axis=0)
        return upstream @ self.kernel.T


layer("dense: weights built by the first forward", lambda: LazyDense(4, seed=9), rng.normal(size=(5, 9)))


class FullyConnected:
    def __init__(self, n_out):
        self.n_out = n_out

    def initialize(self, n_in):
        r = np.random.RandomState(42)
        self.w = r.normal(scale=0.3, size=(n_in, self.n_out))
        self.b = r.normal(scale=0.1, size=(1, self.n_out))
        return self

    def forward_pass(self, a_prev):
        self.a_prev = a_prev
        return np.einsum("ni,io->no", a_prev, self.w) + self.b

    def backward_pass(self, delta):
        self.grad_w = np.einsum("ni,no->io", self.a_prev, delta)
        self.grad_b = delta.sum(axis=0, keepdims=True)
        return np.einsum("no,io->ni", delta, self.w)


layer("dense: initialize(n_in), einsum, grad_w", lambda: FullyConnected(3).initialize(8), rng.normal(size=(4, 8)))


class LinearLayer:
    """Samples are columns; the bias is a column."""

    def __init__(self, input_shape, n_out, ini_type="xavier"):
        self.m = input_shape[1]
        np.random.seed(3)
        if ini_type == "xavier":
            self.params = {
                "W": np.random.randn(n_out, input_shape[0]) / np.sqrt(input_shape[0]),
                "b": np.zeros((n_out, 1)),
            }
        self.Z = np.zeros((self.params["W"].shape[0], input_shape[1]))

    def forward(self, A_prev):
        self.A_prev = A_prev
        self.Z = np.dot(self.params["W"], self.A_prev) + self.params["b"]
        return self.Z

    def backward(self, upstream_grad):
        self.dW = np.dot(upstream_grad, self.A_prev.T)
        self.db = np.sum(upstream_grad, axis=1, keepdims=True)
        self.dA_prev = np.dot(self.params["W"].T, upstream_grad)
        return self.dA_prev


layer("dense: samples are columns", lambda: LinearLayer((3, 6), 4), rng.normal(size=(3, 6)))


class LinearReturningAll:
    def __init__(self, W, b):
        self.W, self.b = W, b

    def forward(self, x):
        self.x = x
        return x.dot(self.W) + self.b

    def backward(self, dout):
        dx = dout.dot(self.W.T)
        dW = self.x.T.dot(dout)
        db = dout.sum(axis=0)
        return dx, dW, db


layer(
    "dense: backward returns dx, dW, db",
    lambda: LinearReturningAll(np.random.default_rng(1).normal(size=(4, 4)), np.linspace(-1, 1, 4)),
    rng.normal(size=(6, 4)),
)


class LinearWithGradsReturned:
    """The cache is a stack, popped in backward, so that the layer may be used twice in a graph."""

    def __init__(self, n_in, n_out, seed=0):
        gen = np.random.default_rng(seed)
        self.weights = gen.normal(size=(n_in, n_out)) / np.sqrt(n_in)
        self.bias = gen.normal(size=(n_out,)) * 0.01
        self._cache = []

    def forward(self, x):
        self._cache.append(x)
        return x @ self.weights + self.bias

    def backward(self, grad):
        x = self._cache.pop()
        grads = {"weights": x.T @ grad, "bias": grad.sum(0)}
        return grad @ self.weights.T, grads


layer("dense: pops its cache, returns (dx, grads)", lambda: LinearWithGradsReturned(5, 7), rng.normal(size=(3, 5)))


@dataclass
class DataclassLinear:
    in_dim: int
    out_dim: int
    seed: int = 0
    gradients: dict = field(default_factory=dict)

    def __post_init__(self):
        gen = np.random.default_rng(self.seed)
        self.weights = gen.normal(0, 0.5, (self.in_dim, self.out_dim))
        self.bias = gen.normal(0, 0.5, self.out_dim)

    def forward(self, x):
        self.x = x
        return x @ self.weights + self.bias

    def backward(self, dy):
        self.gradients = {"weights": self.x.T @ dy, "bias": dy.sum(axis=0)}
        return dy @ self.weights.T


layer("dense: a dataclass with self.gradients", lambda: DataclassLinear(4, 5), rng.normal(size=(7, 4)))


class SlotsLinear:
    __slots__ = ("W", "W_grad", "b", "b_grad", "x")

    def __init__(self, nin, nout):
        gen = np.random.default_rng(nin * nout)
        self.W = gen.standard_normal((nin, nout)).astype(np.float32) * 0.3
        self.b = np.zeros(nout, dtype=np.float32)
        self.W_grad = self.b_grad = self.x = None

    def __call__(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward(self, grad_out):
        self.W_grad = self.x.T @ grad_out
        self.b_grad = grad_out.sum(axis=0)
        return grad_out @ self.W.T


layer(
    "dense: __slots__ and __call__, float32",
    lambda: SlotsLinear(6, 3),
    rng.standard_normal((4, 6)).astype(np.float32),
)


class FullyConnectedLayer:
    def __init__(self, num_input, num_output):
        self.num_input = num_input
        self.num_output = num_output

    def init_param(self, std=0.01):
        np.random.seed(21)
        self.weight = np.random.normal(loc=0, scale=std, size=(self.num_input, self.num_output))
        self.bias = np.zeros([1, self.num_output])

    def forward(self, bottom):
        self.bottom = bottom
        self.top = np.matmul(bottom, self.weight) + self.bias
        return self.top

    def backward(self, top_diff):
        self.d_weight = np.matmul(self.bottom.T, top_diff)
        self.d_bias = np.matmul(np.ones([1, top_diff.shape[0]]), top_diff)
        bottom_diff = np.matmul(top_diff, self.weight.T)
        return bottom_diff

    def update_param(self, lr):
        self.weight = self.weight - lr * self.d_weight
        self.bias = self.bias - lr * self.d_bias

    def load_param(self, weight, bias):
        assert self.weight.shape == weight.shape
        self.weight = weight
        self.bias = bias


def make_fully_connected_layer():
    fc = FullyConnectedLayer(5, 4)
    fc.init_param(std=0.5)
    return fc


layer("dense: init_param, bottom and top_diff", make_fully_connected_layer, rng.normal(size=(6, 5)))


class Context:
    def __init__(self):
        self.saved_tensors = ()

    def save_for_backward(self, *tensors):
        self.saved_tensors = tensors


class LinearFunction:
    """As torch.autograd.Function, with NumPy arrays."""

    @staticmethod
    def forward(ctx, x, w, b):
        ctx.save_for_backward(x, w)
        return x @ w + b

    @staticmethod
    def backward(ctx, grad):
        x, w = ctx.saved_tensors
        return grad @ w.T, x.T @ grad, grad.sum(axis=0)


functions(
    "dense: a Function with ctx, x, w, b",
    LinearFunction.forward,
    LinearFunction.backward,
    {"ctx": Context(), "x": rng.normal(size=(4, 3)), "w": rng.normal(size=(3, 5)), "b": rng.normal(size=5)},
)


class FunctionModule:
    def __init__(self, n_in, n_out):
        gen = np.random.default_rng(77)
        self.w = gen.normal(size=(n_in, n_out))
        self.b = gen.normal(size=n_out)

    def forward(self, x):
        self.ctx = Context()
        return LinearFunction.forward(self.ctx, x, self.w, self.b)

    def backward(self, grad):
        dx, self.w_grad, self.b_grad = LinearFunction.backward(self.ctx, grad)
        return dx


layer("dense: a module that calls a Function", lambda: FunctionModule(4, 6), rng.normal(size=(3, 4)))


class DenseWithBiasRow:
    """The bias is the last row of W, against a column of ones."""

    def __init__(self, n_inputs, n_outputs):
        rs = np.random.RandomState(13)
        self.W = rs.normal(0, 1 / np.sqrt(n_inputs), (n_inputs + 1, n_outputs))

    def forward(self, X):
        self.X = np.hstack([X, np.ones((X.shape[0], 1))])
        return self.X.dot(self.W)

    def backprop(self, delta):
        self.dW = self.X.T.dot(delta)
        return delta.dot(self.W[:-1].T)


layer("dense: the bias is a row of W, backprop", lambda: DenseWithBiasRow(5, 3), rng.normal(size=(6, 5)))


class ActivatedDense:
    """The activation is part of the layer."""

    ACTIVATIONS = {
        "linear": (lambda z: z, lambda z: np.ones_like(z)),
        "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
        "sigmoid": (lambda z: 1 / (1 + np.exp(-z)), lambda z: np.exp(-z) / (1 + np.exp(-z)) ** 2),
        "softplus": (lambda z: np.log1p(np.exp(z)), lambda z: 1 / (1 + np.exp(-z))),
    }

    def __init__(self, n_in, n_out, activation="linear", seed=None):
        gen = np.random.default_rng(seed)
        self.W = gen.normal(size=(n_in, n_out)) * 0.4
        self.b = gen.normal(size=n_out) * 0.1
        self.g, self.g_prime = self.ACTIVATIONS[activation]

    def forward(self, X):
        self.X = X
        self.Z = X @ self.W + self.b
        self.A = self.g(self.Z)
        return self.A

    def backward(self, dA):
        dZ = dA * self.g_prime(self.Z)
        self.dW = self.X.T @ dZ
        self.db = dZ.sum(axis=0)
        return dZ @ self.W.T


for activation in ("tanh", "sigmoid", "softplus"):
    layer(
        f"dense: with {activation} inside",
        lambda activation=activation: ActivatedDense(4, 5, activation, seed=1),
        rng.normal(size=(5, 4)),
    )


class Highway:
    """y = t·h + (1 − t)·x, with a gate."""

    def __init__(self, size):
        np.random.seed(17)
        self.params = {
            "Wh": np.random.randn(size, size) / np.sqrt(size),
            "bh": np.zeros(size),
            "Wt": np.random.randn(size, size) / np.sqrt(size),
            "bt": -np.ones(size),
        }
        self.grads = {}

    def forward(self, x):
        p = self.params
        h = np.tanh(x @ p["Wh"] + p["bh"])
        t = 1 / (1 + np.exp(-(x @ p["Wt"] + p["bt"])))
        self.cache = x, h, t
        return t * h + (1 - t) * x

    def backward(self, dy):
        x, h, t = self.cache
        dh = dy * t * (1 - h * h)
        dt = dy * (h - x) * t * (1 - t)
        self.grads = {"Wh": x.T @ dh, "bh": dh.sum(0), "Wt": x.T @ dt, "bt": dt.sum(0)}
        return dy * (1 - t) + dh @ self.params["Wh"].T + dt @ self.params["Wt"].T


layer("dense: a highway layer", lambda: Highway(6), rng.normal(size=(4, 6)))


class Maxout:
    def __init__(self, n_in, n_out, pieces=3):
        gen = np.random.default_rng(5)
        self.W = gen.normal(size=(pieces, n_in, n_out))
        self.b = gen.normal(size=(pieces, 1, n_out))

    def forward(self, x):
        self.x = x
        z = np.matmul(x, self.W) + self.b
        self.winner = np.argmax(z, axis=0)
        return np.max(z, axis=0)

    def backward(self, dout):
        dz = np.zeros((self.W.shape[0], *dout.shape))
        np.put_along_axis(dz, self.winner[None], dout[None], axis=0)
        self.dW = np.matmul(self.x.T, dz)
        self.db = dz.sum(axis=1, keepdims=True)
        return np.matmul(dz, self.W.transpose(0, 2, 1)).sum(axis=0)


layer("dense: maxout", lambda: Maxout(4, 3), rng.normal(size=(5, 4)))
