"""Normalisation and attention."""

import numpy as np


def batchnorm_forward(x, gamma, beta):
    mu = x.mean(axis=0)
    sigma = np.sqrt(x.var(axis=0) + 1e-5)
    x_hat = (x - mu) / sigma
    return gamma * x_hat + beta, (x_hat, gamma, sigma)


def batchnorm_backward(dout, cache):
    x_hat, gamma, sigma = cache
    dgamma = (dout * x_hat).sum(axis=0)
    dbeta = dout.sum(axis=0)
    dx_hat = dout * gamma
    dx = dx_hat / sigma
    return dx, dgamma, dbeta


def layernorm_forward(x, gamma, beta):
    mu = x.mean(axis=1, keepdims=True)
    sigma = np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)
    x_hat = (x - mu) / sigma
    return gamma * x_hat + beta, (x_hat, gamma, sigma)


def layernorm_backward(dout, cache):
    x_hat, gamma, sigma = cache
    dgamma = (dout * x_hat).sum(axis=0)
    dbeta = dout.sum(axis=0)
    mean = dout.mean(axis=1, keepdims=True)
    along = (dout * x_hat).mean(axis=1, keepdims=True)
    dx = gamma * (dout - mean - x_hat * along) / sigma
    return dx, dgamma, dbeta


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def attention_forward(Q, K, V):
    scores = Q @ K.T / np.sqrt(Q.shape[1])
    A = softmax(scores)
    return A @ V, (Q, K, V, A)


def attention_backward_divided(dout, cache):
    Q, K, V, A = cache
    dV = A.T @ dout
    dA = dout @ V.T
    dscores = A * (dA - (dA * A).sum(axis=1, keepdims=True))
    dscores = dscores / np.sqrt(Q.shape[1]) / len(Q)
    dQ = dscores @ K
    dK = dscores.T @ Q
    return dQ, dK, dV


def attention_backward_keys(dout, cache):
    Q, K, V, A = cache
    dV = A.T @ dout
    dA = dout @ V.T
    dscores = A * (dA - (dA * A).sum(axis=1, keepdims=True))
    dscores = dscores / np.sqrt(Q.shape[1])
    dQ = dscores @ K
    dK = Q.T @ dscores
    return dQ, dK, dV
