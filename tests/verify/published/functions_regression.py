"""Losses of regression, penalties, and models that are a loss by themselves."""
# Names, randomness and returns are as their authors would have them.
# ruff: noqa: B905, N802, RET504

import math

import numpy as np

from .cases import functions

rng = np.random.default_rng(3)


def mse(y_true, y_pred):
    return np.mean(np.power(y_true - y_pred, 2))


def mse_prime(y_true, y_pred):
    return 2 * (y_pred - y_true) / np.size(y_true)


functions(
    "mean of squares, targets first", mse, mse_prime, {"y_true": rng.normal(size=6), "y_pred": rng.normal(size=6)}
)


def mse_half(pred, target):
    n = pred.shape[0]
    diff = pred - target
    return 0.5 * np.sum(diff**2) / n, diff / n


functions(
    "half of the squares, mean over the samples only",
    mse_half,
    None,
    {"pred": rng.normal(size=(5, 2)), "target": rng.normal(size=(5, 2))},
)


def sum_of_squares(a, y):
    return 0.5 * np.linalg.norm(a - y) ** 2


def sum_of_squares_delta(a, y):
    return a - y


functions(
    "quadratic cost of a column vector",
    sum_of_squares,
    sum_of_squares_delta,
    {"a": rng.uniform(size=(4, 1)), "y": np.array([[0.0], [0.0], [1.0], [0.0]])},
)


def rmse(y_hat, y):
    loss = np.sqrt(np.square(y_hat - y).mean())
    return loss, (y_hat - y) / (y_hat.size * loss)


functions("root of the mean square", rmse, None, {"y_hat": rng.normal(size=(6, 1)), "y": rng.normal(size=(6, 1))})


def mae(h, y):
    return np.abs(h - y).sum() / len(y)


def mae_grad(h, y):
    return np.sign(h - y) / len(y)


functions("mean absolute error", mae, mae_grad, {"h": rng.normal(size=6), "y": rng.normal(size=6)})


def huber(pred, y, delta=1.0):
    r = pred - y
    small = np.abs(r) <= delta
    loss = np.where(small, 0.5 * r**2, delta * (np.abs(r) - 0.5 * delta))
    grad = np.where(small, r, delta * np.sign(r))
    return loss.mean(), grad / r.size


functions("Huber loss", huber, None, {"pred": 2 * rng.normal(size=8), "y": rng.normal(size=8)})


def smooth_l1(x, t, beta):
    total = 0.0
    for i in range(x.shape[0]):
        d = abs(x[i] - t[i])
        if d < beta:
            total += 0.5 * d**2 / beta
        else:
            total += d - 0.5 * beta
    return total


def smooth_l1_backward(x, t, beta):
    g = []
    for xi, ti in zip(x, t):
        d = xi - ti
        g.append(d / beta if abs(d) < beta else math.copysign(1.0, d))
    return np.array(g)


functions(
    "smooth L1 by a loop, gradient from a list",
    smooth_l1,
    smooth_l1_backward,
    {"x": rng.normal(size=6), "t": rng.normal(size=6), "beta": 0.5},
)


def log_cosh(y_pred, y_true):
    d = y_pred - y_true
    return np.mean(np.log(np.cosh(d))), np.tanh(d) / d.size


functions("log-cosh", log_cosh, None, {"y_pred": rng.normal(size=(4, 2)), "y_true": rng.normal(size=(4, 2))})


def quantile_loss(q, y, f):
    e = y - f
    return np.maximum(q * e, (q - 1) * e).sum(), np.where(e > 0, -q, 1 - q)


functions("quantile loss", quantile_loss, None, {"q": 0.9, "y": rng.normal(size=7), "f": rng.normal(size=7)})


def kl_divergence(p, q):
    return np.sum(np.where(p != 0, p * np.log(p / q), 0))


def kl_divergence_grad(p, q):
    return -p / q


probs = rng.dirichlet(np.ones(4), size=3)

functions(
    "KL divergence, gradient of q only",
    kl_divergence,
    kl_divergence_grad,
    {"p": probs, "q": rng.dirichlet(np.ones(4), size=3)},
)


