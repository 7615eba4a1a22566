"""What the commands share of the command line: a parser that speaks in sentences, and options that several have."""

import difflib
import os
import re
import reprlib
import sys
import tempfile
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, Namespace

from scratch import checks
from scratch.checkpoint import write_atomically

# What the person typed: the console script's name, or its other form.
PROGRAM = "twingrad" if Path(sys.argv[0]).stem == "twingrad" else "python -m experiments"


def open_streams() -> None:
    """Make standard input, output and error such that nothing printed can fail for its letters.

    One that is closed reads and writes nothing: without that, the next file that is opened would take its place.
    """
    for name, mode in {"stdin": "r", "stdout": "w", "stderr": "w"}.items():
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115 - open as long as the process
        elif mode == "w" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def drop_output() -> None:
    """Write what was printed, and cannot be written, nowhere: else Python would try once more as it ends."""
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


@dataclass(frozen=True)
class Command:
    """What a file of experiments/commands has; ``run`` returns the exit status."""

    doc: str | None  # its first line is the command's help
    add_arguments: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], int]


class CommandLine(ArgumentParser):
    """A parser that says in one sentence what is wrong, and names the nearest option."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:  # noqa: ARG002
        unknown = re.search(r"unrecognized arguments: --([\w-]+)", message)
        if unknown is not None:
            known = [option[2:] for action in self._actions for option in action.option_strings]
            for near in difflib.get_close_matches(unknown[1], known, n=1):
                message += f"; did you mean --{near}?"
        message = re.sub(r'Parser key "(\w+)"', lambda match: "--" + match[1].replace("_", "-"), message)
        message = re.sub(r"a <class '(\w+)'>", r"\1", message).replace("a typing.Literal", "one of ")
        print(f"error: {' '.join(message.split())} (see {self.prog.split(' [')[0]} --help)", file=sys.stderr)
        sys.exit(2)


def add_command(subcommands: Any, name: str, command: Command) -> None:
    """A command's own parser, under its name."""
    summary = (command.doc or "").splitlines()[0]
    parser = CommandLine(description=summary)
    subcommands.add_subcommand(name, parser, help=summary)
    command.add_arguments(parser)  # after that, since it may add commands below this one


def add_text(parser: ArgumentParser, name: str, text: str, metavar: str | None = None) -> None:
    """An option that is None where it is not given."""
    parser.add_argument(name, type=str | None, default=None, metavar=metavar, help=text)


def add_flag(parser: ArgumentParser, name: str, text: str) -> None:
    """An option that is true where it is given."""
    parser.add_argument(name, type=bool, nargs="?", const=True, default=False, help=text)


def add_device(parser: ArgumentParser) -> None:
    """Where to train, and where MNIST is, for the commands that time it."""
    parser.add_argument("--device", type=str, default="cpu", help="cpu, cuda or cuda:N")
    add_text(parser, "--data-dir", "folder of MNIST; else $TWINGRAD_DATA, else ./data")


def add_json(parser: ArgumentParser) -> None:
    """Where to write the result as JSON."""
    add_text(parser, "--json", "write the result there as JSON; - is standard output", metavar="FILE")


def check_whole(name: str, value: Any, least: int) -> None:
    """Raise unless ``value`` is an integer from ``least`` to what 64 bits hold, as steps and seeds must."""
    checks.whole(name, value, least)
    if value >= 2**63:
        raise ValueError(f"{name} is {reprlib.repr(value)}, expected at most {2**63 - 1}")


def check_name(name: str, path: str | None) -> None:
    """Raise ValueError unless ``path``, the option of that name, is None or could be the name of a file or a folder."""
    if path == "":
        raise ValueError(f"{name} is '', expected a name")
    if path is not None and any(unicodedata.category(letter) in ("Cc", "Cs") for letter in path):
        raise ValueError(f"{name} is {path!r}, expected a name without control characters")


def check_file(name: str, path: str | None) -> None:
    """Raise ValueError unless ``path``, the option of that name, is None, - or a file that can be written."""
    check_name(name, path)
    if path is None or path == "-":
        return
    file = Path(path).resolve()
    if file.is_dir():
        raise ValueError(f"{name} is {path!r}, which is a folder, expected a file")
    if not file.parent.is_dir():
        raise ValueError(f"{name} is {path!r}, expected a file in a folder that exists")
    try:
        if file.is_file() or not file.exists():
            with tempfile.TemporaryFile(dir=file.parent):  # only this tells
                pass
    except OSError as error:
        raise ValueError(f"{name} is {path!r}, where no file can be written ({error.strerror})") from error


def write_text(path: str | None, text: str) -> None:
    """Write it there; None is nowhere, - is standard output. A file is the whole old or the whole new one."""
    if path is None:
        return
    file = Path(path).resolve()
    if path == "-":
        print(text, end="")
    elif file.is_file() or not file.exists():
        write_atomically(file, text.encode())
    else:  # a pipe or a device
        file.write_text(text, encoding="utf-8")
