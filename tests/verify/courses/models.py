"""Regressions, embeddings, mixtures and toys from physics, with the gradients of their parameters."""

import numpy as np

from tests.verify.courses.course import Course, draw


def linear_regression(X, y, theta):
    """Half the mean squared error of X theta, as in the first week of every course."""
    m = len(y)
    error = X.dot(theta) - y
    J = 1 / (2 * m) * np.sum(error**2)
    grad = np.zeros_like(theta)
    for j in range(len(theta)):
        grad[j] = 1 / m * np.sum(error * X[:, j])
    return J, grad


LAM = 0.7  # the weight of the penalty


def ridge(w, b, X, y):
    residual = X @ w + b - y
    return residual @ residual + LAM * w @ w


def ridge_grad(w, b, X, y):
    residual = X @ w + b - y
    dw = 2 * X.T @ residual
    dw += 2 * LAM * w
    db = np.full_like(b, 2 * residual.sum())
    return dw, db


def logistic_cost(w, b, X, Y):
    """Columns are examples; returns the cost and its gradients."""
    m = X.shape[1]
    A = 1 / (1 + np.exp(-(np.dot(w.T, X) + b)))
    cost = -1 / m * np.sum(Y * np.log(A) + (1 - Y) * np.log(1 - A))
    dZ = A - Y
    dw = 1 / m * np.dot(X, dZ.T)
    db = 1 / m * np.sum(dZ, axis=1, keepdims=True)
    grads = {"dw": dw, "db": db}
    return cost, grads


def softmax_regression(W, X, y, reg=0.2):
    """By loops over examples and classes."""
    loss = 0.0
    dW = np.zeros_like(W)
    N, C = X.shape[0], W.shape[1]
    for i in range(N):
        f = X[i] @ W
        f -= f.max()
        p = np.exp(f) / np.exp(f).sum()
        loss -= np.log(p[y[i]])
        for c in range(C):
            dW[:, c] += (p[c] - (c == y[i])) * X[i]
    loss = loss / N + reg * np.sum(W**2)
    dW = dW / N + 2 * reg * W
    return loss, (dW,)


def poisson_regression(X, counts, beta):
    log_rate = X @ beta
    rate = np.exp(log_rate)
    nll = np.sum(rate - counts * log_rate)
    score = X.T @ (rate - counts)
    return nll, score


def matrix_factorization(U, V, bu, bi, users, items, ratings, lam=0.1):
    """Squared errors of the known ratings, one at a time, with a penalty for each use of a vector."""
    loss = 0.0
    dU, dV = np.zeros_like(U), np.zeros_like(V)
    dbu, dbi = np.zeros_like(bu), np.zeros_like(bi)
    for u, i, r in zip(users, items, ratings, strict=True):
        e = U[u] @ V[i] + bu[u] + bi[i] - r
        loss += e**2 + lam * (U[u] @ U[u] + V[i] @ V[i])
        dU[u] += 2 * e * V[i] + 2 * lam * U[u]
        dV[i] += 2 * e * U[u] + 2 * lam * V[i]
        dbu[u] += 2 * e
        dbi[i] += 2 * e
    return loss, (dU, dV, dbu, dbi)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def negative_sampling(center, outside, negatives, V, U):
    """Skip-gram: the center's vector should fit the outside word and none of the negatives."""
    v = V[center]
    loss = -np.log(sigmoid(U[outside] @ v)).sum()
    for k in negatives:
        loss -= np.log(sigmoid(-(U[k] @ v)))
    return loss, (v, U)


def negative_sampling_backward(center, outside, negatives, V, cache):
    v, U = cache
    grad_V = np.zeros_like(V)
    grad_U = np.zeros_like(U)
    g = sigmoid(U[outside] @ v) - 1
    grad_V[center] += g @ U[outside]
    np.add.at(grad_U, outside, np.outer(g, v))
    for k in negatives:
        g = sigmoid(U[k] @ v)
        grad_U[k] += g * v
        grad_V[center] += g * U[k]
    return grad_V, grad_U


