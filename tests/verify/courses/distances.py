"""Losses over distances, similarities and the parameters of distributions."""

import numpy as np

from tests.verify.courses.course import Course, draw


def mse(y_pred, y_true):
    return np.mean((y_pred - y_true) ** 2)


def mse_backward(y_pred, y_true):
    n = y_pred.size
    diff = y_pred - y_true
    grad = 2 * diff / n
    return grad, -grad


def huber_forward(pred, target, delta=0.8):
    r = pred - target
    small = np.abs(r) <= delta
    loss = np.where(small, 0.5 * r**2, delta * (np.abs(r) - 0.5 * delta))
    return loss.sum(axis=1), (r, small, delta)


def huber_backward(dloss, cache):
    r, small, delta = cache
    dr = np.zeros_like(r)
    dr[small] = r[small]
    dr[~small] = delta * np.sign(r[~small])
    dr *= dloss[:, np.newaxis]
    return dr, -dr


def kl_gaussian(mu, logvar):
    """KL of N(mu, exp(logvar)) from the standard normal, one value per example."""
    return -0.5 * np.sum(1 + logvar - mu**2 - np.exp(logvar), axis=1)


def kl_gaussian_backward(dkl, mu, logvar):
    d = dkl[:, None]
    dmu = d * mu
    dlogvar = -0.5 * d * (1 - np.exp(logvar))
    return dmu, dlogvar


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def triplet_forward(a, p, n, margin=1.0):
    dp = np.sum((a - p) ** 2, axis=1)
    dn = np.sum((a - n) ** 2, axis=1)
    loss = np.maximum(dp - dn + margin, 0)
    return loss.mean(), (a, p, n, loss > 0)


def triplet_backward(dloss, cache):
    a, p, n, active = cache
    g = dloss * active[:, None] / len(a)
    da = 2 * g * (n - p)
    dp = -2 * g * (a - p)
    dn = 2 * g * (a - n)
    return da, dp, dn


def contrastive(x1, x2, same, margin=2.5):
    """Pairs that belong together are drawn near, the others pushed beyond a margin."""
    d = np.sqrt(np.sum((x1 - x2) ** 2, axis=1))
    pull = same * d**2
    push = (1 - same) * np.maximum(0, margin - d) ** 2
    loss = 0.5 * np.mean(pull + push)

    N = len(same)
    dd = same * d - (1 - same) * np.maximum(0, margin - d)
    dd /= N
    dx1 = (dd / d)[:, None] * (x1 - x2)
    dx2 = -dx1
    return loss, (dx1, dx2)


def gaussian_nll(mean, log_std, target):
    z = (target - mean) / np.exp(log_std)
    return np.sum(0.5 * z**2 + log_std + 0.5 * np.log(2 * np.pi))


def gaussian_nll_backward(grad, mean, log_std, target):
    std = np.exp(log_std)
    z = (target - mean) / std
    dmean = -grad * z / std
    dlog_std = grad * (1 - z**2)
    if log_std.ndim < mean.ndim:
        dlog_std = dlog_std.sum(axis=0)
    return dmean, dlog_std


def info_nce(u, v, tau=0.5):
    """Row i of u should be nearest to row i of v."""
    n = u.shape[0]
    sim = u @ v.T / tau
    p = softmax(sim)
    loss = -np.log(np.diag(p)).mean()
    dsim = (p - np.eye(n)) / n
    du = dsim @ v / tau
    dv = dsim.T @ u / tau
    return loss, (du, dv)


def cosine_similarity_forward(a, b):
    na = np.linalg.norm(a, axis=1)
    nb = np.linalg.norm(b, axis=1)
    cos = np.sum(a * b, axis=1) / (na * nb)
    return cos, (a, b, na, nb, cos)


def cosine_similarity_backward(dcos, cache):
    a, b, na, nb, cos = cache
    scale = (dcos / (na * nb))[:, None]
    da = scale * b
    da -= (dcos * cos / na**2)[:, None] * a
    db = scale * a
    db -= (dcos * cos / nb**2)[:, None] * b
    return da, db


def pinball(pred, y, taus):
    """Quantile loss: pred (N, Q), y (N,), taus (Q,)."""
    err = y[:, None] - pred
    return np.maximum(taus * err, (taus - 1) * err).mean()


def pinball_backward(pred, y, taus):
    under = y[:, None] > pred
    dpred = np.empty_like(pred)
    for q, tau in enumerate(taus):
        dpred[:, q] = np.where(under[:, q], -tau, 1 - tau)
    dpred /= pred.size
    return dpred


COURSES = [
    Course("mse", mse, mse_backward, lambda: draw(4, y_pred=(4, 3), y_true=(4, 3)), (), ("y_pred", "y_true")),
    Course("huber", huber_forward, huber_backward, lambda: draw(7, pred=(4, 3), target=(4, 3)), (), ("pred", "target")),
    Course(
        "kl_gaussian",
        kl_gaussian,
        kl_gaussian_backward,
        lambda: draw(8, mu=(4, 3), logvar=(4, 3)),
        (),
        ("mu", "logvar"),
    ),
    Course(
        "triplet",
        triplet_forward,
        triplet_backward,
        lambda: draw(11, a=(5, 3), p=(5, 3), n=(5, 3)),
        (),
        ("a", "p", "n"),
    ),
    Course(
        "contrastive",
        contrastive,
        None,
        lambda: draw(12, x1=(5, 3), x2=(5, 3)) | {"same": np.array([1, 0, 0, 1, 0])},
        (),
        ("x1", "x2"),
    ),
    Course(
        "gaussian_nll",
        gaussian_nll,
        gaussian_nll_backward,
        lambda: draw(14, mean=(4, 3), log_std=(3,), target=(4, 3)),
        (),
        ("mean", "log_std"),
    ),
    Course("info_nce", info_nce, None, lambda: draw(17, u=(4, 3), v=(4, 3)), (), ("u", "v")),
    Course(
        "cosine_similarity",
        cosine_similarity_forward,
        cosine_similarity_backward,
        lambda: draw(18, a=(4, 3), b=(4, 3)),
        (),
        ("a", "b"),
    ),
    Course(
        "pinball",
        pinball,
        pinball_backward,
        lambda: draw(19, pred=(5, 3), y=(5,)) | {"taus": np.array([0.1, 0.5, 0.9])},
        (),
        ("pred",),
    ),
]
