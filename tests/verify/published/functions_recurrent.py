"""Recurrent steps and whole sequences as functions."""
# Names, randomness and returns are as their authors would have them.
# ruff: noqa: N802, RUF059

import numpy as np

from .cases import functions

r = np.random.RandomState(8)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def rnn_step_forward(x, prev_h, Wx, Wh, b):
    next_h = np.tanh(x.dot(Wx) + prev_h.dot(Wh) + b)
    cache = (x, prev_h, Wx, Wh, next_h)
    return next_h, cache


def rnn_step_backward(dnext_h, cache):
    x, prev_h, Wx, Wh, next_h = cache
    da = dnext_h * (1 - next_h**2)
    dx = da.dot(Wx.T)
    dprev_h = da.dot(Wh.T)
    dWx = x.T.dot(da)
    dWh = prev_h.T.dot(da)
    db = da.sum(axis=0)
    return dx, dprev_h, dWx, dWh, db


functions(
    "RNN step, samples as rows",
    rnn_step_forward,
    rnn_step_backward,
    {
        "x": r.randn(3, 4),
        "prev_h": r.randn(3, 5),
        "Wx": r.randn(4, 5) * 0.5,
        "Wh": r.randn(5, 5) * 0.5,
        "b": r.randn(5),
    },
)


def rnn_forward(x, h0, Wx, Wh, b):
    N, T, D = x.shape
    H = h0.shape[1]
    h = np.zeros((N, T, H))
    cache = []
    prev_h = h0
    for t in range(T):
        prev_h, c = rnn_step_forward(x[:, t, :], prev_h, Wx, Wh, b)
        h[:, t, :] = prev_h
        cache.append(c)
    return h, cache


def rnn_backward(dh, cache):
    N, T, H = dh.shape
    D = cache[0][0].shape[1]
    dx = np.zeros((N, T, D))
    dprev_h = np.zeros((N, H))
    dWx, dWh, db = np.zeros((D, H)), np.zeros((H, H)), np.zeros(H)
    for t in reversed(range(T)):
        dx[:, t, :], dprev_h, dWx_t, dWh_t, db_t = rnn_step_backward(dh[:, t, :] + dprev_h, cache.pop())
        dWx += dWx_t
        dWh += dWh_t
        db += db_t
    return dx, dprev_h, dWx, dWh, db


functions(
    "RNN over a sequence, a list of caches that is popped",
    rnn_forward,
    rnn_backward,
    {
        "x": r.randn(3, 4, 3),
        "h0": r.randn(3, 5),
        "Wx": r.randn(3, 5) * 0.5,
        "Wh": r.randn(5, 5) * 0.5,
        "b": r.randn(5),
    },
)


def lstm_step_forward(x, prev_h, prev_c, Wx, Wh, b):
    H = prev_h.shape[1]
    a = np.dot(x, Wx) + np.dot(prev_h, Wh) + b
    i = sigmoid(a[:, :H])
    f = sigmoid(a[:, H : 2 * H])
    o = sigmoid(a[:, 2 * H : 3 * H])
    g = np.tanh(a[:, 3 * H :])
    next_c = f * prev_c + i * g
    next_h = o * np.tanh(next_c)
    return next_h, next_c, (x, prev_h, prev_c, Wx, Wh, i, f, o, g, next_c)


def lstm_step_backward(dnext_h, dnext_c, cache):
    x, prev_h, prev_c, Wx, Wh, i, f, o, g, next_c = cache
    tc = np.tanh(next_c)
    do = dnext_h * tc
    dc = dnext_c + dnext_h * o * (1 - tc**2)
    df, di, dg = dc * prev_c, dc * g, dc * i
    dprev_c = dc * f
    da = np.hstack((di * i * (1 - i), df * f * (1 - f), do * o * (1 - o), dg * (1 - g**2)))
    dx = da @ Wx.T
    dprev_h = da @ Wh.T
    return dx, dprev_h, dprev_c, x.T @ da, prev_h.T @ da, da.sum(axis=0)


functions(
    "LSTM step with two outputs",
    lstm_step_forward,
    lstm_step_backward,
    {
        "x": r.randn(3, 4),
        "prev_h": r.randn(3, 3),
        "prev_c": r.randn(3, 3),
        "Wx": r.randn(4, 12) * 0.5,
        "Wh": r.randn(3, 12) * 0.5,
        "b": r.randn(12),
    },
)


