"""Attention and what surrounds it, as functions."""
# Names, randomness and returns are as their authors would have them.
# ruff: noqa: RUF059

import numpy as np

from .cases import functions

rng = np.random.default_rng(11)


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def scaled_dot_product_attention(Q, K, V):
    d_k = Q.shape[-1]
    scores = Q @ K.T / np.sqrt(d_k)
    weights = softmax(scores)
    return weights @ V, weights


def scaled_dot_product_attention_backward(dout, Q, K, V, weights):
    d_k = Q.shape[-1]
    dV = weights.T @ dout
    dweights = dout @ V.T
    dscores = weights * (dweights - (dweights * weights).sum(axis=-1, keepdims=True))
    dscores /= np.sqrt(d_k)
    return dscores @ K, dscores.T @ Q, dV


functions(
    "attention of one sequence, the weights kept",
    scaled_dot_product_attention,
    scaled_dot_product_attention_backward,
    {"Q": rng.normal(size=(4, 3)), "K": rng.normal(size=(5, 3)), "V": rng.normal(size=(5, 6))},
)


def batched_attention(q, k, v, mask=None):
    att = np.matmul(q, k.transpose(0, 2, 1)) / q.shape[-1] ** 0.5
    if mask is not None:
        att = np.where(mask, att, -np.inf)
    p = softmax(att)
    return np.matmul(p, v), {"q": q, "k": k, "v": v, "p": p}


def batched_attention_backward(dy, cache):
    q, k, v, p = (cache[name] for name in "qkvp")
    dp = np.matmul(dy, v.transpose(0, 2, 1))
    datt = p * (dp - np.sum(p * dp, axis=-1, keepdims=True)) / q.shape[-1] ** 0.5
    return {
        "dq": np.matmul(datt, k),
        "dk": np.matmul(datt.transpose(0, 2, 1), q),
        "dv": np.matmul(p.transpose(0, 2, 1), dy),
    }


qkv = {name: rng.normal(size=(2, 4, 3)) for name in "qkv"}

functions("attention of a batch without its mask", batched_attention, batched_attention_backward, qkv)
functions(
    "attention of a batch with a causal mask of minus infinity",
    batched_attention,
    batched_attention_backward,
    {**qkv, "mask": np.tril(np.ones((4, 4), dtype=bool))},
)


def attention_forward(inp, n_head):
    B, T, C3 = inp.shape
    C = C3 // 3
    hs = C // n_head
    q, k, v = (a.reshape(B, T, n_head, hs).transpose(0, 2, 1, 3) for a in np.split(inp, 3, axis=2))
    preatt = np.einsum("bhtd,bhsd->bhts", q, k) / np.sqrt(hs)
    preatt = preatt + np.triu(np.full((T, T), -1e10), k=1)
    att = softmax(preatt)
    out = np.einsum("bhts,bhsd->bthd", att, v).reshape(B, T, C)
    return out, (q, k, v, att, n_head)


def attention_backward(dout, cache):
    q, k, v, att, n_head = cache
    B, H, T, hs = q.shape
    dout = dout.reshape(B, T, H, hs)
    dv = np.einsum("bhts,bthd->bhsd", att, dout)
    datt = np.einsum("bthd,bhsd->bhts", dout, v)
    dpre = att * (datt - np.einsum("bhts,bhts->bht", att, datt)[..., None]) / np.sqrt(hs)
    dq = np.einsum("bhts,bhsd->bhtd", dpre, k)
    dk = np.einsum("bhts,bhtd->bhsd", dpre, q)
    return np.concatenate([d.transpose(0, 2, 1, 3).reshape(B, T, H * hs) for d in (dq, dk, dv)], axis=-1)


functions(
    "causal multi-head attention of q, k and v side by side",
    attention_forward,
    attention_backward,
    {"inp": rng.normal(size=(2, 3, 12)), "n_head": 2},
)


