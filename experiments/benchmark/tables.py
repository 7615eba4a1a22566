"""What was timed, and on what machine: as tables for the terminal and in Markdown, and as JSON."""

import math
import os
import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from rich import box
from rich.table import Table

from experiments.benchmark.contenders import BASELINE
from experiments.benchmark.scaling import Sweep
from experiments.benchmark.timing import CaseTimings

CAPTION = (
    "Median ± half of least to most of the rounds. × loop: beside the plain torch loop, round by round. rate: of "
    "the machine's matrix products. MB: most memory that the process had, data included. Adam, float32."
)


def table(part: CaseTimings | Sweep) -> Table:
    """A case or a sweep, as the terminal shows it."""
    made = Table(title=title(part), title_justify="left", box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    header, *lines = rows(part)
    for i, name in enumerate(header):
        made.add_column(name, justify="left" if i == 0 else "right", no_wrap=True)
    for line in lines:
        made.add_row(*line)
    return made


def markdown(machine: dict[str, Any], parts: Sequence[CaseTimings | Sweep]) -> str:
    """All tables in Markdown."""
    text = machine_line(machine) + "\n"
    for part in parts:
        header, *lines = rows(part)
        table = [header, ["---", *["---:"] * (len(header) - 1)], *lines]
        text += f"\n{title(part)}\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in table)
    return text


def title(part: CaseTimings | Sweep) -> str:
    """What was trained."""
    if isinstance(part, Sweep):
        return f"seconds an epoch by {part.quantity}"
    case, widths = part.case, "-".join(map(str, part.case.sizes))
    rate = spread([rate / 1e9 for rate in part.flops_per_second], 3)
    return (
        f"{case.name}: {widths} {case.activation}, {case.samples:,} samples in batches of {case.batch_size}, "
        f"on {case.device}. Matrix products: {case.flops / 1e9:.3g} GFLOP an epoch, at {rate} GFLOP/s"
    )


def rows(part: CaseTimings | Sweep) -> list[list[str]]:
    """The table's header and its lines: the contenders at a case, or the values of a quantity."""
    if isinstance(part, Sweep):
        return sweep_rows(part)
    header = ["contender", "an epoch", "samples/s", "× loop", "rate", "MB", "accuracy"]
    lines = [header]
    for timing in part.timings:
        if timing.problem is not None:
            lines.append([timing.contender, "did not run", *[""] * 5])
            continue
        units = ((1, "s"), (1e3, "ms"), (1e6, "µs"))
        unit, name = next(((u, n) for u, n in units if timing.median * u >= 1), units[-1])
        ratios, rate = part.ratios(timing), statistics.median(part.rate_fractions(timing))
        lines.append(
            [
                timing.contender,
                f"{spread([seconds * unit for seconds in timing.seconds], 3)} {name}",
                short(part.case.samples / timing.median),
                spread(ratios, 2) if ratios else "",
                f"{rate:.0%}" if rate >= 0.01 else "<1%",
                f"{timing.peak_bytes / 2**20:,.0f}",
                f"{timing.accuracy:.2%}",
            ]
        )
    return lines


def sweep_rows(sweep: Sweep) -> list[list[str]]:
    """Every value of a quantity."""
    lines = [[sweep.quantity, "floor s/epoch", "scratch", "× floor", BASELINE, "× floor"]]
    for i, (value, least) in enumerate(zip(sweep.values, sweep.floors, strict=True)):
        line = [f"{value:,}", f"{least:.3g}"]
        for contender in ("scratch", BASELINE):
            seconds = sweep.seconds(contender)[i]
            line += [f"{seconds:.3g}", f"{seconds / least:.1f}"]
        lines.append(line)
    return lines


def problems(part: CaseTimings | Sweep) -> list[str]:
    """Who did not run, and why."""
    cases = part.cases if isinstance(part, Sweep) else [part]
    return [f"{c.case.name}: {t.contender} did not run: {t.problem}" for c in cases for t in c.timings if t.problem]


def spread(values: Sequence[float], digits: int) -> str:
    """The median of the values, and half the distance from the least to the most of them."""
    half = (max(values) - min(values)) / 2
    places = max(0, digits - 1 - math.floor(math.log10(max(statistics.median(values), 1e-12))))
    return f"{statistics.median(values):.{places}f} ±{half:.{places}f}"


def short(n: float) -> str:
    """A number of samples, in thousands or millions."""
    return f"{n / 1e6:.1f}M" if n >= 1e6 else f"{n / 1e3:.1f}k" if n >= 1e3 else f"{n:.0f}"


def as_dict(part: CaseTimings | Sweep) -> dict[str, Any]:
    """All that was measured, for JSON."""
    if isinstance(part, Sweep):
        outcomes = [as_dict(case) for case in part.cases]
        return {"quantity": part.quantity, "values": part.values, "floors": part.floors, "outcomes": outcomes}
    timings = [{**asdict(timing), "ratios": [] if timing.problem else part.ratios(timing)} for timing in part.timings]
    case = {**asdict(part.case), "flops": part.case.flops, "parameters": part.case.parameters}
    return {"case": case, "flops_per_second": part.flops_per_second, "timings": timings}


def machine(threads: int, device: str) -> dict[str, Any]:
    """The date, the machine and the versions, for JSON."""
    packages = ("numpy", "torch", "lightning", "scikit-learn")
    found: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "threads": threads,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
    }
    if device != "cpu":
        import torch

        found["gpu"] = torch.cuda.get_device_name(device)
    return found


def machine_line(found: dict[str, Any]) -> str:
    """The same in a line."""
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    where = found["machine"] + (f", {found['gpu']}" if "gpu" in found else "")
    return f"{found['date']}; {where}; {found['threads']} threads; Python {found['python']}, {versions}"
