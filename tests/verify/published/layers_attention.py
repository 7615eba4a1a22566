"""Attention, residual blocks and containers as objects: layers made of layers."""

# The code is kept as published code is: its random numbers, names, returns and loops.
# ruff: noqa: F402, NPY002, RUF007

from collections import OrderedDict

import numpy as np

from tests.verify.published.cases import layer

rng = np.random.default_rng(61)


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


class SelfAttention:
    """One head; params and grads in dicts."""

    def __init__(self, d_model, d_k, seed=0):
        gen = np.random.default_rng(seed)
        self.params = {k: gen.normal(size=(d_model, d_k)) / np.sqrt(d_model) for k in ("Wq", "Wk", "Wv")}
        self.grads = {}
        self.scale = 1 / np.sqrt(d_k)

    def forward(self, x):
        self.x = x
        self.q, self.k, self.v = (x @ self.params[k] for k in ("Wq", "Wk", "Wv"))
        self.a = softmax(self.q @ self.k.transpose(0, 2, 1) * self.scale)
        return self.a @ self.v

    def backward(self, dout):
        dv = self.a.transpose(0, 2, 1) @ dout
        da = dout @ self.v.transpose(0, 2, 1)
        ds = self.a * (da - (da * self.a).sum(-1, keepdims=True)) * self.scale
        dq = ds @ self.k
        dk = ds.transpose(0, 2, 1) @ self.q
        dx = 0
        for name, d in (("Wq", dq), ("Wk", dk), ("Wv", dv)):
            self.grads[name] = np.einsum("btd,bte->de", self.x, d)
            dx = dx + d @ self.params[name].T
        return dx


layer("attention: one head", lambda: SelfAttention(6, 4), rng.normal(size=(2, 5, 6)))


class MultiHeadAttention:
    """Causal or not, with qkv in one matrix, as in GPT's code."""

    def __init__(self, n_embd, n_head, causal=True):
        np.random.seed(2)
        self.n_head = n_head
        self.causal = causal
        self.c_attn_w = np.random.randn(n_embd, 3 * n_embd) * 0.3
        self.c_attn_b = np.random.randn(3 * n_embd) * 0.1
        self.c_proj_w = np.random.randn(n_embd, n_embd) * 0.3
        self.c_proj_b = np.zeros(n_embd)

    def split(self, t):
        B, T, C = t.shape
        return t.reshape(B, T, self.n_head, C // self.n_head).transpose(0, 2, 1, 3)

    def merge(self, t):
        B, h, T, d = t.shape
        return t.transpose(0, 2, 1, 3).reshape(B, T, h * d)

    def forward(self, x):
        self.x = x
        q, k, v = (self.split(t) for t in np.split(x @ self.c_attn_w + self.c_attn_b, 3, axis=-1))
        att = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])
        if self.causal:
            T = x.shape[1]
            att = np.where(np.tril(np.ones((T, T), dtype=bool)), att, -1e10)
        att = softmax(att)
        self.qkv = q, k, v
        self.att = att
        self.y = self.merge(att @ v)
        return self.y @ self.c_proj_w + self.c_proj_b

    def backward(self, dout):
        q, k, v = self.qkv
        C = dout.shape[-1]
        self.c_proj_w_grad = self.y.reshape(-1, C).T @ dout.reshape(-1, C)
        self.c_proj_b_grad = dout.reshape(-1, C).sum(0)
        dy = self.split(dout @ self.c_proj_w.T)
        dv = self.att.swapaxes(-1, -2) @ dy
        datt = dy @ v.swapaxes(-1, -2)
        ds = self.att * (datt - (datt * self.att).sum(-1, keepdims=True)) / np.sqrt(q.shape[-1])
        dqkv = np.concatenate([self.merge(d) for d in (ds @ k, ds.swapaxes(-1, -2) @ q, dv)], axis=-1)
        self.c_attn_w_grad = self.x.reshape(-1, C).T @ dqkv.reshape(-1, 3 * C)
        self.c_attn_b_grad = dqkv.reshape(-1, 3 * C).sum(0)
        return dqkv @ self.c_attn_w.T


