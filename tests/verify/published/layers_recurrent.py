"""Recurrent cells and layers as objects: they step, keep a hidden state, or run through time themselves."""

# The code is kept as published code is: its random numbers, names, returns and loops.
# ruff: noqa: NPY002, RUF059

import numpy as np

from tests.verify.published.cases import functions, layer

rng = np.random.default_rng(51)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


class RNN:
    """One step of the book's: two inputs."""

    def __init__(self, Wx, Wh, b):
        self.params = [Wx, Wh, b]
        self.grads = [np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(b)]
        self.cache = None

    def forward(self, x, h_prev):
        Wx, Wh, b = self.params
        t = np.dot(h_prev, Wh) + np.dot(x, Wx) + b
        h_next = np.tanh(t)
        self.cache = (x, h_prev, h_next)
        return h_next

    def backward(self, dh_next):
        Wx, Wh, b = self.params
        x, h_prev, h_next = self.cache
        dt = dh_next * (1 - h_next**2)
        db = np.sum(dt, axis=0)
        dWh = np.dot(h_prev.T, dt)
        dh_prev = np.dot(dt, Wh.T)
        dWx = np.dot(x.T, dt)
        dx = np.dot(dt, Wx.T)
        self.grads[0][...] = dWx
        self.grads[1][...] = dWh
        self.grads[2][...] = db
        return dx, dh_prev


class TimeRNN:
    """The state is kept between calls if stateful."""

    def __init__(self, Wx, Wh, b, stateful=False):
        self.params = [Wx, Wh, b]
        self.grads = [np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(b)]
        self.layers = None
        self.h, self.dh = None, None
        self.stateful = stateful

    def forward(self, xs):
        Wx, Wh, b = self.params
        N, T, D = xs.shape
        D, H = Wx.shape
        self.layers = []
        hs = np.empty((N, T, H), dtype=xs.dtype)
        if not self.stateful or self.h is None:
            self.h = np.zeros((N, H), dtype=xs.dtype)
        for t in range(T):
            layer = RNN(*self.params)
            self.h = layer.forward(xs[:, t, :], self.h)
            hs[:, t, :] = self.h
            self.layers.append(layer)
        return hs

    def backward(self, dhs):
        Wx, Wh, b = self.params
        N, T, H = dhs.shape
        D, H = Wx.shape
        dxs = np.empty((N, T, D), dtype=dhs.dtype)
        dh = 0
        grads = [0, 0, 0]
        for t in reversed(range(T)):
            layer = self.layers[t]
            dx, dh = layer.backward(dhs[:, t, :] + dh)
            dxs[:, t, :] = dx
            for i, grad in enumerate(layer.grads):
                grads[i] += grad
        for i, grad in enumerate(grads):
            self.grads[i][...] = grad
        self.dh = dh
        return dxs

    def set_state(self, h):
        self.h = h

    def reset_state(self):
        self.h = None


def rnn_weights(D, H, gates=1, seed=0, dtype="d"):
    r = np.random.RandomState(seed)
    return (
        (r.randn(D, gates * H) / np.sqrt(D)).astype(dtype),
        (r.randn(H, gates * H) / np.sqrt(H)).astype(dtype),
        (0.1 * r.randn(gates * H)).astype(dtype),
    )


rnn = RNN(*rnn_weights(4, 5))
functions(
    "rnn: a step of an object with two inputs",
    rnn.forward,
    rnn.backward,
    {"x": rng.normal(size=(3, 4)), "h_prev": rng.normal(size=(3, 5))},
)
layer("rnn: TimeRNN", lambda: TimeRNN(*rnn_weights(4, 5)), rng.normal(size=(3, 6, 4)))
layer("rnn: TimeRNN, stateful", lambda: TimeRNN(*rnn_weights(3, 4, seed=2), stateful=True), rng.normal(size=(2, 5, 3)))


