"""Wrong commands: each ends with status 2 and one line that begins with "error:", and nothing is written or trained.

Every option of every command is given values that are none of its kind; beside them stand commands, options and files
that somebody thought of.
"""

import contextlib
import io
import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

from jsonargparse import ArgumentParser

from experiments.__main__ import find_commands, main
from experiments.command_line import CommandLine, add_command
from tests.faults import Outcome

WHAT = "wrong commands: status 2, one line, nothing written, nothing trained"
COUNT = 600

# Values by what an option takes, by the words that its type has in it.
WRONG = {
    "bool": ["maybe", "2", "null", "[true]", "", "yes!"],
    "int": ["x", "1.5", "nan", "-1", "null", "[1]", "{}", "true", "", "1e400", "9" * 400, "²"],
    "float": ["x", "nan", "inf", "-inf", "[1]", "{}", "true", "", "1,5", "1e400"],
    "Literal": ["x", "", "[]", "nonsense", "None "],
    "names": ["", "a\nb", "a\x1b[31m", "\udc80"],
}
NULL = {"max_norm", "patience"}  # for which null is a value
ANY_NUMBER = {"bias"}
NAMES = {"out", "data_dir", "json", "html", "resume"}
FILES = {
    "null.yaml": "epochs: null\n",
    "hidden.yaml": "hidden: 8\n",
    "hidden-null.yaml": "hidden: [8, null]\n",
    "hidden-map.yaml": "hidden: {a: 8}\n",
    "hidden-word.yaml": "hidden: wide\n",
    "hidden-true.yaml": "hidden: [true]\n",
    "hidden-nested.yaml": "hidden: [[8]]\n",
    "hidden-empty-word.yaml": "hidden: ''\n",
    "list.yaml": "[1, 2]\n",
    "scalar.yaml": "epochs\n",
    "empty.yaml": "",
    "comment.yaml": "# nothing\n",
    "twice.yaml": "epochs: 3\nepochs: 4\n",
    "unknown.yaml": "epoch: 3\n",
    "binary.yaml": b"\x89\x00\xff",
    "utf16.yaml": "epochs: 3".encode("utf-16"),
    "latin1.yaml": "out: é".encode("latin-1"),
    "open.yaml": "hidden: [8\n",
    "deep.yaml": f"epochs: {'[' * 2000}{']' * 2000}\n",
    "map.yaml": "epochs: {a: {b: 3}}\n",
    "true.yaml": "epochs: true\n",
    "lr-true.yaml": "lr: true\n",
    "nan.yaml": "lr: .nan\n",
    "inf.yaml": "lr: .inf\n",
    "tab.yaml": "\tepochs: 3\n",
    "loop.yaml": "hidden: &a [*a]\n",
    "code.yaml": "epochs: !!python/object/apply:os.getcwd []\n",
    "large.yaml": f"epochs: {'9' * 400}\n",
    "huge.yaml": "#" * 2_000_000,
    "word.yaml": "epochs: many\n",
    "nested.yaml": "moons:\n  epochs: 3\n",
    "config.yaml": "config: config.yaml\n",
    "resume.yaml": "resume: somewhere\n",
    "nul.yaml": 'out: "a\\0b"\n',
    "newline.yaml": 'out: "a\\nb"\n',
    "other-task.yaml": "task: circles\nepochs: 3\n",
    "no-task.yaml": "task: null\n",
    "number.yaml": "3: 4\n",
    "date.yaml": "out: 2020-01-01\n",
    "month.yaml": "out: 2020-13-45\n",
    "two.yaml": "epochs: 3\n---\nepochs: 4\n",
    "impl.yaml": "impl: null\n",
    "device.yaml": "device: 3.5\n",
    "seed.yaml": "seed: -1\n",
    "choice.yaml": "optimizer: adan\n",
    "set.yaml": "epochs: !!set {a}\n",
}
BY_HAND = """
mnits
moon --epochs 3
--moons
moons extra
moons --epochs
moons --epochs 3 4
moons --epoch 3
moons --hidden
moons --hidden 8 0
moons --hidden 1000000000 4
moons --hidden 300000000000
moons --hidden 8 -8
moons --samples 9
moons --samples 1000000000000
moons --samples 9999999999999999999
moons --noise -1
moons --seed -1
moons --batch-size 0
moons --epochs 0
moons --momentum 0.9
moons --nesterov
moons --optimizer sgd --nesterov
moons --shift 1
moons --label-smoothing 0.1
moons --device gpu
moons --device cuda:99
moons --device cuda:x
moons --device tpu
moons --devices 2
moons --devices 1000000 --impl lightning
moons --num-nodes 2
moons --precision bf16 --device cpu
moons --dropout 1
moons --dtype float16
moons --patience 0
moons --max-norm 0
moons --warmup 1
moons --l1 -1
moons --weight-decay -1
moons --batch-norm --layer-norm
moons --batch-norm --batch-size 599
moons --out file.txt
moons --out file.txt/run
moons --out full
moons --out /dev/null
moons --out /dev/null/run
moons --out /proc/run
moons --resume nowhere
moons --resume file.txt
moons --resume full
moons --resume .
moons --resume full --out other
moons --config nowhere.yaml
moons --config full
moons --config pipe
moons --config file.txt
moons --config /dev/zero
moons --config {epochs:3}
xor --patience 3
xor --samples 100
digits --shift -1
digits --shift 1000000
digits --label-smoothing 1
mnist --data-dir file.txt
mnist --data-dir full/notes.txt
compare
compare xo
compare moons --impl scratch
compare moons --epochs many
compare moons --config nowhere.yaml
depth --depth 0
depth --depth 1000000000
depth --width 1000000000
depth --width 0
depth --activation sigmod
depth --lr -1
depth --epochs 0
depth --out file.txt
results --tasks mnits
results --tasks
results --seeds 0
results --tasks xor --out file.txt
demo --seed -1
demo --out file.txt
demo --out full
bench --rounds 1
bench --threads 0
bench --threads 1000000
bench --sizes huge
bench --contenders nobody
bench --quick --scaling
bench --json full --sizes xor
bench --json no/such/folder.json
bench --out full --sizes xor
bench --out file.txt --sizes xor
bench --device tpu
speedrun --target 101
speedrun --target 0
speedrun --runs 0
speedrun --json full
speedrun --json no/such/folder.json
speedrun --json /proc/result.json
speedrun --impl lightning
speedrun --precision bf16
speedrun --data-dir file.txt
backprop-by-hand --lr -1
backprop-by-hand --seed 1.5
verify nothing.py
verify full
verify file.txt
verify pipe
verify --shapes x=3
verify pair.py --shapes x=7by5
verify pair.py --shapes x=0
verify pair.py --shapes z=4
verify pair.py --shapes x=1000000000000
verify pair.py:afine
verify pair.py:
verify pair.py --json full
verify pair.py --json no/such.json
verify pair.py --html full
verify pair.py --html /proc/page.html
verify pair.py --json r.x --html r.x
verify pair.py --json pair.py
verify --seed -1
verify pair.py pair.py
"""
PAIR = "def forward(x):\n    return 2 * x, x\n\n\ndef backward(dy, x):\n    return 2 * dy\n"


