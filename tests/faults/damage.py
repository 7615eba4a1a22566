"""Runs whose files were damaged while nobody looked, and which are then resumed."""

import io
import json
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import yaml
from safetensors.numpy import load, save

import scratch
from experiments.__main__ import main
from experiments.experiment import Experiment
from experiments.run_folder import RunFolder
from experiments.tasks import Moons
from experiments.training import begin_scratch, begin_torch
from scratch import checkpoint
from tests.faults import Outcome

WHAT = "damaged files of a run that is resumed: a sentence, or the weights of the undamaged run; no traceback"
COUNT = 150
NAMES = ("config.yaml", "metrics.csv", "{}-training.safetensors", "{}.safetensors")
IMPLS = ("scratch", "torch", "lightning")


def outcomes(count: int, seed: int) -> Iterator[Outcome]:
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        begun = {impl: begun_by(impl) for impl in IMPLS}
        whole = {impl: undamaged(begun[impl], impl) for impl in IMPLS}
        for i in range(count):
            impl = IMPLS[i % 3]
            name = rng.choice(NAMES).format(impl)
            kinds = [*BYTES, *(YAML if name.endswith("yaml") else [])] + list(STATES) * ("training" in name) * 2
            kind = rng.choice(kinds)
            run = Path("run")
            shutil.rmtree(run, ignore_errors=True)
            shutil.copytree(begun[impl], run)
            path = run / name
            if not path.exists():
                path.write_bytes(b"")
            said = kind(path, rng) if kind in BYTES else kind(path)
            yield Outcome(f"{name}: {said or kind.__name__}", resumed(run, impl, whole[impl]))


def begun_by(impl: str) -> Path:
    """A run in the middle of its training."""
    folder = Path(f"begun-{impl}")
    config = Moons(impl=impl, samples=100, epochs=4, hidden=(8,), batch_size=20, dropout=0.1, out=str(folder))
    experiment = Experiment.of(config)
    with RunFolder.create(config) as run:
        start = scratch.State.start(experiment.initial, experiment.recipe)
        # Lightning's steps are those of the plain torch loop.
        records, state = (begin_scratch if impl == "scratch" else begin_torch)(experiment, start)
        for record in records:
            if record.step == 7:
                scratch.save_state(run.checkpoint(impl), state())
                break
        run.keep_rows(impl, 0)
    return folder


def undamaged(begun: Path, impl: str) -> np.ndarray:
    """What it ends with if nothing happens to it."""
    folder = Path(f"whole-{impl}")
    shutil.copytree(begun, folder)
    assert command(folder)[0] == 0
    return weights(folder, impl)


def weights(folder: Path, impl: str) -> np.ndarray:
    arrays = load((folder / f"{impl}.safetensors").read_bytes())
    return np.concatenate([arrays[name].ravel() for name in sorted(arrays)])


def command(folder: Path) -> tuple[int, str]:
    printed = io.StringIO()
    with redirect_stderr(printed), redirect_stdout(io.StringIO()):
        try:
            status = main(["moons", "--resume", str(folder)])
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 1
    return status, printed.getvalue()


def resumed(run: Path, impl: str, whole: np.ndarray) -> str | None:
    """What is wrong with how it goes on."""
    try:
        status, printed = command(run)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if status == 0:
        return None if np.array_equal(weights(run, impl), whole) else "it ended with other weights and status 0"
    lines = printed.strip().splitlines()
    if status != 2 or len(lines) != 1 or not lines[0].startswith("error: "):
        return f"status {status}: {printed[-300:]}"
    return None


def cut(path: Path, rng: random.Random) -> str:
    data = path.read_bytes()
    length = rng.choice([0, 1, 8, rng.randint(0, len(data)), max(len(data) - 1, 0)])
    path.write_bytes(data[:length])
    return f"cut to {length} bytes"


def zeroed(path: Path, rng: random.Random) -> str:
    data = bytearray(path.read_bytes())
    first = rng.randint(0, max(len(data) - 1, 0))
    data[first:] = bytes(len(data) - first)
    path.write_bytes(data)
    return f"zeros from byte {first}"


def random_bytes(path: Path, rng: random.Random) -> str:
    path.write_bytes(rng.randbytes(rng.choice([7, 100, 10_000])))
    return "random bytes"


def overwritten(path: Path, rng: random.Random) -> str:
    data = bytearray(path.read_bytes() or b" ")
    places = [rng.randrange(len(data)) for _ in range(rng.choice([1, 3, 20]))]
    for place in places:
        data[place] = rng.randrange(256)
    path.write_bytes(data)
    return f"other bytes at {places[:4]}"


