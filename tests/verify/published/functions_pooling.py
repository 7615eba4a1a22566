"""Pooling and upsampling as functions."""
# Names, randomness and returns are as their authors would have them.
# ruff: noqa: B905, RUF059

import numpy as np

from .cases import functions
from .functions_convolutions import col2im_indices, im2col_indices

r = np.random.RandomState(6)


def max_pool_forward_naive(x, pool_param):
    ph, pw, s = pool_param["pool_height"], pool_param["pool_width"], pool_param["stride"]
    N, C, H, W = x.shape
    out = np.zeros((N, C, (H - ph) // s + 1, (W - pw) // s + 1))
    for i in range(out.shape[2]):
        for j in range(out.shape[3]):
            out[:, :, i, j] = np.max(x[:, :, i * s : i * s + ph, j * s : j * s + pw], axis=(2, 3))
    return out, (x, pool_param)


def max_pool_backward_naive(dout, cache):
    x, pool_param = cache
    ph, pw, s = pool_param["pool_height"], pool_param["pool_width"], pool_param["stride"]
    N, C, H_out, W_out = dout.shape
    dx = np.zeros_like(x)
    for n in range(N):
        for c in range(C):
            for i in range(H_out):
                for j in range(W_out):
                    window = x[n, c, i * s : i * s + ph, j * s : j * s + pw]
                    a, b = np.unravel_index(window.argmax(), window.shape)
                    dx[n, c, i * s + a, j * s + b] += dout[n, c, i, j]
    return dx


functions(
    "max pooling, windows overlap, unravel_index",
    max_pool_forward_naive,
    max_pool_backward_naive,
    {"x": r.randn(2, 2, 5, 5), "pool_param": {"pool_height": 3, "pool_width": 3, "stride": 2}},
)


def max_pool_fast(x):
    N, C, H, W = x.shape
    blocks = x.reshape(N, C, H // 2, 2, W // 2, 2)
    out = blocks.max(axis=(3, 5))
    return out, (blocks, out)


def max_pool_fast_backward(dout, cache):
    blocks, out = cache
    mask = blocks == out[:, :, :, None, :, None]
    share, _ = np.broadcast_arrays(dout[:, :, :, None, :, None], blocks)
    dblocks = np.zeros_like(blocks)
    dblocks[mask] = share[mask]
    dblocks /= mask.sum(axis=(3, 5), keepdims=True)
    N, C, h, _, w, _ = blocks.shape
    return dblocks.reshape(N, C, 2 * h, 2 * w)


functions(
    "max pooling by reshape, mask divided among ties", max_pool_fast, max_pool_fast_backward, {"x": r.randn(2, 3, 4, 6)}
)


def maxpool_im2col(X, size=2, stride=2):
    n, d, h, w = X.shape
    columns = im2col_indices(X.reshape(n * d, 1, h, w), size, size, padding=0, stride=stride)
    winners = columns.argmax(axis=0)
    out = columns[winners, np.arange(len(winners))]
    h_out, w_out = (h - size) // stride + 1, (w - size) // stride + 1
    return out.reshape(h_out, w_out, n, d).transpose(2, 3, 0, 1), (X, winners, columns.shape, size, stride)


def maxpool_im2col_backward(dout, cache):
    X, winners, shape, size, stride = cache
    n, d, h, w = X.shape
    dcolumns = np.zeros(shape)
    dcolumns[winners, np.arange(len(winners))] = dout.transpose(2, 3, 0, 1).flatten()
    dX = col2im_indices(dcolumns, (n * d, 1, h, w), size, size, padding=0, stride=stride)
    return dX.reshape(X.shape)


functions("max pooling by im2col and argmax", maxpool_im2col, maxpool_im2col_backward, {"X": r.randn(2, 2, 4, 4)})


def create_mask_from_window(x):
    return x == np.max(x)


def distribute_value(dz, shape):
    (n_H, n_W) = shape
    return np.ones(shape) * dz / (n_H * n_W)


def pool_forward(A_prev, hparameters, mode="max"):
    (m, n_H_prev, n_W_prev, n_C_prev) = A_prev.shape
    f, stride = hparameters["f"], hparameters["stride"]
    n_H = int(1 + (n_H_prev - f) / stride)
    n_W = int(1 + (n_W_prev - f) / stride)
    A = np.zeros((m, n_H, n_W, n_C_prev))
    for i in range(m):
        for h in range(n_H):
            for w in range(n_W):
                for c in range(n_C_prev):
                    a_slice = A_prev[i, h * stride : h * stride + f, w * stride : w * stride + f, c]
                    A[i, h, w, c] = np.max(a_slice) if mode == "max" else np.mean(a_slice)
    return A, (A_prev, hparameters)


def pool_backward(dA, cache, mode="max"):
    (A_prev, hparameters) = cache
    f, stride = hparameters["f"], hparameters["stride"]
    m, n_H, n_W, n_C = dA.shape
    dA_prev = np.zeros(A_prev.shape)
    for i in range(m):
        for h in range(n_H):
            for w in range(n_W):
                for c in range(n_C):
                    rows = slice(h * stride, h * stride + f)
                    cols = slice(w * stride, w * stride + f)
                    if mode == "max":
                        mask = create_mask_from_window(A_prev[i, rows, cols, c])
                        dA_prev[i, rows, cols, c] += np.multiply(mask, dA[i, h, w, c])
                    elif mode == "average":
                        dA_prev[i, rows, cols, c] += distribute_value(dA[i, h, w, c], (f, f))
    assert dA_prev.shape == A_prev.shape
    return dA_prev


for mode in ("max", "average"):
    functions(
        f"pooling of (m, H, W, C), the mode given to both: {mode}",
        pool_forward,
        pool_backward,
        {"A_prev": r.randn(2, 5, 5, 2), "hparameters": {"f": 3, "stride": 1}, "mode": mode},
    )


def avg_pool(x, k):
    n, c, h, w = x.shape
    return x.reshape(n, c, h // k, k, w // k, k).mean(axis=(3, 5))


def avg_pool_backward(dout, x, k):
    return dout.repeat(k, axis=2).repeat(k, axis=3) / (k * k)


functions("average pooling by reshape", avg_pool, avg_pool_backward, {"x": r.randn(2, 2, 4, 6), "k": 2})


def global_avg_pool(x):
    return np.mean(x, axis=(2, 3)), x.shape


def global_avg_pool_backward(dout, shape):
    N, C, H, W = shape
    return np.broadcast_to(dout[:, :, None, None], shape) / (H * W)


functions(
    "global average pooling, the cache a shape", global_avg_pool, global_avg_pool_backward, {"x": r.randn(2, 3, 4, 4)}
)


def global_max_pool(x):
    flat = x.reshape(x.shape[0], x.shape[1], -1)
    idx = flat.argmax(axis=2)
    return np.take_along_axis(flat, idx[..., None], axis=2)[..., 0], (x.shape, idx)


def global_max_pool_backward(dout, cache):
    shape, idx = cache
    dx = np.zeros((shape[0], shape[1], shape[2] * shape[3]))
    np.put_along_axis(dx, idx[..., None], dout[..., None], axis=2)
    return dx.reshape(shape)


functions(
    "global max pooling, take_along_axis",
    global_max_pool,
    global_max_pool_backward,
    {"x": r.randn(2, 3, 3, 3)},
)


def max_over_time(x, mask):
    masked = np.where(mask[:, :, None], x, -1e9)
    return masked.max(axis=1), masked.argmax(axis=1)


def max_over_time_backward(dh, argmax, x):
    dx = np.zeros(x.shape)
    for b in range(x.shape[0]):
        for d in range(x.shape[2]):
            dx[b, argmax[b, d], d] = dh[b, d]
    return dx


functions(
    "max over time, padding masked by a large number",
    max_over_time,
    max_over_time_backward,
    {"x": r.randn(2, 4, 3), "mask": np.array([[1, 1, 1, 0], [1, 1, 0, 0]], dtype=bool)},
)


def upsample(x, scale=2):
    return np.repeat(np.repeat(x, scale, axis=2), scale, axis=3)


def upsample_backward(dout, x, scale=2):
    N, C, H, W = x.shape
    dx = np.zeros((N, C, H, W))
    for i in range(H):
        for j in range(W):
            dx[:, :, i, j] = dout[:, :, i * scale : (i + 1) * scale, j * scale : (j + 1) * scale].sum(axis=(2, 3))
    return dx


functions("nearest upsampling", upsample, upsample_backward, {"x": r.randn(2, 2, 3, 3)})


def upsample_kron(x):
    return np.kron(x, np.ones((1, 1, 2, 2)))


functions(
    "upsampling by a Kronecker product",
    upsample_kron,
    lambda dout: dout[:, :, ::2, ::2] + dout[:, :, 1::2, ::2] + dout[:, :, ::2, 1::2] + dout[:, :, 1::2, 1::2],
    {"x": r.randn(1, 2, 3, 2)},
)


def pixel_shuffle(x, r):
    n, c, h, w = x.shape
    return x.reshape(n, c // r**2, r, r, h, w).transpose(0, 1, 4, 2, 5, 3).reshape(n, c // r**2, h * r, w * r)


def pixel_shuffle_backward(dout, x, r):
    n, c, h, w = x.shape
    return dout.reshape(n, c // r**2, h, r, w, r).transpose(0, 1, 3, 5, 2, 4).reshape(n, c, h, w)


functions("pixel shuffle", pixel_shuffle, pixel_shuffle_backward, {"x": r.randn(2, 4, 2, 3), "r": 2})


def pad_edge(x, pad):
    return np.pad(x, [(0, 0), (0, 0), (pad, pad + 1), (pad, pad)], "edge")


def pad_edge_backward(dout, x, pad):
    N, C, H, W = x.shape
    rows = np.clip(np.arange(dout.shape[2]) - pad, 0, H - 1)
    cols = np.clip(np.arange(dout.shape[3]) - pad, 0, W - 1)
    dx = np.zeros_like(x)
    np.add.at(dx, (slice(None), slice(None), rows[:, None], cols[None, :]), dout)
    return dx


functions("padding with the edge", pad_edge, pad_edge_backward, {"x": r.randn(1, 2, 3, 3), "pad": 2})


def max_pool_1d(x, k):
    out, idx = [], []
    for i in range(0, len(x) - k + 1, k):
        j = i + int(np.argmax(x[i : i + k]))
        out.append(x[j])
        idx.append(j)
    return np.array(out), idx


def max_pool_1d_backward(dout, idx, x):
    dx = np.zeros_like(x)
    for d, j in zip(dout, idx):
        dx[j] += d
    return dx


functions("max pooling of a signal, a list of indices", max_pool_1d, max_pool_1d_backward, {"x": r.randn(9), "k": 3})
