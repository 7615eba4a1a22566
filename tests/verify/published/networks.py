"""Whole networks whose gradients can be read: books' and courses' two-layer networks, lists of weights, containers."""

# The code is kept as published code is: its random numbers, names, returns and loops.
# ruff: noqa: NPY002, RET504, RUF007, RUF059

from collections import OrderedDict

import numpy as np

from tests.verify.published.cases import network
from tests.verify.published.layers_losses import SoftmaxWithLoss, cross_entropy_error, softmax

rng = np.random.default_rng(71)
labels = rng.integers(0, 3, 6)
one_hot = np.eye(3)[labels]
x = rng.normal(size=(6, 4))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def sigmoid_grad(x):
    return (1.0 - sigmoid(x)) * sigmoid(x)


class TwoLayerNet:
    """The book's, with gradient written out."""

    def __init__(self, input_size, hidden_size, output_size, weight_init_std=0.5):
        np.random.seed(0)
        self.params = {}
        self.params["W1"] = weight_init_std * np.random.randn(input_size, hidden_size)
        self.params["b1"] = np.zeros(hidden_size)
        self.params["W2"] = weight_init_std * np.random.randn(hidden_size, output_size)
        self.params["b2"] = np.zeros(output_size)

    def predict(self, x):
        W1, W2 = self.params["W1"], self.params["W2"]
        b1, b2 = self.params["b1"], self.params["b2"]
        a1 = np.dot(x, W1) + b1
        z1 = sigmoid(a1)
        a2 = np.dot(z1, W2) + b2
        y = softmax(a2)
        return y

    def loss(self, x, t):
        y = self.predict(x)
        return cross_entropy_error(y, t)

    def accuracy(self, x, t):
        y = np.argmax(self.predict(x), axis=1)
        t = np.argmax(t, axis=1)
        return np.sum(y == t) / float(x.shape[0])

    def gradient(self, x, t):
        W1, W2 = self.params["W1"], self.params["W2"]
        b1, b2 = self.params["b1"], self.params["b2"]
        grads = {}
        batch_num = x.shape[0]
        a1 = np.dot(x, W1) + b1
        z1 = sigmoid(a1)
        a2 = np.dot(z1, W2) + b2
        y = softmax(a2)
        dy = (y - t) / batch_num
        grads["W2"] = np.dot(z1.T, dy)
        grads["b2"] = np.sum(dy, axis=0)
        da1 = np.dot(dy, W2.T)
        dz1 = sigmoid_grad(a1) * da1
        grads["W1"] = np.dot(x.T, dz1)
        grads["b1"] = np.sum(dz1, axis=0)
        return grads


network("net: TwoLayerNet with loss and gradient", lambda: TwoLayerNet(4, 5, 3), x, one_hot)


class Affine:
    def __init__(self, W, b):
        self.W, self.b = W, b

    def forward(self, x):
        self.x = x
        return np.dot(x, self.W) + self.b

    def backward(self, dout):
        self.dW = np.dot(self.x.T, dout)
        self.db = np.sum(dout, axis=0)
        return np.dot(dout, self.W.T)


class Relu:
    def forward(self, x):
        self.mask = x <= 0
        return np.where(self.mask, 0, x)

    def backward(self, dout):
        dout[self.mask] = 0
        return dout