def lstm_forward(x, h0, Wx, Wh, b):
    h = np.zeros((x.shape[0], x.shape[1], h0.shape[1]))
    cache = {}
    prev_h, prev_c = h0, np.zeros_like(h0)
    for t in range(x.shape[1]):
        prev_h, prev_c, cache[t] = lstm_step_forward(x[:, t], prev_h, prev_c, Wx, Wh, b)
        h[:, t] = prev_h
    return h, cache


def lstm_backward(dh, cache):
    N, T, H = dh.shape
    dx = []
    dprev_h, dprev_c = np.zeros((N, H)), np.zeros((N, H))
    dWx, dWh, db = 0, 0, 0
    for t in range(T)[::-1]:
        dx_t, dprev_h, dprev_c, dWx_t, dWh_t, db_t = lstm_step_backward(dh[:, t] + dprev_h, dprev_c, cache[t])
        dx.insert(0, dx_t)
        dWx, dWh, db = dWx + dWx_t, dWh + dWh_t, db + db_t
    return np.stack(dx, axis=1), dprev_h, dWx, dWh, db


functions(
    "LSTM over a sequence, a dict of caches by step",
    lstm_forward,
    lstm_backward,
    {
        "x": r.randn(2, 4, 3),
        "h0": r.randn(2, 4),
        "Wx": r.randn(3, 16) * 0.5,
        "Wh": r.randn(4, 16) * 0.5,
        "b": r.randn(16),
    },
)


def rnn_cell_forward(xt, a_prev, parameters):
    Wax, Waa, ba = parameters["Wax"], parameters["Waa"], parameters["ba"]
    a_next = np.tanh(np.dot(Waa, a_prev) + np.dot(Wax, xt) + ba)
    cache = (a_next, a_prev, xt, parameters)
    return a_next, cache


def rnn_cell_backward(da_next, cache):
    (a_next, a_prev, xt, parameters) = cache
    Wax, Waa = parameters["Wax"], parameters["Waa"]
    dtanh = (1 - np.power(a_next, 2)) * da_next
    dxt = np.dot(Wax.T, dtanh)
    dWax = np.dot(dtanh, xt.T)
    da_prev = np.dot(Waa.T, dtanh)
    dWaa = np.dot(dtanh, a_prev.T)
    dba = np.sum(dtanh, axis=1, keepdims=True)
    return {"dxt": dxt, "da_prev": da_prev, "dWax": dWax, "dWaa": dWaa, "dba": dba}


rnn_parameters = {"Wax": r.randn(5, 3) * 0.5, "Waa": r.randn(5, 5) * 0.5, "ba": r.randn(5, 1)}

functions(
    "RNN cell, samples as columns, parameters in a dict",
    rnn_cell_forward,
    rnn_cell_backward,
    {"xt": r.randn(3, 4), "a_prev": r.randn(5, 4), "parameters": rnn_parameters},
)


def rnn_columns_forward(x, a0, parameters):
    caches = []
    n_x, m, T_x = x.shape
    a = np.zeros((a0.shape[0], m, T_x))
    a_next = a0
    for t in range(T_x):
        a_next, cache = rnn_cell_forward(x[:, :, t], a_next, parameters)
        a[:, :, t] = a_next
        caches.append(cache)
    return a, (caches, x)


def rnn_columns_backward(da, caches):
    (caches, x) = caches
    n_a, m, T_x = da.shape
    dx = np.zeros(x.shape)
    da_prevt = np.zeros((n_a, m))
    total = {"dWax": 0.0, "dWaa": 0.0, "dba": 0.0}
    for t in reversed(range(T_x)):
        gradients = rnn_cell_backward(da[:, :, t] + da_prevt, caches[t])
        dx[:, :, t], da_prevt = gradients["dxt"], gradients["da_prev"]
        for key in total:
            total[key] += gradients[key]
    return {"dx": dx, "da0": da_prevt, **total}


functions(
    "RNN of (n_x, m, T_x), a tuple of caches and x",
    rnn_columns_forward,
    rnn_columns_backward,
    {"x": r.randn(3, 4, 3), "a0": r.randn(5, 4), "parameters": rnn_parameters},
)


def lstm_cell_forward(xt, a_prev, c_prev, parameters):
    n_a = a_prev.shape[0]
    concat = np.zeros((n_a + xt.shape[0], xt.shape[1]))
    concat[:n_a, :] = a_prev
    concat[n_a:, :] = xt
    ft = sigmoid(np.dot(parameters["Wf"], concat) + parameters["bf"])
    it = sigmoid(np.dot(parameters["Wi"], concat) + parameters["bi"])
    cct = np.tanh(np.dot(parameters["Wc"], concat) + parameters["bc"])
    c_next = ft * c_prev + it * cct
    ot = sigmoid(np.dot(parameters["Wo"], concat) + parameters["bo"])
    a_next = ot * np.tanh(c_next)
    return a_next, c_next, (a_next, c_next, concat, c_prev, ft, it, cct, ot, parameters)


