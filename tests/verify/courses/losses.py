"""Losses over scores and probabilities."""

import numpy as np

from tests.verify.courses.course import Course, draw


def softmax_loss(x, y):
    """Returns the loss and the gradient of the scores x (N, C) for the labels y (N,)."""
    shifted = x - np.max(x, axis=1, keepdims=True)
    Z = np.sum(np.exp(shifted), axis=1, keepdims=True)
    log_probs = shifted - np.log(Z)
    probs = np.exp(log_probs)
    N = x.shape[0]
    loss = -np.sum(log_probs[np.arange(N), y]) / N
    dx = probs.copy()
    dx[np.arange(N), y] -= 1
    dx /= N
    return loss, dx


def svm_loss(x, y):
    N = x.shape[0]
    correct = x[np.arange(N), y]
    margins = np.maximum(0, x - correct[:, np.newaxis] + 1.0)
    margins[np.arange(N), y] = 0
    loss = np.sum(margins) / N
    num_pos = np.sum(margins > 0, axis=1)
    dx = np.zeros_like(x)
    dx[margins > 0] = 1
    dx[np.arange(N), y] -= num_pos
    dx /= N
    return loss, dx


def svm_loss_naive(W, X, y, reg=0.3):
    """The multiclass hinge loss by loops, with its gradient for the weights."""
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
    return loss, (dW,)


def bce_forward(p, y):
    """p are probabilities before clipping."""
    p = np.clip(p, 1e-7, 1 - 1e-7)
    losses = -(y * np.log(p) + (1 - y) * np.log(1 - p))
    return losses.mean(axis=1), (p, y)


def bce_backward(dloss, cache):
    p, y = cache
    dp = -y / p
    dp += (1 - y) / (1 - p)
    dp /= p.shape[1]
    dp *= dloss[:, None]
    return dp


def bce_logits(z, t, pos_weight):
    """Stable cross-entropy with a weight for the positives of each column."""
    softplus_neg = np.maximum(-z, 0) + np.log1p(np.exp(-np.abs(z)))
    weight = 1 + (pos_weight - 1) * t
    return ((1 - t) * z + weight * softplus_neg).sum() / len(z)


def bce_logits_backward(z, t, pos_weight):
    n = len(z)
    softplus_neg = np.maximum(-z, 0) + np.log1p(np.exp(-np.abs(z)))
    sig_neg = 1 / (1 + np.exp(z))
    weight = 1 + (pos_weight - 1) * t
    dz = ((1 - t) - weight * sig_neg) / n
    dweight = softplus_neg / n
    dpos_weight = np.sum(dweight * t, axis=0)
    return dz, dpos_weight


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def distillation_loss(student, teacher, T=2.0):
    """KL of the teacher's soft labels from the student's, with both gradients."""
    n = student.shape[0]
    p = softmax(teacher / T)
    q = softmax(student / T)
    log_ratio = np.log(p) - np.log(q)
    kl = np.sum(p * log_ratio, axis=1, keepdims=True)
    loss = T**2 * kl.sum() / n
    dstudent = T * (q - p) / n
    dteacher = T * p * (log_ratio - kl) / n
    return loss, {"student": dstudent, "teacher": dteacher}


def focal_forward(logits, y, gamma=2.0):
    p = softmax(logits)
    rows = np.arange(len(y))
    pt = p[rows, y]
    loss = -((1 - pt) ** gamma) * np.log(pt)
    return loss.mean(), (p, pt, rows, y, gamma)


def focal_backward(cache):
    p, pt, rows, y, gamma = cache
    n = len(y)
    dpt = gamma * (1 - pt) ** (gamma - 1) * np.log(pt)
    dpt -= (1 - pt) ** gamma / pt
    onehot = np.zeros_like(p)
    onehot[rows, y] = 1
    dlogits = (dpt * pt)[:, None] * (onehot - p)
    return dlogits / n


def label_smoothing_forward(logits, labels, smooth=0.1):
    n, k = logits.shape
    target = np.full((n, k), smooth / k)
    target[np.arange(n), labels] += 1 - smooth
    m = logits.max(axis=1, keepdims=True)
    logp = logits - m - np.log(np.exp(logits - m).sum(axis=1, keepdims=True))
    return -(target * logp).sum(axis=1), (target, logp)


def label_smoothing_backward(upstream, cache):
    target, logp = cache
    grad = np.exp(logp)
    grad -= target
    for i in range(len(grad)):
        grad[i] *= upstream[i]
    return grad


def dice_forward(scores, mask, eps=1.0):
    """One minus the overlap of a soft segmentation (N, H, W) with its mask."""
    p = 1 / (1 + np.exp(-scores))
    inter = (p * mask).sum(axis=(1, 2))
    total = (p + mask).sum(axis=(1, 2))
    dice = (2 * inter + eps) / (total + eps)
    return 1 - dice, (p, mask, inter, total, eps)


def dice_backward(dloss, cache):
    p, mask, inter, total, eps = cache
    ddice = -dloss
    dinter = ddice * 2 / (total + eps)
    dtotal = -ddice * (2 * inter + eps) / (total + eps) ** 2
    dp = dinter[:, None, None] * mask
    dp = dp + dtotal[:, None, None]
    return dp * p * (1 - p)


LABELS = np.array([2, 0, 3])

COURSES = [
    Course("softmax_loss", softmax_loss, None, lambda: draw(1, x=(3, 4)) | {"y": LABELS.copy()}, (), ("x",)),
    Course("svm_loss", svm_loss, None, lambda: draw(2, x=(3, 5)) | {"y": LABELS.copy()}, (), ("x",)),
    Course(
        "svm_loss_naive", svm_loss_naive, None, lambda: draw(3, W=(5, 4), X=(3, 5)) | {"y": LABELS.copy()}, (), ("W",)
    ),
    Course(
        "bce",
        bce_forward,
        bce_backward,
        lambda: {"p": np.random.default_rng(5).uniform(0.1, 0.9, (3, 4)), "y": np.eye(3, 4, dtype=int)},
        (),
        ("p",),
    ),
    Course(
        "bce_logits",
        bce_logits,
        bce_logits_backward,
        lambda: {"z": draw(6, z=(5, 3))["z"], "t": np.eye(5, 3), "pos_weight": np.array([0.5, 2.0, 3.0])},
        (),
        ("z", "pos_weight"),
    ),
    Course(
        "distillation",
        distillation_loss,
        None,
        lambda: draw(9, student=(3, 5), teacher=(3, 5)),
        (),
        {"student": "student", "teacher": "teacher"},
    ),
    Course(
        "focal", focal_forward, focal_backward, lambda: draw(10, logits=(3, 4)) | {"y": LABELS.copy()}, (), ("logits",)
    ),
    Course(
        "label_smoothing",
        label_smoothing_forward,
        label_smoothing_backward,
        lambda: draw(13, logits=(3, 5)) | {"labels": LABELS.copy()},
        (),
        ("logits",),
    ),
    Course(
        "dice",
        dice_forward,
        dice_backward,
        lambda: draw(15, scores=(2, 3, 4)) | {"mask": (draw(16, m=(2, 3, 4))["m"] > 0).astype(int)},
        (),
        ("scores",),
    ),
]
