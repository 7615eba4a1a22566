"""Normalisations as objects, with running averages, learned scales and caches of every kind."""

# The code is kept as published code is: its random numbers, names, returns and loops.
# ruff: noqa: RET504, RUF059

import numpy as np

from tests.verify.published.cases import layer

rng = np.random.default_rng(31)


class BatchNormalization:
    """The book's: gamma and beta come from outside, train_flg switches."""

    def __init__(self, gamma, beta, momentum=0.9, running_mean=None, running_var=None):
        self.gamma = gamma
        self.beta = beta
        self.momentum = momentum
        self.input_shape = None
        self.running_mean = running_mean
        self.running_var = running_var
        self.batch_size = None
        self.xc = None
        self.std = None
        self.dgamma = None
        self.dbeta = None

    def forward(self, x, train_flg=True):
        self.input_shape = x.shape
        if x.ndim != 2:
            N, C, H, W = x.shape
            x = x.reshape(N, -1)
        out = self.__forward(x, train_flg)
        return out.reshape(*self.input_shape)

    def __forward(self, x, train_flg):
        if self.running_mean is None:
            N, D = x.shape
            self.running_mean = np.zeros(D)
            self.running_var = np.zeros(D)
        if train_flg:
            mu = x.mean(axis=0)
            xc = x - mu
            var = np.mean(xc**2, axis=0)
            std = np.sqrt(var + 10e-7)
            xn = xc / std
            self.batch_size = x.shape[0]
            self.xc = xc
            self.xn = xn
            self.std = std
            self.running_mean = self.momentum * self.running_mean + (1 - self.momentum) * mu
            self.running_var = self.momentum * self.running_var + (1 - self.momentum) * var
        else:
            xc = x - self.running_mean
            xn = xc / (np.sqrt(self.running_var + 10e-7))
        out = self.gamma * xn + self.beta
        return out

    def backward(self, dout):
        if dout.ndim != 2:
            N, C, H, W = dout.shape
            dout = dout.reshape(N, -1)
        dx = self.__backward(dout)
        dx = dx.reshape(*self.input_shape)
        return dx

    def __backward(self, dout):
        dbeta = dout.sum(axis=0)
        dgamma = np.sum(self.xn * dout, axis=0)
        dxn = self.gamma * dout
        dxc = dxn / self.std
        dstd = -np.sum((dxn * self.xc) / (self.std * self.std), axis=0)
        dvar = 0.5 * dstd / self.std
        dxc += (2.0 / self.batch_size) * self.xc * dvar
        dmu = np.sum(dxc, axis=0)
        dx = dxc - dmu / self.batch_size
        self.dgamma = dgamma
        self.dbeta = dbeta
        return dx


layer(
    "norm: BatchNormalization with train_flg",
    lambda: BatchNormalization(np.linspace(0.5, 1.5, 5), np.linspace(-1, 1, 5)),
    rng.normal(size=(6, 5)),
)
layer(
    "norm: BatchNormalization of flattened images",
    lambda: BatchNormalization(np.ones(18), np.zeros(18)),
    rng.normal(1.0, 2.0, size=(5, 2, 3, 3)),
)


class BatchNorm:
    """Params in a dict, one closed formula in backward, a mode attribute."""

    def __init__(self, dim, eps=1e-5, momentum=0.9):
        self.params = {"gamma": np.ones(dim), "beta": np.zeros(dim)}
        self.grads = {}
        self.eps, self.momentum = eps, momentum
        self.running_mean, self.running_var = np.zeros(dim), np.ones(dim)
        self.mode = "train"

    def forward(self, x):
        if self.mode == "train":
            mu, var = x.mean(axis=0), x.var(axis=0)
            self.running_mean = self.momentum * self.running_mean + (1 - self.momentum) * mu
            self.running_var = self.momentum * self.running_var + (1 - self.momentum) * var
        else:
            mu, var = self.running_mean, self.running_var
        self.istd = 1 / np.sqrt(var + self.eps)
        self.xhat = (x - mu) * self.istd
        return self.params["gamma"] * self.xhat + self.params["beta"]

    def backward(self, dout):
        self.grads["beta"] = dout.sum(axis=0)
        self.grads["gamma"] = (dout * self.xhat).sum(axis=0)
        dxhat = dout * self.params["gamma"]
        if self.mode != "train":
            return dxhat * self.istd
        N = dout.shape[0]
        return self.istd / N * (N * dxhat - dxhat.sum(axis=0) - self.xhat * (dxhat * self.xhat).sum(axis=0))


def make_batch_norm_for_test():
    bn = BatchNorm(4)
    bn.running_mean, bn.running_var = np.array([0.1, -0.2, 0.3, 0.0]), np.array([1.0, 0.5, 2.0, 1.5])
    bn.mode = "test"
    return bn


