"""Wrong derivatives of activations."""

import math

import numpy as np


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def sigmoid_prime(z):
    s = sigmoid(z)
    return s * (1 - s)


def sigmoid_forward(x, W):
    z = x @ W
    return sigmoid(z), (x, W, z)


def sigmoid_backward(dout, cache):
    x, W, z = cache
    dz = sigmoid_prime(dout)
    dW = x.T @ dz
    dx = dz @ W.T
    return dx, dW


def tanh_forward(x, W):
    z = x @ W
    return np.tanh(z), (x, W, z)


def tanh_backward_of_the_upstream_gradient(dout, cache):
    x, W, z = cache
    dz = 1 - np.tanh(dout) ** 2
    dW = x.T @ dz
    dx = dz @ W.T
    return dx, dW


def tanh_prime(z):
    t = np.tanh(z)
    return t


def tanh_backward_with_tanh(dout, cache):
    x, W, z = cache
    dz = dout * tanh_prime(z)
    dW = x.T @ dz
    dx = dz @ W.T
    return dx, dW


def relu_forward(x, W):
    z = x @ W
    h = np.maximum(z, 0)
    return h, (x, W, h)


def relu_backward(dout, cache):
    x, W, h = cache
    mask = h >= 0
    dz = dout * mask
    dW = x.T @ dz
    dx = dz @ W.T
    return dx, dW


def gelu_forward(x):
    u = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    t = np.tanh(u)
    return 0.5 * x * (1 + t), (x, t)


def gelu_backward(dout, cache):
    x, t = cache
    cdf = 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
    pdf = np.exp(-0.5 * x**2) / math.sqrt(2 * math.pi)
    slope = cdf + x * pdf
    return dout * slope


def elu_forward(x, alpha):
    y = np.where(x > 0, x, alpha * (np.exp(x) - 1))
    return y, (x, alpha)


def elu_backward(dout, cache):
    x, alpha = cache
    slope = x > 0.0 + (x <= 0.0) * alpha * np.exp(x)
    return dout * slope
