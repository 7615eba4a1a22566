"""A forward and its backward: how the two are called is found out by calling them."""

from __future__ import annotations

import copy
import inspect
import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from torch_impl.verify.tolerances import AGREE, STEP
from torch_impl.verify.units import roles
from torch_impl.verify.units.calls import parameters, required
from torch_impl.verify.units.returned import assigned, is_place, targets_among
from torch_impl.verify.units.trees import as_list, is_float_array, is_number, is_numeric, leaves, mapped
from torch_impl.verify.units.unit import (
    BACKWARD_SEED,
    Inputs,
    Outputs,
    UserCodeError,
    call,
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

    @property
    def takes_upstream(self) -> bool:
        return any(kind == "upstream" for kind, _ in self.arguments)

    @property
    def in_order(self) -> list[str]:
        """The inputs of the gradients that were returned without names."""
        return [name for path, name in (self.gradients or {}).items() if is_place(path)]


class Pair:
    """A forward and its backward, and perhaps the loss between them, called by the names of their arguments."""

    def __init__(
        self,
        forward: Callable[..., Any],
        backward: Callable[..., Any] | None,
        loss: Callable[..., Any] | None,
        inputs: Inputs,
        known: list[str],
        candidates: dict[str, Any],
        targets: tuple[str, ...],
        lists: frozenset[str] = frozenset(),
    ) -> None:
        self.functions = {"forward": forward, "backward": backward, "loss": loss}
        self.inputs, self.candidates, self.targets, self.lists = inputs, candidates, targets, lists
        self.known = known
        self.last = targets_among(candidates, targets)

    def given(self, flat: Inputs) -> Inputs:
        """The arguments by name, with the arrays of ``flat`` in their places."""

        def value(path: str, old: Any) -> Any:
            new = flat[path] if path in flat else copy.deepcopy(old)
            if path in self.lists:
                return as_list(new)
            return new[()] if isinstance(old, float) and isinstance(new, np.ndarray) else new

        return mapped(self.inputs, value)

    def parts(self, returned: Any) -> dict[str, Any]:
        """What was returned, by its path; lists of numbers as arrays, where the inputs are such lists."""
        tree = returned if isinstance(returned, Mapping | list | tuple) else [returned]
        if self.lists:
            parts = tree.items() if isinstance(tree, Mapping) else enumerate(tree)
            tree = {str(k): np.array(v) if isinstance(v, list) and is_numeric(v) else v for k, v in parts}
        return dict(leaves(tree))

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
            if isinstance(result, Mapping):
                key = list(result)[_value_at(tuple(result.values()))]
                return (result[key],), ({k: v for k, v in result.items() if k != key},)
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
        found = self.parts(returned)
        gradients = convention.gradients
        if gradients is None:
            gradients = next(assigned(found, self.candidates, self.targets))[0]
        return {name: found[path] for path, name in gradients.items() if path in found}

    def returned(self, upstream: Outputs, cache: Any, convention: Convention) -> Any:
        """What backward returns."""
        if self.functions["backward"] is None:
            return cache[0] if len(cache) == 1 else cache
        given, outs, kept = cache
        values = iter(upstream)
        like = mapped(list(outs), lambda *_: next(values)) if self.functions["loss"] is None else []
        sources: dict[str, Any] = {"upstream": like, "output": outs, "kept": kept, "input": given}
        backward = self.functions["backward"]
        names = required(backward)
        arguments = {n: sources[kind][key] for n, (kind, key) in zip(names, convention.arguments, strict=True)}
        optional = {n for n in parameters(backward) if n not in names and n in given}
        positional = [arguments.pop(n) for n in names if _is_positional(backward, n)]
        return call("backward", backward, *positional, **arguments, **{n: given[n] for n in optional})

    def _for_loss(self, given: Inputs, parts: tuple[Any, ...]) -> list[Any]:
        """The arguments of the loss: inputs by their names, what forward returned for the others."""
        loss = self.functions["loss"]
        assert loss is not None  # or this would not be called
        names = required(loss)
        given = {"inputs": given} | given
        free = [n for n in names if n not in given]
        shown = parts[-len(free) :] if len(parts) > 2 and not isinstance(parts[-1], Mapping | list | tuple) else parts
        made = iter(shown)
        return [given[n] if n in given else next(made) for n in names]

    # --- finding out --------------------------------------------------------------------------------------------------

    def found(self) -> Convention:
        """The convention that runs, and whose gradients fit best."""
        if self.functions["backward"] is None:
            given = {n: v for n, v in self.given({}).items() if n in self.known}
            with same_global_draws():
                result = call("forward", self.functions["forward"], **given)  # type: ignore[arg-type]
            _value_at(result if isinstance(result, tuple) else tuple(getattr(result, "values", lambda: (result,))()))
        with same_global_draws():
            result = call("forward", self.outputs, {}, None)
        if not result[0] or any(o is None for o in result[0]):
            raise ValueError("forward returned None, expected an array, or a tuple that begins with one")
        best: list[tuple[tuple[int, int, int], Convention]] = []
        first: Convention | None = None
        for n_out, arguments in dict.fromkeys(self._conventions(result[1])):
            trial = Convention(n_out, arguments, None)
            try:
                outputs, cache = self.forward({}, trial)
                with same_global_draws(BACKWARD_SEED.get()):
                    returned = self.returned(_upstream(outputs, trial), cache, trial)
            except (UserCodeError, TypeError, ValueError, IndexError, StopIteration):
                first = first or trial
                continue
            for gradients, others, fit in itertools.islice(
                assigned(self.parts(returned), self.candidates, self.targets), 20
            ):
                if gradients:
                    # A gradient with the wrong sign may be that of the targets: nobody means those first.
                    score = (fit, self._agrees(arguments), -len(self.last.intersection(gradients.values())))
                    best.append((score, Convention(n_out, arguments, gradients, others)))
        highest = max((score for score, _ in best), default=(0, 0, 0))
        chosen = [convention for score, convention in best if score == highest]
        # One that only happens to run is none: where the gradients fit no shapes, names say how it is meant.
        misfits = bool(chosen) and highest[0] < len(chosen[0].gradients or ())
        if chosen and not (misfits and first is not None and self._agrees(first.arguments) > highest[1]):
            return self._nearest(chosen)
        if first is not None:  # with other lengths it may run, and shows what it is
            return first
        raise ValueError(self._said(result[1]))

    def _nearest(self, conventions: list[Convention]) -> Convention:
        """Of those whose shapes fit alike, the one with most slopes of the forward, then with most weights."""
        if len(conventions) == 1:
            return conventions[0]
        slopes: dict[Any, float] = {}

        def agreeing(convention: Convention) -> tuple[int, int]:
            outputs, cache = self.forward({}, convention)
            upstream = _upstream(outputs, convention)
            found = self.backward(upstream, cache, convention)
            count = 0
            for name, gradient in found.items():
                value = np.asarray(self.candidates[name], np.float64)
                if gradient is None or np.shape(gradient) != value.shape:
                    continue
                direction = np.random.default_rng(1).standard_normal(value.shape)
                key = (name, convention.n_out)
                if key not in slopes:
                    ahead, behind = (
                        sum(float(np.sum(u * o)) for u, o in zip(upstream, moved, strict=True))
                        for moved in (self.forward({name: value + h * direction}, convention)[0] for h in (STEP, -STEP))
                    )
                    slopes[key] = (ahead - behind) / (2 * STEP)
                count += abs(slopes[key] - float(np.sum(gradient * direction))) < AGREE * max(1.0, abs(slopes[key]))
            return count, sum(map(roles.is_weight_name, (convention.gradients or {}).values()))

        return max(conventions, key=agreeing)

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
            free = sum(name not in inputs for name in names)
            for order in itertools.islice(itertools.permutations(range(len(kept)), min(free, len(kept))), 60):
                yield 1, tuple(_named(names, inputs, [], [("kept", i) for i in order]))
            return
        parts = [*outs, *kept]
        for n_out in range(1, len(parts) + 1):
            last = parts[n_out - 1]
            if n_out > 1 and not is_float_array(np.asarray(last) if is_number(last) else last):
                break  # no output, but what is kept
            ups = [("upstream", i) for i in range(n_out)]
            rest = [("kept", i) for i in range(len(parts) - n_out)]
            own = [] if rest else [("output", i) for i in range(n_out)]
            ins = [("input", n) for n in self.known]
            by_name = list(_named(names, inputs, list(ups), [*rest, *own]))
            for one in (
                by_name, [*ups, *rest], [*rest, *ups], [*ups, *ins], [*ins, *ups], [*ups, *own], [*own, *ups], ups,
            ):  # fmt: skip
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


def _is_positional(function: Callable[..., Any], name: str) -> bool:
    return parameters(function)[name].kind is not inspect.Parameter.KEYWORD_ONLY


def _upstream(outputs: Outputs, convention: Convention) -> Outputs:
    if not convention.takes_upstream:
        return tuple(np.ones(np.shape(o))[()] for o in outputs)
    rng = np.random.default_rng(0)
    return tuple(np.asarray(rng.standard_normal(np.shape(o)))[()] for o in outputs)


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
