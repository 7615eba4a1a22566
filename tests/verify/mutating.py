"""One thing in a function changed, and what the verifier makes of it: found, blamed at that line, mended?

A mutant has a source: its text is compiled under a file name of its own that ``linecache`` knows as long as the mutant
is in use, so that it is read like a user's function. Afterwards the process is as it was.
"""

from __future__ import annotations
import __future__

import argparse
import ast
import contextlib
import inspect
import itertools
import linecache
import multiprocessing
import signal
import textwrap
import time
import traceback
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property, partial
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from contextlib import AbstractContextManager

    from torch_impl.verify import Report
    from torch_impl.verify.listing import Repair

    # A change of a node: its kind, what it is in words, and the new node; None leaves a statement out, and a pair is of
    # a node within it and what takes its place.
    Change = tuple[str, str, ast.AST | tuple[ast.AST, ast.AST] | None]
    Changes = Callable[[ast.AST, set[str]], Iterator[Change]]

_ANNOTATIONS = __future__.annotations.compiler_flag
LONGEST = 20  # seconds, for what a mutant computes
# Names in scratch that are exchanged for no other.
UNNAMED = ("self", "cache", "need_dx", "slots", "t", "rows")
EQUAL = 1e-11  # of the largest element: what differs by less is the same in effect

# --- changing one thing -----------------------------------------------------------------------------------------------


# Functions of NumPy, and what may stand in their place.
_OTHERS: dict[str, tuple[str, ...]] = {
    "np.sum": ("np.mean", "np.max"),
    "np.exp": ("np.tanh",),
    "np.sqrt": ("np.square",),
    "np.sign": ("np.abs",),
}


def changes(node: ast.AST, names: set[str]) -> Iterator[Change]:
    """Every way to change one node."""
    swaps: dict[type, tuple[type, ...]] = {
        ast.Add: (ast.Sub, ast.Mult),
        ast.Sub: (ast.Add,),
        ast.Mult: (ast.Div, ast.Add),
        ast.Div: (ast.Mult,),
        ast.Gt: (ast.GtE, ast.Lt),
    }
    if isinstance(node, ast.BinOp):
        for other in swaps.get(type(node.op), ()):
            yield "operator", f"{_op(node.op)} → {_op(other())}", ast.BinOp(node.left, other(), node.right)
        if isinstance(node.op, ast.MatMult | ast.Sub | ast.Div):
            yield "operands swapped", f"operands of {_op(node.op)} swapped", ast.BinOp(node.right, node.op, node.left)
        if isinstance(node.op, ast.Mult):
            yield "factor dropped", "left factor dropped", node.right
            yield "factor dropped", "right factor dropped", node.left
    elif isinstance(node, ast.AugAssign):
        for other in swaps.get(type(node.op), ()):
            said = f"{_op(node.op)}= → {_op(other())}="
            yield "operator and =", said, ast.AugAssign(node.target, other(), node.value)
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        for other in swaps.get(type(node.ops[0]), ()):
            said = f"{_op(node.ops[0])} → {_op(other())}"
            yield "comparison", said, ast.Compare(node.left, [other()], node.comparators)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        for value in {node.value + 1, -node.value, 0 if node.value == -1 else node.value * 3} - {node.value}:
            yield "constant", f"{node.value} → {value}", number(value)
    elif isinstance(node, ast.Attribute) and node.attr == "T":
        yield ".T dropped", ".T dropped", node.value
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in names:
        for other in sorted(names - {node.id}):
            yield "name", f"{node.id} → {other}", ast.Name(other, ast.Load())
    elif isinstance(node, ast.Call):
        function = ast.unparse(node.func)
        for other in _OTHERS.get(function, ()):
            new = ast.Call(ast.parse(other, mode="eval").body, node.args, node.keywords)
            yield "function", f"{function} → {other}", new
        if function == "np.where":
            new = ast.Call(node.func, [node.args[0], node.args[2], node.args[1]], [])
            yield "branches swapped", "branches of np.where swapped", new


def _op(op: ast.AST) -> str:
    return {"Add": "+", "Sub": "−", "Mult": "·", "Div": "/", "MatMult": "@", "Gt": ">", "GtE": "≥", "Lt": "<"}[
        type(op).__name__
    ]


def number(value: float) -> ast.expr:
    """A number as its text is read: -2 is a sign and 2, which a power needs parentheses for."""
    return ast.UnaryOp(ast.USub(), ast.Constant(-value)) if value < 0 else ast.Constant(value)


