"""Losses as objects: the book's with backward(dout=1), classes with loss and gradient, classes with forward(x, t)."""

# The code is kept as published code is: its random numbers, names, returns and loops.
# ruff: noqa: N801, RET504

import numpy as np

from tests.verify.published.cases import functions, network

rng = np.random.default_rng(22)


def softmax(x):
    x = x - np.max(x, axis=-1, keepdims=True)
    return np.exp(x) / np.sum(np.exp(x), axis=-1, keepdims=True)


def cross_entropy_error(y, t):
    if y.ndim == 1:
        t = t.reshape(1, t.size)
        y = y.reshape(1, y.size)
    if t.size == y.size:
        t = t.argmax(axis=1)
    batch_size = y.shape[0]
    return -np.sum(np.log(y[np.arange(batch_size), t] + 1e-7)) / batch_size


class SoftmaxWithLoss:
    def __init__(self):
        self.loss = None
        self.y = None
        self.t = None

    def forward(self, x, t):
        self.t = t
        self.y = softmax(x)
        self.loss = cross_entropy_error(self.y, self.t)
        return self.loss

    def backward(self, dout=1):
        batch_size = self.t.shape[0]
        if self.t.size == self.y.size:
            dx = (self.y - self.t) / batch_size
        else:
            dx = self.y.copy()
            dx[np.arange(batch_size), self.t] -= 1
            dx = dx / batch_size
        return dx


one_hot = np.eye(5)[rng.integers(0, 5, 6)]
labels = rng.integers(0, 5, 6)
network("loss: SoftmaxWithLoss, one-hot", SoftmaxWithLoss, rng.normal(size=(6, 5)), one_hot)
network("loss: SoftmaxWithLoss, labels", SoftmaxWithLoss, rng.normal(size=(6, 5)), labels)


class SigmoidWithLoss:
    def __init__(self):
        self.params, self.grads = [], []
        self.loss = None

    def forward(self, x, t):
        self.t = t
        self.y = 1 / (1 + np.exp(-x))
        self.loss = cross_entropy_error(np.c_[1 - self.y, self.y], self.t)
        return self.loss

    def backward(self, dout=1):
        batch_size = self.t.shape[0]
        dx = (self.y - self.t) * dout / batch_size
        return dx


network("loss: SigmoidWithLoss of a row of scores", SigmoidWithLoss, rng.normal(size=8), rng.integers(0, 2, 8))


class TimeSoftmaxWithLoss:
    """Labels of -1 are ignored."""

    def __init__(self):
        self.params, self.grads = [], []
        self.cache = None
        self.ignore_label = -1

    def forward(self, xs, ts):
        N, T, V = xs.shape
        if ts.ndim == 3:
            ts = ts.argmax(axis=2)
        mask = ts != self.ignore_label
        xs = xs.reshape(N * T, V)
        ts = ts.reshape(N * T)
        mask = mask.reshape(N * T)
        ys = softmax(xs)
        ls = np.log(ys[np.arange(N * T), ts])
        ls *= mask
        loss = -np.sum(ls)
        loss /= mask.sum()
        self.cache = (ts, ys, mask, (N, T, V))
        return loss

    def backward(self, dout=1):
        ts, ys, mask, (N, T, V) = self.cache
        dx = ys
        dx[np.arange(N * T), ts] -= 1
        dx *= dout
        dx /= mask.sum()
        dx *= mask[:, np.newaxis]
        dx = dx.reshape((N, T, V))
        return dx


ts = rng.integers(0, 4, (3, 5))
ts[1, 3:] = -1
network("loss: TimeSoftmaxWithLoss with ignored labels", TimeSoftmaxWithLoss, rng.normal(size=(3, 5, 4)), ts)


class Loss:
    def loss(self, y_true, y_pred):
        raise NotImplementedError

    def gradient(self, y, y_pred):
        raise NotImplementedError

    def acc(self, y, y_pred):
        return 0


class SquareLoss(Loss):
    """A loss for each element."""

    def loss(self, y, y_pred):
        return 0.5 * np.power((y - y_pred), 2)

    def gradient(self, y, y_pred):
        return -(y - y_pred)


class CrossEntropy(Loss):
    def loss(self, y, p):
        p = np.clip(p, 1e-15, 1 - 1e-15)
        return -y * np.log(p) - (1 - y) * np.log(1 - p)

    def gradient(self, y, p):
        p = np.clip(p, 1e-15, 1 - 1e-15)
        return -(y / p) + (1 - y) / (1 - p)


