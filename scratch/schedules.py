"""Learning-rate schedules: records that map a step (0, 1, …) to a factor of the optimizer's learning rate.

The factor at a step depends on that step alone, so a resumed training needs no state of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from scratch import checks

__all__ = ["Constant", "CosineDecay", "ExponentialDecay", "LinearDecay", "StepDecay", "Warmup"]


@runtime_checkable
class Schedule(Protocol):
    """The learning rate's course, as a fraction of the optimizer's."""

    def __call__(self, step: int) -> float:
        """The factor of the learning rate at ``step``."""
        ...


def check_schedule(name: str, value: Any) -> None:
    """Raise TypeError or ValueError unless ``value`` is a schedule, whose first factor is a number."""
    example = "a schedule such as CosineDecay(steps=1000)"
    checks.instance(name, value, Schedule, example)
    try:
        factor = value(0)
    except Exception as error:
        raise TypeError(f"{name} is {checks.said(value)}, expected {example}: at step 0 it raised {error}") from error
    checks.number(f"the factor of {name} at step 0", factor, -math.inf)


@dataclass(frozen=True)
class Constant:
    """1 at every step."""

    def __call__(self, step: int) -> float:
        checks.whole("step", step, 0)
        return 1.0


@dataclass(frozen=True)
class StepDecay:
    """gamma^⌊step / every⌋: a fall by ``gamma`` every so many steps (torch's StepLR)."""

    every: int
    gamma: float = 0.1

    def __post_init__(self) -> None:
        every, gamma = checks.whole("every", self.every, 1), checks.number("gamma", self.gamma, 0, above=True)
        checks.settle(self, every=every, gamma=gamma)

    def __call__(self, step: int) -> float:
        step = checks.whole("step", step, 0)
        return self.gamma ** (step // self.every)


@dataclass(frozen=True)
class ExponentialDecay:
    """gamma^step (torch's ExponentialLR)."""

    gamma: float

    def __post_init__(self) -> None:
        checks.settle(self, gamma=checks.number("gamma", self.gamma, 0, above=True))

    def __call__(self, step: int) -> float:
        step = checks.whole("step", step, 0)
        return self.gamma**step


@dataclass(frozen=True)
class CosineDecay:
    """Half a cosine from 1 to ``final`` over ``steps`` steps, then ``final`` (Loshchilov & Hutter, 2017)."""

    steps: int
    final: float = 0.0

    def __post_init__(self) -> None:
        steps, final = checks.whole("steps", self.steps, 1), checks.number("final", self.final, 0)
        checks.settle(self, steps=steps, final=final)

    def __call__(self, step: int) -> float:
        step = checks.whole("step", step, 0)
        fraction = min(step / self.steps, 1.0)
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * fraction)) / 2


@dataclass(frozen=True)
class LinearDecay:
    """A straight line from 1 to ``final`` over ``steps`` steps, then ``final`` (torch's LinearLR)."""

    steps: int
    final: float = 0.0

    def __post_init__(self) -> None:
        steps, final = checks.whole("steps", self.steps, 1), checks.number("final", self.final, 0)
        checks.settle(self, steps=steps, final=final)

    def __call__(self, step: int) -> float:
        step = checks.whole("step", step, 0)
        return 1 + (self.final - 1) * min(step / self.steps, 1.0)


@dataclass(frozen=True)
class Warmup:
    """1/steps, 2/steps, … 1, then the schedule ``after``, from its beginning (Goyal et al., 2017)."""

    steps: int
    after: Schedule = Constant()

    def __post_init__(self) -> None:
        checks.settle(self, steps=checks.whole("steps", self.steps, 1))
        check_schedule("after", self.after)

    def __call__(self, step: int) -> float:
        step = checks.whole("step", step, 0)
        return (step + 1) / self.steps if step < self.steps else self.after(step - self.steps)
