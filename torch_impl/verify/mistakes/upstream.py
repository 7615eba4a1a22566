"""The upstream gradient: not used, used for one output alone, or put into f′."""

from torch_impl.verify.mistakes.activations import BY_OUTPUT
from torch_impl.verify.mistakes.catalogue import LATE, Hypotheses, Hypothesis, Rule, mistake
from torch_impl.verify.mistakes.sites import Sites
from torch_impl.verify.trace.tape import line

RIGHT = "should be dz = dy f′(z), dy the gradient that arrives"


@mistake(
    "upstream-ignored",
    "backward does not use its upstream gradient, or not linearly",
    "Let what arrives stand in every gradient once, as a factor: f′, masks and weights are those of the forward.",
)
def upstream_ignored(sites: Sites) -> Hypotheses:
    """Ones in the place of what arrives, at an output or at f; nothing for one of several outputs; f′ of it."""
    if not sites.unit.takes_upstream:
        return
    for k, output in enumerate(sites.tape.outputs):
        words = f" at output {k}" if len(sites.tape.outputs) > 1 else ""
        ones = lambda here, g, k=k: g - here.observation.seeds()[k] + 1  # noqa: E731
        yield Hypothesis({output: ones}, f"h is the gradient for an upstream gradient of ones{words}", rank=LATE)
        if words:
            nothing = lambda here, g, k=k: g - here.observation.seeds()[k]  # noqa: E731
            yield Hypothesis({output: nothing}, f"the upstream gradient{words} is left out", rank=LATE)
    for site in sites.elementwise:
        u, v, place = site.u, site.v, line(site.v) or line(site.u)
        formulas: list[tuple[str, Rule]] = [("f′(z)", lambda here, g, u=u, v=v: here.slope(u, v))]
        formulas += [("f′(dy)", lambda here, g, u=u, v=v: here.slope(u, v, g))]
        formulas += [("dy f′(dy)", lambda here, g, u=u, v=v: g * here.slope(u, v, g))]
        if site.name in BY_OUTPUT:
            words, of = BY_OUTPUT[site.name]
            formulas += [(f"{words} with dy for y", lambda here, g, of=of: of(g))]
            formulas += [(f"dy times {words} with dy for y", lambda here, g, of=of: g * of(g))]
        for said, dz in formulas:
            rule = lambda here, g, u=u, dz=dz: {u: dz(here, g)}  # noqa: E731
            yield Hypothesis({v: rule}, f"dz = {said}; {RIGHT}", place, LATE)
