"""Recurrent networks with gates: LSTM, GRU and smaller ones."""

import numpy as np

from tests.verify.courses.course import Course, draw


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm_step_forward(x, prev_h, prev_c, Wx, Wh, b):
    H = prev_h.shape[1]
    a = x @ Wx + prev_h @ Wh + b
    i = sigmoid(a[:, :H])
    f = sigmoid(a[:, H : 2 * H])
    o = sigmoid(a[:, 2 * H : 3 * H])
    g = np.tanh(a[:, 3 * H :])
    next_c = f * prev_c + i * g
    tanh_c = np.tanh(next_c)
    next_h = o * tanh_c
    return next_h, next_c, (x, prev_h, prev_c, Wx, Wh, i, f, o, g, tanh_c)


def lstm_step_backward(dnext_h, dnext_c, cache):
    x, prev_h, prev_c, Wx, Wh, i, f, o, g, tanh_c = cache
    do = dnext_h * tanh_c
    dc = dnext_c + dnext_h * o * (1 - tanh_c**2)
    df = dc * prev_c
    di = dc * g
    dg = dc * i
    dprev_c = dc * f

    da_i = di * i * (1 - i)
    da_f = df * f * (1 - f)
    da_o = do * o * (1 - o)
    da_g = dg * (1 - g**2)
    da = np.hstack((da_i, da_f, da_o, da_g))

    dx = da @ Wx.T
    dprev_h = da @ Wh.T
    dWx = x.T @ da
    dWh = prev_h.T @ da
    db = da.sum(axis=0)
    return dx, dprev_h, dprev_c, dWx, dWh, db


def lstm_forward(x, h0, Wx, Wh, b):
    h, c = h0, np.zeros_like(h0)
    hs, caches = [], []
    for t in range(x.shape[1]):
        h, c, cache = lstm_step_forward(x[:, t], h, c, Wx, Wh, b)
        hs.append(h)
        caches.append(cache)
    return np.stack(hs, axis=1), caches


def lstm_backward(dh, caches):
    dx = []
    dWx = dWh = db = 0
    dprev_h = np.zeros_like(dh[:, 0])
    dprev_c = np.zeros_like(dprev_h)
    for t in range(len(caches) - 1, -1, -1):
        dprev_h = dprev_h + dh[:, t]
        dxt, dprev_h, dprev_c, dWx_t, dWh_t, db_t = lstm_step_backward(dprev_h, dprev_c, caches[t])
        dx.insert(0, dxt)
        dWx = dWx + dWx_t
        dWh = dWh + dWh_t
        db = db + db_t
    return np.stack(dx, axis=1), dprev_h, dWx, dWh, db


def lstm_peephole_forward(z, c_prev, W_f, W_i, W_c, p_f):
    """A step on z = [h, x], whose forget gate also looks at the memory."""
    f = sigmoid(z @ W_f + c_prev * p_f)
    i = sigmoid(z @ W_i)
    c_bar = np.tanh(z @ W_c)
    c = f * c_prev + i * c_bar
    return c, dict(z=z, c_prev=c_prev, W_f=W_f, W_i=W_i, W_c=W_c, p_f=p_f, f=f, i=i, c_bar=c_bar)  # noqa: C408


def lstm_peephole_backward(dc, cache):
    z, c_prev, f, i, c_bar = (cache[k] for k in ("z", "c_prev", "f", "i", "c_bar"))
    df = dc * c_prev
    df = df * f * (1 - f)
    di = dc * c_bar
    di = di * i * (1 - i)
    dc_bar = dc * i
    dc_bar = dc_bar * (1 - c_bar * c_bar)
    dW_f, dW_i, dW_c = z.T @ df, z.T @ di, z.T @ dc_bar
    dp_f = np.sum(df * c_prev, axis=0)
    dc_prev = dc * f + df * cache["p_f"]
    dz = df @ cache["W_f"].T
    dz += di @ cache["W_i"].T
    dz += dc_bar @ cache["W_c"].T
    return dz, dc_prev, dW_f, dW_i, dW_c, dp_f


def gru_step_forward(x, h, Wr, Wz, Wn, Ur, Uz, Un):
    r = sigmoid(x @ Wr + h @ Ur)
    z = sigmoid(x @ Wz + h @ Uz)
    n = np.tanh(x @ Wn + (r * h) @ Un)
    h_new = (1 - z) * n + z * h
    return h_new, (x, h, r, z, n, Wr, Wz, Wn, Ur, Uz, Un)


