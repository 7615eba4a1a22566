"""What an expression would be worth, from what was seen: so that edits are left out that raise or that change nothing.

Only NumPy's own functions without side effects are called, never the user's.
"""

import ast
import math
import operator
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

BINARY: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.MatMult: operator.matmul, ast.Pow: operator.pow, ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
    ast.Gt: operator.gt, ast.GtE: operator.ge, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Eq: operator.eq,
    ast.NotEq: operator.ne, ast.BitAnd: operator.and_, ast.BitOr: operator.or_,
}  # fmt: skip
UNARY: dict[type[ast.AST], Callable[[Any], Any]] = {
    ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Invert: operator.invert, ast.Not: operator.not_,
}  # fmt: skip
BUILTINS: dict[str, Any] = {
    "len": len, "float": float, "int": int, "bool": bool, "abs": abs, "sum": sum, "max": max, "min": min,
    "range": range, "tuple": tuple, "list": list,
}  # fmt: skip


def words(text: str) -> frozenset[str]:
    """The words of a text, as a set."""
    return frozenset(text.split())


PURE = words(
    "sum mean max min amax amin prod std var argmax argmin any all cumsum exp log log1p expm1 sqrt square abs "
    "absolute sign tanh sin cos sinh cosh arctan maximum minimum dot outer multiply divide subtract add power "
    "matmul zeros_like ones_like empty_like full_like zeros ones where clip reshape transpose swapaxes flip "
    "rot90 squeeze expand_dims broadcast_to copy array asarray atleast_2d diag eye negative reciprocal isnan "
    "einsum tensordot concatenate stack hstack vstack pad repeat arange logical_not round float64 float32 size "
    "shape roll tile trace diagflat"
)
METHODS = words(
    "sum mean max min prod std var argmax argmin any all cumsum reshape transpose swapaxes copy astype dot "
    "squeeze flatten ravel clip repeat round diagonal trace"
)
ATTRIBUTES = words("T shape size ndim dtype")


class UnknownValueError(Exception):
    """What this is worth was not seen, and can't be found without running the user's code."""


def is_array(value: Any) -> bool:
    """An array of numbers or of truth values."""
    return isinstance(value, np.ndarray) and value.dtype.kind in "fiub"


def is_number(value: Any) -> bool:
    """A number of Python's or NumPy's, truth values aside."""
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def plain(value: Any) -> bool:
    """What arithmetic may be done with here."""
    return is_array(value) or isinstance(value, int | float | np.generic)


def evaluate(node: ast.expr, known: Mapping[ast.expr, Any], names: Mapping[str, Any], numpy: str | None) -> Any:
    """The value of ``node``; raises what the code would raise, or UnknownValueError."""

    def value(node: Any) -> Any:
        if node in known:
            return known[node]
        return inside(node)

    def inside(node: Any) -> Any:
        match node:
            case ast.Constant():
                return node.value
            case ast.Name() if node.id in names:
                return names[node.id]
            case ast.BinOp() if type(node.op) in BINARY:
                return _calculated(BINARY[type(node.op)], value(node.left), value(node.right))
            case ast.Compare(ops=[op]) if type(op) in BINARY:
                return _calculated(BINARY[type(op)], value(node.left), value(node.comparators[0]))
            case ast.UnaryOp():
                return _calculated(UNARY[type(node.op)], value(node.operand))
            case ast.Attribute(value=ast.Name(id=base)) if base == numpy:
                return getattr(np, node.attr)
            case ast.Attribute(value=ast.Name(id="math")) if "math" not in names:
                return getattr(math, node.attr)
            case ast.Attribute():
                return _attribute(value(node.value), node.attr)
            case ast.Tuple():
                return tuple(map(value, node.elts))
            case ast.List():
                return list(map(value, node.elts))
            case ast.Slice():
                return slice(*(None if part is None else value(part) for part in (node.lower, node.upper, node.step)))
            case ast.Subscript():
                whole = value(node.value)
                if is_array(whole) or isinstance(whole, tuple | list | dict):
                    return whole[value(node.slice)]
            case ast.Call():
                return _called(node, value, numpy, names)
        raise UnknownValueError

    return inside(node)


@contextmanager
def quietly() -> Iterator[None]:
    """Without NumPy's warnings: what is tried may divide by zero."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _calculated(function: Callable[..., Any], *operands: Any) -> Any:
    if not all(map(plain, operands)):
        raise UnknownValueError
    if function is operator.pow and all(isinstance(x, int) for x in operands) and max(operands) > 100:
        raise OverflowError("an integer of too many digits")
    return function(*operands)


def _attribute(value: Any, name: str) -> Any:
    if is_array(value) and name in ATTRIBUTES:
        return getattr(value, name)
    fields = getattr(value, "__dict__", {})  # no property is run
    if name in fields:
        return fields[name]
    raise UnknownValueError


def _called(node: ast.Call, value: Callable[[Any], Any], numpy: str | None, names: Mapping[str, Any]) -> Any:
    function: Any
    match node.func:
        case ast.Attribute(value=ast.Name(id=base), attr=attr) if base == numpy and attr in PURE:
            function = getattr(np, attr)
        case ast.Attribute(value=ast.Name(id="math"), attr=attr) if "math" not in names:
            function = getattr(math, attr)
        case ast.Attribute(value=owner, attr=attr) if attr in METHODS:
            array = value(owner)
            if not is_array(array):
                raise UnknownValueError
            function = getattr(array, attr)
        case ast.Name(id=of) if of in BUILTINS and of not in names:
            function = BUILTINS[of]
        case _:
            raise UnknownValueError
    keywords = {k.arg: k.value for k in node.keywords}
    if None in keywords or "out" in keywords or any(isinstance(a, ast.Starred) for a in node.args):
        raise UnknownValueError
    arguments = [_type_or(value, a) for a in node.args]
    return function(*arguments, **{str(k): _type_or(value, v) for k, v in keywords.items()})


def _type_or(value: Callable[[Any], Any], node: ast.expr) -> Any:
    if isinstance(node, ast.Name) and node.id in ("float", "int", "bool"):
        return BUILTINS[node.id]
    return value(node)


def same(a: Any, b: Any) -> bool:
    """Equal to rounding, and of one shape and kind."""
    if is_array(a) or is_array(b):
        if np.shape(a) != np.shape(b) or not (plain(a) and plain(b)):
            return False
        a, b = np.asarray(a), np.asarray(b)
        if (a.dtype.kind == "b") != (b.dtype.kind == "b"):
            return False
        if a.dtype.kind == "b":
            return bool((a == b).all())
        return bool((np.abs(a - b) <= 1e-12 * np.minimum(np.abs(a), np.abs(b))).all())
    try:
        return bool(a == b) or (is_number(a) and is_number(b) and abs(a - b) <= 1e-12 * min(abs(a), abs(b)))
    except Exception:  # what the user's objects do when they are compared is theirs
        return False


class Known(dict[Any, Any]):
    """Some values before others."""

    def __init__(self, given: Mapping[Any, Any], rest: Mapping[Any, Any]) -> None:
        super().__init__(given)
        self.rest = rest

    def __contains__(self, node: Any) -> bool:
        return super().__contains__(node) or node in self.rest

    def __missing__(self, node: Any) -> Any:
        return self.rest[node]
