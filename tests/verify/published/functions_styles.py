"""The same few computations in uncommon forms: state kept outside, lists of numbers, records, keyword arguments."""
# Names, randomness and returns are as their authors would have them.
# ruff: noqa: B905, E741

import math
from collections import namedtuple
from functools import partial, reduce
from types import SimpleNamespace

import numpy as np

from .cases import functions

rng = np.random.default_rng(14)


memory = {}


def forward_with_memory(X, W1, b1, W2, b2):
    memory["X"] = X
    memory["Z1"] = np.dot(X, W1) + b1
    memory["A1"] = np.tanh(memory["Z1"])
    memory["W2"] = W2
    return np.dot(memory["A1"], W2) + b2


def backward_with_memory(dZ2):
    grads = {"dW2": memory["A1"].T @ dZ2, "db2": dZ2.sum(0)}
    dZ1 = (dZ2 @ memory["W2"].T) * (1 - memory["A1"] ** 2)
    grads["dW1"] = memory["X"].T @ dZ1
    grads["db1"] = dZ1.sum(0)
    return grads


functions(
    "the cache a dict of the module, backward takes the upstream gradient only",
    forward_with_memory,
    backward_with_memory,
    {
        "X": rng.normal(size=(4, 3)),
        "W1": rng.normal(size=(3, 5)),
        "b1": np.zeros(5),
        "W2": rng.normal(size=(5, 2)),
        "b2": np.zeros(2),
    },
)


def scale_closure(x, w):
    y = x * w

    def pullback(dy):
        return dy * w, (dy * x).sum(axis=0)

    return y, pullback


functions(
    "forward returns its backward pass, a closure",
    scale_closure,
    lambda dy, pullback: pullback(dy),
    {"x": rng.normal(size=(4, 3)), "w": rng.normal(size=3)},
    adapter=True,
)


Cache = namedtuple("Cache", ["x", "w", "z"])


def namedtuple_forward(x, w, b):
    z = x @ w + b
    return np.tanh(z), Cache(x=x, w=w, z=z)


def namedtuple_backward(dout, cache):
    dz = dout / np.cosh(cache.z) ** 2
    Grads = namedtuple("Grads", "dx dw db")
    return Grads(dz @ cache.w.T, cache.x.T @ dz, dz.sum(0))


functions(
    "cache and gradients in named tuples",
    namedtuple_forward,
    namedtuple_backward,
    {"x": rng.normal(size=(4, 3)), "w": rng.normal(size=(3, 2)), "b": rng.normal(size=2)},
)


def context_forward(x, w):
    ctx = SimpleNamespace()
    ctx.x, ctx.w = x, w
    return x @ w, ctx


def context_backward(dout, ctx):
    return dout @ ctx.w.T, ctx.x.T @ dout


functions(
    "cache in a SimpleNamespace",
    context_forward,
    context_backward,
    {"x": rng.normal(size=(3, 4)), "w": rng.normal(size=(4, 2))},
)


def keyword_forward(x, *, weight, bias=None):
    out = x @ weight
    if bias is not None:
        out = out + bias
    return out


def keyword_backward(dout, *, x, weight, bias=None):
    dbias = dout.sum(axis=0) if bias is not None else None
    return dout @ weight.T, x.T @ dout, dbias


functions(
    "keyword arguments, a bias",
    keyword_forward,
    keyword_backward,
    {"x": rng.normal(size=(3, 4)), "weight": rng.normal(size=(4, 2)), "bias": rng.normal(size=2)},
)
functions(
    "keyword arguments, no bias, None for its gradient",
    keyword_forward,
    keyword_backward,
    {"x": rng.normal(size=(3, 4)), "weight": rng.normal(size=(4, 2))},
)


def network_of_lists(inputs, weights, bias):
    total = 0
    for x, w in zip(inputs, weights):
        total += x * w
    return 1 / (1 + math.exp(-(total + bias)))


def network_of_lists_backward(error, inputs, weights, bias):
    out = network_of_lists(inputs, weights, bias)
    delta = error * out * (1 - out)
    return [delta * w for w in weights], [delta * x for x in inputs], delta


functions(
    "one neuron of lists of floats and math.exp",
    network_of_lists,
    network_of_lists_backward,
    {"inputs": [0.2, -0.4, 1.5], "weights": [0.6, 0.1, -0.3], "bias": 0.05},
)


