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

mistake(
    "adam-no-bias-correction",
    what="the moments are not corrected for their start at zero, or with a step that never advances",
    fix="Divide m by 1 − β₁ᵗ and v by 1 − β₂ᵗ, with t = 1, 2, 3, …",
)
mistake(
    "adam-eps-placement",
    what="ε stands in another place than the reference's (inside the root, or before the correction)",
    fix="w ← w − lr m̂ / (√v̂ + ε): add ε after the root of the corrected second moment.",
)
mistake(
    "decay-coupled",
    what="weight decay goes through Adam's moments where decoupled decay is meant",
    fix="Decay the weights by themselves, w ← w − lr λ w, and leave λ w out of the gradient.",
)
mistake(
    "momentum-convention",
    what="the learning rate stands inside the velocity, or the gradient has a factor 1 − μ",
    fix="Nothing to mend, but it is another rule once the learning rate changes: torch has v ← μ v + g, w ← w − lr v.",
    kind="convention",
)


def wrong_updates(record: Any) -> Wrong:
    """Every mistake that an optimizer of scratch can have, as an update."""
    yield "wrong-sign", "w ← w + step; should be w ← w − step", _step_times(record, -1.0)
    against = lambda w, g, slots, lr, t: record.update(w, -g, slots, lr, t)  # noqa: E731
    yield "wrong-sign", "the step is that of −g; should be that of g", _with_slots(record, against)
    if isinstance(record, scratch.Adam | scratch.AdamW):
        yield from _of_adam(record)
    if isinstance(record, scratch.SGD) and record.momentum:
        yield from _of_momentum(record)
    if isinstance(record, scratch.RMSprop | scratch.AdaGrad):
        yield "adam-eps-placement", "w ← w − lr g / √(s + ε); should be lr g / (√s + ε)", _root_inside(record)
    for c, words in ((2.0, "2 λ"), (0.5, "λ/2"), (-1.0, "−λ"), (0.0, "0")) if record.weight_decay else ():
        formula = f"the decay is {words} w; should be λ w, λ = {record.weight_decay:g}"
        yield "penalty-factor", formula, _decay_times(record, c)
    for c in (2.0, 0.5):
        yield "constant-factor", f"the step is {c:g} times what it should be", _step_times(record, c)


def _with_slots(record: Any, update: Update) -> Update:
    """The update with the slots of a record of scratch, made at the first step."""

    def run(w: Array, g: Array, slots: dict[str, Any], lr: float, t: int) -> None:
        if not slots:
            slots.update(record.slots(w))
        update(w, g, slots, lr, t)

    return run


def _step_times(record: Any, c: float) -> Update:
    def update(w: Array, g: Array, slots: dict[str, Any], lr: float, t: int) -> None:
        before = w.copy()
        record.update(w, g, slots, lr, t)
        w[:] = before + c * (w - before)

    return _with_slots(record, update)


def _decay_times(record: Any, c: float) -> Update:
    """Weight decay some times what it is: by itself in AdamW, through the gradient elsewhere."""
    bare, decay = dataclasses.replace(record, weight_decay=0.0), c * record.weight_decay

    def update(w: Array, g: Array, slots: dict[str, Any], lr: float, t: int) -> None:
        coupled = not isinstance(record, scratch.AdamW)
        g = g + decay * w if coupled else g
        w *= 1.0 if coupled else 1 - lr * decay
        bare.update(w, g, slots, lr, t)

    return _with_slots(record, update)