def gru_step_backward(dh_new, cache):
    x, h, r, z, n, Wr, Wz, Wn, Ur, Uz, Un = cache
    dn = dh_new * (1 - z)
    dz = dh_new * (h - n)
    dh = dh_new * z

    dn_in = dn * (1 - n**2)
    dWn = x.T @ dn_in
    dUn = (r * h).T @ dn_in
    drh = dn_in @ Un.T
    dr = drh * h
    dh += drh * r

    dz_in = dz * z * (1 - z)
    dWz = x.T @ dz_in
    dUz = h.T @ dz_in
    dh += dz_in @ Uz.T

    dr_in = dr * r * (1 - r)
    dWr = x.T @ dr_in
    dUr = h.T @ dr_in
    dh += dr_in @ Ur.T

    dx = dn_in @ Wn.T + dz_in @ Wz.T + dr_in @ Wr.T
    return dx, dh, dWr, dWz, dWn, dUr, dUz, dUn


def minimal_gated_forward(X, Wf, Wh, Uf, Uh):
    """A unit with one gate, over X (T, N, D), from a state of zeros; its output is the last state."""
    h = np.zeros((X.shape[1], Uf.shape[0]))
    tape = []
    for x in X:
        f = sigmoid(x @ Wf + h @ Uf)
        cand = np.tanh(x @ Wh + (f * h) @ Uh)
        tape.append((h, f, cand))
        h = (1 - f) * h + f * cand
    return h, tape


def minimal_gated_backward(dh, X, Wf, Wh, Uf, Uh, tape):
    dX = np.zeros_like(X)
    grads = [np.zeros_like(p) for p in (Wf, Wh, Uf, Uh)]
    for t in range(len(X) - 1, -1, -1):
        h, f, cand = tape[t]
        dcand = dh * f * (1 - cand**2)
        dfh = dcand @ Uh.T
        df = dh * (cand - h) + dfh * h
        df *= f * (1 - f)
        dX[t] = df @ Wf.T + dcand @ Wh.T
        grads[0] += X[t].T @ df
        grads[1] += X[t].T @ dcand
        grads[2] += h.T @ df
        grads[3] += (f * h).T @ dcand
        dh = dh * (1 - f) + dfh * f + df @ Uf.T
    return dX, *grads


RNN = ("Wx", "Wh", "b")
GATES = {"Wr": (3, 4), "Wz": (3, 4), "Wn": (3, 4), "Ur": (4, 4), "Uz": (4, 4), "Un": (4, 4)}

COURSES = [
    Course(
        "lstm_step",
        lstm_step_forward,
        lstm_step_backward,
        lambda: draw(4, x=(2, 4), prev_h=(2, 3), prev_c=(2, 3), Wx=(4, 12), Wh=(3, 12), b=(12,)),
        (),
        ("x", "prev_h", "prev_c", *RNN),
    ),
    Course(
        "lstm",
        lstm_forward,
        lstm_backward,
        lambda: draw(5, x=(2, 4, 5), h0=(2, 3), Wx=(5, 12), Wh=(3, 12), b=(12,)),
        (lstm_step_backward,),
        ("x", "h0", *RNN),
    ),
    Course(
        "lstm_peephole",
        lstm_peephole_forward,
        lstm_peephole_backward,
        lambda: draw(6, z=(3, 5), c_prev=(3, 4), W_f=(5, 4), W_i=(5, 4), W_c=(5, 4), p_f=(4,)),
        (),
        ("z", "c_prev", "W_f", "W_i", "W_c", "p_f"),
    ),
    Course(
        "gru_step",
        gru_step_forward,
        gru_step_backward,
        lambda: draw(7, x=(2, 3), h=(2, 4), **GATES),
        (),
        ("x", "h", *GATES),
    ),
    Course(
        "minimal_gated",
        minimal_gated_forward,
        minimal_gated_backward,
        lambda: draw(8, X=(5, 2, 3), Wf=(3, 4), Wh=(3, 4), Uf=(4, 4), Uh=(4, 4)),
        (),
        ("X", "Wf", "Wh", "Uf", "Uh"),
    ),
]
