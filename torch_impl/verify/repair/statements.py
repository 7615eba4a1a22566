"""Whole statements: assigned for added, exchanged, moved, left out; what a loop hands to its next iteration."""

import ast
from collections.abc import Iterator
from typing import Any

import numpy as np

from torch_impl.verify.repair.build import SYMBOLS, attribute, binary, call, name, number
from torch_impl.verify.repair.ground import MISSING, Ground, Piece
from torch_impl.verify.repair.records import Edit
from torch_impl.verify.repair.values import is_array, is_number

FARTHEST = 6  # statements in one block that are exchanged


def of_statements(ground: Ground) -> Iterator[Edit]:
    """Every edit of whole statements."""
    for statement in ground.statements:
        if isinstance(statement, ast.Assign | ast.AugAssign) and not ground.steers(statement):
            yield from _assignments(ground, statement)
    for owner, field in ground.blocks:
        yield from _in_block(ground, owner, field)
    for statement in ground.statements:
        if isinstance(statement, ast.For):
            yield from _moved_through(ground, statement)
            yield from _carried(ground, statement)
            yield from _handed_on(ground, statement)


# --- one assignment ---------------------------------------------------------------------------------------------------


def _assignments(ground: Ground, statement: ast.Assign | ast.AugAssign) -> Iterator[Edit]:
    """``=`` for ``+=`` and the reverse, ``np.add.at`` for repeated indices, a new array for one changed in place."""
    body, at = ground.place[statement]

    def edit(kind: str, said: str, cost: float, new: ast.stmt) -> Edit:
        return Edit(kind, said, cost, statement.lineno, ((body, at, new),))

    if isinstance(statement, ast.AugAssign):
        target: Any = statement.target
        value, symbol = statement.value, SYMBOLS[type(statement.op)]
        yield edit("assignment", f"`=` for `{symbol}=`", 1.0, ast.Assign([target], value))
        for other in {"+": "-*", "-": "+*", "*": "/+", "/": "*", "@": "*"}.get(symbol, ""):
            op = type(binary(value, other, value).op)()
            yield edit("operator", f"`{other}=` for `{symbol}=`", 1.0, ast.AugAssign(target, op, value))
        if isinstance(target, ast.Name):
            new = ast.Assign([target], binary(name(target.id), symbol, value))
            yield edit("assignment", f"a new array for `{target.id}`, which is changed in place", 1.2, new)
    elif len(statement.targets) == 1 and not isinstance(statement.targets[0], ast.Tuple):
        target, value = statement.targets[0], statement.value
        bound = not isinstance(target, ast.Name) or target.id in ground.names_once(statement)
        for symbol in "+-" if bound else "":
            op = type(binary(value, symbol, value).op)()
            new_aug = ast.AugAssign(target, op, value)
            yield edit("assignment", f"`{symbol}=` for `=`", 1.0 + 0.5 * (symbol == "-"), new_aug)
    else:
        return
    if isinstance(target, ast.Subscript) and ground.numpy and _picks(ground, target.slice):
        whole = ast.Subscript(target.value, target.slice, ast.Load()).value
        add = attribute(attribute(name(ground.numpy), "add"), "at")
        for cost, put in ((1.0, value), (1.8, ast.UnaryOp(ast.USub(), value))):
            said = f"`{ground.numpy}.add.at` for `{'+=' if isinstance(statement, ast.AugAssign) else '='}`"
            yield edit("assignment", said, cost, ast.Expr(call(add, whole, target.slice, put)))


def _picks(ground: Ground, index: ast.expr) -> bool:
    """Whether an index may hold one place several times."""
    parts = index.elts if isinstance(index, ast.Tuple) else [index]
    sliced = any(isinstance(part, ast.Slice) for part in parts)
    arrays = [ground.value(part) for part in parts]
    return not sliced and any(isinstance(v, list) or (is_array(v) and v.dtype.kind in "iu") for v in arrays)


# --- the statements of a block ----------------------------------------------------------------------------------------


def _movable(ground: Ground, statement: ast.stmt) -> bool:
    kinds = isinstance(statement, ast.Assign | ast.AugAssign | ast.Expr)
    docstring = isinstance(statement, ast.Expr) and not isinstance(statement.value, ast.Call)
    return kinds and not docstring and ground.calm(statement) and not ground.steers(statement)


def _written(statement: ast.AST) -> set[str]:
    """The names that a statement binds or changes."""
    found = {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    for node in ast.walk(statement):
        if isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store):
            found |= _bases(node)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            found |= {n.id for n in ast.walk(node.value) if isinstance(n, ast.Name)}
    return found


def _bases(node: ast.expr) -> set[str]:
    while isinstance(node, ast.Subscript | ast.Attribute):
        node = node.value
    return {node.id} if isinstance(node, ast.Name) else set()


