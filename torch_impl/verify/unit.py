"""A unit: one forward and its hand-written backward, whatever they came as, with named arrays in and out."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import traceback
from collections.abc import Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scratch import Parameters, checks
from scratch.layers import trained_shapes
from scratch.parameters import is_weight
from torch_impl.counterparts import LAYERS, LOSSES, with_options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from scratch.layers import Layer
    from scratch.losses import Loss

    Array = NDArray[Any]
    Inputs = dict[str, Any]
    Outputs = tuple[Any, ...]


FORWARD_SEED = 20240607
# The backward pass starts np.random somewhere else than the forward: a mask that it draws anew must not be the same
# one.
BACKWARD_SEED: ContextVar[int] = ContextVar("BACKWARD_SEED", default=FORWARD_SEED + 1)


class UserCodeError(Exception):
    """The code under test raised ``__cause__``; the text says what, and in which line."""


@dataclass(frozen=True)
class Unit:
    """What is verified: ``forward(inputs) -> (outputs, cache)``, ``backward(upstream, inputs, cache) -> gradients``.

    ``outputs`` and ``upstream`` are tuples of arrays, ``inputs`` and ``gradients`` dicts by name; a gradient has the
    name of its input. ``traced(inputs) -> outputs`` is the bare forward, for autograd to go through. ``reference``
    takes tensors by name and returns a tensor; None where the user's own forward is the reference.
    """

    name: str
    forward: Callable[[Inputs], tuple[Outputs, Any]]
    backward: Callable[[Outputs, Inputs, Any], Inputs]
    traced: Callable[[Inputs], Outputs]
    reference: Callable[[dict[str, Any]], Any] | None = None
    parameters: tuple[str, ...] = ()  # the inputs that are trained; the others are data
    kinks: tuple[float, ...] = ()
    takes_upstream: bool = True  # False: it ends in a loss, whose upstream gradient is 1
    updates_itself: bool = False  # its parameters are meant to change in backward
    into: Callable[[Outputs, Inputs, Any, float], Inputs] | None = None  # backward into arrays that hold this number
    widened: Callable[[], tuple[Unit, Inputs] | None] | None = None  # the same unit with other widths, and inputs
    batch_is_free: bool = False  # the length of axis 0 of the data may be changed, to 1 too
    title: Callable[[str], str] = field(default=lambda name: f"d{name}")  # what the gradient of an input is called


def float_arrays(inputs: Mapping[str, Any]) -> dict[str, Array]:
    """The inputs that have a gradient."""
    return {n: v for n, v in inputs.items() if isinstance(v, np.ndarray) and np.issubdtype(v.dtype, np.floating)}


def own(inputs: Inputs) -> Inputs:
    """A copy that user code may do with as it likes; generators start where they stood."""
    return {name: copy.deepcopy(value) for name, value in inputs.items()}


@contextmanager
def same_global_draws(seed: int = FORWARD_SEED) -> Iterator[None]:
    """np.random's global generator starts at one seed inside, and goes on afterwards as if nothing had been drawn."""
    before = np.random.get_state()  # noqa: NPY002  the code under test may draw from it
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002