def nested_lists(x, W):
    x, W = np.array(x), np.array(W)
    return np.tanh(x @ W), (x, W)


def nested_lists_backward(dout, cache):
    x, W = cache
    d = dout * (1 - np.tanh(x @ W) ** 2)
    return d @ W.T, x.T @ d


functions(
    "nested lists made into arrays",
    nested_lists,
    nested_lists_backward,
    {"x": [[0.5, -1.0], [0.25, 2.0], [1.5, 0.1]], "W": [[0.1, 0.2, 0.3], [-0.4, 0.5, -0.6]]},
)


def activations_in_a_dict(X, params):
    cache = {"A0": X}
    for l in (1, 2):
        cache[f"Z{l}"] = cache[f"A{l - 1}"] @ params[f"W{l}"] + params[f"b{l}"]
        cache[f"A{l}"] = 1 / (1 + np.exp(-cache[f"Z{l}"]))
    return cache


def loss_of_the_dict(cache, y):
    return np.mean((cache["A2"] - y) ** 2)


def backward_of_the_dict(cache, params, y):
    grads = {}
    dA = 2 * (cache["A2"] - y) / y.size
    for l in (2, 1):
        dZ = dA * cache[f"A{l}"] * (1 - cache[f"A{l}"])
        grads[f"W{l}"] = cache[f"A{l - 1}"].T @ dZ
        grads[f"b{l}"] = np.sum(dZ, axis=0)
        dA = dZ @ params[f"W{l}"].T
    return grads


functions(
    "forward returns one dict, which the loss takes",
    activations_in_a_dict,
    backward_of_the_dict,
    {
        "X": rng.normal(size=(5, 3)),
        "params": {
            "W1": rng.normal(size=(3, 4)),
            "b1": rng.normal(size=4),
            "W2": rng.normal(size=(4, 1)),
            "b2": rng.normal(size=1),
        },
        "y": rng.uniform(size=(5, 1)),
    },
    loss=loss_of_the_dict,
)


def forward_prop(W1, b1, W2, b2, X):
    Z1 = W1 @ X + b1
    A1 = np.maximum(Z1, 0)
    Z2 = W2 @ A1 + b2
    A2 = np.exp(Z2) / np.sum(np.exp(Z2), axis=0)
    return Z1, A1, Z2, A2


def get_loss(A2, Y):
    return -np.mean(np.log(A2[Y, np.arange(Y.size)]))


def back_prop(Z1, A1, Z2, A2, W1, W2, X, Y):
    m = Y.size
    one_hot_Y = np.eye(A2.shape[0])[Y].T
    dZ2 = A2 - one_hot_Y
    dW2 = 1 / m * dZ2.dot(A1.T)
    db2 = 1 / m * np.sum(dZ2, axis=1, keepdims=True)
    dZ1 = W2.T.dot(dZ2) * (Z1 > 0)
    dW1 = 1 / m * dZ1.dot(X.T)
    db1 = 1 / m * np.sum(dZ1, axis=1, keepdims=True)
    return dW1, db1, dW2, db2


functions(
    "forward returns Z1, A1, Z2, A2, the prediction last",
    forward_prop,
    back_prop,
    {
        "W1": rng.normal(size=(4, 5)),
        "b1": rng.normal(size=(4, 1)),
        "W2": rng.normal(size=(3, 4)),
        "b2": rng.normal(size=(3, 1)),
        "X": rng.uniform(size=(5, 6)),
        "Y": rng.integers(0, 3, size=6),
    },
    loss=get_loss,
)


def power_forward(x, p):
    return np.power(x, p)


functions(
    "backward a partial of a general function",
    partial(power_forward, p=3),
    partial(lambda dout, x, p: dout * p * x ** (p - 1), p=3),
    {"x": rng.normal(size=(3, 2))},
)


def chain_forward(x, weights):
    return reduce(lambda a, w: np.tanh(a @ w), weights, x)


def chain_backward(dout, x, weights):
    acts = [x]
    for w in weights:
        acts.append(np.tanh(acts[-1] @ w))
    grads = []
    for w, a_in, a_out in list(zip(weights, acts, acts[1:]))[::-1]:
        dout = dout * (1 - a_out**2)
        grads.insert(0, a_in.T @ dout)
        dout = dout @ w.T
    return grads, dout


