"""How the package is laid out: a command is a file, a task is a class."""

import subprocess
import sys
from pathlib import Path

import pytest

from experiments.__main__ import find_commands, main
from experiments.tasks import TASKS

ROOT = Path(__file__).parent.parent.parent
PACKAGE = ROOT / "experiments"


def shown(capsys, *command):
    with pytest.raises(SystemExit) as exit_:
        main([*command, "--help"])
    assert exit_.value.code == 0
    return capsys.readouterr().out


def test_every_file_of_commands_is_found():
    files = {p.stem.replace("_", "-") for p in (PACKAGE / "commands").glob("*.py")} - {"--init--", "train"}
    assert set(find_commands()) == files | set(TASKS)


def test_help_waits_for_no_torch():
    code = "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr))\n"
    code += "from experiments.__main__ import main; main(['mnist', '--help'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = done.stderr.split()
    assert "experiments.commands.train" in loaded
    assert not {"torch", "lightning", "matplotlib", "sklearn"} & set(loaded)


def test_options_stand_in_groups(capsys):
    text = shown(capsys, "mnist")
    groups = ["run", "training", "network", "data", "device", "several machines"]
    assert [line for line in text.splitlines() if line.removesuffix(":") in groups] == [f"{name}:" for name in groups]
    assert text.index("\nnetwork:") < text.index("\n  --hidden") < text.index("\ndata:") < text.index("\n  --data-dir")


def test_options_for_several_machines_are_shown_where_they_do_something_and_accepted_elsewhere(tmp_path, capsys):
    assert "several machines:" in shown(capsys, "xor")
    text = shown(capsys, "compare", "xor")
    assert "several machines" not in text
    assert not [name for name in ("--devices", "--num-nodes", "--strategy") if name in text]
    options = ["--epochs", "1", "--devices", "1", "--strategy", "auto", "--data-dir", "none", "--shift", "0"]
    assert main(["compare", "xor", *options, "--out", str(tmp_path / "run")]) == 0
    assert main(["compare", "xor", "--devices", "2"]) == 2
    assert "devices is 2 with impl 'all'" in capsys.readouterr().err
