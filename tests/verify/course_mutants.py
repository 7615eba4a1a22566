"""The course-style functions with one thing changed as people change it: found, blamed, mended?

    python -m tests.verify.course_mutants [--count N] [--seed N] [--seconds S] [--one-in N] [--jobs K] [--list] [WORD …]

changes one thing at random in the backward of each course of ``tests/verify/courses``, or in what that backward alone
calls. A kind of change is drawn first and then a change of that kind, so that rare kinds are there too, until a
function has as many wrong mutants as ``--count`` says. Mutants that compute the same gradients are set aside; those
that raise are counted apart.
"""

from __future__ import annotations

import ast
import random
import sys
import time
from collections import defaultdict
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
from rich.console import Console

from tests.verify import figures
from tests.verify.courses import COURSES
from tests.verify.courses.test_courses import gradients, outputs, takes_upstream
from tests.verify.figures import Mutant, Owner, Result
from tests.verify.mutating import Source, changes, number
from torch_impl.verify import verify_function

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.verify.courses import Course
    from tests.verify.mutating import Change
    from torch_impl.verify import Report

UNNAMED = ("self", "cache", "np")
STEP = 1e-6  # of the central difference that a probe is judged by
RIGHT = 1e-4  # relative: what that may be apart


# --- what people change -----------------------------------------------------------------------------------------------


def more_changes(node: ast.AST, names: set[str]) -> Iterator[Change]:
    """Every way to change one node: those of the mutants of scratch, and those that people's code asks for."""
    if isinstance(node, ast.keyword):
        return
    yield from changes(node, names)
    if isinstance(node, ast.Call):
        yield from _of_call(node)
    elif isinstance(node, ast.Subscript):
        yield from _of_index(node)
    elif isinstance(node, ast.stmt):
        yield from _of_statement(node, names)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield "sign", "minus dropped", node.operand
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
        yield "term dropped", "right term dropped", node.left
        yield "term dropped", "left term dropped", node.right
    elif isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Lt | ast.LtE | ast.GtE | ast.Eq):
        other = {ast.Lt: ast.Gt, ast.LtE: ast.Gt, ast.GtE: ast.Lt, ast.Eq: ast.NotEq}[type(node.ops[0])]()
        yield "comparison", "turned round", ast.Compare(node.left, [other, *node.ops[1:]], node.comparators)


def _of_call(node: ast.Call) -> Iterator[Change]:
    """Another axis, no keepdims, mean for sum, the factors of a product exchanged."""
    function = ast.unparse(node.func)
    for i, keyword in enumerate(node.keywords):
        others = [*node.keywords[:i], *node.keywords[i + 1 :]]
        if keyword.arg == "keepdims":
            yield "keepdims", "keepdims dropped", ast.Call(node.func, node.args, others)
        if keyword.arg == "axis":
            yield "axis", "axis dropped", ast.Call(node.func, node.args, others)
            for said, axis in _other_axes(keyword.value):
                yield "axis", said, ast.Call(node.func, node.args, [*others, ast.keyword("axis", axis)])
    summed = {"sum": "mean", "mean": "sum"}.get(getattr(node.func, "attr", ""))
    if summed is not None:
        assert isinstance(node.func, ast.Attribute)
        first = int(function.startswith("np."))
        for said, axis in _other_axes(node.args[first]) if len(node.args) == first + 1 else ():
            yield "axis", said, ast.Call(node.func, [*node.args[:first], axis], node.keywords)
        instead = ast.Attribute(node.func.value, summed, ast.Load())
        yield "sum or mean", f"{node.func.attr} → {summed}", ast.Call(instead, node.args, node.keywords)
    if function in ("np.dot", "np.matmul", "np.outer", "np.subtract"):
        yield "operands swapped", "arguments swapped", ast.Call(node.func, node.args[::-1], node.keywords)


