"""The gradients in float32 beside those in float64: rounding, or a fault of float32 alone?"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from torch_impl.verify.observe import probes
from torch_impl.verify.observe.observation import run
from torch_impl.verify.report import UNKNOWN, Finding, finding
from torch_impl.verify.tensor import TensorCheck, compare
from torch_impl.verify.tolerances import ROUNDING_32
from torch_impl.verify.units.unit import float_arrays

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from torch_impl.verify.observe.observation import Observation
    from torch_impl.verify.observe.reference import Reference
    from torch_impl.verify.units.unit import Inputs, Unit

    Array = NDArray[Any]


def in_float32(unit: Unit, inputs: Inputs, reference: Reference, base: Observation) -> dict[str, TensorCheck]:
    """The gradients in float32 beside those in float64 at the same inputs, which were found right."""
    single = {n: v.astype(np.float32) if n in float_arrays(inputs) else v for n, v in inputs.items()}
    exact = {n: v.astype(np.float64) if n in float_arrays(inputs) else v for n, v in single.items()}
    upstream = tuple(np.asarray(u, np.float32) if np.shape(u) else np.float32(u) for u in base.upstream)
    wide = tuple(np.asarray(u, np.float64) if np.shape(u) else np.float64(u) for u in upstream)
    rng = np.random.default_rng(0)
    auto = reference.gradients(exact, wide)
    hand = run(unit, single, upstream, rng)[2]
    hand64 = run(unit, exact, wide, rng)[2]
    # What rounding the inputs to float32 does to the gradient, an implementation in float32 may do as well.
    moved = reference.gradients(probes.jittered(exact, rng, float(np.finfo(np.float32).eps)), wide)
    checks = {}
    for name in base.auto:
        if name not in hand:
            continue
        scale = float(np.abs(auto[name]).max(initial=0))
        eps = float(np.finfo(np.float32).eps)
        conditioning = float(np.abs(moved[name] - auto[name]).max(initial=0))
        near = ROUNDING_32 * eps * max(scale, 1e-6)
        check = compare(unit.title(name), hand[name], auto[name], near, "float32", "rounding")
        far = compare("", hand[name], auto[name], max(1e-3 * scale, 1e3 * conditioning, 1e3 * near), "float32")
        gone = compare("", hand64[name], auto[name], 1e-7 * scale + 1e-9, "float64")
        if check.verdict == "rounding" and (far.verdict == "wrong" or gone.verdict == "wrong"):
            check = dataclasses.replace(check, verdict="wrong")
        elif check.verdict == "rounding":
            check = dataclasses.replace(check, note="the difference is gone in float64: rounding, no mistake")
        checks[check.tensor] = check
    return checks


def wrong_in_float32(unit: Unit, check: TensorCheck) -> Finding:
    """The finding of a tensor that is wrong in float32 alone."""
    index = f"at index {list(check.worst)} yours" if check.worst else "yours"
    evidence = f"{index} is {check.hand:.6g}, autograd's is {check.reference:.6g}"
    return finding(UNKNOWN, [check.tensor], unit.name, text="right in float64, wrong in float32", evidence=evidence)
