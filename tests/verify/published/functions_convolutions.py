"""Convolutions as functions: loops, im2col, windows."""
# Names, randomness and returns are as their authors would have them.
# ruff: noqa: RUF059

import numpy as np

from .cases import functions

r = np.random.RandomState(5)


def conv_forward_naive(x, w, b, conv_param):
    stride, pad = conv_param["stride"], conv_param["pad"]
    N, C, H, W = x.shape
    F, _, HH, WW = w.shape
    H_out = 1 + (H + 2 * pad - HH) // stride
    W_out = 1 + (W + 2 * pad - WW) // stride
    x_pad = np.pad(x, ((0,), (0,), (pad,), (pad,)), mode="constant", constant_values=0)
    out = np.zeros((N, F, H_out, W_out))
    for n in range(N):
        for f in range(F):
            for i in range(H_out):
                for j in range(W_out):
                    window = x_pad[n, :, i * stride : i * stride + HH, j * stride : j * stride + WW]
                    out[n, f, i, j] = np.sum(window * w[f]) + b[f]
    cache = (x, w, b, conv_param)
    return out, cache


def conv_backward_naive(dout, cache):
    x, w, b, conv_param = cache
    stride, pad = conv_param["stride"], conv_param["pad"]
    N, F, H_out, W_out = dout.shape
    _, _, HH, WW = w.shape
    x_pad = np.pad(x, ((0,), (0,), (pad,), (pad,)), mode="constant")
    dx_pad = np.zeros_like(x_pad)
    dw = np.zeros_like(w)
    db = np.zeros_like(b)
    for n in range(N):
        for f in range(F):
            db[f] += dout[n, f].sum()
            for i in range(H_out):
                for j in range(W_out):
                    hs, ws = i * stride, j * stride
                    dw[f] += x_pad[n, :, hs : hs + HH, ws : ws + WW] * dout[n, f, i, j]
                    dx_pad[n, :, hs : hs + HH, ws : ws + WW] += w[f] * dout[n, f, i, j]
    dx = dx_pad[:, :, pad:-pad, pad:-pad]
    return dx, dw, db


functions(
    "convolution, four loops, a dict of stride and pad",
    conv_forward_naive,
    conv_backward_naive,
    {"x": r.randn(2, 3, 5, 5), "w": r.randn(2, 3, 3, 3), "b": r.randn(2), "conv_param": {"stride": 2, "pad": 1}},
)


def get_im2col_indices(x_shape, field_height, field_width, padding=1, stride=1):
    N, C, H, W = x_shape
    assert (H + 2 * padding - field_height) % stride == 0
    out_height = (H + 2 * padding - field_height) // stride + 1
    out_width = (W + 2 * padding - field_width) // stride + 1
    i0 = np.tile(np.repeat(np.arange(field_height), field_width), C)
    i1 = stride * np.repeat(np.arange(out_height), out_width)
    j0 = np.tile(np.arange(field_width), field_height * C)
    j1 = stride * np.tile(np.arange(out_width), out_height)
    i = i0.reshape(-1, 1) + i1.reshape(1, -1)
    j = j0.reshape(-1, 1) + j1.reshape(1, -1)
    k = np.repeat(np.arange(C), field_height * field_width).reshape(-1, 1)
    return k, i, j


def im2col_indices(x, fh, fw, padding=1, stride=1):
    p = padding
    x_padded = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)), mode="constant")
    k, i, j = get_im2col_indices(x.shape, fh, fw, padding, stride)
    cols = x_padded[:, k, i, j]
    return cols.transpose(1, 2, 0).reshape(fh * fw * x.shape[1], -1)


