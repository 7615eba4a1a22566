"""The code of the README, of CONTRIBUTING and of docs/verifier.md prints what stands under it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
VERIFIER = (ROOT / "docs" / "verifier.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
BLOCKS = re.compile(r"```python\n(.*?)```\n\n```text\n(.*?)```", re.DOTALL)
EXAMPLES = BLOCKS.findall(README)
CONTRIBUTING_EXAMPLES = BLOCKS.findall(CONTRIBUTING)
VERIFIER_EXAMPLES = BLOCKS.findall(VERIFIER)


def run(code, folder):
    (folder / "example.py").write_text(code)
    command = [sys.executable, "example.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return "\n".join(line.rstrip() for line in done.stdout.splitlines()) + "\n"


@pytest.mark.parametrize(
    ("code", "printed"),
    [*EXAMPLES, *CONTRIBUTING_EXAMPLES],
    ids=["twins", "from Python", "verify", "layer", "layer with parameters", "CONTRIBUTING: layer of layers"],
)
def test_the_code_prints_what_it_says(code, printed, tmp_path):
    assert without_rounding(run(code, tmp_path)) == without_rounding(printed)


def test_what_contributings_diff_stands_beside_is_there():
    """Not the lines that it changes, so that the diff may be applied."""
    (diff,) = re.findall(r"```diff\n(.*?)```", CONTRIBUTING, re.DOTALL)
    text, found = "", 0
    for line in diff.splitlines():
        if line.startswith("+++ b/"):
            text = (ROOT / line.removeprefix("+++ b/")).read_text()
        elif line.startswith(" ") and line.strip():
            assert f"{line[1:]}\n" in text, line
            found += 1
    assert found == 3


def test_the_verifiers_examples_print_what_they_say(tmp_path):
    # One interpreter for all, since each would import torch anew.
    assert len(VERIFIER_EXAMPLES) == 16
    marked = "import linecache, os\n" + "".join(
        f"print('@@@')\nos.chdir({str(tmp_path / str(i))!r})\nlinecache.clearcache()\n"  # the source is read there
        "exec(compile(open('example.py').read(), 'example.py', 'exec'), {'__name__': 'example'})\n"
        for i in range(len(VERIFIER_EXAMPLES))
    )
    for i, (code, _) in enumerate(VERIFIER_EXAMPLES):
        (tmp_path / str(i)).mkdir()
        (tmp_path / str(i) / "example.py").write_text(code)
    printed = run(marked, tmp_path).split("@@@\n")[1:]
    for (code, expected), came in zip(VERIFIER_EXAMPLES, printed, strict=True):
        assert without_rounding(came) == without_rounding(expected), code


def without_rounding(text):
    """What is left of a difference, as 3e-16, and the seconds are the machine's own."""
    text = re.sub(r"(right +)(\S+ +\S+)$", r"\1rounding", text, flags=re.MULTILINE)
    return re.sub(r" \d+\.\d s\b", " seconds", re.sub(r"\d+(\.\d+)?e-1\d", "rounding", text))


def test_the_first_example_has_twelve_lines():
    assert len([line for line in EXAMPLES[0][0].splitlines() if line]) == 12


@pytest.mark.parametrize("path", [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")], ids=lambda path: path.stem)
def test_what_is_linked_to_is_there(path):
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        assert "://" in target or (path.parent / target).exists(), target
