"""Other code in the place of a function's own, and silence while it runs: for the calling thread alone."""

from __future__ import annotations

import inspect
import io
import sys
import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import CodeType, FunctionType

    from torch_impl.verify.source.functions import Function

_LOCK = threading.Lock()
_SWITCHES: dict[FunctionType, _Switch] = {}


@contextmanager
def replaced(codes: Mapping[Function, CodeType]) -> Iterator[None]:
    """Inside, calls of these functions by the calling thread run other code, wherever they are held.

    A function object itself is changed, so that methods, closures and what was imported elsewhere are reached alike.

    Raises
        KeyError: the code needs a variable of an enclosing function that the function does not hold
    """
    with ExitStack() as stack:
        for function, code in codes.items():
            for each in function.functions:
                stack.enter_context(_switched(each, function.with_code(code, each)))
        yield


@contextmanager
def _switched(function: FunctionType, instead: FunctionType) -> Iterator[None]:
    thread = threading.get_ident()
    with _LOCK:
        if function not in _SWITCHES:
            _SWITCHES[function] = _Switch(function)
        switch = _SWITCHES[function]
        before = switch.by_thread.get(thread)
        switch.by_thread[thread] = instead
    try:
        yield
    finally:
        with _LOCK:
            if before is not None:
                switch.by_thread[thread] = before
            else:
                del switch.by_thread[thread]
            if not switch.by_thread:
                switch.take_out()
                del _SWITCHES[function]


class _Switch:
    """Stands in a function's place, and calls by thread what is to run."""

    def __init__(self, function: FunctionType) -> None:
        self.function, self.code, self.name = function, function.__code__, f"__switch_{id(function)}__"
        self.by_thread: dict[int, FunctionType] = {}
        self.signature = function.__dict__.get("__signature__")
        self.original = type(function)(
            self.code, function.__globals__, function.__name__, function.__defaults__, function.__closure__
        )
        self.original.__kwdefaults__ = function.__kwdefaults__
        function.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
        function.__globals__[self.name] = self
        function.__code__ = _calling(self.name, len(self.code.co_freevars), self.code)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.by_thread.get(threading.get_ident(), self.original)(*args, **kwargs)

    def take_out(self) -> None:
        self.function.__code__ = self.code
        del self.function.__globals__[self.name]
        if self.signature is None:
            del self.function.__signature__  # type: ignore[attr-defined]
        else:
            self.function.__signature__ = self.signature  # type: ignore[attr-defined]


def _calling(name: str, n_free: int, like: CodeType) -> CodeType:
    """Code that hands its arguments on to what is called ``name``; Python wants it to have as many free variables."""
    free = ", ".join(f"v{i}" for i in range(n_free))
    uses = f"\n  if 0: return {free}" if n_free else ""
    text = f"def outer({free}):\n def inner(*args, **kwargs):{uses}\n  return {name}(*args, **kwargs)"
    scope: dict[str, Callable[..., Any]] = {}
    exec(compile(text, like.co_filename, "exec"), scope)
    inner = next(c for c in scope["outer"].__code__.co_consts if hasattr(c, "co_code"))
    return inner.replace(co_name=like.co_name, co_qualname=like.co_qualname, co_firstlineno=like.co_firstlineno)


# --- what the code prints ---------------------------------------------------------------------------------------------

_QUIET: dict[int, Any] = {}  # by thread, what its prints go to


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, what the calling thread prints is dropped: code that is run a thousand times would print as often."""
    thread = threading.get_ident()
    with _LOCK:
        outermost = thread not in _QUIET
        _QUIET.setdefault(thread, io.StringIO())
        if not isinstance(sys.stdout, _Output):
            sys.stdout = _Output(sys.stdout)
    try:
        yield
    finally:
        with _LOCK:
            if outermost:
                del _QUIET[thread]
            if not _QUIET and isinstance(sys.stdout, _Output):
                sys.stdout = sys.stdout.stream


class _Output:
    """Standard output for every thread that is not quiet."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(_QUIET.get(threading.get_ident(), self.stream), name)