class Begun(BaseException):
    """A command got as far as its work."""


def outcomes(count: int, seed: int) -> Iterator[Outcome]:
    """The commands by hand, then generated ones in an order drawn by the seed."""
    generated = list(generate())
    random.Random(seed).shuffle(generated)
    for arguments in [*by_hand(), *generated][:count]:
        yield Outcome(" ".join(map(repr, arguments))[:200], problem_of(arguments))


def by_hand() -> Iterator[list[str]]:
    """The commands of this file, among them every file of options."""
    for line in BY_HAND.split("\n")[1:-1]:
        yield line.split()
    for name in FILES:
        yield ["moons", "--config", name]
    yield ["moons", "--out", ""]
    yield ["moons", "--out", "x" * 5000]
    yield []


def generate() -> Iterator[list[str]]:
    """Every option of every command with values that are none of its kind."""
    for words, parser in parsers():
        for action in parser._actions:
            if not action.option_strings or action.dest in ("help", "config", "version", "task", "print_config"):
                continue
            for value in wrong_values(action.dest, str(getattr(action, "_typehint", action.type))):
                yield [*words, f"{action.option_strings[0]}={value}"]


def wrong_values(name: str, kind: str) -> Sequence[str]:
    """What the option cannot be."""
    kinds = [word for word in ("Literal", "bool", "int", "float") if word in kind]
    values = WRONG["names"] if name in NAMES else WRONG[kinds[0]] if kinds else ["nonsense", ""]
    if name in ("target", "shapes"):
        return []
    return [v for v in values if not ((name in NULL and v == "null") or (name in ANY_NUMBER and v == "-1"))]


