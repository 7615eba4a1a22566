"""Augmentation: training on inputs changed a little, so that the network learns what the change does not matter to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scratch import checks

if TYPE_CHECKING:
    from numpy.random import Generator

    from scratch.device import Array

__all__ = ["Shift"]


@dataclass(frozen=True)
class Shift:
    """Images moved by up to ``pixels`` rows and columns, each batch as a whole, by a move drawn for it.

    A row of x holds an image of ``shape``, row by row, so that a move is an offset into it. What comes in from outside
    is the least value of the data, the background; what leaves at one side comes in at the other, a row off, which
    matters only to images that reach their border.
    """

    shape: tuple[int, int]
    pixels: int = 1

    def __post_init__(self) -> None:
        rows, columns = checks.sequence("shape", self.shape, "a tuple (rows, columns)", 2)
        shape = checks.whole("shape[0]", rows, 1), checks.whole("shape[1]", columns, 1)
        checks.settle(self, shape=shape, pixels=checks.whole("pixels", self.pixels, 1))

    @property
    def margin(self) -> int:
        """The largest offset."""
        return self.pixels * (self.shape[1] + 1)

    def padded(self, x: Array) -> Array:
        """x (n, pixels) with a margin of background on both sides of each row: (n, pixels + 2 margin).

        Raises
            TypeError: x is no array of floats
            ValueError: the rows of x are no images of this shape
        """
        checks.float_array("x", x, ("n", self.shape[0] * self.shape[1]))
        wide = np.full_like(x, x.min(), shape=(len(x), x.shape[1] + 2 * self.margin))
        wide[:, self.margin : -self.margin] = x
        return wide

    def start(self, rng: Generator) -> int:
        """Where in a padded row a batch's image begins: ``padded[:, start : start + pixels]``."""
        checks.generator("rng", rng)
        down, right = rng.integers(-self.pixels, self.pixels, size=2, endpoint=True)
        return int(self.margin + down * self.shape[1] + right)
