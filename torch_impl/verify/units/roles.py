"""What an input is, by its values, as one-hot targets and probabilities are, and other values of its kind."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.random import Generator
    from numpy.typing import NDArray

    Array = NDArray[Any]

# "fixed" is what the user said is constant; "choice" has few values, as classes, masks and signs have.
Kind = Literal["real", "positive", "symmetric", "unit interval", "probabilities", "one-hot", "choice", "fixed"]

# What people call the arrays that are not trained.
DATA = {
    "x", "y", "t", "input", "inputs", "data", "image", "images", "label", "labels", "target", "targets", "mask",
    "logits", "scores", "z", "q", "k", "v", "pred", "preds", "predictions", "y_hat", "y_pred", "y_true", "al",
    "a_prev", "h0", "h_prev", "prev_h", "c_prev", "prev_c", "x_t", "xt",
}  # fmt: skip


def data_among(arrays: Mapping[str, Array], targets: Sequence[str] = ()) -> set[str]:
    """The names of those that are data: a function does not say which of its arguments are trained.

    By what they are called and what they hold; the first if that tells nothing; and what has the shape of one of these.
    """
    kinds = {name: kind_of(value) for name, value in arrays.items()}
    labels = {n for n, kind in kinds.items() if kind in ("one-hot", "choice") and not is_weight_name(n)}
    labels |= {name for name in arrays if name in targets}
    data = labels | {name for name in arrays if name.lower() in DATA}
    if not data - labels:
        data |= set(next(([name] for name in arrays if name not in labels), []))
    shapes = {value.shape for name, value in arrays.items() if name in data and value.ndim}
    return data | {n for n, value in arrays.items() if value.shape in shapes and not is_weight_name(n)}


def is_weight_name(name: str) -> bool:
    """Whether an input is called as what is trained is called: w, W1, bias, gamma, parameters.b2, weights.0."""
    called = re.compile(r"(w|b|weights?|bias|biases|gamma|beta|kernels?)(_?\w?\d*)")
    return any(called.fullmatch(part) for part in name.lower().split("."))


def is_owed(name: str, given: Iterable[str]) -> bool:
    """Whether backward owes a gradient: of weights, and of what lies in a list in which others are ``given`` theirs."""
    kin = {re.sub(r"\d+", "0", other) for other in given}
    return is_weight_name(name) or ("." in name and re.sub(r"\d+", "0", name) in kin)


def kind_of(value: Array, parameter: bool = False) -> Kind:
    """What an array is, by its values; one that is trained is never probabilities."""
    if value.size == 0:
        return "fixed"
    low, high = value.min(), value.max()
    few = np.unique(value)
    if parameter and value.dtype.kind == "f" and len(few) <= 3:
        return "real"  # zeros, ones or the identity, which training begins with
    if value.dtype.kind != "f" or (len(few) <= 3 and len(few) > 1 and value.size > 3 and set(few) <= {-1, 0, 1}):
        return "one-hot" if _sums_to_one(value) is not None and set(few) <= {0, 1} else "choice"
    if value.ndim == 2 and len(value) > 1 and value.shape[0] == value.shape[1] and (value == value.T).all():
        return "symmetric"
    if parameter or len(few) == 1:
        return "real"
    if low >= 0 and high <= 1:
        return "probabilities" if _sums_to_one(value) is not None else "unit interval"
    if len(few) == 2 and low == 0 and value.size > 3:
        return "choice"  # a mask with its scale
    return "positive" if low > 0 else "real"


def _sums_to_one(value: Array) -> int | None:
    """The axis along which it does, the last one first."""
    for axis in reversed(range(value.ndim)):
        if value.shape[axis] > 1 and np.allclose(value.sum(axis=axis), 1, atol=1e-6):
            return axis
    return None


def redrawn(value: Array, kind: Kind, shape: Sequence[int], rng: Generator) -> Array:
    """Other values of the same kind, range and dtype, in ``shape``."""
    shape = tuple(shape)
    if kind == "fixed" or value.size == 0:
        return value if shape == value.shape else np.resize(value, shape)
    if kind in ("one-hot", "probabilities"):
        axis = _sums_to_one(value)
        axis = value.ndim - 1 if axis is None else axis
        others = tuple(n for i, n in enumerate(shape) if i != axis)
        if kind == "one-hot":
            drawn = np.eye(shape[axis])[rng.integers(shape[axis], size=others)]
        else:
            drawn = rng.dirichlet(np.ones(shape[axis]), others)
        return np.moveaxis(drawn, -1, axis).astype(value.dtype)
    if kind == "choice":
        return np.asarray(rng.choice(value.ravel(), shape), dtype=value.dtype)
    if kind == "symmetric" and shape == value.shape:  # of the same eigenvalues: positive ones stay so
        basis, _ = np.linalg.qr(rng.standard_normal(shape))
        turned = basis @ value @ basis.T
        return np.asarray((turned + turned.T) / 2, dtype=value.dtype)
    if np.ptp(value) == 0:
        return np.asarray(value.flat[0] + rng.standard_normal(shape), dtype=value.dtype)
    drawn = rng.choice(value.ravel(), shape)
    factor = rng.uniform(0.5, 1.0, shape) if kind == "unit interval" else np.exp(0.3 * rng.standard_normal(shape))
    return np.asarray(drawn * factor, dtype=value.dtype)


def enlarged(value: Array, kind: Kind, times: float) -> Array:
    """The same, further out: where clipping, an ε in a logarithm and a flat activation show."""
    if kind in ("real", "positive", "symmetric"):
        return np.asarray(value * times)
    if kind in ("unit interval", "probabilities"):  # towards 0 and 1, and never there
        power = min(times, 6.0)
        near, far = value**power, (1 - value) ** power
        axis = _sums_to_one(value)
        total = near + far if kind == "unit interval" or axis is None else near.sum(axis=axis, keepdims=True)
        return np.asarray(near / np.where(total == 0, 1, total), dtype=value.dtype)
    return value
