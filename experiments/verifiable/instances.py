"""What an object is called with: inputs that are given, or the first that fit it."""

import copy
import inspect
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from experiments.verifiable.calls import finite, needed, output, quiet, takes_probabilities
from experiments.verifiable.classes import (
    Instance,
    NothingToVerifyError,
    backward_method,
    forward_method,
    loss_method,
)
from experiments.verifiable.names import is_target, is_value, values_of
from experiments.verifiable.shapes import Guess, targets_of

Array = Any

INPUTS = (
    Guess((7, 5)), Guess((7, 5), "probabilities"), Guess((5, 7)), Guess((2, 3, 7, 7)), Guess((2, 3, 8, 8)),
    Guess((2, 6, 5)), Guess((5,)), Guess((5, 1)), Guess((1, 5)), Guess((7, 7, 3)), Guess((2, 3, 9)), Guess((7, 3)),
    Guess((7,), "classes out of 5"), Guess((2, 6), "classes out of 5"),
)  # fmt: skip


@dataclass(frozen=True)
class Trial:
    """An object, the inputs that its forward method ran with, the guessed ones in words, and what it returned."""

    instance: Instance
    inputs: dict[str, Any]
    said: str
    result: Any


def fitted(instances: Iterable[Instance], given: dict[str, Any], seed: int) -> Trial:
    """The first instance and inputs whose forward pass gives finite numbers and whose backward pass runs as well.

    Where the backward pass fits no input that is like the first, it is the first: the verifier says what is wrong then.

    Raises
        ValueError: no forward pass runs; the text says what to give
        NothingToVerifyError: it raises NotImplementedError
    """
    why, name, first = "", "", None
    for instance in instances:
        name = type(instance.thing).__name__
        for x, said in _first_inputs(instance, given, seed):
            try:
                trial = _run(instance, x, said, given, seed)
            except NotImplementedError as error:
                raise NothingToVerifyError("its forward method raises NotImplementedError") from error
            except Exception as error:  # another shape may do
                why = why or f"; with {said or 'the given x'} it raised {type(error).__name__}: {error}"
                continue
            if not instance.data and not (finite(trial.result) and np.size(output(trial.result))):
                continue
            if not _backward_runs(trial):
                first = first or trial
            elif first is None:
                return trial
            elif _same_samples(first, trial):
                return replace(trial, said=f"{trial.said} (its backward pass does not fit {first.said})")
    if first is not None:
        return first
    raise ValueError(
        f"no guessed inputs fit {name}{why}; expected a module-level instance, and {name}_sample_inputs(rng) or "
        "sample_inputs(rng) in the file that returns its x (and y), or --shapes x=…"
    )


def _same_samples(a: Trial, b: Trial) -> bool:
    """Whether x has as many samples, or as many rows where samples are columns: a smaller batch hides a missing sum."""
    x, other = np.shape(a.inputs["x"]), np.shape(b.inputs["x"])
    return len(x) == len(other) and x[0] == other[0]


def _first_inputs(instance: Instance, given: dict[str, Any], seed: int) -> Iterator[tuple[Array, str]]:
    data = given | instance.data
    if "x" in data:
        yield data["x"], ""
        return
    cls = type(instance.thing)
    names = needed(getattr(instance.thing, forward_method(cls)))
    is_loss = len(names) > 1 and any(map(is_target, names))
    of_logs = is_loss and takes_probabilities(cls, ["x", "y"])
    # Arrays that an instance holds say how wide its input is.
    widths = dict.fromkeys(n for shape in shapes_in(instance.thing) for n in shape)
    own = [Guess(shape) for n in widths for shape in ((7, n), (n, 7), (2, n, 7, 7))]
    for guess in (*(INPUTS[1:] if of_logs else INPUTS), *own):
        if not (is_loss and guess.kind.startswith("classes")):
            yield guess.draw(np.random.default_rng([seed, 0])), guess.said("x")


def shapes_in(thing: Any, depth: int = 0) -> list[tuple[int, ...]]:
    """The shapes of the arrays in an object, its lists and dicts, and the objects in them."""
    if isinstance(thing, np.ndarray):
        return [thing.shape]
    if depth > 3:
        return []
    parts = thing.values() if isinstance(thing, dict) else thing if isinstance(thing, list | tuple) else None
    parts = getattr(thing, "__dict__", {}).values() if parts is None else parts
    return [shape for part in parts for shape in shapes_in(part, depth + 1)]


