"""Activations, dropout and losses as objects: with forward and backward, with gradient, with derivative, static."""

# The code is kept as published code is: its random numbers, names, returns and loops.
# ruff: noqa: N801, NPY002, RET504, RUF012

import numpy as np

from tests.verify.published.cases import derivative, functions, layer

rng = np.random.default_rng(21)


class Sigmoid:
    def __init__(self):
        self.params, self.grads = [], []
        self.out = None

    def forward(self, x):
        out = 1 / (1 + np.exp(-x))
        self.out = out
        return out

    def backward(self, dout):
        dx = dout * (1.0 - self.out) * self.out
        return dx


class Relu:
    """The book's: out and dout are changed in place."""

    def __init__(self):
        self.mask = None

    def forward(self, x):
        self.mask = x <= 0
        out = x.copy()
        out[self.mask] = 0
        return out

    def backward(self, dout):
        dout[self.mask] = 0
        dx = dout
        return dx


layer("activation: Sigmoid with empty params", Sigmoid, rng.normal(size=(4, 5)))
layer("activation: Relu changes dout in place", Relu, rng.normal(size=(6, 3)))


class Activation_ReLU:
    def forward(self, inputs, training=True):
        self.inputs = inputs
        self.output = np.maximum(0, inputs)

    def backward(self, dvalues):
        self.dinputs = dvalues.copy()
        self.dinputs[self.inputs <= 0] = 0


class Activation_Softmax:
    """A Jacobian for each sample."""

    def forward(self, inputs, training=True):
        self.inputs = inputs
        exp_values = np.exp(inputs - np.max(inputs, axis=1, keepdims=True))
        probabilities = exp_values / np.sum(exp_values, axis=1, keepdims=True)
        self.output = probabilities

    def backward(self, dvalues):
        self.dinputs = np.empty_like(dvalues)
        for index, (single_output, single_dvalues) in enumerate(zip(self.output, dvalues, strict=True)):
            single_output = single_output.reshape(-1, 1)
            jacobian_matrix = np.diagflat(single_output) - np.dot(single_output, single_output.T)
            self.dinputs[index] = np.dot(jacobian_matrix, single_dvalues)


layer("activation: Activation_ReLU with output and dinputs", Activation_ReLU, rng.normal(size=(5, 4)))
layer("activation: Activation_Softmax, a Jacobian per sample", Activation_Softmax, rng.normal(size=(3, 5)))


class ActivationLayer:
    """Any function and its derivative."""

    def __init__(self, activation, activation_prime):
        self.activation = activation
        self.activation_prime = activation_prime

    def forward_propagation(self, input_data):
        self.input = input_data
        self.output = self.activation(self.input)
        return self.output

    def backward_propagation(self, output_error, learning_rate):
        return self.activation_prime(self.input) * output_error


class TanhLayer(ActivationLayer):
    def __init__(self):
        super().__init__(np.tanh, lambda x: 1 - np.tanh(x) ** 2)


layer("activation: ActivationLayer with a function and its prime", TanhLayer, rng.normal(size=(1, 6)))


class Tanh:
    """Static methods; the output is handed to backward."""

    @staticmethod
    def forward(x):
        return np.tanh(x)

    @staticmethod
    def backward(dout, out):
        return dout * (1 - out**2)


class LeakyReLU:
    alpha = 0.1

    @classmethod
    def forward(cls, x):
        return np.where(x > 0, x, cls.alpha * x)

    @classmethod
    def backward(cls, grad, x):
        return grad * np.where(x > 0, 1.0, cls.alpha)


functions(
    "activation: static methods, backward(dout, out)", Tanh.forward, Tanh.backward, {"x": rng.normal(size=(3, 4))}
)
functions(
    "activation: classmethods, backward(grad, x)", LeakyReLU.forward, LeakyReLU.backward, {"x": rng.normal(size=(5, 3))}
)


class SigmoidObject:
    def __call__(self, x):
        return 1 / (1 + np.exp(-x))

    def gradient(self, x):
        return self.__call__(x) * (1 - self.__call__(x))


class ELU:
    def __init__(self, alpha=0.7):
        self.alpha = alpha

    def __call__(self, x):
        return np.where(x >= 0.0, x, self.alpha * (np.exp(x) - 1))

    def gradient(self, x):
        return np.where(x >= 0.0, 1, self.__call__(x) + self.alpha)


class SELU:
    def __init__(self):
        self.alpha = 1.6732632423543772848170429916717
        self.scale = 1.0507009873554804934193349852946

    def __call__(self, x):
        return self.scale * np.where(x >= 0.0, x, self.alpha * (np.exp(x) - 1))

    def gradient(self, x):
        return self.scale * np.where(x >= 0.0, 1, self.alpha * np.exp(x))


class SoftPlus:
    def __call__(self, x):
        return np.log(1 + np.exp(x))

    def gradient(self, x):
        return 1 / (1 + np.exp(-x))


class TanhFn:
    """derivative takes the activated value, which the network has at hand."""

    def f(self, z):
        return np.tanh(z)

    def derivative(self, a):
        return 1.0 - a * a


for activation in (SigmoidObject(), ELU(), SELU(), SoftPlus()):
    name = type(activation).__name__
    derivative(
        f"activation: {name} with __call__ and gradient", activation, activation.gradient, rng.normal(size=(4, 4))
    )
derivative("activation: derivative of the activated value", TanhFn().f, TanhFn().derivative, rng.normal(size=7))


