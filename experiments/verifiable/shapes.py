"""Shapes and kinds of arrays that arguments of such names usually have."""

import copy
import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.verifiable.names import BATCH, OUT, kinds_of, values_of

Shape = tuple[int, ...]

WIDTH = 5


@dataclass(frozen=True)
class Guess:
    """One argument: an array of a shape and a kind, or a value as it is."""

    shape: Shape | None = None
    kind: str = "floats"  # or classes out of n, one-hot rows or columns, signs, 0 or 1, probabilities
    value: Any = None

    def draw(self, rng: np.random.Generator) -> Any:
        """The argument."""
        if self.shape is None:
            return rng if isinstance(self.value, np.random.Generator) else copy.deepcopy(self.value)
        if self.kind.startswith("classes"):
            return rng.integers(0, int(self.kind.split()[-1]), self.shape)
        if self.kind.startswith("one-hot"):
            axis = -1 if self.kind.endswith("rows") else 0
            one = np.eye(self.shape[axis])[rng.integers(0, self.shape[axis], np.delete(self.shape, axis))]
            return one if axis else np.moveaxis(one, -1, 0)
        if self.kind == "signs":
            return rng.choice([-1.0, 1.0], self.shape)
        if self.kind == "0 or 1":
            return rng.integers(0, 2, self.shape).astype(float)
        if self.kind == "probabilities":
            return rng.uniform(0.1, 0.9, self.shape)
        return np.asarray(rng.standard_normal(self.shape))

    def said(self, name: str) -> str:
        """The argument in words: ``x (7, 5)``."""
        if self.shape is None:
            return f"{name}={_short(self.value)}"
        if self.kind.startswith("one-hot"):
            return f"one-hot {name} {self.shape}"
        if self.kind.startswith("classes"):
            return f"{name} {self.shape} of classes 0 to {int(self.kind.split()[-1]) - 1}"
        return f"{name} {self.shape}{KINDS_SAID.get(self.kind, f' of {self.kind}')}"


KINDS_SAID = {"floats": "", "signs": " of ±1", "0 or 1": " of 0 and 1"}


def _short(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.shape}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: {_short(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(_short, value))}]"
    return "rng" if isinstance(value, np.random.Generator) else repr(value)


Template = tuple[int | str, ...]  # "in" and "out" stand for the widths of a layer


@dataclass(frozen=True)
class Convention:
    """How the axes of data, weights and biases lie."""

    data: Shape
    weight: Template = ("in", "out")
    bias: Template = ("out",)
    scale: Shape = (WIDTH,)
    columns: bool = False  # a sample is a column
    gates: int = 1  # how many a recurrent cell has
    batch: int = BATCH
    scalar: bool = False  # one output for each sample


ROWS, COLUMNS, IMAGES, IMAGES_LAST = (BATCH, WIDTH), (WIDTH, BATCH), (2, 3, 7, 7), (2, 7, 7, 3)
KERNEL = (4, 3, 3, 3)
CONVENTIONS = (
    Convention(ROWS),
    Convention(ROWS, bias=(1, "out"), scale=(1, WIDTH)),
    Convention(ROWS, gates=4),
    Convention(ROWS, ("out", "in")),
    Convention(COLUMNS, ("out", "in"), ("out", 1), (WIDTH, 1), columns=True),
    Convention(IMAGES, KERNEL, (4,), (3,), batch=2),
    Convention((2, 3, 8, 8), KERNEL, (4,), (3,), batch=2),  # where a window of 2 leaves no rest
    Convention(IMAGES, KERNEL, (4, 1), (1, 3, 1, 1), batch=2),
    Convention(IMAGES_LAST, (3, 3, 3, 4), (1, 1, 1, 4), (3,), batch=2),
    Convention((2, 8, 8, 3), (2, 2, 3, 4), (1, 1, 1, 4), (3,), batch=2),
    Convention((2, 6, WIDTH), batch=2),  # sequences
    Convention((2, 6, WIDTH), gates=4, batch=2),
    Convention((2, 3, 9), (4, 3, 3), (4,), (3,), batch=2),  # one axis of space
    Convention(ROWS, ("in",), (), scalar=True),
    Convention(ROWS, ("in", 1), (), scalar=True),
    Convention(COLUMNS, ("in", 1), (), columns=True, scalar=True),
    Convention((WIDTH, 1), ("out", "in"), ("out", 1), (WIDTH, 1), columns=True, batch=1),
    Convention((WIDTH,), ("out", "in"), batch=1),
    Convention((WIDTH,), batch=1),
    Convention((8, 9), (3, 4), ()),  # one image, one kernel
)
STATE = 4  # the width of a recurrent state


def _shape(template: Template, i: int, o: int) -> Shape:
    return tuple({"in": i, "out": o}[n] if isinstance(n, str) else n for n in template)


