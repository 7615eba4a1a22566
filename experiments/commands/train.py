"""The commands that are named after the tasks: train both twins on one, and show how they do."""

import dataclasses
import shlex
from argparse import Action
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

from jsonargparse import SUPPRESS, ArgumentParser, Namespace

from experiments import report, training
from experiments.command_line import PROGRAM, Command, CommandLine, add_text, check_name
from experiments.config import PLACES, Config
from experiments.experiment import Experiment, TrainedTwin
from experiments.options_file import read_options
from experiments.run_folder import RunFolder
from experiments.tasks import TASKS
from scratch import Interrupted, State

# What may differ when a run is resumed; with anything else changed it would be another run.
FREE_ON_RESUME = {"impl", "device", "devices", "num_nodes", "strategy", "data_dir", "checkpoint_every"}
# What compare sets for the task: all implementations, as exact as can be, with one source of masks.
COMPARING = {"impl": "all", "dtype": "float64", "capture": False}


def add_options(parser: ArgumentParser, task: type[Config], comparing: bool = False) -> None:
    """Add the options of a task in groups. Those that do nothing for it are accepted, but not shown."""
    groups: dict[str, Any] = {"run": parser.add_argument_group("run")}
    yaml_file = "a YAML file of options, such as a run's config.yaml"
    groups["run"].add_argument("--config", action=ConfigFile, metavar="FILE", help=yaml_file)
    add_text(groups["run"], "--resume", "go on with the run in this folder")
    parser.add_argument("--task", type=str, default=task.__name__.lower(), help=SUPPRESS)
    types, shared = get_type_hints(task), {f.name: f.metadata for f in dataclasses.fields(Config)}
    for f in dataclasses.fields(task):
        metadata, kind, default = f.metadata or shared[f.name], types[f.name], cast("Any", f.default)
        if metadata["choices"]:
            kind = cast("Any", Literal)[tuple(metadata["choices"])]
        if comparing:
            default = COMPARING.get(f.name, default)
        if comparing and f.name == "impl":
            kind = Literal["all"]
        group = metadata["group"]
        hidden = f.name in task.without() or (comparing and (f.name == "impl" or group == "several machines"))
        more: dict[str, Any] = {"default": default, "help": SUPPRESS if hidden else metadata["help"]}
        if get_origin(kind) is tuple:
            kind, more = get_args(kind)[0], {**more, "nargs": "+", "default": list(default), "metavar": "N"}
        if kind is bool:
            more |= {"nargs": "?", "const": True}
        if group not in groups:
            groups[group] = parser.add_argument_group(group)
        groups[group].add_argument("--" + f.name.replace("_", "-"), type=kind, **more)


class ConfigFile(Action):
    """--config FILE: the options in the file, as if they stood there in its place."""

    def __call__(self, parser: Any, cfg: Any, value: Any, option_string: str | None = None) -> None:  # noqa: ARG002
        known = {action.dest: action for action in parser._actions if action.dest not in (self.dest, "help", "resume")}
        options = read_options(Path(value), known)
        for name, given in options.items():
            if known[name].nargs == "+" and not isinstance(given, list):
                raise ValueError(f"{name} is {given!r} in {value}, expected a list such as [8, 8]")
        for name, given in parser.parse_object(options, defaults=False).items():
            cfg[name] = given


def run(options: Namespace, task: type[Config]) -> int:
    """Train as the options say."""
    train(task, options, words=1)
    return 0


def train(task: type[Config], options: Namespace, words: int, comparing: bool = False) -> list[TrainedTwin]:
    """Train as the options say, and report; no twins from a process of DDP that is not the first one."""
    config, resumed = config_of(task, options, words, comparing)
    experiment = Experiment.of(config)
    if not training.is_first_process():
        folder = RunFolder(resumed or Path(config.out or "runs"))
        first = State.start(experiment.initial, experiment.recipe)
        start = first if resumed is None else training.start_of("lightning", experiment, folder)
        training.join(experiment, start, folder)
        return []
    with RunFolder.create(config) if resumed is None else RunFolder(resumed).resumed() as folder:
        data = ["--data-dir", config.data_dir] if config.data_dir is not None else []
        again = f"{PROGRAM} {shlex.join([*options.typed[:words], '--resume', str(folder.path), *data])}"
        try:
            return train_and_report(experiment, folder)
        except Interrupted as stop:
            raise Interrupted(stop.number, f"Go on from the last checkpoint with\n\n    {again}\n") from stop
        except ChildProcessError as error:
            raise ChildProcessError(f"{error}; go on from the last checkpoint with {again}") from error


def train_and_report(experiment: Experiment, folder: RunFolder) -> list[TrainedTwin]:
    """Train, print the table of the twins, draw the pictures, say what is in the folder."""
    from experiments import plots  # matplotlib takes a second

    report.header(experiment, folder)
    twins = training.train(experiment, folder)
    report.twins_table(twins)
    report.loss_warnings(experiment, twins)
    if experiment.config.beside_perceptron:
        report.perceptron_line(experiment.data.train)
    plots.draw_all(experiment, twins, folder)
    report.contents(folder)
    return twins


def config_of(task: type[Config], options: Namespace, words: int, comparing: bool) -> tuple[Config, Path | None]:
    """The config that the options make, and the folder of the run that they resume, if any.

    ``words`` are those of the command, before the options that were typed.

    Raises
        ValueError: an option is out of its range, a config file is another task's, or a run cannot be resumed so
    """
    check_name("resume", options.resume)
    if options.resume is None:
        return _config(task, options), None
    name, folder = task.__name__.lower(), RunFolder(Path(options.resume))
    if not folder.config.is_file():
        raise ValueError(f"resume is {options.resume!r}, expected the folder of a run, with its config.yaml")
    if options.out is not None:
        raise ValueError(f"out is {options.out!r}, expected none: a resumed run stays in its folder")
    values = folder.saved_config()
    if values.get("task") != name:
        raise ValueError(f"resume is {options.resume!r}, a run of {values.get('task')!r}, expected one of {name!r}")
    expected = {"task", *(f.name for f in dataclasses.fields(task) if f.name not in PLACES)}
    for names, what in ((expected - values.keys(), "lacks"), (values.keys() - expected, "also has")):
        if names:
            said = ", ".join(sorted(names))
            raise ValueError(f"{folder.config} {what} {said}: it is damaged, or of another version of twingrad")
    parser = CommandLine(prog=PROGRAM)
    add_options(parser, task, comparing)
    # The run's own options first, so that what was typed comes on top, and can be checked.
    resumed = parser.parse_args(["--config", str(folder.config), *options.typed[words:]])
    for name, value in values.items():
        if name not in FREE_ON_RESUME and resumed[name] != value:
            raise ValueError(
                f"{name} is {resumed[name]!r}, but {value!r} in {options.resume}; a resumed run keeps its options "
                f"(free are {', '.join(sorted(FREE_ON_RESUME))})"
            )
    return _config(task, resumed), folder.path


def _config(task: type[Config], options: Namespace) -> Config:
    if options.task != task.__name__.lower():
        raise ValueError(f"the config file is of the task {options.task!r}, expected {task.__name__.lower()!r}")
    given = ((f.name, options[f.name]) for f in dataclasses.fields(task))
    values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in given}
    try:
        return task(**values)
    except TypeError as error:  # a YAML file can hold anything
        raise ValueError(str(error)) from error


COMMANDS = {
    name: Command(task.__doc__, partial(add_options, task=task), partial(run, task=task))
    for name, task in TASKS.items()
}
