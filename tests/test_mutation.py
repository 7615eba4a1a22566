"""The script that changes one thing at a time in scratch and runs the tests."""

import shutil
import subprocess
import sys
from pathlib import Path

from tests import mutation
from tests.mutation import ROOT, Mutant, Source, drawn, edits, mutants

CODE = '''"""A docstring = 1."""
__all__ = ["a"]
if TYPE_CHECKING:
    import b

@dataclass(frozen=True)
class A:
    size: int = 3  # σ is two bytes

    def f(self, x: Literal["a"], e=1e-3) -> "A":
        if x is not None and not x < e:
            raise ValueError(f"x is {x + 1}" if x > 1 else "b")
        w -= x.sum(axis=-1, out=e)
        check("x", x)
        v[:] = min(x ** 2 for x in w if x)
        return x
'''
EDITS = """
6: @dataclass(frozen=True) ->
6: @dataclass(frozen=True) -> @dataclass(frozen=False)
8: size: int = 3 # σ is two bytes -> size: int = 2 # σ is two bytes
8: size: int = 3 # σ is two bytes -> size: int = 4 # σ is two bytes
10: def f(self, x: Literal["a"], e=1e-3) -> "A": -> def f(self, x: Literal["a"], e=0.002) -> "A":
11: if x is not None and not x < e: -> if x is None and not x < e:
11: if x is not None and not x < e: -> if x is not None and not x <= e:
11: if x is not None and not x < e: -> if x is not None and not x >= e:
11: if x is not None and not x < e: -> if x is not None and x < e:
11: if x is not None and not x < e: -> if x is not None or not x < e:
12: raise ValueError(f"x is {x + 1}" if x > 1 else "b") -> pass
13: w -= x.sum(axis=-1, out=e) -> w += x.sum(axis=-1, out=e)
13: w -= x.sum(axis=-1, out=e) -> w -= x.mean(axis=-1, out=e)
13: w -= x.sum(axis=-1, out=e) -> w -= x.sum(axis=-0, out=e)
13: w -= x.sum(axis=-1, out=e) -> w -= x.sum(axis=-1)
13: w -= x.sum(axis=-1, out=e) -> w -= x.sum(axis=-2, out=e)
13: w -= x.sum(axis=-1, out=e) -> w -= x.sum(axis=1, out=e)
13: w -= x.sum(axis=-1, out=e) -> w -= x.sum(out=e)
13: w -= x.sum(axis=-1, out=e) -> w = w - (x.sum(axis=-1, out=e))
14: check("x", x) -> check('XXx', x)
14: check("x", x) -> pass
15: v[:] = min(x ** 2 for x in w if x) -> v = min(x ** 2 for x in w if x)
15: v[:] = min(x ** 2 for x in w if x) -> v[:] = max(x ** 2 for x in w if x)
15: v[:] = min(x ** 2 for x in w if x) -> v[:] = min(x * 2 for x in w if x)
15: v[:] = min(x ** 2 for x in w if x) -> v[:] = min(x ** 1 for x in w if x)
15: v[:] = min(x ** 2 for x in w if x) -> v[:] = min(x ** 2 for x in w if not (x))
15: v[:] = min(x ** 2 for x in w if x) -> v[:] = min(x ** 3 for x in w if x)
16: return x -> return None
"""


def test_what_is_changed_and_what_is_not():
    source = CODE.encode()
    shown = {Mutant("", *edit).show(source).removeprefix(":").strip() for edit in edits(Source(source))}
    assert shown == set(EDITS.strip().splitlines())


def test_a_draw_is_made_by_its_seed_and_each_mutant_is_one_edit_that_compiles():
    chosen = drawn(ROOT, 20, seed=3)
    assert chosen == drawn(ROOT, 20, seed=3) != drawn(ROOT, 20, seed=4)
    assert len(set(chosen)) == 20
    for mutant in chosen:
        source = (ROOT / mutant.file).read_bytes()
        changed = mutant.apply(source)
        assert changed != source
        assert changed.startswith(source[: mutant.start])
        assert changed.endswith(source[mutant.end :])
        compile(changed, mutant.file, "exec")


def test_every_file_of_scratch_has_mutants():
    named = {file.stem for file in (ROOT / "scratch").glob("*.py")}
    assert {Path(mutant.file).stem for mutant in mutants(ROOT)} == named - {"__init__"}
    assert mutation.NAMESAKES.keys() <= named


RUN = """
from tests import mutation
mutation.PACKAGES, mutation.BESIDE, mutation.load = ("scratch", "tests"), (), lambda: None
mutation.main()
"""


def test_a_change_that_a_test_notices_is_killed_and_another_is_shown(tmp_path):
    files = {
        "pyproject.toml": "",
        "scratch/__init__.py": "from scratch.double import *\n",
        "scratch/double.py": "def double(n=1):\n    return n + n\n",
        "tests/__init__.py": "",
        "tests/scratch/__init__.py": "",
        "tests/scratch/test_double.py": "import scratch\n\ndef test_it():\n    assert scratch.double(2) == 4\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(text)
    shutil.copy2(mutation.__file__, tmp_path / "tests")
    command = [sys.executable, "-c", RUN, "--jobs", "2"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    *survivors, score = done.stdout.splitlines()
    assert sorted(survivors) == [f"scratch/double.py:1: def double(n=1): -> def double(n={n}):" for n in (0, 2)]
    assert score.startswith("2 of 4 mutants killed (50.0%), drawn with seed 0 from 4, in ")
    assert {name: (tmp_path / name).read_text() for name in files} == files
