"""What comes out of a unit and of its reference with one probe, and how far rounding alone may part the two."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from torch_impl.verify.observe import probes
from torch_impl.verify.observe.reference import choose_reference
from torch_impl.verify.tolerances import CANCELLED, NOISE, RIGHT, SAME, SAME_SMALL, SINGLE, SLACK, STEP
from torch_impl.verify.trace.recording import TraceError
from torch_impl.verify.units.unit import UserCodeError, float_arrays, own

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from torch_impl.verify.observe.probes import Probe
    from torch_impl.verify.observe.reference import Reference
    from torch_impl.verify.trace.tape import Tape
    from torch_impl.verify.units.unit import Inputs, Unit

    Array = NDArray[Any]


@dataclass
class Observation:
    """What came out with one probe: the user's gradients, the reference's, and how far rounding alone may part them."""

    probe: str
    unit: Unit
    inputs: Inputs
    upstream: tuple[Any, ...]
    hand: dict[str, Any]
    auto: dict[str, Array]
    tolerance: dict[str, float]
    sizes: dict[str, int]
    declined: tuple[str, ...] = ()  # gradients that backward returned as None
    tape: Tape | None = None

    def seeds(self) -> list[torch.Tensor]:
        return [torch.from_numpy(np.array(u, dtype=np.float64)) for u in self.upstream]

    def matches(self, name: str, predicted: Any) -> bool:
        """Whether ``predicted`` is the user's gradient, to rounding."""
        return self.residual(name, predicted) <= SLACK * self.tolerance[name] + RIGHT * self.scale(name)

    def residual(self, name: str, predicted: Any) -> float:
        """The largest difference between the user's gradient and ``predicted``; infinite for other shapes."""
        hand, predicted = np.asarray(self.hand[name]), np.asarray(predicted)
        if hand.shape != predicted.shape:
            return math.inf
        apart = np.abs(hand - predicted)
        return float(np.nan_to_num(apart, nan=np.inf).max(initial=0))

    def matches_each(self, name: str, a: Any, b: Any) -> bool:
        """Whether two predictions are the same, to rounding."""
        return float(np.abs(np.asarray(a) - np.asarray(b)).max(initial=0)) <= SLACK * self.tolerance[name]

    def scale(self, name: str) -> float:
        """The largest element of the reference's gradient, or of the user's where that is larger."""
        hand = np.abs(np.asarray(self.hand[name]))
        largest = max(float(np.abs(self.auto[name]).max(initial=0)), float(hand[np.isfinite(hand)].max(initial=0)))
        return largest or 1.0

    def differs(self, name: str) -> bool:
        """Whether the user's gradient is further from the reference's than rounding explains."""
        return name in self.hand and not self.residual(name, self.auto[name]) <= self.tolerance[name]


def run(
    unit: Unit, inputs: Inputs, upstream: tuple[Any, ...] | None, rng: Generator
) -> tuple[Any, Any, Inputs, tuple[str, ...]]:
    """Outputs, upstream gradients, gradients, and which were None; copies that nothing can change later."""
    mine = own(inputs)
    outputs, cache = unit.forward(mine)
    outputs = tuple(np.array(o) for o in outputs)
    if upstream is None:
        upstream = tuple(
            np.asarray(rng.standard_normal(o.shape) if unit.takes_upstream else np.ones(o.shape), o.dtype)
            if o.shape else o.dtype.type(rng.uniform(0.5, 1.5) if unit.takes_upstream else 1.0)
            for o in outputs
        )  # fmt: skip
    hand = unit.backward(sendable(upstream), mine, cache)
    return outputs, upstream, copies(hand), tuple(n for n, g in hand.items() if g is None)


def sendable(upstream: tuple[Any, ...]) -> tuple[Any, ...]:
    """Upstream gradients that the code under test may write to."""
    return tuple(np.array(u) if np.shape(u) else u for u in upstream)


def call_backward(unit: Unit, upstream: tuple[Any, ...], inputs: Inputs, cache: Any) -> dict[str, Array]:
    """The gradients of one call; where they go into arrays that are handed over, into zeros."""
    if unit.into is not None:
        return copies(unit.into(sendable(upstream), inputs, cache, 0.0))
    return copies(unit.backward(sendable(upstream), inputs, cache))


def copies(gradients: Inputs) -> dict[str, Array]:
    """The gradients as float arrays of their own."""
    copied = {}
    for name, value in gradients.items():
        if value is None:
            continue
        try:
            array = np.array(value)
            copied[name] = (
                array if array.dtype in (np.float32, np.float64) else array.astype(np.float64, casting="same_kind")
            )
        except (TypeError, ValueError) as error:
            came = f"a {type(value).__name__}" + (f" of {value.dtype}" if isinstance(value, np.ndarray) else "")
            raise UserCodeError(
                f"backward returned {came} as the gradient of {name}, expected a float array"
            ) from error
    return copied


