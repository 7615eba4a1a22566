"""Whole networks of libraries written from scratch: optimizers inside, outputs as attributes, words, dropout."""

# The code is kept as published code is: its random numbers, names, returns and loops.
# ruff: noqa: N801, NPY002

import numpy as np

from tests.verify.published.cases import network
from tests.verify.published.layers_activations import Activation, Activation_ReLU
from tests.verify.published.layers_dense import Dense, MatMul, StochasticGradientDescent
from tests.verify.published.layers_losses import SoftmaxWithLoss, cross_entropy_error, softmax

rng = np.random.default_rng(101)
labels = rng.integers(0, 3, 6)
one_hot = np.eye(3)[labels]
x = rng.normal(size=(6, 4))


class Layer_Dense:
    """With penalties, whose gradients are added in backward."""

    def __init__(self, n_inputs, n_neurons, weight_regularizer_l1=0, weight_regularizer_l2=0):
        self.weights = 0.4 * np.random.randn(n_inputs, n_neurons)
        self.biases = np.zeros((1, n_neurons))
        self.weight_regularizer_l1 = weight_regularizer_l1
        self.weight_regularizer_l2 = weight_regularizer_l2

    def forward(self, inputs, training):
        self.inputs = inputs
        self.output = np.dot(inputs, self.weights) + self.biases

    def backward(self, dvalues):
        self.dweights = np.dot(self.inputs.T, dvalues)
        self.dbiases = np.sum(dvalues, axis=0, keepdims=True)
        if self.weight_regularizer_l1 > 0:
            dL1 = np.ones_like(self.weights)
            dL1[self.weights < 0] = -1
            self.dweights += self.weight_regularizer_l1 * dL1
        if self.weight_regularizer_l2 > 0:
            self.dweights += 2 * self.weight_regularizer_l2 * self.weights
        self.dinputs = np.dot(dvalues, self.weights.T)


class Activation_Softmax_Loss_CategoricalCrossentropy:
    def forward(self, inputs, y_true):
        self.output = softmax(inputs)
        return -np.mean(np.log(self.output[range(len(y_true)), y_true]))

    def backward(self, dvalues, y_true):
        samples = len(dvalues)
        self.dinputs = dvalues.copy()
        self.dinputs[range(samples), y_true] -= 1
        self.dinputs = self.dinputs / samples


class NNModel:
    """dense1, activation1, dense2, and a loss activation, wired by hand."""

    def __init__(self):
        np.random.seed(0)
        self.dense1 = Layer_Dense(4, 6, weight_regularizer_l1=0.01, weight_regularizer_l2=0.02)
        self.activation1 = Activation_ReLU()
        self.dense2 = Layer_Dense(6, 3)
        self.loss_activation = Activation_Softmax_Loss_CategoricalCrossentropy()

    def regularization_loss(self, layer):
        penalty = layer.weight_regularizer_l1 * np.sum(np.abs(layer.weights))
        return penalty + layer.weight_regularizer_l2 * np.sum(layer.weights * layer.weights)

    def forward(self, X, y):
        self.dense1.forward(X, training=True)
        self.activation1.forward(self.dense1.output)
        self.dense2.forward(self.activation1.output, training=True)
        data_loss = self.loss_activation.forward(self.dense2.output, y)
        return data_loss + self.regularization_loss(self.dense1) + self.regularization_loss(self.dense2)

    def backward(self, output, y):
        self.loss_activation.backward(output, y)
        self.dense2.backward(self.loss_activation.dinputs)
        self.activation1.backward(self.dense2.dinputs)
        self.dense1.backward(self.activation1.dinputs)

    def train(self, X, y, learning_rate):
        loss = self.forward(X, y)
        self.backward(self.loss_activation.output, y)
        for layer in (self.dense1, self.dense2):
            layer.weights += -learning_rate * layer.dweights
            layer.biases += -learning_rate * layer.dbiases
        return loss


