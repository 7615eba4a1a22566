"""Affine maps and their kin as functions, in the conventions in which people write them."""
# Names, randomness and returns are as their authors would have them.
# ruff: noqa: A001, A002, RUF059

import numpy as np

from .cases import functions

rng = np.random.default_rng(0)


def affine_forward(x, w, b):
    N = x.shape[0]
    out = x.reshape(N, -1).dot(w) + b
    cache = (x, w, b)
    return out, cache


def affine_backward(dout, cache):
    x, w, b = cache
    dx = dout.dot(w.T).reshape(x.shape)
    dw = x.reshape(x.shape[0], -1).T.dot(dout)
    db = np.sum(dout, axis=0)
    return dx, dw, db


functions(
    "affine, x of shape (N, d1, d2) flattened, cache in a tuple",
    affine_forward,
    affine_backward,
    {"x": rng.normal(size=(4, 2, 3)), "w": rng.normal(size=(6, 5)), "b": rng.normal(size=5)},
)


def linear_forward(A_prev, W, b):
    Z = np.dot(W, A_prev) + b
    assert Z.shape == (W.shape[0], A_prev.shape[1])
    cache = {"A_prev": A_prev, "W": W, "b": b}
    return Z, cache


def linear_backward(dZ, cache):
    A_prev, W, b = cache["A_prev"], cache["W"], cache["b"]
    dW = np.dot(dZ, A_prev.T)
    db = np.sum(dZ, axis=1, keepdims=True)
    dA_prev = np.dot(W.T, dZ)
    assert dA_prev.shape == A_prev.shape
    assert dW.shape == W.shape
    assert db.shape == b.shape
    return dA_prev, dW, db


functions(
    "affine, samples as columns, bias (n, 1), cache in a dict",
    linear_forward,
    linear_backward,
    {"A_prev": rng.normal(size=(5, 7)), "W": rng.normal(size=(3, 5)), "b": rng.normal(size=(3, 1))},
)


def fc_forward(input, weight, bias):
    output = input @ weight.T + bias
    return output, [input, weight]


def fc_backward(grad_output, saved):
    weight = saved.pop()
    input = saved.pop()
    grad_input = grad_output @ weight
    grad_weight = grad_output.T @ input
    grad_bias = grad_output.sum(0)
    return grad_input, grad_weight, grad_bias


functions(
    "affine, W (out, in), list cache that is popped empty",
    fc_forward,
    fc_backward,
    {"input": rng.normal(size=(6, 4)), "weight": rng.normal(size=(3, 4)), "bias": rng.normal(size=3)},
)


def neuron(x, w, b):
    return x @ w + b


def neuron_backward(dz, x, w, b):
    dw = x.T @ dz
    db = float(np.sum(dz))
    dx = np.outer(dz, w)
    return dx, dw, db


functions(
    "neuron, bias a Python float, backward takes the inputs again",
    neuron,
    neuron_backward,
    {"x": rng.normal(size=(8, 3)), "w": rng.normal(size=3), "b": 0.3},
)


def dense(X, W, b):
    return X.dot(W) + b


def dense_grad(dY, X, W):
    grads = {}
    grads["dX"] = dY.dot(W.T)
    grads["dW"] = X.T.dot(dY)
    grads["db"] = dY.sum(axis=0, keepdims=True)
    return grads


functions(
    "affine, bias (1, n), gradients in a dict",
    dense,
    dense_grad,
    {"X": rng.normal(size=(5, 4)), "W": rng.normal(size=(4, 3)), "b": rng.normal(size=(1, 3))},
)


def layer_forward(x, W, b):
    z = np.dot(W, x) + b
    return z, x


def layer_backward(delta, x, W):
    dW = np.outer(delta, x)
    db = delta
    dx = np.dot(W.T, delta)
    return [dW, db, dx]


functions(
    "affine of a single one-dimensional sample, gradients in a list, dW first",
    layer_forward,
    layer_backward,
    {"x": rng.normal(size=5), "W": rng.normal(size=(3, 5)), "b": rng.normal(size=3)},
)


def row_times_matrix(x, W):
    return x @ W


def row_times_matrix_backward(dy, x, W):
    return dy @ W.T, x[:, None] * dy[None, :]


functions(
    "one-dimensional x @ W without a bias",
    row_times_matrix,
    row_times_matrix_backward,
    {"x": rng.normal(size=4), "W": rng.normal(size=(4, 6))},
)


def temporal_affine_forward(x, w, b):
    N, T, D = x.shape
    flat = x.reshape(-1, D)
    out = (flat.dot(w) + b).reshape(N, T, -1)
    return out, (flat, w, x.shape)


