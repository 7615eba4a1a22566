"""Mistakes with f′, with the upstream gradient and with couplings between the elements of a row."""

from __future__ import annotations

import math

import numpy as np

from scratch.activations import sigmoid
from tests.verify.planted_gradients import CORRECT, check_elementwise, draw, softmax
from tests.verify.planted_parts import norm_forward
from tests.verify.planting import plant
from torch_impl.verify import verify_derivative, verify_function, verify_network

X = draw(x=(7, 5))["x"]


# --- f′ ---------------------------------------------------------------------------------------------------------------


def check_layer(
    f=np.tanh,
    da=lambda dout: dout,
    slope=lambda z, a: 1 - a * a,
    dW=lambda x, dz, da: x.T @ dz,
    db=lambda dz, da: dz.sum(axis=0),
    dtype="float64",
):
    """f(x W + b)."""

    def layer_forward(x, W, b):
        z = x @ W + b
        return f(z), (x, W, z)

    def layer_backward(dout, cache):
        x, W, z = cache
        dz = da(dout) * slope(z, f(z))
        return dz @ W.T, dW(x, dz, dout), db(dz, dout)

    return verify_function(layer_forward, layer_backward, **draw(dtype, x=(7, 5), W=(5, 3), b=(3,)))


class TwoLayers:
    """x → sigmoid → linear, squared error, as a network object."""

    def __init__(self):
        weights = draw(W1=(5, 9), b1=(9,), W2=(9, 3), b2=(3,))
        self.W1, self.b1, self.W2, self.b2 = weights.values()

    def slope(self, a):
        return a * (1 - a)

    def hidden_grads(self, x, dz, da):
        return x.T @ dz, dz.sum(axis=0)

    def loss(self, x, y):
        self.a = sigmoid(x @ self.W1 + self.b1)
        self.r = self.a @ self.W2 + self.b2 - y
        return (self.r**2).mean()

    def backward(self, x, y):
        d = 2 * self.r / self.r.size
        self.dW2, self.db2 = self.a.T @ d, d.sum(axis=0)
        da = d @ self.W2.T
        self.dW1, self.db1 = self.hidden_grads(x, da * self.slope(self.a), da)


def check_two_layers(**methods):
    net = type("TwoLayers", (TwoLayers,), methods)()
    return verify_network(net, **draw(x=(7, 5), y=(7, 3)))


def softplus(z):
    return np.logaddexp(0, z)


