"""What a state is the state of: the network, the recipe and the data, by which a training is known again.

A training that goes on with another batch size, seed, learning rate or data is another training, and its end another
one. So fit() writes down in the state what it trains, a checkpoint keeps it, and a fit() with something else refuses.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from scratch.device import Array
    from scratch.network import Network
    from scratch.recipe import Recipe
    from scratch.state import Progress


class Begun(Protocol):
    """A state of either twin."""

    progress: Progress
    training: dict[str, str]


def identify(
    state: Begun, network: Network, recipe: Recipe, x: Array, y: Array, validation: tuple[Array, Array] | None
) -> None:
    """Write into ``state`` what it trains, or make sure that it is what it trained before.

    Raises
        ValueError: it is the state of another training, or further than the recipe goes
    """
    now = identity(network, recipe, x, y, validation)
    if state.progress.step > recipe.epochs * recipe.steps_per_epoch(len(x)):
        raise ValueError(
            f"state is at step {state.progress.step}, expected at most the "
            f"{recipe.epochs * recipe.steps_per_epoch(len(x))} of the recipe: epochs is {recipe.epochs}"
        )
    longer = {"epochs"} if recipe.early_stopping is None else set()  # it begins as the shorter training did
    before = state.training or now
    different = [
        f"{name} was {before.get(name, 'not there')} and is {now.get(name, 'not there')}"
        for name in {**before, **now}
        if before.get(name) != now.get(name) and name not in longer
    ]
    if different:
        raise ValueError(
            f"state is of another training: {'; '.join(different)}. Go on with what it was, or start afresh: with "
            "State.start(params, recipe), in a new folder"
        )
    state.training = now


def identity(
    network: Network, recipe: Recipe, x: Array, y: Array, validation: tuple[Array, Array] | None
) -> dict[str, str]:
    """The network and each part of the recipe as their reprs say, the data by dtype, shape and SHA-256.

    The validation data belong to it where early stopping heeds them.
    """
    data = {"x": x, "y": y}
    if validation is not None and recipe.early_stopping is not None:
        data |= {"validation x": validation[0], "validation y": validation[1]}
    said = {name: _said(value) for name, value in {"network": network, **vars(recipe)}.items()}
    return said | {name: _fingerprint(a) for name, a in data.items()}


def _said(value: Any) -> str:
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))  # where a function lies is another place in every process


def _fingerprint(a: Array) -> str:
    native = a.astype(a.dtype.newbyteorder("="), order="C", copy=False)
    return f"{a.dtype.name} {np.shape(a)} with SHA-256 {hashlib.sha256(native.data).hexdigest()[:16]}"
