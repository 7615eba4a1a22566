"""Changes one thing in scratch/ at a time, runs the tests on it, and says which changes they did not notice.

    python -m tests.mutation                          300 changes drawn at random: the score that docs/tests.md shows
    python -m tests.mutation --seed 1 --jobs 2        others, two at a time
    python -m tests.mutation --only optim.py --count 50

A mutant is one edit of the text at one node of its syntax tree: see ``edits``. It is killed if a test fails, or needs
several times the processor time of the tests on the right code. The tests run in order until the first one fails: that
of the file's own name, then the other quick ones.

This is no library, because mutmut changes neither class bodies nor decorators, which in scratch hold every default, and
cosmic-ray starts an interpreter for every mutant: importing torch takes longer than most of the tests. Here each
mutant's process is forked from one that has imported it.

Nothing is changed in annotations, docstrings, f-strings, the texts of errors and ``__all__``, nor in what runs on a GPU
alone (``ONLY_ON_A_GPU``).
"""

import argparse
import ast
import multiprocessing
import os
import random
import re
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("scratch", "torch_impl", "experiments", "tests")
ONLY_ON_A_GPU = {"bytes_held"}  # the stand-in for CuPy in tests/scratch runs the rest of device.py

# Where a file has no tests of its own name: the tests that find most of its mutants.
NAMESAKES = {
    "activations": "layers",
    "batches": "train",
    "checks": "losses",
    "composite": "network",
    "engine": "train",
    "epochs": "device",
    "normalisation": "layers",
    "recipe": "train",
    "schedules": "optim",
    "state": "train",
}
BESIDE = ("torch_impl/test_train.py",)
FOR_ONE = ("test_optim.py",)  # it takes as long as the others together, on code that they run too
OPTIONS = ("-x", "-p", "no:cacheprovider", "-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning")

COMPARISONS = {
    ast.Lt: ("<", ("<=", ">=")),
    ast.LtE: ("<=", ("<", ">")),
    ast.Gt: (">", (">=", "<=")),
    ast.GtE: (">=", (">", "<")),
    ast.Eq: ("==", ("!=",)),
    ast.NotEq: ("!=", ("==",)),
    ast.Is: ("is", ("is not",)),
    ast.IsNot: ("is not", ("is",)),
    ast.In: ("in", ("not in",)),
    ast.NotIn: ("not in", ("in",)),
}
ARITHMETIC = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "/"),
    ast.Mod: ("%", "*"),
    ast.Pow: ("**", "*"),
    ast.BitOr: ("|", "&"),
    ast.BitAnd: ("&", "|"),
}
_PAIRS = (
    "min max",
    "minimum maximum",
    "any all",
    "zeros_like ones_like",
    "argmin argmax",
    "mean sum",
    "exp expm1",
    "sin cos",
)
FUNCTIONS = {a: b for pair in _PAIRS for a, b in (pair.split(), pair.split()[::-1])}


@dataclass(frozen=True)
class Mutant:
    """An edit: the bytes from ``start`` to ``end`` of the file are replaced by ``new``."""

    file: str  # from the root
    start: int
    end: int
    new: str

    def apply(self, source: bytes) -> bytes:
        return source[: self.start] + self.new.encode() + source[self.end :]

    def show(self, source: bytes) -> str:
        """``file:line: before -> after``, each on one line."""
        begins = source.rfind(b"\n", 0, self.start) + 1
        ends = (source + b"\n").find(b"\n", self.end)
        after = source[begins : self.start] + self.new.encode() + source[self.end : ends]
        line = source.count(b"\n", 0, self.start) + 1
        texts = (" ".join(text.decode().split()) for text in (source[begins:ends], after))
        return f"{self.file}:{line}: {' -> '.join(texts)}"


