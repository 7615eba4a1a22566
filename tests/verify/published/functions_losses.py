"""Losses of classification as functions: targets of every kind, value and gradient together or apart."""
# Names, randomness and returns are as their authors would have them.
# ruff: noqa: RET504

import numpy as np

from .cases import functions

rng = np.random.default_rng(2)


def probabilities(*shape):
    e = np.exp(rng.normal(size=shape))
    return e / e.sum(axis=-1, keepdims=True)


def softmax(z):
    e = np.exp(z - np.max(z, axis=-1, keepdims=True))
    return e / np.sum(e, axis=-1, keepdims=True)


def softmax_loss(x, y):
    rows = np.arange(len(y))
    shifted = x - x.max(axis=1, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    loss = -log_probs[rows, y].mean()
    dx = np.exp(log_probs)
    dx[rows, y] -= 1
    return loss, dx / len(y)


functions(
    "softmax loss of class indices, (loss, dx)",
    softmax_loss,
    None,
    {"x": rng.normal(size=(5, 4)), "y": rng.integers(0, 4, size=5)},
)


def svm_loss(x, y):
    N = len(x)
    correct = x[range(N), y].reshape(N, 1)
    margins = np.maximum(0, 1 + x - correct)
    margins[range(N), y] = 0
    dx = np.where(margins > 0, 1.0, 0.0)
    dx[range(N), y] = -dx.sum(axis=1)
    return margins.sum() / N, dx / N


functions(
    "multiclass SVM loss of scores",
    svm_loss,
    None,
    {"x": rng.normal(size=(6, 5)), "y": rng.integers(0, 5, size=6)},
)


def svm_loss_naive(W, X, y, reg):
    dW = np.zeros(W.shape)
    num_classes = W.shape[1]
    num_train = X.shape[0]
    loss = 0.0
    for i in range(num_train):
        scores = X[i].dot(W)
        correct_class_score = scores[y[i]]
        for j in range(num_classes):
            if j == y[i]:
                continue
            margin = scores[j] - correct_class_score + 1
            if margin > 0:
                loss += margin
                dW[:, j] += X[i]
                dW[:, y[i]] -= X[i]
    loss /= num_train
    dW /= num_train
    loss += reg * np.sum(W * W)
    dW += 2 * reg * W
    return loss, dW


functions(
    "multiclass SVM with loops, weights and L2",
    svm_loss_naive,
    None,
    {"W": rng.normal(size=(4, 3)), "X": rng.normal(size=(6, 4)), "y": rng.integers(0, 3, size=6), "reg": 0.05},
)


def svm_loss_vectorized(W, X, y, reg):
    num_train = X.shape[0]
    scores = X @ W
    margins = np.maximum(0, scores - scores[range(num_train), list(y)].reshape(-1, 1) + 1)
    margins[range(num_train), list(y)] = 0
    loss = np.sum(margins) / num_train + 0.5 * reg * np.sum(W * W)
    coeff_mat = np.zeros(scores.shape)
    coeff_mat[margins > 0] = 1
    coeff_mat[range(num_train), list(y)] = -np.sum(coeff_mat, axis=1)
    dW = X.T.dot(coeff_mat)
    return loss, dW / num_train + reg * W


functions(
    "multiclass SVM vectorized, targets a list",
    svm_loss_vectorized,
    None,
    {"W": rng.normal(size=(4, 3)), "X": rng.normal(size=(5, 4)), "y": [0, 2, 1, 1, 0], "reg": 0.1},
)


def softmax_loss_naive(W, X, y, reg):
    loss = 0.0
    dW = np.zeros_like(W)
    N = X.shape[0]
    for i in range(N):
        f = X[i].dot(W)
        f -= np.max(f)
        p = np.exp(f) / np.sum(np.exp(f))
        loss += -np.log(p[y[i]])
        p[y[i]] -= 1
        for j in range(W.shape[1]):
            dW[:, j] += X[i] * p[j]
    return loss / N + reg * np.sum(W**2), dW / N + 2 * reg * W


functions(
    "softmax regression with loops",
    softmax_loss_naive,
    None,
    {"W": rng.normal(size=(5, 3)), "X": rng.normal(size=(4, 5)), "y": rng.integers(0, 3, size=4), "reg": 0.1},
)


def cross_entropy_error(y, t):
    if t.ndim == y.ndim:
        t = np.argmax(t, axis=1)
    picked = y[np.arange(len(y)), t]
    return -np.sum(np.log(picked + 1e-12)) / len(y)


def softmax_with_loss(x, t):
    y = softmax(x)
    return cross_entropy_error(y, t), (y, t)


def softmax_with_loss_backward(cache, dout=1):
    y, t = cache
    n = len(t)
    if t.size == y.size:
        return dout * (y - t) / n
    dx = np.array(y)
    dx[np.arange(n), t] -= 1
    return dout * dx / n


for name, t in (("class indices", rng.integers(0, 4, size=5)), ("one-hot", np.eye(4)[rng.integers(0, 4, size=5)])):
    functions(
        f"softmax with loss, targets either way, dout=1 by default: {name}",
        softmax_with_loss,
        softmax_with_loss_backward,
        {"x": rng.normal(size=(5, 4)), "t": t},
    )


def cross_entropy(y_pred, y_true):
    return -np.sum(y_true * np.log(y_pred)) / y_pred.shape[0]


def cross_entropy_prime(y_pred, y_true):
    return -(y_true / y_pred) / y_pred.shape[0]


for kind, target in (
    ("int", np.eye(4, dtype=int)[rng.integers(0, 4, size=5)]),
    ("float", np.eye(4)[rng.integers(0, 4, size=5)]),
    ("bool", np.eye(4, dtype=bool)[rng.integers(0, 4, size=5)]),
    ("soft labels", probabilities(5, 4)),
):
    functions(
        f"cross-entropy of probabilities, one-hot: {kind}",
        cross_entropy,
        cross_entropy_prime,
        {"y_pred": probabilities(5, 4), "y_true": target},
    )


def ce_eps(p, q, eps=1e-9):
    return -np.mean(np.sum(p * np.log(q + eps), axis=1)), -p / (q + eps) / len(p)


functions(
    "cross-entropy with eps, the targets p come first",
    ce_eps,
    None,
    {"p": np.eye(3)[[0, 2, 1, 1]], "q": probabilities(4, 3)},
)


def ce_clipped(a, y):
    a = np.clip(a, 1e-12, 1 - 1e-12)
    return np.sum(np.nan_to_num(-y * np.log(a) - (1 - y) * np.log(1 - a)))


def ce_clipped_delta(a, y):
    a = np.clip(a, 1e-12, 1 - 1e-12)
    return (a - y) / (a * (1 - a))


functions(
    "binary cross-entropy of a column of outputs, nan_to_num and clip",
    ce_clipped,
    ce_clipped_delta,
    {"a": rng.uniform(0.1, 0.9, size=(4, 1)), "y": np.array([[0.0], [1.0], [0.0], [0.0]])},
)


def nll_loss(log_probs, target):
    target = target.reshape(-1)
    n = len(target)
    return -log_probs[np.arange(n), target].mean()


def nll_loss_backward(log_probs, target):
    grad = np.zeros_like(log_probs)
    np.put_along_axis(grad, target, -1.0 / len(target), axis=1)
    return grad


functions(
    "negative log-likelihood, targets (N, 1)",
    nll_loss,
    nll_loss_backward,
    {"log_probs": np.log(probabilities(5, 3)), "target": rng.integers(0, 3, size=(5, 1))},
)


def logits_cross_entropy(logits, labels):
    logits = np.asarray(logits)
    n, c = logits.shape
    one_hot = np.zeros((n, c))
    for i, label in enumerate(labels):
        one_hot[i, label] = 1
    p = softmax(logits)
    loss = float(-(one_hot * np.log(p)).sum())
    return {"loss": loss, "dlogits": p - one_hot}


functions(
    "cross-entropy of logits, labels a list, value and gradient in a dict",
    logits_cross_entropy,
    None,
    {"logits": rng.normal(size=(4, 3)), "labels": [2, 0, 1, 1]},
)


def compute_cost(AL, Y):
    m = Y.shape[1]
    cost = -1 / m * np.sum(np.multiply(Y, np.log(AL)) + np.multiply(1 - Y, np.log(1 - AL)))
    cost = np.squeeze(cost)
    assert cost.shape == ()
    return cost


def compute_cost_backward(AL, Y):
    m = Y.shape[1]
    dAL = -(np.divide(Y, AL) - np.divide(1 - Y, 1 - AL)) / m
    return dAL


functions(
    "binary cross-entropy of AL (1, m), Y of ints",
    compute_cost,
    compute_cost_backward,
    {"AL": rng.uniform(0.1, 0.9, size=(1, 6)), "Y": rng.integers(0, 2, size=(1, 6))},
)


def cost_multiclass(A, Y):
    m = A.shape[1]
    return float(np.squeeze(-np.nansum(Y * np.log(A)) / m))


functions(
    "cross-entropy with nansum, one-hot columns (n_classes, m)",
    cost_multiclass,
    lambda A, Y: -Y / A / A.shape[1],
    {"A": probabilities(6, 4).T.copy(), "Y": np.eye(4)[rng.integers(0, 4, size=6)].T},
)


def single_loss(y_hat, y):
    return -np.log(y_hat[y == 1]).item()


def single_loss_grad(y_hat, y):
    g = np.zeros(len(y_hat))
    g[np.argmax(y)] = -1.0 / y_hat[np.argmax(y)]
    return g


functions(
    "cross-entropy of one sample, one-hot vector, .item()",
    single_loss,
    single_loss_grad,
    {"y_hat": probabilities(5), "y": np.array([0, 0, 1, 0, 0])},
)


def logistic_loss(z, y):
    loss = np.mean(np.maximum(z, 0) - z * y + np.log1p(np.exp(-np.abs(z))))
    grad = (1 / (1 + np.exp(-z)) - y) / len(z)
    return loss, grad


functions(
    "logistic loss of logits, y in {0, 1} of ints",
    logistic_loss,
    None,
    {"z": rng.normal(size=7), "y": rng.integers(0, 2, size=7)},
)


def log_loss_pm(w, X, y):
    yz = y * (X @ w)
    value = np.sum(np.log(1 + np.exp(-yz)))
    s = 1 / (1 + np.exp(yz))
    return value, -X.T @ (y * s)


functions(
    "logistic loss, labels of plus and minus one",
    log_loss_pm,
    None,
    {"w": rng.normal(size=4), "X": rng.normal(size=(6, 4)), "y": np.array([1, -1, 1, 1, -1, -1])},
)


def hinge_loss(y_pred, y):
    return np.maximum(0, 1 - y * y_pred).mean()


def hinge_loss_grad(y_pred, y):
    return np.where(y * y_pred < 1, -y, 0) / y.size


functions(
    "hinge loss, labels of plus and minus one as floats",
    hinge_loss,
    hinge_loss_grad,
    {"y_pred": rng.normal(size=8), "y": np.sign(rng.normal(size=8))},
)


def svm_cost(W, b, X, Y, C=10.0):
    distances = 1 - Y * (np.dot(X, W) + b)
    cost = 0.5 * np.dot(W, W) + C * np.sum(np.maximum(0, distances)) / len(Y)
    dW, db = np.copy(W), 0.0
    for i, d in enumerate(distances):
        if d > 0:
            dW -= C * Y[i] * X[i] / len(Y)
            db -= C * Y[i] / len(Y)
    return cost, (dW, db)


functions(
    "soft margin SVM, loop over the samples, b a float",
    svm_cost,
    None,
    {"W": rng.normal(size=3), "b": 0.1, "X": rng.normal(size=(6, 3)), "Y": np.array([1, 1, -1, 1, -1, -1])},
)


def squared_hinge(h, t):
    margin = np.maximum(0.0, 1.0 - t * h)
    return 0.5 * np.sum(margin**2), -t * margin


functions(
    "squared hinge loss, h and t as columns",
    squared_hinge,
    None,
    {"h": rng.normal(size=(6, 1)), "t": np.array([[1], [-1], [1], [-1], [1], [1]])},
)


def focal_loss(p, y, gamma=2.0):
    n = len(y)
    pt = p[np.arange(n), y]
    return np.mean(-((1 - pt) ** gamma) * np.log(pt))


def focal_loss_grad(p, y, gamma=2.0):
    n = len(y)
    pt = p[np.arange(n), y]
    g = np.zeros_like(p)
    g[np.arange(n), y] = (gamma * (1 - pt) ** (gamma - 1) * np.log(pt) - (1 - pt) ** gamma / pt) / n
    return g


functions(
    "focal loss of probabilities",
    focal_loss,
    focal_loss_grad,
    {"p": probabilities(5, 3), "y": rng.integers(0, 3, size=5)},
)


def binary_focal(logits, targets, alpha=0.25, gamma=2):
    p = 1 / (1 + np.exp(-logits))
    pt = np.where(targets == 1, p, 1 - p)
    at = np.where(targets == 1, alpha, 1 - alpha)
    loss = -at * (1 - pt) ** gamma * np.log(pt)
    dpt = at * (gamma * (1 - pt) ** (gamma - 1) * np.log(pt) - (1 - pt) ** gamma / pt)
    dlogits = dpt * np.where(targets == 1, 1, -1) * p * (1 - p)
    return loss.sum(), dlogits


functions(
    "binary focal loss of logits",
    binary_focal,
    None,
    {"logits": rng.normal(size=(4, 3)), "targets": rng.integers(0, 2, size=(4, 3))},
)


def label_smoothing_loss(x, y, smoothing=0.1):
    n, k = x.shape
    q = np.full((n, k), smoothing / k)
    q[np.arange(n), y] += 1 - smoothing
    logp = x - x.max(1, keepdims=True)
    logp = logp - np.log(np.exp(logp).sum(1, keepdims=True))
    return -(q * logp).sum() / n, (np.exp(logp) - q) / n


functions(
    "cross-entropy with label smoothing in float32",
    label_smoothing_loss,
    None,
    {"x": rng.normal(size=(4, 5)).astype(np.float32), "y": rng.integers(0, 5, size=4)},
)


def masked_softmax_loss(x, y, mask):
    N, T, V = x.shape
    x_flat = x.reshape(N * T, V)
    y_flat = y.reshape(N * T)
    mask_flat = mask.reshape(N * T)
    probs = np.exp(x_flat - np.max(x_flat, axis=1, keepdims=True))
    probs /= np.sum(probs, axis=1, keepdims=True)
    loss = -np.sum(mask_flat * np.log(probs[np.arange(N * T), y_flat])) / N
    dx_flat = probs.copy()
    dx_flat[np.arange(N * T), y_flat] -= 1
    dx_flat /= N
    dx_flat *= mask_flat[:, None]
    return loss, dx_flat.reshape(N, T, V)


functions(
    "softmax loss at each step with a mask of bools",
    masked_softmax_loss,
    None,
    {
        "x": rng.normal(size=(2, 4, 5)),
        "y": rng.integers(0, 5, size=(2, 4)),
        "mask": np.array([[True, True, True, False], [True, True, False, False]]),
    },
)


def class_weighted_bce(output, target, pos_weight=3.0, eps=1e-8):
    loss = -(pos_weight * target * np.log(output + eps) + (1 - target) * np.log(1 - output + eps))
    grad = -(pos_weight * target / (output + eps) - (1 - target) / (1 - output + eps))
    return loss.mean(), grad / output.size


functions(
    "binary cross-entropy with a weight for the positives and eps",
    class_weighted_bce,
    None,
    {"output": rng.uniform(0.1, 0.9, size=(3, 4)), "target": rng.integers(0, 2, size=(3, 4)).astype(float)},
)
