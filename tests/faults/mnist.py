"""MNIST files that are not the published ones: each is refused before the first step, by its name and with a reason."""

import gzip
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from experiments.data import MNIST_FILES, read_images
from tests.faults import Outcome

WHAT = "damaged, exchanged or foreign MNIST files: refused by name before the first step"
COUNT = 120

PUBLISHED = Path(os.environ.get("TWINGRAD_DATA") or "data").resolve() / "MNIST" / "raw"
Damage = Callable[[Path, bytes, random.Random], None]


def edited(at: int, value: int) -> Damage:
    """One byte changed: of the header the magic number or a length, after it a pixel or a label."""
    return lambda path, content, rng: path.write_bytes(content[:at] + bytes([value]) + content[at + 1 :])


def flipped(path: Path, content: bytes, rng: random.Random) -> None:
    changed = bytearray(content)
    changed[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(changed)


def zeroed(path: Path, content: bytes, rng: random.Random) -> None:
    start = rng.randrange(len(content) - 4096)  # of a page, in which MNIST is nowhere all zeros
    path.write_bytes(content[:start] + bytes(4096) + content[start + 4096 :])


def folder(path: Path, content: bytes, rng: random.Random) -> None:
    path.mkdir()


def pipe(path: Path, content: bytes, rng: random.Random) -> None:
    os.mkfifo(path)


def another(path: Path, content: bytes, rng: random.Random) -> None:
    """The content of another of the four files."""
    name = rng.choice([name for name in MNIST_FILES if name != path.name])
    path.symlink_to(PUBLISHED / name)


def foreign(path: Path, content: bytes, rng: random.Random) -> None:
    """The form of MNIST with another content, as Fashion-MNIST has it."""
    header = MNIST_FILES[path.name].header
    rest = content[len(header) :]
    path.write_bytes(header + rest[1:] + rest[:1])


DAMAGES: dict[str, Damage] = {
    "cut short": lambda path, content, rng: path.write_bytes(content[: rng.randrange(1, len(content))]),
    "cut in its header": lambda path, content, rng: path.write_bytes(content[: rng.randrange(1, 8)]),
    "empty": lambda path, content, rng: path.write_bytes(b""),
    "longer by a byte": lambda path, content, rng: path.write_bytes(content + b"\0"),
    "all zeros": lambda path, content, rng: path.write_bytes(bytes(len(content))),
    "random bytes": lambda path, content, rng: path.write_bytes(rng.randbytes(len(content))),
    "a page of zeros": zeroed,
    "a bit flipped": flipped,
    "another magic number": edited(3, 7),
    "another count": edited(7, 0),
    "a huge count": edited(4, 255),
    "a label or pixel of 200": edited(1000, 200),
    "gzip under the plain name": lambda path, content, rng: path.write_bytes(gzip.compress(content, 1)),
    "another of the four files": another,
    "another data set of the same form": foreign,
    "text": lambda path, content, rng: path.write_text("<html>404 Not Found</html>"),
    "a folder": folder,
    "a pipe": pipe,
}


def outcomes(count: int, seed: int) -> Iterator[Outcome]:
    """Every damage to every file, in an order drawn by the seed."""
    rng = random.Random(seed)
    cases = [(name, what) for what in DAMAGES for name in MNIST_FILES]
    rng.shuffle(cases)
    for i in range(count):
        name, what = cases[i % len(cases)]
        yield Outcome(f"{name}: {what}", problem_of(name, DAMAGES[what], rng))


def problem_of(name: str, damage: Damage, rng: random.Random) -> str | None:
    """What is wrong with how the damage ends: None where a ValueError names the file."""
    with TemporaryDirectory() as temporary:
        path = faulty_mnist(Path(temporary), name, damage, rng)
        try:
            read_images(Path(temporary))
        except ValueError as error:
            said = str(error)
            if str(path) not in said or "downloaded" in said or "\n" in said:
                return f"the sentence is {said!r}"
        except BaseException as error:
            return f"{type(error).__name__}: {error}"
        else:
            return "it was taken as MNIST"
    return None


def faulty_mnist(folder: Path, name: str, damage: Damage, rng: random.Random) -> Path:
    """Put MNIST into ``folder`` with one file damaged, whose path is returned."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for other in MNIST_FILES:
        if other != name:
            (raw / other).symlink_to(PUBLISHED / other)
    damage(raw / name, (PUBLISHED / name).read_bytes(), rng)
    return raw / name