def call(what: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What ``function`` returns.

    Raises
        UserCodeError: it raised; the text gives the exception and the line
    """
    try:
        with np.errstate(all="ignore"):  # saturated probes overflow where they may; what comes out is what counts
            return function(*args, **kwargs)
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        theirs = [f for f in frames if f.filename != __file__ and "site-packages" not in f.filename]
        place = f" ({theirs[-1].filename}, line {theirs[-1].lineno}: {theirs[-1].line})" if theirs else ""
        raise UserCodeError(f"{what} raised {type(error).__name__}: {error}{place}") from error


# --- plain functions --------------------------------------------------------------------------------------------------


def function_unit(
    forward: Callable[..., Any],
    backward: Callable[..., Any] | None,
    inputs: Inputs,
    reference: Callable[..., Any] | None = None,
) -> Unit:
    """A unit of plain functions; ``inputs`` by the names of forward's arguments.

    Raises
        TypeError, ValueError: arguments that are not those of ``forward``, or a ``backward`` that fits no style
        UserCodeError: forward raised
    """
    name = getattr(forward, "__name__", type(forward).__name__)
    inputs = in_order(forward, inputs)
    with same_global_draws():
        result = call("forward", forward, **own(inputs))
    n_out, cached = _style(result, backward, list(inputs))

    def run_forward(inputs: Inputs) -> tuple[Outputs, Any]:
        with same_global_draws():
            result = call("forward", forward, **inputs)
        if backward is None:  # forward(...) -> value, gradients
            return result[:1], result[1] if len(result) == 2 else result[1:]
        parts = result if isinstance(result, tuple) else (result,)
        return parts[:n_out], parts[n_out] if cached else None

    def run_backward(upstream: Outputs, inputs: Inputs, cache: Any) -> Inputs:
        if backward is None:
            return named_gradients(cache, inputs)
        with same_global_draws(BACKWARD_SEED.get()):
            returned = call("backward", backward, *upstream, *((cache,) if cached else inputs.values()))
        return named_gradients(returned, inputs)

    def traced(inputs: Inputs) -> Outputs:
        result = forward(**inputs)
        return result[:n_out] if isinstance(result, tuple) else (result,)

    return Unit(
        name.removesuffix("_forward"),
        run_forward,
        run_backward,
        traced,
        None if reference is None else lambda tensors: reference(**tensors),
        _parameters(inputs),
        takes_upstream=backward is not None,
    )


# What people call the arrays that are not trained. A function does not say; where none has such a name, the first is
# data.
_DATA = {
    "x", "y", "t", "input", "inputs", "data", "image", "images", "label", "labels", "target", "targets", "mask",
    "logits", "scores", "z", "q", "k", "v",
}  # fmt: skip


def _parameters(inputs: Inputs) -> tuple[str, ...]:
    names = list(float_arrays(inputs))
    data = {n for n in names if n.lower() in _DATA} or {names[0]}
    return tuple(n for n in names if n not in data)


def in_order(forward: Callable[..., Any], inputs: Inputs) -> Inputs:
    """The inputs in the order of forward's arguments, its defaults left to it."""
    if not callable(forward):
        raise TypeError(f"forward is a {type(forward).__name__}, expected a function")
    signature = inspect.signature(forward)
    if any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values()):
        return dict(inputs)
    known = list(signature.parameters)
    unknown = [name for name in inputs if name not in known]
    if unknown:
        checks.choice("input", unknown[0], dict.fromkeys(known))
    try:
        signature.bind(**inputs)
    except TypeError as error:
        raise ValueError(
            f"forward takes {', '.join(known)}, given are {', '.join(inputs) or 'none'}: {error}; "
            "give an array for each by its name"
        ) from error
    arrays = float_arrays(inputs)
    if not arrays:
        came = ", ".join(f"{name} is {_kind(value)}" for name, value in inputs.items())
        raise TypeError(f"{came}; expected at least one NumPy array of floats to differentiate")
    for name, value in arrays.items():
        if value.size == 0:
            raise ValueError(f"{name} has shape {value.shape}, expected at least one element")
        if np.isnan(value).any():
            checks.finite(name, value)
    return {name: inputs[name] for name in known if name in inputs}


def _kind(value: Any) -> str:
    return f"an array of {value.dtype}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"


def _style(result: Any, backward: Callable[..., Any] | None, names: list[str]) -> tuple[int, bool]:
    """How many outputs forward has, and whether a cache comes after them."""
    came = f"a tuple of {len(result)}" if isinstance(result, tuple) else f"a {type(result).__name__}"
    if backward is None:
        if not isinstance(result, tuple) or len(result) < 2 or np.ndim(result[0]) != 0:
            raise ValueError(f"backward is None and forward returned {came}; expected forward(…) -> value, gradients")
        return 1, False
    if not callable(backward):
        raise TypeError(
            f"backward is a {type(backward).__name__}, expected a function, or None for a loss in one function"
        )
    parameters = inspect.signature(backward).parameters.values()
    needed = [
        p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty
    ]
    n_parts = len(result) if isinstance(result, tuple) else 1
    if isinstance(result, tuple) and len(needed) == n_parts:
        if any(isinstance(part, tuple | list) for part in result[:-1]):
            raise ValueError(
                "forward returned a tuple or list as an output, expected arrays; several outputs come one after "
                "another: forward(…) -> h, s, cache beside backward(dh, ds, cache)"
            )
        return n_parts - 1, True
    parts = result if isinstance(result, tuple) else (result,)
    if len(needed) == n_parts + len(names) and all(isinstance(p, np.ndarray | np.number | float) for p in parts):
        return n_parts, False
    raise ValueError(
        f"backward takes {', '.join(needed) or 'nothing'} and forward returned {came}; expected "
        f"forward({', '.join(names)}) -> out, cache beside backward(dout, cache), "
        f"or forward({', '.join(names)}) -> out beside backward(dout, {', '.join(names)})"
    )


