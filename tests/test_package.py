"""What is installed: every file, types, and the command `twingrad`."""

import subprocess
import sys

import pytest

from scratch import __version__
from tests.installed import PACKAGES, ROOT, VERSION


def files(root):
    return {
        str(path.relative_to(root))
        for name in PACKAGES
        for path in (root / name).rglob("*")
        if path.suffix in (".py", ".typed")
    }


def test_the_wheel_holds_every_file_and_says_that_it_is_typed(installed):
    assert files(installed.packages) == files(ROOT)
    assert {f"{name}/py.typed" for name in PACKAGES} <= files(ROOT)


def test_the_version_is_scratchs(installed):
    assert installed.run("--version").stdout == f"twingrad {VERSION}\n"
    command = [sys.executable, "-m", "experiments", "--version"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout == (
        f"twingrad {__version__}\n"
    )


@pytest.mark.parametrize(
    ("arguments", "words"), [(["--help"], "usage: twingrad"), (["mnits"], "(see twingrad --help)")]
)
def test_messages_name_the_program_that_was_typed(arguments, words, installed):
    done = installed.run(*arguments)
    assert words in done.stdout + done.stderr
    assert "python -m" not in done.stdout + done.stderr
