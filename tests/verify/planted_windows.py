"""Mistakes in convolutions and pooling, in the axes of sums, and in what is handed out, each planted in several places.

Every helper is right with its defaults (``CORRECT`` lists them so); a plant changes one formula of one of them.
"""

from __future__ import annotations

import numpy as np

from tests.verify.planted_gradients import draw, softmax, subclass
from tests.verify.planted_places import (
    CORRECT,
)
from tests.verify.planting import plant
from torch_impl.verify import Model, verify_function, verify_network

# --- convolutions -----------------------------------------------------------------------------------------------------


def check_loop_conv(
    kernel=lambda w: w, start=lambda i, s: i * s, read=lambda i, s: i * s, unpad=lambda dx, p: dx[:, :, p:-p, p:-p],
    add=True, dw=lambda dw: dw, stride=2, shape=(2, 2, 4, 4), k=3,
):  # fmt: skip
    """A convolution in four loops over x (N, C, H, W), with one row and column of zeros around."""

    def conv_forward(x, w, b):
        xp = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        n_out = (xp.shape[2] - k) // stride + 1
        out = np.zeros((len(x), len(w), n_out, n_out))
        for n in range(len(x)):
            for f in range(len(w)):
                for i in range(n_out):
                    for j in range(n_out):
                        window = xp[n, :, i * stride : i * stride + k, j * stride : j * stride + k]
                        out[n, f, i, j] = np.sum(window * w[f]) + b[f]
        return out, (xp, w)

    def conv_backward(dout, cache):
        xp, w = cache
        dxp, dW = np.zeros_like(xp), np.zeros_like(w)
        for n, f, i, j in np.ndindex(dout.shape):
            a, b = start(i, stride), start(j, stride)
            c, d = read(i, stride), read(j, stride)
            part = kernel(w)[f] * dout[n, f, i, j]
            dxp[n, :, a : a + k, b : b + k] = part + add * dxp[n, :, a : a + k, b : b + k]
            dW[f] += xp[n, :, c : c + k, d : d + k] * dout[n, f, i, j]
        return unpad(dxp, 1), dw(dW), dout.sum(axis=(0, 2, 3))

    return verify_function(conv_forward, conv_backward, **draw(x=shape, w=(2, shape[1], k, k), b=(2,)))


plant("kernel-flipped", "a convolution in loops, dx through the turned kernel")(
    lambda: check_loop_conv(kernel=lambda w: w[:, :, ::-1, ::-1])
)
plant("kernel-flipped", "a convolution in loops, dw turned")(lambda: check_loop_conv(dw=lambda d: d[:, :, ::-1, ::-1]))
plant("window-shifted", "a convolution in loops, dx without the stride")(lambda: check_loop_conv(start=lambda i, s: i))
plant("window-shifted", "a convolution in loops, dw without the stride")(lambda: check_loop_conv(read=lambda i, s: i))
plant("window-shifted", "a convolution in loops, dx and dw without the stride")(
    lambda: check_loop_conv(start=lambda i, s: i, read=lambda i, s: i)
)
plant("window-shifted", "a convolution in loops, the padding taken off at the end alone")(
    lambda: check_loop_conv(unpad=lambda dx, p: dx[:, :, : -2 * p, : -2 * p])
)
plant("window-shifted", "a convolution in loops, the padding not taken off")(
    lambda: check_loop_conv(unpad=lambda dx, p: dx)
)
plant("duplicate-indices", "a convolution in loops, = where windows overlap")(lambda: check_loop_conv(add=False))
CORRECT["convolution in loops"] = check_loop_conv