def lstm_cell_backward(da_next, dc_next, cache):
    (a_next, c_next, concat, c_prev, ft, it, cct, ot, parameters) = cache
    n_a = a_next.shape[0]
    dc = dc_next + da_next * ot * (1 - np.tanh(c_next) ** 2)
    dot = da_next * np.tanh(c_next) * ot * (1 - ot)
    dcct = dc * it * (1 - cct**2)
    dit = dc * cct * it * (1 - it)
    dft = dc * c_prev * ft * (1 - ft)
    gradients = {"dc_prev": dc * ft}
    dconcat = 0
    for gate, d in (("f", dft), ("i", dit), ("c", dcct), ("o", dot)):
        gradients["dW" + gate] = np.dot(d, concat.T)
        gradients["db" + gate] = np.sum(d, axis=1, keepdims=True)
        dconcat = dconcat + np.dot(parameters["W" + gate].T, d)
    gradients["da_prev"] = dconcat[:n_a, :]
    gradients["dxt"] = dconcat[n_a:, :]
    return gradients


lstm_parameters = {"W" + gate: r.randn(4, 7) * 0.5 for gate in "fico"}
lstm_parameters.update({"b" + gate: r.randn(4, 1) for gate in "fico"})

functions(
    "LSTM cell, samples as columns, eight parameters in a dict",
    lstm_cell_forward,
    lstm_cell_backward,
    {"xt": r.randn(3, 2), "a_prev": r.randn(4, 2), "c_prev": r.randn(4, 2), "parameters": lstm_parameters},
)


def gru_step(x, h_prev, Wx, Wh, b):
    H = h_prev.shape[1]
    Wxz, Wxr, Wxh = Wx[:, :H], Wx[:, H : 2 * H], Wx[:, 2 * H :]
    Whz, Whr, Whh = Wh[:, :H], Wh[:, H : 2 * H], Wh[:, 2 * H :]
    bz, br, bh = b[:H], b[H : 2 * H], b[2 * H :]
    z = sigmoid(np.dot(x, Wxz) + np.dot(h_prev, Whz) + bz)
    r = sigmoid(np.dot(x, Wxr) + np.dot(h_prev, Whr) + br)
    h_hat = np.tanh(np.dot(x, Wxh) + np.dot(r * h_prev, Whh) + bh)
    h_next = (1 - z) * h_prev + z * h_hat
    return h_next, (x, h_prev, z, r, h_hat, Wx, Wh)


def gru_step_backward(dh_next, cache):
    x, h_prev, z, r, h_hat, Wx, Wh = cache
    H = h_prev.shape[1]
    dh_hat = dh_next * z
    dh_prev = dh_next * (1 - z)
    dt = dh_hat * (1 - h_hat**2)
    dbh = np.sum(dt, axis=0)
    dWhh = np.dot((r * h_prev).T, dt)
    dhr = np.dot(dt, Wh[:, 2 * H :].T)
    dWxh = np.dot(x.T, dt)
    dx = np.dot(dt, Wx[:, 2 * H :].T)
    dh_prev += r * dhr
    dz = (dh_next * h_hat - dh_next * h_prev) * z * (1 - z)
    dr = dhr * h_prev * r * (1 - r)
    parts_x, parts_h = [], []
    for k, d in enumerate((dz, dr)):
        dh_prev += np.dot(d, Wh[:, k * H : (k + 1) * H].T)
        dx += np.dot(d, Wx[:, k * H : (k + 1) * H].T)
        parts_x.append(x.T @ d)
        parts_h.append(h_prev.T @ d)
    dWx = np.hstack((*parts_x, dWxh))
    dWh = np.hstack((*parts_h, dWhh))
    db = np.hstack((dz.sum(axis=0), dr.sum(axis=0), dbh))
    return dx, dh_prev, dWx, dWh, db


functions(
    "GRU step, gates side by side",
    gru_step,
    gru_step_backward,
    {
        "x": r.randn(3, 4),
        "h_prev": r.randn(3, 5),
        "Wx": r.randn(4, 15) * 0.5,
        "Wh": r.randn(5, 15) * 0.5,
        "b": r.randn(15),
    },
)