functions(
    "loss: SquareLoss per element, loss and gradient",
    SquareLoss().loss,
    SquareLoss().gradient,
    {"y": rng.normal(size=(5, 3)), "y_pred": rng.normal(size=(5, 3))},
    loss=lambda out, inputs: np.sum(out),
)
functions(
    "loss: CrossEntropy per element, clipped",
    CrossEntropy().loss,
    CrossEntropy().gradient,
    {"y": np.eye(4)[[0, 2, 3]], "p": softmax(rng.normal(size=(3, 4)))},
    loss=lambda out, inputs: np.sum(out),
)


class MSE:
    def __call__(self, y_pred, y_true):
        return np.mean((y_pred - y_true) ** 2)

    def grad(self, y_pred, y_true):
        return 2 * (y_pred - y_true) / y_pred.size


class Huber:
    def __init__(self, delta=1.0):
        self.delta = delta

    def __call__(self, y_pred, y_true):
        r = y_pred - y_true
        small = np.abs(r) <= self.delta
        return np.where(small, 0.5 * r**2, self.delta * (np.abs(r) - 0.5 * self.delta)).mean()

    def grad(self, y_pred, y_true):
        r = y_pred - y_true
        return np.clip(r, -self.delta, self.delta) / r.size


for objective in (MSE(), Huber(0.8)):
    functions(
        f"loss: {type(objective).__name__} with __call__ and grad",
        objective,
        objective.grad,
        {"y_pred": rng.normal(size=(4, 3)), "y_true": rng.normal(size=(4, 3))},
    )


class MSELoss:
    """Static methods, as strategies handed to a network."""

    @staticmethod
    def fn(a, y):
        return 0.5 * np.linalg.norm(a - y) ** 2 / a.shape[0]

    @staticmethod
    def delta(a, y):
        return (a - y) / a.shape[0]


functions(
    "loss: static fn and delta", MSELoss.fn, MSELoss.delta, {"a": rng.normal(size=(6, 2)), "y": rng.normal(size=(6, 2))}
)


class BCEWithLogits:
    """Remembers both; backward takes nothing."""

    def forward(self, logits, targets):
        self.logits, self.targets = logits, targets
        return np.mean(np.maximum(logits, 0) - logits * targets + np.log1p(np.exp(-np.abs(logits))))

    def backward(self):
        p = 1 / (1 + np.exp(-self.logits))
        return (p - self.targets) / self.logits.size


class HingeLoss:
    """Weston and Watkins, with the margin of cs231n."""

    def forward(self, scores, y):
        n = scores.shape[0]
        correct = scores[np.arange(n), y][:, None]
        self.margins = np.maximum(0, scores - correct + 1.0)
        self.margins[np.arange(n), y] = 0
        self.y = y
        return np.sum(self.margins) / n

    def backward(self):
        n = self.y.shape[0]
        dscores = (self.margins > 0).astype(float)
        dscores[np.arange(n), self.y] -= dscores.sum(axis=1)
        return dscores / n


class NLLLoss:
    """Sums over the batch; log-probabilities come in."""

    def __call__(self, log_probs, targets):
        self.shape = log_probs.shape
        self.targets = targets
        return -log_probs[np.arange(len(targets)), targets].sum()

    def backward(self):
        grad = np.zeros(self.shape)
        grad[np.arange(len(self.targets)), self.targets] = -1
        return grad


network(
    "loss: BCEWithLogits, backward()", BCEWithLogits, rng.normal(size=(4, 3)), (rng.random((4, 3)) > 0.5).astype(float)
)
network("loss: multiclass hinge, backward()", HingeLoss, rng.normal(size=(6, 5)), labels)
network("loss: NLL summed, __call__ and backward()", NLLLoss, np.log(softmax(rng.normal(size=(6, 5)))), labels)


class Loss_CategoricalCrossentropy:
    """forward gives a loss per sample; backward is that of their mean, left in dinputs."""

    def calculate(self, output, y):
        sample_losses = self.forward(output, y)
        return np.mean(sample_losses)

    def forward(self, y_pred, y_true):
        samples = len(y_pred)
        y_pred_clipped = np.clip(y_pred, 1e-7, 1 - 1e-7)
        if len(y_true.shape) == 1:
            correct_confidences = y_pred_clipped[range(samples), y_true]
        elif len(y_true.shape) == 2:
            correct_confidences = np.sum(y_pred_clipped * y_true, axis=1)
        return -np.log(correct_confidences)

    def backward(self, dvalues, y_true):
        samples = len(dvalues)
        if len(y_true.shape) == 1:
            y_true = np.eye(len(dvalues[0]))[y_true]
        self.dinputs = -y_true / dvalues
        self.dinputs = self.dinputs / samples


network(
    "loss: calculate is the mean, backward(dvalues, y_true) fills dinputs",
    Loss_CategoricalCrossentropy,
    softmax(rng.normal(size=(6, 5))),
    labels,
)
