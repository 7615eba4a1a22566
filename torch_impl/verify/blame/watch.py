"""Functions of the user's run with every expression and every statement watched: what each computes, in its order.

A copy of each function runs, in which every expression hands its value to a recorder and gets it back, or another one
where the recorder is told to put one in its place.
"""

from __future__ import annotations

import ast
import copy
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from torch_impl.verify.source.running import replaced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import CodeType

    from torch_impl.verify.source.functions import Function

MOST_STEPS = 4_000  # of one run that are kept; of a statement that runs oftener, the last run is kept in any case
MOST_SCOPES = 50  # runs of a statement of which the local variables are kept
MOST_COPIED = 4_000  # elements of an array that is kept as it was
MOST_ELEMENTS = 4_000_000  # in the copies that are kept


@dataclass(frozen=True, eq=False)
class Step:
    """One run of a statement: the values that it left in its targets, by what they are called in the source.

    ``count`` says how often it had run before, ``loop`` what the variables of the loops around it were.
    """

    node: ast.stmt
    count: int
    values: Mapping[str, Any]
    loop: Mapping[str, Any]


@dataclass
class Watch:
    """What was seen while some functions ran."""

    functions: Sequence[Function]
    values: dict[ast.expr, Any] = field(default_factory=dict)  # of every expression that ran, the last one
    scope: dict[ast.stmt, dict[str, Any]] = field(default_factory=dict)  # the local variables right before it ran
    steps: list[Step] = field(default_factory=list)
    runs: dict[ast.AST, int] = field(default_factory=lambda: defaultdict(int))
    # Values to put in the place of what an expression computes, by how often it was computed before.
    instead: Mapping[ast.expr, Callable[[int, Any], Any]] = field(default_factory=dict)
    only_instead: bool = False  # nothing is noted, and only what other values are put in the place of runs otherwise

    def __post_init__(self) -> None:
        self._nodes: list[Any] = []
        self._targets: dict[ast.stmt, list[str]] = {}
        self._loops: dict[ast.stmt, tuple[str, ...]] = {}
        self._elements = 0
        self._around: dict[ast.stmt, dict[str, Any]] = {}  # the local variables themselves, not as they were
        self._name = f"__watch_{id(self)}__"
        self._codes: dict[Function, CodeType] = {}
        for function in self.functions:
            if not self.only_instead or any(node in self.instead for node in ast.walk(function.node)):
                self._codes[function] = self._watched(function)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Inside, the functions are watched."""
        self.runs.clear()
        homes = [each.__globals__ for function in self.functions for each in function.functions]
        for home in homes:
            home[self._name] = self
        try:
            with replaced(self._codes):
                yield
        finally:
            for home in homes:
                home.pop(self._name, None)

    # --- what the watched functions call ------------------------------------------------------------------------------

    def __call__(self, k: int, value: Any) -> Any:
        node = self._nodes[k]
        self.values[node] = _kept(value)
        if node in self.instead:
            count = self.runs[node]
            self.runs[node] = count + 1
            return self.instead[node](count, value)
        return value

    def before(self, k: int, scope: dict[str, Any]) -> None:
        self._around[self._nodes[k]] = scope
        if self.runs[self._nodes[k]] < MOST_SCOPES:
            self.scope[self._nodes[k]] = {name: _kept(value) for name, value in scope.items()}

    def after(self, k: int, values: tuple[Any, ...]) -> None:
        node = self._nodes[k]
        self._note(node, dict(zip(self._targets[node], values, strict=True)))

    def returns(self, k: int, value: Any) -> Any:
        self._note(self._nodes[k], dict(_named_parts(self._nodes[k].value, value)))
        return value

    def _note(self, node: ast.stmt, values: dict[str, Any]) -> None:
        count = self.runs[node]
        self.runs[node] = count + 1
        kept = {name: np.array(v) for name, v in values.items() if is_numbers(v)}
        self._elements += sum(v.size for v in kept.values())
        if len(self.steps) >= MOST_STEPS or self._elements > MOST_ELEMENTS:
            at = next((i for i in range(len(self.steps) - 1, -1, -1) if self.steps[i].node is node), None)
            if at is not None and count > 1:
                del self.steps[at]
        around = self._around.get(node, {})
        loop = {name: around[name] for name in self._loops[node] if isinstance(around.get(name), int | np.integer)}
        self.steps.append(Step(node, count, kept, loop))

    # --- making the watched copy --------------------------------------------------------------------------------------

    def _watched(self, function: Function) -> CodeType:
        root = function.path[0]
        new = copy.deepcopy(root)
        originals = dict(zip(ast.walk(new), ast.walk(root), strict=True))
        copies = {old: made for made, old in originals.items()}
        path = [copies[node] for node in function.path]
        node: Any = path[-1]
        if isinstance(node, ast.Lambda):
            node.body = _Expressions(self, originals).visit(node.body)
        else:
            node.body = self._block(node.body, originals, ())
        ast.fix_missing_locations(new)
        return function.compiled(path)

    def _number(self, node: ast.AST) -> ast.Constant:
        self._nodes.append(node)
        return ast.Constant(len(self._nodes) - 1)

    def _block(self, body: list[Any], originals: Mapping[Any, Any], loops: tuple[str, ...]) -> list[Any]:
        made: list[Any] = []
        for i, statement in enumerate(body):
            original = originals[statement]
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
                statement.body = self._block(statement.body, originals, ())
                made.append(statement)
                continue
            if isinstance(statement, ast.ClassDef | ast.Import | ast.ImportFrom | ast.Global | ast.Nonlocal):
                made.append(statement)
                continue
            if i == 0 and isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                made.append(statement)  # a docstring
                continue
            if self.only_instead:
                made.append(_Expressions(self, originals).generic_visit(statement))
                continue
            self._loops[original] = loops
            targets = [ast.unparse(t) for t in _targets(original)]
            inside = loops + (tuple(_names_stored(original.target)) if isinstance(original, ast.For) else ())
            for name in ("body", "orelse", "finalbody"):
                if getattr(statement, name, None) and isinstance(statement, ast.stmt):
                    setattr(statement, name, self._block(getattr(statement, name), originals, inside))
            for part in [*getattr(statement, "handlers", ()), *getattr(statement, "cases", ())]:
                part.body = self._block(part.body, originals, inside)
            loads = [_as_load(t) for t in _targets(statement)]
            _Expressions(self, originals).statement(statement)
            here = [self._hook("before", self._number(original), ast.Call(ast.Name("locals", ast.Load()), [], []))]
            if isinstance(statement, ast.Return) and statement.value is not None:
                number = self._number(original)
                statement.value = self._hook("returns", number, statement.value).value
            made += [*here, statement]
            if loads:
                self._targets[original] = targets
                made.append(self._hook("after", self._number(original), ast.Tuple(loads, ast.Load())))
        return made

    def _hook(self, method: str, number: ast.Constant, value: ast.expr) -> ast.Expr:
        hook = ast.Attribute(ast.Name(self._name, ast.Load()), method, ast.Load())
        return ast.Expr(ast.Call(hook, [number, value], []))

    def wrapped(self, new: ast.expr, original: ast.expr) -> ast.Call:
        return ast.Call(ast.Name(self._name, ast.Load()), [self._number(original), new], [])


class _Expressions(ast.NodeTransformer):
    """Hands every value that an expression of one statement computes to the watch."""

    def __init__(self, watch: Watch, originals: Mapping[Any, Any]) -> None:
        self.watch, self.originals = watch, originals

    def statement(self, statement: ast.stmt) -> None:
        """Wrap the expressions of the statement itself, not those of the blocks within it."""
        for name, value in ast.iter_fields(statement):
            if name in ("body", "orelse", "finalbody", "handlers", "cases", "annotation", "type_comment"):
                continue
            if isinstance(value, list):
                setattr(statement, name, [self.visit(v) if isinstance(v, ast.AST) else v for v in value])
            elif isinstance(value, ast.AST):
                setattr(statement, name, self.visit(value))

    def visit(self, node: Any) -> Any:
        original = self.originals.get(node)
        if isinstance(node, ast.Constant | ast.JoinedStr | ast.expr_context | ast.operator | ast.arguments):
            return node
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            node.args = [self.visit(a) for a in node.args]
            node.keywords = [self.visit(k) for k in node.keywords]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and self._is_module(node.value.id):
            return node
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            called = node.func
            if not (isinstance(called.value, ast.Name) and self._is_module(called.value.id)):
                called.value = self.visit(called.value)
            node.args = [self.visit(a) for a in node.args]
            node.keywords = [self.visit(k) for k in node.keywords]
        elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Tuple):
            node.value = self.visit(node.value)
            node.slice.elts = [self.visit(e) for e in node.slice.elts]
        else:
            self.generic_visit(node)
        stores = not isinstance(getattr(node, "ctx", ast.Load()), ast.Load)
        if not isinstance(node, ast.expr) or stores or isinstance(node, ast.Slice | ast.Starred) or original is None:
            return node
        if self.watch.only_instead and original not in self.watch.instead:
            return node
        return self.watch.wrapped(node, original)

    def _is_module(self, name: str) -> bool:
        homes = (each.__globals__ for function in self.watch.functions for each in function.functions)
        return any(isinstance(home.get(name), ModuleType) for home in homes)


def _kept(value: Any) -> Any:
    """A value as it is now: arrays may be changed in place later."""
    return value.copy() if isinstance(value, np.ndarray) and value.size <= MOST_COPIED else value


def is_numbers(value: Any) -> bool:
    """Whether a value is an array of numbers, or one number."""
    if isinstance(value, np.ndarray | np.generic):
        return value.dtype.kind in "fiub"
    return isinstance(value, float | int)


def _targets(statement: ast.stmt) -> list[ast.expr]:
    """What a statement writes to; of a call such as np.add.at(dW, …), its first argument."""
    if isinstance(statement, ast.Assign):
        flat: list[ast.expr] = []
        for target in statement.targets:
            flat += target.elts if isinstance(target, ast.Tuple | ast.List) else [target]
        return [t for t in flat if isinstance(t, ast.Name | ast.Attribute | ast.Subscript)]
    if isinstance(statement, ast.AugAssign):
        return [statement.target]
    if isinstance(statement, ast.AnnAssign) and statement.value is not None:
        return [statement.target]
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        out = [k.value for k in statement.value.keywords if k.arg == "out"]
        written = [*out, *statement.value.args[:1]]
        places: list[ast.expr] = [a for a in written if isinstance(a, ast.Name | ast.Attribute | ast.Subscript)]
        return places[:1]
    return []


def _as_load(target: ast.expr) -> ast.expr:
    loaded = copy.deepcopy(target)
    for node in ast.walk(loaded):
        if hasattr(node, "ctx"):
            node.ctx = ast.Load()
    return loaded


def _names_stored(target: ast.expr) -> Iterator[str]:
    return (n.id for n in ast.walk(target) if isinstance(n, ast.Name))


def _named_parts(node: ast.expr | None, value: Any) -> Iterator[tuple[str, Any]]:
    """What is returned, element by element, by what the source calls it."""
    if isinstance(node, ast.Tuple | ast.List) and isinstance(value, tuple | list) and len(node.elts) == len(value):
        for part, v in zip(node.elts, value, strict=True):
            yield from _named_parts(part, v)
    elif isinstance(node, ast.Dict) and isinstance(value, dict) and len(node.values) == len(value):
        for part, v in zip(node.values, value.values(), strict=True):
            yield from _named_parts(part, v)
    elif node is not None:
        yield ast.unparse(node), value
