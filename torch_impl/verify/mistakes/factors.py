"""Factors: a mean over the batch left out or taken twice, another divisor, a stray number, a sign."""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from torch_impl.verify.mistakes.catalogue import (
    EVERYWHERE,
    LATE,
    Hypotheses,
    Hypothesis,
    Named,
    mistake,
    short,
    times_c,
)
from torch_impl.verify.mistakes.sites import Sites
from torch_impl.verify.tolerances import RATIO
from torch_impl.verify.trace.tape import Node, line, reshapes

mistake("missing-batch-mean", "the 1/B of a mean over the batch is left out", "Divide by the batch size, once.")
mistake("batch-mean-twice", "the gradient is divided by the batch size once more than the forward divides",
        "Divide by the batch size in one place only: where the loss takes its mean.")  # fmt: skip
mistake("wrong-divisor", "the gradient is divided (or multiplied) by the size of another thing than the forward's",
        "Divide by the number of elements that the forward's mean runs over.")  # fmt: skip


@mistake("constant-factor", "a constant factor too much or too little", "Take the stray factor out.")
def scaled(sites: Sites) -> Hypotheses:
    """The gradient at one node, times a number; at every node that one line makes, times one of a few numbers."""
    sources = [sites.tape.sources(mask.v) for mask in sites.masks]
    kept = {n for n in sites.nodes if any(sites.tape.sources(n) == s or n in s for s in sources)}
    drops = [1 - 1 / mask.scale for mask in sites.masks if mask.scale > 1]
    ends = {*sites.titles, *sites.tape.outputs}
    steps = {node for site in sites.elementwise for node in site[:2]} | {product.node for product in sites.products}
    repeated: dict[tuple[Any, ...], list[Node]] = {}
    for node in sites.nodes:
        if node in sites.penalties or (reshapes(node) and node not in ends):
            continue  # penalties have a rule of their own; a reshape has the factor of what it reshapes
        parameters = tuple(sites.parameter(a) for a in node.all_input_nodes)
        repeated.setdefault((line(node), node.target, parameters), []).append(node)
        if node in ends or not sites.long:
            rank = 3 if node in sites.titles and node not in sites.tape.outputs else 2
            ps, numbers = drops if node in kept else [], (1,) if rank == 3 else (1, 2, 0.5)
            name_of = lambda cs, seen, ps=ps, numbers=numbers: name_factor(cs, seen, ps, numbers)  # noqa: E731
            yield Hypothesis({node: times_c}, place=sites.titles.get(node, ""), rank=rank, name_of=name_of)
    for (place, *_), nodes in repeated.items():
        if place and len(nodes) > 1:
            if steps & {*nodes}:
                yield from _everywhere(sites, place + EVERYWHERE, nodes)
        elif sites.long and nodes[0] not in ends:
            yield Hypothesis({nodes[0]: times_c}, rank=2, name_of=name_factor)


def _everywhere(sites: Sites, place: str, nodes: list[Node]) -> Hypotheses:
    """A factor that comes again with every step of a loop is no linear unknown: the likely ones are tried."""
    products = [p for p in sites.products if p.node in nodes]
    likely: list[Any] = [
        ("wrong-sign", "−1", lambda sizes: -1.0),
        ("constant-factor", "2", lambda sizes: 2.0),
        ("constant-factor", "0.5", lambda sizes: 0.5),
        ("missing-batch-mean", "B", lambda sizes: sizes["B"]),
    ]
    for n in {k: n for n, k in reversed([*sites.sizes.items()]) if k > 1}.values():  # one name for each length
        name = "batch-mean-twice" if n == "B" else "wrong-divisor"
        likely.append((name, f"1/{n}", lambda sizes, n=n: 1 / sizes[n]))
    for name, words, factor in likely:
        times = lambda here, g, factor=factor: g * factor(here.observation.sizes)  # noqa: E731
        formula = f"is taken {words} times, in every step again"
        yield Hypothesis(dict.fromkeys(nodes, times), f"the gradient {formula}", place, LATE, name)
        if len(products) > 1:  # the parameter gets the right gradient, the other operand another
            beyond = {
                p.node: lambda here, g, p=p, times=times: (
                    here.only(p.node, p.weight, g) | here.only(p.node, p.other, times(here, g))
                )
                for p in products
            }
            yield Hypothesis(beyond, f"what goes back through {products[0].parameter} {formula}", place, LATE, name)


@mistake("wrong-sign", "the sign is flipped", "Flip the sign: gradients point uphill, updates go against them.")
def ascent(sites: Sites) -> Hypotheses:
    """A training step that goes along the gradient."""
    if sites.unit.updates_itself:
        flipped = dict.fromkeys(sites.tape.outputs, lambda here, g: -g)
        yield Hypothesis(flipped, "w ← w + lr dw; should be w ← w − lr dw", "the update", 1)


