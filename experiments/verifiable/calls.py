"""Functions of a file, called with inputs that were given or guessed."""

import ast
import copy
import inspect
import io
import re
import textwrap
import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.verifiable.names import kinds_of
from experiments.verifiable.shapes import Guess, candidates

Function = Callable[..., Any]

SECONDS = 10.0  # of trying for one function


def needed(function: Function) -> list[str]:
    """The arguments that ``function`` cannot be called without, but for self."""
    parameters = inspect.signature(function).parameters.values()
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    keyword = inspect.Parameter.KEYWORD_ONLY
    return [p.name for p in parameters if p.default is p.empty and (p.kind in positional or p.kind is keyword)]


def _always(*_: Any) -> bool:
    return True


@dataclass(frozen=True)
class Call:
    """Arguments that a function could be called with, and those that were guessed."""

    inputs: dict[str, Any]
    guesses: dict[str, Guess]

    @property
    def said(self) -> str:
        """The guessed arguments in words."""
        return ", ".join(guess.said(name) for name, guess in self.guesses.items())

    @property
    def probabilities(self) -> tuple[str, ...]:
        return tuple(name for name, guess in self.guesses.items() if guess.kind == "probabilities")


def called(
    function: Function, given: dict[str, Any], seed: int, accept: Function = _always, fits: Function = _always
) -> Call | None:
    """The first call that runs, gives finite numbers that ``accept`` takes, and depends on every array; None if none.

    A later one is taken where the backward pass ``fits(inputs, result)`` that one alone, with data of the same shape: a
    smaller batch would hide what is not summed. Where no call depends on every array, it is the first that runs.
    """
    names, until = needed(function), time.perf_counter() + SECONDS
    kinds, tried = kinds_of(names), candidates(names, [name for name in names if name not in given])
    if takes_probabilities(function, names):
        tried = iter(sorted(tried, key=lambda guesses: "probabilities" not in {g.kind for g in guesses.values()}))
    first = any_of_them = None
    for guesses in tried:
        if time.perf_counter() > until:
            break
        found = Call(given | drawn(guesses, seed), guesses)
        if first is not None and _data(found, kinds) != _data(first, kinds):
            continue
        if not any(map(_differentiable, found.inputs.values())):
            continue
        try:
            result = quiet(function, found.inputs)
        except Exception:  # the arguments are none of these shapes
            continue
        if not finite(result) or not accept(result):
            continue
        any_of_them = any_of_them or found
        if not depends(function, found, result):
            continue
        if fits(found.inputs, result):
            return found
        first = first or found
    return first or any_of_them


def _data(call: Call, kinds: dict[str, str]) -> list[Any]:
    return [np.shape(value) for name, value in call.inputs.items() if kinds.get(name) == "data"]


def takes_probabilities(function: Function, names: list[str]) -> bool:
    """Whether it is a loss of probabilities, by its source: it takes logarithms, and no exponentials before them."""
    kinds = kinds_of(names).values()
    if "target" not in kinds or "weight" in kinds:
        return False
    with suppress(OSError, TypeError):
        source = inspect.getsource(function)
        return bool(re.search(r"\blog\w*\(", source)) and not re.search(r"exp\(|sigmoid|softmax", source)
    return False


def returns_several(function: Function) -> bool:
    """Whether it returns a tuple, by its source."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, SyntaxError, TypeError):
        return False
    return any(isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple) for node in ast.walk(tree))


def drawn(guesses: Mapping[str, Guess], seed: int) -> dict[str, Any]:
    """The guessed arguments."""
    return {name: guess.draw(np.random.default_rng([seed, i])) for i, (name, guess) in enumerate(guesses.items())}


def _differentiable(value: Any) -> bool:
    if isinstance(value, Mapping | list | tuple):
        return any(map(_differentiable, value.values() if isinstance(value, Mapping) else value))
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def quiet(function: Function, inputs: dict[str, Any]) -> Any:
    """What ``function`` returns for copies of the inputs, with the same random numbers each time; it prints nowhere."""
    np.random.seed(0)  # noqa: NPY002  the function may draw from it
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), np.errstate(all="ignore"):
        return function(**copy.deepcopy(inputs))


def output(result: Any) -> Any:
    """The first thing that a function returned."""
    return result[0] if isinstance(result, tuple) and result else result


def finite(result: Any) -> bool:
    """Whether the first output, or all of them in a dict or list, are finite numbers."""
    first = output(result)
    parts = list(first.values()) if isinstance(first, Mapping) else first if isinstance(first, list) else [first]
    try:
        return bool(parts) and all(np.isfinite(np.asarray(part, float)).all() for part in parts)
    except (TypeError, ValueError):
        return False


def depends(function: Function, call: Call, result: Any) -> bool:
    """Whether another value of each guessed array gives another output."""
    for i, (name, guess) in enumerate(call.guesses.items()):
        if guess.shape is None:
            continue
        changed = False
        for again in range(3):  # a class may be drawn again
            value = guess.draw(np.random.default_rng([99, i, again]))
            try:
                other = quiet(function, call.inputs | {name: value})
            except Exception:  # a value that it does not take
                continue
            changed = changed or not _equal(output(other), output(result))
        if not changed:
            return False
    return True


def _equal(a: Any, b: Any) -> bool:
    try:
        return bool(np.array_equal(np.asarray(a, float), np.asarray(b, float)))
    except (TypeError, ValueError):
        return False