def _array(kind: str, name: str, layout: Convention, layers: list[str], kinds: Mapping[str, str]) -> list[Guess]:
    """What the argument is tried as, in this convention."""
    widths = [WIDTH, *(4, 6, 8, 10)[: max(len(layers) - 1, 0)], OUT]
    digits = re.sub(r"\D", "", name)
    layer = layers.index(digits) if digits in layers else len(layers) - 1
    i, o = widths[layer], widths[layer + 1]
    recurrent = "from state" in kinds.values()
    batch, rest = layout.data[0], layout.data[-1]
    if kind == "target":
        return _targets(layout, "weight" in kinds.values() or recurrent)
    if kind == "from input" and recurrent:
        return [Guess((rest, STATE * layout.gates))]
    if kind == "from state":
        return [Guess((STATE, STATE * layout.gates))]
    if kind in ("state", "cell") and recurrent:
        return [Guess((batch, STATE))]
    if kind == "bias" and recurrent:
        return [Guess((STATE * layout.gates,))]
    if kind in ("weight", "from input", "gates"):
        return [Guess(_shape(layout.weight, i, o))]
    if kind == "bias":
        alone = "weight" not in kinds.values()
        return [Guess(layout.scale if alone else _shape(layout.bias, i, o))]
    if kind == "scale":
        return [Guess(layout.scale)]
    if kind == "mask":
        return [Guess(layout.data, "0 or 1")]
    if kind in ("query", "key", "value") and {"query", "key"} <= set(kinds.values()):
        lengths = {"query": (6, 5), "key": (4, 5), "value": (4, 3)}[kind]
        return [Guess((batch, *lengths) if len(layout.data) == 3 else lengths)]
    integers = [Guess(layout.data, "classes out of 4")] if layout is CONVENTIONS[0] else []
    return [Guess(layout.data), Guess(layout.data, "probabilities"), *integers]


def targets_of(shape: Shape) -> list[Guess]:
    """Targets for predictions of this shape."""
    if len(shape) != 2:
        return [Guess(shape)]
    columns = shape[1] == BATCH
    if 1 in shape:
        return [Guess(shape, "0 or 1"), Guess(shape)]
    hot = Guess(shape, "one-hot columns" if columns else "one-hot rows")
    classes = Guess((shape[columns],), f"classes out of {shape[not columns]}")
    return [hot, classes, Guess(shape)]


def _targets(layout: Convention, weighted: bool) -> list[Guess]:
    """Targets: classes, one-hot, floats and signs, as the layout has them."""
    if layout.scalar:
        each = (1, layout.batch) if layout.columns else (layout.batch, 1)
        found = [Guess((layout.batch,), "0 or 1"), Guess(each, "0 or 1"), Guess((layout.batch,), "signs")]
        return found[1:2] + found[:1] + found[2:] if len(layout.weight) == 2 else found
    width = OUT if weighted else WIDTH
    if len(layout.data) != 2:
        same = [Guess(layout.data, "one-hot rows")] if len(layout.data) == 1 else []
        return [*same, Guess(layout.data), Guess((layout.batch,), f"classes out of {OUT}")]
    both = (width, layout.batch) if layout.columns else (layout.batch, width)
    row = (1, layout.batch) if layout.columns else (layout.batch, 1)
    hot = Guess(both, "one-hot columns" if layout.columns else "one-hot rows")
    classes = Guess((layout.batch,), f"classes out of {width if layout.batch > 1 else OUT}")
    return [classes, hot, Guess(both), Guess(row, "0 or 1"), Guess((layout.batch,), "signs")]


def _parameters(names: str, layout: Convention, layers: int) -> list[Guess]:
    """Dicts and lists of the arrays of a network with two layers."""
    widths = (WIDTH, 4, OUT) if layers == 2 else (WIDTH, OUT)
    rng, shapes = np.random.default_rng(1), list(itertools.pairwise(widths))
    W = [np.asarray(rng.standard_normal(_shape(layout.weight, i, o))) for i, o in shapes]
    b = [np.asarray(rng.standard_normal(_shape(layout.bias, 0, o))) for _, o in shapes]
    if names == "biases":
        return [Guess(value=b)]
    pairs = [{f"W{k + 1}": w, f"b{k + 1}": c} for k, (w, c) in enumerate(zip(W, b, strict=True))]
    merged = {name: value for pair in pairs for name, value in pair.items()}
    single = {"W": W[0], "b": b[0]}
    return [Guess(value=v) for v in (merged, W, list(zip(W, b, strict=True)), single)]


def candidates(names: list[str], missing: list[str]) -> Iterator[dict[str, Guess]]:
    """What the ``missing`` ones of a function's arguments are tried as, the most usual first."""
    kinds = kinds_of(names)
    weights = [re.sub(r"\D", "", name) for name, kind in kinds.items() if kind == "weight"]
    layers, seen = sorted(dict.fromkeys(weights)) or [""], set()
    for layout in CONVENTIONS:
        choices = [_choices(kinds[name], name, layout, layers, kinds) for name in missing]
        for guesses in itertools.islice(itertools.product(*choices), 400):
            found = dict(zip(missing, guesses, strict=True))
            if len({guess.kind for name, guess in found.items() if kinds[name] in ("data", "prediction")}) > 1:
                continue  # data are all of one kind
            said = ", ".join(guess.said(name) for name, guess in found.items())
            if said not in seen:
                seen.add(said)
                yield found


def _choices(kind: str, name: str, layout: Convention, layers: list[str], kinds: Mapping[str, str]) -> list[Guess]:
    if kind in ("options", ""):
        return [Guess(value=value) for value in values_of(name, kind)]
    if kind == "parameters":
        return [*_parameters(kind, layout, 2), *([] if "biases" in kinds.values() else _parameters(kind, layout, 1))]
    if kind == "biases":
        return _parameters(kind, layout, 2)
    return _array(kind, name, layout, layers, kinds)
