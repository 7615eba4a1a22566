"""Whole networks: forward, loss and the gradients of all parameters."""

import numpy as np

from tests.verify.courses.course import Course, draw


def two_layer_net(X, y, W1, b1, W2, b2, reg=0.05):
    """Softmax over two layers with rows as examples; returns the loss and a dict of gradients."""
    N = X.shape[0]
    hidden = np.maximum(0, X.dot(W1) + b1)
    scores = hidden.dot(W2) + b2
    exp_scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    probs = exp_scores / exp_scores.sum(axis=1, keepdims=True)
    data_loss = -np.log(probs[range(N), y]).sum() / N
    loss = data_loss + 0.5 * reg * (np.sum(W1 * W1) + np.sum(W2 * W2))

    grads = {}
    dscores = probs
    dscores[range(N), y] -= 1
    dscores /= N
    grads["W2"] = hidden.T.dot(dscores)
    grads["b2"] = dscores.sum(axis=0)
    dhidden = dscores.dot(W2.T)
    dhidden[hidden <= 0] = 0
    grads["W1"] = X.T.dot(dhidden)
    grads["b1"] = dhidden.sum(axis=0)
    grads["W2"] += reg * W2
    grads["W1"] += reg * W1
    return loss, grads


def sigmoid(Z):
    return 1 / (1 + np.exp(-Z))


def relu_backward(dA, Z):
    dZ = np.array(dA, copy=True)
    dZ[Z <= 0] = 0
    return dZ


def forward_propagation(X, Y, W1, b1, W2, b2, W3, b3):
    """Three layers with columns as examples: LINEAR-RELU-LINEAR-RELU-LINEAR-SIGMOID."""
    Z1 = np.dot(W1, X) + b1
    A1 = np.maximum(0, Z1)
    Z2 = np.dot(W2, A1) + b2
    A2 = np.maximum(0, Z2)
    Z3 = np.dot(W3, A2) + b3
    A3 = sigmoid(Z3)
    m = X.shape[1]
    cost = -1 / m * np.sum(Y * np.log(A3) + (1 - Y) * np.log(1 - A3))
    cache = (Z1, A1, W1, Z2, A2, W2, Z3, A3, W3)
    return cost, cache


def backward_propagation(X, Y, cache):
    m = X.shape[1]
    (Z1, A1, _, Z2, A2, W2, _, A3, W3) = cache

    dZ3 = A3 - Y
    dW3 = 1.0 / m * np.dot(dZ3, A2.T)
    db3 = 1.0 / m * np.sum(dZ3, axis=1, keepdims=True)

    dA2 = np.dot(W3.T, dZ3)
    dZ2 = relu_backward(dA2, Z2)
    dW2 = 1.0 / m * np.dot(dZ2, A1.T)
    db2 = 1.0 / m * np.sum(dZ2, axis=1, keepdims=True)

    dA1 = np.dot(W2.T, dZ2)
    dZ1 = np.multiply(dA1, np.int64(Z1 > 0))
    dW1 = 1.0 / m * np.dot(dZ1, X.T)
    db1 = 1.0 / m * np.sum(dZ1, axis=1, keepdims=True)
    return {"dW3": dW3, "db3": db3, "dW2": dW2, "db2": db2, "dW1": dW1, "db1": db1}


def sigmoid_prime(z):
    return sigmoid(z) * (1 - sigmoid(z))


def feedforward(x, y, w1, w2, b1, b2):
    """One example as a column, half the squared error."""
    activations, zs = [x], []
    for w, b in zip([w1, w2], [b1, b2], strict=True):
        zs.append(np.dot(w, activations[-1]) + b)
        activations.append(sigmoid(zs[-1]))
    return 0.5 * np.sum((activations[-1] - y) ** 2), (activations, zs)


def backprop(y, w1, w2, cache):
    activations, zs = cache
    weights = [w1, w2]
    nabla_b = [None, None]
    nabla_w = [None, None]
    delta = (activations[-1] - y) * sigmoid_prime(zs[-1])
    nabla_b[-1] = delta
    nabla_w[-1] = np.dot(delta, activations[-2].transpose())
    for layer in range(2, len(weights) + 1):
        sp = sigmoid_prime(zs[-layer])
        delta = np.dot(weights[-layer + 1].transpose(), delta) * sp
        nabla_b[-layer] = delta
        nabla_w[-layer] = np.dot(delta, activations[-layer - 1].transpose())
    return *nabla_w, *nabla_b


def blog_net(X, y, syn0, syn1):
    """The smallest network of a tutorial: two matrices, sigmoids, squared error."""
    l0 = X
    l1 = sigmoid(np.dot(l0, syn0))
    l2 = sigmoid(np.dot(l1, syn1))
    error = 0.5 * np.sum((y - l2) ** 2)

    l2_delta = (l2 - y) * (l2 * (1 - l2))
    l1_error = l2_delta.dot(syn1.T)
    l1_delta = l1_error * (l1 * (1 - l1))
    return error, (l0.T.dot(l1_delta), l1.T.dot(l2_delta))


