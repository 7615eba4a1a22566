"""Sums over another axis, gradients in each other's place, arrays of integers: each planted in several places."""

from __future__ import annotations

import numpy as np

from tests.verify.planted_gradients import draw
from tests.verify.planted_places import CORRECT
from tests.verify.planting import plant
from torch_impl.verify import verify_function


def softmax_along(z, axis):
    e = np.exp(z - z.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


# --- axes -------------------------------------------------------------------------------------------------------------


def check_softmax_layer(axis=-1, over=-1, shape=(7, 5), recomputed=None, dtype="float64"):
    def softmax_forward(z):
        p = softmax_along(z, axis)
        return p, (z, p)

    def softmax_backward(dout, cache):
        z, p = cache
        p = p if recomputed is None else softmax_along(z, recomputed)
        return p * (dout - (dout * p).sum(axis=over, keepdims=over is not None))

    return verify_function(softmax_forward, softmax_backward, **draw(dtype, z=shape))


def check_gated_attention(over=-1):
    """A mean of v weighed by softmax(x w) over time, x (batch, time, channels)."""

    def pooled(x, w, v):
        p = softmax_along(x @ w, 1)
        return np.einsum("bt,btc->bc", p, x) @ v

    def pooled_backward(dout, x, w, v):
        p = softmax_along(x @ w, 1)
        h = np.einsum("bt,btc->bc", p, x)
        dh = dout @ v.T
        dp = np.einsum("bc,btc->bt", dh, x)
        dz = p * (dp - (dp * p).sum(axis=over, keepdims=True))
        return p[:, :, None] * dh[:, None] + dz[:, :, None] * w, np.einsum("bt,btc->c", dz, x), h.T @ dout

    return verify_function(pooled, pooled_backward, **draw(x=(7, 4, 5), w=(5,), v=(5, 3)))


def check_layer_norm(axis=1, mean=1, var=1, shape=(7, 5), dtype="float64"):
    """x̂ = (x − μ) / σ over an axis; the two sums of its backward."""

    def norm_forward(x, gamma, beta):
        sigma = np.sqrt(x.var(axis=axis, keepdims=True) + 1e-5)
        x_hat = (x - x.mean(axis=axis, keepdims=True)) / sigma
        return gamma * x_hat + beta, (x_hat, gamma, sigma)

    def norm_backward(dout, cache):
        x_hat, gamma, sigma = cache
        d = dout * gamma
        dx = d - d.mean(axis=mean, keepdims=True) - x_hat * (d * x_hat).mean(axis=var, keepdims=True)
        return dx / sigma, (dout * x_hat).sum(axis=0), dout.sum(axis=0)

    return verify_function(norm_forward, norm_backward, **draw(dtype, x=shape, gamma=shape[-1:], beta=shape[-1:]))


def check_unit_rows(over=1):
    """Rows of length one, then linear."""

    def unit(x, W):
        size = np.sqrt((x**2).sum(axis=1, keepdims=True))
        y = x / size
        return y @ W, (y, size, W)

    def unit_backward(dout, cache):
        y, size, W = cache
        g = dout @ W.T
        return (g - y * (g * y).sum(axis=over, keepdims=True)) / size, y.T @ dout

    return verify_function(unit, unit_backward, **draw(x=(7, 5), W=(5, 3)))


def check_centred(over=0):
    """Columns without their mean, then linear."""

    def centred(x, W):
        c = x - x.mean(axis=0)
        return np.tanh(c @ W), (c, W)

    def centred_backward(dout, cache):
        c, W = cache
        d = dout * (1 - np.tanh(c @ W) ** 2)
        g = d @ W.T
        return g - g.mean(axis=over, keepdims=True), c.T @ d

    return verify_function(centred, centred_backward, **draw(x=(7, 5), W=(5, 3)))


plant("wrong-axis", "a softmax over rows, its sum over columns")(lambda: check_softmax_layer(over=0))
plant("wrong-axis", "a softmax over columns, its sum over rows, float32")(
    lambda: check_softmax_layer(0, -1, dtype="float32")
)
plant("wrong-axis", "a softmax, its sum over everything")(lambda: check_softmax_layer(over=None))
plant("wrong-axis", "a softmax over channels, its backward over the last axis")(
    lambda: check_softmax_layer(1, -1, (2, 4, 3, 5))
)
plant("wrong-axis", "a softmax over rows, computed over columns again")(
    lambda: check_softmax_layer(over=0, recomputed=0)
)
plant("wrong-axis", "attention over time, the sum over the batch")(lambda: check_gated_attention(0))
plant("wrong-axis", "layer norm, both means over the batch")(lambda: check_layer_norm(mean=0, var=0))
plant("wrong-axis", "layer norm, one mean over the batch")(lambda: check_layer_norm(var=0))
plant("wrong-axis", "batch norm, both means over the features")(lambda: check_layer_norm(axis=0))
plant("wrong-axis", "rows of length one, the sum over the batch")(lambda: check_unit_rows(0))
plant("wrong-axis", "centred columns, the mean over rows")(lambda: check_centred(1))
CORRECT |= {
    "softmax over rows": check_softmax_layer, "attention over time": check_gated_attention,
    "softmax over channels": lambda: check_softmax_layer(1, 1, (2, 4, 3, 5)),
    "layer norm by sums": check_layer_norm, "batch norm by sums": lambda: check_layer_norm(0, 0, 0),
    "rows of length one": check_unit_rows, "centred columns": check_centred,
}  # fmt: skip


# --- what is returned -------------------------------------------------------------------------------------------------


def check_norm_returns(order=("dx", "dgamma", "dbeta")):
    """A layer norm that returns a tuple."""

    def norm(x, gamma, beta):
        sigma = np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)
        x_hat = (x - x.mean(axis=1, keepdims=True)) / sigma
        return gamma * x_hat + beta, (x_hat, gamma, sigma)

    def norm_backward(dout, cache):
        x_hat, gamma, sigma = cache
        d = dout * gamma
        dx = d - d.mean(axis=1, keepdims=True) - x_hat * (d * x_hat).mean(axis=1, keepdims=True)
        found = {"dx": dx / sigma, "dgamma": (dout * x_hat).sum(axis=0), "dbeta": dout.sum(axis=0)}
        return tuple(found[name] for name in order)

    return verify_function(norm, norm_backward, **draw(x=(7, 5), gamma=(5,), beta=(5,)))


