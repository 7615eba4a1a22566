"""Layers that change shapes, pool averages, look rows up: little or nothing to learn."""

# The code is kept as published code is: its random numbers, names, returns and loops.
# ruff: noqa: A002, NPY002, RET501, RET504, RUF059

import numpy as np

from tests.verify.published.cases import functions, layer

rng = np.random.default_rng(42)


class AveragePool:
    def __init__(self, size=2):
        self.size = size

    def forward(self, x):
        N, C, H, W = x.shape
        s = self.size
        return x.reshape(N, C, H // s, s, W // s, s).mean(axis=(3, 5))

    def backward(self, dout):
        s = self.size
        return np.repeat(np.repeat(dout, s, axis=2), s, axis=3) / (s * s)


class MaxPoolMask:
    """The mask is made when the blocks are compared with their maximum."""

    def __init__(self, pool_size=(2, 2)):
        self.pool_size = pool_size

    def forward(self, inputs):
        n, c, h, w = inputs.shape
        ph, pw = self.pool_size
        blocks = inputs.reshape(n, c, h // ph, ph, w // pw, pw)
        out = blocks.max(axis=(3, 5))
        self.mask = blocks == out[:, :, :, None, :, None]
        self.in_shape = inputs.shape
        return out

    def backward(self, grads):
        return (self.mask * grads[:, :, :, None, :, None]).reshape(self.in_shape)


class GlobalAveragePooling:
    def forward(self, x):
        self.shape = x.shape
        return x.mean(axis=(2, 3))

    def backward(self, dout):
        N, C, H, W = self.shape
        return np.broadcast_to(dout[:, :, None, None] / (H * W), self.shape)


class Flatten:
    def __init__(self, input_shape=None):
        self.prev_shape = None
        self.trainable = True
        self.input_shape = input_shape

    def forward_pass(self, X, training=True):
        self.prev_shape = X.shape
        return X.reshape((X.shape[0], -1))

    def backward_pass(self, accum_grad):
        return accum_grad.reshape(self.prev_shape)


class Reshape:
    def __init__(self, *shape):
        self.shape = shape

    def forward(self, input):
        self.input_shape = input.shape
        return np.reshape(input, (input.shape[0], *self.shape))

    def backward(self, output_gradient, learning_rate=0.1):
        return np.reshape(output_gradient, self.input_shape)


class UpSampling2D:
    def __init__(self, size=2):
        self.size = size

    def forward(self, X):
        self.prev_shape = X.shape
        return X.repeat(self.size, axis=2).repeat(self.size, axis=3)

    def backward(self, G):
        N, C, H, W = self.prev_shape
        return G.reshape(N, C, H, self.size, W, self.size).sum((3, 5))


class ZeroPadding2D:
    def __init__(self, padding):
        self.padding = padding

    def forward(self, X):
        p = self.padding
        return np.pad(X, ((0, 0), (0, 0), (p, p), (p, p)), mode="constant")

    def backward(self, accum_grad):
        p = self.padding
        return accum_grad[:, :, p:-p, p:-p]


class Repeat:
    """One row to N, as the book's repeat node."""

    def __init__(self, n):
        self.n = n

    def forward(self, x):
        return np.repeat(x, self.n, axis=0)

    def backward(self, dy):
        return np.sum(dy, axis=0, keepdims=True)


images = rng.normal(size=(2, 3, 4, 6))
layer("pool: average by reshape", AveragePool, images)
layer("pool: max by a mask", MaxPoolMask, images)
layer("pool: global average", GlobalAveragePooling, images)
layer("shape: Flatten with forward_pass", Flatten, images)
layer("shape: Reshape with an unused learning rate", lambda: Reshape(6, 3, 4), images)
layer("shape: upsampling", UpSampling2D, rng.normal(size=(2, 2, 3, 3)))
layer("shape: zero padding", lambda: ZeroPadding2D(1), rng.normal(size=(2, 2, 3, 4)))
layer("shape: a row repeated", lambda: Repeat(7), rng.normal(size=(1, 8)))


class MulLayer:
    """The apple's price and the number of apples."""

    def __init__(self):
        self.x = None
        self.y = None

    def forward(self, x, y):
        self.x = x
        self.y = y
        out = x * y
        return out

    def backward(self, dout):
        dx = dout * self.y
        dy = dout * self.x
        return dx, dy


mul = MulLayer()
functions(
    "node: MulLayer with two inputs", mul.forward, mul.backward, {"x": rng.normal(size=3), "y": rng.normal(size=3)}
)


class Embedding:
    """The book's: integer ids come in, rows go out; there is no gradient of the input."""

    def __init__(self, W):
        self.params = [W]
        self.grads = [np.zeros_like(W)]
        self.idx = None

    def forward(self, idx):
        (W,) = self.params
        self.idx = idx
        out = W[idx]
        return out

    def backward(self, dout):
        (dW,) = self.grads
        dW[...] = 0
        np.add.at(dW, self.idx, dout)
        return None


class EmbeddingTable:
    """One-hot by hand; the ids are (batch, time)."""

    def __init__(self, vocab_size, dim):
        np.random.seed(6)
        self.weights = np.random.uniform(-0.5, 0.5, (vocab_size, dim))
        self.weights_grad = np.zeros_like(self.weights)

    def forward(self, tokens):
        self.tokens = tokens
        return self.weights[tokens]

    def backward(self, grad_output):
        one_hot = np.eye(len(self.weights))[self.tokens.reshape(-1)]
        self.weights_grad = one_hot.T @ grad_output.reshape(-1, self.weights.shape[1])


class EmbeddingDot:
    """Scores of targets, for negative sampling: two gradients, of the hidden rows and of the table."""

    def __init__(self, W, idx):
        self.W, self.idx = W, idx

    def forward(self, h):
        self.h = h
        self.target_W = self.W[self.idx]
        return np.sum(self.target_W * h, axis=1)

    def backward(self, dout):
        dout = dout.reshape(dout.shape[0], 1)
        self.dW = np.zeros_like(self.W)
        np.add.at(self.dW, self.idx, dout * self.h)
        return dout * self.target_W


def table(rows, columns):
    return np.random.default_rng(rows).normal(size=(rows, columns))


layer("embedding: the book's, params and grads", lambda: Embedding(table(7, 4)), np.array([0, 3, 3, 6, 1]))
layer("embedding: ids over time, backward returns nothing", lambda: EmbeddingTable(9, 3), rng.integers(0, 9, (3, 5)))
layer(
    "embedding: dot product with chosen rows",
    lambda: EmbeddingDot(table(6, 5), np.array([2, 0, 2, 5])),
    rng.normal(size=(4, 5)),
)
