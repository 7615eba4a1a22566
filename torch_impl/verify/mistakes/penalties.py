"""Penalties: a part of the loss that depends on the parameters alone, and its gradient."""

from collections.abc import Sequence
from typing import Any

import torch

from torch_impl.verify.mistakes.catalogue import Here, Hypotheses, Hypothesis, Named, mistake, short, times_c
from torch_impl.verify.mistakes.sites import Sites, aten
from torch_impl.verify.tolerances import NOTHING, RATIO
from torch_impl.verify.trace.tape import packet_of

mistake("penalty-on-bias", "the penalty is applied to a bias in the gradient and not in the loss, or the reverse",
        "Let loss and gradient agree on which parameters are penalised; biases usually are not.")  # fmt: skip


@mistake("penalty-factor", "the penalty's gradient has the wrong factor or sign (λ where 2λ is meant, or the reverse)",
         "The gradient of λ Σw² is 2λ w, that of λ/2 Σw² is λ w, that of λ Σ|w| is λ sign(w).")  # fmt: skip
def penalty_factor(sites: Sites) -> Hypotheses:
    """The penalty's gradient some times, without its sign, or on top where the loss has none."""
    for node in sites.penalties:
        before = sites.tape.ancestors(node)
        biases = all(_is_bias(sites, name) for name, leaf in sites.leaves.items() if leaf in before)
        name_of = lambda cs, _, biases=biases: _name_times(cs, biases)  # noqa: E731
        yield Hypothesis({node: times_c}, rank=1, name_of=name_of)
        for size in (n for n in before if packet_of(n) is aten.abs and n in sites.variable):
            (w,) = size.all_input_nodes
            said = "the gradient of λ Σ|w| is taken as {}; should be λ sign(w), λ what the sum is multiplied with"
            yield Hypothesis({size: lambda here, g, w=w: {w: g}}, said.format("λ"))
            yield Hypothesis({size: lambda here, g, w=w: {w: g * here[w]}}, said.format("λ w"))
    for name in sites.parameters:
        yield from _on_top(sites, name)


def _name_times(cs: Sequence[float], biases: bool) -> Named | None:
    """A factor of a penalty."""
    if all(abs(c - 1) < RATIO for c in cs):
        return None
    if all(abs(c) < RATIO for c in cs):
        return "penalty-on-bias" if biases else "penalty-factor", "the penalty's gradient is left out"
    constant = max(cs) - min(cs) < RATIO * max(1.0, abs(cs[0]))
    words = f"{short(cs[0])} times" if constant else "by a factor that follows a size"
    return "penalty-factor", f"the penalty's gradient is taken {words}"


def _on_top(sites: Sites, name: str) -> Hypotheses:
    """A multiple of the parameter itself on top: of all of it, or of what is its bias."""
    leaf = sites.leaves[name]
    parts: list[Any] = [("", (), "penalty-on-bias" if _is_bias(sites, name) else "penalty-factor")]
    # A bias may stand in the first or last place of a vector, or in a column of a matrix.
    bias: dict[str, Any] = {"[0]": (0,), "[-1]": (-1,), "[:, 0]": (slice(None), 0), "[:, -1]": (slice(None), -1)}
    ndim = sites.values[leaf].ndim
    parts += [(words, index, "penalty-on-bias") for words, index in bias.items() if len(index) <= ndim <= 2]
    for words, index, mistake_name in parts:

        def added(here: Here, g: torch.Tensor, index: Any = index) -> torch.Tensor:
            chosen = torch.zeros_like(g)
            chosen[index] = here[leaf][index]
            return g + here.c * chosen

        name_of = lambda cs, seen, m=mistake_name, w=words: _name_added(cs, seen, m, f"{name}{w}")  # noqa: E731
        yield Hypothesis({leaf: added}, place=sites.titles[leaf], rank=1, name_of=name_of)


def _name_added(cs: Sequence[float], seen: Sequence[Any], name: str, words: str) -> Named | None:
    """λ of the parameter on top, or λ/B with the mean."""
    for power, size in ((0, ""), (1, "/B"), (-1, " B")):
        constant = [c * o.sizes["B"] ** power for c, o in zip(cs, seen, strict=True)]
        if abs(cs[0]) >= NOTHING and max(constant) - min(constant) <= RATIO * max(1.0, abs(constant[0])):
            where = ", B the batch size" if size else ""
            return name, f"h = a {'+' if cs[0] > 0 else '−'} {short(abs(constant[0]))}{size} {words}{where}"
    return None


def _is_bias(sites: Sites, name: str) -> bool:
    """A parameter called so, or a vector beside matrices."""
    last = name.rsplit(".", 1)[-1].lower()
    ndims = {n: sites.values[sites.leaves[n]].ndim for n in sites.parameters}
    vector = name in ndims and ndims[name] < max(ndims.values())
    return last.startswith("b") or (vector and not last.startswith(("w", "theta")))
