"""A file under test runs as a program of its own would, and what it changes in this process is put back."""

import builtins
import decimal
import importlib.util
import io
import locale
import os
import random
import re
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO
from unittest import mock

import numpy as np
import torch


@contextmanager
def as_program(file: Path) -> Iterator[None]:
    """Inside, ``file`` finds what a program finds: its folder, its arguments, an empty input; its output is stderr.

    A program that ends itself raises SystemExit, with os._exit too, so that no file can choose the exit status.
    """
    folder, modules = package_root(file)[0], dict(sys.modules)
    # One stream of ours for both: a file may wrap, replace or close what it finds.
    stream = Printed(sys.stderr)
    with ExitStack() as stack:
        stack.callback(_forget_modules, folder, modules)
        stack.enter_context(kept(PLACE))
        stack.enter_context(_signals_kept())
        stack.enter_context(redirect_stdout(stream))
        stack.enter_context(redirect_stderr(stream))
        stack.enter_context(mock.patch.object(sys, "stdin", io.StringIO()))
        stack.enter_context(mock.patch.object(builtins, "input", _no_input))
        stack.enter_context(mock.patch.object(os, "_exit", _exit(os.getpid(), os._exit)))
        sys.argv = [str(file)]
        sys.path[:0] = dict.fromkeys([str(folder), str(file.parent.resolve())])
        stack.enter_context(_figures_unseen(file))
        yield


@contextmanager
def settings_kept(seed: int) -> Iterator[None]:
    """Inside, random numbers start at ``seed``; afterwards they and the settings of NumPy and torch are as before.

    The verifier computes with the same NumPy and torch, so a file's settings end where its own code ends.
    """
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        stack.enter_context(decimal.localcontext())
        stack.enter_context(np.errstate())
        stack.enter_context(np.printoptions())
        stack.enter_context(kept(NUMBERS))
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002  the file may draw from it
        torch.manual_seed(seed % 2**63)
        yield


Setting = tuple[Callable[[], Any], Callable[[Any], Any]]  # what reads it, what sets it


def _set_environment(before: dict[str, str]) -> None:
    if dict(os.environ) != before:
        os.environ.clear()
        os.environ.update(before)


def _set_folder(before: str | None) -> None:
    if before is not None:
        with suppress(OSError):
            os.chdir(before)


def _folder() -> str | None:
    with suppress(OSError):  # it may have been removed
        return str(Path.cwd())
    return None


HOOKS = ("excepthook", "displayhook")
PLACE: tuple[Setting, ...] = (
    (_folder, _set_folder),
    (lambda: dict(os.environ), _set_environment),
    (lambda: (sys.path, list(sys.path)), lambda before: _set_list("path", *before)),
    (lambda: (sys.argv, list(sys.argv)), lambda before: _set_list("argv", *before)),
    (lambda: locale.setlocale(locale.LC_ALL), lambda before: locale.setlocale(locale.LC_ALL, before)),
    (sys.getrecursionlimit, sys.setrecursionlimit),
    (lambda: (sys.excepthook, sys.displayhook), lambda before: vars(sys).update(zip(HOOKS, before, strict=True))),
)

NUMBERS: tuple[Setting, ...] = (
    (random.getstate, random.setstate),
    (np.random.get_state, np.random.set_state),
    (torch.get_rng_state, torch.set_rng_state),
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_default_device, torch.set_default_device),
    (torch.is_grad_enabled, lambda before: torch.set_grad_enabled(before)),
    (torch.get_num_threads, torch.set_num_threads),
    (torch.are_deterministic_algorithms_enabled, lambda before: torch.use_deterministic_algorithms(before)),
)


def _set_list(name: str, before: list[str], content: list[str]) -> None:
    setattr(sys, name, before)
    before[:] = content


@contextmanager
def kept(settings: tuple[Setting, ...]) -> Iterator[None]:
    """Whatever changes inside is put back."""
    before = [read() for read, _ in settings]
    try:
        yield
    finally:
        for (read, put_back), value in zip(settings, before, strict=True):
            if not _same(read(), value):
                put_back(value)


def _same(a: Any, b: Any) -> bool:
    with suppress(Exception):
        return bool(a == b)
    return False  # such as tuples that hold arrays


