"""The ways in for layers, losses and penalties of this project's protocols."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import scratch
from scratch import checks
from scratch.layers import Layer, takes, trained_shapes
from torch_impl.convert import arrays_of
from torch_impl.counterparts import run
from torch_impl.verify.check import verify_unit
from torch_impl.verify.report import UNKNOWN, Finding, Report, Section, could_not_be_checked, finding, merged, timed
from torch_impl.verify.tensor import compare
from torch_impl.verify.tolerances import THROUGH
from torch_impl.verify.units.layers import counterpart, layer_unit, loss_unit, penalty_unit, random_untrained
from torch_impl.verify.units.unit import Unit, UserCodeError, call

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from scratch.losses import Loss

    Array = NDArray[Any]


@timed
def verify_layer(
    layer: Layer,
    x_shape: Sequence[int],
    *,
    reference: Any = None,
    dtype: str = "float64",
    seed: int = 0,
) -> Report:
    """Verify a layer of this project's protocol, your own or a built-in one, with random inputs and parameters.

    Args:
        layer: see :class:`scratch.Layer`
        x_shape: of the input, (batch, …)
        reference: an ``nn.Module`` whose parameters have the layer's names, or a torch function of x and the
        parameters; by default the counterpart in :mod:`torch_impl.counterparts`, else the layer's own forward
        dtype: "float64", or "float32" to have that verified too
        seed: of everything random

    Raises
        TypeError: no layer
        ValueError: a shape or dtype that is none
    """
    checks.instance("layer", layer, Layer, "a layer with shapes, forward and backward, such as Linear(5, 3)")
    if len(tuple(x_shape)) == 0:
        raise ValueError("x_shape is (), expected (batch, …)")
    for i, n in enumerate(x_shape):
        checks.whole(f"x_shape[{i}]", n, 1)
    checks.choice("dtype", dtype, {"float64": 0, "float32": 0})
    checks.whole("seed", seed, 0)
    rng = np.random.default_rng(seed)
    # Arrays away from zero and one, where a bias or a γ would not show.
    inputs: dict[str, Any] = {"x": random_input(layer, tuple(x_shape), rng, dtype)}
    inputs |= {name: rng.standard_normal(shape).astype(dtype) for name, shape in trained_shapes(layer).items()}
    module = counterpart(layer)
    if reference is None and module is not None and list(arrays_of(module)) != list(layer.shapes()):
        came, expected = list(arrays_of(module)), list(layer.shapes())
        text = f"the torch counterpart has the arrays {came}, expected those of shapes(), in its order: {expected}"
        return could_not_be_checked(str(layer), text)
    differs = takes(layer.forward, "training")
    trained = inputs | ({"rng": np.random.default_rng(seed)} if differs else {})
    unit = layer_unit(layer, trained, reference)
    reports = [verify_unit(unit, trained, seed)]
    if takes(layer.backward, "need_dx") and reports[0].ok:
        reports += [found for found in (without_dx(layer, unit, trained),) if not found.ok]
    if getattr(layer, "untrained", ()) and reference is None and counterpart(layer) is not None:
        reports += [found for found in (tracking(layer, trained),) if not found.ok]
    if differs and not getattr(layer, "stochastic", False):  # without its draws a layer is the identity, or near it
        unit = layer_unit(layer, inputs, reference, f"{layer}, in evaluation", training=False)
        reports.append(verify_unit(unit, inputs, seed))
    return reports[0] if len(reports) == 1 else merged(str(layer), reports)


def without_dx(layer: Layer, unit: Unit, inputs: dict[str, Any]) -> Report:
    """Whether ``backward`` with ``need_dx=False``, as the first layer is called, writes the same gradients."""
    outputs, cache = unit.forward(inputs)
    upstream = np.random.default_rng(0).standard_normal(outputs[0].shape).astype(outputs[0].dtype)
    written: list[dict[str, Array]] = []
    try:
        for need_dx in (True, False):
            written.append({name: np.full_like(inputs[name], np.nan) for name in unit.parameters})
            call("backward", layer.backward, upstream, cache, *written[-1].values(), need_dx=need_dx)
    except UserCodeError as error:
        return could_not_be_checked(f"{layer}, need_dx=False", str(error))
    rows = [compare(f"d{name}", written[1][name], g, 0.0, "need_dx=False") for name, g in written[0].items()]
    wrong = tuple(row.tensor for row in rows if row.verdict == "wrong")
    findings: tuple[Finding, ...] = ()
    if wrong:
        text = f"with need_dx=False, as the first layer is called in training, {', '.join(wrong)} is another"
        findings = (finding(UNKNOWN, wrong, str(layer), text=text),)
    return Report(str(layer), (Section("backward with need_dx=False", tuple(rows)),), findings)


def tracking(layer: Layer, inputs: dict[str, Any]) -> Report:
    """Whether ``track`` moves the untrained arrays as the buffers of the torch counterpart move in a training step."""
    title = f"{layer}, untrained arrays after a training step"
    untrained, module = random_untrained(layer), counterpart(layer)
    assert module is not None  # where there is none, there is nothing to compare with
    module.double().train()
    given = {name: np.asarray(inputs.get(name, untrained.get(name)), np.float64) for name in layer.shapes()}
    arrays = arrays_of(module)
    for name, value in given.items():
        arrays[name].copy_(torch.from_numpy(value))
    x = inputs["x"].astype(np.float64)
    try:
        _, cache = call("forward", layer.forward, x, *given.values(), training=np.random.default_rng(0))
        call("track", layer.track, cache, *untrained.values())  # type: ignore[attr-defined]
    except UserCodeError as error:
        return could_not_be_checked(title, str(error))
    run(module, torch.from_numpy(x), np.random.default_rng(0))
    expected = {name: arrays_of(module)[name].numpy() for name in untrained}
    rows = [
        compare(n, untrained[n], e, THROUGH * float(np.abs(e).max()), "a training step") for n, e in expected.items()
    ]
    wrong = tuple(row.tensor for row in rows if row.verdict == "wrong")
    text = f"after a training step {' and '.join(wrong)} {'are' if len(wrong) > 1 else 'is'} not torch's"
    found = (finding(UNKNOWN, wrong, title, text=text),) if wrong else ()
    return Report(title, (Section(title, tuple(rows)),), found)


@timed
def verify_loss(
    loss: Loss, logits: Array, y: Array, *, reference: Callable[..., Any] | None = None, seed: int = 0
) -> Report:
    """Verify a loss of this project's protocol, ``loss(logits, y) -> (value, dlogits)``.

    Args:
        loss: your own or a built-in one
        logits: (batch, out), float32 or float64
        y: targets as the loss takes them
        reference: a torch function of logits and y; by default torch's counterpart of a built-in loss, else the loss's
        own
            value
        seed: of the other inputs that are tried

    Raises
        TypeError, ValueError: logits that are no float array (batch, out), or a loss that is none
    """
    checks.whole("seed", seed, 0)
    checks.float_array("logits", logits, ("batch", "out"))
    checks.finite("logits", logits)
    if isinstance(y, np.ndarray) and y.dtype.kind == "f":
        checks.finite("y", y)
    if isinstance(loss, type) or not callable(loss):
        raise TypeError(f"loss is {loss!r}, expected a loss such as MSE()")
    if hasattr(loss, "check_targets"):
        checks.instance("y", y, np.ndarray, "a NumPy array")
        loss.check_targets(y, logits.shape, logits.dtype)
    inputs = {"logits": logits, "y": y}
    return verify_unit(loss_unit(loss, reference), inputs, seed)


@timed
def verify_penalty(penalty: scratch.Penalty, *, seed: int = 0) -> Report:
    """Verify a penalty on the weights: :class:`scratch.Penalty`, or one of your own with the same ``add_grad``.

    Its value and gradient are compared with those of l1 Σ|w| + l2/2 Σw² over the weights, in a network's parameters.

    Raises
        TypeError: it has no ``add_grad``, ``l1`` and ``l2``
    """
    if not all(hasattr(penalty, name) for name in ("add_grad", "l1", "l2")) or isinstance(penalty, type):
        raise TypeError(f"penalty is {penalty!r}, expected a penalty such as Penalty(l2=1e-4)")
    checks.whole("seed", seed, 0)
    rng = np.random.default_rng(seed)
    inputs = {
        name: rng.standard_normal(shape)
        for name, shape in (("0.weight", (5, 3)), ("0.bias", (5,)), ("2.weight", (7, 5)))
    }
    return verify_unit(penalty_unit(penalty), inputs, seed)


def random_input(layer: Layer, shape: tuple[int, ...], rng: np.random.Generator, dtype: Any) -> Array:
    """An input of that shape: of order one and two, both signs; or integers, where the layer takes them."""
    if getattr(layer, "integer_input", False):
        return rng.integers(0, layer.n_in, shape)  # type: ignore[attr-defined]
    return (2 * rng.standard_normal(shape)).astype(dtype)
