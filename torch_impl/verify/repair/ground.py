"""The function under repair: what stands where in it, what may be edited, and which names are in reach."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from torch_impl.verify.repair.build import attribute, name
from torch_impl.verify.repair.records import Seen
from torch_impl.verify.repair.values import METHODS, Known, UnknownValueError, evaluate, is_array, is_number, words

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
MISSING: Any = object()

# Functions that change files, state or randomness: nothing inside a call of them is edited.
_NUMPY_EFFECTS = words(
    "save savez savez_compressed savetxt load loadtxt genfromtxt fromfile memmap random errstate seterr testing"
)
_HARMLESS = words(
    "len range reversed enumerate zip float int bool abs sum max min tuple list dict sorted slice map filter"
)
_CONTAINERS = words("append extend insert update get items keys values setdefault pop add at view tolist")
_FORBIDDEN = words("print open exec eval compile input setattr delattr __import__ exit quit breakpoint")
_FORBIDDEN_MODULES = words("os sys subprocess shutil pathlib io socket logging pickle random time")
_UNTOUCHED = (ast.Import, ast.ImportFrom, ast.Raise, ast.Assert, ast.Global, ast.Nonlocal, ast.Delete, ast.ClassDef)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass(frozen=True)
class Piece:
    """An expression of a few characters that is in reach: a local, an attribute."""

    node: ast.expr
    text: str
    value: Any
    cost: float
    kind: str = "name"  # or "size", "derived" from one, "written" by the author elsewhere


class Ground:
    """One function with what was seen of it."""

    def __init__(self, function: Function, seen: Seen) -> None:
        self.function, self.seen = function, seen
        self.place: dict[ast.AST, tuple[Any, Any]] = {}
        self.parent: dict[ast.AST, ast.AST] = {}
        self.statement: dict[ast.AST, ast.stmt | None] = {}
        self.inner: dict[ast.AST, tuple[ast.AST, ...]] = {}  # the lambdas and comprehensions around an expression
        self.expressions: list[ast.expr] = []  # those that may be edited, in the order of the source
        self.statements: list[ast.stmt] = []  # all, in the order of the source
        self.blocks: list[tuple[ast.AST, str]] = []  # the lists of statements: their owner and its field
        self._texts: dict[ast.AST, str] = {}
        self._keys: dict[ast.AST, Any] = {}
        self._pieces: dict[Any, list[Piece]] = {}
        self.numpy = self._name_of_numpy()
        tests = [loop.test for loop in ast.walk(function) if isinstance(loop, ast.While)]
        self._in_tests = {n.id for test in tests for n in ast.walk(test) if isinstance(n, ast.Name)}
        if isinstance(function, ast.Lambda):
            self._expression(function.body, function, vars(function), "body", None, (function,))
        else:
            self._block(function, "body")

    # --- reading the tree ---------------------------------------------------------------------------------------------

    def _name_of_numpy(self) -> str | None:
        bases = {n.value for n in ast.walk(self.function) if isinstance(n, ast.Attribute)}
        names = [n for n in bases if isinstance(n, ast.Name)]
        known = [n.id for n in names if self.seen.values.get(n) is np]
        guessed = [n.id for n in names if n.id in ("np", "numpy")]
        return self.seen.numpy or next(iter([*known, *guessed]), None)

    def _block(self, owner: ast.AST, field: str) -> None:
        body: list[ast.stmt] = getattr(owner, field)
        if not body:
            return
        self.blocks.append((owner, field))
        for i, statement in enumerate(body):
            self.place[statement], self.parent[statement] = (body, i), owner
            self.statements.append(statement)
            if not isinstance(statement, _UNTOUCHED) and not is_docstring(statement):
                self._statement(statement)

    def _statement(self, statement: ast.stmt) -> None:
        match statement:
            case ast.FunctionDef():
                self._block(statement, "body")
                return
            case ast.Try():
                for handler in statement.handlers:
                    self._block(handler, "body")
            case ast.With() | ast.While() | ast.Match():
                pass  # what they open, test and match stays
            case ast.Assign() | ast.AugAssign() | ast.AnnAssign() if self.steers(statement):
                return
            case ast.If() if not self.calm(statement):
                pass
            case _:
                for field, value in ast.iter_fields(statement):
                    if field not in ("annotation", "body", "orelse"):
                        self._within(value, statement, vars(statement), field, statement, ())
        for field in ("body", "orelse", "finalbody"):
            if isinstance(getattr(statement, field, None), list):
                self._block(statement, field)

    def steers(self, statement: ast.stmt) -> bool:
        """Whether a ``while`` depends on it."""
        names = {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        return bool(names & self._in_tests)

    def calm(self, node: ast.AST) -> bool:
        """Whether nothing in it has effects beyond arrays: it may run more often than it did."""
        calls = all(self.may_call(n) for n in ast.walk(node) if isinstance(n, ast.Call))
        return calls and not any(isinstance(n, ast.Raise | ast.Assert | ast.While) for n in ast.walk(node))

    def _within(self, value: Any, parent: ast.AST, container: Any, key: Any, at: Any, inner: Any) -> None:
        """Expressions in a field, or in a list of them."""
        if isinstance(value, list):
            for i, v in enumerate(value):
                self._within(v, parent, value, i, at, inner)
        elif isinstance(value, ast.expr):
            self._expression(value, parent, container, key, at, inner)
        elif isinstance(value, ast.keyword):
            self._expression(value.value, parent, vars(value), "value", at, inner)
        elif isinstance(value, ast.comprehension):
            self.parent[value] = parent
            for field in ("iter", "ifs"):
                self._within(getattr(value, field), value, vars(value), field, at, inner)

    def _expression(self, node: ast.expr, parent: ast.AST, container: Any, key: Any, at: Any, inner: Any) -> None:
        self.place[node], self.parent[node], self.statement[node] = (container, key), parent, at
        if inner:
            self.inner[node] = inner
        stored = isinstance(getattr(node, "ctx", None), ast.Store | ast.Del)
        if not stored or isinstance(node, ast.Tuple):
            self.expressions.append(node)
        if isinstance(node, ast.Lambda):
            self._expression(node.body, node, vars(node), "body", at, (*inner, node))
            return
        if isinstance(node, ast.Call):
            if not self.may_call(node):
                self.expressions.pop()
                return
            if isinstance(node.func, ast.Attribute) and not self.is_numpy(node.func):
                self._expression(node.func.value, node.func, vars(node.func), "value", at, inner)
                self.parent[node.func] = node
        if isinstance(node, ast.JoinedStr | ast.Constant):
            return  # places inside an f-string are not known before Python 3.12
        if isinstance(node, ast.IfExp) and not self.calm(node):
            return
        if isinstance(node, _COMPREHENSIONS):
            inner = (*inner, node)
        for field, value in ast.iter_fields(node):
            if not (isinstance(node, ast.Call) and field == "func"):
                self._within(value, node, vars(node), field, at, inner)

    def is_numpy(self, node: ast.AST) -> bool:
        """``np.f``, ``np.add.at``, ``np.linalg.norm``, without what reads or writes files or draws numbers."""
        dotted = dotted_name(node).split(".")
        return len(dotted) > 1 and dotted[0] == self.numpy and not set(dotted) & _NUMPY_EFFECTS

    def may_call(self, node: ast.Call) -> bool:
        """NumPy's functions, those of arrays and of containers, and those of the user's that ran."""
        dotted = dotted_name(node.func)
        base, last = dotted.split(".")[0], dotted.split(".")[-1]
        if base in _FORBIDDEN | _FORBIDDEN_MODULES:
            return False
        if base == "math":
            return True
        if isinstance(node.func, ast.Attribute) and last in METHODS | _CONTAINERS and base != self.numpy:
            return True
        return self.is_numpy(node.func) or dotted in _HARMLESS or self.was_called(dotted)

    def was_called(self, dotted: str) -> bool:
        return bool(dotted) and dotted.split(".")[-1] in self._called

    @cached_property
    def _called(self) -> frozenset[str]:
        return frozenset(n.split(".")[-1] for n in self.seen.called)

    # --- what is where ------------------------------------------------------------------------------------------------

    def text(self, node: ast.expr) -> str:
        if node not in self._texts:
            self._texts[node] = ast.unparse(node)
        return self._texts[node]

    def key(self, node: Any) -> Any:
        """Equal for nodes of equal source."""
        if isinstance(node, ast.AST):
            if node in self._keys:
                return self._keys[node]
            found = (type(node), *(self.key(getattr(node, f, None)) for f in node._fields if f != "ctx"))
            if node in self.parent:
                self._keys[node] = found
            return found
        return tuple(map(self.key, node)) if isinstance(node, list) else (type(node), node)

    @cached_property
    def writes_shapes(self) -> bool:
        """Whether the author writes ``x.shape[0]`` rather than ``len(x)``."""
        return any(isinstance(n, ast.Attribute) and n.attr == "shape" for n in ast.walk(self.function))

    @cached_property
    def writes_powers(self) -> bool:
        """Whether the author writes ``x ** 2`` rather than ``x * x``."""
        return any(isinstance(n, ast.Pow) for n in ast.walk(self.function))

    def around(self, node: ast.AST) -> set[ast.AST]:
        """What holds a node: it can't be put into the node's place."""
        found: set[ast.AST] = {node}
        while node in self.parent:
            node = self.parent[node]
            found.add(node)
        return found

    def value(self, node: Any) -> Any:
        """What was seen of it, or MISSING."""
        return self.seen.values.get(node, MISSING)

    @cached_property
    def bound(self) -> dict[str, int]:
        """Where each local name is first bound, by the number of the statement; arguments before all."""
        found: dict[str, int] = {}
        for i, statement in enumerate(self.statements):
            heads = [n for n in walk_head(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
            for n in heads:
                found.setdefault(n.id, i)
            if isinstance(statement, ast.FunctionDef):
                found[statement.name] = i
                found |= dict.fromkeys(argument_names(statement), i)
        return found | dict.fromkeys(argument_names(self.function), -1)

    @cached_property
    def number(self) -> dict[ast.AST, int]:
        return {s: i for i, s in enumerate(self.statements)}

    @cached_property
    def _free(self) -> dict[str, Any]:
        """Names that are read and are no locals, with their values."""
        found = {n.id: v for n, v in self.seen.values.items() if isinstance(n, ast.Name)}
        inside = {a for n in ast.walk(self.function) if isinstance(n, ast.Lambda) for a in argument_names(n)}
        stored = {n.id for n in ast.walk(self.function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        return {n: v for n, v in found.items() if n not in self.bound and n not in inside | stored}

    def names(self, node: ast.AST) -> Mapping[str, Any]:
        """The names in reach of an expression, or of a statement before it runs."""
        at = node if isinstance(node, ast.stmt) else self.statement.get(node)
        here = self.number[at] if at is not None else 0
        scope = self.seen.scope.get(at, {}) if at is not None else {}
        found = {n: v for n, v in scope.items() if self.bound.get(n, here) < here} | self._free
        for around in self.inner.get(node, ()):
            for n in ast.walk(around):
                if isinstance(n, ast.Name) and n in self.seen.values and n.id in own_names(around):
                    found[n.id] = self.seen.values[n]
        return found

    def pieces(self, node: ast.AST) -> list[Piece]:
        """The arrays and numbers in reach, cheapest first: locals that were bound lately, then attributes."""
        at = node if isinstance(node, ast.stmt) else self.statement.get(node)
        known = (at, self.inner.get(node, ()))
        if known not in self._pieces:
            self._pieces[known] = sorted(self._reach(node, at), key=lambda piece: piece.cost)
        return self._pieces[known]

    def _reach(self, node: ast.AST, at: ast.stmt | None) -> Iterator[Piece]:
        here = self.number[at] if at is not None else 0
        for of, value in self.names(node).items():
            far = 0.01 * min(here - self.bound.get(of, here), 20) + 0.01 * min(len(of), 10)
            far += 0.2 * of.startswith("_") - 0.4 * (of in self.unread)
            if is_array(value) or is_number(value):
                yield Piece(name(of), of, value, far)
            elif isinstance(getattr(value, "__dict__", None), dict) and of in self._owners:
                for field, v in vars(value).items():
                    if is_array(v) or is_number(v):
                        text = f"{of}.{field}"
                        rare = 0.0 if text in self._attributes else 0.3
                        yield Piece(attribute(name(of), field), text, v, 0.3 + rare + 0.01 * min(len(text), 20))

    @cached_property
    def _attributes(self) -> set[str]:
        return {dotted_name(n) for n in ast.walk(self.function) if isinstance(n, ast.Attribute)}

    @cached_property
    def _owners(self) -> set[str]:
        return {"self"} | {d.split(".")[0] for d in self._attributes} - {self.numpy or ""}

    @cached_property
    def unread(self) -> set[str]:
        """What is bound and used nowhere: it was meant to be."""
        names = [n for n in ast.walk(self.function) if isinstance(n, ast.Name)]
        return self.bound.keys() - {n.id for n in names if isinstance(n.ctx, ast.Load)} - {"self"}

    def worth(self, new: ast.expr, at: ast.AST, given: Mapping[ast.expr, Any] | None = None) -> Any:
        """The value of an expression that stands at ``at``, or MISSING; raises what the code would raise."""
        if given is None and new in self.seen.values:
            return self.seen.values[new]
        known = Known(given, self.seen.values) if given else self.seen.values
        try:
            return evaluate(new, known, self.names_once(at), self.numpy)
        except UnknownValueError:
            return MISSING

    def names_once(self, at: ast.AST) -> Mapping[str, Any]:
        key = ("names", self.statement.get(at, at), self.inner.get(at, ()))
        if key not in self._pieces:
            self._pieces[key] = self.names(at)  # type: ignore[assignment]
        return self._pieces[key]  # type: ignore[return-value]


def dotted_name(node: ast.AST) -> str:
    """``a.b.c``, or nothing where it is something else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        base = dotted_name(node.value)
        return f"{base}.{node.attr}" if base else f"?.{node.attr}"
    return ""


def argument_names(function: Any) -> list[str]:
    """The names of all arguments of a function or a lambda."""
    a = function.args
    return [x.arg for x in (*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, (a.vararg, a.kwarg)))]


def own_names(node: ast.AST) -> set[str]:
    """What a lambda or a comprehension binds."""
    if isinstance(node, ast.Lambda):
        return set(argument_names(node))
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def walk_head(statement: ast.stmt) -> Iterator[ast.AST]:
    """The nodes of a statement without those of the statements, lambdas and comprehensions in it."""
    todo: list[ast.AST] = [statement]
    while todo:
        node = todo.pop()
        yield node
        inside = (*_COMPREHENSIONS, ast.Lambda, ast.stmt, ast.ExceptHandler)
        todo += [n for n in ast.iter_child_nodes(node) if not isinstance(n, inside)]


def is_docstring(statement: ast.stmt) -> bool:
    """Whether it is a constant alone."""
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
