"""Ways to change one thing in a backward as people change it: an axis, keepdims, an index, ``+=``, a loop's order."""

from __future__ import annotations

import ast
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING

from tests.verify.mutating import changes, number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.verify.mutating import Change


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
