"""Why a gradient is wrong: mistakes are put into the reverse pass of the tape until its numbers are the user's.

A hypothesis is one mistake at one place. It is accepted only if it reproduces the user's numbers to rounding with every
probe: other batch sizes and widths, saturated inputs, one row. Several faults are found one after another, each on the
tape that holds those before it.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from torch_impl.verify.mistakes.catalogue import CATALOGUE
from torch_impl.verify.mistakes.hypotheses import hypotheses, name_factor
from torch_impl.verify.report import UNKNOWN, Finding
from torch_impl.verify.trace.tape import reshapes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from torch_impl.verify.mistakes.hypotheses import Hypothesis, Observation
    from torch_impl.verify.trace.tape import Node, Rule, Tape
    from torch_impl.verify.units.unit import Unit

    Array = NDArray[Any]

MOST_STARTS = 5  # explanations of the first wrong tensor that are followed up, where the best ends in an unknown fault
LONG = 300  # nodes; a longer graph, as an unrolled loop makes it, is searched at its ends alone


def explain(
    unit: Unit, observations: list[Observation], wrong: list[str], neighbours: dict[str, Array] | None = None
) -> list[Finding]:
    """Findings for the tensors in ``wrong``, in backward order."""
    first = observations[0]
    present = [o for o in observations if all(name in o.hand for name in wrong)] or [first]
    # A graph that unrolls loops has other nodes at other sizes: those probes can't vouch for a place in it.
    if first.tape is not None:
        structure = [str(n.target) for n in first.tape.nodes]
        with_tape = [o for o in present if o.tape is not None and [str(n.target) for n in o.tape.nodes] == structure]
    else:
        with_tape = []
    # A gradient that is zero everywhere fits by accident where the right one sums to zero: it was forgotten.
    zero = [n for n in wrong if all(not np.any(o.hand[n]) for o in present if n in o.hand)]
    wrong = [n for n in wrong if n not in zero]
    todo, found = list(wrong), []
    if not wrong:
        pass
    elif with_tape:
        chain, todo = _search(unit, with_tape, wrong, neighbours or {})
        found = [_finding(unit, first, link, len(with_tape)) for link in chain]
    else:
        for name in list(todo):
            finding = _from_numbers(unit, present, name)
            if finding is not None:
                found.append(finding)
                todo.remove(name)
    if any(f.mistake == "batch-mean-twice" for f in found):
        # A bias that is averaged beside weights that are averaged: one habit, not two mistakes.
        twice = CATALOGUE["batch-mean-twice"]
        found = [replace(f, mistake=twice.name, explanation=f"In {unit.name}: {twice.what}.", fix=twice.fix)
                 if f.mistake == "bias-not-summed" and "averaged" in f.formula else f for f in found]  # fmt: skip
    return found + [_unknown(unit, present, name) for name in [*todo, *zero]]


# --- the search -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Link:
    """A hypothesis that was accepted, the tensors that it explains, the mistakes that do as well, the residual."""

    hypothesis: Hypothesis
    explained: tuple[str, ...]
    ties: tuple[str, ...]
    residual: float


def _search(
    unit: Unit, observations: list[Observation], wrong: list[str], neighbours: dict[str, Array]
) -> tuple[list[Link], list[str]]:
    """The hypotheses that together explain most of ``wrong``, and what they leave unexplained.

    One after another, each time the best; where that comes to an end too soon, with another first one.
    """
    first = observations[0]
    right = [n for n in first.auto if n in first.hand and n not in wrong]

    def follow(link: Link) -> tuple[list[Link], list[str]]:
        chain = [link]
        while True:
            explained = [n for link in chain for n in link.explained]
            todo = [n for n in wrong if n not in explained]
            applied = [link.hypothesis for link in chain]
            links = _candidates(unit, observations, applied, todo, right + explained, neighbours) if todo else []
            if not links:
                return chain, todo
            chain.append(links[0])

    best: tuple[list[Link], list[str]] = ([], wrong)
    for link in _candidates(unit, observations, [], wrong, right, neighbours)[:MOST_STARTS]:
        found = follow(link)
        if len(found[1]) < len(best[1]):
            best = found
        if not best[1]:
            break
    return best


def _candidates(
    unit: Unit,
    observations: list[Observation],
    applied: list[Hypothesis],
    todo: list[str],
    right: list[str],
    neighbours: dict[str, Array],
) -> list[Link]:
    """The hypotheses that explain something of ``todo`` beside those ``applied``, the best first."""
    first = observations[0]
    assert first.tape is not None
    order = backward_order(first.tape, todo)
    survivors: list[tuple[Hypothesis, list[str], float, int]] = []
    for hypothesis in hypotheses(unit, first, neighbours, len(first.tape.nodes) > LONG):
        tried = _try(observations, applied, hypothesis, todo, right)
        if tried is not None:
            survivors.append((hypothesis, *tried))

    # What makes the first wrong tensor so is where the fault began. Of its explanations the one that explains most;
    # then the one that leaves fewest tensors changed but unexplained; the more specific; the one nearest to the loss.
    def key(s: tuple[Hypothesis, list[str], float, int]) -> tuple[int, ...]:
        hypothesis, explained, _, left = s
        return min(map(order.index, explained)), -len(explained), left, hypothesis.rank, -hypothesis.at

    links: dict[tuple[Any, ...], Link] = {}
    for hypothesis, explained, residual, left in sorted(survivors, key=key):
        names = tuple(n for n in order if n in explained)
        alike = [s[0].mistake for s in survivors if (s[1], s[3], s[0].rank) == (explained, left, hypothesis.rank)]
        ties = tuple(mistake for mistake in dict.fromkeys([*hypothesis.ties, *alike]) if mistake != hypothesis.mistake)
        links.setdefault((names, left, hypothesis.rank), Link(hypothesis, names, ties, residual))
    return list(links.values())


def backward_order(tape: Tape, names: list[str]) -> list[str]:
    """The inputs in the order in which a backward pass reaches them."""

    def first_use(node: Node) -> int:
        users = [first_use(u) if reshapes(u) else tape.index[u] for u in tape.users(node)]
        return max(users, default=-1)

    return sorted(names, key=lambda name: -first_use(tape.leaves[name]))


def _try(
    observations: list[Observation],
    applied: list[Hypothesis],
    hypothesis: Hypothesis,
    todo: list[str],
    right: list[str],
) -> tuple[list[str], float, int] | None:
    """What of ``todo`` the hypothesis explains with every probe, the largest residual, and how much more it changes."""
    explained, residual = list(todo), 0.0
    coefficients: list[float] = []
    vouched = False  # by a probe in which the user's gradient is wrong
    for observation in observations:
        try:
            predicted, c = _fitted(observation, applied, hypothesis, explained)
        except (RuntimeError, KeyError, IndexError, StopIteration):  # it makes no sense at these shapes
            return None
        if predicted is None:
            return None
        coefficients.append(c)
        if hypothesis.retape is not None and not all(np.isfinite(predicted[n]).all() for n in explained):
            continue  # without its clipping the loss has no gradient there: this probe can't vouch for it
        explained = [n for n in explained if n in predicted and observation.matches(n, predicted[n])]
        vouched |= any(not observation.matches(n, observation.auto[n]) for n in explained)
        if not explained or not all(observation.matches(n, predicted[n]) for n in right if n in predicted):
            return None
        residual = max([residual, *(observation.residual(n, predicted[n]) / observation.scale(n) for n in explained)])
    if not vouched:
        return None
    if hypothesis.free:
        assert hypothesis.name_of is not None
        named = hypothesis.name_of(coefficients, observations)
        if named is None:
            return None
        hypothesis.mistake, hypothesis.formula, *others = named
        hypothesis.ties = tuple(others)
    hypothesis.coefficients = {o.probe: c for o, c in zip(observations, coefficients, strict=True)}
    before = _predict(observations[0], applied, None, 0.0)
    after = _fitted(observations[0], applied, hypothesis, explained)[0] or before
    more = sum(
        n not in explained and np.shape(after[n]) == np.shape(before[n])
        and not observations[0].matches_each(n, after[n], before[n])
        for n in todo if n in after
    )  # fmt: skip
    return explained, residual, more


def _fitted(
    observation: Observation, applied: list[Hypothesis], hypothesis: Hypothesis, names: list[str]
) -> tuple[dict[str, Any] | None, float]:
    """The prediction, with the unknown number fitted to the tensor that it explains."""
    if not hypothesis.free:
        return _predict(observation, applied, hypothesis, 0.0), 0.0
    zero, one = (_predict(observation, applied, hypothesis, c) for c in (0.0, 1.0))
    best: tuple[int, dict[str, Any] | None, float] = (0, None, math.nan)
    for name in names:
        if np.shape(zero[name]) != np.shape(observation.hand[name]):
            continue
        slope = one[name] - zero[name]
        size = float((slope * slope).sum())
        if not math.isfinite(size) or size <= (1e-9 * observation.scale(name)) ** 2:
            continue
        c = float((slope * (observation.hand[name] - zero[name])).sum() / size)
        if not math.isfinite(c) or not observation.matches(name, zero[name] + c * slope):
            continue
        # Another tensor may have another fault, and another number with it: the number that explains most is the one.
        predicted = {n: zero[n] + c * (one[n] - zero[n]) for n in zero}
        count = sum(observation.matches(n, predicted[n]) for n in names)
        if count > best[0]:
            best = count, predicted, c
    return best[1:]


def _predict(
    observation: Observation, applied: Iterable[Hypothesis], hypothesis: Hypothesis | None, c: float
) -> dict[str, Any]:
    """The gradients by name, with the mistakes in."""
    tape = observation.tape
    assert tape is not None
    chosen = [(h, _coefficient(h, observation)) for h in applied] + (
        [(hypothesis, c)] if hypothesis is not None else []
    )
    for h, _ in chosen:
        if h.retape is not None:
            tape = h.retape(tape)
    rules: dict[Node, list[Rule]] = {}
    for h, value in chosen:
        for node, rule in h.rules(tape, value).items():
            rules.setdefault(node, []).extend(rule)
    arrived = tape.backward(observation.seeds(), rules)
    return {
        name: arrived[leaf].numpy() if leaf in arrived else np.zeros(tape.values[leaf].shape)
        for name, leaf in tape.leaves.items()
        if name in observation.hand
    }


def _coefficient(hypothesis: Hypothesis, observation: Observation) -> float:
    return hypothesis.coefficients[observation.probe] if hypothesis.free else 0.0


# --- in words ---------------------------------------------------------------------------------------------------------


def _finding(unit: Unit, observation: Observation, link: Link, n_probes: int) -> Finding:
    hypothesis, explained, residual = link.hypothesis, link.explained, link.residual
    mistake = CATALOGUE[hypothesis.mistake]
    place = hypothesis.place
    tensors = tuple(unit.title(n) for n in explained)
    also = f" It makes {', '.join(tensors)} wrong." if len(tensors) > 1 else ""
    probes = f"reproduces the numbers to {residual:.0e} with {n_probes} probe{'s' * (n_probes != 1)}"
    return Finding(
        tensors[0],
        hypothesis.mistake,
        "tie" if link.ties else "certain",
        residual,
        f"In {unit.name}: {mistake.what}.{also}",
        hypothesis.formula,
        unit.name if place in (unit.name, tensors[0], "") else f"{unit.name}, {place}",
        f"{probes}; {ratios(observation.hand[explained[0]], observation.auto[explained[0]])}",
        "convention" if mistake.convention else "wrong",
        link.ties,
        tensors,
        mistake.fix,
    )


def _from_numbers(unit: Unit, observations: list[Observation], name: str) -> Finding | None:
    """What the two arrays alone tell, where there is no tape: a constant ratio, or the transpose."""
    cs: list[float] = []
    residual = 0.0
    for o in observations:
        hand, auto = np.asarray(o.hand[name]), o.auto[name]
        known = ~np.isnan(auto)
        if hand.shape != auto.shape or not np.any(auto[known]):
            cs = []
            break
        c = float((hand[known] * auto[known]).sum() / (auto[known] ** 2).sum())
        left = float(np.abs(hand[known] - c * auto[known]).max())
        if left > 3 * o.tolerance[name] * max(1.0, abs(c)):
            cs = []
            break
        residual = max(residual, left / o.scale(name))
        cs.append(c)
    named: tuple[str, ...] | None = name_factor(cs, observations, False) if cs else None
    first = observations[0]
    if named is None:
        hand, auto = np.asarray(first.hand[name]), first.auto[name]
        for axes in itertools.permutations(range(auto.ndim)) if 1 < auto.ndim <= 4 else ():
            turned = auto.transpose(axes)
            fits = hand.size == auto.size and np.abs(hand.ravel() - turned.ravel()).max() <= 3 * first.tolerance[name]
            if axes != tuple(range(auto.ndim)) and fits:
                named, residual = ("transposed", f"h = a with its axes in the order {axes}"), first.tolerance[name]
                break
    if named is None:
        return None
    mistake, formula, *ties = named
    return Finding(
        unit.title(name), mistake, "tie" if ties else "certain", residual,
        f"In {unit.name}: {CATALOGUE[mistake].what}.",
        formula, unit.name, ratios(first.hand[name], first.auto[name]), ties=tuple(ties), tensors=(unit.title(name),),
        fix=CATALOGUE[mistake].fix,
    )  # fmt: skip


def _unknown(unit: Unit, observations: list[Observation], name: str) -> Finding:
    """A fault that nothing known explains, with what the numbers show."""
    worst = max(observations, key=lambda o: o.residual(name, o.auto[name]) / max(o.tolerance[name], 1e-300))
    first = next(o for o in observations if o.differs(name))
    hand, auto = np.asarray(worst.hand[name]), worst.auto[name]
    text = (
        f"In {unit.name}: the gradient differs from autograd's, and no mistake of the catalogue reproduces the numbers."
    )
    if not np.any(hand) and np.any(auto):
        text = f"In {unit.name}: the gradient is zero everywhere, as if it had been forgotten."
    elif first.probe in ("other sizes", "another batch size", "another width", "one row"):
        worst, hand, auto = first, np.asarray(first.hand[name]), first.auto[name]
        shapes = ", ".join(f"{n} {v.shape}" for n, v in first.inputs.items() if isinstance(v, np.ndarray))
        text = (
            f"In {unit.name}: right with the inputs as given, wrong with {first.probe} ({shapes}): a size may be "
            "written into backward as a number."
        )
    evidence = ratios(hand, auto)
    if hand.shape == auto.shape:
        wrong = np.nan_to_num(np.abs(hand - auto), nan=np.inf) > worst.tolerance[name]
        index = tuple(int(i) for i in np.argwhere(wrong)[0]) if wrong.any() else ()
        which = (
            f"only element {index}"
            if wrong.sum() == 1
            else f"{int(wrong.sum()):,} of {wrong.size:,} elements, the first {index}"
        )
        evidence = f"{which} with the probe “{worst.probe}”; {evidence}"
    return Finding(
        unit.title(name), UNKNOWN, "none", math.nan, text, "", unit.name, evidence, tensors=(unit.title(name),)
    )


def ratios(hand: Any, auto: Array) -> str:
    """In a phrase: the range of h/a, or the shapes where they differ."""
    hand = np.asarray(hand)
    if hand.shape != auto.shape:
        return f"h has shape {hand.shape}, a {auto.shape}"
    if not np.isfinite(hand).all():
        strange = hand[~np.isfinite(hand)]
        return f"h holds {strange[0]} in {strange.size:,} of {hand.size:,} elements"
    apart = np.abs(hand - auto)
    index = tuple(int(i) for i in np.unravel_index(apart.argmax(), apart.shape)) if apart.size else ()
    text = f"at {index} h = {hand[index]:.6g}, a = {auto[index]:.6g}" if apart.size else ""
    used = np.abs(auto) > 1e-9 * (np.abs(auto).max(initial=0) or 1)
    if used.sum() > 1:
        r = hand[used] / auto[used]
        text += f"; h/a from {r.min():.4g} to {r.max():.4g}"
    return text
