"""The unit of an object: its weights and their gradients are found out by looking at what it does."""

from __future__ import annotations

from types import MethodType
from typing import TYPE_CHECKING, Any

import numpy as np

from torch_impl.verify.units.calls import is_rate, parameters, role
from torch_impl.verify.units.gradients import RETURNED, is_gradient, is_named_for, is_number, leaves, matched
from torch_impl.verify.units.held import Held, Kept
from torch_impl.verify.units.objects import Snapshot, dotted, put, reach, walk
from torch_impl.verify.units.unit import Unit, UserCodeError, call, float_arrays, own, same_global_draws

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from torch_impl.verify.units.models import Model
    from torch_impl.verify.units.objects import Path
    from torch_impl.verify.units.unit import Inputs

    Array = NDArray[Any]

# Arrays that a forward uses and nobody trains. An object does not say which those are.
_CONSTANTS = {
    "running", "moving", "x", "data", "mean", "std", "var", "sigma", "mask", "causal", "pe", "pos", "position",
    "encoding", "enc", "eps", "eye",
}  # fmt: skip
_OUTPUTS = ("output", "outputs", "out", "y", "a", "top", "z", "result", "activation")
_BUILDERS = ("set_input_shape", "initialize", "build", "init_params", "init_weights", "initialize_parameters")
_LISTS = {"params", "parameters", "_params", "trainable_weights"}


def object_unit(model: Model, data: Inputs, reference: Any = None, name: str | None = None) -> tuple[Unit, Inputs]:
    """A unit of an object and its inputs: ``data``, x, y and further arguments of forward, and the weights by name.

    The object is used as it is and put back after every call; the cache of the unit is what it then held.

    Raises
        TypeError, ValueError: an object without the methods, or one whose weights or gradients can't be found out
        UserCodeError: the code raised
    """
    held = Held(model, {n: v for n, v in data.items() if v is not None})
    handed_over = held.start
    try:
        with same_global_draws():
            _find_weights(held)
        _find_gradients(held)
    finally:
        held.start = handed_over
        held.start.restore()
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


def _find_weights(held: Held) -> None:
    """The float arrays on which the outputs depend, and which the forward does not overwrite."""
    _first_run(held)
    if not any(role(n) != "training" for n in parameters(held.plan.first)):
        held.slots = {n: _holding(held, v) for n, v in held.data.items() if isinstance(v, np.ndarray)}
        held.slots = {n: paths for n, paths in held.slots.items() if paths}
    held.sizes = {n for _, n in walk(held.obj) if type(n) is int}
    taken = {path for paths in held.slots.values() for path in paths}
    plain, before = _outputs(held, {}), held.arrays()
    with held.state(held.base):
        held.ahead(own(held.data))
        after = held.arrays()
    kept = {p: a for p, (a, numbers) in before.items() if p in after and after[p][0] is a and after[p][1] == numbers}
    held.written = [p for p, (a, numbers) in before.items() if p in after and after[p][0] is a and p not in kept]
    shared: dict[int, list[Path]] = {}
    for path, array in kept.items():
        if path not in taken and np.size(array) and not (path and is_rate(path[-1])):
            shared.setdefault(id(array) if np.ndim(array) else hash(path), []).append(path)
    wanted = held.model.names
    for paths in shared.values():
        array = kept[paths[0]]
        name = next((n for n in map(dotted, paths) if n in wanted), dotted(paths[0]))
        if wanted and name not in wanted:
            continue
        if wanted or not _same(plain, _outputs(held, dict.fromkeys(paths, _moved(array)))):
            name = name if name not in held.data else f"{name} of {type(held.obj).__name__}"
            held.weights[name], held.values[name] = paths, np.array(array)
            if not isinstance(array, np.ndarray):
                held.numbers.add(name)


def _first_run(held: Held) -> None:
    """One forward, to see what it returns; it may be what makes the weights."""
    with held.state(held.base):
        given, before = held.base, held.arrays()
        try:
            result = call("forward", held.plan.predict, held.given(own(held.data)))
        except UserCodeError:
            if not _build(held):
                raise
            result = call("forward", held.plan.predict, held.given(own(held.data)))
        made = {p: a for p, (a, _) in held.arrays().items() if p not in before or before[p][0] is not a}
        if result is None:
            named = [p for p in made if len(p) == 1 and str(p[0]).lower().strip("_") in _OUTPUTS]
            if not named:
                raise UserCodeError("forward returned nothing, and left no attribute called output; expected an array")
            held.output_path = named[0]
        grown = Snapshot(held.roots)
        call("forward", held.plan.predict, held.given(own(held.data)))
        lasting = [p for p, (a, _) in held.arrays().items() if p not in before and made.get(p) is a]
    if lasting:  # the first forward built the weights, unless it merely kept its input
        held.start = held.base = grown
        grown.restore()
        plain = _outputs(held, {})
        if all(_same(plain, _outputs(held, {p: _moved(reach(held.obj, p))})) for p in lasting):
            held.start = held.base = given
            given.restore()
    back = parameters(held.plan.back) if held.plan.back is not None else {}
    asked = [n for n, p in back.items() if p.default is p.empty and role(n) in (None, "dout") and n not in held.data]
    if isinstance(result, tuple | list):
        arrays = next((i for i, v in enumerate(result) if not is_number(v)), len(result))
        held.n_outputs = max(1, min(len(asked), arrays))
    if held.plan.loss is None and held.plan.ends_in_a_loss and np.ndim(result) and "dout" in map(role, asked):
        held.plan.ends_in_a_loss = False  # y is another input


