"""How long a function and a file may be: python -m tests.limits, which make lint runs.

The tests have a line for every case, and are not measured. The verifier's files may be longer, since some are tables,
and all of them together have a limit too.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDERS = ("scratch", "torch_impl", "experiments", "examples")
FILE, FUNCTION = 300, 60  # lines
VERIFIER = "torch_impl/verify"
VERIFIER_FILE, VERIFIER_ALL = 350, 14000  # it shall not grow: whoever adds something finds something to take out


def too_long(root: Path) -> Iterator[str]:
    """A sentence for every file and every function under ``root`` that is longer than it may be."""
    verifier = 0
    for path in sorted(path for folder in FOLDERS for path in (root / folder).rglob("*.py")):
        text, name = path.read_text(encoding="utf-8"), path.relative_to(root)
        lines, most = len(text.splitlines()), FILE
        if path.is_relative_to(root / VERIFIER):
            verifier, most = verifier + lines, VERIFIER_FILE
        if lines > most:
            yield f"{name} has {lines} lines, expected at most {most}"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1  # with its docstring, without decorators
                if lines > FUNCTION:
                    yield f"{name}:{node.lineno}: {node.name} has {lines} lines, expected at most {FUNCTION}"
    if verifier > VERIFIER_ALL:
        yield f"{VERIFIER} has {verifier:,} lines, expected at most {VERIFIER_ALL:,}"


if __name__ == "__main__":
    found = list(too_long(ROOT))
    print(*found, sep="\n", end="\n" * bool(found))
    sys.exit(1 if found else 0)