class Source:
    """A file's bytes, and where in them the nodes of its tree stand."""

    def __init__(self, source: bytes) -> None:
        self.bytes, self.tree = source, ast.parse(source)
        self.lines = [0]
        for line in source.splitlines(keepends=True):
            self.lines.append(self.lines[-1] + len(line))

    def start(self, node: ast.AST) -> int:
        return self.lines[node.lineno - 1] + node.col_offset

    def end(self, node: ast.AST) -> int:
        return self.lines[node.end_lineno - 1] + node.end_col_offset

    def text(self, node: ast.AST) -> str:
        return self.bytes[self.start(node) : self.end(node)].decode()

    def between(self, left: ast.AST, right: ast.AST, old: str, new: str) -> Iterator[tuple[int, int, str]]:
        """The operator between two nodes replaced."""
        begins = self.end(left)
        pattern = re.escape(old).replace(r"\ ", r"\s+")
        found = re.search(pattern.encode(), self.bytes[begins : self.start(right)])
        if found:
            yield begins + found.start(), begins + found.end(), new

    def nodes(self) -> Iterator[tuple[ast.AST, ast.AST]]:
        """Every node that may be changed, with the node that it is a part of."""
        yield from self._within(self.tree)

    def _within(self, parent: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
        for name, value in ast.iter_fields(parent):
            if name in ("annotation", "returns", "type_comment"):
                continue
            for node in value if isinstance(value, list) else [value]:
                if isinstance(node, ast.AST) and not _is_left_alone(node):
                    yield node, parent
                    if not isinstance(node, ast.Raise):
                        yield from self._within(node)


def _is_left_alone(node: ast.AST) -> bool:
    if isinstance(node, ast.FunctionDef):
        return node.name in ONLY_ON_A_GPU
    if isinstance(node, ast.Assign):
        return isinstance(node.targets[0], ast.Name) and node.targets[0].id in ("__all__", "__version__")
    if isinstance(node, ast.If):
        return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return is_docstring or isinstance(node, ast.JoinedStr | ast.Import | ast.ImportFrom)


def edits(source: Source) -> Iterator[tuple[int, int, str]]:
    """Every edit of a file as (start, end, new text); some do not compile, and two may be the same."""
    for node, parent in source.nodes():
        yield from _of_expression(source, node, parent)
        yield from _of_statement(source, node)
        for decorator in getattr(node, "decorator_list", ()):
            yield source.bytes.rfind(b"@", 0, source.start(decorator)), source.end(decorator), ""


def _of_expression(source: Source, node: ast.AST, parent: ast.AST) -> Iterator[tuple[int, int, str]]:
    match node:
        case ast.Compare():
            for left, op, right in zip([node.left, *node.comparators], node.ops, node.comparators, strict=False):
                old, news = COMPARISONS[type(op)]
                for new in news:
                    yield from source.between(left, right, old, new)
        case ast.BinOp() if type(node.op) in ARITHMETIC:
            yield from source.between(node.left, node.right, *ARITHMETIC[type(node.op)])
        case ast.BoolOp():
            old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
            for left, right in zip(node.values, node.values[1:], strict=False):
                yield from source.between(left, right, old, new)
        case ast.UnaryOp():
            yield source.start(node), source.start(node.operand), ""
        case ast.Constant():
            for new in _other_constants(node.value):
                yield source.start(node), source.end(node), new
        case ast.Call():
            yield from _of_call(source, node)
    is_condition = node is getattr(parent, "test", None) or node in getattr(parent, "ifs", ())
    if is_condition and isinstance(node, ast.Name | ast.Attribute | ast.Call):
        yield source.start(node), source.end(node), f"not ({source.text(node)})"


def _other_constants(value: object) -> list[str]:
    if isinstance(value, bool):
        return [str(not value)]
    if isinstance(value, int):
        return [str(value + 1), *([str(value - 1)] if value else [])]
    if isinstance(value, float):
        return [repr(2 * value) if value else "1.0"]
    if isinstance(value, str) and value and not re.search(r"\s", value):
        return [repr(f"XX{value}")]
    return []


def _of_call(source: Source, node: ast.Call) -> Iterator[tuple[int, int, str]]:
    """Another function; a keyword argument left out. (Without ``key=True`` is as with ``key=False``: drawn once.)"""
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)
    if name in FUNCTIONS:
        yield source.end(node.func) - len(name), source.end(node.func), FUNCTIONS[name]
    given = sorted([*node.args, *node.keywords], key=source.start)
    for i, argument in enumerate(given):
        if not isinstance(argument, ast.keyword) or argument.arg is None or isinstance(_value(argument), bool):
            continue
        if i + 1 < len(given):
            yield source.start(argument), source.start(given[i + 1]), ""
        else:
            yield source.end(given[i - 1]) if i else source.start(argument), source.end(argument), ""


