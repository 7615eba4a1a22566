"""Kinds of arrays: what one training takes all three take, to the same weights; what one refuses all refuse alike.

Every kind of array stands in turn for x, y or the validation's x or y, in a small training by scratch, by the plain
torch loop and by Lightning. What differs in memory alone (strides, byte order of integers, width, no right to write)
must train to the weights of plain arrays; anything else must be refused, with one sentence.
"""

import functools
import itertools
import random
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

import scratch
import torch_impl
from scratch import State
from tests.faults import Outcome

WHAT = "kinds of arrays as data: all three trainings end with the same weights, or refuse with the same sentence"
COUNT = 300

LOSSES = {"classes": scratch.CrossEntropy(), "targets": scratch.MSE()}
PLACES = ("x", "y", "validation x", "validation y")
Array = np.ndarray


def recipe(loss: str) -> scratch.Recipe:
    return scratch.Recipe(
        loss=LOSSES[loss],
        optimizer=scratch.SGD(0.1, 0.9),
        epochs=2,
        batch_size=4,
        early_stopping=scratch.EarlyStopping(2),
    )


def data(loss: str) -> dict[str, Any]:
    """Plain arrays, as little as makes three steps an epoch."""
    rng = np.random.default_rng(4)
    found: dict[str, Any] = {}
    for prefix, n in (("", 11), ("validation ", 5)):
        found[f"{prefix}x"] = rng.standard_normal((n, 5))
        found[f"{prefix}y"] = rng.integers(0, 3, n) if loss == "classes" else rng.standard_normal((n, 3))
    return found


def _spread(a: Array) -> Array:
    wide = np.zeros((2 * len(a), *a.shape[1:]), a.dtype)
    wide[::2] = a
    return wide[::2]


def _readonly(a: Array) -> Array:
    a = a.copy()
    a.flags.writeable = False
    return a


def _unaligned(a: Array) -> Array:
    return np.frombuffer(bytearray(b"\0" + a.tobytes()), a.dtype, offset=1).reshape(a.shape)


