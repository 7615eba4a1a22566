"""Functions of NumPy and SciPy that hand-written passes reach for, one or two to a case."""
# Names, randomness and returns are as their authors would have them.
# ruff: noqa: A002, B905

import numpy as np
from scipy import signal
from scipy.special import expit, log_softmax, logsumexp
from scipy.special import softmax as scipy_softmax

from .cases import derivative, functions

r = np.random.RandomState(13)


def silu(x):
    return x * expit(x)


def silu_grad(x):
    s = expit(x)
    return s * (1 + x * (1 - s))


derivative("silu by expit", silu, silu_grad, r.randn(3, 4))


def step_like_relu(Z):
    return np.maximum(Z, 0)


def step_like_relu_deriv(Z):
    return Z > 0


derivative("relu, its derivative of bools", step_like_relu, step_like_relu_deriv, r.randn(4, 5))
derivative("relu, its derivative of ints", step_like_relu, lambda Z: np.where(Z > 0, 1, 0), r.randn(4, 5))
derivative("relu, its derivative by heaviside", step_like_relu, lambda Z: np.heaviside(Z, 0), r.randn(6))


def piecewise_selu(x):
    return np.piecewise(x, [x > 0, x <= 0], [lambda v: 1.05 * v, lambda v: 1.75 * np.expm1(v)])


def piecewise_selu_prime(x):
    return np.piecewise(x, [x > 0], [1.05, lambda v: 1.75 * np.exp(v)])


derivative("selu by piecewise", piecewise_selu, piecewise_selu_prime, r.randn(4, 3))


def hard_tanh(x):
    return np.select([x < -1, x > 1], [-1.0, 1.0], default=x)


def hard_tanh_grad(x):
    return np.logical_and(x > -1, x < 1).astype(x.dtype)


derivative("hard tanh by select", hard_tanh, hard_tanh_grad, 2 * r.randn(3, 5))


def relu6(x):
    return np.minimum(np.maximum(0, x), 6)


derivative("relu6", relu6, lambda x: ((x > 0) & (x < 6)) * 1.0, 4 * r.randn(4, 4))


def log_sigmoid(x):
    return -np.logaddexp(0, -x)


derivative("log-sigmoid by logaddexp", log_sigmoid, lambda x: 1 / (1 + np.exp(x)), r.randn(8))


def mish(x):
    return x * np.tanh(np.log1p(np.exp(x)))


def mish_grad(x):
    t = np.tanh(np.log1p(np.exp(x)))
    return t + x * (1 - t**2) * expit(x)


derivative("mish", mish, mish_grad, r.randn(2, 6))
derivative("sine", np.sin, np.cos, r.randn(2, 3))
derivative("arc tangent", np.arctan, lambda x: 1 / (1 + x**2), r.randn(2, 3))
derivative("Gaussian", lambda x: np.exp(-(x**2)), lambda x: -2 * x * np.exp(-(x**2)), r.randn(5))
derivative("absolute value", np.abs, np.sign, r.randn(5))


def softmax_rows(X):
    return np.apply_along_axis(lambda v: np.exp(v) / np.exp(v).sum(), 1, X)


def softmax_rows_backward(dS, X):
    S = softmax_rows(X)
    return np.array([(np.diag(s) - s[:, None] @ s[None, :]) @ d for s, d in zip(S, dS)])


functions("softmax by apply_along_axis", softmax_rows, softmax_rows_backward, {"X": r.randn(4, 3)})


def scipy_cross_entropy(logits, y):
    logp = log_softmax(logits, axis=1)
    grad = scipy_softmax(logits, axis=1)
    grad[np.arange(len(y)), y] -= 1
    return -logp[np.arange(len(y)), y].sum(), grad


functions(
    "cross-entropy by SciPy's log_softmax",
    scipy_cross_entropy,
    None,
    {"logits": r.randn(5, 3), "y": r.randint(0, 3, size=5)},
)


def mixture_nll(x, mu, logits):
    log_pi = logits - logsumexp(logits)
    comp = -0.5 * (x[:, None] - mu[None, :]) ** 2 + log_pi
    total = logsumexp(comp, axis=1)
    resp = np.exp(comp - total[:, None])
    dmu = -(resp * (x[:, None] - mu[None, :])).sum(0)
    dlogits = len(x) * np.exp(log_pi) - resp.sum(0)
    return -total.sum(), (dmu, dlogits)


functions(
    "Gaussian mixture by logsumexp",
    mixture_nll,
    None,
    {"x": r.randn(8), "mu": r.randn(3), "logits": r.randn(3)},
)


