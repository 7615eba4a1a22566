"""Convolutions: by loops, by im2col, along one axis, transposed and by channel."""

import numpy as np

from tests.verify.courses.course import Course, draw


def conv_naive_forward(x, w, b, stride=2, pad=1):
    """x (N, C, H, W), w (F, C, HH, WW), b (F,)."""
    N, _, H, W = x.shape
    F, _, HH, WW = w.shape
    H_out = 1 + (H + 2 * pad - HH) // stride
    W_out = 1 + (W + 2 * pad - WW) // stride
    x_pad = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    out = np.zeros((N, F, H_out, W_out))
    for n in range(N):
        for f in range(F):
            for i in range(H_out):
                for j in range(W_out):
                    window = x_pad[n, :, i * stride : i * stride + HH, j * stride : j * stride + WW]
                    out[n, f, i, j] = np.sum(window * w[f]) + b[f]
    return out, (x, w, b, stride, pad)


def conv_naive_backward(dout, cache):
    x, w, b, stride, pad = cache
    N, F, H_out, W_out = dout.shape
    HH, WW = w.shape[2:]
    x_pad = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    dx_pad = np.zeros_like(x_pad)
    dw = np.zeros_like(w)
    db = np.zeros_like(b)
    for n in range(N):
        for f in range(F):
            db[f] += np.sum(dout[n, f])
            for i in range(H_out):
                for j in range(W_out):
                    top, left = i * stride, j * stride
                    window = x_pad[n, :, top : top + HH, left : left + WW]
                    dw[f] += window * dout[n, f, i, j]
                    dx_pad[n, :, top : top + HH, left : left + WW] += w[f] * dout[n, f, i, j]
    dx = dx_pad[:, :, pad:-pad, pad:-pad]
    return dx, dw, db


def im2col_indices(shape, k, stride):
    _, C, H, W = shape
    oh, ow = (H - k) // stride + 1, (W - k) // stride + 1
    i0 = np.tile(np.repeat(np.arange(k), k), C)
    j0 = np.tile(np.tile(np.arange(k), k), C)
    i1 = stride * np.repeat(np.arange(oh), ow)
    j1 = stride * np.tile(np.arange(ow), oh)
    chan = np.repeat(np.arange(C), k * k).reshape(-1, 1)
    return chan, i0.reshape(-1, 1) + i1, j0.reshape(-1, 1) + j1, oh, ow


def col2im(dcol, shape, k, stride):
    dx = np.zeros(shape)
    chan, i, j, _, _ = im2col_indices(shape, k, stride)
    np.add.at(dx, (slice(None), chan, i, j), dcol)
    return dx


def conv_im2col_forward(x, w, b, stride=1):
    k = w.shape[2]
    chan, i, j, oh, ow = im2col_indices(x.shape, k, stride)
    col = x[:, chan, i, j]
    w_row = w.reshape(w.shape[0], -1)
    out = np.matmul(w_row, col) + b.reshape(-1, 1)
    return out.reshape(x.shape[0], w.shape[0], oh, ow), (x.shape, w, col, stride)


def conv_im2col_backward(dout, cache):
    x_shape, w, col, stride = cache
    F = w.shape[0]
    dout_flat = dout.reshape(dout.shape[0], F, -1)
    db = dout_flat.sum(axis=(0, 2))
    dw = np.einsum("nfp,nkp->fk", dout_flat, col).reshape(w.shape)
    dcol = np.matmul(w.reshape(F, -1).T, dout_flat)
    dx = col2im(dcol, x_shape, w.shape[2], stride)
    return dx, dw, db


def conv_single_step(a_slice_prev, W, b):
    return np.sum(a_slice_prev * W) + b.item()


def conv_last_forward(A_prev, W, b):
    """Channels last: A_prev (m, n_H, n_W, n_C_prev), W (f, f, n_C_prev, n_C), b (1, 1, 1, n_C)."""
    m, n_H_prev, n_W_prev, _ = A_prev.shape
    f, _, _, n_C = W.shape
    n_H = n_H_prev - f + 1
    n_W = n_W_prev - f + 1
    Z = np.zeros((m, n_H, n_W, n_C))
    for i in range(m):
        a_prev = A_prev[i]
        for h in range(n_H):
            for w in range(n_W):
                for c in range(n_C):
                    a_slice = a_prev[h : h + f, w : w + f, :]
                    Z[i, h, w, c] = conv_single_step(a_slice, W[..., c], b[..., c])
    return Z, (A_prev, W, b)