def skipgram_softmax(center, context, W_in, W_out):
    """The full softmax over the vocabulary, for a window of context words."""
    h = W_in[center]
    u = h @ W_out
    y = np.exp(u - u.max())
    y /= y.sum()
    loss = -np.sum(np.log(y[context]))
    EI = np.zeros_like(y)
    for word in context:
        e = y.copy()
        e[word] -= 1
        EI += e
    dW_out = np.outer(h, EI)
    dW_in = np.zeros_like(W_in)
    dW_in[center] = W_out @ EI
    return loss, {"W_in": dW_in, "W_out": dW_out}


def gaussian_mixture(x, logits, mu, log_sigma):
    """The negative log-likelihood of points on a line under a mixture of Gaussians."""
    log_pi = logits - np.log(np.sum(np.exp(logits)))
    z = (x[:, None] - mu) / np.exp(log_sigma)
    log_joint = log_pi - log_sigma - 0.5 * np.log(2 * np.pi) - 0.5 * z**2
    top = log_joint.max(axis=1, keepdims=True)
    log_lik = top[:, 0] + np.log(np.exp(log_joint - top).sum(axis=1))
    return -log_lik.sum(), (log_pi, z, log_sigma, log_joint, log_lik)


def gaussian_mixture_backward(cache):
    log_pi, z, log_sigma, log_joint, log_lik = cache
    resp = np.exp(log_joint - log_lik[:, None])
    total = resp.sum(axis=0)
    dlogits = len(z) * np.exp(log_pi) - total
    dmu = -np.sum(resp * z, axis=0) / np.exp(log_sigma)
    dlog_sigma = total - np.sum(resp * z**2, axis=0)
    return dlogits, dmu, dlog_sigma


def factorization_machine(x, w0, w, V):
    """x (N, D), V (D, K): all pairs of features at the cost of a square."""
    s = x @ V
    pairs = 0.5 * np.sum(s**2 - x**2 @ V**2, axis=1)
    return w0 + x @ w + pairs


def factorization_machine_backward(dy, x, w, V):
    s = x @ V
    dw0 = np.array([dy.sum()])
    dw = x.T @ dy
    dV = np.zeros_like(V)
    dx = np.outer(dy, w)
    for n in range(len(x)):
        dV += dy[n] * (np.outer(x[n], s[n]) - (x[n] ** 2)[:, None] * V)
        dx[n] += dy[n] * (V @ s[n] - x[n] * np.sum(V**2, axis=1))
    return dx, dw0, dw, dV


def spring_energy(pos, edges, stiffness, rest):
    """The energy of springs between points, with the force that each point feels against it."""
    energy = 0.0
    grad = np.zeros_like(pos)
    dstiffness = np.zeros_like(stiffness)
    drest = np.zeros_like(rest)
    for s, (i, j) in enumerate(edges):
        d = pos[i] - pos[j]
        length = np.sqrt(d @ d)
        stretch = length - rest[s]
        energy += 0.5 * stiffness[s] * stretch**2
        pull = stiffness[s] * stretch * d / length
        grad[i] += pull
        grad[j] -= pull
        dstiffness[s] = 0.5 * stretch**2
        drest[s] = -stiffness[s] * stretch
    return energy, (grad, dstiffness, drest)


def pendulum(theta0, omega0, torque, dt=0.2):
    """Steps of semi-implicit Euler: one pendulum per column, torque (T, N); returns the last angles."""
    theta, omega = theta0, omega0
    path = []
    for u in torque:
        path.append(theta)
        omega = omega + dt * (u - np.sin(theta) - 0.1 * omega)
        theta = theta + dt * omega
    return theta, (path, dt)


def pendulum_backward(dtheta, cache):
    path, dt = cache
    dtorque = np.zeros((len(path), len(dtheta)))
    domega = np.zeros_like(dtheta)
    for t in range(len(path) - 1, -1, -1):
        domega = domega + dt * dtheta
        dtorque[t] = dt * domega
        dtheta = dtheta - dt * np.cos(path[t]) * domega
        domega = domega * (1 - 0.1 * dt)
    return dtheta, domega, dtorque


