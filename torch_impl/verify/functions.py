"""The way in for plain functions."""

from __future__ import annotations

import dataclasses
import inspect
from typing import TYPE_CHECKING, Any

from scratch import checks
from torch_impl.verify.check import verify_unit
from torch_impl.verify.report import Report, could_not_be_checked, timed
from torch_impl.verify.units.derivatives import derivative_unit
from torch_impl.verify.units.functions import function_unit
from torch_impl.verify.units.unit import UserCodeError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from torch_impl.verify.units.roles import Kind

    Array = NDArray[Any]


@timed
def verify_function(
    forward: Callable[..., Any],
    backward: Callable[..., Any] | None,
    inputs: Mapping[str, Any] | None = None,
    /,
    *,
    loss: Callable[..., Any] | None = None,
    reference: Callable[..., Any] | None = None,
    targets: Sequence[str] = (),
    constant: Sequence[str] = (),
    probabilities: Sequence[str] = (),
    seed: int = 0,
    **arrays: Any,
) -> Report:
    """Verify a pair of plain NumPy functions; autograd goes through *your own forward*.

    Args:
        forward: ``forward(x, w, …) -> out, cache``, several outputs before the cache, or ``-> out``
        backward: ``backward(dout, cache)`` or ``backward(dout, x, w, …)``. It returns a gradient for each float array
            in forward's order, fewer if the last have none, or a dict by name. None where ``forward`` returns (value,
            gradients) itself
        inputs: the arguments by name, arrays in dicts and lists among them: float arrays, which are differentiated,
            and anything else, which is handed on as it is. Distinct axis lengths hide least
        loss: where ``backward`` begins at the loss: a function of what forward returns and of ``inputs``, by name
        reference: a torch function of the same arguments, to judge the forward by, and the gradients if that agrees
        targets: inputs that have no gradient
        constant: inputs of which no other values may be tried
        probabilities: inputs whose rows sum to one, in whatever is tried
        seed: of the upstream gradients and of the other inputs that are tried
        arrays: more inputs; an option's name that is also an argument of forward means the argument

    Raises
        TypeError, ValueError: arguments that do not fit ``forward``, or a ``backward`` that fits none of the styles
    """
    given, options = _told_apart(forward, dict(inputs or {}) | arrays, seed=seed, targets=targets, loss=loss)
    checks.whole("seed", options["seed"], 0)
    fixed: Kind = "fixed"
    rows_sum: Kind = "probabilities"
    said = dict.fromkeys(constant, fixed) | dict.fromkeys(probabilities, rows_sum)
    for name in (*options["targets"], *said):
        checks.choice("an input that is named", name, given)
    try:
        unit, flat, notes = function_unit(
            forward, backward, given, reference, options["loss"], tuple(options["targets"])
        )
    except UserCodeError as error:
        return could_not_be_checked(getattr(forward, "__name__", "forward"), str(error))
    unit = dataclasses.replace(unit, kinds={**unit.kinds, **said})
    report = verify_unit(unit, flat, options["seed"])
    return dataclasses.replace(report, notes=(*notes, *report.notes))


@timed
def verify_derivative(f: Callable[[Any], Any], f_prime: Callable[[Any], Any], x: Array, *, seed: int = 0) -> Report:
    """Verify a function that acts on each element by itself, and its derivative.

    Args:
        f: of one array
        f_prime: its derivative, of f's input or of f's output; or the Jacobian, with one axis more than x
        x: where it is tried
        seed: of the upstream gradients and of the other inputs that are tried

    Raises
        TypeError, ValueError: no functions, or x is no float array
    """
    checks.whole("seed", seed, 0)
    for name, function in (("f", f), ("f_prime", f_prime)):
        if not callable(function):
            raise TypeError(f"{name} is a {type(function).__name__}, expected a function")
    try:
        unit, flat, notes = derivative_unit(f, f_prime, x)
    except UserCodeError as error:
        return could_not_be_checked(getattr(f, "__name__", "f"), str(error))
    report = verify_unit(unit, flat, seed)
    return dataclasses.replace(report, notes=(*notes, *report.notes))


def _told_apart(forward: Any, arrays: dict[str, Any], **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The inputs and the options, where forward has an argument that is called as an option is."""
    names = inspect.signature(forward).parameters if callable(forward) else {}
    for name in options:
        if name in names and name not in arrays:
            if name == "seed":
                arrays[name] = options[name]
            elif not isinstance(options[name], tuple) and options[name] is not None:
                arrays[name], options[name] = options[name], () if name == "targets" else None
    return arrays, options
