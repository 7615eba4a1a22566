"""Is a hand-written backward right, and if not, what is wrong? Exit status 0 right, 1 wrong, 2 not checked."""

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from experiments.command_line import add_text, check_file
from experiments.report import console
from scratch import checks


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options."""
    target = "FILE.py or FILE.py:NAME: NAME_forward and NAME_backward, layers, losses, networks; else all of scratch"
    parser.add_argument("target", type=str | None, nargs="?", default=None, help=target)
    shapes = "shapes of the inputs, where the file has no sample_inputs(rng); y=7:3 are 7 classes out of 3"
    parser.add_argument("--shapes", type=str, nargs="+", default=[], metavar="NAME=7x5", help=shapes)
    add_text(parser, "--json", "write the report there as JSON", metavar="FILE")
    add_text(parser, "--html", "write the report there as a page", metavar="FILE")
    parser.add_argument("--seed", type=int, default=0, help="of the inputs and upstream gradients")


def run(options: Namespace) -> int:
    """Verify, print the report, and write it where it is asked for."""
    checks.whole("seed", options.seed, 0)
    check_file("json", options.json)
    check_file("html", options.html)
    if options.shapes and options.target is None:
        raise ValueError("shapes are given without a target, expected FILE.py or FILE.py:NAME before them")

    from experiments.verifiable import verify_file, verify_scratch

    if options.target is None:
        verified = verify_scratch(options.seed)
    else:
        verified = verify_file(options.target, options.shapes, options.seed)
    console.print(verified)
    if options.json is not None:
        Path(options.json).write_text(verified.to_json() + "\n", encoding="utf-8")
    if options.html is not None:
        Path(options.html).write_text(verified.to_html(), encoding="utf-8")
    return {"wrong": 1, "could not be checked": 2}.get(verified.verdict, 0)
