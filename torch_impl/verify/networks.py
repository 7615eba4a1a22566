"""The way in for whole networks, and for any object that holds its weights."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

import scratch
from scratch import checks
from scratch.parameters import is_weight
from torch_impl.verify.chain import check_network, verify_chain
from torch_impl.verify.check import verify_unit
from torch_impl.verify.optimizer import verify_optimizer
from torch_impl.verify.report import Report, could_not_be_checked, merged, timed
from torch_impl.verify.units.discovery import object_unit
from torch_impl.verify.units.models import Model
from torch_impl.verify.units.unit import UserCodeError, call

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from scratch.losses import Loss
    from scratch.optim import Optimizer

    Array = NDArray[Any]


@timed
def verify_network(
    network: Any,
    loss: Any = None,
    *,
    x: Array,
    y: Any = None,
    params: scratch.Parameters | None = None,
    optimizer: Optimizer | None = None,
    reference: Callable[..., Any] | None = None,
    seed: int = 0,
    **inputs: Any,
) -> Report:
    """Verify a whole network with its loss: every boundary, every parameter, and the optimizer's steps.

    First end to end: the forward, the boundaries in backward order, the parameters. Then each layer by itself, with
    autograd's input and autograd's upstream gradient, so that one fault neither hides nor fakes another.

    Any other object is verified as a whole: a layer with forward(x) and backward(dout), a network that ends in a loss,
    a loss, an activation, a module or a class of static methods. Which methods those are, which arrays are weights and
    where their gradients are is found out; a :class:`Model` says what can't be. The object stays as it is.

    Args:
        network: a :class:`scratch.Network`, any object that holds its weights, or a :class:`Model` around one
        loss: a loss of this project's protocol; for an object, the author's own, loss(p, y) or an object, if there is
            one that is not part of it
        x: a batch, (batch, in)
        y: targets, where there is a loss
        params: the parameters of a scratch.Network; by default random ones, biases included
        optimizer: verified as well, if it is given (:func:`verify_optimizer`)
        reference: for an object, a torch function of its inputs and weights by name; by default autograd goes through
            the object's own forward
        seed: of everything random, dropout masks included
        inputs: further arguments of an object's forward, by their names

    Raises
        TypeError, ValueError: something of another kind or shape
    """
    checks.whole("seed", seed, 0)
    for name, value in ({"x": x, "y": y} | inputs).items():
        if isinstance(value, np.ndarray) and value.dtype.kind == "f":
            checks.finite(name, value)
    if isinstance(network, scratch.Network):
        report = _verify_network(network, loss, x, y, params, seed)
    else:
        report = _verify_object(network, loss, {"x": x, "y": y} | inputs, reference, seed)
    if optimizer is not None:
        report = merged(report.title, [report, verify_optimizer(optimizer, seed=seed)])
    return report


def _verify_network(network: scratch.Network, loss: Loss, x: Any, y: Any, params: Any, seed: int) -> Report:
    check_network(network, loss)
    for name, value in (("x", x), ("y", y)):
        checks.instance(name, value, np.ndarray, "a NumPy array")
    if params is None:
        dtype = x.dtype if x.dtype == np.float32 else np.float64
        params = random_parameters(network, np.random.default_rng(seed), dtype)
    checks.instance("params", params, scratch.Parameters, "Parameters, as initial_parameters() makes them")
    checks.finite("params", params.vector)
    network.check_input("x", x, params.dtype)
    if params.shapes != network.shapes():
        raise ValueError(f"params has {params.shapes}, expected {network.shapes()}")
    if hasattr(loss, "check_targets"):
        rng = np.random.default_rng(seed) if network.differs_in_training else None
        try:
            logits, _ = call("forward", network.apply, params, x, rng)
            loss.check_targets(y, logits.shape, logits.dtype)
        except UserCodeError:
            pass  # it is reported with its place below
    return verify_chain(network, loss, x, y, params, seed)


def _verify_object(network: Any, loss: Any, inputs: dict[str, Any], reference: Any, seed: int) -> Report:
    model = network if isinstance(network, Model) else Model(network, loss)
    if isinstance(network, Model) and loss is not None:
        model = dataclasses.replace(network, loss=loss)
    if not isinstance(inputs["x"], np.ndarray) or inputs["x"].dtype.kind not in "fiu":
        came = f"an array of {inputs['x'].dtype}" if isinstance(inputs["x"], np.ndarray) else type(inputs["x"]).__name__
        raise TypeError(f"x is a {came}, expected a NumPy array of floats, or of integers for an embedding")
    try:
        unit, inputs = object_unit(model, inputs, reference)
    except UserCodeError as error:
        return could_not_be_checked(type(model.model).__name__, str(error))
    report = verify_unit(unit, inputs, seed)
    return dataclasses.replace(report, notes=(*report.notes, *unit.notes))


def random_parameters(
    network: scratch.Network, rng: np.random.Generator, dtype: Any = np.float64
) -> scratch.Parameters:
    """Parameters that hide nothing: weights that keep the signal's size, biases that are not zero."""
    params = scratch.initial_parameters(network, rng, dtype=np.dtype(dtype).name)
    for name, view in params.items():
        if name in params.untrained:
            params[name] = rng.uniform(0.5, 1.5, view.shape).astype(params.dtype)
        elif not is_weight(view):
            params[name] = (0.5 * rng.standard_normal(view.shape)).astype(params.dtype)
    return params