class LSTM:
    def __init__(self, Wx, Wh, b):
        self.params = [Wx, Wh, b]
        self.grads = [np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(b)]
        self.cache = None

    def forward(self, x, h_prev, c_prev):
        Wx, Wh, b = self.params
        N, H = h_prev.shape
        A = np.dot(x, Wx) + np.dot(h_prev, Wh) + b
        f = sigmoid(A[:, :H])
        g = np.tanh(A[:, H : 2 * H])
        i = sigmoid(A[:, 2 * H : 3 * H])
        o = sigmoid(A[:, 3 * H :])
        c_next = f * c_prev + g * i
        h_next = o * np.tanh(c_next)
        self.cache = (x, h_prev, c_prev, i, f, g, o, c_next)
        return h_next, c_next

    def backward(self, dh_next, dc_next):
        Wx, Wh, b = self.params
        x, h_prev, c_prev, i, f, g, o, c_next = self.cache
        tanh_c_next = np.tanh(c_next)
        ds = dc_next + (dh_next * o) * (1 - tanh_c_next**2)
        dc_prev = ds * f
        di = ds * g
        df = ds * c_prev
        do = dh_next * tanh_c_next
        dg = ds * i
        di *= i * (1 - i)
        df *= f * (1 - f)
        do *= o * (1 - o)
        dg *= 1 - g**2
        dA = np.hstack((df, dg, di, do))
        self.grads[0][...] = np.dot(x.T, dA)
        self.grads[1][...] = np.dot(h_prev.T, dA)
        self.grads[2][...] = dA.sum(axis=0)
        dx = np.dot(dA, Wx.T)
        dh_prev = np.dot(dA, Wh.T)
        return dx, dh_prev, dc_prev


class TimeLSTM:
    def __init__(self, Wx, Wh, b):
        self.params = [Wx, Wh, b]
        self.grads = [np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(b)]

    def forward(self, xs):
        N, T, _ = xs.shape
        H = self.params[1].shape[0]
        h, c = np.zeros((N, H), dtype=xs.dtype), np.zeros((N, H), dtype=xs.dtype)
        self.layers, hs = [], []
        for t in range(T):
            cell = LSTM(*self.params)
            h, c = cell.forward(xs[:, t], h, c)
            self.layers.append(cell)
            hs.append(h)
        return np.stack(hs, axis=1)

    def backward(self, dhs):
        dxs = []
        dh, dc = 0, 0
        for grad in self.grads:
            grad[...] = 0
        for t in reversed(range(len(self.layers))):
            dx, dh, dc = self.layers[t].backward(dhs[:, t] + dh, dc)
            dxs.insert(0, dx)
            for grad, step in zip(self.grads, self.layers[t].grads, strict=True):
                grad += step
        return np.stack(dxs, axis=1)


lstm = LSTM(*rnn_weights(3, 4, gates=4, seed=3))
functions(
    "lstm: a step of an object with three inputs and two outputs",
    lstm.forward,
    lstm.backward,
    {"x": rng.normal(size=(2, 3)), "h_prev": rng.normal(size=(2, 4)), "c_prev": rng.normal(size=(2, 4))},
)
layer(
    "lstm: through time, float32",
    lambda: TimeLSTM(*rnn_weights(3, 4, gates=4, seed=4, dtype="f")),
    rng.normal(size=(2, 5, 3)).astype("f"),
)


class RNNCell:
    """forward steps and keeps h; backward walks back over the steps through a stack and accumulates."""

    def __init__(self, n_in, n_hidden):
        gen = np.random.default_rng(20)
        self.U = gen.normal(size=(n_in, n_hidden)) * 0.5
        self.W = gen.normal(size=(n_hidden, n_hidden)) * 0.5
        self.b = np.zeros(n_hidden)
        self.reset_state()

    def reset_state(self):
        self.h = None
        self.dh_next = 0.0
        self.stack = []
        self.dU, self.dW, self.db = np.zeros_like(self.U), np.zeros_like(self.W), np.zeros_like(self.b)

    def forward(self, x):
        if self.h is None:
            self.h = np.zeros((x.shape[0], self.W.shape[0]))
        h_prev, self.h = self.h, np.tanh(x @ self.U + self.h @ self.W + self.b)
        self.stack.append((x, h_prev, self.h))
        return self.h

    def backward(self, dh):
        x, h_prev, h = self.stack.pop()
        dz = (dh + self.dh_next) * (1 - h * h)
        self.dU += x.T @ dz
        self.dW += h_prev.T @ dz
        self.db += dz.sum(axis=0)
        self.dh_next = dz @ self.W.T
        return dz @ self.U.T


