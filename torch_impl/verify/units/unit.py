"""A unit: one forward and its hand-written backward, whatever they came as, with named arrays in and out."""

from __future__ import annotations

import copy
import traceback
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from torch_impl.verify.trace.isolation import isolated

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from torch_impl.verify.units.roles import Kind

    Array = NDArray[Any]

Inputs = dict[str, Any]
Outputs = tuple[Any, ...]


FORWARD_SEED = 20240607
# The backward pass starts np.random somewhere else than the forward: a mask that it draws anew must not be the same
# one.
BACKWARD_SEED: ContextVar[int] = ContextVar("BACKWARD_SEED", default=FORWARD_SEED + 1)


class UserCodeError(Exception):
    """The code under test raised ``__cause__``; the text says what, and in which line."""


@dataclass(frozen=True)
class Unit:
    """What is verified: ``forward(inputs) -> (outputs, cache)``, ``backward(upstream, inputs, cache) -> gradients``.

    ``outputs`` and ``upstream`` are tuples of arrays, ``inputs`` and ``gradients`` dicts by name; a gradient has the
    name of its input. ``traced(inputs) -> outputs`` is the bare forward, for autograd to go through. ``reference``
    takes tensors by name and returns a tensor; None where the user's own forward is the reference.
    """

    name: str
    forward: Callable[[Inputs], tuple[Outputs, Any]]
    backward: Callable[[Outputs, Inputs, Any], Inputs]
    traced: Callable[[Inputs], Outputs]
    reference: Callable[[dict[str, Any]], Any] | None = None
    parameters: tuple[str, ...] = ()  # the inputs that are trained; the others are data
    kinks: tuple[float, ...] = ()
    takes_upstream: bool = True  # False: it ends in a loss, whose upstream gradient is 1
    updates_itself: bool = False  # its parameters are meant to change in backward
    stateful: bool = False  # an object, whose backward owes the gradient of x as well
    notes: tuple[str, ...] = ()  # what a reader of the report should know of how it was found out
    into: Callable[[Outputs, Inputs, Any, float], Inputs] | None = None  # backward into arrays that hold this number
    widened: Callable[[], tuple[Unit, Inputs] | None] | None = None  # the same unit with other widths, and inputs
    batch_is_free: bool = False  # the length of axis 0 of the data may be changed, to 1 too
    kinds: Mapping[str, Kind] = field(default_factory=dict)  # of the inputs; by their values where it says nothing
    title: Callable[[str], str] = field(default=lambda name: f"d{name}")  # what the gradient of an input is called


def float_arrays(inputs: Mapping[str, Any]) -> dict[str, Array]:
    """The inputs that have a gradient."""
    return {n: v for n, v in inputs.items() if isinstance(v, np.ndarray) and np.issubdtype(v.dtype, np.floating)}


def own(inputs: Inputs) -> Inputs:
    """A copy that user code may do with as it likes; generators start where they stood."""
    return {name: copy.deepcopy(value) for name, value in inputs.items()}


def same_global_draws(seed: int = FORWARD_SEED) -> AbstractContextManager[None]:
    """np.random's global generator starts at one seed inside, and goes on afterwards as if nothing had been drawn."""
    return isolated(seed)


def call(what: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """What ``function`` returns.

    Raises
        UserCodeError: it raised; the text gives the exception and the line
    """
    try:
        with np.errstate(all="ignore"):  # saturated probes overflow where they may; what comes out is what counts
            return function(*args, **kwargs)
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        theirs = [f for f in frames if f.filename != __file__ and "site-packages" not in f.filename]
        place = f" ({theirs[-1].filename}, line {theirs[-1].lineno}: {theirs[-1].line})" if theirs else ""
        raise UserCodeError(f"{what} raised {type(error).__name__}: {error}{place}") from error
