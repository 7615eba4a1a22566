"""Where on a tape mistakes can sit: each kind of place is looked for once, when a rule first asks for it."""

from __future__ import annotations

import itertools
import math
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from torch_impl.verify.tolerances import BESIDE, CENTRED, JUMP, SCALED
from torch_impl.verify.trace.tape import packet_of, reshapes, same

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from torch_impl.verify.trace.tape import Node, Tape
    from torch_impl.verify.units.unit import Unit

aten = torch.ops.aten
LONG = 300  # nodes; in a longer tape, as an unrolled loop makes it, what one line does is looked for as a whole
PRODUCTS = (aten.mm, aten.bmm, aten.mv, aten.dot)
LOGARITHMS = (aten.log, aten.log1p, aten.log2, aten.log10)
_CLIPS = (aten.clamp, aten.clip, aten.clamp_min, aten.clamp_max, aten.maximum, aten.minimum)
_GATHERS = (aten.index, aten.index_select, aten.embedding, aten.gather, aten.take)
_ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "sigmoid": torch.sigmoid, "tanh": torch.tanh, "relu": torch.relu, "exp": torch.exp,
    "softplus": torch.nn.functional.softplus, "silu": torch.nn.functional.silu, "gelu": torch.nn.functional.gelu,
}  # fmt: skip


class Elementwise(NamedTuple):
    """v = f(u), on each element by itself; the name of f, or "", and whether it has a kink at 0."""

    u: Node
    v: Node
    name: str
    bends: bool


class Product(NamedTuple):
    """A product of a parameter, perhaps reshaped, with something else that has a gradient."""

    node: Node
    weight: Node
    other: Node
    parameter: str


class Broadcast(NamedTuple):
    """A parameter that every one of ``users`` broadcasts; ``arguments`` are what it is handed over as."""

    leaf: Node
    users: list[Node]
    arguments: list[Node]
    additive: bool


class Softmax(NamedTuple):
    """p = softmax(z) over an axis."""

    z: Node
    p: Node
    axis: int


class Normalisation(NamedTuple):
    """x̂ over axes, and the nodes of its means and of its variances."""

    normal: Node
    axes: tuple[int, ...]
    means: list[Node]
    variances: list[Node]


class Mask(NamedTuple):
    """v = u · m, where a given m holds 0 and, with what v is multiplied by right after, ``scale``."""

    u: Node
    v: Node
    scale: float


class Gather(NamedTuple):
    """Rows of a table by indices of which some repeat."""

    node: Node
    table: Node