def _of_adam(record: scratch.Adam | scratch.AdamW) -> Wrong:
    (beta1, beta2), eps, decay = record.betas, record.eps, record.weight_decay

    def adam(m_by: Any = None, v_by: Any = None, root: Any = None, coupled: bool | None = None) -> Update:
        """Adam that divides m by ``m_by(t)`` and v by ``v_by(t)``, and the step by ``root(v, v_by)``."""
        m_by, v_by = m_by or (lambda t: 1 - beta1**t), v_by or (lambda t: 1 - beta2**t)
        root = root or (lambda v, by: np.sqrt(v / by) + eps)
        coupled = isinstance(record, scratch.Adam) if coupled is None else coupled

        def update(w: Array, g: Array, slots: dict[str, Any], lr: float, t: int) -> None:
            g = g + decay * w if coupled else g
            w *= 1 if coupled else 1 - lr * decay
            m = slots["m"] = beta1 * slots.get("m", 0.0) + (1 - beta1) * g
            v = slots["v"] = beta2 * slots.get("v", 0.0) + (1 - beta2) * g * g
            w -= lr * (m / m_by(t)) / root(v, v_by(t))

        return update

    none = lambda t: 1.0  # noqa: E731
    where = "m and v the moments, m̂ and v̂ corrected"
    for words, update in (
        ("w ← w − lr m / (√v + ε)", adam(none, none)),
        ("w ← w − lr m / (√v̂ + ε)", adam(m_by=none)),
        ("w ← w − lr m̂ / (√v + ε)", adam(v_by=none)),
        ("w ← w − lr m̂ / (√v̂ + ε) with t = 1 in every step", adam(lambda t: 1 - beta1, lambda t: 1 - beta2)),
    ):
        yield "adam-no-bias-correction", f"{words}, {where}", update
    for words, root in (
        ("w ← w − lr m̂ / √(v̂ + ε)", lambda v, by: np.sqrt(v / by + eps)),
        ("w ← w − lr m̂ / √(v̂ + ε²)", lambda v, by: np.sqrt(v / by + eps * eps)),
        ("ε is added to √v before the correction", lambda v, by: (np.sqrt(v) + eps) / np.sqrt(by)),
    ):
        yield "adam-eps-placement", f"{words}, {where}", adam(root=root)
    if isinstance(record, scratch.AdamW) and decay:
        words = f"λ w is added to the gradient and divided by √v̂; should be w ← w − lr λ w, λ = {decay:g}"
        yield "decay-coupled", words, adam(coupled=True)


def _of_momentum(record: scratch.SGD) -> Wrong:
    mu, bare = record.momentum, dataclasses.replace(record, weight_decay=0.0, dampening=0.0)

    def momentum(inside: bool, factor: float, first: bool = True) -> Update:
        """With the learning rate inside the velocity; with a factor before the gradient, from the first step on."""

        def update(w: Array, g: Array, slots: dict[str, Any], lr: float, t: int) -> None:
            scale = (factor if first or t > 1 else 1.0) * (lr if inside else 1.0)
            bare.update(w, scale * (g + record.weight_decay * w), slots, 1.0 if inside else lr, t)

        return _with_slots(bare, update)

    for words, update in (
        ("v ← μ v + lr g, w ← w − v; torch has v ← μ v + g, w ← w − lr v", momentum(True, 1.0)),
        ("v ← μ v + (1 − μ) g; torch has v ← μ v + g", momentum(False, 1 - mu)),
        ("v ← μ v + (1 − μ) g after v = g; torch has v ← μ v + g", momentum(False, 1 - mu, first=False)),
        ("v ← μ v + lr (1 − μ) g, w ← w − v; torch has v ← μ v + g, w ← w − lr v", momentum(True, 1 - mu)),
    ):
        yield "momentum-convention", f"{words}, v the velocity, μ the momentum", update


def _root_inside(record: scratch.RMSprop | scratch.AdaGrad) -> Update:
    """ε inside the root."""

    def update(w: Array, g: Array, slots: dict[str, Any], lr: float, t: int) -> None:  # noqa: ARG001
        g, s = g + record.weight_decay * w, slots.get("s", 0.0)
        s = slots["s"] = s + g * g if isinstance(record, scratch.AdaGrad) else s + (1 - record.alpha) * (g * g - s)
        slots["v"] = getattr(record, "momentum", 0.0) * slots.get("v", 0.0) + g / np.sqrt(s + record.eps)
        w -= lr * slots["v"]

    return update
