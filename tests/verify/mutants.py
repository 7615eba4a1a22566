"""Faults that nobody chose: every backward of scratch with one operator, operand, axis, index or constant changed.

    python -m tests.verify.mutants

prints, for every backward, how many mutants there are, how many the verifier finds, and what it calls them. A mutant
that computes the same numbers as the original is none, and is counted as equivalent. Names were judged one by one:
those in NAMED are true descriptions of the mutant; any other name is a wrong one. Whether a mutant is linear in its
upstream gradient is measured.
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table

import scratch
from scratch import optim
from scratch.layers import takes
from torch_impl.counterparts import EXAMPLES
from torch_impl.parity import every_loss, random_case
from torch_impl.verify import verify_layer, verify_loss, verify_optimizer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch_impl.verify import Report

# What the figures in docs/verifier.md were measured with: a new layer changes none of them.
LAYERS_MEASURED = (
    "Linear", "Dropout", "ReLU", "LeakyReLU", "ELU", "Sigmoid", "Tanh", "SiLU", "GELU", "GELU, tanh", "Softmax",
)  # fmt: skip
OPTIMIZERS = {
    "SGD": scratch.SGD(0.1),
    "SGD, momentum": scratch.SGD(0.1, momentum=0.9, dampening=0.2),
    "SGD, Nesterov": scratch.SGD(0.1, momentum=0.9, nesterov=True),
    "AdaGrad": scratch.AdaGrad(),
    "RMSprop": scratch.RMSprop(momentum=0.9),
    "AdamW": scratch.AdamW(),
}


@dataclass(frozen=True)
class Mutant:
    """One change in one method: ``line`` as it is now."""

    owner: str
    change: str
    line: str
    report: Callable[[], Report]
    outcome: Callable[[], Any]  # what it computes, to be compared with the original's
    linear: Callable[[], bool] = lambda: True  # in the upstream gradient

    @property
    def name(self) -> str:
        return f"{self.owner} | {self.change} | {self.line}"


# --- changing one thing -----------------------------------------------------------------------------------------------


# Functions of NumPy, and what may stand in their place.
_OTHERS: dict[str, tuple[str, ...]] = {
    "np.sum": ("np.mean", "np.max"),
    "np.exp": ("np.tanh",),
    "np.sqrt": ("np.square",),
    "np.sign": ("np.abs",),
}


def changes(node: ast.AST, names: set[str]) -> Iterator[tuple[str, ast.AST]]:
    """Every way to change one node: a description, and the new node."""
    swaps: dict[type, tuple[type, ...]] = {
        ast.Add: (ast.Sub, ast.Mult),
        ast.Sub: (ast.Add,),
        ast.Mult: (ast.Div, ast.Add),
        ast.Div: (ast.Mult,),
        ast.Gt: (ast.GtE, ast.Lt),
    }
    if isinstance(node, ast.BinOp):
        for other in swaps.get(type(node.op), ()):
            yield f"{_op(node.op)} → {_op(other())}", ast.BinOp(node.left, other(), node.right)
        if isinstance(node.op, ast.MatMult | ast.Sub | ast.Div):
            yield f"operands of {_op(node.op)} swapped", ast.BinOp(node.right, node.op, node.left)
        if isinstance(node.op, ast.Mult):
            yield "left factor dropped", node.right
            yield "right factor dropped", node.left
    elif isinstance(node, ast.AugAssign):
        for other in swaps.get(type(node.op), ()):
            yield f"{_op(node.op)}= → {_op(other())}=", ast.AugAssign(node.target, other(), node.value)
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        for other in swaps.get(type(node.ops[0]), ()):
            yield f"{_op(node.ops[0])} → {_op(other())}", ast.Compare(node.left, [other()], node.comparators)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        for value in {node.value + 1, -node.value, 0 if node.value == -1 else node.value * 3} - {node.value}:
            yield f"{node.value} → {value}", ast.Constant(value)
    elif isinstance(node, ast.Attribute) and node.attr == "T":
        yield ".T dropped", node.value
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in names:
        for other in sorted(names - {node.id}):
            yield f"{node.id} → {other}", ast.Name(other, ast.Load())
    elif isinstance(node, ast.Call):
        function = ast.unparse(node.func)
        for other in _OTHERS.get(function, ()):
            yield f"{function} → {other}", ast.Call(ast.parse(other, mode="eval").body, node.args, node.keywords)
        if function == "np.where":
            yield "branches of np.where swapped", ast.Call(node.func, [node.args[0], node.args[2], node.args[1]], [])


def _op(op: ast.AST) -> str:
    return {"Add": "+", "Sub": "−", "Mult": "·", "Div": "/", "MatMult": "@", "Gt": ">", "GtE": "≥", "Lt": "<"}[
        type(op).__name__
    ]


def mutated(function: Any) -> Iterator[tuple[str, str, Any]]:
    """(change, line, function) for every change of one thing in the body of ``function``."""
    source = textwrap.dedent(inspect.getsource(function))
    tree = ast.parse(source)
    definition = tree.body[0]
    assert isinstance(definition, ast.FunctionDef)
    definition.returns = None
    arguments = definition.args
    for a in arguments.args:
        a.annotation = None
    stored = {n.id for n in ast.walk(definition) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    names = (stored | {a.arg for a in arguments.args}) - {"self", "cache", "need_dx", "slots", "t", "rows"}
    nodes = [n for statement in definition.body for n in ast.walk(statement)]
    places, in_checks = _places(definition), _in_checks(nodes)
    original = ast.unparse(tree).splitlines()
    for node in nodes:
        if node in in_checks:
            continue
        for change, new in changes(node, names):
            _put(new, places[node])
            ast.fix_missing_locations(tree)
            lines = zip(original, ast.unparse(tree).splitlines(), strict=True)
            line = next((after.strip() for before, after in lines if before != after), "")
            scope: dict[str, Any] = {}
            exec(compile(tree, f"<{change}>", "exec"), function.__globals__, scope)
            _put(node, places[node])
            yield change, line, scope[definition.name]


def _in_checks(nodes: list[ast.AST]) -> set[ast.AST]:
    """What stands in a call of scratch.checks."""
    calls = (n for n in nodes if isinstance(n, ast.Call) and ast.unparse(n.func).startswith("checks."))
    return {node for call in calls for node in ast.walk(call)}


def _places(tree: ast.AST) -> dict[ast.AST, tuple[Any, Any]]:
    """Where each node of the tree stands: the list and the index in it, or the node's fields and a name."""
    places: dict[ast.AST, tuple[Any, Any]] = {}
    for parent in ast.walk(tree):
        for field, value in ast.iter_fields(parent):
            held = enumerate(value) if isinstance(value, list) else [(field, value)]
            container = value if isinstance(value, list) else vars(parent)
            places |= {node: (container, key) for key, node in held if isinstance(node, ast.AST)}
    return places


