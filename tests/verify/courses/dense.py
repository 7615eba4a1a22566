"""Fully connected layers and the small blocks that people build from them."""

import numpy as np

from tests.verify.courses.course import Course, draw


def affine_forward(x, w, b):
    """x has shape (N, d_1, ..., d_k), w (D, M), b (M,)."""
    N = x.shape[0]
    x_flat = x.reshape(N, -1)
    out = x_flat.dot(w) + b
    cache = (x, w, b)
    return out, cache


def affine_backward(dout, cache):
    x, w, _ = cache
    N = x.shape[0]
    x_flat = x.reshape(N, -1)
    dx = dout.dot(w.T).reshape(x.shape)
    dw = x_flat.T.dot(dout)
    db = np.sum(dout, axis=0)
    return dx, dw, db


def relu_forward(x):
    return np.maximum(0, x), x


def relu_backward(dout, cache):
    x = cache
    dx = dout.copy()
    dx[x <= 0] = 0
    return dx


def sandwich_forward(x, w1, b1, w2, b2):
    a, fc1_cache = affine_forward(x, w1, b1)
    h, relu_cache = relu_forward(a)
    out, fc2_cache = affine_forward(h, w2, b2)
    return out, (fc1_cache, relu_cache, fc2_cache)


def sandwich_backward(dout, cache):
    fc1_cache, relu_cache, fc2_cache = cache
    dh, dw2, db2 = affine_backward(dout, fc2_cache)
    da = relu_backward(dh, relu_cache)
    dx, dw1, db1 = affine_backward(da, fc1_cache)
    return dx, dw1, db1, dw2, db2


def linear_tanh_forward(A_prev, W, b):
    """Examples are columns: A_prev (n_prev, m), W (n, n_prev), b (n, 1)."""
    Z = np.dot(W, A_prev) + b
    A = np.tanh(Z)
    cache = {"A_prev": A_prev, "W": W, "A": A}
    return A, cache


def linear_tanh_backward(dA, cache):
    A_prev, W, A = cache["A_prev"], cache["W"], cache["A"]
    dZ = dA * (1 - np.power(A, 2))
    dW = np.dot(dZ, A_prev.T)
    db = np.sum(dZ, axis=1, keepdims=True)
    dA_prev = np.dot(W.T, dZ)
    return dA_prev, dW, db


def bilinear(u, v, W, b):
    """y[n, k] = u[n] W[k] v[n] + b[k]."""
    return np.einsum("ni,kij,nj->nk", u, W, v) + b


def bilinear_backward(dy, u, v, W):
    du = np.einsum("nk,kij,nj->ni", dy, W, v)
    dv = np.einsum("nk,kij,ni->nj", dy, W, u)
    dW = np.einsum("nk,ni,nj->kij", dy, u, v)
    db = dy.sum(axis=0)
    return du, dv, dW, db


def sigmoid(z):
    return 1.0 / (1.0 + np.exp(-z))


def highway_forward(x, W_h, b_h, W_t, b_t):
    h = np.tanh(x @ W_h + b_h)
    t = sigmoid(x @ W_t + b_t)  # the transform gate
    y = h * t + x * (1 - t)
    return y, (x, W_h, W_t, h, t)


def highway_backward(dy, cache):
    x, W_h, W_t, h, t = cache
    dh = dy * t
    dt = dy * (h - x)
    dx = dy * (1 - t)

    dpre_h = dh * (1 - h**2)
    dW_h = x.T @ dpre_h
    db_h = dpre_h.sum(0)
    dx += dpre_h @ W_h.T

    dpre_t = dt * t * (1 - t)
    dW_t = x.T @ dpre_t
    db_t = dpre_t.sum(0)
    dx += dpre_t @ W_t.T
    return dx, dW_h, db_h, dW_t, db_t


def glu_forward(x, W, b):
    """The gated linear unit: one half of the features gates the other half."""
    z = x @ W + b
    a, g = np.split(z, 2, axis=1)
    s = sigmoid(g)
    return a * s, {"x": x, "W": W, "a": a, "s": s}


def glu_backward(grad_out, cache):
    a, s = cache["a"], cache["s"]
    grad_a = grad_out * s
    grad_g = grad_out * a * s * (1 - s)
    grad_z = np.concatenate([grad_a, grad_g], axis=1)
    return {
        "x": grad_z @ cache["W"].T,
        "W": cache["x"].T @ grad_z,
        "b": grad_z.sum(axis=0),
    }


