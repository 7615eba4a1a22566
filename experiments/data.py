"""The data sets as NumPy arrays, split and standardised. Every random choice comes from the seed given."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

MNIST_FILES = {  # name: bytes, in torchvision's layout
    "train-images-idx3-ubyte": 47_040_016,
    "train-labels-idx1-ubyte": 60_008,
    "t10k-images-idx3-ubyte": 7_840_016,
    "t10k-labels-idx1-ubyte": 10_008,
}


@dataclass(frozen=True)
class Split:
    """x (n, in), the targets y that the loss takes, and the classes (n,) as integers."""

    x: np.ndarray
    y: np.ndarray
    labels: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray, labels: np.ndarray, n_classes: int) -> Self:
        """The targets of two classes are 0 and 1 in a column of x's dtype, those of more are the classes."""
        labels = labels.astype(np.int64)
        return cls(x, labels[:, None].astype(x.dtype) if n_classes == 2 else labels, labels)


@dataclass(frozen=True)
class Data:
    """``validation`` is None where there is too little to split (XOR); ``test`` is never used to choose anything."""

    train: Split
    validation: Split | None
    test: Split


def divided(x: np.ndarray, labels: np.ndarray, n_classes: int, seed: int, dtype: str, *, images: bool = False) -> Data:
    """60 % train, 20 % validation, 20 % test, each with its share of every class; standardised by the training part.

    The columns of images are scaled by one mean and deviation, the others each by its own.
    """
    from sklearn.model_selection import train_test_split

    rest, test = train_test_split(np.arange(len(x)), test_size=0.2, stratify=labels, random_state=seed)
    train, validation = train_test_split(rest, test_size=0.25, stratify=labels[rest], random_state=seed)
    axis = None if images else 0
    x = ((x - x[train].mean(axis=axis)) / x[train].std(axis=axis)).astype(dtype)
    return Data(*(Split.of(x[part], labels[part], n_classes) for part in (train, validation, test)))


@dataclass(frozen=True)
class Images:
    """MNIST as it is: bytes (n, 784) and classes (n,), to train on and to test on."""

    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray


def mnist_images(data_dir: str | None) -> Images:
    """MNIST's 60,000 and 10,000 images, read from ``data_dir``, else the folder $TWINGRAD_DATA, else ./data.

    It is downloaded there when missing.

    Raises
        FileNotFoundError: it is not there and cannot be downloaded
        ValueError: a file has another size than it should
    """
    folder = Path(data_dir or os.environ.get("TWINGRAD_DATA") or "data")
    return Images(*_read_mnist(folder, train=True), *_read_mnist(folder, train=False))


def mnist_problem(folder: Path) -> str | None:
    """What keeps MNIST from being read from ``folder``; None where nothing does."""
    raw = folder / "MNIST" / "raw"
    for name, size in MNIST_FILES.items():
        if not (raw / name).is_file():
            return f"{raw / name} is not there"
        if (raw / name).stat().st_size != size:
            return f"{raw / name} has {(raw / name).stat().st_size:,} bytes, expected {size:,}; delete it"
    return None


def _read_mnist(folder: Path, train: bool) -> tuple[np.ndarray, np.ndarray]:
    from torchvision.datasets import MNIST

    problem = mnist_problem(folder)
    if problem is not None and "bytes" in problem:
        raise ValueError(problem)
    raw = folder / "MNIST" / "raw"
    made = [p for p in (raw, *raw.parents) if not p.exists()]  # by torchvision, before it downloads
    try:
        data = MNIST(str(folder), train=train, download=problem is not None)
    except (RuntimeError, OSError) as error:
        from experiments.command_line import PROGRAM  # its parser is nothing that data need

        for path in made:
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()
        raise FileNotFoundError(
            f"MNIST could not be downloaded, and it is not in the folder {folder}. Put its four files "
            f"{', '.join(MNIST_FILES)} into {raw}, name another folder with --data-dir or $TWINGRAD_DATA, or run "
            f"`{PROGRAM} digits`, which needs no download. (The download: {' '.join(str(error).split())})"
        ) from error
    return data.data.numpy().reshape(len(data), -1), data.targets.numpy()
