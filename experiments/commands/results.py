"""The table of docs/results.md: the default config of every task over several seeds, with both twins."""

import platform
import shlex
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jsonargparse import ArgumentParser, Namespace

from experiments import report
from experiments.command_line import PROGRAM, add_text, check_name, check_whole
from experiments.experiment import Experiment, TrainedTwin
from experiments.run_folder import RunFolder, dated
from experiments.tasks import TASKS
from experiments.training import train
from scratch import Interrupted, checks


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--tasks", type=str, nargs="+", default=list(TASKS), help="which of them", metavar="TASK")
    parser.add_argument("--seeds", type=int, default=5, help="how many")
    add_text(parser, "--out", "folder of the runs, to go on with; else runs/results-DATE-TIME")


def run(options: Namespace) -> int:
    """Train, and print the table as Markdown. Runs that ``out`` holds already are taken up again."""
    check_whole("seeds", options.seeds, 1)
    check_name("out", options.out)
    for task in options.tasks:
        checks.choice("tasks", task, TASKS)().load()

    import torch

    header = ["task", "network", "seeds", "twin", "test accuracy: mean ± sd", "median", "least"]
    lines = [header, ["---"] * len(header)]
    out = Path(options.out or dated("results"))
    try:
        for task in dict.fromkeys(options.tasks):
            lines += task_lines(task, options.seeds, out)
    except Interrupted as stop:
        again = ["results", "--tasks", *options.tasks, "--seeds", str(options.seeds), "--out", str(out)]
        raise Interrupted(stop.number, f"Go on with\n\n    {PROGRAM} {shlex.join(again)}\n") from stop
    machine = f"{platform.machine()}, {torch.get_num_threads()} CPU threads"
    print(f"{time.strftime('%Y-%m-%d')}, {machine}, NumPy {np.__version__}, torch {torch.__version__}\n")
    for line in lines:
        print("| " + " | ".join(line) + " |")
    return 0


def task_lines(task: str, seeds: int, out: Path) -> list[list[str]]:
    """Train on a task with every seed: a line of the table for each twin."""
    trained = []
    for seed in range(seeds):
        experiment = Experiment.of(TASKS[task](seed=seed, out=str(out / f"{task}-seed{seed}")))
        with RunFolder.create_or_resume(experiment.config) as folder:
            report.console.print(f"{task}, seed {seed}")
            trained.append(train(experiment, folder))
            report.loss_warnings(experiment, trained[-1])
    return [[task, report.network_line(experiment), *_cells(twins)] for twins in zip(*trained, strict=True)]


def _cells(twins: Sequence[TrainedTwin]) -> list[str]:
    accuracies = np.array([twin.test_accuracy for twin in twins])
    spread = f" ± {accuracies.std(ddof=1):.2%}" if len(twins) > 1 else ""
    return [
        f"0–{len(twins) - 1}" if len(twins) > 1 else "0",
        twins[0].impl,
        f"{accuracies.mean():.2%}{spread}",
        f"{np.median(accuracies):.2%}",
        f"{accuracies.min():.2%}",
    ]
