"""One unit with every probe: what is compared, what is explained, what its state is watched for."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from torch_impl.verify.explain.search import backward_order, explain
from torch_impl.verify.judge.kinks import by_convention
from torch_impl.verify.judge.state import added, check_repeatable, drawn_anew, remembers, resampled, watch_state
from torch_impl.verify.mistakes.catalogue import CATALOGUE
from torch_impl.verify.mistakes.sites import Sites
from torch_impl.verify.mistakes.softmax import with_second_softmax
from torch_impl.verify.observe import probes
from torch_impl.verify.observe.observation import Probe, observe, run, tape_of
from torch_impl.verify.observe.reference import choose_reference, own_reference
from torch_impl.verify.report import UNKNOWN, Finding, Report, Section, TensorCheck, compare, ratios
from torch_impl.verify.trace.recording import TraceError
from torch_impl.verify.trace.tape import line, packet_of
from torch_impl.verify.units.roles import is_weight_name
from torch_impl.verify.units.unit import UserCodeError, float_arrays, own

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.random import Generator
    from numpy.typing import NDArray

    from torch_impl.verify.observe.observation import Observation
    from torch_impl.verify.observe.reference import Reference
    from torch_impl.verify.report import Verdict
    from torch_impl.verify.units.unit import Inputs, Unit

    Array = NDArray[Any]

MOST_NODES = 400  # of a graph that is traced anew for other sizes, or elements to difference: beyond, it takes too long
ROUNDING_32 = 16  # float32: differences up to so many units in the last place need no look at float64


def verify_unit(
    unit: Unit, inputs: Inputs, seed: int = 0, neighbours: dict[str, Array] | None = None, upstream: Any = None
) -> Report:
    """Compare, explain, watch the state; the report of one section.

    ``upstream`` are the gradients to send in with the inputs as given; random ones else. ``neighbours`` are arrays of
    other layers, which a wrong mask may have been taken from.
    """
    doubled = {n: v.astype(np.float64) if n in float_arrays(inputs) else v for n, v in inputs.items()}
    try:
        seen = _see(unit, doubled, seed, upstream)
    except UserCodeError as error:
        return _raised(unit, doubled, error, seed)
    if not seen.observations:
        text = "the outputs or the gradients of the reference are not finite with the inputs as given"
        section = Section(unit.name, (*seen.forward, _unchecked("gradients", text)))
        return Report(unit.name, (section,), tuple(seen.findings), tuple(seen.notes))
    base = seen.observations[0]
    rng = np.random.default_rng([seed, 2])
    findings = list(seen.findings)
    wrong = [name for name in base.auto if any(o.differs(name) for o in seen.observations)]
    verdict: Verdict = "wrong"
    if wrong:
        convention, conventions = by_convention(unit, seen.observations, seen.reference, rng)
        findings += conventions
        if convention:
            verdict = "convention" if conventions else "right"
        else:
            findings += _explained(unit, doubled, seen, wrong, neighbours)
    checks = [_worst(unit, seen.observations, name, verdict) for name in base.auto if name in base.hand]
    missing = _missing(unit, base)
    checks += [check for check in missing if check.verdict != "right"]
    seen.notes += [f"{unit.name}: {c.tensor}: {c.note}" for c in missing if c.verdict == "right"]
    findings += watch_state(unit, doubled, base, {f.mistake for f in findings})
    if any(v.dtype == np.float32 for v in float_arrays(inputs).values()) and not findings:
        single = _in_float32(unit, inputs, seen.reference, base)
        checks = [single.get(check.tensor, check) for check in checks]
        findings += [_wrong_in_float32(unit, check) for check in single.values() if check.verdict == "wrong"]
    return Report(unit.name, (Section(unit.name, (*seen.forward, *checks)),), tuple(findings), tuple(seen.notes))


@dataclass
class Seen:
    """What was observed of a unit; the first observation is that with the inputs as given."""

    reference: Reference
    forward: list[TensorCheck]
    findings: list[Finding]
    notes: list[str]
    observations: list[Observation]


def _see(unit: Unit, inputs: Inputs, seed: int, upstream: Any) -> Seen:
    """The forward, then the gradients with every probe.

    Raises
        UserCodeError: the code raised with the inputs as given
    """
    rng = np.random.default_rng([seed, 1])  # its own stream: an upstream gradient that is the input would hide faults
    check_repeatable(unit, inputs)
    reference, notes = choose_reference(unit, inputs)
    if all(n == 1 for a in float_arrays(inputs).values() for n in a.shape):
        notes.append(f"{unit.name}: every axis has length 1, which hides much; give arrays of distinct lengths")
    forward, findings, reference, more = _forward(unit, inputs, reference)
    seen = Seen(reference, forward, findings, notes + more, [])
    base = observe(Probe("as given", unit, inputs, reference), rng, upstream)
    if base is None:
        return seen
    base.tape = tape_of(base, reference)
    if base.tape is not None:
        base.auto = {n: base.auto[n] for n in backward_order(base.tape, list(base.auto))}
    seen.observations.append(base)
    if base.declined:
        seen.notes.append(
            f"{unit.name}: backward returned None for {', '.join(base.declined)}, which counts as constant"
        )
    if remembers(unit, inputs, base):
        increments = added(unit, inputs, base)
        if increments and all(base.residual(n, base.auto[n]) > base.tolerance[n] for n in increments):
            base.hand |= {n: g for n, g in increments.items() if np.abs(g - base.auto[n]).max() <= base.tolerance[n]}
        return seen  # what a unit with a memory gives from the second call on tells nothing of its gradient
    for probe in _probes(unit, inputs, reference, rng):
        try:
            observation = observe(probe, rng)
        except TraceError:
            continue
        except UserCodeError as error:
            # These inputs are ours, and a forward may rightly refuse them; a backward whose forward did not, may not.
            if unit.batch_is_free and _backward_alone_raises(probe):
                seen.findings.append(_raises_with(unit, probe, error))
            continue
        if observation is not None:
            seen.observations.append(observation)
    if not any(o.differs(n) for o in seen.observations[1:] for n in o.auto):
        at_kinks = _at_kinks(unit, inputs, reference, rng)
        seen.observations += [at_kinks] if at_kinks is not None else []
    return seen


def _explained(
    unit: Unit, inputs: Inputs, seen: Seen, wrong: list[str], neighbours: dict[str, Array] | None
) -> list[Finding]:
    """Findings for the tensors that are wrong."""
    base = seen.observations[0]
    if drawn_anew(unit, inputs, base, wrong):
        return [resampled(unit, base, wrong)]
    for o in seen.observations[1:]:
        o.tape = tape_of(o, seen.reference if o.unit is unit else None)
    findings = explain(unit, seen.observations, wrong, neighbours)
    if any(f.mistake == "double-softmax" for f in seen.findings):
        # A backward that goes through one of the two softmaxes alone is the same mistake seen from behind.
        same = ("loss-shortcut-misused", "activation-derivative-missing")
        findings = [f for f in findings if f.mistake not in same]
    return findings


def _missing(unit: Unit, base: Observation) -> list[TensorCheck]:
    """A backward owes the gradient of every weight and bias, or None for one that is constant; of others it may."""
    arrays = float_arrays(base.inputs)
    missing = [n for n in unit.parameters if n in arrays and n not in base.hand and n not in base.declined]
    note = "backward returned no gradient for it (None would say that it is constant)"
    return [
        TensorCheck(unit.title(n), "could not be checked" if is_weight_name(n) else "right", note=note) for n in missing
    ]


def _raises_with(unit: Unit, probe: Probe, error: UserCodeError) -> Finding:
    text = f"In {unit.name}: backward raises with the probe “{probe.name}”, and forward does not."
    return Finding("all", UNKNOWN, "none", math.nan, text, "", unit.name, str(error), tensors=("all",))


def _wrong_in_float32(unit: Unit, check: TensorCheck) -> Finding:
    text = f"In {unit.name}: right in float64, wrong in float32."
    evidence = f"at {check.worst} h = {check.hand:.6g}, a = {check.reference:.6g}"
    return Finding(check.tensor, UNKNOWN, "none", math.nan, text, "", unit.name, evidence, tensors=(check.tensor,))


# --- observing --------------------------------------------------------------------------------------------------------


def _probes(unit: Unit, inputs: Inputs, reference: Reference, rng: Generator) -> Iterator[Probe]:
    """The inputs beside those that were given."""
    lengths = sorted({n for v in inputs.values() if isinstance(v, np.ndarray) for n in v.shape if n > 1})
    batch = probes.batch_size(unit, inputs)
    longer = {n: n + 2 for n in lengths}
    if unit.batch_is_free:
        rows = frozenset(n for n, v in inputs.items() if isinstance(v, np.ndarray) and n not in unit.parameters)
        yield Probe("another batch size", unit, probes.resized(unit, inputs, {batch: batch + 4}, rng, rows), reference)
        yield Probe("one row", unit, probes.resized(unit, inputs, {batch: 1}, rng, rows), reference)
        wider = unit.widened() if unit.widened is not None else None
        if wider is not None:
            yield Probe("another width", wider[0], wider[1], type(reference)(wider[0], reference.kind))
        elif not unit.parameters and all(np.ndim(v) == 2 for v in float_arrays(inputs).values()):
            sizes = {n: n + 2 for n in lengths if n != batch}
            yield Probe("another width", unit, probes.resized(unit, inputs, sizes, rng), reference)
    elif reference.cost(inputs) <= MOST_NODES:
        candidates = [
            ("other sizes", longer),
            ("another batch size", {batch: batch + 2 if batch + 2 not in lengths else batch + 4}),
        ]
        for name, change in candidates:
            other = probes.resized(unit, inputs, change, rng)
            if _runs(unit, other):
                yield Probe(name, unit, other, reference)
                break
    yield Probe("other values", unit, probes.resized(unit, inputs, {}, rng), reference)
    yield Probe("large inputs", unit, probes.saturated(unit, inputs, 6), reference)
    yield Probe("saturated", unit, probes.saturated(unit, inputs, 40), reference)


def _backward_alone_raises(probe: Probe) -> bool:
    """Whether the user's forward and the reference take these inputs; then it was the backward that raised."""
    if not _runs(probe.unit, probe.inputs):
        return False
    try:
        probe.reference.outputs(probe.inputs)
    except (UserCodeError, TraceError):
        return False
    return True


