"""A loss that clips or adds an ε, beside a gradient that does not: alike where people are, apart where it saturates."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from torch_impl.verify.mistakes.catalogue import CATALOGUE
from torch_impl.verify.mistakes.sites import Sites
from torch_impl.verify.report import Finding, finding
from torch_impl.verify.tolerances import GUARDED, LARGEST_GUARD
from torch_impl.verify.trace.tape import aten, line, packet_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from torch_impl.verify.observe.observation import Observation
    from torch_impl.verify.trace.tape import Node
    from torch_impl.verify.units.unit import Unit

    Array = NDArray[Any]


def guarded(unit: Unit, observations: list[Observation], wrong: list[str]) -> list[Finding]:
    """The remark that the gradient is that of the loss without its guard, where that is all there is to it.

    An ε in a logarithm or a clip near 0 and 1 keeps a loss finite. The gradient that people write beside it, such as
    p − y, is that of the loss as it is meant: equal to it where nothing saturates, and better where something does.
    """
    base = observations[0]
    if (unit.takes_upstream and any(np.ndim(u) for u in base.upstream)) or base.tape is None:
        return []
    far = ("large inputs", "saturated")
    for o in observations:
        most = GUARDED if o is base else math.sqrt(GUARDED)
        if o.probe not in far and any(o.residual(n, o.auto[n]) > most * o.scale(n) for n in wrong if n in o.auto):
            return []
    sites = Sites(unit, base.tape, base.sizes)
    guards = [n for n in sites.clips if any(_is_small(a) for a in _bounds(sites, n))]
    guards += [n for n in sites.calls if packet_of(n) is aten.add and sites.small_addend(n, LARGEST_GUARD)]
    if not guards:
        return []
    apart = max(base.residual(n, base.auto[n]) / base.scale(n) for n in wrong)
    text = (
        "the loss clips or adds an ε, and its gradient is that of the loss without: they agree with your inputs, to "
        f"{apart:.0e}, and part where a probability comes near 0 or 1"
    )
    row = CATALOGUE["clipping-mismatch"]
    made = finding(row, [unit.title(n) for n in wrong], unit.name, line(guards[0]), text=text)
    return [dataclasses.replace(made, verdict="right, but")]


def softened(findings: list[Finding], base: Observation, wrong: list[str]) -> list[Finding]:
    """The same findings as remarks, where a guard that the gradient leaves out is all that was found."""
    near = all(base.residual(n, base.auto[n]) <= GUARDED * base.scale(n) for n in wrong)
    if not near or any(f.mistake != "clipping-mismatch" for f in findings):
        return findings
    return [dataclasses.replace(f, verdict="right, but") for f in findings]


def _bounds(sites: Sites, node: Node) -> list[float]:
    fixed = [a for a in node.all_input_nodes if a not in sites.variable]
    return [a for a in node.args if isinstance(a, int | float)] + [float(sites.values[a].max()) for a in fixed]


def _is_small(bound: float) -> bool:
    """Whether a bound is next to 0 or 1: a guard, and no shape of the function itself."""
    return 0 < min(abs(bound), abs(1 - bound)) <= LARGEST_GUARD