def _build(held: Held) -> bool:
    """Whether the object has a method by which it makes its weights, as initialize(optimizer); that is called."""
    x, called = held.data["x"], False
    held.start.restore()
    for build in filter(None, (getattr(held.obj, name, None) for name in _BUILDERS)):
        given = {n: _Descent() if n == "optimizer" else x.shape[1:] if "shape" in n else x.shape[-1]
                 for n, p in parameters(build).items() if p.default is p.empty}  # fmt: skip
        call("building the weights", build, **given)
        called = True
    return called


def _holding(held: Held, value: Array) -> list[Path]:
    """Where the object holds these very numbers: the data of a forward that takes none."""
    return [p for p, a in walk(held.obj) if isinstance(a, np.ndarray) and np.array_equal(a, value)]


def _outputs(held: Held, change: dict[Path, Array]) -> list[Array] | None:
    """The outputs with some arrays replaced; None if that raises."""
    with held.state(held.base), np.errstate(all="ignore"):
        try:
            for path, array in change.items():
                put(held.obj, path, array)
            return [np.array(o) for o in held.ahead(own(held.data))[0]]
        except Exception:  # it is no weight that the forward can do without
            return None


def _find_gradients(held: Held) -> None:
    """Where backward leaves the gradient of each input and weight."""
    held.plan.derivative &= not held.weights and "x" in float_arrays(held.data)
    if held.plan.derivative:
        _choose_argument(held)
        if held.plan.derivative:
            return
    returned, before, after = _observed(held, held.rate)
    held.updated = {n for n in held.weights if after[held.weights[n][0]][1] != before[held.weights[n][0]][1]}
    given = leaves(returned)
    if held.plan.ends_in_a_loss:  # a number is the loss once more
        given = {p: a for p, a in given.items() if a.ndim or (isinstance(p[-1], str) and p != (RETURNED,))}
    taken = {p for paths in (held.weights | held.slots).values() for p in paths}
    there = {p: np.asarray(a) for p, (a, _) in after.items() if p not in taken}
    fresh = {p for p in there if p not in before or before[p][0] is not after[p][0] or before[p][1] != after[p][1]}
    data = {n: v for n, v in float_arrays(held.data).items() if n != "y" or not held.plan.ends_in_a_loss}
    weights = {n: (held.values[n], [*_listed(held, n), *paths]) for n, paths in held.weights.items()}
    if held.model.gradients:
        known = {dotted(p): p for p in [*there, *given]}
        held.places = {n: known.get(g, tuple(g.split("."))) for n, g in held.model.gradients.items()}
        held.updated -= held.places.keys()
        weights = {}
    attributes = not held.plan.ends_in_a_loss or not weights
    found = matched(data, weights, given, there, fresh, held.updated | held.numbers, attributes)
    held.places |= {n: p for n, p in found.items() if n not in held.places}
    held.notes += _unused(held, fresh)
    for name in held.numbers - held.places.keys() - held.updated:  # no weight, but a slope or a size
        del held.weights[name], held.values[name]
    if held.model.weights and held.model.lr is not None:  # it is said that they are updated
        held.updated = set(held.weights)
        held.places = {n: p for n, p in held.places.items() if n not in held.weights}
    elif held.updated - held.places.keys() and held.model.lr is None:
        _check_rate(held)
    _leave_constants(held)
    if not float_arrays(held.data | held.values):
        raise TypeError("x is an array of integers and no weights were found; expected something to differentiate")
    if not held.places and not held.updated:
        raise ValueError(
            f"backward of the {type(held.obj).__name__} gave no gradient of x or of a weight "
            f"({', '.join(held.values) or 'none was found'}); say where they are: "
            "Model(obj, gradients={'W': 'dW'})"
        )


def _unused(held: Held, fresh: set[Path]) -> list[str]:
    """Gradients that belong to no weight: of an array that the outputs do not depend on, or of one out of reach."""
    name, left = type(held.obj).__name__, sorted(fresh - set(held.places.values()), key=dotted)
    known = {p for paths in held.weights.values() for p in paths}
    notes = []
    with held.state(held.base):
        at_first = held.arrays()
    for place in left:
        for path, (array, _) in at_first.items():
            if path not in known | fresh and len(path) == len(place) and np.ndim(array) and is_named_for(place, path):
                notes.append(f"{name}: {dotted(path)} has a gradient, and the outputs do not depend on it")
    gradients = [dotted(p) for p in left if is_gradient(p[-1])]
    if gradients and not held.weights:
        notes.append(f"{name}: backward leaves {', '.join(gradients)}, and no weight was found that forward uses")
    return notes


