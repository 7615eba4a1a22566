"""A whole network: end to end, then every layer by itself with autograd's inputs and upstream gradients."""

from __future__ import annotations

import copy
import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

import scratch
from scratch import checks
from scratch.composite import traced
from scratch.layers import takes, trained_shapes
from torch_impl.verify.check import verify_unit
from torch_impl.verify.mistakes.catalogue import CATALOGUE
from torch_impl.verify.observe.reference import choose_reference
from torch_impl.verify.report import UNKNOWN, Finding, Report, Section, TensorCheck, compare, finding, merged
from torch_impl.verify.units.layers import layer_unit, loss_unit
from torch_impl.verify.units.unit import Unit, UserCodeError, call, float_arrays

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scratch import Network, Parameters
    from scratch.losses import Loss
    from torch_impl.verify.observe.reference import Reference
    from torch_impl.verify.units.unit import Inputs

    Array = NDArray[Any]


def verify_chain(network: Network, loss: Loss, x: Array, y: Array, params: Parameters, seed: int) -> Report:
    """The report of a :class:`scratch.Network` with its loss."""
    title = f"{type(network).__name__} of {len(network.layers)} layers, {loss}"
    single = x.dtype == np.float32
    x = x if network.integer_input else x.astype(np.float64)
    y = y.astype(np.float64) if np.issubdtype(y.dtype, np.floating) else y
    wide = network.parameters()
    wide.vector[:] = params.vector
    try:
        units, inputs, references, notes = _forward(network, loss, wide, x, y, seed)
    except UserCodeError as error:
        return Report(title, (Section(title, (TensorCheck("all", "could not be checked", note=str(error)),)),))
    upstreams, gradients = _backward(inputs, references)
    sections, chain_wrong = _end_to_end(
        network, loss, wide, x, y, seed, units, references, inputs, upstreams, gradients
    )

    reports = []
    for k in reversed(range(len(units))):
        floats = float_arrays(inputs[k]) if single else {}
        given = inputs[k] | {n: v.astype(np.float32) for n, v in floats.items()}
        reports.append(verify_unit(units[k], given, seed, (upstreams[k],)))
    report = merged(title, [Report(title, sections), *reports], notes)
    if isinstance(network.layers[-1], scratch.Softmax) and isinstance(loss, scratch.CrossEntropy):
        report = dataclasses.replace(report, findings=(_softmax_before_loss(network), *report.findings))
    if chain_wrong and all(r.ok for r in reports):
        in_place = [f for f in report.findings if f.mistake == "aliasing"]
        if in_place:  # harmless in a layer by itself; here another one still needs what it changed
            guilty = [dataclasses.replace(f, verdict="wrong") if f in in_place else f for f in report.findings]
            return dataclasses.replace(report, findings=tuple(guilty))
        report = merged(title, [report, _whole(network, loss, wide, x, y, seed, units)])
    return report


def _forward(
    network: Network, loss: Loss, params: Parameters, x: Array, y: Array, seed: int
) -> tuple[list[Unit], list[Inputs], list[Reference], list[str]]:
    """A unit a layer and one for the loss, with the inputs that the *reference* hands each."""
    rng = np.random.default_rng(seed)
    units: list[Unit] = []
    inputs: list[Inputs] = []
    references: list[Reference] = []
    notes: list[str] = []
    for i, layer in enumerate(network.layers):
        arrays = {name: params[f"{i}.{name}"].copy() for name in layer.shapes()}
        given: Inputs = {"x": x} | {name: arrays[name] for name in trained_shapes(layer)}
        if takes(layer.forward, "training"):
            given["rng"] = copy.deepcopy(rng)
            # It moves rng on, as the network does.
            call("forward", layer.forward, x.copy(), *arrays.values(), training=rng)
        untrained = {name: arrays[name] for name in getattr(layer, "untrained", ())}
        unit = layer_unit(layer, given, name=f"layer {i}, {layer}", untrained=untrained)
        reference, more = choose_reference(unit, given)
        (x,) = reference.outputs(given)
        units.append(unit)
        inputs.append(given)
        references.append(reference)
        notes += more
    given = {"logits": x, "y": y}
    unit = loss_unit(loss, name=f"loss, {loss}")
    reference, more = choose_reference(unit, given)
    return [*units, unit], [*inputs, given], [*references, reference], notes + more


def _backward(inputs: list[Inputs], references: list[Reference]) -> tuple[list[Any], list[dict[str, Array]]]:
    """Autograd's gradient arriving at every unit, and what it sends on."""
    upstream: Any = np.float64(1.0)
    upstreams, gradients = [], []
    for given, reference in zip(reversed(inputs), reversed(references), strict=True):
        upstreams.append(upstream)
        gradients.append(reference.gradients(given, (upstream,)))
        upstream = gradients[-1].get("logits" if "logits" in given else "x")  # integers have none
    return upstreams[::-1], gradients[::-1]