functions(
    "chain by reduce, a list of gradients before that of x",
    chain_forward,
    chain_backward,
    {"x": rng.normal(size=(3, 4)), "weights": [rng.normal(size=(4, 3)), rng.normal(size=(3, 3))]},
)


def typed_forward(x: np.ndarray, w: np.ndarray, b: float) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Computes w * x + b for each feature.

    Args:
        x: the inputs of shape (N, D)
        w: the scales of shape (D,)
        b: the offset

    Returns:
        the outputs and a cache
    """
    return x * w + b, {"x": x, "w": w}


def typed_backward(grad_output: np.ndarray, cache: dict[str, np.ndarray]) -> dict[str, np.ndarray | float]:
    """Returns the gradients of x, w and b."""
    return {
        "x": grad_output * cache["w"],
        "w": (grad_output * cache["x"]).sum(axis=0),
        "b": grad_output.sum().item(),
    }


functions(
    "type hints and docstrings, gradients named as the inputs",
    typed_forward,
    typed_backward,
    {"x": rng.normal(size=(4, 3)), "w": rng.normal(size=3), "b": 0.5},
)


def float32_step(x, h, W, U):
    x = x.astype(np.float32)
    h_new = np.tanh(np.dot(x, W) + np.dot(h, U), dtype=np.float32)
    return h_new, (x, h, W, U, h_new)


def float32_step_backward(dh, cache):
    x, h, W, U, h_new = cache
    da = (dh * (1 - h_new**2)).astype(np.float32)
    return da @ W.T, da @ U.T, x.T @ da, h.T @ da


functions(
    "recurrent step cast to float32 inside",
    float32_step,
    float32_step_backward,
    {
        "x": rng.normal(size=(3, 4)).astype(np.float32),
        "h": rng.normal(size=(3, 2)).astype(np.float32),
        "W": rng.normal(size=(4, 2)).astype(np.float32),
        "U": rng.normal(size=(2, 2)).astype(np.float32),
    },
)


def column_batch_one(x, W, b):
    x_col = x.reshape(-1, 1)
    return np.squeeze(W @ x_col + b), x_col


def column_batch_one_backward(dout, x_col, W):
    dout = dout.reshape(-1, 1)
    return (W.T @ dout).ravel(), dout @ x_col.T, dout


functions(
    "a vector made into a column and squeezed again",
    column_batch_one,
    column_batch_one_backward,
    {"x": rng.normal(size=4), "W": rng.normal(size=(3, 4)), "b": rng.normal(size=(3, 1))},
)


def ensemble(x, w1, w2):
    outs = np.stack([x @ w1, x @ w2])
    return outs.mean(axis=0), outs.shape[0]


def ensemble_backward(dout, x, w1, w2, n):
    g = np.broadcast_to(dout / n, (n, *dout.shape))
    dw1, dw2 = (x.T @ part for part in g)
    dx = g[0] @ w1.T
    dx += g[1] @ w2.T
    return dx, dw1, dw2


functions(
    "mean of two maps by stack, an int in the cache",
    ensemble,
    ensemble_backward,
    {"x": rng.normal(size=(3, 4)), "w1": rng.normal(size=(4, 2)), "w2": rng.normal(size=(4, 2))},
)


def train_step(X, y, W, b, verbose=False):
    z = X @ W + b
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    loss = -np.log(p[range(len(y)), y]).mean()
    if verbose:
        print(f"loss {loss:.4f}, accuracy {(p.argmax(1) == y).mean():.2%}")
    p[range(len(y)), y] -= 1
    p /= len(y)
    return loss, {"W": X.T @ p, "b": p.sum(0)}


functions(
    "softmax regression that prints its loss and accuracy",
    train_step,
    None,
    {
        "X": rng.normal(size=(6, 3)),
        "y": rng.integers(0, 4, size=6),
        "W": rng.normal(size=(3, 4)),
        "b": np.zeros(4),
        "verbose": True,
    },
)


def ragged_forward(sequences, w):
    return np.array([np.tanh(s @ w).sum() for s in sequences])


def ragged_backward(dout, sequences, w):
    dw = np.zeros_like(w)
    for d, s in zip(dout, sequences):
        dw += s.T @ (d * (1 - np.tanh(s @ w) ** 2))
    return dw


functions(
    "a list of sequences of different lengths",
    ragged_forward,
    ragged_backward,
    {"sequences": [rng.normal(size=(n, 3)) for n in (2, 4, 1)], "w": rng.normal(size=3)},
)
