"""Mistakes of optimizers; their rules are updates, which are run beside the one under test."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

import scratch
from torch_impl.verify.mistakes.catalogue import mistake

Array = NDArray[Any]
Update = Callable[[Array, Array, dict[str, Any], float, int], Any]  # (w, g, slots, lr, t), w in place
Wrong = Iterator[tuple[str, str, Update]]  # a mistake, a formula, and the update that makes it

mistake("adam-no-bias-correction",
        "the moments are not corrected for their start at zero, or with a step that never advances",
        "Divide m by 1 − β₁ᵗ and v by 1 − β₂ᵗ, with t = 1, 2, 3, …")  # fmt: skip
mistake("adam-eps-placement",
        "ε stands in another place than the reference's (inside the root, or before the correction)",
        "w ← w − lr m̂ / (√v̂ + ε): add ε after the root of the corrected second moment.")  # fmt: skip
mistake("decay-coupled", "weight decay goes through Adam's moments where decoupled decay is meant",
        "Decay the weights by themselves, w ← w − lr λ w, and leave λ w out of the gradient.")  # fmt: skip
mistake(
    "momentum-convention",
    "the learning rate stands inside the velocity, or the gradient has a factor 1 − μ",
    "Nothing to mend, but it is another rule once the learning rate changes: torch has v ← μ v + g, w ← w − lr v.",
    "convention",
)


def wrong_updates(record: Any) -> Wrong:
    """Every mistake that an optimizer of scratch can have, as an update."""
    yield "wrong-sign", "w ← w + step; should be w ← w − step", _changed(record, times=-1.0)
    yield "wrong-sign", "the step is that of −g; should be that of g", _changed(record, lambda w, g, lr, t: -g)
    decay, decoupled = record.weight_decay, isinstance(record, scratch.AdamW)
    if isinstance(record, scratch.Adam | scratch.AdamW):
        yield from _of_adam(record)
    if isinstance(record, scratch.SGD) and record.momentum:
        yield from _of_momentum(record)
    if isinstance(record, scratch.RMSprop | scratch.AdaGrad):
        yield "adam-eps-placement", "w ← w − lr g / √(s + ε); should be lr g / (√s + ε)", _root_inside(record)
    bare = dataclasses.replace(record, weight_decay=0.0)
    for c, words in ((2.0, "2 λ"), (0.5, "λ/2"), (-1.0, "−λ"), (0.0, "0")) if decay else ():
        formula = f"the decay is {words} w; should be λ w, λ = {decay:g}"
        decayed = _changed(bare, lambda w, g, lr, t, c=c: g + c * decay * w)
        yield "penalty-factor", formula, _adam(record, decay=c * decay) if decoupled else decayed
    for c in (2.0, 0.5):
        yield "constant-factor", f"the step is {c:g} times what it should be", _changed(record, times=c)


def _changed(record: Any, gradient: Any = None, inside: bool = False, times: float = 1.0) -> Update:
    """The record's update with ``gradient(w, g, lr, t)`` for g, its rate ``inside`` that, its step some times."""
    gradient = gradient or (lambda w, g, lr, t: g)

    def update(w: Array, g: Array, slots: dict[str, Any], lr: float, t: int) -> None:
        if not slots:
            slots.update(record.slots(w))
        before, g = w.copy(), gradient(w, g, lr, t)
        record.update(w, lr * g if inside else g, slots, 1.0 if inside else lr, t)
        w[:] = before + times * (w - before)

    return update


