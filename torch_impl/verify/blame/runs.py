"""One observation made once more with the user's functions watched or changed: what the gradients are then."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from torch_impl.verify.observe.observation import copies, sendable
from torch_impl.verify.source.functions import Function, Sources
from torch_impl.verify.tolerances import SLACK
from torch_impl.verify.units.unit import own

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from torch_impl.verify.blame.watch import Watch
    from torch_impl.verify.observe.observation import Observation
    from torch_impl.verify.units.unit import Outputs, Unit

Phase = Literal["forward", "backward"]


@dataclass(eq=False)
class Subject:
    """A unit, and the functions of the user's in which its gradients are computed.

    They run in the backward pass, or in the forward pass where that is one function with the gradients. ``forward``
    are those that the forward pass runs.
    """

    unit: Unit
    functions: list[Function]
    forward: list[Function]
    phase: Phase

    def run(
        self, o: Observation, watch: Watch | None = None, phase: Phase | None = None
    ) -> tuple[Outputs, dict[str, Any]]:
        """Outputs and gradients, with ``watch`` looking on in one phase, by default in that of the gradients.

        Raises
            UserCodeError: the code raises
        """
        inputs, phase = own(o.inputs), phase or self.phase
        with _watching(watch, phase == "forward"):
            outputs, cache = o.unit.forward(inputs)
            outputs = tuple(np.array(each) for each in outputs)
        with _watching(watch, phase == "backward"):
            return outputs, copies(o.unit.backward(sendable(o.upstream), inputs, cache))


def _watching(watch: Watch | None, here: bool) -> AbstractContextManager[None]:
    return watch.watching() if watch is not None and here else nullcontext()


def subject_of(unit: Unit, o: Observation) -> Subject | None:
    """The functions whose source is to be had; None where there is none."""
    sources, kept = Sources(), {}
    inputs = own(o.inputs)

    def ahead() -> None:
        kept["outputs"], kept["cache"] = unit.forward(inputs)

    forward = sources.called_in(ahead)
    backward = sources.called_in(lambda: unit.backward(sendable(o.upstream), inputs, kept["cache"]))
    phase: Phase = "backward" if backward else "forward"
    functions = backward or forward
    # What the forward pass uses as well comes last: a fault there would be seen in its outputs.
    nodes = {f.node for f in forward}
    functions = sorted(functions, key=lambda f: f.node in nodes) if backward else functions
    return Subject(unit, functions, forward, phase) if functions else None


def right(o: Observation, name: str, gradient: Any) -> bool:
    """Whether a gradient is autograd's, to rounding."""
    auto = o.auto[name]
    if gradient is None or np.shape(gradient) != auto.shape:
        return False
    apart = np.nan_to_num(np.abs(np.asarray(gradient) - auto), nan=np.inf)
    return float(apart.max(initial=0)) <= SLACK * o.tolerance[name]
