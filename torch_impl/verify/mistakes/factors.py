"""Factors: a mean over the batch left out or taken twice, another divisor, a stray number, a sign."""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from torch_impl.verify.mistakes.catalogue import mistake
from torch_impl.verify.mistakes.hypothesis import (
    EVERYWHERE,
    LATE,
    Here,
    Hypotheses,
    Hypothesis,
    Named,
    Rule,
    short,
    times_c,
)
from torch_impl.verify.mistakes.sites import Product, Sites
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
    likely = [("wrong-sign", "−1", "", -1.0), ("constant-factor", "2", "", 2.0), ("constant-factor", "0.5", "", 0.5)]
    likely += [("missing-batch-mean", "B", "B", 1.0)]
    lengths = {k: n for n, k in reversed([*sites.sizes.items()]) if k > 1}  # one name for each length
    likely += [("batch-mean-twice" if n == "B" else "wrong-divisor", f"1/{n}", n, -1.0) for n in lengths.values()]
    for name, words, size, power in likely:

        def times(here: Here, g: torch.Tensor, size: str = size, power: float = power) -> torch.Tensor:
            return g * (here.observation.sizes[size] ** power if size else power)

        formula = f"is taken {words} times, in every step again"
        yield Hypothesis(dict.fromkeys(nodes, times), f"the gradient {formula}", place, LATE, name)
        beyond: dict[Node, Rule] = {p.node: _beyond(p, times) for p in products}
        if len(products) > 1:
            yield Hypothesis(beyond, f"what goes back through {products[0].parameter} {formula}", place, LATE, name)


def _beyond(p: Product, times: Rule) -> Rule:
    """The rule of a product: its other operand gets another gradient, the parameter its own."""
    return lambda here, g: here.only(p.node, p.weight, g) | here.only(p.node, p.other, times(here, g))


@mistake("wrong-sign", "the sign is flipped", "Flip the sign: gradients point uphill, updates go against them.")
def ascent(sites: Sites) -> Hypotheses:
    """A training step that goes along the gradient."""
    if sites.unit.updates_itself:
        flipped = dict.fromkeys(sites.tape.outputs, lambda here, g: -g)
        yield Hypothesis(flipped, "w ← w + lr dw; should be w ← w − lr dw", "the update", 1)


def name_factor(
    cs: Sequence[float],
    observations: Sequence[Any],
    drops: Sequence[float] = (),
    numbers: Sequence[float] = (1, 2, 0.5),
) -> Named | None:
    """The mistake that a fitted factor is, named after the size that it follows from probe to probe.

    ``drops`` are the probabilities to drop of the dropout where the factor stands; a size may come with a number.
    """
    sizes = [o.sizes for o in observations]
    if _follows(cs, 1.0):
        return None
    if _follows(cs, -1.0):
        return "wrong-sign", "h = −a"
    for words, c in ((words, c) for p in drops for words, c in _of_probability(p).items()):
        if _follows(cs, c):
            plain = ["constant-factor"] if abs(c) in (2.0, 0.5) else []  # with p = ½ a stray 2 looks the same
            return "dropout-scale", f"h = a · {words}", *plain
    batch = [s["B"] for s in sizes]
    for power, words in {1: "h = B a", 2: "h = B² a", -1: "h = a / B", -2: "h = a / B²"}.items():
        if len({*batch}) > 1 and _follows(cs, *(float(b) ** power for b in batch)):
            name = "missing-batch-mean" if power > 0 else "batch-mean-twice"
            return name, f"{words}, B the batch size ({', '.join(map(str, batch))} with the probes)"
    for words, values in _of_sizes(sizes, numbers):
        if len({round(v, 12) for v in values}) > 1 and _follows(cs, *values):
            return "wrong-divisor", f"h = a · {words} ({', '.join(f'{v:.4g}' for v in values)} with the probes)"
    if abs(cs[0]) < 10 * RATIO:
        return None  # a gradient of zero is no factor
    for words, values in _of_numbers(observations):
        if len({*values}) > 1 and _follows(cs, *values):
            return "constant-factor", f"h = a {words} ({', '.join(f'{v:.4g}' for v in values)} with the probes)"
    if not _follows(cs, cs[0]):
        return None
    if len({*batch}) == 1 and batch[0] > 1:
        said = f", and {batch[0]} is the batch size, the only one that was tried"
        if _follows(cs, 1 / batch[0]):
            return "batch-mean-twice", f"h = a / {batch[0]}{said}", "constant-factor"
        if _follows(cs, batch[0]):
            return "missing-batch-mean", f"h = {batch[0]} a{said}", "constant-factor"
    return "constant-factor", f"h = {short(cs[0])} a, with every size that was tried"


def _follows(cs: Sequence[float], *values: float) -> bool:
    """Whether the numbers are these, one for each or one for all."""
    each = values if len(values) == len(cs) else values * len(cs)
    return all(abs(c - v) <= RATIO * max(1.0, abs(v)) for c, v in zip(cs, each, strict=True))


def _of_probability(p: float) -> dict[str, float]:
    """What the scale of a dropout may be taken for, p the probability to drop."""
    values = {"1 − p": 1 - p, "1/(1 − p)": 1 / (1 - p), "p/(1 − p)": p / (1 - p), "(1 − p)/p": (1 - p) / p, "p": p,
              "1/p": 1 / p}  # fmt: skip
    return {f"{words}, p = {p:.3g} the probability to drop": value for words, value in values.items()}


def _of_numbers(observations: Sequence[Any]) -> Iterator[tuple[str, list[float]]]:
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
        if min(ks) > 1:
            yield f"({n} − 1)/{n}", [(k - 1) / k for k in ks]
            yield f"{n}/({n} − 1)", [k / (k - 1) for k in ks]


def _monomial(times: float, powers: dict[str, int]) -> str:
    """In words: "2 B / (W.shape[1]²)"."""
    factors = {"2": {1: 0, 2: 1, 0.5: -1}[times]} | powers
    above = [n + "²" * (p == 2) for n, p in factors.items() if p > 0] or ["1"]
    below = [n + "²" * (p == -2) for n, p in factors.items() if p < 0]
    return " ".join(above) + (f" / ({' '.join(below)})" if len(below) > 1 else f" / {below[0]}" if below else "")