def named_gradients(returned: Any, inputs: Inputs) -> Inputs:
    """What backward returned, by the names of the inputs: from a dict ("w" or "dw"), a tuple in order, or one array.

    Raises
        UserCodeError: there are more than there are inputs, or a name that is no input's
    """
    names = list(float_arrays(inputs))
    if isinstance(returned, Mapping):
        gradients = {}
        for key, value in returned.items():
            name = key if key in names else str(key)[1:] if str(key)[:1] == "d" and str(key)[1:] in names else None
            if name is None:
                raise UserCodeError(
                    f"backward returned a gradient called {key!r}, expected names out of {', '.join(names)}"
                )
            gradients[name] = value
        return gradients
    values = list(returned) if isinstance(returned, tuple | list) else [returned]
    if len(values) > len(names):
        others = [f"{n} is {_kind(v)} and counts as constant" for n, v in inputs.items() if n not in names]
        hint = f" ({'; '.join(others)})" if others else ""
        raise UserCodeError(
            f"backward returned {len(values)} gradients, expected one for each of {', '.join(names)}{hint}"
        )
    return dict(zip(names, values, strict=False))


# --- layers and losses of this project's protocol ---------------------------------------------------------------------


def layer_unit(
    layer: Layer,
    inputs: Inputs,
    reference: Any = None,
    name: str | None = None,
    training: bool = True,
    untrained: Inputs | None = None,
) -> Unit:
    """A unit of a layer; ``inputs`` are x, the trained arrays by name and, for one that differs in training, rng.

    ``untrained`` are the arrays that have no gradient, by name; by default, random ones.

    The reference is ``reference`` (an nn.Module, or a function of x and the parameters), else the torch counterpart of
    the layer's class or its nearest known base, else the layer's own forward.
    """
    parameters = tuple(trained_shapes(layer))
    constants = untrained if untrained is not None else random_untrained(layer)

    def arguments(inputs: Inputs) -> tuple[list[Any], Inputs]:
        given = {name: value.astype(inputs["x"].dtype) for name, value in constants.items()} | inputs
        return [given[p] for p in ("x", *layer.shapes())], {"training": inputs["rng"]} if "rng" in inputs else {}

    def run_forward(inputs: Inputs) -> tuple[Outputs, Any]:
        positional, rng = arguments(inputs)
        result = call("forward", layer.forward, *positional, **rng)
        if not isinstance(result, tuple) or len(result) != 2:
            raise UserCodeError(f"forward of {layer} returned a {type(result).__name__}, expected (y, cache)")
        return result[:1], result[1]

    def into(upstream: Outputs, inputs: Inputs, cache: Any, filled: float) -> Inputs:
        grads = {p: np.full_like(inputs[p], filled) for p in parameters}
        dx = call("backward", layer.backward, *upstream, cache, *grads.values())
        return ({} if dx is None else {"x": dx}) | grads

    def traced(inputs: Inputs) -> Outputs:
        positional, rng = arguments(inputs)
        return layer.forward(*positional, **rng)[:1]

    return Unit(
        name or str(layer),
        run_forward,
        lambda upstream, inputs, cache: into(upstream, inputs, cache, np.nan),
        traced,
        _layer_reference(layer, reference, parameters, training, constants),
        parameters,
        tuple(getattr(layer, "kinks", ())),
        into=into if parameters else None,
        widened=lambda: _widened(layer, inputs, reference, name, training),
        batch_is_free=True,
    )


def counterpart(layer: Layer) -> torch.nn.Module | None:
    """The torch counterpart of the layer's class or its nearest known base, if there is one."""
    known = next((base for base in type(layer).__mro__ if base in LAYERS), None)
    return None if known is None else LAYERS[known](layer)


def random_untrained(layer: Layer) -> Inputs:
    """Values for the arrays that are not trained: positive, as a variance must be."""
    rng, shapes = np.random.default_rng(7), layer.shapes()
    return {name: rng.uniform(0.5, 1.5, shapes[name]) for name in getattr(layer, "untrained", ())}


