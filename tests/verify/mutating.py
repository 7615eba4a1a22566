"""One thing in a function changed, at a time.

A mutant has a source: its text is compiled under a file name of its own that ``linecache`` knows as long as the mutant
is in use, so that it is read like a user's function. Afterwards the process is as it was.
"""

from __future__ import annotations
import __future__

import ast
import contextlib
import inspect
import itertools
import linecache
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    # A change of a node: its kind, what it is in words, and the new node; None leaves a statement out, and a pair is of
    # a node within it and what takes its place.
    Change = tuple[str, str, ast.AST | tuple[ast.AST, ast.AST] | None]
    Changes = Callable[[ast.AST, set[str]], Iterator[Change]]

_ANNOTATIONS = __future__.annotations.compiler_flag
# Names in scratch that are exchanged for no other.
UNNAMED = ("self", "cache", "need_dx", "slots", "t", "rows")

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