def gelu_by_tanh(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def gelu_prime(x):
    cdf = 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
    return cdf + x * np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


plant("function-for-derivative", "tanh for its derivative")(lambda: verify_derivative(np.tanh, np.tanh, X))
plant("function-for-derivative", "a layer of tanh, a (1 − a)")(lambda: check_layer(slope=lambda z, a: a * (1 - a)))
plant("function-for-derivative", "a layer of sigmoids, dy f(z), float32")(
    lambda: check_layer(sigmoid, slope=lambda z, a: a, dtype="float32")
)
plant("function-for-derivative", "a network object of sigmoids, 1 − a²")(
    lambda: check_two_layers(slope=lambda self, a: 1 - a * a)
)
plant("function-for-derivative", "GELU by tanh, the exact one's derivative")(
    lambda: verify_derivative(gelu_by_tanh, gelu_prime, X)
)
plant("function-for-derivative", "softplus, ReLU's derivative")(
    lambda: check_layer(softplus, slope=lambda z, a: (z > 0).astype(z.dtype))
)
plant("leaf-before-activation", "a layer's bias")(lambda: check_layer(db=lambda dz, da: da.sum(axis=0)))
plant("leaf-before-activation", "a layer's weights, float32")(
    lambda: check_layer(dW=lambda x, dz, da: x.T @ da, dtype="float32")
)
plant("leaf-before-activation", "the hidden bias of a network object")(
    lambda: check_two_layers(hidden_grads=lambda self, x, dz, da: (x.T @ dz, da.sum(axis=0)))
)
plant("leaf-before-activation", "the hidden weights of a network object")(
    lambda: check_two_layers(hidden_grads=lambda self, x, dz, da: (x.T @ da, dz.sum(axis=0)))
)


def check_rnn_bias(db=lambda d, dh: d.sum(axis=0)):
    """h_t = tanh(x_t Wx + h_{t−1} Wh + b), the last state."""

    def rnn_forward(x, Wx, Wh, b):
        hs = [np.zeros((len(x), len(Wh)))]
        for t in range(x.shape[1]):
            hs.append(np.tanh(x[:, t] @ Wx + hs[-1] @ Wh + b))
        return hs[-1], (x, Wx, Wh, hs)

    def rnn_backward(dh, cache):
        x, Wx, Wh, hs = cache
        dx, dWx, dWh, db_ = np.zeros_like(x), np.zeros_like(Wx), np.zeros_like(Wh), np.zeros(len(Wh))
        for t in reversed(range(x.shape[1])):
            d = dh * (1 - hs[t + 1] ** 2)
            dx[:, t], dWx, dWh, db_ = d @ Wx.T, dWx + x[:, t].T @ d, dWh + hs[t].T @ d, db_ + db(d, dh)
            dh = d @ Wh.T
        return dx, dWx, dWh, db_

    return verify_function(rnn_forward, rnn_backward, **draw(x=(7, 4, 5), Wx=(5, 3), Wh=(3, 3), b=(3,)))


plant("leaf-before-activation", "an RNN's bias")(lambda: check_rnn_bias(lambda d, dh: dh.sum(axis=0)))
CORRECT |= {"a layer of tanh": check_layer, "two layers": check_two_layers, "an RNN's bias": check_rnn_bias}


# --- the upstream gradient --------------------------------------------------------------------------------------------


def check_softmax_jacobian(used=lambda dout: dout):
    def softmax_backward(dout, p):
        jacobians = p[:, :, None] * (np.eye(p.shape[1]) - p[:, None, :])
        return (used(dout)[:, :, None] * jacobians).sum(axis=1)

    return verify_function(lambda z: (softmax(z),) * 2, softmax_backward, **draw(z=(7, 5)))


def check_scaled_loss(dz=lambda dout, r: dout * r / len(r)):
    """A mean square whose backward gets an upstream number."""

    def loss_forward(x, W, y):
        r = x @ W - y
        return (r**2).sum() / (2 * len(r)), (x, W, r)

    def loss_backward(dout, cache):
        x, W, r = cache
        d = dz(dout, r)
        return d @ W.T, x.T @ d, -d

    return verify_function(loss_forward, loss_backward, **draw(x=(7, 5), W=(5, 3), y=(7, 3)))


plant("upstream-ignored", "a layer of tanh, f′ alone")(lambda: check_layer(da=np.ones_like))
plant("upstream-ignored", "sigmoid's derivative of the upstream gradient")(
    lambda: check_elementwise(sigmoid, lambda dout, x: dout * (1 - dout))
)
plant("upstream-ignored", "tanh, times its derivative at the upstream gradient, float32")(
    lambda: check_elementwise(np.tanh, lambda dout, x: dout * (1 - dout**2), dtype="float32")
)
plant("upstream-ignored", "ReLU's mask of the upstream gradient")(
    lambda: check_elementwise(lambda x: np.maximum(x, 0), lambda dout, x: dout * (dout > 0))
)
plant("upstream-ignored", "softmax, the Jacobians alone")(lambda: check_softmax_jacobian(np.ones_like))
plant("upstream-ignored", "a loss without its upstream number")(lambda: check_scaled_loss(lambda dout, r: r / len(r)))
plant("upstream-ignored", "tanh, dy + f′ for dy f′")(
    lambda: check_elementwise(np.tanh, lambda dout, x: dout + 1 - np.tanh(x) ** 2)
)
plant("upstream-ignored", "the sign of the upstream gradient through a linear layer")(
    lambda: check_layer(lambda z: z, da=np.sign, slope=lambda z, a: 1)
)
CORRECT |= {"softmax by Jacobians": check_softmax_jacobian, "a loss with an upstream number": check_scaled_loss}


# --- rows whose elements act on each other ----------------------------------------------------------------------------


def check_unit_rows(dx=lambda dout, y, norm: (dout - y * (dout * y).sum(axis=1, keepdims=True)) / norm):
    """Rows of length one."""

    def normalize(x):
        norm = np.sqrt((x * x).sum(axis=1, keepdims=True))
        return x / norm, (x / norm, norm)

    return verify_function(normalize, lambda dout, cache: dx(dout, *cache), **draw(x=(7, 5)))


def check_shares(dx=lambda dout, y, total: (dout - (dout * y).sum(axis=1, keepdims=True)) / total):
    """Rows that sum to one: squares by their sum."""

    def shares(x):
        e = x * x
        total = e.sum(axis=1, keepdims=True)
        return e / total, (x, e / total, total)

    return verify_function(shares, lambda dout, cache: 2 * cache[0] * dx(dout, *cache[1:]), **draw(x=(7, 5)))


def check_norm(over, dx, dtype="float64", summed=0):
    def norm_backward(dout, cache):
        x_hat = cache[0]
        return dx(dout, *cache), (dout * x_hat).sum(axis=summed), dout.sum(axis=summed)

    inputs = draw(dtype, x=(7, 5), gamma=(5,), beta=(5,))
    return verify_function(lambda x, gamma, beta: norm_forward(x, gamma, beta, over), norm_backward, **inputs)


def whole(d, x_hat, std, over):
    mean, with_x = d.mean(axis=over, keepdims=True), (d * x_hat).mean(axis=over, keepdims=True)
    return (d - mean - x_hat * with_x) / std


def check_layer_norm(dx=lambda dout, x_hat, std, gamma: whole(dout * gamma, x_hat, std, -1), dtype="float64"):
    return check_norm(-1, dx, dtype)


def check_sequence_norm(dx=lambda dout, x_hat, std, gamma: whole(dout * gamma, x_hat, std, -1)):
    """Layer norm of (batch, steps, width) in a network of one block, before tanh."""

    def block_forward(x, gamma, beta):
        y, cache = norm_forward(x, gamma, beta, -1)
        return np.tanh(y), (np.tanh(y), cache)

    def block_backward(dout, cache):
        a, (x_hat, std, gamma) = cache
        dout = dout * (1 - a * a)
        return dx(dout, x_hat, std, gamma), (dout * x_hat).sum(axis=(0, 1)), dout.sum(axis=(0, 1))

    return verify_function(block_forward, block_backward, **draw(x=(7, 3, 5), gamma=(5,), beta=(5,)))


plant("jacobian-diagonal-only", "rows of length one, (1 − y²) / ‖x‖")(
    lambda: check_unit_rows(lambda dout, y, norm: dout * (1 - y * y) / norm)
)
plant("jacobian-diagonal-only", "rows of length one, ‖x‖ constant")(
    lambda: check_unit_rows(lambda dout, y, norm: dout / norm)
)
plant("jacobian-diagonal-only", "shares, (1 − y) / total")(
    lambda: check_shares(lambda dout, y, total: dout * (1 - y) / total)
)
plant("jacobian-diagonal-only", "batch norm, (1 − 1/n − x̂²/n) / σ, float32")(
    lambda: check_norm(
        0, lambda dout, x_hat, std, gamma: dout * gamma * (1 - (1 + x_hat**2) / len(dout)) / std, "float32"
    )
)
plant("jacobian-diagonal-only", "layer norm, (1 − 1/n − x̂²/n) / σ")(
    lambda: check_layer_norm(lambda dout, x_hat, std, gamma: dout * gamma * (1 - (1 + x_hat**2) / dout.shape[1]) / std)
)
plant("scale-outside", "layer norm")(
    lambda: check_layer_norm(lambda dout, x_hat, std, gamma: gamma * whole(dout, x_hat, std, -1))
)
plant("scale-outside", "layer norm, float32")(
    lambda: check_layer_norm(lambda dout, x_hat, std, gamma: gamma * whole(dout, x_hat, std, -1), "float32")
)
plant("scale-outside", "layer norm of sequences, before tanh")(
    lambda: check_sequence_norm(lambda dout, x_hat, std, gamma: gamma * whole(dout, x_hat, std, -1))
)
CORRECT |= {
    "rows of length one": check_unit_rows, "shares": check_shares, "layer norm again": check_layer_norm,
    "layer norm of sequences": check_sequence_norm,
}  # fmt: skip
