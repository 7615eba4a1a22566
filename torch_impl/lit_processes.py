"""The processes of a Lightning training: whoever gets a signal, all of them stop at the same step, and all end.

A signal is noted in the process that it reaches. At the next record the processes tell each other; the first one saves
the training, and all raise. A process that hangs meanwhile, in a collective operation whose peer is gone, ends after
``PATIENCE`` seconds; one whose parent was killed ends at once.
"""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch.multiprocessing.spawn import ProcessException, ProcessExitedException

from scratch import Interrupted
from scratch.interrupts import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import lightning as L

    from scratch import Stop

PATIENCE = 8.0  # seconds
NUMBERS = {number for name in SIGNALS if (number := getattr(signal, name, None)) is not None}


class NoSignals:
    """In place of a Trainer's connector to signals, which takes SIGTERM for the end of a training that went well.

    It stands for ``trainer._signal_connector``, which is not public: tests/torch_impl/test_signals.py looks after it.
    """

    received_sigterm = False

    def register_signal_handlers(self) -> None: ...
    def teardown(self) -> None: ...


def agreed(stop: Stop, trainer: L.Trainer) -> int:
    """The signal that any of the processes got, the same number in all of them; 0 while none did."""
    if trainer.world_size == 1:
        return stop.number
    number = torch.tensor(stop.number, device=trainer.strategy.root_device)
    return int(trainer.strategy.reduce(number, reduce_op="max"))


def is_orphan(parent: int | None) -> bool:
    """Whether the process that this one belongs to is gone; one that belongs to none is never an orphan."""
    return parent is not None and os.getppid() != parent


@contextmanager
def _beside(work: Callable[[threading.Event], None]) -> Iterator[None]:
    """Do ``work`` in a thread, until the event tells it that the block is over."""
    over = threading.Event()
    thread = threading.Thread(target=work, args=(over,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def watched(parent: int | None = None) -> Iterator[None]:
    """End this process if it still runs ``PATIENCE`` seconds after a signal, or at once if ``parent`` is gone.

    A thread looks after it, since Python handles no signal while the main thread waits in a collective operation.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came, arrived = os.pipe()
    os.set_blocking(arrived, False)

    def watch(over: threading.Event) -> None:
        number, end = 0, float("inf")
        while not over.is_set():
            if select.select([came], [], [], 0.2)[0]:
                found = NUMBERS.intersection(os.read(came, 64))
                if found and not number:
                    number, end = found.pop(), time.monotonic() + PATIENCE
            if is_orphan(parent):
                os._exit(1)
            if time.monotonic() > end:
                os._exit(128 + number)

    before = signal.set_wakeup_fd(arrived, warn_on_full_buffer=False)
    try:
        with _beside(watch):
            yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(came)
        os.close(arrived)


@contextmanager
def passed_on(stop: Stop) -> Iterator[None]:
    """Tell the processes that are spawned within it of a signal that this one gets; others are the caller's own."""
    others = set(multiprocessing.active_children())

    def pass_on(over: threading.Event) -> None:
        while not over.wait(0.2):
            if stop.number:
                for process in set(multiprocessing.active_children()) - others:
                    process.terminate()
                return

    with _beside(pass_on):
        yield


@contextmanager
def tidied() -> Iterator[None]:
    """Leave neither a process group nor Lightning's environment variables, which later processes would inherit."""
    before, joined = set(os.environ), torch.distributed.is_initialized()
    try:
        yield
    finally:
        if torch.distributed.is_initialized() and not joined:
            torch.distributed.destroy_process_group()
        for name in set(os.environ) - before:
            del os.environ[name]


def explained(error: Exception, stop: Stop, failures: Any) -> Exception:
    """What an error of several processes means: a signal, what one of them raised, or that one of them is gone."""
    status = error.exit_code - 128 if isinstance(error, ProcessExitedException) else 0
    if stop.number or status in NUMBERS:
        return Interrupted(stop.number or status)
    if failures is not None and not failures.empty():
        return failures.get()
    if isinstance(error, RuntimeError | ProcessException):
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        return ChildProcessError(f"a process of the training ended before it was done, so the others did ({reason})")
    return error