def check_im2col(
    kernel=lambda W: W, rows=lambda r, s, n: slice(r, r + s * n, s), cut=lambda p, n: slice(p, p + n), dW=lambda dW: dW,
    add=True, stride=1, pad=1, dtype="float64",
):  # fmt: skip
    """A convolution by im2col, offset by offset in the kernel, then one product of matrices."""

    def im2col(x, k, n_out):
        img = np.pad(x, [(0, 0), (0, 0), (pad, pad), (pad, pad)], "constant")
        col = np.zeros((len(x), x.shape[1], k, k, n_out, n_out), dtype=x.dtype)
        for r in range(k):
            for s in range(k):
                col[:, :, r, s] = img[:, :, r : r + stride * n_out : stride, s : s + stride * n_out : stride]
        return col.transpose(0, 4, 5, 1, 2, 3).reshape(len(x) * n_out * n_out, -1)

    def col2im(col, x, k, n_out):
        col = col.reshape(len(x), n_out, n_out, x.shape[1], k, k).transpose(0, 3, 4, 5, 1, 2)
        img = np.zeros((len(x), x.shape[1], x.shape[2] + 2 * pad, x.shape[3] + 2 * pad), dtype=x.dtype)
        for r, s in np.ndindex(k, k):
            a, b = rows(r, stride, n_out), rows(s, stride, n_out)
            img[:, :, a, b] = col[:, :, r, s] + add * img[:, :, a, b]
        return img[:, :, cut(pad, x.shape[2]), cut(pad, x.shape[3])]

    def conv_forward(x, W, b):
        k = W.shape[2]
        n_out = (x.shape[2] + 2 * pad - k) // stride + 1
        col = im2col(x, k, n_out)
        out = col @ W.reshape(len(W), -1).T + b
        return out.reshape(len(x), n_out, n_out, -1).transpose(0, 3, 1, 2), (x, W, col)

    def conv_backward(dout, cache):
        x, W, col = cache
        d = dout.transpose(0, 2, 3, 1).reshape(-1, len(W))
        dcol = d @ kernel(W).reshape(len(W), -1)
        return col2im(dcol, x, W.shape[2], dout.shape[2]), dW((d.T @ col).reshape(W.shape)), d.sum(axis=0)

    return verify_function(conv_forward, conv_backward, **draw(dtype, x=(2, 3, 5, 5), W=(4, 3, 3, 3), b=(4,)))


plant("kernel-flipped", "im2col, dx through the turned kernel, float32")(
    lambda: check_im2col(kernel=lambda W: W[..., ::-1, ::-1], dtype="float32")
)
plant("kernel-flipped", "im2col, the kernel turned by 90° once")(
    lambda: check_im2col(kernel=lambda W: np.rot90(W, 1, (2, 3)))
)
plant("kernel-flipped", "im2col, dW turned")(lambda: check_im2col(dW=lambda d: d[..., ::-1, ::-1]))
plant("window-shifted", "im2col, col2im without the stride")(
    lambda: check_im2col(rows=lambda r, s, n: slice(r, r + n), stride=2)
)
plant("window-shifted", "im2col, the padding taken off from the start")(
    lambda: check_im2col(cut=lambda p, n: slice(0, n))
)
plant("window-shifted", "im2col, twice the padding taken off, float32")(
    lambda: check_im2col(cut=lambda p, n: slice(2 * p, n + 2 * p), dtype="float32")
)
plant("window-shifted", "im2col, the padding off by one")(
    lambda: check_im2col(cut=lambda p, n: slice(p + 1, p + 1 + n), pad=2)
)
plant("duplicate-indices", "im2col, col2im that assigns")(lambda: check_im2col(add=False))
CORRECT |= {"im2col": check_im2col, "im2col with a stride": lambda: check_im2col(stride=2)}


def check_conv1d(dx=lambda dout, w: np.convolve(dout, w), dw=lambda x, dout: np.correlate(x, dout, "valid")):
    """The correlation of a signal with a short kernel, by the slices of a loop."""

    def conv(x, w):
        return np.array([(x[i : i + len(w)] * w).sum() for i in range(len(x) - len(w) + 1)])

    return verify_function(conv, lambda dout, x, w: (dx(dout, w), dw(x, dout)), **draw(x=(9,), w=(3,)))


plant("kernel-flipped", "a 1-D convolution, dx as a correlation")(
    lambda: check_conv1d(dx=lambda dout, w: np.convolve(dout, w[::-1]))
)
plant("kernel-flipped", "a 1-D convolution, dw as a convolution")(
    lambda: check_conv1d(dw=lambda x, dout: np.correlate(x, dout, "valid")[::-1])
)
CORRECT["1-D convolution"] = check_conv1d


def check_true_convolution(dx=lambda dout, w: np.correlate(dout, w, "full"), dw=lambda dw: dw[::-1]):
    """np.convolve, which turns the kernel itself."""

    def conv(x, w):
        return np.convolve(x, w, "valid")

    return verify_function(
        conv, lambda dout, x, w: (dx(dout, w), dw(np.correlate(x, dout, "valid"))), **draw(x=(9,), w=(3,))
    )


plant("kernel-flipped", "np.convolve, its gradient that of a correlation")(
    lambda: check_true_convolution(np.convolve, lambda dw: dw)
)
plant("kernel-flipped", "np.convolve, dw not turned back")(lambda: check_true_convolution(dw=lambda dw: dw))
CORRECT["np.convolve"] = check_true_convolution


