"""The report of a case."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from torch_impl.verify import verify_derivative, verify_function, verify_network

if TYPE_CHECKING:
    from tests.verify.published.cases import Case
    from torch_impl.verify import Report


def report_of(case: Case) -> Report:
    """What the verifier says of it, given no more than its author would give."""
    if case.kind == "functions":
        return verify_function(*case.code, dict(case.inputs), **case.options)
    if case.kind == "derivative":
        return verify_derivative(*case.code, case.inputs["x"])
    if case.kind == "file":
        from experiments.verifiable import verify_file

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "homework.py"
            path.write_text(case.code)
            return verify_file(str(path), [])
    return verify_network(case.code(), case.options.get("loss"), **case.inputs)
