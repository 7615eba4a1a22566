"""Whole networks as functions over dicts and lists of parameters."""
# Names, randomness and returns are as their authors would have them.
# ruff: noqa: B905, E741, N802, NPY002, RUF059

import numpy as np

from .cases import functions

rng = np.random.default_rng(9)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def forward_propagation(X, parameters):
    W1, b1 = parameters["W1"], parameters["b1"]
    W2, b2 = parameters["W2"], parameters["b2"]
    Z1 = np.dot(W1, X) + b1
    A1 = np.tanh(Z1)
    Z2 = np.dot(W2, A1) + b2
    A2 = sigmoid(Z2)
    assert A2.shape == (1, X.shape[1])
    cache = {"Z1": Z1, "A1": A1, "Z2": Z2, "A2": A2}
    return A2, cache


def compute_cost(A2, Y):
    m = Y.shape[1]
    logprobs = np.multiply(np.log(A2), Y) + np.multiply(np.log(1 - A2), 1 - Y)
    cost = -np.sum(logprobs) / m
    cost = float(np.squeeze(cost))
    assert isinstance(cost, float)
    return cost


def backward_propagation(parameters, cache, X, Y):
    m = X.shape[1]
    W2 = parameters["W2"]
    A1, A2 = cache["A1"], cache["A2"]
    dZ2 = A2 - Y
    dW2 = (1 / m) * np.dot(dZ2, A1.T)
    db2 = (1 / m) * np.sum(dZ2, axis=1, keepdims=True)
    dZ1 = np.dot(W2.T, dZ2) * (1 - np.power(A1, 2))
    dW1 = (1 / m) * np.dot(dZ1, X.T)
    db1 = (1 / m) * np.sum(dZ1, axis=1, keepdims=True)
    return {"dW1": dW1, "db1": db1, "dW2": dW2, "db2": db2}


functions(
    "planar network, tanh then sigmoid, cost by itself",
    forward_propagation,
    backward_propagation,
    {
        "X": rng.normal(size=(2, 6)),
        "parameters": {
            "W1": rng.normal(size=(4, 2)),
            "b1": np.zeros((4, 1)),
            "W2": rng.normal(size=(1, 4)),
            "b2": np.zeros((1, 1)),
        },
        "Y": rng.integers(0, 2, size=(1, 6)),
    },
    loss=compute_cost,
)


def L_model_forward(X, parameters):
    caches = []
    A = X
    L = len(parameters) // 2
    for l in range(1, L):
        A_prev = A
        Z = parameters["W" + str(l)].dot(A_prev) + parameters["b" + str(l)]
        A = np.maximum(0, Z)
        caches.append(((A_prev, parameters["W" + str(l)], parameters["b" + str(l)]), Z))
    Z = parameters["W" + str(L)].dot(A) + parameters["b" + str(L)]
    AL = sigmoid(Z)
    caches.append(((A, parameters["W" + str(L)], parameters["b" + str(L)]), Z))
    return AL, caches


def cost_AL(AL, Y):
    m = Y.shape[1]
    cost = (1.0 / m) * (-np.dot(Y, np.log(AL).T) - np.dot(1 - Y, np.log(1 - AL).T))
    cost = np.squeeze(cost)
    assert cost.shape == ()
    return cost


def L_model_backward(AL, Y, caches):
    grads = {}
    L = len(caches)
    m = AL.shape[1]
    Y = Y.reshape(AL.shape)
    dAL = -(np.divide(Y, AL) - np.divide(1 - Y, 1 - AL))
    for l in reversed(range(L)):
        (A_prev, W, b), Z = caches[l]
        if l == L - 1:
            s = sigmoid(Z)
            dZ = dAL * s * (1 - s)
        else:
            dZ = np.array(grads["dA" + str(l + 1)], copy=True)
            dZ[Z <= 0] = 0
        grads["dA" + str(l)] = np.dot(W.T, dZ)
        grads["dW" + str(l + 1)] = 1.0 / m * np.dot(dZ, A_prev.T)
        grads["db" + str(l + 1)] = 1.0 / m * np.sum(dZ, axis=1, keepdims=True)
    return grads


def initialize_parameters_deep(layer_dims, seed=3):
    np.random.seed(seed)
    parameters = {}
    for l in range(1, len(layer_dims)):
        parameters["W" + str(l)] = np.random.randn(layer_dims[l], layer_dims[l - 1]) / np.sqrt(layer_dims[l - 1])
        parameters["b" + str(l)] = np.zeros((layer_dims[l], 1)) + 0.1
    return parameters


functions(
    "deep network, caches in a list, dA among the gradients without 1 / m",
    L_model_forward,
    L_model_backward,
    {
        "X": rng.normal(size=(5, 7)),
        "parameters": initialize_parameters_deep([5, 4, 3, 1]),
        "Y": rng.integers(0, 2, size=(1, 7)),
    },
    loss=cost_AL,
)


