"""Whole networks made of layer objects, with the loss inside, beside, or handed over."""

# The code is kept as published code is: its random numbers, names, returns and loops.
# ruff: noqa: E741, NPY002, RET504, RUF007, RUF059

import numpy as np

from tests.verify.published.cases import network
from tests.verify.published.layers_convolutions import Convolution, Pooling
from tests.verify.published.layers_losses import (
    BCEWithLogits,
    HingeLoss,
    SoftmaxWithLoss,
    TimeSoftmaxWithLoss,
    softmax,
)
from tests.verify.published.layers_parameters import Linear
from tests.verify.published.layers_recurrent import TimeAffine, TimeLSTM, TimeRNN, rnn_weights
from tests.verify.published.layers_shapes import Embedding
from tests.verify.published.networks import Affine, Relu

rng = np.random.default_rng(81)
labels = rng.integers(0, 3, 6)
one_hot = np.eye(3)[labels]
x = rng.normal(size=(6, 4))


class BookNet:
    """The second volume's: params and grads are lists, forward returns the loss."""

    def __init__(self, input_size, hidden_size, output_size):
        I, H, O = input_size, hidden_size, output_size
        r = np.random.RandomState(0)
        self.layers = [
            ListAffine(0.4 * r.randn(I, H), np.zeros(H)),
            ListSigmoid(),
            ListAffine(0.4 * r.randn(H, O), np.zeros(O)),
        ]
        self.loss_layer = SoftmaxWithLoss()
        self.params, self.grads = [], []
        for layer in self.layers:
            self.params += layer.params
            self.grads += layer.grads

    def predict(self, x):
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def forward(self, x, t):
        score = self.predict(x)
        loss = self.loss_layer.forward(score, t)
        return loss

    def backward(self, dout=1):
        dout = self.loss_layer.backward(dout)
        for layer in reversed(self.layers):
            dout = layer.backward(dout)
        return dout


class ListAffine:
    def __init__(self, W, b):
        self.params = [W, b]
        self.grads = [np.zeros_like(W), np.zeros_like(b)]

    def forward(self, x):
        W, b = self.params
        self.x = x
        return np.dot(x, W) + b

    def backward(self, dout):
        W, b = self.params
        self.grads[0][...] = np.dot(self.x.T, dout)
        self.grads[1][...] = np.sum(dout, axis=0)
        return np.dot(dout, W.T)


class ListSigmoid:
    def __init__(self):
        self.params, self.grads = [], []

    def forward(self, x):
        self.out = 1 / (1 + np.exp(-x))
        return self.out

    def backward(self, dout):
        return dout * (1.0 - self.out) * self.out


network("net: params and grads lists, forward(x, t) is the loss", lambda: BookNet(4, 5, 3), x, one_hot)


class Rnnlm:
    """Embedding, LSTM, affine, and a loss over time."""

    def __init__(self, vocab_size, wordvec_size, hidden_size, recurrent=TimeLSTM, gates=4):
        V, D, H = vocab_size, wordvec_size, hidden_size
        r = np.random.RandomState(4)
        self.layers = [
            Embedding(0.5 * r.randn(V, D)),
            recurrent(*rnn_weights(D, H, gates=gates, seed=5)),
            TimeAffine(r.randn(H, V) / np.sqrt(H), np.zeros(V)),
        ]
        self.loss_layer = TimeSoftmaxWithLoss()
        self.params, self.grads = [], []
        for layer in self.layers:
            self.params += layer.params
            self.grads += layer.grads

    def forward(self, xs, ts):
        for layer in self.layers:
            xs = layer.forward(xs)
        return self.loss_layer.forward(xs, ts)

    def backward(self, dout=1):
        dout = self.loss_layer.backward(dout)
        for layer in reversed(self.layers):
            dout = layer.backward(dout)
        return dout

    def reset_state(self):
        pass


words = rng.integers(0, 6, (2, 5))
network("net: a language model with an LSTM", lambda: Rnnlm(6, 3, 4), words[:, :-1], words[:, 1:])
network("net: a language model with an RNN", lambda: Rnnlm(6, 3, 4, TimeRNN, gates=1), words[:, :-1], words[:, 1:])


