"""The record of one forward and backward pair, and what draws its inputs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

CACHES = ("cache", "caches", "ctx", "saved", "tape")  # what a backward calls the thing that forward left for it


@dataclass(frozen=True)
class Course:
    """One pair as a course, a lecture or a blog would have it, with all that a caller needs to run it.

    A parameter of `backward` that bears the name of one of forward's arguments takes that argument.
    One named in `CACHES` takes the last thing that `forward` returns.
    The others, at the front, take the gradients of forward's outputs in order.
    A backward without any such parameter differentiates a scalar output, whose gradient is 1.
    """

    name: str
    forward: Callable[..., Any]
    backward: Callable[..., Any] | None  # None: forward returns (value, gradients)
    inputs: Callable[[], dict[str, np.ndarray]]  # fresh arrays by the names of forward's arguments
    helpers: tuple[Callable[..., Any], ...] = ()  # the author's own functions that backward calls and forward does not
    wrt: tuple[str, ...] | dict[str, str] = field(default=())  # inputs in the order of the gradients, or key → input


def draw(seed: int, **shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Standard normal arrays of the given shapes, the same at every call."""
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(shape) for name, shape in shapes.items()}