def observe(probe: Probe, rng: Generator, upstream: Any = None) -> Observation | None:
    """What comes out with a probe; None where the reference is not finite, and tells nothing."""
    unit, inputs = probe.unit, probe.inputs
    outputs, upstream, hand, declined = run(unit, inputs, upstream, rng)
    auto = probe.reference.gradients(inputs, upstream)
    differences = probe.reference.kind == "central differences"
    if not all(np.isfinite(a).all() for a in auto.values()) and not differences:
        return None
    if not all(np.isfinite(o).all() for o in outputs):
        return None
    auto = {n: a for n, a in auto.items() if n in hand}
    if differences:  # elements at a kink are set aside
        for n, a in auto.items():
            if n in hand and np.shape(hand[n]) == a.shape:
                auto[n] = np.where(np.isnan(a), hand[n], a)
    if any(isinstance(hand.get(n), np.ndarray) and np.isnan(hand[n]).any() for n in auto) and unit.into is not None:
        # NaN where nothing was written, or where something was added to the NaN that stood there: zero tells which.
        mine = own(inputs)
        hand = call_backward(unit, upstream, mine, unit.forward(mine)[1])
    # What cancels to nothing is the rounding of what went in: of the upstream gradient times the inputs.
    sent = max([1.0, *(float(np.abs(u).max(initial=0)) for u in upstream)])
    sent *= max([1.0, *(float(np.abs(a).max(initial=0)) for a in float_arrays(inputs).values())])
    relative = probe.reference.tolerance
    if any(getattr(v, "dtype", None) == np.float32 for v in hand.values()):
        relative = max(relative, SINGLE)  # the code computes in float32 whatever it is given
    floor = 0.0
    if differences:  # what the rounding of the outputs makes of a quotient of differences
        floor = NOISE * float(np.finfo(np.float64).eps) / STEP
        floor *= sum(float(np.sum(np.abs(u * o))) for u, o in zip(upstream, outputs, strict=True))
    tolerance = {n: floor + relative * float(np.abs(a).max(initial=0)) + CANCELLED * sent for n, a in auto.items()}
    sizes = _sizes(unit, inputs)
    made = Observation(probe.name, unit, inputs, upstream, hand, auto, tolerance, sizes, declined)
    if any(made.differs(n) for n in auto) and not _allow_for_conditioning(made, probe, rng):
        return None
    return made


def _allow_for_conditioning(observation: Observation, probe: Probe, rng: Generator) -> bool:
    """Allow for what rounding may have cost either gradient; False if that leaves nothing to compare."""
    if probe.reference.kind == "central differences":
        return True
    noise = dict.fromkeys(observation.auto, 0.0)
    for seed in range(3):
        rounded = probe.reference.gradients(probe.inputs, observation.upstream, rounding_seed=seed)
        moved = probes.jittered(probe.inputs, rng, 2 * float(np.finfo(np.float64).eps))
        for name, auto in observation.auto.items():
            noise[name] = max(noise[name], float(np.abs(rounded[name] - auto).max(initial=0)))
        try:
            hand = run(probe.unit, moved, observation.upstream, rng)[2]
        except UserCodeError:
            continue
        for name in observation.auto:
            if (
                name in hand
                and np.shape(hand[name]) == np.shape(observation.hand[name]) == observation.auto[name].shape
            ):
                apart = float(np.abs(hand[name] - observation.hand[name]).max(initial=0))
                # A jump is no rounding: a wrong gradient may well jump where the right one does not.
                noise[name] = max(noise[name], apart if apart < SAME * observation.scale(name) else 0.0)
    for name, apart in noise.items():
        if not math.isfinite(apart) or NOISE * apart > 1e-3 * observation.scale(name):
            return probe.name == "as given"
        observation.tolerance[name] = max(observation.tolerance[name], NOISE * apart)
    return True


def _sizes(unit: Unit, inputs: Inputs) -> dict[str, int]:
    """The lengths that a divisor could be, by name: B, then those of every axis."""
    axes = {f"{n}.shape[{i}]": k for n, v in inputs.items() if isinstance(v, np.ndarray) for i, k in enumerate(v.shape)}
    return {"B": probes.batch_size(unit, inputs)} | axes


def tape_of(observation: Observation, reference: Reference | None) -> Any:
    """The tape of the reference, by default the unit's own; None if it has none, or one that gives other gradients."""
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


def close(a: Any, b: Any) -> bool:
    """Equal to rounding, in the same shape."""
    a, b = np.asarray(a), np.asarray(b)
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=SAME, atol=SAME_SMALL, equal_nan=True))