def temporal_affine_backward(dout, cache):
    flat, w, shape = cache
    d = dout.reshape(flat.shape[0], -1)
    return d.dot(w.T).reshape(shape), flat.T.dot(d), d.sum(axis=0)


functions(
    "affine at each step of a sequence",
    temporal_affine_forward,
    temporal_affine_backward,
    {"x": rng.normal(size=(3, 4, 5)), "w": rng.normal(size=(5, 6)), "b": rng.normal(size=6)},
)


def matmul_forward(A, B):
    return np.einsum("ij,jk->ik", A, B), {"A": A, "B": B}


def matmul_backward(dC, cache):
    A = cache.pop("A")
    B = cache.pop("B")
    dA = np.einsum("ik,jk->ij", dC, B)
    dB = np.einsum("ij,ik->jk", A, dC)
    return {"dA": dA, "dB": dB}


functions(
    "matrix product by einsum, dict cache that is popped",
    matmul_forward,
    matmul_backward,
    {"A": rng.normal(size=(3, 4)), "B": rng.normal(size=(4, 5))},
)


def bilinear_forward(x1, x2, W, b):
    y = np.zeros((x1.shape[0], W.shape[0]))
    for k in range(W.shape[0]):
        y[:, k] = np.sum(x1 @ W[k] * x2, axis=1)
    return y + b, (x1, x2, W)


def bilinear_backward(dy, cache):
    x1, x2, W = cache
    dx1, dx2, dW = np.zeros_like(x1), np.zeros_like(x2), np.zeros_like(W)
    for k in range(W.shape[0]):
        g = dy[:, k : k + 1]
        dx1 += g * (x2 @ W[k].T)
        dx2 += g * (x1 @ W[k])
        dW[k] = x1.T @ (g * x2)
    return dx1, dx2, dW, np.sum(dy, axis=0)


functions(
    "bilinear form with a loop over the outputs",
    bilinear_forward,
    bilinear_backward,
    {
        "x1": rng.normal(size=(4, 3)),
        "x2": rng.normal(size=(4, 5)),
        "W": rng.normal(size=(2, 3, 5)),
        "b": rng.normal(size=2),
    },
)


def relu_forward(x):
    return np.maximum(0, x), x


def relu_backward(dout, cache):
    return np.where(cache > 0, dout, 0)


def affine_relu_forward(x, w, b):
    a, fc_cache = affine_forward(x, w, b)
    out, relu_cache = relu_forward(a)
    cache = (fc_cache, relu_cache)
    return out, cache


def affine_relu_backward(dout, cache):
    fc_cache, relu_cache = cache
    da = relu_backward(dout, relu_cache)
    dx, dw, db = affine_backward(da, fc_cache)
    return dx, dw, db


functions(
    "affine and ReLU in one, a tuple of caches",
    affine_relu_forward,
    affine_relu_backward,
    {"x": rng.normal(size=(3, 2, 2)), "w": rng.normal(size=(4, 6)), "b": rng.normal(size=6)},
)


def linear_activation_forward(A_prev, W, b, activation):
    Z, linear_cache = linear_forward(A_prev, W, b)
    if activation == "sigmoid":
        A, activation_cache = 1 / (1 + np.exp(-Z)), Z
    elif activation == "relu":
        A, activation_cache = np.maximum(0, Z), Z
    return A, (linear_cache, activation_cache)


def linear_activation_backward(dA, cache, activation):
    linear_cache, activation_cache = cache
    Z = activation_cache
    if activation == "relu":
        dZ = np.array(dA, copy=True)
        dZ[Z <= 0] = 0
    elif activation == "sigmoid":
        s = 1 / (1 + np.exp(-Z))
        dZ = dA * s * (1 - s)
    assert dZ.shape == Z.shape
    return linear_backward(dZ, linear_cache)


for kind in ("relu", "sigmoid"):
    functions(
        f"affine and an activation chosen by a string: {kind}",
        linear_activation_forward,
        linear_activation_backward,
        {
            "A_prev": rng.normal(size=(4, 6)),
            "W": rng.normal(size=(3, 4)),
            "b": np.zeros((3, 1)),
            "activation": kind,
        },
    )


def inner_product_forward(data, params):
    k, n = params["w"].shape
    batch = data.shape[0]
    assert np.prod(data.shape[1:]) == k, "dimension mismatch"
    return data.reshape(batch, k) @ params["w"] + params["b"]


def inner_product_backward(diff, data, params):
    param_grad = {}
    param_grad["b"] = diff.sum(axis=0)
    param_grad["w"] = data.reshape(data.shape[0], -1).T @ diff
    input_od = (diff @ params["w"].T).reshape(data.shape)
    return param_grad, input_od


