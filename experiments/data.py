"""The data sets as NumPy arrays, split and standardised. Every random choice comes from the seed given."""

import errno
import hashlib
import math
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np


@dataclass(frozen=True)
class MNISTFile:
    """A file of MNIST as it is published: the shape of its array, whose bytes follow a header, and its checksum."""

    shape: tuple[int, ...]
    sha256: str

    @property
    def header(self) -> bytes:
        """The magic number, 2048 + axes, then the length of each axis; of four bytes each."""
        return struct.pack(f">{len(self.shape) + 1}I", 2048 + len(self.shape), *self.shape)

    @property
    def size(self) -> int:
        return len(self.header) + math.prod(self.shape)


MNIST_FILES = {  # in torchvision's layout
    "train-images-idx3-ubyte": MNISTFile(
        (60_000, 28, 28), "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
    ),
    "train-labels-idx1-ubyte": MNISTFile(
        (60_000,), "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
    ),
    "t10k-images-idx3-ubyte": MNISTFile(
        (10_000, 28, 28), "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
    ),
    "t10k-labels-idx1-ubyte": MNISTFile(
        (10_000,), "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
    ),
}  # fmt: skip


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
        ValueError: a file is not the published one; no data set stands in for another
    """
    folder = Path(data_dir or os.environ.get("TWINGRAD_DATA") or "data")
    try:
        return read_images(folder)
    except FileNotFoundError:
        _download(folder)
        return read_images(folder)


def read_images(folder: Path) -> Images:
    """MNIST from ``folder``, without a download.

    Raises
        FileNotFoundError: a file is missing, and those that are there are right
        ValueError: a file is not the published one
    """
    raw, arrays, missing = _raw(folder), [], []
    for name, file in MNIST_FILES.items():
        content = _content(raw / name, file)
        if content is None:
            missing.append(name)
            continue
        array = np.frombuffer(content, np.uint8, offset=len(file.header)).reshape(file.shape[0], -1)
        arrays.append(array if len(file.shape) > 1 else array.ravel().astype(np.int64))
    if missing:
        raise FileNotFoundError(f"{', '.join(missing)} are not in the folder {raw}")
    return Images(*arrays)


def _raw(folder: Path) -> Path:
    return folder / "MNIST" / "raw"


def _content(path: Path, file: MNISTFile) -> bytes | None:
    """The bytes of a file of MNIST; None if there is none.

    Raises
        ValueError: it is not the published one, or cannot be read
    """
    expected = "expected a file of MNIST"
    try:
        if not path.exists():
            return None
        if not path.is_file():  # looked at before it is opened: a pipe would wait for ever
            raise ValueError(f"{path} is {'a folder' if path.is_dir() else 'no regular file'}, {expected}")
        size = path.stat().st_size
        with path.open("rb") as stream:
            content = stream.read(file.size)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}), {expected}") from error
    problem = _difference(content, size, file)
    if problem is not None:
        raise ValueError(f"{path} {problem}; delete it, or put the published file in its place")
    return content


def _difference(content: bytes, size: int, file: MNISTFile) -> str | None:
    """How a file differs from the published one; None where it does not."""
    found = hashlib.sha256(content).hexdigest()
    if size == file.size and found == file.sha256:
        return None
    if content[:2] == b"\x1f\x8b":
        return "is compressed by gzip, expected the file that is in it (gunzip unpacks it)"
    for name, other in MNIST_FILES.items():
        if other.header == content[: len(other.header)] != file.header:
            return f"begins as {name} does: the two may have changed places"
    if size != file.size:
        return f"has {size:,} bytes, expected {file.size:,}"
    came, expected = (np.frombuffer(a, ">u4").tolist() for a in (content[: len(file.header)], file.header))
    if came != expected:
        return f"begins with the magic number and lengths {came}, expected {expected}"
    labels = content[len(file.header) :]
    if len(file.shape) == 1 and max(labels) > 9:
        return f"holds a label of {max(labels)}, expected 0 to 9"
    return f"has the form of MNIST's, but not its content (sha256 {found[:16]}…, expected {file.sha256[:16]}…)"


def _download(folder: Path) -> None:
    """Let torchvision download MNIST.

    Raises
        FileNotFoundError: the download failed
        ValueError: there is no place for it
    """
    from torchvision.datasets import MNIST

    from experiments.command_line import PROGRAM  # its parser is nothing that data need

    raw = _raw(folder)
    otherwise = (
        f"Put its four files {', '.join(MNIST_FILES)} into {raw}, name another folder with --data-dir or "
        f"$TWINGRAD_DATA, or run `{PROGRAM} digits`, which needs no download"
    )
    made = [p for p in (raw, *raw.parents) if not p.exists()]
    try:
        raw.mkdir(parents=True, exist_ok=True)
        if not os.access(raw, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        why = f"nothing can be written to {raw} ({error.strerror})"
        raise ValueError(f"MNIST is not in the folder {folder}, and {why}. {otherwise}") from error
    try:
        MNIST(str(folder), download=True)
    except (RuntimeError, OSError) as error:
        for path in made:
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()
        raise FileNotFoundError(
            f"MNIST could not be downloaded, and it is not in the folder {folder}. {otherwise}. "
            f"(The download: {' '.join(str(error).split())})"
        ) from error
