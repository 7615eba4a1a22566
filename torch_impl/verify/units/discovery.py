"""The unit of an object: its weights and their gradients are found out by looking at what it does."""

from __future__ import annotations

import dataclasses
from types import MethodType
from typing import TYPE_CHECKING, Any

import numpy as np

from torch_impl.verify.units.calls import DERIVATIVES, is_rate, parameters, required, role
from torch_impl.verify.units.derivatives import derivative_unit
from torch_impl.verify.units.gradients import RETURNED, is_gradient, is_named_for, is_number, leaves, matched
from torch_impl.verify.units.held import Held, Kept, changed
from torch_impl.verify.units.objects import Snapshot, dotted, put, reach, walk
from torch_impl.verify.units.unit import Unit, UserCodeError, call, float_arrays, own

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from torch_impl.verify.units.held import Arrays
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


def object_unit(model: Model, data: Inputs, reference: Any = None) -> tuple[Unit, Inputs]:
    """A unit of an object and its inputs: ``data``, x, y and further arguments of forward, and the weights by name.

    The object is used as it is and put back after every call; the cache of the unit is what it then held.

    Raises
        TypeError, ValueError: an object without the methods, or one whose weights or gradients can't be found out
        UserCodeError: the code raised
    """
    held = Held(model, {n: v for n, v in data.items() if v is not None})
    name = str(getattr(model.model, "__name__", held.name))
    handed_over = held.start
    try:
        _first_run(held)
        _find_weights(held)
        if _is_derivative(held):
            return dataclasses.replace(_derivative_unit(held), name=name), held.data
        _find_gradients(held)
    finally:
        held.start = handed_over
        held.start.restore()
    unit = Unit(
        name,
        held.forward,
        held.backward,
        held.traced,
        None if reference is None else lambda tensors: reference(**tensors),
        tuple(held.weights),
        takes_upstream=not held.plan.ends_in_a_loss,
        updates_itself=bool(held.updated),
        stateful=True,
        notes=tuple(held.notes),
    )
    return unit, held.data | held.values


def _derivative_unit(held: Held) -> Unit:
    """The unit of an object with f and f′, which is put back after every call."""

    def f(x: Array) -> Any:
        with held.state(held.base):
            return held.ahead({"x": x})[0][0]

    def f_prime(at: Array) -> Any:
        with held.state(held.base):
            return held.plan.back(at)

    return derivative_unit(f, f_prime, held.data["x"])[0]


def _is_derivative(held: Held) -> bool:
    """Whether backward is f′, and takes no upstream gradient: by its name, or as it is not linear in what it takes."""
    if held.weights or not held.plan.may_be_derivative:
        return False
    if getattr(held.plan.back, "__name__", "") in DERIVATIVES:
        return True
    with held.state(held.base):
        out = held.ahead(own(held.data))[0][0]
        once, twice = (np.asarray(call("backward", held.plan.back, n * np.ones_like(out))) for n in (1, 2))
    return not (np.any(once) and np.allclose(2 * once, twice))


def _first_run(held: Held) -> None:
    """One forward, to see what it returns; it may be what makes the weights."""
    with held.state(held.base):
        before = held.arrays()
        try:
            result = call("forward", held.plan.predict, held.given(own(held.data)))
        except UserCodeError:
            if not _build(held):
                raise
            result = call("forward", held.plan.predict, held.given(own(held.data)))
        once, grown = held.arrays(), Snapshot(held.roots)
        call("forward", held.plan.predict, held.given(own(held.data)))
        twice = held.arrays()
    if result is None:
        named = [p for p in changed(before, once) if len(p) == 1 and str(p[0]).lower().strip("_") in _OUTPUTS]
        if not named:
            raise UserCodeError("forward returned nothing, and left no attribute called output; expected an array")
        held.output_path = named[0]
    lasting = [p for p, (a, _) in once.items() if p not in before and p in twice and twice[p][0] is a]
    if lasting:  # the first forward built the weights, unless it merely kept its input
        handed_over, held.start, held.base = held.base, grown, grown
        if not any(_matters(held, [path]) for path in lasting):
            held.start = held.base = handed_over
        held.start.restore()
    asked = [n for n in required(held.plan.back) if role(n) in (None, "dout") and n not in held.data]
    if isinstance(result, tuple | list):
        arrays = next((i for i, v in enumerate(result) if not is_number(v)), len(result))
        held.n_outputs = max(1, min(len(asked), arrays))
    if held.plan.loss is None and held.plan.ends_in_a_loss and np.ndim(result) and "dout" in map(role, asked):
        held.plan.ends_in_a_loss = False  # y is another input


