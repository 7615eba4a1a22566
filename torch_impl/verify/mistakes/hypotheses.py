"""The mistakes as experiments: where on the tape each can sit, and the rule it puts in the place of the right one."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils._pytree import tree_map_only

from torch_impl.verify.mistakes.forwards import clips, without_clipping
from torch_impl.verify.trace.tape import Node, line, packet_of, reshapes, same

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from torch_impl.verify.observe.observation import Observation
    from torch_impl.verify.trace.tape import Rule, Tape
    from torch_impl.verify.units.unit import Unit

    Array = NDArray[Any]


@dataclass
class Hypothesis:
    """One mistake at one place of the tape.

    ``rules(tape, c)`` are the exchanged rules by node, or a whole other tape (a backward that belongs to another
    forward). With ``free`` they are linear in an unknown number c, which is fitted; ``name_of`` then says from its
    values with every probe which mistake it is, and what c is.
    """

    mistake: str
    rank: int
    at: int  # index of the node: findings are listed in backward order
    rules: Callable[[Tape, float], dict[Node, list[Rule]]]
    formula: str = ""
    place: str = ""
    free: bool = False
    name_of: Callable[[Sequence[float], Sequence[Observation]], tuple[str, ...] | None] | None = None
    ties: tuple[str, ...] = ()  # other names for the same number
    retape: Callable[[Tape], Tape] | None = None
    coefficients: dict[str, float] = field(default_factory=dict)  # c by probe


def hypotheses(
    unit: Unit, observation: Observation, neighbours: dict[str, Array], ends_only: bool
) -> Iterator[Hypothesis]:
    """Every mistake that the unit's tape has a place for; with ``ends_only``, those at its inputs and outputs alone."""
    tape = observation.tape
    assert tape is not None
    yield from _at_leaves(unit, tape)
    yield from _scales(unit, tape, ends_only)
    if ends_only:
        return
    regions = list(_regions(tape))
    local = [h for u, v in regions for h in _activation(tape, u, v, regions, neighbours)]
    local += _dropouts(tape)
    yield from local
    yield from _repeated(local)
    yield from _softmaxes(tape)
    yield from _shortcuts(unit, tape)
    yield from _normalisations(tape)
    yield from _products(unit, tape)
    yield from _gamma_of_one(unit, tape)
    yield from _clipping(tape)


def _repeated(hypotheses: list[Hypothesis]) -> Iterator[Hypothesis]:
    """The same mistake wherever one line runs: in every step of a loop, in every call of a function."""
    groups: dict[tuple[str, str, str], list[Hypothesis]] = {}
    for h in hypotheses:
        groups.setdefault((h.mistake, h.formula, h.place), []).append(h)
    for (mistake, formula, place), members in groups.items():
        if len(members) < 2 or not place or len({h.at for h in members}) < len(members):
            continue

        def rules(tape: Tape, c: float, members: list[Hypothesis] = members) -> dict[Node, list[Rule]]:
            return {node: rule for h in members for node, rule in h.rules(tape, c).items()}

        yield Hypothesis(
            mistake, members[0].rank, max(h.at for h in members), rules, formula, f"{place} (wherever it runs)"
        )


def _rule_at(
    i: int, rule: Callable[[Tape, torch.Tensor, float], Any]
) -> Callable[[Tape, float], dict[Node, list[Rule]]]:
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
        if (
            leaf is None
            and tape.values[node].numel() == 1
            and penalised >= {n for n in tape.ancestors(node) if n in data or n in penalised}
        ):
            reached = [n for n, start in tape.leaves.items() if start in tape.ancestors(node)]
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
            name_of=lambda cs, obs, mask=mask: name_factor(cs, obs, mask),
        )


def _is_bias(unit: Unit, tape: Tape, name: str) -> bool:
    """A parameter called so, or a vector beside matrices."""
    last = name.rsplit(".", 1)[-1].lower()
    ndims = [tape.values[tape.leaves[n]].ndim for n in unit.parameters if n in tape.leaves]
    return last.startswith("b") or (
        tape.values[tape.leaves[name]].ndim < max(ndims) and not last.startswith(("w", "theta"))
    )


