"""Where on a tape mistakes can sit: each kind of place is looked for once, when a rule first asks for it."""

import itertools
import math
from collections import namedtuple
from collections.abc import Callable, Container, Mapping
from functools import cached_property
from typing import Any

import torch

from torch_impl.verify.tolerances import BESIDE, CENTRED, JUMP, SCALED
from torch_impl.verify.trace.tape import RESHAPES, Node, Tape, packet_of, reshapes, same
from torch_impl.verify.units.unit import Unit

aten = torch.ops.aten
LONG = 300  # nodes; in a longer tape, as an unrolled loop makes it, what one line does is looked for as a whole
PRODUCTS = (aten.mm, aten.bmm, aten.mv, aten.dot)
WEIGHS = (*PRODUCTS, aten.mul, aten.convolution)
TAKES = (aten.slice, aten.select, aten.unfold)  # a part of an array, or all windows of it
PUTS = (aten.constant_pad_nd, aten.slice_scatter, aten.select_scatter)  # an array into a larger one
MOVES = RESHAPES | {*TAKES, aten.flip, aten._unsafe_view}
_CLIPS = (aten.clamp, aten.clip, aten.clamp_min, aten.clamp_max, aten.maximum, aten.minimum)
_GATHERS = (aten.index, aten.index_select, aten.embedding, aten.gather, aten.take)
ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "sigmoid": torch.sigmoid, "tanh": torch.tanh, "relu": torch.relu, "exp": torch.exp,
    "softplus": torch.nn.functional.softplus, "silu": torch.nn.functional.silu, "gelu": torch.nn.functional.gelu,
}  # fmt: skip

Elementwise = namedtuple("Elementwise", "u v name bends")  # v = f(u), the name of f or "", whether it bends at 0
Product = namedtuple("Product", "node weight other parameter")  # weight: the parameter, perhaps reshaped
Broadcast = namedtuple("Broadcast", "leaf users arguments additive")  # arguments: the leaf as each user is given it
Softmax = namedtuple("Softmax", "z p axis")  # p = softmax(z) over an axis
Normalisation = namedtuple("Normalisation", "normal axes means variances")  # x̂ over axes, the nodes of its statistics
Mask = namedtuple("Mask", "u v scale")  # v = u · m, for a given m of zeros and, with what comes right after, scale
Gather = namedtuple("Gather", "node table")  # elements of a table, some of them more than once


