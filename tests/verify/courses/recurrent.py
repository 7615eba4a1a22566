"""Recurrent networks without gates: single steps, and loops that go back through all of time."""

import numpy as np

from tests.verify.courses.course import Course, draw


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def rnn_step_forward(x, prev_h, Wx, Wh, b):
    next_h = np.tanh(x.dot(Wx) + prev_h.dot(Wh) + b)
    cache = (x, prev_h, Wx, Wh, next_h)
    return next_h, cache


def rnn_step_backward(dnext_h, cache):
    x, prev_h, Wx, Wh, next_h = cache
    dtanh = dnext_h * (1 - next_h**2)
    dx = dtanh.dot(Wx.T)
    dprev_h = dtanh.dot(Wh.T)
    dWx = x.T.dot(dtanh)
    dWh = prev_h.T.dot(dtanh)
    db = dtanh.sum(axis=0)
    return dx, dprev_h, dWx, dWh, db


def rnn_forward(x, h0, Wx, Wh, b):
    N, T, D = x.shape
    H = h0.shape[1]
    h = np.zeros((N, T, H))
    cache = []
    prev_h = h0
    for t in range(T):
        prev_h, step_cache = rnn_step_forward(x[:, t, :], prev_h, Wx, Wh, b)
        h[:, t, :] = prev_h
        cache.append(step_cache)
    return h, (cache, D)


def rnn_backward(dh, cache):
    caches, D = cache
    N, T, H = dh.shape
    dx = np.zeros((N, T, D))
    dWx = np.zeros((D, H))
    dWh = np.zeros((H, H))
    db = np.zeros(H)
    dprev_h = np.zeros((N, H))
    for t in reversed(range(T)):
        dcurrent = dh[:, t, :] + dprev_h
        dx[:, t, :], dprev_h, dWx_t, dWh_t, db_t = rnn_step_backward(dcurrent, caches[t])
        dWx += dWx_t
        dWh += dWh_t
        db += db_t
    dh0 = dprev_h
    return dx, dh0, dWx, dWh, db


def rnn_cell_forward(xt, a_prev, Wax, Waa, Wya, ba, by):
    """Columns are examples; the cell also predicts."""
    a_next = np.tanh(np.dot(Waa, a_prev) + np.dot(Wax, xt) + ba)
    yt = sigmoid(np.dot(Wya, a_next) + by)
    return a_next, yt, (a_next, a_prev, xt, yt, Wax, Waa, Wya)


def rnn_cell_backward(da_next, dyt, cache):
    a_next, a_prev, xt, yt, Wax, Waa, Wya = cache
    dzy = dyt * yt * (1 - yt)
    dWya = np.dot(dzy, a_next.T)
    dby = np.sum(dzy, axis=1, keepdims=True)
    da = da_next + np.dot(Wya.T, dzy)
    dz = (1 - a_next**2) * da
    dxt = np.dot(Wax.T, dz)
    dWax = np.dot(dz, xt.T)
    da_prev = np.dot(Waa.T, dz)
    dWaa = np.dot(dz, a_prev.T)
    dba = np.sum(dz, axis=1, keepdims=True)
    return {"dxt": dxt, "da_prev": da_prev, "dWax": dWax, "dWaa": dWaa, "dWya": dWya, "dba": dba, "dby": dby}


def temporal_affine_forward(x, w, b):
    N, T, D = x.shape
    return x.reshape(N * T, D).dot(w).reshape(N, T, -1) + b, (x, w)


def temporal_affine_backward(dout, cache):
    x, w = cache
    N, T, D = x.shape
    M = w.shape[1]
    dflat = dout.reshape(N * T, M)
    dx = dflat.dot(w.T).reshape(N, T, D)
    dw = dflat.T.dot(x.reshape(N * T, D)).T
    db = dout.sum(axis=(0, 1))
    return dx, dw, db


def moving_average_forward(x, decay_logit):
    """An exponential moving average with one learned decay per channel: x (T, C)."""
    a = sigmoid(decay_logit)
    y = np.zeros_like(x)
    y[0] = x[0]
    for t in range(1, len(x)):
        y[t] = a * y[t - 1] + (1 - a) * x[t]
    return y, (x, a, y)