def kl_gaussian(mu, log_var):
    kl = -0.5 * np.sum(1 + log_var - mu**2 - np.exp(log_var))
    return kl, (mu, 0.5 * (np.exp(log_var) - 1))


functions(
    "KL of a Gaussian to the standard one",
    kl_gaussian,
    None,
    {"mu": rng.normal(size=(3, 2)), "log_var": rng.normal(size=(3, 2))},
)


def gaussian_nll(x, mu, sigma):
    n = len(x)
    ll = -n / 2 * np.log(2 * np.pi) - n * np.log(sigma) - np.sum((x - mu) ** 2) / (2 * sigma**2)
    return -ll


def gaussian_nll_grad(x, mu, sigma):
    dmu = -np.sum(x - mu) / sigma**2
    dsigma = len(x) / sigma - np.sum((x - mu) ** 2) / sigma**3
    return dmu, dsigma


functions(
    "Gaussian log-likelihood, mu and sigma floats",
    gaussian_nll,
    gaussian_nll_grad,
    {"x": rng.normal(size=8), "mu": 0.2, "sigma": 1.3},
)


def reparametrize(mu, logvar, eps):
    std = np.exp(0.5 * logvar)
    return mu + std * eps, (std, eps)


def reparametrize_backward(dz, cache):
    std, eps = cache
    return dz, 0.5 * dz * eps * std


functions(
    "reparametrisation, the noise an argument",
    reparametrize,
    reparametrize_backward,
    {"mu": rng.normal(size=(3, 2)), "logvar": rng.normal(size=(3, 2)), "eps": rng.standard_normal((3, 2))},
)


def poisson_loss(w, X, counts):
    eta = X @ w
    return np.mean(np.exp(eta) - counts * eta), X.T @ (np.exp(eta) - counts) / len(counts)


functions(
    "Poisson regression, counts of ints",
    poisson_loss,
    None,
    {"w": 0.3 * rng.normal(size=3), "X": rng.normal(size=(6, 3)), "counts": rng.poisson(2, size=6)},
)


def ridge(w, X, y, lam):
    r = X.dot(w) - y
    return r.dot(r) + lam * w.dot(w), 2 * X.T.dot(r) + 2 * lam * w


functions(
    "ridge regression",
    ridge,
    None,
    {"w": rng.normal(size=4), "X": rng.normal(size=(6, 4)), "y": rng.normal(size=6), "lam": 0.3},
)


def lasso(w, X, y, alpha=0.1):
    n = X.shape[0]
    residual = X @ w - y
    cost = (residual**2).sum() / (2 * n) + alpha * np.abs(w).sum()
    grad = X.T @ residual / n + alpha * np.sign(w)
    return cost, grad


functions(
    "lasso, targets a column",
    lasso,
    None,
    {"w": rng.normal(size=(4, 1)), "X": rng.normal(size=(6, 4)), "y": rng.normal(size=(6, 1))},
)


def l2_penalty(W1, W2, lambd):
    return lambd / 2 * (np.sum(np.square(W1)) + np.sum(np.square(W2)))


def l2_penalty_grad(W1, W2, lambd):
    return lambd * W1, lambd * W2


functions(
    "weight decay of two matrices",
    l2_penalty,
    l2_penalty_grad,
    {"W1": rng.normal(size=(3, 4)), "W2": rng.normal(size=(2, 3)), "lambd": 0.7},
)


def compute_error_and_gradients(b, m, points):
    N = float(len(points))
    total, grad_b, grad_m = 0, 0, 0
    for x, y in points:
        residual = m * x + b - y
        total += residual**2 / N
        grad_b += 2 / N * residual
        grad_m += 2 / N * residual * x
    return total, [grad_b, grad_m]


functions(
    "line through points by a loop, b and m floats",
    compute_error_and_gradients,
    None,
    {"b": 0.5, "m": -0.3, "points": rng.normal(size=(8, 2))},
)


def compute_cost(X, y, w, b):
    m = X.shape[0]
    cost = 0.0
    for i in range(m):
        f_wb_i = np.dot(X[i], w) + b
        cost = cost + (f_wb_i - y[i]) ** 2
    cost = cost / (2 * m)
    return cost


