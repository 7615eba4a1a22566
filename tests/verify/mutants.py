"""Faults that nobody chose: every backward of scratch with one operator, operand, axis, index or constant changed.

    python -m tests.verify.mutants [--seconds S] [--one-in N] [--jobs K] [--list] [WORD …]

prints, for every backward, how many mutants there are, how many the verifier finds, and what it calls them; and for
every kind of change, how many wrong ones are blamed at the changed line and how many are mended. A mutant that computes
the same numbers as the original is none, and is counted as equivalent. Names were judged one by one: those in NAMED are
true descriptions of the mutant; any other name is a wrong one. Whether a mutant is linear in its upstream gradient is
measured.
"""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from dataclasses import fields
from functools import partial
from types import FunctionType
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table

import scratch
from scratch import optim
from scratch.layers import takes
from tests.verify import figures
from tests.verify.figures import Mutant, Owner, Result
from tests.verify.mutating import mutated
from torch_impl.counterparts import EXAMPLES
from torch_impl.parity import every_loss, random_case
from torch_impl.verify import verify_layer, verify_loss, verify_optimizer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

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
    "Adam": scratch.Adam(),
}


def owners() -> Iterator[Owner]:
    """The layers, losses and optimizers."""
    for name, (layer, _) in EXAMPLES.items():
        if name in LAYERS_MEASURED:
            yield _layer(name, layer)
    logits = np.random.default_rng(1).standard_normal((7, 5))
    for name, (loss, y) in every_loss(logits, np.random.default_rng(2)).items():
        yield _loss(name, loss, logits, y)
    for name, optimizer in OPTIMIZERS.items():
        yield _optimizer(name, optimizer)


def mutants() -> Iterator[Mutant]:
    """Every mutant, equivalent ones among them."""
    for owner in owners():
        for mutation in mutated(owner.function):
            yield Mutant(owner, mutation)


def _others(record: Any, **sizes: int) -> Any:
    """The same kind of record with other numbers: those that are 0 stay, since 0 turns something off."""
    values = {f.name: getattr(record, f.name) for f in fields(record)}
    values |= {name: 0.8 * value for name, value in values.items() if isinstance(value, float)}
    values |= {name: tuple(0.97 * v for v in value) for name, value in values.items() if isinstance(value, tuple)}
    return type(record)(**values | {name: size for name, size in sizes.items() if name in values})


@contextmanager
def _with(record: Any, method: str, function: Any) -> Iterator[Any]:
    """The same record, of a subclass with this method."""
    cls = type(record)
    yield type(cls.__name__, (cls,), {method: function, "__module__": cls.__module__})(**vars(record))


def _layer(name: str, layer: Any) -> Owner:
    def gradients(layer: Any, width: int, batch: int, seed: int, times: float = 1.0) -> list[Any]:
        params, x, dy = random_case(layer, (width,), np.random.default_rng(seed), batch)
        stochastic = {"training": np.random.default_rng(0)} if takes(layer.forward, "training") else {}
        _, cache = layer.forward(x, *params.values(), **stochastic)
        grads = [np.full_like(p, np.nan) for p in params.values()]
        return [layer.backward(times * dy, cache, *grads), *grads]

    def outcome(layer: Any) -> tuple[list[Any], list[Any]]:
        return [], [g for batch in (1, 7) for g in gradients(layer, 5, batch, seed=batch)]

    def fresh(layer: Any) -> list[Any]:
        sizes = [(7, 5), (3, 4), (1, 6), (9, 2), (4, 8), (2, 1)]
        others = [(_others(layer, n_in=width, n_out=batch + 2), width, batch) for batch, width in sizes]
        return [g for seed, other in enumerate(others, 100) for g in gradients(*other, seed)]

    def linear(layer: Any) -> bool:
        once, more = (gradients(layer, 5, 7, seed=7, times=times) for times in (1.0, -1.7))
        return all(np.allclose(b, -1.7 * a, rtol=1e-11, atol=1e-15) for a, b in zip(once, more, strict=True))

    using = partial(_with, layer, "backward")
    return Owner(name, type(layer).backward, using, lambda layer: verify_layer(layer, (7, 5)), outcome, fresh, linear)


