"""Activations y = f(z): f′ left out, taken twice, at the wrong array, of another layer, without its negative side."""

from collections.abc import Callable, Iterator

import torch

from torch_impl.verify.mistakes.catalogue import LATE, Here, Hypotheses, Hypothesis, Rule, mistake
from torch_impl.verify.mistakes.sites import ACTIVATIONS, Elementwise, Sites, aten
from torch_impl.verify.trace.tape import Node, line, packet_of

Slope = Callable[[Here], torch.Tensor]

MOST = 12  # activations: where there are more, as in a loop over time, none has another layer's mask
RIGHT = "should be dz = dy f′(z)"
SHORTCUT = "dz ∝ p − y, y the targets; should be dz = dL/dp · p (1 − p)"
ON_TOP = "dz ∝ (p − y) p (1 − p), y the targets; should be dz ∝ p − y"

# Derivatives as functions of the activation's *output*.
BY_OUTPUT: dict[str, tuple[str, Callable[[torch.Tensor], torch.Tensor]]] = {
    "sigmoid": ("y (1 − y)", lambda y: y * (1 - y)),
    "tanh": ("1 − y²", lambda y: 1 - y * y),
}

_RELATIVES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "gelu by tanh": lambda z: torch.nn.functional.gelu(z, approximate="tanh"),
    "ELU with α = 1": torch.nn.functional.elu,
}
_RARE: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"sine": torch.sin, "cosine": torch.cos}

mistake(
    "kink-convention",
    "at a kink the other one-sided derivative is taken",
    "Nothing to mend: all values between the one-sided derivatives are subgradients; torch has f′(0) = 0 for ReLU.",
    "convention",
)


def _slope_is(site: Elementwise, slope: Slope, said: str, rank: int = 0, name: str = "") -> Hypothesis:
    """The reverse pass with ``slope`` in the place of f′(z)."""
    formula = f"{said}, f = {site.name or 'what this line computes'}"
    return Hypothesis(
        {site.v: lambda here, g: {site.u: g * slope(here)}}, formula, line(site.v) or line(site.u), rank, name
    )


def _to_the_power(sites: Sites, power: int, said: str, loss: str, shortcut: str) -> Hypotheses:
    """f′ to a power; that of a sigmoid before such a loss is the shortcut p − y in the wrong place."""
    for site in sites.elementwise:
        slope = lambda here, s=site: here.slope(s.u, s.v) ** power  # noqa: E731
        if site.name == "sigmoid" and sites.feeds(site.v) == loss:
            yield _slope_is(site, slope, shortcut, name="loss-shortcut-misused")
        else:
            yield _slope_is(site, slope, f"{said}; {RIGHT}")


@mistake("activation-derivative-missing", "f′ is left out", "Multiply the arriving gradient by f′(z).")
def missing(sites: Sites) -> Hypotheses:
    """Before a loss that is no cross-entropy, a sigmoid's f′ left out is the shortcut p − y."""
    yield from _to_the_power(sites, 0, "dz = dy", "another", SHORTCUT)


@mistake("activation-derivative-twice", "f′ is applied twice", "Multiply by f′(z) once.")
def twice(sites: Sites) -> Hypotheses:
    """After the shortcut p − y of cross-entropy, a second f′ is p(1 − p) on top of it."""
    yield from _to_the_power(sites, 2, "dz = dy f′(z)²", "cross-entropy", ON_TOP)


@mistake("activation-derivative-wrong-argument",
         "f′ is evaluated at the wrong array: at the output where it expects the input, or the reverse",
         "Give f′ the array that its formula is written for.")  # fmt: skip
def wrong_argument(sites: Sites) -> Hypotheses:
    """f′(y), with f′ a function of z; or a formula in y that is given z."""
    for site in sites.elementwise:
        yield _slope_is(site, lambda here, s=site: here.slope(s.u, s.v, here[s.v]), f"dz = dy f′(y); {RIGHT}")
        yield from _by_output(site, site.u, "z")


@mistake("function-for-derivative", "the function, or the derivative of another one, stands in the place of f′",
         "Multiply by the derivative of the very function that the forward computes.")  # fmt: skip
