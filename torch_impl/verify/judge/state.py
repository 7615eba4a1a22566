"""State: a second call, the bytes of what was handed over, calls in another order, random draws."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from torch_impl.verify.explain.words import ratios
from torch_impl.verify.mistakes.catalogue import CATALOGUE
from torch_impl.verify.observe.observation import call_backward, close, copies, sendable
from torch_impl.verify.report import UNKNOWN, Finding
from torch_impl.verify.units.unit import BACKWARD_SEED, FORWARD_SEED, UserCodeError, float_arrays, own

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from torch_impl.verify.observe.observation import Observation
    from torch_impl.verify.units.unit import Inputs, Unit

    Array = NDArray[Any]


def watch_state(unit: Unit, inputs: Inputs, base: Observation, known: set[str]) -> list[Finding]:
    """A second call, the bytes of what was handed over, calls in another order."""
    mine = own(inputs)
    found: list[Finding] = []

    def finding(tensor: str, mistake: str, text: str, evidence: str) -> Finding:
        confidence: Literal["certain", "none"] = "certain" if mistake in CATALOGUE else "none"
        return Finding(
            tensor,
            mistake,
            confidence,
            math.nan,
            f"In {unit.name}: {text}.",
            "",
            unit.name,
            evidence,
            tensors=(tensor,),
        )

    before = own(inputs)
    _, cache = unit.forward(mine)
    watched = _arrays_in(mine)
    # Arrays alone: a dict of options may well be there to be written to, as running statistics are.
    changed = [n for n, a in before.items() if isinstance(a, np.ndarray) and _bytes(a) != _bytes(mine[n])]
    if changed:
        names = ", ".join(changed)
        return [
            finding(
                names, "aliasing", f"the forward changes {names} in place", f"the bytes of {names} differ after forward"
            )
        ]
    kept = _arrays_in(cache)
    parts_before = {n: a.tobytes() for n, a in (watched | kept).items()}
    upstream = sendable(base.upstream)
    sent = [_bytes(u) for u in upstream]
    first = copies(unit.backward(upstream, mine, cache))
    named = {**{n: n for n in watched}, **{n: f"cache{n}" for n in kept}}
    changed = [named[n] for n, a in (watched | kept).items() if a.tobytes() != parts_before[n]]
    if unit.updates_itself or (not unit.takes_upstream and not kept):
        changed = []
    changed += ["the upstream gradient"] * any(_bytes(u) != b for u, b in zip(upstream, sent, strict=True))
    aliases = {n for n, a in watched.items() for b in kept.values() if a is b}
    changed = [c for c in dict.fromkeys(changed) if not (c.startswith("cache") and aliases & {*changed})]
    if changed:
        names = ", ".join(changed)
        if "updated-weights" in known:
            return []  # the same fault: the update is what changed them
        evidence = f"the bytes of {names} differ after backward"
        return [finding(names, "aliasing", f"backward changes {names} in place", evidence)]

    def again(fresh: bool) -> Inputs:
        nonlocal mine, cache
        if fresh:
            mine = own(inputs)
            _, cache = unit.forward(mine)
        return call_backward(unit, base.upstream, mine, cache)

    try:
        if unit.into is not None:
            zero, five = (copies(unit.into(sendable(base.upstream), mine, cache, f)) for f in (0.0, 5.0))
            unwritten = [n for n in unit.parameters if not np.any(zero[n]) and close(five[n], zero[n] + 5.0)]
            for n in unwritten:
                text = "the array for the gradient is never written; write into it, as in dW[...] = x.T @ dy"
                found.append(finding(unit.title(n), UNKNOWN, text, "it keeps what was there"))
            added = [n for n in unit.parameters if close(five[n], zero[n] + 5.0) and n not in unwritten]
            for n in added:
                evidence = "the array handed over held 5 everywhere, and every entry came out 5 larger than from zeros"
                found.append(finding(unit.title(n), "grads-accumulate", CATALOGUE["grads-accumulate"].what, evidence))
            partial = [n for n in unit.parameters if n not in added + unwritten and not close(five[n], zero[n])]
            for n in partial:
                entry = tuple(int(i) for i in np.argwhere(five[n] != zero[n])[0])
                found.append(
                    finding(
                        unit.title(n),
                        UNKNOWN,
                        "not every entry of the gradient is written",
                        f"entry {entry} keeps what was there",
                    )
                )
            first = zero
        for fresh in (True,) if unit.updates_itself else (False, True):
            second = again(fresh)
            # Beside the very first call, not the one before: what changes once and stays so is a memory too.
            differing = [n for n in base.hand if n in second and not close(base.hand[n], second[n])]
            if not differing:
                continue
            # Others may have called before: what one more call adds is what the very first call gave.
            doubled = [n for n in differing if close(second[n] - first[n], base.hand[n])]
            which = "with a fresh forward" if fresh else "with the same cache"
            if doubled == differing:
                tensor = unit.title(doubled[0])
                text, evidence = CATALOGUE["grads-accumulate"].what, f"the second call, {which}, adds as much again"
                found.append(finding(tensor, "grads-accumulate", text, evidence))
            elif "dropout-mask-resampled" in known:
                pass
            else:
                tensor = unit.title(differing[0])
                text = "a second call gives another gradient: backward depends on something that is not handed to it"
                found.append(
                    finding(tensor, UNKNOWN, text, f"{which}, {ratios(second[differing[0]], base.hand[differing[0]])}")
                )
            break
        if not found and unit.takes_upstream:
            found += _other_order(unit, inputs, base, first, finding)
    except UserCodeError as error:
        found.append(finding("all", UNKNOWN, "a second call of backward raises", str(error)))
    return found


def _other_order(unit: Unit, inputs: Inputs, base: Observation, first: Inputs, finding: Any) -> list[Finding]:
    """forward A, forward B, backward A: the gradients of A again, if no forward overwrites what another one keeps."""
    mine = own(inputs)
    _, cache = unit.forward(mine)
    other = {
        n: v + 1.0 if n in float_arrays(inputs) and n not in unit.parameters else v for n, v in own(inputs).items()
    }
    try:
        unit.forward(other)
    except UserCodeError:
        return []
    again = call_backward(unit, base.upstream, mine, cache)
    stale = [n for n in first if n in again and not close(first[n], again[n])]
    if not stale:
        return []
    text = "a forward pass overwrites what an earlier one keeps for its backward; put that into the cache"
    return [finding(unit.title(stale[0]), UNKNOWN, text, "forward A, forward B, backward A: the gradient is not A's")]


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
    tensors = tuple(unit.title(n) for n in wrong)
    residual = max(base.residual(n, base.auto[n]) / base.scale(n) for n in wrong)
    return Finding(
        tensors[0], "dropout-mask-resampled", "certain", 0.0,
        f"In {unit.name}: {CATALOGUE['dropout-mask-resampled'].what}.",
        "dx = dy m′, m′ drawn in backward; should be dx = dy m, the forward's", unit.name,
        f"apart by {residual:.1e}; with the generator put back to where the forward began, backward is right",
        tensors=tensors,
    )  # fmt: skip