layer("rnn: a cell that keeps h between calls", lambda: RNNCell(4, 3), rng.normal(size=(5, 4)))


class GRUCell:
    """Hidden state given beforehand; params and grads in dicts."""

    def __init__(self, n_in, n_hidden, batch):
        gen = np.random.default_rng(23)
        self.params = {}
        for gate in "zrn":
            self.params["W" + gate] = gen.normal(size=(n_in, n_hidden)) * 0.5
            self.params["U" + gate] = gen.normal(size=(n_hidden, n_hidden)) * 0.5
            self.params["b" + gate] = gen.normal(size=n_hidden) * 0.1
        self.grads = {k: np.zeros_like(v) for k, v in self.params.items()}
        self.hidden = gen.normal(size=(batch, n_hidden))

    def forward(self, x):
        p, h = self.params, self.hidden
        z = sigmoid(x @ p["Wz"] + h @ p["Uz"] + p["bz"])
        r = sigmoid(x @ p["Wr"] + h @ p["Ur"] + p["br"])
        n = np.tanh(x @ p["Wn"] + (r * h) @ p["Un"] + p["bn"])
        self.cache = x, h, z, r, n
        self.hidden = (1 - z) * n + z * h
        return self.hidden

    def backward(self, dh):
        p, g = self.params, self.grads
        x, h, z, r, n = self.cache
        dn = dh * (1 - z) * (1 - n**2)
        dz = dh * (h - n) * z * (1 - z)
        drh = dn @ p["Un"].T
        dr = drh * h * r * (1 - r)
        for gate, d, state in (("z", dz, h), ("r", dr, h), ("n", dn, r * h)):
            g["W" + gate] = x.T @ d
            g["U" + gate] = state.T @ d
            g["b" + gate] = d.sum(axis=0)
        self.dh_prev = dh * z + drh * r + dz @ p["Uz"].T + dr @ p["Ur"].T
        return dz @ p["Wz"].T + dr @ p["Wr"].T + dn @ p["Wn"].T


layer("gru: a cell with a hidden state", lambda: GRUCell(3, 4, batch=5), rng.normal(size=(5, 3)))


class SimpleRNNLayer:
    """(batch, timesteps, dim); softmax-free; truncated at nothing; U, W, V as in the blog posts."""

    def __init__(self, n_units, input_dim, bptt_trunc=100):
        self.bptt_trunc = bptt_trunc
        np.random.seed(24)
        limit = 1 / np.sqrt(input_dim)
        self.U = np.random.uniform(-limit, limit, (n_units, input_dim))
        limit = 1 / np.sqrt(n_units)
        self.V = np.random.uniform(-limit, limit, (input_dim, n_units))
        self.W = np.random.uniform(-limit, limit, (n_units, n_units))

    def forward(self, X):
        self.layer_input = X
        batch_size, timesteps, input_dim = X.shape
        n_units = self.W.shape[0]
        self.state_input = np.zeros((batch_size, timesteps, n_units))
        self.states = np.zeros((batch_size, timesteps + 1, n_units))
        self.outputs = np.zeros((batch_size, timesteps, input_dim))
        for t in range(timesteps):
            self.state_input[:, t] = X[:, t].dot(self.U.T) + self.states[:, t - 1].dot(self.W.T)
            self.states[:, t] = np.tanh(self.state_input[:, t])
            self.outputs[:, t] = self.states[:, t].dot(self.V.T)
        return self.outputs

    def backward(self, accum_grad):
        _, timesteps, _ = accum_grad.shape
        self.grad_U = np.zeros_like(self.U)
        self.grad_V = np.zeros_like(self.V)
        self.grad_W = np.zeros_like(self.W)
        accum_grad_next = np.zeros_like(accum_grad)
        for t in reversed(range(timesteps)):
            self.grad_V += accum_grad[:, t].T.dot(self.states[:, t])
            grad_wrt_state = accum_grad[:, t].dot(self.V) * (1 - np.tanh(self.state_input[:, t]) ** 2)
            accum_grad_next[:, t] += grad_wrt_state.dot(self.U)
            for t_ in reversed(np.arange(max(0, t - self.bptt_trunc), t + 1)):
                self.grad_U += grad_wrt_state.T.dot(self.layer_input[:, t_])
                self.grad_W += grad_wrt_state.T.dot(self.states[:, t_ - 1])
                grad_wrt_state = grad_wrt_state.dot(self.W) * (1 - np.tanh(self.state_input[:, t_ - 1]) ** 2)
                if t_ > 0:
                    accum_grad_next[:, t_ - 1] += grad_wrt_state.dot(self.U)
        return accum_grad_next


