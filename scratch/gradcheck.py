"""Gradients against central differences, along random directions, skipping those that cross a kink.

Finite differences need no second implementation, so this is what NumPy alone can say about a backward pass.
Autograd says more, and to more digits: see ``torch_impl.parity``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scratch import checks
from scratch.composite import traced
from scratch.losses import Loss
from scratch.network import Network

if TYPE_CHECKING:
    from numpy.random import Generator

    from scratch.device import Array
    from scratch.parameters import Parameters

__all__ = ["gradcheck"]


STEP = float(np.finfo(np.float64).eps ** (1 / 3))  # where the h² of truncation meets the ε/h of rounding


@dataclass(frozen=True)
class Slope:
    """A directional derivative of the loss, in a random direction of one tensor."""

    tensor: str
    analytic: float  # ⟨gradient, v⟩
    numeric: float  # (L(w + h v) − L(w − h v)) / 2h
    scale: float  # ‖gradient‖, or 1 where that is less: what an error counts against

    @property
    def error(self) -> float:
        return abs(self.analytic - self.numeric) / self.scale


@dataclass(frozen=True)
class GradcheckResult:
    """Every slope that was compared, and the verdict."""

    slopes: tuple[Slope, ...]
    skipped: int  # directions that crossed a kink, where a difference tells nothing
    unchecked: tuple[str, ...]  # tensors of which every direction was skipped
    tolerance: float

    @property
    def ok(self) -> bool:
        """Every tensor was checked, and every slope agrees."""
        return not self.unchecked and all(slope.error <= self.tolerance for slope in self.slopes)

    @property
    def worst(self) -> Slope | None:
        """The slope with the largest error; None if there is no slope at all."""
        return max(self.slopes, key=lambda slope: slope.error, default=None)

    def __str__(self) -> str:
        worst, text = self.worst, f"{len(self.slopes)} slopes"
        if worst is not None:
            text += (
                f", largest error {worst.error:.1e} in {worst.tensor} "
                f"(backward {worst.analytic:+.9e}, differences {worst.numeric:+.9e})"
            )
        text += f"; {self.skipped} directions skipped at kinks"
        if self.unchecked:
            text += f"; NOT CHECKED, every direction crosses a kink: {', '.join(self.unchecked)}"
        wrong = worst is not None and worst.error > self.tolerance
        return f"{'WRONG' if wrong else 'right' if self.ok else 'incomplete'}: {text}"


def gradcheck(
    network: Network,
    loss: Loss,
    params: Parameters,
    x: Array,
    y: Array,
    rng: Generator,
    *,
    directions: int = 3,
    tolerance: float = 1e-7,
) -> GradcheckResult:
    """Compare ``network.backward`` with central differences, for the input and each trained tensor.

    A direction v is drawn in one tensor at a time, so a failure names the tensor. Where w − h v and w + h v lie on two
    sides of a kink (of ReLU at 0, of MAE at its target, …) the direction is skipped and another one drawn; a tensor of
    which every direction crosses one, after ten times ``directions``, is unchecked. Layers are taken as in evaluation.

    Raises
        TypeError: ``params`` and ``x`` are not float64, in which alone differences are sharp enough
        ValueError: shapes that do not fit, or NaN or inf in ``x`` or ``params``
    """
    checks.instance("network", network, Network, "a Network, as mlp() makes it")
    checks.instance("loss", loss, Loss, "a loss such as CrossEntropy()")
    checks.generator("rng", rng)
    checks.whole("directions", directions, 1)
    checks.number("tolerance", tolerance, 0)
    network.check_parameters("params", params)
    network.check_input("x", x, np.float64)
    checks.finite("x", x)
    checks.float_array("params.vector", params.vector, params.vector.shape, np.float64)
    checks.finite("params.vector", params.vector)
    params, x, grads = params.copy(), x.copy(), params.gradients()

    logits, caches = network.apply(params, x)
    _, dlogits = loss(logits, y)
    dx = network.backward(dlogits, caches, *grads.arrays)

    slopes: list[Slope] = []
    unchecked: list[str] = []
    skipped = 0
    inputs = [] if dx is None else [("x", x, dx)]  # integers have no gradient
    for name, tensor, gradient in [*inputs, *((name, params[name], grads[name]) for name in grads)]:
        found = 0
        for _ in range(10 * directions):
            if found == directions:
                break
            v = rng.standard_normal(tensor.shape)
            v /= np.linalg.norm(v)
            (ahead, sides_ahead), (behind, sides_behind) = (
                _moved(network, loss, params, x, y, tensor, h * v) for h in (STEP, -STEP)
            )
            if (sides_ahead != sides_behind).any():
                skipped += 1
                continue
            found += 1
            scale = max(1.0, float(np.linalg.norm(gradient)))
            slopes.append(Slope(name, float((gradient * v).sum()), (ahead - behind) / (2 * STEP), scale))
        if not found:
            unchecked.append(name)
    return GradcheckResult(tuple(slopes), skipped, tuple(unchecked), tolerance)


def _moved(
    network: Network, loss: Loss, params: Parameters, x: Array, y: Array, tensor: Array, dv: Array
) -> tuple[float, Array]:
    """The loss with ``tensor`` moved by ``dv``, and on which side of each kink every value lies then."""
    before = tensor.copy()
    tensor += dv
    with traced() as trace:
        z, _ = network.apply(params, x)
    sides = [np.zeros(0, bool)]
    for path, layer in trace.layers.items():
        sides += [(trace.inputs[path] > kink).ravel() for kink in getattr(layer, "kinks", ())]
    if loss.kinks_at_target:
        sides.append((z > y).ravel())
    value, _ = loss.value_and_grad(z, y)
    tensor[...] = before
    return float(value), np.concatenate(sides)
