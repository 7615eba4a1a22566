"""Parameters: one flat vector, and named views of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from scratch import checks
from scratch.device import check_device, device_of, to_device, zeros

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from numpy.typing import DTypeLike

    from scratch.device import Array

__all__ = ["Parameters"]


class Parameters(Mapping[str, "Array"]):
    """The arrays of a network, or the gradients of the trained ones, in one flat vector.

    The views are named as torch names the entries of a state dict (``"0.weight"``, ``"2.bias"``). An optimizer sees one
    vector, a layer sees its matrices, and both see the same memory.

        params = Parameters({"0.weight": (3, 5), "0.bias": (3,)})
        params["0.weight"]        # a (3, 5) view of params.vector[:15]
        params["0.bias"] = b      # copies b into the view; the shape must fit

    ``untrained`` names the arrays that no optimizer changes, such as running statistics. They lie at the end of the
    vector; ``trained`` is the part before them.
    """

    def __init__(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        dtype: DTypeLike = np.float64,
        device: str = "cpu",
        untrained: Collection[str] = (),
    ) -> None:
        """All zeros, on ``device``: NumPy's on "cpu", CuPy's on "cuda" or "cuda:N".

        Raises
            TypeError: ``dtype`` is neither float32 nor float64; ``shapes`` or ``untrained`` is of another kind
            ValueError: a device that is not there, a length below 0, or an untrained name that is not among the
                shapes, or there twice
        """
        dtype = checks.float_dtype(dtype)
        checks.instance("device", device, str, "'cpu', 'cuda' or 'cuda:N'")
        self.shapes, self.untrained = (
            _checked_shapes(shapes),
            checks.sequence("untrained", untrained, "a tuple of names"),
        )
        for i, name in enumerate(self.untrained):
            checks.choice("untrained", name, self.shapes)
            if name in self.untrained[:i]:
                raise ValueError(f"untrained is {self.untrained}, expected {name!r} once")
        self.vector = zeros(sum(map(math.prod, self.shapes.values())), dtype, check_device(device))
        views: dict[str, Array] = {}
        start = 0
        for name in (*(n for n in self.shapes if n not in self.untrained), *self.untrained):
            end = start + math.prod(self.shapes[name])
            views[name] = self.vector[start:end].reshape(self.shapes[name])
            start = end
        self._views = {name: views[name] for name in self.shapes}
        self.arrays = tuple(self._views.values())  # in the order of the names
        self.untrained_arrays = tuple(views[name] for name in self.untrained)
        self.trained = self.vector[: len(self.vector) - sum(views[name].size for name in self.untrained)]

    def __getitem__(self, name: str) -> Array:
        return checks.choice("name", name, self._views)

    def __setitem__(self, name: str, value: Array) -> None:
        view = self[name]
        checks.float_array(name, value, view.shape, self.dtype)
        view[...] = value

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)

    def __contains__(self, name: object) -> bool:
        return name in self._views

    def __repr__(self) -> str:
        return f"Parameters({self.shapes}, dtype={self.dtype.name})"

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.vector.dtype

    @property
    def device(self) -> str:
        """ "cpu", or "cuda:N"."""
        return device_of(self.vector)

    def group(self, prefix: str) -> tuple[Array, ...]:
        """The views whose names start with ``prefix + "."``, in order.

        Raises
            TypeError: ``prefix`` is no string
            ValueError: no name starts so
        """
        checks.instance("prefix", prefix, str, 'a name such as "0"')
        views = tuple(view for name, view in self._views.items() if name.startswith(f"{prefix}."))
        if not views:
            groups = {name[:i] for name in self.shapes for i, letter in enumerate(name) if letter == "."}
            checks.choice("prefix", prefix, dict.fromkeys(sorted(groups)))
        return views

    def gradients(self) -> Parameters:
        """Zeros of the names and shapes of the trained arrays: a place for their gradients."""
        shapes = {name: shape for name, shape in self.shapes.items() if name not in self.untrained}
        return Parameters(shapes, self.dtype, self.device)

    def copy(self) -> Parameters:
        """The same values in memory of their own."""
        return self.to(self.device)

    def to(self, device: str) -> Parameters:
        """A copy on that device.

        Raises
            ValueError: it is not there
        """
        other = Parameters(self.shapes, self.dtype, device, self.untrained)
        other.vector[:] = to_device(self.vector, other.device)
        return other


def _checked_shapes(shapes: Any) -> dict[str, tuple[int, ...]]:
    checks.instance("shapes", shapes, Mapping, 'a dict such as {"0.weight": (3, 5)}')
    checked = {}
    for name, shape in shapes.items():
        checks.instance("the name in shapes", name, str, 'a string such as "0.weight"')
        said = f"shapes[{name!r}]"
        lengths = checks.sequence(said, shape, "a tuple of lengths")
        checked[name] = tuple(checks.whole(f"{said}[{i}]", n, 0) for i, n in enumerate(lengths))
    return checked


def is_weight(value: Any) -> bool:
    """Whether an array, of either twin, is a weight, which initializers draw and penalties act on: it has two axes."""
    return value.ndim >= 2
