"""Convolutions, pooling and changes of shape as objects: im2col, naive loops, strides, channels last, transposed."""

# The code is kept as published code is: its random numbers, names, returns and loops.
# ruff: noqa: A002, NPY002, RET504, RUF059

import numpy as np

from tests.verify.published.cases import layer

rng = np.random.default_rng(41)


def im2col(input_data, filter_h, filter_w, stride=1, pad=0):
    N, C, H, W = input_data.shape
    out_h = (H + 2 * pad - filter_h) // stride + 1
    out_w = (W + 2 * pad - filter_w) // stride + 1
    img = np.pad(input_data, [(0, 0), (0, 0), (pad, pad), (pad, pad)], "constant")
    col = np.zeros((N, C, filter_h, filter_w, out_h, out_w))
    for y in range(filter_h):
        y_max = y + stride * out_h
        for x in range(filter_w):
            x_max = x + stride * out_w
            col[:, :, y, x, :, :] = img[:, :, y:y_max:stride, x:x_max:stride]
    col = col.transpose(0, 4, 5, 1, 2, 3).reshape(N * out_h * out_w, -1)
    return col


def col2im(col, input_shape, filter_h, filter_w, stride=1, pad=0):
    N, C, H, W = input_shape
    out_h = (H + 2 * pad - filter_h) // stride + 1
    out_w = (W + 2 * pad - filter_w) // stride + 1
    col = col.reshape(N, out_h, out_w, C, filter_h, filter_w).transpose(0, 3, 4, 5, 1, 2)
    img = np.zeros((N, C, H + 2 * pad + stride - 1, W + 2 * pad + stride - 1))
    for y in range(filter_h):
        y_max = y + stride * out_h
        for x in range(filter_w):
            x_max = x + stride * out_w
            img[:, :, y:y_max:stride, x:x_max:stride] += col[:, :, y, x, :, :]
    return img[:, :, pad : H + pad, pad : W + pad]


class Convolution:
    def __init__(self, W, b, stride=1, pad=0):
        self.W = W
        self.b = b
        self.stride = stride
        self.pad = pad
        self.x = None
        self.col = None
        self.col_W = None
        self.dW = None
        self.db = None

    def forward(self, x):
        FN, C, FH, FW = self.W.shape
        N, C, H, W = x.shape
        out_h = 1 + int((H + 2 * self.pad - FH) / self.stride)
        out_w = 1 + int((W + 2 * self.pad - FW) / self.stride)
        col = im2col(x, FH, FW, self.stride, self.pad)
        col_W = self.W.reshape(FN, -1).T
        out = np.dot(col, col_W) + self.b
        out = out.reshape(N, out_h, out_w, -1).transpose(0, 3, 1, 2)
        self.x = x
        self.col = col
        self.col_W = col_W
        return out

    def backward(self, dout):
        FN, C, FH, FW = self.W.shape
        dout = dout.transpose(0, 2, 3, 1).reshape(-1, FN)
        self.db = np.sum(dout, axis=0)
        self.dW = np.dot(self.col.T, dout)
        self.dW = self.dW.transpose(1, 0).reshape(FN, C, FH, FW)
        dcol = np.dot(dout, self.col_W.T)
        dx = col2im(dcol, self.x.shape, FH, FW, self.stride, self.pad)
        return dx