def tied_autoencoder(x, W, b, c):
    """The decoder's weights are the encoder's, transposed."""
    h = sigmoid(x @ W + b)
    x_hat = h @ W.T + c
    diff = x_hat - x
    loss = 0.5 * np.mean(np.sum(diff**2, axis=1))

    dx_hat = diff / len(x)
    dc = dx_hat.sum(axis=0)
    dh = dx_hat @ W
    dW = dx_hat.T @ h
    dz = dh * h * (1 - h)
    dW += x.T @ dz
    db = dz.sum(axis=0)
    return loss, {"W": dW, "b": db, "c": dc}


def vae_forward(x, We, Wm, Ws, Wd, noise):
    """A variational autoencoder with the noise given; loss is squared error plus KL."""
    h = np.tanh(x @ We)
    mu, logvar = h @ Wm, h @ Ws
    std = np.exp(0.5 * logvar)
    z = mu + std * noise
    out = z @ Wd
    rec = 0.5 * np.sum((out - x) ** 2)
    kl = -0.5 * np.sum(1 + logvar - mu**2 - std**2)
    return rec + kl, (x, We, Wm, Ws, Wd, noise, h, mu, std, z, out)


def vae_backward(cache):
    x, _, Wm, Ws, Wd, noise, h, mu, std, z, out = cache
    dout = out - x
    dWd = z.T @ dout
    dz = dout @ Wd.T
    dmu = dz + mu
    dlogvar = 0.5 * dz * noise * std
    dlogvar += 0.5 * (std**2 - 1)
    dWm = h.T @ dmu
    dWs = h.T @ dlogvar
    dh = dmu @ Wm.T + dlogvar @ Ws.T
    dWe = x.T @ (dh * (1 - h * h))
    return dWe, dWm, dWs, dWd


def softmax_in_place(a):
    a = a - a.max(axis=1, keepdims=True)
    np.exp(a, out=a)
    a /= a.sum(axis=1, keepdims=True)
    return a


def char_rnn(inputs, targets, Wxh, Whh, Why, bh, by):
    """The loss of a character model over a short text, and the gradients of its five parameters."""
    xs, hs, ps = {}, {-1: np.zeros((Whh.shape[0], 1))}, {}
    loss = 0
    for t in range(len(inputs)):
        xs[t] = np.zeros((Wxh.shape[1], 1))
        xs[t][inputs[t]] = 1
        hs[t] = np.tanh(np.dot(Wxh, xs[t]) + np.dot(Whh, hs[t - 1]) + bh)
        logits = np.dot(Why, hs[t]) + by
        ps[t] = np.exp(logits) / np.sum(np.exp(logits))
        loss += -np.log(ps[t][targets[t], 0])
    dWxh, dWhh, dWhy = np.zeros_like(Wxh), np.zeros_like(Whh), np.zeros_like(Why)
    dbh, dby = np.zeros_like(bh), np.zeros_like(by)
    dhnext = np.zeros_like(hs[0])
    for t in reversed(range(len(inputs))):
        dlogits = np.copy(ps[t])
        dlogits[targets[t]] -= 1
        dWhy += np.dot(dlogits, hs[t].T)
        dby += dlogits
        dh = np.dot(Why.T, dlogits) + dhnext
        dhraw = (1 - hs[t] * hs[t]) * dh
        dbh += dhraw
        dWxh += np.dot(dhraw, xs[t].T)
        dWhh += np.dot(dhraw, hs[t - 1].T)
        dhnext = np.dot(Whh.T, dhraw)
    return loss, (dWxh, dWhh, dWhy, dbh, dby)


def siamese_forward(xa, xb, W, v):
    """Whether two inputs are alike, by one embedding used twice."""
    ea, eb = np.tanh(xa @ W), np.tanh(xb @ W)
    gap = np.abs(ea - eb)
    return gap @ v, (xa, xb, v, ea, eb, gap)


def siamese_backward(dscore, cache):
    xa, xb, v, ea, eb, gap = cache
    dv = gap.T @ dscore
    dgap = np.outer(dscore, v)
    dea = dgap * np.sign(ea - eb)
    deb = -dea
    dW = np.zeros((xa.shape[1], ea.shape[1]))
    for x, e, de in ((xa, ea, dea), (xb, eb, deb)):
        dW += x.T @ (de * (1 - e**2))
    return dW, dv


def graph_conv_forward(X, adj, W1, W2):
    """Two graph convolutions over a fixed adjacency matrix."""
    a_hat = adj + np.eye(len(adj))
    deg = a_hat.sum(axis=1)
    P = a_hat / np.sqrt(np.outer(deg, deg))
    H = np.maximum(P @ X @ W1, 0)
    return P @ H @ W2, (P, X, W1, W2, H)


