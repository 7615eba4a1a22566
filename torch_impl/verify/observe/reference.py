"""What the gradient should be: autograd through a torch reference or the user's own forward, else differences."""

from __future__ import annotations

import copy
import logging
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Literal
from unittest import mock

import numpy as np
import torch

from torch_impl.verify.trace.arrays import pad_with_constant, tensor_of, traced, traced_creation
from torch_impl.verify.trace.draws import Recorder, Replay, recorded, replayed
from torch_impl.verify.trace.tape import StochasticRounding, Tape, functional_graph
from torch_impl.verify.units.unit import UserCodeError, call, float_arrays, own, same_global_draws

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import fx

    from torch_impl.verify.units.unit import Inputs, Outputs, Unit

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

    def gradients(self, inputs: Inputs, upstream: Outputs, rounding_seed: int | None = None) -> dict[str, Array]:
        """The gradient of every float input for ``upstream`` gradients of the outputs; zero where it has none.

        Central differences give NaN at a kink.

        With ``rounding_seed`` every operation is rounded up or down at random, to see what rounding costs.
        """
        if self.kind == "central differences":
            return _central_differences(self.unit, inputs, upstream)
        graph, tensors = self._graph(inputs)
        leaves = {n: t.requires_grad_() for n, t in tensors.items() if t.is_floating_point()}
        run = graph if rounding_seed is None else StochasticRounding(graph, rounding_seed).run
        outputs = _flat(run(*tensors.values()))
        pairs = [
            (o, torch.from_numpy(np.asarray(u))) for o, u in zip(outputs, upstream, strict=True) if o.requires_grad
        ]
        if not pairs:
            return {n: np.zeros(t.shape) for n, t in leaves.items()}
        grads = torch.autograd.grad([o for o, _ in pairs], [*leaves.values()], [u for _, u in pairs], allow_unused=True)
        return {
            n: np.zeros(t.shape) if g is None else g.numpy() for (n, t), g in zip(leaves.items(), grads, strict=True)
        }

    def cost(self, inputs: Inputs) -> int:
        """How many nodes the graph has; how many elements there are to difference."""
        if self.kind == "central differences":
            return sum(a.size for a in float_arrays(inputs).values())
        return len(self._graph(inputs)[0].graph.nodes)

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
        # Integers may be constants of the graph, as indices are.
        key: tuple[Any, ...] = tuple(
            (n, v.shape, v.dtype.str, b"" if v.dtype.kind == "f" else v.tobytes()) for n, v in arrays.items()
        )
        if any(isinstance(v, np.random.Generator) for v in rest.values()):
            key = (*key, *(repr(v.bit_generator.state) for v in rest.values() if isinstance(v, np.random.Generator)))
        if key not in self._graphs:
            if self.kind == "torch":
                assert self.unit.reference is not None
                reference = self.unit.reference
                made = call(
                    "reference",
                    functional_graph,
                    lambda *values: reference(copy.deepcopy(rest) | dict(zip(tensors, values, strict=True))),
                    tensors.values(),
                )
            else:
                made = trace_numpy(self.unit.traced, tensors, rest)
            self._graphs[key] = made
        return self._graphs[key], tensors


class TraceError(Exception):
    """torch.compile could not trace the forward; the text says why."""


def trace_numpy(
    function: Callable[[Inputs], Outputs], tensors: dict[str, torch.Tensor], rest: Inputs | None = None
) -> fx.GraphModule:
    """The graph of a NumPy function at ``tensors``, its placeholders in their order; ``rest`` are its other arguments.

    By torch.compile, else by arrays of our own that record. What is drawn at random is drawn once and constant in the
    graph.

    Raises
        TraceError: neither can go through it
    """
    rest = rest or {}
    drawn: list[Any] = []
    arrays = {name: t.numpy().copy() for name, t in tensors.items()}
    generators = {n: v for n, v in rest.items() if isinstance(v, np.random.Generator)}
    with same_global_draws(), recorded(drawn), np.errstate(all="ignore"):
        function(copy.deepcopy(rest) | {n: Recorder(copy.deepcopy(g), drawn) for n, g in generators.items()} | arrays)

    def with_draws(trace: Callable[[Inputs], fx.GraphModule]) -> fx.GraphModule:
        replay = Replay(drawn)
        with np.errstate(all="ignore"), replayed(replay) if drawn else nullcontext():
            # A dict that the forward writes to must not keep what was traced.
            others = copy.deepcopy({n: v for n, v in rest.items() if n not in generators})
            with mock.patch.object(np, "pad", pad_with_constant):
                return trace(others | dict.fromkeys(generators, replay))

    try:
        return with_draws(lambda fixed: _by_compiling(function, tensors, fixed))
    except TraceError as first:
        try:
            return with_draws(lambda fixed: _by_recording(function, tensors, fixed))
        except Exception:
            raise first from None


