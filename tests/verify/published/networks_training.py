"""Whole networks that update themselves: train_step, fit, backprop of blog posts; and linear models."""

# The code is kept as published code is: its random numbers, names, returns and loops.
# ruff: noqa: NPY002, RUF007

import numpy as np

from tests.verify.published.cases import network

rng = np.random.default_rng(91)
labels = rng.integers(0, 3, 6)
x = rng.normal(size=(6, 4))


def sigmoid(x):
    return 1.0 / (1 + np.exp(-x))


def sigmoid_derivative(x):
    return x * (1.0 - x)


class NeuralNetwork:
    """The classical blog post: data in the constructor, the sum of squares, += of what goes downhill."""

    def __init__(self, x, y):
        np.random.seed(1)
        self.input = x
        self.weights1 = np.random.rand(self.input.shape[1], 4)
        self.weights2 = np.random.rand(4, 1)
        self.y = y
        self.output = np.zeros(self.y.shape)

    def feedforward(self):
        self.layer1 = sigmoid(np.dot(self.input, self.weights1))
        self.output = sigmoid(np.dot(self.layer1, self.weights2))

    def backprop(self):
        d_weights2 = np.dot(self.layer1.T, (2 * (self.y - self.output) * sigmoid_derivative(self.output)))
        d_weights1 = np.dot(
            self.input.T,
            (
                np.dot(2 * (self.y - self.output) * sigmoid_derivative(self.output), self.weights2.T)
                * sigmoid_derivative(self.layer1)
            ),
        )
        self.weights1 += d_weights1
        self.weights2 += d_weights2


xor_x = np.array([[0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 1]])
xor_y = np.array([[0], [1], [1], [0]])


def sum_of_squares(output, y):
    return np.sum((y - output) ** 2)


network(
    "net: data in the constructor, feedforward() and backprop()",
    lambda: NeuralNetwork(xor_x, xor_y),
    xor_x,
    xor_y,
    loss=sum_of_squares,
)