def _put(node: ast.AST, place: tuple[Any, Any]) -> None:
    container, key = place
    container[key] = node


# --- the mutants of scratch -------------------------------------------------------------------------------------------


def mutants() -> Iterator[Mutant]:
    """Every mutant, equivalent ones among them."""
    for name, (layer, _) in EXAMPLES.items():
        if name in LAYERS_MEASURED:
            yield from _of_layer(name, layer)
    logits = np.random.default_rng(1).standard_normal((7, 5))
    for name, (loss, y) in every_loss(logits, np.random.default_rng(2)).items():
        yield from _of_loss(name, loss, logits, y)
    for name, optimizer in OPTIMIZERS.items():
        yield from _of_optimizer(name, optimizer)
    yield from _of_adam()


def _with(record: Any, method: str, function: Any) -> Any:
    """The same record, of a subclass with this method."""
    cls = type(record)
    return type(cls.__name__, (cls,), {method: function, "__module__": cls.__module__})(**vars(record))


def _of_layer(name: str, layer: Any) -> Iterator[Mutant]:
    def gradients(layer: Any, times: float = 1) -> Any:
        found = []
        for batch in (1, 7):
            params, x, dy = random_case(layer, (5,), np.random.default_rng(batch), batch)
            stochastic = {"training": np.random.default_rng(0)} if takes(layer.forward, "training") else {}
            _, cache = layer.forward(x, *params.values(), **stochastic)
            grads = [np.full_like(p, np.nan) for p in params.values()]
            found += [layer.backward(times * dy, cache, *grads), *grads]
        return found

    for change, line, function in mutated(type(layer).backward):
        other = _with(layer, "backward", function)
        yield Mutant(
            name,
            change,
            line,
            lambda o=other: verify_layer(o, (7, 5)),
            lambda o=other: (gradients(o), gradients(layer)),
            lambda o=other: all(_same(a, -1.7 * b) for a, b in zip(gradients(o, -1.7), gradients(o), strict=True)),
        )


def _of_loss(name: str, loss: Any, logits: Any, y: Any) -> Iterator[Mutant]:
    for change, line, function in mutated(type(loss).value_and_grad):
        other = _with(loss, "value_and_grad", function)

        def outcome(other: Any = other) -> Any:
            (value, gradient), (right_value, right) = other(logits, y), loss(logits, y)
            if not np.isclose(value, right_value, rtol=1e-12):
                return None  # the forward is another one: no mutant of the backward
            kink = logits.copy()
            kink[0] = y[0] if np.ndim(y) == 2 else 0
            return (gradient, other(kink, y)[1]), (right, loss(kink, y)[1])

        yield Mutant(name, change, line, lambda o=other: verify_loss(o, logits, y), outcome)


