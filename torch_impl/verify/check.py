"""One unit with every probe: what is compared, what is explained, what its state is watched for."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from torch_impl.verify import probes
from torch_impl.verify.catalogue import CATALOGUE
from torch_impl.verify.explain import Observation, explain, ratios
from torch_impl.verify.forwards import with_second_softmax
from torch_impl.verify.reference import TraceError, choose_reference, own_reference
from torch_impl.verify.report import UNKNOWN, Finding, Report, Section, TensorCheck, compare
from torch_impl.verify.tape import bends
from torch_impl.verify.unit import BACKWARD_SEED, FORWARD_SEED, UserCodeError, float_arrays, own

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.random import Generator
    from numpy.typing import NDArray

    from torch_impl.verify.reference import Reference
    from torch_impl.verify.report import Verdict
    from torch_impl.verify.tape import Tape
    from torch_impl.verify.unit import Inputs, Unit

    Array = NDArray[Any]

NOISE = 50  # times the change that moving every input by rounding makes: what an ill-conditioned gradient may differ by
MOST_NODES = 400  # of a graph that is traced anew for other sizes: an unrolled loop of thousands takes its time
ROUNDING_32 = 16  # float32: differences up to so many units in the last place need no look at float64


@dataclass(frozen=True)
class Probe:
    """Inputs to try a unit with; ``unit`` is another one where the widths are other ones."""

    name: str
    unit: Unit
    inputs: Inputs
    reference: Reference


def verify_unit(
    unit: Unit, inputs: Inputs, seed: int = 0, neighbours: dict[str, Array] | None = None, upstream: Any = None
) -> Report:
    """Compare, explain, watch the state; the report of one section.

    ``upstream`` are the gradients to send in with the inputs as given; random ones else. ``neighbours`` are arrays of other
    layers, which a wrong mask may have been taken from.
    """
    rng = np.random.default_rng([seed, 1])  # its own stream: an upstream gradient that is the input would hide faults
    doubled = {n: v.astype(np.float64) if n in float_arrays(inputs) else v for n, v in inputs.items()}
    try:
        reference, notes = choose_reference(unit, doubled)
        forward, findings, reference, more = _forward(unit, doubled, reference)
        base = _observe(Probe("as given", unit, doubled, reference), rng, upstream)
        if base is None:
            text = "the outputs or the gradients of the reference are not finite"
            return Report(unit.name, (Section(unit.name, (*forward, _unchecked("gradients", text))),), tuple(findings))
    except UserCodeError as error:
        return _raised(unit, doubled, error, seed)
    notes += more
    observations = [base]
    remembers = _remembers(unit, doubled, base)
    for probe in () if remembers else _probes(unit, doubled, reference, rng):
        try:
            observation = _observe(probe, rng)
        except (UserCodeError, TraceError):  # these inputs are ours, and the code may rightly refuse them
            continue
        if observation is not None:
            observations.append(observation)
    if not remembers and not any(_differs(o, n) for o in observations[1:] for n in o.auto):
        at_kinks = _at_kinks(unit, doubled, reference, rng)
        observations += [at_kinks] if at_kinks is not None else []
    wrong = [name for name in base.auto if any(_differs(o, name) for o in observations)]
    convention, conventions = _by_convention(unit, observations, reference, rng) if wrong else ("", [])
    findings += conventions
    missing = [n for n in unit.parameters if n in base.auto and n not in base.hand] if unit.into is not None else []
    silent = [n for n in unit.parameters if n in float_arrays(doubled) and n not in base.hand and unit.is_function]
    if silent:
        notes.append(f"{unit.name}: backward returned no gradient of {', '.join(silent)}, which counts as constant")
    verdict: Verdict = "wrong" if not convention else "convention" if conventions else "right"
    checks = [_worst(unit, observations, name, verdict) for name in base.auto if name in base.hand]
    checks += [_unchecked(unit.title(n), "backward returned no gradient for it") for n in missing]
    if convention:
        wrong = []
    if wrong and _drawn_anew(unit, doubled, base, wrong):
        findings.append(_resampled(unit, base, wrong))
    elif wrong:
        for o in observations:
            o.tape = _tape(o, reference if o.unit is unit else None)
        explained = explain(unit, observations, wrong, neighbours)
        if any(f.mistake == "double-softmax" for f in findings):
            # A backward that goes through one of the two softmaxes alone is the same mistake seen from behind.
            explained = [f for f in explained if f.mistake not in ("loss-shortcut-misused", "activation-derivative-missing")]
        findings += explained
    findings += _state(unit, doubled, base, {f.mistake for f in findings})
    if any(v.dtype == np.float32 for v in float_arrays(inputs).values()) and not findings:
        single = _in_float32(unit, inputs, reference, base)
        checks = [single.get(check.tensor, check) for check in checks]
        findings += [
            Finding(c.tensor, UNKNOWN, "none", math.nan, f"In {unit.name}: right in float64, wrong in float32.", "", unit.name,
                    f"at {c.worst} h = {c.hand:.6g}, a = {c.reference:.6g}", tensors=(c.tensor,))
            for c in single.values() if c.verdict == "wrong"
        ]  # fmt: skip
    return Report(unit.name, (Section(unit.name, (*forward, *checks)),), tuple(findings), tuple(notes))


# --- observing --------------------------------------------------------------------------------------------------------


def _probes(unit: Unit, inputs: Inputs, reference: Reference, rng: Generator) -> Iterator[Probe]:
    """The inputs beside those that were given."""
    lengths = sorted({n for v in inputs.values() if isinstance(v, np.ndarray) for n in v.shape if n > 1})
    batch = probes.batch_size(unit, inputs)
    longer = {n: n + 2 for n in lengths}
    if unit.batch_is_free:
        rows = frozenset(n for n, v in inputs.items() if isinstance(v, np.ndarray) and n not in unit.parameters)
        yield Probe("another batch size", unit, probes.resized(inputs, {batch: batch + 4}, rng, rows), reference)
        yield Probe("one row", unit, probes.resized(inputs, {batch: 1}, rng, rows), reference)
        wider = unit.widened() if unit.widened is not None else None
        if wider is not None:
            yield Probe("another width", wider[0], wider[1], type(reference)(wider[0], reference.kind))
        elif not unit.parameters and all(np.ndim(v) == 2 for v in float_arrays(inputs).values()):
            sizes = {n: n + 2 for n in lengths if n != batch}
            yield Probe("another width", unit, probes.resized(inputs, sizes, rng), reference)
    elif reference.kind != "central differences" and reference.size(inputs) <= MOST_NODES:
        candidates = [("other sizes", longer), ("another batch size", {batch: batch + 2 if batch + 2 not in lengths else batch + 4})]
        for name, change in candidates:
            other = probes.resized(inputs, change, rng)
            if _runs(unit, other):
                yield Probe(name, unit, other, reference)
                break
    yield Probe("other values", unit, probes.resized(inputs, {}, rng), reference)
    yield Probe("large inputs", unit, probes.saturated(unit, inputs, 6), reference)
    yield Probe("saturated", unit, probes.saturated(unit, inputs, 40), reference)


def _runs(unit: Unit, inputs: Inputs) -> bool:
    try:
        outputs, _ = unit.forward(own(inputs))
    except UserCodeError:
        return False
    return all(np.isfinite(o).all() for o in outputs)


def _run(unit: Unit, inputs: Inputs, upstream: tuple[Any, ...] | None, rng: Generator) -> tuple[Any, Any, Inputs]:
    """Outputs, upstream gradients, gradients: copies, which nothing that comes later can change."""
    mine = own(inputs)
    outputs, cache = unit.forward(mine)
    outputs = tuple(np.array(o) for o in outputs)
    if upstream is None:
        upstream = tuple(
            np.asarray(rng.standard_normal(o.shape) if unit.takes_upstream else np.ones(o.shape), o.dtype)
            if o.shape else o.dtype.type(rng.uniform(0.5, 1.5) if unit.takes_upstream else 1.0)
            for o in outputs
        )  # fmt: skip
    sent = tuple(np.array(u) if np.shape(u) else u for u in upstream)
    hand = unit.backward(sent, mine, cache)
    return outputs, upstream, _copies(hand)


def _copies(gradients: Inputs) -> dict[str, Array]:
    """The gradients as float arrays of their own."""
    copied = {}
    for name, value in gradients.items():
        try:
            array = np.array(value)
            copied[name] = array if array.dtype in (np.float32, np.float64) else array.astype(np.float64, casting="same_kind")
        except (TypeError, ValueError) as error:
            came = f"a {type(value).__name__}" + (f" of {value.dtype}" if isinstance(value, np.ndarray) else "")
            raise UserCodeError(f"backward returned {came} as the gradient of {name}, expected a float array") from error
    return copied


def _observe(probe: Probe, rng: Generator, upstream: Any = None) -> Observation | None:
    """What comes out with a probe; None where the reference is not finite, and tells nothing."""
    unit, inputs = probe.unit, probe.inputs
    outputs, upstream, hand = _run(unit, inputs, upstream, rng)
    auto = probe.reference.gradients(inputs, upstream)
    differences = probe.reference.kind == "central differences"
    if not all(np.isfinite(a).all() for a in auto.values()) and not differences:
        return None
    if not all(np.isfinite(o).all() for o in outputs):
        return None
    auto = {n: a for n, a in auto.items() if n in hand or (n in unit.parameters and unit.into is not None)}
    if differences:  # elements at a kink are set aside
        for n, a in auto.items():
            if n in hand and np.shape(hand[n]) == a.shape:
                auto[n] = np.where(np.isnan(a), hand[n], a)
    if any(isinstance(hand.get(n), np.ndarray) and np.isnan(hand[n]).any() for n in auto) and unit.into is not None:
        # NaN where nothing was written, or where something was added to the NaN that stood there: zero tells which.
        mine = own(inputs)
        _, cache = unit.forward(mine)
        hand = _copies(unit.into(tuple(np.array(u) for u in upstream), mine, cache, 0.0))
    # What cancels to nothing is the rounding of what went in: of the upstream gradient times the inputs.
    sent = max([1.0, *(float(np.abs(u).max(initial=0)) for u in upstream)])
    sent *= max([1.0, *(float(np.abs(a).max(initial=0)) for a in float_arrays(inputs).values())])
    relative = probe.reference.tolerance
    if any(getattr(v, "dtype", None) == np.float32 for v in hand.values()):
        relative = max(relative, 1e-4)  # the code computes in float32 whatever it is given
    tolerance = {n: relative * float(np.abs(a).max(initial=0)) + min(relative, 1e-10) * 1e-2 * sent for n, a in auto.items()}
    sizes = _sizes(unit, inputs)
    made = Observation(probe.name, unit, inputs, upstream, hand, auto, tolerance, sizes)
    if any(_differs(made, n) for n in auto) and not _allow_for_conditioning(made, probe, rng):
        return None
    return made


def _allow_for_conditioning(observation: Observation, probe: Probe, rng: Generator) -> bool:
    """Allow for what rounding may have cost the reference or the user's gradient; False if that leaves nothing to compare."""
    if probe.reference.kind == "central differences":
        return True
    noise = dict.fromkeys(observation.auto, 0.0)
    for seed in range(3):
        rounded = probe.reference.gradients(probe.inputs, observation.upstream, rounding_seed=seed)
        moved = probes.jittered(probe.inputs, rng, 2 * float(np.finfo(np.float64).eps))
        for name, auto in observation.auto.items():
            noise[name] = max(noise[name], float(np.abs(rounded[name] - auto).max(initial=0)))
        try:
            _, _, hand = _run(probe.unit, moved, observation.upstream, rng)
        except UserCodeError:
            continue
        for name in observation.auto:
            if name in hand and np.shape(hand[name]) == np.shape(observation.hand[name]) == observation.auto[name].shape:
                apart = float(np.abs(hand[name] - observation.hand[name]).max(initial=0))
                # A jump is no rounding: a wrong gradient may well jump where the right one does not.
                noise[name] = max(noise[name], apart if apart < 1e-9 * observation.scale(name) else 0.0)
    for name, apart in noise.items():
        if not math.isfinite(apart) or NOISE * apart > 1e-3 * observation.scale(name):
            return probe.name == "as given"
        observation.tolerance[name] = max(observation.tolerance[name], NOISE * apart)
    return True


