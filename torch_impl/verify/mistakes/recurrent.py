"""Loops over time and gates: what is not carried back, or to the wrong place; gates that are taken for one another."""

import itertools
from collections import Counter, namedtuple
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

from torch_impl.verify.mistakes.catalogue import LATE, Here, Hypotheses, Hypothesis, Rule, mistake
from torch_impl.verify.mistakes.sites import Elementwise, Sites, aten
from torch_impl.verify.trace.tape import Node, add_to, line, packet_of, reshapes, same

# A state that ``reader`` of the next step reads as ``argument``; of the first step, what stands there before the loop.
Carry = namedtuple("Carry", "state reader argument")
Elsewhere = Callable[[Here, Carry, Any, Any], tuple[Node, Any]]  # where a carried gradient goes, and what it is there
_WRITES = (aten.select_scatter, aten.slice_scatter, aten.index_put)
_VIEWS = (aten.select, aten.slice, *_WRITES)
_TO = "what comes from step t + 1"


@mistake(
    "carry-lost",
    "the gradient is not carried back from each step to the one before it, or is added there at the wrong place",
    "Hand every state's gradient on: add dh_prev and dc_prev of step t to dh and dc of step t − 1, before its f′.",
)
def carry_lost(sites: Sites) -> Hypotheses:
    """Of the states, or of one way from one, nothing goes back; or the first step is left out; or it goes elsewhere."""
    loop = _Loop(sites)
    states: dict[Any, list[Carry]] = {}
    for (state, _), found in loop.carries.items():
        states.setdefault(state, []).extend(found)
    every = [c for found in states.values() for c in found]
    for cut in {tuple(found): None for found in [*states.values(), *loop.carries.values(), every] if found}:
        said, place = (
            "nothing goes back from step t + 1 to step t; should be added to what arrives there",
            line(cut[0].reader),
        )
        yield Hypothesis(_cut(cut), said, place)
        yield Hypothesis(_cut([*cut, *loop.first(cut)]), f"{said}, and to the first state", place)
    if every:
        nothing: dict[Node, Rule] = {n: lambda here, g: 0 * g for n, step in loop.steps.items() if step == 0}
        said, place = "the backward loop ends before the first step, which gets no gradient", line(every[0].reader)
        yield Hypothesis(nothing, said, place)
        yield Hypothesis(_cut(every) | nothing, f"{said}, and nothing goes back from step t + 1 to step t", place)
        starts = {loop.kind[c.reader]: c.argument for c in loop.first(every)}
        second = [c for c in every if loop.steps[c.reader] == 1]
        if all(loop.kind[c.reader] in starts for c in second):
            past = _moved(second, lambda here, c, sent, g: (starts[loop.kind[c.reader]], sent))
            yield Hypothesis(past | nothing, said, place)
    for found in states.values():
        yield from _elsewhere(sites, found, loop.first(found))


def _cut(carries: Iterable[Carry]) -> dict[Node, Rule]:
    """No gradient from these readers to what they read."""
    lost: dict[Node, set[Node]] = {}
    for c in carries:
        lost.setdefault(c.reader, set()).add(c.argument)
    return {
        reader: lambda here, g, n=reader, lost=arguments: {a: s for a, s in here.sends(n, g).items() if a not in lost}
        for reader, arguments in lost.items()
    }


def _moved(carries: list[Carry], to: Elsewhere) -> dict[Node, Rule]:
    """What these readers send back goes to another place, or is something else."""

    def rule(here: Here, g: Any, mine: list[Carry]) -> dict[Node, Any]:
        sent = here.sends(mine[0].reader, g)
        for c in mine:
            if c.argument in sent:
                add_to(sent, *to(here, c, sent.pop(c.argument), g))
        return sent

    readers = {c.reader: [d for d in carries if d.reader is c.reader] for c in carries}
    return {n: lambda here, g, mine=mine: rule(here, g, mine) for n, mine in readers.items()}


def _elsewhere(sites: Sites, carries: list[Carry], first: list[Carry]) -> Hypotheses:
    """The carried gradient past f′, through one f′ more, without the factor on its way, or with the last one again."""
    place, states = line(carries[0].reader), [*dict.fromkeys(c.state for c in carries)]
    before = {site.v: site for site in sites.elementwise}
    after = {site.u: site for site in sites.elementwise if site.name}
    if all(state in before for state in states):
        said = f"{_TO} is added after the multiplication by f′ of step t; should be before it"
        past = _moved(carries, lambda here, c, sent, g: (before[c.state].u, sent))
        yield Hypothesis(past, said, place, LATE)
    if all(state in after for state in states):
        through = _moved(carries, lambda here, c, sent, g: (c.argument, sent * here.slope(*after[c.state][:2])))
        yield Hypothesis(through, f"{_TO} is multiplied by f′ of step t; should go past f", place, LATE)
    if all(packet_of(c.reader) in (aten.mul, aten.mm) for c in carries):
        bare = _moved([*carries, *first], lambda here, c, sent, g: (c.argument, g))
        yield Hypothesis(bare, f"{_TO} is not multiplied by the factor on its way", place, LATE)
    for k, output in enumerate(sites.tape.outputs):
        if sites.values[output].shape == sites.values[states[0]].shape and output not in states:
            again: dict[Node, Rule] = dict.fromkeys(states, lambda here, g, k=k: g + here.observation.seeds()[k])
            said = "the upstream gradient of the last step is added at every step"
            yield Hypothesis(again, said, line(states[0]), LATE)


