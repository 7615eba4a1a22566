"""Optimizers as trajectories: several steps, a change of learning rate, a tiny gradient, weight decay on."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

import scratch
from scratch import checks
from scratch.optim import Optimizer
from torch_impl.counterparts import OPTIMIZERS
from torch_impl.verify.explain.search import ratios
from torch_impl.verify.mistakes.catalogue import CATALOGUE
from torch_impl.verify.report import UNKNOWN, Finding, Report, Section, TensorCheck, compare
from torch_impl.verify.units.unit import UserCodeError, call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    Array = NDArray[Any]
    Update = Callable[[Array, Array, dict[str, Any], float, int], Any]  # (w, g, slots, lr, t), w in place

RATES = (1.0, 1.0, 1.0, 0.5, 0.5, 2.0)  # times lr: what has the rate inside the velocity parts from the fourth step on
DECAY = 0.1  # where the optimizer knows weight decay and has none, a second trajectory has this


def verify_optimizer(optimizer: Optimizer | Update, reference: Optimizer | None = None, *, seed: int = 0) -> Report:
    """Six steps of an optimizer beside torch's.

    Args:
        optimizer: a record of this project's protocol (``slots``, ``update``), or a function
            ``update(w, g, slots, lr, t)`` that changes ``w`` in place and keeps what it needs in the dict ``slots``,
            empty at first
        reference: the optimizer of ``scratch`` that it should be; by default that of its own class

    Raises
        TypeError: no optimizer, or one whose counterpart is not known and not given
    """
    spec: Any = reference if reference is not None else _counterpart(optimizer)
    checks.instance("reference", spec, tuple(OPTIMIZERS), "an optimizer of scratch, such as Adam(1e-3)")
    if not callable(optimizer) and not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"optimizer is a {type(optimizer).__name__}, expected a record with slots and update, or a function"
        )
    name = getattr(optimizer, "__name__", None) or str(optimizer)
    cases = [(optimizer, spec, "")]
    own_decay = getattr(optimizer, "weight_decay", None)
    if own_decay == 0 and getattr(spec, "weight_decay", None) == 0 and dataclasses.is_dataclass(optimizer):
        decayed = {"weight_decay": DECAY}
        cases.append(
            (
                dataclasses.replace(cast("Any", optimizer), **decayed),
                dataclasses.replace(spec, **decayed),
                f", weight decay {DECAY:g}",
            )
        )
    rows: list[TensorCheck] = []
    findings: list[Finding] = []
    for candidate, record, words in cases:
        made, found = _trajectory(candidate, record, name, words, seed)
        rows += made
        seen = {finding.mistake for finding in findings}
        # What cannot be named without weight decay is there with it too, where large gradients may hide what it is not.
        findings += [f for f in found if f.mistake not in seen and not (UNKNOWN in seen and f.tensors == ("w",))]
    return Report(name, (Section(name, tuple(rows)),), tuple(findings))


def _counterpart(optimizer: Any) -> Any:
    for known in OPTIMIZERS:
        if isinstance(optimizer, known):
            return known(**{f.name: getattr(optimizer, f.name) for f in dataclasses.fields(known)})
    raise TypeError(
        f"no counterpart of {type(optimizer).__name__} is known; expected reference=, the optimizer of scratch that it "
        "should be, such as reference=Adam(1e-3)"
    )


def _steps(record: Any, seed: int) -> tuple[Array, list[Array], list[float]]:
    """Weights, gradients and learning rates; element 0 has a tiny gradient, element 1 none at all."""
    rng = np.random.default_rng(seed)
    gradients = [rng.standard_normal(13) for _ in RATES]
    for g in gradients:
        g[0] *= 1e-9
        g[1] = 0.0
    return rng.standard_normal(13), gradients, [record.lr * rate for rate in RATES]


def _trajectory(
    optimizer: Any, record: Any, name: str, words: str, seed: int
) -> tuple[list[TensorCheck], list[Finding]]:
    start, gradients, rates = _steps(record, seed)
    try:
        hand, changed = _by_hand(optimizer, start, gradients, rates)
    except UserCodeError as error:
        return [TensorCheck(f"w{words}", "could not be checked", note=str(error))], []
    torchs = _by_torch(record, start, gradients, rates)
    findings = []
    if changed:
        findings.append(
            Finding("g", "aliasing", "certain", math.nan, f"In {name}: the gradient is changed in place.", "", name,
                    "the bytes of g differ after the update", tensors=("g",), fix=CATALOGUE["aliasing"].fix)
        )  # fmt: skip
    # What is compared is the way gone, so that a small learning rate does not hide a wrong step behind large weights.
    tolerances = [1e-9 * float(np.abs(a - start).max()) + 1e-15 for a in torchs]
    wrong = any(not np.abs(h - a).max() <= t for h, a, t in zip(hand, torchs, tolerances, strict=True))
    mistake, formula, residual = (
        _explain(record, start, gradients, rates, hand, tolerances) if wrong else ("", "", math.nan)
    )
    verdict = "convention" if mistake in CATALOGUE and CATALOGUE[mistake].convention else "wrong"
    if wrong and all((h == start).all() for h in hand):
        note = "w is as it was after six steps; update(w, g, slots, lr, t) is to change w in place"
        return [TensorCheck(f"w{words}", "could not be checked", note=note)], []
    rows = [
        compare(f"w after step {k}{words}", h - start, a - start, t, f"step {k}", verdict)  # type: ignore[arg-type]
        for k, (h, a, t) in enumerate(zip(hand, torchs, tolerances, strict=True), 1)
    ]
    if wrong:
        first = next(k for k, row in enumerate(rows) if row.verdict != "right")
        known = mistake in CATALOGUE
        said = (
            CATALOGUE[mistake].what
            if known
            else "the steps differ from torch's, and no mistake of the catalogue makes them"
        )
        findings.insert(
            0,
            Finding(rows[first].tensor, mistake or UNKNOWN, "certain" if known else "none", residual,
                    f"In {name}: {said}.", formula, f"{name}, step {first + 1}",
                    f"the way gone after step {first + 1}: {ratios(hand[first] - start, torchs[first] - start)}",
                    "convention" if verdict == "convention" else "wrong", tensors=("w",),
                    fix=CATALOGUE[mistake].fix if known else ""),
        )  # fmt: skip
    return rows, findings


def _by_hand(optimizer: Any, start: Array, gradients: list[Array], rates: list[float]) -> tuple[list[Array], bool]:
    w, changed = start.copy(), False
    record = isinstance(optimizer, Optimizer)
    slots = call("slots", optimizer.slots, w) if record else {}
    update = optimizer.update if record else optimizer
    path = []
    for t, (g, lr) in enumerate(zip(gradients, rates, strict=True), 1):
        given = g.copy()
        call("update", update, w, given, slots, lr, t)
        changed |= given.tobytes() != g.tobytes()
        path.append(w.copy())
    return path, changed


def _by_torch(record: Any, start: Array, gradients: list[Array], rates: list[float]) -> list[Array]:
    w = torch.nn.Parameter(torch.from_numpy(start.copy()))
    optimizer = OPTIMIZERS[type(record)]([w], **vars(record))
    path = []
    for g, lr in zip(gradients, rates, strict=True):
        w.grad = torch.from_numpy(g.copy())
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
        path.append(w.detach().numpy().copy())
    return path


def _explain(
    record: Any, start: Array, gradients: list[Array], rates: list[float], hand: list[Array], tolerances: list[float]
) -> tuple[str, str, float]:
    """The mistake whose trajectory this is: its name, the formula, the residual; three blanks if it is none's."""
    for mistake, formula, update in _mistakes(record):
        w = start.copy()
        memory: dict[str, Any] = {}
        residual, fits = 0.0, True
        for t, (g, lr) in enumerate(zip(gradients, rates, strict=True), 1):
            with np.errstate(all="ignore"):
                update(w, g.copy(), memory, lr, t)
            apart = float(np.abs(w - hand[t - 1]).max())
            fits &= apart <= 3 * tolerances[t - 1]
            residual = max(residual, apart)
        if fits:
            return mistake, formula, residual / float(np.abs(hand[-1] - start).max())
    return "", "", math.nan


