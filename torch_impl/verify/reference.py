"""What the gradient should be: autograd through a torch reference or through the user's own forward, else differences."""

from __future__ import annotations

import copy
import logging
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from torch_impl.verify.tape import Tape, functional_graph
from torch_impl.verify.unit import UserCodeError, float_arrays, own, same_global_draws

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import fx

    from torch_impl.verify.unit import Inputs, Outputs, Unit

    Array = NDArray[Any]

Kind = Literal["torch", "own forward", "central differences"]

STEP = float(np.finfo(np.float64).eps ** (1 / 3))  # where the h² of truncation meets the ε/h of rounding
DIFFERENCES_TOLERANCE = 1e-6  # relative; what central differences can promise in float64


class Reference:
    """Outputs and gradients as they should be, and the tape of the forward pass."""

    def __init__(self, unit: Unit, kind: Kind) -> None:
        self.unit, self.kind = unit, kind
        self._graphs: dict[Any, fx.GraphModule] = {}

    @property
    def tolerance(self) -> float:
        """What a right gradient may differ by, relative to the largest element, in float64."""
        return DIFFERENCES_TOLERANCE if self.kind == "central differences" else 1e-10

    def outputs(self, inputs: Inputs) -> tuple[Array, ...]:
        """The outputs for ``inputs``."""
        if self.kind == "central differences":
            return _arrays(self.unit.forward(own(inputs))[0])
        graph, tensors = self._graph(inputs)
        with torch.no_grad():
            return tuple(o.numpy() for o in _flat(graph(*tensors.values())))

    def gradients(self, inputs: Inputs, upstream: Outputs) -> dict[str, Array]:
        """The gradient of every float input for ``upstream`` gradients of the outputs; NaN where it has none."""
        if self.kind == "central differences":
            return _central_differences(self.unit, inputs, upstream)
        graph, tensors = self._graph(inputs)
        leaves = {n: t.requires_grad_() for n, t in tensors.items() if t.is_floating_point()}
        outputs = _flat(graph(*tensors.values()))
        pairs = [(o, torch.from_numpy(np.asarray(u))) for o, u in zip(outputs, upstream, strict=True) if o.requires_grad]
        if not pairs:
            return {n: np.zeros(t.shape) for n, t in leaves.items()}
        grads = torch.autograd.grad([o for o, _ in pairs], [*leaves.values()], [u for _, u in pairs], allow_unused=True)
        return {
            n: np.zeros(t.shape) if g is None else g.numpy() for (n, t), g in zip(leaves.items(), grads, strict=True)
        }

    def tape(self, inputs: Inputs) -> Tape | None:
        """The forward pass as a tape; None where it cannot be had."""
        if self.kind == "central differences":
            return None
        graph, tensors = self._graph(inputs)
        return Tape(graph, tensors)

    def _graph(self, inputs: Inputs) -> tuple[fx.GraphModule, dict[str, torch.Tensor]]:
        arrays = {n: v for n, v in inputs.items() if isinstance(v, np.ndarray)}
        rest = {n: v for n, v in inputs.items() if n not in arrays}
        tensors = {n: torch.from_numpy(v.copy()) for n, v in arrays.items()}
        key = tuple((n, v.shape, v.dtype.str) for n, v in arrays.items())
        if any(isinstance(v, np.random.Generator) for v in rest.values()):
            key = (*key, *(repr(v.bit_generator.state) for v in rest.values() if isinstance(v, np.random.Generator)))
        if key not in self._graphs:
            if self.kind == "torch":
                assert self.unit.reference is not None
                reference = self.unit.reference
                made = functional_graph(
                    lambda *values: reference(copy.deepcopy(rest) | dict(zip(tensors, values, strict=True))),
                    tensors.values(),
                )
            else:
                made = trace_numpy(lambda values: self.unit.traced(rest | values), tensors)
            self._graphs[key] = made
        return self._graphs[key], tensors


