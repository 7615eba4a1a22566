"""The table of docs/results.md: every task's default config, over several seeds, with both twins."""

from __future__ import annotations

import platform
import time
from typing import TYPE_CHECKING

import numpy as np
import torch

from experiments import report, run
from experiments.config import TASKS
from scratch import checks

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def results(tasks: Sequence[str], seeds: int, out: Path) -> None:
    """Train, and print the table as Markdown. Runs that ``out`` holds already are taken up again.

    Raises
        ValueError, FileNotFoundError: no seeds, an unknown task, or data that are not to be had; nothing has been done
        Interrupted: Ctrl-C was pressed
    """
    checks.whole("seeds", seeds, 1)
    for task in tasks:
        checks.choice("tasks", task, TASKS)().load()
    header = ["task", "network", "seeds", "twin", "test accuracy: mean ± sd", "median", "least"]
    lines = [header, ["---"] * len(header)]
    for task in dict.fromkeys(tasks):
        outcomes = []
        for seed in range(seeds):
            path = out / f"{task}-seed{seed}"
            experiment = run.Experiment.of(TASKS[task](seed=seed, out=str(path)))
            folder = run.RunFolder(path)
            if not folder.config.is_file():
                folder = run.RunFolder.create(experiment.config)
            report.console.print(f"{task}, seed {seed}")
            outcomes.append(run.run(experiment, folder))
        lines += [_line(task, experiment, twins) for twins in zip(*outcomes, strict=True)]
    machine = f"{platform.machine()}, {torch.get_num_threads()} CPU threads"
    print(f"{time.strftime('%Y-%m-%d')}, {machine}, NumPy {np.__version__}, torch {torch.__version__}\n")
    for line in lines:
        print("| " + " | ".join(line) + " |")


def _line(task: str, experiment: run.Experiment, twins: Sequence[run.Outcome]) -> list[str]:
    accuracies = np.array([outcome.test_accuracy for outcome in twins])
    spread = f" ± {accuracies.std(ddof=1):.2%}" if len(twins) > 1 else ""
    return [
        task,
        report.network_line(experiment),
        f"0–{len(twins) - 1}" if len(twins) > 1 else "0",
        twins[0].impl,
        f"{accuracies.mean():.2%}{spread}",
        f"{np.median(accuracies):.2%}",
        f"{accuracies.min():.2%}",
    ]
