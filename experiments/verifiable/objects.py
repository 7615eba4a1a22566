"""How the instances and classes of a file are verified."""

import inspect
import itertools
import re
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

import scratch
from experiments.verifiable.calls import needed, returns_several
from experiments.verifiable.classes import (
    Instance,
    NothingToVerifyError,
    backward_method,
    constructed,
    forward_method,
    loss_method,
)
from experiments.verifiable.discovery import DERIVATIVE, LOSS, Found, own_functions, snake
from experiments.verifiable.inputs import Inputs, with_note
from experiments.verifiable.instances import Trial, fitted
from experiments.verifiable.names import is_target
from scratch.layers import Layer
from scratch.losses import Loss
from scratch.optim import Optimizer
from torch_impl import verify
from torch_impl.verify import Model, Report

Way = Callable[[Found, Any, Inputs], Report]


def way_of(thing: Any, module_name: str) -> Way | None:
    """How an object is verified; None for one that is nothing to verify."""
    kinds: dict[Any, Way] = {
        scratch.Network: _network, Model: _model, Optimizer: _optimizer, Loss: _loss, Layer: _layer,
    }  # fmt: skip
    for kind, way in kinds.items():
        if isinstance(thing, kind):
            return way
    cls = type(thing)
    return _object if cls.__module__ == module_name and forward_method(cls) and backward_method(cls) else None


def verify_instance(one: Found, inputs: Inputs) -> Report:
    """A module-level instance."""
    (thing,) = one.parts
    way = way_of(thing, inputs.module.__name__)
    assert way is not None  # the others are not found
    return way(one, thing, inputs)


def verify_class(one: Found, inputs: Inputs) -> Report:
    """A class, constructed with guessed arguments."""
    (cls,) = one.parts
    try:
        instances = constructed(cls)
        first = next(instances)
        way = way_of(first.thing, inputs.module.__name__)
        if way is not None and way is not _object:  # a layer or loss of this project's protocol
            report = way(one, first.thing, inputs)
            return with_note(report, one.name, first.how and f"constructed as {first.how}", INSTANCE)
        trial = fitted(itertools.chain([first], instances), inputs.of(one.name), inputs.seed)
    except Exception as error:
        if forward_method(cls) == loss_method(cls):  # a method called loss may return anything
            raise NothingToVerifyError("its loss does not return its gradients") from error
        raise
    return _verified(one, trial, inputs)


def _object(one: Found, thing: Any, inputs: Inputs) -> Report:
    return _verified(one, fitted([Instance(thing)], inputs.of(one.name), inputs.seed), inputs)


INSTANCE = "a module-level instance"


def _verified(one: Found, trial: Trial, inputs: Inputs) -> Report:
    """The report of an object, with what was guessed of it."""
    thing, how = trial.instance.thing, trial.instance.how
    losses = _losses_beside(inputs.module) if "y" in trial.inputs and not _has_loss(thing) else []
    beside = {"loss": losses[0]} if len(losses) == 1 else {}
    report = verify.verify_network(thing, **beside, **trial.inputs, seed=inputs.seed)
    said = [f"constructed as {how}" if how else "", f"called with {trial.said}" if trial.said else ""]
    instead = "--shapes or sample_inputs(rng)" + (f", or with {INSTANCE}" if how else "")
    return with_note(report.renamed(one.name), one.name, " and ".join(filter(None, said)), instead)


def _has_loss(thing: Any) -> bool:
    """Whether it computes its loss itself: it has a method for it, or its forward method takes the targets."""
    names = needed(getattr(thing, forward_method(type(thing))))
    return any(map(is_target, names)) or any("loss" in name or "cost" in name for name in dir(type(thing)))


def _losses_beside(module: ModuleType) -> list[Any]:
    """The plain functions loss(p, y) of the module."""
    functions = [f for name, f in own_functions(module).items() if LOSS.search(snake(name))]
    return [
        f for f in functions
        if len(needed(f)) == 2 and any(map(is_target, needed(f))) and not returns_several(f)
        and not re.search(DERIVATIVE, f.__name__)
    ]  # fmt: skip


def _network(_: Found, network: scratch.Network, inputs: Inputs) -> Report:
    losses = [thing for name, thing in vars(inputs.module).items() if not name.startswith("_") and _is_loss(thing)]
    if len(losses) != 1:
        example = "such as loss = MSE()"
        raise ValueError(f"the file holds {len(losses)} losses, expected one beside a network, {example}")
    return verify.verify_network(network, losses[0], **inputs.data("network"), seed=inputs.seed)


def _is_loss(thing: Any) -> bool:
    return not isinstance(thing, type) and not inspect.isroutine(thing) and isinstance(thing, Loss)


def _model(one: Found, model: Model, inputs: Inputs) -> Report:
    return verify.verify_network(model, **inputs.data(one.name), seed=inputs.seed)


def _optimizer(_: Found, optimizer: Optimizer, inputs: Inputs) -> Report:
    return verify.verify_optimizer(optimizer, seed=inputs.seed)


def _loss(one: Found, loss: Loss, inputs: Inputs) -> Report:
    given = inputs.of(one.name)
    if "logits" in given and "y" in given:
        return verify.verify_loss(loss, given["logits"], given["y"], seed=inputs.seed)
    rng = np.random.default_rng(inputs.seed)
    logits = rng.standard_normal((7, 5))
    for y in (rng.integers(0, 5, 7), rng.random((7, 5))):
        try:
            loss(logits, y)
        except Exception:  # this kind of target is none of this loss
            continue
        return verify.verify_loss(loss, logits, y, seed=inputs.seed)
    expected = "expected sample_inputs(rng) to return logits and y"
    raise ValueError(f"neither classes nor floats are targets it takes; {expected}")


def _layer(one: Found, layer: Layer, inputs: Inputs) -> Report:
    x = inputs.of(one.name).get("x")
    width = next((s[-1] for n, s in layer.shapes().items() if len(s) == 1 and n != "bias"), 5)
    shape = x.shape if x is not None else (7, getattr(layer, "n_in", width))
    return verify.verify_layer(layer, shape, seed=inputs.seed)