def _name_penalty(cs: Sequence[float], biases: bool) -> tuple[str, str] | None:
    """A factor of the part of the loss that depends on the parameters alone."""
    if all(abs(c - 1) < 1e-7 for c in cs):
        return None
    if biases and all(abs(c) < 1e-7 for c in cs):
        return "penalty-on-bias", "the penalty's gradient is left out of the bias"
    words = (
        f"{short(cs[0])} times"
        if max(cs) - min(cs) < 1e-7 * max(1.0, abs(cs[0]))
        else "by a factor that follows a size"
    )
    return "penalty-factor", f"the penalty's gradient is taken {words}"


def name_factor(cs: Sequence[float], observations: Sequence[Observation], dropout: bool) -> tuple[str, ...] | None:
    """The mistake that a constant ratio is, the ratio in words, and other mistakes that the probes do not tell from it.

    A ratio is named after the size that it follows from probe to probe.
    """

    def follows(values: Sequence[float]) -> bool:
        return all(abs(c - v) <= 1e-7 * max(1.0, abs(v)) for c, v in zip(cs, values, strict=True))

    if follows([1.0] * len(cs)):
        return None
    if follows([-1.0] * len(cs)):
        return "wrong-sign", "h = −a"
    if dropout:
        found = _name_dropout_factor(cs, observations)
        if found:
            plain = any(follows([c] * len(cs)) for c in (2.0, 0.5))  # with p = ½, a stray 2 looks the same
            return ("dropout-scale", found, "constant-factor") if plain else ("dropout-scale", found)
    sizes = [o.sizes for o in observations]
    # One name for each length that differs from the others with some probe.
    columns = {tuple(s[n] for s in sizes): n for n in reversed(sizes[0]) if all(n in s for s in sizes)}
    names = sorted((n for values, n in columns.items() if max(values) > 1), key=list(sizes[0]).index)
    batch = "B"
    several = len({s[batch] for s in sizes}) > 1
    for power, mistake in (
        (1, "missing-batch-mean"),
        (2, "missing-batch-mean"),
        (-1, "batch-mean-twice"),
        (-2, "batch-mean-twice"),
    ):
        if several and follows([float(s[batch]) ** power for s in sizes]):
            words = {1: "h = B a", 2: "h = B² a", -1: "h = a / B", -2: "h = a / B²"}[power]
            return mistake, f"{words}, B the batch size ({', '.join(str(s[batch]) for s in sizes)} with the probes)"
    exponents = (0, 1, -1, 2, -2)
    for powers in itertools.product(exponents, repeat=min(len(names), 4)):
        used = [(n, p) for n, p in zip(names, powers, strict=False) if p]
        if not used or len(used) > 3 or sum(abs(p) for _, p in used) > 3:
            continue
        values = [math.prod(float(s[n]) ** p for n, p in used) for s in sizes]
        if len({round(v, 12) for v in values}) > 1 and follows(values):
            return "wrong-divisor", "h = a · " + _monomial(
                used
            ) + f" ({', '.join(f'{v:g}' for v in values)} with the probes)"
    for n in names:
        for ratio, words in (
            (lambda k: k**0.5, f"√{n}"),
            (lambda k: k**-0.5, f"1/√{n}"),
            (lambda k: (k - 1) / k, f"({n} − 1)/{n}"),
            (lambda k: k / (k - 1), f"{n}/({n} − 1)"),
        ):
            if (
                all(s[n] > 1 for s in sizes)
                and len({s[n] for s in sizes}) > 1
                and follows([ratio(s[n]) for s in sizes])
            ):
                return "wrong-divisor", f"h = a · {words}"
    if not follows([cs[0]] * len(cs)) or abs(cs[0]) < 1e-6:
        return None  # a gradient of zero is no factor
    size = sizes[0][batch]
    if not several and size > 1:
        said = f", and {size} is the batch size, the only one that was tried"
        if abs(cs[0] * size - 1) < 1e-7:
            return "batch-mean-twice", f"h = a / {size}{said}", "constant-factor"
        if abs(cs[0] / size - 1) < 1e-7:
            return "missing-batch-mean", f"h = {size} a{said}", "constant-factor"
    return "constant-factor", f"h = {short(cs[0])} a, with every size that was tried"


