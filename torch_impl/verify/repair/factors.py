"""A factor or a term put in: what is in reach, and what is commonly made of it."""

import ast
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from torch_impl.verify.repair.build import (
    attribute,
    binary,
    call,
    compare,
    item,
    name,
    negative,
    number,
)
from torch_impl.verify.repair.calls import REDUCTIONS
from torch_impl.verify.repair.ground import MISSING, Ground, Piece, dotted_name
from torch_impl.verify.repair.records import Candidate
from torch_impl.verify.repair.values import is_array, is_number, plain

LONGEST, MOST = 30, 30  # characters of an expression of the author's that is put in elsewhere; how many of them
FEW = 3  # different values of an array that was written as numbers: its square may be right by accident


def is_value(ground: Ground, node: ast.expr) -> bool:
    """Whether it is assigned, added, returned, or an element of what is."""
    parent = ground.parent[node]
    if isinstance(node, ast.Tuple | ast.Dict | ast.List | ast.Lambda):
        return False
    while isinstance(parent, ast.Tuple | ast.Dict | ast.List):
        node, parent = parent, ground.parent[parent]
    if isinstance(parent, ast.Call):
        return isinstance(parent.func, ast.Attribute) and parent.func.attr in ("append", "insert", "at")
    return isinstance(parent, ast.Assign | ast.AugAssign | ast.AnnAssign | ast.Return | ast.Lambda)


def _is_operand(ground: Ground, node: ast.expr) -> bool:
    """Whether a factor here is not one of the whole value."""
    parent = ground.parent[node]
    if isinstance(parent, ast.BinOp):
        return isinstance(parent.op, ast.Add | ast.Sub | ast.MatMult)
    if isinstance(parent, ast.Attribute) and isinstance(ground.parent.get(parent), ast.Call):
        return parent.attr in REDUCTIONS  # the x of x.sum()
    if isinstance(parent, ast.Call) and (dotted_name(parent.func).startswith("math.") or not _is_literal(node)):
        return node in parent.args and ast.unparse(parent.func) not in ("range", "len", "float", "int", "reversed")
    return False


def _is_literal(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant | ast.Tuple)


# --- the pool ---------------------------------------------------------------------------------------------------------


def sizes(ground: Ground, node: ast.AST) -> list[Piece]:
    """``len(x)``, ``x.shape[i]``, ``x.size``: of each number the three that read best."""
    known: Any = ("sizes", ground.statement.get(node, node), ground.inner.get(node, ()))
    if known in ground._pieces:
        return ground._pieces[known]
    found: list[Piece] = []
    for piece in (p for p in ground.pieces(node) if is_array(p.value)):
        of = piece.text.split(".")[0]
        early = piece.cost + 0.02 * min(ground.bound.get(of, 0) + 1, 10)  # a person asks what was given for its size
        shape = attribute(piece.node, "shape")
        for i, size in enumerate(piece.value.shape):
            made, cost = item(shape, number(i)), 0.1 + 0.1 * i
            if i == 0 and not ground.writes_shapes:
                made, cost = call(name("len"), piece.node), 0.05  # type: ignore[assignment]
            found.append(Piece(made, ast.unparse(made), size, early + cost, "size"))
        if piece.value.ndim > 1:
            whole = attribute(piece.node, "size")
            found.append(Piece(whole, f"{piece.text}.size", piece.value.size, early + 0.25, "size"))
    kept: list[Piece] = []
    for piece in sorted(found, key=lambda piece: piece.cost):
        if sum(p.value == piece.value for p in kept) < 2:
            kept.append(piece)
    ground._pieces[known] = kept
    return kept


def factors_in_reach(ground: Ground, node: ast.AST) -> list[Piece]:
    """Every factor that may be put in near ``node``, cheapest first."""
    known: Any = ("factors", ground.statement.get(node, node), ground.inner.get(node, ()))
    if known not in ground._pieces:
        pool: dict[str, Piece] = {}
        for piece in (*_derived(ground, node), *_written(ground, node)):
            if plain(piece.value) and piece.text not in pool:
                pool[piece.text] = piece
        ground._pieces[known] = sorted(pool.values(), key=lambda piece: piece.cost)
    return ground._pieces[known]


