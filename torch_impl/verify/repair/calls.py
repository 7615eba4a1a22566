"""Calls: another function, another axis, arguments exchanged, a call put in or taken out, another type of numbers."""

import ast
from collections.abc import Iterator
from typing import Any

from torch_impl.verify.repair.build import attribute, call, constant, item, method, name, number
from torch_impl.verify.repair.ground import MISSING, Ground, dotted_name
from torch_impl.verify.repair.records import Candidate
from torch_impl.verify.repair.values import METHODS, is_array, is_number, words

# Functions that stand for each other, and the cost of it.
OTHERS: dict[str, dict[str, float]] = {
    "sum": {"mean": 1.0, "max": 1.4, "cumsum": 1.6},
    "mean": {"sum": 1.0, "max": 1.5},
    "max": {"sum": 1.2, "min": 1.0, "mean": 1.4, "argmax": 1.4},
    "min": {"max": 1.0},
    "argmax": {"argmin": 1.0, "max": 1.4},
    "argmin": {"argmax": 1.0},
    "prod": {"sum": 1.2},
    "std": {"var": 1.0},
    "var": {"std": 1.0},
    "exp": {"log": 1.4, "tanh": 1.3, "expm1": 1.5},
    "expm1": {"exp": 1.2},
    "log": {"exp": 1.4, "log1p": 1.4},
    "log1p": {"log": 1.2},
    "sqrt": {"square": 1.2, "abs": 1.4},
    "square": {"sqrt": 1.2, "abs": 1.2},
    "abs": {"sign": 1.0, "square": 1.2},
    "sign": {"abs": 1.1},
    "tanh": {"exp": 1.4, "cosh": 1.5},
    "sin": {"cos": 1.0},
    "cos": {"sin": 1.0},
    "cosh": {"sinh": 1.0},
    "sinh": {"cosh": 1.0},
    "maximum": {"minimum": 1.0},
    "minimum": {"maximum": 1.0},
    "dot": {"outer": 1.2, "multiply": 1.2},
    "outer": {"dot": 1.2},
    "matmul": {"multiply": 1.2},
    "multiply": {"dot": 1.2, "divide": 1.2, "matmul": 1.3},
    "divide": {"multiply": 1.2},
    "add": {"subtract": 1.0},
    "subtract": {"add": 1.0},
    "zeros_like": {"ones_like": 1.2},
    "ones_like": {"zeros_like": 1.2},
    "zeros": {"ones": 1.3},
    "ones": {"zeros": 1.3},
    "flipud": {"fliplr": 1.0},
    "fliplr": {"flipud": 1.0},
}
REDUCTIONS = words("sum mean max min prod std var argmax argmin any all amax amin")
WITH_AXIS = REDUCTIONS | words("cumsum concatenate stack flip repeat expand_dims squeeze")


def base_of(ground: Ground, node: ast.Call) -> tuple[str, ast.expr | None]:
    """The name of a function of NumPy or of arrays, and the array that it is called on."""
    if isinstance(node.func, ast.Attribute):
        if ground.is_numpy(node.func):
            first = node.args[0] if node.args and not isinstance(node.args[0], ast.Starred) else None
            return node.func.attr, first
        if node.func.attr in METHODS:
            return node.func.attr, node.func.value
    return "", None


def functions(ground: Ground, node: ast.expr) -> Iterator[Candidate]:
    """Another function of NumPy's, or of the user's that ran."""
    if not isinstance(node, ast.Call):
        return
    of, _ = base_of(ground, node)
    if of and isinstance(node.func, ast.Attribute):
        is_method = not ground.is_numpy(node.func)
        for other, cost in OTHERS.get(of, {}).items():
            if not is_method or other in METHODS:
                function = attribute(node.func.value, other)
                said = f"`{ground.text(function)}` for `{ground.text(node.func)}`"
                yield Candidate("reduction" if of in REDUCTIONS else "function", cost, said, _as(node, function))
    elif isinstance(node.func, ast.Name) and ground.was_called(node.func.id):
        own = getattr(ground.function, "name", "")
        for other in sorted(n for n in ground.seen.called if "." not in n and n not in (node.func.id, own)):
            yield Candidate("function", 1.3, f"`{other}` for `{node.func.id}`", _as(node, name(other)))


def _as(node: ast.Call, function: ast.expr) -> ast.Call:
    return ast.Call(function, node.args, node.keywords)


