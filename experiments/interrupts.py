"""Ctrl-C: a training stops between two steps, and can go on from there."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Interrupted(Exception):  # noqa: N818 - no error: the user asked for it
    """The training stopped between two steps. The text says how to go on."""


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets, so that no step is cut in two; a second one raises KeyboardInterrupt."""
    pressed = threading.Event()

    def press(number: int, frame: Any) -> None:  # noqa: ARG001
        signal.signal(signal.SIGINT, signal.default_int_handler)
        pressed.set()

    before = signal.signal(signal.SIGINT, press)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)