def _runs(unit: Unit, inputs: Inputs) -> bool:
    try:
        outputs, _ = unit.forward(own(inputs))
    except UserCodeError:
        return False
    return all(np.isfinite(o).all() for o in outputs)


def _worst(unit: Unit, observations: list[Observation], name: str, verdict: Verdict) -> TensorCheck:
    """The check of one tensor: with the first probe in which it is wrong, else with that in which it differs most."""
    made = [
        compare(unit.title(name), o.hand[name], o.auto[name], o.tolerance[name], o.probe, verdict)
        for o in observations if name in o.hand
    ]  # fmt: skip
    wrong = [check for check in made if check.verdict == verdict != "right"]
    return wrong[0] if wrong else max(made, key=lambda check: check.relative if check.relative < 1e-6 else 0)


def _unchecked(tensor: str, note: str) -> TensorCheck:
    return TensorCheck(tensor, "could not be checked", note=note)


def _raised(unit: Unit, inputs: Inputs, error: UserCodeError, seed: int) -> Report:
    """The user's code raised, as it does where a transpose does not fit: with square arrays that runs, and is named."""
    section = Section(unit.name, (_unchecked("all", str(error)),))
    lengths = {n for v in float_arrays(inputs).values() for n in v.shape if n > 1}
    if len(lengths) > 1 and not unit.batch_is_free:
        square = probes.resized(unit, inputs, dict.fromkeys(lengths, 5), np.random.default_rng(seed))
        try:
            run(unit, square, None, np.random.default_rng(seed))
        except UserCodeError:
            return Report(unit.name, (section,))
        report = verify_unit(unit, square, seed)
        findings = [
            dataclasses.replace(
                f, evidence=f"with the arrays as given {error}; with all lengths 5, where it runs: {f.evidence}"
            )
            for f in report.findings
        ]
        if findings:
            return dataclasses.replace(report, findings=tuple(findings))
    return Report(unit.name, (section,))


