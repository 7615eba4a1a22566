"""Every command where something is missing: a network, a home, a terminal, letters, a place to write.

A command works there, or ends with 2 and a sentence; in neither case with a traceback.
"""

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.faults import Outcome

WHAT = "commands without network, home, terminal, write access, UTF-8 or width: they work or say why not"
COUNT = 195

ROOT = Path(__file__).parent.parent.parent
QUICK = "--epochs 1 --hidden 4"
COMMANDS = (
    "--help",
    f"xor {QUICK}",
    f"moons {QUICK} --samples 50 --impl all",
    f"circles {QUICK} --samples 50",
    f"digits {QUICK}",
    f"mnist {QUICK} --batch-size 4096 --impl scratch",
    f"mnist {QUICK} --data-dir nowhere",
    f"compare xor {QUICK}",
    "depth --depth 2 --width 4 --epochs 1",
    "results --tasks xor --seeds 1",
    "demo",
    "bench --sizes xor --contenders scratch --threads 1",
    "speedrun --target 98 --runs 1",
    "backprop-by-hand",
    "verify pair.py --shapes x=3",
)
PAIR = "def forward(x):\n    return 2 * x, x\n\n\ndef backward(dy, x):\n    return 2 * dy\n"


@dataclass(frozen=True)
class Place:
    """Where a command runs."""

    variables: dict[str, str | None] = field(default_factory=dict)  # None takes one away
    shell: str = '"$@"'  # how the command is started
    read_only: bool = False  # the current folder and the home


# The superuser writes anywhere, but for this.
ORDINARY = "setpriv --bounding-set=-dac_override " if os.geteuid() == 0 else ""
PLACES = {
    "no network": Place({"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}),
    "no home": Place({"HOME": None, "MPLCONFIGDIR": None, "XDG_CONFIG_HOME": None, "XDG_CACHE_HOME": None}),
    "a home that is not there": Place({"HOME": "/nowhere/at/all", "MPLCONFIGDIR": None}),
    "no write access": Place(shell=ORDINARY + '"$@"', read_only=True),
    "no terminal": Place({"TERM": None}, '"$@" < /dev/null'),
    "a dumb terminal": Place({"TERM": "dumb", "FORCE_COLOR": None}),
    "everything closed": Place(shell='"$@" <&- >&-'),
    "standard error closed": Place(shell='"$@" 2>&-'),
    "a pipe that nobody reads": Place(shell='set -o pipefail; "$@" | true'),
    "no room for what is printed": Place(shell='"$@" > /dev/full'),
    "cp1252": Place({"PYTHONIOENCODING": "cp1252"}),
    "LC_ALL=C, ASCII": Place({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
    "40 columns": Place({"COLUMNS": "40"}),
}


def outcomes(count: int, seed: int) -> Iterator[Outcome]:
    """Every command in every place, in an order drawn by the seed."""
    cases = [(command, place) for command in COMMANDS for place in PLACES]
    random.Random(seed).shuffle(cases)
    for command, place in cases[:count]:
        yield Outcome(f"{command} ({place})", problem_of(command, PLACES[place]))


def problem_of(command: str, place: Place) -> str | None:
    """What is wrong with how the command ends; None where it works or says why not."""
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "pair.py").write_text(PAIR)
        variables = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(folder), "CUDA_VISIBLE_DEVICES": ""}
        for name, value in place.variables.items():
            variables.pop(name, None)
            if value is not None:
                variables[name] = value
        if place.read_only:
            folder.chmod(0o555)
        arguments = ["bash", "-c", place.shell, "bash", sys.executable, "-m", "experiments", *command.split()]
        done = subprocess.run(arguments, cwd=folder, env=variables, capture_output=True, timeout=300, check=False)
        folder.chmod(0o755)
    said = done.stdout.decode(errors="replace") + done.stderr.decode(errors="replace")
    if "Traceback" in said or "Exception ignored" in said:
        return said[-600:]
    if done.returncode not in (0, 2):
        return f"status {done.returncode}: {said[-300:]}"
    silent = "2>&-" in place.shell
    return "status 2 without a sentence" if done.returncode == 2 and "error: " not in said and not silent else None