def _value(argument: ast.keyword) -> object:
    return argument.value.value if isinstance(argument.value, ast.Constant) else None


def _of_statement(source: Source, node: ast.AST) -> Iterator[tuple[int, int, str]]:
    match node:
        case ast.Raise() if source.text(node) != "raise NotImplementedError":
            yield source.start(node), source.end(node), "pass"
        case ast.Expr(value=ast.Call()):
            yield source.start(node), source.end(node), "pass"
        case ast.Break() | ast.Continue():
            yield source.start(node), source.end(node), "continue" if isinstance(node, ast.Break) else "break"
        case ast.Return(value=ast.AST()) if source.text(node) != "return None":
            yield source.start(node), source.end(node), "return None"
        case ast.AugAssign():
            target, value = source.text(node.target), source.text(node.value)
            if type(node.op) in ARITHMETIC:
                old, new = ARITHMETIC[type(node.op)]
                yield from source.between(node.target, node.value, f"{old}=", f"{new}=")
                if isinstance(node.target, ast.Name) and not isinstance(node.value, ast.Constant):
                    yield source.start(node), source.end(node), f"{target} = {target} {old} ({value})"
        case ast.Assign(targets=[ast.Subscript(value=ast.Name() | ast.Attribute()) as target]):
            if source.text(target.slice) in (":", "..."):
                yield source.end(target.value), source.end(target), ""


def mutants(root: Path, only: str | None = None) -> list[Mutant]:
    """Every mutant of scratch/, or of one of its files, in order."""
    found = []
    for path in sorted((root / "scratch").rglob(only or "*.py")):
        source = Source(path.read_bytes())
        found += [Mutant(str(path.relative_to(root)), *edit) for edit in sorted(set(edits(source)))]
    return found


def drawn(root: Path, count: int, seed: int, only: str | None = None) -> list[Mutant]:
    """So many mutants at random that compile."""
    every = mutants(root, only)
    random.Random(seed).shuffle(every)
    chosen = []
    for mutant in every:
        try:
            compile(mutant.apply((root / mutant.file).read_bytes()), mutant.file, "exec")
        except SyntaxError:
            continue
        chosen.append(mutant)
        if len(chosen) == count:
            break
    return chosen


def copied(folder: Path) -> Path:
    """A copy of the project in which mutants are made."""
    for name in PACKAGES:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(ROOT / "pyproject.toml", folder)
    return folder


def stages(tree: Path, file: str) -> list[list[str]]:
    """The test files, those first that most likely see a change of ``file``."""
    name = Path(file).stem
    first = tree / "tests" / "scratch" / f"test_{NAMESAKES.get(name, name)}.py"
    rest = [*sorted((tree / "tests" / "scratch").glob("test_*.py")), *(tree / "tests" / name for name in BESIDE)]
    rest = [path for path in rest if path.name not in FOR_ONE or path == first]
    own = [first] if first.exists() else []
    return [stage for stage in ([str(p) for p in own], [str(p) for p in rest if p not in own]) if stage]


def load() -> None:
    """Import what the tests import, except what may be changed, with a thread for each process."""
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    for name in ("lightning", "torchmetrics", "sklearn.metrics", "sklearn.model_selection", "safetensors.torch"):
        __import__(name)
    import hypothesis

    # The same examples each time, and the first that fails is enough.
    phases = [phase for phase in hypothesis.Phase if phase.name in ("explicit", "generate")]
    hypothesis.settings.register_profile("mutation", derandomize=True, phases=phases)
    hypothesis.settings.load_profile("mutation")


