"""Every picture. The only file that imports matplotlib; it draws on figures of its own, so no display is needed."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, PercentFormatter

import scratch
from experiments.benchmark.contenders import BASELINE
from experiments.benchmark.scaling import Sweep
from experiments.benchmark.timing import CaseTimings
from experiments.experiment import Experiment, TrainedTwin
from experiments.run_folder import Row, RunFolder
from scratch.activations import sigmoid
from scratch.checkpoint import write_atomically

BLUE, ORANGE, GREY = "#1f6feb", "#e8710a", "#57606a"
DPI = 150
matplotlib.rcParams["text.parse_math"] = False  # no name acts as markup


def draw_all(experiment: Experiment, twins: Sequence[TrainedTwin], folder: RunFolder) -> None:
    """Every picture that suits the task, as PNG files in the run's folder."""
    figures = {}
    if any(twin.rows for twin in twins):  # metrics.csv may have been deleted
        figures["learning-curves"] = learning_curves([twin.rows for twin in twins])
    if experiment.data.train.x.shape[1] == 2:
        figures["decision-boundary"] = decision_boundaries(experiment, twins)
    if experiment.config.image_shape is not None:
        figures["confusion-matrix"] = confusion_matrices(experiment, twins)
        figures["most-wrong"] = most_wrong(experiment, twins[0])
    for name, figure in figures.items():
        save(figure, folder.path / f"{name}.png")


def save(figure: Figure, path: Path) -> None:
    """Write a picture as PNG, the whole of it or nothing."""
    image = io.BytesIO()
    figure.savefig(image, dpi=DPI, format="png")
    write_atomically(path, image.getvalue())


def learning_curves(histories: Sequence[list[Row]]) -> Figure:
    """Loss and accuracy by epoch, training and validation, the twins laid over each other.

    The first twin is drawn wide and pale, the next ones thin upon it: where they are equal, one lies within the other.
    """
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots(1, 2)
    styles: list[dict[str, Any]] = [
        {"linewidth": 5.0, "alpha": 0.35, "markersize": 14},
        {"linewidth": 1.6, "markersize": 7},
        {"linewidth": 1.6, "color": "black", "linestyle": ":", "markersize": 3},
    ]
    for history, style in zip(histories, styles[1:] if len(histories) == 1 else styles, strict=False):
        if not history:
            continue
        epochs = [row.epoch for row in history]
        for ax, quantity in zip(axes, ("loss", "accuracy"), strict=True):
            for part, name, color in (("train", "training, as it went", BLUE), ("val", "validation", ORANGE)):
                values = [getattr(row, f"{part}_{quantity}") for row in history]
                if not np.isnan(values).all():
                    label = f"{history[0].impl}: {name}"
                    marker = "o" if len(epochs) == 1 else ""
                    ax.plot(epochs, values, label=label, marker=marker, **{"color": color, **style})
    for ax, quantity in zip(axes, ("loss, log scale", "accuracy"), strict=True):
        ax.set(xlabel="epoch", title=quantity)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_xlim(left=0, right=max(1, *(len(history) for history in histories)) + 1)
        _plain(ax)
    axes[0].set_yscale("log")
    axes[0].yaxis.set_major_formatter("{x:g}")
    axes[0].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes[0].yaxis.set_minor_formatter(NullFormatter())
    axes[1].yaxis.set_major_formatter(PercentFormatter(1.0))
    axes[1].legend(frameon=False, fontsize=9, loc="lower right")
    return figure


