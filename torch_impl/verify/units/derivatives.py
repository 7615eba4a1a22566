"""Units of a function and its derivative, f and f′."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scratch import checks
from torch_impl.verify.tolerances import STEP
from torch_impl.verify.units.unit import BACKWARD_SEED, Inputs, Outputs, Unit, UserCodeError, call, same_global_draws

if TYPE_CHECKING:
    from collections.abc import Callable

OF_OUTPUT = ("a", "s", "y", "out", "output", "activation", "activated", "sig", "fx")


def derivative_unit(f: Callable[[Any], Any], f_prime: Callable[[Any], Any], x: Any) -> tuple[Unit, Inputs, list[str]]:
    """A unit of f and f′, its input, and what f′ was taken to be a function of: f's input, or its output.

    Raises
        TypeError, ValueError: x is no array of finite floats
        UserCodeError: f or f′ raised
    """
    if not (isinstance(x, np.ndarray) and x.dtype.kind == "f" and x.size):
        raise TypeError(f"x is {checks.said(x)}, expected an array of floats")
    checks.finite("x", x)
    name = getattr(f, "__name__", type(f).__name__)
    by_output = _is_of_output(f, f_prime, x)

    def forward(inputs: Inputs) -> tuple[Outputs, Any]:
        with same_global_draws():
            out = call(name, f, inputs["x"])
        return (out,), np.array(out) if by_output else np.array(inputs["x"])

    def backward(upstream: Outputs, _: Inputs, at: Any) -> Inputs:
        with same_global_draws(BACKWARD_SEED.get()):
            slope = np.asarray(call("f_prime", f_prime, at.copy()))
        if slope.ndim == at.ndim + 1 and slope.shape[:-1] == at.shape:
            return {"x": np.einsum("...i,...ij->...j", upstream[0], slope)}
        return {"x": upstream[0] * slope}

    unit = Unit(name, forward, backward, lambda inputs: (f(inputs["x"]),))
    what = "output" if by_output else "input"
    return unit, {"x": x}, [f"{name}: its derivative is taken as a function of its {what}"]


def _is_of_output(f: Callable[[Any], Any], f_prime: Callable[[Any], Any], x: Any) -> bool:
    """By what fits the slopes of f; where neither does, by what the argument is called."""

    def value(at: Any) -> Any:
        return np.asarray(call("f", f, np.array(at)), np.float64)

    slope = (value(x + STEP) - value(x - STEP)) / (2 * STEP)
    for at, verdict in ((np.array(x), False), (value(x), True)):
        try:
            found = np.asarray(call("f_prime", f_prime, at))
        except UserCodeError:
            continue
        if found.shape == slope.shape and np.median(np.abs(found - slope)) < 1e-6:
            return verdict
        # Of a Jacobian, the slopes are those along a direction of ones.
        if found.ndim == slope.ndim + 1 and np.allclose(found.sum(axis=-1), slope, atol=1e-5):
            return verdict
    code = getattr(f_prime, "__code__", None)
    return code is not None and code.co_varnames[:1] and code.co_varnames[0].lower() in OF_OUTPUT
