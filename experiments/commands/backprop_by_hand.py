"""A 2-2-1 network worked through with every number of the forward, the backward and the update."""

import math
import re
from dataclasses import dataclass

import numpy as np
from jsonargparse import ArgumentParser, Namespace
from rich.table import Table

from experiments.command_line import check_whole
from experiments.report import bold, console
from scratch import checks

GIVEN = ("x1", "x2", "t")
WEIGHTS = ("w11", "w12", "b1", "w21", "w22", "b2", "v1", "v2", "c")

FORWARD = {
    "z1": "w11 x1 + w12 x2 + b1",
    "z2": "w21 x1 + w22 x2 + b2",
    "h1": "σ(z1)",
    "h2": "σ(z2)",
    "o": "v1 h1 + v2 h2 + c",
    "p": "σ(o)",
    "L": "− t log(p) − (1 − t) log(1 − p)",
}
BACKWARD = {  # each is ∂L/∂ what follows the ∂
    "∂o": "p − t",
    "∂v1": "∂o h1",
    "∂v2": "∂o h2",
    "∂c": "∂o",
    "∂h1": "∂o v1",
    "∂h2": "∂o v2",
    "∂z1": "∂h1 h1 (1 − h1)",
    "∂z2": "∂h2 h2 (1 − h2)",
    "∂w11": "∂z1 x1",
    "∂w12": "∂z1 x2",
    "∂b1": "∂z1",
    "∂w21": "∂z2 x1",
    "∂w22": "∂z2 x2",
    "∂b2": "∂z2",
}
UPDATE = {f"new {w}": f"{w} − lr ∂{w}" for w in WEIGHTS}
PARTS = {"Forward": FORWARD, "Backward": BACKWARD, "Update": UPDATE}

_SYMBOL = re.compile(r"∂?[a-zA-Z]+[0-9]*")
_FUNCTIONS = {"σ": lambda a: 1 / (1 + math.exp(-a)), "log": math.log}


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--seed", type=int, default=0, help="of the numbers: another seed is another exercise")
    parser.add_argument("--lr", type=float, default=0.5, help="learning rate of the update")


def run(options: Namespace) -> int:
    """Print the exercise, its solution, and the largest difference to torch."""
    given = draw(options.seed, options.lr)
    console.print(
        "Two inputs, two hidden units, one output with a cross-entropy loss; find the gradients and update once.\n",
        soft_wrap=True,
    )
    for title, names in {"given": (*GIVEN, "lr"), "hidden": WEIGHTS[:6], "output": WEIGHTS[6:]}.items():
        numbers = "   ".join(f"{name} = {_short(given[name])}" for name in names)
        console.print(f"    {title:8}{numbers}", soft_wrap=True)
    console.print("\nσ is the logistic function, lr the learning rate, and ∂a is short for ∂L/∂a.\n")
    largest = 0.0
    for part, steps in work_through(given).items():
        table = Table(title=part, title_justify="left")
        table.add_column("", width=7)
        table.add_column("formula, and with numbers", width=42)
        table.add_column("by hand", justify="right", width=9)
        table.add_column("autograd", justify="right", width=9)
        for step in steps:
            largest = max(largest, abs(step.by_hand - step.by_torch))
            hand, autograd = (f"{value:+.6f}".replace("-", "−") for value in (step.by_hand, step.by_torch))
            numbers = f"\n= {step.numbers}" if " " in step.formula or "(" in step.formula else ""
            table.add_row(step.symbol, step.formula + numbers, hand, autograd)
        console.print(table)
    console.print(bold("The largest difference of any number is ", f"{largest:.1e}", "."))
    return 0


@dataclass(frozen=True)
class Step:
    """A number by hand, its formula with symbols and with numbers, and the same number from torch."""

    symbol: str
    formula: str
    numbers: str
    by_hand: float
    by_torch: float


def draw(seed: int, lr: float) -> dict[str, float]:
    """Inputs, target, weights and learning rate: numbers of one decimal, none of them zero.

    Raises
        ValueError: a negative seed or learning rate
    """
    check_whole("seed", seed, 0)
    checks.number("lr", lr, 0)
    rng = np.random.default_rng(seed)
    tenths = rng.choice([*range(-9, 0), *range(1, 10)], 2 + len(WEIGHTS))
    inputs, weights = tenths[:2] / 10, tenths[2:] / 10
    values = zip((*GIVEN, *WEIGHTS, "lr"), (*inputs, rng.integers(2), *weights, lr), strict=True)
    return {name: float(value) for name, value in values}


def work_through(given: dict[str, float]) -> dict[str, list[Step]]:
    """Every step of the forward pass, the backward pass and the update, from the numbers of :func:`draw`."""
    by_torch, values = _by_torch(given), dict(given)

    def step(symbol: str, formula: str) -> Step:
        values[symbol] = _evaluate(formula, values)
        return Step(symbol, formula, _with_numbers(formula, values), values[symbol], by_torch[symbol])

    return {part: [step(*line) for line in formulas.items()] for part, formulas in PARTS.items()}


def _evaluate(formula: str, values: dict[str, float]) -> float:
    """The value of a formula of this file, so that what is printed is what is computed."""
    names = {symbol: f"v{i}" for i, symbol in enumerate(dict.fromkeys(_SYMBOL.findall(formula))) if symbol != "log"}
    code = _SYMBOL.sub(lambda m: names.get(m[0], m[0]), formula).replace("−", "-")
    code = re.sub(r"(?<=[\w)]) (?=[\w(])", " * ", code)  # a product is written as a gap
    return float(eval(code, {"__builtins__": {}}, _FUNCTIONS | {n: values[s] for s, n in names.items()}))


def _with_numbers(formula: str, values: dict[str, float]) -> str:
    def number(match: re.Match[str]) -> str:
        if match[0] == "log":
            return "log"
        text = _short(values[match[0]])
        alone = match.start() == 0 or formula[match.start() - 1] == "("  # at the start, or a function's argument
        return f"({text})" if text.startswith("−") and not alone else text

    return re.sub(r"(?<=[\d)]) (?=[\d(])", " · ", _SYMBOL.sub(number, formula))


def _short(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".").replace("-", "−")


def _by_torch(given: dict[str, float]) -> dict[str, float]:
    """The same numbers, the gradients by autograd and the update by torch.optim.SGD, in float64."""
    import torch

    x = torch.tensor([given["x1"], given["x2"]], dtype=torch.float64)
    w = {name: torch.tensor(given[name], dtype=torch.float64, requires_grad=True) for name in WEIGHTS}
    z1 = torch.stack([w["w11"], w["w12"]]) @ x + w["b1"]
    z2 = torch.stack([w["w21"], w["w22"]]) @ x + w["b2"]
    h1, h2 = z1.sigmoid(), z2.sigmoid()
    o = w["v1"] * h1 + w["v2"] * h2 + w["c"]
    loss = torch.nn.functional.binary_cross_entropy_with_logits(o, torch.tensor(given["t"], dtype=torch.float64))
    nodes = {"z1": z1, "z2": z2, "h1": h1, "h2": h2, "o": o}
    for node in nodes.values():
        node.retain_grad()
    loss.backward()
    values = {**nodes, "p": o.sigmoid(), "L": loss}
    values |= {f"∂{name}": tensor.grad for name, tensor in {**nodes, **w}.items() if tensor.grad is not None}
    torch.optim.SGD(w.values(), lr=given["lr"]).step()
    values |= {f"new {name}": tensor for name, tensor in w.items()}
    return {name: tensor.item() for name, tensor in values.items()}
