"""Signals that ask a process to end: a training stops between two steps, where its state is whole, and says so.

with interruptible() as stop:
    for record in fit(network, recipe, x, y, state):
        if stop.number:
            save_state(path, state)
            raise Interrupted(stop.number)
"""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Interrupted", "Stop", "interruptible"]

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")  # the last is not on Windows


class Interrupted(Exception):  # noqa: N818 - no error: somebody asked for it
    """A training stopped between two steps because of the signal ``number``. The text says how to go on."""

    def __init__(self, number: int, text: str = "") -> None:
        super().__init__(text)
        self.number = int(number)

    def __reduce__(self) -> tuple[type, tuple[int, str]]:
        return Interrupted, (self.number, str(self))  # so that a process can tell another one

    @property
    def status(self) -> int:
        """The exit status that says so: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP."""
        return 128 + self.number


@dataclass
class Stop:
    """Whether a signal came: its number; 0 while none did."""

    number: int = 0


@contextmanager
def interruptible() -> Iterator[Stop]:
    """Take Ctrl-C, SIGTERM and SIGHUP down, so that no step is cut in two; a second Ctrl-C raises KeyboardInterrupt.

    Signals that the process ignores, as under ``nohup``, stay ignored. Outside the main thread, where Python handles no
    signals, nothing changes.
    """
    stop, before = Stop(), {}

    def note(number: int, frame: Any) -> None:  # noqa: ARG001
        if number == signal.SIGINT and stop.number:
            raise KeyboardInterrupt
        stop.number = stop.number or number

    if threading.current_thread() is threading.main_thread():
        numbers = [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]
        heeded = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
        before = {number: signal.signal(number, note) for number in heeded}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
