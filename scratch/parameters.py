"""Parameters: one flat vector, and named views of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from scratch import checks
from scratch.device import check_device, device_of, to_device, zeros

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import DTypeLike, NDArray


class Parameters(Mapping[str, "NDArray[Any]"]):
    """The parameters of a network, or their gradients, in one flat vector.

    The views are named as torch names the entries of a state dict (``"0.weight"``, ``"2.bias"``) and stand in
    that order, so an optimizer sees one vector, a layer sees its matrices, and both see the same memory.

        params = Parameters({"0.weight": (3, 5), "0.bias": (3,)})
        params["0.weight"]        # a (3, 5) view of params.vector[:15]
        params["0.bias"] = b      # copies b into the view; the shape must fit
    """

    def __init__(
        self, shapes: Mapping[str, tuple[int, ...]], dtype: DTypeLike = np.float64, device: str = "cpu"
    ) -> None:
        """All zeros, on ``device``: NumPy's on "cpu", CuPy's on "cuda" or "cuda:N".

        Raises
            TypeError: ``dtype`` is neither float32 nor float64
            ValueError: a device that is not there
        """
        if np.dtype(dtype) not in (np.float32, np.float64):
            raise TypeError(f"dtype is {np.dtype(dtype).name}, expected float32 or float64")
        self.shapes = dict(shapes)
        self.vector = zeros(sum(math.prod(shape) for shape in shapes.values()), dtype, check_device(device))
        self._views: dict[str, NDArray[Any]] = {}
        self._groups: dict[str, tuple[NDArray[Any], ...]] = {}
        start = 0
        for name, shape in self.shapes.items():
            end = start + math.prod(shape)
            view = self._views[name] = self.vector[start:end].reshape(shape)
            prefix = name.partition(".")[0]
            self._groups[prefix] = (*self._groups.get(prefix, ()), view)
            start = end

    def __getitem__(self, name: str) -> NDArray[Any]:
        return checks.choice("name", name, self._views)

    def __setitem__(self, name: str, value: NDArray[Any]) -> None:
        view = self[name]
        checks.float_array(name, value, view.shape)
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

    def group(self, prefix: str) -> tuple[NDArray[Any], ...]:
        """The views whose names start with ``prefix + "."``, in order; empty for a layer without parameters."""
        return self._groups.get(prefix, ())

    def like(self) -> Parameters:
        """Zeros of the same names, shapes and dtype: a place for gradients."""
        return Parameters(self.shapes, self.dtype, self.device)

    def copy(self) -> Parameters:
        """The same values in memory of their own."""
        return self.to(self.device)

    def to(self, device: str) -> Parameters:
        """A copy on that device.

        Raises
            ValueError: it is not there
        """
        other = Parameters(self.shapes, self.dtype, device)
        other.vector[:] = to_device(self.vector, other.device)
        return other
