"""The catalogue: a record for every mistake that the verifier knows by name, and the rules that make them.

A record stands beside its rule in the file of its family; ``@mistake`` puts it into ``CATALOGUE``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from torch_impl.verify.mistakes.hypothesis import Hypotheses
from torch_impl.verify.mistakes.sites import Sites
from torch_impl.verify.trace.tape import line

Kind = Literal["wrong", "convention", "right, but"]
Rule = Callable[[Sites], Hypotheses]


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
    rule: Rule | None = None


CATALOGUE: dict[str, Mistake] = {}


def mistake(name: str, what: str, fix: str, kind: Kind = "wrong") -> Callable[[Rule], Rule]:
    """Put a record into the catalogue; as a decorator, with its rule."""
    CATALOGUE[name] = Mistake(name, what, fix, kind)

    def with_rule(rule: Rule) -> Rule:
        CATALOGUE[name] = replace(CATALOGUE[name], rule=rule)
        return rule

    return with_rule


def hypotheses(sites: Sites) -> Hypotheses:
    """Every mistake at every place that the tape has for it."""
    for row in CATALOGUE.values():
        for made in row.rule(sites) if row.rule is not None else ():
            last = max((*made.rules, *made.targets), key=sites.index.__getitem__)
            yield replace(made, mistake=made.mistake or row.name, place=made.place or line(last))
