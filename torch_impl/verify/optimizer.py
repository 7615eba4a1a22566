"""Optimizers as trajectories: several steps, a change of learning rate, a tiny gradient, weight decay on."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from scratch import checks
from scratch.optim import Optimizer
from torch_impl.counterparts import OPTIMIZERS
from torch_impl.verify.explain.words import ratios
from torch_impl.verify.mistakes.catalogue import CATALOGUE
from torch_impl.verify.mistakes.optimizers import wrong_updates
from torch_impl.verify.report import UNKNOWN, Finding, Report, Section, TensorCheck, compare
from torch_impl.verify.units.unit import UserCodeError, call

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from torch_impl.verify.mistakes.optimizers import Update

    Array = NDArray[Any]

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
                    "the bytes of g differ after the update", tensors=("g",))
        )  # fmt: skip
    # What is compared is the way gone, so that a small learning rate does not hide a wrong step behind large weights.
    tolerances = [1e-9 * float(np.abs(a - start).max()) + 1e-15 for a in torchs]
    wrong = any(not np.abs(h - a).max() <= t for h, a, t in zip(hand, torchs, tolerances, strict=True))
    mistake, formula, residual = (
        _explain(record, start, gradients, rates, hand, tolerances) if wrong else ("", "", math.nan)
    )
    verdict = "convention" if mistake and CATALOGUE[mistake].kind == "convention" else "wrong"
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
                    "convention" if verdict == "convention" else "wrong", tensors=("w",)),
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
    for mistake, formula, update in wrong_updates(record):
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