def _derived(ground: Ground, node: ast.AST) -> Iterator[Piece]:
    pieces = ground.pieces(node)
    for i, piece in enumerate(pieces):
        yield piece
        for new, more in made_of(ground, piece) if not is_gradient(piece) else ():
            worth = _quiet(ground, new, node)
            if worth is not MISSING:
                yield Piece(new, ast.unparse(new), worth, piece.cost + more, "derived")
        for other in pieces[:8] if i < 8 else ():  # a number times an array; two locals that nothing uses
            pair = piece.text in ground.unread and other.text in ground.unread and piece.text < other.text
            if pair or (isinstance(other.value, float) and is_array(piece.value)):
                new = binary(piece.node, "*", other.node)
                worth = _quiet(ground, new, node)
                yield Piece(new, ast.unparse(new), worth, piece.cost + other.cost + 0.6, "derived")
    for written in ground.seen.written:
        worth = _quiet(ground, written, node)
        if isinstance(worth, float):
            yield Piece(written, ast.unparse(written), worth, 0.3, "size")
        if isinstance(written, ast.Constant):  # what the slope of a power of x has
            for power in (2, 3):
                made = binary(number(power), "*", written)
                yield Piece(made, ast.unparse(made), power * worth, 0.4 + 0.05 * power, "size")
    for size in sizes(ground, node):
        yield size
        if ground.numpy and "shape" in size.text:
            root = call(attribute(name(ground.numpy), "sqrt"), size.node)
            yield Piece(root, ast.unparse(root), np.sqrt(size.value), size.cost + 0.2, "size")


def made_of(ground: Ground, piece: Piece) -> Iterator[tuple[ast.expr, float]]:
    """(expression, cost) of what is commonly made of an array or a number with such values."""
    a, value = piece.node, piece.value
    function = attribute(name(ground.numpy), "") if ground.numpy else None

    def numpy(of: str) -> ast.expr:
        return call(attribute(name(str(ground.numpy)), of), a)

    if is_array(value) and value.dtype.kind == "f" and value.size:
        least, most = value.min(), value.max()
        if -1 <= least <= most <= 1:
            yield binary(number(1), "-", square(ground, a)), 0.1
        if 0 <= least <= most <= 1:
            yield binary(a, "*", binary(number(1), "-", a)), 0.1
            yield binary(number(1), "-", a), 0.15
        if least <= 0 <= most:
            yield compare(a, ">", number(0)), 0.1
        for of in () if function is None else ("exp", "tanh", "cos", "sign") if least < 0 else ("sqrt", "exp"):
            yield numpy(of), 0.4
    elif is_number(value):
        if function is not None and value > 0:
            yield numpy("sqrt"), 0.2
        if not isinstance(value, int):
            yield binary(number(1), "-", a), 0.2
    if isinstance(value, np.ndarray) and np.unique(value).size > FEW:
        yield square(ground, a), 0.3


def is_gradient(piece: Piece) -> bool:
    """By its name: gradients are summed and multiplied by other arrays, seldom by each other."""
    last = piece.text.split(".")[-1]
    return is_array(piece.value) and (last.startswith("grad") or (last[0] == "d" and len(last) > 1))


def square(ground: Ground, a: ast.expr) -> ast.expr:
    """As the author writes squares."""
    return binary(a, "**", number(2)) if ground.writes_powers else binary(a, "*", a)


def _quiet(ground: Ground, new: ast.expr, at: ast.AST) -> Any:
    try:
        return ground.worth(new, at)
    except Exception:  # what raises here would raise in the user's code
        return MISSING


def _written(ground: Ground, node: ast.AST) -> Iterator[Piece]:
    """What the author wrote elsewhere of the same names."""
    names, count = ground.names_once(node), 0
    for other in ground.expressions:
        fits = isinstance(other, ast.BinOp | ast.Call | ast.Compare | ast.Subscript) and other is not node
        if not fits or count == MOST or not plain(ground.value(other)) or ground.inner.get(other):
            continue
        text = ground.text(other)
        used = {n.id for n in ast.walk(other) if isinstance(n, ast.Name)}
        reach = used <= names.keys() | {ground.numpy, "len", "float"} | ground.seen.called
        if len(text) <= LONGEST and reach:
            count += 1
            yield Piece(other, text, ground.value(other), 0.3 + 0.01 * len(text))