@contextmanager
def _signals_kept() -> Iterator[None]:
    """What a file has happen with a signal ends with it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in signal.valid_signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)


class Interrupts:
    """Whether Ctrl-C was pressed: a file can raise KeyboardInterrupt as well, and that is its own doing."""

    def __init__(self) -> None:
        self.arrived = False

    def raise_if_arrived(self) -> None:
        """Raise KeyboardInterrupt if it was, whoever caught the first one."""
        if self.arrived:
            raise KeyboardInterrupt


@contextmanager
def noted_interrupts() -> Iterator[Interrupts]:
    """Inside, Ctrl-C raises KeyboardInterrupt as everywhere, and is noted."""
    found = Interrupts()
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield found  # Python handles no signals in another thread, and nobody those that are ignored
        return

    def note(number: int, frame: Any) -> None:  # noqa: ARG001
        found.arrived = True
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, note)
    try:
        yield found
    finally:
        signal.signal(signal.SIGINT, before)


def _no_input(prompt: object = "") -> str:
    raise EOFError(f"{str(prompt)!r} asks for input, and there is none while a file is verified")


def _exit(process: int, leave: Callable[[int], Any]) -> Callable[[int], Any]:
    def _exit(status: int) -> Any:
        if os.getpid() != process:
            return leave(status)  # of a process that the file started
        raise SystemExit(status)

    return _exit


class Printed(io.TextIOBase):
    """A stream that writes to another one; closing it closes nothing else. Its ``buffer`` takes bytes."""

    encoding, errors = "utf-8", "replace"

    def __init__(self, stream: TextIO) -> None:
        self.stream, self.buffer = stream, Bytes(stream)

    def writable(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        return self.stream.write(text)

    def flush(self) -> None:
        self.stream.flush()

    def reconfigure(self, **_: Any) -> None:
        """Do nothing: a file may ask for UTF-8, which it gets."""


class Bytes(io.RawIOBase):
    """The bytes of a text stream, on their way in."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self.stream.write(bytes(data).decode("utf-8", "replace"))
        return len(data)


@contextmanager
def _figures_unseen(file: Path) -> Iterator[None]:
    """Figures are drawn in memory, shown to nobody and closed; plt.show() returns at once."""
    with mock.patch.dict(os.environ, MPLBACKEND="Agg"):
        source = file.read_bytes() if file.is_file() else b""
        if b"matplotlib" not in source and "matplotlib.pyplot" not in sys.modules:
            yield  # one that a helper imports finds the backend in the environment
            return
        import matplotlib
        from matplotlib import pyplot

        before, open_before = matplotlib.get_backend(), pyplot.get_fignums()
        with matplotlib.rc_context(), mock.patch.object(pyplot, "show"):
            pyplot.switch_backend("Agg")
            with mock.patch.object(matplotlib, "use"):
                try:
                    yield
                finally:
                    for number in set(pyplot.get_fignums()) - set(open_before):
                        pyplot.close(number)
        if before.lower() != "agg":
            pyplot.switch_backend(before)


def package_root(file: Path) -> tuple[Path, str]:
    """The folder that imports start from, and the file's name as a module: "layers", or "package.layers"."""
    folder, name = file.resolve().parent, re.sub(r"\W", "_", file.stem)
    while (folder / "__init__.py").is_file() and folder != folder.parent:
        folder, name = folder.parent, f"{folder.name}.{name}"
    return folder, name


def load(file: Path) -> ModuleType:
    """The file as a module, in sys.modules as long as it is verified: dataclasses and pickle look it up."""
    _, name = package_root(file)
    while name in sys.modules:  # a file called json.py must not take the place of json
        name += "_"
    spec: Any = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _forget_modules(folder: Path, before: dict[str, ModuleType]) -> None:
    """Take out of sys.modules what was imported from under ``folder``: another file may have a helper of that name."""
    for name in [name for name in sys.modules if name.partition(".")[0] not in before]:
        content = vars(sys.modules[name])
        places = [content.get("__file__") or "", *(content.get("__path__") or ())]
        if any(p and "site-packages" not in p and folder in Path(p).resolve().parents for p in places):
            del sys.modules[name]
    sys.modules.update({name: module for name, module in before.items() if sys.modules.get(name) is not module})
