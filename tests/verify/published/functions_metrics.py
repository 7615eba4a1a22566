"""Distances, losses of pairs and triplets, and word vectors, as functions."""
# Names, randomness and returns are as their authors would have them.
# ruff: noqa: E741, N802, RUF005

import numpy as np

from .cases import functions

rng = np.random.default_rng(12)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def pairwise_sq_dists(X, Y):
    return (X**2).sum(1)[:, None] + (Y**2).sum(1)[None, :] - 2 * X @ Y.T


def pairwise_sq_dists_backward(dD, X, Y):
    dX = 2 * (dD.sum(axis=1, keepdims=True) * X - dD @ Y)
    dY = 2 * (dD.sum(axis=0)[:, None] * Y - dD.T @ X)
    return dX, dY


functions(
    "squared distances of all pairs",
    pairwise_sq_dists,
    pairwise_sq_dists_backward,
    {"X": rng.normal(size=(4, 3)), "Y": rng.normal(size=(5, 3))},
)


def euclidean(a, b):
    diff = a - b
    d = np.sqrt(np.sum(diff**2, axis=1))
    return d, (diff, d)


def euclidean_backward(dd, cache):
    diff, d = cache
    g = diff / d[:, None] * dd[:, None]
    return g, -g


functions(
    "distance of each pair of rows",
    euclidean,
    euclidean_backward,
    {"a": rng.normal(size=(5, 3)), "b": rng.normal(size=(5, 3))},
)


def cosine_similarity(u, v):
    return np.dot(u, v) / (np.linalg.norm(u) * np.linalg.norm(v))


def cosine_similarity_backward(u, v, dout=1.0):
    nu, nv = np.linalg.norm(u), np.linalg.norm(v)
    s = cosine_similarity(u, v)
    return dout * (v / (nu * nv) - s * u / nu**2), dout * (u / (nu * nv) - s * v / nv**2)


functions(
    "cosine similarity of two vectors",
    cosine_similarity,
    cosine_similarity_backward,
    {"u": rng.normal(size=5), "v": rng.normal(size=5)},
)


def triplet_loss(anchor, positive, negative, alpha=0.2):
    pos_dist = np.sum(np.square(anchor - positive), axis=-1)
    neg_dist = np.sum(np.square(anchor - negative), axis=-1)
    basic_loss = pos_dist - neg_dist + alpha
    return np.sum(np.maximum(basic_loss, 0.0))


def triplet_loss_grad(anchor, positive, negative, alpha=0.2):
    pos_dist = np.sum(np.square(anchor - positive), axis=-1)
    neg_dist = np.sum(np.square(anchor - negative), axis=-1)
    active = (pos_dist - neg_dist + alpha > 0).astype(float)[:, np.newaxis]
    danchor = 2 * active * (negative - positive)
    dpositive = -2 * active * (anchor - positive)
    dnegative = 2 * active * (anchor - negative)
    return danchor, dpositive, dnegative


functions(
    "triplet loss",
    triplet_loss,
    triplet_loss_grad,
    {name: rng.normal(size=(5, 4)) for name in ("anchor", "positive", "negative")},
)


def contrastive_loss(x1, x2, y, margin=1.0):
    loss = 0.0
    g1, g2 = np.zeros(x1.shape), np.zeros(x2.shape)
    n = len(y)
    for i in range(n):
        d = np.linalg.norm(x1[i] - x2[i])
        if y[i] == 1:
            loss += d**2
            g = 2 * (x1[i] - x2[i])
        else:
            loss += max(0, margin - d) ** 2
            g = -2 * max(0, margin - d) * (x1[i] - x2[i]) / d
        g1[i] = g / (2 * n)
        g2[i] = -g / (2 * n)
    return loss / (2 * n), (g1, g2)


functions(
    "contrastive loss by a loop, a list of labels",
    contrastive_loss,
    None,
    {"x1": 0.4 * rng.normal(size=(5, 3)), "x2": 0.4 * rng.normal(size=(5, 3)), "y": [1, 0, 0, 1, 0]},
)