def col2im_indices(cols, x_shape, fh, fw, padding=1, stride=1):
    N, C, H, W = x_shape
    x_padded = np.zeros((N, C, H + 2 * padding, W + 2 * padding), dtype=cols.dtype)
    k, i, j = get_im2col_indices(x_shape, fh, fw, padding, stride)
    cols_reshaped = cols.reshape(C * fh * fw, -1, N).transpose(2, 0, 1)
    np.add.at(x_padded, (slice(None), k, i, j), cols_reshaped)
    if padding == 0:
        return x_padded
    return x_padded[:, :, padding:-padding, padding:-padding]


def conv_forward(X, W, b, stride=1, padding=1):
    n_filters, d_filter, h_filter, w_filter = W.shape
    n_x, d_x, h_x, w_x = X.shape
    h_out = (h_x - h_filter + 2 * padding) / stride + 1
    w_out = (w_x - w_filter + 2 * padding) / stride + 1
    if not h_out.is_integer() or not w_out.is_integer():
        raise Exception("Invalid output dimension!")
    h_out, w_out = int(h_out), int(w_out)
    X_col = im2col_indices(X, h_filter, w_filter, padding=padding, stride=stride)
    W_col = W.reshape(n_filters, -1)
    out = W_col @ X_col + b
    out = out.reshape(n_filters, h_out, w_out, n_x).transpose(3, 0, 1, 2)
    cache = (X, W, b, stride, padding, X_col)
    return out, cache


def conv_backward(dout, cache):
    X, W, b, stride, padding, X_col = cache
    n_filter, d_filter, h_filter, w_filter = W.shape
    db = np.sum(dout, axis=(0, 2, 3)).reshape(n_filter, -1)
    dout_reshaped = dout.transpose(1, 2, 3, 0).reshape(n_filter, -1)
    dW = (dout_reshaped @ X_col.T).reshape(W.shape)
    dX_col = W.reshape(n_filter, -1).T @ dout_reshaped
    dX = col2im_indices(dX_col, X.shape, h_filter, w_filter, padding=padding, stride=stride)
    return dX, dW, db


functions(
    "convolution by im2col with fancy indices, bias (n, 1)",
    conv_forward,
    conv_backward,
    {"X": r.randn(2, 2, 4, 4), "W": r.randn(3, 2, 3, 3), "b": r.randn(3, 1)},
)
functions(
    "convolution by im2col without padding, stride 2",
    conv_forward,
    conv_backward,
    {"X": r.randn(2, 1, 6, 6), "W": r.randn(2, 1, 2, 2), "b": r.randn(2, 1), "stride": 2, "padding": 0},
)


