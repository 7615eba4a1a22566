"""The course-style functions with one thing changed as people change it: found, blamed, mended?

    python -m tests.verify.course_mutants [--count N] [--seed N] [--seconds S] [--one-in N] [--jobs K] [--list] [WORD …]

changes one thing at random in the backward of each course of ``tests/verify/courses``, or in what that backward alone
calls. A kind of change is drawn first and then a change of that kind, so that rare kinds are there too, until a
function has as many wrong mutants as ``--count`` says. Mutants that compute the same gradients are set aside; those
that raise are counted apart.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter, defaultdict
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
from rich.console import Console

from tests.verify import figures
from tests.verify.courses import COURSES
from tests.verify.courses.test_courses import gradients, outputs, takes_upstream
from tests.verify.figures import Mutant, Owner, Result
from tests.verify.mutating import Source
from tests.verify.people import more_changes
from torch_impl.verify import verify_function

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator, Sequence

    from tests.verify.courses import Course
    from torch_impl.verify import Report

UNNAMED = ("self", "cache", "np")
STEP = 1e-6  # of the central difference that a probe is judged by
RIGHT = 1e-4  # relative: what that may be apart


# --- the courses ------------------------------------------------------------------------------------------------------


def owners() -> Iterator[Owner]:
    """The functions of each course that its gradients come from."""
    for course in COURSES:
        for function in (course.backward or course.forward, *course.helpers):
            name = course.name if function not in course.helpers else f"{course.name}: {function.__name__}"
            using = partial(_with, course, function)
            yield Owner(name, function, using, verify, partial(_outcome, course), partial(_fresh, course))


@contextmanager
def _with(course: Course, original: Any, function: Any) -> Iterator[Course]:
    """The course with another function, which has the place of the original in its module too."""
    changed = {field: function for field in ("forward", "backward") if getattr(course, field) is original}
    with mock.patch.dict(original.__globals__, {original.__name__: function}):
        yield replace(course, **changed)


def verify(course: Course) -> Report:
    """What the verifier says of a course; what has no gradient is named."""
    wrt, inputs = _wrt(course), course.inputs()
    targets = tuple(name for name, value in inputs.items() if value.dtype.kind == "f" and name not in wrt)
    return verify_function(course.forward, course.backward, inputs, targets=targets)


def _wrt(course: Course) -> list[str]:
    return list(course.wrt.values() if isinstance(course.wrt, dict) else course.wrt)


def _outcome(original: Course, course: Course) -> tuple[list[Any], list[Any]]:
    """The values and the gradients with the inputs as given and with others, away from kinks."""
    values, found, order = [], [], []
    for inputs, upstream in probes(original)[:-1]:
        if course.backward is None:
            values += outputs(course, _copied(inputs))
        mine = [*_gradients(course, inputs, upstream).values()]
        if any(g is None for g in mine):
            raise TypeError("None is a gradient for nobody: the verifier says so in a note")
        order = order or sorted(range(len(mine)), key=lambda i: np.shape(mine[i]))  # what shapes tell apart, it takes
        found += [mine[i] for i in order]
    return values, found


def _fresh(original: Course, course: Course) -> list[Any]:
    return [g for probe in probes(original) for g in _gradients(course, *probe).values()]


def _gradients(course: Course, inputs: dict[str, Any], upstream: list[Any]) -> dict[str, Any]:
    return gradients(course, _copied(inputs), [np.copy(g) for g in upstream])


def _copied(inputs: dict[str, Any]) -> dict[str, Any]:
    return {name: value.copy() for name, value in inputs.items()}


_PROBES: dict[str, list[Any]] = {}


def probes(course: Course) -> list[tuple[dict[str, Any], list[Any]]]:
    """Inputs and upstream gradients: as given, other values, every size larger by itself; the last is at kinks.

    All but the last are such that a central difference agrees with the course.
    """
    if course.name not in _PROBES:
        rng, given = np.random.default_rng(0), course.inputs()
        lengths = sorted({n for value in given.values() for n in value.shape if n > 1})
        tried = [given, *(_others(given, {}, rng) for _ in range(4))]
        for n in lengths:
            alone, multiples = {n: n + 1}, {n * k: (n + 1) * k for k in (1, 2, 3, 4, 6)}
            both = (_others(given, sizes, rng) for sizes in (alone, multiples))
            tried.append(next((inputs for inputs in both if _probe(course, inputs, rng) is not None), given))
        kinks = {n: np.round(2 * v) / 2 if _is_free(v) else v for n, v in _others(given, {}, rng).items()}
        found = [probe for probe in (_probe(course, inputs, rng) for inputs in tried) if probe is not None]
        assert len(found) >= 5, course.name
        _PROBES[course.name] = [*found, (kinks, _upstream(course, kinks, rng))]
    return _PROBES[course.name]


def _others(given: dict[str, Any], sizes: dict[int, int], rng: Any) -> dict[str, Any]:
    """Inputs of the same kinds: drawn anew, or the same values in another order; axes of some lengths have others."""
    found = {}
    for name, value in given.items():
        shape = tuple(sizes.get(n, n) for n in value.shape)
        if _is_free(value):
            found[name] = rng.standard_normal(shape) * max(float(value.std()), 0.5)
        elif value.dtype.kind == "f" and not np.isin(value, (0, 1)).all():
            scaled = np.resize(value, shape) * np.exp(0.2 * rng.standard_normal(shape))
            rows_sum = value.ndim > 1 and np.allclose(value.sum(axis=-1), 1)
            found[name] = scaled / scaled.sum(axis=-1, keepdims=True) if rows_sum else scaled
        else:
            found[name] = rng.permutation(np.resize(value, shape)) if value.ndim else value.copy()
    return found


def _is_free(value: Any) -> bool:
    """Whether it is an array of numbers of both signs."""
    return bool(value.dtype.kind == "f" and value.min() < 0 < value.max())


def _probe(course: Course, inputs: dict[str, Any], rng: Any) -> tuple[dict[str, Any], list[Any]] | None:
    """The inputs with upstream gradients; None if the course raises with them, or a central difference is another."""
    with np.errstate(all="ignore"), suppress(ValueError, IndexError, ZeroDivisionError):
        upstream = _upstream(course, inputs, rng)
        found = _gradients(course, inputs, upstream)
        ways = {name: rng.standard_normal(inputs[name].shape) for name in found}
        sides = []
        for step in (STEP, -STEP):
            moved = inputs | {name: inputs[name] + step * way for name, way in ways.items()}
            sides.append(sum(np.sum(g * y) for g, y in zip(upstream, outputs(course, _copied(moved)), strict=True)))
        parts = [np.sum(found[name] * way) for name, way in ways.items()]
        if abs((sides[0] - sides[1]) / (2 * STEP) - sum(parts)) <= RIGHT * (1 + sum(map(abs, parts))):
            return inputs, upstream
    return None


def _upstream(course: Course, inputs: dict[str, Any], rng: Any) -> list[Any]:
    if not takes_upstream(course, inputs):
        return [1.0]
    return [rng.standard_normal(np.shape(value)) for value in outputs(course, _copied(inputs))]


# --- the draw ---------------------------------------------------------------------------------------------------------


def drawn(owner: Owner, count: int, seed: int) -> Iterator[tuple[Mutant, str]]:
    """Mutants and what they are, "wrong", "equivalent", "raises" or "another forward", until ``count`` are wrong."""
    rng, by_kind, source = random.Random(f"{seed} {owner.name}"), defaultdict(list), Source(owner.function)
    for node, change in source.every_change(more_changes, UNNAMED):
        by_kind[change[0]].append((node, change))
    texts = {source.text.strip()}
    while by_kind and count:
        kind = rng.choice(sorted(by_kind))
        mutation = source.mutation(by_kind[kind].pop(rng.randrange(len(by_kind[kind]))))
        if not by_kind[kind]:
            del by_kind[kind]
        if mutation.text.strip() in texts:  # there are two ways to some
            continue
        texts.add(mutation.text.strip())
        mutant = Mutant(owner, mutation)
        status = figures.tried(mutant)
        count -= status == "wrong"
        yield mutant, status


def of_owner(options: Namespace, number: int, owner: Owner) -> list[Result]:
    """What the verifier says of one owner's mutants, of all owners' every ``--one-in``-th; none of a wrong course."""
    wanted = [i for i in range(options.count) if (number * options.count + i) % options.one_in == 0]
    if not wanted:
        return []
    with owner.running(owner.function) as course, figures.limited(0):
        if not owner.report(course).ok:
            return [Result(owner.name, owner.name, "", "wrong by itself")]
    results: list[Result] = []
    n_wrong = 0
    for mutant, status in drawn(owner, wanted[-1] + 1, options.seed):
        if status != "wrong":
            results.append(Result(mutant.name, owner.name, mutant.mutation.kind, status))
        elif n_wrong in wanted:
            results.append(figures.judge(mutant, options.seconds))
        n_wrong += status == "wrong"
    return results


def main(arguments: Sequence[str]) -> int:
    """Print each owner's figures as they come, then tables; 1 if anything is as it must not be."""
    parser = figures.parser(__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=5, metavar="N", help="wrong mutants of each function")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the draw")
    options = parser.parse_args(arguments)
    start, console = time.perf_counter(), Console(width=110, highlight=False)
    _CHOSEN[:] = [o for o in owners() if not options.words or any(word in o.name for word in options.words)]
    results: list[Result] = []
    every = figures.in_order(partial(_of_chosen, options), len(_CHOSEN), options.jobs)
    for owner, found in zip(_CHOSEN, every, strict=True):
        mine = [r for r in found if r.status in ("found", "MISSED", "CRASH")]
        blamed, repaired = (sum(getattr(r, said) for r in mine) for said in ("blamed", "repaired"))
        seconds = " ".join(f"{r.seconds:.1f}" for r in mine)
        said = f"{len(mine)} wrong, {blamed} blamed, {repaired} repaired; {seconds} s"
        console.print(f"{owner.name}: {said}", soft_wrap=True, markup=False)
        figures.print_lists(console, found, options.list)
        results += found
    for column in ("kind", "owner"):
        console.print(figures.table_by(column, results))
    wrong = [r.name for r in results if r.status == "wrong by itself"]
    for name in wrong:
        console.print(f"not right before it is changed, and left out: {name}", soft_wrap=True, markup=False)
    counts = Counter(r.status for r in results)
    console.print(
        f"{sum(bool(r.seconds) for r in results)} wrong mutants of {len({r.owner for r in results})} functions, "
        f"{counts['equivalent']} equivalent, {counts['raises']} that raise, in {time.perf_counter() - start:.0f} s"
    )
    return 1 if wrong or any(r.is_bad for r in results) else 0


_CHOSEN: list[Owner] = []  # what forked processes are told is an index


def _of_chosen(options: Namespace, i: int) -> list[Result]:
    return of_owner(options, i, _CHOSEN[i])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