def lossFun(inputs, targets, hprev, Wxh, Whh, Why, bh, by):
    T = len(inputs)
    x, h, p = {}, {-1: np.copy(hprev)}, {}
    loss = 0.0
    for t in range(T):
        x[t] = np.zeros((Wxh.shape[1], 1))
        x[t][inputs[t]] = 1
        h[t] = np.tanh(Wxh @ x[t] + Whh @ h[t - 1] + bh)
        scores = Why @ h[t] + by
        p[t] = np.exp(scores) / np.exp(scores).sum()
        loss -= np.log(p[t][targets[t], 0])
    dWxh, dWhh, dWhy, dbh, dby = (np.zeros_like(param) for param in (Wxh, Whh, Why, bh, by))
    dh_next = np.zeros_like(hprev)
    for t in range(T - 1, -1, -1):
        dscores = p[t].copy()
        dscores[targets[t]] -= 1
        dby += dscores
        dWhy += dscores @ h[t].T
        da = (Why.T @ dscores + dh_next) * (1 - h[t] ** 2)
        dbh += da
        dWxh += da @ x[t].T
        dWhh += da @ h[t - 1].T
        dh_next = Whh.T @ da
    return loss, dWxh, dWhh, dWhy, dbh, dby, h[T - 1]


functions(
    "character RNN, lists of ids, the loss, five gradients and the last state",
    lossFun,
    None,
    {
        "inputs": [0, 3, 1, 4],
        "targets": [3, 1, 4, 2],
        "hprev": np.zeros((6, 1)),
        "Wxh": r.randn(6, 5) * 0.3,
        "Whh": r.randn(6, 6) * 0.3,
        "Why": r.randn(5, 6) * 0.3,
        "bh": np.zeros((6, 1)),
        "by": np.zeros((5, 1)),
    },
)


def rnn_loss(X, Y, a_prev, parameters):
    x, a, y_hat = {}, {-1: a_prev}, {}
    loss = 0
    for t in range(len(X)):
        x[t] = np.zeros((parameters["Wya"].shape[0], 1))
        if X[t] is not None:
            x[t][X[t]] = 1
        a[t] = np.tanh(parameters["Wax"] @ x[t] + parameters["Waa"] @ a[t - 1] + parameters["b"])
        z = parameters["Wya"] @ a[t] + parameters["by"]
        y_hat[t] = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
        loss -= np.log(y_hat[t][Y[t], 0])
    return loss, (y_hat, a, x)


def rnn_loss_backward(X, Y, parameters, cache):
    gradients = {"d" + k: np.zeros_like(v) for k, v in parameters.items()}
    (y_hat, a, x) = cache
    da_next = np.zeros_like(a[0])
    for t in reversed(range(len(X))):
        dy = np.copy(y_hat[t])
        dy[Y[t]] -= 1
        gradients["dWya"] += dy @ a[t].T
        gradients["dby"] += dy
        daraw = (1 - a[t] * a[t]) * (parameters["Wya"].T @ dy + da_next)
        gradients["db"] += daraw
        gradients["dWax"] += daraw @ x[t].T
        gradients["dWaa"] += daraw @ a[t - 1].T
        da_next = parameters["Waa"].T @ daraw
    return gradients, a


functions(
    "character RNN with a dict, None for the first letter",
    rnn_loss,
    rnn_loss_backward,
    {
        "X": [None, 2, 0, 1],
        "Y": [2, 0, 1, 3],
        "a_prev": np.zeros((5, 1)),
        "parameters": {
            "Wax": r.randn(5, 4) * 0.4,
            "Waa": r.randn(5, 5) * 0.4,
            "Wya": r.randn(4, 5) * 0.4,
            "b": r.randn(5, 1),
            "by": r.randn(4, 1),
        },
    },
)


def rnn_last_state(x, U, W, V):
    T = len(x)
    s = np.zeros((T + 1, W.shape[0]))
    for t in np.arange(T):
        s[t] = np.tanh(U[:, x[t]] + W.dot(s[t - 1]))
    return V.dot(s[T - 1]), s


def rnn_last_state_backward(do, x, U, W, V, s):
    T = len(x)
    dU, dW = np.zeros(U.shape), np.zeros(W.shape)
    dV = np.outer(do, s[T - 1])
    delta = V.T.dot(do) * (1 - s[T - 1] ** 2)
    for t in np.arange(T)[::-1]:
        dW += np.outer(delta, s[t - 1])
        dU[:, x[t]] += delta
        delta = W.T.dot(delta) * (1 - s[t - 1] ** 2)
    return [dU, dW, dV]


functions(
    "many-to-one RNN, columns of U by ids, the state at -1 is zero",
    rnn_last_state,
    rnn_last_state_backward,
    {"x": np.array([1, 0, 3, 3]), "U": r.randn(4, 5) * 0.5, "W": r.randn(4, 4) * 0.5, "V": r.randn(3, 4)},
)