def multi_head_attention(x, params, num_heads):
    T, D = x.shape
    q, k, v = x @ params["Wq"], x @ params["Wk"], x @ params["Wv"]
    d = D // num_heads
    heads, attn = [], []
    for h in range(num_heads):
        s = slice(h * d, (h + 1) * d)
        a = softmax(q[:, s] @ k[:, s].T / np.sqrt(d))
        attn.append(a)
        heads.append(a @ v[:, s])
    concat = np.hstack(heads)
    return concat @ params["Wo"], (x, q, k, v, attn, concat)


def multi_head_attention_backward(dout, cache, params, num_heads):
    x, q, k, v, attn, concat = cache
    d = x.shape[1] // num_heads
    grads = {"Wo": concat.T @ dout}
    dconcat = dout @ params["Wo"].T
    dq, dk, dv = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
    for h, a in enumerate(attn):
        s = slice(h * d, (h + 1) * d)
        dhead = dconcat[:, s]
        dv[:, s] = a.T @ dhead
        da = dhead @ v[:, s].T
        ds = np.zeros_like(a)
        for t in range(len(a)):
            jac = np.diag(a[t]) - np.outer(a[t], a[t])
            ds[t] = jac @ da[t]
        ds /= np.sqrt(d)
        dq[:, s] = ds @ k[:, s]
        dk[:, s] = ds.T @ q[:, s]
    grads["Wq"], grads["Wk"], grads["Wv"] = x.T @ dq, x.T @ dk, x.T @ dv
    dx = dq @ params["Wq"].T + dk @ params["Wk"].T + dv @ params["Wv"].T
    return dx, grads


functions(
    "multi-head attention with four matrices in a dict, a loop over the heads",
    multi_head_attention,
    multi_head_attention_backward,
    {
        "x": rng.normal(size=(4, 6)),
        "params": {name: 0.5 * rng.normal(size=(6, 6)) for name in ("Wq", "Wk", "Wv", "Wo")},
        "num_heads": 3,
    },
)


def additive_attention(h, s, W, U, v):
    e = np.tanh(h @ W + s @ U)
    alpha = softmax(e @ v)
    return alpha @ h, (e, alpha)


def additive_attention_backward(dc, h, s, W, U, v, cache):
    e, alpha = cache
    dalpha = h @ dc
    dscore = alpha * (dalpha - alpha @ dalpha)
    dpre = np.outer(dscore, v) * (1 - e**2)
    dh = np.outer(alpha, dc) + dpre @ W.T
    ds = dpre.sum(axis=0) @ U.T
    return dh, ds, h.T @ dpre, np.outer(s, dpre.sum(axis=0)), e.T @ dscore


functions(
    "additive attention of one query",
    additive_attention,
    additive_attention_backward,
    {
        "h": rng.normal(size=(5, 4)),
        "s": rng.normal(size=3),
        "W": rng.normal(size=(4, 6)),
        "U": rng.normal(size=(3, 6)),
        "v": rng.normal(size=6),
    },
)


def weighted_sum(hs, a):
    N, T, H = hs.shape
    ar = a.reshape(N, T, 1)
    c = np.sum(hs * ar, axis=1)
    return c, (hs, ar)


def weighted_sum_backward(dc, cache):
    hs, ar = cache
    N, T, H = hs.shape
    dt = dc.reshape(N, 1, H).repeat(T, axis=1)
    dhs = dt * ar
    da = np.sum(dt * hs, axis=2)
    return dhs, da


functions(
    "weighted sum of hidden states",
    weighted_sum,
    weighted_sum_backward,
    {"hs": rng.normal(size=(2, 4, 3)), "a": softmax(rng.normal(size=(2, 4)))},
)


def add_and_norm(x, sublayer_out, gamma, beta, eps=1e-5):
    s = x + sublayer_out
    mu = s.mean(-1, keepdims=True)
    sd = np.sqrt(((s - mu) ** 2).mean(-1, keepdims=True) + eps)
    n = (s - mu) / sd
    return gamma * n + beta, (n, sd, gamma)


