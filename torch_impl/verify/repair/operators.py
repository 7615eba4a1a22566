"""Operators and their operands: another one, exchanged, left out, grouped otherwise; signs, comparisons, transposes."""

import ast
from collections.abc import Iterator

from torch_impl.verify.repair.build import (
    SYMBOLS,
    attribute,
    binary,
    compare,
    indices,
    item,
    method,
    negative,
    number,
)
from torch_impl.verify.repair.ground import Ground
from torch_impl.verify.repair.records import Candidate
from torch_impl.verify.repair.values import is_array

OTHERS: dict[str, dict[str, float]] = {
    "+": {"-": 1.0, "*": 1.2, "/": 1.5},
    "-": {"+": 1.0, "*": 1.4, "/": 1.5},
    "*": {"/": 1.0, "@": 1.1, "+": 1.2, "-": 1.4, "**": 1.4},
    "/": {"*": 1.0, "//": 1.5, "-": 1.5, "+": 1.5},
    "@": {"*": 1.1},
    "**": {"*": 1.2},
    "//": {"/": 1.2, "*": 1.3, "%": 1.3},
    "%": {"//": 1.3},
    "&": {"|": 1.0},
    "|": {"&": 1.0},
}
TURNED: dict[str, dict[str, float]] = {
    ">": {">=": 1.0, "<": 1.05, "<=": 1.2, "!=": 1.3},
    ">=": {">": 1.0, "<=": 1.0, "<": 1.2},
    "<": {"<=": 1.0, ">": 0.95, ">=": 1.2},
    "<=": {"<": 1.0, ">=": 1.0, ">": 1.2},
    "==": {"!=": 1.0, ">=": 1.3, "<=": 1.3},
    "!=": {"==": 1.0, ">": 1.2},
}
SIDES = ast.BinOp | ast.Call | ast.Tuple


def operators(ground: Ground, node: ast.expr) -> Iterator[Candidate]:
    """Another operator, another grouping, and comparisons turned."""
    if isinstance(node, ast.BinOp):
        symbol = SYMBOLS[type(node.op)]
        for other, cost in OTHERS.get(symbol, {}).items():
            if other != "**" or isinstance(node.right, ast.Constant):
                yield Candidate("operator", cost, f"`{other}` for `{symbol}`", binary(node.left, other, node.right))
        yield from _grouped(ground, node, symbol)
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        symbol = SYMBOLS[type(node.ops[0])]
        for other, cost in TURNED.get(symbol, {}).items():
            new = compare(node.left, other, node.comparators[0])
            yield Candidate("comparison", cost, f"`{other}` for `{symbol}`", new)


def _grouped(ground: Ground, node: ast.BinOp, symbol: str) -> Iterator[Candidate]:
    """``(a / b) * c`` and ``a / (b * c)``; ``sqrt(v) + e`` and ``sqrt(v + e)``."""
    left, right = node.left, node.right
    if symbol not in "+-*/@":
        return
    if isinstance(left, ast.BinOp) and SYMBOLS[type(left.op)] in "+-*/@" and {symbol, _of(left)} != {"+"}:
        new = binary(left.left, _of(left), binary(left.right, symbol, right))
        yield Candidate("grouping", 1.1, f"`{ground.text(new.right)}` taken together", new)
    if isinstance(right, ast.BinOp) and SYMBOLS[type(right.op)] in "+-*/@" and {symbol, _of(right)} != {"+"}:
        new = binary(binary(left, symbol, right.left), _of(right), right.right)
        yield Candidate("grouping", 1.1, f"`{ground.text(new.left)}` taken together", new)
    for call, other, flipped in ((left, right, False), (right, left, True)):
        if isinstance(call, ast.Call) and len(call.args) == 1 and not isinstance(call.args[0], ast.Starred):
            inner = binary(other, symbol, call.args[0]) if flipped else binary(call.args[0], symbol, other)
            into = ast.Call(call.func, [inner], call.keywords)
            yield Candidate("grouping", 1.2, f"`{ground.text(other)}` moved into `{ground.text(call.func)}`", into)


def _of(node: ast.BinOp) -> str:
    return SYMBOLS[type(node.op)]


def moved_out(ground: Ground, node: ast.expr) -> Iterator[Candidate]:
    """``sqrt(v + e)``: the second operand moved out of the call."""
    if isinstance(node, ast.Call) and len(node.args) == 1 and isinstance(node.args[0], ast.BinOp):
        inside = node.args[0]
        symbol = _of(inside)
        if symbol in "+-*/":
            said = f"`{ground.text(inside.right)}` moved out of `{ground.text(node.func)}`"
            new = binary(ast.Call(node.func, [inside.left], node.keywords), symbol, inside.right)
            yield Candidate("grouping", 1.2, said, new)


def operands(ground: Ground, node: ast.expr) -> Iterator[Candidate]:
    """Operands exchanged, or one of them left out."""
    if not isinstance(node, ast.BinOp):
        return
    symbol = _of(node)
    if symbol in ("-", "/", "**", "//"):
        yield Candidate("operands", 1.0, f"the operands of `{symbol}` exchanged", binary(node.right, symbol, node.left))
    for kept, dropped in ((node.left, node.right), (node.right, node.left)):
        yield Candidate("operands", 1.0, f"`{symbol} {ground.text(dropped)}` left out", kept)
    if symbol == "-":
        yield Candidate("operands", 1.3, f"`{ground.text(node.left)}` left out", negative(node.right))
    if symbol == "@":
        yield from _products(ground, node)