def _of_optimizer(name: str, optimizer: Any) -> Iterator[Mutant]:
    for change, line, function in mutated(type(optimizer).update):
        other = _with(optimizer, "update", function)
        yield Mutant(
            name, change, line, lambda o=other: verify_optimizer(o), lambda o=other: (_path(o), _path(optimizer))
        )


def _path(optimizer: Any) -> list[Any]:
    """The weights after each of five steps, without and with weight decay."""
    found = []
    for decay in (optimizer.weight_decay, 0.1):
        rng = np.random.default_rng(3)
        record = type(optimizer)(**{**vars(optimizer), "weight_decay": decay})
        w = rng.standard_normal(9)
        slots = record.slots(w)
        for t in range(1, 6):
            record.update(w, rng.standard_normal(9) * [1e-9, *[1] * 8], slots, record.lr * (1 + t % 2), t)
            found.append(w.copy())
    return found


def _of_adam() -> Iterator[Mutant]:
    """Adam's step is a function of its own."""
    original = scratch.Adam()
    for change, line, step in mutated(optim._adam_step):

        def update(self: Any, w: Any, g: Any, slots: Any, lr: float, t: int, step: Any = step) -> None:
            step(w, g + self.weight_decay * w, slots, lr, t, self.betas, self.eps)

        other = _with(original, "update", update)
        yield Mutant(
            "Adam", change, line, lambda o=other: verify_optimizer(o), lambda o=other: (_path(o), _path(original))
        )


# Mutants whose name is a true one, judged by hand: the mutant, and the name.
NAMED: dict[str, str] = {
    "Linear | dW → W | dy.T.dot(x, out=W)": "aliasing",
    "Dropout | right factor dropped | return dy if cache is None else dy": "dropout-mask-missing",
    "ReLU | right factor dropped | return dy": "activation-derivative-missing",
    "ReLU | > → ≥ | return dy * (x >= 0)": "kink-convention",
    "LeakyReLU | > → ≥ | return np.where(x >= 0, dy, self.slope * dy)": "kink-convention",
    "LeakyReLU | left factor dropped | return np.where(x > 0, dy, dy)": "activation-derivative-missing",
    "ELU | > → ≥ | return np.where(x >= 0, dy, dy * self.alpha * np.exp(np.minimum(x, 0)))": "kink-convention",
    "ELU | right factor dropped | return np.where(x > 0, dy, dy * np.exp(np.minimum(x, 0)))": "function-for-derivative",
    "Sigmoid | right factor dropped | return dy * y": "function-for-derivative",
    "Sigmoid | operands of − swapped | return dy * y * (y - 1)": "wrong-sign",
    "Tanh | right factor dropped | return dy": "activation-derivative-missing",
    "Tanh | operands of − swapped | return dy * (y * y - 1)": "wrong-sign",
    "SiLU | + → − | return dy * s * (1 - x * (1 - s))": "wrong-sign",
    "SiLU | operands of − swapped | return dy * s * (1 + x * (s - 1))": "wrong-sign",
    "SiLU | right factor dropped | return dy * s * (1 + x)": "function-for-derivative",  # s for s′ = s (1 − s)
    "GELU | right factor dropped | return dy": "activation-derivative-missing",
    "GELU, tanh | right factor dropped | return dy": "activation-derivative-missing",
    "Softmax | operands of − swapped | return y * ((dy * y).sum(axis=-1, keepdims=True) - dy)": "wrong-sign",
    "CrossEntropy, classes | /= → ·= | p *= n": "missing-batch-mean",
    "CrossEntropy, smoothed classes | /= → ·= | p *= n": "missing-batch-mean",
    **{
        f"CrossEntropy, {targets} | {change} | return (-(t * z).sum() / n, {gradient})": name
        for targets in ("soft targets", "smoothed targets")
        for change, gradient, name in (
            ("/ → ·", "(p * t.sum(axis=1, keepdims=True) - t) * n", "missing-batch-mean"),
            ("operands of − swapped", "(t - p * t.sum(axis=1, keepdims=True)) / n", "wrong-sign"),
        )
    },
    "BCEWithLogits | operands of − swapped | return (value, (y - p) / z.size)": "wrong-sign",
    "BCEWithLogits | z → value | return (value, (p - y) / value.size)": "wrong-divisor",
    "MSE | operands of − swapped | r = y - logits": "wrong-sign",
    "MSE | 2 → 3 | return ((r * r).sum() / r.size, r * (3 / r.size))": "constant-factor",
    "MSE | 2 → -2 | return ((r * r).sum() / r.size, r * (-2 / r.size))": "wrong-sign",
    "MSE | 2 → 6 | return ((r * r).sum() / r.size, r * (6 / r.size))": "constant-factor",
    "MSE | right factor dropped | return ((r * r).sum() / r.size, r)": "wrong-divisor",  # h = a · B K / 2
    "MAE | operands of − swapped | r = y - logits": "wrong-sign",
    "MAE | np.sign → np.abs | return (np.abs(r).sum() / r.size, np.abs(r) / r.size)": "function-for-derivative",
    "SGD | −= → += | w += lr * g": "wrong-sign",
    "SGD, momentum | += → −= | v -= g if self.dampening == 0 else (1 - self.dampening * (t > 1)) * g": "wrong-sign",
    "SGD, momentum | operands of − swapped | "
    "v += g if self.dampening == 0 else (self.dampening * (t > 1) - 1) * g": "wrong-sign",
    "SGD, momentum | −= → += | w += lr * g": "wrong-sign",
    "SGD, Nesterov | −= → += | w += lr * g": "wrong-sign",
    "AdaGrad | −= → += | w += lr * g / (np.sqrt(s) + self.eps)": "wrong-sign",
    "RMSprop | += → −= | v -= u": "wrong-sign",
    "RMSprop | −= → += | w += lr * u": "wrong-sign",
    "AdamW | − → + | w *= 1 + lr * self.weight_decay": "penalty-factor",
    "AdamW | w → g | _adam_step(g, g, slots, lr, t, self.betas, self.eps)": "aliasing",
    "Adam | −= → += | w += u": "wrong-sign",
    "Adam | right factor dropped | u += eps": "adam-eps-placement",
    "Adam | operands of − swapped | u *= lr * root / (beta1 ** t - 1)": "wrong-sign",
    "Adam | beta1 → eps | u *= lr * root / (1 - eps ** t)": "adam-no-bias-correction",
}