def _layer_reference(
    layer: Layer, reference: Any, parameters: tuple[str, ...], training: bool, constants: Inputs
) -> Callable[[dict[str, Any]], Any] | None:
    if reference is None:
        reference = counterpart(layer)
        if reference is None:
            return None
        reference = reference.to(torch.float64)
    if not isinstance(reference, torch.nn.Module):
        checks.instance("reference", reference, object, "an nn.Module or a function of x and the parameters")
        return lambda tensors: reference(*(tensors[n] for n in ("x", *parameters)))
    reference = copy.deepcopy(reference).train(training)

    def functional(tensors: dict[str, Any]) -> Any:
        # Buffers are copied: running statistics that move would carry one probe over into the next.
        named = {n: b.clone() for n, b in reference.named_buffers()} | {p: tensors[p] for p in parameters}
        named |= {name: torch.tensor(value, dtype=torch.float64) for name, value in constants.items()}
        draws = "rng" in tensors and getattr(reference, "takes_rng", False)
        args = (tensors["x"], copy.deepcopy(tensors["rng"])) if draws else (tensors["x"],)
        return torch.func.functional_call(reference, named, args)

    return functional


def _widened(
    layer: Layer, inputs: Inputs, reference: Any, name: str | None, training: bool
) -> tuple[Unit, Inputs] | None:
    """The layer with every width changed, where it is a record whose whole numbers are widths."""
    if not dataclasses.is_dataclass(layer) or reference is not None or "x" not in float_arrays(inputs):
        return None  # a given reference has its own widths, and integers have none
    x, rng = inputs["x"], np.random.default_rng(7)
    sizes = {f.name: getattr(layer, f.name) for f in dataclasses.fields(layer)}
    change = {n: v + 2 for n, v in sizes.items() if isinstance(v, int) and not isinstance(v, bool) and v > 1}
    if not change:
        return None
    try:
        other = dataclasses.replace(layer, **change)
        width = next((v + 2 for n, v in sizes.items() if n in change and v == x.shape[-1]), x.shape[-1])
        resized: Inputs = {"x": rng.standard_normal((*x.shape[:-1], width)).astype(x.dtype)}
        resized |= {p: rng.standard_normal(shape).astype(x.dtype) for p, shape in trained_shapes(other).items()}
        given = resized | random_untrained(other)
        resized |= {"rng": inputs["rng"]} if "rng" in inputs else {}
        other.forward(*(given[p] for p in ("x", *other.shapes())))
    except Exception:  # another width is an extra: a layer whose whole numbers are no widths goes without
        return None
    unit = layer_unit(other, resized, reference, name, training)
    return dataclasses.replace(unit, widened=None), resized


def loss_unit(loss: Loss, reference: Any = None, name: str | None = None) -> Unit:
    """A unit of a loss, ``loss(logits, y) -> (value, dlogits)``."""

    def run_forward(inputs: Inputs) -> tuple[Outputs, Any]:
        result = call("loss", loss, inputs["logits"], inputs["y"])
        if not isinstance(result, tuple) or len(result) != 2:
            raise UserCodeError(f"{loss} returned a {type(result).__name__}, expected (value, dlogits)")
        return result[:1], result[1]

    if reference is None:
        reference = next((with_options(base, loss) for base in type(loss).__mro__ if base in LOSSES), None)
    return Unit(
        name or str(loss),
        run_forward,
        lambda _, inputs, cache: {"logits": cache},
        lambda inputs: loss(inputs["logits"], inputs["y"])[:1],
        None if reference is None else lambda tensors: reference(tensors["logits"], tensors["y"]),
        takes_upstream=False,
        batch_is_free=True,
    )


def penalty_unit(penalty: Any) -> Unit:
    """A unit of a penalty on the weights; its inputs are the parameters of a network."""

    def run(inputs: Inputs) -> tuple[Any, Parameters]:
        params = Parameters({name: v.shape for name, v in inputs.items()})
        for name, value in inputs.items():
            params[name] = value
        grads = params.gradients()
        return call("add_grad", penalty.add_grad, params, grads), grads

    def reference(tensors: dict[str, Any]) -> Any:
        weights = [W for W in tensors.values() if is_weight(W)]
        total = sum(penalty.l1 * W.abs().sum() + penalty.l2 / 2 * W.square().sum() for W in weights)
        return total + 0 * sum(b.sum() for b in tensors.values())  # a bias is no part of it, and has gradient 0

    return Unit(
        str(penalty),
        lambda inputs: ((np.float64(run(inputs)[0]),), None),
        lambda _, inputs, __: dict(run(inputs)[1]),
        lambda inputs: (run(inputs)[0],),
        reference,
        ("0.weight", "0.bias", "2.weight"),
        takes_upstream=False,
        title=lambda name: f"∂ {name}",
    )


# --- objects that hold their weights ----------------------------------------------------------------------------------


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