class Activation:
    """A layer that looks its function up by name."""

    activation_functions = {"sigmoid": SigmoidObject, "elu": ELU}

    def __init__(self, name):
        self.activation_name = name
        self.activation_func = self.activation_functions[name]()
        self.trainable = True

    def layer_name(self):
        return f"Activation ({self.activation_func.__class__.__name__})"

    def forward_pass(self, X, training=True):
        self.layer_input = X
        return self.activation_func(X)

    def backward_pass(self, accum_grad):
        return accum_grad * self.activation_func.gradient(self.layer_input)


layer("activation: looked up by name, forward_pass", lambda: Activation("elu"), rng.normal(size=(3, 6)))


class PReLU:
    """A slope per channel that is learned."""

    def __init__(self, channels):
        self.alpha = np.full((1, channels, 1, 1), 0.25)

    def forward(self, x):
        self.x = x
        return np.maximum(x, 0) + self.alpha * np.minimum(x, 0)

    def backward(self, dout):
        self.dalpha = (dout * np.minimum(self.x, 0)).sum(axis=(0, 2, 3), keepdims=True)
        return dout * np.where(self.x > 0, 1.0, self.alpha)


class Swish:
    """x·σ(βx), where beta is learned: one number in an array."""

    def __init__(self):
        self.beta = np.array([1.5])
        self.beta_grad = np.zeros(1)

    def forward(self, x):
        self.x = x
        self.s = 1 / (1 + np.exp(-self.beta * x))
        return x * self.s

    def backward(self, dy):
        ds = self.s * (1 - self.s)
        self.beta_grad = np.array([np.sum(dy * self.x**2 * ds)])
        return dy * (self.s + self.beta * self.x * ds)


class GELU:
    """The tanh approximation."""

    def forward(self, x):
        self.x = x
        self.t = np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))
        return 0.5 * x * (1 + self.t)

    def backward(self, dout):
        x, t = self.x, self.t
        dt = (1 - t**2) * np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * x**2)
        return dout * (0.5 * (1 + t) + 0.5 * x * dt)


class SoftmaxLayer:
    def __init__(self):
        self.params, self.grads = [], []
        self.out = None

    def forward(self, x):
        x = x - x.max(axis=-1, keepdims=True)
        x = np.exp(x)
        self.out = x / x.sum(axis=-1, keepdims=True)
        return self.out

    def backward(self, dout):
        dx = self.out * dout
        sumdx = np.sum(dx, axis=1, keepdims=True)
        dx -= self.out * sumdx
        return dx


class LogSoftmax:
    def forward(self, x):
        c = x.max(axis=1, keepdims=True)
        self.y = x - c - np.log(np.exp(x - c).sum(axis=1, keepdims=True))
        return self.y

    def backward(self, dy):
        return dy - np.exp(self.y) * dy.sum(axis=1, keepdims=True)


class GLU:
    """The last axis is halved: values and gates."""

    def forward(self, x):
        self.a, b = np.split(x, 2, axis=-1)
        self.g = 1 / (1 + np.exp(-b))
        return self.a * self.g

    def backward(self, dy):
        return np.concatenate([dy * self.g, dy * self.a * self.g * (1 - self.g)], axis=-1)


layer("activation: PReLU with a slope per channel", lambda: PReLU(3), rng.normal(size=(2, 3, 4, 4)))
layer("activation: Swish with a learned beta", Swish, rng.normal(size=(4, 6)))
layer("activation: GELU by tanh, float32", GELU, rng.normal(size=(4, 6)).astype(np.float32))
layer("activation: Softmax as a layer", SoftmaxLayer, rng.normal(size=(4, 6)))
layer("activation: LogSoftmax", LogSoftmax, rng.normal(size=(4, 6)))
layer("activation: GLU halves the last axis", GLU, rng.normal(size=(4, 6)))


class Dropout:
    def __init__(self, dropout_ratio=0.5):
        self.dropout_ratio = dropout_ratio
        self.mask = None

    def forward(self, x, train_flg=True):
        if train_flg:
            self.mask = np.random.rand(*x.shape) > self.dropout_ratio
            return x * self.mask
        return x * (1.0 - self.dropout_ratio)

    def backward(self, dout):
        return dout * self.mask


class Layer_Dropout:
    def __init__(self, rate, seed):
        np.random.seed(seed)
        self.rate = 1 - rate

    def forward(self, inputs, training=True):
        self.inputs = inputs
        if not training:
            self.output = inputs.copy()
            return
        self.binary_mask = np.random.binomial(1, self.rate, size=inputs.shape) / self.rate
        self.output = inputs * self.binary_mask

    def backward(self, dvalues):
        self.dinputs = dvalues * self.binary_mask


class InvertedDropout:
    """In evaluation mode it is the identity."""

    def __init__(self, p=0.3, rng=None):
        self.p = p
        self.rng = rng or np.random.default_rng(0)
        self.training = True

    def train(self):
        self.training = True

    def eval(self):
        self.training = False
        return self

    def forward(self, x):
        if not self.training:
            return x
        self.mask = (self.rng.random(x.shape) >= self.p) / (1 - self.p)
        return x * self.mask

    def backward(self, dout):
        return dout * self.mask if self.training else dout


def make_dropout():
    np.random.seed(7)
    return Dropout(0.4)


layer("dropout: train_flg and a mask", make_dropout, rng.normal(size=(5, 6)))
layer("dropout: Layer_Dropout with binomial", lambda: Layer_Dropout(0.3, seed=2), rng.normal(size=(4, 5)))
layer("dropout: inverted, with a generator", InvertedDropout, rng.normal(size=(4, 8)))
layer("dropout: in evaluation mode", lambda: InvertedDropout().eval(), rng.normal(size=(4, 8)))
