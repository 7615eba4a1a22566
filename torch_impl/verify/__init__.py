"""Anyone's hand-written backward beside autograd: what is wrong with it, and where it began.

    report = verify_function(affine_forward, affine_backward, x=x, w=w, b=b)
    report.raise_if_wrong()

Three ways in: :func:`verify_function` for plain NumPy functions, :func:`verify_layer` for a layer of this project's
protocol, :func:`verify_network` for a whole network with its loss, or for any object that holds its weights
(:class:`Model`). Beside them :func:`verify_loss` and :func:`verify_optimizer`. Each returns a :class:`Report`.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import scratch
from scratch import checks
from scratch.layers import Layer, takes, trained_shapes
from scratch.parameters import is_weight
from torch_impl.convert import arrays_of
from torch_impl.counterparts import run
from torch_impl.verify.check import verify_unit
from torch_impl.verify.mistakes.catalogue import CATALOGUE, Mistake
from torch_impl.verify.network import check_network, verify_chain
from torch_impl.verify.optimizer import verify_optimizer
from torch_impl.verify.report import (
    UNKNOWN,
    Finding,
    Report,
    Section,
    TensorCheck,
    WrongGradientError,
    compare,
    could_not_be_checked,
    merged,
)
from torch_impl.verify.units.derivatives import derivative_unit
from torch_impl.verify.units.discovery import object_unit
from torch_impl.verify.units.functions import function_unit
from torch_impl.verify.units.layers import counterpart, layer_unit, loss_unit, penalty_unit, random_untrained
from torch_impl.verify.units.models import Model
from torch_impl.verify.units.unit import Unit, UserCodeError, call

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from scratch.losses import Loss
    from scratch.optim import Optimizer
    from torch_impl.verify.units.roles import Kind

    Array = NDArray[Any]

__all__ = [
    "CATALOGUE",
    "Finding",
    "Mistake",
    "Model",
    "Report",
    "Section",
    "TensorCheck",
    "WrongGradientError",
    "could_not_be_checked",
    "merged",
    "verify_derivative",
    "verify_function",
    "verify_layer",
    "verify_loss",
    "verify_network",
    "verify_optimizer",
    "verify_penalty",
]


def verify_function(
    forward: Callable[..., Any],
    backward: Callable[..., Any] | None,
    inputs: Mapping[str, Any] | None = None,
    /,
    *,
    loss: Callable[..., Any] | None = None,
    reference: Callable[..., Any] | None = None,
    targets: Sequence[str] = (),
    constant: Sequence[str] = (),
    probabilities: Sequence[str] = (),
    seed: int = 0,
    **arrays: Any,
) -> Report:
    """Verify a pair of plain NumPy functions; autograd goes through *your own forward*.

    Args:
        forward: ``forward(x, w, …) -> out, cache``, several outputs before the cache, or ``-> out``
        backward: ``backward(dout, cache)`` or ``backward(dout, x, w, …)``. It returns a gradient for each float array
            in forward's order, fewer if the last have none, or a dict by name. None where ``forward`` returns (value,
            gradients) itself
        inputs: the arguments by name, arrays in dicts and lists among them: float arrays, which are differentiated,
            and anything else, which is handed on as it is. Distinct axis lengths hide least
        loss: where ``backward`` begins at the loss: a function of what forward returns and of ``inputs``, by name
        reference: a torch function of the same arguments, to judge the forward by, and the gradients if that agrees
        targets: inputs that have no gradient
        constant: inputs of which no other values may be tried
        probabilities: inputs whose rows sum to one, in whatever is tried
        seed: of the upstream gradients and of the other inputs that are tried
        arrays: more inputs; an option's name that is also an argument of forward means the argument

    Raises
        TypeError, ValueError: arguments that do not fit ``forward``, or a ``backward`` that fits none of the styles
    """
    start = time.perf_counter()
    given, options = _told_apart(forward, dict(inputs or {}) | arrays, seed=seed, targets=targets, loss=loss)
    checks.whole("seed", options["seed"], 0)
    fixed: Kind = "fixed"
    rows_sum: Kind = "probabilities"
    said = dict.fromkeys(constant, fixed) | dict.fromkeys(probabilities, rows_sum)
    for name in (*options["targets"], *said):
        checks.choice("an input that is named", name, given)
    try:
        unit, flat, notes = function_unit(
            forward, backward, given, reference, options["loss"], tuple(options["targets"])
        )
    except UserCodeError as error:
        return _timed(could_not_be_checked(getattr(forward, "__name__", "forward"), str(error)), start)
    unit = dataclasses.replace(unit, kinds={**unit.kinds, **said})
    report = verify_unit(unit, flat, options["seed"])
    return _timed(dataclasses.replace(report, notes=(*notes, *report.notes)), start)


def verify_derivative(f: Callable[[Any], Any], f_prime: Callable[[Any], Any], x: Array, *, seed: int = 0) -> Report:
    """Verify a function that acts on each element by itself, and its derivative.

    Args:
        f: of one array
        f_prime: its derivative, of f's input or of f's output; or the Jacobian, with one axis more than x
        x: where it is tried
        seed: of the upstream gradients and of the other inputs that are tried

    Raises
        TypeError, ValueError: no functions, or x is no float array
    """
    start = time.perf_counter()
    checks.whole("seed", seed, 0)
    for name, function in (("f", f), ("f_prime", f_prime)):
        if not callable(function):
            raise TypeError(f"{name} is a {type(function).__name__}, expected a function")
    try:
        unit, flat, notes = derivative_unit(f, f_prime, x)
    except UserCodeError as error:
        return _timed(could_not_be_checked(getattr(f, "__name__", "f"), str(error)), start)
    report = verify_unit(unit, flat, seed)
    return _timed(dataclasses.replace(report, notes=(*notes, *report.notes)), start)


def _told_apart(forward: Any, arrays: dict[str, Any], **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The inputs and the options, where forward has an argument that is called as an option is."""
    names = inspect.signature(forward).parameters if callable(forward) else {}
    for name in options:
        if name in names and name not in arrays:
            if name == "seed":
                arrays[name] = options[name]
            elif not isinstance(options[name], tuple) and options[name] is not None:
                arrays[name], options[name] = options[name], () if name == "targets" else None
    return arrays, options


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
    start = time.perf_counter()
    checks.instance("layer", layer, Layer, "a layer with shapes, forward and backward, such as Linear(5, 3)")
    if len(tuple(x_shape)) == 0:
        raise ValueError("x_shape is (), expected (batch, …)")
    for i, n in enumerate(x_shape):
        checks.whole(f"x_shape[{i}]", n, 1)
    checks.choice("dtype", dtype, {"float64": 0, "float32": 0})
    rng = np.random.default_rng(seed)
    # Arrays away from zero and one, where a bias or a γ would not show.
    inputs: dict[str, Any] = {"x": random_input(layer, tuple(x_shape), rng, dtype)}
    inputs |= {name: rng.standard_normal(shape).astype(dtype) for name, shape in trained_shapes(layer).items()}
    module = counterpart(layer)
    if reference is None and module is not None and list(arrays_of(module)) != list(layer.shapes()):
        came, expected = list(arrays_of(module)), list(layer.shapes())
        text = f"the torch counterpart has the arrays {came}, expected those of shapes(), in its order: {expected}"
        return _timed(could_not_be_checked(str(layer), text), start)
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
    return _timed(reports[0] if len(reports) == 1 else merged(str(layer), reports), start)


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
        text = (
            f"In {layer}: with need_dx=False, as the first layer is called in training, {', '.join(wrong)} is another."
        )
        findings = (Finding(wrong[0], UNKNOWN, "none", math.nan, text, "", str(layer), tensors=wrong),)
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
    rows = [compare(n, untrained[n], e, 1e-9 * float(np.abs(e).max()), "a training step") for n, e in expected.items()]
    wrong = tuple(row.tensor for row in rows if row.verdict == "wrong")
    text = f"In {layer}: after a training step {' and '.join(wrong)} {'are' if len(wrong) > 1 else 'is'} not torch's."
    found = (Finding(wrong[0], UNKNOWN, "none", math.nan, text, "", title, tensors=wrong),) if wrong else ()
    return Report(title, (Section(title, tuple(rows)),), found)


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
    start = time.perf_counter()
    checks.float_array("logits", logits, ("batch", "out"))
    if isinstance(loss, type) or not callable(loss):
        raise TypeError(f"loss is {loss!r}, expected a loss such as MSE()")
    inputs = {"logits": logits, "y": y}
    return _timed(verify_unit(loss_unit(loss, reference), inputs, seed), start)