def moving_average_backward(dy, cache):
    x, a, y = cache
    dx = np.zeros_like(x)
    da = np.zeros_like(a)
    carry = np.zeros_like(a)
    for t in range(len(x) - 1, 0, -1):
        g = dy[t] + carry
        dx[t] = (1 - a) * g
        da += g * (y[t - 1] - x[t])
        carry = a * g
    dx[0] = dy[0] + carry
    return dx, da * a * (1 - a)


def birnn_forward(x, W_fw, U_fw, W_bw, U_bw):
    """Two tanh networks read x (T, D) from its two ends; their states stand side by side."""
    T, H = x.shape[0], U_fw.shape[0]
    fw, bw = np.zeros((T + 1, H)), np.zeros((T + 1, H))
    for t in range(T):
        fw[t + 1] = np.tanh(x[t] @ W_fw + fw[t] @ U_fw)
    for t in range(T - 1, -1, -1):
        bw[t] = np.tanh(x[t] @ W_bw + bw[t + 1] @ U_bw)
    return np.hstack([fw[1:], bw[:-1]]), (fw, bw)


def birnn_backward(dout, x, W_fw, U_fw, W_bw, U_bw, cache):
    fw, bw = cache
    T, H = x.shape[0], U_fw.shape[0]
    dx = np.zeros_like(x)
    dW_fw, dU_fw = np.zeros_like(W_fw), np.zeros_like(U_fw)
    dW_bw, dU_bw = np.zeros_like(W_bw), np.zeros_like(U_bw)
    dh = np.zeros(H)
    for t in range(T - 1, -1, -1):
        dz = (dout[t, :H] + dh) * (1 - fw[t + 1] ** 2)
        dW_fw += np.outer(x[t], dz)
        dU_fw += np.outer(fw[t], dz)
        dx[t] += W_fw @ dz
        dh = U_fw @ dz
    dh = np.zeros(H)
    for t in range(T):
        dz = (dout[t, H:] + dh) * (1 - bw[t] ** 2)
        dW_bw += np.outer(x[t], dz)
        dU_bw += np.outer(bw[t + 1], dz)
        dx[t] += W_bw @ dz
        dh = U_bw @ dz
    return dx, dW_fw, dU_fw, dW_bw, dU_bw


RNN = ("Wx", "Wh", "b")

COURSES = [
    Course(
        "rnn_step",
        rnn_step_forward,
        rnn_step_backward,
        lambda: draw(1, x=(3, 5), prev_h=(3, 4), Wx=(5, 4), Wh=(4, 4), b=(4,)),
        (),
        ("x", "prev_h", *RNN),
    ),
    Course(
        "rnn",
        rnn_forward,
        rnn_backward,
        lambda: draw(2, x=(2, 3, 5), h0=(2, 4), Wx=(5, 4), Wh=(4, 4), b=(4,)),
        (rnn_step_backward,),
        ("x", "h0", *RNN),
    ),
    Course(
        "rnn_cell_columns",
        rnn_cell_forward,
        rnn_cell_backward,
        lambda: draw(3, xt=(3, 6), a_prev=(5, 6), Wax=(5, 3), Waa=(5, 5), Wya=(2, 5), ba=(5, 1), by=(2, 1)),
        (),
        {f"d{name}": name for name in ("xt", "a_prev", "Wax", "Waa", "Wya", "ba", "by")},
    ),
    Course(
        "temporal_affine",
        temporal_affine_forward,
        temporal_affine_backward,
        lambda: draw(9, x=(2, 3, 4), w=(4, 5), b=(5,)),
        (),
        ("x", "w", "b"),
    ),
    Course(
        "moving_average",
        moving_average_forward,
        moving_average_backward,
        lambda: draw(10, x=(5, 3), decay_logit=(3,)),
        (),
        ("x", "decay_logit"),
    ),
    Course(
        "birnn",
        birnn_forward,
        birnn_backward,
        lambda: draw(11, x=(4, 3), W_fw=(3, 2), U_fw=(2, 2), W_bw=(3, 2), U_bw=(2, 2)),
        (),
        ("x", "W_fw", "U_fw", "W_bw", "U_bw"),
    ),
]
