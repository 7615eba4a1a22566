"""Functions of NumPy and SciPy that torch._numpy has not, on its arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch._numpy as tnp

if TYPE_CHECKING:
    from collections.abc import Callable


def _pad(array: Any, pad_width: Any, mode: str = "constant", constant_values: Any = 0.0) -> Any:
    if mode != "constant" or np.ndim(constant_values):
        raise TypeError(f"np.pad with mode {mode!r} is not traced")
    pairs = np.broadcast_to(np.asarray(pad_width), (array.ndim, 2)).tolist()
    flat = [n for pair in reversed(pairs) for n in pair]
    return tnp.ndarray(torch.nn.functional.pad(array.tensor, flat, value=float(constant_values)))


def _without_nan(reduce: str) -> Callable[..., Any]:
    return lambda a, *args, **kwargs: getattr(tnp, reduce)(
        tnp.ndarray(torch.where(a.tensor.isnan(), 0.0, a.tensor)), *args, **kwargs
    )


def _by_torch(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda a, **_: tnp.ndarray(function(a.tensor))


def _windows(x: Any, window_shape: Any, axis: Any = None, **_: Any) -> Any:
    sizes = (window_shape,) if isinstance(window_shape, int) else tuple(window_shape)
    axes = tuple(range(x.ndim)) if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
    tensor = x.tensor
    for size, along in zip(sizes, axes, strict=True):
        tensor = tensor.unfold(along, int(size), 1)
    return tnp.ndarray(tensor)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "pad": _pad, "nansum": _without_nan("sum"), "sliding_window_view": _windows,
    "expit": _by_torch(torch.sigmoid), "log_expit": _by_torch(torch.nn.functional.logsigmoid),
    "logit": _by_torch(torch.logit), "erf": _by_torch(torch.erf), "erfc": _by_torch(torch.erfc),
}  # fmt: skip
