"""Why a gradient is wrong: mistakes are put into the reverse pass of the tape until its numbers are the user's.

A :class:`Hypothesis` is one mistake at one place. It is accepted only if it reproduces the user's numbers to rounding with
every probe: other batch sizes and widths, saturated inputs, one row. Several faults are found one after another, each on
the tape that holds those before it.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from torch_impl.verify.catalogue import CATALOGUE
from torch_impl.verify.forwards import clips, without_clipping
from torch_impl.verify.report import UNKNOWN, Finding
from torch_impl.verify.tape import line, reshapes, same

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray
    from torch import fx

    from torch_impl.verify.tape import Rule, Tape
    from torch_impl.verify.unit import Inputs, Unit

    Array = NDArray[Any]

MOST_PASSES = 60_000  # nodes gone through in one search; beyond it, a longer graph is searched at its ends alone


@dataclass
class Observation:
    """What came out with one probe: the user's gradients, the reference's, and how far rounding alone may part them."""

    probe: str
    unit: Unit
    inputs: Inputs
    upstream: tuple[Any, ...]
    hand: dict[str, Any]
    auto: dict[str, Array]
    tolerance: dict[str, float]
    sizes: dict[str, int]
    tape: Tape | None = None

    def seeds(self) -> list[torch.Tensor]:
        return [torch.from_numpy(np.array(u, dtype=np.float64)) for u in self.upstream]

    def matches(self, name: str, predicted: Any) -> bool:
        """Whether ``predicted`` is the user's gradient, to rounding."""
        return self.residual(name, predicted) <= 3 * self.tolerance[name] + 1e-10 * self.scale(name)

    def residual(self, name: str, predicted: Any) -> float:
        """The largest difference between the user's gradient and ``predicted``; infinite for other shapes."""
        hand, predicted = np.asarray(self.hand[name]), np.asarray(predicted)
        if hand.shape != predicted.shape:
            return math.inf
        apart = np.abs(hand - predicted)
        return float(np.nan_to_num(apart, nan=np.inf).max(initial=0))

    def matches_each(self, name: str, a: Any, b: Any) -> bool:
        """Whether two predictions are the same, to rounding."""
        return float(np.abs(np.asarray(a) - np.asarray(b)).max(initial=0)) <= 3 * self.tolerance[name]

    def scale(self, name: str) -> float:
        """The largest element of the reference's gradient, or of the user's where that is larger."""
        hand = np.abs(np.asarray(self.hand[name]))
        largest = max(float(np.abs(self.auto[name]).max(initial=0)), float(hand[np.isfinite(hand)].max(initial=0)))
        return largest or 1.0


@dataclass
class Hypothesis:
    """One mistake at one place of the tape.

    ``rules(tape, c)`` are the exchanged rules by node, or a whole other tape (a backward that belongs to another forward).
    With ``free`` they are linear in an unknown number c, which is fitted; ``name_of`` then says from its values with every
    probe which mistake it is, and what c is.
    """

    slug: str
    rank: int
    at: int  # index of the node: findings are listed in backward order
    rules: Callable[[Tape, float], dict[fx.Node, list[Rule]]]
    formula: str = ""
    place: str = ""
    free: bool = False
    name_of: Callable[[Sequence[float], Sequence[Observation]], tuple[str, str] | None] | None = None
    retape: Callable[[Tape], Tape] | None = None
    evidence: str = ""
    coefficients: dict[str, float] = field(default_factory=dict)  # c by probe


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
    todo, found = list(wrong), []
    applied: list[Hypothesis] = []
    if with_tape:
        right = [n for n in first.auto if n in first.hand and n not in wrong]
        while todo:
            best = _best(unit, with_tape, applied, todo, right, neighbours or {})
            if best is None:
                break
            hypothesis, explained, ties, residual = best
            applied.append(hypothesis)
            found.append(_finding(unit, first, hypothesis, explained, ties, residual, len(with_tape)))
            todo = [n for n in todo if n not in explained]
            right += explained
    else:
        for name in list(todo):
            finding = _from_numbers(unit, present, name)
            if finding is not None:
                found.append(finding)
                todo.remove(name)
    if any(f.mistake == "batch-mean-twice" for f in found):
        # A bias that is averaged beside weights that are averaged: one habit, not two mistakes.
        found = [replace(f, mistake="batch-mean-twice", explanation=f"In {unit.name}: {CATALOGUE['batch-mean-twice'].what}.")
                 if f.mistake == "bias-not-summed" and "averaged" in f.formula else f for f in found]  # fmt: skip
    found += [_unknown(unit, present, name) for name in todo]
    return found


# --- the search -------------------------------------------------------------------------------------------------------


def _best(
    unit: Unit,
    observations: list[Observation],
    applied: list[Hypothesis],
    todo: list[str],
    right: list[str],
    neighbours: dict[str, Array],
) -> tuple[Hypothesis, list[str], list[str], float] | None:
    """The hypothesis that explains most of ``todo`` beside those ``applied``; what it explains; ties; what it leaves."""
    first = observations[0]
    assert first.tape is not None
    order = _backward_order(first.tape, todo)
    survivors: list[tuple[Hypothesis, list[str], float, int]] = []
    for hypothesis in _hypotheses(unit, first, neighbours, len(first.tape.nodes) > 300):
        tried = _try(observations, applied, hypothesis, todo, right)
        if tried is not None:
            survivors.append((hypothesis, *tried))
    for name in order:
        # What makes the first wrong tensor so is where the fault began. Of its explanations the one that explains most;
        # then the one that leaves fewest tensors changed but unexplained; the more specific; the one nearest to the loss.
        fitting = [s for s in survivors if name in s[1]]
        if not fitting:
            continue
        hypothesis, explained, residual, left = min(fitting, key=lambda s: (-len(s[1]), s[3], s[0].rank, -s[0].at))
        alike = [s[0].slug for s in fitting if (s[1], s[3], s[0].rank) == (explained, left, hypothesis.rank)]
        ties = [slug for slug in dict.fromkeys(alike) if slug != hypothesis.slug]
        return hypothesis, [n for n in order if n in explained], ties, residual
    return None