class MultiLayerNet:
    """An OrderedDict of layers that share the arrays of params; weight decay in loss and gradient."""

    def __init__(self, input_size, hidden_size_list, output_size, weight_decay_lambda=0.0):
        self.hidden_layer_num = len(hidden_size_list)
        self.weight_decay_lambda = weight_decay_lambda
        sizes = [input_size, *hidden_size_list, output_size]
        np.random.seed(1)
        self.params = {}
        self.layers = OrderedDict()
        for idx in range(1, len(sizes)):
            scale = np.sqrt(2.0 / sizes[idx - 1])
            self.params["W" + str(idx)] = scale * np.random.randn(sizes[idx - 1], sizes[idx])
            self.params["b" + str(idx)] = np.zeros(sizes[idx])
            self.layers["Affine" + str(idx)] = Affine(self.params["W" + str(idx)], self.params["b" + str(idx)])
            if idx < len(sizes) - 1:
                self.layers["Activation" + str(idx)] = Relu()
        self.last_layer = SoftmaxWithLoss()

    def predict(self, x):
        for layer in self.layers.values():
            x = layer.forward(x)
        return x

    def loss(self, x, t):
        y = self.predict(x)
        weight_decay = 0
        for idx in range(1, self.hidden_layer_num + 2):
            W = self.params["W" + str(idx)]
            weight_decay += 0.5 * self.weight_decay_lambda * np.sum(W**2)
        return self.last_layer.forward(y, t) + weight_decay

    def gradient(self, x, t):
        self.loss(x, t)
        dout = 1
        dout = self.last_layer.backward(dout)
        layers = list(self.layers.values())
        layers.reverse()
        for layer in layers:
            dout = layer.backward(dout)
        grads = {}
        for idx in range(1, self.hidden_layer_num + 2):
            affine = self.layers["Affine" + str(idx)]
            grads["W" + str(idx)] = affine.dW + self.weight_decay_lambda * affine.W
            grads["b" + str(idx)] = affine.db
        return grads


network("net: OrderedDict of layers, params shared", lambda: MultiLayerNet(4, [6], 3), x, one_hot)
network("net: MultiLayerNet with weight decay, labels", lambda: MultiLayerNet(4, [5, 5], 3, 0.1), x, labels)


class CourseTwoLayerNet:
    """loss(X, y) returns the loss and its gradients; without y the scores."""

    def __init__(self, input_size, hidden_size, output_size, std=0.3, reg=0.05):
        gen = np.random.RandomState(2)
        self.reg = reg
        self.params = {
            "W1": std * gen.randn(input_size, hidden_size),
            "b1": np.zeros(hidden_size),
            "W2": std * gen.randn(hidden_size, output_size),
            "b2": np.zeros(output_size),
        }

    def loss(self, X, y=None):
        W1, b1 = self.params["W1"], self.params["b1"]
        W2, b2 = self.params["W2"], self.params["b2"]
        N, D = X.shape
        hidden = np.maximum(0, X.dot(W1) + b1)
        scores = hidden.dot(W2) + b2
        if y is None:
            return scores
        shifted = scores - scores.max(axis=1, keepdims=True)
        probs = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
        data_loss = -np.log(probs[np.arange(N), y]).sum() / N
        loss = data_loss + self.reg * (np.sum(W1 * W1) + np.sum(W2 * W2))
        grads = {}
        dscores = probs
        dscores[np.arange(N), y] -= 1
        dscores /= N
        grads["W2"] = hidden.T.dot(dscores) + 2 * self.reg * W2
        grads["b2"] = dscores.sum(axis=0)
        dhidden = dscores.dot(W2.T)
        dhidden[hidden <= 0] = 0
        grads["W1"] = X.T.dot(dhidden) + 2 * self.reg * W1
        grads["b1"] = dhidden.sum(axis=0)
        return loss, grads


network("net: loss(X, y) returns loss and grads, regularised", lambda: CourseTwoLayerNet(4, 6, 3), x, labels)


