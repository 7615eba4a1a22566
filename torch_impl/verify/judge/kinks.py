"""Kinks, where every value between the one-sided derivatives is a subgradient: a convention, or after all a fault?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from torch_impl.verify.mistakes.catalogue import CATALOGUE
from torch_impl.verify.mistakes.windows import axes_of
from torch_impl.verify.observe.observation import tape_of
from torch_impl.verify.report import Finding, finding
from torch_impl.verify.tolerances import AROUND, BESIDE, HULL, JUMP
from torch_impl.verify.trace.tape import packet_of, reshapes
from torch_impl.verify.units.unit import float_arrays

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.random import Generator

    from torch_impl.verify.observe.observation import Observation
    from torch_impl.verify.observe.reference import Reference
    from torch_impl.verify.trace.tape import Node, Tape
    from torch_impl.verify.units.unit import Inputs, Unit

aten = torch.ops.aten
_BENDING = {
    aten.maximum, aten.minimum, aten.relu, aten.abs, aten.where, aten.clamp, aten.clamp_min, aten.clamp_max, aten.clip,
    aten.leaky_relu, aten.elu, aten.celu, aten.hardtanh, aten.prelu, aten.threshold, aten.index_put,
}  # fmt: skip


def by_convention(
    unit: Unit, observations: list[Observation], reference: Reference, rng: Generator
) -> tuple[Literal["below", "above", "middle", "hull", ""], list[Finding]]:
    """Whether all that differs lies at kinks, where every value between the one-sided derivatives is a subgradient.

    torch's own convention is the derivative from below ("below"), autograd's of a maximum is the middle: both are
    right.
    """
    differing = {o.probe: [n for n in o.auto if o.differs(n)] for o in observations}
    observations = [o for o in observations if differing[o.probe]]
    if any(o.unit is not unit for o in observations) or reference.kind == "central differences":
        return "", []
    sides = [_one_sided(o, reference) for o in observations]
    for side in ("below", "above", "middle"):
        fits = [
            side in s and all(o.matches(n, s[side][n]) for n in differing[o.probe])
            for o, s in zip(observations, sides, strict=True)
        ]
        if not all(fits):
            continue
        if side == "below":
            return "below", []
        tensors = tuple(dict.fromkeys(unit.title(n) for names in differing.values() for n in names))
        words = {
            "above": "f′(0) is the derivative from above, as with ≥ for >",
            "middle": "f′(0) is the mean of both sides",
        }
        residual = max(
            o.residual(n, s[side][n]) for o, s in zip(observations, sides, strict=True) for n in differing[o.probe]
        )
        evidence = "equal wherever no pre-activation is exactly at a kink"
        row = CATALOGUE["kink-convention"]
        made = finding(row, tensors, unit.name, formula=words[side], evidence=evidence, residual=residual)
        return side, [made]
    # At ties as given the gradient may go to any of the maxima; autograd shares it out among them.
    for side in ("first", "last"):
        if all(side in s and all(o.matches(n, s[side][n]) for n in differing[o.probe])
               for o, s in zip(observations, sides, strict=True)):  # fmt: skip
            return "hull", []
    # Ties that the probe made itself: between neighbours in a pooling window, where any choice is a subgradient.
    only_at_kinks = all(o.probe == "at the kinks" for o in observations)
    if only_at_kinks and not any("below" in s for s in sides):
        return "hull", []
    if only_at_kinks and all(_within_hull(o, reference, n, rng) for o in observations for n in differing[o.probe]):
        return "hull", []
    return "", []


def _one_sided(observation: Observation, reference: Reference) -> dict[str, Inputs]:
    """The gradients with every elementwise kink taken from below, from above, in the middle."""
    tape = tape_of(observation, reference)
    if tape is None:
        return {}
    rules: dict[str, dict[Any, list[Any]]] = {"below": {}, "above": {}, "middle": {}}
    smooth = set(_smooth_after_all(tape, rules))
    for v in tape.nodes:
        value = tape.values.get(v)
        if v in smooth or v not in tape.variable or not isinstance(value, torch.Tensor) or not bends(tape, v):
            continue
        for u in (a for a in v.all_input_nodes if a in tape.variable and tape.only_through(a, v)):
            at = tape.values[u]
            if not isinstance(at, torch.Tensor) or at.shape != value.shape:
                continue
            slopes = [tape.derivative(u, v, at + h) for h in (-BESIDE, BESIDE)]
            jump = (slopes[1] - slopes[0]).abs() > JUMP
            if bool(jump.any()):
                break
        else:
            continue
        here = tape.derivative(u, v)
        for side, slope in {"below": slopes[0], "above": slopes[1], "middle": (slopes[0] + slopes[1]) / 2}.items():
            factor = torch.where(jump, slope, here)
            rules[side][v] = [lambda _, g, u=u, factor=factor: [(u, g * factor)]]
    if not rules["below"]:
        rules = {}
    maxima = [v for v in tape.nodes if packet_of(v) is aten.amax and v in tape.variable]
    for side in ("first", "last") if maxima else ():
        rules[side] = {**rules.get("below", {}), **{v: [_to_one(v, side)] for v in maxima}}
    found = {}
    for side, chosen in rules.items():
        arrived = tape.backward(observation.seeds(), chosen)
        found[side] = {
            n: arrived[leaf].numpy() if leaf in arrived else np.zeros(tape.values[leaf].shape)
            for n, leaf in tape.leaves.items()
        }
    return found


def _to_one(node: Node, which: str) -> Any:
    """The rule of a maximum whose gradient goes to the first or the last of the elements that share it."""
    (x,) = node.all_input_nodes

    def rule(tape: Tape, g: torch.Tensor) -> list[tuple[Node, torch.Tensor]]:
        value = tape.values[x]
        axes = axes_of(node, value)
        most = value.amax(dim=axes, keepdim=True)
        # The elements that one maximum is of in a row of their own, in the order of the array.
        order = [a for a in range(value.ndim) if a not in axes] + sorted(axes)
        at = (value == most).permute(order)
        rows = at.reshape(most.numel(), -1).int()
        rows = rows if which == "first" else rows.flip(1)
        rows = rows * (rows.cumsum(1) == 1)
        rows = rows if which == "first" else rows.flip(1)
        inverse = torch.argsort(torch.tensor(order)).tolist()
        return [(x, rows.reshape(at.shape).permute(inverse) * g.reshape(most.shape))]

    return rule


def _smooth_after_all(tape: Tape, rules: dict[str, dict[Any, list[Any]]]) -> Iterator[Any]:
    """Functions made of parts with kinks that have none themselves, as a sigmoid by way of |z|: their true derivative.

    Yields the nodes of such functions, and sets the rule of each for every side.
    """
    for v in tape.nodes:
        sources = tape.sources(v) if v in tape.variable else frozenset({v})
        (u,) = sources if len(sources) == 1 else (v,)
        if u is v or u not in tape.variable or any(w in tape.variable and tape.sources(w) == sources for w in v.users):
            continue
        between = [n for n in tape.nodes[tape.index[u] + 1 : tape.index[v] + 1] if tape.sources(n) == sources]
        if not any(bends(tape, n) for n in between):
            continue
        at, here = tape.values[u], tape.derivative(u, v)
        below, above = (tape.derivative(u, v, at + h) for h in (-BESIDE, BESIDE))
        limit = (below + above) / 2
        wrong = ((above - below).abs() <= JUMP) & ((here - limit).abs() > JUMP)
        if bool(wrong.any()):
            factor = torch.where(wrong, limit, here)
            for side in rules.values():
                side[v] = [lambda _, g, u=u, factor=factor: [(u, g * factor)]]
            yield from between


def _within_hull(observation: Observation, reference: Reference, name: str, rng: Generator) -> bool:
    """Whether the gradient lies between those of the reference right beside the kinks, element by element."""
    hand = np.asarray(observation.hand[name])
    if hand.shape != observation.auto[name].shape:
        return False
    arrays = float_arrays(observation.inputs)
    around = []
    for _ in range(24):
        moved = {n: np.asarray(a + AROUND * rng.standard_normal(a.shape)) for n, a in arrays.items()}
        around.append(reference.gradients(observation.inputs | moved, observation.upstream)[name])
    around.append(observation.auto[name])
    slack = HULL * observation.scale(name)
    low, high = np.min(around, axis=0), np.max(around, axis=0)
    return bool(((hand >= low - slack) & (hand <= high + slack)).all())


def bends(tape: Tape, node: Node) -> bool:
    """Whether a node may have a kink: by what it does, or because it multiplies with a comparison."""

    def compares(argument: Node) -> bool:
        while reshapes(argument) and argument.all_input_nodes:
            argument = argument.all_input_nodes[0]
        value = tape.values[argument]
        return isinstance(value, torch.Tensor) and value.dtype == torch.bool

    packet = packet_of(node)
    return packet in _BENDING or (packet is aten.mul and any(compares(a) for a in node.all_input_nodes))