class TextNet:
    """Convolution over time of (batch, time, channels), ReLU, the maximum over time, softmax cross-entropy."""

    def __init__(self):
        weights = draw(K=(3, 4, 5), V=(5, 3))
        self.K, self.V = weights["K"], weights["V"]

    def loss(self, x, y):
        n = x.shape[1] - len(self.K) + 1
        self.windows = np.stack([x[:, t : t + len(self.K)] for t in range(n)], axis=1)
        self.z = np.tensordot(self.windows, self.K, axes=((2, 3), (0, 1)))
        self.a = np.maximum(self.z, 0)
        self.h = self.a.max(axis=1)
        self.p = softmax(self.h @ self.V)
        return -np.log(self.p[np.arange(len(y)), y]).mean()

    def kernel(self, dz):
        return np.tensordot(self.windows, dz, axes=((0, 1), (0, 1)))

    def backward(self, x, y):
        d = self.p.copy()
        d[np.arange(len(y)), y] -= 1
        d /= len(y)
        self.dV, dh = self.h.T @ d, d @ self.V.T
        da = (self.a == self.h[:, None]) * dh[:, None]
        self.grad_K = self.kernel(da * (self.z > 0))


def check_text(**methods):
    model = Model(
        subclass(TextNet, **methods)(), lambda m, x, y: m.loss(x, y), lambda m, x, y: m.backward(x, y),
        {"K": "grad_K", "V": "dV"},
    )  # fmt: skip
    return verify_network(model, x=draw(x=(7, 6, 4))["x"], y=np.array([0, 2, 1, 1, 0, 2, 2]))


plant("kernel-flipped", "a network that reads text, the kernel's gradient reversed in time")(
    lambda: check_text(kernel=lambda m, dz: TextNet.kernel(m, dz)[::-1])
)
CORRECT["text network"] = check_text


# --- pooling ----------------------------------------------------------------------------------------------------------

X_TIED = np.array([[1.5, 0.5, 2, 2], [1.5, 1, 0.5, 1], [0.5, 2, 3, 0.5], [2, 2, 1, 3]])
X_TIED = np.stack([X_TIED, X_TIED[::-1] + 0.25, 4 - X_TIED.T])[:, None]


def first_of(window):
    mask = np.zeros_like(window)
    mask[np.unravel_index(window.argmax(), window.shape)] = 1
    return mask


def every_of(window):
    return window == window.max()