def _sizes(unit: Unit, inputs: Inputs) -> dict[str, int]:
    """The lengths that a divisor could be, by name: B, then those of every axis."""
    axes = {f"{n}.shape[{i}]": k for n, v in inputs.items() if isinstance(v, np.ndarray) for i, k in enumerate(v.shape)}
    return {"B": probes.batch_size(unit, inputs)} | axes


def _differs(observation: Observation, name: str) -> bool:
    return name in observation.hand and not observation.residual(name, observation.auto[name]) <= observation.tolerance[name]


def _worst(unit: Unit, observations: list[Observation], name: str, verdict: Verdict) -> TensorCheck:
    """The check of one tensor with the probe in which it differs most."""
    made = [
        compare(unit.title(name), o.hand[name], o.auto[name], o.tolerance[name], o.probe, verdict)
        for o in observations if name in o.hand
    ]  # fmt: skip
    wrong = [check for check in made if check.verdict == verdict != "right"]
    return wrong[0] if wrong else max(made, key=lambda check: check.relative if check.relative < 1e-6 else 0)


def _tape(observation: Observation, reference: Reference | None) -> Any:
    if reference is None:
        reference = choose_reference(observation.unit, observation.inputs)[0]
    try:
        tape = reference.tape(observation.inputs)
        if tape is None:
            return None
        arrived = tape.backward(observation.seeds())
    except (RuntimeError, TraceError, NotImplementedError):  # without a tape the numbers alone must do
        return None
    for name, auto in observation.auto.items():
        mine = arrived[tape.leaves[name]].numpy() if tape.leaves[name] in arrived else np.zeros(auto.shape)
        if np.abs(mine - auto).max(initial=0) > observation.tolerance[name]:
            return None
    return tape


