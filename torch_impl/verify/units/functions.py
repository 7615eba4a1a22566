"""Units of plain functions: how a backward is called is found out by calling it."""

from __future__ import annotations

import copy
import inspect
import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from scratch import checks
from torch_impl.verify.units import roles
from torch_impl.verify.units.trees import is_float_array, leaves, mapped
from torch_impl.verify.units.unit import (
    BACKWARD_SEED,
    Inputs,
    Outputs,
    Unit,
    UserCodeError,
    call,
    float_arrays,
    same_global_draws,
)

Source = tuple[str, Any]  # ("upstream", 0), ("output", 0), ("kept", 0), ("input", "x")


@dataclass(frozen=True)
class Convention:
    """How many outputs forward has, what backward is called with, and whose gradients it returns.

    ``gradients`` are the inputs by the path in what is returned: "0", "dW", "1.W".
    """

    n_out: int
    arguments: tuple[Source, ...]
    gradients: Mapping[str, str] | None  # None until it has run
    others: tuple[str, ...] = ()  # what else is returned


def function_unit(
    forward: Callable[..., Any],
    backward: Callable[..., Any] | None,
    inputs: Inputs,
    reference: Callable[..., Any] | None = None,
    loss: Callable[..., Any] | None = None,
    targets: tuple[str, ...] = (),
) -> tuple[Unit, Inputs, list[str]]:
    """A unit of plain functions, its inputs, arrays within dicts and lists among them by their paths, and notes.

    Raises
        TypeError, ValueError: arguments that are not those of ``forward``, or a ``backward`` that fits no style
        UserCodeError: forward raised
    """
    candidates = {path: v for path, v in leaves(inputs) if is_float_array(v) or isinstance(v, float)}
    pair = Pair(forward, backward, loss, inputs, candidates, targets)
    convention = pair.found()
    named = set(candidates if convention.gradients is None else convention.gradients.values())
    flat = {path: np.array(v) if isinstance(v, float) else v for path, v in leaves(inputs) if path in named}
    flat |= {name: v for name, v in inputs.items() if not isinstance(v, Mapping | list | tuple) and name not in flat}
    flat = {name: flat[name] for name in dict.fromkeys([*(p for p, _ in leaves(inputs)), *flat]) if name in flat}
    kinds = {name: roles.kind_of(v) for name, v in flat.items() if isinstance(v, np.ndarray)}
    data = {n for n, kind in kinds.items() if n.lower() in roles.DATA or n in targets or kind in ("one-hot", "choice")}
    parameters = tuple(n for n in float_arrays(flat) if n not in (data or {next(iter(float_arrays(flat)))}))
    name = getattr(forward, "__name__", type(forward).__name__)
    unit = Unit(
        re.sub(r"_?(forward|fwd)_?", "", name, flags=re.IGNORECASE) or name,
        lambda given: pair.forward(given, convention),
        lambda upstream, _, cache: pair.backward(upstream, cache, convention),
        lambda given: pair.outputs(given, convention)[0],
        None if reference is None else lambda tensors: reference(**tensors),
        parameters,
        takes_upstream=any(kind == "upstream" for kind, _ in convention.arguments),
        kinds={n: roles.kind_of(v, n in parameters) for n, v in flat.items() if isinstance(v, np.ndarray)},
    )
    notes = []
    if convention.others:
        notes.append(f"{unit.name}: backward also returned {', '.join(convention.others)}, which no input has")
    return unit, flat, notes


