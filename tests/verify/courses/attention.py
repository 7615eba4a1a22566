"""Attention with one head and with many, and what stands around it in a transformer."""

import numpy as np

from tests.verify.courses.course import Course, draw


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def softmax_backward(dout, p):
    return p * (dout - (dout * p).sum(axis=-1, keepdims=True))


def dot_attention_forward(Q, K, V):
    """Q (T, d), K (S, d), V (S, e)."""
    scale = 1 / np.sqrt(Q.shape[-1])
    scores = Q @ K.T * scale
    weights = softmax(scores)
    out = weights @ V
    return out, (Q, K, V, weights, scale)


def dot_attention_backward(dout, cache):
    Q, K, V, weights, scale = cache
    dV = weights.T @ dout
    dweights = dout @ V.T
    dscores = softmax_backward(dweights, weights)
    dscores = dscores * scale
    dQ = dscores @ K
    dK = dscores.T @ Q
    return dQ, dK, dV


def self_attention_forward(x, Wq, Wk, Wv):
    """Causal attention of x (B, T, C) to its own past."""
    q, k, v = x @ Wq, x @ Wk, x @ Wv
    att = q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1])
    future = np.triu(np.ones((x.shape[1], x.shape[1]), dtype=bool), k=1)
    att[:, future] = -np.inf
    p = softmax(att)
    return p @ v, {"x": x, "q": q, "k": k, "v": v, "p": p, "w": (Wq, Wk, Wv)}


def self_attention_backward(dout, cache):
    x, q, k, v, p = (cache[name] for name in "xqkvp")
    Wq, Wk, Wv = cache["w"]
    dv = p.transpose(0, 2, 1) @ dout
    dp = dout @ v.transpose(0, 2, 1)
    datt = softmax_backward(dp, p) / np.sqrt(q.shape[-1])
    dq = datt @ k
    dk = datt.transpose(0, 2, 1) @ q
    dWq = np.einsum("btc,btd->cd", x, dq)
    dWk = np.einsum("btc,btd->cd", x, dk)
    dWv = np.einsum("btc,btd->cd", x, dv)
    dx = dq @ Wq.T
    dx += dk @ Wk.T
    dx += dv @ Wv.T
    return dx, dWq, dWk, dWv


def multi_head_forward(x, Wqkv, Wo, n_head=2):
    """x (B, T, C), Wqkv (C, 3C), Wo (C, D)."""
    B, T, C = x.shape
    hs = C // n_head
    qkv = x @ Wqkv
    q, k, v = (z.reshape(B, T, n_head, hs).transpose(0, 2, 1, 3) for z in np.split(qkv, 3, axis=2))
    att = softmax(np.einsum("bhtd,bhsd->bhts", q, k) / np.sqrt(hs))
    y = np.einsum("bhts,bhsd->bhtd", att, v)
    y = y.transpose(0, 2, 1, 3).reshape(B, T, C)
    return y @ Wo, (x, Wqkv, Wo, q, k, v, att, y)


def merge_heads(z):
    B, H, T, hs = z.shape
    return z.transpose(0, 2, 1, 3).reshape(B, T, H * hs)


def multi_head_backward(dout, cache):
    x, Wqkv, Wo, q, k, v, att, y = cache
    B, H, T, hs = q.shape
    dWo = np.einsum("btc,btd->cd", y, dout)
    dy = dout @ Wo.T
    dy = dy.reshape(B, T, H, hs).transpose(0, 2, 1, 3)
    datt = np.einsum("bhtd,bhsd->bhts", dy, v)
    dv = np.einsum("bhts,bhtd->bhsd", att, dy)
    dscores = softmax_backward(datt, att)
    dscores /= np.sqrt(hs)
    dq = np.einsum("bhts,bhsd->bhtd", dscores, k)
    dk = np.einsum("bhts,bhtd->bhsd", dscores, q)
    dqkv = np.concatenate([merge_heads(dq), merge_heads(dk), merge_heads(dv)], axis=2)
    dWqkv = np.tensordot(x, dqkv, axes=([0, 1], [0, 1]))
    dx = dqkv @ Wqkv.T
    return dx, dWqkv, dWo