def arm_reach(angles, lengths, target):
    """The squared distance from the tip of a jointed arm to its target, for inverse kinematics."""
    total = np.cumsum(angles)
    tip = np.array([np.sum(lengths * np.cos(total)), np.sum(lengths * np.sin(total))])
    miss = tip - target
    dtotal = lengths * (miss[1] * np.cos(total) - miss[0] * np.sin(total)) * 2
    dangles = np.zeros_like(angles)
    for i in range(len(angles)):
        dangles[i] = dtotal[i:].sum()
    dlengths = 2 * (miss[0] * np.cos(total) + miss[1] * np.sin(total))
    return miss @ miss, (dangles, dlengths, -2 * miss)


COURSES = [
    Course("linear_regression", linear_regression, None, lambda: draw(1, X=(5, 3), y=(5,), theta=(3,)), (), ("theta",)),
    Course("ridge", ridge, ridge_grad, lambda: draw(2, w=(4,), b=(1,), X=(5, 4), y=(5,)), (), ("w", "b")),
    Course(
        "logistic_columns",
        logistic_cost,
        None,
        lambda: draw(3, w=(4, 1), b=(1, 1), X=(4, 3)) | {"Y": np.array([[1, 0, 1]])},
        (),
        {"dw": "w", "db": "b"},
    ),
    Course(
        "softmax_regression",
        softmax_regression,
        None,
        lambda: draw(4, W=(4, 3), X=(5, 4)) | {"y": np.array([2, 0, 1, 1, 2])},
        (),
        ("W",),
    ),
    Course(
        "poisson_regression",
        poisson_regression,
        None,
        lambda: {"X": draw(5, X=(5, 3))["X"], "counts": np.array([0, 2, 1, 4, 0]), **draw(6, beta=(3,))},
        (),
        ("beta",),
    ),
    Course(
        "matrix_factorization",
        matrix_factorization,
        None,
        lambda: {
            **draw(7, U=(4, 2), V=(5, 2), bu=(4,), bi=(5,)),
            "users": np.array([0, 1, 1, 3, 0, 2]),
            "items": np.array([4, 0, 2, 2, 1, 3]),
            "ratings": np.array([5.0, 3.0, 1.0, 4.0, 2.0, 2.0]),
        },
        (),
        ("U", "V", "bu", "bi"),
    ),
    Course(
        "negative_sampling",
        negative_sampling,
        negative_sampling_backward,
        lambda: {
            "center": np.array(2),
            "outside": np.array([1, 4]),
            "negatives": np.array([0, 3, 0]),
            **draw(8, V=(6, 3), U=(5, 3)),
        },
        (),
        ("V", "U"),
    ),
    Course(
        "skipgram_softmax",
        skipgram_softmax,
        None,
        lambda: {"center": np.array(1), "context": np.array([0, 3, 3]), **draw(9, W_in=(4, 3), W_out=(3, 5))},
        (),
        {"W_in": "W_in", "W_out": "W_out"},
    ),
    Course(
        "gaussian_mixture",
        gaussian_mixture,
        gaussian_mixture_backward,
        lambda: draw(10, x=(6,), logits=(3,), mu=(3,), log_sigma=(3,)),
        (),
        ("logits", "mu", "log_sigma"),
    ),
    Course(
        "factorization_machine",
        factorization_machine,
        factorization_machine_backward,
        lambda: draw(11, x=(5, 4), w0=(1,), w=(4,), V=(4, 3)),
        (),
        ("x", "w0", "w", "V"),
    ),
    Course(
        "spring_energy",
        spring_energy,
        None,
        lambda: {
            "pos": draw(12, pos=(4, 3))["pos"],
            "edges": np.array([[0, 1], [1, 2], [2, 3], [3, 0], [0, 2]]),
            "stiffness": np.array([1.0, 2.0, 0.5, 1.5, 3.0]),
            "rest": np.array([1.0, 0.5, 2.0, 1.0, 0.8]),
        },
        (),
        ("pos", "stiffness", "rest"),
    ),
    Course(
        "pendulum",
        pendulum,
        pendulum_backward,
        lambda: draw(13, theta0=(3,), omega0=(3,), torque=(5, 3)),
        (),
        ("theta0", "omega0", "torque"),
    ),
    Course(
        "arm_reach",
        arm_reach,
        None,
        lambda: draw(14, angles=(4,), lengths=(4,), target=(2,)),
        (),
        ("angles", "lengths", "target"),
    ),
]