def _unchecked(tensor: str, note: str) -> TensorCheck:
    return TensorCheck(tensor, "could not be checked", note=note)


def _raised(unit: Unit, inputs: Inputs, error: UserCodeError, seed: int) -> Report:
    """The user's code raised. A transpose that no longer fits shows as that: with square arrays it runs, and is named."""
    section = Section(unit.name, (_unchecked("all", str(error)),))
    lengths = {n for v in float_arrays(inputs).values() for n in v.shape if n > 1}
    if len(lengths) > 1 and not unit.batch_is_free:
        square = probes.resized(inputs, dict.fromkeys(lengths, 5), np.random.default_rng(seed))
        try:
            unit.backward(_run(unit, square, None, np.random.default_rng(seed))[1], own(square), unit.forward(own(square))[1])
        except UserCodeError:
            return Report(unit.name, (section,))
        report = verify_unit(unit, square, seed)
        findings = [
            dataclasses.replace(f, evidence=f"with the arrays as given {error}; with all lengths 5, where it runs: {f.evidence}")
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
    names = ["value"] if not unit.takes_upstream else ["out"] if len(hand) == 1 else [f"out[{i}]" for i in range(len(hand))]
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
                f"In the forward of {unit.name}: {said}. The gradients below are judged by this forward as it is.", formula,
                f"{unit.name}, forward", ratios(np.asarray(hand[0]), expected[0]), tensors=tuple(c.tensor for c in wrong))
    ]  # fmt: skip
    own_unit = dataclasses.replace(unit, reference=None)
    other, notes = own_reference(own_unit, inputs)
    note = f"{unit.name}: the forward differs from the reference; the user's own forward is the reference for the gradients"
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
        for _, other in with_second_softmax(tape) if tape is not None else ():
            if np.allclose(hand, other.values[other.outputs[0]].numpy(), rtol=1e-9):
                return "double-softmax", "L(softmax(z)); should be L(z)"
        used = np.abs(expected) > 1e-12
        ratio = hand[used] / expected[used] if used.any() else np.zeros(1)
        if "rng" in inputs and np.ptp(ratio) < 1e-9 * abs(ratio.flat[0]) and ratio.flat[0] != 1:
            return "dropout-scale", f"y = {ratio.flat[0]:.4g} times what it should be on the kept units"
    return UNKNOWN, ""


