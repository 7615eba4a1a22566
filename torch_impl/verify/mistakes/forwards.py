"""Other forwards: the graph without its clipping and its ε, to see whether a backward belongs to one of those."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from torch_impl.verify.trace.tape import Node, Tape, line, packet_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


aten = torch.ops.aten
EPSILONS = tuple(10.0**-k for k in range(3, 17))


def without_clipping(tape: Tape) -> Iterator[tuple[int, str, str, Callable[[Tape], Tape]]]:
    """(index, place, formula, the changed tape) for every clip and ε of a loss, and every ε a logarithm might get."""
    logs = [n for n in tape.nodes if n in tape.variable and packet_of(n) is aten.log]
    near = set().union(*(tape.ancestors(n) for n in logs)) if logs else set()
    clipping, guards = clips(tape), []
    for node in tape.nodes:
        packet = packet_of(node)
        if node.op != "call_function" or node not in tape.variable:
            continue
        small = _small_addend(tape, node) if packet is aten.add else None
        if node in clipping or (small is not None and node in near):
            guards.append(node)
            words = "its clipping" if node in clipping else f"its ε = {small:g}"
            i = tape.index[node]
            yield i, line(node), f"h is the gradient of the loss without {words}", lambda t, i=i: _bypassed(t, [i])
    if len(guards) > 1:
        indices = [tape.index[g] for g in guards]
        yield (
            indices[-1],
            line(guards[-1]),
            "h is the gradient of the loss without its clipping",
            lambda t: _bypassed(t, indices),
        )
    for epsilon in EPSILONS:
        for node in logs:
            i = tape.index[node]
            words = f"h is the gradient of a loss with log(p + {epsilon:g}), the forward has log(p)"
            yield i, line(node), words, lambda t, i=i, e=epsilon: _with_epsilon(t, [i], e)
        if len(logs) > 1:
            indices = [tape.index[n] for n in logs]
            words = f"h is the gradient of a loss with log(p + {epsilon:g}), the forward has log(p)"
            yield indices[-1], line(logs[-1]), words, lambda t, ii=indices, e=epsilon: _with_epsilon(t, ii, e)


def with_second_softmax(tape: Tape) -> Iterator[tuple[int, Tape]]:
    """The tape with a softmax in front of every softmax or log-softmax, one at a time."""
    for node in tape.nodes:
        if packet_of(node) not in (aten._softmax, aten._log_softmax):
            continue
        target = node.target

        def twice(z: torch.Tensor, axis: int, half: bool, target: Any = target) -> torch.Tensor:
            return target(torch.softmax(z, axis), axis, half)

        yield tape.index[node], tape.with_targets({node: twice})


def _small_addend(tape: Tape, node: Node) -> float | None:
    for a in node.args:
        value: Any = tape.values.get(a) if isinstance(a, Node) else a
        value = (
            float(value)
            if isinstance(value, int | float) or (isinstance(value, torch.Tensor) and value.numel() == 1)
            else 0.0
        )
        if 0 < abs(value) <= 1e-2 and a not in tape.variable:
            return value
    return None


def clips(tape: Tape) -> list[Node]:
    """The nodes that clip: beyond a constant they are flat. ReLU, max(z, 0), is none."""
    packets = (aten.clamp, aten.clip, aten.clamp_min, aten.clamp_max, aten.maximum, aten.minimum)
    found = []
    for node in tape.nodes:
        if node not in tape.variable or packet_of(node) not in packets:
            continue
        if sum(a in tape.variable for a in node.all_input_nodes) == 1:
            constants = [a for a in node.args if isinstance(a, int | float)]
            constants += [float(tape.values[a].max()) for a in node.all_input_nodes if a not in tape.variable]
            if any(c != 0 for c in constants):
                found.append(node)
    return found


def _bypassed(tape: Tape, indices: list[int]) -> Tape:
    """The tape with some nodes replaced by their one differentiable input."""

    def through(node: Any) -> Callable[..., Any]:
        k = next(k for k, a in enumerate(node.args) if a in tape.variable)
        return lambda *args, **_: args[k]

    return tape.with_targets({tape.nodes[i]: through(tape.nodes[i]) for i in indices})


def _with_epsilon(tape: Tape, indices: list[int], epsilon: float) -> Tape:
    return tape.with_targets({tape.nodes[i]: lambda p: torch.log(p + epsilon) for i in indices})
