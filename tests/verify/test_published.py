"""Code as people publish it: right code is right, and wrong code is found; the scripts beside print whole tables."""

import pytest

from tests.verify import wild
from tests.verify.published import mutants
from tests.verify.published.__main__ import load
from tests.verify.published.cases import CASES
from tests.verify.published.judging import report_of
from torch_impl.verify import CATALOGUE

load()
# What takes long is left to `python -m tests.verify.published`.
SLOW = ("file: ",)
QUICK = [case for case in CASES if not case.name.startswith(SLOW)]
FILES = [case for case in CASES if case.kind == "file"]


@pytest.mark.parametrize("case", [*QUICK[::7], *FILES[::6]], ids=lambda case: f"{case.kind}: {case.name}")
def test_right_code_is_right(case):
    report = report_of(case)
    assert report.ok, str(report)
    assert [f.mistake for f in report.findings if f.verdict == "wrong"] == []


@pytest.mark.parametrize("seed", range(5))
def test_mutants_are_found(seed):
    # A few here, more in `python -m tests.verify.published.mutants`.
    results = list(mutants.mutants(5, seed))
    assert [str(r) for r in results if r.status in ("MISSED", "CRASH")] == []
    assert [r for r in results if r.status == "wrong"] != []


@pytest.mark.parametrize("one", wild.WILD, ids=lambda one: one.where)
def test_a_mistake_of_public_code_is_found(one):
    report = one.run()
    assert report.verdict == "wrong", str(report)
    names = {f.mistake for f in report.findings}
    assert names == {one.mistake} or (one.unnamed and names == {"unknown"}), str(report)


@pytest.mark.parametrize("check", [wild.verify_rnn, wild.verify_lstm, wild.verify_attention])
def test_without_the_mistake_it_is_right(check):
    assert check().verdict == "right"


def test_the_names_of_the_mistakes_are_those_of_the_catalogue():
    assert {one.mistake for one in wild.WILD} <= {*CATALOGUE, "unknown"}
