"""Activations as functions: forward and backward, or a function and its derivative."""
# Names, randomness and returns are as their authors would have them.
# ruff: noqa: B905, E731, RET504

import numpy as np
from scipy.special import erf

from .cases import derivative, functions

rng = np.random.default_rng(1)
r = np.random.RandomState(1)


def sigmoid(z):
    return 1.0 / (1.0 + np.exp(-z))


def sigmoid_prime(z):
    return sigmoid(z) * (1 - sigmoid(z))


derivative("sigmoid, derivative of the input", sigmoid, sigmoid_prime, rng.normal(size=(4, 3)))


def sigmoid_derivative(a):
    return a * (1 - a)


derivative("sigmoid, derivative of the output", sigmoid, sigmoid_derivative, rng.normal(size=(5, 1)))


def tanh(x):
    return np.tanh(x)


def tanh_derivative(a):
    return 1.0 - a**2


derivative("tanh, derivative of the output", tanh, tanh_derivative, rng.normal(size=(3, 6)))


def tanh_by_exp(x):
    return (np.exp(x) - np.exp(-x)) / (np.exp(x) + np.exp(-x))


def tanh_by_exp_prime(x):
    return 1 - np.power(tanh_by_exp(x), 2)


derivative("tanh by exponentials, derivative of the input", tanh_by_exp, tanh_by_exp_prime, rng.normal(size=7))


def relu(x):
    return np.maximum(x, 0)


def relu_grad(x):
    return (x > 0).astype(float)


derivative("relu, derivative a cast mask", relu, relu_grad, rng.normal(size=(4, 5)))


def relu_product(x):
    return x * (x > 0)


def relu_product_prime(x):
    return 1.0 * (x > 0)


derivative("relu as a product with a mask", relu_product, relu_product_prime, rng.normal(size=(4, 5)))


def relu_in_place(x):
    y = np.copy(x)
    y[y < 0] = 0
    return y


def relu_in_place_deriv(x):
    d = np.ones_like(x)
    d[x < 0] = 0
    return d


derivative("relu by writes into a copy", relu_in_place, relu_in_place_deriv, rng.normal(size=(3, 4)).astype(np.float32))


def leaky_relu(z, alpha=0.01):
    return np.where(z > 0, z, z * alpha)


def leaky_relu_prime(z, alpha=0.01):
    dz = np.ones_like(z)
    dz[z < 0] = alpha
    return dz


derivative("leaky relu with a default slope", leaky_relu, leaky_relu_prime, rng.normal(size=(4, 4)))


def elu(x, alpha=1.0):
    return np.where(x >= 0.0, x, alpha * (np.exp(x) - 1))


def elu_grad(x, alpha=1.0):
    return np.where(x >= 0.0, 1, elu(x, alpha) + alpha)


derivative("elu, the derivative calls elu", elu, elu_grad, rng.normal(size=(2, 5)))


def selu(x):
    alpha = 1.6732632423543772
    scale = 1.0507009873554805
    return scale * (np.maximum(0, x) + np.minimum(0, alpha * (np.exp(x) - 1)))


def selu_grad(x):
    alpha = 1.6732632423543772
    scale = 1.0507009873554805
    return scale * np.where(x > 0, 1.0, alpha * np.exp(x))


derivative("selu", selu, selu_grad, rng.normal(size=(4, 3)))


def softplus(x):
    return np.log(1 + np.exp(x))


def softplus_prime(x):
    return 1 / (1 + np.exp(-x))


derivative("softplus", softplus, softplus_prime, rng.normal(size=(3, 3)))

swish = lambda x: x * sigmoid(x)
swish_prime = lambda x: swish(x) + sigmoid(x) * (1 - swish(x))

derivative("swish, both lambdas", swish, swish_prime, rng.normal(size=(3, 4)))


def gelu(x):
    return 0.5 * x * (1 + erf(x / np.sqrt(2)))


def gelu_grad(x):
    cdf = 0.5 * (1 + erf(x / np.sqrt(2)))
    pdf = np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
    return cdf + x * pdf


derivative("gelu by erf", gelu, gelu_grad, rng.normal(size=(3, 4)))


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * np.power(x, 3))))


