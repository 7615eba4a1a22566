"""Faults that nobody chose, in code as people publish it: is the verifier lenient where it guesses what code means?

    python -m tests.verify.published.mutants [--count N] [--seed N] [PART OF A NAME …]

changes one thing at random in what runs in the backward pass of a published case and not in its forward pass, and asks
the verifier. It has to find every mutant whose gradients are others, or to say that it could not check it. What is no
gradient of an input or a weight, as a returned intermediate, may change unseen. Whole files are left out: they hold
the same code as the other cases.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import dataclasses
import gc
import io
import random
import signal
import sys
import time
from functools import cache, wraps
from pathlib import Path
from types import CodeType, FunctionType

import numpy as np
from rich.console import Console
from rich.table import Table

from tests.verify.mutating import changes, places, put
from tests.verify.published import differences
from tests.verify.published.__main__ import load
from tests.verify.published.cases import CASES
from tests.verify.published.judging import report_of
from torch_impl.verify.limits import limited
from torch_impl.verify.units.discovery import object_unit
from torch_impl.verify.units.gradients import is_gradient
from torch_impl.verify.units.models import Model
from torch_impl.verify.units.objects import walk
from torch_impl.verify.units.unit import own

FOLDER = Path(__file__).parent
APART = 1e-6  # relative: what differs by less is the same gradient
LONGEST = 60  # seconds, for a mutant that never ends
PREPARED = {}
# Their conventions are such that differences.py can't call them.
UNCALLED = ("loss: SquareLoss per element", "loss: CrossEntropy per element", "dense: a Function with ctx")
STATUSES = ("equivalent", "wrong", "could not be checked", "MISSED", "CRASH")


@dataclasses.dataclass
class Result:
    """One change in one case, and what the verifier says of it."""

    case: object
    change: str
    line: str
    status: str
    said: str = ""
    differing: tuple = ()

    def __str__(self):
        apart = ", ".join(map(str, self.differing))
        return (
            f"{self.status}: {self.case.kind}: {self.case.name}\n  {self.change} | {self.line}\n  {apart}\n{self.said}"
        )


# --- changing one thing -----------------------------------------------------------------------------------------------


@cache
def parsed(filename):
    """The tree of a file, where each of its nodes stands, and the codes of its functions in their order."""
    tree = ast.parse(Path(filename).read_text())
    return tree, places(tree), codes_in(compile(tree, filename, "exec", dont_inherit=True))


def codes_in(code):
    return [code, *(c for part in code.co_consts if isinstance(part, CodeType) for c in codes_in(part))]


def definition(code):
    """The node of a function's code."""
    for node in ast.walk(parsed(code.co_filename)[0]):
        if isinstance(node, ast.FunctionDef | ast.Lambda) and getattr(node, "name", "<lambda>") == code.co_name:
            first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
            if first == code.co_firstlineno:
                return node
    return None


def more_changes(node, names, keys, attributes):
    """Every way to change one node: those of the mutants of scratch, and those that published code asks for."""
    if isinstance(node, ast.Name) and node.id not in names:
        return
    yield from ((said, new) for _, said, new in changes(node, names))
    if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Lt | ast.LtE | ast.GtE | ast.Eq):
        other = {ast.Lt: ast.Gt, ast.LtE: ast.Gt, ast.GtE: ast.Lt, ast.Eq: ast.NotEq}[type(node.ops[0])]()
        yield "comparison turned round", ast.Compare(node.left, [other, *node.ops[1:]], node.comparators)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield "minus dropped", node.operand
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
        yield "right term dropped", node.left
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield f"{node.value} → {not node.value}", ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in keys:
        for other in sorted(keys - {node.value}):
            yield f"{node.value!r} → {other!r}", ast.Constant(other)
    elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
        if node.attr == "sum":
            yield ".sum → .mean", ast.Attribute(node.value, "mean", ast.Load())
        for other in sorted(attributes - {node.attr}) if node.attr in attributes else ():
            yield f".{node.attr} → .{other}", ast.Attribute(node.value, other, ast.Load())
    elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("np.dot", "np.matmul", "np.outer", "np.subtract"):
        yield "arguments swapped", ast.Call(node.func, node.args[::-1], node.keywords)
    elif isinstance(node, ast.Tuple) and isinstance(node.ctx, ast.Load) and 1 < len(node.elts) < 7:
        for i in range(len(node.elts) - 1):
            parts = [*node.elts[:i], node.elts[i + 1], node.elts[i], *node.elts[i + 2 :]]
            yield f"parts {i} and {i + 1} exchanged", ast.Tuple(parts, ast.Load())
    writes = isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript)
    calls = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    if isinstance(node, ast.AugAssign) or writes or calls:
        yield "statement dropped", ast.Pass()


