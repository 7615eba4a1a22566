"""The inputs that a unit is tried with: other sizes, saturated, at the kinks, one row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from torch_impl.verify.units import roles
from torch_impl.verify.units.unit import UserCodeError, float_arrays, own

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.random import Generator
    from numpy.typing import NDArray

    from torch_impl.verify.observe.reference import Reference
    from torch_impl.verify.units.unit import Inputs, Unit

    Array = NDArray[Any]

MOST_NODES = 400  # of a tape, or elements to difference: beyond, other sizes take too long to try


@dataclass(frozen=True)
class Probe:
    """Inputs to try a unit with; ``unit`` is another one where the widths are other ones."""

    name: str
    unit: Unit
    inputs: Inputs
    reference: Reference


def data_names(unit: Unit, inputs: Inputs) -> list[str]:
    """The float inputs that are no parameters; the first input of a plain function."""
    return [name for name in float_arrays(inputs) if name not in unit.parameters]


def batch_size(unit: Unit, inputs: Inputs) -> int:
    """The length of the data's batch axis, 1 if there is none: the first one, unless a parameter has that length.

    Where examples are columns, axis 0 of x is an axis of W too, and the batch is the other one.
    """
    taken = {n for name in unit.parameters for n in np.shape(inputs.get(name, ()))}
    shape = next((s for s in (np.shape(inputs[name]) for name in data_names(unit, inputs)) if s), (1,))
    return shape[0] if shape[0] not in taken else next((n for n in shape if n not in taken), shape[0])


def kind_in(unit: Unit, inputs: Inputs, name: str) -> roles.Kind:
    """What an input is."""
    return unit.kinds.get(name) or roles.kind_of(inputs[name], name in unit.parameters)


def resized(
    unit: Unit, inputs: Inputs, change: Mapping[int, int], rng: Generator, only_axis_0: frozenset[str] | None = None
) -> Inputs:
    """New values in which every axis of a length that ``change`` names has the new length.

    With ``only_axis_0`` those inputs alone are changed, along axis 0 alone.
    """
    made = dict(inputs)
    for name, value in inputs.items():
        if not isinstance(value, np.ndarray):
            continue
        if only_axis_0 is None:
            shape = tuple(change.get(n, n) for n in value.shape)
        elif name in only_axis_0 and value.ndim:
            shape = (change.get(value.shape[0], value.shape[0]), *value.shape[1:])
        else:
            continue
        made[name] = roles.redrawn(value, kind_in(unit, inputs, name), shape, rng)
    return made


def saturated(unit: Unit, inputs: Inputs, times: float) -> Inputs:
    """The data some times as large: where clipping, an ε in a logarithm and a flat activation show."""
    name = next(iter(data_names(unit, inputs)), None)
    return inputs if name is None else inputs | {name: roles.enlarged(inputs[name], kind_in(unit, inputs, name), times)}


def kinked(unit: Unit, inputs: Inputs) -> Inputs:
    """The first row of the data at the kinks, biases zero, so that pre-activations of that row are zero as well."""
    made = dict(inputs)
    names = data_names(unit, inputs)
    arrays = float_arrays(inputs)
    for name in names[:1]:
        x = made[name] = np.array(inputs[name])
        twins = [a for n, a in arrays.items() if n != name and a.shape == x.shape]
        if x.ndim == 0:
            x[...] = 0
        elif twins:  # a loss: the prediction at its target
            x[:1] = twins[0][:1]
        elif unit.kinks and x.ndim:
            row = x.reshape(len(x), -1)[0] if x.ndim > 1 else x
            row[: len(unit.kinks)] = unit.kinks[: len(row)]
        elif x.ndim < 3:
            x[:1] = 0
        else:  # a whole image of zeros would tie every window of a pooling
            x.reshape(-1)[:1] = 0
    for name, array in arrays.items():
        if name in unit.parameters and array.ndim == 1 and not unit.kinks:
            made[name] = np.zeros_like(array)
    return made


def jittered(inputs: Inputs, rng: Generator, relative: float) -> Inputs:
    """Every float moved by about ``relative`` of itself."""
    arrays = float_arrays(inputs)
    return inputs | {n: np.asarray(a * (1 + relative * rng.choice([-1.0, 1.0], a.shape))) for n, a in arrays.items()}


def probes(unit: Unit, inputs: Inputs, reference: Reference, rng: Generator) -> Iterator[Probe]:
    """The inputs beside those that were given."""
    lengths = sorted({n for v in inputs.values() if isinstance(v, np.ndarray) for n in v.shape if n > 1})
    batch = batch_size(unit, inputs)
    longer = {n: n + 2 for n in lengths}
    if unit.batch_is_free:
        rows = frozenset(n for n, v in inputs.items() if isinstance(v, np.ndarray) and n not in unit.parameters)
        yield Probe("another batch size", unit, resized(unit, inputs, {batch: batch + 4}, rng, rows), reference)
        yield Probe("one row", unit, resized(unit, inputs, {batch: 1}, rng, rows), reference)
        wider = unit.widened() if unit.widened is not None else None
        if wider is not None:
            yield Probe("another width", wider[0], wider[1], type(reference)(wider[0], reference.kind))
        elif not unit.parameters and all(np.ndim(v) == 2 for v in float_arrays(inputs).values()):
            sizes = {n: n + 2 for n in lengths if n != batch}
            yield Probe("another width", unit, resized(unit, inputs, sizes, rng), reference)
    elif reference.cost(inputs) <= MOST_NODES:
        candidates = [
            ("other sizes", longer),
            ("another batch size", {batch: batch + 2 if batch + 2 not in lengths else batch + 4}),
        ]
        for name, change in candidates:
            other = resized(unit, inputs, change, rng)
            if runs(unit, other):
                yield Probe(name, unit, other, reference)
                break
    yield Probe("other values", unit, resized(unit, inputs, {}, rng), reference)
    yield Probe("large inputs", unit, saturated(unit, inputs, 6), reference)
    yield Probe("saturated", unit, saturated(unit, inputs, 40), reference)


def runs(unit: Unit, inputs: Inputs) -> bool:
    """Whether the forward takes these inputs, and gives finite outputs."""
    try:
        outputs, _ = unit.forward(own(inputs))
    except UserCodeError:
        return False
    return all(np.isfinite(o).all() for o in outputs)
