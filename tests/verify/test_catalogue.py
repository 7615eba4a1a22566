"""Known faults are found and named, unknown ones found and not misnamed; the scripts beside print whole tables."""

import functools
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.verify import mutants
from tests.verify.planted_gradients import Ascent, check_net, check_rnn
from tests.verify.planted_places import check_recurrent
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
    assert [(r.name, r.said) for r in results if r.is_bad] == []
    assert [(r.name, r.mistakes) for r in found if mutants.has_wrong_name(r)] == []
    assert len([r for r in found if set(r.mistakes) == {"unknown"}]) >= 20


def test_the_judged_names_are_those_of_mutants():
    names = {m.name for m in every_mutant()}
    assert set(mutants.NAMED) <= names
    assert set(mutants.NAMED.values()) <= set(CATALOGUE)


def test_contributings_example_is_the_code_of_the_catalogue():
    root = Path(__file__).parents[2]
    section = (root / "CONTRIBUTING.md").read_text().split("## Add a mistake")[1].split("\n## ")[0]
    code = re.findall(r"^ *```python\n(.*?)^ *```", section, re.DOTALL | re.MULTILINE)
    assert code[0] in (root / "torch_impl" / "verify" / "mistakes" / "indices.py").read_text()


def test_what_a_record_says_is_part_of_a_sentence_and_its_fix_is_one():
    for row in CATALOGUE.values():
        assert row.what[0].islower() or row.what[0] in "γεf", row.what
        assert not row.what.endswith("."), row.what
        assert row.fix[0].isupper() or row.fix[0] in "pw", row.fix


def test_ascent_is_a_fault_of_the_update():
    (finding,) = check_net(Ascent(5, 9, 3), lr=0.1).findings
    assert finding.where == "Ascent, the update"
    assert finding.tensors == ("db.1", "dW.1", "db.0", "dW.0")


@pytest.mark.parametrize("steps", [4, 80])
def test_one_fault_in_every_step_of_a_loop_is_one_finding(steps):
    words = np.arange(7 * steps).reshape(7, steps) % 6
    (finding,) = check_recurrent(words, 0.3, dz=lambda dh, h: dh).findings
    assert finding.mistake == "activation-derivative-missing"
    assert finding.where.endswith("(wherever it runs)")
    assert finding.tensors == ("dWh", "dE")


def test_one_fault_without_a_name_is_one_finding_that_lists_its_tensors():
    (finding,) = check_rnn(lambda dh, h: dh * (1 - h**4)).findings
    assert finding.mistake == "unknown"
    assert finding.tensors == ("db", "dWh", "dWx", "dx")
