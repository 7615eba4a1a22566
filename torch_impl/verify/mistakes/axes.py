"""Axes: what a forward sums or averages over one axis, its backward over another."""

import itertools
from collections import namedtuple
from collections.abc import Iterator

import torch

from torch_impl.verify.mistakes.catalogue import LATE, Here, Hypotheses, Hypothesis, mistake
from torch_impl.verify.mistakes.sites import Sites
from torch_impl.verify.tolerances import SCALED
from torch_impl.verify.trace.tape import Node, reshapes, same

Axes = tuple[int, ...]
Scaled = namedtuple("Scaled", "z y axes centred scaled")  # y = (z − mean(z)) / σ over axes, or one half of that
_MEAN = "mean(g)"
_FORMULAS: dict[tuple[bool, bool], tuple[tuple[str, ...], str]] = {  # by what the forward does: the terms, and dz
    (True, False): ((_MEAN,), "dz = g − mean(g)"),
    (True, True): ((_MEAN, "mean(g y)"), "dz = (g − mean(g) − y mean(g y)) / σ"),
    (False, True): (("Σ g y",), "dz = (g − y Σ g y) / σ"),
}


@mistake("wrong-axis", "the backward pass sums or averages over another axis than the forward",
         "Sum over the axis that the forward normalises over, and keep it: axis=…, keepdims=True.")  # fmt: skip
def wrong_axis(sites: Sites) -> Hypotheses:
    """In a softmax, in what is centred, and in what has been divided by its norm or its standard deviation."""
    for z, p, axis in sites.softmaxes:
        for axes in _others(sites.values[p].ndim, (axis,)):
            words = f"dz = p (g − Σ g p), the sum over axis {_said(axes)}; should be over axis {axis}"
            yield Hypothesis({p: lambda here, g, z=z, p=p, a=axes: {z: _of_softmax(g, here[p], a)}}, words, rank=LATE)
            if len(axes) == 1:
                again = lambda here, g, z=z, axes=axes: {  # noqa: E731
                    z: _of_softmax(g, torch.softmax(here[z], axes[0]), axes)
                }
                yield Hypothesis({p: again}, f"{words}, and so is that of p = softmax(z)", rank=LATE)
    for site in _scaled(sites):
        terms, formula = _FORMULAS[site.centred, site.scaled]
        for axes in _others(sites.values[site.y].ndim, site.axes):
            for wrong in dict.fromkeys((terms, *((term,) for term in terms))):
                words = f"{formula}, y the output, with {' and '.join(wrong)} over axis {_said(axes)}"
                words += f"; should be over axis {_said(site.axes)}"
                rule = lambda here, g, s=site, axes=axes, wrong=wrong: _of_scaled(here, g, s, axes, wrong)  # noqa: E731
                yield Hypothesis({site.y: rule}, words, rank=LATE)


def _scaled(sites: Sites) -> Iterator[Scaled]:
    """What is centred, divided by its norm, or both, with the first z that it is made of in that way."""
    calls = () if sites.long else sites.calls  # in an unrolled loop every pair of nodes would be looked at
    for y in (n for n in calls if sites.values[n].ndim > 1 and not reshapes(n)):
        before, every, value = sites.tape.ancestors(y), tuple(range(sites.values[y].ndim)), sites.values[y]
        of = [z for z in sites.nodes if z in before and sites.values[z].shape == value.shape]
        choices = dict.fromkeys((*((a,) for a in every), every[1:], every[:-1], (0, *every[2:])))
        ways = itertools.product(of, choices if of else (), ((True, False), (True, True), (False, True)))
        made = (Scaled(z, y, axes, *how) for z, axes, how in ways)
        yield from itertools.islice((s for s in made if _is_made_so(s, sites.values[s.z], value)), 1)


def _is_made_so(site: Scaled, z: torch.Tensor, y: torch.Tensor) -> bool:
    if site.centred:
        z = z - z.mean(dim=site.axes, keepdim=True)
    if site.scaled:
        size = (y * y).mean(dim=site.axes) if site.centred else (y * y).sum(dim=site.axes)
        if not bool(((size - 1).abs() <= SCALED).all()):
            return False
        z = z / _divisor(site, z, y)
    return same(z, y)


def _divisor(site: Scaled, z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """σ, from z as it is divided by it; with an ε it is no standard deviation."""
    return (z * z).sum(dim=site.axes, keepdim=True) / (z * y).sum(dim=site.axes, keepdim=True)


def _others(ndim: int, axes: Axes) -> Iterator[Axes]:
    """Every other choice of axes."""
    chosen = (c for n in range(1, ndim + 1) for c in itertools.combinations(range(ndim), n))
    return (c for c in chosen if c != tuple(sorted(axes)))


def _said(axes: Axes) -> str:
    return ", ".join(map(str, axes))


def _of_softmax(g: torch.Tensor, p: torch.Tensor, axes: Axes) -> torch.Tensor:
    return p * (g - (g * p).sum(dim=axes, keepdim=True))


def _of_scaled(
    here: Here, g: torch.Tensor, site: Scaled, axes: Axes, wrong: tuple[str, ...]
) -> dict[Node, torch.Tensor]:
    """(g − mean(g) − y mean(g y)) / σ, of which the terms in ``wrong`` go over other axes."""
    y, z, dz = here[site.y], here[site.z], g
    if site.centred:
        z = z - z.mean(dim=site.axes, keepdim=True)
        dz = dz - g.mean(dim=axes if _MEAN in wrong else site.axes, keepdim=True)
    if site.scaled:
        along = axes if set(wrong) - {_MEAN} else site.axes
        dz = dz - y * ((g * y).mean(dim=along, keepdim=True) if site.centred else (g * y).sum(dim=along, keepdim=True))
        dz = dz / _divisor(site, z, y)
    return {site.z: dz}