network("net: dense1, activation1, dense2 with dvalues and penalties", NNModel, x, labels)


class SquareLoss:
    def loss(self, y, y_pred):
        return 0.5 * np.power((y - y_pred), 2)

    def gradient(self, y, y_pred):
        return -(y - y_pred)


class DeepNetwork:
    """add(layer), then train_on_batch, where each layer's optimizer steps; the loss it returns is the elements' sum."""

    def __init__(self, optimizer, loss):
        self.optimizer = optimizer
        self.layers = []
        self.loss_function = loss()

    def add(self, layer):
        if hasattr(layer, "initialize"):
            layer.initialize(optimizer=self.optimizer)
        self.layers.append(layer)

    def _forward_pass(self, X, training=True):
        layer_output = X
        for layer in self.layers:
            layer_output = layer.forward_pass(layer_output, training)
        return layer_output

    def _backward_pass(self, loss_grad):
        for layer in reversed(self.layers):
            loss_grad = layer.backward_pass(loss_grad)

    def test_on_batch(self, X, y):
        y_pred = self._forward_pass(X, training=False)
        return np.sum(self.loss_function.loss(y, y_pred))

    def train_on_batch(self, X, y):
        y_pred = self._forward_pass(X)
        loss = np.sum(self.loss_function.loss(y, y_pred))
        loss_grad = self.loss_function.gradient(y, y_pred)
        self._backward_pass(loss_grad=loss_grad)
        return loss


def make_deep_network():
    model = DeepNetwork(optimizer=StochasticGradientDescent(learning_rate=0.01), loss=SquareLoss)
    model.add(Dense(5, input_shape=(4,)))
    model.add(Activation("sigmoid"))
    model.add(Dense(3, input_shape=(5,)))
    model.add(Activation("elu"))
    return model


network("net: train_on_batch, an optimizer per layer", make_deep_network, x, one_hot)


class SimpleCBOW:
    """Words around a word: the same matrix twice, so two layers share it."""

    def __init__(self, vocab_size, hidden_size):
        V, H = vocab_size, hidden_size
        r = np.random.RandomState(2)
        W_in = 0.5 * r.randn(V, H)
        W_out = 0.5 * r.randn(H, V)
        self.in_layer = MatMul(W_in)
        self.out_layer = MatMul(W_out)
        self.loss_layer = SoftmaxWithLoss()
        self.params = [W_in, W_out]
        self.grads = [np.zeros_like(W_in), np.zeros_like(W_out)]

    def forward(self, contexts, target):
        h0 = self.in_layer.forward(contexts[:, 0])
        self.x0 = self.in_layer.x
        h1 = self.in_layer.forward(contexts[:, 1])
        h = (h0 + h1) * 0.5
        score = self.out_layer.forward(h)
        return self.loss_layer.forward(score, target)

    def backward(self, dout=1):
        ds = self.loss_layer.backward(dout)
        da = self.out_layer.backward(ds) * 0.5
        self.in_layer.backward(da)
        self.grads[0][...] = self.in_layer.grads[0] + self.x0.T @ da
        self.grads[1][...] = self.out_layer.grads[0]


contexts = np.eye(6)[rng.integers(0, 6, (5, 2))]
network("net: SimpleCBOW of one-hot contexts", lambda: SimpleCBOW(6, 3), contexts, np.eye(6)[rng.integers(0, 6, 5)])


class Var:
    def __init__(self, value):
        self.value = value
        self.grad = None


