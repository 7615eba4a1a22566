"""Random numbers in the code under test: recorded in one run, and given again while the forward is traced."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

METHODS = (
    "random", "rand", "randn", "random_sample", "uniform", "normal", "standard_normal", "binomial", "integers",
    "randint", "choice", "permutation",
)  # fmt: skip
SOURCES = ("default_rng",)


class Recorder:
    """A generator that keeps what it draws."""

    def __init__(self, generator: Any, drawn: list[Any]) -> None:
        self._generator, self._drawn = generator, drawn

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._generator, name)
        return _recording(attribute, self._drawn) if name in METHODS else attribute


class Replay:
    """A generator that draws what was drawn before, whatever it is asked for."""

    def __init__(self, drawn: list[Any]) -> None:
        self.drawn, self.i = drawn, -1

    def next(self, *_: Any, **__: Any) -> Any:
        self.i += 1
        return self.drawn[self.i]


for _name in METHODS:
    setattr(Replay, _name, Replay.next)


def _recording(function: Callable[..., Any], drawn: list[Any]) -> Callable[..., Any]:
    def draw(*args: Any, **kwargs: Any) -> Any:
        made = function(*args, **kwargs)
        drawn.append(np.asarray(made) if np.ndim(made) else made)
        return made

    return draw


@contextmanager
def recorded(drawn: list[Any]) -> Iterator[None]:
    """Inside, what np.random draws is appended to ``drawn``."""
    with ExitStack() as stack:
        for name in METHODS:
            if hasattr(np.random, name):
                stack.enter_context(mock.patch.object(np.random, name, _recording(getattr(np.random, name), drawn)))
        for name in SOURCES:
            make = getattr(np.random, name)
            stack.enter_context(
                mock.patch.object(np.random, name, lambda *a, make=make, **k: Recorder(make(*a, **k), drawn))
            )
        yield


@contextmanager
def replayed(replay: Replay) -> Iterator[None]:
    """Inside, np.random draws what ``replay`` holds."""

    # Plain functions rather than mocks: the forward is traced through them.
    def source(*_: Any, **__: Any) -> Replay:
        return replay

    def seed(*_: Any) -> None:
        return None

    with ExitStack() as stack:
        for name in METHODS:
            if hasattr(np.random, name):
                stack.enter_context(mock.patch.object(np.random, name, replay.next))
        for name in SOURCES:
            stack.enter_context(mock.patch.object(np.random, name, source))
        stack.enter_context(mock.patch.object(np.random, "seed", seed))
        yield