def a_folder(path: Path, rng: random.Random) -> str:
    path.unlink()
    path.mkdir()
    return "a folder"


def gone(path: Path, rng: random.Random) -> str:
    path.unlink()
    return "deleted"


BYTES: list[Callable[[Path, random.Random], str]] = [cut, zeroed, random_bytes, overwritten, a_folder, gone]


def _changed(name: str, value: object) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        options = yaml.safe_load(path.read_text())
        options[name] = value
        path.write_text(yaml.safe_dump(options))

    change.__name__ = f"{name}: {value!r:.40}"
    return change


def _said(text: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        path.write_text(text)

    change.__name__ = f"{text!r:.40}"
    return change


YAML = [
    *(_changed(name, None) for name in ("epochs", "lr", "hidden", "seed", "impl", "dtype", "task")),
    *(_changed("hidden", value) for value in (8, [8, None], "8", [[8]], {"a": 8}, [10**12], [-1], [])),
    *(_changed("epochs", value) for value in ("many", 2.5, -1, True, [4], 10**30)),
    *(_changed("lr", value) for value in (float("nan"), float("inf"), -1, "1e", [0.1])),
    *(_changed("batch_size", value) for value in (0, 64, None)),
    *(_changed("noise", value) for value in (0.3, "a", None)),
    *(_changed("unknown", value) for value in (1, None)),
    *(_changed("impl", value) for value in ("tensorflow", 3)),
    *(
        _said(text)
        for text in ("", "[]", "null", "a: [", "\t", "- task: moons", "[" * 10_000, "&a [*a]", "task: moons")
    ),
]


def _stored(change: Callable[[dict, dict], None]) -> Callable[[Path], None]:
    """A checkpoint of another content, with the checksum that belongs to it."""

    def write(path: Path) -> None:
        if path.stat().st_size < 8:
            return
        tensors, metadata = checkpoint._read(path)
        change(tensors, metadata)
        checkpoint._write(path, tensors, metadata)

    write.__name__ = change.__name__
    return write


def another_dtype(tensors: dict, metadata: dict) -> None:
    for name, value in tensors.items():
        tensors[name] = value.astype(np.float64)


def half(tensors: dict, metadata: dict) -> None:
    for name, value in tensors.items():
        tensors[name] = value.astype(np.float16)


def integers(tensors: dict, metadata: dict) -> None:
    for name, value in tensors.items():
        tensors[name] = value.astype(np.int32)


def no_slots(tensors: dict, metadata: dict) -> None:
    for name in [name for name in tensors if name.startswith("optimizer.")]:
        del tensors[name]


def short_slots(tensors: dict, metadata: dict) -> None:
    for name in [name for name in tensors if name.startswith("optimizer.")]:
        tensors[name] = tensors[name][:-1]


def more_tensors(tensors: dict, metadata: dict) -> None:
    tensors["stranger"] = np.zeros(3)


def nothing(tensors: dict, metadata: dict) -> None:
    tensors.clear()


def a_list(tensors: dict, metadata: dict) -> None:
    metadata["progress"] = "[1, 2]"


def nested(tensors: dict, metadata: dict) -> None:
    metadata["progress"] = "[" * 100_000


def a_word(tensors: dict, metadata: dict) -> None:
    metadata["progress"] = json.dumps({"step": "seven"})


def too_far(tensors: dict, metadata: dict) -> None:
    metadata["progress"] = json.dumps({"step": 10**9})


def backwards(tensors: dict, metadata: dict) -> None:
    metadata["progress"] = json.dumps({"step": -1})


def unknown(tensors: dict, metadata: dict) -> None:
    metadata["progress"] = json.dumps({"step": 3, "colour": "blue"})


def no_progress(tensors: dict, metadata: dict) -> None:
    del metadata["progress"]


def another_seed(tensors: dict, metadata: dict) -> None:
    metadata["training"] = metadata["training"].replace('"seed": "0"', '"seed": "1"')


def no_training(tensors: dict, metadata: dict) -> None:
    metadata["training"] = "7"


def without_checksum(path: Path) -> None:
    tensors, metadata = checkpoint._read(path)
    path.write_bytes(save(tensors, metadata))


def parameters_alone(path: Path) -> None:
    tensors, _ = checkpoint._read(path)
    path.write_bytes(save(tensors))


STATES = [
    *map(
        _stored,
        (
            another_dtype, half, integers, no_slots, short_slots, more_tensors, nothing, a_list, nested, a_word,
            too_far, backwards, unknown, no_progress, another_seed, no_training,
        ),
    ),
    without_checksum,
    parameters_alone,
]  # fmt: skip