class FullyConnectedNet:
    """Any number of layers, batch norm between; helper functions return caches."""

    def __init__(self, hidden_dims, input_dim=4, num_classes=3, reg=0.0, weight_scale=0.4, dtype=np.float64):
        gen = np.random.default_rng(3)
        self.reg = reg
        self.num_layers = 1 + len(hidden_dims)
        self.params = {}
        dims = [input_dim, *hidden_dims, num_classes]
        for i in range(self.num_layers):
            self.params[f"W{i + 1}"] = gen.normal(0, weight_scale, (dims[i], dims[i + 1]))
            self.params[f"b{i + 1}"] = np.zeros(dims[i + 1])
            if i < self.num_layers - 1:
                self.params[f"gamma{i + 1}"] = np.ones(dims[i + 1])
                self.params[f"beta{i + 1}"] = np.zeros(dims[i + 1])
        for k, v in self.params.items():
            self.params[k] = v.astype(dtype)

    def block(self, X, i):
        p = self.params
        a = X @ p[f"W{i}"] + p[f"b{i}"]
        sd = np.sqrt(a.var(axis=0) + 1e-5)
        xhat = (a - a.mean(axis=0)) / sd
        n = p[f"gamma{i}"] * xhat + p[f"beta{i}"]
        return np.maximum(n, 0), (X, sd, xhat, n)

    def loss(self, X, y=None):
        caches = []
        h = X
        for i in range(1, self.num_layers):
            h, cache = self.block(h, i)
            caches.append(cache)
        L = self.num_layers
        scores = h @ self.params[f"W{L}"] + self.params[f"b{L}"]
        if y is None:
            return scores
        N = len(y)
        logp = scores - scores.max(axis=1, keepdims=True)
        logp -= np.log(np.exp(logp).sum(axis=1, keepdims=True))
        loss = -logp[np.arange(N), y].mean()
        loss += 0.5 * self.reg * sum(np.sum(self.params[f"W{i}"] ** 2) for i in range(1, L + 1))
        d = np.exp(logp)
        d[np.arange(N), y] -= 1
        d /= N
        grads = {f"W{L}": h.T @ d, f"b{L}": d.sum(axis=0)}
        d = d @ self.params[f"W{L}"].T
        for i in range(L - 1, 0, -1):
            inp, sd, xhat, n = caches.pop()
            d = d * (n > 0)
            grads[f"gamma{i}"], grads[f"beta{i}"] = (d * xhat).sum(axis=0), d.sum(axis=0)
            d = d * self.params[f"gamma{i}"]
            d = (d - d.mean(axis=0) - xhat * (d * xhat).mean(axis=0)) / sd
            grads[f"W{i}"], grads[f"b{i}"] = inp.T @ d, d.sum(axis=0)
            d = d @ self.params[f"W{i}"].T
        for i in range(1, L + 1):
            grads[f"W{i}"] += self.reg * self.params[f"W{i}"]
        return loss, grads


network("net: FullyConnectedNet with batch norm", lambda: FullyConnectedNet([5, 4], reg=0.1), x, labels)


class Network:
    """Lists of weights and biases; a single column goes in; backprop returns (nabla_b, nabla_w)."""

    def __init__(self, sizes):
        np.random.seed(5)
        self.num_layers = len(sizes)
        self.sizes = sizes
        self.biases = [np.random.randn(y, 1) for y in sizes[1:]]
        self.weights = [np.random.randn(y, x) / np.sqrt(x) for x, y in zip(sizes[:-1], sizes[1:], strict=True)]

    def feedforward(self, a):
        for b, w in zip(self.biases, self.weights, strict=True):
            a = sigmoid(np.dot(w, a) + b)
        return a

    def update_mini_batch(self, mini_batch, eta):
        nabla_b = [np.zeros(b.shape) for b in self.biases]
        nabla_w = [np.zeros(w.shape) for w in self.weights]
        for x, y in mini_batch:
            delta_nabla_b, delta_nabla_w = self.backprop(x, y)
            nabla_b = [nb + dnb for nb, dnb in zip(nabla_b, delta_nabla_b, strict=True)]
            nabla_w = [nw + dnw for nw, dnw in zip(nabla_w, delta_nabla_w, strict=True)]
        self.weights = [w - (eta / len(mini_batch)) * nw for w, nw in zip(self.weights, nabla_w, strict=True)]
        self.biases = [b - (eta / len(mini_batch)) * nb for b, nb in zip(self.biases, nabla_b, strict=True)]

    def backprop(self, x, y):
        nabla_b = [np.zeros(b.shape) for b in self.biases]
        nabla_w = [np.zeros(w.shape) for w in self.weights]
        activation = x
        activations = [x]
        zs = []
        for b, w in zip(self.biases, self.weights, strict=True):
            z = np.dot(w, activation) + b
            zs.append(z)
            activation = sigmoid(z)
            activations.append(activation)
        delta = self.cost_derivative(activations[-1], y) * sigmoid_grad(zs[-1])
        nabla_b[-1] = delta
        nabla_w[-1] = np.dot(delta, activations[-2].transpose())
        for layer in range(2, self.num_layers):
            z = zs[-layer]
            sp = sigmoid_grad(z)
            delta = np.dot(self.weights[-layer + 1].transpose(), delta) * sp
            nabla_b[-layer] = delta
            nabla_w[-layer] = np.dot(delta, activations[-layer - 1].transpose())
        return (nabla_b, nabla_w)

    def evaluate(self, test_data):
        test_results = [(np.argmax(self.feedforward(x)), y) for (x, y) in test_data]
        return sum(int(x == y) for (x, y) in test_results)

    def cost_derivative(self, output_activations, y):
        return output_activations - y