def zero_pad(X, pad):
    return np.pad(array=X, pad_width=((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="constant", constant_values=(0, 0))


def conv_single_step(a_slice_prev, W, b):
    s = np.multiply(a_slice_prev, W)
    return np.sum(s) + float(b[0, 0, 0])


def conv_forward_nhwc(A_prev, W, b, hparameters):
    (m, n_H_prev, n_W_prev, n_C_prev) = A_prev.shape
    (f, f, n_C_prev, n_C) = W.shape
    stride = hparameters["stride"]
    pad = hparameters["pad"]
    n_H = int((n_H_prev - f + 2 * pad) / stride + 1)
    n_W = int((n_W_prev - f + 2 * pad) / stride + 1)
    Z = np.zeros((m, n_H, n_W, n_C))
    A_prev_pad = zero_pad(A_prev, pad)
    for i in range(m):
        a_prev_pad = A_prev_pad[i]
        for h in range(n_H):
            for w in range(n_W):
                for c in range(n_C):
                    vert_start, horiz_start = h * stride, w * stride
                    a_slice_prev = a_prev_pad[vert_start : vert_start + f, horiz_start : horiz_start + f, :]
                    Z[i, h, w, c] = conv_single_step(a_slice_prev, W[:, :, :, c], b[:, :, :, c])
    assert Z.shape == (m, n_H, n_W, n_C)
    return Z, (A_prev, W, b, hparameters)


def conv_backward_nhwc(dZ, cache):
    (A_prev, W, b, hparameters) = cache
    (f, f, n_C_prev, n_C) = W.shape
    stride, pad = hparameters["stride"], hparameters["pad"]
    (m, n_H, n_W, n_C) = dZ.shape
    dA_prev = np.zeros(A_prev.shape)
    dW = np.zeros(W.shape)
    db = np.zeros((1, 1, 1, n_C))
    A_prev_pad = zero_pad(A_prev, pad)
    dA_prev_pad = zero_pad(dA_prev, pad)
    for i in range(m):
        a_prev_pad = A_prev_pad[i]
        da_prev_pad = dA_prev_pad[i]
        for h in range(n_H):
            for w in range(n_W):
                for c in range(n_C):
                    vs, hs = h * stride, w * stride
                    a_slice = a_prev_pad[vs : vs + f, hs : hs + f, :]
                    da_prev_pad[vs : vs + f, hs : hs + f, :] += W[:, :, :, c] * dZ[i, h, w, c]
                    dW[:, :, :, c] += a_slice * dZ[i, h, w, c]
                    db[:, :, :, c] += dZ[i, h, w, c]
        dA_prev[i, :, :, :] = da_prev_pad[pad:-pad, pad:-pad, :]
    assert dA_prev.shape == A_prev.shape
    return dA_prev, dW, db


functions(
    "convolution of (m, H, W, C), bias (1, 1, 1, C), float(b)",
    conv_forward_nhwc,
    conv_backward_nhwc,
    {
        "A_prev": r.randn(2, 4, 4, 2),
        "W": r.randn(2, 2, 2, 3),
        "b": r.randn(1, 1, 1, 3),
        "hparameters": {"pad": 1, "stride": 2},
    },
)


def conv2d_seven_loops(x, k):
    N, C, H, W = x.shape
    F, _, R, S = k.shape
    y = np.zeros((N, F, H - R + 1, W - S + 1))
    for n in range(N):
        for f in range(F):
            for i in range(H - R + 1):
                for j in range(W - S + 1):
                    acc = 0.0
                    for c in range(C):
                        for u in range(R):
                            for v in range(S):
                                acc += x[n, c, i + u, j + v] * k[f, c, u, v]
                    y[n, f, i, j] = acc
    return y


def conv2d_seven_loops_backward(dy, x, k):
    dx = np.zeros(x.shape)
    dk = np.zeros(k.shape)
    for n in range(x.shape[0]):
        for f in range(k.shape[0]):
            for i in range(dy.shape[2]):
                for j in range(dy.shape[3]):
                    for c in range(k.shape[1]):
                        for u in range(k.shape[2]):
                            for v in range(k.shape[3]):
                                dx[n, c, i + u, j + v] += k[f, c, u, v] * dy[n, f, i, j]
                                dk[f, c, u, v] += x[n, c, i + u, j + v] * dy[n, f, i, j]
    return dx, dk


functions(
    "convolution, seven loops over numbers",
    conv2d_seven_loops,
    conv2d_seven_loops_backward,
    {"x": r.randn(1, 2, 4, 4), "k": r.randn(2, 2, 2, 3)},
)


def conv_strided(x, w, b, stride=1):
    N, C, H, W = x.shape
    F, _, k, _ = w.shape
    oh, ow = (H - k) // stride + 1, (W - k) // stride + 1
    s = x.strides
    windows = np.lib.stride_tricks.as_strided(
        x, shape=(N, C, oh, ow, k, k), strides=(s[0], s[1], s[2] * stride, s[3] * stride, s[2], s[3])
    )
    out = np.tensordot(windows, w, axes=[(1, 4, 5), (1, 2, 3)]).transpose(0, 3, 1, 2) + b[:, None, None]
    return out, (windows, w, x.shape, stride)


def conv_strided_backward(dout, cache):
    windows, w, x_shape, stride = cache
    dw = np.tensordot(dout, windows, axes=[(0, 2, 3), (0, 2, 3)])
    db = dout.sum(axis=(0, 2, 3))
    dx = np.zeros(x_shape)
    _, _, oh, ow = dout.shape
    k = w.shape[-1]
    for u in range(k):
        for v in range(k):
            part = np.einsum("nfij,fc->ncij", dout, w[:, :, u, v])
            dx[:, :, u : u + stride * oh : stride, v : v + stride * ow : stride] += part
    return dx, dw, db


functions(
    "convolution by as_strided and tensordot",
    conv_strided,
    conv_strided_backward,
    {"x": r.randn(2, 2, 7, 7), "w": r.randn(3, 2, 3, 3), "b": r.randn(3), "stride": 2},
)


def conv_windows(x, w):
    v = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], axis=(2, 3))
    return np.einsum("nchwij,fcij->nfhw", v, w, optimize=True)