class TraceError(Exception):
    """torch.compile could not trace the forward; the text says why."""


def trace_numpy(function: Callable[[Inputs], Outputs], tensors: dict[str, torch.Tensor]) -> fx.GraphModule:
    """The graph of a NumPy function at ``tensors``, its placeholders in their order.

    Raises
        TraceError: torch.compile cannot go through it
    """
    captured: list[fx.GraphModule] = []

    def keep(graph: fx.GraphModule, _: Any) -> Callable[..., Any]:
        def run(*inputs: torch.Tensor) -> Any:
            captured.append(_with_placeholders(graph, inputs, tensors))
            return graph(*(i.detach() for i in inputs))

        return run

    names = list(tensors)
    positional = lambda *values: function(dict(zip(names, values)))  # noqa: B905, E731  dynamo knows no strict=
    level = logging.getLogger("torch._dynamo").level
    logging.getLogger("torch._dynamo").setLevel(logging.CRITICAL)
    try:
        torch._dynamo.reset()  # a graph for these very shapes, however many came before
        compiled = torch.compile(torch.compiler.wrap_numpy(positional), backend=keep, fullgraph=True, dynamic=False)
        with same_global_draws(), np.errstate(all="ignore"):
            compiled(*tensors.values())
    except Exception as error:
        reason = next((s.strip() for s in str(error).splitlines() if s.strip()), type(error).__name__)
        raise TraceError(reason) from error
    finally:
        logging.getLogger("torch._dynamo").setLevel(level)
    if len(captured) != 1:
        raise TraceError("the forward holds no operation on its arrays")
    return captured[0]


def _with_placeholders(
    graph: fx.GraphModule, inputs: tuple[torch.Tensor, ...], tensors: dict[str, torch.Tensor]
) -> fx.GraphModule:
    """The graph without in-place operations, as a function of ``tensors``; what else it reads becomes constant."""
    place = {t.data_ptr(): name for name, t in tensors.items()}
    names = [place.get(i.data_ptr()) if i.numel() else None for i in inputs]
    constants = [i.detach().clone() for i in inputs]

    def run(*values: torch.Tensor) -> Any:
        named = dict(zip(tensors, values, strict=True))
        own_values = [c if n is None else named[n].view(c.shape) for n, c in zip(names, constants, strict=True)]
        return torch.fx.Interpreter(graph).run(*own_values)

    return functional_graph(run, tensors.values())


def choose_reference(unit: Unit, inputs: Inputs) -> tuple[Reference, list[str]]:
    """The given reference, else the unit's own forward, else differences; and what a reader should know of the choice."""
    if unit.reference is not None:
        return Reference(unit, "torch"), []
    return own_reference(unit, inputs)


def own_reference(unit: Unit, inputs: Inputs) -> tuple[Reference, list[str]]:
    """Autograd through the unit's own forward, else central differences of it."""
    reference = Reference(unit, "own forward")
    try:
        traced = reference.outputs(inputs)
        hand = _arrays(unit.forward(own(inputs))[0])
        for a, b in zip(traced, hand, strict=True):
            if a.shape != b.shape or not np.allclose(a, b, rtol=1e-9, atol=1e-12, equal_nan=True):
                raise TraceError("what was traced gives other numbers than the forward itself")
    except TraceError as error:
        note = (
            f"{unit.name}: torch could not trace the forward ({error}); the reference is central differences in float64 "
            f"instead, with a tolerance of {DIFFERENCES_TOLERANCE:g}"
        )
        return Reference(unit, "central differences"), [note]
    return reference, []


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
            bend = abs(ahead - 2 * middle + behind) / h  # a kink's jump of slope; of order h where the function is smooth
            if bend > 1e-3 * max(1.0, abs(slopes[index])):
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


def _flat(outputs: Any) -> list[torch.Tensor]:
    parts = list(outputs) if isinstance(outputs, tuple | list) else [outputs]
    return [torch.as_tensor(p) for p in parts]