class Sites:
    """The places of one unit's tape; ``sizes`` are the lengths that a divisor could be, by name."""

    def __init__(self, unit: Unit, tape: Tape, sizes: Mapping[str, int]) -> None:
        self.unit, self.tape, self.sizes = unit, tape, sizes
        self.index, self.values, self.variable = tape.index, tape.values, tape.variable
        self.leaves = {n: leaf for n, leaf in tape.leaves.items() if leaf in tape.variable}
        self.parameters = [n for n in unit.parameters if n in self.leaves]
        self.titles = {leaf: unit.title(name) for name, leaf in self.leaves.items()}
        self.long = len(tape.nodes) > LONG
        self.nodes = [n for n in tape.nodes if n in tape.variable and isinstance(tape.values[n], torch.Tensor)]
        self.calls = [n for n in self.nodes if n.op == "call_function"]
        self.ends_in_loss = all(tape.values[o].numel() == 1 for o in tape.outputs)
        self.from_data = self._after({leaf for n, leaf in tape.leaves.items() if n not in unit.parameters})
        self.from_variable = self._after(set(tape.variable))

    def _after(self, start: set[Node]) -> set[Node]:
        """All that depends on some nodes, comparisons too, which have no gradient."""
        for node in self.tape.nodes:
            if any(a in start for a in node.all_input_nodes):
                start.add(node)
        return start

    @cached_property
    def elementwise(self) -> list[Elementwise]:
        """What a chain of elementwise operations makes of its source, and each known activation on the way."""
        found, masked = [], {mask.v for mask in self.masks}
        for v in self.calls:
            u = self.source(v)
            if u is v or u not in self.variable or reshapes(v) or v in masked or self.values[u].numel() < 2:
                continue
            name = next((n for n, f in ACTIVATIONS.items() if same(self.values[v], f(self.values[u]))), "")
            inner = any(w in self.variable and self.source(w) is u and not reshapes(w) for w in v.users)
            # Without a name it is an activation only if it acts on something computed from data.
            if name or (u in self.from_data and not inner):
                slope = self.tape.derivative(u, v)
                if slope is not None and not same(slope, slope.flatten()[0].expand(slope.shape)):
                    found.append(Elementwise(u, v, name, self._bends(u, v)))
        return found

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

    def adds_to(self, node: Node, u: Node) -> bool:
        """Whether u is a sum that holds what a node gives as it is."""
        while node is not u:
            users = self.tape.users(node)
            if len(users) != 1 or not (packet_of(users[0]) is aten.add or reshapes(users[0])):
                return False
            (node,) = users
        return True

    def _bends(self, u: Node, v: Node) -> bool:
        zero = torch.full_like(self.values[u], BESIDE)
        ahead, behind = self.tape.derivative(u, v, zero), self.tape.derivative(u, v, -zero)
        return ahead is not None and behind is not None and bool((ahead - behind).abs().max() > JUMP)

    @cached_property
    def products(self) -> list[Product]:
        """Matrix products and elementwise ones of a parameter with something else that has a gradient."""
        found = [
            Product(node, weight, other, self.parameter(weight))
            for node in self.calls
            if packet_of(node) in WEIGHS and len(node.all_input_nodes) == 2
            for weight, other in itertools.permutations(node.all_input_nodes)
        ]
        return [p for p in found if p.parameter and p.other in self.variable and not self.parameter(p.other)]

    def parameter(self, node: Node) -> str:
        """The parameter that a node is, perhaps reshaped or a part of it; "" if it is none."""
        whole = self.path(node, MOVES)[0]
        return next((n for n in self.parameters if self.leaves[n] is whole), "")

    def path(self, node: Node, through: Container[Any]) -> tuple[Node, list[Node]]:
        """The array that some operations, one after another, make a node of; and those operations, the first first."""
        path: list[Node] = []
        while node.all_input_nodes and packet_of(node) in through:
            path.insert(0, node)
            node = node.all_input_nodes[0] if packet_of(node) not in PUTS[1:] else node.args[1]
        return node, path

    @cached_property
    def broadcasts(self) -> list[Broadcast]:
        """Leaves of at most two axes that become larger where they are used, in the same way wherever that is."""
        found, scaling = [], {p.parameter for p in self.products}
        for name, leaf in self.leaves.items():
            size, ends = self.values[leaf].numel(), [(leaf, user) for user in self.tape.users(leaf)]
            while ends and all(reshapes(u) and self.values[u].numel() == size for _, u in ends):
                ends = [(u, user) for _, u in ends for user in self.tape.users(u)]
            users = [user for _, user in ends]
            shapes = {tuple(self.values[u].shape) for u in users if isinstance(self.values[u], torch.Tensor)}
            alike = len(shapes) == 1 and len({packet_of(u) for u in users}) == 1 and len({*users}) == len(users)
            if alike and math.prod(*shapes) > size and self.values[leaf].ndim <= 2:
                found.append(Broadcast(leaf, users, [a for a, _ in ends], name not in scaling))
        return found

    @cached_property
    def softmaxes(self) -> list[Softmax]:
        """Every p whose entries are positive and sum to 1, with the first z that it is the softmax of."""
        found = []
        for p in self.calls:
            value = self.values[p]
            if value.numel() < 2 or value.ndim == 0 or reshapes(p) or bool((value < 0).any()):
                continue
            for axis in (a for a in reversed(range(value.ndim)) if value.shape[a] > 1):
                if same(total := value.sum(dim=axis), torch.ones_like(total)):
                    before = self.tape.ancestors(p)
                    alike = (z for z in self.nodes if z in before and self.values[z].shape == value.shape)
                    matching = (z for z in alike if same(torch.softmax(self.values[z], axis), value))
                    found += [Softmax(z, p, axis) for z in itertools.islice(matching, 1)]
                    break
        return found

    @cached_property
    def normalisations(self) -> list[Normalisation]:
        """What is centred and scaled over some axes, where the graph holds its statistics."""
        found = []
        for n in (n for n in self.calls if self.values[n].ndim > 1):
            value, every = self.values[n], tuple(range(self.values[n].ndim))
            for axes in dict.fromkeys(((0,), every[-1:], every[1:], every[:-1], (0, *every[2:]))):
                centred = bool((value.mean(dim=axes).abs() <= CENTRED).all())
                many = math.prod(value.shape[a] for a in axes) > 2
                if many and centred and bool(((value.var(dim=axes, unbiased=False) - 1).abs() <= SCALED).all()):
                    found.append(Normalisation(n, axes, *self._statistics(n)))
                    break
        return [n for n in found if n.means and n.variances]

    def _statistics(self, normal: Node) -> tuple[list[Node], list[Node]]:
        """The means and the variances among what a normalised array is computed from."""
        means: list[Node] = []
        variances: list[Node] = []
        before = self.tape.ancestors(normal)
        for node in (n for n in self.tape.nodes if n in before and n in self.variable):
            packet = packet_of(node)
            if packet is aten.var_mean:
                for part in self.tape.users(node):
                    (variances if part.args[1] == 0 else means).append(part)
            elif packet in (aten.mean, aten.sum, aten.var, aten.std):
                value, over = self.values[node], self.values[node.all_input_nodes[0]]
                if over.shape == self.values[normal].shape and value.numel() < over.numel():
                    squares = packet in (aten.var, aten.std) or bool((over >= 0).all())
                    (variances if squares else means).append(node)
        return means, variances

    @cached_property
    def masks(self) -> list[Mask]:
        """Products with a given array of zeros and one other number."""
        found = []
        for v in (v for v in self.calls if packet_of(v) in (aten.mul, aten.div) and len(v.all_input_nodes) == 2):
            fixed = [a for a in v.all_input_nodes if a not in self.from_variable]
            values = self.values[fixed[0]].double().unique().tolist() if len(fixed) == 1 else []
            if len(values) == 2 and values[0] == 0 < values[1]:
                (u,) = (a for a in v.all_input_nodes if a is not fixed[0])
                found.append(Mask(u, v, values[1] * self._factor_after(v)))
        return found

    def _factor_after(self, v: Node) -> float:
        """The number that v is divided by or multiplied with right after, as in x * mask / (1 - p)."""
        users = [u for u in self.tape.users(v) if not reshapes(u)]
        return self.factor(users[0]) if len(users) == 1 else 1.0

    def factor(self, node: Node) -> float:
        """The number that a node multiplies with; 1 for one that does something else."""
        numbers = self._numbers(node)
        if len(numbers) != 1:
            return 1.0
        return {aten.mul: numbers[0], aten.div: 1 / (numbers[0] or 1)}.get(packet_of(node), 1.0)

    def _numbers(self, node: Node) -> list[float]:
        """The numbers that a node is given, as such or as arrays of one element."""
        values = [self.values[a] for a in node.all_input_nodes if a not in self.variable]
        return [a for a in node.args if isinstance(a, int | float)] + [float(a) for a in values if a.numel() == 1]

    def small_addend(self, node: Node, largest: float) -> float | None:
        """The small constant that a sum adds, such as ε."""
        return next((a for a in self._numbers(node) if 0 < abs(a) <= largest), None)

    @cached_property
    def clips(self) -> dict[Node, Node]:
        """The nodes that clip, and what they clip: beyond a constant they are flat. ReLU, max(z, 0), is none."""
        found = {}
        for node in (n for n in self.calls if packet_of(n) in _CLIPS):
            sources = [a for a in node.all_input_nodes if a in self.variable]
            if len(sources) == 1 and any(self._numbers(node)):
                found[node] = sources[0]
        return found

    @cached_property
    def penalties(self) -> list[Node]:
        """The addends of a scalar loss that depend on parameters alone, and the sums of such."""
        on_data = self.ends_in_loss and all(o in self.from_data for o in self.tape.outputs)
        scalars = [n for n in self.calls if self.values[n].numel() == 1 and not reshapes(n)]
        return [n for n in scalars if on_data and n not in self.from_data and self._is_added(n)]

    def _is_added(self, node: Node) -> bool:
        while node not in self.tape.outputs:
            if len(users := self.tape.users(node)) != 1:
                return False
            alone = not any(a is not node and a in self.variable for a in users[0].all_input_nodes)
            linear = (aten.add, aten.sub, *((aten.mul, aten.div, aten.neg) if alone else ()))
            if packet_of(users[0]) not in linear and not reshapes(users[0]):
                return False
            node = users[0]
        return True

    @cached_property
    def gathers(self) -> list[Gather]:
        """Where rows or elements are taken out of an array by indices that repeat."""
        nodes = [n for n in self.calls if packet_of(n) in _GATHERS and n.all_input_nodes[0] in self.variable]
        found = [Gather(n, n.all_input_nodes[0]) for n in nodes]
        return [g for g in found if len(places := taken(self.tape, *g)) > len(places.unique())]

    def feeds(self, p: Node) -> str:
        """The loss that p goes into right away: "cross-entropy" (a logarithm), "another"; "" for a hidden p."""
        todo, seen, logarithm = [p] if self.ends_in_loss else [], {p}, False
        while todo:
            for user in self.tape.users(todo.pop()):
                if packet_of(user) in (aten.mm, aten.bmm, aten.addmm):
                    return ""
                logarithm |= packet_of(user) in (aten.log, aten.log1p)
                todo += [user] if user not in seen else []
                seen.add(user)
        return "" if not self.ends_in_loss else "cross-entropy" if logarithm else "another"


def taken(tape: Tape, node: Node, table: Node) -> torch.Tensor:
    """Which elements of the table a node takes, in the order in which they come out."""
    values = tape.values[table]
    numbered = torch.arange(values.numel(), dtype=values.dtype).reshape(values.shape)
    return tape.function(table, node, numbered).flatten().long()
