"""Hand-written against autograd: every tensor of a layer, a loss or a network, and how far the two are apart."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import scratch
from scratch.composite import traced
from scratch.layers import takes, trained_shapes
from torch_impl.convert import arrays_of
from torch_impl.counterparts import module, run, torch_loss
from torch_impl.network import twin

if TYPE_CHECKING:
    from numpy.random import Generator

    from scratch import Network, Parameters
    from scratch.device import Array
    from scratch.layers import Layer
    from scratch.losses import Loss


FLOOR = 1e-2  # a gradient that cancels to less, among numbers of order one, is rounding: those behind a normalisation


@dataclass(frozen=True)
class Difference:
    """One tensor by hand and by autograd.

    ``floor`` is the least size that a difference counts against: what cancels to less is rounding alone.
    """

    tensor: str
    hand: Array
    autograd: Array
    floor: float = 0.0

    @property
    def relative(self) -> float:
        """The largest difference of an element over the largest element of autograd's.

        NaN if either holds one; infinite if the shapes differ, which a subtraction might broadcast away.
        """
        if self.hand.shape != self.autograd.shape:
            return math.inf
        apart = np.abs(self.hand - self.autograd).max(initial=0)
        scale = max(np.abs(self.autograd).max(initial=0), self.floor)
        return float(apart / scale) if scale > 0 else float(apart)

    @property
    def worst(self) -> tuple[int, ...]:
        """The index of the element that differs most."""
        apart = np.nan_to_num(np.abs(self.hand - self.autograd), nan=np.inf)
        return tuple(int(i) for i in np.unravel_index(apart.argmax(), apart.shape))

    def __str__(self) -> str:
        if self.hand.shape != self.autograd.shape:
            return f"{self.tensor}: shape {self.hand.shape} by hand, {self.autograd.shape} by autograd"
        hand, autograd = self.hand[self.worst], self.autograd[self.worst]
        return f"{self.tensor}: {self.relative:.1e} relative at {self.worst} (hand {hand!r}, autograd {autograd!r})"


def layer_parity(
    layer: Layer, params: dict[str, Array], x: Array, dy: Array, seed: int | None = None
) -> list[Difference]:
    """y, dx, every trained array's gradient and, in training, what becomes of the untrained arrays, of one layer.

    ``params`` holds the layer's arrays by name, ``dy`` is the upstream gradient. A ``seed`` draws the dropout masks of
    both; without one the layer is taken as in evaluation.
    """
    rng = None if seed is None else np.random.default_rng(seed)
    training = {"training": rng} if takes(layer.forward, "training") else {}
    untrained = {name: params[name].copy() for name in getattr(layer, "untrained", ())}
    y, cache = layer.forward(x, *params.values(), **training)
    grads = {name: np.full_like(params[name], np.nan) for name in trained_shapes(layer)}  # backward overwrites them
    dx = layer.backward(dy, cache, *grads.values())
    if untrained and seed is not None:
        layer.track(cache, *untrained.values())  # type: ignore[attr-defined]

    reference = module(layer).to(torch.from_numpy(dy).dtype).train(seed is not None)
    arrays = arrays_of(reference)
    for name, value in params.items():
        arrays[name].copy_(torch.from_numpy(value))
    x_torch = torch.from_numpy(x.copy())
    x_torch.requires_grad_(x_torch.is_floating_point())
    y_torch = run(reference, x_torch, None if seed is None else np.random.default_rng(seed))
    y_torch.backward(torch.from_numpy(dy.copy()))
    named, arrays = dict(reference.named_parameters()), arrays_of(reference)  # anew: a module may rebind its buffers
    return [
        _difference("y", y, y_torch),
        *([_difference("dx", dx, x_torch.grad, FLOOR)] if x_torch.requires_grad else []),
        *(_difference(f"d{name}", grad, named[name].grad, FLOOR) for name, grad in grads.items()),
        *(_difference(name, value, arrays[name]) for name, value in untrained.items()),
    ]


def loss_parity(loss: Loss, logits: Array, y: Array) -> list[Difference]:
    """The value and dlogits of one loss."""
    value, dlogits = loss(logits, y)
    logits_torch = torch.from_numpy(logits.copy()).requires_grad_()
    value_torch = torch_loss(loss)(logits_torch, torch.from_numpy(y))
    value_torch.backward()
    return [_difference("value", value, value_torch), _difference("dlogits", dlogits, logits_torch.grad)]


def network_parity(
    network: Network,
    loss: Loss,
    params: Parameters,
    x: Array,
    y: Array,
    seed: int | None = None,
    device: str | torch.device = "cpu",
) -> list[Difference]:
    """The logits, the loss, the gradient at the input of every layer, within others too, and of every trained array.

    A ``seed`` draws the dropout masks of both; without one the network is taken as in evaluation.
    """

    def rng() -> Generator | None:
        return None if seed is None else np.random.default_rng(seed)

    grads = params.gradients()
    with traced() as trace:
        logits, caches = network.apply(params, x, rng())
        value, dlogits = loss(logits, y)
        network.backward(dlogits, caches, *grads.arrays)
    boundaries = {path: dx for path, dx in trace.input_gradients.items() if dx is not None}

    reference = twin(network, params, device).train(seed is not None)
    inputs: dict[str, torch.Tensor] = {}
    for path in boundaries:
        part = reference.get_submodule(path)
        part.register_forward_pre_hook(lambda _, args, path=path: (_keep(inputs, path, args[0]), *args[1:]))
    x_torch = torch.from_numpy(x.copy()).to(device)
    x_torch.requires_grad_(x_torch.is_floating_point())
    logits_torch = reference(x_torch, rng())
    logits_torch.retain_grad()
    value_torch = torch_loss(loss)(logits_torch, torch.from_numpy(y).to(device))
    value_torch.backward()
    arriving = {"logits": logits_torch.grad} | {f"input of {path}": x.grad for path, x in inputs.items()}
    ours = {"logits": dlogits} | {f"input of {path}": dx for path, dx in boundaries.items()}
    # A gradient is rounded as coarsely as the largest one on its way.
    floor = FLOOR * max(1.0, *(float(g.abs().max()) for g in arriving.values() if g is not None))
    named = dict(reference.named_parameters())
    return [
        _difference("logits", logits, logits_torch),
        _difference("loss", value, value_torch, FLOOR),
        *(_difference(f"∂ {name}", dx, arriving[name], floor) for name, dx in ours.items()),
        *(_difference(f"d{name}", grad, named[name].grad, floor) for name, grad in grads.items()),
    ]


def _keep(inputs: dict[str, torch.Tensor], path: str, x: torch.Tensor) -> torch.Tensor:
    inputs[path] = x.view_as(x)  # of its own, since x may go elsewhere too, as around a residual block
    inputs[path].retain_grad()
    return inputs[path]


def _difference(tensor: str, hand: Any, autograd: torch.Tensor | None, floor: float = 0.0) -> Difference:
    assert autograd is not None, f"autograd gave no {tensor}"
    return Difference(tensor, np.asarray(hand), autograd.detach().cpu().numpy(), floor)


def every_loss(logits: Array, rng: Generator) -> dict[str, tuple[Loss, Array]]:
    """Each of scratch's losses with random targets for ``logits`` (batch, …, out)."""
    *batch, n_out = logits.shape
    targets = rng.standard_normal(logits.shape).astype(logits.dtype)
    soft = rng.dirichlet(np.ones(n_out), batch).astype(logits.dtype)
    return {
        "CrossEntropy, classes": (scratch.CrossEntropy(), rng.integers(0, n_out, batch)),
        "CrossEntropy, soft targets": (scratch.CrossEntropy(), soft),
        "CrossEntropy, smoothed classes": (scratch.CrossEntropy(0.1), rng.integers(0, n_out, batch)),
        "CrossEntropy, smoothed targets": (scratch.CrossEntropy(0.1), soft),
        "BCEWithLogits": (scratch.BCEWithLogits(), rng.random(logits.shape).astype(logits.dtype)),
        "MSE": (scratch.MSE(), targets),
        "MAE": (scratch.MAE(), targets),
    }


def random_case(
    layer: Layer, shape: tuple[int, ...], rng: Generator, batch: int, dtype: str = "float64"
) -> tuple[dict[str, Array], Array, Array]:
    """Random arrays, input (batch, *shape) and upstream gradient of a layer; one input is exactly at each kink.

    Upstream gradients are random, not ones: a softmax whose upstream is ones has gradient zero, and would test nothing.
    """
    params = {name: rng.standard_normal(s).astype(dtype) for name, s in layer.shapes().items()}
    for name in getattr(layer, "untrained", ()):
        params[name] = np.abs(params[name])  # a variance is not negative
    x = (2 * rng.standard_normal((batch, *shape))).astype(dtype)
    if getattr(layer, "integer_input", False):
        x = rng.integers(0, layer.n_in, x.shape)  # type: ignore[attr-defined]
    for i, kink in enumerate(getattr(layer, "kinks", ())):
        x.reshape(batch, -1)[0, i] = kink
    y, _ = layer.forward(x, *params.values())
    return params, x, rng.standard_normal(y.shape).astype(dtype)