layer("norm: batch norm, dicts and a closed formula", lambda: BatchNorm(6), rng.normal(2.0, 3.0, size=(8, 6)))
layer("norm: batch norm in test mode", make_batch_norm_for_test, rng.normal(size=(5, 4)))


class SpatialBatchNorm:
    """Per channel, float32, with gradients g_gamma and g_beta."""

    def __init__(self, channels):
        gen = np.random.default_rng(channels)
        self.gamma = gen.uniform(0.5, 1.5, (1, channels, 1, 1)).astype(np.float32)
        self.beta = gen.normal(size=(1, channels, 1, 1)).astype(np.float32)
        self.moving_mean = np.zeros((1, channels, 1, 1), dtype=np.float32)
        self.moving_var = np.ones((1, channels, 1, 1), dtype=np.float32)

    def forward(self, x, is_training=True):
        axes = (0, 2, 3)
        if is_training:
            mean = x.mean(axis=axes, keepdims=True)
            var = ((x - mean) ** 2).mean(axis=axes, keepdims=True)
            self.moving_mean = 0.99 * self.moving_mean + 0.01 * mean
            self.moving_var = 0.99 * self.moving_var + 0.01 * var
        else:
            mean, var = self.moving_mean, self.moving_var
        self.inv = 1.0 / np.sqrt(var + np.float32(1e-5))
        self.x_hat = (x - mean) * self.inv
        return self.gamma * self.x_hat + self.beta

    def backward(self, dy):
        axes = (0, 2, 3)
        self.g_gamma = (dy * self.x_hat).sum(axis=axes, keepdims=True)
        self.g_beta = dy.sum(axis=axes, keepdims=True)
        m = dy.size / dy.shape[1]
        return self.gamma * self.inv * (dy - self.g_beta / m - self.x_hat * self.g_gamma / m)


layer(
    "norm: batch norm per channel, float32",
    lambda: SpatialBatchNorm(3),
    rng.normal(size=(2, 3, 4, 4)).astype(np.float32),
)


class BatchNormWithOptimizer:
    """forward_pass and backward_pass; the step is taken in backward; running averages begin at the first batch."""

    def __init__(self, momentum=0.99, learning_rate=0.05):
        self.momentum = momentum
        self.learning_rate = learning_rate
        self.trainable = True
        self.eps = 0.01
        self.running_mean = None
        self.running_var = None

    def initialize(self, n_features):
        self.gamma = np.ones(n_features)
        self.beta = np.zeros(n_features)

    def forward_pass(self, X, training=True):
        if self.running_mean is None:
            self.running_mean = np.mean(X, axis=0)
            self.running_var = np.var(X, axis=0)
        if training and self.trainable:
            mean = np.mean(X, axis=0)
            var = np.var(X, axis=0)
            self.running_mean = self.momentum * self.running_mean + (1 - self.momentum) * mean
            self.running_var = self.momentum * self.running_var + (1 - self.momentum) * var
        else:
            mean = self.running_mean
            var = self.running_var
        self.X_centered = X - mean
        self.stddev_inv = 1 / np.sqrt(var + self.eps)
        X_norm = self.X_centered * self.stddev_inv
        return self.gamma * X_norm + self.beta

    def backward_pass(self, accum_grad):
        gamma = self.gamma
        if self.trainable:
            X_norm = self.X_centered * self.stddev_inv
            grad_gamma = np.sum(accum_grad * X_norm, axis=0)
            grad_beta = np.sum(accum_grad, axis=0)
            self.gamma = self.gamma - self.learning_rate * grad_gamma
            self.beta = self.beta - self.learning_rate * grad_beta
        batch_size = accum_grad.shape[0]
        accum_grad = (
            (1 / batch_size)
            * gamma
            * self.stddev_inv
            * (
                batch_size * accum_grad
                - np.sum(accum_grad, axis=0)
                - self.X_centered * self.stddev_inv**2 * np.sum(accum_grad * self.X_centered, axis=0)
            )
        )
        return accum_grad


def make_batch_norm_with_optimizer():
    bn = BatchNormWithOptimizer()
    bn.initialize(5)
    return bn


layer("norm: batch norm that updates itself", make_batch_norm_with_optimizer, rng.normal(1.0, 2.0, size=(7, 5)))


class LayerNorm:
    def __init__(self, d, eps=1e-5):
        gen = np.random.default_rng(d)
        self.g = gen.uniform(0.5, 1.5, d)
        self.b = gen.normal(size=d)
        self.eps = eps

    def forward(self, x):
        self.x = x
        self.mu = x.mean(-1, keepdims=True)
        self.sigma = np.sqrt(((x - self.mu) ** 2).mean(-1, keepdims=True) + self.eps)
        self.z = (x - self.mu) / self.sigma
        return self.g * self.z + self.b

    def backward(self, dout):
        axes = tuple(range(dout.ndim - 1))
        self.dg = (dout * self.z).sum(axis=axes)
        self.db = dout.sum(axis=axes)
        dz = dout * self.g
        return (dz - dz.mean(-1, keepdims=True) - self.z * (dz * self.z).mean(-1, keepdims=True)) / self.sigma