# --- the forward ------------------------------------------------------------------------------------------------------


def _forward(
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
    findings = [
        Finding(wrong[0].tensor, mistake, "certain" if mistake in CATALOGUE else "none", math.nan,
                f"In the forward of {unit.name}: {said}. The gradients below are judged by this forward as it is.",
                formula, f"{unit.name}, forward", ratios(np.asarray(hand[0]), expected[0]),
                tensors=tuple(c.tensor for c in wrong), fix=CATALOGUE[mistake].fix if mistake in CATALOGUE else "")
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
        if np.allclose(hand, twice, rtol=1e-9) or (hand.ndim and np.allclose(hand, softmax(expected), rtol=1e-9)):
            return "double-softmax", "L(softmax(z)); should be L(z)"
        tape = reference.tape(inputs)
        for other in with_second_softmax(tape) if tape is not None else ():
            if np.allclose(hand, other.values[other.outputs[0]].numpy(), rtol=1e-9):
                return "double-softmax", "L(softmax(z)); should be L(z)"
        used = np.abs(expected) > 1e-12
        ratio = hand[used] / expected[used] if used.any() else np.zeros(1)
        if "rng" in inputs and np.ptp(ratio) < 1e-9 * abs(ratio.flat[0]) and ratio.flat[0] != 1:
            return "dropout-scale", f"y = {ratio.flat[0]:.4g} times what it should be on the kept units"
    return UNKNOWN, ""


def _nested_softmax(unit: Unit, inputs: Inputs, reference: Reference) -> list[Finding]:
    """A softmax of a softmax in a forward that ends in a loss: right or not in its gradient, it is never meant."""
    if reference.kind != "own forward":
        return []
    tape = reference.tape(inputs)
    if tape is None or any(tape.values[o].numel() > 1 for o in tape.outputs):
        return []
    pairs = [(z, p) for z, p, _ in Sites(unit, tape, {}, {}).softmaxes]
    fused = [n for n in tape.nodes if packet_of(n) is torch.ops.aten._log_softmax]
    for _, p in pairs:
        again = [q for z, q in pairs if z is p] + [n for n in fused if n.all_input_nodes[0] is p]
        if again:
            return [
                Finding("out", "double-softmax", "certain", 0.0, f"In {unit.name}: {CATALOGUE['double-softmax'].what}.",
                        "softmax(softmax(z)); should be softmax(z)", f"{unit.name}, {line(again[0])}",
                        "the second one's inputs are rows that sum to 1", tensors=("out",),
                        fix=CATALOGUE["double-softmax"].fix)
            ]  # fmt: skip
    return []


# --- kinks, float32 ---------------------------------------------------------------------------------------------------


def _at_kinks(unit: Unit, inputs: Inputs, reference: Reference, rng: Generator) -> Observation | None:
    """The observation with inputs exactly at the kinks."""
    if reference.kind == "central differences":
        return None
    try:
        seen = observe(Probe("at the kinks", unit, probes.kinked(unit, inputs), reference), rng)
    except (UserCodeError, TraceError):
        return None
    finite = seen is not None and all(np.isfinite(h).all() for h in seen.hand.values())
    return seen if finite else None  # there is no gradient where a norm is zero


def _in_float32(unit: Unit, inputs: Inputs, reference: Reference, base: Observation) -> dict[str, TensorCheck]:
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