def info_nce(z1, z2, temperature=0.5):
    logits = z1 @ z2.T / temperature
    logits = logits - logits.max(axis=1, keepdims=True)
    p = np.exp(logits)
    p = p / p.sum(axis=1, keepdims=True)
    n = len(z1)
    loss = -np.log(np.diag(p)).mean()
    dlogits = (p - np.eye(n)) / n / temperature
    return loss, dlogits @ z2, dlogits.T @ z1


functions(
    "InfoNCE, the targets are the diagonal",
    info_nce,
    None,
    {"z1": rng.normal(size=(4, 3)), "z2": rng.normal(size=(4, 3))},
)


def softmax(x):
    x = x - np.max(x)
    return np.exp(x) / np.sum(np.exp(x))


def naiveSoftmaxLossAndGradient(centerWordVec, outsideWordIdx, outsideVectors):
    y_hat = softmax(np.dot(outsideVectors, centerWordVec))
    loss = -np.log(y_hat[outsideWordIdx])
    delta = y_hat.copy()
    delta[outsideWordIdx] -= 1
    gradCenterVec = np.dot(outsideVectors.T, delta)
    gradOutsideVecs = np.outer(delta, centerWordVec)
    return loss, gradCenterVec, gradOutsideVecs


functions(
    "word2vec, naive softmax of one pair, the outside word an int",
    naiveSoftmaxLossAndGradient,
    None,
    {"centerWordVec": rng.normal(size=3), "outsideWordIdx": 2, "outsideVectors": rng.normal(size=(6, 3))},
)


def negSamplingLossAndGradient(centerWordVec, outsideWordIdx, outsideVectors, negSampleWordIndices):
    indices = [outsideWordIdx] + negSampleWordIndices
    gradCenterVec = np.zeros(centerWordVec.shape)
    gradOutsideVecs = np.zeros(outsideVectors.shape)
    loss = 0.0
    for k, idx in enumerate(indices):
        sign = 1 if k == 0 else -1
        s = sigmoid(sign * np.dot(outsideVectors[idx], centerWordVec))
        loss -= np.log(s)
        gradCenterVec += sign * (s - 1) * outsideVectors[idx]
        gradOutsideVecs[idx] += sign * (s - 1) * centerWordVec
    return loss, gradCenterVec, gradOutsideVecs


functions(
    "word2vec, negative samples in a list, one of them twice",
    negSamplingLossAndGradient,
    None,
    {
        "centerWordVec": rng.normal(size=3),
        "outsideWordIdx": 1,
        "outsideVectors": rng.normal(size=(6, 3)),
        "negSampleWordIndices": [0, 4, 4, 5],
    },
)


def skipgram(currentCenterIdx, outsideIdxs, centerWordVectors, outsideVectors):
    loss = 0.0
    gradCenterVecs = np.zeros(centerWordVectors.shape)
    gradOutsideVectors = np.zeros(outsideVectors.shape)
    for j in outsideIdxs:
        l, gc, go = naiveSoftmaxLossAndGradient(centerWordVectors[currentCenterIdx], j, outsideVectors)
        loss += l
        gradCenterVecs[currentCenterIdx] += gc
        gradOutsideVectors += go
    return loss, gradCenterVecs, gradOutsideVectors


functions(
    "skip-gram over a window",
    skipgram,
    None,
    {
        "currentCenterIdx": 3,
        "outsideIdxs": [0, 2, 2, 4],
        "centerWordVectors": rng.normal(size=(5, 3)),
        "outsideVectors": rng.normal(size=(5, 3)),
    },
)


def cbow_forward(x, W1, W2, b1, b2):
    h = np.maximum(W1 @ x + b1, 0)
    e = np.exp(W2 @ h + b2)
    return e / e.sum(axis=0), h


def cbow_cost(yhat, y, batch_size):
    return np.squeeze(-np.sum(y * np.log(yhat)) / batch_size)