class LayerNormalizationFast:
    """The input need not stay: x̂ is rebuilt from the output, as some do to save memory."""

    def __init__(self, features):
        self.weights = np.linspace(0.5, 2.0, features)
        self.biases = np.linspace(-1.0, 1.0, features)
        self.grads = {"weights": np.zeros(features), "biases": np.zeros(features)}

    def forward(self, inputs):
        mean = inputs.mean(axis=-1, keepdims=True)
        self.rstd = (inputs.var(axis=-1, keepdims=True) + 1e-6) ** -0.5
        self.outputs = (inputs - mean) * self.rstd * self.weights + self.biases
        return self.outputs

    def backward(self, gradient):
        x_hat = (self.outputs - self.biases) / self.weights
        d = x_hat.shape[-1]
        self.grads["weights"] += (gradient * x_hat).reshape(-1, d).sum(axis=0)
        self.grads["biases"] += gradient.reshape(-1, d).sum(axis=0)
        g = gradient * self.weights
        return self.rstd * (g - (g.sum(-1, keepdims=True) + x_hat * (g * x_hat).sum(-1, keepdims=True)) / d)


class RMSNorm:
    def __init__(self, dim):
        self.scale = np.random.default_rng(0).uniform(0.5, 1.5, dim)

    def __call__(self, x):
        self.x = x
        self.r = 1 / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + 1e-8)
        return x * self.r * self.scale

    def backward(self, dy):
        self.dscale = np.sum(dy * self.x * self.r, axis=tuple(range(dy.ndim - 1)))
        h = dy * self.scale
        return self.r * h - self.x * self.r**3 * np.mean(h * self.x, axis=-1, keepdims=True)


class GroupNorm:
    def __init__(self, groups, channels):
        self.G = groups
        self.gamma = np.ones((1, channels, 1, 1)) * 1.2
        self.beta = np.zeros((1, channels, 1, 1))
        self.eps = 1e-5

    def forward(self, x):
        N, C, H, W = x.shape
        xg = x.reshape(N, self.G, -1)
        mu = xg.mean(axis=2, keepdims=True)
        self.sd = np.sqrt(xg.var(axis=2, keepdims=True) + self.eps)
        self.xhat = ((xg - mu) / self.sd).reshape(x.shape)
        return self.gamma * self.xhat + self.beta

    def backward(self, dout):
        N = dout.shape[0]
        self.dgamma = (dout * self.xhat).sum(axis=(0, 2, 3), keepdims=True)
        self.dbeta = dout.sum(axis=(0, 2, 3), keepdims=True)
        dxh = (dout * self.gamma).reshape(N, self.G, -1)
        xh = self.xhat.reshape(N, self.G, -1)
        dx = dxh - dxh.mean(axis=2, keepdims=True) - xh * (dxh * xh).mean(axis=2, keepdims=True)
        return (dx / self.sd).reshape(dout.shape)


class L2Normalize:
    """Each row to length one; nothing to learn."""

    def forward(self, x):
        self.norm = np.linalg.norm(x, axis=1, keepdims=True)
        self.y = x / self.norm
        return self.y

    def backward(self, dy):
        return (dy - self.y * np.sum(dy * self.y, axis=1, keepdims=True)) / self.norm


class ScaleShift:
    """Constants by which data are standardised are no parameters."""

    def __init__(self, mean, std):
        self.mean, self.std = np.asarray(mean), np.asarray(std)
        self.scale = np.array(1.3)
        self.shift = np.array(-0.2)

    def forward(self, x):
        self.z = (x - self.mean) / self.std
        return self.scale * self.z + self.shift

    def backward(self, dy):
        self.dscale = np.sum(dy * self.z)
        self.dshift = np.sum(dy)
        return dy * self.scale / self.std


layer("norm: layer norm with g and b", lambda: LayerNorm(6), rng.normal(size=(3, 4, 6)))
layer("norm: layer norm that rebuilds x̂ from its output", lambda: LayerNormalizationFast(5), rng.normal(size=(4, 5)))
layer("norm: RMSNorm", lambda: RMSNorm(8), rng.normal(size=(3, 8)))
layer("norm: GroupNorm", lambda: GroupNorm(2, 4), rng.normal(size=(2, 4, 3, 3)))
layer("norm: rows to length one", L2Normalize, rng.normal(size=(5, 4)))
layer(
    "norm: scale and shift of standardised data",
    lambda: ScaleShift(mean=[0.1, 0.2, 0.3], std=[0.5, 1.0, 2.0]),
    rng.normal(size=(4, 3)),
)