def add_and_norm_backward(dout, cache):
    n, sd, gamma = cache
    dn = dout * gamma
    ds = (dn - dn.mean(-1, keepdims=True) - n * (dn * n).mean(-1, keepdims=True)) / sd
    return ds, ds, np.sum(dout * n, axis=(0, 1)), np.sum(dout, axis=(0, 1))


functions(
    "residual and layer norm, the same array returned twice",
    add_and_norm,
    add_and_norm_backward,
    {
        "x": rng.normal(size=(2, 3, 4)),
        "sublayer_out": rng.normal(size=(2, 3, 4)),
        "gamma": rng.normal(size=4),
        "beta": rng.normal(size=4),
    },
)


def feed_forward_block(x, p):
    h = x @ p["w1"] + p["b1"]
    g = 0.5 * h * (1 + np.tanh(np.sqrt(2 / np.pi) * (h + 0.044715 * h**3)))
    return x + g @ p["w2"] + p["b2"], [x, h, g]


def feed_forward_block_backward(dy, p, cache):
    x, h, g = cache
    c = np.sqrt(2 / np.pi)
    t = np.tanh(c * (h + 0.044715 * h**3))
    dg = dy @ p["w2"].T
    dh = dg * (0.5 * (1 + t) + 0.5 * h * (1 - t**2) * c * (1 + 0.134145 * h**2))
    dp = {
        "w1": np.einsum("bti,bto->io", x, dh),
        "b1": dh.sum((0, 1)),
        "w2": np.einsum("bti,bto->io", g, dy),
        "b2": dy.sum((0, 1)),
    }
    return dy + dh @ p["w1"].T, dp


functions(
    "transformer's feed-forward block with GELU and a residual",
    feed_forward_block,
    feed_forward_block_backward,
    {
        "x": rng.normal(size=(2, 3, 4)),
        "p": {
            "w1": rng.normal(size=(4, 8)),
            "b1": rng.normal(size=8),
            "w2": rng.normal(size=(8, 4)),
            "b2": rng.normal(size=4),
        },
    },
)


def encoder_forward(tokens, wte, wpe):
    T = tokens.shape[1]
    return wte[tokens] + wpe[:T], (tokens, wte.shape, wpe.shape)


def encoder_backward(dout, cache):
    tokens, wte_shape, wpe_shape = cache
    dwte, dwpe = np.zeros(wte_shape), np.zeros(wpe_shape)
    np.add.at(dwte, tokens.ravel(), dout.reshape(-1, wte_shape[1]))
    dwpe[: dout.shape[1]] = dout.sum(axis=0)
    return dwte, dwpe


functions(
    "token and position embeddings, more positions than steps",
    encoder_forward,
    encoder_backward,
    {"tokens": rng.integers(0, 6, size=(2, 3)), "wte": rng.normal(size=(6, 4)), "wpe": rng.normal(size=(5, 4))},
)


def rotary(x, theta):
    x1, x2 = x[..., 0::2], x[..., 1::2]
    angle = np.arange(x.shape[0])[:, None] * theta
    out = np.empty_like(x)
    out[..., 0::2] = x1 * np.cos(angle) - x2 * np.sin(angle)
    out[..., 1::2] = x1 * np.sin(angle) + x2 * np.cos(angle)
    return out


def rotary_backward(dout, x, theta):
    angle = np.arange(len(x))[:, None] * theta
    d1, d2 = dout[..., 0::2], dout[..., 1::2]
    dx = np.empty_like(x)
    dx[..., 0::2] = d1 * np.cos(angle) + d2 * np.sin(angle)
    dx[..., 1::2] = -d1 * np.sin(angle) + d2 * np.cos(angle)
    return dx


functions(
    "rotary positions, no gradient of the frequencies",
    rotary,
    rotary_backward,
    {"x": rng.normal(size=(4, 6)), "theta": 1.0 / 10000 ** (np.arange(3) / 3)},
)
