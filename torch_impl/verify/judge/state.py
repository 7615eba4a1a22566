"""What a backward does beside its numbers: what it changes in place, and what it gives when it is called again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from torch_impl.verify.mistakes.catalogue import CATALOGUE
from torch_impl.verify.observe.observation import call_backward, close, copies, sendable
from torch_impl.verify.report import UNKNOWN, Finding, finding
from torch_impl.verify.tensor import ratios
from torch_impl.verify.units.unit import BACKWARD_SEED, FORWARD_SEED, UserCodeError, float_arrays, own

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from torch_impl.verify.observe.observation import Observation
    from torch_impl.verify.units.unit import Inputs, Unit

    Array = NDArray[Any]


def watch_state(unit: Unit, inputs: Inputs, base: Observation, known: set[str]) -> list[Finding]:
    """The findings beside wrong numbers, whose names are ``known``."""
    mine = own(inputs)
    before = {name: _bytes(value) for name, value in mine.items()}
    _, cache = unit.forward(mine)
    # Arrays alone: a dict of options may well be there to be written to, as running statistics are.
    changed = [n for n, b in before.items() if isinstance(mine[n], np.ndarray) and _bytes(mine[n]) != b]
    if changed:
        return [_changed(unit, "forward", changed)]
    found = _in_place(unit, base, mine, cache)
    if any(f.verdict == "wrong" for f in found):
        return [] if "updated-weights" in known else found  # the same fault: the update is what changed them
    if unit.into is not None:
        found += _unwritten(unit, base, mine, cache)
    if not unit.updates_itself and not found:
        found += _called_again(unit, inputs, base, known)
    return found


def _in_place(unit: Unit, base: Observation, mine: Inputs, cache: Any) -> list[Finding]:
    """What backward changes in place: somebody else's array is a fault; the upstream gradient and the cache may be."""
    arrays, kept = _arrays_in(mine), _arrays_in(cache)
    upstream = sendable(base.upstream)
    before = [{n: _bytes(a) for n, a in part.items()} for part in (arrays, kept)]
    sent = [_bytes(u) for u in upstream]
    unit.backward(upstream, mine, cache)
    changed = [n for n, a in arrays.items() if _bytes(a) != before[0][n]]
    if unit.updates_itself or (not unit.takes_upstream and not kept):
        changed = []
    if changed:
        return [_changed(unit, "backward", changed)]
    if any(_bytes(u) != b for u, b in zip(upstream, sent, strict=True)):
        return [replace(_changed(unit, "backward", ["the upstream gradient"]), verdict="right, but")]
    return []


def _changed(unit: Unit, where: str, names: list[str]) -> Finding:
    said = ", ".join(names)
    text, evidence = f"{where} changes {said} in place", f"the bytes of {said} differ after {where}"
    return finding(CATALOGUE["aliasing"], [said], unit.name, text=text, evidence=evidence)


def _unwritten(unit: Unit, base: Observation, mine: Inputs, cache: Any) -> Iterator[Finding]:
    """Arrays for gradients that are handed over, and not wholly written, or added to."""
    assert unit.into is not None  # or nothing is handed over
    zero, five = (copies(unit.into(sendable(base.upstream), mine, cache, f)) for f in (0.0, 5.0))
    for name in unit.parameters:
        title = [unit.title(name)]
        if close(five[name], zero[name]):
            continue
        if close(five[name], zero[name] + 5.0) and not np.any(zero[name]):
            text = "the array for the gradient is never written; write into it, as in dW[...] = x.T @ dy"
            yield finding(UNKNOWN, title, unit.name, text=text, evidence="it keeps what was there")
        elif close(five[name], zero[name] + 5.0):
            evidence = "the array handed over held 5 everywhere, and every entry came out 5 larger than from zeros"
            added = finding(CATALOGUE["grads-accumulate"], title, unit.name, evidence=evidence)
            yield replace(added, verdict="wrong")  # a layer of this protocol overwrites
        else:
            entry = [int(i) for i in np.argwhere(five[name] != zero[name])[0]]
            text = "not every entry of the gradient is written"
            yield finding(UNKNOWN, title, unit.name, text=text, evidence=f"index {entry} keeps what was there")


def _called_again(unit: Unit, inputs: Inputs, base: Observation, known: set[str]) -> list[Finding]:
    """A second backward, with the same cache and after another forward; one between two forwards."""
    mine = own(inputs)
    _, cache = unit.forward(mine)
    kept = {n: _bytes(a) for n, a in _arrays_in(cache).items()}
    first = call_backward(unit, base.upstream, mine, cache)
    consumed = kept != {n: _bytes(a) for n, a in _arrays_in(cache).items()}
    for fresh in (False, True):
        if fresh:
            mine = own(inputs)
            _, cache = unit.forward(mine)
        try:
            second = call_backward(unit, base.upstream, mine, cache)
        except UserCodeError:  # a cache that is popped serves one backward, and need not serve two
            continue
        # Beside the very first call, not the one before: what changes once and stays so is a memory too.
        differing = [n for n in base.hand if n in second and not close(base.hand[n], second[n])]
        which = "with a fresh forward" if fresh else "with the same cache"
        # Others may have called before: what one more call adds is what the very first call gave.
        if differing and all(close(second[n] - first[n], base.hand[n]) for n in differing):
            evidence = f"the second call, {which}, adds as much again"
            return [finding(CATALOGUE["grads-accumulate"], [unit.title(differing[0])], unit.name, evidence=evidence)]
        if differing and consumed and not fresh:
            text = "backward changes what forward kept: a second one after the same forward gives another gradient"
            made = finding(CATALOGUE["aliasing"], [unit.title(differing[0])], unit.name, text=text)
            return [replace(made, verdict="right, but")]
        if differing and "dropout-mask-resampled" not in known:
            name = differing[0]
            text = "a second call gives another gradient: backward depends on something that is not handed to it"
            evidence = f"{which}, {ratios(second[name], base.hand[name])}"
            return [finding(UNKNOWN, [unit.title(name)], unit.name, text=text, evidence=evidence)]
    return _other_order(unit, inputs, base, first) if unit.takes_upstream else []


