"""The table of docs/results.md: every task's default config, over several seeds, with both twins."""

from __future__ import annotations

import platform
import time
from typing import TYPE_CHECKING

import numpy as np
import torch

from experiments import report, run
from experiments.config import TASKS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def results(tasks: Sequence[str], seeds: int, out: Path) -> None:
    """Train, and print the table as Markdown.

    Raises
        Interrupted: Ctrl-C was pressed
    """
    header = ["task", "network", "seeds", "twin", "test accuracy: mean ± sd", "median", "least"]
    lines = []
    for task in tasks:
        outcomes = []
        for seed in range(seeds):
            experiment = run.Experiment.of(TASKS[task](seed=seed, out=str(out / f"{task}-seed{seed}")))
            outcomes.append(run.run(experiment, run.RunFolder.create(experiment.config)))
        for twins in zip(*outcomes, strict=True):
            accuracies = np.array([outcome.test_accuracy for outcome in twins])
            deviation = accuracies.std(ddof=1) if seeds > 1 else float("nan")
            lines.append(
                [
                    task,
                    report.network_line(experiment),
                    f"0–{seeds - 1}" if seeds > 1 else "0",
                    twins[0].impl,
                    f"{accuracies.mean():.2%} ± {deviation:.2%}",
                    f"{np.median(accuracies):.2%}",
                    f"{accuracies.min():.2%}",
                ]
            )
    machine = f"{platform.machine()}, {torch.get_num_threads()} CPU threads"
    print(f"{time.strftime('%Y-%m-%d')}, {machine}, NumPy {np.__version__}, torch {torch.__version__}\n")
    for line in [header, ["---"] * len(header), *lines]:
        print("| " + " | ".join(line) + " |")
