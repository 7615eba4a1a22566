"""The line in the terminal that says how far the search for an edit is."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.live import Live
from rich.text import Text

from experiments.report import make_console

Show = Callable[[str], None]


@contextmanager
def progress_line() -> Iterator[Show]:
    """A callback that shows its text as one line on standard error, in a terminal alone; "" takes it away."""
    console = make_console(stderr=True)
    console.file = sys.stderr  # as it is now: while a file is verified, another stream stands there
    line = Live(console=console, transient=True, redirect_stdout=False, redirect_stderr=False)

    def show(text: str) -> None:
        if text:
            line.update(Text(text, no_wrap=True, overflow="ellipsis"))
            line.start(refresh=True)
        else:
            line.stop()

    try:
        yield show
    finally:
        line.stop()