def _build(held: Held) -> bool:
    """Whether the object has methods by which it makes its weights, as initialize(n_in); those are called."""
    held.start.restore()
    shape, built = held.data["x"].shape, False
    for build in filter(None, (getattr(held.obj, name, None) for name in _BUILDERS)):
        call("building the weights", build, **{n: shape[1:] if "shape" in n else shape[-1] for n in required(build)})
        built = True
    return built


def _matters(held: Held, paths: Sequence[Path]) -> bool:
    """Whether the outputs change where other numbers, near by, stand at some places."""
    outputs = []
    for moved in (False, True):
        with held.state(held.base), np.errstate(all="ignore"):
            array = reach(held.obj, paths[0])
            noise = np.random.default_rng(0).uniform(0.05, 0.1, np.shape(array))
            near = (np.asarray(array) * 1.1 + noise).astype(np.result_type(array))
            try:
                for path in paths if moved else ():
                    put(held.obj, path, near)
                outputs.append([np.array(o) for o in held.ahead(own(held.data))[0]])
            except Exception:  # it is no weight that the forward can do without
                return False
    return not all(np.array_equal(a, b, equal_nan=True) for a, b in zip(*outputs, strict=True))


def _find_weights(held: Held) -> None:
    """The float arrays on which the outputs depend, and which the forward does not overwrite."""
    if not any(role(n) != "training" for n in parameters(held.plan.first)):
        arrays = {n: v for n, v in held.data.items() if isinstance(v, np.ndarray)}
        there = [(p, a) for p, a in walk(held.obj) if isinstance(a, np.ndarray)]
        held.slots = {n: [p for p, a in there if np.array_equal(a, v)] for n, v in arrays.items()}
        held.slots = {n: paths for n, paths in held.slots.items() if paths}
    with held.state(held.base):
        before = held.arrays()
        held.ahead(own(held.data))
        after = held.arrays()
    held.sizes = {n for _, n in walk(held.obj) if type(n) is int}
    overwritten = set(changed(before, after))
    held.written = [p for p, (a, _) in before.items() if p in overwritten and after[p][0] is a]
    untouched = {p: a for p, (a, _) in before.items() if p in after and p not in overwritten}
    taken = {path for paths in held.slots.values() for path in paths}
    shared: dict[int, list[Path]] = {}
    for path, array in untouched.items():
        if path not in taken and np.size(array) and not (path and is_rate(path[-1])):
            shared.setdefault(id(array) if np.ndim(array) else hash(path), []).append(path)
    wanted = held.model.names
    for paths in shared.values():
        name = next((n for n in map(dotted, paths) if n in wanted), dotted(paths[0]))
        if name in wanted if wanted else _matters(held, paths):
            name = name if name not in held.data else f"{name} of {held.name}"
            held.weights[name], held.values[name] = paths, np.array(untouched[paths[0]])
            if not isinstance(untouched[paths[0]], np.ndarray):
                held.numbers.add(name)


def _find_gradients(held: Held) -> None:
    """Where backward leaves the gradient of each input and weight."""
    returned, before, after = _observed(held, held.rate)
    moved = set(changed(before, after))
    held.updated = {n for n, paths in held.weights.items() if after[paths[0]][1] != before[paths[0]][1]}
    given, loss = leaves(returned), held.plan.ends_in_a_loss
    if loss:  # a number is the loss once more
        given = {p: a for p, a in given.items() if a.ndim or (isinstance(p[-1], str) and p != (RETURNED,))}
    taken = {p for paths in (held.weights | held.slots).values() for p in paths}
    there = {p: np.asarray(a) for p, (a, _) in after.items() if p not in taken}
    fresh = moved & there.keys()
    data = {n: v for n, v in float_arrays(held.data).items() if n != "y" or not loss}
    weights = {n: (held.values[n], [*_listed(held, n), *paths]) for n, paths in held.weights.items()}
    if held.model.gradients:
        known = {dotted(p): p for p in [*there, *given]}
        held.places = {n: known.get(g, tuple(g.split("."))) for n, g in held.model.gradients.items()}
        held.updated -= held.places.keys()
    elif held.model.weights and held.model.lr is not None:  # it is said that they are updated
        held.updated = set(held.weights)
    attributes = not loss or not weights or bool(held.model.gradients)
    asked = {} if held.places or held.updated == held.weights.keys() else weights
    found = matched(data, asked, given, there, fresh, held.updated | held.numbers, attributes)
    held.places |= {n: p for n, p in found.items() if n not in held.places}
    unplaced = set(given) - set(held.places.values())
    owed = not held.plan.ends_in_a_loss and "x" in float_arrays(held.data) and "x" not in held.places
    if owed and returned is not None and (unplaced or not given):
        came = " and ".join(f"an array of shape {given[p].shape}" for p in unplaced) or f"a {type(returned).__name__}"
        raise ValueError(
            f"backward of the {type(held.obj).__name__} returned {came}, which is no gradient of x, expected one of "
            f"shape {held.data['x'].shape}, or None where there is none"
        )
    held.notes += _unused(held, fresh)
    for name in held.numbers - held.places.keys() - held.updated:  # no weight, but a slope or a size
        del held.weights[name], held.values[name]
    if held.updated - held.places.keys() and held.model.lr is None:
        _check_rate(held)
    _leave_constants(held)
    if not float_arrays(held.data | held.values):
        raise TypeError("x is an array of integers and no weights were found; expected something to differentiate")
    if not held.places and not held.updated:
        raise ValueError(
            f"backward of the {held.name} gave no gradient of x or of a weight "
            f"({', '.join(held.values) or 'none was found'}); say where they are: Model(obj, gradients={{'W': 'dW'}})"
        )