def run_tests(tree: Path, file: str, seconds: float | None) -> None:
    """In a process of its own: the tests of a tree, until one fails; its exit status says how it ended."""
    import pytest

    os.setsid()
    output = os.open(tree / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    if seconds is not None:
        resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 1))
    resource.setrlimit(resource.RLIMIT_DATA, (8 << 30, 8 << 30))  # a wrong size is not to take the machine's memory
    os.chdir(tree)
    os.environ |= {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    sys.dont_write_bytecode = seconds is not None  # the first run, on the right code, compiles it for all
    sys.path[:] = [str(tree), *(p for p in sys.path if Path(p).resolve() != ROOT)]
    for name in [name for name in sys.modules if name.partition(".")[0] in PACKAGES]:
        del sys.modules[name]
    status = 1
    try:
        import scratch

        assert Path(scratch.__file__).is_relative_to(tree)
        for stage in stages(tree, file):
            status = pytest.main([*OPTIONS, f"--basetemp={tree / 'tmp'}", *stage])
            if status:
                break
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(status))  # whatever threads a mutant left behind


class Running:
    """A mutant under test, in a tree of its own."""

    def __init__(self, tree: Path, mutant: Mutant, seconds: float) -> None:
        self.tree, self.mutant, self.path = tree, mutant, tree / mutant.file
        self.path.write_bytes(mutant.apply((ROOT / mutant.file).read_bytes()))
        os.utime(self.path, (0, 0))  # no file compiled before is that old
        self.process = _forked(tree, mutant.file, seconds)
        self.deadline = time.monotonic() + 10 * seconds

    def survived(self) -> bool:
        """Whether every test passed; the tree is as it was then."""
        if self.process.is_alive():
            os.killpg(self.process.pid, 9)
        self.process.join()
        shutil.copy2(ROOT / self.mutant.file, self.path)
        return self.process.exitcode == 0


def _forked(tree: Path, file: str, seconds: float | None) -> multiprocessing.Process:
    process = multiprocessing.get_context("fork").Process(target=run_tests, args=(tree, file, seconds))
    process.start()
    return process


def outcomes(chosen: list[Mutant], folder: Path, jobs: int) -> Iterator[tuple[Mutant, bool]]:
    """Each mutant, as soon as it is known, with whether it survived.

    Raises
        RuntimeError: the tests fail on the right code
    """
    trees = [copied(folder / str(i)) for i in range(jobs)]
    seconds = 0.0
    for tree in trees:  # each is compiled, and the tests are timed, on the right code
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        process = _forked(tree, "scratch/optim.py", None)  # the file with the most tests
        process.join()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = max(seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        if process.exitcode != 0:
            raise RuntimeError(f"the tests fail on the right code:\n{(tree / 'output.txt').read_text()[-4000:]}")
    waiting, running = list(chosen), []
    try:
        while waiting or running:
            while waiting and trees:
                running.append(Running(trees.pop(), waiting.pop(0), 3 * seconds + 5))
            wait([one.process.sentinel for one in running], timeout=1)
            for one in [o for o in running if not o.process.is_alive() or time.monotonic() > o.deadline]:
                running.remove(one)
                trees.append(one.tree)
                yield one.mutant, one.survived()
    finally:
        for one in running:  # where this was interrupted
            one.survived()


def main() -> int:
    """Print each survivor and the score."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=300, help="mutants to draw")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--jobs", type=int, default=1, help="mutants at a time")
    parser.add_argument("--only", metavar="FILE", help="of scratch/, such as optim.py")
    options = parser.parse_args()
    chosen = drawn(ROOT, options.count, options.seed, options.only)
    load()
    os.nice(10)
    begun, survivors = time.monotonic(), []
    with tempfile.TemporaryDirectory() as folder:
        for i, (mutant, survived) in enumerate(outcomes(chosen, Path(folder), options.jobs), 1):
            if survived:
                survivors.append(mutant.show((ROOT / mutant.file).read_bytes()))
                print(survivors[-1], flush=True)
            if sys.stderr.isatty() or i % 25 == 0:
                print(f"{i} of {len(chosen)}, {len(survivors)} survived", file=sys.stderr, flush=True)
    killed = len(chosen) - len(survivors)
    print(
        f"{killed} of {len(chosen)} mutants killed ({killed / len(chosen):.1%}), drawn with seed {options.seed} from "
        f"{len(mutants(ROOT, options.only)):,}, in {(time.monotonic() - begun) / 60:.0f} minutes"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
