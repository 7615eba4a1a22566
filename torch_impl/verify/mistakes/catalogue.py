"""The catalogue: a record for every mistake that the verifier knows by name, and the rules that make them.

A record stands beside its rule in the file of its family; ``@mistake`` puts it into ``CATALOGUE``. A rule yields
hypotheses: one mistake at one place of the tape, as what it does to the gradient there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch.utils._pytree import tree_map

from torch_impl.verify.mistakes.parts import carried
from torch_impl.verify.mistakes.sites import Sites
from torch_impl.verify.observe.observation import Observation
from torch_impl.verify.trace.tape import Node, Tape, add_to, line

Named = tuple[str, ...]  # a mistake, the formula, and other mistakes that the numbers do not tell from it
Rule = Callable[["Here", torch.Tensor], Any]  # the gradient that arrives → another one, or what is sent, by argument
NameOf = Callable[[Sequence[float], Sequence[Observation]], Named | None]
EVERYWHERE = " (wherever it runs)"  # said of a line that runs more than once
LATE = 4  # from this rank on, a hypothesis is tried only if no other explains the first wrong tensor


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """What one mistake at one place does to the reverse pass.

    ``targets`` are other functions at nodes: the backward belongs to another forward. With ``name_of`` the rules are
    linear in an unknown number ``here.c``, which is fitted; its values with every probe say which mistake it is. Of
    hypotheses that explain as much, the one of the lower ``rank`` is the more specific. Without a ``place`` it is the
    line of its node.
    """

    rules: Mapping[Node, Rule]
    formula: str = ""
    place: str = ""
    rank: int = 0
    mistake: str = ""
    name_of: NameOf | None = None
    targets: Mapping[Node, Callable[..., Any]] = field(default_factory=dict)
    with_it: Named = ()  # the second mistake of two that come together


@dataclass
class Here:
    """The tape of one observation, seen through the nodes of the tape that the sites were found on."""

    observation: Observation
    tape: Tape
    index: Mapping[Node, int]  # where each of those nodes stands
    c: float = 0.0
    kept: dict[Node, torch.Tensor] = field(default_factory=dict)  # gradients that a rule keeps for another one

    def node(self, node: Node) -> Node:
        """The node of this tape that stands where ``node`` stands on the other."""
        return self.tape.nodes[self.index[node]]

    def __getitem__(self, node: Node) -> torch.Tensor:
        return self.tape.values[self.node(node)]

    def slope(self, u: Node, v: Node, at: torch.Tensor | None = None) -> torch.Tensor:
        """f′ for the elementwise v = f(u), at u or at another array."""
        return self.tape.derivative(self.node(u), self.node(v), at)

    def along(self, path: Sequence[Node], value: torch.Tensor) -> torch.Tensor:
        """What the nodes of a path make of a value, one after another."""
        return carried(self.tape, [self.node(n) for n in path], value)

    def only(self, node: Node, to: Node, g: torch.Tensor) -> dict[Node, torch.Tensor]:
        """What a gradient arriving at ``node`` sends on to one of its arguments, by that argument."""
        return next(({to: sent} for a, sent in self.tape.vjp(self.node(node), g) if a is self.node(to)), {})

    def sends(self, node: Node, g: Any, but: Node | None = None) -> dict[Node, Any]:
        """What a gradient arriving at ``node`` sends on, by argument; one of them may be left out."""
        sent = dict(self.tape.vjp(self.node(node), g))
        return {a: sent[self.node(a)] for a in node.all_input_nodes if a is not but and self.node(a) in sent}

    def back(self, node: Node, g: Any, before: Node) -> dict[Node, Any]:
        """What a gradient arriving at ``node`` sends to the nodes that stand before another one, by each."""
        arrived: dict[Node, Any] = {self.node(node): g}
        for n in reversed(self.tape.nodes[self.index[before] : self.index[node] + 1]):
            for argument, sent in self.tape.vjp(n, arrived.pop(n)) if n in arrived and n.op == "call_function" else ():
                add_to(arrived, argument, sent)
        nodes = [*self.index]
        return {nodes[self.tape.index[n]]: total for n, total in arrived.items()}

    def vjp(self, u: Node, v: Node, g: torch.Tensor) -> torch.Tensor:
        """What a gradient arriving at v sends to u, by every way between the two."""
        at = self[u].detach().requires_grad_()
        with torch.enable_grad():
            return torch.autograd.grad(self.tape.function(self.node(u), self.node(v), at), at, g)[0]

    def run(self, node: Node, values: Mapping[Node, torch.Tensor]) -> torch.Tensor:
        """What ``node`` computes with other values of some of its arguments."""
        here, swap = self.node(node), {self.node(n): value for n, value in values.items()}
        args, kwargs = tree_map(lambda a: swap.get(a, self.tape.values.get(a, a)), (here.args, here.kwargs))
        with torch.enable_grad():
            return self.tape.targets.get(here, here.target)(*args, **kwargs)


Hypotheses = Iterator[Hypothesis]


def times_c(here: Here, g: torch.Tensor) -> torch.Tensor:
    """The rule of a factor that is fitted."""
    return g * here.c


def short(value: float) -> str:
    """Six digits of a number, with a true minus sign."""
    return f"{value:.6g}".replace("-", "−")


Kind = Literal["wrong", "convention", "right, but"]
Places = Callable[[Sites], Hypotheses]


@dataclass(frozen=True)
class Mistake:
    """One row: ``what`` ends the sentence "In affine: …", ``fix`` says what to do.

    ``kind`` is "convention" for a choice that is no error, and "right, but" where the gradient's values are right and
    something else is not. ``rule`` yields the places of a tape where the mistake can sit; without one, the mistake is
    found in another way.
    """

    name: str
    what: str
    fix: str
    kind: Kind = "wrong"
    rule: Places | None = None


CATALOGUE: dict[str, Mistake] = {}


def mistake(name: str, what: str, fix: str, kind: Kind = "wrong") -> Callable[[Places], Places]:
    """Put a record into the catalogue; as a decorator, with its rule."""
    CATALOGUE[name] = Mistake(name, what, fix, kind)

    def with_rule(rule: Places) -> Places:
        CATALOGUE[name] = replace(CATALOGUE[name], rule=rule)
        return rule

    return with_rule


def hypotheses(sites: Sites) -> Hypotheses:
    """Every mistake at every place that the tape has for it."""
    for row in CATALOGUE.values():
        for made in row.rule(sites) if row.rule is not None else ():
            last = max((*made.rules, *made.targets), key=sites.index.__getitem__)
            yield replace(made, mistake=made.mistake or row.name, place=made.place or line(last))