def gelu_tanh_grad(x):
    c = np.sqrt(2 / np.pi)
    t = np.tanh(c * (x + 0.044715 * x**3))
    dt = (1 - t * t) * c * (1 + 3 * 0.044715 * x**2)
    return 0.5 * (1 + t) + 0.5 * x * dt


derivative("gelu by tanh", gelu_tanh, gelu_tanh_grad, rng.normal(size=(3, 4)))


def hard_sigmoid(x):
    return np.clip(0.2 * x + 0.5, 0.0, 1.0)


def hard_sigmoid_grad(x):
    return 0.2 * ((x > -2.5) & (x < 2.5))


derivative("hard sigmoid by clip", hard_sigmoid, hard_sigmoid_grad, 2 * rng.normal(size=(3, 5)))


def identity(x):
    return x


def identity_prime(x):
    return np.ones(x.shape)


derivative("identity", identity, identity_prime, rng.normal(size=(2, 4)))


def softsign(x):
    return x / (np.abs(x) + 1)


def softsign_prime(x):
    return 1.0 / (np.abs(x) + 1) ** 2


derivative("softsign", softsign, softsign_prime, rng.normal(size=(2, 4)))


def scalar_relu(z):
    if z > 0:
        return z
    return 0.0


vector_relu = np.vectorize(scalar_relu, otypes=[float])


def vector_relu_prime(z):
    return np.array([[1.0 if v > 0 else 0.0 for v in row] for row in z])


derivative("relu, a scalar function vectorized", vector_relu, vector_relu_prime, rng.normal(size=(3, 4)))


def nonlin(x, deriv=False):
    if deriv:
        return x * (1 - x)
    return 1 / (1 + np.exp(-x))


derivative(
    "one function with a flag for its derivative", nonlin, lambda x: nonlin(x, deriv=True), rng.normal(size=(4, 4))
)


def sigmoid_forward(Z):
    A = 1 / (1 + np.exp(-Z))
    cache = Z
    return A, cache


def sigmoid_backward(dA, cache):
    Z = cache
    s = 1 / (1 + np.exp(-Z))
    dZ = dA * s * (1 - s)
    assert dZ.shape == Z.shape
    return dZ


functions("sigmoid, the cache is Z", sigmoid_forward, sigmoid_backward, {"Z": r.randn(3, 5)})


def stable_sigmoid(x):
    out = np.zeros_like(x)
    pos = x >= 0
    out[pos] = 1 / (1 + np.exp(-x[pos]))
    z = np.exp(x[~pos])
    out[~pos] = z / (1 + z)
    return out


def stable_sigmoid_backward(dout, out):
    return dout * out * (1.0 - out)


functions("sigmoid by two masks, backward takes the output", stable_sigmoid, stable_sigmoid_backward, {"x": r.randn(6)})


def relu_forward(x):
    mask = x <= 0
    out = x.copy()
    out[mask] = 0
    return out, mask


def relu_backward(dout, mask):
    dout[mask] = 0
    dx = dout
    return dx


functions("relu, a mask kept, dout written into", relu_forward, relu_backward, {"x": r.randn(4, 5)})


def lrelu_forward(x):
    out = x.copy()
    out[x < 0] *= 0.1
    return out, x


def lrelu_backward(dout, x):
    dx = dout.copy()
    dx[x < 0] *= 0.1
    return dx


functions("leaky relu by writes into a copy", lrelu_forward, lrelu_backward, {"x": r.randn(4, 5)})


def prelu_forward(x, a):
    return np.where(x > 0, x, a * x), (x, a)


def prelu_backward(dout, cache):
    x, a = cache
    dx = np.where(x > 0, dout, a * dout)
    da = np.sum(np.where(x > 0, 0, x) * dout, axis=0)
    return dx, da


functions("prelu, a slope per feature", prelu_forward, prelu_backward, {"x": r.randn(6, 4), "a": np.full(4, 0.25)})


def prelu_scalar(x, alpha):
    return np.maximum(0, x) + alpha * np.minimum(0, x)


def prelu_scalar_backward(dout, x, alpha):
    return dout * ((x > 0) + alpha * (x <= 0)), np.sum(dout * np.minimum(0, x))


functions("prelu, one slope, a float", prelu_scalar, prelu_scalar_backward, {"x": r.randn(6, 4), "alpha": 0.25})


def maxout_forward(x, W, b):
    z = np.einsum("ni,kio->nko", x, W) + b
    which = z.argmax(axis=1)
    return z.max(axis=1), (x, W, which)