def conv_last_backward(dZ, cache):
    A_prev, W, b = cache
    f = W.shape[0]
    m, n_H, n_W, n_C = dZ.shape
    dA_prev = np.zeros(A_prev.shape)
    dW = np.zeros(W.shape)
    db = np.zeros(b.shape)
    for i in range(m):
        for h in range(n_H):
            for w in range(n_W):
                for c in range(n_C):
                    vert_end = h + f
                    horiz_end = w + f
                    a_slice = A_prev[i, h:vert_end, w:horiz_end, :]
                    dA_prev[i, h:vert_end, w:horiz_end, :] += W[:, :, :, c] * dZ[i, h, w, c]
                    dW[:, :, :, c] += a_slice * dZ[i, h, w, c]
                    db[:, :, :, c] += dZ[i, h, w, c]
    return dA_prev, dW, db


def conv1d_causal(x, w, b):
    """Position t sees only t and what came before: x (N, C, T), w (F, C, K)."""
    K = w.shape[2]
    xp = np.pad(x, ((0, 0), (0, 0), (K - 1, 0)))
    T = x.shape[2]
    y = sum(np.einsum("nct,fc->nft", xp[:, :, k : k + T], w[:, :, k]) for k in range(K))
    return y + b[:, None]


def conv1d_causal_backward(dy, x, w, b):
    K, T = w.shape[2], x.shape[2]
    xp = np.pad(x, ((0, 0), (0, 0), (K - 1, 0)))
    dxp = np.zeros_like(xp)
    dw = np.empty_like(w)
    for k in range(K):
        dw[:, :, k] = np.einsum("nft,nct->fc", dy, xp[:, :, k : k + T])
        dxp[:, :, k : k + T] += np.einsum("nft,fc->nct", dy, w[:, :, k])
    dx = dxp[:, :, K - 1 :]
    db = dy.sum(axis=(0, 2))
    return dx, dw, db


def conv1d_dilated_forward(signal, kernel, dilation=2):
    span = dilation * (len(kernel) - 1)
    n_out = len(signal) - span
    out = np.zeros(n_out)
    for t in range(n_out):
        for k in range(len(kernel)):
            out[t] += kernel[k] * signal[t + k * dilation]
    return out, (signal, kernel, dilation)


def conv1d_dilated_backward(dout, cache):
    signal, kernel, dilation = cache
    dsignal = np.zeros_like(signal)
    dkernel = np.zeros_like(kernel)
    for t, d in enumerate(dout):
        for k in range(len(kernel)):
            dkernel[k] += d * signal[t + k * dilation]
            dsignal[t + k * dilation] += d * kernel[k]
    return dsignal, dkernel


def conv1d_full(signal, kernel):
    return np.convolve(signal, kernel, mode="full")


def conv1d_full_backward(dout, signal, kernel):
    flipped_kernel = kernel[::-1]
    flipped_signal = signal[::-1]
    dsignal = np.convolve(dout, flipped_kernel, mode="valid")
    dkernel = np.convolve(dout, flipped_signal, mode="valid")
    return dsignal, dkernel


def depthwise_forward(x, w, b):
    """One filter per channel: x (N, C, H, W), w (C, K, K), b (C,)."""
    K = w.shape[1]
    oh, ow = x.shape[2] - K + 1, x.shape[3] - K + 1
    out = np.zeros((*x.shape[:2], oh, ow)) + b.reshape(1, -1, 1, 1)
    for p in range(K):
        for q in range(K):
            out += x[:, :, p : p + oh, q : q + ow] * w[None, :, p, q, None, None]
    return out, (x, w)


def depthwise_backward(dout, cache):
    x, w = cache
    K = w.shape[1]
    oh, ow = dout.shape[2:]
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for p in range(K):
        for q in range(K):
            dw[:, p, q] = np.sum(dout * x[:, :, p : p + oh, q : q + ow], axis=(0, 2, 3))
            dx[:, :, p : p + oh, q : q + ow] += dout * w[:, p, q].reshape(1, -1, 1, 1)
    db = dout.sum(axis=(0, 2, 3))
    return dx, dw, db