def conv_windows_backward(g, x, w):
    kh, kw = w.shape[2:]
    v = np.lib.stride_tricks.sliding_window_view(x, (kh, kw), axis=(2, 3))
    dw = np.einsum("nchwij,nfhw->fcij", v, g)
    gp = np.pad(g, [(0, 0), (0, 0), (kh - 1, kh - 1), (kw - 1, kw - 1)])
    gv = np.lib.stride_tricks.sliding_window_view(gp, (kh, kw), axis=(2, 3))
    dx = np.einsum("nfhwij,fcij->nchw", gv, w[:, :, ::-1, ::-1])
    return dx, dw


functions(
    "convolution by sliding_window_view, flipped kernel in the backward pass",
    conv_windows,
    conv_windows_backward,
    {"x": r.randn(2, 2, 5, 6), "w": r.randn(3, 2, 2, 3)},
)


def conv1d_forward(x, w, b, pad):
    x_padded = np.pad(x, pad, "constant")
    out = np.array([np.dot(x_padded[i : i + len(w)], w) for i in range(len(x_padded) - len(w) + 1)]) + b
    return out, x_padded


def conv1d_backward(dout, x_padded, w, pad):
    dw = np.zeros(len(w))
    dx = np.zeros(len(x_padded))
    for i, d in enumerate(dout):
        dw += d * x_padded[i : i + len(w)]
        dx[i : i + len(w)] += d * w
    return dx[pad : len(dx) - pad], dw, np.sum(dout)


functions(
    "one-dimensional convolution of a signal, pad an int, bias a float",
    conv1d_forward,
    conv1d_backward,
    {"x": r.randn(8), "w": r.randn(3), "b": 0.2, "pad": 1},
)


def causal_conv1d(x, W, b, dilation):
    k = W.shape[0]
    pad = (k - 1) * dilation
    xp = np.pad(x, ((0, 0), (pad, 0), (0, 0)))
    T = x.shape[1]
    y = b + sum(xp[:, i * dilation : i * dilation + T] @ W[i] for i in range(k))
    return y, (xp, W, dilation, T)


def causal_conv1d_backward(dy, cache):
    xp, W, dilation, T = cache
    dxp, dW = np.zeros_like(xp), np.zeros_like(W)
    for i in range(W.shape[0]):
        piece = slice(i * dilation, i * dilation + T)
        dxp[:, piece] += dy @ W[i].T
        dW[i] = np.einsum("btc,bto->co", xp[:, piece], dy)
    return dxp[:, -T:], dW, dy.sum((0, 1))


functions(
    "causal dilated convolution of (B, T, C)",
    causal_conv1d,
    causal_conv1d_backward,
    {"x": r.randn(2, 6, 3), "W": r.randn(2, 3, 4), "b": r.randn(4), "dilation": 2},
)


def conv2d_valid_single(image, kernel):
    h, w = image.shape
    kh, kw = kernel.shape
    output = np.zeros((h - kh + 1, w - kw + 1))
    for y in range(output.shape[0]):
        for x in range(output.shape[1]):
            output[y, x] = np.sum(image[y : y + kh, x : x + kw] * kernel)
    return output


