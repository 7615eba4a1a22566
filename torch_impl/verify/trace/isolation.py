"""Runs code under test so that neither it nor its tracing is felt elsewhere.

Inside :func:`isolated` NumPy's and Python's global generators start at a seed, and other draws go on outside as if
nothing had been drawn; inside :func:`creating` NumPy's functions that make arrays make what a tracer can follow. Both
stand in for attributes of modules, in the calling thread alone: whatever another thread calls meanwhile, it gets the
function that was there. One thread at a time is inside; the others wait.
"""

from __future__ import annotations

import random
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import ModuleType

_LOCK = threading.RLock()


def _drawing(module: ModuleType, generator: Any) -> list[str]:
    """The functions of a module that are methods of its one global generator."""
    return [name for name in dir(module) if getattr(getattr(module, name), "__self__", None) is generator]


_NUMPYS = _drawing(np.random, np.random.rand.__self__)  # type: ignore[attr-defined]
_PYTHONS = _drawing(random, random.random.__self__)  # type: ignore[attr-defined]


@contextmanager
def replaced(module: Any, functions: Mapping[str, Callable[..., Any]]) -> Iterator[None]:
    """Inside, ``functions`` stand in for those of a module, for the calling thread."""
    with _LOCK:
        before = {name: getattr(module, name) for name in functions if hasattr(module, name)}
        try:
            for name, original in before.items():
                setattr(module, name, _for_this_thread(functions[name], original))
            yield
        finally:
            for name, original in before.items():
                setattr(module, name, original)


def _for_this_thread(function: Callable[..., Any], original: Callable[..., Any]) -> Callable[..., Any]:
    here = threading.get_ident()

    def choose(*args: Any, **kwargs: Any) -> Any:
        return (function if threading.get_ident() == here else original)(*args, **kwargs)

    return choose


@contextmanager
def isolated(seed: int) -> Iterator[None]:
    """Inside, the calling thread's global draws start at ``seed``, unseeded generators too."""
    numpys, pythons = np.random.RandomState(seed), random.Random(seed)
    make = np.random.default_rng

    def default_rng(given: Any = None) -> np.random.Generator:
        return make(numpys.randint(2**31) if given is None else given)

    draws = {name: getattr(numpys, name) for name in _NUMPYS} | {"seed": numpys.seed, "default_rng": default_rng}
    with (
        replaced(np.random, draws),
        replaced(random, {name: getattr(pythons, name) for name in _PYTHONS}),
        np.errstate(all="ignore"),  # probes may overflow; what comes out is what counts
    ):
        yield
