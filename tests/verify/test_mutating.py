"""Mutants are what they are said to be, and their figures follow from what a report says of them."""

import gc
import inspect
import linecache
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest

import scratch
from tests.verify import course_mutants, figures, mutants, mutating, people
from tests.verify.figures import Mutant, Owner, judge
from tests.verify.mutating import Source, compiled
from torch_impl.verify.listing import Line, Listing, Repair
from torch_impl.verify.report import Report, Section, TensorCheck, finding


def backward(dout, cache):
    x, w = cache
    dw = x.T @ (
        2 * dout  # twice
    )
    db = np.zeros_like(dout)
    db += dout
    for i in range(3):
        db = db * (1 - i)
    return dout @ w.T, dw, db


def of(function, changes, said):
    source = Source(function)
    return next(source.mutation(each) for each in source.every_change(changes, ()) if each[1][1] == said)


@pytest.mark.parametrize(
    ("said", "line", "lines"),
    [
        ("x → w", "dw = w.T @ (2 * dout)", {3, 4, 5}),
        ("2 → -2", "dw = x.T @ (-2 * dout)", {3, 4, 5}),
        ("operands of − swapped", "db = db * (i - 1)", {9}),
        ("left term dropped", "db = db * i", {9}),
        ("loop reversed", "for i in reversed(range(3)):", {8}),
        ("values 1 and 2 exchanged", "return (dout @ w.T, db, dw)", {10}),
        ("+= → =", "db = dout", {7}),
        ("left out", "for i in range(3):", {6, 7, 8}),  # the lines beside the gap, and the next that reads db
    ],
)
def test_a_mutant_is_the_users_text_with_one_statement_changed(said, line, lines):
    source = Source(backward)
    wanted = [each for each in source.every_change(people.more_changes, ()) if each[1][1] == said]
    made = next(m for m in map(source.mutation, wanted) if m.line == line)
    before, after = inspect.getsource(backward).splitlines(), made.text.splitlines()
    same_start = [a == b for a, b in zip(before, after, strict=False)].index(False)
    same_end = [a == b for a, b in zip(before[::-1], after[::-1], strict=False)].index(False)
    assert same_start + 1 >= min(made.lines)
    assert len(after) - same_end <= max(made.lines)
    assert set(made.lines) >= lines
    assert len(made.lines) <= len(lines) + 1


def pooled(dout, cache):
    dx = np.zeros_like(cache)
    first = 1
    for i in range(first, len(dout)):
        start = 2 * i
        dx[start] += dout[i]
        start += 1
    return dx


def test_where_a_statement_is_missing_what_it_wrote_into_was_last_written_or_is_next_read():
    source = Source(pooled)
    made = map(source.mutation, source.every_change(people.more_changes, ()))
    (lines,) = [set(m.lines) for m in made if m.said == "left out" and "dx[start]" not in m.text]
    assert lines == {2, 5, 6, 7}  # dx =, the lines beside the gap, and return dx


def test_a_power_of_a_negative_number_has_parentheses():
    def square(x):
        return x * 2**2

    made = of(square, mutating.changes, "2 → -2")
    assert "(-2)**2" in made.text


def test_a_mutant_has_a_source_while_it_is_used_and_leaves_nothing_behind():
    mutant = next(m for m in mutants.mutants() if m.name.startswith("ReLU | right factor"))
    before = scratch.ReLU.__subclasses__()
    with compiled(mutant.mutation.text, mutant.mutation.function) as function:
        assert inspect.getsource(function).rstrip().endswith("return dy  # y′ = [x > 0]")
        assert function.__globals__ is scratch.ReLU.backward.__globals__
        assert "__future__" in linecache.getlines(function.__code__.co_filename)[0]
    assert judge(mutant).status == "found"
    gc.collect()
    assert scratch.ReLU.__subclasses__() == before
    assert [file for file in linecache.cache if "backward_" in file] == []


# --- figures of a verifier that is played -----------------------------------------------------------------------------


def cube_backward(x):
    square = x * x
    return 3 * square


