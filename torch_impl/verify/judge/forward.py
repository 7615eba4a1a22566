"""The forward: is it the reference's, and does it apply a softmax twice?"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from torch_impl.verify.mistakes.catalogue import CATALOGUE
from torch_impl.verify.mistakes.sites import Sites
from torch_impl.verify.mistakes.softmax import with_second_softmax
from torch_impl.verify.observe import probes
from torch_impl.verify.observe.reference import own_reference
from torch_impl.verify.report import UNKNOWN, Finding, finding
from torch_impl.verify.tensor import TensorCheck, compare, ratios
from torch_impl.verify.tolerances import SAME
from torch_impl.verify.trace.tape import line, packet_of
from torch_impl.verify.units.unit import own

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from torch_impl.verify.observe.reference import Reference
    from torch_impl.verify.units.unit import Inputs, Unit

    Array = NDArray[Any]


def judged_forward(
    unit: Unit, inputs: Inputs, reference: Reference
) -> tuple[list[TensorCheck], list[Finding], Reference, list[str]]:
    """The outputs beside the reference's. Where they differ, the user's own forward is the reference from there on."""
    hand, _ = unit.forward(own(inputs))
    if reference.kind != "torch":
        nested = _nested_softmax(unit, inputs, reference)
        return [], nested, reference, []
    names = (
        ["value"] if not unit.takes_upstream else ["out"] if len(hand) == 1 else [f"out[{i}]" for i in range(len(hand))]
    )
    expected = reference.outputs(inputs)
    checks = []
    for name, mine, theirs in zip(names, hand, expected, strict=True):
        tolerance = 1e-10 * float(np.abs(theirs).max(initial=0)) + 1e-12
        if getattr(mine, "dtype", None) == np.float32:
            tolerance *= 1e6
        checks.append(compare(name, np.asarray(mine), theirs, tolerance, "as given"))
    wrong = [c for c in checks if c.verdict == "wrong"]
    if not wrong:
        return checks, [], reference, []
    mistake, formula = _why_forward(unit, inputs, reference, np.asarray(hand[0]), expected[0])
    said = CATALOGUE[mistake].what if mistake in CATALOGUE else "the output is not the reference's"
    text = f"{said}. The gradients below are judged by this forward as it is"
    tensors = [c.tensor for c in wrong]
    findings = [
        finding(CATALOGUE.get(mistake, UNKNOWN), tensors, f"the forward of {unit.name}", text=text, formula=formula,
                evidence=ratios(np.asarray(hand[0]), expected[0]))
    ]  # fmt: skip
    own_unit = dataclasses.replace(unit, reference=None)
    other, notes = own_reference(own_unit, inputs)
    note = (
        f"{unit.name}: the forward differs from the reference; the user's own forward is the reference for the "
        "gradients"
    )
    return checks, findings, other, [note, *notes]


def _why_forward(unit: Unit, inputs: Inputs, reference: Reference, hand: Array, expected: Array) -> tuple[str, str]:
    name = probes.data_names(unit, inputs)[0]

    def softmax(a: Array) -> Array:
        return torch.softmax(torch.from_numpy(np.array(a, np.float64)), -1).numpy()

    if hand.shape == expected.shape and np.ndim(inputs[name]) > 0:
        twice = reference.outputs(inputs | {name: softmax(inputs[name])})[0]
        if np.allclose(hand, twice, rtol=SAME) or (hand.ndim and np.allclose(hand, softmax(expected), rtol=SAME)):
            return "double-softmax", "L(softmax(z)); should be L(z)"
        tape = reference.tape(inputs)
        for other in with_second_softmax(tape) if tape is not None else ():
            if np.allclose(hand, other.values[other.outputs[0]].numpy(), rtol=SAME):
                return "double-softmax", "L(softmax(z)); should be L(z)"
        used = np.abs(expected) > 1e-12
        ratio = hand[used] / expected[used] if used.any() else np.zeros(1)
        if "rng" in inputs and np.ptp(ratio) < SAME * abs(ratio.flat[0]) and ratio.flat[0] != 1:
            return "dropout-scale", f"y = {ratio.flat[0]:.4g} times what it should be on the kept units"
    return UNKNOWN, ""


def _nested_softmax(unit: Unit, inputs: Inputs, reference: Reference) -> list[Finding]:
    """A softmax of a softmax in a forward that ends in a loss: right or not in its gradient, it is never meant."""
    if reference.kind != "own forward":
        return []
    tape = reference.tape(inputs)
    if tape is None or any(tape.values[o].numel() > 1 for o in tape.outputs):
        return []
    pairs = [(z, p) for z, p, _ in Sites(unit, tape, {}).softmaxes]
    fused = [n for n in tape.nodes if packet_of(n) is torch.ops.aten._log_softmax]
    for _, p in pairs:
        again = [q for z, q in pairs if z is p] + [n for n in fused if n.all_input_nodes[0] is p]
        if again:
            formula, evidence = "softmax(softmax(z)); should be softmax(z)", "the inputs of the second are its outputs"
            row = CATALOGUE["double-softmax"]
            return [finding(row, ["out"], unit.name, line(again[0]), formula=formula, evidence=evidence)]
    return []