class Pooling:
    def __init__(self, pool_h, pool_w, stride=2, pad=0):
        self.pool_h = pool_h
        self.pool_w = pool_w
        self.stride = stride
        self.pad = pad
        self.x = None
        self.arg_max = None

    def forward(self, x):
        N, C, H, W = x.shape
        out_h = int(1 + (H - self.pool_h) / self.stride)
        out_w = int(1 + (W - self.pool_w) / self.stride)
        col = im2col(x, self.pool_h, self.pool_w, self.stride, self.pad)
        col = col.reshape(-1, self.pool_h * self.pool_w)
        arg_max = np.argmax(col, axis=1)
        out = np.max(col, axis=1)
        out = out.reshape(N, out_h, out_w, C).transpose(0, 3, 1, 2)
        self.x = x
        self.arg_max = arg_max
        return out

    def backward(self, dout):
        dout = dout.transpose(0, 2, 3, 1)
        pool_size = self.pool_h * self.pool_w
        dmax = np.zeros((dout.size, pool_size))
        dmax[np.arange(self.arg_max.size), self.arg_max.flatten()] = dout.flatten()
        dmax = dmax.reshape((*dout.shape, pool_size))
        dcol = dmax.reshape(dmax.shape[0] * dmax.shape[1] * dmax.shape[2], -1)
        dx = col2im(dcol, self.x.shape, self.pool_h, self.pool_w, self.stride, self.pad)
        return dx


def make_convolution(channels, filters, size, **options):
    np.random.seed(4)
    W = 0.3 * np.random.randn(filters, channels, size, size)
    return Convolution(W, 0.1 * np.random.randn(filters), **options)


x = rng.normal(size=(2, 3, 6, 6))
layer("conv: im2col", lambda: make_convolution(3, 4, 3), x)
layer(
    "conv: im2col, padding 1, stride 2",
    lambda: make_convolution(3, 2, 3, stride=2, pad=1),
    rng.normal(size=(2, 3, 7, 7)),
)
layer("pool: max by im2col", lambda: Pooling(2, 2, stride=2), x)
layer("pool: max, windows overlap", lambda: Pooling(3, 3, stride=1), rng.normal(size=(2, 2, 5, 5)))


class ConvLoops:
    """Four nested loops, as in the course's notebook; gradients in a dict."""

    def __init__(self, n_filters, n_channels, f, stride=1, pad=0, seed=0):
        gen = np.random.RandomState(seed)
        self.params = {
            "w": gen.normal(0, 0.2, (n_filters, n_channels, f, f)),
            "b": gen.normal(0, 0.2, n_filters),
        }
        self.grads = {"w": None, "b": None}
        self.stride, self.pad = stride, pad

    def forward(self, x):
        w, b = self.params["w"], self.params["b"]
        s, p = self.stride, self.pad
        N, C, H, W = x.shape
        F, _, HH, WW = w.shape
        Ho, Wo = 1 + (H + 2 * p - HH) // s, 1 + (W + 2 * p - WW) // s
        xp = np.pad(x, ((0,), (0,), (p,), (p,)))
        out = np.zeros((N, F, Ho, Wo))
        for n in range(N):
            for f in range(F):
                for i in range(Ho):
                    for j in range(Wo):
                        out[n, f, i, j] = np.sum(xp[n, :, i * s : i * s + HH, j * s : j * s + WW] * w[f]) + b[f]
        self.cache = x, xp
        return out

    def backward(self, dout):
        x, xp = self.cache
        w = self.params["w"]
        s, p = self.stride, self.pad
        F, _, HH, WW = w.shape
        dxp, dw = np.zeros_like(xp), np.zeros_like(w)
        db = dout.sum(axis=(0, 2, 3))
        N, _, Ho, Wo = dout.shape
        for n in range(N):
            for f in range(F):
                for i in range(Ho):
                    for j in range(Wo):
                        rows, cols = slice(i * s, i * s + HH), slice(j * s, j * s + WW)
                        dw[f] += xp[n, :, rows, cols] * dout[n, f, i, j]
                        dxp[n, :, rows, cols] += w[f] * dout[n, f, i, j]
        self.grads["w"], self.grads["b"] = dw, db
        return dxp[:, :, p : p + x.shape[2], p : p + x.shape[3]]


layer("conv: naive loops, padding 1", lambda: ConvLoops(2, 3, 3, pad=1), rng.normal(size=(2, 3, 5, 5)))
layer("conv: naive loops, stride 2", lambda: ConvLoops(3, 2, 3, stride=2, seed=5), rng.normal(size=(2, 2, 7, 7)))


