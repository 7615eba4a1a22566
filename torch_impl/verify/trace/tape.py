"""The forward pass as a graph of primitive operations, and a reverse pass whose rules can be exchanged one by one.

Every explanation of a wrong gradient is an experiment on this tape: put one mistake into the reverse pass, and see
whether the numbers that come out are the user's. The local derivative of each operation is autograd's.
"""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import fx
from torch._decomp import get_decompositions
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.traceback import preserve_node_meta

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    Rule = Callable[["Tape", torch.Tensor], "torch.Tensor | list[tuple[fx.Node, torch.Tensor]]"]

Node = fx.Node
aten = torch.ops.aten

# Composite operations are taken apart, so that a mistake can sit between their parts.
_DECOMPOSED: dict[Any, Callable[..., Any]] = get_decompositions(
    [aten.addmm, aten.native_batch_norm, aten.native_layer_norm, aten.silu, aten.l1_loss, aten.mse_loss]
)
# What functionalization makes of an assignment; it has no derivative of its own.
_DECOMPOSED[aten.copy.default] = lambda old, new, non_blocking=False: new.to(old.dtype).expand(old.shape).clone()
# What only hands its input on, in the same shape.
_PASSES_ON = {aten.view, aten.clone, aten.alias, aten.lift_fresh_copy, aten.expand, aten._to_copy, aten.detach}
_RESHAPES = _PASSES_ON | {aten.unsqueeze, aten.squeeze, aten.permute, aten.t, aten.transpose}


def functional_graph(
    function: Callable[..., Any], inputs: Iterable[torch.Tensor], stack_traces: bool = False
) -> fx.GraphModule:
    """The graph of ``function`` at ``inputs``, without in-place operations; if asked for, with the lines it is from."""

    def run(*tensors: torch.Tensor) -> Any:
        with preserve_node_meta():  # the user's line stays with every operation
            return function(*tensors)

    with preserve_node_meta():
        tracer = make_fx(
            torch.func.functionalize(run), decomposition_table=_DECOMPOSED, record_stack_traces=stack_traces
        )
        made = tracer(*(t.detach() for t in inputs))
    for node in reversed(list(made.graph.nodes)):
        # What still writes in place writes to something outside, as running statistics are: no part of the output.
        if isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable and not node.users:
            made.graph.erase_node(node)
    made.graph.eliminate_dead_code()
    made.recompile()
    return made