def _nested_softmax(unit: Unit, inputs: Inputs, reference: Reference) -> list[Finding]:
    """A softmax of a softmax in a forward that ends in a loss: right or not in its gradient, it is never meant."""
    from torch_impl.verify.explain import softmax_pairs
    from torch_impl.verify.tape import line

    if reference.kind != "own forward":
        return []
    tape = reference.tape(inputs)
    if tape is None or any(tape.values[o].numel() > 1 for o in tape.outputs):
        return []
    pairs = list(softmax_pairs(tape))
    fused = [n for n in tape.nodes if getattr(n.target, "overloadpacket", None) is torch.ops.aten._log_softmax]
    for _, p, _axis in pairs:
        again = [q for z, q, _ in pairs if z is p] + [n for n in fused if n.all_input_nodes[0] is p]
        if again:
            return [
                Finding("out", "double-softmax", "certain", 0.0, f"In {unit.name}: {CATALOGUE['double-softmax'].what}.",
                        "softmax(softmax(z)); should be softmax(z)", f"{unit.name}, {line(again[0])}",
                        "the second one's inputs are rows that sum to 1", tensors=("out",))
            ]  # fmt: skip
    return []


def _remembers(unit: Unit, inputs: Inputs, base: Observation) -> bool:
    """Whether a second run gives other gradients: then only the first one can be judged."""
    try:
        _, _, second = _run(unit, inputs, base.upstream, np.random.default_rng(0))
    except UserCodeError:
        return True
    return any(not _close(base.hand[n], second[n]) for n in base.hand if n in second and unit.into is None)


