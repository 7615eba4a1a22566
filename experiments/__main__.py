"""The command line: python -m experiments COMMAND."""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, cast, get_args, get_origin, get_type_hints

import yaml
from jsonargparse import SUPPRESS, ArgumentParser

from experiments.config import TASKS, Config
from scratch import DivergenceError, checks
from scratch.device import Precision

# Torch takes seconds to load, and `--help` need not wait for it: what needs torch is imported where it is used.
if TYPE_CHECKING:
    from collections.abc import Sequence

    from jsonargparse import Namespace

    from experiments.run import Experiment, RunFolder

JSON_HELP = "write the result there as JSON; - is standard output"

# What may differ when a run is resumed; with anything else changed it would be another run.
FREE_ON_RESUME = {"impl", "device", "devices", "num_nodes", "strategy", "data_dir", "checkpoint_every"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command: 0 if it did what was asked, 1 if a training failed, 2 for bad input, 130 after Ctrl-C."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    parser = command_line()
    try:
        options = parser.parse_args(arguments)
        if options.subcommand == "demo":
            return demo(options.demo)
        if options.subcommand == "results":
            return results(options.results)
        if options.subcommand == "backprop-by-hand":
            return backprop_by_hand(options["backprop-by-hand"])
        if options.subcommand == "verify":
            return verify(options.verify)
        if options.subcommand == "bench":
            return bench(options.bench)
        if options.subcommand == "speedrun":
            return speedrun(options.speedrun)
        return train(parser, arguments, options)
    except DivergenceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except UnicodeDecodeError as error:
        print(f"error: the config file is not UTF-8 text ({error})", file=sys.stderr)
        return 2
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted before the end.", file=sys.stderr)
        return 130


def train(parser: ArgumentParser, arguments: list[str], options: Namespace) -> int:
    """The commands named after a task, and compare."""
    command = [options.subcommand]
    if options.subcommand == "compare":
        command.append(options.compare.task)
    task = command[-1]

    def own(options: Namespace) -> Namespace:
        for word in command:
            options = options[word]
        return options

    resume = own(options).resume
    if resume is not None:
        saved = Path(resume) / "config.yaml"
        if not saved.is_file():
            raise ValueError(f"resume is {resume!r}, expected the folder of a run, with its config.yaml")
        if own(options).out is not None:
            raise ValueError(f"out is {own(options).out!r}, expected none: a resumed run stays in its folder")
        values = _read_config(saved)
        if values.get("task") != task:
            raise ValueError(f"resume is {resume!r}, a run of {values.get('task')!r}, expected one of {task!r}")
        # The run's own options first, so that what was typed comes on top, and can be checked.
        options = parser.parse_args([*command, "--config", str(saved), *arguments[len(command) :]])
        _check_unchanged(own(options), values, resume)
    config = _config(task, own(options))

    from experiments import report, run

    experiment = run.Experiment.of(config)
    if not run.is_first_process():
        run.join(experiment, run.RunFolder(Path(resume or config.out or "runs")))
        return 0
    folder = run.RunFolder(Path(resume)) if resume is not None else run.RunFolder.create(config)
    report.header(experiment, folder)
    try:
        outcomes = train_and_report(experiment, folder)
    except run.Interrupted:
        again = f"python -m experiments {' '.join(command)} --resume {folder.path}"
        report.console.print(f"Interrupted. Go on from the last checkpoint with\n\n    {again}\n", soft_wrap=True)
        return 130
    if options.subcommand == "compare":
        from experiments.compare import EQUAL, difference_tables

        largest = difference_tables(outcomes)
        equal = largest <= EQUAL
        verdict = f" Equal to {EQUAL:g}: {'yes' if equal else 'NO'}."
        if config.dtype == "float32":
            verdict = f" No verdict: float32 rounds too soon; in float64 they are held to {EQUAL:g}."
        report.console.print(f"The largest difference of any weight is [bold]{largest:.1e}[/].{verdict}")
        return 0 if equal or config.dtype == "float32" else 1
    return 0


def train_and_report(experiment: Experiment, folder: RunFolder) -> list[Any]:
    """Train, print the table of the twins, draw the pictures, say what is in the folder."""
    from experiments import plots, report, run

    outcomes = run.run(experiment, folder)
    report.outcomes_table(outcomes)
    if experiment.config.task == "xor":
        report.perceptron_line(experiment.data.train)
    plots.draw_all(experiment, outcomes, folder)
    report.contents(folder)
    return outcomes


def demo(options: Namespace) -> int:
    """The command demo."""
    import time

    from experiments import demo, report, run

    start = time.perf_counter()
    checks.whole("seed", options.seed, 0)
    demo.parity(options.seed)
    out = Path(options.out or f"runs/demo-{time.strftime('%Y%m%d-%H%M%S')}")
    for task in demo.TASKS:
        report.console.rule(task, align="left")
        config = TASKS[task](seed=options.seed, out=str(out / task))
        experiment = run.Experiment.of(config)
        folder = run.RunFolder.create(config)
        report.header(experiment, folder)
        try:
            train_and_report(experiment, folder)
        except run.Interrupted:
            report.console.print("Interrupted.")
            return 130
    seconds = time.perf_counter() - start
    report.console.rule(align="left")
    report.console.print(
        f"All done in {seconds:.0f} s. The pictures are in [bold]{out}[/].\n"
        "Next, MNIST with both twins (it is downloaded to ./data if it is nowhere else):\n\n"
        "    python -m experiments mnist\n",
        soft_wrap=True,
    )
    return 0


def results(options: Namespace) -> int:
    """The command results."""
    import time

    from experiments import report, results, run

    out = Path(options.out or f"runs/results-{time.strftime('%Y%m%d-%H%M%S')}")
    try:
        results.results(options.tasks, options.seeds, out)
    except run.Interrupted:
        again = f"python -m experiments results --tasks {' '.join(options.tasks)} --seeds {options.seeds} --out {out}"
        report.console.print(f"Interrupted. Go on with\n\n    {again}\n", soft_wrap=True)
        return 130
    return 0


def bench(options: Namespace) -> int:
    """The command bench: 1 if a contender did not run."""
    import json
    import time

    from experiments import bench, plots, report
    from experiments.run import choose_device, make_folder

    device = str(choose_device(options.device))
    sizes = options.sizes or (bench.QUICK_SIZES if options.quick else tuple(bench.SIZES))
    contenders = options.contenders or bench.contenders_for(device, options.quick)
    out = Path(options.out or f"runs/bench-{time.strftime('%Y%m%d-%H%M%S')}")
    check_file("json", options.json)
    for name in ("quick", "sizes", "contenders"):
        if options.scaling and options[name]:
            raise ValueError(f"{name} is given with scaling, which has sizes and contenders of its own; leave one out")
    if options.scaling:
        parts: Any = bench.scaling(options.rounds, options.threads, device)
    else:
        parts = bench.bench(sizes, contenders, options.rounds, options.threads, device, options.data_dir, options.quick)
    machine = bench.machine(options.threads, device)
    make_folder(out)  # now, so that no result is lost for want of one
    console = report.Console(stderr=options.json == "-")
    console.print(bench.machine_line(machine), "\n", soft_wrap=True)
    done = []
    for part in parts:
        done.append(part)
        console.print(bench.table(part), "\n")
        for problem in bench.problems(part):
            print(problem, file=sys.stderr)
        # After each size, so that Ctrl-C loses only the one that runs.
        values = {**machine, "command": " ".join(sys.argv[1:]), "results": [bench.as_dict(part) for part in done]}
        text = json.dumps(values, indent=1) + "\n"
        (out / "bench.json").write_text(text, encoding="utf-8")
        (out / "bench.md").write_text(bench.markdown(machine, done), encoding="utf-8")
        figure = plots.scaling(done) if options.scaling else plots.bench(done)
        figure.savefig(out / "bench.png", dpi=plots.DPI)
    if not options.scaling:
        console.print(bench.CAPTION, "\n", style="dim")
    write_json(options.json, text)
    console.print(f"[bold]{out}[/] holds bench.json, bench.md, bench.png", soft_wrap=True)
    return 1 if any(map(bench.problems, done)) else 0


def speedrun(options: Namespace) -> int:
    """The command speedrun."""
    import json

    import torch

    from experiments import bench, data, report, speedrun
    from experiments.run import choose_device
    from scratch.device import check_device, check_precision

    checks.number("target", options.target, 0, above=True)
    checks.whole("runs", options.runs, 1)
    check_file("json", options.json)
    recipe, device = speedrun.recipe_for(options.target), str(choose_device(options.device))
    impl = options.impl or ("scratch" if device == "cpu" else "torch")
    if impl == "scratch":
        check_device(device)
    check_precision(options.precision, device, "float32")
    images = data.mnist_images(options.data_dir)
    machine = bench.machine(torch.get_num_threads(), device)
    console = report.Console(stderr=options.json == "-", highlight=False)
    tested = f"{speedrun.HELD_OUT:,} training images held out" if options.validate else "10,000 test images"
    console.print(bench.machine_line(machine), soft_wrap=True)
    console.print(f"{recipe}, by {impl} on {device}, {options.precision}\n", soft_wrap=True)
    runs = []
    for run in speedrun.speedrun(recipe, images, options.runs, impl, device, options.precision, options.validate):
        runs.append(run)
        console.print(f"seed {run.seed:>2}  {run.seconds:6.3f} s  {run.accuracy:.2f} %")
    values = speedrun.as_dict(recipe, runs, options.target)
    found = values["summary"]
    console.print(
        f"\n[bold]{found['seconds']:.2f} ± {found['seconds_sd']:.2f} s[/], "
        f"[bold]{found['accuracy']:.2f} ± {found['accuracy_sd']:.2f} %[/] of the {tested}; "
        f"{found['reached']:.0%} of {len(runs)} runs reached {options.target:g} % (mean ± standard deviation).\n"
        "Timed: from the images' bytes in memory to trained weights and the accuracy, copies to the device included. "
        "Not timed: imports, reading the files, and one run before the first.",
        soft_wrap=True,
    )
    text = json.dumps({**machine, "impl": impl, "device": device, "precision": options.precision, **values}, indent=1)
    write_json(options.json, text + "\n")
    return 0


def check_file(name: str, path: str | None) -> None:
    """Raise ValueError unless ``path``, the option of that name, is None or a file in a folder that exists."""
    if path is not None and not Path(path).resolve().parent.is_dir():
        raise ValueError(f"{name} is {path!r}, expected a file in a folder that exists")


def write_json(path: str | None, text: str) -> None:
    """Write it there; None is nowhere, - is standard output."""
    if path == "-":
        print(text, end="")
    elif path is not None:
        Path(path).write_text(text, encoding="utf-8")


def backprop_by_hand(options: Namespace) -> int:
    """The command backprop-by-hand."""
    from experiments import by_hand

    by_hand.print_exercise(options.seed, options.lr)
    return 0


def verify(options: Namespace) -> int:
    """The command verify: 0 right, 1 wrong, 2 could not be checked."""
    checks.whole("seed", options.seed, 0)
    check_file("json", options.json)
    check_file("html", options.html)
    if options.shapes and options.target is None:
        raise ValueError("shapes are given without a target, expected FILE.py or FILE.py:NAME before them")

    from experiments import report
    from experiments.verify import verify_file, verify_scratch

    if options.target is None:
        verified = verify_scratch(options.seed)
    else:
        verified = verify_file(options.target, options.shapes, options.seed)
    report.console.print(verified)
    if options.json is not None:
        Path(options.json).write_text(verified.to_json() + "\n", encoding="utf-8")
    if options.html is not None:
        Path(options.html).write_text(verified.to_html(), encoding="utf-8")
    return {"wrong": 1, "could not be checked": 2}.get(verified.verdict, 0)


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


def command_line() -> ArgumentParser:
    """The parser of all commands."""
    parser = CommandLine(
        prog="python -m experiments",
        allow_abbrev=False,
        description="Train hand-written backprop and its PyTorch twin, and compare them.",
    )
    commands = parser.add_subcommands(required=True)
    for name, task in TASKS.items():
        commands.add_subcommand(name, _task_parser(task), help=_first_line(task))

    text = "All three implementations on the same batches, in float64; exit status 1 if a weight differs by over 1e-12"
    comparing = CommandLine(description=text)
    commands.add_subcommand("compare", comparing, help=text)
    tasks = comparing.add_subcommands(dest="task", required=True)
    for name, task in TASKS.items():
        tasks.add_subcommand(name, _task_parser(task, comparing=True), help=_first_line(task))

    text = "The main job in a minute: every layer and loss against autograd, then XOR, moons and digits with both twins"
    demo = CommandLine(description=text)
    demo.add_argument("--out", type=str | None, default=None, help="folder of the runs; else runs/demo-DATE-TIME")
    demo.add_argument("--seed", type=int, default=0, help="of all that is random")
    commands.add_subcommand("demo", demo, help=text)

    text = "A 2-2-1 network worked through with every number of the forward, the backward and the update"
    by_hand = CommandLine(description=text)
    by_hand.add_argument("--seed", type=int, default=0, help="of the numbers: another seed is another exercise")
    by_hand.add_argument("--lr", type=float, default=0.5, help="learning rate of the update")
    commands.add_subcommand("backprop-by-hand", by_hand, help=text)

    text = "Is a hand-written backward right, and if not, what is wrong? Exit status 0 right, 1 wrong, 2 not checked"
    verify = CommandLine(description=text)
    verify.add_argument(
        "target",
        type=str | None,
        nargs="?",
        default=None,
        help="FILE.py or FILE.py:NAME: NAME_forward and NAME_backward, layers, losses, networks; else all of scratch",
    )
    verify.add_argument(
        "--shapes",
        type=str,
        nargs="+",
        default=[],
        metavar="NAME=7x5",
        help="shapes of the inputs, where the file has no sample_inputs(rng); y=7:3 are 7 classes out of 3",
    )
    verify.add_argument("--json", type=str | None, default=None, metavar="FILE", help="write the report there as JSON")
    verify.add_argument(
        "--html", type=str | None, default=None, metavar="FILE", help="write the report there as a page"
    )
    verify.add_argument("--seed", type=int, default=0, help="of the inputs and upstream gradients")
    commands.add_subcommand("verify", verify, help=text)

    text = "Both twins beside what a person would use instead, in turns: the tables of docs/benchmarks.md"
    bench = CommandLine(description=text)
    bench.add_argument("--quick", type=bool, nargs="?", const=True, default=False, help="a minute: fewer of everything")
    bench.add_argument(
        "--scaling", type=bool, nargs="?", const=True, default=False, help="time against width, depth, batch and data"
    )
    bench.add_argument(
        "--sizes", type=str, nargs="+", default=[], metavar="SIZE", help="xor, digits, mnist-32, …; else all"
    )
    bench.add_argument("--contenders", type=str, nargs="+", default=[], metavar="NAME", help="who trains; else all")
    bench.add_argument(
        "--rounds", type=int, default=5, help="turns of each contender, after one to warm up; at least 5"
    )
    bench.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of every contender")
    bench.add_argument("--device", type=str, default="cpu", help="cpu, cuda or cuda:N")
    bench.add_argument(
        "--data-dir", type=str | None, default=None, help="folder of MNIST; else $TWINGRAD_DATA, else ./data"
    )
    bench.add_argument("--json", type=str | None, default=None, metavar="FILE", help=JSON_HELP)
    bench.add_argument("--out", type=str | None, default=None, help="folder of the result; else runs/bench-DATE-TIME")
    commands.add_subcommand("bench", bench, help=text)

    text = "Time to an accuracy on MNIST: mean and standard deviation over many seeds, by a recipe chosen beforehand"
    speedrun = CommandLine(description=text)
    speedrun.add_argument("--target", type=float, default=98.0, help="accuracy in %, of the test images")
    speedrun.add_argument("--runs", type=int, default=30, help="how many seeds, after one run to warm up")
    speedrun.add_argument("--device", type=str, default="cpu", help="cpu, cuda or cuda:N")
    speedrun.add_argument(
        "--impl", type=Literal["scratch", "torch"] | None, default=None, help="scratch or torch; else by the device"
    )
    speedrun.add_argument("--precision", type=Precision, default="float32", help="of matrix products on a GPU")
    speedrun.add_argument(
        "--validate",
        type=bool,
        nargs="?",
        const=True,
        default=False,
        help="on held-out training images: to choose recipes",
    )
    speedrun.add_argument(
        "--data-dir", type=str | None, default=None, help="folder of MNIST; else $TWINGRAD_DATA, else ./data"
    )
    speedrun.add_argument("--json", type=str | None, default=None, metavar="FILE", help=JSON_HELP)
    commands.add_subcommand("speedrun", speedrun, help=text)

    text = "The table of docs/results.md: the default config of every task over several seeds, with both twins"
    results = CommandLine(description=text)
    results.add_argument("--tasks", type=str, nargs="+", default=list(TASKS), help="which of them", metavar="TASK")
    results.add_argument("--seeds", type=int, default=5, help="how many")
    results.add_argument(
        "--out", type=str | None, default=None, help="folder of the runs, to go on with; else runs/results-DATE-TIME"
    )
    commands.add_subcommand("results", results, help=text)
    return parser


def _task_parser(task: type[Config], comparing: bool = False) -> ArgumentParser:
    """The options of a task, made from the fields of its config."""
    parser = CommandLine(description=task.__doc__)
    parser.add_argument("--config", action="config", help="a YAML file of options, such as a run's config.yaml")
    parser.add_argument("--resume", type=str | None, default=None, help="go on with the run in this folder")
    parser.add_argument("--task", type=str, default=task.__name__.lower(), help=SUPPRESS)
    types = get_type_hints(task)
    for f in dataclasses.fields(task):
        name, text = "--" + f.name.replace("_", "-"), f.metadata["help"]
        kind, default = types[f.name], cast("Any", f.default)
        if comparing and f.name == "impl":
            kind, default, text = Literal["all"], "all", SUPPRESS
        if comparing and f.name == "dtype":
            default = "float64"
        if comparing and f.name == "capture":
            default = False  # one source of masks
        if get_origin(kind) is tuple:
            parser.add_argument(name, type=get_args(kind)[0], nargs="+", default=list(default), help=text, metavar="N")
        else:
            parser.add_argument(name, type=kind, default=default, help=text)
    return parser


def _config(task: str, options: Namespace) -> Config:
    """The record of what was parsed.

    Raises
        ValueError: an option is out of its range, or a config file is another task's
    """
    values = options.as_dict()
    if values["task"] != task:
        raise ValueError(f"the config file is of the task {values['task']!r}, expected {task!r}")
    for extra in ("task", "config", "resume"):
        values.pop(extra, None)
    fields: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    return TASKS[task](**fields)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{path} is damaged, expected YAML ({' '.join(str(error).split())})") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} is damaged, expected options with their values")
    return values


def _check_unchanged(options: Namespace, saved: dict[str, Any], folder: str) -> None:
    for name, value in saved.items():
        if name not in FREE_ON_RESUME and options[name] != value:
            raise ValueError(
                f"{name} is {options[name]!r}, but {value!r} in {folder}; a resumed run keeps its options "
                f"(free are {', '.join(sorted(FREE_ON_RESUME))})"
            )


def _first_line(task: type[Config]) -> str:
    return (task.__doc__ or "").splitlines()[0]


if __name__ == "__main__":
    sys.exit(main())