# --- what is put in ---------------------------------------------------------------------------------------------------


def _multiplies(node: ast.expr, text: str) -> bool:
    """Whether a number stands in an expression already: 0.1 once more may be 0.01 by accident alone."""
    return any(isinstance(n, ast.Name | ast.Attribute) and ast.unparse(n) == text for n in ast.walk(node))


def factors(ground: Ground, node: ast.expr) -> Iterator[Candidate]:
    """``value * factor``, ``value / factor``."""
    whole = is_value(ground, node)
    value = _quiet(ground, node, node)
    if not (whole or _is_operand(ground, node)) or not (is_array(value) or is_number(value)):
        return
    base, shape, parent = 2.0 if whole else 2.2, np.shape(value), ground.parent[node]
    around = ground.around(node)
    product = isinstance(parent, ast.BinOp) and isinstance(parent.op, ast.MatMult)  # a number may as well stand outside
    for piece in factors_in_reach(ground, node) if whole else _near(ground, node):
        in_math = isinstance(node, ast.Constant)
        if piece.node in around or (isinstance(value, int) and not (isinstance(piece.value, int) or in_math)):
            continue
        other = np.asarray(piece.value)
        fits = shape == () or _broadcasts(other.shape, shape)
        if (product and other.ndim == 0) or not fits or not (other != 1).any():
            continue
        if isinstance(piece.value, float) and _multiplies(node, piece.text):
            continue
        cost = base + piece.cost + 0.2 * (0 < other.ndim < len(shape)) + 0.3 * is_gradient(piece)
        if not whole and piece.kind == "name" and other.ndim and isinstance(parent, ast.Call):
            yield _factor(node, replace(piece, node=negative(piece.node), text=f"-{piece.text}"), "*", cost + 0.8)
        yield _factor(node, piece, "*", cost + 0.3 * (piece.kind == "size"))
        divides = other.ndim == 0 or (whole and (piece.kind == "name" or isinstance(piece.node, ast.Call)))
        divides = divides and not is_gradient(piece) and not isinstance(value, int)
        if divides and other.dtype.kind != "b" and other.all():
            yield _factor(node, piece, "/", cost + 0.3 * (other.ndim > 0))
    for constant, symbol in () if product or isinstance(value, int) else ((2, "*"), (2, "/"), (3, "*"), (3, "/")):
        made = binary(number(constant), "*", node) if symbol == "*" else binary(node, "/", number(constant))
        yield Candidate("factor", base - 0.2 + 0.3 * (constant > 2), f"`{symbol} {constant}` put in", made)
    yield from _of_functions(ground, node, base)


def _near(ground: Ground, node: ast.AST) -> list[Piece]:
    """What is put in within a product or a sum: no functions of what is in reach, and nothing long."""
    plainly = (ast.Name, ast.Attribute, ast.BinOp, ast.Compare)
    pool = factors_in_reach(ground, node)
    return [p for p in pool if p.kind == "size" or (p.kind != "written" and isinstance(p.node, plainly))]


def _factor(node: ast.expr, piece: Piece, symbol: str, cost: float) -> Candidate:
    shown = f"({piece.text})" if isinstance(piece.node, ast.BinOp | ast.Compare) else piece.text
    words = f"the factor `{shown}` put in" if symbol == "*" else f"the divisor `{shown}` put in"
    return Candidate("factor", cost, words, binary(node, symbol, piece.node))