def _drawn_anew(unit: Unit, inputs: Inputs, base: Observation, wrong: list[str]) -> bool:
    """Whether backward draws what forward drew: with every generator put back to where the forward began, it is right."""
    token = BACKWARD_SEED.set(FORWARD_SEED)
    try:
        mine = own(inputs)
        _, cache = unit.forward(mine)
        for generator in _generators(mine) + _generators(cache):
            if generator.bit_generator.state != _start(inputs):
                generator.bit_generator.state = _start(inputs) or generator.bit_generator.state
        sent = tuple(np.array(u) if np.shape(u) else u for u in base.upstream)
        again = _copies(unit.backward(sent, mine, cache))
    except UserCodeError:
        return False
    finally:
        BACKWARD_SEED.reset(token)
    moved = any(not _close(again[n], base.hand[n]) for n in wrong if n in again)
    return moved and all(float(np.abs(again[n] - base.auto[n]).max(initial=0)) <= base.tolerance[n] for n in wrong if n in again)


def _generators(thing: Any, depth: int = 0) -> list[np.random.Generator]:
    if isinstance(thing, np.random.Generator):
        return [thing]
    parts = thing.values() if isinstance(thing, dict) else thing if isinstance(thing, tuple | list) else ()
    return [g for part in parts if depth < 4 for g in _generators(part, depth + 1)]


def _start(inputs: Inputs) -> Any:
    return next((g.bit_generator.state for g in _generators(inputs)), None)


def _resampled(unit: Unit, base: Observation, wrong: list[str]) -> Finding:
    tensors = tuple(unit.title(n) for n in wrong)
    residual = max(base.residual(n, base.auto[n]) / base.scale(n) for n in wrong)
    return Finding(
        tensors[0], "dropout-mask-resampled", "certain", 0.0,
        f"In {unit.name}: {CATALOGUE['dropout-mask-resampled'].what}. It makes {', '.join(tensors)} wrong.",
        "dx = dy m′, m′ drawn in backward; should be dx = dy m, the forward's", unit.name,
        f"apart by {residual:.1e}; with the generator put back to where the forward began, backward is right", tensors=tensors,
    )  # fmt: skip