class StepNet:
    """train_step updates and returns the loss before the step."""

    def __init__(self, n_in, n_hidden, n_out, seed=0):
        gen = np.random.default_rng(seed)
        self.W1 = gen.normal(size=(n_in, n_hidden)) / np.sqrt(n_in)
        self.b1 = np.zeros(n_hidden)
        self.W2 = gen.normal(size=(n_hidden, n_out)) / np.sqrt(n_hidden)
        self.b2 = np.zeros(n_out)

    def forward(self, x):
        self.h = np.tanh(x @ self.W1 + self.b1)
        z = self.h @ self.W2 + self.b2
        e = np.exp(z - z.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    def loss(self, x, y):
        p = self.forward(x)
        return -np.log(p[np.arange(len(y)), y]).mean()

    def train_step(self, x, y, lr):
        p = self.forward(x)
        loss = -np.log(p[np.arange(len(y)), y]).mean()
        dz = p.copy()
        dz[np.arange(len(y)), y] -= 1
        dz /= len(y)
        dh = dz @ self.W2.T * (1 - self.h**2)
        self.W2 -= lr * self.h.T @ dz
        self.b2 -= lr * dz.sum(axis=0)
        self.W1 -= lr * x.T @ dh
        self.b1 -= lr * dh.sum(axis=0)
        return loss


network("net: train_step(x, y, lr) updates and returns the loss", lambda: StepNet(4, 5, 3), x, labels)


class Regressor:
    """The learning rate belongs to the network; backward(X, y) takes the step; cost is half the mean of squares."""

    def __init__(self, n_features, n_hidden, learning_rate=0.1):
        rs = np.random.RandomState(3)
        self.learning_rate = learning_rate
        self.w_hidden = rs.normal(0, 0.5, (n_features, n_hidden))
        self.b_hidden = np.zeros((1, n_hidden))
        self.w_out = rs.normal(0, 0.5, (n_hidden, 1))
        self.b_out = np.zeros((1, 1))

    def forward(self, X):
        self.a_hidden = sigmoid(X @ self.w_hidden + self.b_hidden)
        return self.a_hidden @ self.w_out + self.b_out

    def cost(self, X, y):
        return 0.5 * np.mean((self.forward(X) - y) ** 2)

    def backward(self, X, y):
        m = X.shape[0]
        delta_out = (self.forward(X) - y) / m
        delta_hidden = delta_out @ self.w_out.T * self.a_hidden * (1 - self.a_hidden)
        self.w_out -= self.learning_rate * self.a_hidden.T @ delta_out
        self.b_out -= self.learning_rate * delta_out.sum(axis=0, keepdims=True)
        self.w_hidden -= self.learning_rate * X.T @ delta_hidden
        self.b_hidden -= self.learning_rate * delta_hidden.sum(axis=0, keepdims=True)


network("net: backward(X, y) updates with its own learning rate", lambda: Regressor(4, 3), x, rng.normal(size=(6, 1)))


class MLP:
    """fit runs epochs of full batches."""

    def __init__(self, sizes, lr=0.05, epochs=1):
        self.lr, self.epochs = lr, epochs
        np.random.seed(6)
        self.weights = [np.random.randn(a, b) / np.sqrt(a) for a, b in zip(sizes[:-1], sizes[1:], strict=True)]
        self.biases = [np.zeros((1, b)) for b in sizes[1:]]

    def forward(self, X):
        self.activations = [X]
        for W, b in zip(self.weights, self.biases, strict=True):
            self.activations.append(sigmoid(self.activations[-1] @ W + b))
        return self.activations[-1]

    def predict(self, X):
        return self.forward(X)

    def loss(self, X, y):
        return np.mean(np.sum((self.forward(X) - y) ** 2, axis=1))

    def fit(self, X, y):
        for _ in range(self.epochs):
            out = self.forward(X)
            delta = 2 * (out - y) / len(X) * out * (1 - out)
            for i in reversed(range(len(self.weights))):
                a = self.activations[i]
                dW, db = a.T @ delta, delta.sum(axis=0, keepdims=True)
                delta = delta @ self.weights[i].T * a * (1 - a)
                self.weights[i] -= self.lr * dW
                self.biases[i] -= self.lr * db
        return self


network("net: fit of one epoch", lambda: MLP([4, 5, 2]), x, rng.random((6, 2)))


class FCLayer:
    def __init__(self, input_size, output_size):
        self.weights = np.random.rand(input_size, output_size) - 0.5
        self.bias = np.random.rand(1, output_size) - 0.5

    def forward_propagation(self, input_data):
        self.input = input_data
        return np.dot(self.input, self.weights) + self.bias

    def backward_propagation(self, output_error, learning_rate):
        input_error = np.dot(output_error, self.weights.T)
        weights_error = np.dot(self.input.T, output_error)
        self.weights -= learning_rate * weights_error
        self.bias -= learning_rate * output_error
        return input_error


class ActivationLayer:
    def __init__(self, activation, activation_prime):
        self.activation = activation
        self.activation_prime = activation_prime

    def forward_propagation(self, input_data):
        self.input = input_data
        return self.activation(self.input)

    def backward_propagation(self, output_error, learning_rate):
        return self.activation_prime(self.input) * output_error


def tanh_prime(x):
    return 1 - np.tanh(x) ** 2


def mse(y_true, y_pred):
    return np.mean(np.power(y_true - y_pred, 2))


def mse_prime(y_true, y_pred):
    return 2 * (y_pred - y_true) / y_true.size


class LayeredNetwork:
    """add, use, and fit, one sample at a time: here a single one."""

    def __init__(self):
        self.layers = []
        self.loss = None
        self.loss_prime = None

    def add(self, layer):
        self.layers.append(layer)

    def use(self, loss, loss_prime):
        self.loss = loss
        self.loss_prime = loss_prime

    def predict(self, input_data):
        result = []
        for sample in input_data:
            output = sample
            for layer in self.layers:
                output = layer.forward_propagation(output)
            result.append(output)
        return result

    def fit(self, x_train, y_train, epochs, learning_rate):
        for _ in range(epochs):
            err = 0
            for j in range(len(x_train)):
                output = x_train[j]
                for layer in self.layers:
                    output = layer.forward_propagation(output)
                err += self.loss(y_train[j], output)
                error = self.loss_prime(y_train[j], output)
                for layer in reversed(self.layers):
                    error = layer.backward_propagation(error, learning_rate)


def make_layered_network():
    np.random.seed(12)
    net = LayeredNetwork()
    net.add(FCLayer(2, 3))
    net.add(ActivationLayer(np.tanh, tanh_prime))
    net.add(FCLayer(3, 1))
    net.add(ActivationLayer(np.tanh, tanh_prime))
    net.use(mse, mse_prime)
    return net


network(
    "net: add, use, fit(x, y, epochs, learning_rate)",
    make_layered_network,
    np.array([[[0.3, 1.0]]]),
    np.array([[[0.6]]]),
)


class LogisticRegression:
    """compute_loss, and gradients as a tuple; l2 on the weights alone."""

    def __init__(self, n_features, l2=0.2):
        self.w = np.random.default_rng(5).normal(size=n_features)
        self.b = np.zeros(1)
        self.l2 = l2

    def predict_proba(self, X):
        return sigmoid(X @ self.w + self.b)

    def compute_loss(self, X, y):
        p = self.predict_proba(X)
        return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p)) + 0.5 * self.l2 * self.w @ self.w

    def compute_gradients(self, X, y):
        error = self.predict_proba(X) - y
        dw = X.T @ error / len(y) + self.l2 * self.w
        db = np.array([error.mean()])
        return dw, db


class SoftmaxRegression:
    """A single W, its gradient returned as an array; the loss is a sum."""

    def __init__(self, n_features, n_classes):
        self.W = 0.3 * np.random.default_rng(6).normal(size=(n_features, n_classes))

    def scores(self, X):
        return X @ self.W

    def loss(self, X, y):
        z = self.scores(X)
        z = z - z.max(axis=1, keepdims=True)
        return np.sum(np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(y)), y])

    def grad(self, X, y):
        z = self.scores(X)
        P = np.exp(z - z.max(axis=1, keepdims=True))
        P /= P.sum(axis=1, keepdims=True)
        P[np.arange(len(y)), y] -= 1
        return X.T @ P


class Autoencoder:
    """The target is the input; tied weights."""

    def __init__(self, n_visible, n_hidden):
        gen = np.random.default_rng(7)
        self.params = {
            "W": gen.normal(size=(n_visible, n_hidden)) * 0.4,
            "b": np.zeros(n_hidden),
            "c": np.zeros(n_visible),
        }

    def loss(self, x, t):
        self.h = np.tanh(x @ self.params["W"] + self.params["b"])
        self.r = self.h @ self.params["W"].T + self.params["c"]
        self.x, self.t = x, t
        return 0.5 * np.sum((self.r - t) ** 2) / len(x)

    def backward(self):
        dr = (self.r - self.t) / len(self.x)
        da = dr @ self.params["W"] * (1 - self.h**2)
        self.grads = {"W": self.x.T @ da + dr.T @ self.h, "b": da.sum(axis=0), "c": dr.sum(axis=0)}
        return self.grads


network("net: logistic regression, l2", lambda: LogisticRegression(4), x, rng.integers(0, 2, 6))
network("net: softmax regression, one W, a sum", lambda: SoftmaxRegression(4, 3), x, labels)
network("net: autoencoder with tied weights", lambda: Autoencoder(4, 3), x, x)
