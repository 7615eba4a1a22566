"""Fully connected layers as objects, as books, courses and blogs write them."""

# The code is kept as published code is: its random numbers, names, returns and loops.
# ruff: noqa: A002, N801, NPY002, RET504

import copy

import numpy as np

from tests.verify.published.cases import layer

rng = np.random.default_rng(11)


class Affine:
    """The input may have any number of axes; the weights come from outside."""

    def __init__(self, W, b):
        self.W = W
        self.b = b
        self.x = None
        self.original_x_shape = None
        self.dW = None
        self.db = None

    def forward(self, x):
        self.original_x_shape = x.shape
        x = x.reshape(x.shape[0], -1)
        self.x = x
        out = np.dot(self.x, self.W) + self.b
        return out

    def backward(self, dout):
        dx = np.dot(dout, self.W.T)
        self.dW = np.dot(self.x.T, dout)
        self.db = np.sum(dout, axis=0)
        dx = dx.reshape(*self.original_x_shape)
        return dx


def make_affine(n_in, n_out):
    np.random.seed(1)
    return Affine(0.1 * np.random.randn(n_in, n_out), np.zeros(n_out))


layer("dense: Affine with self.dW and self.db", lambda: make_affine(6, 4), rng.normal(size=(5, 6)))
layer("dense: Affine that flattens images", lambda: make_affine(18, 3), rng.normal(size=(4, 2, 3, 3)))


class MatMul:
    """Lists of parameters and of gradients, which are filled in place."""

    def __init__(self, W):
        self.params = [W]
        self.grads = [np.zeros_like(W)]
        self.x = None

    def forward(self, x):
        (W,) = self.params
        out = np.dot(x, W)
        self.x = x
        return out

    def backward(self, dout):
        (W,) = self.params
        dx = np.dot(dout, W.T)
        dW = np.dot(self.x.T, dout)
        self.grads[0][...] = dW
        return dx


layer(
    "dense: MatMul with lists params and grads, float32",
    lambda: MatMul(np.random.default_rng(2).normal(size=(7, 3)).astype("f")),
    rng.normal(size=(4, 7)).astype("f"),
)


class AffineList:
    def __init__(self, W, b):
        self.params, self.grads = [W, b], [np.zeros_like(W), np.zeros_like(b)]
        self.x = None

    def forward(self, x):
        W, b = self.params
        self.x = x
        return x @ W + b

    def backward(self, dout):
        W, _ = self.params
        rx = self.x.reshape(-1, W.shape[0])
        rdout = dout.reshape(-1, W.shape[1])
        self.grads[0][...] = rx.T @ rdout
        self.grads[1][...] = rdout.sum(axis=0)
        return dout @ W.T


def make_affine_list():
    r = np.random.default_rng(3)
    return AffineList(r.normal(size=(5, 4)) / np.sqrt(5), 0.1 * r.normal(size=4))


layer("dense: params and grads lists, over time steps", make_affine_list, rng.normal(size=(3, 4, 5)))


class DenseDict:
    def __init__(self, fan_in, fan_out, seed=0):
        gen = np.random.RandomState(seed)
        self.params = {}
        self.params["W"] = gen.uniform(-1, 1, (fan_in, fan_out)) * np.sqrt(6.0 / (fan_in + fan_out))
        self.params["b"] = np.zeros((1, fan_out))
        self.grads = {}

    def forward(self, inputs):
        self.inputs = inputs
        return inputs @ self.params["W"] + self.params["b"]

    def backward(self, grad):
        self.grads["b"] = np.sum(grad, axis=0, keepdims=True)
        self.grads["W"] = self.inputs.T @ grad
        return grad @ self.params["W"].T


layer("dense: params and grads in dicts", lambda: DenseDict(8, 5), rng.normal(size=(6, 8)))


class Layer_Dense:
    """What flows back is left in self.dinputs; backward returns nothing."""

    def __init__(self, n_inputs, n_neurons):
        self.weights = 0.1 * np.random.randn(n_inputs, n_neurons)
        self.biases = np.zeros((1, n_neurons))

    def forward(self, inputs, training=True):
        self.inputs = inputs
        self.output = np.dot(inputs, self.weights) + self.biases

    def backward(self, dvalues):
        self.dweights = np.dot(self.inputs.T, dvalues)
        self.dbiases = np.sum(dvalues, axis=0, keepdims=True)
        self.dinputs = np.dot(dvalues, self.weights.T)


def make_layer_dense():
    np.random.seed(0)
    return Layer_Dense(4, 6)


layer("dense: output and dinputs are attributes, nothing is returned", make_layer_dense, rng.normal(size=(3, 4)))


class BaseLayer:
    def __init__(self):
        self.input = None
        self.output = None

    def forward_propagation(self, input):
        raise NotImplementedError

    def backward_propagation(self, output_error, learning_rate):
        raise NotImplementedError


