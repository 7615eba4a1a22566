"""More networks as functions: softmax outputs, penalties, autoencoders, a small convolutional one."""
# Names, randomness and returns are as their authors would have them.
# ruff: noqa: NPY002, RUF059

import numpy as np

from .cases import functions

r = np.random.RandomState(10)


def softmax(z):
    e = np.exp(z - np.max(z, axis=0, keepdims=True))
    return e / np.sum(e, axis=0, keepdims=True)


def forward(X, params):
    A1 = np.maximum(0, params["W1"] @ X + params["b1"])
    A2 = softmax(params["W2"] @ A1 + params["b2"])
    return A2, {"A0": X, "A1": A1, "A2": A2}


def compute_loss(A2, Y):
    return -np.mean(np.sum(Y * np.log(A2 + 1e-15), axis=0))


def backward(params, cache, Y):
    m = Y.shape[1]
    dZ2 = (cache["A2"] - Y) / m
    dZ1 = (params["W2"].T @ dZ2) * (cache["A1"] > 0)
    return {
        "W1": dZ1 @ cache["A0"].T,
        "b1": dZ1.sum(axis=1, keepdims=True),
        "W2": dZ2 @ cache["A1"].T,
        "b2": dZ2.sum(axis=1, keepdims=True),
    }


functions(
    "softmax network, samples as columns, one-hot (n_classes, m), eps in the loss",
    forward,
    backward,
    {
        "X": r.randn(4, 6),
        "params": {"W1": r.randn(5, 4), "b1": r.randn(5, 1), "W2": r.randn(3, 5), "b2": r.randn(3, 1)},
        "Y": np.eye(3)[r.randint(0, 3, size=6)].T,
    },
    loss=compute_loss,
)


def model_forward(X, model):
    a1 = np.tanh(np.dot(X, model["W1"]) + model["b1"])
    z2 = np.dot(a1, model["W2"]) + model["b2"]
    probs = np.exp(z2)
    probs = probs / probs.sum(axis=1, keepdims=True)
    return probs, a1


def model_loss(probs, y, model, reg_lambda):
    n = len(y)
    data_loss = sum(-np.log(probs[i, y[i]]) for i in range(n))
    penalty = reg_lambda / 2 * sum(np.sum(model[k] ** 2) for k in ("W1", "W2"))
    return (data_loss + penalty) / n


def model_backward(probs, a1, X, y, model, reg_lambda):
    n = len(y)
    delta = probs - np.eye(probs.shape[1])[y]
    grads = {"dW2": np.dot(a1.T, delta) + reg_lambda * model["W2"], "db2": delta.sum(axis=0, keepdims=True)}
    delta = np.dot(delta, model["W2"].T) * (1 - np.square(a1))
    grads["dW1"] = np.dot(X.T, delta) + reg_lambda * model["W1"]
    grads["db1"] = delta.sum(axis=0, keepdims=True)
    for key in grads:
        grads[key] /= n
    return grads


functions(
    "softmax network with weight decay over a dict called model",
    model_forward,
    model_backward,
    {
        "X": r.randn(8, 2),
        "model": {"W1": r.randn(2, 3), "b1": np.zeros((1, 3)), "W2": r.randn(3, 2), "b2": np.zeros((1, 2))},
        "y": r.randint(0, 2, size=8),
        "reg_lambda": 0.1,
    },
    loss=model_loss,
)


def two_matrices(x, y, w1, w2):
    hidden = x.dot(w1)
    active = np.maximum(hidden, 0)
    difference = active.dot(w2) - y
    loss = (difference**2).sum()
    grad_out = 2.0 * difference
    grad_hidden = np.array(grad_out.dot(w2.T))
    grad_hidden[hidden < 0] = 0
    return loss, x.T.dot(grad_hidden), active.T.dot(grad_out)


functions(
    "two matrices and ReLU, sum of squares, (loss, grad_w1, grad_w2)",
    two_matrices,
    None,
    {"x": r.randn(5, 6), "y": r.randn(5, 2), "w1": r.randn(6, 4), "w2": r.randn(4, 2)},
)


