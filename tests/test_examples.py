"""Each script of examples/ runs, and what it prints is true."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "examples"


def printed(name, folder):
    """What the script prints, run from another folder, as a reader would who has the packages installed."""
    command = [sys.executable, str(FOLDER / f"{name}.py")]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def numbers(pattern, text):
    """The numbers in the line that matches ``pattern``, one for each group."""
    found = re.search(pattern, text)
    assert found, f"no line with {pattern!r} in:\n{text}"
    return [float(group) for group in found.groups()]


def test_mlp(tmp_path):
    text = printed("mlp", tmp_path)
    (accuracy,) = numbers(r"accuracy on 100 new points: (.+)", text)
    (loss,) = numbers(r"largest difference of a loss: (.+)", text)
    (weight,) = numbers(r"largest difference of a weight: (.+)", text)
    assert accuracy >= 0.95
    assert loss <= 1e-12
    assert weight <= 1e-12


def test_own_layer(tmp_path):
    text = printed("own_layer", tmp_path)
    assert text.startswith("out: right\ndx: right\ndweight: right\n")
    least, most = numbers(r"slopes: 0.25 before the training, (.+) to (.+) after it", text)
    (weight,) = numbers(r"largest difference of a weight: (.+)", text)
    assert least < 0.2  # they were trained
    assert most > 0.3
    assert weight <= 1e-12


def test_gan(tmp_path):
    text = printed("gan", tmp_path)
    line = r":\s+mean +(\S+) +(\S+), deviation (\S+) (\S+)"
    target, generated = numbers(f"target{line}", text), numbers(f"generated{line}", text)
    assert target == [2.0, -1.0, 0.5, 1.5]
    assert generated == pytest.approx(target, abs=0.15)


def test_lightning_trainer(tmp_path):
    text = printed("lightning_trainer", tmp_path)
    ours, theirs = numbers(r"loss of the last step: (.+) by hand, (.+) in Lightning", text)
    (weight,) = numbers(r"largest difference of a weight: (.+)", text)
    assert ours == theirs
    assert weight <= 1e-12


def test_every_example_is_tested():
    assert {path.stem for path in FOLDER.glob("*.py")} == {"mlp", "own_layer", "gan", "lightning_trainer"}