class VarNet:
    """Parameters are objects with value and grad; a dropout mask is drawn in each forward, from a seed."""

    def __init__(self, n_in, n_hidden, n_out, keep=0.8):
        gen = np.random.default_rng(3)
        self.w1 = Var(gen.normal(size=(n_in, n_hidden)) * 0.5)
        self.w2 = Var(gen.normal(size=(n_hidden, n_out)) * 0.5)
        self.b2 = Var(np.zeros(n_out))
        self.keep = keep

    def forward(self, x):
        mask = np.random.default_rng(0).random((len(x), self.w1.value.shape[1])) < self.keep
        self.mask = mask / self.keep
        self.x = x
        self.h = np.tanh(x @ self.w1.value)
        self.out = (self.h * self.mask) @ self.w2.value + self.b2.value
        return self.out

    def loss(self, x, y):
        return 0.5 * np.mean((self.forward(x) - y) ** 2)

    def backward(self, y):
        d = (self.out - y) / y.size
        self.w2.grad = (self.h * self.mask).T @ d
        self.b2.grad = d.sum(axis=0)
        dh = d @ self.w2.value.T * self.mask
        self.w1.grad = self.x.T @ (dh * (1 - self.h**2))


network("net: parameters with value and grad, dropout", lambda: VarNet(4, 6, 2), x, rng.normal(size=(6, 2)))


class ColumnTrainer:
    """Columns; train(X, Y) of one iteration; the cost is a mean of cross-entropies."""

    def __init__(self, n_x, n_h, n_y, learning_rate=0.5, num_iterations=1):
        np.random.seed(4)
        self.W1 = np.random.randn(n_h, n_x) * 0.6
        self.b1 = np.zeros((n_h, 1))
        self.W2 = np.random.randn(n_y, n_h) * 0.6
        self.b2 = np.zeros((n_y, 1))
        self.learning_rate = learning_rate
        self.num_iterations = num_iterations

    def forward(self, X):
        self.A1 = np.tanh(np.dot(self.W1, X) + self.b1)
        self.A2 = 1 / (1 + np.exp(-(np.dot(self.W2, self.A1) + self.b2)))
        return self.A2

    def cost(self, X, Y):
        A2 = self.forward(X)
        logprobs = np.multiply(np.log(A2), Y) + np.multiply(np.log(1 - A2), 1 - Y)
        return float(-np.sum(logprobs) / Y.shape[1])

    def train(self, X, Y):
        m = X.shape[1]
        for _ in range(self.num_iterations):
            self.forward(X)
            dZ2 = self.A2 - Y
            dW2 = np.dot(dZ2, self.A1.T) / m
            db2 = np.sum(dZ2, axis=1, keepdims=True) / m
            dZ1 = np.multiply(np.dot(self.W2.T, dZ2), 1 - np.power(self.A1, 2))
            dW1 = np.dot(dZ1, X.T) / m
            db1 = np.sum(dZ1, axis=1, keepdims=True) / m
            self.W1 -= self.learning_rate * dW1
            self.b1 -= self.learning_rate * db1
            self.W2 -= self.learning_rate * dW2
            self.b2 -= self.learning_rate * db2


network(
    "net: columns, train(X, Y) of one iteration",
    lambda: ColumnTrainer(2, 4, 1),
    rng.normal(size=(2, 8)),
    rng.integers(0, 2, (1, 8)).astype(float),
)


class SimpleNet:
    """One W; the numerical gradient beside the analytical one, as in the book's check."""

    def __init__(self):
        self.W = np.random.RandomState(5).randn(4, 3)

    def predict(self, x):
        return np.dot(x, self.W)

    def loss(self, x, t):
        return cross_entropy_error(softmax(self.predict(x)), t)

    def numerical_gradient(self, x, t, h=1e-4):
        grad = np.zeros_like(self.W)
        for idx in np.ndindex(*self.W.shape):
            tmp_val = self.W[idx]
            self.W[idx] = tmp_val + h
            fxh1 = self.loss(x, t)
            self.W[idx] = tmp_val - h
            fxh2 = self.loss(x, t)
            grad[idx] = (fxh1 - fxh2) / (2 * h)
            self.W[idx] = tmp_val
        return grad

    def gradient(self, x, t):
        return np.dot(x.T, softmax(self.predict(x)) - t) / x.shape[0]


network("net: numerical_gradient beside gradient", SimpleNet, x, one_hot)