def verify_penalty(penalty: scratch.Penalty, *, seed: int = 0) -> Report:
    """Verify a penalty on the weights: :class:`scratch.Penalty`, or one of your own with the same ``add_grad``.

    Its value and gradient are compared with those of l1 Σ|w| + l2/2 Σw² over the weights, in a network's parameters.

    Raises
        TypeError: it has no ``add_grad``, ``l1`` and ``l2``
    """
    start = time.perf_counter()
    if not all(hasattr(penalty, name) for name in ("add_grad", "l1", "l2")) or isinstance(penalty, type):
        raise TypeError(f"penalty is {penalty!r}, expected a penalty such as Penalty(l2=1e-4)")
    rng = np.random.default_rng(seed)
    inputs = {
        name: rng.standard_normal(shape)
        for name, shape in (("0.weight", (5, 3)), ("0.bias", (5,)), ("2.weight", (7, 5)))
    }
    return _timed(verify_unit(penalty_unit(penalty), inputs, seed), start)


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
    start = time.perf_counter()
    if not isinstance(network, scratch.Network):
        report = _verify_object(network, loss, {"x": x, "y": y} | inputs, reference, seed)
    else:
        check_network(network, loss)
        if params is None:
            dtype = x.dtype if x.dtype == np.float32 else np.float64
            params = random_parameters(network, np.random.default_rng(seed), dtype)
        network.check_input("x", x, params.dtype)
        if params.shapes != network.shapes():
            raise ValueError(f"params has {params.shapes}, expected {network.shapes()}")
        report = verify_chain(network, loss, x, y, params, seed)
    if optimizer is not None:
        report = merged(report.title, [report, verify_optimizer(optimizer, seed=seed)])
    return _timed(report, start)


def _verify_object(network: Any, loss: Any, inputs: dict[str, Any], reference: Any, seed: int) -> Report:
    model = network if isinstance(network, Model) else Model(network, loss)
    if isinstance(network, Model) and loss is not None:
        model = dataclasses.replace(network, loss=loss)
    if not isinstance(inputs["x"], np.ndarray) or inputs["x"].dtype.kind not in "fiu":
        came = f"an array of {inputs['x'].dtype}" if isinstance(inputs["x"], np.ndarray) else type(inputs["x"]).__name__
        raise TypeError(f"x is a {came}, expected a NumPy array of floats, or of integers for an embedding")
    if inputs["x"].dtype.kind == "f":
        checks.finite("x", inputs["x"])
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


def random_input(layer: Layer, shape: tuple[int, ...], rng: np.random.Generator, dtype: Any) -> Array:
    """An input of that shape: of order one and two, both signs; or integers, where the layer takes them."""
    if getattr(layer, "integer_input", False):
        return rng.integers(0, layer.n_in, shape)  # type: ignore[attr-defined]
    return (2 * rng.standard_normal(shape)).astype(dtype)


def _timed(report: Report, start: float) -> Report:
    return dataclasses.replace(report, seconds=time.perf_counter() - start)