def propagate(w, b, X, Y):
    m = X.shape[1]
    A = sigmoid(np.dot(w.T, X) + b)
    cost = -1 / m * np.sum(Y * np.log(A) + (1 - Y) * np.log(1 - A))
    dw = 1 / m * np.dot(X, (A - Y).T)
    db = 1 / m * np.sum(A - Y)
    assert dw.shape == w.shape
    cost = np.squeeze(np.array(cost))
    grads = {"dw": dw, "db": db}
    return grads, cost


functions(
    "logistic regression, (grads, cost), b a float",
    propagate,
    None,
    {"w": rng.normal(size=(3, 1)), "b": 0.2, "X": rng.normal(size=(3, 6)), "Y": rng.integers(0, 2, size=(1, 6))},
)


def logistic_cost(theta, X, y, lmbda):
    m = len(y)
    h = sigmoid(X @ theta)
    temp = theta.copy()
    temp[0] = 0
    J = (-y @ np.log(h) - (1 - y) @ np.log(1 - h)) / m + lmbda / (2 * m) * np.sum(temp**2)
    grad = X.T @ (h - y) / m + lmbda / m * temp
    return J, grad


functions(
    "regularised logistic regression, theta[0] left out",
    logistic_cost,
    None,
    {
        "theta": rng.normal(size=4),
        "X": np.c_[np.ones(6), rng.normal(size=(6, 3))],
        "y": rng.integers(0, 2, size=6),
        "lmbda": 1.0,
    },
)


def logistic_predict(weights, features):
    return sigmoid(np.matmul(features, weights))


def logistic_loss(y_hat, labels):
    return -(labels * np.log(y_hat) + (1 - labels) * np.log(1 - y_hat)).mean()


def logistic_gradient(features, labels, y_hat):
    return features.T @ (y_hat - labels) / len(labels)


functions(
    "logistic regression in three functions, one gradient",
    logistic_predict,
    logistic_gradient,
    {
        "weights": rng.normal(size=(3, 1)),
        "features": rng.normal(size=(8, 3)),
        "labels": rng.integers(0, 2, size=(8, 1)),
    },
    loss=logistic_loss,
)


def nnCostFunction(nn_params, input_layer_size, hidden_layer_size, num_labels, X, y, lambda_=0.0):
    split = hidden_layer_size * (input_layer_size + 1)
    Theta1 = np.reshape(nn_params[:split], (hidden_layer_size, input_layer_size + 1))
    Theta2 = np.reshape(nn_params[split:], (num_labels, hidden_layer_size + 1))
    m = y.size
    a1 = np.concatenate([np.ones((m, 1)), X], axis=1)
    a2 = sigmoid(a1.dot(Theta1.T))
    a2 = np.concatenate([np.ones((m, 1)), a2], axis=1)
    a3 = sigmoid(a2.dot(Theta2.T))
    y_matrix = np.eye(num_labels)[y.reshape(-1)]
    reg = lambda_ / (2 * m) * (np.sum(np.square(Theta1[:, 1:])) + np.sum(np.square(Theta2[:, 1:])))
    J = -1 / m * np.sum(np.log(a3) * y_matrix + np.log(1 - a3) * (1 - y_matrix)) + reg
    delta_3 = a3 - y_matrix
    delta_2 = delta_3.dot(Theta2)[:, 1:] * a2[:, 1:] * (1 - a2[:, 1:])
    Theta1_grad = delta_2.T.dot(a1) / m
    Theta2_grad = delta_3.T.dot(a2) / m
    Theta1_grad[:, 1:] += lambda_ / m * Theta1[:, 1:]
    Theta2_grad[:, 1:] += lambda_ / m * Theta2[:, 1:]
    grad = np.concatenate([Theta1_grad.ravel(), Theta2_grad.ravel()])
    return J, grad


functions(
    "network of one unrolled vector, columns of ones",
    nnCostFunction,
    None,
    {
        "nn_params": rng.normal(size=4 * 4 + 3 * 5),
        "input_layer_size": 3,
        "hidden_layer_size": 4,
        "num_labels": 3,
        "X": rng.normal(size=(6, 3)),
        "y": rng.integers(0, 3, size=6),
        "lambda_": 1.0,
    },
)


def two_layer_loss(X, y, params, reg=0.0):
    W1, b1 = params["W1"], params["b1"]
    W2, b2 = params["W2"], params["b2"]
    N, D = X.shape
    h1 = np.maximum(0, X.dot(W1) + b1)
    scores = h1.dot(W2) + b2
    scores -= np.max(scores, axis=1, keepdims=True)
    p = np.exp(scores) / np.sum(np.exp(scores), axis=1, keepdims=True)
    loss = np.sum(-np.log(p[np.arange(N), y])) / N + reg * (np.sum(W1 * W1) + np.sum(W2 * W2))
    grads = {}
    dscores = p
    dscores[range(N), y] -= 1
    dscores /= N
    grads["W2"] = h1.T.dot(dscores) + 2 * reg * W2
    grads["b2"] = np.sum(dscores, axis=0)
    dh1 = dscores.dot(W2.T)
    dh1[h1 <= 0] = 0
    grads["W1"] = X.T.dot(dh1) + 2 * reg * W1
    grads["b1"] = dh1.sum(axis=0)
    return loss, grads