def check_bilinear(exchanged=False):
    """Out = (a A) · (b B), with gradients by name."""

    def bilinear(a, b, A, B):
        return (a @ A) * (b @ B), (a, b, A, B)

    def bilinear_backward(dout, cache):
        a, b, A, B = cache
        dA, dB = a.T @ (dout * (b @ B)), b.T @ (dout * (a @ A))
        if exchanged:
            dA, dB = dB, dA
        return {"a": dout * (b @ B) @ A.T, "b": dout * (a @ A) @ B.T, "A": dA, "B": dB}

    return verify_function(bilinear, bilinear_backward, **draw(a=(7, 5), b=(7, 4), A=(5, 3), B=(4, 3)))


def check_deep_net(order=(0, 1, 2), buffer=float):
    """Three square layers, tanh between them, half the squared error."""

    def deep(x, W1, W2, W3, t):
        a1 = np.tanh(x @ W1)
        a2 = np.tanh(a1 @ W2)
        d3 = a2 @ W3 - t
        delta = np.zeros(x.shape, dtype=buffer)
        delta[...] = (d3 @ W3.T) * (1 - a2**2)
        d1 = (delta @ W2.T) * (1 - a1**2)
        found = [x.T @ d1, a1.T @ delta, a2.T @ d3]
        loss = 0.5 * (d3**2).sum()
        return loss, {"W1": found[order[0]], "W2": found[order[1]], "W3": found[order[2]]}

    inputs = draw(x=(7, 5), W1=(5, 5), W2=(5, 5), W3=(5, 5), t=(7, 5))
    return verify_function(deep, None, {n: 3 * v if n in "xt" else v for n, v in inputs.items()}, targets=("t",))


plant("returned-exchanged", "layer norm, dβ before dγ")(lambda: check_norm_returns(("dx", "dbeta", "dgamma")))
plant("returned-exchanged", "a bilinear layer, two gradients under each other's name")(lambda: check_bilinear(True))
plant("returned-exchanged", "a network, the gradients of two layers")(lambda: check_deep_net((1, 0, 2)))
plant("returned-exchanged", "a network, the gradients of the first and the last layer")(
    lambda: check_deep_net((2, 1, 0))
)
CORRECT |= {"layer norm's tuple": check_norm_returns, "bilinear": check_bilinear, "three square layers": check_deep_net}


def check_whole_numbers(made=lambda x: np.zeros_like(x), db=lambda b: np.zeros_like(b), dtype="float64"):
    """Affine, each gradient written into an array that was made before."""

    def affine(x, W, b):
        return x @ W + b, (x, W, b)

    def affine_backward(dout, cache):
        x, W, b = cache
        dx, dW, found = made(x), np.empty_like(W), db(b)
        dx[...] = dout @ W.T
        dW[...] = x.T @ dout
        for j in range(len(b)):
            found[j] = dout[:, j].sum()
        return dx, dW, found

    return verify_function(affine, affine_backward, **draw(dtype, x=(7, 5), W=(5, 3), b=(3,)))


