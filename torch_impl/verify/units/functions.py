"""Units of plain functions."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from scratch import checks
from torch_impl.verify.units import roles
from torch_impl.verify.units.pairs import Pair
from torch_impl.verify.units.trees import is_float_array, is_numeric, leaves
from torch_impl.verify.units.unit import (
    Inputs,
    Unit,
    float_arrays,
)


def function_unit(
    forward: Callable[..., Any],
    backward: Callable[..., Any] | None,
    inputs: Inputs,
    reference: Callable[..., Any] | None = None,
    loss: Callable[..., Any] | None = None,
    targets: tuple[str, ...] = (),
) -> tuple[Unit, Inputs, list[str]]:
    """A unit of plain functions, its inputs, arrays within dicts and lists among them by their paths, and notes.

    Raises
        TypeError, ValueError: arguments that are not those of ``forward``, or a ``backward`` that fits no style
        UserCodeError: forward raised
    """
    lists = frozenset(name for name, value in inputs.items() if isinstance(value, list) and is_numeric(value))
    inputs = {name: np.array(value) if name in lists else value for name, value in inputs.items()}
    candidates = {path: v for path, v in leaves(inputs) if is_float_array(v) or isinstance(v, float)}
    known = arguments_of(forward, inputs, (loss, backward))
    pair = Pair(forward, backward, loss, inputs, known, candidates, targets, lists)
    convention = pair.found()
    named = set(candidates if convention.gradients is None else convention.gradients.values())
    # A weight within a list or dict, too, for which there is no gradient: that has to be seen.
    named |= {n for n, v in candidates.items() if "." in n and is_float_array(v) and roles.is_owed(n, named)}
    flat = {path: np.array(v) if isinstance(v, float) else v for path, v in leaves(inputs) if path in named}
    flat |= {name: v for name, v in inputs.items() if not isinstance(v, Mapping | list | tuple) and name not in flat}
    flat = {name: flat[name] for name in dict.fromkeys([*(p for p, _ in leaves(inputs)), *flat]) if name in flat}
    arrays = {name: v for name, v in flat.items() if isinstance(v, np.ndarray)}
    data = roles.data_among(arrays, targets)
    parameters = tuple(n for n in float_arrays(flat) if n not in data)
    name = getattr(forward, "__name__", type(forward).__name__)
    unit = Unit(
        re.sub(r"_?(forward|fwd)_?", "", name, flags=re.IGNORECASE) or name,
        lambda given: pair.forward(given, convention),
        lambda upstream, _, cache: pair.backward(upstream, cache, convention),
        lambda given: pair.outputs(given, convention)[0],
        None if reference is None else lambda tensors: reference(**tensors),
        parameters,
        takes_upstream=convention.takes_upstream,
        kinds={n: roles.kind_of(v, n in parameters) for n, v in arrays.items()},
    )
    notes = []
    if convention.others:
        notes.append(f"{unit.name}: backward also returned {', '.join(convention.others)}, which no input has")
    order = convention.in_order
    if order not in (list(candidates)[: len(order)], [n for n in candidates if n not in pair.last][: len(order)]):
        notes.append(f"{unit.name}: what backward returned is taken for the gradients of {', '.join(order)}")
    return unit, flat, notes


def arguments_of(forward: Callable[..., Any], inputs: Inputs, others: tuple[Any, ...] = ()) -> list[str]:
    """The arguments of forward that are given, in its order.

    Raises
        TypeError, ValueError: there is one missing or unknown; no floats; NaN
    """
    if not callable(forward):
        raise TypeError(f"forward is a {type(forward).__name__}, expected a function")
    signature = inspect.signature(forward)
    known = list(signature.parameters)
    if any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values()):
        known = list(inputs)
    elsewhere = {n for f in others if callable(f) for n in inspect.signature(f).parameters}
    for name in inputs:
        if name not in known and name not in elsewhere:
            checks.choice("input", name, dict.fromkeys(known))
    given = {n: v for n, v in inputs.items() if n in known}
    try:
        signature.bind(**given)
    except TypeError as error:
        raise ValueError(
            f"forward takes {', '.join(known)}, given are {', '.join(inputs) or 'none'}: {error}; "
            "give an array for each by its name"
        ) from error
    arrays = {path: v for path, v in leaves(inputs) if is_float_array(v)}
    if not arrays and not any(isinstance(v, float) for _, v in leaves(inputs)):
        came = ", ".join(f"{name} is {_said(value)}" for name, value in inputs.items())
        raise TypeError(f"{came}; expected at least one NumPy array of floats to differentiate")
    for name, value in arrays.items():
        if value.size == 0:
            raise ValueError(f"{name} has shape {value.shape}, expected at least one element")
        if not np.isfinite(value).all():
            checks.finite(name, value)
    return [name for name in known if name in inputs]


def _said(value: Any) -> str:
    return f"an array of {value.dtype}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