def _adam(
    record: Any, m_by: Any = None, v_by: Any = None, root: Any = None, coupled: bool = False, decay: float | None = None
) -> Update:
    """Adam that divides m by ``m_by(t)`` and v by ``v_by(t)``, and the step by ``root(v, v_by(t))``."""
    (beta1, beta2), eps = record.betas, record.eps
    m_by, v_by = m_by or (lambda t: 1 - beta1**t), v_by or (lambda t: 1 - beta2**t)
    root = root or (lambda v, by: np.sqrt(v / by) + eps)
    coupled, decay = coupled or isinstance(record, scratch.Adam), record.weight_decay if decay is None else decay

    def update(w: Array, g: Array, slots: dict[str, Any], lr: float, t: int) -> None:
        g = g + decay * w if coupled else g
        w *= 1 if coupled else 1 - lr * decay
        m = slots["m"] = beta1 * slots.get("m", 0.0) + (1 - beta1) * g
        v = slots["v"] = beta2 * slots.get("v", 0.0) + (1 - beta2) * g * g
        w -= lr * (m / m_by(t)) / root(v, v_by(t))

    return update


def _of_adam(record: scratch.Adam | scratch.AdamW) -> Wrong:
    (beta1, beta2), eps, decay = record.betas, record.eps, record.weight_decay
    none = lambda t: 1.0  # noqa: E731
    where = "m and v the moments, m̂ and v̂ corrected"
    for words, m_by, v_by in (
        ("w ← w − lr m / (√v + ε)", none, none),
        ("w ← w − lr m / (√v̂ + ε)", none, None),
        ("w ← w − lr m̂ / (√v + ε)", None, none),
        ("w ← w − lr m̂ / (√v̂ + ε) with t = 1 in every step", lambda t: 1 - beta1, lambda t: 1 - beta2),
    ):
        yield "adam-no-bias-correction", f"{words}, {where}", _adam(record, m_by, v_by)
    for words, root in (
        ("w ← w − lr m̂ / √(v̂ + ε)", lambda v, by: np.sqrt(v / by + eps)),
        ("w ← w − lr m̂ / √(v̂ + ε²)", lambda v, by: np.sqrt(v / by + eps * eps)),
        ("ε is added to √v before the correction", lambda v, by: (np.sqrt(v) + eps) / np.sqrt(by)),
    ):
        yield "adam-eps-placement", f"{words}, {where}", _adam(record, root=root)
    if isinstance(record, scratch.AdamW) and decay:
        words = f"λ w is added to the gradient and divided by √v̂; should be w ← w − lr λ w, λ = {decay:g}"
        yield "decay-coupled", words, _adam(record, coupled=True)


def _of_momentum(record: scratch.SGD) -> Wrong:
    mu, decay = record.momentum, record.weight_decay
    bare = dataclasses.replace(record, weight_decay=0.0, dampening=0.0)
    whole = lambda w, g, lr, t: g + decay * w  # noqa: E731
    damped = lambda w, g, lr, t: (1 - mu) * whole(w, g, lr, t)  # noqa: E731
    late = lambda w, g, lr, t: (damped if t > 1 else whole)(w, g, lr, t)  # noqa: E731
    for words, gradient, inside in (
        ("v ← μ v + lr g, w ← w − v; torch has v ← μ v + g, w ← w − lr v", whole, True),
        ("v ← μ v + (1 − μ) g; torch has v ← μ v + g", damped, False),
        ("v ← μ v + (1 − μ) g after v = g; torch has v ← μ v + g", late, False),
        ("v ← μ v + lr (1 − μ) g, w ← w − v; torch has v ← μ v + g, w ← w − lr v", damped, True),
    ):
        yield "momentum-convention", f"{words}, v the velocity, μ the momentum", _changed(bare, gradient, inside)


def _root_inside(record: scratch.RMSprop | scratch.AdaGrad) -> Update:
    """ε inside the root."""

    def update(w: Array, g: Array, slots: dict[str, Any], lr: float, t: int) -> None:  # noqa: ARG001
        g, s = g + record.weight_decay * w, slots.get("s", 0.0)
        s = slots["s"] = s + g * g if isinstance(record, scratch.AdaGrad) else s + (1 - record.alpha) * (g * g - s)
        slots["v"] = getattr(record, "momentum", 0.0) * slots.get("v", 0.0) + g / np.sqrt(s + record.eps)
        w -= lr * slots["v"]

    return update