def xor_forward(X, syn0, syn1):
    l1 = 1 / (1 + np.exp(-np.dot(X, syn0)))
    l2 = 1 / (1 + np.exp(-np.dot(l1, syn1)))
    return l2, l1


def xor_loss(l2, y):
    return 0.5 * ((y - l2) ** 2).sum()


def xor_backward(X, y, syn1, l1, l2):
    l2_delta = -(y - l2) * l2 * (1 - l2)
    l1_delta = l2_delta.dot(syn1.T) * (l1 * (1 - l1))
    return X.T.dot(l1_delta), l1.T.dot(l2_delta)


functions(
    "XOR with two sigmoid layers, inputs and targets of ints",
    xor_forward,
    xor_backward,
    {
        "X": np.array([[0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 1]]),
        "syn0": 2 * r.random_sample((3, 4)) - 1,
        "syn1": 2 * r.random_sample((4, 1)) - 1,
        "y": np.array([[0, 1, 1, 0]]).T,
    },
    loss=xor_loss,
)


def dropout_net_forward(X, parameters, keep_prob=0.8):
    np.random.seed(1)
    Z1 = np.dot(parameters["W1"], X) + parameters["b1"]
    A1 = np.maximum(0, Z1)
    D1 = np.random.rand(*A1.shape) < keep_prob
    A1 = A1 * D1 / keep_prob
    A2 = 1 / (1 + np.exp(-(np.dot(parameters["W2"], A1) + parameters["b2"])))
    return A2, (Z1, D1, A1, A2)


def dropout_net_cost(A2, Y):
    return np.nansum(-np.log(A2) * Y - np.log(1 - A2) * (1 - Y)) / Y.shape[1]


def dropout_net_backward(X, Y, cache, parameters, keep_prob=0.8):
    (Z1, D1, A1, A2) = cache
    m = X.shape[1]
    dZ2 = A2 - Y
    dA1 = np.dot(parameters["W2"].T, dZ2) * D1 / keep_prob
    dZ1 = np.multiply(dA1, np.int64(A1 > 0))
    return {
        "dZ2": dZ2,
        "dW2": np.dot(dZ2, A1.T) / m,
        "db2": np.sum(dZ2, axis=1, keepdims=True) / m,
        "dA1": dA1,
        "dW1": np.dot(dZ1, X.T) / m,
        "db1": np.sum(dZ1, axis=1, keepdims=True) / m,
    }


functions(
    "network with dropout seeded inside, dZ2 and dA1 among the gradients without 1 / m",
    dropout_net_forward,
    dropout_net_backward,
    {
        "X": r.randn(3, 6),
        "parameters": {"W1": r.randn(5, 3), "b1": r.randn(5, 1), "W2": r.randn(1, 5), "b2": r.randn(1, 1)},
        "Y": r.randint(0, 2, size=(1, 6)),
    },
    loss=dropout_net_cost,
)


def cost_with_regularization(W1, W2, X, Y, lambd):
    m = Y.shape[1]
    A = 1 / (1 + np.exp(-W2 @ np.tanh(W1 @ X)))
    cross_entropy_cost = -np.sum(Y * np.log(A) + (1 - Y) * np.log(1 - A)) / m
    L2_regularization_cost = lambd * (np.sum(np.square(W1)) + np.sum(np.square(W2))) / (2 * m)
    return cross_entropy_cost + L2_regularization_cost


def backward_with_regularization(W1, W2, X, Y, lambd):
    m = Y.shape[1]
    H = np.tanh(W1 @ X)
    dZ2 = 1 / (1 + np.exp(-W2 @ H)) - Y
    dW2 = 1.0 / m * np.dot(dZ2, H.T) + lambd / m * W2
    dW1 = 1.0 / m * np.dot(W2.T @ dZ2 * (1 - H * H), X.T) + lambd / m * W1
    return dW1, dW2