def _other_order(unit: Unit, inputs: Inputs, base: Observation, first: Inputs) -> list[Finding]:
    """forward A, forward B, backward A: the gradients of A again, if no forward overwrites what another one keeps."""
    mine = own(inputs)
    _, cache = unit.forward(mine)
    floats = float_arrays(inputs)
    try:
        unit.forward({n: v + 1.0 if n in floats and n not in unit.parameters else v for n, v in own(inputs).items()})
        again = call_backward(unit, base.upstream, mine, cache)
    except UserCodeError:
        return []
    stale = [n for n in first if n in again and not close(first[n], again[n])]
    if not stale:
        return []
    text = "a forward pass overwrites what an earlier one keeps for its backward; put that into the cache"
    evidence = "forward A, forward B, backward A: the gradient is not A's"
    if unit.into is not None:
        return [finding(UNKNOWN, [unit.title(stale[0])], unit.name, text=text, evidence=evidence)]
    # Code that keeps one cache for all calls is common, and right as long as it is called in turn; a layer may not.
    found = finding(CATALOGUE["aliasing"], [unit.title(stale[0])], unit.name, text=text, evidence=evidence)
    return [replace(found, verdict="right, but")]


def _bytes(value: Any) -> Any:
    return value.tobytes() if isinstance(value, np.ndarray | np.generic) else repr(value)


def _arrays_in(thing: Any, path: str = "", depth: int = 0) -> dict[str, Array]:
    """Every array in nested tuples, lists and dicts, by its path."""
    if isinstance(thing, np.ndarray):
        return {path: thing}
    if depth > 4:
        return {}
    if isinstance(thing, dict):
        parts = {f"{path}[{k!r}]" if depth or path else str(k): v for k, v in thing.items()}
    elif isinstance(thing, tuple | list):
        parts = {f"{path}[{i}]": v for i, v in enumerate(thing)}
    else:
        return {}
    return {p: a for q, v in parts.items() for p, a in _arrays_in(v, q, depth + 1).items()}


# --- random draws -----------------------------------------------------------------------------------------------------


def check_repeatable(unit: Unit, inputs: Inputs) -> None:
    """Raise UserCodeError if the forward gives other outputs when it is called again."""
    first, second = (unit.forward(own(inputs))[0] for _ in range(2))
    if not all(close(a, b) for a, b in zip(first, second, strict=True)):
        raise UserCodeError(
            "forward gives other outputs when it is called again with the same inputs; where it draws random numbers, "
            "hand it the generator as an argument, or let it draw from np.random: both start anew with every call"
        )


def remembers(unit: Unit, inputs: Inputs, base: Observation) -> bool:
    """Whether a second run gives other gradients: then only the first one can be judged."""
    mine = own(inputs)
    try:
        second = call_backward(unit, base.upstream, mine, unit.forward(mine)[1])
    except UserCodeError:
        return True
    return any(not close(base.hand[n], second[n]) for n in base.hand if n in second)


def added(unit: Unit, inputs: Inputs, base: Observation) -> Inputs:
    """What one more call adds to the gradients, where they accumulate and others have called before."""
    totals = []
    for _ in range(2):
        mine = own(inputs)
        try:
            totals.append(call_backward(unit, base.upstream, mine, unit.forward(mine)[1]))
        except UserCodeError:
            return {}
    first, second = totals
    return {n: second[n] - first[n] for n in base.hand if n in second and not close(base.hand[n], second[n])}


def drawn_anew(unit: Unit, inputs: Inputs, base: Observation, wrong: list[str]) -> bool:
    """Whether backward draws what forward drew: with each generator put back to where forward began, it is right."""
    token = BACKWARD_SEED.set(FORWARD_SEED)
    try:
        mine = own(inputs)
        _, cache = unit.forward(mine)
        for generator in _generators(mine) + _generators(cache):
            if generator.bit_generator.state != _start(inputs):
                generator.bit_generator.state = _start(inputs) or generator.bit_generator.state
        again = call_backward(unit, base.upstream, mine, cache)
    except UserCodeError:
        return False
    finally:
        BACKWARD_SEED.reset(token)
    moved = any(not close(again[n], base.hand[n]) for n in wrong if n in again)
    return moved and all(
        float(np.abs(again[n] - base.auto[n]).max(initial=0)) <= base.tolerance[n] for n in wrong if n in again
    )


def _generators(thing: Any, depth: int = 0) -> list[np.random.Generator]:
    if isinstance(thing, np.random.Generator):
        return [thing]
    parts = thing.values() if isinstance(thing, dict) else thing if isinstance(thing, tuple | list) else ()
    return [g for part in parts if depth < 4 for g in _generators(part, depth + 1)]


def _start(inputs: Inputs) -> Any:
    return next((g.bit_generator.state for g in _generators(inputs)), None)


def resampled(unit: Unit, base: Observation, wrong: list[str]) -> Finding:
    """The finding that backward draws a mask of its own."""
    residual = max(base.residual(n, base.auto[n]) / base.scale(n) for n in wrong)
    return finding(
        CATALOGUE["dropout-mask-resampled"], [unit.title(n) for n in wrong], unit.name,
        formula="dx = dy m′, m′ drawn in backward; should be dx = dy m, the forward's",
        evidence=f"apart by {residual:.1e}; with the generator put back to where forward began, backward is right",
        residual=0.0,
    )  # fmt: skip
