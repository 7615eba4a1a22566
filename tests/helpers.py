"""What the tests share."""

import numpy as np

from torch_impl.parity import Difference


def assert_matches_autograd(differences: list[Difference], tolerance: float) -> None:
    """Fail with every tensor that is further from autograd's than ``tolerance``, relative to its largest element."""
    wrong = [str(d) for d in differences if not d.relative <= tolerance]  # NaN is wrong too
    assert not wrong, f"apart by more than {tolerance:g}:\n" + "\n".join(wrong)
    for d in differences:
        assert d.hand.shape == d.autograd.shape, f"{d.tensor}: {d.hand.shape} by hand, {d.autograd.shape} by autograd"
        assert d.hand.dtype == d.autograd.dtype, f"{d.tensor}: {d.hand.dtype} by hand, {d.autograd.dtype} by autograd"


def assert_as_exact_as_autograd(in32: list[Difference], in64: list[Difference]) -> None:
    """float32: the hand-written error against the float64 result is at most four times autograd's own.

    Where autograd is exact by luck, the floor is four units in the last place of the tensor's largest element.
    """
    for single, double in zip(in32, in64, strict=True):
        assert single.hand.dtype == np.float32, f"{single.tensor} is {single.hand.dtype}: a hidden upcast"
        scale = np.abs(double.autograd).max()
        by_hand, by_autograd = (np.abs(a - double.autograd).max() for a in (single.hand, single.autograd))
        allowed = 4 * max(by_autograd, scale * np.finfo(np.float32).eps)
        assert by_hand <= allowed, f"{single.tensor}: error {by_hand:.1e} by hand, {by_autograd:.1e} by autograd"


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
