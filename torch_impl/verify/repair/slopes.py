"""Another slope in the place of what stands there: softmax's whole Jacobian, ``1 - a * a`` for ``a``."""

import ast
from collections.abc import Iterator

from torch_impl.verify.repair.build import SYMBOLS, binary, method
from torch_impl.verify.repair.factors import LONGEST, is_gradient, is_value, made_of
from torch_impl.verify.repair.ground import Ground, Piece
from torch_impl.verify.repair.records import Candidate
from torch_impl.verify.repair.values import is_array


def templates(ground: Ground, node: ast.expr) -> Iterator[Candidate]:
    """Jacobians that mix the elements of a row: softmax's ``p * (d - (d * p).sum(...))``, and a mean taken off."""
    value = ground.value(node)
    if not is_value(ground, node) or not is_array(value) or value.ndim == 0:
        return
    axes = dict.fromkeys([value.ndim - 1, 0, *range(value.ndim)])
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        for p, d in _softmax_like(ground, node):
            for axis in axes:
                shown = -1 if axis == value.ndim - 1 else axis
                total = method(binary(d, "*", p), "sum", axis=shown, keepdims=True)
                new = binary(p, "*", binary(d, "-", total))
                yield Candidate("template", 2.5 + 0.1 * (shown != -1), f"the whole Jacobian: `{ast.unparse(new)}`", new)
    if isinstance(node, ast.Constant):
        return
    for axis in axes if value.ndim > 1 else []:
        keep = {"keepdims": True} if axis else {}
        mean = method(node, "mean", axis=axis, **keep)
        text = ast.unparse(mean)
        yield Candidate("template", 2.2 + 0.1 * (axis != 0), f"`- {text}` put in", binary(node, "-", mean))
        for piece in ground.pieces(node) if isinstance(node, ast.Name) or len(ground.text(node)) <= LONGEST else []:
            if is_array(piece.value) and piece.value.shape == value.shape and piece.text != ground.text(node):
                mean = method(binary(node, "*", piece.node), "mean", axis=axis, **keep)
                along = binary(node, "-", binary(piece.node, "*", mean))
                said = f"what lies along `{piece.text}` taken off"
                yield Candidate("template", 2.8 + piece.cost, said, along)


def _softmax_like(ground: Ground, node: ast.BinOp) -> Iterator[tuple[ast.expr, ast.expr]]:
    """(p, d) of ``p * d`` and of ``p * (1 - p) * d``, in any order."""
    parts: list[ast.expr] = []
    rest: ast.expr = node
    while isinstance(rest, ast.BinOp) and isinstance(rest.op, ast.Mult):
        parts.insert(0, rest.right)
        rest = rest.left
    parts.insert(0, rest)
    for p in parts:
        complement = f"1 - {ground.text(p)}"
        others = [d for d in parts if d is not p and ground.text(d) != complement]
        if (
            len(others) == 1
            and len(ground.text(others[0])) <= LONGEST
            and is_array(ground.value(p))
            and is_array(ground.value(others[0]))
        ):
            yield p, others[0]


def complements(ground: Ground, node: ast.expr) -> Iterator[Candidate]:
    """``x * x`` for ``x`` and the reverse, ``1 - x`` and ``x``."""
    value, parent = ground.value(node), ground.parent[node]
    operand = isinstance(parent, ast.BinOp) or is_value(ground, node)
    if isinstance(node, ast.Name | ast.Attribute | ast.Call) and operand and is_array(value):
        text = ground.text(node)
        others = ground.pieces(node) if isinstance(node, ast.Call) else []
        for piece in (Piece(node, text, value, 0.0), *others):
            other = piece.text != text
            if is_array(piece.value) and piece.value.shape == value.shape and not (other and is_gradient(piece)):
                for new, more in made_of(ground, piece):
                    said = f"`{ast.unparse(new)}` for `{text}`"
                    yield Candidate("operand", 1.4 + piece.cost + more + 0.3 * other, said, new)
    if isinstance(node, ast.BinOp) and SYMBOLS[type(node.op)] == "**" and isinstance(node.left, ast.Name):
        yield Candidate("operand", 1.2, f"`{ground.text(node.left)}` not squared", node.left)
