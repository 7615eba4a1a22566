"""Units of plain functions."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from scratch import checks
from torch_impl.verify.units.unit import BACKWARD_SEED, Unit, UserCodeError, call, float_arrays, own, same_global_draws

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from torch_impl.verify.units.unit import Inputs, Outputs

    Array = NDArray[Any]


def function_unit(
    forward: Callable[..., Any],
    backward: Callable[..., Any] | None,
    inputs: Inputs,
    reference: Callable[..., Any] | None = None,
) -> Unit:
    """A unit of plain functions; ``inputs`` by the names of forward's arguments.

    Raises
        TypeError, ValueError: arguments that are not those of ``forward``, or a ``backward`` that fits no style
        UserCodeError: forward raised
    """
    name = getattr(forward, "__name__", type(forward).__name__)
    inputs = in_order(forward, inputs)
    with same_global_draws():
        result = call("forward", forward, **own(inputs))
    n_out, cached = _style(result, backward, list(inputs))

    def run_forward(inputs: Inputs) -> tuple[Outputs, Any]:
        with same_global_draws():
            result = call("forward", forward, **inputs)
        if backward is None:  # forward(...) -> value, gradients
            return result[:1], result[1] if len(result) == 2 else result[1:]
        parts = result if isinstance(result, tuple) else (result,)
        return parts[:n_out], parts[n_out] if cached else None

    def run_backward(upstream: Outputs, inputs: Inputs, cache: Any) -> Inputs:
        if backward is None:
            return named_gradients(cache, inputs)
        with same_global_draws(BACKWARD_SEED.get()):
            returned = call("backward", backward, *upstream, *((cache,) if cached else inputs.values()))
        return named_gradients(returned, inputs)

    def traced(inputs: Inputs) -> Outputs:
        result = forward(**inputs)
        return result[:n_out] if isinstance(result, tuple) else (result,)

    return Unit(
        name.removesuffix("_forward"),
        run_forward,
        run_backward,
        traced,
        None if reference is None else lambda tensors: reference(**tensors),
        _parameters(inputs),
        takes_upstream=backward is not None,
    )


# What people call the arrays that are not trained. A function does not say; where none has such a name, the first is
# data.
_DATA = {
    "x", "y", "t", "input", "inputs", "data", "image", "images", "label", "labels", "target", "targets", "mask",
    "logits", "scores", "z", "q", "k", "v",
}  # fmt: skip


def _parameters(inputs: Inputs) -> tuple[str, ...]:
    names = list(float_arrays(inputs))
    data = {n for n in names if n.lower() in _DATA} or {names[0]}
    return tuple(n for n in names if n not in data)


def in_order(forward: Callable[..., Any], inputs: Inputs) -> Inputs:
    """The inputs in the order of forward's arguments, its defaults left to it."""
    if not callable(forward):
        raise TypeError(f"forward is a {type(forward).__name__}, expected a function")
    signature = inspect.signature(forward)
    if any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values()):
        return dict(inputs)
    known = list(signature.parameters)
    unknown = [name for name in inputs if name not in known]
    if unknown:
        checks.choice("input", unknown[0], dict.fromkeys(known))
    try:
        signature.bind(**inputs)
    except TypeError as error:
        raise ValueError(
            f"forward takes {', '.join(known)}, given are {', '.join(inputs) or 'none'}: {error}; "
            "give an array for each by its name"
        ) from error
    arrays = float_arrays(inputs)
    if not arrays:
        came = ", ".join(f"{name} is {_kind(value)}" for name, value in inputs.items())
        raise TypeError(f"{came}; expected at least one NumPy array of floats to differentiate")
    for name, value in arrays.items():
        if value.size == 0:
            raise ValueError(f"{name} has shape {value.shape}, expected at least one element")
        if np.isnan(value).any():
            checks.finite(name, value)
    return {name: inputs[name] for name in known if name in inputs}


def _kind(value: Any) -> str:
    return f"an array of {value.dtype}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"


def _style(result: Any, backward: Callable[..., Any] | None, names: list[str]) -> tuple[int, bool]:
    """How many outputs forward has, and whether a cache comes after them."""
    came = f"a tuple of {len(result)}" if isinstance(result, tuple) else f"a {type(result).__name__}"
    if backward is None:
        if not isinstance(result, tuple) or len(result) < 2 or np.ndim(result[0]) != 0:
            raise ValueError(f"backward is None and forward returned {came}; expected forward(…) -> value, gradients")
        return 1, False
    if not callable(backward):
        raise TypeError(
            f"backward is a {type(backward).__name__}, expected a function, or None for a loss in one function"
        )
    parameters = inspect.signature(backward).parameters.values()
    needed = [
        p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty
    ]
    n_parts = len(result) if isinstance(result, tuple) else 1
    if isinstance(result, tuple) and len(needed) == n_parts:
        if any(isinstance(part, tuple | list) for part in result[:-1]):
            raise ValueError(
                "forward returned a tuple or list as an output, expected arrays; several outputs come one after "
                "another: forward(…) -> h, s, cache beside backward(dh, ds, cache)"
            )
        return n_parts - 1, True
    parts = result if isinstance(result, tuple) else (result,)
    if len(needed) == n_parts + len(names) and all(isinstance(p, np.ndarray | np.number | float) for p in parts):
        return n_parts, False
    raise ValueError(
        f"backward takes {', '.join(needed) or 'nothing'} and forward returned {came}; expected "
        f"forward({', '.join(names)}) -> out, cache beside backward(dout, cache), "
        f"or forward({', '.join(names)}) -> out beside backward(dout, {', '.join(names)})"
    )


def named_gradients(returned: Any, inputs: Inputs) -> Inputs:
    """What backward returned, by the names of the inputs: from a dict ("w" or "dw"), a tuple in order, or one array.

    Raises
        UserCodeError: there are more than there are inputs, or a name that is no input's
    """
    names = list(float_arrays(inputs))
    if isinstance(returned, Mapping):
        gradients = {}
        for key, value in returned.items():
            name = key if key in names else str(key)[1:] if str(key)[:1] == "d" and str(key)[1:] in names else None
            if name is None:
                raise UserCodeError(
                    f"backward returned a gradient called {key!r}, expected names out of {', '.join(names)}"
                )
            gradients[name] = value
        return gradients
    values = list(returned) if isinstance(returned, tuple | list) else [returned]
    if len(values) > len(names):
        others = [f"{n} is {_kind(v)} and counts as constant" for n, v in inputs.items() if n not in names]
        hint = f" ({'; '.join(others)})" if others else ""
        raise UserCodeError(
            f"backward returned {len(values)} gradients, expected one for each of {', '.join(names)}{hint}"
        )
    return dict(zip(names, values, strict=False))