def places(tree: ast.AST) -> dict[ast.AST, tuple[Any, Any]]:
    """Where each node of the tree stands: the list and the index in it, or the node's fields and a name."""
    found: dict[ast.AST, tuple[Any, Any]] = {}
    for parent in ast.walk(tree):
        for field, value in ast.iter_fields(parent):
            held = enumerate(value) if isinstance(value, list) else [(field, value)]
            container = value if isinstance(value, list) else vars(parent)
            found |= {node: (container, key) for key, node in held if isinstance(node, ast.AST)}
    return found


def put(node: ast.AST, place: tuple[Any, Any]) -> None:
    """Set a node in a place of :func:`places`."""
    container, key = place
    container[key] = node


@dataclass(frozen=True)
class Mutation:
    """One change in one function."""

    function: Any  # as it was
    kind: str
    said: str
    line: str  # as it is now, in the spelling of ast.unparse
    text: str  # of a file that holds the changed function and nothing else
    lines: frozenset[int]  # of that file: those of the changed statement


def mutated(function: Any) -> Iterator[Mutation]:
    """Every change of one thing in the body of ``function``."""
    source = Source(function)
    yield from map(source.mutation, source.every_change(changes, UNNAMED))


class Source:
    """A function's text and tree, in which one thing is changed at a time."""

    def __init__(self, function: Any) -> None:
        head = "from __future__ import annotations\n\n" * bool(function.__code__.co_flags & _ANNOTATIONS)
        self.function, self.text = function, head + textwrap.dedent(inspect.getsource(function))
        self.tree = _plain(ast.parse(self.text))
        self.places, self.lines = places(self.tree), ast.unparse(self.tree).splitlines()

    def every_change(self, changes: Changes, unnamed: Collection[str]) -> Iterator[tuple[ast.AST, Change]]:
        """Every change with its node, but for what checks arguments; ``unnamed`` are exchanged for no other name."""
        definition: Any = self.tree.body[-1]
        stored = {n.id for n in ast.walk(definition) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        arguments = (*definition.args.args, *definition.args.kwonlyargs)
        names = (stored | {a.arg for a in arguments}) - set(unnamed)
        nodes = [n for statement in definition.body for n in ast.walk(statement)]
        checks = (n for n in nodes if isinstance(n, ast.Assert | ast.Raise) or _checks(n))
        skipped = {node for check in checks for node in ast.walk(check)}
        for node in nodes:
            for change in changes(node, names) if node not in skipped else ():
                yield node, change

    def mutation(self, chosen: tuple[ast.AST, Change]) -> Mutation:
        """One of the changes, made."""
        node, (kind, said, new) = chosen
        if isinstance(new, tuple):
            node, new = new
        with _changed(node, new, self.places[node]):
            after = ast.unparse(ast.fix_missing_locations(self.tree))
        text, start = _spliced(self.text, node, new, after)
        line = next((b.strip() for a, b in zip(self.lines, after.splitlines(), strict=False) if a != b), "")
        lines = _statement(text, start) if new is not None else _gap(text, start, node)
        return Mutation(self.function, kind, said, line, text, frozenset(lines))


def _checks(node: ast.AST) -> bool:
    """Whether it is a call of scratch.checks."""
    return isinstance(node, ast.Call) and ast.unparse(node.func).startswith("checks.")


def _plain(tree: ast.Module) -> ast.Module:
    """A module of one function without its annotations, which a change leaves alone."""
    definition: Any = tree.body[-1]
    definition.returns = None
    for a in (*definition.args.args, *definition.args.kwonlyargs):
        a.annotation = None
    return tree


@contextlib.contextmanager
def _changed(node: ast.AST, new: ast.AST | None, place: tuple[Any, Any]) -> Iterator[None]:
    """Inside, the new node stands in the place of another; None leaves a statement out."""
    container, key = place
    before = list(container) if isinstance(container, list) else None
    if new is None and len(container) > 1:
        del container[key]
    else:
        put(new or ast.Pass(), place)
    try:
        yield
    finally:
        if before is not None:
            container[:] = before
        else:
            put(node, place)


def _spliced(source: str, node: Any, new: ast.AST | None, wanted: str) -> tuple[str, int]:
    """The text with one node replaced, and the line where that begins; ``wanted`` is what it means."""
    lines = source.encode().splitlines(keepends=True)
    before, after = lines[: node.lineno - 1], lines[node.end_lineno :]
    head, tail = lines[node.lineno - 1][: node.col_offset], lines[node.end_lineno - 1][node.end_col_offset :]
    if new is None:
        candidates = [b"".join([*before, *after]), b"".join([*before, head, b"pass", tail, *after])]
    else:
        said = ast.unparse(ast.fix_missing_locations(new)).encode()
        candidates = [b"".join([*before, head, text, tail, *after]) for text in (said, b"(" + said + b")")]
    for text in map(bytes.decode, candidates):
        with contextlib.suppress(SyntaxError):
            if ast.unparse(_plain(ast.parse(text))) == wanted:
                return text, node.lineno
    # In an f-string nodes do not say where they are.
    old = ast.unparse(_plain(ast.parse(source))).splitlines()
    number = next((i for i, (a, b) in enumerate(zip(old, wanted.splitlines(), strict=False), 1) if a != b), len(old))
    return wanted + "\n", number


def _statement(text: str, line: int) -> range:
    """The lines of the innermost statement there; of one that holds others, those before them."""
    around = [s for s in ast.walk(ast.parse(text)) if isinstance(s, ast.stmt) and s.lineno <= line <= _end(s)]
    innermost = max(around, key=lambda s: (s.lineno, -_end(s)))
    return range(innermost.lineno, _end(innermost) + 1)


def _end(statement: Any) -> int:
    body = getattr(statement, "body", None)
    return max(statement.lineno, body[0].lineno - 1) if body else statement.end_lineno


def _gap(text: str, line: int, left_out: ast.AST) -> set[int]:
    """Where a statement is missing: the lines beside the gap, and those that write before it and read after it what the
    statement wrote."""
    wrote = _written(left_out) or _names(left_out)  # a call by itself writes into what it is given
    tree = ast.parse(text)
    statements = [n for n in ast.walk(tree) if isinstance(n, ast.Assign | ast.AugAssign) and n.lineno < line]
    written = [n.lineno for n in statements if _written(n) & wrote]
    read = [n.lineno for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id in wrote and n.lineno >= line]
    return {line - 1, line, *sorted(written)[-1:], *sorted(read)[:1]}


def _written(statement: ast.AST) -> set[str]:
    """The variables that an assignment writes, or writes into; what an index is made of is only read."""
    todo, found = [*getattr(statement, "targets", [getattr(statement, "target", None)])], set()
    for target in todo:
        todo += getattr(target, "elts", [])
        while isinstance(target, ast.Subscript | ast.Attribute | ast.Starred):
            target = target.value
        found |= {target.id} if isinstance(target, ast.Name) else set()
    return found


def _names(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} - {"np", "self", "range"}


# --- a function from its text -----------------------------------------------------------------------------------------

_NUMBERS = itertools.count(1)


@contextlib.contextmanager
def compiled(text: str, like: Any) -> Iterator[Any]:
    """The function in a text, among the globals of the function ``like``, whose name it has.

    Inside, its source is found under the name of a file beside that of ``like``, which does not exist.
    """
    file = str(Path(like.__code__.co_filename).with_name(f"{like.__name__}_{next(_NUMBERS)}.py"))
    code = compile(text, file, "exec", dont_inherit=True)
    scope: dict[str, Any] = {}
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    try:
        exec(code, like.__globals__, scope)
        yield scope[like.__name__]
    finally:
        linecache.cache.pop(file, None)


# --- what the verifier makes of it ------------------------------------------------------------------------------------


def limited(seconds: float) -> AbstractContextManager[Any]:
    """Inside, every search for a repair ends after so many seconds; with 0 there is none."""
    try:
        from torch_impl.verify.limits import limited as limit
    except ModuleNotFoundError:  # a verifier without repairs has no limit for them
        return contextlib.nullcontext()
    return limit(seconds)


@dataclass(eq=False)
class Owner:
    """Whose function is changed, how that is verified, and what it computes."""

    name: str
    function: Any
    using: Callable[[Any], AbstractContextManager[Any]]  # what has another function in its place, inside
    report: Callable[[Any], Report]
    outcome: Callable[[Any], tuple[list[Any], list[Any]]]  # the forward's values, and the gradients or the steps
    fresh: Callable[[Any], list[Any]]  # those of other inputs, of other sizes, at kinks: what a repair is judged by

    @contextlib.contextmanager
    def running(self, function: Any) -> Iterator[Any]:
        """Inside, the owner has this function, and floating point warns of nothing."""
        with self.using(function) as subject, np.errstate(all="ignore"):
            yield subject

    @cached_property
    def right(self) -> tuple[list[Any], list[Any]]:
        with self.running(self.function) as subject:
            return self.outcome(subject)

    @cached_property
    def right_fresh(self) -> list[Any]:
        with self.running(self.function) as subject:
            return self.fresh(subject)


@dataclass(frozen=True)
class Mutant:
    """One change in the function of an owner."""

    owner: Owner
    mutation: Mutation

    @property
    def name(self) -> str:
        return f"{self.owner.name} | {self.mutation.said} | {self.mutation.line}"


@dataclass(frozen=True)
class Result:
    """What the verifier says of a mutant.

    ``status`` is "raises", "another forward", "equivalent", "found", "MISSED", "FALSE ALARM", or "CRASH" where
    the verifier raised. ``right`` is what the verifier says of the mended function, and ``equal`` whether it computes
    what the function did before it was mutated.
    """

    name: str
    owner: str
    kind: str
    status: str
    mistakes: tuple[str, ...] = ()
    blamed: bool = False
    repaired: bool = False
    equal: bool = False
    right: bool = False
    said: str = ""  # of the lines and of the repair
    seconds: float = 0.0

    @property
    def is_bad(self) -> bool:
        """What must not be: missed, a false alarm, a repair of what is right or that is none."""
        offered = self.repaired and not (self.status == "found" and self.right)
        return self.status in ("MISSED", "FALSE ALARM", "CRASH") or offered


def tried(mutant: Mutant) -> str:
    """What a mutant is, without the verifier: "wrong", "equivalent", "raises" or "another forward"."""
    mutation = mutant.mutation
    with compiled(mutation.text, mutation.function) as function, mutant.owner.running(function) as subject:
        return _tried(mutant.owner, subject)


def _tried(owner: Owner, subject: Any) -> str:
    (right_forward, right), numbers = owner.right, None
    try:
        with _ended(after=LONGEST):
            numbers = owner.outcome(subject)
        forward, outcome = numbers
        if not all(np.allclose(a, b, rtol=1e-12, atol=0) for a, b in zip(forward, right_forward, strict=True)):
            return "another forward"
        return "equivalent" if len(outcome) == len(right) and all(map(_same, outcome, right)) else "wrong"
    except Exception:  # a mutant may raise anything, and return anything
        return "raises"


@contextlib.contextmanager
def _ended(after: int) -> Iterator[None]:
    """Inside, TimeoutError is raised after so many seconds: a mutant's loop may have no end."""

    def end(*_: Any) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(after)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def judge(mutant: Mutant, seconds: float = 0.0) -> Result:
    """What the verifier says of a mutant; it looks so many seconds for each repair."""
    owner, mutation = mutant.owner, mutant.mutation
    result = Result(mutant.name, owner.name, mutation.kind, "")
    with compiled(mutation.text, mutation.function) as function, owner.running(function) as subject:
        status = _tried(owner, subject)
        if status in ("raises", "another forward"):
            return replace(result, status=status)
        start = time.perf_counter()
        try:
            with limited(seconds):
                report = owner.report(subject)
        except Exception as error:  # the fault is the verifier's, and the table of the others is wanted
            place = traceback.extract_tb(error.__traceback__)[-1]
            said = f"{type(error).__name__}: {error} ({Path(place.filename).name}, line {place.lineno})"
            return replace(result, status="CRASH", said=said)
        took, file = time.perf_counter() - start, function.__code__.co_filename
    mistakes = tuple(f.mistake for f in report.findings)
    found = bool(mistakes) or not report.ok
    status = {"equivalent": ("equivalent", "FALSE ALARM"), "wrong": ("MISSED", "found")}[status][found]
    result = replace(result, status=status, mistakes=mistakes, seconds=took)
    repairs = [f.repair for f in report.findings if f.repair is not None]
    wrong = [(a.file, a.first_wrong.number) for s in report.sections for a in s.listings if a.first_wrong]
    lines = [(repair.file, repair.line) for repair in repairs[:1]] or wrong
    result = replace(result, blamed=any(f == file and line in mutation.lines for f, line in lines))
    result = replace(result, said=", ".join(f"line {line} of {Path(f).name}" for f, line in lines))
    if not (repairs and repairs[-1].mends_all):
        return result
    equal, right = mended(owner, mutation, repairs[-1], file)
    said = f"{repairs[-1].said}: {_lines(repairs[-1])}"
    return replace(result, repaired=True, equal=equal, right=right, said=f"{result.said}: {said}")


def mended(owner: Owner, mutation: Mutation, repair: Repair, file: str) -> tuple[bool, bool]:
    """Whether the mended function computes with fresh inputs what the original does, and whether it is verified.

    A repair of another file than that of the mutant is neither.
    """
    if repair.file != file:
        return False, False
    expected = owner.right_fresh
    with compiled(repair.after, mutation.function) as function, owner.running(function) as subject:
        try:
            fresh = owner.fresh(subject)
        except Exception:  # so may what is offered for a repair
            return False, False
        if len(fresh) == len(expected) and all(map(_near, fresh, expected)):
            return True, True
        with limited(0):
            report = owner.report(subject)
        return False, report.ok and not report.findings


def _lines(repair: Repair) -> str:
    """The lines that a repair puts in the place of others."""
    changed = (line for line in repair.diff.splitlines() if line.startswith(("+", "-")))
    return "  ".join(" ".join(line.split()) for line in changed if not line.startswith(("+++", "---")))


def _same(a: Any, b: Any) -> bool:
    return np.shape(a) == np.shape(b) and bool(np.allclose(a, b, rtol=1e-11, atol=1e-15))


def _near(a: Any, b: Any) -> bool:
    """Equal to rounding, beside the largest element."""
    if np.shape(a) != np.shape(b):
        return False
    scale = float(np.max(np.abs(b), initial=0, where=np.isfinite(b)))
    return bool(np.allclose(a, b, rtol=0, atol=EQUAL * scale, equal_nan=True))


# --- many of them, in a table -----------------------------------------------------------------------------------------


def parser(description: str) -> argparse.ArgumentParser:
    """What the scripts take alike."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("words", nargs="*", metavar="WORD", help="those alone whose name has one of these in it")
    made.add_argument("--seconds", type=float, default=20.0, help="the limit of each search for a repair; 0: no search")
    made.add_argument("--one-in", type=int, default=1, metavar="N", help="every Nth mutant alone")
    made.add_argument("--jobs", type=int, default=1, metavar="K", help="processes")
    made.add_argument("--list", action="store_true", help="also print what is not blamed, or not repaired")
    return made


_MUTANTS: list[Mutant] = []  # those of a run: what forked processes are told is an index


def judge_all(mutants: Sequence[Mutant], seconds: float, jobs: int) -> Iterator[Result]:
    """The results in the order of the mutants, with a line of progress."""
    _MUTANTS[:] = mutants
    one = partial(_judge_one, seconds)
    console = Console(stderr=True)
    told = partial(track, total=len(mutants), console=console, transient=True, disable=not console.is_terminal)
    if jobs == 1:
        yield from told(map(one, range(len(mutants))))
        return
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        yield from told(pool.imap(one, range(len(mutants))))


def _judge_one(seconds: float, i: int) -> Result:
    return judge(_MUTANTS[i], seconds)


def table_by(column: str, results: Sequence[Result]) -> Table:
    """The wrong mutants by their "kind" or "owner": how many are found, blamed, repaired, equal; the seconds of one."""
    table = Table(title=f"Wrong mutants, by {column}", title_justify="left")
    for header in ("", "wrong", "found", "blamed", "repaired", "right", "equal", "median s", "95 % s", "raise"):
        table.add_column(header, justify="right" if header else "left")
    wrong = [r for r in results if r.status in ("found", "MISSED", "CRASH")]
    raised = Counter(getattr(r, column) for r in results if r.status == "raises")
    groups = (
        sorted({getattr(r, column) for r in wrong}) if column == "kind" else [*dict.fromkeys(r.owner for r in wrong)]
    )
    for group in [*groups, "all"]:
        mine = [r for r in wrong if group in (getattr(r, column), "all")]
        seconds = [r.seconds for r in mine]
        found, blamed, repaired, right, equal = (
            sum(map(counted, mine)) for counted in (_found, *map(attrgetter, ("blamed", "repaired", "right", "equal")))
        )
        counts = [*(f"{n} ({n / len(mine):.0%})" for n in (found, blamed, repaired)), str(right), str(equal)]
        times = [f"{np.quantile(seconds, q):.2f}" for q in (0.5, 0.95)]
        raises = sum(raised.values()) if group == "all" else raised[group]
        table.add_row(group, str(len(mine)), *counts, *times, str(raises), end_section=group == groups[-1])
    return table


def _found(result: Result) -> bool:
    return result.status == "found"


def print_lists(console: Console, results: Sequence[Result], everything: bool) -> None:
    """What must not be, the repairs that are right and not equal; on request all that is not blamed or not repaired."""
    wrong = [r for r in results if r.status == "found"]
    lists = {
        "bad": [r for r in results if r.is_bad],
        "right by autograd, and not equal": [r for r in wrong if r.right and not r.equal],
        "not blamed": [r for r in wrong if not r.blamed] if everything else [],
        "blamed, not repaired": [r for r in wrong if r.blamed and not r.repaired] if everything else [],
    }
    for title, listed in lists.items():
        for r in listed:
            status = f"{title}{f' ({r.status})' * (title == 'bad')}"
            console.print(f"{status}: {r.name}  {r.mistakes}  {r.said}", soft_wrap=True, markup=False)
