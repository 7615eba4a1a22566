"""Known faults are found and named, unknown ones found and not misnamed; the scripts beside print whole tables."""

import functools
from collections import Counter

import pytest

from tests.verify import mutants
from tests.verify.plants import PLANTS, Judged
from torch_impl.verify import CATALOGUE

# Two places of each mistake here, all of them in `python -m tests.verify.plants`.
SOME = [p for mistake in CATALOGUE for p in [p for p in PLANTS if p.mistake == mistake][:2]]


def test_every_mistake_is_planted_in_three_places_at_least():
    places = Counter(p.mistake for p in PLANTS)
    assert {mistake for mistake in CATALOGUE if places[mistake] < 3} == set()
    assert set(places) == set(CATALOGUE)


@pytest.mark.parametrize("plant", SOME, ids=lambda p: p.name)
def test_a_planted_mistake_is_found_and_named(plant):
    judged = Judged(plant, plant.run())
    assert judged.found, str(judged.report)
    assert judged.named, str(judged.report)


@functools.cache
def every_mutant():
    return list(mutants.mutants())


@pytest.mark.parametrize("first", range(0, 25, 5))
def test_mutants_are_found_and_none_has_a_wrong_name(first):
    # One in five here, all of them in `python -m tests.verify.mutants`.
    results = [r for r in map(mutants.judge, every_mutant()[first::25]) if r is not None]
    found = [r for r in results if r.status == "found"]
    assert [r.mutant.name for r in results if r.status in ("MISSED", "FALSE ALARM")] == []
    assert [(r.mutant.name, r.mistakes) for r in found if r.wrong_name] == []
    assert len([r for r in found if set(r.mistakes) == {"unknown"}]) >= 20


def test_the_judged_names_are_those_of_mutants():
    names = {m.name for m in every_mutant()}
    assert set(mutants.NAMED) <= names
    assert set(mutants.NAMED.values()) <= set(CATALOGUE)