def _mistakes(record: Any) -> Iterator[tuple[str, str, Update]]:
    """Every mistake that the optimizer can have, as an update."""
    right = record.update

    def with_slots(update: Any) -> Update:
        def run(w: Array, g: Array, memory: dict[str, Any], lr: float, t: int) -> None:
            if not memory:
                memory.update(record.slots(w))
            update(w, g, memory, lr, t)

        return run

    def step_times(c: float) -> Update:
        return with_slots(lambda w, g, slots, lr, t: _scaled(right, c, w, g, slots, lr, t))

    yield "wrong-sign", "w ← w + step; should be w ← w − step", step_times(-1.0)
    against = with_slots(lambda w, g, slots, lr, t: right(w, -g, slots, lr, t))
    yield "wrong-sign", "the step is that of −g; should be that of g", against
    if isinstance(record, scratch.Adam | scratch.AdamW):
        yield from _adam_mistakes(record)
    if isinstance(record, scratch.SGD) and record.momentum:
        yield from _momentum_conventions(record)
    if isinstance(record, scratch.RMSprop | scratch.AdaGrad):
        yield from _root_mistakes(record)
    if record.weight_decay:
        for c, words in ((2.0, "2 λ"), (0.5, "λ/2"), (-1.0, "−λ"), (0.0, "0")):
            other = dataclasses.replace(record, weight_decay=0.0)
            if c >= 0:
                update = with_slots(dataclasses.replace(record, weight_decay=c * record.weight_decay).update)
            elif isinstance(record, scratch.AdamW):
                update = with_slots(lambda w, g, s, lr, t, o=other: (
                    np.multiply(w, 1 + lr * record.weight_decay, out=w), o.update(w, g, s, lr, t)))  # fmt: skip
            else:
                update = with_slots(lambda w, g, s, lr, t, o=other: o.update(w, g - record.weight_decay * w, s, lr, t))
            yield "penalty-factor", f"the decay is {words} w; should be λ w, λ = {record.weight_decay:g}", update
    for c in (2.0, 0.5):
        yield "constant-factor", f"the step is {c:g} times what it should be", step_times(c)