class Tape:
    """One forward pass through a graph, with every value kept.

    ``leaves`` are the graph's inputs by the names of the arrays; ``outputs`` its output nodes.
    """

    def __init__(self, graph: fx.GraphModule, inputs: Mapping[str, torch.Tensor]) -> None:
        self.graph = graph
        self.nodes = list(graph.graph.nodes)
        self.leaves: dict[str, fx.Node] = {}
        self.values: dict[fx.Node, Any] = {}
        self._local: dict[fx.Node, tuple[list[torch.Tensor], list[fx.Node], list[torch.Tensor]]] = {}
        self._sources: dict[fx.Node, frozenset[fx.Node]] = {}
        named = iter(inputs.items())
        self.variable: set[fx.Node] = set()  # the nodes that depend on a differentiable leaf
        for node in self.nodes:
            if node.op == "placeholder":
                name, value = next(named)
                self.leaves[name] = node
                self.values[node] = value.detach()
                if value.is_floating_point():
                    self.variable.add(node)
            elif node.op == "get_attr":
                self.values[node] = getattr(graph, str(node.target))
            elif node.op == "call_function":
                self._run(node)
            else:
                self.outputs = [n for n in torch.utils._pytree.tree_leaves(node.args[0]) if isinstance(n, fx.Node)]
        self.index = {node: i for i, node in enumerate(self.nodes)}

    def _run(self, node: fx.Node) -> None:
        if node.target is operator.getitem:  # one of several results
            source, k = cast("tuple[fx.Node, int]", node.args)
            self.values[node] = self.values[source][k]
            if source in self.variable and _is_float(self.values[node]):
                self.variable.add(node)
            return
        arguments = [a for a in node.all_input_nodes if a in self.variable]
        tensors = [self.values[a] for a in arguments]
        tensors = [t.detach().requires_grad_() if _is_float(t) else t for t in tensors]
        swap = dict(zip(arguments, tensors, strict=True))
        lookup = lambda n: swap.get(n, self.values[n])  # noqa: E731
        args, kwargs = fx.node.map_arg(node.args, lookup), fx.node.map_arg(node.kwargs, lookup)
        with torch.enable_grad():
            result = node.target(*args, **kwargs)  # type: ignore[operator]
        parts = list(result) if isinstance(result, tuple | list) else [result]
        if arguments and any(isinstance(p, torch.Tensor) and p.requires_grad for p in parts):
            self.variable.add(node)
            leaves = [(a, t) for a, t in swap.items() if _is_float(t)]
            self._local[node] = (parts, [a for a, _ in leaves], [t for _, t in leaves])
        clean = [p.detach() if isinstance(p, torch.Tensor) else p for p in parts]
        self.values[node] = clean if isinstance(result, tuple | list) else clean[0]

    def vjp(self, node: fx.Node, g: Any) -> list[tuple[fx.Node, Any]]:
        """What a gradient arriving at ``node`` sends on to its arguments."""
        if node.target is operator.getitem:
            source, k = cast("tuple[fx.Node, int]", node.args)
            gradients: list[Any] = [None] * len(self.values[source])
            gradients[k] = g
            return [(source, gradients)]
        parts, arguments, tensors = self._local[node]
        pairs = [(p, q) for p, q in zip(parts, g if isinstance(g, list) else [g], strict=True) if q is not None]
        pairs = [(p, q) for p, q in pairs if p.requires_grad]
        sent = torch.autograd.grad(
            [p for p, _ in pairs], tensors, [q for _, q in pairs], retain_graph=True, allow_unused=True
        )
        return [(a, s) for a, s in zip(arguments, sent, strict=True) if s is not None]

    def backward(
        self, seeds: Iterable[torch.Tensor], rules: Mapping[fx.Node, list[Rule]] | None = None
    ) -> dict[fx.Node, Any]:
        """The gradient at every node, for upstream gradients ``seeds`` of the outputs.

        A rule replaces what autograd does at its node: it is given the gradient that arrives, and returns either
        another one, or what is sent on, to which nodes.
        """
        rules = rules or {}
        arrived: dict[fx.Node, Any] = {}
        for node, seed in zip(self.outputs, seeds, strict=True):
            _add(arrived, node, seed)
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
                    _add(arrived, argument, g)
        return arrived

    def with_targets(self, targets: Mapping[fx.Node, Callable[..., Any]]) -> Tape:
        """The same tape with other functions at some nodes, of the arguments that those have."""
        graph = fx.Graph()
        copied: dict[fx.Node, fx.Node] = {}
        graph.output(graph.graph_copy(self.graph.graph, copied))
        for node, target in targets.items():
            copied[node].target = target
        return Tape(fx.GraphModule(self.graph, graph), {name: self.values[leaf] for name, leaf in self.leaves.items()})

    def function(self, u: fx.Node, v: fx.Node, at: torch.Tensor) -> torch.Tensor:
        """v as a function of u, evaluated with ``at`` in the place of u."""
        swap: dict[fx.Node, Any] = {u: at}
        for node in self.nodes[self.index[u] + 1 : self.index[v] + 1]:
            if any(a in swap for a in node.all_input_nodes) and node.op == "call_function":
                lookup = lambda n: swap.get(n, self.values.get(n))  # noqa: E731
                args, kwargs = fx.node.map_arg(node.args, lookup), fx.node.map_arg(node.kwargs, lookup)
                swap[node] = node.target(*args, **kwargs)
        return swap[v]

    def derivative(self, u: fx.Node, v: fx.Node, at: torch.Tensor | None = None) -> torch.Tensor:
        """f′ for v = f(u), f acting on each element by itself; at u, or at another array of that shape."""
        x = (self.values[u] if at is None else at).detach().requires_grad_()
        with torch.enable_grad():
            y = self.function(u, v, x)
        return torch.autograd.grad(y, x, torch.ones_like(y), allow_unused=True)[0]

    def sources(self, node: fx.Node) -> frozenset[fx.Node]:
        """What a node is an elementwise function of: the nodes where anything but elementwise operations begins."""
        if node not in self._sources:
            found: set[fx.Node] = set()
            value = self.values.get(node)
            elementwise = node.op == "call_function" and isinstance(value, torch.Tensor) and _elementwise(node)
            for argument in node.all_input_nodes if elementwise else ():
                if argument not in self.variable and not self._depends(argument):
                    continue
                if getattr(self.values[argument], "shape", None) != value.shape:  # type: ignore[union-attr]
                    elementwise = False
                    break
                found |= self.sources(argument)
            self._sources[node] = frozenset(found) if elementwise and found else frozenset({node})
        return self._sources[node]

    def only_through(self, u: fx.Node, v: fx.Node) -> bool:
        """Whether v depends on what is variable through u alone."""
        todo = [v]
        while todo:
            node = todo.pop()
            if node is u:
                continue
            before = [a for a in node.all_input_nodes if a in self.variable or self._depends(a)]
            if not before:
                return False
            todo += before
        return True

    def _depends(self, node: fx.Node) -> bool:
        """Whether a node that has no gradient, such as a comparison, still depends on one that has."""
        return node.op == "call_function" and any(a in self.variable or self._depends(a) for a in node.all_input_nodes)

    def users(self, node: fx.Node) -> list[fx.Node]:
        """The nodes that use this one and have a gradient."""
        return [user for user in node.users if user in self.variable]

    def ancestors(self, node: fx.Node) -> set[fx.Node]:
        """All that a node is computed from."""
        found: set[fx.Node] = set()
        todo = [node]
        while todo:
            for argument in todo.pop().all_input_nodes:
                if argument not in found:
                    found.add(argument)
                    todo.append(argument)
        return found


