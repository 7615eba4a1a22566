"""What is imported in a few files alone, and that `import scratch` is cheap.

In which direction imports run, and that they make no circle, is checked by lint-imports.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

PACKAGES = ("scratch", "torch_impl", "experiments")
ONLY_IN = {
    "lightning": {
        *(f"torch_impl/{name}.py" for name in ("lit", "lit_chunks", "lit_processes", "lit_shared", "lit_train")),
        "experiments/benchmark/lightning_as_usual.py",
    },  # ours, and as others use it
    "matplotlib": {
        "experiments/plots.py",
        "experiments/verifiable/isolation.py",
    },  # the latter only where a file uses it
}


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("package", ONLY_IN)
def test_what_is_slow_to_import_is_imported_in_a_few_files(package):
    files = (path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))
    assert {str(path.relative_to(ROOT)) for path in files if package in imported(path)} == ONLY_IN[package]


def test_one_file_names_cupy():
    naming = {p for package in PACKAGES for p in (ROOT / package).rglob("*.py") if '"cupy' in p.read_text()}
    assert naming == {ROOT / "scratch" / "device.py"}


def run(code):
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_import_scratch_loads_no_torch():
    loaded = run("import sys, scratch; print(*(name for name in sys.modules))").split()
    assert "scratch.network" in loaded
    assert not {name.partition(".")[0] for name in loaded} & {"torch", "lightning", "matplotlib", "sklearn", "cupy"}


def test_import_scratch_costs_little_over_numpys():
    code = "import time, numpy; t = time.process_time(); import scratch; print(time.process_time() - t)"
    seconds = [float(run(code)) for _ in range(5)]
    assert min(seconds) <= 0.1, seconds  # whatever else the machine does can only add to it