def scipy_convolution(input, kernels, biases):
    output = np.copy(biases)
    for i in range(kernels.shape[0]):
        for j in range(kernels.shape[1]):
            output[i] += signal.correlate2d(input[j], kernels[i, j], "valid")
    return output


def scipy_convolution_backward(output_gradient, input, kernels):
    kernels_gradient = np.zeros(kernels.shape)
    input_gradient = np.zeros(input.shape)
    for i in range(kernels.shape[0]):
        for j in range(kernels.shape[1]):
            kernels_gradient[i, j] = signal.correlate2d(input[j], output_gradient[i], "valid")
            input_gradient[j] += signal.convolve2d(output_gradient[i], kernels[i, j], "full")
    return input_gradient, kernels_gradient, output_gradient


functions(
    "convolution by SciPy's correlate2d, a bias for each output",
    scipy_convolution,
    scipy_convolution_backward,
    {"input": r.randn(2, 5, 5), "kernels": r.randn(3, 2, 3, 3), "biases": r.randn(3, 3, 3)},
)


def numpy_convolution(x, w):
    return np.convolve(x, w, mode="valid")


def numpy_convolution_backward(dy, x, w):
    return np.correlate(dy, w, mode="full"), np.correlate(x, dy, mode="valid")[::-1]


functions(
    "convolution of a signal by np.convolve",
    numpy_convolution,
    numpy_convolution_backward,
    {"x": r.randn(9), "w": r.randn(3)},
)


def affine_with_out(x, W, b):
    y = np.empty((x.shape[0], W.shape[1]))
    np.matmul(x, W, out=y)
    np.add(y, b, out=y)
    np.maximum(y, 0, out=y)
    return y


def affine_with_out_backward(dy, x, W, b):
    y = affine_with_out(x, W, b)
    np.multiply(dy, y > 0, out=dy)
    return np.dot(dy, np.transpose(W)), np.dot(np.transpose(x), dy), np.add.reduce(dy, axis=0)


functions(
    "affine and ReLU with out arguments",
    affine_with_out,
    affine_with_out_backward,
    {"x": r.randn(4, 3), "W": r.randn(3, 5), "b": r.randn(5)},
)


def multivariate_nll(x, mu, precision):
    d = x - mu
    value = 0.5 * np.einsum("ni,ij,nj->", d, precision, d) - 0.5 * len(x) * np.log(np.linalg.det(precision))
    dmu = -np.sum(d @ precision, axis=0)
    dprecision = 0.5 * d.T @ d - 0.5 * len(x) * np.linalg.inv(precision).T
    return value, dmu, dprecision


root = r.randn(3, 3)
functions(
    "multivariate Gaussian by its precision, det and inv",
    multivariate_nll,
    None,
    {"x": r.randn(6, 3), "mu": r.randn(3), "precision": root @ root.T + np.eye(3)},
)


def solve(A, b):
    return np.linalg.solve(A, b)


def solve_backward(dx, A, b):
    x = np.linalg.solve(A, b)
    db = np.linalg.solve(A.T, dx)
    return -np.outer(db, x), db


functions("linear system", solve, solve_backward, {"A": r.randn(4, 4) + 4 * np.eye(4), "b": r.randn(4)})


def discounted(rewards, gamma):
    R, out = 0.0, []
    for reward in rewards[::-1]:
        R = reward + gamma * R
        out.insert(0, R)
    return np.array(out)


def discounted_backward(dout, rewards, gamma):
    d, carry = np.zeros(len(rewards)), 0.0
    for t in range(len(rewards)):
        carry = dout[t] + gamma * carry
        d[t] = carry
    return d


functions("discounted sums from the end", discounted, discounted_backward, {"rewards": r.randn(6), "gamma": 0.9})


def cumulative(x):
    return np.cumsum(x, axis=1)


functions(
    "cumulative sum",
    cumulative,
    lambda dout: np.flip(np.cumsum(np.flip(dout, axis=1), axis=1), axis=1),
    {"x": r.randn(3, 5)},
)


def top_k_mean(x, k):
    return np.sort(x, axis=1)[:, -k:].mean(axis=1), np.argsort(x, axis=1)[:, -k:]


def top_k_mean_backward(dout, idx, x, k):
    dx = np.zeros_like(x)
    dx[np.arange(len(x))[:, None], idx] = dout[:, None] / k
    return dx


functions("mean of the k largest by sort", top_k_mean, top_k_mean_backward, {"x": r.randn(4, 6), "k": 2})


def shift_mix(x, a):
    return x + a * np.roll(x, 1, axis=1)


