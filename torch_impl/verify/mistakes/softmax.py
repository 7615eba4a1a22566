"""Softmax: its Jacobian taken for a diagonal, or a second softmax where the loss has one."""

from collections.abc import Iterator
from typing import Any

from torch_impl.verify.mistakes.catalogue import Hypotheses, Hypothesis, mistake
from torch_impl.verify.mistakes.sites import Sites, aten
from torch_impl.verify.trace.tape import Tape, packet_of

RIGHT = "should be dz = p (g − Σ_k g_k p_k), g = dL/dp"

mistake("double-softmax", "softmax is applied before a loss that applies it itself",
        "Hand the loss the logits: take the first softmax out.")  # fmt: skip


@mistake("softmax-diagonal-only", "softmax is treated as if it acted on each element by itself",
         "Use the whole Jacobian: dz = p (g − Σ_k g_k p_k).")  # fmt: skip
def diagonal_only(sites: Sites) -> Hypotheses:
    """The Jacobian's diagonal, or p alone; as if softmax were not there, which before a loss is the shortcut p − y."""
    for z, p, _ in sites.softmaxes:
        diagonal = {p: lambda here, g, z=z, p=p: {z: g * here[p] * (1 - here[p])}}
        yield Hypothesis(diagonal, f"dz = g p (1 − p); {RIGHT}")
        yield Hypothesis({p: lambda here, g, z=z, p=p: {z: g * here[p]}}, f"dz = g p; {RIGHT}")
        name = "loss-shortcut-misused" if sites.feeds(p) else "activation-derivative-missing"
        said = f"dz = g, as if softmax were not there; {RIGHT}"
        yield Hypothesis({p: lambda here, g, z=z: {z: g}}, said, mistake=name)


def with_second_softmax(tape: Tape) -> Iterator[Tape]:
    """The tape with a softmax in front of every softmax or log-softmax, one at a time."""
    for node in tape.nodes:
        if packet_of(node) in (aten._softmax, aten._log_softmax):

            def twice(z: Any, axis: int, half: bool, target: Any = node.target) -> Any:
                return target(aten._softmax.default(z, axis, half), axis, half)

            yield tape.with_targets({node: twice})