def axes(ground: Ground, node: ast.expr) -> Iterator[Candidate]:
    """Another axis, none, all; keepdims put in or taken out."""
    if not isinstance(node, ast.Call):
        return
    of, array = base_of(ground, node)
    by_name = {k.arg: k for k in node.keywords}
    at = 0 if array is not None and not ground.is_numpy(node.func) else 1
    positional = of in WITH_AXIS and len(node.args) > at
    axis = by_name["axis"].value if "axis" in by_name else node.args[at] if positional else None
    if of not in WITH_AXIS and axis is None:
        return
    value = ground.value(array) if array is not None else MISSING
    ndim = value.ndim if is_array(value) else 2
    for new, said, cost in _other_axes(ground, axis, ndim, of in REDUCTIONS):
        yield Candidate("axis", cost, said, _with_axis(node, new, at, positional))
        if of in REDUCTIONS and "keepdims" not in by_name and new is not None:
            kept = _with_axis(node, new, at, positional)
            kept.keywords = [*kept.keywords, ast.keyword("keepdims", ast.Constant(True))]
            yield Candidate("axis", cost + 0.4, f"{said}, with keepdims", kept)
    if of in REDUCTIONS and not of.startswith("arg"):
        if "keepdims" in by_name:
            less = [k for k in node.keywords if k.arg != "keepdims"]
            yield Candidate("axis", 1.0, "keepdims taken out", ast.Call(node.func, node.args, less))
        elif axis is not None:
            more = [*node.keywords, ast.keyword("keepdims", ast.Constant(True))]
            yield Candidate("axis", 1.0, "keepdims put in", ast.Call(node.func, node.args, more))


def _other_axes(
    ground: Ground, axis: ast.expr | None, ndim: int, reduces: bool
) -> Iterator[tuple[ast.expr | None, str, float]]:
    """(axis, in words, cost); no axis is None."""
    text, now = (ground.text(axis), _literal(axis)) if axis is not None else ("none", None)
    negative = isinstance(now, int) and now < 0
    if axis is not None and now is None:
        return
    seen = {a % ndim for a in (now if isinstance(now, tuple) else (now,)) if isinstance(a, int) and ndim}
    for k in range(ndim):
        if {k} != seen:
            shown = k - ndim if negative or (axis is None and k == ndim - 1 and ndim > 2) else k
            yield number(shown), f"axis {shown} for {text}", 1.0 if axis is not None else 1.3
    if reduces and axis is not None:
        yield None, f"axis {text} taken out", 1.2
    if reduces and ndim > 2:
        for several in {tuple(range(ndim - 1)), (0, *range(2, ndim)), tuple(range(2, ndim)), tuple(range(1, ndim))}:
            if len(several) > 1 and set(several) != seen:
                yield constant(several), f"axes {several} for {text}", 1.2


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None


def _with_axis(node: ast.Call, axis: ast.expr | None, at: int, positional: bool) -> ast.Call:
    if positional and not any(k.arg == "axis" for k in node.keywords):
        args = node.args[:at] + ([axis] if axis is not None else []) + node.args[at + 1 :]
        return ast.Call(node.func, args, list(node.keywords))
    rest = [k for k in node.keywords if k.arg != "axis"]
    i = next((i for i, k in enumerate(node.keywords) if k.arg == "axis"), 0)
    if axis is not None:
        rest.insert(i, ast.keyword("axis", axis))
    return ast.Call(node.func, node.args, rest)


def arguments(ground: Ground, node: ast.expr) -> Iterator[Candidate]:
    """Two arguments exchanged, the branches of ``np.where`` too; two elements of a tuple; two values of a dict."""
    if isinstance(node, ast.Call):
        for i, j in _pairs(node.args[:4]):
            a, b = node.args[i], node.args[j]
            if isinstance(a, ast.Starred) or isinstance(b, ast.Starred):
                continue
            where = dotted_name(node.func) == f"{ground.numpy}.where"
            what = "the branches of `np.where`" if where else f"`{ground.text(a)}` and `{ground.text(b)}`"
            new = ast.Call(node.func, _exchanged(node.args, i, j), node.keywords)
            yield Candidate("arguments", 1.0 if where else 1.15 + 0.1 * (i + j > 1), f"{what} exchanged", new)
    elif isinstance(node, ast.Tuple | ast.List):
        kind = "returned" if isinstance(ground.parent[node], ast.Return) else "elements"
        for i, j in _pairs(node.elts[:8]):
            said = f"`{ground.text(node.elts[i])}` and `{ground.text(node.elts[j])}` exchanged"
            new_tuple = type(node)(_exchanged(node.elts, i, j), node.ctx)
            yield Candidate(kind, 1.0 + 0.05 * (j - i - 1), said, new_tuple)
    elif isinstance(node, ast.Dict):
        for i, j in _pairs(node.values[:10]):
            said = f"`{ground.text(node.values[i])}` and `{ground.text(node.values[j])}` exchanged"
            new_dict = ast.Dict(node.keys, _exchanged(node.values, i, j))
            yield Candidate("returned", 1.0 + 0.05 * (j - i - 1), said, new_dict)


