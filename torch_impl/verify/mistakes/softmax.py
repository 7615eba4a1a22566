"""Softmax: its Jacobian taken for a diagonal, or a second softmax where the loss has one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch_impl.verify.mistakes.catalogue import mistake
from torch_impl.verify.mistakes.hypothesis import Hypothesis
from torch_impl.verify.mistakes.sites import aten
from torch_impl.verify.trace.tape import line, packet_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

    from torch_impl.verify.mistakes.sites import Sites
    from torch_impl.verify.trace.tape import Tape

RIGHT = "should be dz = p (g − Σ_k g_k p_k), g = dL/dp"

mistake(
    "double-softmax",
    what="softmax is applied before a loss that applies it itself",
    fix="Hand the loss the logits: take the first softmax out.",
)


@mistake(
    "softmax-diagonal-only",
    what="softmax is treated as if it acted on each element by itself",
    fix="Use the whole Jacobian: dz = p (g − Σ_k g_k p_k).",
)
def diagonal_only(sites: Sites) -> Iterator[Hypothesis]:
    """The Jacobian's diagonal, or p alone; as if softmax were not there, which before a loss is the shortcut p − y."""
    for z, p, _ in sites.softmaxes:
        diagonal = {p: lambda here, g, z=z, p=p: {z: g * here[p] * (1 - here[p])}}
        yield Hypothesis(diagonal, f"dz = g p (1 − p); {RIGHT}", line(p))
        yield Hypothesis({p: lambda here, g, z=z, p=p: {z: g * here[p]}}, f"dz = g p; {RIGHT}", line(p))
        name = "loss-shortcut-misused" if sites.feeds(p) else "activation-derivative-missing"
        none = {p: lambda here, g, z=z: {z: g}}
        yield Hypothesis(none, f"dz = g, as if softmax were not there; {RIGHT}", line(p), mistake=name)


def with_second_softmax(tape: Tape) -> Iterator[Tape]:
    """The tape with a softmax in front of every softmax or log-softmax, one at a time."""
    for node in tape.nodes:
        if packet_of(node) in (aten._softmax, aten._log_softmax):

            def twice(z: torch.Tensor, axis: int, half: bool, target: object = node.target) -> torch.Tensor:
                return target(aten._softmax.default(z, axis, half), axis, half)  # type: ignore[operator]

            yield tape.with_targets({node: twice})