def heads_by_loop_forward(query, memory, Wq, Wk, Wv):
    """Cross-attention with a loop over heads: Wq (heads, C, d), Wk and Wv (heads, M, d)."""
    outs, cache = [], []
    for h in range(Wq.shape[0]):
        q, k, v = query @ Wq[h], memory @ Wk[h], memory @ Wv[h]
        out, head_cache = dot_attention_forward(q, k, v)
        outs.append(out)
        cache.append(head_cache)
    return np.concatenate(outs, axis=1), cache


def heads_by_loop_backward(dout, query, memory, Wq, Wk, Wv, cache):
    dquery, dmemory = np.zeros_like(query), np.zeros_like(memory)
    dWq, dWk, dWv = np.zeros_like(Wq), np.zeros_like(Wk), np.zeros_like(Wv)
    d = Wv.shape[2]
    for h, head_cache in enumerate(cache):
        dq, dk, dv = dot_attention_backward(dout[:, h * d : (h + 1) * d], head_cache)
        dWq[h], dWk[h], dWv[h] = query.T @ dq, memory.T @ dk, memory.T @ dv
        dquery += dq @ Wq[h].T
        dmemory += dk @ Wk[h].T + dv @ Wv[h].T
    return dquery, dmemory, dWq, dWk, dWv


def additive_attention_forward(s, h, Wa, Ua, va):
    """Scores by a small network: state s (N, D), annotations h (N, T, E), va (A,)."""
    hidden = np.tanh((s @ Wa)[:, None, :] + h @ Ua)
    score = hidden @ va
    alpha = softmax(score)
    context = np.sum(alpha[:, :, None] * h, axis=1)
    return context, (s, h, Wa, Ua, va, hidden, alpha)


def additive_attention_backward(dcontext, cache):
    s, h, Wa, Ua, va, hidden, alpha = cache
    dalpha = np.einsum("ne,nte->nt", dcontext, h)
    dh = alpha[:, :, None] * dcontext[:, None, :]
    dscore = softmax_backward(dalpha, alpha)
    dva = np.einsum("nt,nta->a", dscore, hidden)
    dhidden = dscore[:, :, None] * va
    dpre = dhidden * (1 - hidden**2)
    dUa = np.einsum("nte,nta->ea", h, dpre)
    dh += dpre @ Ua.T
    dsum = dpre.sum(axis=1)
    dWa = s.T @ dsum
    ds = dsum @ Wa.T
    return ds, dh, dWa, dUa, dva


def attention_pool_forward(H, u):
    scores = H.dot(u)
    a = np.exp(scores - scores.max())
    a /= a.sum()
    return a.dot(H), (H, u, a)


def attention_pool_backward(dout, cache):
    H, u, a = cache
    dH = np.outer(a, dout)
    da = H.dot(dout)
    ds = np.zeros_like(a)
    for i in range(len(a)):
        for j in range(len(a)):
            ds[i] += da[j] * a[j] * ((i == j) - a[i])
    dH += np.outer(ds, u)
    du = H.T.dot(ds)
    return dH, du


def linear_attention_forward(q, k, v):
    """Causal attention without a softmax: a running sum of outer products."""
    fq, fk = np.exp(q), np.exp(k)
    S = np.zeros((k.shape[1], v.shape[1]))
    out = np.zeros_like(v)
    states = []
    for t in range(len(q)):
        S = S + np.outer(fk[t], v[t])
        out[t] = fq[t] @ S
        states.append(S)
    return out, (fq, fk, v, states)


def linear_attention_backward(dout, cache):
    fq, fk, v, states = cache
    dfq, dfk, dv = np.zeros_like(fq), np.zeros_like(fk), np.zeros_like(v)
    dS = np.zeros_like(states[0])
    for t in reversed(range(len(fq))):
        dfq[t] = states[t] @ dout[t]
        dS += np.outer(fq[t], dout[t])
        dfk[t] = dS @ v[t]
        dv[t] = dS.T @ fk[t]
    return dfq * fq, dfk * fk, dv


def feed_forward_block(x, g, W1, W2):
    """x + relu(norm(x) W1)² W2, where norm divides by the root mean square."""
    r = 1 / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + 1e-5)
    n = x * r * g
    h = np.maximum(n @ W1, 0)
    return x + h**2 @ W2, (x, g, W1, W2, r, n, h)


