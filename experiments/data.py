"""The data sets as NumPy arrays, split and standardised. Every random choice comes from the seed given."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scratch import checks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

MNIST_FILES = {  # name: bytes, in torchvision's layout
    "train-images-idx3-ubyte": 47_040_016,
    "train-labels-idx1-ubyte": 60_008,
    "t10k-images-idx3-ubyte": 7_840_016,
    "t10k-labels-idx1-ubyte": 10_008,
}


@dataclass(frozen=True)
class Split:
    """x (n, in), the targets y that the loss takes, and the classes (n,) as integers."""

    x: Array
    y: Array
    labels: Array


@dataclass(frozen=True)
class Data:
    """``validation`` is None where there is too little to split (XOR); ``test`` is never used to choose anything."""

    train: Split
    validation: Split | None
    test: Split
    n_classes: int
    image_shape: tuple[int, int] | None = None  # of a row of x, for pictures

    @property
    def n_out(self) -> int:
        """Columns of the logits: one for two classes, else one for each."""
        return 1 if self.n_classes == 2 else self.n_classes


def xor(dtype: str) -> Data:
    """The four points of exclusive or, all of them in train and test."""
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype)
    split = _split(x, np.array([0, 1, 1, 0]), 2)
    return Data(split, None, split, 2)


def moons(samples: int, noise: float, seed: int, dtype: str) -> Data:
    """Two interleaved half circles with normal noise: 60 % train, 20 % validation, 20 % test."""
    from sklearn.datasets import make_moons

    checks.whole("samples", samples, 10)
    checks.number("noise", noise, 0)
    x, labels = make_moons(samples, noise=noise, random_state=seed)
    return _divided(x, labels, 2, seed, dtype)


def circles(samples: int, noise: float, seed: int, dtype: str) -> Data:
    """A circle within a circle of twice its radius, with normal noise: 60 % train, 20 % validation, 20 % test."""
    from sklearn.datasets import make_circles

    checks.whole("samples", samples, 10)
    checks.number("noise", noise, 0)
    x, labels = make_circles(samples, noise=noise, factor=0.5, random_state=seed)
    return _divided(x, labels, 2, seed, dtype)


def digits(seed: int, dtype: str) -> Data:
    """scikit-learn's 1,797 handwritten digits, 8×8 pixels: 60 % train, 20 % validation, 20 % test."""
    from sklearn.datasets import load_digits

    x, labels = load_digits(return_X_y=True)
    return _divided(x, labels, 10, seed, dtype, (8, 8))


@dataclass(frozen=True)
class Images:
    """MNIST as it is: bytes (n, 784) and classes (n,), to train on and to test on."""

    train_x: Array
    train_y: Array
    test_x: Array
    test_y: Array


def mnist_images(data_dir: str | None) -> Images:
    """MNIST's 60,000 and 10,000 images, read from ``data_dir``, else the folder $TWINGRAD_DATA, else ./data.

    It is downloaded there when missing.

    Raises
        FileNotFoundError: it is not there and cannot be downloaded
        ValueError: a file has another size than it should
    """
    folder = Path(data_dir or os.environ.get("TWINGRAD_DATA") or "data")
    return Images(*_read_mnist(folder, train=True), *_read_mnist(folder, train=False))


def mnist(data_dir: str | None, seed: int, dtype: str) -> Data:
    """MNIST, 28×28 pixels: 55,000 train and 5,000 validation, drawn by ``seed`` from its training set; 10,000 test.

    Where it is read from, and what is raised, is as with ``mnist_images``.
    """
    images = mnist_images(data_dir)
    x, x_test = (bytes_ / np.float32(255) for bytes_ in (images.train_x, images.test_x))
    labels, labels_test = images.train_y, images.test_y
    order = np.random.default_rng((seed, 3)).permutation(len(x))  # 0 to 2 are the batches, the masks, the weights
    train, validation = order[5000:], order[:5000]
    mean, std = x[train].mean(dtype=np.float64), x[train].std(dtype=np.float64)
    scaled = [((part - mean) / std).astype(dtype) for part in (x[train], x[validation], x_test)]
    return Data(
        _split(scaled[0], labels[train], 10),
        _split(scaled[1], labels[validation], 10),
        _split(scaled[2], labels_test, 10),
        10,
        (28, 28),
    )


def mnist_problem(folder: Path) -> str | None:
    """What keeps MNIST from being read from ``folder``; None where nothing does."""
    raw = folder / "MNIST" / "raw"
    for name, size in MNIST_FILES.items():
        if not (raw / name).is_file():
            return f"{raw / name} is not there"
        if (raw / name).stat().st_size != size:
            return f"{raw / name} has {(raw / name).stat().st_size:,} bytes, expected {size:,}; delete it"
    return None


def _read_mnist(folder: Path, train: bool) -> tuple[Array, Array]:
    from torchvision.datasets import MNIST

    problem = mnist_problem(folder)
    if problem is not None and "bytes" in problem:
        raise ValueError(problem)
    raw = folder / "MNIST" / "raw"
    made = [p for p in (raw, *raw.parents) if not p.exists()]  # by torchvision, before it downloads
    try:
        data = MNIST(str(folder), train=train, download=problem is not None)
    except (RuntimeError, OSError) as error:
        for path in made:
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()
        raise FileNotFoundError(
            f"MNIST could not be downloaded, and it is not in the folder {folder}. Put its four files "
            f"{', '.join(MNIST_FILES)} into {raw}, name another folder with --data-dir or $TWINGRAD_DATA, or run "
            f"`python -m experiments digits`, which needs no download. (The download: {' '.join(str(error).split())})"
        ) from error
    return data.data.numpy().reshape(len(data), -1), data.targets.numpy()


def _divided(
    x: Array, labels: Array, n_classes: int, seed: int, dtype: str, image_shape: tuple[int, int] | None = None
) -> Data:
    """60 % train, 20 % validation, 20 % test, each with its share of every class; standardised by the training part.

    The columns of images are scaled by one mean and deviation, the others each by its own.
    """
    from sklearn.model_selection import train_test_split

    rest, test = train_test_split(np.arange(len(x)), test_size=0.2, stratify=labels, random_state=seed)
    train, validation = train_test_split(rest, test_size=0.25, stratify=labels[rest], random_state=seed)
    axis = 0 if image_shape is None else None
    mean, std = x[train].mean(axis=axis), x[train].std(axis=axis)
    x = ((x - mean) / std).astype(dtype)
    splits = [_split(x[part], labels[part], n_classes) for part in (train, validation, test)]
    return Data(splits[0], splits[1], splits[2], n_classes, image_shape)


def _split(x: Array, labels: Array, n_classes: int) -> Split:
    labels = labels.astype(np.int64)
    return Split(x, labels[:, None].astype(x.dtype) if n_classes == 2 else labels, labels)