def check_filled_loss(like=lambda scores, y: np.zeros_like(scores)):
    """Squares of linear scores, their gradient in an array that was made before."""

    def squares(x, W, y):
        s = x @ W
        d = like(s, y)
        d[...] = 4 * (s - y)
        return (2 * (s - y) ** 2).sum(), {"W": x.T @ d}

    y = np.random.default_rng(2).integers(0, 5, (7, 3))
    return verify_function(squares, None, {**draw(x=(7, 5), W=(5, 3)), "y": y})


plant("integer-buffer", "a bias gradient in an array of integers")(
    lambda: check_whole_numbers(db=lambda b: np.array([0] * len(b)))
)
plant("integer-buffer", "dx in an array of integers, float32")(
    lambda: check_whole_numbers(made=lambda x: np.zeros(x.shape, dtype=int), dtype="float32")
)
plant("integer-buffer", "dx and db in arrays of integers")(
    lambda: check_whole_numbers(lambda x: np.zeros(x.shape, dtype=np.int32), lambda b: np.zeros(len(b), dtype=np.int64))
)
plant("integer-buffer", "the scores' gradient in an array like the targets")(
    lambda: check_filled_loss(lambda s, y: np.zeros_like(y))
)
plant("integer-buffer", "a network, δ of the hidden layer in an array of integers")(lambda: check_deep_net(buffer=int))
CORRECT |= {"buffers of floats": check_whole_numbers, "a loss's buffer": check_filled_loss}


def check_untraced(order=(0, 1, 2), buffer=float, shape=lambda db: db):
    """x² w + v by Python's floats, which leave no tape."""

    def poly(x, w, v):
        return np.array([float(a) ** 2 * float(b) + float(c) for a, b, c in zip(x, w, v, strict=True)])

    def poly_backward(dout, x, w, v):
        found = (2 * dout * x * w, dout * x**2, dout)
        dw = np.zeros(len(w), dtype=buffer)
        dw[:] = found[order[1]]
        return found[order[0]], dw, shape(found[order[2]])

    inputs = draw(x=(5,), w=(5,), v=(5,))
    return verify_function(poly, poly_backward, {name: 3 * value for name, value in inputs.items()})


plant("returned-exchanged", "without a tape")(lambda: check_untraced((0, 2, 1)))
plant("integer-buffer", "without a tape")(lambda: check_untraced(buffer=int))
plant("shape-only", "without a tape")(lambda: check_untraced(shape=lambda dv: dv[:, None]))
CORRECT["without a tape"] = check_untraced


# --- what a loop adds up ----------------------------------------------------------------------------------------------


def check_steps(add=lambda total, part: total + part):
    """h_t = tanh(x_t Wx + h_{t−1} Wh), whose gradients of Wx and Wh are collected step by step; all h come out."""

    def steps_forward(x, Wx, Wh):
        hs = [np.zeros((len(x), len(Wh)))]
        for t in range(x.shape[1]):
            hs.append(np.tanh(x[:, t] @ Wx + hs[-1] @ Wh))
        return np.stack(hs[1:], axis=1), (x, Wx, Wh, hs)

    def steps_backward(dout, cache):
        x, Wx, Wh, hs = cache
        dx, dWx, dWh, dh = np.zeros_like(x), np.zeros_like(Wx), np.zeros_like(Wh), 0
        for t in reversed(range(x.shape[1])):
            d = (dout[:, t] + dh) * (1 - hs[t + 1] ** 2)
            dx[:, t], dh = d @ Wx.T, d @ Wh.T
            dWx, dWh = add(dWx, x[:, t].T @ d), dWh + hs[t].T @ d
        return dx, dWx, dWh

    return verify_function(steps_forward, steps_backward, **draw(x=(7, 3, 4), Wx=(4, 5), Wh=(5, 5)))


def check_filters(add=lambda total, part: total + part):
    """A correlation of a signal with several kernels, one after another."""

    def bank(x, w):
        n = len(x) - w.shape[1] + 1
        return np.array([[x[i : i + w.shape[1]] @ w[f] for i in range(n)] for f in range(len(w))])

    def bank_backward(dout, x, w):
        dx, dw = np.zeros_like(x), np.zeros_like(w)
        for f, i in np.ndindex(dout.shape):
            dx[i : i + w.shape[1]] += dout[f, i] * w[f]
            dw[f] = add(dw[f], dout[f, i] * x[i : i + w.shape[1]])
        return dx, dw

    return verify_function(bank, bank_backward, **draw(x=(7,), w=(2, 3)))


plant("duplicate-indices", "a loop over time, dWx = for +=")(lambda: check_steps(lambda total, part: part))
plant("duplicate-indices", "a correlation in loops, dw[f] = for +=")(lambda: check_filters(lambda total, part: part))
CORRECT |= {"steps of a loop": check_steps, "a bank of filters": check_filters}
