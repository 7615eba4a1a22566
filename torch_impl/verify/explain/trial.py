"""A trial: one observation, the mistakes that are known of it, and what one more would make of its gradients."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from torch_impl.verify.mistakes.hypothesis import Here

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from torch_impl.verify.mistakes.hypothesis import Hypothesis
    from torch_impl.verify.observe.observation import Observation
    from torch_impl.verify.trace.tape import Node, Rule, Tape

    Known = Sequence[tuple[Hypothesis, Mapping[str, float]]]  # with the fitted number of each probe
    Gradients = dict[str, Any]


class Fit(NamedTuple):
    """What a hypothesis predicts, with the number that fits best.

    No gradients where none fits; empty ones where the number changes nothing that could be seen.
    """

    gradients: Gradients | None
    c: float


class Trial:
    """The right reverse pass with the known mistakes in it, ready for another one."""

    def __init__(self, observation: Observation, index: Mapping[Node, int], known: Known) -> None:
        assert observation.tape is not None
        self.observation, self.index = observation, index
        self.known = known
        self.tape, self.rules = self._with(observation.tape, known)
        self.before: dict[Node, Any] = {}  # the gradient that arrived at a node with rules, before them
        recording: dict[Node, list[Rule]] = {n: [self._record(n), *rules] for n, rules in self.rules.items()}
        self.arrived = self.tape.backward(observation.seeds(), recording)
        self.gradients = self._by_name(self.arrived)

    def _record(self, node: Node) -> Rule:
        return lambda _, g: self.before.setdefault(node, g)

    def _with(self, tape: Tape, added: Known) -> tuple[Tape, dict[Node, list[Rule]]]:
        for h, _ in added:
            if h.targets:
                tape = tape.with_targets({tape.nodes[self.index[n]]: f for n, f in h.targets.items()})
        rules: dict[Node, list[Rule]] = {}
        for h, numbers in added:
            here = Here(self.observation, tape, self.index, numbers.get(self.observation.probe, 0.0))
            for node, rule in h.rules.items():
                rules.setdefault(here.node(node), []).append(_on_tape(here, rule))
        return tape, rules

    def predict(self, hypothesis: Hypothesis, c: float = 0.0) -> Gradients:
        """The gradients with one more mistake.

        Autograd's rules are linear, so only the difference that the mistake makes goes back, where it comes by.
        """
        if hypothesis.targets:
            known = [*self.known, (hypothesis, {self.observation.probe: c})]
            return Trial(self.observation, self.index, known).gradients
        _, added = self._with(self.tape, [(hypothesis, {self.observation.probe: c})])
        change: dict[Node, Any] = {}
        result: dict[Node, Any] = {}
        start = max((self.tape.index[n] for n in added), default=-1)
        for node in reversed(self.tape.nodes[: start + 1]):
            if (node not in added and not _nonzero(change.get(node))) or node not in self.arrived:
                continue
            right = self.before.get(node, self.arrived[node])
            rules = [*self.rules.get(node, ()), *added.get(node, ())]
            before = self._send(node, right, self.rules.get(node, ())) if rules else []
            g = _sum(right, change[node]) if node in change else right
            if node.op != "call_function":
                for rule in rules:
                    g = rule(self.tape, g)
                result[node] = g
                continue
            after = self._send(node, g, rules) if rules else self.tape.vjp(node, change[node])
            for argument, sent in (*after, *((a, _minus(s)) for a, s in before)):
                if argument in self.tape.variable:
                    change[argument] = _sum(change[argument], sent) if argument in change else sent
        return {**self.gradients, **self._by_name(result, only=True)}

    def _send(self, node: Node, g: Any, rules: Iterable[Rule]) -> list[tuple[Node, Any]]:
        for rule in rules:
            made = rule(self.tape, g)
            if isinstance(made, list) and not isinstance(g, list):
                return made
            g = made
        return self.tape.vjp(node, g) if node.op == "call_function" else []

    def _by_name(self, arrived: Mapping[Node, Any], only: bool = False) -> Gradients:
        names = {n: leaf for n, leaf in self.tape.leaves.items() if n in self.observation.hand}
        found = {n: arrived[leaf].numpy() for n, leaf in names.items() if leaf in arrived}
        return found if only else {n: np.zeros(self.tape.values[leaf].shape) for n, leaf in names.items()} | found

    def fit(self, hypothesis: Hypothesis, names: list[str]) -> Fit:
        """The prediction, with the unknown number fitted to the tensor whose number explains most."""
        if hypothesis.name_of is None:
            return Fit(self.predict(hypothesis), 0.0)
        o, best, most = self.observation, Fit(None, math.nan), 0
        zero, one = self.predict(hypothesis, 0.0), self.predict(hypothesis, 1.0)
        slopes = {n: one[n] - zero[n] for n in names if np.shape(zero[n]) == np.shape(o.hand[n])}
        seen = {n: slope for n, slope in slopes.items() if np.abs(slope).max(initial=0) > o.tolerance[n]}
        if len(slopes) == len(names) and not seen and all(o.matches(n, zero[n]) for n in names):
            return Fit({}, math.nan)
        for name, slope in seen.items():
            size = float((slope * slope).sum())
            c = float((slope * (o.hand[name] - zero[name])).sum() / size) if math.isfinite(size) else math.nan
            if math.isfinite(c) and o.matches(name, zero[name] + c * slope):
                made = {n: zero[n] + c * (one[n] - zero[n]) for n in zero}
                count = sum(o.matches(n, made[n]) for n in names)
                if count > most:
                    best, most = Fit(made, c), count
        return best


def _on_tape(here: Here, rule: Any) -> Rule:
    """A rule as the tape's reverse pass takes it."""

    def run(_: Tape, g: Any) -> Any:
        made = rule(here, g)
        return [(here.node(n), sent) for n, sent in made.items()] if isinstance(made, dict) else made

    return run


def _sum(a: Any, b: Any) -> Any:
    """The sum of two gradients; of an operation with several results, of each."""
    if isinstance(a, list):
        return [q if p is None else p if q is None else p + q for p, q in zip(a, b, strict=True)]
    return a + b


def _minus(a: Any) -> Any:
    return [None if p is None else -p for p in a] if isinstance(a, list) else -a


def _nonzero(a: Any) -> bool:
    return any(map(_nonzero, a)) if isinstance(a, list) else a is not None and bool(a.any())