def _observed(held: Held, rate: float) -> tuple[Any, Arrays, Arrays]:
    """What one backward returns, and the arrays of the object before and after it."""
    held.rate = rate
    inputs = {n: v.astype(np.float64) if is_number(v) else v for n, v in own(held.data | held.values).items()}
    with held.state(held.base):
        held.load(inputs)
        outputs, result = call("forward", held.ahead, inputs)
        rng = np.random.default_rng(1)
        drawn = [np.asarray(rng.standard_normal(np.shape(o))) for o in outputs]
        upstream = tuple(np.ones_like(u) if held.plan.ends_in_a_loss else u for u in drawn)
        before = held.arrays()
        return call("backward", held.back, upstream, inputs, Kept(held.base, result)), before, held.arrays()


def _unused(held: Held, fresh: set[Path]) -> list[str]:
    """Gradients that belong to no weight: of an array that the outputs do not depend on, or of one out of reach."""
    left = sorted(fresh - set(held.places.values()), key=dotted)
    known = {p for paths in held.weights.values() for p in paths}
    with held.state(held.base):
        arrays = {p: a for p, (a, _) in held.arrays().items() if p not in known | fresh and np.ndim(a)}
    notes = [
        f"{held.name}: {dotted(path)} has a gradient, and the outputs do not depend on it"
        for place in left
        for path in arrays
        if len(path) == len(place) and is_named_for(place, path)
    ]
    gradients = [dotted(p) for p in left if is_gradient(p[-1])]
    if gradients and not held.weights:
        notes.append(f"{held.name}: backward leaves {', '.join(gradients)}, and no weight was found that forward uses")
    return notes


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


def _leave_constants(held: Held) -> None:
    """A weight without a gradient is a constant where its name or the object says so; else backward owes it."""
    listed = {n for n, ps in held.weights.items() if _listed(held, n) or any(k in _LISTS for p in ps for k in p)}
    frozen = getattr(held.obj, "trainable", True) is False or getattr(held.obj, "frozen", False) is True
    for name in set(held.weights) - held.places.keys() - held.updated:
        words = name.rpartition(".")[2].lower().split("_")
        if frozen or (listed and name not in listed) or _CONSTANTS.issuperset(words):
            del held.weights[name], held.values[name]
            held.notes.append(f"{held.name}: {name} has no gradient and counts as constant")


def _check_rate(held: Held) -> None:
    """Whether the weights change by the learning rate times something; that is then the gradient."""
    held.descends, moved = True, []
    names = sorted(held.updated - held.places.keys())
    for rate in (2.0, 1.0):
        _, before, after = _observed(held, rate)
        numbers = [[np.frombuffer(arrays[held.weights[n][0]][1]) for n in names] for arrays in (before, after)]
        moved.append([new - old for old, new in zip(*numbers, strict=True)])
    follows = any(once.any() and np.allclose(twice, 2 * once, 1e-4, 1e-12) for twice, once in zip(*moved, strict=True))
    if not follows and not any(_is_step(held, n, change) for n, change in zip(names, moved[1], strict=True)):
        said = ", ".join(map(repr, names))
        raise ValueError(
            f"backward of the {held.name} changes {said} itself, and not by a learning rate that can be found; say it: "
            f"Model(obj, weights=({said},), lr=0.1)"
        )


def _is_step(held: Held, name: str, change: Array) -> bool:
    """Whether a weight changes by its gradient itself, where it changes most: a step that has no learning rate."""
    most = int(np.argmax(np.abs(change)))

    def value(step: float) -> float:
        weight = held.values[name].astype(np.float64)
        weight.flat[most] += step
        with held.state(held.base):
            held.load(held.data | held.values | {name: weight})
            return float(np.sum(held.ahead(own(held.data))[0][0]))

    slope = (value(1e-5) - value(-1e-5)) / 2e-5
    return held.plan.ends_in_a_loss and bool(np.isclose(-change[most], slope, rtol=1e-4))