class Pair:
    """A forward and its backward, and perhaps the loss between them, called by the names of their arguments."""

    def __init__(
        self,
        forward: Callable[..., Any],
        backward: Callable[..., Any] | None,
        loss: Callable[..., Any] | None,
        inputs: Inputs,
        candidates: dict[str, Any],
        targets: tuple[str, ...],
    ) -> None:
        self.functions = {"forward": forward, "backward": backward, "loss": loss}
        self.inputs, self.candidates, self.targets = inputs, candidates, targets
        self.known = arguments_of(forward, inputs, (loss, backward))

    def given(self, flat: Inputs) -> Inputs:
        """The arguments by name, with the arrays of ``flat`` in their places."""

        def value(path: str, old: Any) -> Any:
            if path not in flat:
                return copy.deepcopy(old)
            new = flat[path]
            return new[()] if isinstance(old, float) and isinstance(new, np.ndarray) else new

        return mapped(self.inputs, value)

    def outputs(self, flat: Inputs, convention: Convention | None) -> tuple[Outputs, Any]:
        """The outputs as a flat tuple, and what else backward is called with."""
        given = self.given(flat)
        result = self.functions["forward"](**{n: v for n, v in given.items() if n in self.known})
        parts = result if isinstance(result, tuple) else (result,)
        n_out = 1 if convention is None else convention.n_out
        if self.functions["loss"] is not None:
            arguments = self._for_loss(given, parts)
            return (self.functions["loss"](*arguments),), (given, parts, parts)
        if self.functions["backward"] is None:
            where = _value_at(parts)
            return (parts[where],), parts[:where] + parts[where + 1 :]
        outs = parts[:n_out]
        return tuple(v for _, v in leaves(list(outs))), (given, outs, parts[n_out:])

    def forward(self, flat: Inputs, convention: Convention | None) -> tuple[Outputs, Any]:
        with same_global_draws():
            return call("forward", self.outputs, flat, convention)

    def backward(self, upstream: Outputs, cache: Any, convention: Convention) -> Inputs:
        """The gradients by the names of the inputs."""
        with same_global_draws(BACKWARD_SEED.get()):
            returned = self.returned(upstream, cache, convention)
        found = dict(leaves(returned if isinstance(returned, Mapping | list | tuple) else [returned]))
        gradients = convention.gradients
        if gradients is None:
            gradients = assigned(returned, self.candidates, self.targets)[0]
        return {name: found[path] for path, name in gradients.items() if path in found}

    def returned(self, upstream: Outputs, cache: Any, convention: Convention) -> Any:
        """What backward returns."""
        if self.functions["backward"] is None:
            return cache[0] if len(cache) == 1 else cache
        given, outs, kept = cache
        values = iter(upstream)
        like = mapped(list(outs), lambda *_: next(values)) if self.functions["loss"] is None else []
        sources: dict[str, Any] = {"upstream": like, "output": outs, "kept": kept, "input": given, "given": given}
        arguments = [sources[kind][key] for kind, key in convention.arguments]
        return call("backward", self.functions["backward"], *arguments)

    def _for_loss(self, given: Inputs, parts: tuple[Any, ...]) -> list[Any]:
        """The arguments of the loss: inputs by their names, what forward returned for the others."""
        loss = self.functions["loss"]
        assert loss is not None  # or this would not be called
        names = required(loss)
        free = [n for n in names if n not in given]
        shown = parts[-len(free) :] if len(parts) > 2 and not isinstance(parts[-1], Mapping | list | tuple) else parts
        made = iter(shown)
        return [given[n] if n in given else next(made) for n in names]

    # --- finding out --------------------------------------------------------------------------------------------------

    def found(self) -> Convention:
        """The convention that runs, and whose gradients fit best."""
        with same_global_draws():
            result = call("forward", self.outputs, {}, None)
        best: tuple[Any, Convention | None] = ((), None)
        first: Convention | None = None
        for n_out, arguments in self._conventions(result[1]):
            trial = Convention(n_out, arguments, None)
            try:
                outputs, cache = self.forward({}, trial)
                rng = np.random.default_rng(0)
                upstream = tuple(np.asarray(rng.standard_normal(np.shape(o)))[()] for o in outputs)
                with same_global_draws(BACKWARD_SEED.get()):
                    returned = self.returned(upstream, cache, trial)
            except (UserCodeError, TypeError, IndexError, StopIteration):
                first = first or trial
                continue
            gradients, others, fit = assigned(returned, self.candidates, self.targets)
            score = (fit, self._agrees(arguments))
            if gradients and (best[1] is None or score > best[0]):
                best = (score, Convention(n_out, arguments, gradients, others))
        if best[1] is not None:
            return best[1]
        if first is not None:  # with other lengths it may run, and shows what it is
            return first
        raise ValueError(self._said(result[1]))

    def _conventions(self, cache: Any) -> Iterator[tuple[int, tuple[Source, ...]]]:
        backward = self.functions["backward"]
        if backward is None:
            yield 1, ()
            return
        if not callable(backward):
            raise TypeError(
                f"backward is a {type(backward).__name__}, expected a function, or None for a loss in one function"
            )
        names, inputs = required(backward), list(self.inputs)
        _, outs, kept = cache
        if self.functions["loss"] is not None:
            yield 1, tuple(_named(names, inputs, [], [("kept", i) for i in range(len(kept))]))
            yield 1, tuple(("kept", i) for i in range(len(names)))
            return
        n_parts = len(outs) + len(kept)
        for n_out in range(1, n_parts + 1):
            ups = [("upstream", i) for i in range(n_out)]
            rest = [("kept", i) for i in range(n_parts - n_out)]
            own = [("output", i) for i in range(n_out)]
            ins = [("input", n) for n in self.known if n in self.inputs]
            by_name = list(_named(names, inputs, list(ups), [*rest, *own]))
            for one in (
                by_name,
                [*ups, *rest],
                [*rest, *ups],
                [*ups, *ins],
                [*ins, *ups],
                [*ups, *own],
                [*own, *ups],
                ups,
            ):
                if len(one) == len(names):
                    yield n_out, tuple(one)

    def _agrees(self, arguments: tuple[Source, ...]) -> int:
        """How many of backward's arguments are called as what they are given."""
        backward = self.functions["backward"]
        names = required(backward) if backward is not None else []
        return sum(
            (kind == "upstream") == is_upstream(name) and (kind == "input") == (name in self.inputs)
            for name, (kind, _) in zip(names, arguments, strict=False)
        )

    def _said(self, cache: Any) -> str:
        backward, names = self.functions["backward"], list(self.inputs)
        if backward is None:
            return "backward is None and forward returned no gradients; expected forward(…) -> value, gradients"
        _, outs, kept = cache
        n = len(outs) + len(kept)
        came = f"a tuple of {n}" if n > 1 else f"a {type(outs[0]).__name__}"
        return (
            f"backward takes {', '.join(required(backward)) or 'nothing'} and forward returned {came}; expected "
            f"forward({', '.join(names)}) -> out, cache beside backward(dout, cache), "
            f"or forward({', '.join(names)}) -> out beside backward(dout, {', '.join(names)})"
        )