# --- kinks, state, float32 --------------------------------------------------------------------------------------------


def _at_kinks(unit: Unit, inputs: Inputs, reference: Reference, rng: Generator) -> Observation | None:
    """The observation with inputs exactly at the kinks."""
    if reference.kind == "central differences":
        return None
    try:
        return _observe(Probe("at the kinks", unit, probes.kinked(unit, inputs), reference), rng)
    except (UserCodeError, TraceError):
        return None


def _by_convention(
    unit: Unit, observations: list[Observation], reference: Reference, rng: Generator
) -> tuple[Literal["below", "above", "middle", "hull", ""], list[Finding]]:
    """Whether all that differs lies at kinks, where every value between the one-sided derivatives is a subgradient.

    torch's own convention is the derivative from below ("below"), autograd's of a maximum is the middle: both are right.
    """
    differing = {o.probe: [n for n in o.auto if _differs(o, n)] for o in observations}
    observations = [o for o in observations if differing[o.probe]]
    if any(o.unit is not unit for o in observations) or reference.kind == "central differences":
        return "", []
    sides = [_one_sided(o, reference) for o in observations]
    for side in ("below", "above", "middle"):
        fits = [side in s and all(o.matches(n, s[side][n]) for n in differing[o.probe]) for o, s in zip(observations, sides, strict=True)]
        if not all(fits):
            continue
        if side == "below":
            return "below", []
        tensors = tuple(dict.fromkeys(unit.title(n) for names in differing.values() for n in names))
        mistake = CATALOGUE["kink-convention"]
        words = {"above": "f′(0) is the derivative from above, as with ≥ for >", "middle": "f′(0) is the mean of both sides"}
        residual = max(o.residual(n, s[side][n]) for o, s in zip(observations, sides, strict=True) for n in differing[o.probe])
        finding = Finding(
            tensors[0], mistake.slug, "certain", residual,
            f"In {unit.name}: {mistake.what}. It is no error.", words[side], unit.name,
            "equal wherever no pre-activation is exactly at a kink", "convention", tensors=tensors,
        )  # fmt: skip
        return side, [finding]
    # Ties that the probe made itself: between neighbours in a pooling window, where any choice is a subgradient.
    only_at_kinks = all(o.probe == "at the kinks" for o in observations)
    if only_at_kinks and not any(sides):
        return "hull", []
    if only_at_kinks and all(_within_hull(o, reference, n, rng) for o in observations for n in differing[o.probe]):
        return "hull", []
    return "", []


def _one_sided(observation: Observation, reference: Reference) -> dict[str, Inputs]:
    """The gradients with every elementwise kink taken from below, from above, in the middle."""
    tape = _tape(observation, reference)
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
            slopes = [tape.derivative(u, v, at + h) for h in (-1e-9, 1e-9)]
            jump = (slopes[1] - slopes[0]).abs() > 1e-6
            if bool(jump.any()):
                break
        else:
            continue
        here = tape.derivative(u, v)
        for side, slope in {"below": slopes[0], "above": slopes[1], "middle": (slopes[0] + slopes[1]) / 2}.items():
            factor = torch.where(jump, slope, here)
            rules[side][v] = [lambda _, g, u=u, factor=factor: [(u, g * factor)]]
    if not rules["below"]:
        return {}
    found = {}
    for side, chosen in rules.items():
        arrived = tape.backward(observation.seeds(), chosen)
        found[side] = {
            n: arrived[leaf].numpy() if leaf in arrived else np.zeros(tape.values[leaf].shape) for n, leaf in tape.leaves.items()
        }
    return found


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
        below, above = (tape.derivative(u, v, at + h) for h in (-1e-9, 1e-9))
        limit = (below + above) / 2
        wrong = ((above - below).abs() <= 1e-6) & ((here - limit).abs() > 1e-6)
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
        moved = observation.inputs | {n: np.asarray(a + 1e-8 * rng.standard_normal(a.shape)) for n, a in arrays.items()}
        around.append(reference.gradients(moved, observation.upstream)[name])
    around.append(observation.auto[name])
    slack = 1e-5 * observation.scale(name)
    low, high = np.min(around, axis=0), np.max(around, axis=0)
    return bool(((hand >= low - slack) & (hand <= high + slack)).all())


