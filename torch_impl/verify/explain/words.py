"""Findings in words: what explains a tensor, and the numbers of one that nothing explains."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from torch_impl.verify.mistakes.catalogue import CATALOGUE
from torch_impl.verify.mistakes.factors import name_factor
from torch_impl.verify.mistakes.shapes import reshaped
from torch_impl.verify.observe.observation import Observation
from torch_impl.verify.report import UNKNOWN, Finding, finding
from torch_impl.verify.tensor import ratios
from torch_impl.verify.tolerances import SLACK
from torch_impl.verify.units.unit import Unit

SIZE_PROBES = ("other sizes", "another batch size", "another width", "one row")


def known(
    unit: Unit, named: Sequence[str], names: Sequence[str], residual: float, place: str, evidence: str
) -> Finding:
    """The finding of a mistake of the catalogue: ``named`` are it, its formula, and what is not told from it."""
    mistake, formula, *ties = named
    tensors = [unit.title(n) for n in names]
    line = "" if place in (unit.name, tensors[0]) else place
    return finding(
        CATALOGUE[mistake], tensors, unit.name, line, formula=formula, evidence=evidence, residual=residual, ties=ties
    )


def from_numbers(unit: Unit, observations: list[Observation], name: str) -> Finding | None:
    """What the arrays alone tell, where there is no tape: other arrays' values, or a constant ratio."""
    evidence = ratios(observations[0].hand[name], observations[0].auto[name])
    for mistake, formula, predict in _rearranged(observations, name):
        if all(o.matches(name, predict(o)) for o in observations):
            residual = max(o.residual(name, predict(o)) / o.scale(name) for o in observations)
            return known(unit, (mistake, formula), [name], residual, "", evidence)
    cs, residual = [], 0.0
    for o in observations:
        hand, auto = np.asarray(o.hand[name]), o.auto[name]
        used = ~np.isnan(auto)
        if hand.shape != auto.shape or not np.any(auto[used]):
            return None
        c = float((hand[used] * auto[used]).sum() / (auto[used] ** 2).sum())
        left = float(np.abs(hand[used] - c * auto[used]).max())
        if left > SLACK * o.tolerance[name] * max(1.0, abs(c)):
            return None
        residual = max(residual, left / o.scale(name))
        cs.append(c)
    named = name_factor(cs, observations)
    return known(unit, named, [name], residual, "", evidence) if named else None


def _rearranged(observations: list[Observation], name: str) -> Iterator[tuple[str, str, Callable[[Observation], Any]]]:
    """Mistakes that need no tape, and what the user's gradient is with each."""
    yield "shape-only", "h holds a's values, in another shape", lambda o: reshaped(o.auto[name], np.shape(o.hand[name]))
    if any(np.any(o.hand[name]) for o in observations):  # of nothing but zeros it is not known
        yield "integer-buffer", "h = a without its fractions", lambda o: np.trunc(o.auto[name])
    for other in (n for n in observations[0].auto if n != name and n in observations[0].hand):
        words = f"h is the gradient of {other}, and that of {other} is this one"
        yield "returned-exchanged", words, lambda o, n=other: o.auto[n] if o.matches(n, o.auto[name]) else np.nan


def unknown(unit: Unit, observations: list[Observation], names: list[str], together: bool) -> list[Finding]:
    """Faults that nothing known explains, with what the numbers show; of several, one finding if ``together``."""
    groups: dict[Any, list[str]] = {}
    told = {name: _numbers(observations, name) for name in names}
    for name in names:
        groups.setdefault(told[name][0] if together else name, []).append(name)
    found = []
    for alike in groups.values():
        text, evidence = told[alike[0]]
        tensors = tuple(unit.title(n) for n in alike)
        found.append(finding(UNKNOWN, tensors, unit.name, text=text, evidence=evidence))
    return found


def _numbers(observations: list[Observation], name: str) -> tuple[str, str]:
    """What an unknown fault looks like in one tensor: a sentence, and the numbers."""
    worst = max(observations, key=lambda o: o.residual(name, o.auto[name]) / max(o.tolerance[name], 1e-300))
    first = next(o for o in observations if o.differs(name))
    text = "the gradient differs from autograd's, and no mistake of the catalogue reproduces the numbers"
    if first is observations[0] and np.isnan(first.hand[name]).any():
        text, worst = (
            "the gradient holds NaN, and autograd's is finite: look for 0/0, log(0) or what is not filled",
            first,
        )
    elif not np.any(worst.hand[name]) and np.any(worst.auto[name]):
        text = "the gradient is zero everywhere, as if it had been forgotten"
    elif first.probe in SIZE_PROBES:
        worst = first
        shapes = ", ".join(f"{n} {v.shape}" for n, v in first.inputs.items() if isinstance(v, np.ndarray))
        text = f"right with the inputs as given, wrong with {first.probe} ({shapes})"
        text += ": a size may be written into backward as a number"
    hand, auto = np.asarray(worst.hand[name]), worst.auto[name]
    evidence = ratios(hand, auto)
    if hand.shape == auto.shape:
        wrong = np.nan_to_num(np.abs(hand - auto), nan=np.inf) > worst.tolerance[name]
        index = tuple(int(i) for i in np.argwhere(wrong)[0]) if wrong.any() else ()
        many = f"{int(wrong.sum()):,} of {wrong.size:,} elements, the first {index}"
        which = f"only element {index}" if wrong.sum() == 1 else many
        evidence = f"{which} with the probe “{worst.probe}”; {evidence}"
    return text, evidence