functions(
    "inner product layer, parameters in a dict, gradients (dict, array)",
    inner_product_forward,
    inner_product_backward,
    {"data": rng.normal(size=(3, 2, 2)), "params": {"w": rng.normal(size=(4, 3)), "b": rng.normal(size=3)}},
)


def linear_checked(x, w, b):
    if not isinstance(x, np.ndarray) or not isinstance(w, np.ndarray):
        raise TypeError("expected numpy arrays")
    x = np.atleast_2d(x)
    b = np.asarray(b)
    return np.matmul(x, w) + b


def linear_checked_backward(dout, x, w, b):
    if not isinstance(dout, np.ndarray):
        raise TypeError("expected a numpy array")
    x = np.atleast_2d(x)
    dout = np.array(dout, dtype=x.dtype)
    dx = np.matmul(dout, w.T)
    dw = np.matmul(x.T, dout)
    db = dout.sum(axis=0).reshape(b.shape)
    return dx, dw, db


functions(
    "affine in float32 with type checks and copies",
    linear_checked,
    linear_checked_backward,
    {
        "x": rng.normal(size=(5, 3)).astype(np.float32),
        "w": rng.normal(size=(3, 4)).astype(np.float32),
        "b": np.zeros(4, dtype=np.float32),
    },
)


def scale_shift(x, gamma, beta):
    return gamma * x + beta


def scale_shift_backward(dout, x, gamma):
    return dout * gamma, (dout * x).sum(axis=0), dout.sum(axis=0)


functions(
    "scale and shift of each feature",
    scale_shift,
    scale_shift_backward,
    {"x": rng.normal(size=(5, 4)), "gamma": rng.normal(size=4), "beta": rng.normal(size=4)},
)


def wx_plus_b(x, w, b=0.0):
    x = np.array(x, dtype=float)
    return np.array([w * xi + b for xi in x])


def wx_plus_b_backward(grad, x, w, b=0.0):
    dw, db = 0.0, 0.0
    for i in range(len(x)):
        dw += grad[i] * x[i]
        db += grad[i]
    return dw, db


functions(
    "line w * x + b with Python floats, a loop over the points, no gradient of x",
    wx_plus_b,
    wx_plus_b_backward,
    {"x": rng.normal(size=6), "w": 0.7, "b": -0.2},
)


def concat_linear(h, x, W, b):
    z = np.vstack((h, x))
    return W @ z + b, z


def concat_linear_backward(dout, z, h, W):
    dz = W.T @ dout
    dh, dx = dz[: h.shape[0], :], dz[h.shape[0] :, :]
    return dh, dx, dout @ z.T, dout.sum(axis=1, keepdims=True)


functions(
    "affine of two stacked inputs, samples as columns",
    concat_linear,
    concat_linear_backward,
    {
        "h": rng.normal(size=(3, 4)),
        "x": rng.normal(size=(5, 4)),
        "W": rng.normal(size=(6, 8)),
        "b": rng.normal(size=(6, 1)),
    },
)


def flatten_forward(x):
    return x.reshape(x.shape[0], -1), x.shape


def flatten_backward(dout, shape):
    return dout.reshape(shape)


functions("flatten", flatten_forward, flatten_backward, {"x": rng.normal(size=(2, 3, 4, 4))})


def word_embedding_forward(x, W):
    out = W[x]
    cache = (x, W.shape)
    return out, cache


def word_embedding_backward(dout, cache):
    x, shape = cache
    dW = np.zeros(shape)
    np.add.at(dW, x, dout)
    return dW


functions(
    "word embedding, np.add.at",
    word_embedding_forward,
    word_embedding_backward,
    {"x": rng.integers(0, 6, size=(3, 4)), "W": rng.normal(size=(6, 5))},
)


def lookup(word_ids, table):
    return np.array([table[i] for i in word_ids])


def lookup_backward(grad, word_ids, table):
    dtable = np.zeros_like(table)
    for n, i in enumerate(word_ids):
        dtable[i] += grad[n]
    return dtable


functions(
    "embedding by a loop over a list of ids, some of them twice",
    lookup,
    lookup_backward,
    {"word_ids": [2, 0, 2, 4, 1], "table": rng.normal(size=(5, 3))},
)


def embedding_bag_forward(idx, W):
    h = W[idx].mean(axis=1)
    return h, (idx, W)


def embedding_bag_backward(dh, cache):
    idx, W = cache
    dW = np.zeros_like(W)
    onehot = np.eye(W.shape[0])[idx]
    dW += np.einsum("ncv,nd->vd", onehot, dh) / idx.shape[1]
    return None, dW


functions(
    "mean of a window of embeddings, None for the indices",
    embedding_bag_forward,
    embedding_bag_backward,
    {"idx": rng.integers(0, 7, size=(4, 3)), "W": rng.normal(size=(7, 4))},
)