def maxout_forward(x, W, b):
    """W has shape (pieces, in, out), b (pieces, out)."""
    z = np.stack([x @ W[k] + b[k] for k in range(W.shape[0])])
    winner = np.argmax(z, axis=0)
    return z.max(axis=0), (x, W, winner)


def maxout_backward(dout, cache):
    x, W, winner = cache
    dx = np.zeros_like(x)
    dW = np.zeros_like(W)
    db = np.zeros((W.shape[0], W.shape[2]))
    for k in range(W.shape[0]):
        dz = dout * (winner == k)
        dx += dz @ W[k].T
        dW[k] = x.T @ dz
        db[k] = dz.sum(axis=0)
    return dx, dW, db


def residual_forward(x, W1, b1, W2, b2):
    z = x @ W1 + b1
    a = np.where(z > 0, z, 0.1 * z)
    y = x + a @ W2 + b2
    return y, (x, z, a, W1, W2)


def residual_backward(dy, cache):
    x, z, a, W1, W2 = cache
    db2 = dy.sum(axis=0)
    dW2 = a.T @ dy
    da = dy @ W2.T
    dz = da.copy()
    dz[z <= 0] *= 0.1
    db1 = dz.sum(axis=0)
    dW1 = x.T @ dz
    dx = dy + dz @ W1.T  # the shortcut and the branch
    return dx, dW1, db1, dW2, db2


def rbf_forward(x, centers, log_gamma):
    """Gaussian bumps around learned centers, each with a width of its own."""
    diff = x[:, None, :] - centers[None, :, :]
    dist2 = (diff**2).sum(axis=2)
    gamma = np.exp(log_gamma)
    phi = np.exp(-gamma * dist2)
    return phi, (diff, dist2, gamma, phi)


def rbf_backward(dphi, cache):
    diff, dist2, gamma, phi = cache
    dexponent = dphi * phi
    ddist2 = -dexponent * gamma
    dgamma = -(dexponent * dist2).sum(axis=0)
    ddiff = 2 * diff * ddist2[:, :, None]
    dx = ddiff.sum(axis=1)
    dcenters = -ddiff.sum(axis=0)
    dlog_gamma = dgamma * gamma
    return dx, dcenters, dlog_gamma


COURSES = [
    Course(
        "affine_flat",
        affine_forward,
        affine_backward,
        lambda: draw(1, x=(3, 2, 4), w=(8, 5), b=(5,)),
        (),
        ("x", "w", "b"),
    ),
    Course(
        "affine_relu_affine",
        sandwich_forward,
        sandwich_backward,
        lambda: draw(2, x=(3, 4), w1=(4, 6), b1=(6,), w2=(6, 5), b2=(5,)),
        (affine_backward, relu_backward),
        ("x", "w1", "b1", "w2", "b2"),
    ),
    Course(
        "linear_tanh_columns",
        linear_tanh_forward,
        linear_tanh_backward,
        lambda: draw(3, A_prev=(4, 5), W=(3, 4), b=(3, 1)),
        (),
        ("A_prev", "W", "b"),
    ),
    Course(
        "bilinear",
        bilinear,
        bilinear_backward,
        lambda: draw(4, u=(5, 3), v=(5, 4), W=(2, 3, 4), b=(2,)),
        (),
        ("u", "v", "W", "b"),
    ),
    Course(
        "highway",
        highway_forward,
        highway_backward,
        lambda: draw(5, x=(3, 4), W_h=(4, 4), b_h=(4,), W_t=(4, 4), b_t=(4,)),
        (),
        ("x", "W_h", "b_h", "W_t", "b_t"),
    ),
    Course(
        "glu",
        glu_forward,
        glu_backward,
        lambda: draw(6, x=(3, 5), W=(5, 8), b=(8,)),
        (),
        {"x": "x", "W": "W", "b": "b"},
    ),
    Course(
        "maxout", maxout_forward, maxout_backward, lambda: draw(7, x=(5, 4), W=(3, 4, 2), b=(3, 2)), (), ("x", "W", "b")
    ),
    Course(
        "residual_leaky",
        residual_forward,
        residual_backward,
        lambda: draw(8, x=(3, 4), W1=(4, 5), b1=(5,), W2=(5, 4), b2=(4,)),
        (),
        ("x", "W1", "b1", "W2", "b2"),
    ),
    Course(
        "rbf",
        rbf_forward,
        rbf_backward,
        lambda: draw(9, x=(5, 2), centers=(3, 2), log_gamma=(3,)),
        (),
        ("x", "centers", "log_gamma"),
    ),
]