def parsers() -> Iterator[tuple[list[str], ArgumentParser]]:
    """The parser of every command, and of every task under compare."""
    top = CommandLine(prog="twingrad")
    subcommands = top.add_subcommands(required=True)
    for name, command in find_commands().items():
        add_command(subcommands, name, command)
        parser = subcommands._name_parser_map[name]
        below = [a for a in parser._actions if hasattr(a, "_name_parser_map") and a._name_parser_map]
        for action in below:
            yield from (([name, task], own) for task, own in action._name_parser_map.items())
        if not below:
            yield [name], parser


def problem_of(arguments: list[str]) -> str | None:
    """What is wrong with how the command ends; None where it ends as it should."""
    before = Path.cwd()
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "full").mkdir()
        (folder / "full" / "notes.txt").write_text("mine")
        (folder / "file.txt").write_text("mine")
        (folder / "pair.py").write_text(PAIR)
        os.mkfifo(folder / "pipe")
        for name in set(arguments) & FILES.keys():
            content = FILES[name]
            (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
        os.chdir(folder)
        try:
            left = state(folder)
            status, out, err = run(arguments)
            changed = state(folder) ^ left
        finally:
            os.chdir(before)
    if status != 2:
        return f"{status!r}; {err.strip()[:200]}"
    if out or err.count("\n") != 1 or not err.startswith("error: "):
        return f"it printed {out[:200]!r} and {err[:200]!r}"
    return f"it wrote {sorted(name for name, _ in changed)}" if changed else None


def run(arguments: list[str]) -> tuple[object, str, str]:
    """The command's status (or what it raised), standard output and error, without the work that it would do."""
    out, err = io.StringIO(), io.StringIO()
    begun = mock.Mock(side_effect=Begun("it went to work"))
    with contextlib.ExitStack() as stack:
        for name in WORK:
            stack.enter_context(mock.patch(f"experiments.{name}", begun))
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        status: object
        try:
            status = main(arguments)
        except SystemExit as exit_:
            status = exit_.code
        except BaseException as error:
            status = f"{type(error).__name__}: {str(error)[:200]}"
    return status, out.getvalue(), err.getvalue()


WORK = (
    "commands.train.train_and_report",
    "commands.results.train",
    "commands.depth.train",
    "commands.demo.parity",
    "commands.speedrun.train",
    "commands.backprop_by_hand.work_through",
    "benchmark.timing.time_case",
    "benchmark.scaling.time_case",
    "verifiable.verify_scratch",
    "verifiable.functions.verify.verify_function",
)


def state(folder: Path) -> set[tuple[str, bytes]]:
    """The files under a folder, with what is in them."""
    files = {(str(p), p.read_bytes() if p.is_file() else b"") for p in folder.rglob("*")}
    return {(name, content) for name, content in files if "__pycache__" not in name}