def gradient_norms(norms: dict[str, dict[str, list[float]]], trained: dict[str, list[TrainedTwin]]) -> Figure:
    """The norm of each layer's gradient before the training, and the training loss by epoch, a line for each network.

    The first twin is drawn wide and pale, the next one thin upon it.
    """
    figure = Figure(figsize=(12.5, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    styles: list[dict[str, Any]] = [{"linewidth": 5.0, "alpha": 0.3}, {"linewidth": 1.4}]
    for i, (name, by_impl) in enumerate(norms.items()):
        color = f"C{i}"
        for style, twin in zip(styles, trained[name], strict=True):
            label = f"{name}: {twin.test_accuracy:.1%}" if style is styles[1] else None
            layers = range(1, len(by_impl[twin.impl]) + 1)
            left.plot(layers, by_impl[twin.impl], color=color, **style)
            right.plot(
                [r.epoch for r in twin.rows], [r.train_loss for r in twin.rows], color=color, label=label, **style
            )
    left.set(yscale="log", xlabel="layer, from the input", title="norm of the weights' gradient, before the training")
    right.set(yscale="log", xlabel="epoch", title="training loss; beside it, test accuracy")
    right.yaxis.set_major_formatter("{x:g}")
    for ax in (left, right):
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        _plain(ax)
    figure.legend(*right.get_legend_handles_labels(), frameon=False, fontsize=9, loc="outside right upper")
    return figure


def decision_boundaries(experiment: Experiment, twins: Sequence[TrainedTwin]) -> Figure:
    """The probability of class 1 over the plane, the boundary at one half, the test points; a panel a twin."""
    figure = Figure(figsize=(4.4 * len(twins) + 0.6, 4.2), layout="constrained")
    axes = figure.subplots(1, len(twins), squeeze=False, sharey=True)[0]
    test = experiment.data.test
    low, high = test.x.min(axis=0) - 0.6, test.x.max(axis=0) + 0.6
    across, up = (np.linspace(a, b, 240, dtype=test.x.dtype) for a, b in zip(low, high, strict=True))
    grid = np.stack(np.meshgrid(across, up), axis=-1)
    for ax, twin in zip(axes, twins, strict=True):
        logits, _ = experiment.network.apply(twin.params, grid.reshape(-1, 2))
        p = sigmoid(logits).reshape(grid.shape[:2])
        shades = ax.contourf(across, up, p, levels=np.linspace(0, 1, 21), cmap="RdBu_r", alpha=0.65)
        ax.contour(across, up, p, levels=[0.5], colors="black", linewidths=1)
        for label, color in ((0, "#0b3d91"), (1, "#9c1c1c")):
            x = test.x[test.labels == label]
            size = 60 if len(test.x) < 10 else 14
            ax.scatter(*x.T, s=size, color=color, edgecolor="white", linewidth=0.5, label=f"class {label}")
        ax.set(title=f"{twin.impl}: {twin.test_accuracy:.1%} of the test points right", xlabel="x₁")
    axes[0].set_ylabel("x₂")
    axes[0].legend(loc="upper right", fontsize=9)
    figure.colorbar(shades, ax=axes, label="probability of class 1", ticks=[0, 0.25, 0.5, 0.75, 1])
    return figure


def confusion_matrices(experiment: Experiment, twins: Sequence[TrainedTwin]) -> Figure:
    """Test samples by true and predicted class, recall and precision at the margins; a panel a twin.

    Errors are shaded, the diagonal is not.
    """
    n = experiment.config.n_classes
    figure = Figure(figsize=(4.8 * len(twins), 5.2), layout="constrained")
    axes = figure.subplots(1, len(twins), squeeze=False)[0]
    for ax, twin in zip(axes, twins, strict=True):
        counts = scratch.confusion_matrix(experiment.data.test.labels, scratch.predicted_classes(twin.test.logits), n)
        errors = counts - np.diag(counts.diagonal())
        ax.imshow(errors, cmap="Oranges", vmin=0, vmax=max(1, errors.max()) * 1.3)
        for i in range(n):
            for j in range(n):
                if counts[i, j]:
                    ax.text(j, i, counts[i, j], ha="center", va="center", fontsize=8, color=GREY if i == j else "black")
        ax.set(
            title=f"{twin.impl}: {int(errors.sum())} of {int(counts.sum()):,} wrong",
            xlabel="predicted class, and its precision in %",
            ylabel="true class, and its recall in %",
        )
        scores = scratch.per_class(counts)
        ax.set_xticks(range(n), [f"{k}\n{100 * p:.1f}" for k, p in enumerate(scores.precision)])
        ax.set_yticks(range(n), [f"{100 * r:.1f}  {k}" for k, r in enumerate(scores.recall)])
        ax.tick_params(length=0)
    return figure


def most_wrong(experiment: Experiment, twin: TrainedTwin, count: int = 18) -> Figure:
    """The misclassified test images, those first whose wrong class got the most probability."""
    test, image_shape = experiment.data.test, experiment.config.image_shape
    assert image_shape is not None
    p, _ = scratch.Softmax().forward(twin.test.logits)
    wrong = np.flatnonzero(p.argmax(axis=1) != test.labels)
    worst = wrong[np.argsort(-p[wrong].max(axis=1))][:count]
    rows = max(1, -(-len(worst) // 6))
    figure = Figure(figsize=(9, 1.75 * rows + 0.5), layout="constrained")
    shown = "all" if len(worst) == len(wrong) else f"the {len(worst)} surest of"
    figure.suptitle(f"{twin.impl}: {shown} {len(wrong)} mistakes on the test images, with their probabilities")
    axes = figure.subplots(rows, 6, squeeze=False).ravel()
    for ax in axes:
        ax.set_axis_off()
    for ax, i in zip(axes, worst, strict=False):
        ax.imshow(test.x[i].reshape(image_shape), cmap="gray_r")
        ax.set_title(f"{test.labels[i]} taken for {p[i].argmax()} ({p[i].max():.0%})", fontsize=9)
    return figure


def bench(cases: Sequence[CaseTimings]) -> Figure:
    """Seconds an epoch of every contender, a panel a size: the median, and a line from the least to the most."""
    across = min(2, len(cases))
    down = -(-len(cases) // across)
    lines = max(len(case.timings) for case in cases)
    figure = Figure(figsize=(6.4 * across, (0.33 * lines + 1.2) * down), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False).ravel()
    for ax in axes[len(cases) :]:
        ax.set_axis_off()
    for ax, timed in zip(axes, cases, strict=False):
        timings = [timing for timing in timed.timings if timing.problem is None]
        for i, timing in enumerate(timings):
            color = BLUE if timing.contender == "scratch" else ORANGE if "twin" in timing.contender else GREY
            ax.plot([min(timing.seconds), max(timing.seconds)], [i, i], color=color, linewidth=2, alpha=0.5)
            ax.plot(timing.median, i, "o", color=color)
            ratios = timed.ratios(timing)
            text = f"{np.median(ratios):.2g} ×" if ratios else ""
            ax.annotate(text, (max(timing.seconds), i), (7, 0), textcoords="offset points", va="center", fontsize=8)
        floor = timed.case.flops / np.median(timed.flops_per_second)
        if floor > 0.01 * min(timing.median for timing in timings):
            ax.axvline(floor, color=GREY, linestyle=":", linewidth=1.5, label="matrix products alone")
            ax.legend(frameon=False, fontsize=8, loc="upper right")
        ax.set(title=timed.case.name, xlabel="seconds an epoch; × beside the plain torch loop", xscale="log")
        _plain_numbers(ax.xaxis)
        ax.set_yticks(range(len(timings)), [timing.contender for timing in timings])
        ax.set_xlim(right=max(max(t.seconds) for t in timings) * 2.5)
        ax.invert_yaxis()
        _plain(ax)
    return figure


def scaling(sweeps: Sequence[Sweep]) -> Figure:
    """Seconds an epoch against width, depth, batch size and data, with the floor; log-log."""
    figure = Figure(figsize=(10, 7.2), layout="constrained")
    axes = figure.subplots(2, 2).ravel()
    for ax in axes[len(sweeps) :]:
        ax.set_axis_off()
    for ax, sweep in zip(axes, sweeps, strict=False):
        for contender, color in (("scratch", BLUE), (BASELINE, ORANGE)):
            ax.plot(sweep.values, sweep.seconds(contender), "o-", color=color, label=contender, markersize=4)
        ax.plot(sweep.values, sweep.floors, ":", color=GREY, label="floor: matrix products and Adam's memory")
        ax.set(xscale="log", yscale="log", xlabel=sweep.quantity, ylabel="seconds an epoch")
        ax.set_xticks(sweep.values, [f"{value:,}" for value in sweep.values])
        ax.minorticks_off()
        _plain_numbers(ax.yaxis)
        _plain(ax)
    figure.axes[0].legend(frameon=False, fontsize=9)
    return figure


def _plain_numbers(axis: Axis) -> None:
    """0.1, 0.3, 1, 3 … on a logarithmic axis, however little of it is shown."""
    axis.set_major_locator(LogLocator(subs=(1, 3)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def _plain(ax: Axes) -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.25)