class FCLayer(BaseLayer):
    """backward_propagation takes the step itself."""

    def __init__(self, input_size, output_size):
        super().__init__()
        np.random.seed(5)
        self.weights = np.random.rand(input_size, output_size) - 0.5
        self.bias = np.random.rand(1, output_size) - 0.5

    def forward_propagation(self, input_data):
        self.input = input_data
        self.output = np.dot(self.input, self.weights) + self.bias
        return self.output

    def backward_propagation(self, output_error, learning_rate):
        input_error = np.dot(output_error, self.weights.T)
        weights_error = np.dot(self.input.T, output_error)
        self.weights -= learning_rate * weights_error
        self.bias -= learning_rate * output_error
        return input_error


layer("dense: backward_propagation updates, one sample", lambda: FCLayer(3, 5), rng.normal(size=(1, 3)))


class DenseColumn:
    """A column per sample; the step is taken in backward, after the input's gradient."""

    def __init__(self, input_size, output_size):
        r = np.random.RandomState(6)
        self.weights = r.randn(output_size, input_size)
        self.bias = r.randn(output_size, 1)

    def forward(self, input):
        self.input = input
        return np.dot(self.weights, self.input) + self.bias

    def backward(self, output_gradient, learning_rate):
        weights_gradient = np.dot(output_gradient, self.input.T)
        input_gradient = np.dot(self.weights.T, output_gradient)
        self.weights -= learning_rate * weights_gradient
        self.bias -= learning_rate * output_gradient
        return input_gradient


layer(
    "dense: a column sample, backward(output_gradient, learning_rate)",
    lambda: DenseColumn(4, 3),
    rng.normal(size=(4, 1)),
)


class StochasticGradientDescent:
    def __init__(self, learning_rate=0.01, momentum=0):
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.w_updt = None

    def update(self, w, grad_wrt_w):
        if self.w_updt is None:
            self.w_updt = np.zeros(np.shape(w))
        self.w_updt = self.momentum * self.w_updt + (1 - self.momentum) * grad_wrt_w
        return w - self.learning_rate * self.w_updt


class Adam:
    def __init__(self, learning_rate=0.001, b1=0.9, b2=0.999):
        self.learning_rate = learning_rate
        self.eps = 1e-8
        self.m = None
        self.v = None
        self.b1 = b1
        self.b2 = b2

    def update(self, w, grad_wrt_w):
        if self.m is None:
            self.m = np.zeros(np.shape(grad_wrt_w))
            self.v = np.zeros(np.shape(grad_wrt_w))
        self.m = self.b1 * self.m + (1 - self.b1) * grad_wrt_w
        self.v = self.b2 * self.v + (1 - self.b2) * np.power(grad_wrt_w, 2)
        m_hat = self.m / (1 - self.b1)
        v_hat = self.v / (1 - self.b2)
        return w - self.learning_rate * m_hat / (np.sqrt(v_hat) + self.eps)


class Dense:
    """Weights are built once the input's shape is known; an optimizer inside updates them in backward_pass."""

    def __init__(self, n_units, input_shape=None):
        self.layer_input = None
        self.input_shape = input_shape
        self.n_units = n_units
        self.trainable = True
        self.W = None
        self.w0 = None

    def set_input_shape(self, shape):
        self.input_shape = shape

    def initialize(self, optimizer):
        np.random.seed(8)
        limit = 1 / np.sqrt(self.input_shape[0])
        self.W = np.random.uniform(-limit, limit, (self.input_shape[0], self.n_units))
        self.w0 = np.zeros((1, self.n_units))
        self.W_opt = copy.copy(optimizer)
        self.w0_opt = copy.copy(optimizer)

    def parameters(self):
        return np.prod(self.W.shape) + np.prod(self.w0.shape)

    def forward_pass(self, X, training=True):
        self.layer_input = X
        return X.dot(self.W) + self.w0

    def backward_pass(self, accum_grad):
        W = self.W
        if self.trainable:
            grad_w = self.layer_input.T.dot(accum_grad)
            grad_w0 = np.sum(accum_grad, axis=0, keepdims=True)
            self.W = self.W_opt.update(self.W, grad_w)
            self.w0 = self.w0_opt.update(self.w0, grad_w0)
        accum_grad = accum_grad.dot(W.T)
        return accum_grad

    def output_shape(self):
        return (self.n_units,)


def make_dense(optimizer, trainable=True):
    dense = Dense(5)
    dense.set_input_shape((7,))
    dense.initialize(optimizer)
    dense.trainable = trainable
    return dense


x_dense = rng.normal(size=(6, 7))
layer("dense: an SGD object inside updates in backward_pass", lambda: make_dense(StochasticGradientDescent()), x_dense)
layer("dense: an Adam object inside updates in backward_pass", lambda: make_dense(Adam()), x_dense)
layer("dense: frozen, with trainable False", lambda: make_dense(StochasticGradientDescent(), trainable=False), x_dense)
