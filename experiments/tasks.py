"""The tasks: a class each, whose defaults reach the accuracies stated in the README. A new one is one more class."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from experiments import data
from experiments.config import DATA, Config
from experiments.data import Data, Split
from experiments.memory import check_memory
from scratch import checks


@dataclass(frozen=True, kw_only=True)
class XOR(Config):
    """Exclusive or: the four points that no line parts, and the smallest network that can."""

    beside_perceptron: ClassVar[bool] = True

    epochs: int = 300
    batch_size: int = 4
    hidden: tuple[int, ...] = (8,)
    activation: str = "tanh"
    lr: float = 0.05

    def load(self) -> Data:
        """The four points, all of them in train and test."""
        x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], self.dtype)
        split = Split.of(x, np.array([0, 1, 1, 0]), 2)
        return Data(split, None, split)


@dataclass(frozen=True, kw_only=True)
class Moons(Config):
    """Two interleaved half circles in the plane."""

    samples: int = DATA(1000, "points in all")
    noise: float = DATA(0.2, "standard deviation of the noise on them")

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_points(self)

    def load(self) -> Data:
        from sklearn.datasets import make_moons

        return self.divided(*make_moons(**_points(self)))


@dataclass(frozen=True, kw_only=True)
class Circles(Config):
    """A circle within a circle in the plane."""

    samples: int = DATA(1000, "points in all")
    noise: float = DATA(0.1, "standard deviation of the noise on them")

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_points(self)

    def load(self) -> Data:
        """The outer circle has twice the radius of the inner one."""
        from sklearn.datasets import make_circles

        return self.divided(*make_circles(**_points(self), factor=0.5))


def _check_points(task: Moons | Circles) -> None:
    checks.whole("samples", task.samples, 10)
    checks.number("noise", task.noise, 0)
    check_memory(f"samples is {task.samples:,}: that", 8 * task.samples * np.dtype("float64").itemsize)  # parts, copies


def _points(task: Moons | Circles) -> dict[str, Any]:
    return {"n_samples": task.samples, "noise": task.noise, "random_state": task.seed}


@dataclass(frozen=True, kw_only=True)
class Digits(Config):
    """1,797 handwritten digits of 8×8 pixels, shipped with scikit-learn."""

    n_classes: ClassVar[int] = 10
    image_shape: ClassVar[tuple[int, int] | None] = (8, 8)

    hidden: tuple[int, ...] = (256, 128)
    activation: str = "gelu"
    epochs: int = 60
    dropout: float = 0.3
    input_dropout: float = 0.1
    lr: float = 3e-3

    def load(self) -> Data:
        from sklearn.datasets import load_digits

        return self.divided(*load_digits(return_X_y=True))


@dataclass(frozen=True, kw_only=True)
class MNIST(Config):
    """70,000 handwritten digits of 28×28 pixels."""

    n_classes: ClassVar[int] = 10
    image_shape: ClassVar[tuple[int, int] | None] = (28, 28)
    reads_files: ClassVar[bool] = True

    hidden: tuple[int, ...] = (256, 128)
    epochs: int = 40
    batch_size: int = 128
    dropout: float = 0.1
    input_dropout: float = 0.2
    lr: float = 2e-3

    def load(self) -> Data:
        """55,000 train and 5,000 validation, drawn by the seed from MNIST's training set; its 10,000 test."""
        images = data.mnist_images(self.data_dir)
        x, x_test = (pixels / np.float32(255) for pixels in (images.train_x, images.test_x))
        order = np.random.default_rng((self.seed, 3)).permutation(len(x))  # 0 to 2: batches, masks, weights
        train, validation = order[5000:], order[:5000]
        mean, std = x[train].mean(dtype=np.float64), x[train].std(dtype=np.float64)
        y = images.train_y
        parts = ((x[train], y[train]), (x[validation], y[validation]), (x_test, images.test_y))
        return Data(*(Split.of(((x - mean) / std).astype(self.dtype), labels, 10) for x, labels in parts))


TASKS: dict[str, type[Config]] = {task.__name__.lower(): task for task in Config.__subclasses__()}
