"""How long a function and a file may be: python -m tests.limits, which make lint runs.

The verifier's rules are long tables, and the tests have a line for every case, so neither is measured.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDERS = ("scratch", "torch_impl", "experiments", "examples")
NOT_MEASURED = "torch_impl/verify"
FILE, FUNCTION = 300, 60  # lines


def too_long(root: Path) -> Iterator[str]:
    """A sentence for every file and every function under ``root`` that is longer than it may be."""
    for path in sorted(path for folder in FOLDERS for path in (root / folder).rglob("*.py")):
        if path.is_relative_to(root / NOT_MEASURED):
            continue
        text, name = path.read_text(encoding="utf-8"), path.relative_to(root)
        lines = len(text.splitlines())
        if lines > FILE:
            yield f"{name} has {lines} lines, expected at most {FILE}"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1  # with its docstring, without decorators
                if lines > FUNCTION:
                    yield f"{name}:{node.lineno}: {node.name} has {lines} lines, expected at most {FUNCTION}"


if __name__ == "__main__":
    found = list(too_long(ROOT))
    print(*found, sep="\n", end="\n" * bool(found))
    sys.exit(1 if found else 0)
