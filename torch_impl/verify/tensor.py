"""One tensor beside the reference: how far the two are apart, and where."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from torch_impl.verify.heat import heat

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

# From the worst to the best. "right, but" is right in its numbers, and says something else that should be known.
Verdict = Literal["wrong", "could not be checked", "right, but", "convention", "rounding", "right"]


@dataclass(frozen=True)
class TensorCheck:
    """One tensor beside the reference.

    ``relative`` is the largest difference of an element over the largest element of the reference, ``ulp`` the same
    difference in units in the last place of that largest element, ``worst`` the index of that element. ``probe`` names
    the inputs with which the difference was largest.
    """

    tensor: str
    verdict: Verdict
    relative: float = math.nan
    ulp: float = math.nan
    worst: tuple[int, ...] = ()
    hand: float = math.nan
    reference: float = math.nan
    wrong_elements: int = 0
    probe: str = ""
    note: str = ""
    # Where a wrong one is apart: |h − a| over the largest element of a, the largest of each cell of a grid of at most
    # 24 by 24, the leading axes as rows.
    heat: tuple[tuple[float, ...], ...] = ()

    @property
    def apart(self) -> str:
        """How far it is apart, in words."""
        elements = f"{counted(self.wrong_elements, 'element')} differ{'s' * (self.wrong_elements == 1)}"
        return f"{elements}, by up to {shortened(self.relative)}" + f" at index {list(self.worst)}" * bool(self.worst)


def compare(
    tensor: str, hand: Any, reference: NDArray[Any], tolerance: float, probe: str, verdict: Verdict = "wrong"
) -> TensorCheck:
    """The check of one tensor: right within ``tolerance`` (absolute), else ``verdict``."""
    hand = np.asarray(hand)
    if hand.shape != reference.shape:
        note = f"has shape {hand.shape}, expected {reference.shape}"
        return TensorCheck(tensor, "wrong", math.inf, math.inf, probe=probe, note=note)
    if hand.size == 0:
        return TensorCheck(tensor, "right", 0.0, 0.0, probe=probe)
    apart = np.nan_to_num(np.abs(hand.astype(np.float64) - reference), nan=np.inf, posinf=np.inf)
    worst = tuple(map(int, np.unravel_index(apart.argmax(), apart.shape)))
    largest, scale = float(apart[worst]), float(np.abs(reference).max())
    ulp = float(np.spacing(np.float32(scale) if hand.dtype == np.float32 else scale))
    judged: Verdict = "right" if largest <= tolerance else verdict
    return TensorCheck(
        tensor, judged, largest / (scale or 1.0), largest / ulp, worst, float(hand[worst]), float(reference[worst]),
        int((apart > tolerance).sum()), probe, heat=heat(apart, reference) if judged == "wrong" else (),
    )  # fmt: skip


def ratios(hand: ArrayLike, reference: ArrayLike) -> str:
    """In a phrase: the two where they differ most, and the range of their ratios; or the shapes where those differ."""
    hand, reference = np.asarray(hand), np.asarray(reference)
    check = compare("", hand, reference, 0.0, "")
    if check.note:
        return f"yours {check.note}"
    where = f"at index {list(check.worst)} " if check.worst else ""
    text = f"{where}yours is {check.hand:.6g}, autograd's is {check.reference:.6g}"
    used = np.isfinite(hand) & (np.abs(reference) > 1e-9 * np.abs(reference).max(initial=0))
    if used.sum() <= 1:
        return text
    r = hand[used] / reference[used]
    low, high = f"{r.min():.4g}", f"{r.max():.4g}"
    return f"{text}; yours/autograd's {f'is {low} everywhere' if low == high else f'from {low} to {high}'}"


def counted(n: int, thing: str) -> str:
    """So many things: "1 tensor", "3 tensors"."""
    return f"{n:,} {thing}{'s' * (n != 1)}"


def shortened(value: float) -> str:
    """Two digits of a number; nothing for NaN."""
    return "" if math.isnan(value) else f"{value:.2g}".replace("inf", "∞")
