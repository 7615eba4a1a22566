"""Both twins beside what a person would use instead, in turns: the tables of docs/benchmarks.md."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from experiments.benchmark import tables
from experiments.benchmark.cases import QUICK_SIZES, SIZES
from experiments.benchmark.contenders import contenders_for
from experiments.benchmark.scaling import scaling
from experiments.benchmark.timing import time_sizes
from experiments.command_line import (
    add_device,
    add_flag,
    add_json,
    add_text,
    check_file,
    check_name,
    check_whole,
    write_text,
)
from experiments.experiment import choose_device
from experiments.report import bold, make_console
from experiments.run_folder import dated, make_folder


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options."""
    add_flag(parser, "--quick", "a minute: fewer of everything")
    add_flag(parser, "--scaling", "time against width, depth, batch and data")
    sizes, contenders = "xor, digits, mnist-32, …; else all", "who trains; else all"
    parser.add_argument("--sizes", type=str, nargs="+", default=[], metavar="SIZE", help=sizes)
    parser.add_argument("--contenders", type=str, nargs="+", default=[], metavar="NAME", help=contenders)
    rounds = "turns of each contender, after one to warm up; at least 5"
    parser.add_argument("--rounds", type=int, default=5, help=rounds)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of every contender")
    add_device(parser)
    add_json(parser)
    add_text(parser, "--out", "folder of the result; else runs/bench-DATE-TIME")


def run(options: Namespace) -> int:
    """Time what was asked for, and show it as it comes: 1 if a contender did not run."""
    from experiments import plots  # matplotlib takes a second

    device = str(choose_device(options.device))
    check_file("json", options.json)
    check_whole("rounds", options.rounds, 5)
    check_whole("threads", options.threads, 1)
    if options.threads > (os.cpu_count() or 1):
        raise ValueError(f"threads is {options.threads}, expected at most {os.cpu_count()}, the machine's cores")
    check_name("data_dir", options.data_dir)
    check_name("out", options.out)
    parts = timings(options, device)
    found = tables.machine(options.threads, device)
    out = Path(options.out or dated("bench"))
    make_folder(out)  # now, so that no result is lost for want of one
    console = make_console(stderr=options.json == "-")
    console.print(tables.machine_line(found), "\n", soft_wrap=True)
    done = []
    for part in parts:
        done.append(part)
        console.print(tables.table(part), "\n")
        for problem in tables.problems(part):
            print(problem, file=sys.stderr)
        # After each size, so that Ctrl-C loses only the one that runs.
        values = {**found, "command": " ".join(options.typed), "results": [tables.as_dict(part) for part in done]}
        text = json.dumps(values, indent=1) + "\n"
        write_text(str(out / "bench.json"), text)
        write_text(str(out / "bench.md"), tables.markdown(found, done))
        plots.save(plots.scaling(done) if options.scaling else plots.bench(done), out / "bench.png")
    if not options.scaling:
        console.print(tables.CAPTION, "\n", style="dim")
    write_text(options.json, text)
    console.print(bold("", str(out), " holds bench.json, bench.md, bench.png"), soft_wrap=True)
    return 1 if any(map(tables.problems, done)) else 0


def timings(options: Namespace, device: str) -> Iterator[Any]:
    """The cases, or with ``--scaling`` the sweeps, as they are timed."""
    if not options.scaling:
        sizes = options.sizes or (QUICK_SIZES if options.quick else list(SIZES))
        names = options.contenders or contenders_for(device, options.quick)
        return time_sizes(sizes, names, options.rounds, options.threads, device, options.data_dir, options.quick)
    for name in ("quick", "sizes", "contenders"):
        if options[name]:
            raise ValueError(f"{name} is given with scaling, which has sizes and contenders of its own; leave one out")
    return scaling(options.rounds, options.threads, device)