def another_function(sites: Sites) -> Hypotheses:
    """f itself, and f′ of other activations, as a function of z or of the output."""
    for site in sites.elementwise:
        yield _slope_is(site, lambda here, s=site: here[s.v], f"dz = dy f(z); {RIGHT}", LATE + 1)
        others = ACTIVATIONS | _RELATIVES | ({} if site.name else _RARE)
        for name, f in others.items():
            if name not in (site.name, "exp", "softplus"):  # e^z and σ(z) stand in many a wrong formula
                said = f"dz = dy g′(z), g = {name}; {RIGHT}"
                yield _slope_is(site, lambda here, f=f, s=site: _slope(f, here[s.u]), said, LATE + 1)
        for name, (words, of) in BY_OUTPUT.items():
            if name != site.name:
                said = f"dz = dy g′, g′ = {words} of {name}, with y = f(z); {RIGHT}"
                yield _slope_is(site, lambda here, of=of, s=site: of(here[s.v]), said, LATE + 1)


def _slope(f: Callable[[torch.Tensor], torch.Tensor], z: torch.Tensor) -> torch.Tensor:
    z = z.detach().requires_grad_()
    with torch.enable_grad():
        return torch.autograd.grad(f(z).sum(), z)[0]


@mistake("leaf-before-activation", "one parameter's gradient is taken on the other side of f′",
         "Take it where the parameter stands: after the multiplication by f′, with dz, not with da.")  # fmt: skip
def on_the_other_side(sites: Sites) -> Hypotheses:
    """The gradient of one parameter of z, for a = f(z), from da."""
    for u, v, *_ in sites.elementwise:
        for node in (n for n in sites.calls if sites.values[n].shape == sites.values[v].shape):
            own = [a for a in node.all_input_nodes if sites.parameter(a)]
            if len(own) == 1 and (node is u or sites.adds_to(node, u)):
                (leaf,) = own
                rules: dict[Node, Rule] = {
                    v: lambda here, g, v=v: _kept(here, g, v),
                    node: lambda here, g, n=node, v=v, a=leaf: here.sends(n, g, but=a) | here.only(n, a, here.kept[v]),
                }
                said = f"d{sites.parameter(leaf)} is computed with da; should be with dz = da f′(z), a = f(z)"
                yield Hypothesis(rules, said, line(node), LATE)


def _kept(here: Here, g: torch.Tensor, node: Node) -> torch.Tensor:
    here.kept[node] = g
    return g


@mistake("leaky-slope-lost", "the slope of the negative side is dropped",
         "Multiply by the negative side's slope where z < 0, not by 0.")  # fmt: skip
def slope_lost(sites: Sites) -> Hypotheses:
    """The slope of a leaky ReLU, given or learned."""
    said = f"dz = dy [z > 0]; {RIGHT}, which is not 0 for z < 0"
    for site in (site for site in sites.elementwise if site.bends):
        yield _slope_is(site, lambda here, s=site: here.slope(s.u, s.v) * (here[s.u] > 0), said)
    for p in (p for p in sites.products if packet_of(p.node) is aten.mul):
        if {packet_of(user) for user in p.node.users} & {aten.where, aten.maximum}:
            yield Hypothesis({p.node: lambda here, g, p=p: here.only(p.node, p.weight, g)}, said)


@mistake("wrong-layer-mask", "the mask or derivative of another layer is used",
         "Use the pre-activation of the very layer that the gradient passes through.")  # fmt: skip
def wrong_layer(sites: Sites) -> Hypotheses:
    """f′ at any other array of the shape of z."""
    masks = [s for s in sites.elementwise if s.name or (s.bends and not sites.feeds(s.v))]  # |r| of a loss is no layer
    for site in masks if len(masks) <= MOST else []:
        for w, name in _arrays_like(sites, site):
            said = f"dz = dy f′(w), w = {name}; {RIGHT}"
            yield _slope_is(site, lambda here, w=w, s=site: here.slope(s.u, s.v, here[w]), said, LATE)
            yield from _by_output(site, w, name, LATE)


def _by_output(site: Elementwise, w: Node, name: str, rank: int = 0) -> Hypotheses:
    """The formula for f′ in terms of y, with another array in the place of y."""
    if site.name in BY_OUTPUT:
        words, of = BY_OUTPUT[site.name]
        said = f"f′ = {words} is computed with {name} in the place of y = f(z)"
        yield _slope_is(site, lambda here: of(here[w]), said, rank)


def _arrays_like(sites: Sites, site: Elementwise) -> Iterator[tuple[Node, str]]:
    """Inputs, what layers give and what activations give, of the shape of z; and what to call them."""
    names = {leaf: name for name, leaf in sites.tape.leaves.items()}
    layers = [node for b in sites.broadcasts for node in b.users] + [p.node for p in sites.products]
    for w in dict.fromkeys([*names, *layers, *(node for s in sites.elementwise for node in s[:2])]):
        value, z = sites.values[w], sites.values[site.u]
        if w not in (site.u, site.v) and value.shape == z.shape and value.dtype == z.dtype:
            yield w, names.get(w) or line(w) or str(w)
