"""Imports run one way, and `import scratch` is cheap."""

import ast
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

ALLOWED = {  # package: what of the others it may import
    "scratch": set(),
    "torch_impl": {"scratch", "torch"},
    "experiments": {"scratch", "torch_impl", "torch"},
}
ONLY_IN = {
    "lightning": {
        *(f"torch_impl/{name}.py" for name in ("lit", "lit_chunks", "lit_train")),
        "experiments/benchmark/lightning_as_usual.py",
    },  # ours, and as others use it
    "matplotlib": {"experiments/plots.py"},
}


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_run_one_way(package):
    for path in (ROOT / package).rglob("*.py"):
        for name in imported(path):
            if name in {*ALLOWED, "torch"} - {package}:
                assert name in ALLOWED[package], f"{path.relative_to(ROOT)} imports {name}"
            if name in ONLY_IN:
                assert str(path.relative_to(ROOT)) in ONLY_IN[name], f"{path} imports {name}"


def test_one_file_names_cupy():
    naming = {p for package in ALLOWED for p in (ROOT / package).rglob("*.py") if '"cupy' in p.read_text()}
    assert naming == {ROOT / "scratch" / "device.py"}


def run(code):
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_import_scratch_loads_no_torch():
    loaded = run("import sys, scratch; print(*(name for name in sys.modules))").split()
    assert "scratch.network" in loaded
    assert not {name.partition(".")[0] for name in loaded} & {"torch", "lightning", "matplotlib", "sklearn", "cupy"}


def test_import_scratch_costs_little_over_numpys():
    code = "import time, numpy; t = time.perf_counter(); import scratch; print(time.perf_counter() - t)"
    seconds = [float(run(code)) for _ in range(5)]
    assert statistics.median(seconds) <= 0.1, seconds
