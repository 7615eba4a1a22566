"""Is a hand-written backward right, and if not, what is wrong? Exit status 0 right, 1 wrong, 2 not checked."""

from jsonargparse import ArgumentParser, Namespace

from experiments.command_line import add_json, add_text, check_file, check_name, check_whole, write_text
from experiments.report import make_console

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
    add_json(parser)
    add_text(parser, "--html", "write the report there as a page; - is standard output", metavar="FILE")
    parser.add_argument("--seed", type=int, default=0, help="of the inputs and upstream gradients")


def run(options: Namespace) -> int:
    """Verify, print the report, and write it where it is asked for."""
    check_whole("seed", options.seed, 0)
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

    from experiments.verifiable import verify_file, verify_scratch

    if options.target is None:
        verified = verify_scratch(options.seed)
    else:
        verified = verify_file(options.target, options.shapes, options.seed, {name: options[name] for name in ROLES})
    make_console(stderr="-" in (options.json, options.html)).print(verified)
    write_text(options.json, verified.to_json() + "\n")
    write_text(options.html, verified.to_html())
    return {"wrong": 1, "could not be checked": 2}.get(verified.verdict, 0)
