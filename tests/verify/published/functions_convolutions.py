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


def patch_indices(x_shape, fh, fw, padding, stride):
    _, C, H, W = x_shape
    out_h = (H + 2 * padding - fh) // stride + 1
    out_w = (W + 2 * padding - fw) // stride + 1
    assert (H + 2 * padding - fh) % stride == 0, "the filter does not fit"
    channel, row, col = (a.reshape(-1, 1) for a in np.meshgrid(range(C), range(fh), range(fw), indexing="ij"))
    top, left = (a.reshape(1, -1) for a in np.mgrid[:out_h, :out_w])
    return channel, row + stride * top, col + stride * left


def im2col_indices(x, fh, fw, padding=1, stride=1):
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)), mode="constant")
    c, i, j = patch_indices(x.shape, fh, fw, padding, stride)
    patches = padded[:, c, i, j]
    return np.moveaxis(patches, 0, -1).reshape(patches.shape[1], -1)


def col2im_indices(cols, x_shape, fh, fw, padding=1, stride=1):
    N, C, H, W = x_shape
    image = np.zeros((N, C, H + 2 * padding, W + 2 * padding), dtype=cols.dtype)
    c, i, j = patch_indices(x_shape, fh, fw, padding, stride)
    patches = np.moveaxis(cols.reshape(C * fh * fw, -1, N), -1, 0)
    np.add.at(image, (slice(None), c, i, j), patches)
    return image[:, :, padding : padding + H, padding : padding + W]


def conv_forward(X, W, b, stride=1, padding=1):
    n_filters, _, fh, fw = W.shape
    h_out = (X.shape[2] + 2 * padding - fh) / stride + 1
    w_out = (X.shape[3] + 2 * padding - fw) / stride + 1
    if not (h_out.is_integer() and w_out.is_integer()):
        raise Exception("output size is not a whole number")
    X_col = im2col_indices(X, fh, fw, padding=padding, stride=stride)
    Z = np.dot(W.reshape(n_filters, -1), X_col) + b
    Z = Z.reshape(n_filters, int(h_out), int(w_out), len(X))
    return Z.transpose(3, 0, 1, 2), (X.shape, W, X_col, stride, padding)


def conv_backward(dout, cache):
    x_shape, W, X_col, stride, padding = cache
    n_filters, _, fh, fw = W.shape
    d = dout.transpose(1, 2, 3, 0).reshape(n_filters, -1)
    db = d.sum(axis=1, keepdims=True)
    dW = np.dot(d, X_col.T).reshape(W.shape)
    dX_col = np.dot(W.reshape(n_filters, -1).T, d)
    return col2im_indices(dX_col, x_shape, fh, fw, padding=padding, stride=stride), dW, db


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


def conv_one_place(a_slice, W, b):
    return np.sum(np.multiply(a_slice, W)) + float(b[0, 0, 0])


def conv_forward_nhwc(A_prev, W, b, hparameters):
    (m, height, width, _) = A_prev.shape
    (f, f, n_C_prev, n_C) = W.shape
    stride, pad = hparameters["stride"], hparameters["pad"]
    n_H = int((height + 2 * pad - f) / stride) + 1
    n_W = int((width + 2 * pad - f) / stride) + 1
    A_pad = zero_pad(A_prev, pad)
    Z = np.zeros((m, n_H, n_W, n_C))
    for example in range(m):
        for h in range(n_H):
            for w in range(n_W):
                top, left = h * stride, w * stride
                a_slice = A_pad[example, top : top + f, left : left + f, :]
                for c in range(n_C):
                    Z[example, h, w, c] = conv_one_place(a_slice, W[..., c], b[..., c])
    assert Z.shape == (m, n_H, n_W, n_C)
    return Z, (A_prev, W, b, hparameters)


def conv_backward_nhwc(dZ, cache):
    (A_prev, W, b, hparameters) = cache
    (f, f, n_C_prev, n_C) = W.shape
    stride, pad = hparameters["stride"], hparameters["pad"]
    A_pad = zero_pad(A_prev, pad)
    dA_pad, dW, db = np.zeros(A_pad.shape), np.zeros(W.shape), np.zeros(b.shape)
    for example in range(dZ.shape[0]):
        for h in range(dZ.shape[1]):
            for w in range(dZ.shape[2]):
                top, left = h * stride, w * stride
                for c in range(n_C):
                    d = dZ[example, h, w, c]
                    dA_pad[example, top : top + f, left : left + f, :] += d * W[:, :, :, c]
                    dW[:, :, :, c] += d * A_pad[example, top : top + f, left : left + f, :]
                    db[:, :, :, c] += d
    dA_prev = dA_pad[:, pad:-pad, pad:-pad, :]
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
