"""Another name: of a local, of an attribute, of an entry of a dict, of an element of a tuple."""

import ast
from collections.abc import Iterator

from torch_impl.verify.repair.build import SYMBOLS, binary, name, number
from torch_impl.verify.repair.ground import MISSING, Ground
from torch_impl.verify.repair.records import Candidate
from torch_impl.verify.repair.values import is_array, is_number, plain


def names(ground: Ground, node: ast.expr) -> Iterator[Candidate]:
    """Another local or attribute of the same kind of value."""
    if not isinstance(node, ast.Name | ast.Attribute):
        return
    text, value = ground.text(node), ground.value(node)
    if value is not MISSING and not plain(value):
        return
    if isinstance(node, ast.Attribute) and node.attr in ("T", "shape", "size", "ndim", "dtype"):
        return
    for piece in ground.pieces(node):
        if piece.text != text:
            unlike = 0.2 * (isinstance(node, ast.Name) != isinstance(piece.node, ast.Name))
            unlike += 0.5 * (value is not MISSING and is_array(value) != is_array(piece.value))
            yield Candidate("name", 1.0 + piece.cost + unlike, f"`{piece.text}` for `{text}`", piece.node)


def keys(ground: Ground, node: ast.expr) -> Iterator[Candidate]:
    """Another key of a dict, another index, an index one further or times a stride."""
    holder = ground.parent[node]
    if isinstance(node, ast.Constant | ast.Name | ast.BinOp | ast.UnaryOp) and isinstance(holder, ast.Subscript):
        if node is holder.slice:
            yield from _entries(ground, node, holder)
            yield from _offsets(ground, node)
    elif isinstance(node, ast.Name | ast.BinOp) and isinstance(holder, ast.Tuple | ast.Slice):
        around = ground.parent[holder]
        if isinstance(around, ast.Subscript) or isinstance(ground.parent.get(around), ast.Subscript):
            yield from _offsets(ground, node)


def _entries(ground: Ground, node: ast.expr, holder: ast.Subscript) -> Iterator[Candidate]:
    whole, now = ground.value(holder.value), ground.value(holder)
    if isinstance(whole, dict) and isinstance(node, ast.Constant) and isinstance(node.value, str):
        for key, value in whole.items():
            alike = now is MISSING or (is_array(value) == is_array(now) and plain(value))
            if isinstance(key, str) and key != node.value and alike:
                yield Candidate("name", 1.1, f"`{key!r}` for `{node.value!r}`", ast.Constant(key))
    elif isinstance(whole, tuple | list) and is_number(ground.value(node)):
        for i, value in enumerate(whole):
            if i != ground.value(node) % len(whole) and isinstance(node, ast.Constant) and type(value) is type(now):
                yield Candidate("index", 1.1, f"`{i}` for `{ground.text(node)}`", number(i))


def _offsets(ground: Ground, node: ast.expr) -> Iterator[Candidate]:
    """``t`` for ``t - 1``, ``t + 1``, ``i * stride`` and the reverse."""
    value, text = ground.value(node), ground.text(node)
    if not isinstance(value, int) or isinstance(value, bool) or isinstance(node, ast.Constant | ast.UnaryOp):
        return
    if isinstance(node, ast.BinOp):
        symbol = SYMBOLS[type(node.op)]
        if symbol in ("+", "-") and isinstance(node.right, ast.Constant):
            return  # its operands and its constant are edited as such
    for symbol in "-+":
        new = binary(node, symbol, number(1))
        yield Candidate("index", 1.1, f"`{text} {symbol} 1` for `{text}`", new)
    if isinstance(node, ast.Name):
        for piece in ground.pieces(node):
            if isinstance(piece.value, int) and piece.value > 1:
                new = binary(node, "*", piece.node)
                yield Candidate("index", 1.5 + piece.cost, f"`{text} * {piece.text}` for `{text}`", new)


def windows(ground: Ground, node: ast.expr) -> Iterator[Candidate]:
    """``x[i * stride : i * stride + k]`` for ``x[i : i + k]``: both ends of a window at once."""
    if not isinstance(node, ast.Slice) or node.lower is None or node.upper is None:
        return
    start = node.lower
    if isinstance(start, ast.Name) and isinstance(ground.value(start), int):
        for piece in ground.pieces(node):
            if isinstance(piece.value, int) and piece.value > 1:
                new = _with(node, start.id, binary(name(start.id), "*", piece.node))
                if new is not None:
                    said = f"the window starts at `{start.id} * {piece.text}`"
                    yield Candidate("index", 1.5 + piece.cost, said, new)
    elif isinstance(start, ast.BinOp) and isinstance(start.op, ast.Mult) and isinstance(start.left, ast.Name):
        text = ground.text(start)
        if isinstance(node.upper, ast.BinOp) and ground.text(node.upper.left) == text:
            upper = binary(start.left, SYMBOLS[type(node.upper.op)], node.upper.right)
            said = f"the window starts at `{start.left.id}`"
            yield Candidate("index", 1.5, said, ast.Slice(start.left, upper, node.step))


def _with(node: ast.Slice, of: str, new: ast.expr) -> ast.Slice | None:
    upper = node.upper
    if isinstance(upper, ast.BinOp) and isinstance(upper.left, ast.Name) and upper.left.id == of:
        return ast.Slice(new, ast.BinOp(new, upper.op, upper.right), node.step)
    return None