class _Loop:
    """The steps of a loop over time; none if no line uses a parameter again and again.

    ``steps`` is the step in which a node runs, ``kind`` what it does in every step; ``carries`` are what a step reads
    of the one before it, by the kinds of what is read and of its reader.
    """

    def __init__(self, sites: Sites) -> None:
        self.sites = sites
        used = Counter((line(p.node), p.node.target, p.parameter) for p in sites.products)
        self.length = max(used.values(), default=1)
        again = {p.node: p.parameter for p in sites.products
                 if used[line(p.node), p.node.target, p.parameter] == self.length}  # fmt: skip
        alike: dict[Any, list[Node]] = {}
        for node in sites.calls:
            alike.setdefault((line(node), node.target, again.get(node)), []).append(node)
        self.steps: dict[Node, int] = {}
        self.kind: dict[Node, tuple[int, int]] = {}
        for i, nodes in enumerate(alike.values()):
            each, rest = divmod(len(nodes), self.length)
            if self.length > 1 and rest == 0:
                self.steps |= {n: j // each for j, n in enumerate(nodes)}
                self.kind |= {n: (i, j % each) for j, n in enumerate(nodes)}
        self.carries: dict[Any, list[Carry]] = {}
        for reader in self.steps:
            for argument in reader.all_input_nodes if self._computes(reader) else ():
                state = self._written(argument)
                if self.steps.get(state, self.length) < self.steps[reader]:
                    ways = self.carries.setdefault((self.kind[state], self.kind[reader]), [])
                    ways.append(Carry(state, reader, argument))

    def first(self, carries: Iterable[Carry]) -> list[Carry]:
        """What the readers of these read in the first step: the first state, where it is no constant."""
        places = {(self.kind[c.reader], c.reader.all_input_nodes.index(c.argument)) for c in carries}
        found = [
            Carry(reader.all_input_nodes[k], reader, reader.all_input_nodes[k])
            for reader, step in self.steps.items() if step == 0
            for kind, k in places if kind == self.kind[reader] and k < len(reader.all_input_nodes)
        ]  # fmt: skip
        return [c for c in found if c.argument in self.sites.variable]

    def _computes(self, node: Node) -> bool:
        return not reshapes(node) and packet_of(node) not in _VIEWS

    def _written(self, node: Node) -> Node:
        """What was written to the place of an array that a node reads, as h[:, t] of an array that a loop fills."""
        read = self.sites.values[node]
        while node.all_input_nodes and not self._computes(node):
            last = node.all_input_nodes[-1]
            written = packet_of(node) in _WRITES and same(self.sites.values[last], read)
            node = last if written else node.all_input_nodes[0]
        return node


@mistake(
    "gates-exchanged",
    "two gates are taken for one another: their gradients, or a derivative at another gate",
    "Give each gate its own: the gradient of its factor, f′ at its own values, its own block of the matrix.",
)
def gates_exchanged(sites: Sites) -> Hypotheses:
    """The gradients of two gates exchanged, before or after f′; f′ of one gate at the values of another."""
    for one, other in _pairs(sites):
        place = line(one[0].v)
        names = f"{line(one[0].u) or 'one gate'} and {line(other[0].u) or 'another'}"
        for said, at in (("dz", "u"), ("da", "v")):
            rules: dict[Node, Rule] = {}
            for s, w in zip(one, other, strict=True):
                first, second = sorted((getattr(s, at), getattr(w, at)), key=sites.index.__getitem__)
                rules[second] = lambda here, g, n=second: _held_back(here, g, n)
                rules[first] = lambda here, g, a=first, b=second: _exchanged(here, g, a, b)
            yield Hypothesis(rules, f"{said} of two gates exchanged, a = f(z): {names}", place, LATE)
        mine, theirs = _derivatives_of(one, other), _derivatives_of(other, one)
        said = f"f′ of one gate is computed with the values of another: {names}"
        yield Hypothesis(mine, said, place, 1)
        yield Hypothesis(theirs, said, line(other[0].v), 1)
        yield Hypothesis(mine | theirs, f"f′ of two gates exchanged: {names}", place, LATE)


def _held_back(here: Here, g: torch.Tensor, node: Node) -> dict[Node, Any]:
    """Nothing goes on from here yet."""
    here.kept[node] = g
    return {}


def _exchanged(here: Here, g: torch.Tensor, first: Node, second: Node) -> dict[Node, Any]:
    """Each node's gradient goes on from the other."""
    sent = here.back(second, g, first)
    for node, more in here.sends(first, here.kept[second]).items() if second in here.kept else ():
        add_to(sent, node, more)
    return sent


def _derivatives_of(one: list[Elementwise], other: list[Elementwise]) -> dict[Node, Rule]:
    return {s.v: lambda here, g, s=s, w=w: {s.u: g * here.slope(w.u, w.v)} for s, w in zip(one, other, strict=True)}


def _pairs(sites: Sites) -> Iterator[tuple[list[Elementwise], list[Elementwise]]]:
    """Two gates that stand side by side, neither computed from the other, in every step."""
    steps, by_step = _Loop(sites).steps, dict[int, list[Elementwise]]()
    for site in sites.elementwise:
        if site.name in ("sigmoid", "tanh"):
            by_step.setdefault(steps.get(site.v, 0), []).append(site)
    if len({len(gates) for gates in by_step.values()}) != 1:
        return
    columns = [list(gates) for gates in zip(*by_step.values(), strict=True)]
    for one, other in itertools.combinations(columns, 2):
        s, w = one[0], other[0]
        alike = sites.values[s.u].shape == sites.values[w.u].shape
        if alike and s.u not in sites.tape.ancestors(w.v) and w.u not in sites.tape.ancestors(s.v):
            yield one, other