def _name_dropout_factor(cs: Sequence[float], observations: Sequence[Observation]) -> str:
    """The ratio as a function of p, the probability to drop, where the mask's scale tells it."""
    for o in observations:
        assert o.tape is not None
        for _, v in _regions(o.tape, dropout=True):
            scale = _mask_scale(o.tape, v)
            p = None if scale is None or scale <= 1 else 1 - 1 / scale
            if p is None:
                continue
            known = {
                "1 − p": 1 - p, "1/(1 − p)": 1 / (1 - p), "p/(1 − p)": p / (1 - p), "(1 − p)/p": (1 - p) / p, "p": p,
                "1/p": 1 / p,
            }  # fmt: skip
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
                "transposed",
                0,
                i,
                _rule_at(i, lambda _, g, c, a=axes: g.permute(a).contiguous()),
                f"h = {words}",
                place,
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
        yield from _not_summed(tape, leaf, place)
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
    for words, index, only, mistake in parts:

        def name_of(
            cs: Sequence[float], observations: Sequence[Observation], mistake: str = mistake, words: str = words
        ) -> tuple[str, str] | None:
            if abs(cs[0]) < 1e-12:
                return None
            for power, size in ((0, ""), (1, "/B"), (-1, " B")):  # λ, or λ/B with the mean
                constant = [c * o.sizes["B"] ** power for c, o in zip(cs, observations, strict=True)]
                if max(constant) - min(constant) <= 1e-7 * max(1.0, abs(constant[0])):
                    sign = "+" if cs[0] > 0 else "−"
                    return mistake, f"h = a {sign} {short(abs(constant[0]))}{size} {name}{words}"
            return None

        yield Hypothesis(
            mistake, 1, i,
            _rule_at(i, lambda t, g, c, index=index, only=only: g + c * weight(t.values[t.leaves[name]], index, only)),
            place=place, free=True, name_of=name_of,
        )  # fmt: skip


def _not_summed(tape: Tape, leaf: Node, place: str) -> Iterator[Hypothesis]:
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
            out = u.target(*tree_map_only(Node, lookup, u.args), **tree_map_only(Node, lookup, u.kwargs))
        return torch.autograd.grad(out, wide, arrived, allow_unused=True)[0]

    def variant(
        of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    ) -> Callable[[Tape, float], dict[Node, list[Rule]]]:
        def rules(tape: Tape, c: float) -> dict[Node, list[Rule]]:  # noqa: ARG001
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
    while reshapes(last) or (len(last.all_input_nodes) == 1 and packet_of(last) is torch.ops.aten.mul):
        last = next(iter(tape.users(last)), None) or tape.outputs[0]
        if last in tape.outputs:
            break
    additive = packet_of(last) in (torch.ops.aten.add, torch.ops.aten.sub)
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
                variants[f"h = {letter} averaged {words}; a = Σ {letter}"] = lambda w, g, axes=axes: _as(
                    w.mean(dim=axes), g
                )
    for formula, of in variants.items():
        yield Hypothesis("bias-not-summed", 1, i, variant(of), formula, place)