@dataclass(frozen=True)
class Result:
    mutant: Mutant
    status: str  # "equivalent", "found", "MISSED", "FALSE ALARM"
    mistakes: tuple[str, ...]

    @property
    def wrong_name(self) -> bool:
        return any(m not in ("unknown", NAMED.get(self.mutant.name), self.proven) for m in self.mistakes)

    @property
    def proven(self) -> str:
        """The name that needs no judge: a mutant that is not linear in its upstream gradient has it."""
        return "upstream-ignored" if not self.mutant.linear() and "aliasing" not in self.mistakes else ""


def judge(mutant: Mutant) -> Result | None:
    """What the verifier says of a mutant; None if it changes the forward, or raises: no verifier is needed for that."""
    try:
        with np.errstate(all="ignore"):
            outcome = mutant.outcome()
    except Exception:  # a mutant may raise anything
        return None
    if outcome is None:
        return None
    same = all(_same(a, b) for a, b in zip(*outcome, strict=True))
    with np.errstate(all="ignore"):
        report = mutant.report()
    mistakes = tuple(f.mistake for f in report.findings)
    if same:
        return Result(mutant, "equivalent" if report.ok and not mistakes else "FALSE ALARM", mistakes)
    return Result(mutant, "found" if mistakes or not report.ok else "MISSED", mistakes)


def _same(a: Any, b: Any) -> bool:
    return np.shape(a) == np.shape(b) and bool(np.allclose(a, b, rtol=1e-11, atol=1e-15))


def main() -> int:
    """Print the table; 1 if a mutant is missed or has a wrong name."""
    start, console = time.perf_counter(), Console(width=110, highlight=False)
    results = [r for r in map(judge, mutants()) if r is not None]
    table = Table(title="Mutants of every backward in scratch", title_justify="left")
    columns = ("mutants", "equivalent", "found", "a true name", "unknown", "a wrong name", "missed")
    for column in ("", *columns):
        table.add_column(column, justify="left" if not column else "right")
    for owner in [*dict.fromkeys(r.mutant.owner for r in results), "all"]:
        mine = [r for r in results if owner in (r.mutant.owner, "all")]
        found = [r for r in mine if r.status == "found"]
        wrong = sum(r.wrong_name for r in found)
        named = sum(any(m != "unknown" for m in r.mistakes) and not r.wrong_name for r in found)
        equivalent = sum(r.status == "equivalent" for r in mine)
        missed = sum(r.status in ("MISSED", "FALSE ALARM") for r in mine)
        counts = (len(mine), equivalent, len(found), named, len(found) - named - wrong, wrong, missed)
        table.add_row(owner, *map(str, counts), end_section=owner != "all" and owner == results[-1].mutant.owner)
    console.print(table)
    bad = [r for r in results if r.status in ("MISSED", "FALSE ALARM") or r.wrong_name]
    for r in bad:
        console.print(f"{r.status}: {r.mutant.name} {r.mistakes}", soft_wrap=True, markup=False)
    console.print(f"{len(results)} mutants in {time.perf_counter() - start:.0f} s")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
