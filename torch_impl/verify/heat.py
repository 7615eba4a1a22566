"""Where a wrong tensor differs from autograd's, as a grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from torch_impl.verify.tolerances import RIGHT

if TYPE_CHECKING:
    from numpy.typing import NDArray

Grid = tuple[tuple[float, ...], ...]
CELLS = 24  # rows and columns at most
LEVELS = (RIGHT, 1e-3, 1e-2, 1e-1, 1.0, float("inf"))  # what is at most the first is right; there is a colour for each


@dataclass(frozen=True)
class Heat:
    """A tensor's grid of |h − a| over the largest element of a, and in words how far it is apart."""

    tensor: str
    said: str
    grid: Grid


def heat(apart: NDArray[np.float64], reference: NDArray[Any]) -> Grid:
    """``apart`` over the largest element of ``reference``: the leading axes as rows, the largest of each block."""
    finite = np.abs(reference[np.isfinite(reference)])
    grid = apart.reshape(-1, apart.shape[-1] if apart.ndim else 1)
    for axis, n in enumerate(grid.shape):
        cells = min(n, CELLS)
        grid = np.maximum.reduceat(grid, np.arange(cells) * n // cells, axis)
    with np.errstate(over="ignore"):  # infinite is what it is called
        return tuple(tuple(row) for row in (grid / (finite.max(initial=0) or 1.0)).tolist())


def level(value: float) -> int:
    """The number of the first level that the value is not above; that of ∞ is for what is not finite."""
    return next((i for i, most in enumerate(LEVELS[:-1]) if value <= most), 5 if np.isfinite(value) else 6)
