"""Units of layers, losses and penalties of this project's protocols."""

from __future__ import annotations

import copy
import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scratch import Parameters, checks
from scratch.layers import trained_shapes
from scratch.parameters import is_weight
from torch_impl.counterparts import LAYERS, LOSSES, with_options
from torch_impl.verify.units.unit import Unit, UserCodeError, call, float_arrays

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from scratch.layers import Layer
    from scratch.losses import Loss
    from torch_impl.verify.units.unit import Inputs, Outputs

    Array = NDArray[Any]


def layer_unit(
    layer: Layer,
    inputs: Inputs,
    reference: Any = None,
    name: str | None = None,
    training: bool = True,
    untrained: Inputs | None = None,
) -> Unit:
    """A unit of a layer; ``inputs`` are x, the trained arrays by name and, for one that differs in training, rng.

    ``untrained`` are the arrays that have no gradient, by name; by default, random ones.

    The reference is ``reference`` (an nn.Module, or a function of x and the parameters), else the torch counterpart of
    the layer's class or its nearest known base, else the layer's own forward.
    """
    parameters = tuple(trained_shapes(layer))
    constants = untrained if untrained is not None else random_untrained(layer)

    def arguments(inputs: Inputs) -> tuple[list[Any], Inputs]:
        given = {name: value.astype(inputs["x"].dtype) for name, value in constants.items()} | inputs
        return [given[p] for p in ("x", *layer.shapes())], {"training": inputs["rng"]} if "rng" in inputs else {}

    def run_forward(inputs: Inputs) -> tuple[Outputs, Any]:
        positional, rng = arguments(inputs)
        result = call("forward", layer.forward, *positional, **rng)
        if not isinstance(result, tuple) or len(result) != 2:
            raise UserCodeError(f"forward of {layer} returned a {type(result).__name__}, expected (y, cache)")
        return result[:1], result[1]

    def into(upstream: Outputs, inputs: Inputs, cache: Any, filled: float) -> Inputs:
        grads = {p: np.full_like(inputs[p], filled) for p in parameters}
        dx = call("backward", layer.backward, *upstream, cache, *grads.values())
        return ({} if dx is None else {"x": dx}) | grads

    def traced(inputs: Inputs) -> Outputs:
        positional, rng = arguments(inputs)
        return layer.forward(*positional, **rng)[:1]

    return Unit(
        name or str(layer),
        run_forward,
        lambda upstream, inputs, cache: into(upstream, inputs, cache, np.nan),
        traced,
        _layer_reference(layer, reference, parameters, training, constants),
        parameters,
        tuple(getattr(layer, "kinks", ())),
        into=into if parameters else None,
        widened=lambda: _widened(layer, inputs, reference, name, training),
        batch_is_free=True,
    )


def counterpart(layer: Layer) -> torch.nn.Module | None:
    """The torch counterpart of the layer's class or its nearest known base, if there is one."""
    known = next((base for base in type(layer).__mro__ if base in LAYERS), None)
    return None if known is None else LAYERS[known](layer)


def random_untrained(layer: Layer) -> Inputs:
    """Values for the arrays that are not trained: positive, as a variance must be."""
    rng, shapes = np.random.default_rng(7), layer.shapes()
    return {name: rng.uniform(0.5, 1.5, shapes[name]) for name in getattr(layer, "untrained", ())}


def _layer_reference(
    layer: Layer, reference: Any, parameters: tuple[str, ...], training: bool, constants: Inputs
) -> Callable[[dict[str, Any]], Any] | None:
    if reference is None:
        reference = counterpart(layer)
        if reference is None:
            return None
        reference = reference.to(torch.float64)
    if not isinstance(reference, torch.nn.Module):
        checks.instance("reference", reference, object, "an nn.Module or a function of x and the parameters")
        return lambda tensors: reference(*(tensors[n] for n in ("x", *parameters)))
    reference = copy.deepcopy(reference).train(training)

    def functional(tensors: dict[str, Any]) -> Any:
        # Buffers are copied: running statistics that move would carry one probe over into the next.
        named = {n: b.clone() for n, b in reference.named_buffers()} | {p: tensors[p] for p in parameters}
        named |= {name: torch.tensor(value, dtype=torch.float64) for name, value in constants.items()}
        draws = "rng" in tensors and getattr(reference, "takes_rng", False)
        args = (tensors["x"], copy.deepcopy(tensors["rng"])) if draws else (tensors["x"],)
        return torch.func.functional_call(reference, named, args)

    return functional