def _scaled(update: Any, c: float, w: Array, g: Array, slots: Any, lr: float, t: int) -> None:
    before = w.copy()
    update(w, g, slots, lr, t)
    w[:] = before + c * (w - before)


def _adam_mistakes(record: scratch.Adam | scratch.AdamW) -> Iterator[tuple[str, str, Update]]:
    (beta1, beta2), eps, decay = record.betas, record.eps, record.weight_decay
    coupled = isinstance(record, scratch.Adam)

    def adam(
        correct_m: Callable[[int], float],
        correct_v: Callable[[int], float],
        denominator: Callable[[Array, float], Array],
        coupled: bool = coupled,
    ) -> Update:
        def update(w: Array, g: Array, memory: dict[str, Any], lr: float, t: int) -> None:
            if coupled:
                g = g + decay * w
            else:
                w *= 1 - lr * decay
            m = memory["m"] = beta1 * memory.get("m", 0.0) + (1 - beta1) * g
            v = memory["v"] = beta2 * memory.get("v", 0.0) + (1 - beta2) * g * g
            w -= lr * (m / correct_m(t)) / denominator(v, correct_v(t))

        return update

    m_right, v_right = (lambda t: 1 - beta1**t), (lambda t: 1 - beta2**t)
    root = lambda v, c: np.sqrt(v / c) + eps  # noqa: E731
    none = lambda t: 1.0  # noqa: E731
    stuck = "w ← w − lr m̂ / (√v̂ + ε) with t = 1 in every step"
    yield "adam-no-bias-correction", "w ← w − lr m / (√v + ε)", adam(none, none, root)
    yield "adam-no-bias-correction", "w ← w − lr m / (√v̂ + ε)", adam(none, v_right, root)
    yield "adam-no-bias-correction", "w ← w − lr m̂ / (√v + ε)", adam(m_right, none, root)
    yield "adam-no-bias-correction", stuck, adam(lambda _: 1 - beta1, lambda _: 1 - beta2, root)
    yield "adam-eps-placement", "w ← w − lr m̂ / √(v̂ + ε)", adam(m_right, v_right, lambda v, c: np.sqrt(v / c + eps))
    yield (
        "adam-eps-placement",
        "w ← w − lr m̂ / √(v̂ + ε²)",
        adam(m_right, v_right, lambda v, c: np.sqrt(v / c + eps * eps)),
    )
    before = adam(m_right, v_right, lambda v, c: (np.sqrt(v) + eps) / np.sqrt(c))
    yield "adam-eps-placement", "ε is added to √v before the correction", before
    if not coupled and decay:
        words = f"λ w is added to the gradient and divided by √v̂; should be w ← w − lr λ w, λ = {decay:g}"
        yield "decay-coupled", words, adam(m_right, v_right, root, coupled=True)


def _momentum_conventions(record: scratch.SGD) -> Iterator[tuple[str, str, Update]]:
    mu, decay = record.momentum, record.weight_decay

    def momentum(inside: bool, factor: float, first: bool = True) -> Update:
        def update(w: Array, g: Array, memory: dict[str, Any], lr: float, t: int) -> None:
            g = g + decay * w
            scale = factor if first or t > 1 else 1.0
            v = memory["v"] = mu * memory.get("v", 0.0) + scale * (lr if inside else 1.0) * g
            step = scale * (lr if inside else 1.0) * g + mu * v if record.nesterov else v
            w -= step if inside else lr * step

        return update

    yield "momentum-convention", "v ← μ v + lr g, w ← w − v; torch has v ← μ v + g, w ← w − lr v", momentum(True, 1.0)
    yield "momentum-convention", "v ← μ v + (1 − μ) g; torch has v ← μ v + g", momentum(False, 1 - mu)
    yield (
        "momentum-convention",
        "v ← μ v + (1 − μ) g after v = g; torch has v ← μ v + g",
        momentum(False, 1 - mu, False),
    )
    yield (
        "momentum-convention",
        "v ← μ v + lr (1 − μ) g, w ← w − v; torch has v ← μ v + g, w ← w − lr v",
        momentum(True, 1 - mu),
    )


def _root_mistakes(record: scratch.RMSprop | scratch.AdaGrad) -> Iterator[tuple[str, str, Update]]:
    """ε inside the root."""

    def update(w: Array, g: Array, memory: dict[str, Any], lr: float, t: int) -> None:  # noqa: ARG001
        g = g + record.weight_decay * w
        s = memory.get("s", 0.0)
        s = s + g * g if isinstance(record, scratch.AdaGrad) else record.alpha * s + (1 - record.alpha) * g * g
        memory["s"] = s
        u = g / np.sqrt(s + record.eps)
        mu = getattr(record, "momentum", 0.0)
        u = memory["v"] = mu * memory.get("v", 0.0) + u
        w -= lr * u

    yield "adam-eps-placement", "w ← w − lr g / √(s + ε); should be lr g / (√s + ε)", update