layer("attention: causal heads, qkv in one matrix", lambda: MultiHeadAttention(6, 2), rng.normal(size=(2, 4, 6)))
layer("attention: heads, not causal", lambda: MultiHeadAttention(8, 4, causal=False), rng.normal(size=(2, 3, 8)))


class AttentionPooling:
    """A learned query weighs the time steps."""

    def __init__(self, dim):
        self.query = np.random.default_rng(5).normal(size=dim)
        self.query_grad = None

    def forward(self, hs):
        self.hs = hs
        self.alpha = softmax(hs @ self.query, axis=1)
        return np.einsum("nt,nth->nh", self.alpha, hs)

    def backward(self, dc):
        dalpha = np.einsum("nh,nth->nt", dc, self.hs)
        ds = self.alpha * (dalpha - np.sum(self.alpha * dalpha, axis=1, keepdims=True))
        self.query_grad = np.einsum("nt,nth->h", ds, self.hs)
        return self.alpha[:, :, None] * dc[:, None, :] + ds[:, :, None] * self.query


layer("attention: pooling by a learned query", lambda: AttentionPooling(5), rng.normal(size=(3, 4, 5)))


class Layer:
    def params_and_grads(self):
        return []


class Linear(Layer):
    def __init__(self, n_in, n_out, gen):
        self.W = gen.normal(size=(n_in, n_out)) / np.sqrt(n_in)
        self.b = gen.normal(size=n_out) * 0.1

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward(self, dout):
        flat = dout.reshape(-1, dout.shape[-1])
        self.dW = self.x.reshape(-1, self.x.shape[-1]).T @ flat
        self.db = flat.sum(axis=0)
        return dout @ self.W.T

    def params_and_grads(self):
        return [(self.W, self.dW), (self.b, self.db)]


class ReLU(Layer):
    def forward(self, x):
        self.on = x > 0
        return x * self.on

    def backward(self, dout):
        return dout * self.on


class LayerNorm(Layer):
    def __init__(self, dim):
        self.gamma, self.beta = np.ones(dim), np.zeros(dim)

    def forward(self, x):
        self.inv = 1 / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5)
        self.xhat = (x - x.mean(axis=-1, keepdims=True)) * self.inv
        return self.gamma * self.xhat + self.beta

    def backward(self, dout):
        axes = tuple(range(dout.ndim - 1))
        self.dgamma = (dout * self.xhat).sum(axis=axes)
        self.dbeta = dout.sum(axis=axes)
        d = dout * self.gamma
        return self.inv * (d - d.mean(-1, keepdims=True) - self.xhat * (d * self.xhat).mean(-1, keepdims=True))

    def params_and_grads(self):
        return [(self.gamma, self.dgamma), (self.beta, self.dbeta)]


class Sequential(Layer):
    def __init__(self, *layers):
        self.layers = list(layers)

    def forward(self, x):
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, dout):
        for layer in reversed(self.layers):
            dout = layer.backward(dout)
        return dout

    def params_and_grads(self):
        return [pair for layer in self.layers for pair in layer.params_and_grads()]


class Residual(Layer):
    def __init__(self, block):
        self.block = block

    def forward(self, x):
        return x + self.block.forward(x)

    def backward(self, dout):
        return dout + self.block.backward(dout)

    def params_and_grads(self):
        return self.block.params_and_grads()


def make_mlp(*sizes, seed=0):
    gen = np.random.default_rng(seed)
    layers = []
    for n_in, n_out in zip(sizes[:-1], sizes[1:], strict=True):
        layers += [Linear(n_in, n_out, gen), ReLU()]
    return Sequential(*layers[:-1])


def make_residual(dim):
    return Residual(Sequential(LayerNorm(dim), make_mlp(dim, 2 * dim, dim, seed=1)))


layer("container: Sequential of Linear and ReLU", lambda: make_mlp(5, 8, 6, 3), rng.normal(size=(6, 5)))
layer("container: a residual block with a norm first", lambda: make_residual(4), rng.normal(size=(3, 4)))
layer(
    "container: residual blocks in a Sequential",
    lambda: Sequential(make_residual(3), make_residual(3), Linear(3, 2, np.random.default_rng(2))),
    rng.normal(size=(5, 3)),
)