def _other_axes(node: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    """Another axis for one; of several, one fewer."""
    said = ast.unparse(node)
    if isinstance(node, ast.Tuple):
        for i in range(len(node.elts)):
            left = [*node.elts[:i], *node.elts[i + 1 :]]
            new = left[0] if len(left) == 1 else ast.Tuple(left, ast.Load())
            yield f"axis {said} → {ast.unparse(new)}", new
        return
    with suppress(ValueError):
        axis = ast.literal_eval(node)
        for other in {0: (1, -1), 1: (0,), -1: (0, 1)}.get(axis, (axis - 1,)):
            yield f"axis {said} → {other}", number(other)


def _of_index(node: ast.Subscript) -> Iterator[Change]:
    """One of the indices off by one."""
    elements = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    for i, element in enumerate(elements):
        for said, new in _off_by_one(element):
            index = ast.Tuple([*elements[:i], new, *elements[i + 1 :]], ast.Load()) if len(elements) > 1 else new
            yield "index", said, ast.Subscript(node.value, index, node.ctx)


def _off_by_one(node: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(node, ast.Slice):
        for bound in ("lower", "upper"):
            value = getattr(node, bound)
            for said, new in _off_by_one(value) if value is not None else ():
                yield said, ast.Slice(**{"lower": node.lower, "upper": node.upper, "step": node.step, bound: new})
    elif isinstance(node, ast.Constant) and type(node.value) is int:
        for value in (node.value + 1, node.value - 1):
            yield f"index {node.value} → {value}", number(value)
    elif isinstance(node, ast.Name | ast.BinOp):
        for op, sign in ((ast.Add(), "+"), (ast.Sub(), "-")):
            yield f"index {ast.unparse(node)} {sign} 1", ast.BinOp(node, op, ast.Constant(1))


def _of_statement(node: ast.stmt, names: set[str]) -> Iterator[Change]:
    """``+=`` for ``=`` and the reverse, what is returned exchanged, a loop from its other end, a statement left out."""
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        target = node.targets[0]
        if isinstance(target, ast.Subscript | ast.Attribute | ast.Name):
            yield "= and +=", "= → +=", ast.AugAssign(target, ast.Add(), node.value)
        if isinstance(target, ast.Subscript) or ast.unparse(target) in names:
            yield "statement left out", "left out", None
    elif isinstance(node, ast.AugAssign):
        yield "= and +=", "+= → =", ast.Assign([node.target], node.value)
        yield "statement left out", "left out", None
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield "statement left out", "left out", None
    elif isinstance(node, ast.Return):
        yield from _returned(node)
    elif isinstance(node, ast.For):
        called = ast.unparse(node.iter.func) if isinstance(node.iter, ast.Call) else ""
        inner = node.iter if called == "range" else ast.Call(ast.Name("list", ast.Load()), [node.iter], [])
        backwards = ast.Call(ast.Name("reversed", ast.Load()), [inner], [])
        turned = node.iter.args[0] if isinstance(node.iter, ast.Call) and called == "reversed" else backwards
        yield "loop order", "loop reversed", (node.iter, turned)


def _returned(node: ast.Return) -> Iterator[Change]:
    """Two neighbours among what is returned exchanged."""
    value = node.value
    parts = value.elts if isinstance(value, ast.Tuple) else value.values if isinstance(value, ast.Dict) else []
    for i, j in pairwise(range(len(parts))):
        new = [*parts[:i], parts[j], parts[i], *parts[j + 1 :]]
        whole = ast.Dict(value.keys, new) if isinstance(value, ast.Dict) else ast.Tuple(new, ast.Load())
        yield "values exchanged", f"values {i} and {j} exchanged", ast.Return(whole)


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


def main(arguments: Sequence[str]) -> int:
    """Print the tables; 1 if a mutant is missed, a repair is offered that is none, or a course is wrong by itself."""
    parser = figures.parser(__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=5, metavar="N", help="wrong mutants of each function")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the draw")
    options = parser.parse_args(arguments)
    start, console = time.perf_counter(), Console(width=110, highlight=False)
    chosen = [o for o in owners() if not options.words or any(word in o.name for word in options.words)]
    with figures.limited(0):
        wrong = [name for name in dict.fromkeys(o.name for o in chosen) if not _is_right(chosen, name)]
    draws = [draw for o in chosen if o.name not in wrong for draw in drawn(o, options.count, options.seed)]
    mutants = [mutant for mutant, status in draws if status == "wrong"][:: options.one_in]
    raised = [
        Result(mutant.name, mutant.owner.name, mutant.mutation.kind, status)
        for mutant, status in draws
        if status == "raises"
    ]
    results = [*figures.judge_all(mutants, options.seconds, options.jobs), *raised]
    for column in ("kind", "owner"):
        console.print(figures.table_by(column, results))
    figures.print_lists(console, results, options.list)
    for name in wrong:
        console.print(f"not right before it is changed, and left out: {name}", soft_wrap=True, markup=False)
    equivalent = sum(status == "equivalent" for _, status in draws)
    console.print(
        f"{len(mutants)} wrong mutants of {len({m.owner.name for m in mutants})} functions, "
        f"{equivalent} equivalent, {len(raised)} that raise, in {time.perf_counter() - start:.0f} s"
    )
    return 1 if wrong or any(r.is_bad for r in results) else 0


def _is_right(chosen: list[Owner], name: str) -> bool:
    owner = next(o for o in chosen if o.name == name)
    with owner.running(owner.function) as course:
        return owner.report(course).ok


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
