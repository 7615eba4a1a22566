"""How faults are planted: a function that returns the report of code with one known mistake in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch_impl.verify import Report


@dataclass(frozen=True)
class Plant:
    """One mistake of the catalogue in one place."""

    mistake: str  # its name in the catalogue
    where: str
    run: Callable[[], Report]
    also: tuple[str, ...] = ()  # the mistakes that are planted with it

    @property
    def name(self) -> str:
        return f"{self.mistake}: {self.where}"


PLANTS: list[Plant] = []


def plant(mistake: str, where: str, *also: str) -> Callable[[Callable[[], Report]], Callable[[], Report]]:
    """Register the decorated function, which plants ``mistake``, and those of ``also``, and returns the report."""

    def register(run: Callable[[], Report]) -> Callable[[], Report]:
        PLANTS.append(Plant(mistake, where, run, also))
        return run

    return register