def _as(value: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """In the shape of ``like``, where it has as many elements."""
    return value.reshape(like.shape) if value.numel() == like.numel() else value


def _regions(tape: Tape, dropout: bool = False) -> Iterator[tuple[Node, Node]]:
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


def _inner_regions(tape: Tape) -> Iterator[tuple[Node, Node]]:
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


def _known(tape: Tape, v: Node) -> str:
    """The name of the activation that v is of its source; "" if it is none that has a name."""
    (u, *more) = tape.sources(v)
    if more or u is v or not isinstance(tape.values[u], torch.Tensor) or tape.values[u].numel() < 2:
        return ""
    return next((name for name, f in _ACTIVATIONS.items() if same(tape.values[v], f(tape.values[u]))), "")


def _bends(tape: Tape, u: Node, v: Node) -> bool:
    """Whether f has a kink at 0."""
    zero = torch.full_like(tape.values[u], 1e-9)
    ahead, behind = tape.derivative(u, v, zero), tape.derivative(u, v, -zero)
    return ahead is not None and behind is not None and bool((ahead - behind).abs().max() > 1e-6)


def _activation(
    tape: Tape,
    u: Node,
    v: Node,
    regions: list[tuple[Node, Node]],
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

    def through(
        factor: Callable[[Tape, Node, Node], torch.Tensor],
    ) -> Callable[[Tape, float], dict[Node, list[Rule]]]:
        return _rule_at(j, lambda t, g, _: [(t.nodes[i], g * factor(t, t.nodes[i], t.nodes[j]))])

    def slope(t: Tape, u: Node, v: Node, at: torch.Tensor | None = None) -> torch.Tensor:
        return t.derivative(u, v, at)

    before_loss = _feeds_loss(tape, v) if known == "sigmoid" else ""
    kind = "loss-shortcut-misused" if before_loss else ""
    if before_loss == "cross-entropy":
        missing, twice = "activation-derivative-missing", kind
    else:
        missing, twice = kind or "activation-derivative-missing", "activation-derivative-twice"
    said = "dz = da; should be dz = da f′(z)" if not kind else "dz ∝ p − y; should be dz = dL/dp · p (1 − p)"
    yield Hypothesis(missing, 0, j, through(lambda t, u, v: torch.ones_like(t.values[v])), f"{said}, f = {f}", place)
    said = (
        "dz = da f′(z)²; should be dz = da f′(z)" if twice != kind else "dz ∝ (p − y) p (1 − p); should be dz ∝ p − y"
    )
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


def _is_alike(tape: Tape, node: Node, value: torch.Tensor) -> bool:
    other = tape.values.get(node)
    return isinstance(other, torch.Tensor) and other.is_floating_point() and other.shape == value.shape


def _feeds_loss(tape: Tape, p: Node) -> str:
    """Which loss a probability goes into right away: "cross-entropy" (a logarithm), "another", "" for a hidden one."""
    if not all(tape.values[o].numel() == 1 for o in tape.outputs):
        return ""
    todo, seen, logarithm = [p], set(), False
    while todo:
        for user in tape.users(todo.pop()):
            packet = packet_of(user)
            if packet in (torch.ops.aten.mm, torch.ops.aten.bmm, torch.ops.aten.addmm):
                return ""
            logarithm |= packet in (torch.ops.aten.log, torch.ops.aten.log1p)
            if user not in seen:
                seen.add(user)
                todo.append(user)
    return "cross-entropy" if logarithm else "another"


def _mask_scale(tape: Tape, v: Node) -> float | None:
    """s, where v = u · m for a given m whose entries are 0 and s; else None."""
    if v.op != "call_function" or packet_of(v) not in (torch.ops.aten.mul, torch.ops.aten.div):
        return None
    fixed = [a for a in v.all_input_nodes if a not in tape.variable and not tape.depends(a)]
    if len(fixed) != 1 or len(v.all_input_nodes) != 2:
        return None
    mask = tape.values[fixed[0]]
    if mask.numel() < 2:
        return None
    values = mask.double().unique()
    if len(values) != 2 or values[0] != 0 or values[1] <= 0:
        return None
    return float(values[1]) * _constant_factor_after(tape, v)


def _constant_factor_after(tape: Tape, v: Node) -> float:
    """The number that v is divided by or multiplied with right after, as in x * mask / (1 - p)."""
    users = [u for u in tape.users(v) if not reshapes(u)]
    if len(users) != 1:
        return 1.0
    numbers = [a for a in users[0].args if isinstance(a, int | float)]
    numbers += [float(tape.values[a]) for a in users[0].all_input_nodes if a is not v and tape.values[a].numel() == 1]
    packet = packet_of(users[0])
    if len(numbers) != 1:
        return 1.0
    return {torch.ops.aten.mul: numbers[0], torch.ops.aten.div: 1 / numbers[0]}.get(packet, 1.0)


def _pointwise_around(tape: Tape, v: Node) -> list[Node]:
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


def _softmaxes(tape: Tape) -> Iterator[Hypothesis]:
    """The Jacobian of a softmax: its diagonal alone, or left out."""
    for z, p in softmax_pairs(tape):
        i, j, place = tape.index[z], tape.index[p], line(p)
        yield Hypothesis(
            "softmax-diagonal-only", 0, j,
            _rule_at(j, lambda t, g, _, i=i, j=j: [
                (t.nodes[i], g * t.values[t.nodes[j]] * (1 - t.values[t.nodes[j]]))]),
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


def softmax_pairs(tape: Tape) -> Iterator[tuple[Node, Node]]:
    """(z, p) for every p = softmax(z) in the graph, z the first such array."""
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
                if z not in before or z not in tape.variable or not isinstance(candidate, torch.Tensor):
                    continue
                if candidate.shape == value.shape and same(torch.softmax(candidate, axis), value):
                    yield z, p
                    break
            break


def _shortcuts(unit: Unit, tape: Tape) -> Iterator[Hypothesis]:
    """p(1 − p) on top of, or divided out of, the gradient at logits that a loss turns into probabilities by itself."""
    ops = {
        torch.ops.aten._log_softmax,
        torch.ops.aten.log_sigmoid_forward,
        torch.ops.aten.binary_cross_entropy_with_logits,
    }
    leaf = next(iter(tape.leaves.values()))
    ends_in_loss = all(tape.values[o].numel() == 1 for o in tape.outputs)
    for z in tape.nodes:
        value = tape.values.get(z)
        if z not in tape.variable or not isinstance(value, torch.Tensor) or value.ndim == 0:
            continue
        fused = any(packet_of(user) in ops for user in tape.users(z))
        if not fused and not (z is leaf and ends_in_loss):
            continue
        i = tape.index[z]
        for name, f in {"softmax": lambda t: torch.softmax(t, -1), "sigmoid": torch.sigmoid}.items():
            yield Hypothesis(
                "loss-shortcut-misused", 0, i,
                _rule_at(i, lambda t, g, _, i=i, f=f: g * f(t.values[t.nodes[i]]) * (1 - f(t.values[t.nodes[i]]))),
                f"dz = a p (1 − p), p = {name}(z); should be dz = a", line(z) or unit.title(next(iter(tape.leaves))),
            )  # fmt: skip


def _normalisations(tape: Tape) -> Iterator[Hypothesis]:
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
            yield from _cuts(tape, n, axes)
            break


def _cuts(tape: Tape, normal: Node, axes: tuple[int, ...]) -> Iterator[Hypothesis]:
    before = tape.ancestors(normal)
    shape = tape.values[normal].shape
    means, variances = [], []
    for node in tape.nodes:
        value = tape.values.get(node)
        if node not in before or node not in tape.variable or node.op != "call_function":
            continue
        packet = packet_of(node)
        if packet is torch.ops.aten.var_mean:
            getters = [u for u in node.users if u in tape.variable]
            variances += [u for u in getters if u.args[1] == 0]
            means += [u for u in getters if u.args[1] == 1]
        elif packet in (torch.ops.aten.mean, torch.ops.aten.sum, torch.ops.aten.var, torch.ops.aten.std):
            argument = tape.values[node.all_input_nodes[0]]
            if argument.shape != shape or not isinstance(value, torch.Tensor) or value.numel() >= argument.numel():
                continue
            second = packet in (torch.ops.aten.var, torch.ops.aten.std) or bool(
                (value >= 0).all() and (argument >= 0).all()
            )
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
    for mistake, (nodes, formula) in cuts.items():
        indices = [tape.index[n] for n in nodes]

        def rules(t: Tape, c: float, indices: list[int] = indices) -> dict[Node, list[Rule]]:  # noqa: ARG001
            return {t.nodes[k]: [lambda _, g: torch.zeros_like(g)] for k in indices}

        yield Hypothesis(
            mistake, 0, j, rules, f"{formula}; should be dx = (dx̂ − mean(dx̂) − x̂ mean(dx̂ x̂)) / σ, {what}", place
        )


def _products(unit: Unit, tape: Tape) -> Iterator[Hypothesis]:
    """γ left out of dx; a matrix product gone back through with the wrong weights, or with its transpose."""
    aten = torch.ops.aten
    for node in tape.nodes:
        packet = packet_of(node)
        if packet is aten.mul and any(packet_of(user) in (aten.where, aten.maximum) for user in node.users):
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
                if name is None or other not in tape.variable or len({*tape.values[weight].shape[-2:]}) > 1:
                    continue
                i, j, w = tape.index[other], tape.index[node], tape.index[weight]
                yield Hypothesis(
                    "transposed", 0, j,
                    _rule_at(j, lambda t, g, _, i=i, j=j, w=w, right=right: [
                        (t.nodes[i], g @ t.values[t.nodes[w]] if right else t.values[t.nodes[w]] @ g),
                        *_only(t, j, w, g)]),
                    f"the gradient goes back through {name}ᵀ where it should go through {name}", line(node),
                )  # fmt: skip
    yield from _updated_weights(unit, tape)


def _updated_weights(unit: Unit, tape: Tape) -> Iterator[Hypothesis]:
    """A product gone back through with the weights after their update; in a loop, in every one of its steps."""
    aten = torch.ops.aten
    groups: dict[tuple[str, str], list[tuple[int, int, int]]] = {}
    for node in tape.nodes:
        if node.op != "call_function" or packet_of(node) not in (aten.mm, aten.bmm, aten.mv, aten.dot, aten.mul):
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

        def rules(tape: Tape, c: float, places: list[tuple[int, int, int]] = places) -> dict[Node, list[Rule]]:
            return {tape.nodes[j]: [_through_updated(j, w, i, c)] for j, w, i in places}

        def name_of(cs: Sequence[float], _: Any, name: str = name) -> tuple[str, str] | None:
            if max(cs) - min(cs) > 1e-6 * max(1.0, abs(cs[0])) or abs(cs[0]) < 1e-9:
                return None
            return "updated-weights", f"δ {name}′ with {name}′ = {name} − {short(cs[0])} d{name}; should be δ {name}"

        at = max(j for j, _, _ in places)
        yield Hypothesis("updated-weights", 1, at, rules, place=where, free=True, name_of=name_of)


def _through_updated(j: int, w: int, i: int, c: float) -> Rule:
    """The rule of a product: its other operand's gradient is taken with the weights W − c dW."""

    def rule(t: Tape, g: torch.Tensor) -> list[tuple[Node, torch.Tensor]]:
        node, weight, other = t.nodes[j], t.nodes[w], t.nodes[i]
        (_, dw), *_rest = _only(t, j, w, g)
        x = t.values[other].detach().requires_grad_()
        moved = {weight: t.values[weight] - c * dw, other: x}
        with torch.enable_grad():
            out = node.target(*tree_map_only(Node, lambda a: moved.get(a, t.values[a]), node.args))
        return [(other, torch.autograd.grad(out, x, g)[0]), (weight, dw)]

    return rule


def _gamma_of_one(unit: Unit, tape: Tape) -> Iterator[Hypothesis]:
    """The data's gradient as it would be with γ = 1, the others right."""
    data = [
        tape.index[leaf] for name, leaf in tape.leaves.items() if name not in unit.parameters and leaf in tape.variable
    ]
    end = tape.index[tape.outputs[0]]
    for name in unit.parameters:
        leaf = tape.leaves.get(name)
        if leaf is None or tape.values[leaf].ndim != 1 or len(tape.outputs) != 1:
            continue

        def rules(tape: Tape, c: float, name: str = name) -> dict[Node, list[Rule]]:  # noqa: ARG001
            kept: dict[str, dict[Node, Any]] = {}

            def keep(t: Tape, g: torch.Tensor) -> torch.Tensor:
                values = {n: t.values[leaf] for n, leaf in t.leaves.items()}
                other = t.rerun({name: torch.ones_like(values[name])})
                kept["arrived"] = {t.nodes[other.index[n]]: a for n, a in other.backward([g]).items()}
                return g

            return {tape.nodes[end]: [keep]} | {
                tape.nodes[i]: [lambda t, g, i=i: kept["arrived"].get(t.nodes[i], torch.zeros_like(g))] for i in data
            }

        words = f"dx is that of {name} = 1; should be that of {name}"
        yield Hypothesis("gamma-missing", 1, end, rules, words, line(tape.outputs[0]))


def _only(tape: Tape, node: int, argument: int, g: torch.Tensor) -> list[tuple[Node, torch.Tensor]]:
    return [(a, s) for a, s in tape.vjp(tape.nodes[node], g) if a is tape.nodes[argument]]


def _parameter(unit: Unit, tape: Tape, node: Any) -> str | None:
    """The parameter that a node is, perhaps reshaped or transposed."""
    while node is not None and (reshapes(node) or packet_of(node) in (torch.ops.aten.select, torch.ops.aten.slice)):
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
        yield Hypothesis("clipping-mismatch", 0, i, lambda t, c: {}, words, place, retape=retape)


def short(value: float) -> str:
    """Six digits of a number, with a true minus sign."""
    return f"{value:.6g}".replace("-", "−")
