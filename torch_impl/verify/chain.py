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
from torch_impl.verify.report import UNKNOWN, Finding, Report, Section, could_not_be_checked, finding, merged
from torch_impl.verify.tensor import TensorCheck, compare
from torch_impl.verify.tolerances import THROUGH, THROUGH_SMALL
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
        chain = Chain(network, loss, wide, x, y, seed)
    except UserCodeError as error:
        return could_not_be_checked(title, str(error))
    sections, wrong = chain.end_to_end()
    reports = chain.each(single)
    report = merged(title, [Report(title, sections), *reports], chain.notes)
    if isinstance(network.layers[-1], scratch.Softmax) and isinstance(loss, scratch.CrossEntropy):
        report = dataclasses.replace(report, findings=(_softmax_before_loss(network), *report.findings))
    if wrong and all(r.ok for r in reports):
        in_place = [f for f in report.findings if f.mistake == "aliasing"]
        if in_place:  # harmless in a layer by itself; here another one still needs what it changed
            guilty = [dataclasses.replace(f, verdict="wrong") if f in in_place else f for f in report.findings]
            return dataclasses.replace(report, findings=tuple(guilty))
        report = merged(title, [report, chain.whole()])
    return report


class Chain:
    """A unit for each layer and one for the loss, each with what the *reference* hands it.

    ``inputs`` are those of the units, ``upstreams`` the gradients that arrive at them, ``gradients`` what autograd
    makes of both.
    """

    def __init__(self, network: Network, loss: Loss, params: Parameters, x: Array, y: Array, seed: int) -> None:
        self.network, self.loss, self.params, self.x, self.y, self.seed = network, loss, params, x, y, seed
        self.units: list[Unit] = []
        self.inputs: list[Inputs] = []
        self.references: list[Reference] = []
        self.notes: list[str] = []
        rng = np.random.default_rng(seed)
        for i, layer in enumerate(network.layers):
            arrays = {name: params[f"{i}.{name}"].copy() for name in layer.shapes()}
            given: Inputs = {"x": x} | {name: arrays[name] for name in trained_shapes(layer)}
            if takes(layer.forward, "training"):
                given["rng"] = copy.deepcopy(rng)
                # It moves rng on, as the network does.
                call("forward", layer.forward, x.copy(), *arrays.values(), training=rng)
            untrained = {name: arrays[name] for name in getattr(layer, "untrained", ())}
            x = self._add(layer_unit(layer, given, name=f"layer {i}, {layer}", untrained=untrained), given)
        self.value = self._add(loss_unit(loss, name=f"loss, {loss}"), {"logits": x, "y": y})
        self.upstreams, self.gradients = self._backward()

    def _add(self, unit: Unit, given: Inputs) -> Array:
        """The output of the reference of a unit, which is the next one."""
        reference, notes = choose_reference(unit, given)
        self.units.append(unit)
        self.inputs.append(given)
        self.references.append(reference)
        self.notes += notes
        return reference.outputs(given)[0]

    def _backward(self) -> tuple[list[Any], list[dict[str, Array]]]:
        """Autograd's gradient arriving at every unit, and what it sends on."""
        upstream: Any = np.float64(1.0)
        upstreams, gradients = [], []
        for given, reference in zip(reversed(self.inputs), reversed(self.references), strict=True):
            upstreams.append(upstream)
            gradients.append(reference.gradients(given, (upstream,)))
            upstream = gradients[-1].get("logits" if "logits" in given else "x")  # integers have none
        return upstreams[::-1], gradients[::-1]

    def each(self, single: bool) -> list[Report]:
        """The report of every unit by itself, in backward order."""
        reports = []
        for unit, inputs, upstream in reversed(list(zip(self.units, self.inputs, self.upstreams, strict=True))):
            floats = float_arrays(inputs) if single else {}
            given = inputs | {n: v.astype(np.float32) for n, v in floats.items()}
            reports.append(verify_unit(unit, given, self.seed, (upstream,)))
        return reports

    def run(self, params: Parameters, inputs: Inputs) -> tuple[Array, Any, Any, Array]:
        """Logits, caches, the value of the loss and its gradient, as the network runs by itself."""
        rng = np.random.default_rng(self.seed) if self.network.differs_in_training else None
        logits, caches = call("forward", self.network.apply, params, inputs["x"], rng)
        value, dlogits = call("loss", self.loss, logits, inputs["y"])
        return logits, caches, value, dlogits

    def end_to_end(self) -> tuple[tuple[Section, ...], bool]:
        """The network as it runs by itself: forward, boundaries in backward order, parameters; and whether it differs.

        The boundaries and parameters are what counts: a forward is judged with its layer.
        """
        n, gradients = len(self.network.layers), self.gradients
        try:
            with traced() as trace:
                logits, caches, value, dlogits = self.run(self.params, {"x": self.x, "y": self.y})
                whole = self.params.gradients()
                dx = call("backward", self.network.backward, dlogits, caches, *whole.arrays)
        except UserCodeError as error:
            return could_not_be_checked("the whole network", str(error)).sections, False
        names = [unit.name for unit in self.units]
        steps = [*(trace.inputs[str(i)] for i in range(1, n)), logits, value]
        expected = [*(given["x"] for given in self.inputs[1:n]), self.inputs[n]["logits"], self.value]
        forward = [_checked(f"after {k}", a, e) for k, a, e in zip(names, steps, expected, strict=True)]
        backward = [_checked("∂ logits", dlogits, self.upstreams[n - 1])]
        for i in reversed(range(n)):
            if trace.input_gradients[str(i)] is not None and "x" in gradients[i]:
                backward.append(_checked(f"∂ input of layer {i}", trace.input_gradients[str(i)], gradients[i]["x"]))
        if dx is not None:
            backward.append(_checked("∂ x, backward() in one call", dx, gradients[0]["x"]))
        trained = [(i, name) for i, layer in enumerate(self.network.layers) for name in trained_shapes(layer)]
        parameters = [
            _checked(f"∂ {i}.{name}", whole[f"{i}.{name}"], gradients[i][name]) for i, name in reversed(trained)
        ]
        parts = (("forward", forward), ("boundaries", backward), ("parameters", parameters))
        sections = tuple(Section(f"the whole network: {name}", tuple(rows)) for name, rows in parts if rows)
        return sections, any(row.verdict == "wrong" for row in backward + parameters)

    def whole(self) -> Report:
        """Every layer is right by itself and the network is not: what goes wrong lies between them."""
        names = [name for name in self.params if name not in self.params.untrained]
        rngs: dict[int, Any] = {}

        def forward(inputs: Inputs) -> tuple[tuple[Any, ...], Any]:
            mine = self.params.copy()
            for name in names:
                mine[name] = inputs[name]
            _, caches, value, dlogits = self.run(mine, inputs)
            return (value,), (dlogits, caches, mine)

        def backward(_: Any, inputs: Inputs, cache: Any) -> Inputs:  # noqa: ARG001
            dlogits, caches, mine = cache
            grads = mine.gradients()
            dx = call("backward", self.network.backward, dlogits, caches, *grads.arrays)
            return ({} if dx is None else {"x": dx}) | {name: grads[name].copy() for name in names}

        def reference(tensors: dict[str, Any]) -> Any:
            h, rng = tensors["x"], np.random.default_rng(self.seed)
            for i, (layer, unit) in enumerate(zip(self.network.layers, self.units, strict=False)):
                given = {"x": h} | {name: tensors[f"{i}.{name}"] for name in trained_shapes(layer)}
                if takes(layer.forward, "training"):
                    given["rng"] = rngs.setdefault(i, copy.deepcopy(rng))
                assert unit.reference is not None
                h = unit.reference(given)
            assert self.units[-1].reference is not None
            return self.units[-1].reference({"logits": h, "y": tensors["y"]})

        known = all(u.reference is not None for u in self.units) and not self.network.stochastic
        unit = Unit(
            "the whole network", forward, backward, lambda i: forward(i)[0], reference if known else None,
            tuple(names), takes_upstream=False, batch_is_free=True, title=lambda name: f"∂ {name}",
        )  # fmt: skip
        inputs: Inputs = {"x": self.x, "y": self.y} | {name: self.params[name].copy() for name in names}
        report = verify_unit(unit, inputs, self.seed)
        if report.ok:  # only the whole in steps was wrong
            text = "every layer is right by itself, and what the network makes of them is not autograd's"
            found = finding(UNKNOWN, ["∂ x"], "the whole network", text=text)
            return dataclasses.replace(report, findings=(found,))
        return report


def _checked(name: str, hand: Any, reference: Any) -> TensorCheck:
    reference = np.asarray(reference)
    tolerance = THROUGH * float(np.abs(reference).max(initial=0)) + THROUGH_SMALL
    return compare(name, hand, reference, tolerance, "the whole network")


def _softmax_before_loss(network: Network) -> Finding:
    where = f"layer {len(network.layers) - 1}, {network.layers[-1]}"
    return finding(
        CATALOGUE["double-softmax"], ["logits"], "the network", where,
        formula="L = −log softmax(softmax(z)); should be −log softmax(z)",
        evidence="the last layer is a softmax, and CrossEntropy takes logits", residual=0.0,
    )  # fmt: skip


def check_network(network: Any, loss: Any) -> None:
    """Raise unless these are a network and a loss of this project's protocols."""
    checks.instance("network", network, scratch.Network, "a scratch.Network, or a Model around an object of your own")
    if isinstance(loss, type) or not callable(loss):
        came = f"the class {loss.__name__}" if isinstance(loss, type) else f"a {type(loss).__name__}"
        raise TypeError(f"loss is {came}, expected a loss such as MSE()")
