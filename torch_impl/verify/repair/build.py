"""Nodes of a syntax tree, as ast.parse makes them."""

import ast
from typing import Any

SYMBOLS: dict[type[ast.AST], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.MatMult: "@", ast.Pow: "**", ast.FloorDiv: "//",
    ast.Mod: "%", ast.Gt: ">", ast.GtE: ">=", ast.Lt: "<", ast.LtE: "<=", ast.Eq: "==", ast.NotEq: "!=",
    ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^", ast.LShift: "<<", ast.RShift: ">>", ast.USub: "-",
    ast.UAdd: "+", ast.Invert: "~", ast.Not: "not ", ast.Is: "is", ast.IsNot: "is not", ast.In: "in",
    ast.NotIn: "not in",
}  # fmt: skip
OPERATORS: dict[str, Any] = {
    symbol: kind for kind, symbol in SYMBOLS.items() if issubclass(kind, ast.operator | ast.cmpop)
}


def name(of: str) -> ast.Name:
    """A name that is read."""
    return ast.Name(of, ast.Load())


def number(value: float) -> ast.expr:
    """A number; a negative one is a minus before a constant."""
    return ast.UnaryOp(ast.USub(), ast.Constant(-value)) if value < 0 else ast.Constant(value)


def binary(left: ast.expr, symbol: str, right: ast.expr) -> ast.BinOp:
    """``left symbol right``."""
    return ast.BinOp(left, OPERATORS[symbol](), right)


def compare(left: ast.expr, symbol: str, right: ast.expr) -> ast.Compare:
    """``left symbol right``, a comparison."""
    return ast.Compare(left, [OPERATORS[symbol]()], [right])


def negative(node: ast.expr) -> ast.expr:
    """``-node``."""
    return ast.UnaryOp(ast.USub(), node)


def attribute(node: ast.expr, attr: str) -> ast.Attribute:
    """``node.attr``."""
    return ast.Attribute(node, attr, ast.Load())


def call(function: ast.expr, *args: ast.expr, **keywords: Any) -> ast.Call:
    """A call; a keyword's value is a node, or a constant or tuple of constants."""
    return ast.Call(function, list(args), [ast.keyword(key, constant(value)) for key, value in keywords.items()])


def constant(value: Any) -> ast.expr:
    """A constant or a tuple of constants; an expression stays what it is."""
    if isinstance(value, ast.expr):
        return value
    if isinstance(value, tuple):
        return ast.Tuple([constant(v) for v in value], ast.Load())
    return number(value) if isinstance(value, int | float) and not isinstance(value, bool) else ast.Constant(value)


def method(node: ast.expr, of: str, *args: ast.expr, **keywords: Any) -> ast.Call:
    """``node.of(…)``."""
    return call(attribute(node, of), *args, **keywords)


def item(node: ast.expr, index: ast.expr) -> ast.Subscript:
    """``node[index]``."""
    return ast.Subscript(node, index, ast.Load())


def indices(symbols: str) -> ast.expr:
    """``:`` an axis as it is, ``<`` one reversed, ``n`` a new one: ``":<"`` is [:, ::-1]."""
    parts: dict[str, ast.expr] = {
        ":": ast.Slice(),
        "<": ast.Slice(step=number(-1)),
        "n": ast.Constant(None),
    }
    found = [parts[s] for s in symbols]
    return found[0] if len(found) == 1 else ast.Tuple(found, ast.Load())
