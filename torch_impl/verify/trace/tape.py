"""The forward pass as a list of primitive operations, and a reverse pass whose rules can be exchanged one by one.

Every explanation of a wrong gradient is an experiment on this tape: put one mistake into the reverse pass, and see
whether the numbers that come out are the user's. The local derivative of each operation is autograd's.
"""

from __future__ import annotations

import linecache
import math
import operator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch.utils._pytree import tree_iter, tree_map_only

from torch_impl.verify.tolerances import SAME, SAME_SMALL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    Rule = Callable[["Tape", torch.Tensor], "torch.Tensor | list[tuple[Node, torch.Tensor]]"]

aten = torch.ops.aten

# What only hands its input on, in the same shape.
_PASSES_ON = {
    aten.view, aten._unsafe_view, aten.clone, aten.alias, aten.lift_fresh_copy, aten.expand, aten.to, aten._to_copy,
    aten.detach,
}  # fmt: skip
RESHAPES = _PASSES_ON | {aten.unsqueeze, aten.squeeze, aten.permute, aten.t, aten.transpose}
# What takes the shape of its input and none of its values.
_CONSTANT = {
    aten.detach, aten.zero, aten.fill, aten.zeros_like, aten.ones_like, aten.full_like, aten.empty_like, aten.new_zeros,
    aten.new_ones, aten.new_full, aten.new_empty, aten.new_empty_strided,
}  # fmt: skip


@dataclass(eq=False, repr=False)
class Node:
    """One operation: ``target`` of ``args`` and ``kwargs``, in which other nodes stand for their values.

    ``op`` says what it is: an input ("placeholder"), an array from outside ("get_attr") or an operation
    ("call_function"). ``place`` is the user's line, (file, number).
    """

    op: Literal["placeholder", "get_attr", "call_function"]
    target: Callable[..., Any] | None = None
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    place: tuple[str, int] | None = None
    all_input_nodes: list[Node] = field(init=False)
    users: list[Node] = field(default_factory=list)

    def __post_init__(self) -> None:
        leaves = (a for a in tree_iter((self.args, self.kwargs)) if isinstance(a, Node))
        self.all_input_nodes = list(dict.fromkeys(leaves))
        for node in self.all_input_nodes:
            node.users.append(self)

    def __repr__(self) -> str:
        return str(getattr(self.target, "__name__", self.op))


