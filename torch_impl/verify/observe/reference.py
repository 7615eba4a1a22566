"""What the gradient should be: autograd through a torch reference or the user's own forward, else differences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from torch_impl.verify.tolerances import AGREE, DIFFERENCES, RIGHT, SAME, SINGLE, STEP
from torch_impl.verify.trace.arrays import trace
from torch_impl.verify.trace.recording import Recording, TraceError, record
from torch_impl.verify.units.unit import UserCodeError, call, float_arrays, own, same_global_draws

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from torch_impl.verify.trace.tape import Tape
    from torch_impl.verify.units.unit import Inputs, Outputs, Unit

    Array = NDArray[Any]

Kind = Literal["torch", "own forward", "central differences"]


class Reference:
    """Outputs and gradients as they should be, and the tape of the forward pass."""

    def __init__(self, unit: Unit, kind: Kind) -> None:
        self.unit, self.kind = unit, kind
        self._last: tuple[Any, Tape] | None = None

    @property
    def tolerance(self) -> float:
        """What a right gradient may differ by, relative to the largest element, in float64."""
        return DIFFERENCES if self.kind == "central differences" else RIGHT

    def outputs(self, inputs: Inputs) -> tuple[Array, ...]:
        """The outputs for ``inputs``."""
        tape = self.tape(inputs)
        if tape is None:
            return _arrays(self.unit.forward(own(inputs))[0])
        return tuple(tape.values[o].numpy() for o in tape.outputs)

    def gradients(self, inputs: Inputs, upstream: Outputs, rounding_seed: int | None = None) -> dict[str, Array]:
        """The gradient of every float input for ``upstream`` gradients of the outputs; zero where it has none.

        Central differences give NaN at a kink. With ``rounding_seed`` every operation is rounded up or down at random,
        to see what rounding costs.
        """
        tape = self.tape(inputs)
        if tape is None:
            return _central_differences(self.unit, inputs, upstream)
        rounded = None if rounding_seed is None else torch.Generator().manual_seed(rounding_seed)
        seeds = [torch.from_numpy(np.array(u, dtype=np.float64)) for u in upstream]
        return {name: g.numpy() for name, g in tape.gradients(seeds, rounded).items()}

    def cost(self, inputs: Inputs) -> int:
        """How many operations the tape has; how many elements there are to difference."""
        tape = self.tape(inputs)
        return sum(a.size for a in float_arrays(inputs).values()) if tape is None else len(tape.nodes)

    def tape(self, inputs: Inputs) -> Tape | None:
        """The forward pass as a tape; None where it cannot be had.

        Raises
            TraceError: the forward cannot be traced with these inputs
        """
        if self.kind == "central differences":
            return None
        key = [(n, v.shape, v.tobytes()) if isinstance(v, np.ndarray) else (n, repr(v)) for n, v in inputs.items()]
        if self._last is None or self._last[0] != key:
            self._last = (key, self._traced(inputs))
        return self._last[1]

    def _traced(self, inputs: Inputs) -> Tape:
        mine = own(inputs)
        if self.kind == "own forward":
            with same_global_draws():
                return trace(self.unit.traced, mine)
        reference = self.unit.reference
        assert reference is not None  # of this kind
        rest = {n: v for n, v in mine.items() if not isinstance(v, np.ndarray)}

        def run(_: Recording, tensors: dict[str, torch.Tensor]) -> list[Any]:
            found = call("reference", reference, rest | tensors)
            return list(found) if isinstance(found, tuple | list) else [torch.as_tensor(found)]

        return record(run, {n: v for n, v in mine.items() if isinstance(v, np.ndarray)})


def choose_reference(unit: Unit, inputs: Inputs) -> tuple[Reference, list[str]]:
    """The given reference, else the unit's own forward, else differences; and what a reader should know of it."""
    if unit.reference is not None:
        return Reference(unit, "torch"), []
    return own_reference(unit, inputs)


def own_reference(unit: Unit, inputs: Inputs) -> tuple[Reference, list[str]]:
    """Autograd through the unit's own forward, else central differences of it."""
    reference = Reference(unit, "own forward")
    hand = _arrays(unit.forward(own(inputs))[0])
    try:
        tape = reference.tape(inputs)
        assert tape is not None  # of this kind
        for a, b in zip(reference.outputs(inputs), hand, strict=True):
            relative = SINGLE if b.dtype == np.float32 else SAME
            if a.shape != b.shape or not np.allclose(a, b, rtol=relative, atol=1e-3 * relative, equal_nan=True):
                raise TraceError("what was traced gives other numbers than the forward itself")
        gradients = reference.gradients(inputs, tuple(np.ones_like(o, dtype=np.float64) for o in hand))
        if tape.read_elsewhere and not _slopes_agree(unit, inputs, gradients):
            raise TraceError("it turns an array into a Python number and computes with that")
    except (TraceError, RuntimeError, TypeError, NotImplementedError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        note = (
            f"{unit.name}: torch could not trace the forward ({reason}); the reference is central differences in "
            f"float64 instead, with a tolerance of {DIFFERENCES:g}"
        )
        return Reference(unit, "central differences"), [note]
    return reference, []


def _slopes_agree(unit: Unit, inputs: Inputs, gradients: dict[str, Array]) -> bool:
    """Whether the gradients of the sum of all outputs are its slopes, along a direction for every input."""
    rng = np.random.default_rng(0)
    for name, array in float_arrays(inputs).items():
        direction = rng.standard_normal(array.shape)
        moved = (inputs | {name: np.asarray(array + h * direction)} for h in (STEP, -STEP))
        ahead, behind = (sum(float(o.sum()) for o in _arrays(unit.forward(own(m))[0])) for m in moved)
        slope, expected = (ahead - behind) / (2 * STEP), float((gradients[name] * direction).sum())
        if abs(slope - expected) > AGREE * max(abs(slope), abs(expected)):
            return False  # or too small to tell, and then differences know their rounding
    return True


def _central_differences(unit: Unit, inputs: Inputs, upstream: Outputs) -> dict[str, Array]:
    """∂/∂w Σ upstream · outputs, element by element; NaN where the two one-sided slopes part: at a kink."""

    def value(moved: Inputs) -> float:
        outputs = _arrays(unit.forward(own(moved))[0])
        return float(sum(np.sum(np.asarray(u) * o) for u, o in zip(upstream, outputs, strict=True)))

    middle = value(inputs)
    gradients: dict[str, Array] = {}
    for name, array in float_arrays(inputs).items():
        slopes = np.empty(array.shape)
        for index in np.ndindex(array.shape):
            h = STEP * max(1.0, abs(float(array[index])))
            ahead, behind = (value(inputs | {name: _moved(array, index, step)}) for step in (h, -h))
            slopes[index] = (ahead - behind) / (2 * h)
            bend = (
                abs(ahead - 2 * middle + behind) / h
            )  # a kink's jump of slope; of order h where the function is smooth
            if bend > 1e-3 * max(1.0, abs(float(slopes[index]))):
                slopes[index] = np.nan
        gradients[name] = slopes
    return gradients


def _moved(array: Array, index: tuple[int, ...], step: float) -> Array:
    array = array.copy()
    array[index] += step
    return array


def _arrays(outputs: Outputs) -> tuple[Array, ...]:
    for output in outputs:
        if not isinstance(output, np.ndarray | np.generic | float | int):
            raise UserCodeError(f"forward returned a {type(output).__name__}, expected an array")
    return tuple(np.asarray(o) for o in outputs)
