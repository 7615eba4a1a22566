"""Numbers: another constant, another size."""

import ast
from collections.abc import Iterator
from typing import Any

from torch_impl.verify.repair.build import binary, number
from torch_impl.verify.repair.calls import WITH_AXIS, base_of
from torch_impl.verify.repair.factors import sizes
from torch_impl.verify.repair.ground import MISSING, Ground
from torch_impl.verify.repair.records import Candidate
from torch_impl.verify.repair.values import is_number

ARITHMETIC = ast.Add | ast.Sub | ast.Mult | ast.Div | ast.Pow | ast.FloorDiv


def constants(ground: Ground, node: ast.expr) -> Iterator[Candidate]:
    """Sign, ±1, ×2, ½, 0, 1, or a size in its place."""
    if not isinstance(node, ast.Constant) or not is_number(node.value):
        return
    now: Any = node.value
    parent = ground.parent[node]
    if isinstance(parent, ast.Call) and (node not in parent.args or base_of(ground, parent)[0] in WITH_AXIS):
        return
    others = {-now: 1.2, now + 1: 1.3, now - 1: 1.3, 2 * now: 1.4, now / 2: 1.4, now / 3: 1.6, 0: 1.5, 1: 1.5}
    done = {now}
    for written in ground.seen.written:  # a number of the forward's
        if isinstance(written, ast.Constant) and isinstance(now, float) and written.value not in done:
            yield Candidate("constant", 1.1, f"`{ast.unparse(written)}` for `{now}`", written)
    for value, cost in others.items():
        tidy: float = int(value) if float(value).is_integer() and isinstance(now, int) else round(value, 12)
        if tidy not in done and (isinstance(now, float) or isinstance(tidy, int) or abs(tidy) == 0.5):
            done.add(tidy)
            yield Candidate("constant", cost, f"`{tidy}` for `{now}`", number(tidy))
    if isinstance(parent, ast.BinOp) and isinstance(parent.op, ast.Mult | ast.Div):
        for piece in ground.pieces(node):
            if is_number(piece.value):
                yield Candidate("constant", 1.6 + piece.cost, f"`{piece.text}` for `{now}`", piece.node)
        for size in sizes(ground, node):
            yield Candidate("constant", 1.7 + size.cost, f"`{size.text}` for `{now}`", size.node)


def other_sizes(ground: Ground, node: ast.expr) -> Iterator[Candidate]:
    """``len(x)``, ``x.shape[i]``, ``x.size`` and numbers for each other."""
    value = ground.value(node)
    is_size = (
        (isinstance(node, ast.Call) and ast.unparse(node.func) == "len")
        or (isinstance(node, ast.Attribute) and node.attr == "size")
        or (isinstance(node, ast.Subscript) and isinstance(node.value, ast.Attribute) and node.value.attr == "shape")
        or (isinstance(node, ast.Name) and isinstance(value, int) and isinstance(ground.parent[node], ast.BinOp))
    )
    if not is_size or (value is not MISSING and not is_number(value)):
        return
    text = ground.text(node)
    shape = text.rpartition("[")[0]  # another index of the same shape is edited as such
    for size in sizes(ground, node):
        if size.text != text and not (shape and size.text.startswith(shape)):
            yield Candidate("constant", 1.2 + size.cost, f"`{size.text}` for `{text}`", size.node)
    if not isinstance(node, ast.Name):
        for piece in ground.pieces(node):
            if isinstance(piece.value, int):
                yield Candidate("constant", 1.4 + piece.cost, f"`{piece.text}` for `{text}`", piece.node)


def ends(ground: Ground, node: ast.expr) -> Iterator[Candidate]:
    """``range(T - 1)``, ``range(T + 1)``, ``range(1, T)``, ``reversed(range(T))``; one more, one less, in a slice."""
    parent = ground.parent[node]
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "range":
        if not isinstance(parent, ast.Call):
            new = ast.Call(ast.Name("reversed", ast.Load()), [node], [])
            yield Candidate("range", 1.0, f"`{ground.text(new)}` for `{ground.text(node)}`", new)
        if len(node.args) == 1:
            new = ast.Call(node.func, [number(1), *node.args], [])
            yield Candidate("range", 1.2, f"`{ground.text(new)}` for `{ground.text(node)}`", new)
    in_range = isinstance(parent, ast.Call) and ast.unparse(parent.func) == "range"
    if (in_range or isinstance(parent, ast.Slice)) and not isinstance(node, ast.Constant | ast.UnaryOp):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
            return  # its constant is edited as such
        for symbol in "+-":
            new_end = binary(node, symbol, number(1))
            yield Candidate("range", 1.2, f"`{ground.text(new_end)}` for `{ground.text(node)}`", new_end)