def two_layer_params(dtype):
    return {
        "W1": rng.normal(size=(4, 5)).astype(dtype),
        "b1": rng.normal(size=5).astype(dtype),
        "W2": rng.normal(size=(5, 3)).astype(dtype),
        "b2": rng.normal(size=3).astype(dtype),
    }


for dtype in ("float64", "float32"):
    functions(
        f"two layers, (loss, grads) under the names of the parameters, {dtype}",
        two_layer_loss,
        None,
        {
            "X": rng.normal(size=(6, 4)).astype(dtype),
            "y": rng.integers(0, 3, size=6),
            "params": two_layer_params(dtype),
            "reg": 0.05,
        },
    )


def feed_forward(a, weights, biases):
    for b, w in zip(biases, weights):
        a = sigmoid(np.dot(w, a) + b)
    return a


def backprop(a, y, weights, biases):
    zs, activations = [], [a]
    for w, b in zip(weights, biases):
        zs.append(w @ activations[-1] + b)
        activations.append(sigmoid(zs[-1]))
    nabla_w = [np.zeros(w.shape) for w in weights]
    nabla_b = [np.zeros(b.shape) for b in biases]
    error = activations[-1] - y
    for layer in range(1, len(weights) + 1):
        s = sigmoid(zs[-layer])
        delta = error * s * (1 - s)
        nabla_b[-layer] = delta
        nabla_w[-layer] = delta @ activations[-layer - 1].T
        error = weights[-layer].T @ delta
    return nabla_b, nabla_w


def quadratic_cost(output, y):
    return 0.5 * np.linalg.norm(output - y) ** 2


functions(
    "one column vector through lists of weights and biases, quadratic cost",
    feed_forward,
    backprop,
    {
        "a": rng.uniform(size=(5, 1)),
        "weights": [rng.normal(size=(4, 5)), rng.normal(size=(3, 4))],
        "biases": [rng.normal(size=(4, 1)), rng.normal(size=(3, 1))],
        "y": np.array([[0.0], [1.0], [0.0]]),
    },
    loss=quadratic_cost,
)


def mlp_forward(x, layers):
    activations = [x]
    for i, (W, b) in enumerate(layers):
        x = x @ W + b
        if i < len(layers) - 1:
            x = np.tanh(x)
        activations.append(x)
    return x, activations


def mlp_backward(grad, activations, layers):
    grads = []
    for i in reversed(range(len(layers))):
        W, b = layers[i]
        if i < len(layers) - 1:
            grad = grad * (1 - activations[i + 1] ** 2)
        grads.append((activations[i].T @ grad, grad.sum(axis=0)))
        grad = grad @ W.T
    return grads[::-1]


functions(
    "network of a list of tuples, gradients alike",
    mlp_forward,
    mlp_backward,
    {
        "x": rng.normal(size=(4, 3)),
        "layers": [
            (rng.normal(size=(3, 5)), rng.normal(size=5)),
            (rng.normal(size=(5, 4)), rng.normal(size=4)),
            (rng.normal(size=(4, 2)), rng.normal(size=2)),
        ],
    },
)


def forward_prop(W1, b1, W2, b2, X):
    Z1 = W1.dot(X) + b1
    A1 = np.maximum(Z1, 0)
    Z2 = W2.dot(A1) + b2
    A2 = np.exp(Z2) / sum(np.exp(Z2))
    return Z1, A1, Z2, A2


def one_hot(Y):
    one_hot_Y = np.zeros((Y.size, Y.max() + 1))
    one_hot_Y[np.arange(Y.size), Y] = 1
    return one_hot_Y.T


def digit_loss(W1, b1, W2, b2, X, Y):
    Z1, A1, Z2, A2 = forward_prop(W1, b1, W2, b2, X)
    return -np.sum(one_hot(Y) * np.log(A2)) / Y.size


def backward_prop(W1, b1, W2, b2, X, Y):
    m = Y.size
    Z1, A1, Z2, A2 = forward_prop(W1, b1, W2, b2, X)
    dZ2 = A2 - one_hot(Y)
    dW2 = 1 / m * dZ2.dot(A1.T)
    db2 = 1 / m * np.sum(dZ2, 1).reshape(-1, 1)
    dZ1 = W2.T.dot(dZ2) * (Z1 > 0)
    dW1 = 1 / m * dZ1.dot(X.T)
    db1 = 1 / m * np.sum(dZ1, 1).reshape(-1, 1)
    return dW1, db1, dW2, db2


functions(
    "digit network, Python's sum over rows, one-hot built from the labels",
    digit_loss,
    backward_prop,
    {
        "W1": rng.uniform(-0.5, 0.5, size=(5, 6)),
        "b1": rng.uniform(-0.5, 0.5, size=(5, 1)),
        "W2": rng.uniform(-0.5, 0.5, size=(3, 5)),
        "b2": rng.uniform(-0.5, 0.5, size=(3, 1)),
        "X": rng.uniform(size=(6, 5)),
        "Y": np.array([2, 0, 1, 2, 1]),
    },
)
