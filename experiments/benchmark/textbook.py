"""A contender of the benchmark: a network as a first course has it."""

from typing import Any

import numpy as np

import scratch
from experiments.benchmark.cases import Work


def train(work: Work) -> np.ndarray:
    """Float64, layers that hold their arrays, an update for every tensor."""
    layers: list[Any] = []
    for i in range(len(work.case.sizes) - 1):
        W, b = work.initial.group(str(2 * i))
        layers += [Linear(W.T.astype(np.float64), b.astype(np.float64)), ACTIVATIONS[work.case.activation]()]
    del layers[-1]  # the output has none
    n_out = work.case.sizes[-1]
    x = work.x.astype(np.float64)
    y = work.y.astype(np.float64) if work.binary else np.eye(n_out)[work.y]
    step = 0
    for batches in work.batches():
        for batch in batches:
            step += 1
            out = _forward(layers, x[batch])
            p = 1 / (1 + np.exp(-out)) if work.binary else _softmax(out)
            np.mean(-np.sum(y[batch] * np.log(p + 1e-12), axis=1))  # the loss, which a course prints
            grad = (p - y[batch]) / len(batch)
            for layer in reversed(layers):
                grad = layer.backward(grad)
            for layer in layers[::2]:  # the linear ones; the others have nothing to update
                layer.update(step)
    return scratch.predicted_classes(_forward(layers, work.test_x.astype(np.float64)))


def _forward(layers: list[Any], out: np.ndarray) -> np.ndarray:
    for layer in layers:
        out = layer.forward(out)
    return out


class Linear:
    """A layer that holds its weights, its gradients and Adam's moments."""

    def __init__(self, W: np.ndarray, b: np.ndarray) -> None:
        self.params = {"W": W, "b": b}
        self.m = {key: np.zeros_like(value) for key, value in self.params.items()}
        self.v = {key: np.zeros_like(value) for key, value in self.params.items()}

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.x = x
        return np.dot(x, self.params["W"]) + self.params["b"]

    def backward(self, dout: np.ndarray) -> np.ndarray:
        self.grads = {"W": np.dot(self.x.T, dout), "b": np.sum(dout, axis=0)}
        return np.dot(dout, self.params["W"].T)

    def update(self, t: int, lr: float = 1e-3, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8) -> None:
        for key, grad in self.grads.items():
            self.m[key] = beta1 * self.m[key] + (1 - beta1) * grad
            self.v[key] = beta2 * self.v[key] + (1 - beta2) * grad**2
            m_hat = self.m[key] / (1 - beta1**t)
            v_hat = self.v[key] / (1 - beta2**t)
            self.params[key] = self.params[key] - lr * m_hat / (np.sqrt(v_hat) + eps)


class ReLU:
    """max(x, 0)."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.mask = x > 0
        return x * self.mask

    def backward(self, dout: np.ndarray) -> np.ndarray:
        return dout * self.mask


class Tanh:
    """The hyperbolic tangent."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.out = np.tanh(x)
        return self.out

    def backward(self, dout: np.ndarray) -> np.ndarray:
        return dout * (1 - self.out**2)


def _softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - np.max(z, axis=1, keepdims=True))
    return e / np.sum(e, axis=1, keepdims=True)


ACTIVATIONS = {"relu": ReLU, "tanh": Tanh}