def name_factor(
    cs: Sequence[float], seen: Sequence[Any], drops: Sequence[float] = (), numbers: Sequence[float] = (1, 2, 0.5)
) -> Named | None:
    """The mistake that a fitted factor is, named after the size that it follows from probe to probe.

    ``drops`` are the probabilities to drop of the dropout where the factor stands; a size may come with a number.
    """
    follows = lambda values: all(  # noqa: E731
        abs(c - v) <= RATIO * max(1.0, abs(v)) for c, v in zip(cs, values, strict=True)
    )
    if follows([1.0] * len(cs)) or abs(cs[0]) < 10 * RATIO:  # a gradient of zero is no factor
        return None
    for named, values in _meanings(seen, drops, numbers):
        if follows(values):
            return named
    constant = "constant-factor", f"h = {short(cs[0])} a, with every size that was tried"
    return constant if follows([cs[0]] * len(cs)) else None


def _meanings(
    observations: Sequence[Any], drops: Sequence[float], numbers: Sequence[float]
) -> Iterator[tuple[Named, list[float]]]:
    """What a factor can be, the most specific first, and its value with each probe."""
    every, sizes = len(observations), [o.sizes for o in observations]
    batch = [float(s["B"]) for s in sizes]
    yield ("wrong-sign", "h = −a"), [-1.0] * every
    for words, c in ((words, c) for p in drops for words, c in _of_probability(p).items()):
        plain = ["constant-factor"] if abs(c) in (2.0, 0.5) else []  # with p = ½ a stray 2 looks the same
        yield ("dropout-scale", f"h = a · {words}", *plain), [c] * every
    followed = [
        ("missing-batch-mean", "B a, B the batch size", batch),
        ("missing-batch-mean", "B² a, B the batch size", [b * b for b in batch]),
        ("batch-mean-twice", "a / B, B the batch size", [1 / b for b in batch]),
        ("batch-mean-twice", "a / B², B the batch size", [1 / (b * b) for b in batch]),
        *(("wrong-divisor", f"a · {words}", values) for words, values in _of_sizes(sizes, numbers)),
        *(("constant-factor", f"a {words}", values) for words, values in _of_inputs(observations)),
    ]
    for name, words, values in followed:
        if len({round(v, 12) for v in values}) > 1:
            yield (name, f"h = {words} ({', '.join(f'{v:.4g}' for v in values)} with the probes)"), values
    if len({*batch}) == 1 and batch[0] > 1:
        said = f"and {batch[0]:g} is the batch size, the only one that was tried"
        yield ("batch-mean-twice", f"h = a / {batch[0]:g}, {said}", "constant-factor"), [1 / b for b in batch]
        yield ("missing-batch-mean", f"h = {batch[0]:g} a, {said}", "constant-factor"), batch


def _of_probability(p: float) -> dict[str, float]:
    """What the scale of a dropout may be taken for, p the probability to drop."""
    values = {"1 − p": 1 - p, "1/(1 − p)": 1 / (1 - p), "p/(1 − p)": p / (1 - p), "(1 − p)/p": (1 - p) / p, "p": p,
              "1/p": 1 / p}  # fmt: skip
    return {f"{words}, p = {p:.3g} the probability to drop": value for words, value in values.items()}


def _of_inputs(observations: Sequence[Any]) -> Iterator[tuple[str, list[float]]]:
    """The inputs that are one number, such as a temperature, and their inverses."""
    for name in observations[0].inputs:
        numbers = [np.asarray(o.inputs.get(name)) for o in observations]
        if all(n.dtype.kind == "f" and n.size == 1 and n.all() for n in numbers):
            yield f"· {name}", [float(n.item()) for n in numbers]
            yield f"/ {name}", [1 / float(n.item()) for n in numbers]


def _of_sizes(sizes: list[dict[str, int]], numbers: Sequence[float]) -> Iterator[tuple[str, list[float]]]:
    """Products and roots of the lengths, one name for each length that differs from the others with some probe."""
    columns = {tuple(s[n] for s in sizes): n for n in reversed(sizes[0]) if all(n in s for s in sizes)}
    lengths = {n: ks for ks, n in sorted(columns.items(), key=lambda c: list(sizes[0]).index(c[1])) if max(ks) > 1}
    exponents = itertools.product((0, 1, -1, 2, -2), repeat=min(len(lengths), 4))
    for times, chosen in itertools.product(numbers, list(exponents)):
        powers = {n: p for n, p in zip(lengths, chosen, strict=False) if p}
        if powers and sum(map(abs, powers.values())) <= 3:
            parts = [[float(k) ** p for k in lengths[n]] for n, p in powers.items()]
            yield _monomial(times, powers), [times * math.prod(each) for each in zip(*parts, strict=True)]
    for n, ks in lengths.items():
        yield f"√{n}", [k**0.5 for k in ks]
        yield f"1/√{n}", [k**-0.5 for k in ks]


def _monomial(times: float, powers: dict[str, int]) -> str:
    """In words: "2 B / (W.shape[1]²)"."""
    factors = {"2": {1: 0, 2: 1, 0.5: -1}[times]} | powers
    above = [n + "²" * (p == 2) for n, p in factors.items() if p > 0] or ["1"]
    below = [n + "²" * (p == -2) for n, p in factors.items() if p < 0]
    return " ".join(above) + (f" / ({' '.join(below)})" if len(below) > 1 else f" / {below[0]}" if below else "")