def graph_conv_backward(dY, cache):
    P, X, W1, W2, H = cache
    dPH = dY @ W2.T
    dW2 = (P @ H).T @ dY
    dH = P.T @ dPH
    dH[H <= 0] = 0
    dW1 = (P @ X).T @ dH
    dX = P.T @ (dH @ W1.T)
    return dX, dW1, dW2


def actor_critic(states, actions, returns, W, Wpi, wv, c_v=0.5, c_e=0.01):
    """Policy gradient, value error and entropy bonus on one shared layer; the advantage is a constant of the policy."""
    n = len(actions)
    h = np.tanh(states @ W)
    p = softmax_in_place(h @ Wpi)
    v = h @ wv
    logp = np.log(p)
    entropy = -(p * logp).sum(axis=1)
    chosen = logp[np.arange(n), actions]
    loss = np.mean(-chosen * returns + c_v * (v - returns) ** 2 - c_e * entropy)

    dlogits = p * returns[:, None]
    dlogits[np.arange(n), actions] -= returns
    dlogits += c_e * p * (logp + entropy[:, None])
    dlogits /= n
    dv = 2 * c_v * (v - returns) / n
    dh = dlogits @ Wpi.T + np.outer(dv, wv)
    return loss, {"W": states.T @ (dh * (1 - h**2)), "Wpi": h.T @ dlogits, "wv": h.T @ dv}


NET = {"W1": (4, 5), "b1": (5,), "W2": (5, 3), "b2": (3,)}
DEEP = {"W1": (5, 3), "b1": (5, 1), "W2": (2, 5), "b2": (2, 1), "W3": (1, 2), "b3": (1, 1)}
RING = np.array([[0, 1, 0, 0, 1], [1, 0, 1, 0, 0], [0, 1, 0, 1, 0], [0, 0, 1, 0, 0], [1, 0, 0, 0, 0]])

COURSES = [
    Course(
        "two_layer_net",
        two_layer_net,
        None,
        lambda: {"X": draw(1, X=(6, 4))["X"], "y": np.array([0, 2, 1, 1, 0, 2]), **draw(2, **NET)},
        (),
        {name: name for name in NET},
    ),
    Course(
        "three_layer_columns",
        forward_propagation,
        backward_propagation,
        lambda: {"X": draw(3, X=(3, 4))["X"], "Y": np.array([[1, 0, 0, 1]]), **draw(4, **DEEP)},
        (relu_backward,),
        {f"d{name}": name for name in DEEP},
    ),
    Course(
        "nabla",
        feedforward,
        backprop,
        lambda: draw(5, x=(4, 1), y=(2, 1), w1=(3, 4), w2=(2, 3), b1=(3, 1), b2=(2, 1)),
        (sigmoid_prime,),
        ("w1", "w2", "b1", "b2"),
    ),
    Course(
        "blog_net", blog_net, None, lambda: draw(6, X=(5, 3), y=(5, 1), syn0=(3, 4), syn1=(4, 1)), (), ("syn0", "syn1")
    ),
    Course(
        "tied_autoencoder",
        tied_autoencoder,
        None,
        lambda: draw(7, x=(3, 5), W=(5, 2), b=(2,), c=(5,)),
        (),
        {"W": "W", "b": "b", "c": "c"},
    ),
    Course(
        "vae",
        vae_forward,
        vae_backward,
        lambda: draw(8, x=(3, 5), We=(5, 4), Wm=(4, 2), Ws=(4, 2), Wd=(2, 5), noise=(3, 2)),
        (),
        ("We", "Wm", "Ws", "Wd"),
    ),
    Course(
        "char_rnn",
        char_rnn,
        None,
        lambda: {
            "inputs": np.array([0, 3, 1, 2]),
            "targets": np.array([3, 1, 2, 2]),
            **draw(9, Wxh=(3, 4), Whh=(3, 3), Why=(4, 3), bh=(3, 1), by=(4, 1)),
        },
        (),
        ("Wxh", "Whh", "Why", "bh", "by"),
    ),
    Course(
        "siamese",
        siamese_forward,
        siamese_backward,
        lambda: draw(10, xa=(5, 4), xb=(5, 4), W=(4, 3), v=(3,)),
        (),
        ("W", "v"),
    ),
    Course(
        "graph_conv",
        graph_conv_forward,
        graph_conv_backward,
        lambda: {"X": draw(11, X=(5, 4))["X"], "adj": RING.copy(), **draw(12, W1=(4, 3), W2=(3, 2))},
        (),
        ("X", "W1", "W2"),
    ),
    Course(
        "actor_critic",
        actor_critic,
        None,
        lambda: {
            "states": draw(13, s=(5, 4))["s"],
            "actions": np.array([0, 1, 1, 0, 1]),
            **draw(14, returns=(5,), W=(4, 3), Wpi=(3, 2), wv=(3,)),
        },
        (),
        {"W": "W", "Wpi": "Wpi", "wv": "wv"},
    ),
]
