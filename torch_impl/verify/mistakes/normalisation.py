"""Normalisations: the terms that come from the mean and from the variance, in a batch norm or a layer norm."""

from torch_impl.verify.mistakes.catalogue import mistake
from torch_impl.verify.mistakes.hypothesis import Hypotheses, Hypothesis
from torch_impl.verify.mistakes.sites import Normalisation, Sites
from torch_impl.verify.trace.tape import Node, line

RIGHT = "dx = (dx̂ − mean(dx̂) − x̂ mean(dx̂ x̂)) / σ"


def _constant(site: Normalisation, nodes: list[Node], formula: str) -> Hypothesis:
    """No gradient goes through these statistics."""
    said = f"{formula}; should be {RIGHT}, x̂ = (x − μ) / σ over axis {', '.join(map(str, site.axes))}"
    return Hypothesis(dict.fromkeys(nodes, lambda here, g: 0 * g), said, line(site.normal))


@mistake("batchnorm-stats-constant", "mean and variance are taken as constants", f"Both depend on the input: {RIGHT}.")
def stats_constant(sites: Sites) -> Hypotheses:
    """Both of them."""
    for site in sites.normalisations:
        yield _constant(site, site.means + site.variances, "dx = dx̂ / σ")


@mistake("batchnorm-mean-term", "the term that comes from the mean is missing", f"Subtract mean(dx̂): {RIGHT}.")
def mean_term(sites: Sites) -> Hypotheses:
    """The mean alone."""
    for site in sites.normalisations:
        yield _constant(site, site.means, "dx = (dx̂ − x̂ mean(dx̂ x̂)) / σ")


@mistake("batchnorm-var-term", "the term that comes from the variance is missing",
         f"Subtract x̂ mean(dx̂ x̂): {RIGHT}.")  # fmt: skip
def var_term(sites: Sites) -> Hypotheses:
    """The variance alone."""
    for site in sites.normalisations:
        yield _constant(site, site.variances, "dx = (dx̂ − mean(dx̂)) / σ")
