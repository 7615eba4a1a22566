"""Units of objects that hold their weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from scratch import checks
from torch_impl.verify.units.unit import BACKWARD_SEED, Unit, call, float_arrays, same_global_draws

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from torch_impl.verify.units.unit import Inputs, Outputs

    Array = NDArray[Any]


@dataclass(frozen=True)
class Model:
    """An adapter for any object that holds its weights and either fills gradient attributes or updates itself.

        Model(net, loss=lambda net, x, y: net.loss(x, y), backward=lambda net, x, y: net.backward(y),
              gradients={"W1": "dW1", "b1": "db1"})
        Model(net, loss=…, backward=lambda net, x, y: net.train_step(x, y, lr=0.1), weights=("W1", "b1"), lr=0.1)

    ``gradients`` names the attribute of each weight and that of its gradient; with ``weights`` and ``lr`` the gradients
    are recovered from the update, (before − after) / lr. A dotted name goes through attributes, list indices and dict
    keys: "layers.0.W". ``loss`` is the forward pass, down to one number; ``backward`` is called right after it.
    """

    model: Any
    loss: Callable[[Any, Any, Any], Any]
    backward: Callable[[Any, Any, Any], Any]
    gradients: Mapping[str, str] = field(default_factory=dict)
    weights: Sequence[str] = ()
    lr: float | None = None

    def __post_init__(self) -> None:
        if bool(self.gradients) == bool(self.weights):
            raise ValueError("expected either gradients={weight: gradient} or weights=(…) with lr=…")
        if self.weights:
            checks.number("lr (the learning rate of the update)", self.lr, 0, above=True)
        for path in self.names:
            try:
                value = _get(self.model, path)
            except (AttributeError, KeyError, IndexError, ValueError) as error:
                there = ", ".join(vars(self.model)) if hasattr(self.model, "__dict__") else "no attributes"
                raise ValueError(f"there is no weight {path!r}; the {type(self.model).__name__} has {there}") from error
            if float_arrays({path: value}) == {}:
                raise TypeError(f"the weight {path!r} is a {type(value).__name__}, expected a float array")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.gradients or self.weights)

    def parameters(self) -> dict[str, Array]:
        """The weights as they are now, copied."""
        return {path: np.array(_get(self.model, path)) for path in self.names}


def model_unit(model: Model, reference: Callable[..., Any] | None = None, name: str | None = None) -> Unit:
    """A unit of an object; its inputs are x, y and the weights by name."""

    def loaded(inputs: Inputs) -> Any:
        net = copy.deepcopy(model.model)
        for path in model.names:
            _set(net, path, inputs[path].copy())
        return net

    def run_forward(inputs: Inputs) -> tuple[Outputs, Any]:
        net = loaded(inputs)
        with same_global_draws():
            return (call("loss", model.loss, net, inputs["x"], inputs["y"]),), net

    def run_backward(_: Outputs, inputs: Inputs, net: Any) -> Inputs:
        with same_global_draws(BACKWARD_SEED.get()):
            call("backward", model.backward, net, inputs["x"], inputs["y"])
        if model.gradients:
            found = {path: call("the gradient's name", _get, net, name) for path, name in model.gradients.items()}
            return {path: np.array(gradient) for path, gradient in found.items()}
        assert model.lr is not None  # checked at the start
        return {path: (inputs[path] - _get(net, path)) / model.lr for path in model.names}

    net = copy.deepcopy(model.model)  # one for the tracer, which can't go through a copy

    def traced(inputs: Inputs) -> Outputs:
        for path in model.names:
            _set(net, path, inputs[path])
        return (model.loss(net, inputs["x"], inputs["y"]),)

    return Unit(
        name or type(model.model).__name__,
        run_forward,
        run_backward,
        traced,
        None if reference is None else lambda tensors: reference(**tensors),
        model.names,
        takes_upstream=False,
        updates_itself=bool(model.weights),
    )


def _get(thing: Any, path: str) -> Any:
    for part in path.split("."):
        if isinstance(thing, Mapping):
            thing = thing[part]
        elif isinstance(thing, list | tuple):
            thing = thing[int(part)]
        else:
            thing = getattr(thing, part)
    return thing


def _set(thing: Any, path: str, value: Any) -> None:
    *before, last = path.split(".")
    owner = _get(thing, ".".join(before)) if before else thing
    if isinstance(owner, Mapping):
        owner[last] = value  # type: ignore[index]
    elif isinstance(owner, list):
        owner[int(last)] = value
    else:
        setattr(owner, last, value)