class SimpleConvNet:
    """conv - relu - pool - affine, params shared with the layers."""

    def __init__(self, input_dim=(1, 7, 7), filter_num=2, filter_size=3, output_size=3):
        np.random.seed(7)
        C, H, _ = input_dim
        conv_size = H - filter_size + 2
        self.params = {
            "W1": 0.4 * np.random.randn(filter_num, C, filter_size, filter_size),
            "b1": np.zeros(filter_num),
            "W2": 0.4 * np.random.randn(filter_num * (conv_size // 2) ** 2, output_size),
            "b2": np.zeros(output_size),
        }
        self.layers = {
            "Conv1": Convolution(self.params["W1"], self.params["b1"]),
            "Relu1": Relu(),
            "Pool1": Pooling(pool_h=2, pool_w=2, stride=2),
            "Flatten": FlattenImages(),
            "Affine1": Affine(self.params["W2"], self.params["b2"]),
        }
        self.last_layer = SoftmaxWithLoss()

    def predict(self, x):
        for layer in self.layers.values():
            x = layer.forward(x)
        return x

    def loss(self, x, t):
        return self.last_layer.forward(self.predict(x), t)

    def gradient(self, x, t):
        self.loss(x, t)
        dout = self.last_layer.backward(1)
        for layer in reversed(list(self.layers.values())):
            dout = layer.backward(dout)
        conv, affine = self.layers["Conv1"], self.layers["Affine1"]
        return {"W1": conv.dW, "b1": conv.db, "W2": affine.dW, "b2": affine.db}


class FlattenImages:
    def forward(self, x):
        self.shape = x.shape
        return x.reshape(len(x), -1)

    def backward(self, dout):
        return dout.reshape(self.shape)


network(
    "net: SimpleConvNet",
    lambda: SimpleConvNet(input_dim=(1, 6, 6)),
    rng.normal(size=(3, 1, 6, 6)),
    rng.integers(0, 3, 3),
)


class Model:
    """The loss is another object, called between forward and backward."""

    def __init__(self, *layers):
        self.layers = layers

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x) if callable(layer) else layer.forward(x)
        return x

    def backward(self, grad):
        for layer in reversed(self.layers):
            grad = layer.backward(grad)
        return grad

    def parameters(self):
        return [p for layer in self.layers if hasattr(layer, "parameters") for p in layer.parameters()]

    def zero_grad(self):
        for p in self.parameters():
            p.zero_grad()


class Tanh:
    def forward(self, x):
        self.y = np.tanh(x)
        return self.y

    def backward(self, grad):
        return grad * (1 - self.y**2)


def make_model(*sizes):
    gen = np.random.default_rng(8)
    layers = []
    for a, b in zip(sizes[:-1], sizes[1:], strict=True):
        layers += [Linear(a, b, generator=gen), Tanh()]
    return Model(*layers[:-1])


targets = (rng.random((6, 2)) > 0.5).astype(float)
network("net: a model of Parameters, BCE beside it", lambda: make_model(4, 6, 2), x, targets, loss=BCEWithLogits())
network("net: a model of Parameters, hinge beside it", lambda: make_model(4, 5, 3), x, labels, loss=HingeLoss())


class MSE:
    def loss(self, y_true, y_pred):
        return np.mean(np.power(y_true - y_pred, 2))

    def gradient(self, y_true, y_pred):
        return 2 * (y_pred - y_true) / y_true.size


network("net: a model, loss and gradient of (y_true, y_pred)", lambda: make_model(4, 3, 3, 2), x, targets, loss=MSE())


class ModelWithLoss:
    """The layers' gradients lie in dicts; forward ends in probabilities; backward begins at the labels."""

    def __init__(self, n_in, n_hidden, n_out, dtype=np.float64):
        gen = np.random.default_rng(10)
        self.weights = {
            "hidden": (gen.normal(size=(n_in, n_hidden)) * 0.5).astype(dtype),
            "out": (gen.normal(size=(n_hidden, n_out)) * 0.5).astype(dtype),
        }
        self.gradients = {}

    def forward(self, X):
        self.X = X
        self.H = np.tanh(X @ self.weights["hidden"])
        self.P = softmax(self.H @ self.weights["out"])
        return self.P

    def loss(self, y):
        return -np.mean(np.log(self.P[np.arange(len(y)), y]))

    def backward(self, y):
        d = self.P.copy()
        d[np.arange(len(y)), y] -= 1
        d /= len(y)
        self.gradients["out"] = self.H.T @ d
        self.gradients["hidden"] = self.X.T @ ((d @ self.weights["out"].T) * (1 - self.H**2))


network("net: forward(X), loss(y), backward(y)", lambda: ModelWithLoss(4, 5, 3), x, labels)
network(
    "net: forward(X), loss(y), backward(y), float32",
    lambda: ModelWithLoss(4, 5, 3, np.float32),
    x.astype(np.float32),
    labels,
)