def _state(unit: Unit, inputs: Inputs, base: Observation, known: set[str]) -> list[Finding]:
    """A second call, the bytes of what was handed over, calls in another order."""
    mine = own(inputs)
    found: list[Finding] = []

    def finding(tensor: str, mistake: str, text: str, evidence: str) -> Finding:
        confidence = "certain" if mistake in CATALOGUE else "none"
        return Finding(tensor, mistake, confidence, math.nan, f"In {unit.name}: {text}.", "", unit.name, evidence, tensors=(tensor,))  # type: ignore[arg-type]

    before = own(inputs)
    outputs, cache = unit.forward(mine)
    watched = _arrays_in(mine)
    # Arrays alone: a dict of options may well be there to be written to, as running statistics are.
    changed = [n for n, a in before.items() if isinstance(a, np.ndarray) and _bytes(a) != _bytes(mine[n])]
    if changed:
        names = ", ".join(changed)
        return [finding(names, "aliasing", f"the forward changes {names} in place", f"the bytes of {names} differ after forward")]
    kept = _arrays_in(cache)
    parts_before = {n: a.tobytes() for n, a in (watched | kept).items()}
    upstream = tuple(np.array(u) if np.shape(u) else u for u in base.upstream)
    sent = [_bytes(u) for u in upstream]
    first = _copies(unit.backward(upstream, mine, cache))
    named = {**{n: n for n in watched}, **{n: f"cache{n}" for n in kept}}
    changed = [named[n] for n, a in (watched | kept).items() if a.tobytes() != parts_before[n]]
    if unit.updates_itself or not unit.takes_upstream and not kept:
        changed = []
    changed += ["the upstream gradient"] * any(_bytes(u) != b for u, b in zip(upstream, sent, strict=True))
    aliases = {n for n, a in watched.items() for b in kept.values() if a is b}
    changed = [c for c in dict.fromkeys(changed) if not (c.startswith("cache") and aliases & {*changed})]
    if changed:
        names = ", ".join(changed)
        if "updated-weights" in known:
            return []  # the same fault: the update is what changed them
        evidence = f"the bytes of {names} differ after backward"
        return [finding(names, "aliasing", f"backward changes {names} in place", evidence)]

    def again(fresh: bool) -> Inputs:
        nonlocal mine, cache
        if fresh:
            mine = own(inputs)
            _, cache = unit.forward(mine)
        given = tuple(np.array(u) if np.shape(u) else u for u in base.upstream)
        return _copies(unit.backward(given, mine, cache))

    try:
        if unit.into is not None:
            given = tuple(np.array(u) for u in base.upstream)
            zero, five = (_copies(unit.into(given, mine, cache, f)) for f in (0.0, 5.0))
            added = [n for n in unit.parameters if _close(five[n], zero[n] + 5.0) and not _close(five[n], zero[n])]
            for n in added:
                evidence = "the array handed over held 5 everywhere, and every entry came out 5 larger than from zeros"
                found.append(finding(unit.title(n), "grads-accumulate", CATALOGUE["grads-accumulate"].what, evidence))
            partial = [n for n in unit.parameters if n not in added and not _close(five[n], zero[n])]
            for n in partial:
                which = tuple(int(i) for i in np.argwhere(five[n] != zero[n])[0])
                found.append(
                    finding(unit.title(n), UNKNOWN, "not every entry of the gradient is written", f"entry {which} keeps what was there")
                )
            first = zero
        for fresh in (True,) if unit.updates_itself else (False, True):
            second = again(fresh) if unit.into is None else first
            differing = [n for n in first if n in second and not _close(first[n], second[n])]
            if not differing:
                continue
            # Others may have called before: what one more call adds is what the very first call gave.
            doubled = [n for n in differing if _close(second[n] - first[n], base.hand[n])]
            which = "with a fresh forward" if fresh else "with the same cache"
            if doubled == differing:
                tensor = unit.title(doubled[0])
                text, evidence = CATALOGUE["grads-accumulate"].what, f"the second call, {which}, adds as much again"
                found.append(finding(tensor, "grads-accumulate", text, evidence))
            elif "dropout-mask-resampled" in known:
                pass
            else:
                tensor = unit.title(differing[0])
                text = "a second call gives another gradient: backward depends on something that is not handed to it"
                found.append(finding(tensor, UNKNOWN, text, f"{which}, {ratios(second[differing[0]], first[differing[0]])}"))
            break
        if not found and unit.takes_upstream:
            found += _other_order(unit, inputs, base, first, finding)
    except UserCodeError as error:
        found.append(finding("all", UNKNOWN, "a second call of backward raises", str(error)))
    return found


