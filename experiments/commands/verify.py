"""Is a hand-written backward right, and if not, what is wrong? Exit status 0 right, 1 wrong, 2 not checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from experiments.command_line import add_json, add_text, check_file, check_name, check_whole, write_text
from experiments.report import make_console
from scratch import Interrupted, checks, interruptible

if TYPE_CHECKING:
    from pathlib import Path

    from jsonargparse import ArgumentParser, Namespace
    from rich.console import Console

    from torch_impl.verify import Report

LIMIT = 20.0  # seconds; a constant of torch_impl would make --help wait for torch
ROLES = {
    "targets": "inputs that are targets of a loss",
    "constant": "inputs that have no gradient",
    "probabilities": "inputs that are probabilities, between 0 and 1",
}


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options."""
    target = (
        "FILE.py or FILE.py:NAME, which is run: pairs such as NAME_forward and NAME_backward, derivatives, losses, "
        "classes and instances of layers and networks; without it, all of scratch"
    )
    parser.add_argument("target", type=str | None, nargs="?", default=None, help=target)
    shapes = "shapes of the inputs, over those of sample_inputs(rng) in the file; y=7:3 are 7 classes out of 3"
    parser.add_argument("--shapes", type=str, nargs="+", default=[], metavar="NAME=7x5", help=shapes)
    for name, text in ROLES.items():
        parser.add_argument(f"--{name}", type=str, nargs="+", default=[], metavar="NAME", help=text)
    fix = "write the edits that mend FILE.py into it, after a copy FILE.py.orig, and verify it again"
    parser.add_argument("--fix", action="store_true", help=fix)
    limit = "how long to look for an edit that mends one function, in all; 0 looks for none"
    parser.add_argument("--limit", type=float, default=LIMIT, metavar="SECONDS", help=limit)
    add_json(parser)
    add_text(parser, "--html", "write the report there as a page; - is standard output", metavar="FILE")
    parser.add_argument("--seed", type=int, default=0, help="of the inputs and upstream gradients")


def run(options: Namespace) -> int:
    """Verify, print the report, and write it where it is asked for; with --fix, that of what is left after it."""
    _check(options)
    from experiments.verifiable import file_and_name

    console = make_console(stderr="-" in (options.json, options.html))
    file = file_and_name(options.target)[0] if options.fix else None
    data = file.read_bytes() if file is not None else b""
    verified = _verified(options, console)
    if file is not None and _is_written(file, data, verified, console):
        verified = _verified(options, console)
    write_text(options.json, verified.to_json() + "\n")
    write_text(options.html, verified.to_html())
    return {"wrong": 1, "could not be checked": 2}.get(verified.verdict, 0)


def _check(options: Namespace) -> None:
    """Raise ValueError or TypeError for an option that has no such value."""
    check_whole("seed", options.seed, 0)
    checks.number("limit", options.limit, 0)
    check_file("json", options.json)
    check_file("html", options.html)
    if options.html is not None and options.html == options.json:
        raise ValueError(f"html is {options.html!r}, which is json's too, expected another file")
    check_name("target", options.target)
    for name in ("json", "html"):
        if options.target is not None and options[name] == options.target.partition(":")[0]:
            raise ValueError(f"{name} is {options[name]!r}, which is the file to verify, expected another one")
    for name in ("shapes", *ROLES):
        if options[name] and options.target is None:
            raise ValueError(f"{name} are given without a target, expected FILE.py or FILE.py:NAME before them")
    if options.fix and options.target is None:
        raise ValueError("fix is given without a target, expected FILE.py or FILE.py:NAME, the file to write into")


def _verified(options: Namespace, console: Console) -> Report:
    """Verify, and print the report: after Ctrl-C that of what was verified until then."""
    from experiments.verifiable import Stopped, limited, progress_line, verify_file, verify_scratch

    roles = {name: options[name] for name in ROLES}
    try:
        with progress_line() as progress, limited(options.limit, progress):
            if options.target is None:
                found = verify_scratch(options.seed)
            else:
                found = verify_file(options.target, options.shapes, options.seed, roles)
    except Stopped as stopped:
        console.print(stopped.report)
        raise
    console.print(found)
    return found


def _is_written(file: Path, data: bytes, verified: Report, console: Console) -> bool:
    """Write the edits of the report into the file, which held ``data`` when it was verified, and say what was written.

    Raises
        Interrupted: Ctrl-C was pressed; all or nothing is written
    """
    from experiments.verifiable import write_repairs

    repairs = [finding.repair for finding in verified.findings if finding.repair is not None]
    with interruptible() as stop:
        is_written, said = write_repairs(file, data, repairs)
    console.print("", *map(_printable, said), "", sep="\n", soft_wrap=True)
    if stop.number:
        raise Interrupted(stop.number, "What is said above is written." if is_written else "Nothing is written.")
    return is_written


def _printable(text: str) -> str:
    """The text with what could act on a terminal, as an escape does, written as in Python."""
    return "".join(c if c.isprintable() or c in "\t\n" else ascii(c)[1:-1] for c in text.rstrip("\n"))