class Tape:
    """One forward pass with every value kept.

    ``leaves`` are its inputs by the names of the arrays, ``outputs`` the nodes of what it returns, ``variable`` the
    nodes that depend on a differentiable leaf. ``targets`` stand in for the targets of some nodes. ``read_elsewhere``
    says that a number left the tape which is no output: what was made of it is constant here.
    """

    read_elsewhere = False

    def __init__(
        self,
        nodes: list[Node],
        leaves: Mapping[str, Node],
        outputs: list[Node],
        values: Mapping[Node, Any],
        targets: Mapping[Node, Callable[..., Any]] | None = None,
    ) -> None:
        self.nodes, self.leaves, self.outputs = nodes, dict(leaves), outputs
        self.values, self.targets = dict(values), dict(targets or {})
        self.index = {node: i for i, node in enumerate(nodes)}
        self.variable: set[Node] = set()
        for node in nodes:
            comes = node.op == "placeholder" or any(a in self.variable for a in node.all_input_nodes)
            if comes and packet_of(node) not in _CONSTANT and any(map(_is_float, tree_iter(values[node]))):
                self.variable.add(node)
        self._local: dict[Node, tuple[list[Any], list[Node], list[torch.Tensor]]] = {}
        self._sources: dict[Node, frozenset[Node]] = {}

    def with_targets(self, targets: Mapping[Node, Callable[..., Any]]) -> Tape:
        """The same tape with other functions at some nodes, of the arguments that those have."""
        targets, values = self.targets | dict(targets), dict(self.values)
        with torch.no_grad():
            for node in self.nodes:
                if node.op == "call_function":
                    values[node] = _called(node, values, targets)
        return Tape(self.nodes, self.leaves, self.outputs, values, targets)

    def gradients(
        self, seeds: Iterable[torch.Tensor], rounded: torch.Generator | None = None
    ) -> dict[str, torch.Tensor]:
        """The gradient of every differentiable leaf by autograd, in one go; zero where it has none.

        With ``rounded`` every result is moved by a unit in the last place, up or down: what comes out differs from the
        exact gradient by as much as rounding may have cost it (Vignes, 1993: the CESTAC method).
        """
        values = dict(self.values)
        leaves = {name: values[n].detach().requires_grad_() for name, n in self.leaves.items() if n in self.variable}
        values.update({self.leaves[name]: leaf for name, leaf in leaves.items()})
        with torch.enable_grad():
            for node in self.nodes:
                if node.op == "call_function" and node in self.variable:
                    value = values[node] = _called(node, values, self.targets)
                    if rounded is not None and _is_float(value) and not reshapes(node):
                        signs = torch.randint(0, 2, value.shape, generator=rounded, dtype=value.dtype) * 2 - 1
                        values[node] = value * (1 + torch.finfo(value.dtype).eps * signs)
        pairs = [(values[o], s) for o, s in zip(self.outputs, seeds, strict=True) if values[o].requires_grad]
        if not pairs:
            return {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
        found = torch.autograd.grad([o for o, _ in pairs], [*leaves.values()], [s for _, s in pairs], allow_unused=True)
        return {n: torch.zeros_like(t) if g is None else g for (n, t), g in zip(leaves.items(), found, strict=True)}

    def vjp(self, node: Node, g: Any) -> list[tuple[Node, Any]]:
        """What a gradient arriving at ``node`` sends on to its arguments."""
        if node.target is operator.getitem:  # one of several results
            source, k = node.args
            gradients: list[Any] = [None] * len(self.values[source])
            gradients[k] = g
            return [(source, gradients)]
        if node not in self._local:
            arguments = [a for a in node.all_input_nodes if a in self.variable and _is_float(self.values[a])]
            tensors = [self.values[a].detach().requires_grad_() for a in arguments]
            with torch.enable_grad():
                result = _called(node, self.values | dict(zip(arguments, tensors, strict=True)), self.targets)
            self._local[node] = (list(result) if isinstance(result, tuple | list) else [result], arguments, tensors)
        parts, arguments, tensors = self._local[node]
        pairs = [(p, q) for p, q in zip(parts, g if isinstance(g, list) else [g], strict=True) if q is not None]
        pairs = [(p, q) for p, q in pairs if p.requires_grad]
        if not pairs:
            return []
        sent = torch.autograd.grad(
            [p for p, _ in pairs], tensors, [q for _, q in pairs], retain_graph=True, allow_unused=True
        )
        return [(a, s) for a, s in zip(arguments, sent, strict=True) if s is not None]

    def backward(
        self, seeds: Iterable[torch.Tensor], rules: Mapping[Node, list[Rule]] | None = None
    ) -> dict[Node, Any]:
        """The gradient at every node, for upstream gradients ``seeds`` of the outputs.

        A rule replaces what autograd does at its node: it is given the gradient that arrives, and returns either
        another one, or what is sent on, to which nodes.
        """
        rules = rules or {}
        arrived: dict[Node, Any] = {}
        for node, seed in zip(self.outputs, seeds, strict=True):
            add_to(arrived, node, seed)
        for node in reversed(self.nodes):
            if node not in arrived or node not in self.variable:
                continue
            sent = None
            for rule in rules.get(node, ()):
                made = rule(self, arrived[node])
                if isinstance(made, list):
                    sent = made
                    break
                arrived[node] = made
            if node.op != "call_function":
                continue
            for argument, g in self.vjp(node, arrived[node]) if sent is None else sent:
                if argument in self.variable:
                    add_to(arrived, argument, g)
        return arrived

    def function(self, u: Node, v: Node, at: torch.Tensor) -> torch.Tensor:
        """v as a function of u, evaluated with ``at`` in the place of u."""
        moved: dict[Node, Any] = {u: at}
        for node in self.nodes[self.index[u] + 1 : self.index[v] + 1]:
            if node.op == "call_function" and any(a in moved for a in node.all_input_nodes):
                moved[node] = _called(node, self.values, self.targets, moved)
        return moved[v]

    def derivative(self, u: Node, v: Node, at: torch.Tensor | None = None) -> torch.Tensor:
        """f′ for v = f(u), f acting on each element by itself; at u, or at another array of that shape."""
        x = (self.values[u] if at is None else at).detach().requires_grad_()
        with torch.enable_grad():
            y = self.function(u, v, x)
        if not y.requires_grad:
            return torch.zeros_like(x)
        return torch.autograd.grad(y, x, torch.ones_like(y), allow_unused=True)[0]

    def sources(self, node: Node) -> frozenset[Node]:
        """What a node is an elementwise function of: the nodes where anything but elementwise operations begins."""
        if node not in self._sources:
            found: set[Node] = set()
            value = self.values.get(node)
            elementwise = node.op == "call_function" and isinstance(value, torch.Tensor) and _elementwise(node)
            for argument in node.all_input_nodes if elementwise else ():
                if argument not in self.variable and not self.depends(argument):
                    continue
                if getattr(self.values[argument], "shape", None) != value.shape:  # type: ignore[union-attr]
                    elementwise = False
                    break
                found |= self.sources(argument)
            self._sources[node] = frozenset(found) if elementwise and found else frozenset({node})
        return self._sources[node]

    def only_through(self, u: Node, v: Node) -> bool:
        """Whether v depends on what is variable through u alone."""
        todo, seen = [v], set()
        while todo:
            node = todo.pop()
            if node is u or node in seen:
                continue
            seen.add(node)
            before = [a for a in node.all_input_nodes if a in self.variable or self.depends(a)]
            if not before:
                return False
            todo += before
        return True

    def depends(self, node: Node) -> bool:
        """Whether a node that has no gradient, such as a comparison, still depends on one that has."""
        return node.op == "call_function" and any(a in self.variable or self.depends(a) for a in node.all_input_nodes)

    def users(self, node: Node) -> list[Node]:
        """The nodes that use this one and have a gradient."""
        return [user for user in node.users if user in self.variable]

    def ancestors(self, node: Node) -> set[Node]:
        """All that a node is computed from."""
        found: set[Node] = set()
        todo = [node]
        while todo:
            for argument in todo.pop().all_input_nodes:
                if argument not in found:
                    found.add(argument)
                    todo.append(argument)
        return found


def packet_of(node: Node) -> Any:
    """The operation of a node, whatever its overload."""
    return getattr(node.target, "overloadpacket", None)


def reshapes(node: Node) -> bool:
    """Whether a node only moves elements, or repeats them."""
    return node.op == "call_function" and packet_of(node) in RESHAPES


def line(node: Node) -> str:
    """The user's line that a node comes from: "file.py, line 12: z = x @ w"; "" if it is not known."""
    if node.place is None:
        return ""
    file, number = node.place
    return f"{Path(file).name}, line {number}: {linecache.getline(file, number).strip()}"


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Equal to rounding; a forward may hold float32 beside float64."""
    return a.shape == b.shape and bool(
        torch.allclose(a.to(b.dtype), b, rtol=SAME, atol=SAME_SMALL * max(1.0, _largest(b)), equal_nan=True)
    )


def _called(
    node: Node, values: Mapping[Node, Any], targets: Mapping[Node, Any], moved: Mapping[Node, Any] | None = None
) -> Any:
    """What a node makes of ``values``, those of ``moved`` before them."""
    look_up = values.__getitem__ if moved is None else lambda n: moved[n] if n in moved else values[n]
    args, kwargs = tree_map_only(Node, look_up, (node.args, node.kwargs))
    return targets.get(node, node.target)(*args, **kwargs)


def _elementwise(node: Node) -> bool:
    target = node.target
    if not isinstance(target, torch._ops.OpOverload):
        return False
    return torch.Tag.pointwise in target.tags or target.overloadpacket in _PASSES_ON


def _is_float(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def add_to(arrived: dict[Node, Any], node: Node, g: Any) -> None:
    """Add a gradient to what has arrived at a node; of an operation with several results, to each."""
    before = arrived.get(node)
    if before is None:
        arrived[node] = g
    elif isinstance(before, list):
        arrived[node] = [b if a is None else a if b is None else a + b for a, b in zip(before, g, strict=True)]
    else:
        arrived[node] = before + g


def _largest(a: torch.Tensor) -> float:
    return float(a.abs().max()) if a.numel() and math.isfinite(float(a.abs().max())) else 1.0