def _other_order(unit: Unit, inputs: Inputs, base: Observation, first: Inputs, finding: Any) -> list[Finding]:
    """forward A, forward B, backward A: the gradients of A again, if no forward overwrites what another one keeps."""
    mine = own(inputs)
    _, cache = unit.forward(mine)
    other = {n: v + 1.0 if n in float_arrays(inputs) and n not in unit.parameters else v for n, v in own(inputs).items()}
    try:
        unit.forward(other)
    except UserCodeError:
        return []
    given = tuple(np.array(u) if np.shape(u) else u for u in base.upstream)
    again = unit.backward(given, mine, cache) if unit.into is None else unit.into(given, mine, cache, 0.0)
    stale = [n for n in first if n in again and not _close(first[n], np.array(again[n]))]
    if not stale:
        return []
    text = "a forward pass overwrites what an earlier one keeps for its backward"
    return [finding(unit.title(stale[0]), "aliasing", text, "forward A, forward B, backward A: the gradient is not A's")]


def _close(a: Any, b: Any) -> bool:
    a, b = np.asarray(a), np.asarray(b)
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=1e-9, atol=1e-12, equal_nan=True))


def _bytes(value: Any) -> Any:
    return value.tobytes() if isinstance(value, np.ndarray | np.generic) else repr(value)


def _arrays_in(thing: Any, path: str = "", depth: int = 0) -> dict[str, Array]:
    """Every array in nested tuples, lists and dicts, by its path."""
    if isinstance(thing, np.ndarray):
        return {path: thing}
    if depth > 4:
        return {}
    if isinstance(thing, dict):
        parts = {f"{path}[{k!r}]" if depth or path else str(k): v for k, v in thing.items()}
    elif isinstance(thing, tuple | list):
        parts = {f"{path}[{i}]": v for i, v in enumerate(thing)}
    else:
        return {}
    return {p: a for q, v in parts.items() for p, a in _arrays_in(v, q, depth + 1).items()}


def _in_float32(unit: Unit, inputs: Inputs, reference: Reference, base: Observation) -> dict[str, TensorCheck]:
    """The gradients in float32 beside those in float64 at the same inputs, which were found right."""
    single = {n: v.astype(np.float32) if n in float_arrays(inputs) else v for n, v in inputs.items()}
    exact = {n: v.astype(np.float64) if n in float_arrays(inputs) else v for n, v in single.items()}
    upstream = tuple(np.asarray(u, np.float32) if np.shape(u) else np.float32(u) for u in base.upstream)
    wide = tuple(np.asarray(u, np.float64) if np.shape(u) else np.float64(u) for u in upstream)
    rng = np.random.default_rng(0)
    auto = reference.gradients(exact, wide)
    _, _, hand = _run(unit, single, upstream, rng)
    _, _, hand64 = _run(unit, exact, wide, rng)
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