def _widened(
    layer: Layer, inputs: Inputs, reference: Any, name: str | None, training: bool
) -> tuple[Unit, Inputs] | None:
    """The layer with every width changed, where it is a record whose whole numbers are widths."""
    if not dataclasses.is_dataclass(layer) or reference is not None or "x" not in float_arrays(inputs):
        return None  # a given reference has its own widths, and integers have none
    x, rng = inputs["x"], np.random.default_rng(7)
    sizes = {f.name: getattr(layer, f.name) for f in dataclasses.fields(layer)}
    change = {n: v + 2 for n, v in sizes.items() if isinstance(v, int) and not isinstance(v, bool) and v > 1}
    if not change:
        return None
    try:
        other = dataclasses.replace(layer, **change)
        width = next((v + 2 for n, v in sizes.items() if n in change and v == x.shape[-1]), x.shape[-1])
        resized: Inputs = {"x": rng.standard_normal((*x.shape[:-1], width)).astype(x.dtype)}
        resized |= {p: rng.standard_normal(shape).astype(x.dtype) for p, shape in trained_shapes(other).items()}
        given = resized | random_untrained(other)
        resized |= {"rng": inputs["rng"]} if "rng" in inputs else {}
        other.forward(*(given[p] for p in ("x", *other.shapes())))
    except Exception:  # another width is an extra: a layer whose whole numbers are no widths goes without
        return None
    unit = layer_unit(other, resized, reference, name, training)
    return dataclasses.replace(unit, widened=None), resized


def loss_unit(loss: Loss, reference: Any = None, name: str | None = None) -> Unit:
    """A unit of a loss, ``loss(logits, y) -> (value, dlogits)``."""

    def run_forward(inputs: Inputs) -> tuple[Outputs, Any]:
        result = call("loss", loss, inputs["logits"], inputs["y"])
        if not isinstance(result, tuple) or len(result) != 2:
            raise UserCodeError(f"{loss} returned a {type(result).__name__}, expected (value, dlogits)")
        return result[:1], result[1]

    if reference is None:
        reference = next((with_options(base, loss) for base in type(loss).__mro__ if base in LOSSES), None)
    return Unit(
        name or str(loss),
        run_forward,
        lambda _, inputs, cache: {"logits": cache},
        lambda inputs: loss(inputs["logits"], inputs["y"])[:1],
        None if reference is None else lambda tensors: reference(tensors["logits"], tensors["y"]),
        takes_upstream=False,
        batch_is_free=True,
    )


def penalty_unit(penalty: Any) -> Unit:
    """A unit of a penalty on the weights; its inputs are the parameters of a network."""

    def run(inputs: Inputs) -> tuple[Any, Parameters]:
        params = Parameters({name: v.shape for name, v in inputs.items()})
        for name, value in inputs.items():
            params[name] = value
        grads = params.gradients()
        return call("add_grad", penalty.add_grad, params, grads), grads

    def reference(tensors: dict[str, Any]) -> Any:
        weights = [W for W in tensors.values() if is_weight(W)]
        total = sum(penalty.l1 * W.abs().sum() + penalty.l2 / 2 * W.square().sum() for W in weights)
        return total + 0 * sum(b.sum() for b in tensors.values())  # a bias is no part of it, and has gradient 0

    return Unit(
        str(penalty),
        lambda inputs: ((np.float64(run(inputs)[0]),), None),
        lambda _, inputs, __: dict(run(inputs)[1]),
        lambda inputs: (run(inputs)[0],),
        reference,
        ("0.weight", "0.bias", "2.weight"),
        takes_upstream=False,
        title=lambda name: f"∂ {name}",
    )