def _by_recording(
    function: Callable[[Inputs], Outputs], tensors: dict[str, torch.Tensor], fixed: Inputs
) -> fx.GraphModule:
    """The graph by running the function on arrays that compute with torch; integers stay plain."""

    def run(*values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        given = {
            n: traced(v) if v.is_floating_point() else tensors[n].numpy().copy()
            for n, v in zip(tensors, values, strict=True)
        }
        with traced_creation():
            return tuple(tensor_of(o) for o in function(copy.deepcopy(fixed) | given))

    return functional_graph(run, tensors.values(), stack_traces=True)


def _by_compiling(
    function: Callable[[Inputs], Outputs], tensors: dict[str, torch.Tensor], fixed: Inputs
) -> fx.GraphModule:
    """The graph that torch.compile makes.

    Raises
        TraceError: it cannot
    """
    captured: list[tuple[fx.GraphModule, tuple[torch.Tensor, ...], list[torch.Tensor]]] = []

    def keep(graph: fx.GraphModule, _: Any) -> Callable[..., Any]:
        def run(*inputs: torch.Tensor) -> Any:
            outputs = graph(*(i.detach().clone() for i in inputs))
            captured.append((graph, inputs, _flat(outputs)))
            return outputs

        return run

    names = list(tensors)
    positional = lambda *values: function({**fixed, **dict(zip(names, values))})  # noqa: B905, E731  dynamo knows no strict=
    level = logging.getLogger("torch._dynamo").level
    logging.getLogger("torch._dynamo").setLevel(logging.CRITICAL)
    try:
        torch._dynamo.reset()  # a graph for these very shapes, however many came before
        compiled = torch.compile(torch.compiler.wrap_numpy(positional), backend=keep, fullgraph=True, dynamic=False)
        results = compiled(*tensors.values())
    except Exception as error:
        reason = next((s.strip() for s in str(error).splitlines() if s.strip()), type(error).__name__)
        raise TraceError(reason) from error
    finally:
        logging.getLogger("torch._dynamo").setLevel(level)
    if len(captured) != 1:
        raise TraceError("the forward holds no operation on its arrays")
    graph, inputs, outputs = captured[0]
    # What the forward stores on objects comes out of the graph too: the outputs proper are those that were returned.
    places = [o.data_ptr() for o in outputs]
    returned = [torch.as_tensor(r).data_ptr() for r in (results if isinstance(results, tuple | list) else [results])]
    if not all(r in places for r in returned):
        raise TraceError("an output of the forward does not depend on its arrays")
    return _with_placeholders(graph, inputs, tensors, [places.index(r) for r in returned])


def _with_placeholders(
    graph: fx.GraphModule, inputs: tuple[torch.Tensor, ...], tensors: dict[str, torch.Tensor], which: list[int]
) -> fx.GraphModule:
    """The graph without in-place operations, as a function of ``tensors``; what else it reads becomes constant.

    ``which`` are the outputs to keep.
    """
    place = {t.data_ptr(): name for name, t in tensors.items()}
    names = [place.get(i.data_ptr()) if i.numel() else None for i in inputs]
    constants = [i.detach().clone() for i in inputs]

    def run(*values: torch.Tensor) -> Any:
        named = dict(zip(tensors, values, strict=True))
        own_values = [c if n is None else named[n].view(c.shape) for n, c in zip(names, constants, strict=True)]
        outputs = torch.fx.Interpreter(graph).run(*own_values)
        outputs = list(outputs) if isinstance(outputs, tuple | list) else [outputs]
        return tuple(outputs[i] for i in which)

    return functional_graph(run, tensors.values())


def choose_reference(unit: Unit, inputs: Inputs) -> tuple[Reference, list[str]]:
    """The given reference, else the unit's own forward, else differences; and what a reader should know of it."""
    if unit.reference is not None:
        return Reference(unit, "torch"), []
    return own_reference(unit, inputs)


def own_reference(unit: Unit, inputs: Inputs) -> tuple[Reference, list[str]]:
    """Autograd through the unit's own forward, else central differences of it."""
    reference = Reference(unit, "own forward")
    try:
        outputs = reference.outputs(inputs)
        hand = _arrays(unit.forward(own(inputs))[0])
        for a, b in zip(outputs, hand, strict=True):
            relative = 1e-4 if b.dtype == np.float32 else 1e-9  # a forward may compute in float32 whatever it is given
            if a.shape != b.shape or not np.allclose(a, b, rtol=relative, atol=1e-3 * relative, equal_nan=True):
                raise TraceError("what was traced gives other numbers than the forward itself")
        reference.gradients(inputs, tuple(np.ones_like(o) for o in hand))
    except (TraceError, RuntimeError, TypeError, NotImplementedError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        note = (
            f"{unit.name}: torch could not trace the forward ({reason}); the reference is central differences in "
            f"float64 instead, with a tolerance of {DIFFERENCES_TOLERANCE:g}"
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


def _flat(outputs: Any) -> list[torch.Tensor]:
    parts = list(outputs) if isinstance(outputs, tuple | list) else [outputs]
    return [torch.as_tensor(p) for p in parts]