class Sites:
    """The places of one unit's tape; arrays of other layers, and lengths that a divisor could be, by name."""

    def __init__(self, unit: Unit, tape: Tape, neighbours: Mapping[str, Any], sizes: Mapping[str, int]) -> None:
        self.unit, self.tape, self.neighbours, self.sizes = unit, tape, neighbours, sizes
        self.index, self.values, self.variable = tape.index, tape.values, tape.variable
        self.leaves = {n: leaf for n, leaf in tape.leaves.items() if leaf in tape.variable}
        self.long = len(tape.nodes) > LONG
        self.nodes = [n for n in tape.nodes if n in tape.variable and isinstance(tape.values[n], torch.Tensor)]
        self.calls = [n for n in self.nodes if n.op == "call_function"]
        self.ends_in_loss = all(tape.values[o].numel() == 1 for o in tape.outputs)

    @cached_property
    def elementwise(self) -> list[Elementwise]:
        """What a chain of elementwise operations makes of its source, and each known activation on the way."""
        return [Elementwise(u, v, self.name_of(v), self._bends(u, v)) for u, v in self._chains()]

    def _chains(self) -> Iterator[tuple[Node, Node]]:
        masked = {mask.v for mask in self.masks}
        for v in self.calls:
            u = self.source(v)
            if u is v or u not in self.variable or reshapes(v) or v in masked:
                continue
            inner = any(w in self.variable and self.source(w) is u and not reshapes(w) for w in v.users)
            if (inner and not self.name_of(v)) or not (self.name_of(v) or self.from_data(u)):
                continue
            slope = self.tape.derivative(u, v)
            if slope is not None and slope.numel() > 1 and not same(slope, slope.flatten()[0].expand(slope.shape)):
                yield u, v

    def source(self, v: Node) -> Node:
        """The first node that v is an elementwise function of; v itself where there is none."""
        sources = self.tape.sources(v)
        if len(sources) == 1:
            return next(iter(sources))
        # Of a sum, as x Wx + h Wh, what comes after it is a function.
        return next((u for u in self._by_sources[sources] if self.tape.only_through(u, v)), v)

    @cached_property
    def _by_sources(self) -> dict[frozenset[Node], list[Node]]:
        found: dict[frozenset[Node], list[Node]] = {}
        for node in self.calls:
            found.setdefault(self.tape.sources(node), []).append(node)
        return found

    def name_of(self, v: Node) -> str:
        """The name of the activation that v is of its source; "" if it is none that has a name."""
        if v not in self._names:
            u = self.source(v)
            value = self.values[u]
            known = u is not v and isinstance(value, torch.Tensor) and value.numel() > 1
            matching = (n for n, f in _ACTIVATIONS.items() if known and same(self.values[v], f(value)))
            self._names[v] = next(matching, "")
        return self._names[v]

    @cached_property
    def _names(self) -> dict[Node, str]:
        return {}

    def _bends(self, u: Node, v: Node) -> bool:
        zero = torch.full_like(self.values[u], BESIDE)
        ahead, behind = self.tape.derivative(u, v, zero), self.tape.derivative(u, v, -zero)
        return ahead is not None and behind is not None and bool((ahead - behind).abs().max() > JUMP)

    @cached_property
    def products(self) -> list[Product]:
        """Matrix products and elementwise ones, each with its parameter."""
        found = []
        for node in self.calls:
            if packet_of(node) in (*PRODUCTS, aten.mul) and len(node.all_input_nodes) == 2:
                for weight, other in itertools.permutations(node.all_input_nodes):
                    name = self.parameter(weight)
                    if name and other in self.variable and not self.parameter(other):
                        found.append(Product(node, weight, other, name))
        return found

    def parameter(self, node: Node) -> str:
        """The parameter that a node is, perhaps reshaped or a part of it; "" if it is none."""
        while node.all_input_nodes and (reshapes(node) or packet_of(node) in (aten.select, aten.slice)):
            node = node.all_input_nodes[0]
        return next((n for n in self.unit.parameters if self.tape.leaves.get(n) is node), "")

    @cached_property
    def broadcasts(self) -> list[Broadcast]:
        """Leaves of at most two axes that become larger where they are used, in the same way wherever that is."""
        found = []
        for leaf in self.leaves.values():
            ends = [(leaf, user) for user in self.tape.users(leaf)]
            while ends and all(reshapes(u) and self.values[u].numel() == self.values[leaf].numel() for _, u in ends):
                ends = [(u, user) for _, u in ends for user in self.tape.users(u)]
            users = [user for _, user in ends]
            shapes = {tuple(self.values[u].shape) for u in users if isinstance(self.values[u], torch.Tensor)}
            alike = len(shapes) == 1 and len({packet_of(u) for u in users}) == 1 and len({*users}) == len(users)
            if alike and math.prod(*shapes) > self.values[leaf].numel() and self.values[leaf].ndim <= 2:
                found.append(Broadcast(leaf, users, [a for a, _ in ends], self._ends_additive(users[0])))
        return found

    def _ends_additive(self, node: Node) -> bool:
        """Whether the first thing that is not a reshape, or a product with a number, is a sum."""
        while node not in self.tape.outputs and (
            reshapes(node) or (len(node.all_input_nodes) == 1 and packet_of(node) is aten.mul)
        ):
            node = next(iter(self.tape.users(node)), self.tape.outputs[0])
        return packet_of(node) in (aten.add, aten.sub)

    @cached_property
    def softmaxes(self) -> list[Softmax]:
        """Every p whose entries are positive and sum to 1, with the first z that it is the softmax of."""
        found = []
        for p in self.calls:
            value = self.values[p]
            if value.numel() < 2 or value.ndim == 0 or reshapes(p) or bool((value < 0).any()):
                continue
            totals = {axis: value.sum(dim=axis) for axis in (value.ndim - 1, 0) if value.shape[axis] > 1}
            axis = next((a for a, total in totals.items() if same(total, torch.ones_like(total))), None)
            before = self.tape.ancestors(p) if axis is not None else ()
            alike = (z for z in self.nodes if z in before and self.values[z].shape == value.shape)
            z = next((z for z in alike if same(torch.softmax(self.values[z], axis), value)), None)
            if z is not None and axis is not None:
                found.append(Softmax(z, p, axis))
        return found

    @cached_property
    def normalisations(self) -> list[Normalisation]:
        """What is centred and scaled over some axes, where the graph holds its statistics."""
        found = []
        for n in (n for n in self.calls if self.values[n].ndim > 1):
            value, every = self.values[n], tuple(range(self.values[n].ndim))
            for axes in dict.fromkeys(((0,), every[-1:], every[1:], every[:-1], (every[0], *every[2:]))):
                centred = bool((value.mean(dim=axes).abs() <= CENTRED).all())
                many = math.prod(value.shape[a] for a in axes) > 2
                if many and centred and bool(((value.var(dim=axes, unbiased=False) - 1).abs() <= SCALED).all()):
                    found.append(Normalisation(n, axes, *self._statistics(n)))
                    break
        return [n for n in found if n.means and n.variances]

    def _statistics(self, normal: Node) -> tuple[list[Node], list[Node]]:
        """The means and the variances among what a normalised array is computed from."""
        means, variances, before = [], [], self.tape.ancestors(normal)
        for node in (n for n in self.tape.nodes if n in before and n in self.variable and n.op == "call_function"):
            packet = packet_of(node)
            if packet is aten.var_mean:
                for part in self.tape.users(node):
                    (variances if part.args[1] == 0 else means).append(part)
            elif packet in (aten.mean, aten.sum, aten.var, aten.std):
                value, over = self.values[node], self.values[node.all_input_nodes[0]]
                if over.shape == self.values[normal].shape and value.numel() < over.numel():
                    squares = bool((value >= 0).all() and (over >= 0).all())
                    (variances if packet in (aten.var, aten.std) or squares else means).append(node)
        return means, variances

    @cached_property
    def masks(self) -> list[Mask]:
        """Products with a given array of zeros and one other number."""
        found = []
        for v in (v for v in self.calls if packet_of(v) in (aten.mul, aten.div) and len(v.all_input_nodes) == 2):
            fixed = [a for a in v.all_input_nodes if not self.depends(a)]
            values = self.values[fixed[0]].double().unique().tolist() if len(fixed) == 1 else []
            if len(values) == 2 and values[0] == 0 < values[1]:
                (u,) = (a for a in v.all_input_nodes if a is not fixed[0])
                found.append(Mask(u, v, values[1] * self._factor_after(v)))
        return found

    def _factor_after(self, v: Node) -> float:
        """The number that v is divided by or multiplied with right after, as in x * mask / (1 - p)."""
        users = [u for u in self.tape.users(v) if not reshapes(u)]
        numbers = [a for u in users for a in u.args if isinstance(a, int | float)]
        beside = [self.values[a] for u in users for a in u.all_input_nodes if a is not v]
        numbers += [float(value) for value in beside if value.numel() == 1]
        if len(users) != 1 or len(numbers) != 1:
            return 1.0
        return {aten.mul: numbers[0], aten.div: 1 / numbers[0]}.get(packet_of(users[0]), 1.0)

    @cached_property
    def logarithms(self) -> list[Node]:
        """The logarithms that have a gradient."""
        return [n for n in self.calls if packet_of(n) is aten.log]

    @cached_property
    def clips(self) -> dict[Node, Node]:
        """The nodes that clip, and what they clip: beyond a constant they are flat. ReLU, max(z, 0), is none."""
        found = {}
        for node in (n for n in self.calls if packet_of(n) in _CLIPS):
            sources = [a for a in node.all_input_nodes if a in self.variable]
            bounds = [a for a in node.args if isinstance(a, int | float)]
            bounds += [float(self.values[a].max()) for a in node.all_input_nodes if a not in self.variable]
            if len(sources) == 1 and any(bound != 0 for bound in bounds):
                found[node] = sources[0]
        return found

    @cached_property
    def penalties(self) -> list[Node]:
        """The addends of a scalar loss that depend on parameters alone, and the sums of such."""
        return [n for n in self.calls if self.ends_in_loss and not self.from_data(n) and self._is_added(n)]

    def _is_added(self, node: Node) -> bool:
        if self.values[node].numel() != 1 or reshapes(node):
            return False
        beside_data = False
        while node not in self.tape.outputs:
            users = self.tape.users(node)
            others = [a for u in users for a in u.all_input_nodes if a is not node and a in self.variable]
            sums = len(users) == 1 and packet_of(users[0]) in (aten.add, aten.sub)
            scales = len(users) == 1 and not others and packet_of(users[0]) in (aten.mul, aten.div, aten.neg)
            if not (sums or scales or (len(users) == 1 and reshapes(users[0]))):
                return False
            beside_data |= any(self.from_data(a) for a in others)
            node = users[0]
        return beside_data

    @cached_property
    def gathers(self) -> list[Gather]:
        """Where rows or elements are taken out of an array by indices that repeat."""
        nodes = [n for n in self.calls if packet_of(n) in _GATHERS and n.all_input_nodes[0] in self.variable]
        found = [Gather(n, n.all_input_nodes[0]) for n in nodes]
        return [g for g in found if len(places := taken(self.tape, *g)) > len(places.unique())]

    def depends(self, node: Node) -> bool:
        """Whether a node, such as a comparison, depends on one that has a gradient."""
        return node in self._from_variable

    def from_data(self, node: Node) -> bool:
        """Whether a node depends on an input that is no parameter."""
        return node in self._from_data

    @cached_property
    def _from_variable(self) -> set[Node]:
        return self._after(set(self.variable))

    @cached_property
    def _from_data(self) -> set[Node]:
        return self._after({leaf for n, leaf in self.tape.leaves.items() if n not in self.unit.parameters})

    def _after(self, start: set[Node]) -> set[Node]:
        for node in self.tape.nodes:
            if any(a in start for a in node.all_input_nodes):
                start.add(node)
        return start

    def feeds(self, p: Node) -> str:
        """The loss that p goes into right away: "cross-entropy" (a logarithm), "another"; "" for a hidden p."""
        todo, seen, logarithm = [p] if self.ends_in_loss else [], {p}, False
        while todo:
            for user in self.tape.users(todo.pop()):
                if packet_of(user) in (aten.mm, aten.bmm, aten.addmm):
                    return ""
                logarithm |= packet_of(user) in LOGARITHMS
                if user not in seen:
                    seen.add(user)
                    todo.append(user)
        return "" if not self.ends_in_loss else "cross-entropy" if logarithm else "another"


def taken(tape: Tape, node: Node, table: Node) -> torch.Tensor:
    """Which elements of the table a node takes, in the order in which they come out."""
    values = tape.values[table]
    numbered = torch.arange(values.numel(), dtype=values.dtype).reshape(values.shape)
    return tape.function(table, node, numbered).flatten().long()