def _products(ground: Ground, node: ast.BinOp) -> Iterator[Candidate]:
    """The product of the same two matrices in another order, either of them transposed or not."""
    (a, a_turned), (b, b_turned) = map(_untransposed, (node.left, node.right))
    for order in (False, True):
        for turn_a in (a_turned, not a_turned):
            for turn_b in (b_turned, not b_turned):
                changed = (turn_a != a_turned) + (turn_b != b_turned)
                if order or changed:
                    left, right = (transposed(ground, x) if t else x for x, t in ((a, turn_a), (b, turn_b)))
                    new = binary(right, "@", left) if order else binary(left, "@", right)
                    kind = "operands" if order else "transpose"
                    said = f"`{ground.text(new)}` for `{ground.text(node)}`"
                    yield Candidate(kind, 1.0 + 0.1 * order + 0.1 * max(changed - 1, 0), said, new)


def _untransposed(node: ast.expr) -> tuple[ast.expr, bool]:
    if isinstance(node, ast.Attribute) and node.attr == "T":
        return node.value, True
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "swapaxes"
        and [ast.unparse(a) for a in node.args] in (["-1", "-2"], ["-2", "-1"])
    ):
        return node.func.value, True
    return node, False


def transposed(ground: Ground, node: ast.expr) -> ast.expr:
    """``x.T``, or with the last two axes exchanged where there are more."""
    value = ground.value(node)
    if is_array(value) and value.ndim > 2:
        return method(node, "swapaxes", number(-1), number(-2))
    return attribute(node, "T")


def signs(ground: Ground, node: ast.expr) -> Iterator[Candidate]:
    """A minus put in or taken out, a mask inverted."""
    text, value = ground.text(node), ground.value(node)
    if isinstance(node, ast.UnaryOp):
        if isinstance(node.op, ast.USub | ast.Invert | ast.Not):
            said = f"`{SYMBOLS[type(node.op)].strip()}` taken out before `{ground.text(node.operand)}`"
            yield Candidate("sign" if isinstance(node.op, ast.USub) else "mask", 1.0, said, node.operand)
    elif is_array(value) and value.dtype.kind == "b":
        yield Candidate("mask", 1.2, f"`~` put in before `{text}`", ast.UnaryOp(ast.Invert(), node))
    elif (
        not text.startswith("-")
        and not isinstance(node, ast.Constant | ast.Tuple | ast.Slice)
        and (
            not isinstance(ground.parent[node], ast.expr)
            or isinstance(ground.parent[node], ast.Call | ast.Tuple | ast.Dict)
        )
    ):
        yield Candidate("sign", 1.4, f"`-` put in before `{text}`", negative(node))


def transposes(ground: Ground, node: ast.expr) -> Iterator[Candidate]:
    """``.T`` put in or taken out; the operands of a product are turned in ``operands``."""
    inner, turned = _untransposed(node)
    if turned:
        yield Candidate(
            "transpose", 1.0, f"`{'.T' if isinstance(node, ast.Attribute) else '.swapaxes'}` taken out", inner
        )
        return
    parent, value = ground.parent[node], ground.value(node)
    if not is_array(value) or value.ndim < 2 or isinstance(parent, ast.Attribute | ast.Subscript | ast.Slice):
        return
    if isinstance(parent, ast.BinOp) and isinstance(parent.op, ast.MatMult):
        return
    if not isinstance(parent, ast.expr) or isinstance(node, ast.Name | ast.Attribute | ast.Subscript | ast.Call):
        new = transposed(ground, node)
        yield Candidate("transpose", 1.1, f"`{ground.text(node)}` transposed", new)


def reversals(ground: Ground, node: ast.expr) -> Iterator[Candidate]:
    """``[::-1]`` and its like put in or taken out."""
    if isinstance(node, ast.Subscript):
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        texts = [ast.unparse(p) for p in parts]
        if "::-1" in texts and set(texts) <= {"::-1", ":"}:
            yield Candidate("reversal", 1.0, f"`[{', '.join(texts)}]` taken out", node.value)
    parent, value = ground.parent[node], ground.value(node)
    if (
        not is_array(value)
        or not 1 <= value.ndim <= 4
        or not isinstance(node, ast.Name | ast.Attribute | ast.Subscript)
    ):
        return
    if isinstance(parent, ast.expr) and not isinstance(parent, SIDES):
        return
    if isinstance(parent, ast.BinOp) and not isinstance(parent.op, ast.Mult | ast.MatMult):
        return
    for symbols in {1: ("<",), 2: ("<", ":<", "<<"), 3: ("<", ":<"), 4: ("::<<",)}[value.ndim]:
        new = item(node, indices(symbols))
        yield Candidate("reversal", 1.6, f"`{ast.unparse(new)[len(ground.text(node)) :]}` put in", new)
