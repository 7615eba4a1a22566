"""Whether a backward is linear in its upstream gradient, as every right one is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from torch_impl.verify.mistakes.catalogue import CATALOGUE
from torch_impl.verify.observe.observation import call_backward
from torch_impl.verify.report import UNKNOWN, Finding, finding
from torch_impl.verify.tolerances import RATIO
from torch_impl.verify.units.unit import UserCodeError, float_arrays, own

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from torch_impl.verify.observe.observation import Observation
    from torch_impl.verify.units.unit import Inputs, Unit


def not_linear(unit: Unit, inputs: Inputs, base: Observation, findings: list[Finding]) -> list[Finding]:
    """The findings, with one for all unknown ones whose tensors are not linear in the upstream gradient."""
    if not unit.takes_upstream or unit.updates_itself or any(f.mistake != UNKNOWN for f in findings):
        return findings
    apart = _apart(unit, inputs, base)
    titles = [unit.title(n) for n in base.auto if apart.get(n, 0) > RATIO]
    if not any(set(f.tensors) & set(titles) for f in findings):
        return findings
    rest = [f for f in findings if not set(f.tensors) & set(titles)]
    worst = max(value for value in apart.values() if np.isfinite(value))
    made = finding(
        CATALOGUE["upstream-ignored"], titles, unit.name,
        formula="h(g + k) is not h(g) + h(k), h your gradient, g and k what arrives; should be linear in that",
        evidence=f"for two random ones the two sides are apart by {worst:.1e} of the largest element",
    )  # fmt: skip
    return [made, *rest]


def _apart(unit: Unit, inputs: Inputs, base: Observation) -> dict[str, float]:
    """How far h(g + k) and h(g) + h(k) are apart, relative; nothing where state takes part."""
    rng = np.random.default_rng(3)
    g = base.upstream
    k = tuple(np.asarray(rng.standard_normal(np.shape(u)), np.asarray(u).dtype) for u in g)

    def h(upstream: Sequence[Any]) -> dict[str, Any]:
        mine = own(inputs)
        found = call_backward(unit, tuple(upstream), mine, unit.forward(mine)[1])
        if any(not np.array_equal(a, inputs[n], equal_nan=True) for n, a in float_arrays(mine).items()):
            raise UserCodeError("it changes its inputs, which is another fault")
        return found

    try:
        both, one, other, again = h([a + b for a, b in zip(g, k, strict=True)]), h(g), h(k), h(g)
    except UserCodeError:
        return {}
    if any(n not in again or not np.array_equal(one[n], again[n], equal_nan=True) for n in one):
        return {}
    names = [n for n in one if n in both and n in other and np.shape(both[n]) == np.shape(one[n]) == np.shape(other[n])]
    sizes = {n: max(float(np.abs(part[n]).max(initial=0)) for part in (both, one, other)) for n in names}
    return {n: float(np.abs(both[n] - one[n] - other[n]).max(initial=0)) / sizes[n] for n in names if sizes[n]}