# The same numbers in another place or order of memory.
ALIKE: dict[str, Callable[[Array], Array]] = {
    "plain": lambda a: a,
    "Fortran-ordered": np.asfortranarray,
    "read-only": _readonly,
    "of negative strides": lambda a: a[::-1].copy()[::-1],
    "of negative strides on the last axis": lambda a: a[..., ::-1].copy()[..., ::-1],
    "every second row": _spread,
    "broadcast from one row and filled": lambda a: np.broadcast_to(a, (1, *a.shape))[0],
    "unaligned": _unaligned,
    "read-only and of negative strides": lambda a: _readonly(a[::-1])[::-1],
    "of a transposed matrix": lambda a: a.T.copy().T,
    "a view of a record": lambda a: np.ascontiguousarray(a).view(f"V{a.dtype.itemsize}").view(a.dtype),
}
# The same classes in another dtype of integers.
INTEGERS = [order + kind for kind in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8") for order in "<>"]
# Other values, another dtype or another shape.
OTHERS: dict[str, Callable[[Array], Any]] = {
    **{
        f"as {t}": functools.partial(lambda t, a: a.astype(t), t)
        for t in ("f2", "f4", ">f4", ">f8", "g", "c16", "?", "O", "U9", "S9")
    },
    "as times": lambda a: a.astype("i8").astype("m8[s]"),
    "as dates": lambda a: a.astype("i8").astype("M8[s]"),
    "as records": lambda a: np.zeros(len(a), [("a", float), ("b", int)]),
    "masked": lambda a: np.ma.masked_array(a, a == a.flat[0]),
    "a matrix": lambda a: a.reshape(len(a), -1).view(np.matrix),
    "a record array": lambda a: np.zeros(len(a), [("a", float)]).view(np.recarray),
    "a list": lambda a: a.tolist(),
    "a tuple": lambda a: tuple(a.tolist()),
    "a tensor": torch.tensor,
    "a number": lambda a: 3.0,
    "0-d": lambda a: np.array(a.flat[0]),
    "empty": lambda a: a[:0],
    "without columns": lambda a: a.reshape(len(a), -1)[:, :0],
    "a row": lambda a: a[0],
    "a row less": lambda a: a[:-1],
    "a row more": lambda a: np.concatenate([a, a[:1]]),
    "with an axis more": lambda a: a[..., None],
    "twice as wide": lambda a: np.concatenate([a.reshape(len(a), -1)] * 2, axis=1),
    "with a NaN": lambda a: np.where(np.arange(a.size).reshape(a.shape) == 3, np.nan, a),
    "with an infinity": lambda a: np.where(np.arange(a.size).reshape(a.shape) == 3, np.inf, a),
    "below zero": lambda a: -1 - np.abs(a).astype("i8"),
    "above the classes": lambda a: np.abs(a).astype("u1") + 200,
    "past int64": lambda a: np.full(a.shape, 2**63, np.uint64),
    "of the largest int64": lambda a: np.full(a.shape, 2**63 - 1),
    "None": lambda a: None,
}  # fmt: skip


def cases() -> list[tuple[str, str, str, Any]]:
    """The loss, the place, the kind and the array; the kind begins with "=" where it must train as the plain one."""
    found = []
    for loss, place in itertools.product(LOSSES, PLACES):
        plain = data(loss)[place]
        for name, change in ALIKE.items():
            found.append((loss, place, f"={name}", change(plain)))
        if plain.dtype.kind == "i":
            for dtype in INTEGERS:
                found += [
                    (loss, place, f"={dtype}, {name}", change(plain.astype(dtype))) for name, change in ALIKE.items()
                ]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found += [(loss, place, name, change(plain)) for name, change in OTHERS.items()]
    return found


def by_scratch(loss: str, given: dict[str, Any]) -> Array:
    state = State.start(_params(), recipe(loss))
    for _ in scratch.fit(_network(), recipe(loss), *_split(given)[:2], state, _split(given)[2]):
        pass
    return state.params.vector


def by_torch(loss: str, given: dict[str, Any]) -> Array:
    state = torch_impl.TwinState.start(_network(), recipe(loss), State.start(_params(), recipe(loss)))
    for _ in torch_impl.fit(_network(), recipe(loss), *_split(given)[:2], state, _split(given)[2]):
        pass
    return torch_impl.parameters_of(state.module).vector


def by_lightning(loss: str, given: dict[str, Any]) -> Array:
    from torch_impl import lit_train

    x, y, validation = _split(given)
    state = scratch.State.start(_params(), recipe(loss))
    lit_train.fit(_network(), recipe(loss), x, y, state, validation)
    return state.params.vector


def _network() -> scratch.Network:
    return scratch.mlp((5, 4, 3), scratch.Tanh(), dropout=0.2)


def _params() -> scratch.Parameters:
    return scratch.initial_parameters(_network(), np.random.default_rng(0))


def _split(given: dict[str, Any]) -> tuple[Any, Any, tuple[Any, Any]]:
    return given["x"], given["y"], (given["validation x"], given["validation y"])


def ended(training: Callable[[str, dict[str, Any]], Array], loss: str, given: dict[str, Any]) -> Any:
    """The weights, or the sentence of the error."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # such as torch's of arrays that it may not write to
            return training(loss, given)
    except (TypeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"


@functools.cache
def expected(loss: str) -> Array:
    """The weights of a training with plain arrays."""
    return by_scratch(loss, data(loss))


def problem(case: tuple[str, str, str, Any]) -> str | None:
    """What is wrong with how the three trainings take the case."""
    loss, place, name, value = case
    given = data(loss) | {place: value}
    try:
        ends = [ended(training, loss, given) for training in (by_scratch, by_torch, by_lightning)]
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if isinstance(ends[0], str):
        if name.startswith("="):
            return f"refused: {ends[0]}"
        if any(not isinstance(end, str) or end != ends[0] for end in ends):
            return f"not refused alike: {ends}"
        prefix = place.rpartition(" ")[0]  # x of another length than y is said of y
        return None if prefix in ends[0] else f"without {prefix!r}: {ends[0]}"
    if any(isinstance(end, str) for end in ends):
        return f"not refused by all: {[end if isinstance(end, str) else 'trained' for end in ends]}"
    if any(not np.allclose(end, ends[0], rtol=0, atol=1e-12) for end in ends):
        return "other weights in another training"
    if name.startswith("=") and not np.array_equal(ends[0], expected(loss)):
        return "other weights than with plain arrays"
    return None


def outcomes(count: int, seed: int) -> Iterator[Outcome]:
    """So many kinds, drawn from all of them."""
    every = cases()
    for case in random.Random(seed).sample(every, min(count, len(every))):
        yield Outcome(f"{case[1]} for {case[0]} {case[2]}", problem(case))
