"""One unit with every probe: what is compared, what is explained, what its state is watched for."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from torch_impl.verify.explain.search import backward_order, explain
from torch_impl.verify.judge.forward import judged_forward
from torch_impl.verify.judge.guards import guarded, softened
from torch_impl.verify.judge.kinks import by_convention
from torch_impl.verify.judge.single import in_float32, wrong_in_float32
from torch_impl.verify.judge.state import added, check_repeatable, drawn_anew, remembers, resampled, watch_state
from torch_impl.verify.judge.upstream import not_linear
from torch_impl.verify.mend import mended
from torch_impl.verify.observe import probes
from torch_impl.verify.observe.observation import observe, run, tape_of
from torch_impl.verify.observe.probes import Probe
from torch_impl.verify.observe.reference import choose_reference
from torch_impl.verify.report import UNKNOWN, Finding, Report, Section, finding
from torch_impl.verify.tensor import TensorCheck, compare
from torch_impl.verify.trace.recording import TraceError
from torch_impl.verify.units.roles import is_owed
from torch_impl.verify.units.unit import UserCodeError, float_arrays

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from torch_impl.verify.observe.observation import Observation
    from torch_impl.verify.observe.reference import Reference
    from torch_impl.verify.tensor import Verdict
    from torch_impl.verify.units.unit import Inputs, Unit

    Array = NDArray[Any]


def verify_unit(unit: Unit, inputs: Inputs, seed: int = 0, upstream: Any = None) -> Report:
    """Compare, explain, watch the state; where something is wrong, its line and the edit that mends it.

    ``upstream`` are the gradients to send in with the inputs as given; random ones else.
    """
    report, seen, wrong = _verified(unit, inputs, seed, upstream)
    if not any(f.verdict == "wrong" for f in report.findings) or not seen:
        return report

    def judged() -> tuple[bool, list[str]]:
        again, _, still = _verified(unit, inputs, seed, upstream)
        return again.ok, still

    return mended(unit, report, seen, wrong, judged)


def _verified(unit: Unit, inputs: Inputs, seed: int, upstream: Any) -> tuple[Report, list[Observation], list[str]]:
    """The report, what was observed, and which tensors are wrong by themselves."""
    doubled = {n: v.astype(np.float64) if n in float_arrays(inputs) else v for n, v in inputs.items()}
    try:
        seen = _see(unit, doubled, seed, upstream)
    except UserCodeError as error:
        return _raised(unit, doubled, error, seed), [], []
    if not seen.observations:
        text = "the outputs or the gradients of the reference are not finite with the inputs as given"
        section = Section(unit.name, (*seen.forward, _unchecked("gradients", text)))
        return Report(unit.name, (section,), tuple(seen.findings), tuple(seen.notes)), [], []
    base = seen.observations[0]
    rng = np.random.default_rng([seed, 2])
    findings = list(seen.findings)
    wrong = [name for name in base.auto if any(o.differs(name) for o in seen.observations)]
    verdict: Verdict = "wrong"
    apart = _apart_at_kinks(unit, seen, wrong, rng)
    wrong = [name for name in wrong if name not in apart]
    if wrong:
        convention, conventions = by_convention(unit, seen.observations, seen.reference, rng)
        findings += conventions
        remarks = [] if convention else guarded(unit, seen.observations, wrong)
        findings += remarks
        if convention or remarks:
            verdict = "right, but" if remarks else "convention" if conventions else "right"
        else:
            explained = softened(_explained(unit, doubled, seen, wrong), base, wrong)
            findings += explained
            verdict = "right, but" if all(f.verdict == "right, but" for f in explained) else "wrong"
    checks = [
        _worst(unit, seen.observations[:1] if name in apart else seen.observations, name, verdict)
        for name in base.auto if name in base.hand
    ]  # fmt: skip
    missing = _missing(unit, base)
    checks += [check for check in missing if check.verdict != "right"]
    seen.notes += [f"{unit.name}: {c.tensor}: {c.note}" for c in missing if c.verdict == "right"]
    findings += watch_state(unit, doubled, base, {f.mistake for f in findings})
    if any(v.dtype == np.float32 for v in float_arrays(inputs).values()) and not findings:
        single = in_float32(unit, inputs, seen.reference, base)
        checks = [single.get(check.tensor, check) for check in checks]
        findings += [wrong_in_float32(unit, check) for check in single.values() if check.verdict == "wrong"]
    report = Report(unit.name, (Section(unit.name, (*seen.forward, *checks)),), tuple(findings), tuple(seen.notes))
    return report, seen.observations, wrong


def _apart_at_kinks(unit: Unit, seen: Seen, wrong: list[str], rng: Generator) -> list[str]:
    """Of several tensors that differ, those that are right as given and differ at kinks alone with some other probe."""
    near = [name for name in wrong if not seen.observations[0].differs(name)]
    if not near or len(near) == len(wrong):
        return []
    only = [dataclasses.replace(o, auto={n: o.auto[n] for n in near if n in o.auto}) for o in seen.observations]
    return near if by_convention(unit, only, seen.reference, rng)[0] else []


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
    forward, findings, reference, more = judged_forward(unit, inputs, reference)
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
    for probe in probes.probes(unit, inputs, reference, rng):
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


def _explained(unit: Unit, inputs: Inputs, seen: Seen, wrong: list[str]) -> list[Finding]:
    """Findings for the tensors that are wrong."""
    base = seen.observations[0]
    if drawn_anew(unit, inputs, base, wrong):
        return [resampled(unit, base, wrong)]
    for o in seen.observations[1:]:
        o.tape = tape_of(o, seen.reference if o.unit is unit else None)
    findings = not_linear(unit, inputs, base, explain(unit, seen.observations, wrong))
    if any(f.mistake == "double-softmax" for f in seen.findings):
        # A backward that goes through one of the two softmaxes alone is the same mistake seen from behind.
        same = ("loss-shortcut-misused", "activation-derivative-missing")
        findings = [f for f in findings if f.mistake not in same]
    return findings


def _missing(unit: Unit, base: Observation) -> list[TensorCheck]:
    """A backward owes the gradient of every weight and bias, or None for one that is constant; of others it may."""
    arrays = float_arrays(base.inputs)
    owing = (*unit.parameters, "x") if unit.stateful and unit.takes_upstream else unit.parameters
    missing = [n for n in owing if n in arrays and n not in base.hand and n not in base.declined]
    note = "backward returned no gradient for it (None would say that it is constant)"
    return [
        TensorCheck(unit.title(n), "could not be checked" if is_owed(n, base.hand) else "right", note=note)
        for n in missing
    ]


def _raises_with(unit: Unit, probe: Probe, error: UserCodeError) -> Finding:
    text = f"backward raises with the probe “{probe.name}”, and forward does not"
    return finding(UNKNOWN, ["all"], unit.name, text=text, evidence=str(error))


def _backward_alone_raises(probe: Probe) -> bool:
    """Whether the user's forward and the reference take these inputs; then it was the backward that raised."""
    if not probes.runs(probe.unit, probe.inputs):
        return False
    try:
        probe.reference.outputs(probe.inputs)
    except (UserCodeError, TraceError):
        return False
    return True


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
