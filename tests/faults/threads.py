"""Two trainings beside each other in one process: each stays what it is alone, bit for bit."""

import logging
import random
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import scratch
import torch_impl
from scratch import SGD, AdaGrad, Adam, AdamW, CosineDecay, CrossEntropy, EarlyStopping, Penalty, Recipe, RMSprop
from tests.faults import Outcome
from torch_impl import TwinState, lit_train

WHAT = "two trainings interleaved in one thread, then in a thread each: the weights that each has alone"
COUNT = 120  # 30 of each kind, each beside one of any kind

KINDS = ("scratch", "torch", "torch, captured", "Lightning")


@dataclass(frozen=True)
class Training:
    """A small training of one of the KINDS."""

    kind: str
    network: scratch.Network
    recipe: Recipe
    dtype: str = "float64"
    device: str = "cpu"

    def begin(self, each: Callable[[], object]) -> tuple[Iterator[Any], Callable[[], Any]]:
        """Its records, and a function that tells its weights after them.

        Lightning has no generator of records: its training is done when the first one is asked for, and calls ``each``
        whenever it makes one.
        """
        network, recipe, rng = self.network, self.recipe, np.random.default_rng(self.recipe.seed)
        x, y = rng.standard_normal((35, 5)).astype(self.dtype), rng.integers(0, 3, 35)
        data, validation = (x[:23], y[:23]), (x[23:], y[23:])
        params = scratch.initial_parameters(network, rng, bias=0.1, dtype=self.dtype)
        start = scratch.State.start(params, recipe)
        if self.kind == "scratch":
            state = start.to(self.device)
            return scratch.fit(network, recipe, *data, state, validation), lambda: state.params.to("cpu").vector
        if self.kind == "Lightning":

            def whole() -> Iterator[None]:
                lit_train.fit(network, recipe, *data, start, validation, on_record=lambda _: each(), device=self.device)
                yield

            return whole(), lambda: start.params.vector
        twin = TwinState.start(network, recipe, start, self.device)
        records = torch_impl.fit(network, recipe, *data, twin, validation, capture=self.kind == "torch, captured")
        return records, lambda: twin.to_scratch(recipe).params.vector


def run(training: Training, each: Callable[[], object] = lambda: None) -> Any:
    """The weights of a training, which calls ``each`` after every record."""
    records, weights = training.begin(each)
    for _ in records:
        each()
    return weights()


def interleaved(first: Training, second: Training) -> list[Any]:
    """The weights of both, trained in this thread: the second goes on by a record after every record of the first."""
    records, weights = second.begin(lambda: None)
    mine = run(first, lambda: next(records, None))
    for _ in records:
        pass
    return [mine, weights()]


def in_threads(*trainings: Training) -> list[Any]:
    """The weights of all, each trained in a thread of its own, which are switched as often as can be."""
    barrier, ends = threading.Barrier(len(trainings)), {}

    def work(i: int) -> None:
        barrier.wait()
        try:
            ends[i] = run(trainings[i])
        except Exception as error:  # what it ended with is the outcome
            ends[i] = error

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=work, args=(i,)) for i in range(len(trainings))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    return [ends[i] for i in range(len(trainings))]


def of_the_process() -> dict[str, Any]:
    """What all threads share and a training must leave as it was."""
    return {
        "torch's generator": torch.get_rng_state().tolist(),
        "NumPy's generator": str(np.random.get_state()),  # noqa: NPY002
        "Python's generator": random.getstate(),
        "torch's default dtype": torch.get_default_dtype(),
        "the precision of products": torch.get_float32_matmul_precision(),
        "the warnings' filters": list(warnings.filters),
        "the loggers' levels": [logging.getLogger(f"lightning.{name}").level for name in ("pytorch", "fabric")],
    }


def problem(beside: Callable[..., list[Any]], trainings: list[Training], expected: list[Any]) -> str | None:
    """What is wrong with trainings run beside each other, if something is."""
    before = of_the_process()
    ends = beside(*trainings)
    for training, end, alone in zip(trainings, ends, expected, strict=True):
        if isinstance(end, Exception):
            return f"{training.kind} ended with {end!r}"
        if not np.array_equal(end, alone):
            return f"{training.kind} has other weights, by up to {np.abs(end - alone).max():.1e}"
    changed = [name for name, value in of_the_process().items() if value != before[name]]
    return f"{changed[0]} was changed" if changed else None


def outcomes(count: int, seed: int) -> Iterator[Outcome]:
    """The first training is of each kind in turn, the second of the same kind or of any."""
    for i in range(count):
        rng = random.Random(f"{seed} {i}")
        kinds = [KINDS[i % len(KINDS)], rng.choice((KINDS[i % len(KINDS)], *KINDS))]
        pair = [drawn(kind, rng) for kind in kinds]
        alone = [run(training) for training in pair]
        found = [problem(beside, pair, alone) for beside in (interleaved, in_threads)]
        yield Outcome(f"{kinds[0]} and {kinds[1]}, case {i} of seed {seed}", next(filter(None, found), None))


def drawn(kind: str, rng: random.Random) -> Training:
    """A random training of that kind."""
    layers = rng.choices((4, 6, 8), k=rng.randint(1, 3))
    if rng.random() < 0.1:
        layers = [256, 384]  # whose products BLAS divides among threads of its own, where it has some
    network = scratch.mlp(
        (5, *layers, 3),
        rng.choice((scratch.Tanh(), scratch.ReLU(), scratch.GELU())),
        dropout=rng.choice((0.0, 0.3)),
        norm=rng.choice((None, scratch.BatchNorm, scratch.LayerNorm)),
        residual=rng.random() < 0.3,
    )
    recipe = Recipe(
        loss=CrossEntropy(rng.choice((0.0, 0.1))),
        optimizer=rng.choice((SGD(0.1, momentum=0.9), AdaGrad(0.05), RMSprop(0.01), Adam(0.02), AdamW(0.02))),
        epochs=rng.randint(2, 5),
        batch_size=rng.choice((8, 10)),  # of 23 samples, the last batch shorter
        schedule=CosineDecay(rng.randint(3, 12), 0.1),
        penalty=Penalty(rng.choice((0.0, 1e-3)), rng.choice((0.0, 1e-2))),
        max_norm=rng.choice((None, 0.5)),
        early_stopping=rng.choice((None, EarlyStopping(1))),
        seed=rng.randrange(10**6),
    )
    return Training(kind, network, recipe, rng.choice(("float32", "float64")))
