"""Checkpoints and weights with a bit flipped, anywhere in the file."""

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import scratch
from scratch import Adam, CrossEntropy, EarlyStopping, Recipe, State
from tests.faults import Outcome

WHAT = "bits flipped in checkpoints and in files of weights: named as damaged, none loaded"
COUNT = 1000
NETWORK = scratch.mlp((5, 8, 8, 3), scratch.Tanh(), norm=scratch.BatchNorm)


def outcomes(count: int, seed: int) -> Iterator[Outcome]:
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        state, path = trained(), Path(folder, "state.safetensors")
        for i in range(count):
            if i % 4:
                scratch.save_state(path, state)
            else:
                scratch.save_parameters(path, state.params)
            data = bytearray(path.read_bytes())
            place, bit = rng.randrange(len(data)), rng.randrange(8)
            data[place] ^= 1 << bit
            path.write_bytes(data)
            yield Outcome(f"bit {bit} of byte {place} of {len(data)}", loaded(path, bool(i % 4)))


def loaded(path: Path, whole: bool) -> str | None:
    """What is wrong with how a damaged file is read."""
    try:
        (scratch.load_state if whole else scratch.load_parameters)(path, NETWORK)
    except ValueError as error:
        return None if str(path) in str(error) else f"the file is not named: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "it was loaded"


def trained() -> State:
    """A state in the middle of a training, with all that a checkpoint can hold."""
    rng = np.random.default_rng(0)
    recipe = Recipe(
        loss=CrossEntropy(), optimizer=Adam(), epochs=3, batch_size=8, early_stopping=EarlyStopping(9), seed=3
    )
    state = State.start(scratch.initial_parameters(NETWORK, rng), recipe)
    x, y = rng.standard_normal((20, 5)), rng.integers(0, 3, 20)
    for record in scratch.fit(NETWORK, recipe, x, y, state, (x, y)):
        if record.step == 5:
            break
    return state