def cbow_back_prop(x, yhat, y, h, W1, W2, b1, b2, batch_size):
    dz = (yhat - y) / batch_size
    dh = np.dot(W2.T, dz)
    dh[h <= 0] = 0
    return np.dot(dh, x.T), np.dot(dz, h.T), dh.sum(axis=1, keepdims=True), dz.sum(axis=1, keepdims=True)


functions(
    "continuous bag of words, one-hot columns, batch size an argument",
    cbow_forward,
    cbow_back_prop,
    {
        "x": rng.dirichlet(np.ones(6), size=4).T,
        "W1": rng.normal(size=(3, 6)),
        "W2": rng.normal(size=(6, 3)),
        "b1": rng.normal(size=(3, 1)),
        "b2": rng.normal(size=(6, 1)),
        "y": np.eye(6)[[0, 5, 2, 2]].T,
        "batch_size": 4,
    },
    loss=cbow_cost,
)


def glove_loss(W, C, bw, bc, X):
    f = np.minimum(1, (X / 10) ** 0.75)
    with np.errstate(divide="ignore"):
        logX = np.where(X > 0, np.log(X), 0)
    e = W @ C.T + bw[:, None] + bc[None, :] - logX
    g = 2 * f * e
    return np.sum(f * e**2), {"W": g @ C, "C": g.T @ W, "bw": g.sum(axis=1), "bc": g.sum(axis=0)}


functions(
    "GloVe, counts of ints, errstate around a logarithm of zero",
    glove_loss,
    None,
    {
        "W": rng.normal(size=(4, 3)),
        "C": rng.normal(size=(4, 3)),
        "bw": rng.normal(size=4),
        "bc": rng.normal(size=4),
        "X": rng.integers(0, 12, size=(4, 4)),
    },
)


def rbf_layer(x, centers, gamma):
    d2 = ((x[:, None, :] - centers[None, :, :]) ** 2).sum(-1)
    phi = np.exp(-gamma * d2)
    return phi, (x, centers, gamma, d2, phi)


def rbf_layer_backward(dphi, cache):
    x, centers, gamma, d2, phi = cache
    t = dphi * phi
    diff = x[:, None, :] - centers[None, :, :]
    dx = (-2 * gamma * t[..., None] * diff).sum(axis=1)
    dcenters = (2 * gamma * t[..., None] * diff).sum(axis=0)
    dgamma = -np.sum(t * d2)
    return dx, dcenters, dgamma


functions(
    "radial basis functions, gamma a float with a gradient",
    rbf_layer,
    rbf_layer_backward,
    {"x": rng.normal(size=(5, 2)), "centers": rng.normal(size=(3, 2)), "gamma": 0.8},
)


def policy_loss(logits, actions, advantages):
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    pi = e / e.sum(axis=1, keepdims=True)
    n = len(actions)
    loss = -np.mean(np.log(pi[np.arange(n), actions]) * advantages)
    dlogits = pi
    dlogits[np.arange(n), actions] -= 1
    dlogits *= advantages[:, np.newaxis] / n
    return loss, dlogits


functions(
    "policy gradient, actions and advantages without gradients",
    policy_loss,
    None,
    {"logits": rng.normal(size=(6, 3)), "actions": rng.integers(0, 3, size=6), "advantages": rng.normal(size=6)},
)


def factorization_machine(x, w0, w, V):
    xv = x @ V
    inter = 0.5 * (xv**2 - (x**2) @ (V**2)).sum(axis=1)
    return w0 + x @ w + inter, xv


def factorization_machine_backward(dy, x, w0, w, V, xv):
    dw0 = dy.sum()
    dw = x.T @ dy
    dV = x.T @ (dy[:, None] * xv) - (x**2).T @ dy[:, None] * V
    return dw0, dw, dV


functions(
    "factorisation machine, x of ints",
    factorization_machine,
    factorization_machine_backward,
    {"x": rng.integers(0, 2, size=(6, 5)), "w0": 0.1, "w": rng.normal(size=5), "V": rng.normal(size=(5, 3))},
)