functions(
    "network without biases, cost with L2 divided by 2m, Y of bools",
    cost_with_regularization,
    backward_with_regularization,
    {"W1": r.randn(4, 3), "W2": r.randn(1, 4), "X": r.randn(3, 7), "Y": r.rand(1, 7) > 0.5, "lambd": 0.7},
)


def autoencoder(X, W, b, c):
    H = 1 / (1 + np.exp(-(X @ W + b)))
    R = H @ W.T + c
    E = R - X
    cost = 0.5 * np.mean(np.sum(E**2, axis=1))
    dR = E / len(X)
    dH = dR @ W * H * (1 - H)
    return cost, [X.T @ dH + dR.T @ H, dH.sum(axis=0), dR.sum(axis=0)]


functions(
    "autoencoder with tied weights, gradients in a list",
    autoencoder,
    None,
    {"X": r.rand(6, 5), "W": r.randn(5, 3), "b": r.randn(3), "c": r.randn(5)},
)


def sparse_autoencoder_cost(theta, visible_size, hidden_size, lambda_, sparsity_param, beta, data):
    hv = hidden_size * visible_size
    W1 = theta[0:hv].reshape(hidden_size, visible_size)
    W2 = theta[hv : 2 * hv].reshape(visible_size, hidden_size)
    b1 = theta[2 * hv : 2 * hv + hidden_size]
    b2 = theta[2 * hv + hidden_size :]
    m = data.shape[1]
    a2 = 1 / (1 + np.exp(-(W1.dot(data) + np.tile(b1, (m, 1)).transpose())))
    h = 1 / (1 + np.exp(-(W2.dot(a2) + np.tile(b2, (m, 1)).transpose())))
    rho_hat = np.sum(a2, axis=1) / m
    rho = np.tile(sparsity_param, hidden_size)
    kl = np.sum(rho * np.log(rho / rho_hat) + (1 - rho) * np.log((1 - rho) / (1 - rho_hat)))
    cost = np.sum((h - data) ** 2) / (2 * m) + (lambda_ / 2) * (np.sum(W1**2) + np.sum(W2**2)) + beta * kl
    sparsity_delta = np.tile(-rho / rho_hat + (1 - rho) / (1 - rho_hat), (m, 1)).transpose()
    delta3 = -(data - h) * h * (1 - h)
    delta2 = (W2.transpose().dot(delta3) + beta * sparsity_delta) * a2 * (1 - a2)
    W1grad = delta2.dot(data.transpose()) / m + lambda_ * W1
    W2grad = delta3.dot(a2.transpose()) / m + lambda_ * W2
    b1grad = np.sum(delta2, axis=1) / m
    b2grad = np.sum(delta3, axis=1) / m
    grad = np.concatenate((W1grad.flatten(), W2grad.flatten(), b1grad.flatten(), b2grad.flatten()))
    return cost, grad


functions(
    "sparse autoencoder of one flat theta",
    sparse_autoencoder_cost,
    None,
    {
        "theta": 0.5 * r.randn(2 * 5 * 3 + 3 + 5),
        "visible_size": 5,
        "hidden_size": 3,
        "lambda_": 0.001,
        "sparsity_param": 0.1,
        "beta": 3.0,
        "data": r.rand(5, 6),
    },
)


def vae_loss(x, params, eps):
    h = np.tanh(x @ params["We"] + params["be"])
    mu, logvar = h @ params["Wm"], h @ params["Wv"]
    std = np.exp(logvar / 2)
    z = mu + std * eps
    y = 1 / (1 + np.exp(-(z @ params["Wd"] + params["bd"])))
    bce = -np.sum(x * np.log(y) + (1 - x) * np.log(1 - y))
    kld = -0.5 * np.sum(1 + logvar - mu**2 - np.exp(logvar))
    n = x.shape[0]

    dlogits = (y - x) / n
    dz = dlogits @ params["Wd"].T
    dmu = dz + mu / n
    dlogvar = dz * eps * std / 2 + 0.5 * (np.exp(logvar) - 1) / n
    dh = (dmu @ params["Wm"].T + dlogvar @ params["Wv"].T) * (1 - h**2)
    grads = {
        "We": x.T @ dh,
        "be": dh.sum(0),
        "Wm": h.T @ dmu,
        "Wv": h.T @ dlogvar,
        "Wd": z.T @ dlogits,
        "bd": dlogits.sum(0),
    }
    return (bce + kld) / n, grads