def check_max_pool(mask=first_of, put=lambda i, j, s: (i * s, j * s), seen=None, stride=2, k=2, x=None, add=True):
    """Max pooling in loops over (N, C, H, W)."""

    def pool_forward(x):
        n, c, h, w = x.shape
        out = np.zeros((n, c, (h - k) // stride + 1, (w - k) // stride + 1))
        for b, m, i, j in np.ndindex(out.shape):
            out[b, m, i, j] = np.max(x[b, m, i * stride : i * stride + k, j * stride : j * stride + k])
        return out, x

    def pool_backward(dout, x):
        dx = np.zeros_like(x)
        for b, m, i, j in np.ndindex(dout.shape):
            (p, q), (r, s) = put(i, j, stride), (seen or put)(i, j, stride)
            part = mask(x[b, m, r : r + k, s : s + k]) * dout[b, m, i, j]
            dx[b, m, p : p + k, q : q + k] = part + add * dx[b, m, p : p + k, q : q + k]
        return dx

    return verify_function(pool_forward, pool_backward, x=draw(x=(2, 2, 4, 4))["x"] if x is None else x)


right_start = lambda i, j, s: (i * s, j * s)  # noqa: E731
plant("window-shifted", "max pooling, the window begins at i")(lambda: check_max_pool(put=lambda i, j, s: (i, j)))
plant("window-shifted", "max pooling, the window begins at i, the mask is right")(
    lambda: check_max_pool(put=lambda i, j, s: (i, j), seen=right_start)
)
plant("window-shifted", "max pooling, rows and columns of the windows exchanged")(
    lambda: check_max_pool(put=lambda i, j, s: (j * s, i * s), seen=right_start)
)
plant("window-shifted", "max pooling, windows with gaps taken side by side")(
    lambda: check_max_pool(put=lambda i, j, s: (i * 2, j * 2), seen=right_start, stride=3, x=draw(x=(2, 1, 5, 8))["x"])
)
plant("window-shifted", "max pooling, columns without the stride")(
    lambda: check_max_pool(put=lambda i, j, s: (i * s, j))
)
plant("duplicate-indices", "max pooling, = where windows overlap")(
    lambda: check_max_pool(k=3, stride=1, x=draw(x=(2, 2, 4, 4))["x"], add=False)
)
plant("tie-shared", "max pooling in loops, images of few values")(lambda: check_max_pool(mask=every_of, x=X_TIED))
CORRECT |= {
    "max pooling in loops": check_max_pool,
    "max pooling in loops, ties": lambda: check_max_pool(x=X_TIED),
    "max pooling in loops, ties shared evenly": lambda: check_max_pool(
        mask=lambda w: every_of(w) / every_of(w).sum(), x=X_TIED
    ),
    "max pooling in loops, ties to the last": lambda: check_max_pool(
        mask=lambda w: first_of(w[::-1, ::-1])[::-1, ::-1], x=X_TIED
    ),
}  # fmt: skip


def check_fast_pool(share=lambda mask: mask / mask.sum(axis=(3, 5), keepdims=True)):
    """Max pooling by a reshape into blocks, of images after a ReLU: many zeros."""

    def pool_forward(x):
        n, c, h, w = x.shape
        blocks = x.reshape(n, c, h // 2, 2, w // 2, 2)
        out = blocks.max(axis=3).max(axis=4)
        return out, (x.shape, blocks, out)

    def pool_backward(dout, cache):
        shape, blocks, out = cache
        mask = blocks == out[:, :, :, None, :, None]
        return (share(mask) * dout[:, :, :, None, :, None]).reshape(shape)

    return verify_function(pool_forward, pool_backward, x=np.maximum(draw(x=(2, 3, 4, 6))["x"] - 0.5, 0))


def check_time_max(share=lambda mask: mask * (mask.cumsum(axis=1) == 1)):
    """The maximum over time of ReLUs."""

    def top(x):
        return x.max(axis=1)

    def top_backward(dout, x):
        return share(x == x.max(axis=1, keepdims=True)) * dout[:, None]

    return verify_function(top, top_backward, x=np.maximum(draw(x=(7, 3, 5))["x"], 0))


plant("tie-shared", "max pooling by blocks after a ReLU")(lambda: check_fast_pool(lambda mask: mask))
plant("tie-shared", "the maximum over time of ReLUs")(lambda: check_time_max(lambda mask: mask))


class Pooled:
    """The largest of each block of an image, linear, softmax cross-entropy."""

    mask = staticmethod(lambda at: at * (at.cumsum(axis=-1) == 1))

    def __init__(self):
        self.W, self.b = draw(W=(4, 3), b=(3,)).values()

    def loss(self, x, y):
        blocks = x.reshape(len(x), 2, 2, 2, 2).transpose(0, 1, 3, 2, 4).reshape(len(x), 4, 4)
        self.h = blocks.max(axis=2)
        self.at = blocks == self.h[:, :, None]
        self.p = softmax(self.h @ self.W + self.b)
        return -np.log(self.p[np.arange(len(y)), y]).mean()

    def backward(self, x, y):
        d = self.p.copy()
        d[np.arange(len(y)), y] -= 1
        d /= len(y)
        self.dW, self.db = self.h.T @ d, d.sum(axis=0)
        blocks = self.mask(self.at) * (d @ self.W.T)[:, :, None]
        return blocks.reshape(len(x), 2, 2, 2, 2).transpose(0, 1, 3, 2, 4).reshape(x.shape)


def check_pooled_net(mask=Pooled.mask):
    model = Model(
        subclass(Pooled, mask=staticmethod(mask))(), lambda m, x, y: m.loss(x, y), lambda m, x, y: m.backward(x, y),
        {"W": "dW", "b": "db"},
    )  # fmt: skip
    return verify_network(model, x=X_TIED[:, 0], y=np.array([0, 2, 1]))


plant("tie-shared", "a network that pools images of few values")(lambda: check_pooled_net(lambda at: at))
CORRECT["network that pools"] = check_pooled_net
CORRECT |= {"max pooling by blocks": check_fast_pool, "maximum over time": check_time_max}


def check_pool1d(begin=lambda t, s: t * s, length=lambda k: k):
    """The mean of windows over time, x (batch, time)."""
    k, stride = 4, 3

    def pool(x):
        n = (x.shape[1] - k) // stride + 1
        return np.stack([x[:, t * stride : t * stride + k].mean(axis=1) for t in range(n)], axis=1)

    def pool_backward(dout, x):
        dx = np.zeros_like(x)
        for t in range(dout.shape[1]):
            a = begin(t, stride)
            dx[:, a : a + k] += dout[:, t, None] / k
        return dx

    return verify_function(pool, pool_backward, x=draw(x=(5, 14))["x"])


plant("window-shifted", "a mean over time, windows without the stride")(lambda: check_pool1d(lambda t, s: t))
plant("window-shifted", "a mean over time, windows one step late")(lambda: check_pool1d(lambda t, s: t * s + 1))
CORRECT["mean of windows"] = check_pool1d
