"""What the tests share."""

import numpy as np

from scratch.activations import Activation
from torch_impl.counterparts import EXAMPLES
from torch_impl.parity import Difference

ACTIVATIONS = {
    name: layer for name, (layer, shape) in EXAMPLES.items() if isinstance(layer, Activation) and shape == (5,)
}


def assert_matches_autograd(differences: list[Difference], tolerance: float) -> None:
    """Fail with every tensor that is further from autograd's than ``tolerance``, relative to its largest element."""
    wrong = [str(d) for d in differences if not d.relative <= tolerance]  # NaN is wrong too
    assert not wrong, f"apart by more than {tolerance:g}:\n" + "\n".join(wrong)
    for d in differences:
        assert d.hand.shape == d.autograd.shape, f"{d.tensor}: {d.hand.shape} by hand, {d.autograd.shape} by autograd"
        assert d.hand.dtype == d.autograd.dtype, f"{d.tensor}: {d.hand.dtype} by hand, {d.autograd.dtype} by autograd"


def assert_as_exact_as_autograd(in32: list[list[Difference]], in64: list[list[Difference]]) -> None:
    """float32: the largest hand-written error of several cases, against the float64 results, is at most four times
    autograd's own.

    Where autograd is exact by luck, the floor is four units in the last place of the tensor's largest element.
    """
    for singles, doubles in zip(zip(*in32, strict=True), zip(*in64, strict=True), strict=True):
        by_hand = by_autograd = 0.0
        for single, double in zip(singles, doubles, strict=True):
            assert single.hand.dtype == np.float32, f"{single.tensor} is {single.hand.dtype}: a hidden upcast"
            scale = max(np.abs(double.autograd).max(), double.floor)
            by_hand = max(by_hand, np.abs(single.hand - double.autograd).max())
            by_autograd = max(by_autograd, np.abs(single.autograd - double.autograd).max(), scale * np.finfo("f4").eps)
        tensor = singles[0].tensor
        assert by_hand <= 4 * by_autograd, f"{tensor}: error {by_hand:.1e} by hand, {by_autograd:.1e} by autograd"


def every_array(value):
    """The arrays in nested tuples, lists and dicts."""
    if isinstance(value, np.ndarray | np.generic):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from every_array(part)
    elif isinstance(value, tuple | list):
        for part in value:
            yield from every_array(part)
