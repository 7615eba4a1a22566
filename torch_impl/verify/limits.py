"""How long the search for where a fault began, and for an edit that mends it, may take; and who hears how far it is."""

from __future__ import annotations

import time
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECONDS = 20.0  # by default, for each function


@dataclass
class Limit:
    """A time that is spent by whoever looks; ``progress`` is told in a sentence what is being done."""

    seconds: float
    progress: Callable[[str], None] = lambda _: None
    begun: float = field(default_factory=time.perf_counter)

    @property
    def spent(self) -> float:
        return time.perf_counter() - self.begun

    @property
    def over(self) -> bool:
        return self.spent >= self.seconds

    def part(self, share: float) -> Limit:
        """A limit of its own for a share of what is left."""
        return Limit(max(self.seconds - self.spent, 0.0) * share, self.progress)


_NOW: ContextVar[Limit | None] = ContextVar("LIMIT", default=None)


@contextmanager
def limited(seconds: float, progress: Callable[[str], None] = lambda _: None) -> Iterator[None]:
    """Inside, looking for faults' places and edits takes ``seconds`` at most for each function; none with 0."""
    token = _NOW.set(Limit(seconds, progress))
    try:
        yield
    finally:
        _NOW.reset(token)


def limit() -> Limit:
    """A new limit, as :func:`limited` set it."""
    now = _NOW.get()
    return Limit(SECONDS) if now is None else Limit(now.seconds, now.progress)