def _loss(name: str, loss: Any, logits: Any, y: Any) -> Owner:
    def outcome(loss: Any) -> tuple[list[Any], list[Any]]:
        value, gradient = loss(logits.copy(), y.copy())  # a mutant may write into them
        return [value], [gradient, loss(_kink(logits, y), y.copy())[1]]

    def fresh(loss: Any) -> list[Any]:
        found = []
        for seed, shape in enumerate([(7, 5), (3, 4), (1, 6), (9, 2), (4, 8), (2, 3)], 100):
            z = (1 + seed % 3) * np.random.default_rng(seed).standard_normal(shape)
            _, targets = every_loss(z, np.random.default_rng(seed))[name]
            for given in (z, _kink(z, targets)):
                found += _others(loss)(given.copy(), targets.copy())
        return found

    def verify(loss: Any) -> Report:
        return verify_loss(loss, logits.copy(), y.copy())

    using = partial(_with, loss, "value_and_grad")
    return Owner(name, type(loss).value_and_grad, using, verify, outcome, fresh)


def _kink(logits: Any, y: Any) -> Any:
    """Logits whose first row is at the targets, or is all zeros."""
    kink = logits.copy()
    kink[0] = y[0] if np.ndim(y) == 2 else 0
    return kink


def _optimizer(name: str, optimizer: Any) -> Owner:
    def outcome(optimizer: Any) -> tuple[list[Any], list[Any]]:
        return [], _path(optimizer, 9, seed=3)

    def fresh(optimizer: Any) -> list[Any]:
        return [w for seed, n in enumerate((9, 4, 1, 12, 6), 100) for w in _path(_others(optimizer), n, seed)]

    function, using = type(optimizer).update, partial(_with, optimizer, "update")
    if name == "Adam":  # its step is a function of its own
        function, using = optim._adam_step, partial(_with_step, optimizer)
    return Owner(name, function, using, verify_optimizer, outcome, fresh)


def _with_step(adam: Any, step: Any) -> AbstractContextManager[Any]:
    """Adam with another step, in its own code."""
    update = FunctionType(scratch.Adam.update.__code__, vars(optim) | {"_adam_step": step})
    return _with(adam, "update", update)


def _path(optimizer: Any, n: int, seed: int) -> list[Any]:
    """The n weights after each of five steps, without and with weight decay."""
    found = []
    for decay in (optimizer.weight_decay, 0.1):
        rng = np.random.default_rng(seed)
        record = type(optimizer)(**{**vars(optimizer), "weight_decay": decay})
        w = rng.standard_normal(n)
        slots = record.slots(w)
        for t in range(1, 6):
            record.update(w, rng.standard_normal(n) * [1e-9, *[1] * (n - 1)], slots, record.lr * (1 + t % 2), t)
            found.append(w.copy())
    return found


# Mutants whose name is a true one, judged by hand: the mutant, and the name.
NAMED: dict[str, str] = {
    "Linear | dW → W | dy.T.dot(x, out=W)": "aliasing",
    "Dropout | right factor dropped | return dy if cache is None else dy": "dropout-mask-missing",
    "ReLU | right factor dropped | return dy": "activation-derivative-missing",
    "ReLU | > → ≥ | return dy * (x >= 0)": "kink-convention",
    "LeakyReLU | > → ≥ | return np.where(x >= 0, dy, self.slope * dy)": "kink-convention",
    "LeakyReLU | left factor dropped | return np.where(x > 0, dy, dy)": "activation-derivative-missing",
    "ELU | right factor dropped | return np.where(x > 0, dy, dy * np.exp(np.minimum(x, 0)))": "function-for-derivative",
    "Sigmoid | right factor dropped | return dy * y": "function-for-derivative",
    "SiLU | right factor dropped | return dy * s * (1 + x)": "function-for-derivative",  # s for s′ = s (1 − s)
    "MAE | np.sign → np.abs | return (np.abs(r).sum() / r.size, np.abs(r) / r.size)": "function-for-derivative",
    "ELU | > → ≥ | return np.where(x >= 0, dy, dy * self.alpha * np.exp(np.minimum(x, 0)))": "kink-convention",
    "Sigmoid | operands of − swapped | return dy * y * (y - 1)": "wrong-sign",
    "Tanh | right factor dropped | return dy": "activation-derivative-missing",
    "Tanh | operands of − swapped | return dy * (y * y - 1)": "wrong-sign",
    "SiLU | + → − | return dy * s * (1 - x * (1 - s))": "wrong-sign",
    "SiLU | operands of − swapped | return dy * s * (1 + x * (s - 1))": "wrong-sign",
    "GELU | right factor dropped | return dy": "activation-derivative-missing",
    "GELU, tanh | right factor dropped | return dy": "activation-derivative-missing",
    "Softmax | operands of − swapped | return y * ((dy * y).sum(axis=-1, keepdims=True) - dy)": "wrong-sign",
    "Softmax | 1 → 2 | return y * (dy - (dy * y).sum(axis=-2, keepdims=True))": "wrong-axis",
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
    # These write into an argument, beside what else they do.
    "CrossEntropy, classes | p → logits | logits[rows, y] -= 1 - eps": "aliasing",
    "CrossEntropy, smoothed classes | p → logits | logits[rows, y] -= 1 - eps": "aliasing",
    "BCEWithLogits | operands of − swapped | return (value, (y - p) / z.size)": "wrong-sign",
    "BCEWithLogits | z → value | return (value, (p - y) / value.size)": "wrong-divisor",
    "MSE | operands of − swapped | r = y - logits": "wrong-sign",
    "MSE | 2 → 3 | return ((r * r).sum() / r.size, r * (3 / r.size))": "constant-factor",
    "MSE | 2 → -2 | return ((r * r).sum() / r.size, r * (-2 / r.size))": "wrong-sign",
    "MSE | 2 → 6 | return ((r * r).sum() / r.size, r * (6 / r.size))": "constant-factor",
    "MSE | right factor dropped | return ((r * r).sum() / r.size, r)": "wrong-divisor",  # h = a · B K / 2
    "MAE | operands of − swapped | r = y - logits": "wrong-sign",
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
    "Adam | u → g | np.multiply(g, g, out=g)": "aliasing",
    "Adam | u → g | np.sqrt(v, out=g)": "aliasing",
    "Adam | u → g | np.divide(m, u, out=g)": "aliasing",
    "Adam | beta1 → eps | u *= lr * root / (1 - eps ** t)": "adam-no-bias-correction",
}