def maxout_backward(dout, cache):
    x, W, which = cache
    K = W.shape[0]
    dz = np.zeros((x.shape[0], K, W.shape[2]))
    n, o = np.indices(which.shape)
    dz[n, which, o] = dout
    dx = np.einsum("nko,kio->ni", dz, W)
    dW = np.einsum("ni,nko->kio", x, dz)
    return dx, dW, dz.sum(axis=0)


functions(
    "maxout, three pieces",
    maxout_forward,
    maxout_backward,
    {"x": r.randn(4, 5), "W": r.randn(3, 5, 2), "b": r.randn(3, 2)},
)


def softmax(x):
    x = x - np.max(x, axis=1, keepdims=True)
    e = np.exp(x)
    return e / e.sum(axis=1, keepdims=True)


def softmax_backward(dout, out):
    dx = np.empty_like(dout)
    for i, (single_out, single_dout) in enumerate(zip(out, dout)):
        single_out = single_out.reshape(-1, 1)
        jacobian = np.diagflat(single_out) - np.dot(single_out, single_out.T)
        dx[i] = np.dot(jacobian, single_dout)
    return dx


functions("softmax, a Jacobian for each row by diagflat", softmax, softmax_backward, {"x": r.randn(4, 5)})


def softmax_forward(z):
    p = np.exp(z - z.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    return p, p


def softmax_vjp(dp, p):
    J = np.einsum("ij,jk->ijk", p, np.eye(p.shape[-1])) - np.einsum("ij,ik->ijk", p, p)
    return np.einsum("ijk,ik->ij", J, dp)


functions("softmax, all Jacobians by einsum", softmax_forward, softmax_vjp, {"z": r.randn(3, 6)})


def softmax_cols(Z):
    Z = Z - np.max(Z)
    return np.exp(Z) / np.sum(np.exp(Z), axis=0)


def softmax_cols_backward(dA, Z):
    s = softmax_cols(Z)
    return s * (dA - np.sum(dA * s, axis=0))


functions("softmax over columns, backward short", softmax_cols, softmax_cols_backward, {"Z": r.randn(4, 6)})


def softmax_1d(s):
    exps = [np.exp(v) for v in s]
    return np.array(exps) / np.sum(exps)


def softmax_1d_backward(grad, s):
    a = softmax_1d(s)
    jac = np.zeros((len(a), len(a)))
    for i in range(len(a)):
        for j in range(len(a)):
            if i == j:
                jac[i][j] = a[i] * (1 - a[i])
            else:
                jac[i][j] = -a[i] * a[j]
    return jac.T @ grad


functions("softmax of a vector, two loops over the Jacobian", softmax_1d, softmax_1d_backward, {"s": r.randn(5)})


def log_softmax(x):
    m = x.max(axis=1)[:, np.newaxis]
    return x - m - np.log(np.sum(np.exp(x - m), axis=1))[:, np.newaxis]


def log_softmax_backward(dout, out):
    return dout - np.exp(out) * np.sum(dout, axis=1)[:, np.newaxis]


functions("log softmax, backward takes the output", log_softmax, log_softmax_backward, {"x": r.randn(4, 5)})


def glu_forward(x):
    a, b = np.split(x, 2, axis=1)
    s = 1 / (1 + np.exp(-b))
    return a * s, (a, s)


def glu_backward(dout, cache):
    a, s = cache
    return np.concatenate((dout * s, dout * a * s * (1 - s)), axis=1)


functions("gated linear unit", glu_forward, glu_backward, {"x": r.randn(3, 8)})


def activation_forward(x, kind="tanh"):
    if kind == "tanh":
        y = np.tanh(x)
    elif kind == "softplus":
        y = np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0)
    else:
        raise ValueError(f"unknown activation {kind}")
    return y, {"x": x, "y": y, "kind": kind}


def activation_backward(dy, cache):
    if cache["kind"] == "tanh":
        return dy * (1 - cache["y"] ** 2)
    return dy / (1 + np.exp(-cache["x"]))


functions("activation by its name, default tanh", activation_forward, activation_backward, {"x": r.randn(3, 4)})
functions(
    "activation by its name, softplus",
    activation_forward,
    activation_backward,
    {"x": r.randn(3, 4), "kind": "softplus"},
)