def conv2d_valid_single_backward(grad, image, kernel):
    dkernel = conv2d_valid_single(image, grad)
    p, q = kernel.shape[0] - 1, kernel.shape[1] - 1
    dimage = conv2d_valid_single(np.pad(grad, ((p, p), (q, q))), np.rot90(kernel, 2))
    return dimage, dkernel


functions(
    "convolution of one image, gradients are convolutions, np.rot90",
    conv2d_valid_single,
    conv2d_valid_single_backward,
    {"image": r.randn(6, 5), "kernel": r.randn(3, 2)},
)


def depthwise_forward(x, w, b, pad=1):
    N, C, H, W = x.shape
    k = w.shape[-1]
    xp = np.zeros((N, C, H + 2 * pad, W + 2 * pad))
    xp[:, :, pad : pad + H, pad : pad + W] = x
    out = np.zeros((N, C, H + 2 * pad - k + 1, W + 2 * pad - k + 1))
    for i in range(out.shape[2]):
        for j in range(out.shape[3]):
            out[:, :, i, j] = (xp[:, :, i : i + k, j : j + k] * w).sum(axis=(2, 3)) + b
    return out, (xp, w, pad)


def depthwise_backward(dout, cache):
    xp, w, pad = cache
    k = w.shape[-1]
    dxp = np.zeros_like(xp)
    dw = np.zeros_like(w)
    for i in range(dout.shape[2]):
        for j in range(dout.shape[3]):
            d = dout[:, :, i, j][:, :, None, None]
            dxp[:, :, i : i + k, j : j + k] += d * w
            dw += (d * xp[:, :, i : i + k, j : j + k]).sum(axis=0)
    return dxp[:, :, pad:-pad, pad:-pad], dw, dout.sum(axis=(0, 2, 3))


functions(
    "depthwise convolution, padded by a write",
    depthwise_forward,
    depthwise_backward,
    {"x": r.randn(2, 3, 5, 5), "w": r.randn(3, 3, 3), "b": r.randn(3)},
)


def conv_transpose(x, w, stride=2):
    N, C, H, W = x.shape
    _, F, k, _ = w.shape
    out = np.zeros((N, F, (H - 1) * stride + k, (W - 1) * stride + k))
    for i in range(H):
        for j in range(W):
            out[:, :, i * stride : i * stride + k, j * stride : j * stride + k] += np.tensordot(
                x[:, :, i, j], w, axes=(1, 0)
            )
    return out


def conv_transpose_backward(dout, x, w, stride=2):
    k = w.shape[2]
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for i in range(x.shape[2]):
        for j in range(x.shape[3]):
            patch = dout[:, :, i * stride : i * stride + k, j * stride : j * stride + k]
            dx[:, :, i, j] = np.tensordot(patch, w, axes=((1, 2, 3), (1, 2, 3)))
            dw += np.tensordot(x[:, :, i, j], patch, axes=(0, 0))
    return dx, dw


functions(
    "transposed convolution, overlaps added",
    conv_transpose,
    conv_transpose_backward,
    {"x": r.randn(2, 2, 3, 3), "w": r.randn(2, 3, 3, 3)},
)


def conv1x1(x, w, b):
    return np.einsum("nchw,fc->nfhw", x, w) + b.reshape(1, -1, 1, 1)


def conv1x1_backward(dy, x, w, b):
    dx = np.einsum("nfhw,fc->nchw", dy, w)
    dw = np.einsum("nfhw,nchw->fc", dy, x)
    return dx, dw, np.einsum("nfhw->f", dy).reshape(b.shape)


functions(
    "pointwise convolution in float32",
    conv1x1,
    conv1x1_backward,
    {
        "x": r.randn(2, 3, 4, 4).astype("float32"),
        "w": r.randn(2, 3).astype("float32"),
        "b": r.randn(2).astype("float32"),
    },
)
