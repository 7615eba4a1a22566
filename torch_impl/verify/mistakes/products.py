"""Products with a parameter: gone back through after its update, or not at all."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from torch_impl.verify.mistakes.catalogue import Here, Hypotheses, Hypothesis, Named, Rule, mistake, short
from torch_impl.verify.mistakes.sites import Product, Sites, aten
from torch_impl.verify.tolerances import RATE, SAME
from torch_impl.verify.trace.tape import Node, line, packet_of


@mistake("updated-weights", "the gradient went back through weights that were already updated",
         "Compute every gradient first, and update the parameters after that.")  # fmt: skip
def updated_weights(sites: Sites) -> Hypotheses:
    """At one line, wherever it runs; or at every product with the same weights."""
    groups: dict[tuple[str, str], list[Product]] = {}
    for product in sites.products:
        groups.setdefault((product.parameter, line(product.node) or str(product.node)), []).append(product)
        groups.setdefault((product.parameter, ""), []).append(product)
    for products in {tuple(products): products for products in groups.values()}.values():
        name_of = lambda cs, _, name=products[0].parameter: _name_rate(cs, name)  # noqa: E731
        updated = {p.node: through(p, lambda here, dW, w=p.weight: here[w] - here.c * dW[w]) for p in products}
        yield Hypothesis(updated, rank=1, name_of=name_of)


def _name_rate(cs: Sequence[float], name: str) -> Named | None:
    if max(cs) - min(cs) > RATE * max(1.0, abs(cs[0])) or abs(cs[0]) < SAME:
        return None
    words = f"δ {name}′ with {name}′ = {name} − {short(cs[0])} d{name}; should be δ {name}"
    return "updated-weights", f"{words}, δ the gradient that arrives"


def through(site: Product, weights: Callable[[Here, dict[Node, torch.Tensor]], torch.Tensor]) -> Rule:
    """The rule of a product: its other operand's gradient is taken with other weights, perhaps made of their own."""

    def rule(here: Here, g: torch.Tensor) -> dict[Node, torch.Tensor]:
        sent = here.only(site.node, site.weight, g)
        x = here[site.other].detach().requires_grad_()
        out = here.run(site.node, {site.other: x, site.weight: weights(here, sent)})
        return {site.other: torch.autograd.grad(out, x, g)[0], **sent}

    return rule


@mistake("gamma-missing", "γ, the parameter that scales, is left out of dx",
         "Multiply by γ before going on back: dx̂ = dy γ.")  # fmt: skip
def gamma_missing(sites: Sites) -> Hypotheses:
    """At the product with γ; or everywhere, as if γ were 1."""
    for node, gamma, x, name in sites.products:
        smaller = sites.values[gamma].numel() < sites.values[x].numel()
        if packet_of(node) is aten.mul and smaller and sites.values[sites.leaves[name]].ndim <= 2:
            lost = {node: lambda here, g, n=node, w=gamma, x=x: {x: g, **here.only(n, w, g)}}
            yield Hypothesis(lost, f"dx̂ = dy; should be dx̂ = dy {name}, x̂ what {name} scales")
    for name in sites.parameters if len(sites.tape.outputs) == 1 else []:
        leaf = sites.leaves[name]
        ones = {user: _with_ones(user, leaf) for user in leaf.users if user.op == "call_function"}
        if sites.values[leaf].ndim == 1 and ones:
            words = f"dx is that of {name} = 1; should be that of {name}"
            yield Hypothesis({}, words, line(sites.tape.outputs[0]), 1, targets=ones)


def _with_ones(user: Node, leaf: Node) -> Callable[..., Any]:
    """What ``user`` computes where the leaf is one everywhere; the leaf has its gradient all the same."""

    def run(*args: Any, **kwargs: Any) -> Any:
        values = [a + (1 - a).detach() if node is leaf else a for a, node in zip(args, user.args, strict=True)]
        return user.target(*values, **kwargs)

    return run
