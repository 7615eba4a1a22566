"""An object in use: loaded with weights, called, and put back as it was."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from torch_impl.verify.units.calls import Plan, is_rate, parameters, role
from torch_impl.verify.units.gradients import RETURNED, is_number, leaves
from torch_impl.verify.units.objects import Snapshot, dotted, put, reach, walk
from torch_impl.verify.units.unit import BACKWARD_SEED, FORWARD_SEED, call, same_global_draws

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from torch_impl.verify.units.models import Model
    from torch_impl.verify.units.objects import Path
    from torch_impl.verify.units.unit import Inputs, Outputs

    Array = NDArray[Any]
    Arrays = dict[Path, tuple[Array, bytes]]


@dataclass
class Kept:
    """What lies between a forward and its backward: the state of the object, and what forward returned."""

    state: Snapshot
    result: tuple[Any, Any]


class Held:
    """An object in use: loaded with weights, called, and put back as it was."""

    def __init__(self, model: Model, data: Inputs) -> None:
        self.model, self.data, self.rate = model, data, 1.0 if model.lr is None else model.lr
        self.obj, self.name = model.model, type(model.model).__name__
        self.plan = Plan(model.model, data, model.loss, model.forward, model.backward)
        self.roots = [self.obj, *self.plan.roots]
        self.start = self.base = Snapshot(self.roots)  # what to leave behind, and what to begin with
        self.slots: dict[str, list[Path]] = {}  # where the object holds its data, if forward takes none
        self.weights: dict[str, list[Path]] = {}  # every place of each
        self.values: dict[str, Array] = {}  # of the weights, as they were handed over
        self.written: list[Path] = []  # other arrays that the forward writes into
        self.numbers: set[str] = set()  # weights that are plain numbers, as a bias may be
        self.places: dict[str, Path] = {}  # of the gradients
        self.updated: set[str] = set()  # weights that backward changes
        self.descends = False  # learning rates and optimizers inside give way to plain steps
        self.notes: list[str] = []
        self.sizes: set[int] = set()  # whole numbers that the object keeps
        self.n_outputs = 1
        self.output_path: Path = ()  # of the output, if forward returns nothing

    @contextmanager
    def state(self, state: Snapshot, seed: int = FORWARD_SEED) -> Iterator[None]:
        """The object as it was at some moment; inside, np.random starts at a seed."""
        try:
            state.restore()
            with same_global_draws(seed):
                yield
        finally:
            self.start.restore()

    def forward(self, inputs: Inputs) -> tuple[Outputs, tuple[Kept, dict[str, Array]]]:
        """The outputs, and as the cache the object's state, with the arrays that the forward made for its backward."""
        with self.state(self.base):
            call("forward", self.load, inputs)
            before = self.arrays()
            outputs, result = call("forward", self.ahead, inputs)
            after = self.arrays()
            made = {dotted(path): np.array(after[path][0]) for path in changed(before, after)}
            return outputs, (Kept(Snapshot(self.roots), result), made)

    def traced(self, inputs: Inputs) -> Outputs:
        with self.state(self.base):
            self.load(inputs)
            for path in self.written:  # where the forward writes into an array, that one has to record as well
                fresh = np.zeros(reach(self.obj, path).shape)
                fresh[...] = reach(self.obj, path)
                put(self.obj, path, fresh)
            return self.ahead(inputs)[0]

    def backward(self, upstream: Outputs, inputs: Inputs, cache: tuple[Kept, dict[str, Array]]) -> Inputs:
        """The gradients; the cache becomes the state that backward leaves, for another call to go on from."""
        kept, made = cache
        with self.state(kept.state, BACKWARD_SEED.get()):
            before = {name: np.array(reach(self.obj, self.weights[name][0])) for name in self.updated}
            returned = call("backward", self.back, upstream, inputs, kept)
            given, gradients = leaves(returned), {}
            for name, path in self.places.items():
                value = given.get(path) if path[0] == RETURNED else call("the gradient's name", reach, self.obj, path)
                gradients[name] = None if value is None else np.array(value)
            for name in self.updated - self.places.keys():
                gradients[name] = (before[name] - reach(self.obj, self.weights[name][0])) / self.rate
            kept.state = Snapshot(self.roots)
            made.update({dotted(p): np.array(a) for p, (a, _) in self.arrays().items() if dotted(p) in made})
            return gradients

    def load(self, inputs: Inputs) -> None:
        """Set the weights: in the same arrays where their dtype fits, for others may be views of them."""
        for name, paths in (self.weights | self.slots).items():
            value, array = inputs[name], reach(self.obj, paths[0])
            if value.shape != np.shape(array) and self.sizes.intersection(np.shape(array)):
                raise ValueError(f"{name} has shape {value.shape}, and the object keeps a size of it as a number")
            if type(value) is np.ndarray:  # and none that records
                fits = np.shape(array) == value.shape and getattr(array, "dtype", None) == value.dtype
                if fits and isinstance(array, np.ndarray) and array.flags.writeable:
                    array[...] = value
                    continue
                value = value.copy() if isinstance(array, np.ndarray) else value[()]
            for path in paths:
                put(self.obj, path, value)
        loaded = {path for paths in self.weights.values() for path in paths}
        gradients = {path for name, path in self.places.items() if name in self.weights}
        wide = next((inputs[name].dtype for name in self.weights), None)
        for path, value in list(walk(self.obj)):
            if path in loaded or type(value) is not np.ndarray or value.dtype.kind != "f":
                continue
            if wide is not None and value.dtype != wide:  # a buffer in float32 would round what it is filled with
                value = value.astype(wide)
                put(self.obj, path, value)
            if path in gradients and value.flags.writeable:  # code that adds to its gradients starts from none
                value[...] = 0

    def ahead(self, inputs: Inputs) -> tuple[Outputs, tuple[Any, Any]]:
        """The forward pass on the object as it is: its outputs, and what the forward and the loss returned."""
        given = self.given(inputs)
        result = self.plan.predict(given)
        if result is None:
            result = reach(self.obj, self.output_path)
        if self.plan.loss is not None:
            p = result[0] if isinstance(result, tuple) else np.stack(result) if isinstance(result, list) else result
            value = self.plan.value(given, p)
            return (value[0] if isinstance(value, tuple) else value,), (p, value)
        if isinstance(result, tuple | list):
            return tuple(result[: self.n_outputs]), (result[0], result)
        return (result,), (result, result)

    def back(self, upstream: Outputs, inputs: Inputs, kept: Kept) -> Any:
        """What backward returns."""
        if self.descends:
            _descend(self.obj, self.rate)
        return self.plan.backward(self.given(inputs), upstream, *kept.result, self.n_outputs)

    def given(self, inputs: Inputs) -> Inputs:
        """What forward and backward are called with."""
        return {n: v for n, v in inputs.items() if n in self.data} | {"lr": self.rate}

    def arrays(self) -> Arrays:
        """Every float array that the object holds now, and its numbers."""
        return {p: (a, np.asarray(a).tobytes()) for p, a in walk(self.obj) if is_number(a) or type(a) is float}


def changed(before: Arrays, after: Arrays) -> list[Path]:
    """Where there is a new array now, or other numbers in an old one."""
    return [p for p, (a, n) in after.items() if p not in before or before[p][0] is not a or before[p][1] != n]


def _descend(obj: Any, rate: float) -> None:
    """Set every learning rate inside, and let every optimizer inside take plain steps: w − rate g."""
    for path, thing in list(walk(obj))[1:]:
        if is_rate(path[-1]) and type(thing) in (float, int):
            put(obj, path, rate)
        elif role(path[-1]) == "epochs" and type(thing) is int:
            put(obj, path, 1)
        attributes, update = getattr(thing, "__dict__", {}), getattr(thing, "update", None)
        if any(map(is_rate, attributes)) and len(parameters(update)) == 2:
            attributes["update"] = lambda weight, gradient: weight - rate * gradient