def _read(statement: ast.AST) -> set[str]:
    found = {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    return found | (_written(statement) if isinstance(statement, ast.AugAssign) else set())


def _disturbs(a: ast.AST, b: ast.AST) -> bool:
    """Whether the order of two statements matters."""
    return bool(_written(a) & (_read(b) | _written(b)) or _written(b) & _read(a))


def _in_block(ground: Ground, owner: ast.AST, field: str) -> Iterator[Edit]:
    """Two statements exchanged, one moved up or down, one left out."""
    body: list[ast.stmt] = getattr(owner, field)
    can = [_movable(ground, s) for s in body]

    def edit(said: str, cost: float, first: int, new: list[ast.stmt]) -> Edit:
        return Edit("statement", said, round(cost, 2), body[first].lineno, ((vars(owner), field, new),))

    for i, statement in enumerate(body):
        if not can[i]:
            continue
        if not _binds_alone(ground, statement):
            rest = [*body[:i], *body[i + 1 :]] or [ast.Pass()]
            yield edit(f"line {statement.lineno} left out", 1.3, i, rest)
        for j in range(i + 1, min(i + 1 + FARTHEST, len(body))):
            between = body[i + 1 : j]
            matters = any(_disturbs(statement, s) for s in [*between, body[j]])
            matters = matters or any(_disturbs(body[j], s) for s in between)
            if can[j] and matters and _runs(ground, body, _swap(body, i, j)):
                said = f"lines {statement.lineno} and {body[j].lineno} exchanged"
                yield edit(said, 1.0 + 0.1 * (j - i), i, _swap(body, i, j))
            if j > i + 1:
                yield from _moved(ground, body, i, j, can, edit)


def _swap(body: list[ast.stmt], i: int, j: int) -> list[ast.stmt]:
    new = list(body)
    new[i], new[j] = body[j], body[i]
    return new


def _moved(ground: Ground, body: list[ast.stmt], i: int, j: int, can: list[bool], edit: Any) -> Iterator[Edit]:
    """Line i put after j, and line j put before i."""
    down = [*body[:i], *body[i + 1 : j + 1], body[i], *body[j + 1 :]]
    up = [*body[:i], body[j], *body[i:j], *body[j + 1 :]]
    for moves, new, line, where in (
        (body[i], down, i, f"after line {body[j].lineno}"),
        (body[j], up, j, f"before line {body[i].lineno}"),
    ):
        others = [s for s in body[i : j + 1] if s is not moves]
        last = others[-1] if moves is body[i] else others[0]
        if can[line] and not isinstance(body[j], ast.Return) and _disturbs(moves, last) and _runs(ground, body, new):
            yield edit(f"line {moves.lineno} moved {where}", 1.2 + 0.1 * (j - i), i, new)


def _runs(ground: Ground, body: list[ast.stmt], new: list[ast.stmt]) -> bool:
    """Whether in the new order every name is bound before it is read, as it was in the old."""
    inside = {n for s in body for n in _written(s)}
    bound = {n for n in inside if ground.bound.get(n, -1) < ground.number[body[0]]}
    for statement in new:
        if (_read(statement) & inside) - bound and not _within_loop(ground, body):
            return False
        bound |= _written(statement)
    return True


def _within_loop(ground: Ground, body: list[ast.stmt]) -> bool:
    return isinstance(ground.parent[body[0]], ast.For)


def _binds_alone(ground: Ground, statement: ast.stmt) -> bool:
    """Whether a name that is read later has its value from here alone."""
    if isinstance(statement, ast.Assign):
        names = {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        return any(ground.bound.get(n) == ground.number[statement] for n in names)
    return False


# --- loops ------------------------------------------------------------------------------------------------------------


def _moved_through(ground: Ground, loop: ast.For) -> Iterator[Edit]:
    """A statement moved into the loop above it, or out of the loop that it ends: a slip of indentation."""
    block, at = ground.place[loop]
    owner = ground.parent[loop]
    field = next(f for f, v in ast.iter_fields(owner) if v is block)

    def edit(said: str, cost: float, line: int, outside: list[ast.stmt], inside: list[ast.stmt]) -> Edit:
        return Edit("indentation", said, cost, line, ((vars(owner), field, outside), (vars(loop), "body", inside)))

    for j in range(at + 1, min(at + 3, len(block))):
        s = block[j]
        if _movable(ground, s) and all(_movable(ground, other) for other in block[at + 1 : j]):
            moved = block[at + 1 : j + 1]
            said = (
                f"line {s.lineno} moved into the loop"
                if j == at + 1
                else f"lines {moved[0].lineno} to {s.lineno} moved"
            )
            outside = [*block[: at + 1], *block[j + 1 :]] or [ast.Pass()]
            yield edit(said, 1.2 + 0.2 * (j - at - 1), s.lineno, outside, [*loop.body, *moved])
    last, first = loop.body[-1], loop.body[0]
    if len(loop.body) > 1:
        if _movable(ground, last) or isinstance(last, ast.Return):
            outside = [*block[: at + 1], last, *block[at + 1 :]]
            yield edit(f"line {last.lineno} moved out of the loop", 1.2, last.lineno, outside, loop.body[:-1])
        if _movable(ground, first):
            outside = [*block[:at], first, *block[at:]]
            yield edit(f"line {first.lineno} moved before the loop", 1.3, first.lineno, outside, loop.body[1:])


def _carried(ground: Ground, loop: ast.For) -> Iterator[Edit]:
    """``dh = X + dh_next``, where the loop sets ``dh_next`` for the iteration that follows."""
    set_here = {n: s for s in loop.body for n in _written(s)}
    block, at = ground.place[loop]
    owner = ground.parent[loop]
    field = next(f for f, v in ast.iter_fields(owner) if v is block)
    for statement in loop.body:
        simple = isinstance(statement, ast.Assign) and len(statement.targets) == 1
        if not simple or ground.steers(statement):
            continue
        assert isinstance(statement, ast.Assign)
        old = ground.value(statement.value)
        names = _last_values(ground, loop)
        shape = old.shape if is_array(old) else None
        for carry in (c for c in set_here if is_array(names.get(c)) and names[c].shape == shape):
            later = ground.number[set_here[carry]] >= ground.number[statement]
            before = ground.bound.get(carry, -1) < ground.number[loop]
            if not later or carry in _read(statement):
                continue
            like = 0.0 if "next" in carry or "prev" in carry else 0.3
            sum_ = binary(statement.value, "+", name(carry))
            changes: list[tuple[Any, Any, Any]] = [(vars(statement), "value", sum_)]
            if not before:
                zero = ast.Assign([ast.Name(carry, ast.Store())], number(0))
                changes.append((vars(owner), field, [*block[:at], zero, *block[at:]]))
            cost = (1.6 if before else 2.3) + like
            said = f"`+ {carry}` put in: what the iteration before handed on"
            yield Edit("carry", said, cost, statement.lineno if before else loop.lineno, tuple(changes))


def _last_values(ground: Ground, loop: ast.For) -> dict[str, Any]:
    """The locals at the end of the last iteration, as far as they were seen."""
    found: dict[str, Any] = {}
    for statement in loop.body:
        found |= ground.seen.scope.get(statement, {})
    for statement in loop.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            value = ground.value(statement.value)
            if value is not MISSING:
                found[statement.targets[0].id] = value
    return found


def _handed_on(ground: Ground, loop: ast.For) -> Iterator[Edit]:
    """``dh_next = …`` at the end of a loop that uses ``dh_next`` and never sets it."""
    set_here = {n for s in loop.body for n in _written(s)}
    values = _last_values(ground, loop)
    used = {n.id: n for s in loop.body for n in ast.walk(s) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    first = ground.number[loop]
    for carry, node in used.items():
        value = values.get(carry)
        if carry in set_here or ground.bound.get(carry, first) >= first or not (is_array(value) or is_number(value)):
            continue
        parent = ground.parent.get(node)
        summed: Any = ground.value(parent) if isinstance(parent, ast.BinOp) else value
        if not isinstance(parent, ast.BinOp | ast.AugAssign | ast.Assign) or not is_array(summed):
            continue
        hint = 0.0 if "next" in carry or "prev" in carry else 0.5
        for piece in _made_in(ground, loop, values, set_here, summed.shape):
            new = ast.Assign([ast.Name(carry, ast.Store())], piece.node)
            said = f"`{carry} = {piece.text}` put at the end of the loop"
            change = ((vars(loop), "body", [*loop.body, new]),)
            yield Edit("carry", said, round(1.8 + hint + piece.cost, 2), loop.body[-1].lineno, change)


def _made_in(
    ground: Ground, loop: ast.For, values: dict[str, Any], set_here: set[str], shape: tuple[int, ...]
) -> Iterator[Piece]:
    """Arrays of this shape that are made of what the loop computes."""
    arrays = {n: v for n, v in values.items() if is_array(v)}
    others: dict[str, tuple[ast.expr, Any]] = {n: (name(n), v) for n, v in arrays.items() if v.ndim == 2}
    others |= {
        p.text: (p.node, p.value)
        for p in ground.pieces(loop.body[-1])
        if "." in p.text and p.value is not None and np.ndim(p.value) == 2
    }
    for made in (n for n in arrays if n in set_here):
        v, node = arrays[made], name(made)
        if v.shape == shape:
            yield Piece(node, made, v, 0.0)
            for f in (n for n in arrays if n != made and arrays[n].shape == shape):
                yield Piece(binary(node, "*", name(f)), f"{made} * {f}", None, 0.6)
        for of, (w, matrix) in others.items():
            if of == made or v.ndim == 0:
                continue
            turned = attribute(w, "T")
            for left, right, a, b, cost in (
                (node, w, v, matrix, 0.3),
                (node, turned, v, matrix.T, 0.3),
                (w, node, matrix, v, 0.4),
                (turned, node, matrix.T, v, 0.3),
            ):
                if a.shape[-1] == b.shape[0] and (*a.shape[:-1], *b.shape[1:]) == shape:
                    product = binary(left, "@", right)
                    yield Piece(product, ast.unparse(product), None, cost)