def quadratic_cost(a, y):
    return 0.5 * np.sum((a - y) ** 2)


network(
    "net: lists of weights and biases, backprop(x, y) for a column, quadratic cost",
    lambda: Network([4, 5, 3]),
    rng.normal(size=(4, 1)),
    np.array([[0.0], [1.0], [0.0]]),
    loss=quadratic_cost,
)


class CrossEntropyCost:
    @staticmethod
    def fn(a, y):
        return np.sum(np.nan_to_num(-y * np.log(a) - (1 - y) * np.log(1 - a)))

    @staticmethod
    def delta(z, a, y):
        return a - y


class Network2(Network):
    """The cost is an object; total_cost has regularisation, backprop does not."""

    def __init__(self, sizes, cost=CrossEntropyCost):
        super().__init__(sizes)
        self.cost = cost

    def backprop(self, x, y):
        activations, zs = [x], []
        for b, w in zip(self.biases, self.weights, strict=True):
            zs.append(np.dot(w, activations[-1]) + b)
            activations.append(sigmoid(zs[-1]))
        delta = self.cost.delta(zs[-1], activations[-1], y)
        nabla_b, nabla_w = [delta], [np.dot(delta, activations[-2].T)]
        for w, z, a in zip(self.weights[:0:-1], zs[-2::-1], activations[-3::-1], strict=True):
            delta = np.dot(w.T, delta) * sigmoid_grad(z)
            nabla_b.insert(0, delta)
            nabla_w.insert(0, np.dot(delta, a.T))
        return nabla_b, nabla_w


network(
    "net: backprop(x, y) for a column, a cost class",
    lambda: Network2([3, 4, 4, 2]),
    rng.normal(size=(3, 1)),
    np.array([[1.0], [0.0]]),
    loss=CrossEntropyCost.fn,
)


class NeuralNetColumns:
    """The specialisation's: samples are columns, the cost and the gradients are means over them."""

    def __init__(self, layer_dims):
        np.random.seed(3)
        self.L = len(layer_dims) - 1
        self.parameters = {}
        for i in range(1, self.L + 1):
            self.parameters["W" + str(i)] = np.random.randn(layer_dims[i], layer_dims[i - 1]) / np.sqrt(
                layer_dims[i - 1]
            )
            self.parameters["b" + str(i)] = np.zeros((layer_dims[i], 1))

    def forward(self, X):
        self.caches = []
        A = X
        for i in range(1, self.L + 1):
            Z = np.dot(self.parameters["W" + str(i)], A) + self.parameters["b" + str(i)]
            self.caches.append((A, Z))
            A = sigmoid(Z) if i == self.L else np.maximum(0, Z)
        return A

    def compute_cost(self, AL, Y):
        m = Y.shape[1]
        cost = -np.sum(Y * np.log(AL) + (1 - Y) * np.log(1 - AL)) / m
        return np.squeeze(cost)

    def backward(self, AL, Y):
        m = Y.shape[1]
        grads = {}
        dA = -(np.divide(Y, AL) - np.divide(1 - Y, 1 - AL))
        for i in range(self.L, 0, -1):
            A_prev, Z = self.caches[i - 1]
            if i == self.L:
                s = sigmoid(Z)
                dZ = dA * s * (1 - s)
            else:
                dZ = np.array(dA, copy=True)
                dZ[Z <= 0] = 0
            grads["dW" + str(i)] = np.dot(dZ, A_prev.T) / m
            grads["db" + str(i)] = np.sum(dZ, axis=1, keepdims=True) / m
            dA = np.dot(self.parameters["W" + str(i)].T, dZ)
        return grads


network(
    "net: samples are columns, compute_cost(AL, Y), backward(AL, Y)",
    lambda: NeuralNetColumns([3, 4, 1]),
    rng.normal(size=(3, 7)),
    rng.integers(0, 2, (1, 7)).astype(float),
)