def _run(instance: Instance, x: Array, said: str, given: dict[str, Any], seed: int) -> Trial:
    """The forward pass with x, and with a target where it takes one."""
    thing, cls, known = instance.thing, type(instance.thing), given | instance.data
    method = getattr(thing, forward_method(cls))
    names = list(inspect.signature(method).parameters) if forward_method(cls) == loss_method(cls) else needed(method)
    if len(names) > 1 and any(map(is_target, names)):  # a loss, or a network that ends in one
        widths = dict.fromkeys(n for shape in shapes_in(thing) for n in shape)
        beside = [np.shape(x), *((len(x), n) for n in widths)]  # a network's own arrays say how wide its output may be
        targets = [(known["y"], "")] if "y" in known else [y for shape in beside for y in _targets(shape, seed)]
        return _run_with_target(instance, names, x, said, targets)
    extra = {name: values_of(name, "")[0] for name in names[1:] if is_value(name)}
    result = quiet(getattr(copy.deepcopy(thing), method.__name__), dict.fromkeys(names[:1], x) | extra)
    others = [backward_method(cls), *(name for name in dir(cls) if "loss" in name or "cost" in name)]
    methods = [method for name in others for method in (getattr(thing, name, None),) if inspect.isroutine(method)]
    takes_target = any(is_target(name) for method in methods for name in inspect.signature(method).parameters)
    if not takes_target and "y" not in instance.data:
        return Trial(instance, {"x": x} | extra, said, result)
    y, y_said = (known["y"], "") if "y" in known else _targets(np.shape(output(result)), seed)[0]
    return Trial(instance, {"x": x, "y": y} | extra, ", ".join(filter(None, (said, y_said))), result)


def _run_with_target(
    instance: Instance, names: list[str], x: Array, said: str, targets: list[tuple[Array, str]]
) -> Trial:
    cls, last = type(instance.thing), None
    for y, y_said in targets:
        arguments = {name: y if is_target(name) else x for name in names if is_target(name) or not is_value(name)}
        try:
            result = quiet(getattr(copy.deepcopy(instance.thing), forward_method(cls)), arguments)
        except NotImplementedError:
            raise
        except Exception as error:  # another kind of target may do
            last = error
            continue
        if forward_method(cls) == loss_method(cls) and not _has_gradients(result):
            raise TypeError(f"{loss_method(cls)} returned no gradients beside its value")
        return Trial(instance, {"x": x, "y": y}, ", ".join(filter(None, (said, y_said))), result)
    assert last is not None  # there is at least one target
    raise last


def _has_gradients(result: Any) -> bool:
    arrays = dict | list | tuple | np.ndarray
    return isinstance(result, tuple) and len(result) > 1 and np.ndim(result[0]) == 0 and isinstance(result[1], arrays)


def _targets(shape: tuple[int, ...], seed: int) -> list[tuple[Array, str]]:
    """Targets for predictions of this shape, each with what it is in words."""
    return [(guess.draw(np.random.default_rng([seed, 1])), guess.said("y")) for guess in targets_of(shape)]


def _backward_runs(trial: Trial) -> bool:
    """Whether the backward pass runs after the forward pass, and returns gradients in the shapes of the arrays."""
    thing, inputs = copy.deepcopy(trial.instance.thing), trial.inputs
    cls = type(thing)
    forward, backward = getattr(thing, forward_method(cls)), getattr(thing, backward_method(cls))
    shapes = {*shapes_in(thing), np.shape(inputs["x"])}
    upstream = np.ones(np.shape(output(trial.result)))
    names = {"x": ("x", "input", "inputs", "data")}

    def argument(name: str) -> Any:
        if is_target(name):
            return inputs.get("y")
        return values_of(name, "")[0] if is_value(name) else inputs["x"] if name.lower() in names["x"] else upstream

    try:
        if forward_method(cls) != backward_method(cls):
            first = [name for name in needed(forward) if not is_target(name) and not is_value(name)]
            quiet(forward, {name: argument(name) for name in needed(forward)} | dict.fromkeys(first[:1], inputs["x"]))
            returned = quiet(backward, {name: argument(name) for name in needed(backward)})
            # A network for one column at a time returns others with several, without a word.
            if isinstance(returned, tuple) and any(isinstance(part, list) for part in returned):
                return all(shape in shapes for shape in shapes_in(returned))
    except Exception:
        return False
    return True