def _pairs(of: list[Any]) -> list[tuple[int, int]]:
    return [(i, j) for i in range(len(of)) for j in range(i + 1, len(of)) if ast.dump(of[i]) != ast.dump(of[j])]


def _exchanged(of: list[Any], i: int, j: int) -> list[Any]:
    new = list(of)
    new[i], new[j] = of[j], of[i]
    return new


def unwrapped(ground: Ground, node: ast.expr) -> Iterator[Candidate]:
    """``x`` for ``f(x)`` and for ``x.sum()``."""
    if not isinstance(node, ast.Call):
        return
    of, array = base_of(ground, node)
    if array is None and node.args and not isinstance(node.args[0], ast.Starred):
        dotted = dotted_name(node.func)
        if ground.was_called(dotted) or dotted in ("reversed", "abs"):
            of, array = dotted, node.args[0]
    if array is not None and of not in ("zeros", "ones", "empty", "arange", "at"):
        yield Candidate("call", 1.1, f"`{ground.text(array)}` for `{ground.text(node)}`", array)


def wrapped(ground: Ground, node: ast.expr) -> Iterator[Candidate]:
    """A whole value summed or averaged over an axis, or in the shape of another array."""
    value = ground.value(node)
    if not is_array(value) or value.ndim == 0 or isinstance(node, ast.Tuple):
        return
    axes_: list[Any] = list(range(value.ndim)) + ([tuple(range(value.ndim - 1))] if value.ndim > 2 else [])
    axes_ += [(0, 2, 3)] if value.ndim == 4 else []
    for of, cost in (("sum", 1.6), ("mean", 2.0)):
        for axis in axes_ if value.ndim > 1 else []:
            for keep in ({}, {"keepdims": True}):
                new = method(node, of, axis=axis, **keep)
                said = f"`.{of}(axis={axis}{', keepdims=True' if keep else ''})` put in"
                yield Candidate("wrap", cost + 0.2 * bool(keep) + 0.05 * (axis != 0), said, new)
        yield Candidate("wrap", cost + 0.1, f"`.{of}()` put in", method(node, of))
    for piece in ground.pieces(node):
        if is_array(piece.value) and piece.value.size == value.size and piece.value.shape != value.shape:
            new = method(node, "reshape", attribute(piece.node, "shape"))
            yield Candidate("wrap", 1.8 + piece.cost, f"`.reshape({piece.text}.shape)` put in", new)


def buffers(ground: Ground, node: ast.expr) -> Iterator[Candidate]:
    """A buffer of integers made one of floats; a copy where two names would hold one array."""
    if isinstance(node, ast.Call):
        of, array = base_of(ground, node)
        made = ground.value(node)
        integers = made is MISSING or (is_array(made) and made.dtype.kind in "iub")
        if integers and array is not None and of in ("zeros_like", "ones_like", "empty_like", "zeros", "ones", "empty"):
            kept = [k for k in node.keywords if k.arg != "dtype"]
            new = ast.Call(node.func, node.args[:1], kept)
            if of.endswith("_like"):
                new.keywords = [*kept, ast.keyword("dtype", name("float"))]
            yield Candidate("dtype", 1.0, "a buffer of floats", new)
    parent = ground.parent[node]
    alias = isinstance(node, ast.Name | ast.Attribute | ast.Subscript) and is_array(ground.value(node))
    if alias and isinstance(parent, ast.Assign | ast.Return):
        yield Candidate("copy", 1.2, f"`{ground.text(node)}` copied", method(node, "copy"))


def scaled_numbers(ground: Ground, node: ast.expr) -> Iterator[Candidate]:
    """``np.sqrt(n)`` for ``n``: another function of a number, where it divides or multiplies."""
    parent = ground.parent[node]
    scales = isinstance(parent, ast.BinOp) and isinstance(parent.op, ast.Div | ast.Mult)
    if ground.numpy and scales and is_number(ground.value(node)) and not isinstance(node, ast.Constant | ast.Call):
        new = call(attribute(name(ground.numpy), "sqrt"), node)
        yield Candidate("function", 1.6, f"`{ground.text(new)}` for `{ground.text(node)}`", new)


def broadcast(ground: Ground, node: ast.expr) -> Iterator[Candidate]:
    """``x[:, None]``, and ``x`` for it."""
    value = ground.value(node)
    if isinstance(node, ast.Name | ast.Attribute) and is_array(value) and value.ndim == 1:
        if isinstance(ground.parent[node], ast.BinOp):
            new = item(node, ast.Tuple([ast.Slice(), ast.Constant(None)], ast.Load()))
            yield Candidate("shape", 1.4, f"`{ground.text(node)}` as a column", new)
    elif isinstance(node, ast.Subscript) and "None" in ast.unparse(node.slice):
        yield Candidate("shape", 1.2, f"`{ground.text(node.value)}` for `{ground.text(node)}`", node.value)
