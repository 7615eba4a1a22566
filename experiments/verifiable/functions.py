"""How the functions of a file are verified."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from experiments.verifiable.calls import Call, drawn, finite, needed, output, quiet, returns_several
from experiments.verifiable.discovery import Found
from experiments.verifiable.inputs import Inputs, with_note
from experiments.verifiable.names import is_target, kinds_of
from experiments.verifiable.shapes import targets_of
from torch_impl import verify
from torch_impl.verify import Report

Function = Callable[..., Any]

# What verify_function calls its own arguments: inputs of these names are handed over in a dict.
KEYWORDS = {"loss", "reference", "targets", "constant", "probabilities", "seed", "inputs", "forward", "backward"}


def verify_pair(one: Found, inputs: Inputs) -> Report:
    """NAME_forward and NAME_backward."""
    forward, backward = one.parts
    call = inputs.certain_call(one.name, forward, fits=functools.partial(_fits, backward))
    return _verified(one.name, forward, _with_options(backward, call), call, inputs)


def _fits(backward: Function, inputs: dict[str, Any], result: Any) -> bool:
    """Whether ``backward`` runs after this call, and returns gradients of the shapes of the inputs."""
    backward = _with_options(backward, Call(inputs, {}))
    parts, names = result if isinstance(result, tuple) else (result,), needed(backward)
    if isinstance(result, tuple) and len(names) == len(parts):
        outputs, rest = parts[:-1], parts[-1:]
    elif len(names) == len(parts) + len(inputs):
        outputs, rest = parts, tuple(inputs.values())
    else:
        return True  # the verifier says which styles it knows
    try:
        arguments = (*(np.ones(np.shape(output)) for output in outputs), *rest)
        returned = quiet(backward, dict(zip(names, arguments, strict=True)))
    except Exception:
        return False
    arrays = [np.shape(v) for v in inputs.values() if isinstance(v, np.ndarray) and v.dtype.kind == "f"]
    gradients = returned if isinstance(returned, tuple | list) else [returned]
    if isinstance(returned, Mapping) or any(gradient is None for gradient in gradients):
        return True
    return all(np.shape(gradient) == shape for gradient, shape in zip(gradients, arrays, strict=False))


def verify_derivative(one: Found, inputs: Inputs) -> Report:
    """An elementwise function and its derivative."""
    call = inputs.certain_call(one.name, one.parts[0])
    array = next(n for n, kind in kinds_of(needed(one.parts[0])).items() if kind not in ("", "options"))
    options = {n: v for n, v in call.inputs.items() if n != array}
    f, f_prime = (_bound(function, options) for function in one.parts)
    report = verify.verify_derivative(f, f_prime, call.inputs[array], seed=inputs.seed)
    return _noted(report.renamed(one.name), one.name, call)


def verify_gradient(one: Found, inputs: Inputs) -> Report:
    """A loss, and a function of the same arguments that returns its gradient."""
    function, gradient = one.parts
    call = inputs.certain_call(one.name, function, accept=_is_number)
    kinds = kinds_of(needed(function))
    names = [n for n, kind in kinds.items() if kind in ("weight", "bias", "scale")]
    names = names or [n for n, kind in kinds.items() if kind not in ("", "options", "target")]

    @functools.wraps(function)
    def both(*args: Any, **kwargs: Any) -> Any:
        found = gradient(*args, **kwargs)
        parts = found if isinstance(found, tuple | list) else [found]
        return function(*args, **kwargs), found if isinstance(found, dict) else dict(zip(names, parts, strict=False))

    targets = tuple(n for n, kind in kinds.items() if kind == "target")
    return _verified(one.name, both, None, call, inputs, **({"targets": targets} if targets else {}))


def verify_loss(one: Found, inputs: Inputs) -> Report | None:
    """A loss that returns its value and its gradient; None where it returns something else.

    Raises
        ValueError: by its source it returns several things, and it cannot be called
    """
    (function,) = one.parts
    call = inputs.call(one.name, function, accept=lambda result: isinstance(result, tuple))
    if call is None:
        if returns_several(function):
            inputs.certain_call(one.name, function)
        return None
    result = quiet(function, call.inputs)
    if isinstance(result, tuple) and len(result) == 2 and isinstance(result[0], Mapping):  # the gradients come first
        function, result = _swapped(function), result[::-1]
    if not isinstance(result, tuple) or not _is_number(result) or not _are_gradients(result[1:], call):
        return None
    return _verified(one.name, function, None, call, inputs)


def verify_three(one: Found, inputs: Inputs) -> Report:
    """A network of three functions: forward(X, parameters), loss(AL, Y) and backward(AL, Y, caches)."""
    forward, backward, loss = one.parts
    call = inputs.certain_call(one.name, forward)
    y = next(n for n in needed(loss) if is_target(n))
    given = inputs.of(one.name)
    if y in given:
        call = Call(call.inputs | {y: given[y]}, call.guesses)
    else:
        prediction = output(quiet(forward, call.inputs))
        call = _with_target(one.name, loss, y, prediction, call, inputs.seed)
    return _verified(one.name, forward, backward, call, inputs, loss=loss)


def _with_target(name: str, loss: Function, y: str, prediction: Any, call: Call, seed: int) -> Call:
    """The call with the first target that the loss takes beside what forward returned."""
    other = next(n for n in needed(loss) if n != y)
    for guess in targets_of(np.shape(prediction)):
        target = drawn({y: guess}, seed)
        try:
            value = quiet(loss, target | {other: prediction})
        except Exception:  # another kind may do
            continue
        if finite(value) and np.size(value) == 1:
            return Call(call.inputs | target, call.guesses | {y: guess})
    raise ValueError(f"no {y} to call {loss.__name__} with, and no guess fits; expected {name}_sample_inputs(rng)")


def _verified(
    name: str, forward: Function, backward: Function | None, call: Call, inputs: Inputs, **options: Any
) -> Report:
    """The report, with what was guessed of the inputs."""
    said = {role: tuple(n for n in names if n in call.inputs) for role, names in inputs.roles.items()}
    known = {n for names in said.values() for n in names}
    said["probabilities"] = (*said.get("probabilities", ()), *(n for n in call.probabilities if n not in known))
    for role, names in said.items():
        if names:
            options[role] = tuple(dict.fromkeys((*options.get(role, ()), *names)))
    if KEYWORDS & call.inputs.keys():
        report = verify.verify_function(forward, backward, call.inputs, seed=inputs.seed, **options)
    else:
        report = verify.verify_function(forward, backward, seed=inputs.seed, **options, **call.inputs)
    return _noted(report.renamed(name), name, call)


def _noted(report: Report, name: str, call: Call) -> Report:
    return with_note(report, name, f"called with {call.said}" if call.guesses else "")


def _with_options(backward: Function, call: Call) -> Function:
    """``backward``, called with forward's options too where it takes them, as in backward(dout, cache, activation)."""
    names = needed(backward)
    options = {n: v for n, v in call.inputs.items() if n in names and isinstance(v, str | int | float | bool)}
    return _bound(backward, options) if "cache" in names and options else backward


def _bound(function: Function, options: dict[str, Any]) -> Function:
    """The function with these arguments set."""
    if not options:
        return function
    bound = functools.partial(function, **options)
    bound.__name__ = function.__name__  # type: ignore[attr-defined]
    return bound


def _swapped(function: Function) -> Function:
    @functools.wraps(function)
    def swapped(*args: Any, **kwargs: Any) -> Any:
        gradients, value = function(*args, **kwargs)
        return value, gradients

    return swapped


def _is_number(result: Any) -> bool:
    value = output(result)
    return not isinstance(value, Mapping | list | str) and value is not None and np.ndim(value) == 0


def _are_gradients(parts: tuple[Any, ...], call: Call) -> bool:
    """Whether it may be gradients of the inputs: one of them has the shape of an input."""
    shapes = [np.shape(v) for v in call.inputs.values() if isinstance(v, np.ndarray) and v.dtype.kind == "f"]
    nested = any(isinstance(v, Mapping | list | tuple) for v in call.inputs.values())
    first = parts[0] if len(parts) else None
    if isinstance(first, Mapping):
        return bool(first)
    if isinstance(first, list | tuple):
        return nested
    return isinstance(first, np.ndarray | np.floating) and (nested or np.shape(first) in shapes)