def _named(names: list[str], inputs: list[str], upstream: list[Source], rest: list[Source]) -> Iterator[Source]:
    """What each argument of backward is by its name."""
    for name in names:
        if name in inputs:
            yield ("input", name)
        elif upstream and (is_upstream(name) or not rest):
            yield upstream.pop(0)
        elif rest:
            yield rest.pop(0)


def is_upstream(name: str) -> bool:
    """Whether an argument is called as upstream gradients are."""
    name = name.lower()
    return name in ("g", "gout", "error", "err", "top", "upstream") or bool(
        re.match(r"d(?!ata|rop|im|ict)|.*grad|.*delta", name)
    )


def required(function: Callable[..., Any]) -> list[str]:
    """The names of the arguments that a function must be given."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.kind in kinds and p.default is p.empty]


def _value_at(parts: tuple[Any, ...]) -> int:
    """Where in a (value, gradients) the value is.

    Raises
        ValueError: there is none
    """
    for i, part in enumerate(parts):
        if not isinstance(part, Mapping | list | tuple) and np.size(part) == 1 and len(parts) > 1:
            return i
    came = f"a tuple of {len(parts)}" if len(parts) > 1 else f"a {type(parts[0]).__name__}"
    raise ValueError(f"backward is None and forward returned {came}; expected forward(…) -> value, gradients")


def assigned(
    returned: Any, candidates: dict[str, Any], targets: tuple[str, ...]
) -> tuple[dict[str, str], tuple[str, ...], int]:
    """The input of every gradient in what backward returned, what belongs to none, and how many shapes fit.

    A dict says it by its keys ("w" or "dw"). Else they come in the order of the inputs, of which those may be left out
    that have no gradient, such as targets; or in another order, where shapes tell.
    """
    parts = dict(leaves(returned if isinstance(returned, Mapping | list | tuple) else [returned]))
    numbers = (np.ndarray, float, np.number)
    parts = {path: value for path, value in parts.items() if value is None or isinstance(value, numbers)}

    def fits(path: str, name: str) -> bool:
        return parts[path] is None or np.shape(parts[path]) == np.shape(candidates[name])

    found: dict[str, str] = {}
    for path in parts:
        name = None if path.rsplit(".", 1)[-1].isdigit() else _meant(path, candidates)
        if name is not None and name not in found.values():
            found[path] = name
    score = sum(fits(path, name) for path, name in found.items())
    paths = [path for path in parts if path.rsplit(".", 1)[-1].isdigit()]
    left = {name: v for name, v in candidates.items() if name not in found.values()}
    arrays = [name for name, v in left.items() if is_float_array(v)]
    names = arrays if len(paths) <= len(arrays) else list(left)
    last = {n for n in names if n in targets or n.lower() in ("y", "t", "target", "targets", "y_true", "labels")}
    last |= {n for n in names if roles.kind_of(np.asarray(left[n])) in ("one-hot", "choice")}
    count = min(len(paths), len(names))
    # In the order of the inputs, some of them or of what is returned left out; in another order, where shapes tell.
    chosen = itertools.islice(itertools.combinations(names, count), 2000)
    chosen_paths = list(itertools.islice(itertools.combinations(paths, count), 2000))
    pairs = [list(zip(p, c, strict=True)) for c in chosen for p in chosen_paths]
    best = max(pairs, key=lambda pair: (sum(fits(*x) for x in pair), -sum(n in last for _, n in pair)), default=[])
    if sum(fits(*pair) for pair in best) < count:
        for order in itertools.islice(itertools.permutations(names, count), 2000):
            pair = list(zip(paths, order, strict=False))
            told = len({np.shape(candidates[n]) for n in order}) == count
            if told and all(fits(*x) for x in pair):
                best = pair
                break
    found |= dict(best)
    return found, tuple(path for path in parts if path not in found), score + sum(fits(*pair) for pair in best)


def _meant(path: str, candidates: Mapping[str, Any]) -> str | None:
    """The input whose gradient a key names: "dW1" is that of "parameters.W1"."""
    key = path.rsplit(".", 1)[-1]
    bare = [key, re.sub(r"^(d_?|grad_?|g_|nabla_?|delta_?)", "", key), re.sub(r"_?(grad|gradient|g)s?$", "", key)]
    tails = {name: name.rsplit(".", 1)[-1] for name in candidates}
    for word in bare:
        for fold in (str, str.lower):
            hits = [name for name, tail in tails.items() if name == path or fold(tail) == fold(word)]
            if hits:
                return hits[0]
    return None


def arguments_of(forward: Callable[..., Any], inputs: Inputs, others: tuple[Any, ...] = ()) -> list[str]:
    """The arguments of forward that are given, in its order.

    Raises
        TypeError, ValueError: there is one missing or unknown; no floats; NaN
    """
    if not callable(forward):
        raise TypeError(f"forward is a {type(forward).__name__}, expected a function")
    signature = inspect.signature(forward)
    known = list(signature.parameters)
    if any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values()):
        known = list(inputs)
    elsewhere = {n for f in others if callable(f) for n in inspect.signature(f).parameters}
    for name in inputs:
        if name not in known and name not in elsewhere:
            checks.choice("input", name, dict.fromkeys(known))
    given = {n: v for n, v in inputs.items() if n in known}
    try:
        signature.bind(**given)
    except TypeError as error:
        raise ValueError(
            f"forward takes {', '.join(known)}, given are {', '.join(inputs) or 'none'}: {error}; "
            "give an array for each by its name"
        ) from error
    arrays = {path: v for path, v in leaves(inputs) if is_float_array(v)}
    if not arrays:
        came = ", ".join(f"{name} is {_said(value)}" for name, value in inputs.items())
        raise TypeError(f"{came}; expected at least one NumPy array of floats to differentiate")
    for name, value in arrays.items():
        if value.size == 0:
            raise ValueError(f"{name} has shape {value.shape}, expected at least one element")
        if not np.isfinite(value).all():
            checks.finite(name, value)
    return [name for name in known if name in inputs]


def _said(value: Any) -> str:
    return f"an array of {value.dtype}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