def _backward_order(tape: Tape, names: list[str]) -> list[str]:
    """The inputs in the order in which a backward pass reaches them."""

    def first_use(node: fx.Node) -> int:
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
    """What of ``todo`` the hypothesis explains with every probe, the largest residual left, and how much more it changes."""
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
        hypothesis.slug, hypothesis.formula = named
    hypothesis.coefficients = {o.probe: c for o, c in zip(observations, coefficients, strict=True)}
    before = _predict(observations[0], applied, None, 0.0)
    after = _fitted(observations[0], applied, hypothesis, explained)[0] or before
    more = sum(
        n not in explained and np.shape(after[n]) == np.shape(before[n]) and not observations[0].matches_each(n, after[n], before[n])
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
    for name in names:
        if np.shape(zero[name]) != np.shape(observation.hand[name]):
            continue
        slope = one[name] - zero[name]
        size = float((slope * slope).sum())
        if not math.isfinite(size) or size <= (1e-9 * observation.scale(name)) ** 2:
            continue
        c = float((slope * (observation.hand[name] - zero[name])).sum() / size)
        if math.isfinite(c) and observation.matches(name, zero[name] + c * slope):
            return {n: zero[n] + c * (one[n] - zero[n]) for n in zero}, c
    return None, math.nan


def _predict(
    observation: Observation, applied: Iterable[Hypothesis], hypothesis: Hypothesis | None, c: float
) -> dict[str, Any]:
    """The gradients by name, with the mistakes in."""
    tape = observation.tape
    assert tape is not None
    chosen = [(h, _coefficient(h, observation)) for h in applied] + ([(hypothesis, c)] if hypothesis is not None else [])
    for h, _ in chosen:
        if h.retape is not None:
            tape = h.retape(tape)
    rules: dict[fx.Node, list[Rule]] = {}
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


# --- the hypotheses ---------------------------------------------------------------------------------------------------


def _hypotheses(
    unit: Unit, observation: Observation, neighbours: dict[str, Array], ends_only: bool
) -> Iterator[Hypothesis]:
    tape = observation.tape
    assert tape is not None
    yield from _at_leaves(unit, tape)
    yield from _scales(unit, tape, ends_only)
    if ends_only:
        return
    regions = list(_regions(tape))
    local = [h for u, v in regions for h in _activation(unit, tape, u, v, regions, neighbours)]
    local += _dropouts(tape)
    yield from local
    yield from _repeated(local)
    yield from _softmaxes(unit, tape)
    yield from _shortcuts(unit, tape)
    yield from _normalisations(unit, tape)
    yield from _products(unit, tape)
    yield from _gamma_of_one(unit, tape)
    yield from _clipping(tape)


def _repeated(hypotheses: list[Hypothesis]) -> Iterator[Hypothesis]:
    """The same mistake wherever one line runs: in every step of a loop, in every call of a function."""
    groups: dict[tuple[str, str, str], list[Hypothesis]] = {}
    for h in hypotheses:
        groups.setdefault((h.slug, h.formula, h.place), []).append(h)
    for (slug, formula, place), members in groups.items():
        if len(members) < 2 or not place or len({h.at for h in members}) < len(members):
            continue

        def rules(tape: Tape, c: float, members: list[Hypothesis] = members) -> dict[fx.Node, list[Rule]]:
            return {node: rule for h in members for node, rule in h.rules(tape, c).items()}

        yield Hypothesis(slug, members[0].rank, max(h.at for h in members), rules, formula, f"{place} (wherever it runs)")


def _rule_at(i: int, rule: Callable[[Tape, torch.Tensor, float], Any]) -> Callable[[Tape, float], dict[fx.Node, list[Rule]]]:
    """Rules with one at the node of index i."""
    return lambda tape, c: {tape.nodes[i]: [lambda t, g: rule(t, g, c)]}


def _scales(unit: Unit, tape: Tape, ends_only: bool) -> Iterator[Hypothesis]:
    """The gradient at one node, times a number that is fitted: -1, B, 1/B, 2, ..."""
    dropouts = {p for _, v in _regions(tape, dropout=True) for p in (v, *_pointwise_around(tape, v))}
    ends = {*tape.leaves.values(), *tape.outputs}
    penalised = {leaf for name, leaf in tape.leaves.items() if name in unit.parameters}
    data = {*tape.leaves.values()} - penalised
    for i, node in enumerate(tape.nodes):
        if node not in tape.variable or isinstance(tape.values[node], list | tuple):
            continue
        if ends_only and node not in ends:
            continue
        leaf = next((name for name, n in tape.leaves.items() if n is node), None)
        if reshapes(node) and node not in tape.outputs:
            continue  # the same as at the node that it reshapes
        mask = node in dropouts
        if leaf is None and tape.values[node].numel() == 1 and penalised >= {n for n in tape.ancestors(node) if n in data or n in penalised}:
            reached = [n for n, l in tape.leaves.items() if l in tape.ancestors(node)]
            biases = all(_is_bias(unit, tape, n) for n in reached)
            yield Hypothesis(
                "penalty-factor", 1, i, _rule_at(i, lambda _, g, c: g * c), place=line(node), free=True,
                name_of=lambda cs, _, biases=biases: _name_penalty(cs, biases),
            )  # fmt: skip
            continue
        yield Hypothesis(
            "constant-factor",
            2 if leaf is None or node in tape.outputs else 3,
            i,
            _rule_at(i, lambda _, g, c: g * c),
            place=line(node) if leaf is None else unit.title(leaf),
            free=True,
            name_of=lambda cs, obs, mask=mask, i=i: _name_factor(cs, obs, mask, i),
        )


def _is_bias(unit: Unit, tape: Tape, name: str) -> bool:
    """A parameter called so, or a vector beside matrices."""
    last = name.rsplit(".", 1)[-1].lower()
    ndims = [tape.values[tape.leaves[n]].ndim for n in unit.parameters if n in tape.leaves]
    return last.startswith("b") or (tape.values[tape.leaves[name]].ndim < max(ndims) and not last.startswith(("w", "theta")))


def _name_penalty(cs: Sequence[float], biases: bool) -> tuple[str, str] | None:
    """A factor of the part of the loss that depends on the parameters alone."""
    if all(abs(c - 1) < 1e-7 for c in cs):
        return None
    if biases and all(abs(c) < 1e-7 for c in cs):
        return "penalty-on-bias", "the penalty's gradient is left out of the bias"
    words = f"{_short(cs[0])} times" if max(cs) - min(cs) < 1e-7 * max(1.0, abs(cs[0])) else "by a factor that follows a size"
    return "penalty-factor", f"the penalty's gradient is taken {words}"


def _name_factor(
    cs: Sequence[float], observations: Sequence[Observation], dropout: bool, i: int
) -> tuple[str, str] | None:
    """The slug of a constant ratio, and the ratio in words: the size that it follows from probe to probe, or a number."""

    def follows(values: Sequence[float]) -> bool:
        return all(abs(c - v) <= 1e-7 * max(1.0, abs(v)) for c, v in zip(cs, values, strict=True))

    if follows([1.0] * len(cs)):
        return None
    if follows([-1.0] * len(cs)):
        return "wrong-sign", "h = −a"
    if dropout:
        found = _name_dropout_factor(cs, observations, i)
        if found:
            return "dropout-scale", found
    sizes = [o.sizes for o in observations]
    # One name for each length that differs from the others with some probe.
    columns = {tuple(s[n] for s in sizes): n for n in reversed(sizes[0]) if all(n in s for s in sizes)}
    names = sorted((n for values, n in columns.items() if max(values) > 1), key=list(sizes[0]).index)
    batch = "B"
    several = len({s[batch] for s in sizes}) > 1
    for power, slug in ((1, "missing-batch-mean"), (2, "missing-batch-mean"), (-1, "batch-mean-twice"), (-2, "batch-mean-twice")):
        if several and follows([float(s[batch]) ** power for s in sizes]):
            words = {1: "h = B a", 2: "h = B² a", -1: "h = a / B", -2: "h = a / B²"}[power]
            return slug, f"{words}, B the batch size ({', '.join(str(s[batch]) for s in sizes)} with the probes)"
    exponents = (0, 1, -1, 2, -2)
    for powers in itertools.product(exponents, repeat=min(len(names), 4)):
        used = [(n, p) for n, p in zip(names, powers, strict=False) if p]
        if not used or len(used) > 3 or sum(abs(p) for _, p in used) > 3:
            continue
        values = [math.prod(float(s[n]) ** p for n, p in used) for s in sizes]
        if len({round(v, 12) for v in values}) > 1 and follows(values):
            return "wrong-divisor", "h = a · " + _monomial(used) + f" ({', '.join(f'{v:g}' for v in values)} with the probes)"
    for n in names:
        for ratio, words in ((lambda k: (k - 1) / k, f"({n} − 1)/{n}"), (lambda k: k / (k - 1), f"{n}/({n} − 1)")):
            if all(s[n] > 1 for s in sizes) and len({s[n] for s in sizes}) > 1 and follows([ratio(s[n]) for s in sizes]):
                return "wrong-divisor", f"h = a · {words}"
    if not follows([cs[0]] * len(cs)) or abs(cs[0]) < 1e-6:
        return None  # a gradient of zero is no factor
    return "constant-factor", f"h = {_short(cs[0])} a, with every size that was tried"


def _name_dropout_factor(cs: Sequence[float], observations: Sequence[Observation], i: int) -> str:
    """The ratio as a function of p, the probability to drop, where the mask's scale tells it."""
    for o in observations:
        assert o.tape is not None
        for _, v in _regions(o.tape, dropout=True):
            scale = _mask_scale(o.tape, v)
            p = None if scale is None or scale <= 1 else 1 - 1 / scale
            if p is None:
                continue
            known = {"1 − p": 1 - p, "1/(1 − p)": 1 / (1 - p), "p/(1 − p)": p / (1 - p), "(1 − p)/p": (1 - p) / p, "p": p, "1/p": 1 / p}  # fmt: skip
            for words, value in known.items():
                if all(abs(c - value) <= 1e-7 * value for c in cs):
                    return f"h = a · {words}, p = {p:.3g} the probability to drop"
    return ""


def _monomial(used: list[tuple[str, int]]) -> str:
    def power(name: str, p: int) -> str:
        return name + {1: "", 2: "²", 3: "³"}[abs(p)]

    above = " ".join(power(n, p) for n, p in used if p > 0) or "1"
    below = " ".join(power(n, p) for n, p in used if p < 0)
    return above if not below else f"{above} / ({below})"


def _at_leaves(unit: Unit, tape: Tape) -> Iterator[Hypothesis]:
    """Mistakes in the gradient of one input that go no further."""
    for name, leaf in tape.leaves.items():
        if leaf not in tape.variable:
            continue
        i, value, place = tape.index[leaf], tape.values[leaf], unit.title(name)
        for axes in itertools.permutations(range(value.ndim)) if 1 < value.ndim <= 4 else ():
            if axes == tuple(range(value.ndim)):
                continue
            shape = tuple(value.shape[a] for a in axes)
            words = "aᵀ" if value.ndim == 2 else f"a with its axes in the order {axes}"
            yield Hypothesis(
                "transposed", 0, i, _rule_at(i, lambda _, g, c, a=axes: g.permute(a).contiguous()), f"h = {words}", place
            )
            if shape == tuple(value.shape):
                continue
            yield Hypothesis(
                "transposed", 0, i,
                _rule_at(i, lambda _, g, c, a=axes: g.permute(a).reshape(g.shape)),
                f"h = {words}, read into the shape of a", place,
            )  # fmt: skip
            yield Hypothesis(
                "transposed", 0, i,
                _rule_at(i, lambda _, g, c, a=axes, s=shape: g.reshape([g.shape[k] for k in a])),
                "h holds a's elements in a's order, in another shape", place,
            )  # fmt: skip
        yield from _not_summed(tape, name, leaf, place)
        if name in unit.parameters:
            yield from _penalties(unit, tape, name, i, place)


def _penalties(unit: Unit, tape: Tape, name: str, i: int, place: str) -> Iterator[Hypothesis]:
    """A multiple of the parameter itself on top: of all of it, or of what is or is not its bias."""
    ndim = tape.values[tape.leaves[name]].ndim
    # A bias may stand in the first or last place of a vector, or in a column or row of a matrix.
    bias: dict[str, Any] = {"[0]": (0,), "[-1]": (-1,)} if ndim == 1 else {}
    if ndim == 2:
        bias = {"[:, 0]": (slice(None), 0), "[:, -1]": (slice(None), -1), "[0]": (0,), "[-1]": (-1,)}

    def weight(value: torch.Tensor, index: Any, only: bool) -> torch.Tensor:
        mask = torch.zeros_like(value) if only else torch.ones_like(value)
        if index is not None:
            mask[index] = 1.0 if only else 0.0
        return value * mask

    parts = [("", None, False, "penalty-on-bias" if _is_bias(unit, tape, name) else "penalty-factor")]
    parts += [(words, index, True, "penalty-on-bias") for words, index in bias.items()]
    parts += [(f" without {name}{words}", index, False, "penalty-factor") for words, index in bias.items()]
    for words, index, only, slug in parts:

        def name_of(
            cs: Sequence[float], observations: Sequence[Observation], slug: str = slug, words: str = words
        ) -> tuple[str, str] | None:
            if abs(cs[0]) < 1e-12:
                return None
            for power, size in ((0, ""), (1, "/B"), (-1, " B")):  # λ, or λ/B with the mean
                constant = [c * o.sizes["B"] ** power for c, o in zip(cs, observations, strict=True)]
                if max(constant) - min(constant) <= 1e-7 * max(1.0, abs(constant[0])):
                    sign = "+" if cs[0] > 0 else "−"
                    return slug, f"h = a {sign} {_short(abs(constant[0]))}{size} {name}{words}"
            return None

        yield Hypothesis(
            slug, 1, i,
            _rule_at(i, lambda t, g, c, index=index, only=only: g + c * weight(t.values[t.leaves[name]], index, only)),
            place=place, free=True, name_of=name_of,
        )  # fmt: skip


def _not_summed(tape: Tape, name: str, leaf: fx.Node, place: str) -> Iterator[Hypothesis]:
    """A parameter that is broadcast: its gradient is a sum over the axes that it was broadcast along."""
    users = tape.users(leaf)
    node = leaf
    while len(users) == 1 and reshapes(users[0]) and tape.values[users[0]].numel() == tape.values[leaf].numel():
        node, users = users[0], tape.users(users[0])
    value = tape.values[leaf]
    if len(users) != 1 or not isinstance(tape.values[users[0]], torch.Tensor):
        return
    i, user = tape.index[leaf], tape.index[users[0]]
    if tape.values[users[0]].numel() <= value.numel() or value.ndim > 2:
        return
    argument = tape.index[node]

    def unreduced(t: Tape, arrived: torch.Tensor) -> torch.Tensor | None:
        u, n = t.nodes[user], t.nodes[argument]
        if reshapes(u):
            return arrived
        wide = t.values[n].expand(t.values[u].shape).clone().requires_grad_()
        with torch.enable_grad():
            lookup = lambda a: wide if a is n else t.values[a]  # noqa: E731
            out = u.target(*torch.fx.node.map_arg(u.args, lookup), **torch.fx.node.map_arg(u.kwargs, lookup))  # type: ignore[operator]
        return torch.autograd.grad(out, wide, arrived, allow_unused=True)[0]

    def variant(of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Callable[[Tape, float], dict[fx.Node, list[Rule]]]:
        def rules(tape: Tape, c: float) -> dict[fx.Node, list[Rule]]:  # noqa: ARG001
            kept: dict[str, torch.Tensor] = {}

            def keep(_: Tape, g: torch.Tensor) -> torch.Tensor:
                kept["g"] = g
                return g

            def exchange(t: Tape, g: torch.Tensor) -> torch.Tensor:
                wide = unreduced(t, kept["g"])
                return g if wide is None else of(wide, g)

            return {tape.nodes[user]: [keep], tape.nodes[i]: [exchange]}

        return rules

    last = users[0]
    while reshapes(last) or (len(last.all_input_nodes) == 1 and _packet(last) is torch.ops.aten.mul):
        last = next(iter(tape.users(last)), None) or tape.outputs[0]
        if last in tape.outputs:
            break
    additive = _packet(last) in (torch.ops.aten.add, torch.ops.aten.sub)
    letter = "δ" if additive else "δ x̂"
    ndim = tape.values[users[0]].ndim
    variants: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
        f"h = {letter}, not summed": lambda w, g: w,
        f"h = Σ over everything, the same number in every entry; a = Σ {letter}": lambda w, g: w.sum().expand(g.shape),
        f"h = Σ over everything, one number; a = Σ {letter}": lambda w, g: w.sum(),
        f"h = the first row of {letter}": lambda w, g: w[0].reshape(g.shape),
    }
    for n in range(1, ndim + 1):
        for axes in itertools.combinations(range(ndim), n):
            words = f"over axis {', '.join(map(str, axes))}"
            variants[f"h = {letter} summed {words}; a sums over all that it was broadcast along"] = (
                lambda w, g, axes=axes: w.sum(dim=axes)
            )
            if additive:
                variants[f"h = {letter} averaged {words}; a = Σ {letter}"] = (
                    lambda w, g, axes=axes: _as(w.mean(dim=axes), g)
                )
    for formula, of in variants.items():
        yield Hypothesis("bias-not-summed", 1, i, variant(of), formula, place)


def _as(value: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """In the shape of ``like``, where it has as many elements."""
    return value.reshape(like.shape) if value.numel() == like.numel() else value


def _regions(tape: Tape, dropout: bool = False) -> Iterator[tuple[fx.Node, fx.Node]]:
    """Pairs (u, v) where v is an elementwise function of u alone; with ``dropout``, a product with a mask of zeros."""
    for v in tape.nodes:
        value = tape.values.get(v)
        if v not in tape.variable or not isinstance(value, torch.Tensor) or not value.is_floating_point():
            continue
        sources = tape.sources(v)
        if dropout:
            if _mask_scale(tape, v) is not None:
                yield next(a for a in v.all_input_nodes if a in tape.variable), v
            continue
        if len(sources) != 1:
            continue
        (u,) = sources
        if u is v or u not in tape.variable or reshapes(v) or _mask_scale(tape, v) is not None:
            continue
        # The end of a chain, or what the chain has of a known activation: what lies between is no function of its own.
        slope = tape.derivative(u, v)
        if slope is not None and slope.numel() > 1 and not same(slope, slope.flatten()[0].expand(slope.shape)):
            yield u, v
    if not dropout:
        yield from _inner_regions(tape)


def _inner_regions(tape: Tape) -> Iterator[tuple[fx.Node, fx.Node]]:
    """An activation right after another one: v is a function of an output of a known activation."""
    activated = {v for v in tape.nodes if v in tape.variable and _known(tape, v)}
    for v in tape.nodes:
        if v in tape.variable and v not in activated:
            continue
        for u in activated:
            if u is not v and v in activated and u in tape.ancestors(v) and tape.only_through(u, v):
                slope = tape.derivative(u, v)
                if slope is not None and slope.shape == tape.values[u].shape:
                    yield u, v


# Activations by name, and their derivatives as functions of their *output*.
_ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "exp": torch.exp,
    "softplus": torch.nn.functional.softplus,
    "silu": torch.nn.functional.silu,
    "gelu": torch.nn.functional.gelu,
}
_BY_OUTPUT: dict[str, tuple[str, Callable[[torch.Tensor], torch.Tensor]]] = {
    "sigmoid": ("a (1 − a)", lambda a: a * (1 - a)),
    "tanh": ("1 − a²", lambda a: 1 - a * a),
    "exp": ("a", lambda a: a),
    "softplus": ("1 − e⁻ᵃ", lambda a: 1 - torch.exp(-a)),
}


def _known(tape: Tape, v: fx.Node) -> str:
    """The name of the activation that v is of its source; "" if it is none that has a name."""
    (u, *more) = tape.sources(v)
    if more or u is v or not isinstance(tape.values[u], torch.Tensor) or tape.values[u].numel() < 2:
        return ""
    return next((name for name, f in _ACTIVATIONS.items() if same(tape.values[v], f(tape.values[u]))), "")


def _bends(tape: Tape, u: fx.Node, v: fx.Node) -> bool:
    """Whether f has a kink at 0."""
    zero = torch.full_like(tape.values[u], 1e-9)
    ahead, behind = tape.derivative(u, v, zero), tape.derivative(u, v, -zero)
    return ahead is not None and behind is not None and bool((ahead - behind).abs().max() > 1e-6)


def _activation(
    unit: Unit,
    tape: Tape,
    u: fx.Node,
    v: fx.Node,
    regions: list[tuple[fx.Node, fx.Node]],
    neighbours: dict[str, Array],
) -> Iterator[Hypothesis]:
    """f′ left out, applied twice, at the wrong argument, of another layer, without its negative side."""
    known = _known(tape, v)
    last = all(w not in tape.variable or tape.sources(w) != tape.sources(v) or reshapes(w) for w in v.users)
    if not known and not last:
        return
    i, j = tape.index[u], tape.index[v]
    place = line(v) or line(u)
    f = known or "f"

    def through(factor: Callable[[Tape, fx.Node, fx.Node], torch.Tensor]) -> Callable[[Tape, float], dict[fx.Node, list[Rule]]]:
        return _rule_at(j, lambda t, g, _: [(t.nodes[i], g * factor(t, t.nodes[i], t.nodes[j]))])

    def slope(t: Tape, u: fx.Node, v: fx.Node, at: torch.Tensor | None = None) -> torch.Tensor:
        return t.derivative(u, v, at)

    before_loss = _feeds_loss(tape, v) if known in ("sigmoid", "softmax") else ""
    kind = "loss-shortcut-misused" if before_loss else ""
    if before_loss == "cross-entropy":
        missing, twice = "activation-derivative-missing", kind
    else:
        missing, twice = kind or "activation-derivative-missing", "activation-derivative-twice"
    said = "dz = da; should be dz = da f′(z)" if not kind else "dz ∝ p − y; should be dz = dL/dp · p (1 − p)"
    yield Hypothesis(missing, 0, j, through(lambda t, u, v: torch.ones_like(t.values[v])), f"{said}, f = {f}", place)
    said = "dz = da f′(z)²; should be dz = da f′(z)" if twice != kind else "dz ∝ (p − y) p (1 − p); should be dz ∝ p − y"
    yield Hypothesis(twice, 0, j, through(lambda t, u, v: slope(t, u, v) ** 2), f"{said}, f = {f}", place)
    yield Hypothesis(
        "activation-derivative-wrong-argument", 0, j,
        through(lambda t, u, v: slope(t, u, v, t.values[v])),
        f"dz = da f′(a); should be dz = da f′(z), f = {f}", place,
    )  # fmt: skip
    if known in _BY_OUTPUT:
        words, by_output = _BY_OUTPUT[known]
        yield Hypothesis(
            "activation-derivative-wrong-argument", 0, j,
            through(lambda t, u, v: by_output(t.values[u])),
            f"f′ = {words} is computed with z in the place of a, f = {known}", place,
        )  # fmt: skip
    if _bends(tape, u, v):
        yield Hypothesis(
            "leaky-slope-lost", 0, j,
            through(lambda t, u, v: slope(t, u, v) * (t.values[u] > 0)),
            "dz = da [z > 0]; should be dz = da f′(z), which is not 0 for z < 0", place,
        )  # fmt: skip
    if not known and not _bends(tape, u, v):
        return
    value = tape.values[u]
    others = [n for n in tape.nodes if n is not u and n is not v and _is_alike(tape, n, value) and not reshapes(n)]
    for w in others[:80]:
        k = tape.index[w]
        name = next((name for name, leaf in tape.leaves.items() if leaf is w), "") or line(w) or str(w)
        yield Hypothesis(
            "wrong-layer-mask", 4, j, through(lambda t, u, v, k=k: slope(t, u, v, t.values[t.nodes[k]])),
            f"dz = da f′(w), w = {name}; should be dz = da f′(z)", place,
        )  # fmt: skip
        if known in _BY_OUTPUT:
            words, by_output = _BY_OUTPUT[known]
            yield Hypothesis(
                "wrong-layer-mask", 4, j, through(lambda t, u, v, k=k, f=by_output: f(t.values[t.nodes[k]])),
                f"f′ = {words} is computed with {name} in the place of a", place,
            )  # fmt: skip
    for p, q in regions:
        if tape.values[p].shape == value.shape and (p, q) != (u, v):
            a, b = tape.index[p], tape.index[q]
            yield Hypothesis(
                "wrong-layer-mask", 4, j, through(lambda t, u, v, a=a, b=b: slope(t, t.nodes[a], t.nodes[b])),
                f"dz = da f′(w), f′(w) that of {line(p) or p}; should be dz = da f′(z)", place,
            )  # fmt: skip
    for name, array in neighbours.items():
        if tuple(array.shape) == tuple(value.shape):
            at = torch.from_numpy(np.asarray(array, np.float64))
            yield Hypothesis(
                "wrong-layer-mask", 4, j, through(lambda t, u, v, at=at: slope(t, u, v, at)),
                f"dz = da f′(w), w = {name}; should be dz = da f′(z)", place,
            )  # fmt: skip


def _is_alike(tape: Tape, node: fx.Node, value: torch.Tensor) -> bool:
    other = tape.values.get(node)
    return isinstance(other, torch.Tensor) and other.is_floating_point() and other.shape == value.shape


def _feeds_loss(tape: Tape, p: fx.Node) -> str:
    """Which loss a probability goes into right away: "cross-entropy" (a logarithm), "another", or "" for a hidden one."""
    if not all(tape.values[o].numel() == 1 for o in tape.outputs):
        return ""
    todo, seen, logarithm = [p], set(), False
    while todo:
        for user in tape.users(todo.pop()):
            packet = _packet(user)
            if packet in (torch.ops.aten.mm, torch.ops.aten.bmm, torch.ops.aten.addmm):
                return ""
            logarithm |= packet in (torch.ops.aten.log, torch.ops.aten.log1p)
            if user not in seen:
                seen.add(user)
                todo.append(user)
    return "cross-entropy" if logarithm else "another"


def _mask_scale(tape: Tape, v: fx.Node) -> float | None:
    """s, where v = u · m for a given m whose entries are 0 and s; else None."""
    if v.op != "call_function" or _packet(v) not in (torch.ops.aten.mul, torch.ops.aten.div):
        return None
    fixed = [a for a in v.all_input_nodes if a not in tape.variable and not tape._depends(a)]
    if len(fixed) != 1 or len(v.all_input_nodes) != 2:
        return None
    mask = tape.values[fixed[0]]
    if mask.numel() < 2:
        return None
    values = mask.double().unique()
    if len(values) != 2 or values[0] != 0 or values[1] <= 0:
        return None
    return float(values[1]) * _constant_factor_after(tape, v)


def _constant_factor_after(tape: Tape, v: fx.Node) -> float:
    """The number that v is divided by or multiplied with right after, as in x * mask / (1 - p)."""
    users = [u for u in tape.users(v) if not reshapes(u)]
    if len(users) != 1:
        return 1.0
    numbers = [a for a in users[0].args if isinstance(a, int | float)]
    numbers += [float(tape.values[a]) for a in users[0].all_input_nodes if a is not v and tape.values[a].numel() == 1]
    packet = _packet(users[0])
    if len(numbers) != 1:
        return 1.0
    return {torch.ops.aten.mul: numbers[0], torch.ops.aten.div: 1 / numbers[0]}.get(packet, 1.0)


def _pointwise_around(tape: Tape, v: fx.Node) -> list[fx.Node]:
    """The nodes next to v that only scale or hand on: where a factor of the dropout may stand."""
    source = next(iter(tape.sources(v)))
    return [n for n in tape.nodes if n in tape.variable and (tape.sources(n) == tape.sources(v) or n is source)]


def _dropouts(tape: Tape) -> Iterator[Hypothesis]:
    """The mask left out in the backward pass, with or without its scale; another mask."""
    for u, v in _regions(tape, dropout=True):
        i, j, place = tape.index[u], tape.index[v], line(v)
        yield Hypothesis(
            "dropout-mask-missing", 0, j, _rule_at(j, lambda t, g, _, i=i: [(t.nodes[i], g)]),
            "dx = dy; should be dx = dy m", place,
        )  # fmt: skip
        yield Hypothesis(
            "dropout-mask-missing", 0, j,
            _rule_at(j, lambda t, g, _, i=i, j=j: [(t.nodes[i], g * (_mask_scale(t, t.nodes[j]) or 1.0))]),
            "dx = dy / (1 − p); should be dx = dy m / (1 − p)", place,
        )  # fmt: skip


def _softmaxes(unit: Unit, tape: Tape) -> Iterator[Hypothesis]:
    """The Jacobian of a softmax: its diagonal alone, or left out."""
    for z, p, axis in softmax_pairs(tape):
        i, j, place = tape.index[z], tape.index[p], line(p)
        yield Hypothesis(
            "softmax-diagonal-only", 0, j,
            _rule_at(j, lambda t, g, _, i=i, j=j: [(t.nodes[i], g * t.values[t.nodes[j]] * (1 - t.values[t.nodes[j]]))]),
            "dz = g p (1 − p); should be dz = p (g − Σ_k g_k p_k)", place,
        )  # fmt: skip
        yield Hypothesis(
            "softmax-diagonal-only", 0, j,
            _rule_at(j, lambda t, g, _, i=i, j=j: [(t.nodes[i], g * t.values[t.nodes[j]])]),
            "dz = g p; should be dz = p (g − Σ_k g_k p_k)", place,
        )  # fmt: skip
        feeds = _feeds_loss(tape, p)
        yield Hypothesis(
            "loss-shortcut-misused" if feeds else "activation-derivative-missing", 0, j,
            _rule_at(j, lambda t, g, _, i=i: [(t.nodes[i], g)]),
            "dz = g, as if softmax were not there; should be dz = p (g − Σ_k g_k p_k)", place,
        )  # fmt: skip
        if feeds == "cross-entropy":
            yield Hypothesis(
                "loss-shortcut-misused", 0, i,
                _rule_at(i, lambda t, g, _, j=j: g * t.values[t.nodes[j]] * (1 - t.values[t.nodes[j]])),
                "dz ∝ (p − y) p (1 − p); should be dz ∝ p − y", place,
            )  # fmt: skip


def softmax_pairs(tape: Tape) -> Iterator[tuple[fx.Node, fx.Node, int]]:
    """(z, p, axis) for every p = softmax(z) in the graph, z the first such array."""
    for p in tape.nodes:
        value = tape.values.get(p)
        if p not in tape.variable or not isinstance(value, torch.Tensor) or value.ndim == 0 or reshapes(p):
            continue
        if p.op != "call_function" or value.numel() < 2 or bool((value < 0).any()):
            continue
        for axis in (value.ndim - 1, 0):
            if value.shape[axis] < 2 or not same(value.sum(dim=axis), torch.ones_like(value.sum(dim=axis))):
                continue
            before = tape.ancestors(p)
            for z in tape.nodes:
                candidate = tape.values.get(z)
                if z in before and z in tape.variable and isinstance(candidate, torch.Tensor):
                    if candidate.shape == value.shape and same(torch.softmax(candidate, axis), value):
                        yield z, p, axis
                        break
            break


def _shortcuts(unit: Unit, tape: Tape) -> Iterator[Hypothesis]:
    """p(1 − p) on top of, or divided out of, the gradient at logits that a loss turns into probabilities by itself."""
    ops = {torch.ops.aten._log_softmax, torch.ops.aten.log_sigmoid_forward, torch.ops.aten.binary_cross_entropy_with_logits}
    leaf = next(iter(tape.leaves.values()))
    ends_in_loss = all(tape.values[o].numel() == 1 for o in tape.outputs)
    for z in tape.nodes:
        value = tape.values.get(z)
        if z not in tape.variable or not isinstance(value, torch.Tensor) or value.ndim == 0:
            continue
        fused = any(_packet(user) in ops for user in tape.users(z))
        if not fused and not (z is leaf and ends_in_loss):
            continue
        i = tape.index[z]
        for name, f in {"softmax": lambda t: torch.softmax(t, -1), "sigmoid": torch.sigmoid}.items():
            yield Hypothesis(
                "loss-shortcut-misused", 0, i,
                _rule_at(i, lambda t, g, _, i=i, f=f: g * f(t.values[t.nodes[i]]) * (1 - f(t.values[t.nodes[i]]))),
                f"dz = a p (1 − p), p = {name}(z); should be dz = a", line(z) or unit.title(next(iter(tape.leaves))),
            )  # fmt: skip


def _normalisations(unit: Unit, tape: Tape) -> Iterator[Hypothesis]:
    """The statistics of a normalisation taken as constants, both or one of them; γ left out."""
    for n in tape.nodes:
        value = tape.values.get(n)
        if n not in tape.variable or not isinstance(value, torch.Tensor) or value.ndim < 2 or n.op != "call_function":
            continue
        every = tuple(range(value.ndim))
        for axes in ((0,), every[-1:], every[1:], every[:-1], tuple(a for a in every if a != 1)):
            if not axes or math.prod(value.shape[a] for a in axes) < 3:
                continue
            mean = value.mean(dim=axes)
            variance = value.var(dim=axes, unbiased=False)
            if bool((mean.abs() > 1e-7).any()) or bool(((variance - 1).abs() > 0.05).any()):
                continue
            yield from _cuts(unit, tape, n, axes)
            break


def _cuts(unit: Unit, tape: Tape, normal: fx.Node, axes: tuple[int, ...]) -> Iterator[Hypothesis]:
    before = tape.ancestors(normal)
    shape = tape.values[normal].shape
    means, variances = [], []
    for node in tape.nodes:
        value = tape.values.get(node)
        if node not in before or node not in tape.variable or node.op != "call_function":
            continue
        packet = _packet(node)
        if packet is torch.ops.aten.var_mean:
            getters = [u for u in node.users if u in tape.variable]
            variances += [u for u in getters if u.args[1] == 0]
            means += [u for u in getters if u.args[1] == 1]
        elif packet in (torch.ops.aten.mean, torch.ops.aten.sum, torch.ops.aten.var, torch.ops.aten.std):
            argument = tape.values[node.all_input_nodes[0]]
            if argument.shape != shape or not isinstance(value, torch.Tensor) or value.numel() >= argument.numel():
                continue
            second = packet in (torch.ops.aten.var, torch.ops.aten.std) or bool((value >= 0).all() and (argument >= 0).all())
            (variances if second else means).append(node)
    if not means or not variances:
        return
    j, place = tape.index[normal], line(normal)
    what = "x̂ = (x − μ) / σ over axis " + ", ".join(map(str, axes))
    cuts = {
        "batchnorm-stats-constant": (means + variances, "dx = dx̂ / σ"),
        "batchnorm-mean-term": (means, "dx = (dx̂ − x̂ mean(dx̂ x̂)) / σ"),
        "batchnorm-var-term": (variances, "dx = (dx̂ − mean(dx̂)) / σ"),
    }
    for slug, (nodes, formula) in cuts.items():
        indices = [tape.index[n] for n in nodes]

        def rules(t: Tape, c: float, indices: list[int] = indices) -> dict[fx.Node, list[Rule]]:  # noqa: ARG001
            return {t.nodes[k]: [lambda _, g: torch.zeros_like(g)] for k in indices}

        yield Hypothesis(slug, 0, j, rules, f"{formula}; should be dx = (dx̂ − mean(dx̂) − x̂ mean(dx̂ x̂)) / σ, {what}", place)


def _products(unit: Unit, tape: Tape) -> Iterator[Hypothesis]:
    """γ left out of dx; a matrix product gone back through with the wrong weights, or with its transpose."""
    aten = torch.ops.aten
    for node in tape.nodes:
        packet = _packet(node)
        if packet is aten.mul and any(_packet(user) in (aten.where, aten.maximum) for user in node.users):
            for slope, x in itertools.permutations(node.all_input_nodes, 2):
                if _parameter(unit, tape, slope) is not None and x in tape.variable:
                    j, k = tape.index[node], tape.index[slope]
                    yield Hypothesis(
                        "leaky-slope-lost", 0, j, _rule_at(j, lambda t, g, _, j=j, k=k: _only(t, j, k, g)),
                        "dz = da [z > 0]; should be dz = da f′(z), which is not 0 for z < 0", line(node),
                    )  # fmt: skip
        if packet is aten.mul and len(node.all_input_nodes) == 2:
            for gamma, x in itertools.permutations(node.all_input_nodes):
                name = _parameter(unit, tape, gamma)
                if name is None or x not in tape.variable or tape.values[tape.leaves[name]].ndim > 2:
                    continue
                if tape.values[gamma].numel() >= tape.values[x].numel():
                    continue
                i, j, k = tape.index[x], tape.index[node], tape.index[gamma]
                yield Hypothesis(
                    "gamma-missing", 0, j,
                    _rule_at(j, lambda t, g, _, i=i, j=j, k=k: [(t.nodes[i], g), *_only(t, j, k, g)]),
                    f"dx̂ = dy; should be dx̂ = dy {name}", line(node),
                )  # fmt: skip
        if packet in (aten.mm, aten.bmm):
            for k, right in ((1, True), (0, False)):
                weight, other = node.args[k], node.args[1 - k]
                name = _parameter(unit, tape, weight)
                if name is None or other not in tape.variable or len({*tape.values[weight].shape[-2:]}) > 1:  # type: ignore[index]
                    continue
                i, j, w = tape.index[other], tape.index[node], tape.index[weight]  # type: ignore[index]
                yield Hypothesis(
                    "transposed", 0, j,
                    _rule_at(j, lambda t, g, _, i=i, j=j, w=w, right=right: [
                        (t.nodes[i], g @ t.values[t.nodes[w]] if right else t.values[t.nodes[w]] @ g), *_only(t, j, w, g)]),
                    f"the gradient goes back through {name}ᵀ where it should go through {name}", line(node),
                )  # fmt: skip
    yield from _updated_weights(unit, tape)


def _updated_weights(unit: Unit, tape: Tape) -> Iterator[Hypothesis]:
    """A product gone back through with the weights after their update; in a loop, in every one of its steps."""
    aten = torch.ops.aten
    groups: dict[tuple[str, str], list[tuple[int, int, int]]] = {}
    for node in tape.nodes:
        if node.op != "call_function" or _packet(node) not in (aten.mm, aten.bmm, aten.mv, aten.dot, aten.mul):
            continue
        for weight, other in itertools.permutations(node.all_input_nodes, 2):
            name = _parameter(unit, tape, weight)
            if name is None or other not in tape.variable or _parameter(unit, tape, other) is not None:
                continue
            place = (tape.index[node], tape.index[weight], tape.index[other])
            groups.setdefault((name, line(node) or str(node)), []).append(place)
            if line(node):
                groups.setdefault((name, ""), []).append(place)
    tried: set[tuple[tuple[int, int, int], ...]] = set()
    for (name, where), places in groups.items():
        if tuple(places) in tried:
            continue
        tried.add(tuple(places))

        def rules(tape: Tape, c: float, places: list[tuple[int, int, int]] = places) -> dict[fx.Node, list[Rule]]:
            return {tape.nodes[j]: [_through_updated(j, w, i, c)] for j, w, i in places}

        def name_of(cs: Sequence[float], _: Any, name: str = name) -> tuple[str, str] | None:
            if max(cs) - min(cs) > 1e-6 * max(1.0, abs(cs[0])) or abs(cs[0]) < 1e-9:
                return None
            return "updated-weights", f"δ {name}′ with {name}′ = {name} − {_short(cs[0])} d{name}; should be δ {name}"

        at = max(j for j, _, _ in places)
        yield Hypothesis("updated-weights", 1, at, rules, place=where, free=True, name_of=name_of)


def _through_updated(j: int, w: int, i: int, c: float) -> Rule:
    """The rule of a product: its other operand's gradient is taken with the weights W − c dW."""

    def rule(t: Tape, g: torch.Tensor) -> list[tuple[fx.Node, torch.Tensor]]:
        node, weight, other = t.nodes[j], t.nodes[w], t.nodes[i]
        (_, dw), *_rest = _only(t, j, w, g)
        x = t.values[other].detach().requires_grad_()
        moved = {weight: t.values[weight] - c * dw, other: x}
        with torch.enable_grad():
            out = node.target(*torch.fx.node.map_arg(node.args, lambda a: moved.get(a, t.values[a])))  # type: ignore[operator]
        return [(other, torch.autograd.grad(out, x, g)[0]), (weight, dw)]

    return rule


def _packet(node: fx.Node) -> Any:
    """The operation of a node, whatever its overload."""
    return getattr(node.target, "overloadpacket", None)


def _gamma_of_one(unit: Unit, tape: Tape) -> Iterator[Hypothesis]:
    """The data's gradient as it would be with γ = 1, the others right."""
    data = [tape.index[leaf] for name, leaf in tape.leaves.items() if name not in unit.parameters and leaf in tape.variable]
    end = tape.index[tape.outputs[0]]
    for name in unit.parameters:
        leaf = tape.leaves.get(name)
        if leaf is None or tape.values[leaf].ndim != 1 or len(tape.outputs) != 1:
            continue

        def rules(tape: Tape, c: float, name: str = name) -> dict[fx.Node, list[Rule]]:  # noqa: ARG001
            kept: dict[str, dict[fx.Node, Any]] = {}

            def keep(t: Tape, g: torch.Tensor) -> torch.Tensor:
                values = {n: t.values[leaf] for n, leaf in t.leaves.items()}
                other = type(t)(t.graph, values | {name: torch.ones_like(values[name])})
                kept["arrived"] = {t.nodes[other.index[n]]: a for n, a in other.backward([g]).items()}
                return g

            return {tape.nodes[end]: [keep]} | {
                tape.nodes[i]: [lambda t, g, i=i: kept["arrived"].get(t.nodes[i], torch.zeros_like(g))] for i in data
            }

        words = f"dx is that of {name} = 1; should be that of {name}"
        yield Hypothesis("gamma-missing", 1, end, rules, words, line(tape.outputs[0]))


def _only(tape: Tape, node: int, argument: int, g: torch.Tensor) -> list[tuple[fx.Node, torch.Tensor]]:
    return [(a, s) for a, s in tape.vjp(tape.nodes[node], g) if a is tape.nodes[argument]]


def _parameter(unit: Unit, tape: Tape, node: Any) -> str | None:
    """The parameter that a node is, perhaps reshaped or transposed."""
    while node is not None and (reshapes(node) or _packet(node) in (torch.ops.aten.select, torch.ops.aten.slice)):
        node = next(iter(node.all_input_nodes), None)
    return next((name for name, leaf in tape.leaves.items() if leaf is node and name in unit.parameters), None)


def _clipping(tape: Tape) -> Iterator[Hypothesis]:
    """The gradient of a loss without its ε or its clipping; or of one that has them where the forward has not."""
    for node in clips(tape):
        (source,) = (a for a in node.all_input_nodes if a in tape.variable)
        i, j = tape.index[source], tape.index[node]
        yield Hypothesis(
            "clipping-mismatch", 0, j, _rule_at(j, lambda t, g, _, i=i: [(t.nodes[i], g)]),
            "the gradient goes through the clipping as if it were not there", line(node),
        )  # fmt: skip
    for i, place, words, retape in without_clipping(tape):
        yield Hypothesis("clipping-mismatch", 0, i, lambda t, c: {}, words, place, retape=retape)  # noqa: ARG005


# --- in words ---------------------------------------------------------------------------------------------------------


def _finding(
    unit: Unit,
    observation: Observation,
    hypothesis: Hypothesis,
    explained: list[str],
    ties: list[str],
    residual: float,
    n_probes: int,
) -> Finding:
    mistake = CATALOGUE[hypothesis.slug]
    place = hypothesis.place
    tensors = tuple(unit.title(n) for n in explained)
    also = f" It makes {', '.join(tensors)} wrong." if len(tensors) > 1 else ""
    probes = f"reproduces the numbers to {residual:.0e} with {n_probes} probe{'s' * (n_probes != 1)}"
    return Finding(
        tensors[0],
        hypothesis.slug,
        "tie" if ties else "certain",
        residual,
        f"In {unit.name}: {mistake.what}.{also}",
        hypothesis.formula,
        unit.name if place in (unit.name, tensors[0], "") else f"{unit.name}, {place}",
        f"{probes}; {ratios(observation.hand[explained[0]], observation.auto[explained[0]])}",
        "convention" if mistake.convention else "wrong",
        tuple(ties),
        tensors,
    )


def _from_numbers(unit: Unit, observations: list[Observation], name: str) -> Finding | None:
    """What the two arrays alone tell, where there is no tape: a constant ratio, or the transpose."""
    cs, residual = [], 0.0
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
    named = _name_factor(cs, observations, False, 0) if cs else None
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
    slug, formula = named
    return Finding(
        unit.title(name), slug, "certain", residual, f"In {unit.name}: {CATALOGUE[slug].what}.", formula, unit.name,
        ratios(first.hand[name], first.auto[name]), tensors=(unit.title(name),),
    )  # fmt: skip


def _unknown(unit: Unit, observations: list[Observation], name: str) -> Finding:
    """A fault that nothing known explains, with what the numbers show."""
    worst = max(observations, key=lambda o: o.residual(name, o.auto[name]) / max(o.tolerance[name], 1e-300))
    hand, auto = np.asarray(worst.hand[name]), worst.auto[name]
    text = f"In {unit.name}: the gradient differs from autograd's, and no mistake of the catalogue reproduces the numbers."
    evidence = ratios(hand, auto)
    if hand.shape == auto.shape:
        wrong = np.nan_to_num(np.abs(hand - auto), nan=np.inf) > worst.tolerance[name]
        index = tuple(int(i) for i in np.argwhere(wrong)[0]) if wrong.any() else ()
        which = f"only element {index}" if wrong.sum() == 1 else f"{int(wrong.sum()):,} of {wrong.size:,} elements, the first {index}"
        evidence = f"{which} with the probe “{worst.probe}”; {evidence}"
    return Finding(unit.title(name), UNKNOWN, "none", math.nan, text, "", unit.name, evidence, tensors=(unit.title(name),))


def ratios(hand: Any, auto: Array) -> str:
    """In a phrase: the range of h/a, or the shapes where they differ."""
    hand = np.asarray(hand)
    if hand.shape != auto.shape:
        return f"h has shape {hand.shape}, a {auto.shape}"
    if not np.isfinite(hand).all():
        return f"h holds {hand[~np.isfinite(hand)].flat[0]} in {int((~np.isfinite(hand)).sum()):,} of {hand.size:,} elements"
    apart = np.abs(hand - auto)
    index = tuple(int(i) for i in np.unravel_index(apart.argmax(), apart.shape)) if apart.size else ()
    text = f"at {index} h = {hand[index]:.6g}, a = {auto[index]:.6g}" if apart.size else ""
    used = np.abs(auto) > 1e-9 * (np.abs(auto).max(initial=0) or 1)
    if used.sum() > 1:
        r = hand[used] / auto[used]
        text += f"; h/a from {r.min():.4g} to {r.max():.4g}"
    return text


def _short(value: float) -> str:
    return f"{value:.6g}".replace("-", "−")