functions(
    "variational autoencoder, the noise an argument",
    vae_loss,
    None,
    {
        "x": r.rand(4, 5),
        "params": {
            "We": r.randn(5, 4),
            "be": r.randn(4),
            "Wm": 0.5 * r.randn(4, 2),
            "Wv": 0.5 * r.randn(4, 2),
            "Wd": r.randn(2, 5),
            "bd": r.randn(5),
        },
        "eps": r.randn(4, 2),
    },
)


def convnet_loss(X, y, params):
    F, _, k, _ = params["W1"].shape
    N, C, H, W = X.shape
    o = H - k + 1
    cols = np.lib.stride_tricks.sliding_window_view(X, (k, k), axis=(2, 3)).transpose(0, 2, 3, 1, 4, 5)
    cols = cols.reshape(N * o * o, -1)
    z = (cols @ params["W1"].reshape(F, -1).T + params["b1"]).reshape(N, o, o, F)
    a = np.maximum(z, 0)
    flat = a.reshape(N, -1)
    scores = flat @ params["W2"] + params["b2"]
    logp = scores - scores.max(1, keepdims=True)
    logp -= np.log(np.exp(logp).sum(1, keepdims=True))
    loss = -logp[np.arange(N), y].mean()
    grads = {}
    dscores = np.exp(logp)
    dscores[np.arange(N), y] -= 1
    dscores /= N
    grads["W2"] = flat.T @ dscores
    grads["b2"] = dscores.sum(0)
    dz = (dscores @ params["W2"].T).reshape(a.shape) * (a > 0)
    dz = dz.reshape(N * o * o, F)
    grads["W1"] = (dz.T @ cols).reshape(params["W1"].shape)
    grads["b1"] = dz.sum(0)
    return loss, grads


functions(
    "convolution, ReLU, affine and softmax loss in one function",
    convnet_loss,
    None,
    {
        "X": r.randn(3, 2, 5, 5),
        "y": np.array([1, 0, 2]),
        "params": {
            "W1": r.randn(2, 2, 3, 3) * 0.5,
            "b1": r.randn(2),
            "W2": r.randn(18, 3) * 0.5,
            "b2": r.randn(3),
        },
    },
)


def residual_forward(x, theta):
    W1, W2 = theta
    h = np.maximum(0, x @ W1)
    return x + h @ W2, h


def residual_backward(dout, x, h, theta):
    W1, W2 = theta
    dh = dout @ W2.T
    dh[h == 0] = 0
    return dout + dh @ W1.T, [x.T @ dh, h.T @ dout]


functions(
    "residual block, parameters a list of two arrays",
    residual_forward,
    residual_backward,
    {"x": r.randn(4, 3), "theta": [r.randn(3, 5), r.randn(5, 3)]},
)


def perceptron_chain(x, w1, b1, w2, b2):
    h = 1 / (1 + np.exp(-(w1 * x + b1)))
    return w2 * h + b2


def perceptron_chain_backward(dy, x, w1, b1, w2, b2):
    h = 1 / (1 + np.exp(-(w1 * x + b1)))
    dh = dy * w2 * h * (1 - h)
    return {"w1": dh * x, "b1": dh, "w2": dy * h, "b2": dy}


functions(
    "two neurons in a row, all of it Python floats",
    perceptron_chain,
    perceptron_chain_backward,
    {"x": 0.4, "w1": 0.7, "b1": -0.1, "w2": 1.3, "b2": 0.2},
)
