"""Normalisations: the terms that come from the mean and from the variance, in a batch norm or a layer norm."""

from torch_impl.verify.mistakes.catalogue import Hypotheses, Hypothesis, mistake
from torch_impl.verify.mistakes.sites import Sites
from torch_impl.verify.trace.tape import line

RIGHT = "dx = (dx̂ − mean(dx̂) − x̂ mean(dx̂ x̂)) / σ"


for name, what, fix, terms, formula in (
    ("batchnorm-stats-constant", "mean and variance are taken as constants", "Both depend on the input",
     ("means", "variances"), "dx = dx̂ / σ"),
    ("batchnorm-mean-term", "the term that comes from the mean is missing", "Subtract mean(dx̂)",
     ("means",), "dx = (dx̂ − x̂ mean(dx̂ x̂)) / σ"),
    ("batchnorm-var-term", "the term that comes from the variance is missing", "Subtract x̂ mean(dx̂ x̂)",
     ("variances",), "dx = (dx̂ − mean(dx̂)) / σ"),
):  # fmt: skip

    @mistake(name, what, f"{fix}: {RIGHT}.")
    def constant(sites: Sites, terms: tuple[str, ...] = terms, formula: str = formula) -> Hypotheses:
        """No gradient goes through these statistics."""
        for site in sites.normalisations:
            nodes = [node for term in terms for node in getattr(site, term)]
            said = f"{formula}; should be {RIGHT}, x̂ = (x − μ) / σ over axis {', '.join(map(str, site.axes))}"
            yield Hypothesis(dict.fromkeys(nodes, lambda here, g: 0 * g), said, line(site.normal))
