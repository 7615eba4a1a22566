"""Units of objects that hold their weights; what is not said of an object is found out by looking."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import MethodType
from typing import TYPE_CHECKING, Any

import numpy as np

from scratch import checks
from torch_impl.verify.units.calls import Plan, is_rate, parameters, role
from torch_impl.verify.units.gradients import RETURNED, dotted, is_gradient, is_number, leaves, matched
from torch_impl.verify.units.objects import Snapshot, contents, put, reach, walk
from torch_impl.verify.units.unit import BACKWARD_SEED, Unit, UserCodeError, call, float_arrays, own, same_global_draws

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from torch_impl.verify.units.objects import Path
    from torch_impl.verify.units.unit import Inputs, Outputs

    Array = NDArray[Any]

# Arrays that a forward uses and nobody trains. An object does not say which those are.
_CONSTANTS = ("running", "moving", "mean", "std", "var", "mask", "pe", "pos_enc", "position", "eps", "one_hot", "eye")


@dataclass(frozen=True)
class Model:
    """An object that holds its weights, with what the verifier is told of it; the rest it finds out.

        Model(net)
        Model(net, gradients={"W1": "dW1", "b1": "db1"})
        Model(net, loss=lambda net, x, y: net.loss(x, y), backward=lambda net, x, y: net.train_step(x, y, lr=0.1),
              weights=("W1", "b1"), lr=0.1)

    ``gradients`` names the attribute of each weight and that of its gradient; with ``lr`` the gradients of weights that
    backward updates are recovered from the update, (before − after) / lr. A dotted name goes through attributes, list
    indices and dict keys: "layers.0.W". ``loss`` is the author's function or object, loss(p, y), or a function of
    (model, x, y) that is the forward pass down to one number. ``forward`` and ``backward`` are names of methods, or
    functions of (model, x) and (model, x, y) or (model, dout); backward is called right after forward.
    """

    model: Any
    loss: Any = None
    backward: str | Callable[..., Any] | None = None
    gradients: Mapping[str, str] | None = None
    weights: Sequence[str] = ()
    lr: float | None = None
    forward: str | Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        if self.model is None or isinstance(self.model, int | float | str | list | tuple | dict | np.ndarray):
            raise TypeError(f"network is a {type(self.model).__name__}, expected an object with forward and backward")
        if self.gradients and self.weights:
            raise ValueError("expected either gradients={weight: gradient} or weights=(…) with lr=…, given are both")
        if self.lr is not None:
            checks.number("lr (the learning rate of the update)", self.lr, 0, above=True)
        there = {dotted(path): value for path, value in walk(self.model)}
        for name in self.names:
            try:
                value = there[name] if name in there else reach(self.model, tuple(name.split(".")))
            except KeyError:
                held = ", ".join(str(k) for k in contents(self.model, True) or {}) or "no attributes"
                raise ValueError(f"there is no weight {name!r}; the {type(self.model).__name__} has {held}") from None
            if float_arrays({name: value}) == {}:
                raise TypeError(f"the weight {name!r} is a {type(value).__name__}, expected a float array")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.gradients or self.weights)


def object_unit(model: Model, data: Inputs, reference: Any = None, name: str | None = None) -> tuple[Unit, Inputs]:
    """A unit of an object and its inputs: ``data``, x, y and further arguments of forward, and the weights by name.

    The object is used as it is and put back after every call; the cache of the unit is what it then held.

    Raises
        TypeError, ValueError: an object without the methods, or one whose weights or gradients can't be found out
        UserCodeError: the code raised
    """
    held = _Held(model, {n: v for n, v in data.items() if v is not None})
    unit = Unit(
        name or str(getattr(model.model, "__name__", type(model.model).__name__)),
        held.forward,
        held.backward,
        held.traced,
        None if reference is None else lambda tensors: reference(**tensors),
        held.parameters,
        takes_upstream=held.takes_upstream,
        updates_itself=bool(held.updated),
        stateful=True,
        notes=tuple(held.notes),
    )
    return unit, held.data | held.values


@dataclass
class _Kept:
    """What lies between a forward and its backward: the state of the object, and what forward returned."""

    state: Snapshot
    outputs: Outputs
    result: tuple[Any, Any]


class _Held:
    """An object in use: loaded with weights, called, and put back as it was."""

    def __init__(self, model: Model, data: Inputs) -> None:
        self.model, self.data, self.rate = model, data, 1.0 if model.lr is None else model.lr
        self.obj = model.model
        self.plan = Plan(model.model, data, model.loss, model.forward, model.backward)
        self.roots = [self.obj, *self.plan.roots]
        self.start = self.base = handed_over = Snapshot(self.roots)
        self.slots: dict[str, list[Path]] = {}
        self.weights: dict[str, list[Path]] = {}
        self.values: dict[str, Array] = {}
        self.written: list[Path] = []
        self.numbers: set[str] = set()  # weights that are plain numbers, as a bias may be
        self.places: dict[str, Path] = {}
        self.updated: set[str] = set()
        self.descends = False
        self.notes: list[str] = []
        self.sizes: set[int] = set()
        self.n_outputs = 1
        self.output_path: Path = ()
        try:
            with same_global_draws():
                self._find_weights()
            self._find_gradients()
        finally:
            self.start = handed_over
            self.start.restore()

    # --- what the unit calls ---

    @contextmanager
    def _state(self, state: Snapshot) -> Iterator[None]:
        try:
            state.restore()
            yield
        finally:
            self.start.restore()

    def forward(self, inputs: Inputs) -> tuple[Outputs, _Kept]:
        with self._state(self.base), same_global_draws():
            call("forward", self._load, inputs)
            outputs, result = call("forward", self._ahead, inputs)
            return outputs, _Kept(Snapshot(self.roots), outputs, result)

    def traced(self, inputs: Inputs) -> Outputs:
        with self._state(self.base):
            self._load(inputs)
            for path in self.written:  # where the forward writes into an array, that one has to record as well
                fresh = np.zeros(reach(self.obj, path).shape)
                fresh[...] = reach(self.obj, path)
                put(self.obj, path, fresh)
            return self._ahead(inputs)[0]

    def backward(self, upstream: Outputs, inputs: Inputs, kept: _Kept) -> Inputs:
        with self._state(kept.state), same_global_draws(BACKWARD_SEED.get()):
            before = {name: np.array(reach(self.obj, self.weights[name][0])) for name in self.updated}
            returned = call("backward", self._back, upstream, inputs, kept)
            given, gradients = leaves(returned), {}
            for name, path in self.places.items():
                value = given.get(path) if path[0] == RETURNED else call("the gradient's name", reach, self.obj, path)
                gradients[name] = None if value is None else np.array(value)
            for name in self.updated - self.places.keys():
                gradients[name] = (before[name] - reach(self.obj, self.weights[name][0])) / self.rate
            if self.plan.derivative:
                gradients = {"x": upstream[0] * returned}
            kept.state = Snapshot(self.roots)
            return gradients

    @property
    def takes_upstream(self) -> bool:
        return not self.plan.ends_in_a_loss

    @property
    def parameters(self) -> tuple[str, ...]:
        return tuple(self.weights)

    def _load(self, inputs: Inputs) -> None:
        """Set the weights: in the same arrays where their dtype fits, for others may be views of them."""
        wide = [inputs[n].dtype for n in self.weights]
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
        loaded = {p for paths in self.weights.values() for p in paths}
        for path, value in (
            list(walk(self.obj)) if wide else ()
        ):  # a buffer in float32 would round what it is filled with
            if path not in loaded and type(value) is np.ndarray and value.dtype.kind == "f" and value.dtype != wide[0]:
                put(self.obj, path, value.astype(wide[0]))
        for name, path in self.places.items():
            try:
                stale = reach(self.obj, path) if name in self.weights and path[0] != RETURNED else None
            except KeyError:
                continue
            if type(stale) is np.ndarray and stale.flags.writeable:
                stale[...] = 0  # code that adds to its gradients starts from none

    def _ahead(self, inputs: Inputs) -> tuple[Outputs, tuple[Any, Any]]:
        """The forward pass on the object as it is: its outputs, and what the forward and the loss returned."""
        given = self._given(inputs)
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

    def _back(self, upstream: Outputs, inputs: Inputs, kept: _Kept) -> Any:
        if self.descends:
            _descend(self.obj, self.rate)
        return self.plan.backward(self._given(inputs), upstream, *kept.result, self.n_outputs)

    def _given(self, inputs: Inputs) -> Inputs:
        return {n: v for n, v in inputs.items() if n in self.data} | {"lr": self.rate}

    # --- what is found out at the start ---

    def _find_weights(self) -> None:
        """The float arrays on which the outputs depend, and which the forward does not overwrite."""
        self._first_run()
        if not any(role(n) != "training" for n in parameters(self.plan.first)):
            self.slots = {n: self._holding(v) for n, v in self.data.items() if isinstance(v, np.ndarray)}
            self.slots = {n: paths for n, paths in self.slots.items() if paths}
        self.sizes = {n for _, n in walk(self.obj) if type(n) is int}
        taken = {path for paths in self.slots.values() for path in paths}
        plain, before = self._outputs({}), self._arrays()
        with self._state(self.base):
            self._ahead(own(self.data))
            after = self._arrays()
        kept = {
            p: a for p, (a, numbers) in before.items() if p in after and after[p][0] is a and after[p][1] == numbers
        }
        self.written = [p for p, (a, numbers) in before.items() if p in after and after[p][0] is a and p not in kept]
        shared: dict[int, list[Path]] = {}
        for path, array in kept.items():
            if path not in taken and np.size(array) and not (path and is_rate(path[-1])):
                shared.setdefault(id(array) if np.ndim(array) else hash(path), []).append(path)
        wanted = self.model.names
        for paths in shared.values():
            array = kept[paths[0]]
            name = next((n for n in map(dotted, paths) if n in wanted), dotted(paths[0]))
            if wanted and name not in wanted:
                continue
            if wanted or not _same(plain, self._outputs(dict.fromkeys(paths, _moved(array)))):
                name = name if name not in self.data else f"{name} of {type(self.obj).__name__}"
                self.weights[name], self.values[name] = paths, np.array(array)
                if not isinstance(array, np.ndarray):
                    self.numbers.add(name)

    def _first_run(self) -> None:
        """One forward, to see what it returns; it may be what makes the weights."""
        with self._state(self.base):
            given, before = self.base, self._arrays()
            try:
                result = call("forward", self.plan.predict, self._given(own(self.data)))
            except UserCodeError:
                if not self._build():
                    raise
                result = call("forward", self.plan.predict, self._given(own(self.data)))
            made = {p: a for p, (a, _) in self._arrays().items() if p not in before or before[p][0] is not a}
            if result is None:
                named = [p for p in made if len(p) == 1 and str(p[0]).lower().strip("_") in _OUTPUTS]
                if not named:
                    raise UserCodeError(
                        "forward returned nothing, and left no attribute called output; expected an array"
                    )
                self.output_path = named[0]
            grown = Snapshot(self.roots)
            call("forward", self.plan.predict, self._given(own(self.data)))
            lasting = [p for p, (a, _) in self._arrays().items() if p not in before and made.get(p) is a]
        if lasting:  # the first forward built the weights, unless it merely kept its input
            self.start = self.base = grown
            grown.restore()
            plain = self._outputs({})
            if all(_same(plain, self._outputs({p: _moved(reach(self.obj, p))})) for p in lasting):
                self.start = self.base = given
                given.restore()
        back = parameters(self.plan.back) if self.plan.back is not None else {}
        asked = [
            n for n, p in back.items() if p.default is p.empty and role(n) in (None, "dout") and n not in self.data
        ]
        if isinstance(result, tuple | list):
            arrays = next((i for i, v in enumerate(result) if not is_number(v)), len(result))
            self.n_outputs = max(1, min(len(asked), arrays))
        if self.plan.loss is None and self.plan.ends_in_a_loss and np.ndim(result) and "dout" in map(role, asked):
            self.plan.ends_in_a_loss = False  # y is another input

    def _build(self) -> bool:
        """Whether the object has a method by which it makes its weights, as initialize(optimizer); that is called."""
        x, called = self.data["x"], False
        self.start.restore()
        for build in filter(None, (getattr(self.obj, name, None) for name in _BUILDERS)):
            given = {n: _Descent() if n == "optimizer" else x.shape[1:] if "shape" in n else x.shape[-1]
                     for n, p in parameters(build).items() if p.default is p.empty}  # fmt: skip
            call("building the weights", build, **given)
            called = True
        return called

    def _holding(self, value: Array) -> list[Path]:
        """Where the object holds these very numbers: the data of a forward that takes none."""
        return [p for p, a in walk(self.obj) if isinstance(a, np.ndarray) and np.array_equal(a, value)]

    def _arrays(self) -> dict[Path, tuple[Array, bytes]]:
        """Every float array that the object holds now, and its numbers."""
        return {p: (a, np.asarray(a).tobytes()) for p, a in walk(self.obj) if is_number(a) or type(a) is float}

    def _outputs(self, change: dict[Path, Array]) -> list[Array] | None:
        """The outputs with some arrays replaced; None if that raises."""
        with self._state(self.base), np.errstate(all="ignore"):
            try:
                for path, array in change.items():
                    put(self.obj, path, array)
                return [np.array(o) for o in self._ahead(own(self.data))[0]]
            except Exception:  # it is no weight that the forward can do without
                return None

    def _find_gradients(self) -> None:
        """Where backward leaves the gradient of each input and weight."""
        self.plan.derivative &= not self.weights and "x" in float_arrays(self.data)
        if self.plan.derivative:
            self._choose_argument()
            if self.plan.derivative:
                return
        returned, before, after = self._observed(self.rate)
        self.updated = {n for n in self.weights if after[self.weights[n][0]][1] != before[self.weights[n][0]][1]}
        given = leaves(returned)
        if self.plan.ends_in_a_loss:  # a number is the loss once more
            given = {p: a for p, a in given.items() if a.ndim or (isinstance(p[-1], str) and p != (RETURNED,))}
        taken = {p for paths in (self.weights | self.slots).values() for p in paths}
        held = {p: np.asarray(a) for p, (a, _) in after.items() if p not in taken}
        fresh = {p for p in held if p not in before or before[p][0] is not after[p][0] or before[p][1] != after[p][1]}
        data = {n: v for n, v in float_arrays(self.data).items() if n != "y" or not self.plan.ends_in_a_loss}
        weights = {n: (self.values[n], [*self._listed(n), *paths]) for n, paths in self.weights.items()}
        if self.model.gradients:
            known = {dotted(p): p for p in [*held, *given]}
            self.places = {n: known.get(g, tuple(g.split("."))) for n, g in self.model.gradients.items()}
            self.updated -= self.places.keys()
            weights = {}
        gradients = [dotted(p) for p in fresh if is_gradient(p[-1])]
        if gradients and not self.weights:
            name = type(self.obj).__name__
            self.notes.append(
                f"{name}: backward leaves {', '.join(gradients)}, and no weight was found that forward uses"
            )
        attributes = not self.plan.ends_in_a_loss or not weights
        found = matched(data, weights, given, held, fresh, self.updated | self.numbers, attributes)
        self.places |= {n: p for n, p in found.items() if n not in self.places}
        for name in self.numbers - self.places.keys() - self.updated:  # no weight, but a slope or a size
            del self.weights[name], self.values[name]
        if self.model.weights and self.model.lr is not None:  # it is said that they are updated
            self.updated = set(self.weights)
            self.places = {n: p for n, p in self.places.items() if n not in self.weights}
        elif self.updated - self.places.keys() and self.model.lr is None:
            self._check_rate()
        self._leave_constants()
        if not float_arrays(self.data | self.values):
            raise TypeError("x is an array of integers and no weights were found; expected something to differentiate")
        if not self.places and not self.updated:
            raise ValueError(
                f"backward of the {type(self.obj).__name__} gave no gradient of x or of a weight "
                f"({', '.join(self.values) or 'none was found'}); say where they are: "
                "Model(obj, gradients={'W': 'dW'})"
            )

    def _observed(self, rate: float) -> tuple[Any, dict[Path, tuple[Array, bytes]], dict[Path, tuple[Array, bytes]]]:
        """What one backward returns, and the arrays of the object before and after it."""
        self.rate = rate
        inputs = {n: v.astype(np.float64) if is_number(v) else v for n, v in own(self.data | self.values).items()}
        with self._state(self.base), same_global_draws():
            self._load(inputs)
            outputs, result = call("forward", self._ahead, inputs)
            rng = np.random.default_rng(1)
            takes = self.takes_upstream
            upstream = tuple(
                np.asarray(rng.standard_normal(np.shape(o)) if takes else np.ones(np.shape(o))) for o in outputs
            )
            before = self._arrays()
            kept = _Kept(self.base, outputs, result)
            return call("backward", self._back, upstream, inputs, kept), before, self._arrays()

    def _listed(self, name: str) -> list[Path]:
        """Where a property or method called params or parameters lists a weight: grads may run parallel to that."""
        array, found = reach(self.obj, self.weights[name][0]), []
        for key in _LISTS:
            listed = getattr(self.obj, key, None)
            if isinstance(listed, MethodType) and not parameters(listed):
                listed = listed()
            if isinstance(listed, dict | list | tuple):
                found += [(key, *path) for path, a in walk(listed) if a is array]
        return found

    def _check_rate(self) -> None:
        """Whether the weights change by the learning rate times something; that is then the gradient."""
        self.descends, moved = True, []
        for rate in (2.0, 1.0):
            _, before, after = self._observed(rate)
            paths = {n: self.weights[n][0] for n in self.updated - self.places.keys()}
            moved.append({n: np.frombuffer(after[p][1]) - np.frombuffer(before[p][1]) for n, p in paths.items()})
        if not any(
            moved[1][n].any() and np.allclose(moved[0][n], 2 * moved[1][n], rtol=1e-4, atol=1e-12) for n in moved[0]
        ):
            names = ", ".join(map(repr, moved[0]))
            raise ValueError(
                f"backward of the {type(self.obj).__name__} changes {names} itself, and not by a learning rate that "
                f"can be found; say it: Model(obj, weights=({names},), lr=0.1)"
            )

    def _leave_constants(self) -> None:
        """A weight without a gradient is a constant where its name or the object says so; else backward owes it."""
        listed = {n for n, ps in self.weights.items() if self._listed(n) or any(k in _LISTS for p in ps for k in p)}
        frozen = getattr(self.obj, "trainable", True) is False or getattr(self.obj, "frozen", False) is True
        for name in set(self.weights) - self.places.keys() - self.updated:
            words = name.rpartition(".")[2].lower().split("_")
            if frozen or (listed and name not in listed) or any(w in _CONSTANTS for w in words):
                del self.weights[name], self.values[name]
                self.notes.append(f"{type(self.obj).__name__}: {name} has no gradient and counts as constant")

    def _choose_argument(self) -> None:
        """Whether gradient(…) is a derivative, and of what: f′(x), f′ by f(x), or no derivative but a backward."""
        x, step = self.data["x"].astype(np.float64), 1e-6
        above, out, below = (self._outputs_at(x + d)[0] for d in (step, 0.0, -step))
        slope = (above - below) / (2 * step)
        back = self.plan.back
        for self.plan.of_output, given in ((True, out), (False, x)):
            with self._state(self.base):
                if _close(slope, call("backward", back, given.copy())):
                    return
        with self._state(self.base):
            self._ahead({"x": x})
            once = call("backward", back, np.ones_like(out))
            twice = call("backward", back, 2 * np.ones_like(out))
        self.plan.derivative = not (np.any(once) and np.allclose(2 * np.asarray(once), twice))

    def _outputs_at(self, x: Array) -> list[Array]:
        with self._state(self.base):
            return [np.array(o) for o in call("forward", self._ahead, {"x": x})[0]]


_OUTPUTS = ("output", "outputs", "out", "y", "a", "top", "z", "result", "activation")
_BUILDERS = ("set_input_shape", "initialize", "build", "init_params", "init_weights", "initialize_parameters")
_LISTS = {"params", "parameters", "_params", "trainable_weights"}


class _Descent:
    """The optimizer of an object that has to be given one."""

    learning_rate = 1.0

    def update(self, weight: Any, gradient: Any) -> Any:
        return weight - self.learning_rate * gradient


def _moved(array: Any) -> Array:
    """Other numbers, near by."""
    noise = np.random.default_rng(0).uniform(0.05, 0.1, np.shape(array))
    return (np.asarray(array) * 1.1 + noise).astype(np.result_type(array))


def _same(a: list[Array] | None, b: list[Array] | None) -> bool:
    if a is None or b is None:
        return True
    return len(a) == len(b) and all(np.array_equal(u, v, equal_nan=True) for u, v in zip(a, b, strict=True))


def _close(a: Any, b: Any) -> bool:
    return np.shape(a) == np.shape(b) and bool(np.allclose(a, b, rtol=1e-4, atol=1e-6))


def _descend(obj: Any, rate: float) -> None:
    """Set every learning rate inside, and let every optimizer inside take plain steps: w − rate g."""
    for path, thing in list(walk(obj)):
        if path and is_rate(path[-1]) and isinstance(thing, float | int) and not isinstance(thing, bool):
            put(obj, path, rate)
        if path and role(str(path[-1])) == "epochs" and type(thing) is int:
            put(obj, path, 1)
        update = getattr(thing, "update", None)
        attributes = getattr(thing, "__dict__", {})
        if path and callable(update) and any(map(is_rate, attributes)) and len(parameters(update)) == 2:
            attributes["update"] = partial(_step, update, rate)


def _step(update: Callable[..., Any], rate: float, weight: Any, gradient: Any) -> Any:
    """A step of plain gradient descent, in place where the optimizer's own is."""
    if isinstance(weight, dict | list | tuple):
        for key in weight if isinstance(weight, dict) else range(len(weight)):
            weight[key][...] -= rate * gradient[key]
        return weight
    before = weight.copy()
    returned = update(before, gradient)
    if returned is None or returned is before:
        weight -= rate * gradient
        return None if returned is None else weight
    return weight - rate * gradient