def feed_forward_block_backward(dy, cache):
    x, g, W1, W2, r, n, h = cache
    D = x.shape[-1]
    dW2 = (h**2).T @ dy
    dh = 2 * h * (dy @ W2.T)
    dW1 = n.T @ dh
    dn = dh @ W1.T
    dg = np.sum(dn * x * r, axis=0)
    dn = dn * g
    dx = dn * r - x * r**3 * np.sum(dn * x, axis=-1, keepdims=True) / D
    dx += dy
    return dx, dg, dW1, dW2


def rotary_forward(x, log_freq):
    """Turns pairs of features by an angle that grows with the step: x (T, 2 F), log_freq (F,)."""
    steps = np.arange(len(x))[:, None]
    angle = steps * np.exp(log_freq)
    c, s = np.cos(angle), np.sin(angle)
    x1, x2 = x[:, ::2], x[:, 1::2]
    out = np.empty_like(x)
    out[:, ::2] = x1 * c - x2 * s
    out[:, 1::2] = x1 * s + x2 * c
    return out, (out, angle, c, s)


def rotary_backward(dout, cache):
    out, angle, c, s = cache
    d1, d2 = dout[:, ::2], dout[:, 1::2]
    dx = np.empty_like(dout)
    dx[:, ::2] = d1 * c + d2 * s
    dx[:, 1::2] = d2 * c - d1 * s
    dangle = d2 * out[:, ::2] - d1 * out[:, 1::2]
    dlog_freq = (dangle * angle).sum(axis=0)
    return dx, dlog_freq


COURSES = [
    Course(
        "dot_attention",
        dot_attention_forward,
        dot_attention_backward,
        lambda: draw(1, Q=(3, 4), K=(5, 4), V=(5, 2)),
        (softmax_backward,),
        ("Q", "K", "V"),
    ),
    Course(
        "self_attention_causal",
        self_attention_forward,
        self_attention_backward,
        lambda: draw(2, x=(2, 3, 5), Wq=(5, 4), Wk=(5, 4), Wv=(5, 4)),
        (softmax_backward,),
        ("x", "Wq", "Wk", "Wv"),
    ),
    Course(
        "multi_head",
        multi_head_forward,
        multi_head_backward,
        lambda: draw(3, x=(5, 3, 4), Wqkv=(4, 12), Wo=(4, 5)),
        (softmax_backward, merge_heads),
        ("x", "Wqkv", "Wo"),
    ),
    Course(
        "heads_by_loop",
        heads_by_loop_forward,
        heads_by_loop_backward,
        lambda: draw(4, query=(7, 4), memory=(5, 6), Wq=(2, 4, 3), Wk=(2, 6, 3), Wv=(2, 6, 3)),
        (dot_attention_backward, softmax_backward),
        ("query", "memory", "Wq", "Wk", "Wv"),
    ),
    Course(
        "additive_attention",
        additive_attention_forward,
        additive_attention_backward,
        lambda: draw(5, s=(2, 4), h=(2, 5, 3), Wa=(4, 6), Ua=(3, 6), va=(6,)),
        (softmax_backward,),
        ("s", "h", "Wa", "Ua", "va"),
    ),
    Course(
        "attention_pool",
        attention_pool_forward,
        attention_pool_backward,
        lambda: draw(6, H=(5, 3), u=(3,)),
        (),
        ("H", "u"),
    ),
    Course(
        "linear_attention",
        linear_attention_forward,
        linear_attention_backward,
        lambda: draw(7, q=(5, 3), k=(5, 3), v=(5, 2)),
        (),
        ("q", "k", "v"),
    ),
    Course(
        "feed_forward_block",
        feed_forward_block,
        feed_forward_block_backward,
        lambda: draw(8, x=(3, 4), g=(4,), W1=(4, 6), W2=(6, 4)),
        (),
        ("x", "g", "W1", "W2"),
    ),
    Course("rotary", rotary_forward, rotary_backward, lambda: draw(9, x=(5, 6), log_freq=(3,)), (), ("x", "log_freq")),
]