def judge(mutant: Mutant, seconds: float = 0.0) -> Result | None:
    """What the verifier says of a mutant; None if it changes the forward, or raises: no verifier is needed for that."""
    result = figures.judge(mutant, seconds)
    return None if result.status in ("raises", "another forward") else result


def has_wrong_name(result: Result) -> bool:
    proven = "" if result.linear or "aliasing" in result.mistakes else "upstream-ignored"  # a name that needs no judge
    return any(m not in ("unknown", NAMED.get(result.name), proven) for m in result.mistakes)


def main(arguments: Sequence[str]) -> int:
    """Print the tables; 1 if a mutant is missed or has a wrong name, or a repair is offered that is none."""
    options = figures.parser(__doc__.splitlines()[0]).parse_args(arguments)
    start, console = time.perf_counter(), Console(width=110, highlight=False)
    chosen = [m for m in mutants() if not options.words or any(word in m.name for word in options.words)]
    results = [*figures.judge_all(chosen[:: options.one_in], options.seconds, options.jobs)]
    judged = [r for r in results if r.status not in ("raises", "another forward")]
    console.print(_table(judged))
    console.print(figures.table_by("kind", judged))
    for r in filter(has_wrong_name, judged):
        console.print(f"a wrong name: {r.name} {r.mistakes}", soft_wrap=True, markup=False)
    figures.print_lists(console, judged, options.list)
    console.print(f"{len(judged)} mutants in {time.perf_counter() - start:.0f} s")
    return 1 if any(r.is_bad or has_wrong_name(r) for r in judged) else 0


def _table(results: Sequence[Result]) -> Table:
    table = Table(title="Mutants of every backward in scratch", title_justify="left")
    columns = ("mutants", "equivalent", "found", "a true name", "unknown", "a wrong name", "missed")
    for column in ("", *columns):
        table.add_column(column, justify="left" if not column else "right")
    for owner in [*dict.fromkeys(r.owner for r in results), "all"]:
        mine = [r for r in results if owner in (r.owner, "all")]
        found = [r for r in mine if r.status == "found"]
        wrong = sum(map(has_wrong_name, found))
        named = sum(NAMED.get(r.name) in r.mistakes and not has_wrong_name(r) for r in found)
        equivalent = sum(r.status == "equivalent" for r in mine)
        missed = sum(r.status in ("MISSED", "FALSE ALARM", "CRASH") for r in mine)
        counts = (len(mine), equivalent, len(found), named, len(found) - named - wrong, wrong, missed)
        table.add_row(owner, *map(str, counts), end_section=owner != "all" and owner == results[-1].owner)
    return table


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