def pointwise_forward(x, w, b):
    """The 1x1 convolution, as a matrix product over channels."""
    N, C, H, W = x.shape
    cols = x.transpose(0, 2, 3, 1).reshape(-1, C)
    y = cols @ w + b
    return y.reshape(N, H, W, -1).transpose(0, 3, 1, 2), (x.shape, cols, w)


def pointwise_backward(dy, cache):
    (N, C, H, W), cols, w = cache
    dcols = dy.transpose(0, 2, 3, 1).reshape(-1, w.shape[1])
    db = np.sum(dcols, axis=0)
    dw = cols.T @ dcols
    dx = dcols @ w.T
    dx = dx.reshape(N, H, W, C).transpose(0, 3, 1, 2)
    return dx, dw, db


def conv_transpose1d_forward(x, w, stride=2):
    """x (N, C, T), w (C, F, K): every input step writes K output steps."""
    N, _, T = x.shape
    _, F, K = w.shape
    out = np.zeros((N, F, (T - 1) * stride + K))
    for t in range(T):
        out[:, :, t * stride : t * stride + K] += np.tensordot(x[:, :, t], w, axes=1)
    return out, {"x": x, "w": w, "stride": stride}


def conv_transpose1d_backward(dout, cache):
    x, w, s = cache["x"], cache["w"], cache["stride"]
    K = w.shape[2]
    dx = np.zeros(x.shape)
    dw = np.zeros(w.shape)
    for t in range(x.shape[2]):
        piece = dout[:, :, t * s : t * s + K]
        dx[:, :, t] = np.tensordot(piece, w, axes=([1, 2], [1, 2]))
        dw += np.einsum("nc,nfk->cfk", x[:, :, t], piece)
    return {"dx": dx, "dw": dw}


NAMES = ("x", "w", "b")

COURSES = [
    Course(
        "conv_naive",
        conv_naive_forward,
        conv_naive_backward,
        lambda: draw(1, x=(1, 2, 5, 4), w=(4, 2, 3, 2), b=(4,)),
        (),
        NAMES,
    ),
    Course(
        "conv_im2col",
        conv_im2col_forward,
        conv_im2col_backward,
        lambda: draw(2, x=(1, 3, 4, 5), w=(2, 3, 2, 2), b=(2,)),
        (col2im,),
        NAMES,
    ),
    Course(
        "conv_channels_last",
        conv_last_forward,
        conv_last_backward,
        lambda: draw(3, A_prev=(2, 3, 4, 1), W=(2, 2, 1, 3), b=(1, 1, 1, 3)),
        (),
        ("A_prev", "W", "b"),
    ),
    Course(
        "conv1d_causal",
        conv1d_causal,
        conv1d_causal_backward,
        lambda: draw(4, x=(2, 3, 6), w=(4, 3, 2), b=(4,)),
        (),
        NAMES,
    ),
    Course(
        "conv1d_dilated",
        conv1d_dilated_forward,
        conv1d_dilated_backward,
        lambda: draw(5, signal=(8,), kernel=(3,)),
        (),
        ("signal", "kernel"),
    ),
    Course(
        "conv1d_full",
        conv1d_full,
        conv1d_full_backward,
        lambda: draw(6, signal=(7,), kernel=(3,)),
        (),
        ("signal", "kernel"),
    ),
    Course(
        "depthwise",
        depthwise_forward,
        depthwise_backward,
        lambda: draw(7, x=(1, 3, 5, 4), w=(3, 2, 2), b=(3,)),
        (),
        NAMES,
    ),
    Course(
        "pointwise", pointwise_forward, pointwise_backward, lambda: draw(8, x=(1, 3, 4, 5), w=(3, 2), b=(2,)), (), NAMES
    ),
    Course(
        "conv_transpose1d",
        conv_transpose1d_forward,
        conv_transpose1d_backward,
        lambda: draw(9, x=(2, 3, 4), w=(3, 2, 5)),
        (),
        {"dx": "x", "dw": "w"},
    ),
]