def _observed(held: Held, rate: float) -> tuple[Any, dict[Path, tuple[Array, bytes]], dict[Path, tuple[Array, bytes]]]:
    """What one backward returns, and the arrays of the object before and after it."""
    held.rate = rate
    inputs = {n: v.astype(np.float64) if is_number(v) else v for n, v in own(held.data | held.values).items()}
    with held.state(held.base), same_global_draws():
        held.load(inputs)
        outputs, result = call("forward", held.ahead, inputs)
        rng = np.random.default_rng(1)
        takes = held.takes_upstream
        upstream = tuple(
            np.asarray(rng.standard_normal(np.shape(o)) if takes else np.ones(np.shape(o))) for o in outputs
        )
        before = held.arrays()
        kept = Kept(held.base, outputs, result)
        return call("backward", held.back, upstream, inputs, kept), before, held.arrays()


def _listed(held: Held, name: str) -> list[Path]:
    """Where a property or method called params or parameters lists a weight: grads may run parallel to that."""
    array, found = reach(held.obj, held.weights[name][0]), []
    for key in _LISTS:
        listed = getattr(held.obj, key, None)
        if isinstance(listed, MethodType) and not parameters(listed):
            listed = listed()
        if isinstance(listed, dict | list | tuple):
            found += [(key, *path) for path, a in walk(listed) if a is array]
    return found


def _check_rate(held: Held) -> None:
    """Whether the weights change by the learning rate times something; that is then the gradient."""
    held.descends, moved = True, []
    for rate in (2.0, 1.0):
        _, before, after = _observed(held, rate)
        paths = {n: held.weights[n][0] for n in held.updated - held.places.keys()}
        moved.append({n: np.frombuffer(after[p][1]) - np.frombuffer(before[p][1]) for n, p in paths.items()})
    follows = any(moved[1][n].any() and np.allclose(moved[0][n], 2 * moved[1][n], 1e-4, 1e-12) for n in moved[0])
    if not follows and not any(_is_step(held, n, change) for n, change in moved[1].items()):
        names = ", ".join(map(repr, moved[0]))
        raise ValueError(
            f"backward of the {type(held.obj).__name__} changes {names} itself, and not by a learning rate that "
            f"can be found; say it: Model(obj, weights=({names},), lr=0.1)"
        )


def _is_step(held: Held, name: str, change: Array) -> bool:
    """Whether a weight changes by its gradient itself, where it changes most: a step that has no learning rate."""
    at = np.unravel_index(np.argmax(np.abs(change)), held.values[name].shape)

    def value(step: float) -> float:
        weight = held.values[name].astype(np.float64)
        weight[at] += step
        with held.state(held.base), same_global_draws():
            held.load(held.data | held.values | {name: weight})
            return float(np.sum(held.ahead(own(held.data))[0][0]))

    slope = (value(1e-5) - value(-1e-5)) / 2e-5
    return held.plan.ends_in_a_loss and bool(np.isclose(-np.ravel(change)[np.argmax(np.abs(change))], slope, rtol=1e-4))


def _leave_constants(held: Held) -> None:
    """A weight without a gradient is a constant where its name or the object says so; else backward owes it."""
    listed = {n for n, ps in held.weights.items() if _listed(held, n) or any(k in _LISTS for p in ps for k in p)}
    frozen = getattr(held.obj, "trainable", True) is False or getattr(held.obj, "frozen", False) is True
    for name in set(held.weights) - held.places.keys() - held.updated:
        words = name.rpartition(".")[2].lower().split("_")
        if frozen or (listed and name not in listed) or _CONSTANTS.issuperset(words):
            del held.weights[name], held.values[name]
            held.notes.append(f"{type(held.obj).__name__}: {name} has no gradient and counts as constant")


def _choose_argument(held: Held) -> None:
    """Whether gradient(…) is a derivative, and of what: f′(x), f′ by f(x), or no derivative but a backward."""
    x, step = held.data["x"].astype(np.float64), 1e-6
    above, out, below = (_outputs_at(held, x + d)[0] for d in (step, 0.0, -step))
    slope = (above - below) / (2 * step)
    back = held.plan.back
    for held.plan.of_output, given in ((True, out), (False, x)):
        with held.state(held.base):
            if _close(slope, call("backward", back, given.copy())):
                return
    with held.state(held.base):
        held.ahead({"x": x})
        once = call("backward", back, np.ones_like(out))
        twice = call("backward", back, 2 * np.ones_like(out))
    held.plan.derivative = not (np.any(once) and np.allclose(2 * np.asarray(once), twice))


def _outputs_at(held: Held, x: Array) -> list[Array]:
    with held.state(held.base):
        return [np.array(o) for o in call("forward", held.ahead, {"x": x})[0]]


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