def every_change(code):
    """(change, node, new node) for every change of one thing in the body of a function."""
    node = definition(code)
    if node is None:
        return []
    inside = [n for part in (node.body if isinstance(node.body, list) else [node.body]) for n in ast.walk(part)]
    names = {n.id for n in inside if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    names = (names | {a.arg for a in (*node.args.args, *node.args.kwonlyargs)}) - {"self"}
    keys = {n.slice.value for n in inside if isinstance(n, ast.Subscript) and isinstance(n.slice, ast.Constant)}
    owned = [n for n in inside if isinstance(n, ast.Attribute) and ast.unparse(n.value) in ("self", "cache", "ctx")]
    attributes = {n.attr for n in owned if isinstance(n.ctx, ast.Load)}
    keys = {key for key in keys if isinstance(key, str)}
    checks = {n for a in inside if isinstance(a, ast.Assert | ast.Raise) for n in ast.walk(a)}
    return [(what, n, new) for n in inside if n not in checks for what, new in more_changes(n, names, keys, attributes)]


def mutated(code, node, new):
    """The codes of the file with one node replaced, None where that is no code; the line that changed."""
    tree, standing, codes = parsed(code.co_filename)
    function = definition(code)
    before = ast.unparse(function).splitlines()
    put(ast.copy_location(new, node), standing[node])
    try:
        ast.fix_missing_locations(tree)
        after = ast.unparse(function).splitlines()
        others = codes_in(compile(tree, code.co_filename, "exec", dont_inherit=True))
    except (SyntaxError, ValueError, TypeError):
        return None, ""
    finally:
        put(node, standing[node])
    line = next((f"{a.strip()}   (was {b.strip()})" for b, a in zip(before, after, strict=False) if a != b), "")
    return (others if len(others) == len(codes) else None), line


@cache
def living(filename):
    """The functions whose code stands in a file."""
    return [f for f in gc.get_objects() if type(f) is FunctionType and f.__code__.co_filename == filename]


@contextlib.contextmanager
def changed(code, others):
    """The functions of a file that hold a code, or hold the function that does, with their code of another tree."""
    pairs = zip(parsed(code.co_filename)[2], others, strict=True)
    new = {old: n for old, n in pairs if code in codes_in(old) and old.co_freevars == n.co_freevars}
    before = [(f, f.__code__) for f in living(code.co_filename) if f.__code__ in new]
    try:
        for function, old in before:
            function.__code__ = new[old]
        yield
    finally:
        for function, old in before:
            function.__code__ = old


# --- what a case computes ---------------------------------------------------------------------------------------------


class Functions:
    """A pair of functions, called as the differences are; the values of what it returns, by their places."""

    def __init__(self, case):
        self.case = dataclasses.replace(case, inputs=differences.in_float64(case.inputs))
        rng = np.random.default_rng(0)
        self.douts = [np.float64(1) if not np.ndim(o) else rng.normal(size=np.shape(o)) for o in self.outputs()]

    def outputs(self):
        return [np.array(o) for o in differences.run(self.case, self.case.inputs)[1]]

    def values(self, jitter=0.0):
        rng = np.random.default_rng(0)
        inputs = self.case.inputs
        for path, leaf in differences.leaves(inputs) if jitter else ():
            noise = jitter * rng.standard_normal(np.shape(leaf))
            if isinstance(leaf, np.ndarray) and differences.is_float(leaf):
                inputs = differences.replaced(inputs, path, leaf + noise)
        case = dataclasses.replace(self.case, inputs=inputs)
        returned = differences.returned(case, [np.array(d)[()] for d in self.douts])
        return {str(path): np.array(leaf, np.float64) for path, leaf in differences.leaves(returned)}

    def is_gradient(self, place, values):
        """Whether what the right code leaves there is the gradient of an input, by central differences."""
        inputs = [path for path, leaf in differences.leaves(self.case.inputs) if differences.is_float(leaf)]
        return any(
            differences.same(values[place], differences.numerical(self.case, self.douts, path)) for path in inputs
        )


class Derivative:
    """f and f′, which is a function of f's input or of its output."""

    def __init__(self, case):
        self.f, self.f_prime = case.code
        self.x = np.asarray(case.inputs["x"], np.float64)
        slope = (self.f(self.x + differences.STEP) - self.f(self.x - differences.STEP)) / (2 * differences.STEP)
        self.by_output = not differences.same(slope, self.f_prime(self.x.copy()))

    def outputs(self):
        return [self.f(self.x.copy())]

    def values(self, jitter=0.0):
        x = self.x + jitter * np.random.default_rng(0).standard_normal(self.x.shape)
        return {"f_prime": np.array(self.f_prime(self.f(x) if self.by_output else x), np.float64)}

    def is_gradient(self, place, values):
        return True


class Object:
    """An object: what its backward returns, what it holds afterwards, and which of that is the gradient of what."""

    def __init__(self, case):
        data = {name: value for name, value in case.inputs.items() if value is not None}
        self.unit, inputs = object_unit(Model(case.code(), case.options.get("loss")), data)
        self.inputs = differences.in_float64(inputs)
        rng, takes = np.random.default_rng(0), self.unit.takes_upstream
        shapes = [np.shape(o) for o in self.outputs()]
        self.upstream = [np.asarray(rng.normal(size=shape) if takes else np.ones(shape)) for shape in shapes]

    def outputs(self):
        return [np.array(o) for o in self.unit.forward(own(self.inputs))[0]]

    def values(self, jitter=0.0):
        rng = np.random.default_rng(0)
        mine = own(self.inputs)
        for name, value in mine.items() if jitter else ():
            if isinstance(value, np.ndarray) and value.dtype.kind == "f":
                mine[name] = value + jitter * rng.standard_normal(value.shape)
        held, found = self.unit.forward.__self__, {}
        back = held.plan.back

        @wraps(back)
        def seen(*args, **kwargs):
            returned = back(*args, **kwargs)
            for which, thing in (("returned", returned), ("held", held.obj)):
                parts = [((), thing)] if isinstance(thing, np.ndarray | np.generic) else walk(thing)
                arrays = ((p, a) for p, a in parts if isinstance(a, np.ndarray | np.floating | float))
                found.update({f"{which} {p}": np.array(a, np.float64) for p, a in arrays if np.size(a)})
            return returned

        _, cache = self.unit.forward(mine)
        held.plan.back = seen if back is not None else None
        try:
            gradients = self.unit.backward([np.array(u)[()] for u in self.upstream], mine, cache)
        finally:
            held.plan.back = back
        found.update({f"gradient {n}": np.array(g, np.float64) for n, g in gradients.items() if g is not None})
        return found

    def is_gradient(self, place, values):
        """Whether it is what the right code's gradient of an input or a weight is, or a copy under such a name."""
        kind, _, path = place.partition(" ")
        if kind == "held" and not any(map(is_gradient, ast.literal_eval(path))):
            return False  # what an optimizer keeps, say
        gradients = [v for key, v in values.items() if key.startswith("gradient ")]
        return any(differences.same(values[place], g) for g in gradients)


KINDS = {"functions": Functions, "derivative": Derivative, "layer": Object, "network": Object}


def apart(a, b):
    """Whether two values differ: in their shapes, or by more than rounding."""
    if a is None or b is None or a.shape != b.shape:
        return True
    scale = max(float(np.abs(a).max(initial=0)), 1e-12)
    return not np.allclose(a, b, rtol=0, atol=APART * scale, equal_nan=True)


def differing(before, after):
    return tuple(key for key in before if apart(before[key], after.get(key)))


def ran(call):
    """What a call returns, and the codes of published functions that it ran."""
    codes, others = {}, {str(FOLDER / name) for name in ("mutants.py", "differences.py", "judging.py", "cases.py")}

    def note(frame, event, _):
        filename = frame.f_code.co_filename
        if event == "call" and filename.startswith(str(FOLDER)) and filename not in others:
            codes[frame.f_code] = None

    sys.setprofile(note)
    try:
        return call(), codes
    finally:
        sys.setprofile(None)


def prepared(case):
    """A case's code in use, its outputs and values, and the codes that may be changed."""
    if id(case) not in PREPARED:
        PREPARED[id(case)] = prepare(case)
    return PREPARED[id(case)]


def prepare(case):
    with quiet():
        use = KINDS[case.kind](case)
        outputs, ahead = ran(use.outputs)
        values, both = ran(use.values)
    codes = [c for c in both if c not in ahead] or list(both)
    plain = [c for c in codes if not c.co_name.startswith("<") or c.co_name == "<lambda>"]
    return use, outputs, values, [c for c in plain if any(c in codes_in(k) for k in parsed(c.co_filename)[2])]


@contextlib.contextmanager
def quiet(seconds=LONGEST):
    """Without what published code prints and warns of, and for so long at most."""

    def stop(*_):
        raise TimeoutError(f"it ran for more than {seconds} s")

    previous = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        with contextlib.redirect_stdout(io.StringIO()), np.errstate(all="ignore"):
            yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


# --- asking -----------------------------------------------------------------------------------------------------------


def judge(case, code, change, node, new):
    """What the verifier says of a mutant; None if it is none: it is no code, or changes the forward, or never ends."""
    use, outputs, before, _ = prepared(case)
    others, line = mutated(code, node, new)
    if others is None:
        return None
    with changed(code, others):
        differs = ("raises",)
        try:
            with quiet():
                if any(apart(a, b) for a, b in zip(outputs, use.outputs(), strict=True)):
                    return None
                differs = differing(before, use.values())
        except TimeoutError:
            return None
        except Exception:  # a mutant may raise anything
            pass
        if not differs:
            return Result(case, change, line, "equivalent")
        try:
            with quiet():
                report = report_of(case)
                status, said = report.verdict, str(report)
        except (TypeError, ValueError) as error:
            status, said = "could not be checked", str(error)
        except Exception as error:
            return Result(case, change, line, "CRASH", repr(error), differs)
        if status not in STATUSES:
            reason = excuse(use, before, differs)
            status, said = ("equivalent", reason) if reason else ("MISSED", said)
    return Result(case, change, line, status, said, differs)


def excuse(use, before, differs):
    """Why a mutant, which is in use, may be right though its values are others; "" if it may not."""
    if differs == ("raises",):
        return ""
    if not any(use.is_gradient(place, before) for place in differs):
        return "no gradient of an input or a weight"
    with quiet():
        after = use.values()
    # The gradient of an input is found where the right code left it: another place may be as right.
    places = [place for place in differs if not place.startswith("gradient ")] or differs
    if all(place not in after for place in places) and all(
        any(not apart(before[place], value) for value in after.values()) for place in places
    ):
        return "the same gradients elsewhere"
    if all(place in after and not apart(before[place].ravel(), after[place].ravel()) for place in places):
        return "the same numbers in another shape"
    shapes = [before[place].shape for place in places]
    if len(set(shapes)) == len(shapes) and all(
        any(not apart(before[place], after.get(other)) for other in places) for place in places
    ):
        return "the same gradients in another order, which shapes tell"
    return ""


def mutants(count, seed, words=()):
    """So many mutants, equivalent ones among them, of cases drawn at random."""
    rng = random.Random(seed)
    cases = [c for c in CASES if c.kind in KINDS and not c.name.startswith(UNCALLED)]
    cases = [c for c in cases if not words or any(w in f"{c.kind}: {c.name}" for w in words)]
    while count:
        case = rng.choice(cases)
        codes = prepared(case)[3]
        made = [(code, *change) for code in codes for change in every_change(code)]
        result = judge(case, *rng.choice(made)) if made else None
        if result is not None:
            count -= 1
            yield result


def main():
    """Print the table; 1 if a mutant is missed or crashes the verifier."""
    parser = argparse.ArgumentParser(description="Mutants of the published cases.")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("words", nargs="*", metavar="PART OF A NAME")
    options = parser.parse_args()
    load()
    console, results, seconds = Console(width=110, highlight=False), [], {}
    start = time.perf_counter()
    for result in mutants(options.count, options.seed, options.words):
        results.append(result)
        now = time.perf_counter()
        seconds[result.case.kind] = seconds.get(result.case.kind, 0.0) + now - start
        start = now
        if result.status in ("MISSED", "CRASH"):
            print(f"--- {result}", flush=True)
    table = Table(title="Mutants of code as people publish it", title_justify="left")
    for column in ("", "mutants", "equivalent", "found wrong", "not checked", "missed", "crashed", "seconds"):
        table.add_column(column, justify="right" if column else "left")
    for kind in [*dict.fromkeys(r.case.kind for r in results), "all"]:
        mine = [r for r in results if kind in (r.case.kind, "all")]
        counts = [sum(r.status == status for r in mine) for status in STATUSES]
        took = sum(seconds.values()) if kind == "all" else seconds[kind]
        table.add_row(kind, *map(str, (len(mine), *counts)), f"{took:.0f}")
    console.print(table)
    return 1 if any(r.status in ("MISSED", "CRASH") for r in results) else 0


if __name__ == "__main__":
    with limited(0):
        sys.exit(main())