def played(repaired="", first_wrong=0, found=True):
    """A verifier that offers a text and says that a line is wrong, for an owner whose function is the one above."""

    def report(function):
        file, text = function.__code__.co_filename, inspect.getsource(function)
        repair = Repair(file, 3, "3 for 4", text, repaired) if repaired and text != repaired else None
        listing = Listing(file, "cube_backward", (Line(first_wrong, "", "wrong"),) if first_wrong else ())
        check = TensorCheck("dx", "right")
        findings = (replace(finding("unknown", ["dx"], "cube"), repair=repair),) if found else ()
        return Report("cube", (Section("cube", (check,), (listing,)),), findings if text != repaired else ())

    def outcome(function):
        return [], [function(np.arange(4.0))]

    def fresh(function):
        return [function(np.linspace(-1, 1, n)) for n in range(2, 8)]

    def using(function):
        return nullcontext(function)

    owner = Owner("cube", cube_backward, using, report, outcome, fresh)
    source = Source(cube_backward)
    return [Mutant(owner, source.mutation(each)) for each in source.every_change(mutating.changes, ())]


RIGHT = inspect.getsource(cube_backward)


def wrong_three(**said):
    return judge(next(m for m in played(**said) if m.mutation.said == "3 → 4"))


def test_a_repair_to_what_was_there_is_blamed_and_equal():
    result = wrong_three(repaired=RIGHT)
    assert (result.status, result.blamed, result.repaired, result.equal, result.right) == ("found", *[True] * 4)
    assert not result.is_bad


def test_a_repair_that_the_verifier_takes_and_that_computes_something_else_is_right_and_not_equal():
    result = wrong_three(repaired=RIGHT.replace("3 * square", "3 * square + (x > 0.99) * (x < 1.01) * 1e-9"))
    assert (result.repaired, result.right, result.equal) == (True, True, False)


def test_a_repair_that_the_verifier_finds_wrong_is_bad():
    (mutant,) = [m for m in played(repaired=RIGHT.replace("3", "5")) if m.mutation.said == "3 → 4"]
    mutant.owner.report = lambda function, report=mutant.owner.report: replace(
        report(function), findings=report(function).findings or (finding("unknown", ["dx"], "cube"),)
    )
    result = judge(mutant)
    assert (result.repaired, result.right, result.is_bad) == (True, False, True)


@pytest.mark.parametrize(("line", "blamed"), [(3, True), (2, False), (0, False)])
def test_where_nothing_is_mended_the_first_wrong_line_is_blamed(line, blamed):
    result = wrong_three(first_wrong=line)
    assert (result.blamed, result.repaired) == (blamed, False)


def test_what_is_not_found_is_missed():
    assert wrong_three(found=False).status == "MISSED"


def test_a_verifier_that_raises_is_bad_and_says_where():
    (mutant,) = [m for m in played() if m.mutation.said == "3 → 4"]
    mutant.owner.report = lambda function: [][0]
    result = judge(mutant)
    assert (result.status, result.is_bad) == ("CRASH", True)
    assert result.said.startswith("IndexError: list index out of range (test_mutating.py, line")


def test_what_is_right_and_found_is_a_false_alarm_and_to_mend_it_is_bad():
    (mutant,) = [m for m in played(repaired=RIGHT) if m.mutation.said == "3 → 4"]
    same = replace(mutant, mutation=replace(mutant.mutation, text=RIGHT.replace("3 *", "1.5 * 2 *")))
    result = judge(same)
    assert (result.status, result.repaired, result.is_bad) == ("FALSE ALARM", True, True)


def test_two_processes_say_what_one_says():
    made = played(repaired=RIGHT)
    one, two = ([replace(r, seconds=0.0, said="") for r in figures.judge_all(made, 0, jobs)] for jobs in (1, 2))
    assert one == two
    assert sum(r.status == "found" for r in one) > 5


def test_every_course_has_probes_of_other_sizes_and_its_own_right_numbers():
    for course in course_mutants.COURSES[::9]:
        probes = course_mutants.probes(course)
        assert len({str({name: v.shape for name, v in inputs.items()}) for inputs, _ in probes}) >= 2, course.name


def test_a_draw_of_course_mutants_is_found():
    owners = [*course_mutants.owners()][::25]
    drawn = [m for owner in owners for m, status in course_mutants.drawn(owner, 2, seed=1) if status == "wrong"]
    assert len(drawn) >= 8
    assert [r.name for r in map(judge, drawn) if r.is_bad] == []