layer("rnn: U, V, W with bptt by two loops", lambda: SimpleRNNLayer(4, 3), rng.normal(size=(2, 4, 3)))


class TimeAffine:
    def __init__(self, W, b):
        self.params = [W, b]
        self.grads = [np.zeros_like(W), np.zeros_like(b)]
        self.x = None

    def forward(self, x):
        N, T, D = x.shape
        W, b = self.params
        rx = x.reshape(N * T, -1)
        out = np.dot(rx, W) + b
        self.x = x
        return out.reshape(N, T, -1)

    def backward(self, dout):
        x = self.x
        N, T, D = x.shape
        W, b = self.params
        dout = dout.reshape(N * T, -1)
        rx = x.reshape(N * T, -1)
        db = np.sum(dout, axis=0)
        dW = np.dot(rx.T, dout)
        dx = np.dot(dout, W.T)
        dx = dx.reshape(*x.shape)
        self.grads[0][...] = dW
        self.grads[1][...] = db
        return dx


class TimeDistributed:
    """Applies a layer at each time step and adds its gradients up."""

    def __init__(self, layer):
        self.layer = layer

    @property
    def params(self):
        return self.layer.params

    def forward(self, xs):
        self.xs = xs
        return np.stack([self.layer.forward(xs[:, t : t + 1]) for t in range(xs.shape[1])], axis=1)[:, :, 0]

    def backward(self, douts):
        self.grads = [np.zeros_like(p) for p in self.params]
        dxs = np.zeros_like(self.xs)
        for t in range(self.xs.shape[1]):
            self.layer.forward(self.xs[:, t : t + 1])
            dxs[:, t : t + 1] = self.layer.backward(douts[:, t : t + 1])
            for total, grad in zip(self.grads, self.layer.grads, strict=True):
                total += grad
        return dxs


def make_time_affine():
    gen = np.random.default_rng(26)
    return TimeAffine(gen.normal(size=(4, 3)), gen.normal(size=3))


layer("time: TimeAffine", make_time_affine, rng.normal(size=(2, 5, 4)))
layer("time: any layer at each step", lambda: TimeDistributed(make_time_affine()), rng.normal(size=(3, 4, 4)))


class BiRNN:
    """Two TimeRNNs, one from the right, side by side."""

    def __init__(self, D, H):
        self.forward_rnn = TimeRNN(*rnn_weights(D, H, seed=30))
        self.backward_rnn = TimeRNN(*rnn_weights(D, H, seed=31))
        self.params = self.forward_rnn.params + self.backward_rnn.params
        self.grads = self.forward_rnn.grads + self.backward_rnn.grads

    def forward(self, xs):
        left = self.forward_rnn.forward(xs)
        right = self.backward_rnn.forward(xs[:, ::-1])[:, ::-1]
        return np.concatenate((left, right), axis=2)

    def backward(self, dhs):
        H = dhs.shape[2] // 2
        dxs = self.forward_rnn.backward(dhs[:, :, :H])
        dxs += self.backward_rnn.backward(dhs[:, ::-1, H:])[:, ::-1]
        return dxs


layer("rnn: in both directions", lambda: BiRNN(3, 4), rng.normal(size=(2, 4, 3)))