class Conv3x3:
    """One grey image, filters without bias; the step is taken in backprop, which has no input gradient."""

    def __init__(self, num_filters):
        self.num_filters = num_filters
        np.random.seed(9)
        self.filters = np.random.randn(num_filters, 3, 3) / 9

    def iterate_regions(self, image):
        h, w = image.shape
        for i in range(h - 2):
            for j in range(w - 2):
                yield image[i : (i + 3), j : (j + 3)], i, j

    def forward(self, input):
        self.last_input = input
        h, w = input.shape
        output = np.zeros((h - 2, w - 2, self.num_filters))
        for im_region, i, j in self.iterate_regions(input):
            output[i, j] = np.sum(im_region * self.filters, axis=(1, 2))
        return output

    def backprop(self, d_L_d_out, learn_rate):
        d_L_d_filters = np.zeros(self.filters.shape)
        for im_region, i, j in self.iterate_regions(self.last_input):
            for f in range(self.num_filters):
                d_L_d_filters[f] += d_L_d_out[i, j, f] * im_region
        self.filters -= learn_rate * d_L_d_filters


class MaxPool2:
    """For the image above: each maximum of a 2 by 2 block gets the gradient."""

    def iterate_regions(self, image):
        h, w, _ = image.shape
        for i in range(h // 2):
            for j in range(w // 2):
                yield image[(i * 2) : (i * 2 + 2), (j * 2) : (j * 2 + 2)], i, j

    def forward(self, input):
        self.last_input = input
        h, w, num_filters = input.shape
        output = np.zeros((h // 2, w // 2, num_filters))
        for im_region, i, j in self.iterate_regions(input):
            output[i, j] = np.amax(im_region, axis=(0, 1))
        return output

    def backprop(self, d_L_d_out):
        d_L_d_input = np.zeros(self.last_input.shape)
        for im_region, i, j in self.iterate_regions(self.last_input):
            h, w, f = im_region.shape
            amax = np.amax(im_region, axis=(0, 1))
            for i2 in range(h):
                for j2 in range(w):
                    for f2 in range(f):
                        if im_region[i2, j2, f2] == amax[f2]:
                            d_L_d_input[i * 2 + i2, j * 2 + j2, f2] = d_L_d_out[i, j, f2]
        return d_L_d_input


layer("conv: 3x3 filters on one image, backprop returns nothing", lambda: Conv3x3(4), rng.random((6, 6)) - 0.5)
layer("pool: 2x2 of one image, channels last", MaxPool2, rng.normal(size=(6, 4, 3)))


class ConvChannelsLast:
    """Windows by stride tricks and einsum, (N, H, W, C), float32."""

    def __init__(self, c_in, c_out, k):
        gen = np.random.default_rng(10)
        self.kernel = gen.normal(0, 0.3, (k, k, c_in, c_out)).astype(np.float32)
        self.bias = np.zeros(c_out, dtype=np.float32)
        self.k = k

    def forward(self, x):
        self.x_shape = x.shape
        self.windows = np.lib.stride_tricks.sliding_window_view(x, (self.k, self.k), axis=(1, 2))
        return np.einsum("nhwcij,ijco->nhwo", self.windows, self.kernel) + self.bias

    def backward(self, grad):
        self.d_kernel = np.einsum("nhwcij,nhwo->ijco", self.windows, grad)
        self.d_bias = grad.sum(axis=(0, 1, 2))
        dx = np.zeros(self.x_shape, dtype=grad.dtype)
        h, w = grad.shape[1:3]
        for i in range(self.k):
            for j in range(self.k):
                dx[:, i : i + h, j : j + w, :] += grad @ self.kernel[i, j].T
        return dx


layer(
    "conv: channels last, einsum, float32",
    lambda: ConvChannelsLast(2, 3, 3),
    rng.normal(size=(2, 5, 6, 2)).astype(np.float32),
)


class Conv1D:
    def __init__(self, in_channels, out_channels, kernel_size, dilation=1):
        np.random.seed(12)
        self.weight = np.random.randn(out_channels, in_channels, kernel_size) * 0.4
        self.bias = np.random.randn(out_channels) * 0.1
        self.dilation = dilation

    def forward(self, x):
        self.x = x
        k, d = self.weight.shape[2], self.dilation
        length = x.shape[2] - d * (k - 1)
        out = np.zeros((x.shape[0], self.weight.shape[0], length)) + self.bias[:, None]
        for i in range(k):
            out += np.einsum("ncl,oc->nol", x[:, :, i * d : i * d + length], self.weight[:, :, i])
        return out

    def backward(self, grad_output):
        k, d, length = self.weight.shape[2], self.dilation, grad_output.shape[2]
        self.grad_weight = np.zeros_like(self.weight)
        self.grad_bias = grad_output.sum(axis=(0, 2))
        grad_input = np.zeros_like(self.x)
        for i in range(k):
            part = slice(i * d, i * d + length)
            self.grad_weight[:, :, i] = np.einsum("nol,ncl->oc", grad_output, self.x[:, :, part])
            grad_input[:, :, part] += np.einsum("nol,oc->ncl", grad_output, self.weight[:, :, i])
        return grad_input


layer("conv: over time, dilated", lambda: Conv1D(3, 4, 3, dilation=2), rng.normal(size=(2, 3, 9)))


class DepthwiseConv:
    def __init__(self, channels, k=3):
        self.w = np.random.default_rng(14).normal(0, 0.3, (channels, k, k))
        self.k = k

    def forward(self, x):
        self.x = x
        N, C, H, W = x.shape
        h, w = H - self.k + 1, W - self.k + 1
        return sum(
            x[:, :, i : i + h, j : j + w] * self.w[:, i, j][None, :, None, None]
            for i in range(self.k)
            for j in range(self.k)
        )

    def backward(self, dout):
        h, w = dout.shape[2:]
        self.dw = np.empty_like(self.w)
        dx = np.zeros_like(self.x)
        for i in range(self.k):
            for j in range(self.k):
                self.dw[:, i, j] = (self.x[:, :, i : i + h, j : j + w] * dout).sum((0, 2, 3))
                dx[:, :, i : i + h, j : j + w] += dout * self.w[:, i, j][None, :, None, None]
        return dx


class ConvTranspose2D:
    """Each input stamps its kernel into the output."""

    def __init__(self, c_in, c_out, k, stride):
        gen = np.random.default_rng(15)
        self.W = gen.normal(0, 0.3, (c_in, c_out, k, k))
        self.b = gen.normal(0, 0.1, c_out)
        self.stride = stride

    def forward(self, x):
        self.x = x
        N, _, H, W = x.shape
        k, s = self.W.shape[2], self.stride
        y = np.zeros((N, self.W.shape[1], (H - 1) * s + k, (W - 1) * s + k))
        for i in range(H):
            for j in range(W):
                y[:, :, i * s : i * s + k, j * s : j * s + k] += np.tensordot(x[:, :, i, j], self.W, axes=1)
        return y + self.b.reshape(1, -1, 1, 1)

    def backward(self, dy):
        N, _, H, W = self.x.shape
        k, s = self.W.shape[2], self.stride
        self.db = dy.sum(axis=(0, 2, 3))
        self.dW = np.zeros_like(self.W)
        dx = np.zeros_like(self.x)
        for i in range(H):
            for j in range(W):
                patch = dy[:, :, i * s : i * s + k, j * s : j * s + k]
                self.dW += np.tensordot(self.x[:, :, i, j], patch, axes=(0, 0))
                dx[:, :, i, j] = np.tensordot(patch, self.W, axes=([1, 2, 3], [1, 2, 3]))
        return dx


layer("conv: depthwise, no bias", lambda: DepthwiseConv(3), rng.normal(size=(2, 3, 5, 5)))
layer("conv: transposed, stride 2", lambda: ConvTranspose2D(2, 3, 3, 2), rng.normal(size=(2, 2, 3, 3)))