def _of_functions(ground: Ground, node: ast.expr, base: float) -> Iterator[Candidate]:
    """``f(x)``, ``1 - f(x) ** 2`` and ``f(x) * (1 - f(x))`` of the user's own functions that ran."""
    own = getattr(ground.function, "name", "")
    of = sorted(n for n in ground.seen.called if "." not in n and n != own)
    shape = np.shape(ground.value(node))
    for function in of[:6] if is_value(ground, node) else []:
        for piece in ground.pieces(node):
            if is_array(piece.value) and piece.value.shape == shape:
                f = call(name(function), piece.node)
                text = f"{function}({piece.text})"
                yield Candidate("factor", base + 0.4 + piece.cost, f"the factor `{text}` put in", binary(node, "*", f))
                if isinstance(node, ast.Name | ast.BinOp):
                    slope = binary(f, "*", binary(number(1), "-", f))
                    said = f"the factor `{text} * (1 - {text})` put in"
                    yield Candidate("factor", base + 0.7 + piece.cost, said, binary(node, "*", slope))


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    return len(shape) <= len(to) and all(a in (1, b) for a, b in zip(shape[::-1], to[::-1], strict=False))


def terms(ground: Ground, node: ast.expr) -> Iterator[Candidate]:
    """``value + term``, ``value - term``."""
    whole, value, parent = is_value(ground, node), ground.value(node), ground.parent[node]
    factor = isinstance(parent, ast.BinOp) and isinstance(parent.op, ast.Mult | ast.Div | ast.MatMult)
    argument = isinstance(parent, ast.Call) and len(parent.args) == 1
    if not (whole or factor or argument) or not (is_array(value) or is_number(value)):
        return
    base, shape = 2.2 if whole else 2.4, np.shape(value)
    in_reach = factors_in_reach(ground, node) if whole else ground.pieces(node)
    pool = [p for p in in_reach if p.kind in ("name", "written") and (whole or not is_gradient(p))]
    around = ground.around(node)
    for piece in (p for p in pool if p.node not in around):
        other = np.asarray(piece.value)
        small = other.ndim == 0 and other.dtype.kind == "f" and piece.kind == "name"
        if (other.shape == shape or small) and other.dtype.kind != "b" and other.any():
            for symbol in "+-":
                cost = base + piece.cost + 0.2 * (small and shape != ())
                said = f"`{symbol} {piece.text}` put in"
                yield Candidate("term", cost, said, binary(node, symbol, piece.node))
    linear = isinstance(node, ast.Call | ast.Attribute) or ground.text(node).count("@")
    if (factor or whole) and not linear and isinstance(value, np.ndarray | float | np.floating):
        yield Candidate(
            "term", 1.8, f"`1 - {ground.text(node)}` for `{ground.text(node)}`", binary(number(1), "-", node)
        )
        yield Candidate(
            "term", 2.0, f"`1 + {ground.text(node)}` for `{ground.text(node)}`", binary(number(1), "+", node)
        )
    if whole and is_array(value) and value.ndim == 2:
        yield from _products(ground, node, shape)
    if whole and is_array(value):
        yield from _penalties(ground, node, shape)


def _products(ground: Ground, node: ast.expr, shape: tuple[int, ...]) -> Iterator[Candidate]:
    """``+ a @ b.T``: a path that was forgotten."""
    matrices = [p for p in ground.pieces(node) if is_array(p.value) and p.value.ndim == 2 and p.value.dtype.kind == "f"]
    for a in matrices:
        for b in matrices:
            for turned in ("", "a", "b"):
                (n, k), (m, out) = (
                    (*p.value.shape[::-1],) if turned == w else p.value.shape for p, w in ((a, "a"), (b, "b"))
                )
                if a is not b and k == m and (n, out) == shape:
                    left, right = (attribute(p.node, "T") if turned == w else p.node for p, w in ((a, "a"), (b, "b")))
                    new = binary(left, "@", right)
                    said = f"`+ {ast.unparse(new)}` put in"
                    cost = 2.9 + a.cost + b.cost + 0.1 * bool(turned)
                    yield Candidate("term", cost, said, binary(node, "+", new))


def _penalties(ground: Ground, node: ast.expr, shape: tuple[int, ...]) -> Iterator[Candidate]:
    """``+ c * W``."""
    pieces = ground.pieces(node)
    for c in pieces:
        for w in pieces:
            if is_number(c.value) and not isinstance(c.value, int) and c.value and np.shape(w.value) == shape:
                new = binary(c.node, "*", w.node)
                said = f"`+ {c.text} * {w.text}` put in"
                yield Candidate("term", 2.8 + c.cost + w.cost, said, binary(node, "+", new))