class Affine:
    def __init__(self, W, b):
        self.W, self.b = W, b

    def forward(self, x):
        self.x = x
        return np.dot(x, self.W) + self.b

    def backward(self, dout):
        self.dW = np.dot(self.x.T, dout)
        self.db = np.sum(dout, axis=0)
        return np.dot(dout, self.W.T)


class OrderedStack:
    """An OrderedDict of layers whose arrays are those of self.params."""

    def __init__(self, sizes):
        r = np.random.RandomState(1)
        self.params = {}
        self.layers = OrderedDict()
        for i, (a, b) in enumerate(zip(sizes[:-1], sizes[1:], strict=True), start=1):
            self.params[f"W{i}"] = r.randn(a, b) * np.sqrt(1 / a)
            self.params[f"b{i}"] = np.zeros(b)
            self.layers[f"Affine{i}"] = Affine(self.params[f"W{i}"], self.params[f"b{i}"])
            self.layers[f"Relu{i}"] = ReLU()
        self.layers.popitem()

    def predict(self, x):
        for layer in self.layers.values():
            x = layer.forward(x)
        return x

    forward = predict

    def backward(self, dout):
        self.grads = {}
        for name, layer in reversed(self.layers.items()):
            dout = layer.backward(dout)
            if name.startswith("Affine"):
                i = name.removeprefix("Affine")
                self.grads["W" + i], self.grads["b" + i] = layer.dW, layer.db
        return dout


layer("container: OrderedDict of layers, params shared", lambda: OrderedStack([4, 6, 3]), rng.normal(size=(5, 4)))


class TransformerBlock:
    """Attention and feed-forward, each with a norm before and a path around."""

    def __init__(self, d_model, n_head):
        gen = np.random.default_rng(9)
        self.ln1, self.ln2 = LayerNorm(d_model), LayerNorm(d_model)
        self.attn = MultiHeadAttention(d_model, n_head)
        self.fc1 = Linear(d_model, 2 * d_model, gen)
        self.relu = ReLU()
        self.fc2 = Linear(2 * d_model, d_model, gen)

    def forward(self, x):
        x = x + self.attn.forward(self.ln1.forward(x))
        return x + self.fc2.forward(self.relu.forward(self.fc1.forward(self.ln2.forward(x))))

    def backward(self, dout):
        d = self.fc1.backward(self.relu.backward(self.fc2.backward(dout)))
        dout = dout + self.ln2.backward(d)
        return dout + self.ln1.backward(self.attn.backward(dout))


class SharedWeights:
    """The same layer twice: its gradient is the sum of both uses."""

    def __init__(self, dim):
        self.W = np.random.default_rng(3).normal(size=(dim, dim)) / np.sqrt(dim)

    def forward(self, x):
        self.a0 = x
        self.a1 = np.tanh(self.a0 @ self.W)
        self.a2 = np.tanh(self.a1 @ self.W)
        return self.a2

    def backward(self, dout):
        d2 = dout * (1 - self.a2**2)
        d1 = (d2 @ self.W.T) * (1 - self.a1**2)
        self.dW = self.a1.T @ d2 + self.a0.T @ d1
        return d1 @ self.W.T


class Concat:
    """Two branches side by side."""

    def __init__(self, *branches):
        self.branches = branches

    def forward(self, x):
        outs = [branch.forward(x) for branch in self.branches]
        self.splits = np.cumsum([out.shape[1] for out in outs])[:-1]
        return np.concatenate(outs, axis=1)

    def backward(self, dout):
        parts = np.split(dout, self.splits, axis=1)
        return sum(branch.backward(part) for branch, part in zip(self.branches, parts, strict=True))


layer("container: a transformer block of sub-layers", lambda: TransformerBlock(4, 2), rng.normal(size=(2, 3, 4)))
layer("container: the same weights twice", lambda: SharedWeights(5), rng.normal(size=(4, 5)))
layer(
    "container: two branches side by side",
    lambda: Concat(make_mlp(4, 3, seed=3), make_mlp(4, 5, 2, seed=4)),
    rng.normal(size=(3, 4)),
)