class StochasticRounding(fx.Interpreter):
    """Runs a graph with every result moved by a unit in the last place, up or down at random.

    What comes out differs from the exact run by as much as rounding may have cost it (Vignes, 1993: the CESTAC method).
    """

    def __init__(self, graph: fx.GraphModule, seed: int) -> None:
        super().__init__(graph)
        self.generator = torch.Generator().manual_seed(seed)

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n.op != "call_function" or not _is_float(value) or reshapes(n):
            return value
        signs = torch.randint(0, 2, value.shape, generator=self.generator, dtype=value.dtype) * 2 - 1
        return value * (1 + torch.finfo(value.dtype).eps * signs)


def packet_of(node: fx.Node) -> Any:
    """The operation of a node, whatever its overload."""
    return getattr(node.target, "overloadpacket", None)


def reshapes(node: fx.Node) -> bool:
    """Whether a node only moves elements, or repeats them."""
    return node.op == "call_function" and packet_of(node) in _RESHAPES


_BENDING = {
    aten.maximum, aten.minimum, aten.relu, aten.abs, aten.where, aten.clamp, aten.clamp_min, aten.clamp_max, aten.clip,
    aten.leaky_relu, aten.elu, aten.celu, aten.hardtanh, aten.prelu, aten.threshold,
}  # fmt: skip


def bends(tape: Tape, node: fx.Node) -> bool:
    """Whether a node may have a kink: by what it does, or because it multiplies with a comparison."""

    def compares(argument: fx.Node) -> bool:
        while reshapes(argument) and argument.all_input_nodes:
            argument = argument.all_input_nodes[0]
        value = tape.values[argument]
        return isinstance(value, torch.Tensor) and value.dtype == torch.bool

    packet = packet_of(node)
    return packet in _BENDING or (packet is aten.mul and any(compares(a) for a in node.all_input_nodes))


def line(node: fx.Node) -> str:
    """The user's line that a node comes from: "file.py, line 12: z = x @ w"; "" if it is not known."""
    trace = [part.strip() for part in (node.meta.get("stack_trace") or "").strip().splitlines()]
    place = [i for i, part in enumerate(trace) if part.startswith("File ")]
    if not place or "site-packages" in trace[place[-1]]:
        return ""
    file, number = trace[place[-1]].split(", ")[:2]
    text = trace[place[-1] + 1] if len(trace) > place[-1] + 1 else ""
    return f"{file.removeprefix('File ').strip(chr(34)).rsplit('/', 1)[-1]}, {number}: {text}"


def _elementwise(node: fx.Node) -> bool:
    target = node.target
    if not isinstance(target, torch._ops.OpOverload):
        return False
    return torch.Tag.pointwise in target.tags or target.overloadpacket in _PASSES_ON


def _is_float(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def _add(arrived: dict[fx.Node, Any], node: fx.Node, g: Any) -> None:
    before = arrived.get(node)
    if before is None:
        arrived[node] = g
    elif isinstance(before, list):
        arrived[node] = [b if a is None else a if b is None else a + b for a, b in zip(before, g, strict=True)]
    else:
        arrived[node] = before + g


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Equal to rounding."""
    return a.shape == b.shape and bool(
        torch.allclose(a, b, rtol=1e-9, atol=1e-12 * max(1.0, _largest(b)), equal_nan=True)
    )


def _largest(a: torch.Tensor) -> float:
    return float(a.abs().max()) if a.numel() and math.isfinite(float(a.abs().max())) else 1.0
