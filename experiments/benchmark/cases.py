"""What is trained in the benchmark: the cases, and what a contender is given of one."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

import scratch
from experiments.config import ACTIVATION_CHOICES
from experiments.data import Data, Split
from scratch.batches import epoch_batches


@dataclass(frozen=True)
class Case:
    """A network and how it is trained: by Adam at a learning rate of 1e-3, in float32, without dropout."""

    name: str
    sizes: tuple[int, ...]
    activation: str
    batch_size: int
    samples: int
    epochs: int  # in a turn
    turns: int  # in all, the warm-up included
    device: str = "cpu"

    @property
    def task(self) -> str:
        return self.name.partition("-")[0]

    @property
    def flops(self) -> float:
        """Floating-point operations of an epoch's matrix products, of which the first layer needs no ∂L/∂x."""
        products = [a * b for a, b in zip(self.sizes, self.sizes[1:], strict=False)]
        return 2.0 * self.samples * (3 * sum(products) - products[0])

    @property
    def parameters(self) -> int:
        return sum((a + 1) * b for a, b in zip(self.sizes, self.sizes[1:], strict=False))

    def save(self, data: Data, folder: Path) -> None:
        """Put there what the contenders need."""
        (folder / "case.json").write_text(json.dumps(asdict(self)))
        np.save(folder / "x.npy", data.train.x[: self.samples])
        np.save(folder / "y.npy", data.train.y[: self.samples])
        np.save(folder / "test_x.npy", data.test.x)
        np.save(folder / "test_labels.npy", data.test.labels)


SIZES: dict[str, Case] = {
    "xor": Case("xor", (2, 8, 1), "tanh", 4, 4, 500, 0),
    "digits": Case("digits", (64, 256, 128, 10), "relu", 64, 1077, 20, 0),
    **{
        f"mnist-{batch}": Case(f"mnist-{batch}", (784, 256, 128, 10), "relu", batch, 55_000, 1, 0)
        for batch in (32, 128, 512, 4096)
    },
}
QUICK_SIZES = ["xor", "mnist-128"]
QUICK_SAMPLES = 12_800


def random_data(case: Case) -> Data:
    """Data of the case's shape, which mean nothing."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((case.samples, case.sizes[0]), dtype=np.float32)
    labels = rng.integers(0, case.sizes[-1], case.samples)
    split = Split(x, labels, labels)
    return Data(split, None, split)


class Work:
    """What every contender is given: the case, its data, its initial parameters, its turns, and a folder of its own."""

    def __init__(self, folder: Path, own: Path, turns: Iterator[int]) -> None:
        values = json.loads((folder / "case.json").read_text())
        self.case = Case(**{**values, "sizes": tuple(values["sizes"])})
        self.folder, self.turns = own, turns
        self.x, self.y, self.test_x, self.test_labels = (
            np.load(folder / f"{name}.npy") for name in ("x", "y", "test_x", "test_labels")
        )
        self.network = scratch.mlp(self.case.sizes, ACTIVATION_CHOICES[self.case.activation])
        self.binary = self.case.sizes[-1] == 1
        self.recipe = scratch.Recipe(
            loss=scratch.BCEWithLogits() if self.binary else scratch.CrossEntropy(),
            optimizer=scratch.Adam(1e-3),
            epochs=self.case.epochs * self.case.turns,
            batch_size=self.case.batch_size,
        )
        self.initial = scratch.initial_parameters(self.network, np.random.default_rng(0), dtype="float32")

    def batches(self) -> Iterator[Sequence[np.ndarray]]:
        """The batches of every epoch, turn by turn."""
        for turn in self.turns:
            for epoch in range(turn * self.case.epochs, (turn + 1) * self.case.epochs):
                yield list(epoch_batches(len(self.x), self.recipe, epoch))

    def follow(self, records: Iterator[scratch.Record]) -> None:
        """Take a training's records, turn by turn."""
        record = None
        for turn in self.turns:
            last = (turn + 1) * self.case.epochs
            while record is None or not (record.epoch_ends and record.epoch + 1 == last):
                record = next(records)

    def classes(self, params: scratch.Parameters) -> np.ndarray:
        """What the trained parameters take the test samples for."""
        return scratch.predicted_classes(self.network.apply(params, self.test_x)[0])
