"""Records every primitive operation that a function runs on its tensors, with the user's line.

It stands on parts of torch that its documentation names but does not promise: ``TorchDispatchMode``, which sees the
operations below autograd, the decompositions of composite ones, and, in trace/arrays.py, ``torch._numpy``. All of them
act on the thread that enters them alone. tests/verify/test_trace.py goes through what is used of them.
"""

from __future__ import annotations

import operator
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch._decomp import get_decompositions
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from torch_impl.verify.trace.tape import Node, Tape

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

aten = torch.ops.aten

# Composite operations are taken apart, so that a mistake can sit between their parts.
_DECOMPOSED: dict[Any, Callable[..., Any]] = get_decompositions(
    [aten.addmm, aten.native_batch_norm, aten.native_layer_norm, aten.silu, aten.l1_loss, aten.mse_loss]
)


# What functionalization makes of an assignment; it has no derivative of its own.
def _assigned(old: torch.Tensor, new: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:  # noqa: ARG001
    return (new if new.dtype == old.dtype else aten._to_copy(new, dtype=old.dtype)).expand(old.shape).clone()


_DECOMPOSED[aten.copy.default] = _assigned

_OURS = (str(Path(__file__).parent.parent), str(Path(__file__).parents[3] / "experiments" / "verifiable"))
_STANDARD = str(Path(operator.__file__).parent)


class TraceError(Exception):
    """The forward cannot be traced; the text says why."""


class Recording(TorchDispatchMode):
    """Inside, the operations of this thread become nodes. ``read`` are the numbers that left the tape, by value."""

    def __init__(self, leaves: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        self.values: dict[Node, Any] = {}
        self.of: dict[int, Node] = {}  # by the identity of a tensor, which ``values`` keeps alive
        self.read: dict[float, Node] = {}
        self.varies: set[Node] = set()  # with the inputs
        self.leaves = {name: self._keep(Node("placeholder"), value) for name, value in leaves.items()}
        self._seen: torch.Tensor | None = None
        self._looks = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self._looks:
            self._seen = args[0]
            return args[0].clone()
        if func in _DECOMPOSED:
            with self:
                return _DECOMPOSED[func](*args, **kwargs)
        if torch.Tag.inplace_view in func.tags:  # squeeze_() and the like change a tensor's shape, and nothing else
            node, func_ = self.node_of(args[0]), getattr(getattr(aten, func._schema.name[6:-1]), func._overloadname)
            self.values[node] = args[0].detach()
            func(*args, **kwargs)
            self._keep(Node("call_function", func_, (node, *args[1:]), kwargs, user_line()), args[0])
            return args[0]
        result = func(*args, **kwargs)
        if func is aten.lift_fresh.default or (func._schema.is_mutable and args[0] is result):
            return result  # a constant of the code; or what writes to something outside, as running statistics
        if func is aten._local_scalar_dense.default:
            if args[0].is_floating_point() and id(args[0]) in self.of:
                self.read[result] = self.of[id(args[0])]
            return result
        place = user_line()
        nodes, options = tree_map_only(torch.Tensor, self.node_of, (args, kwargs))
        node = self._keep(Node("call_function", func, nodes, options, place), result)
        if isinstance(result, tuple | list):
            for k, part in enumerate(result):
                if isinstance(part, torch.Tensor):
                    self._keep(Node("call_function", operator.getitem, (node, k), place=place), part)
        return result

    def node_of(self, value: torch.Tensor) -> Node:
        """The node of a tensor; one that is not known comes from outside."""
        return self.of.get(id(value)) or self._keep(Node("get_attr"), value)

    def look(self, wrapped: torch.Tensor) -> torch.Tensor:
        """The values of a tensor of the function that is traced."""
        aten.clone(wrapped)  # what was written into it reaches it here
        self._looks = True
        try:
            aten.alias(wrapped)
        finally:
            self._looks = False
        assert self._seen is not None
        return self._seen

    def _keep(self, node: Node, value: Any) -> Node:
        self.values[node] = value
        if node.op == "placeholder" or not self.varies.isdisjoint(node.all_input_nodes):
            self.varies.add(node)
        if isinstance(value, torch.Tensor):
            self.of[id(value)] = node
        return node

    def tape(self, outputs: list[Node]) -> Tape:
        """What was recorded of what the outputs depend on."""
        needed, todo = {*outputs, *self.leaves.values()}, list(outputs)
        while todo:
            for argument in todo.pop().all_input_nodes:
                if argument not in needed:
                    needed.add(argument)
                    todo.append(argument)
        nodes = [node for node in self.values if node in needed]
        for node in nodes:
            node.users = [user for user in node.users if user in needed]
        tape = Tape(nodes, self.leaves, outputs, {node: self.values[node] for node in nodes})
        tape.read_elsewhere = any(node in self.varies and node not in outputs for node in self.read.values())
        return tape


def record(function: Callable[[Recording, dict[str, torch.Tensor]], list[Any]], inputs: Mapping[str, Any]) -> Tape:
    """The tape of ``function`` at ``inputs`` (arrays by name), which returns tensors, or numbers that it read from one.

    Raises
        TraceError: an output does not depend on the inputs
    """
    leaves = {name: torch.from_numpy(np.array(value)) for name, value in inputs.items()}
    recording = Recording(leaves)
    nodes: list[Node] = []

    def run(*tensors: torch.Tensor) -> torch.Tensor:
        for output in function(recording, dict(zip(leaves, tensors, strict=True))):
            if isinstance(output, torch.Tensor):
                nodes.append(recording.node_of(recording.look(output)))
            elif isinstance(output, float) and output in recording.read:
                nodes.append(recording.read[output])
            else:
                raise TraceError(f"an output of the forward is a {type(output).__name__} that no array was traced to")
        return tensors[0]

    with torch.no_grad(), recording:
        torch.func.functionalize(run)(*leaves.values())
    for name, node in recording.leaves.items():  # functionalize writes to them what the code wrote in place
        recording.values[node] = torch.from_numpy(np.array(inputs[name]))
    return recording.tape(nodes)


def user_line() -> tuple[str, int] | None:
    """The innermost line that is neither ours nor a library's."""
    frame = sys._getframe(2)
    while frame is not None:
        if not _is_library(frame.f_code.co_filename):
            return frame.f_code.co_filename, frame.f_lineno
        frame = frame.f_back  # type: ignore[assignment]
    return None


@cache
def _is_library(file: str) -> bool:
    return "site-packages" in file or file.startswith((*_OURS, "<", _STANDARD))