def compute_gradient(X, y, w, b):
    m, n = X.shape
    dj_dw = np.zeros((n,))
    dj_db = 0.0
    for i in range(m):
        err = (np.dot(X[i], w) + b) - y[i]
        for j in range(n):
            dj_dw[j] = dj_dw[j] + err * X[i, j]
        dj_db = dj_db + err
    return dj_db / m, dj_dw / m


functions(
    "linear regression with loops, (dj_db, dj_dw)",
    compute_cost,
    compute_gradient,
    {"X": rng.normal(size=(5, 3)), "y": rng.normal(size=5), "w": rng.normal(size=3), "b": 0.4},
)


def costFunction(theta, X, y):
    m = y.size
    X = np.c_[np.ones(m), X]
    J = np.sum((X.dot(theta) - y) ** 2) / (2 * m)
    grad = X.T.dot(X.dot(theta) - y) / m
    return J, grad


functions(
    "linear regression of a theta with the intercept first",
    costFunction,
    None,
    {"theta": rng.normal(size=4), "X": rng.normal(size=(6, 3)), "y": rng.normal(size=6)},
)


def poly_predict(coeffs, x):
    return np.vander(x, len(coeffs), increasing=True) @ coeffs


def poly_loss(coeffs, x, y):
    return np.square(poly_predict(coeffs, x) - y).sum()


def poly_loss_grad(coeffs, x, y):
    err = poly_predict(coeffs, x) - y
    return np.array([2 * (err * x**k).sum() for k in range(len(coeffs))])


functions(
    "polynomial regression by a Vandermonde matrix",
    poly_loss,
    poly_loss_grad,
    {"coeffs": rng.normal(size=4), "x": np.linspace(-1, 1, 8), "y": np.sin(np.linspace(-1, 1, 8))},
)


def third_order(x, y, a, b, c, d):
    error = a + b * x + c * x**2 + d * x**3 - y
    loss = (error**2).sum()
    grads = tuple(2 * (error * x**power).sum() for power in range(4))
    return loss, grads


functions(
    "polynomial with four float coefficients",
    third_order,
    None,
    {"x": np.linspace(-2, 2, 8), "y": np.sin(np.linspace(-2, 2, 8)), "a": 0.1, "b": 0.8, "c": -0.2, "d": -0.1},
)


def mf_loss(P, Q, R, mask, reg):
    E = (P @ Q.T - R) * mask
    loss = 0.5 * np.sum(E**2) + 0.5 * reg * (np.sum(P**2) + np.sum(Q**2))
    return loss, {"P": E @ Q + reg * P, "Q": E.T @ P + reg * Q}


functions(
    "matrix factorisation with a mask of ints",
    mf_loss,
    None,
    {
        "P": rng.normal(size=(5, 2)),
        "Q": rng.normal(size=(4, 2)),
        "R": rng.integers(1, 6, size=(5, 4)).astype(float),
        "mask": rng.integers(0, 2, size=(5, 4)),
        "reg": 0.1,
    },
)


def cofi_cost(params, Y, R, num_users, num_movies, num_features, lambd=0.0):
    X = params[: num_movies * num_features].reshape(num_movies, num_features)
    Theta = params[num_movies * num_features :].reshape(num_users, num_features)
    diff = (X @ Theta.T - Y) * R
    J = 1 / 2 * np.sum(diff**2) + lambd / 2 * (np.sum(Theta**2) + np.sum(X**2))
    X_grad = diff @ Theta + lambd * X
    Theta_grad = diff.T @ X + lambd * Theta
    return J, np.concatenate([X_grad.ravel(), Theta_grad.ravel()])


functions(
    "collaborative filtering with all parameters in one vector",
    cofi_cost,
    None,
    {
        "params": rng.normal(size=18),
        "Y": rng.integers(0, 6, size=(5, 4)),
        "R": rng.integers(0, 2, size=(5, 4)),
        "num_users": 4,
        "num_movies": 5,
        "num_features": 2,
        "lambd": 1.5,
    },
)
