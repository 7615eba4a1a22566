"""A trial: one observation, the mistakes that are known of it, and what one more would make of its gradients."""

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial, reduce
from typing import Any

import numpy as np

from torch_impl.verify.mistakes.catalogue import Here, Hypothesis
from torch_impl.verify.observe.observation import Observation
from torch_impl.verify.trace.tape import Node

Known = Sequence[tuple[Hypothesis, Mapping[str, float]]]  # with the fitted number of each probe
Gradients = dict[str, Any]
Arrivals = dict[Node, dict[Any, Any]]  # gradients by node: what arrives, by its sender; what is sent, by its receiver


class Trial:
    """The right reverse pass with the known mistakes in it, ready for another one."""

    def __init__(self, observation: Observation, index: Mapping[Node, int], known: Known) -> None:
        assert observation.tape is not None
        self.observation, self.index, self.known = observation, index, known
        targets = {observation.tape.nodes[index[n]]: f for h, _ in known for n, f in h.targets.items()}
        self.tape = observation.tape.with_targets(targets) if targets else observation.tape
        self.rules = self._rules(known)
        self.arrivals: Arrivals = {}
        self.sent: Arrivals = {}
        seeds: Arrivals = {}
        for i, (node, seed) in enumerate(zip(self.tape.outputs, observation.seeds(), strict=True)):
            seeds.setdefault(node, {})[i] = seed
        self.arrivals, self.sent, arrived = self._go_back(seeds, {})
        self.gradients = {n: np.zeros(self.tape.values[leaf].shape) for n, leaf in self._leaves()} | arrived

    def _leaves(self) -> list[tuple[str, Node]]:
        return [(name, leaf) for name, leaf in self.tape.leaves.items() if name in self.observation.hand]

    def _rules(self, known: Known) -> dict[Node, list[partial[Any]]]:
        rules: dict[Node, list[partial[Any]]] = {}
        for h, numbers in known:
            here = Here(self.observation, self.tape, self.index, numbers.get(self.observation.probe, 0.0))
            for node, rule in h.rules.items():
                rules.setdefault(here.node(node), []).append(partial(rule, here))
        return rules

    def _go_back(
        self, arrivals: Arrivals, added: Mapping[Node, list[partial[Any]]]
    ) -> tuple[Arrivals, Arrivals, Gradients]:
        """Back from ``arrivals`` and from nodes with ``added`` rules, through what changes by that and nothing else.

        Returns what arrives otherwise than before, what is sent otherwise, and the leaves' gradients that change.
        """
        everything: Arrivals = {}
        names, found = {leaf: name for name, leaf in self._leaves()}, {}
        for node in reversed(self.tape.nodes):
            if node not in self.tape.variable or (node not in arrivals and node not in added):
                continue
            arrived = g = _total((self.arrivals.get(node, {}) | arrivals.get(node, {})).values())
            sent: dict[Node, Any] | None = None if g is not None else {}
            for rule in (*self.rules.get(node, ()), *added.get(node, ())) if g is not None else ():
                made = rule(g)
                if isinstance(made, dict):
                    sent = {self.tape.nodes[self.index[n]]: part for n, part in made.items()}
                    break
                g = made
            if node in names:
                found[names[node]] = np.zeros(self.tape.values[node].shape) if g is None else g.numpy()
            if node.op != "call_function" or (g is arrived and sent is None and node not in arrivals):
                continue
            everything[node] = sent = dict(self.tape.vjp(node, g)) if sent is None else sent
            for argument in self.sent.get(node, {}) | sent:
                arrivals.setdefault(argument, {})[node] = sent.get(argument)
        return arrivals, everything, found

    def predict(self, hypothesis: Hypothesis, c: float = 0.0) -> Gradients:
        """The gradients with one more mistake."""
        more = [(hypothesis, {self.observation.probe: c})]
        if hypothesis.targets:
            return Trial(self.observation, self.index, [*self.known, *more]).gradients
        return self.gradients | self._go_back({}, self._rules(more))[2]

    def explains(
        self, hypothesis: Hypothesis, names: list[str], right: list[str]
    ) -> tuple[list[str], Gradients | None, float]:
        """What of ``names`` it explains, nothing if what is right would change; the gradients, and the fitted number.

        No gradients where this observation can't vouch for it.
        """
        o, gradients, c = self.observation, self.predict(hypothesis), 0.0
        if hypothesis.name_of is not None:
            fits = self._fits(hypothesis, gradients, names)
            if fits is None:
                return names, None, math.nan
            gradients, c = max(
                fits, key=lambda fit: sum(o.matches(n, fit[0][n]) for n in names), default=({}, math.nan)
            )
        if hypothesis.targets and not all(np.isfinite(gradients[n]).all() for n in names):
            return names, None, c
        explained = [n for n in names if n in gradients and o.matches(n, gradients[n])]
        spoilt = explained and not all(o.matches(n, gradients[n]) for n in right if n in gradients)
        return [] if spoilt else explained, gradients, c

    def _fits(self, hypothesis: Hypothesis, zero: Gradients, names: list[str]) -> list[tuple[Gradients, float]] | None:
        """For each tensor that the unknown number fits, the prediction with it; None where no number can be seen."""
        o, one, found = self.observation, self.predict(hypothesis, 1.0), []
        slopes = {n: one[n] - zero[n] for n in zero}
        alike = [n for n in names if np.shape(zero[n]) == np.shape(o.hand[n])]
        seen = [n for n in alike if np.abs(slopes[n]).max(initial=0) > o.tolerance[n]]
        if len(alike) == len(names) and not seen and all(o.matches(n, zero[n]) for n in names):
            return None
        for name in seen:
            slope = slopes[name]
            size = float((slope * slope).sum())
            c = float((slope * (o.hand[name] - zero[name])).sum() / size) if math.isfinite(size) else math.nan
            if math.isfinite(c) and o.matches(name, zero[name] + c * slope):
                found.append(({n: zero[n] + c * slopes[n] for n in zero}, c))
        return found


def _total(parts: Iterable[Any]) -> Any:
    """The sum of gradients, some of them None; of an operation with several results, of each."""
    known = [part for part in parts if part is not None]
    if known and isinstance(known[0], list):
        return [_total(each) for each in zip(*known, strict=True)]
    return reduce(lambda a, b: a + b, known) if known else None
