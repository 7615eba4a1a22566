"""What a training in Lightning shares with others in its process: it changes nothing there that they would notice."""

from __future__ import annotations

import logging
import threading
import warnings
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from lightning.pytorch.plugins.precision import Precision as PrecisionPlugin

from torch_impl.device import computing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import torch

    from scratch.device import Precision


class InTurn(PrecisionPlugin):
    """Steps in the module's own dtype; on a GPU in this precision, by turns with the other trainings of the process.

    Lightning's own "64-true" sets torch's default dtype in every step, which is that of every thread.
    """

    def __init__(self, device: torch.device, wanted: Precision) -> None:
        self.device, self.wanted = device, wanted

    @contextmanager
    def forward_context(self) -> Iterator[None]:
        with computing(self.device, self.wanted):
            yield


class Quiet:
    """Without Lightning's tips and its advice on loader workers, which data in memory do not need.

    Loggers and warnings are the process's: of trainings side by side the first to begin hushes them, and the last to
    end puts them back.
    """

    def __init__(self) -> None:
        self.lock, self.inside, self.hushed = threading.Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        with self.lock:
            if self.inside == 0:
                for logger in LOGGERS:
                    self.hushed.callback(logger.setLevel, logger.level)
                self.hushed.enter_context(warnings.catch_warnings())
                self.hushed.callback(setattr, threading, "excepthook", threading.excepthook)
                threading.excepthook = partial(_met_again, threading.excepthook)
                hush()
            self.inside += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.inside -= 1
            if self.inside == 0:
                self.hushed.close()


def _met_again(otherwise: Callable[[Any], object], failed: Any) -> None:
    """Say nothing of an error in TensorBoard's thread that writes: its next call raises it where it is handled."""
    if not (issubclass(failed.exc_type, OSError) and type(failed.thread).__module__.startswith("tensorboard.")):
        otherwise(failed)


QUIET = Quiet()
NAMES = ("lightning.pytorch", "lightning.fabric", "torch.multiprocessing.spawn")
LOGGERS = [logging.getLogger(name) for name in NAMES]


def hush() -> None:
    """For good: in a process of Lightning's own."""
    for logger in LOGGERS:
        logger.setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    warnings.filterwarnings("ignore", ".*recommended to use .*sync_dist=True.*")  # what is logged is the mean already
    warnings.filterwarnings("ignore", ".*treespec, LeafSpec.*")  # Lightning 2.6 beside torch 2.15
