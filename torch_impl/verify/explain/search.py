"""Why a gradient is wrong: mistakes are put into the reverse pass of the tape until its numbers are the user's.

A hypothesis is accepted only if it reproduces the user's numbers to rounding with every probe: other batch sizes and
widths, saturated inputs, one row. Several faults are found one after another, each on the tape that holds those before.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from torch_impl.verify.explain.trial import Trial
from torch_impl.verify.explain.words import from_numbers, known, unknown
from torch_impl.verify.mistakes.catalogue import CATALOGUE, EVERYWHERE, LATE, Hypothesis, Named, Rule, hypotheses
from torch_impl.verify.mistakes.factors import name_factor
from torch_impl.verify.mistakes.sites import Sites
from torch_impl.verify.observe.observation import Observation
from torch_impl.verify.report import Finding
from torch_impl.verify.tensor import ratios
from torch_impl.verify.trace.tape import Node, Tape, reshapes
from torch_impl.verify.units.unit import Unit

MOST_STARTS = 5  # explanations of the first wrong tensor that are followed up, where the best ends in an unknown fault


def explain(unit: Unit, observations: list[Observation], wrong: list[str]) -> list[Finding]:
    """Findings for the tensors in ``wrong``, in backward order."""
    first = observations[0]
    present = [o for o in observations if all(name in o.hand for name in wrong)] or [first]
    # A gradient that is zero everywhere fits by accident where the right one sums to zero: it was forgotten.
    zero = [n for n in wrong if all(not np.any(o.hand[n]) for o in present if n in o.hand)]
    todo = [n for n in wrong if n not in zero]
    found: list[Finding] = []
    if first.tape is None:
        by_name = {name: from_numbers(unit, present, name) for name in todo}
        found = [f for f in by_name.values() if f is not None]
        todo = [name for name, f in by_name.items() if f is None]
    elif todo:
        search = Search(unit, present)
        links, todo = search.follow([], backward_order(first.tape, todo), MOST_STARTS)
        links, zero = search.with_zeros(links, backward_order(first.tape, zero))
        found = [f for link in links for f in search.findings(link)]
    twice = CATALOGUE["batch-mean-twice"]
    if any(f.mistake == twice.name for f in found):
        # A bias that is averaged beside weights that are averaged: one habit, not two mistakes.
        said = {"mistake": twice.name, "explanation": f"In {unit.name}: {twice.what}.", "fix": twice.fix}
        found = [replace(f, **said) if "averaged" in f.formula else f for f in found]  # type: ignore[arg-type]
    return found + unknown(unit, present, [*todo, *zero], together=not found)


def backward_order(tape: Tape, names: Iterable[str]) -> list[str]:
    """The inputs in the order in which a backward pass reaches them."""

    def first_use(node: Node) -> int:
        users = [first_use(u) if reshapes(u) else tape.index[u] for u in tape.users(node)]
        return max(users, default=-1)

    return sorted(names, key=lambda name: -first_use(tape.leaves[name]))


@dataclass(frozen=True, eq=False)
class Link:
    """An accepted hypothesis: what it is called, the tensors it explains, those it changes besides, the residual."""

    hypothesis: Hypothesis
    named: Named
    numbers: dict[str, float]  # the fitted number, by probe
    explained: tuple[str, ...]
    left: int
    residual: float


class Search:
    """The hypotheses of one unit, and which of them explain what is wrong."""

    def __init__(self, unit: Unit, observations: list[Observation]) -> None:
        tape = observations[0].tape
        assert tape is not None
        # A graph that unrolls loops has other nodes at other sizes: those probes can't vouch for a place in it.
        structure = [str(n.target) for n in tape.nodes]
        alike = [o for o in observations if o.tape is not None and [str(n.target) for n in o.tape.nodes] == structure]
        self.unit, self.tape, self.observations = unit, tape, alike
        self.sites = Sites(unit, tape, observations[0].sizes)

    @cached_property
    def waves(self) -> list[list[Hypothesis]]:
        """What is tried at first; what is tried where that does not explain the first wrong tensor."""
        every = list(hypotheses(self.sites))
        first = self._by_line([h for h in every if h.rank < LATE])
        return [first, self._by_line([h for h in every if h.rank >= LATE]), list(self._pairs(first))]

    def _by_line(self, found: list[Hypothesis]) -> list[Hypothesis]:
        """Also the same mistake wherever one line runs: in every step of a loop, in every call of a function."""
        groups: dict[Any, list[Hypothesis]] = {}
        for h in found:
            alone = h.name_of is not None or not h.rules or not h.place or h.place.endswith(EVERYWHERE)
            key = h if alone else (h.mistake, h.formula, h.place)
            groups.setdefault(key, []).append(h)
        kept: list[Hypothesis] = []
        for members in groups.values():
            kept += members if len(members) == 1 or not self.sites.long else []
            rules = {node: rule for h in members for node, rule in h.rules.items()}
            if len(members) > 1 and len(rules) == sum(len(h.rules) for h in members):
                kept.append(replace(members[0], rules=rules, place=members[0].place + EVERYWHERE))
        return kept

    def _pairs(self, found: list[Hypothesis]) -> Iterator[Hypothesis]:
        """A mistake right before the loss, together with a factor of what arrives there."""
        for h in found:
            (node, *more) = h.rules or (None,)
            if node is None or more or h.name_of or h.targets or node in self.sites.leaves.values():
                continue
            if self.sites.feeds(node):
                scaled = {node: _times_c_and(h.rules[node])}
                yield replace(h, rules=scaled, rank=LATE, name_of=name_factor, with_it=(h.mistake, h.formula))

    def follow(self, chain: list[Link], todo: list[str], starts: int = 1) -> tuple[list[Link], list[str]]:
        """The chain with the hypotheses that explain most of ``todo`` beside it, and what they leave unexplained.

        One after another, each time the best; where that comes to an end too soon, with another of the first ones.
        """
        best = chain, todo
        for link in self._links(chain, todo)[:starts] if todo else []:
            found = self.follow([*chain, link], [n for n in todo if n not in link.explained])
            best = min(best, found, key=lambda each: len(each[1]))
            if not best[1]:
                break
        return best

    def with_zeros(self, links: list[Link], zero: list[str]) -> tuple[list[Link], list[str]]:
        """The links, the first one with what they make zero everywhere, and what of ``zero`` they do not."""
        known = [(link.hypothesis, link.numbers) for link in links]
        trials = [Trial(o, self.tape.index, known) for o in self.observations] if links and zero else []
        made = [n for n in zero if trials and all(trial.observation.matches(n, trial.gradients[n]) for trial in trials)]
        if made:
            links = [replace(links[0], explained=(*links[0].explained, *made)), *links[1:]]
        return links, [n for n in zero if n not in made]

    def _links(self, chain: list[Link], todo: list[str]) -> list[Link]:
        """The hypotheses that explain something of ``todo`` beside those of the chain, the best first; equals are ties.

        What makes the first wrong tensor so is where the fault began. Of its explanations the one that explains most;
        then the one that leaves fewest tensors changed but unexplained; the more specific; the one nearest the loss.
        """
        first = self.observations[0]
        right = [n for n in first.auto if n in first.hand and n not in todo]
        applied = [(link.hypothesis, link.numbers) for link in chain]
        trials = [Trial(o, self.tape.index, applied) for o in self.observations]

        def key(link: Link) -> tuple[int, ...]:
            h = link.hypothesis
            at = max(self.tape.index[n] for n in (*h.rules, *h.targets))
            return min(map(todo.index, link.explained)), -len(link.explained), link.left, h.rank, -at

        found: list[Link] = []
        for wave in self.waves:
            tried = (_tried(hypothesis, trials, todo, right) for hypothesis in wave)
            found += [link for link in tried if link is not None]
            if any(todo[0] in link.explained for link in found):
                break
        best: dict[Any, Link] = {}
        for link in sorted(found, key=key):
            kind = link.explained, link.left, link.hypothesis.rank
            alike = [s.named[0] for s in found if (s.explained, s.left, s.hypothesis.rank) == kind]
            ties = [name for name in dict.fromkeys([*link.named[2:], *alike]) if name != link.named[0]]
            best.setdefault(kind, replace(link, named=(*link.named[:2], *ties)))
        return list(best.values())

    def findings(self, link: Link) -> list[Finding]:
        """A finding for a link; two for two mistakes that come together."""
        h, o, n = link.hypothesis, self.observations[0], len(self.observations)
        name = link.explained[0]
        evidence = (
            f"reproduces the numbers to {link.residual:.0e} with {n} probe{'s' * (n != 1)}; "
            f"{ratios(o.hand[name], o.auto[name])}"
        )
        both = [h.with_it, link.named] if h.with_it else [link.named]
        return [known(self.unit, named, link.explained, link.residual, h.place, evidence) for named in both]


def _tried(hypothesis: Hypothesis, trials: list[Trial], todo: list[str], right: list[str]) -> Link | None:
    """The link, if the hypothesis explains something of ``todo`` with every probe, and changes nothing right."""
    explained, residual, numbers, vouched = todo, 0.0, {}, []
    before = after = trials[0].gradients
    try:
        for trial in trials:  # the first one dismisses most
            o = trial.observation
            explained, gradients, c = trial.explains(hypothesis, explained, right)
            if not explained:
                return None
            if gradients is None:
                continue  # this probe can't vouch for it
            numbers[o.probe] = c
            vouched.append(any(not o.matches(n, o.auto[n]) for n in explained))
            residual = max([residual, *(o.residual(n, gradients[n]) / o.scale(n) for n in explained)])
            after = gradients if trial is trials[0] else after
    except (RuntimeError, KeyError, IndexError, StopIteration):  # it makes no sense at these shapes
        return None
    if not any(vouched):  # by a probe in which the user's gradient is wrong
        return None
    seen = [trial.observation for trial in trials if trial.observation.probe in numbers]
    named: Named | None = (hypothesis.mistake, hypothesis.formula)
    if hypothesis.name_of is not None:
        named = hypothesis.name_of([*numbers.values()], seen)
    if named is None:
        return None
    numbers = {trial.observation.probe: next(iter(numbers.values())) for trial in trials} | numbers
    o = trials[0].observation
    left = [n for n in todo if n not in explained and n in after and np.shape(after[n]) == np.shape(before[n])]
    left = [n for n in left if not o.matches_each(n, after[n], before[n])]
    return Link(hypothesis, named, numbers, tuple(n for n in todo if n in explained), len(left), residual)


def _times_c_and(rule: Rule) -> Rule:
    return lambda here, g: rule(here, g * here.c)