functions(
    "mixing with a shifted copy by np.roll",
    shift_mix,
    lambda dy, x, a: (dy + a * np.roll(dy, -1, axis=1), np.sum(dy * np.roll(x, 1, axis=1))),
    {"x": r.randn(3, 5), "a": 0.4},
)


def product_pool(x):
    return np.prod(x, axis=-1)


functions(
    "product of the features",
    product_pool,
    lambda dout, x: dout[..., None] * np.prod(x, axis=-1, keepdims=True) / x,
    {"x": r.randn(4, 3) + 2},
)


def conv_over_ndindex(x, w):
    shape = (x.shape[0] - w.shape[0] + 1, x.shape[1] - w.shape[1] + 1)
    out = np.zeros(shape)
    for i, j in np.ndindex(*shape):
        out[i, j] = np.vdot(x[i : i + w.shape[0], j : j + w.shape[1]], w)
    return out


def conv_over_ndindex_backward(dout, x, w):
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for (i, j), d in np.ndenumerate(dout):
        dx[i : i + w.shape[0], j : j + w.shape[1]] += d * w
        dw += d * x[i : i + w.shape[0], j : j + w.shape[1]]
    return dx, dw


functions(
    "convolution over ndindex and vdot",
    conv_over_ndindex,
    conv_over_ndindex_backward,
    {"x": r.randn(5, 4), "w": r.randn(2, 3)},
)


def linear_with_insert(X, theta):
    X = np.insert(X, 0, 1, axis=1)
    return X @ theta


functions(
    "a column of ones by np.insert",
    linear_with_insert,
    lambda grad, X, theta: np.column_stack((np.ones(len(X)), X)).T @ grad,
    {"X": r.randn(6, 3), "theta": r.randn(4)},
)


def frobenius_and_trace(W, A):
    return np.trace(W.T @ A @ W) + np.linalg.norm(W, ord="fro") ** 2 + np.linalg.norm(W.ravel(), ord=1)


functions(
    "trace, Frobenius norm and norm of order one",
    frobenius_and_trace,
    lambda W, A: (A + A.T) @ W + 2 * W + np.sign(W),
    {"W": r.randn(4, 2), "A": r.randn(4, 4)},
)


def symmetric_fill(theta, n):
    S = np.zeros((n, n))
    S[np.triu_indices(n, k=1)] = theta
    S = S + S.T
    np.fill_diagonal(S, 1.0)
    return S


functions(
    "symmetric matrix of its upper triangle",
    symmetric_fill,
    lambda dS, theta, n: (dS + dS.T)[np.triu_indices(n, k=1)],
    {"theta": r.randn(6), "n": 4},
)


def crop_resize(x, rows, cols):
    return x[np.ix_(rows, cols)]


def crop_resize_backward(dout, x, rows, cols):
    dx = np.zeros(x.shape)
    np.add.at(dx, np.ix_(rows, cols), dout)
    return dx


functions(
    "rows and columns by np.ix_, one twice",
    crop_resize,
    crop_resize_backward,
    {"x": r.randn(4, 5), "rows": [0, 2, 2], "cols": [4, 1]},
)


def geometric_mean(x):
    return np.exp(np.log(x).mean(axis=1))


functions(
    "geometric mean of rows",
    geometric_mean,
    lambda dout, x: (dout * geometric_mean(x))[:, None] / x / x.shape[1],
    {"x": r.rand(4, 3) + 0.5},
)


def masked_mean(x, lengths):
    mask = np.arange(x.shape[1])[None, :] < np.array(lengths)[:, None]
    return (x * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1)[:, None], mask


def masked_mean_backward(dout, mask):
    return mask[:, :, None] * (dout / mask.sum(axis=1, keepdims=True))[:, None, :]


functions(
    "mean over steps of different lengths, a list of ints",
    masked_mean,
    masked_mean_backward,
    {"x": r.randn(3, 4, 2), "lengths": [4, 2, 1]},
)


def gather_scatter(x, senders, receivers, W):
    messages = x[senders] @ W
    out = np.zeros((x.shape[0], W.shape[1]))
    np.add.at(out, receivers, messages)
    return out


def gather_scatter_backward(dout, x, senders, receivers, W):
    dm = dout[receivers]
    dx = np.zeros_like(x)
    np.add.at(dx, senders, dm @ W.T)
    return dx, x[senders].T @ dm


functions(
    "messages over the edges of a graph",
    gather_scatter,
    gather_scatter_backward,
    {
        "x": r.randn(4, 3),
        "senders": np.array([0, 1, 1, 3, 2]),
        "receivers": np.array([1, 0, 2, 2, 0]),
        "W": r.randn(3, 5),
    },
)
