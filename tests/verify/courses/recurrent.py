"""Recurrent networks: single steps, and loops over time that go back through all of it."""

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
    gradients = {"dxt": dxt, "da_prev": da_prev, "dWax": dWax, "dWaa": dWaa, "dWya": dWya, "dba": dba, "dby": dby}
    return gradients


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
GATES = {"Wr": (3, 4), "Wz": (3, 4), "Wn": (3, 4), "Ur": (4, 4), "Uz": (4, 4), "Un": (4, 4)}

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