def _end_to_end(
    network: Network, loss: Loss, params: Parameters, x: Array, y: Array, seed: int,
    units: list[Unit], references: list[Reference], inputs: list[Inputs], upstreams: list[Any],
    gradients: list[dict[str, Array]],
) -> tuple[tuple[Section, ...], bool]:  # fmt: skip
    """The network as it runs by itself: forward, boundaries in backward order, parameters."""
    n = len(network.layers)
    rng = np.random.default_rng(seed) if network.differs_in_training else None
    try:
        with traced() as trace:
            logits, caches = call("forward", network.apply, params, x, rng)
            value, dlogits = call("loss", loss, logits, y)
            whole = params.gradients()
            dx = call("backward", network.backward, dlogits, caches, *whole.arrays)
        steps = [*(trace.inputs[str(i)] for i in range(1, n)), logits]
        boundaries = {n: dlogits} | {i: trace.input_gradients[str(i)] for i in range(n)}
    except UserCodeError as error:
        check = TensorCheck("all", "could not be checked", note=str(error))
        return (Section("the whole network", (check,)),), False

    def checked(name: str, hand: Any, reference: Array, probe: str) -> TensorCheck:
        reference = np.asarray(reference)
        tolerance = 1e-9 * float(np.abs(reference).max(initial=0)) + 1e-13
        return compare(name, hand, reference, tolerance, probe)

    expected = [*(i["x" if "x" in i else "logits"] for i in inputs[1:]), references[-1].outputs(inputs[-1])[0]]
    forward = [
        checked(f"after {u.name}", a, e, "forward") for u, a, e in zip(units, [*steps, value], expected, strict=True)
    ]
    backward = [checked("∂ logits", boundaries[n], upstreams[n - 1], "backward")]
    backward += [
        checked(f"∂ input of layer {i}", boundaries[i], gradients[i]["x"], "backward")
        for i in reversed(range(n))
        if boundaries[i] is not None and "x" in gradients[i]
    ]
    backward += [checked("∂ x, backward() in one call", dx, gradients[0]["x"], "backward")] if dx is not None else []
    auto = {
        f"{i}.{name}": gradients[i][name] for i, layer in enumerate(network.layers) for name in trained_shapes(layer)
    }
    parameters = [checked(f"∂ {name}", whole[name], auto[name], "backward") for name in reversed(list(auto))]
    sections = tuple(
        Section(f"the whole network: {name}", tuple(rows))
        for name, rows in (("forward", forward), ("boundaries", backward), ("parameters", parameters)) if rows
    )  # fmt: skip
    return sections, any(row.verdict == "wrong" for row in backward + parameters)


def _softmax_before_loss(network: Network) -> Finding:
    where = f"layer {len(network.layers) - 1}, {network.layers[-1]}"
    return finding(
        CATALOGUE["double-softmax"], ["logits"], "the network", where,
        formula="L = −log softmax(softmax(z)); should be −log softmax(z)",
        evidence="the last layer is a softmax, and CrossEntropy takes logits", residual=0.0,
    )  # fmt: skip


def _whole(
    network: Network, loss: Loss, params: Parameters, x: Array, y: Array, seed: int, units: list[Unit]
) -> Report:
    """Every layer is right by itself and the network is not: what goes wrong lies between them."""
    names = [name for name in params if name not in params.untrained]
    rngs: dict[int, Any] = {}

    def filled(inputs: Inputs) -> Parameters:
        made = params.copy()
        for name in names:
            made[name] = inputs[name]
        return made

    def forward(inputs: Inputs) -> tuple[tuple[Any, ...], Any]:
        rng = np.random.default_rng(seed) if network.differs_in_training else None
        mine = filled(inputs)
        logits, caches = call("forward", network.apply, mine, inputs["x"], rng)
        value, dlogits = call("loss", loss, logits, inputs["y"])
        return (value,), (dlogits, caches, mine)

    def backward(_: Any, inputs: Inputs, cache: Any) -> Inputs:  # noqa: ARG001
        dlogits, caches, mine = cache
        grads = mine.gradients()
        dx = call("backward", network.backward, dlogits, caches, *grads.arrays)
        return ({} if dx is None else {"x": dx}) | {name: grads[name].copy() for name in names}

    def reference(tensors: dict[str, Any]) -> Any:
        h = tensors["x"]
        rng = np.random.default_rng(seed)
        for i, (layer, unit) in enumerate(zip(network.layers, units, strict=False)):
            given = {"x": h} | {name: tensors[f"{i}.{name}"] for name in trained_shapes(layer)}
            if takes(layer.forward, "training"):
                given["rng"] = rngs.setdefault(i, copy.deepcopy(rng))
            assert unit.reference is not None
            h = unit.reference(given)
        assert units[-1].reference is not None
        return units[-1].reference({"logits": h, "y": tensors["y"]})

    unit = Unit(
        "the whole network", forward, backward, lambda i: forward(i)[0],
        reference if all(u.reference is not None for u in units) and not network.stochastic else None,
        tuple(names), takes_upstream=False, batch_is_free=True, title=lambda name: f"∂ {name}",
    )  # fmt: skip
    inputs: Inputs = {"x": x, "y": y} | {name: params[name].copy() for name in names}
    report = verify_unit(unit, inputs, seed)
    if report.ok:  # only the whole in steps was wrong
        text = "every layer is right by itself, and what the network makes of them is not autograd's"
        found = finding(UNKNOWN, ["∂ x"], "the whole network", text=text)
        return dataclasses.replace(report, findings=(found,))
    return report


def check_network(network: Any, loss: Any) -> None:
    """Raise unless these are a network and a loss of this project's protocols."""
    checks.instance("network", network, scratch.Network, "a scratch.Network, or a Model around an object of your own")
    if isinstance(loss, type) or not callable(loss):
        came = f"the class {loss.__name__}" if isinstance(loss, type) else f"a {type(loss).__name__}"
        raise TypeError(f"loss is {came}, expected a loss such as MSE()")
