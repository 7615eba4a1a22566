"""The mistakes that the verifier knows by name: what each is, and how it is mended."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mistake:
    """One row of the catalogue. ``convention`` is True where it is a choice and no error."""

    name: str
    what: str  # a sentence's end: "the gradient ..."
    fix: str
    convention: bool = False

    @property
    def kind(self) -> str:
        return "right, but" if self.name == "grads-accumulate" else "convention" if self.convention else "wrong"


_ROWS = [
    Mistake("missing-batch-mean", "the 1/B of a mean over the batch is left out", "Divide by the batch size, once."),
    Mistake(
        "batch-mean-twice",
        "the gradient is divided by the batch size once more than the forward divides",
        "Divide by the batch size in one place only: where the loss takes its mean.",
    ),
    Mistake(
        "wrong-divisor",
        "the gradient is divided (or multiplied) by the size of another thing than the forward's",
        "Divide by the number of elements that the forward's mean runs over.",
    ),
    Mistake("constant-factor", "a constant factor too much or too little", "Take the stray factor out."),
    Mistake("wrong-sign", "the sign is flipped", "Flip the sign: gradients point uphill, updates go against them."),
    Mistake(
        "transposed",
        "the gradient is transposed, or reshaped in the wrong order",
        "Transpose it back; the gradient of an array has that array's axes, in that order.",
    ),
    Mistake(
        "bias-not-summed",
        "the gradient of a broadcast parameter is not summed over the axes that it was broadcast along",
        "Sum over the batch: the parameter acts on every row, so its gradients add up.",
    ),
    Mistake(
        "updated-weights",
        "the gradient went back through weights that were already updated",
        "Compute every gradient first, and update the parameters after that.",
    ),
    Mistake("activation-derivative-missing", "f′ is left out", "Multiply the arriving gradient by f′(z)."),
    Mistake(
        "activation-derivative-wrong-argument",
        "f′ is evaluated at the wrong array: at the output a where it expects the input z, or the reverse",
        "Give f′ the array that its formula is written for.",
    ),
    Mistake("activation-derivative-twice", "f′ is applied twice", "Multiply by f′(z) once."),
    Mistake(
        "wrong-layer-mask",
        "the mask or derivative of another layer is used",
        "Use the pre-activation of the very layer that the gradient passes through.",
    ),
    Mistake(
        "leaky-slope-lost",
        "the slope of the negative side is dropped",
        "Multiply by the negative side's slope where z < 0, not by 0.",
    ),
    Mistake(
        "kink-convention",
        "at a kink the other one-sided derivative is taken",
        "Nothing to mend: all values between the one-sided derivatives are subgradients; torch has f′(0) = 0 for ReLU.",
        convention=True,
    ),
    Mistake(
        "softmax-diagonal-only",
        "softmax is treated as if it acted on each element by itself",
        "Use the whole Jacobian: dz = p (g − Σ_k g_k p_k).",
    ),
    Mistake(
        "double-softmax",
        "softmax is applied before a loss that applies it itself",
        "Hand the loss the logits: take the first softmax out.",
    ),
    Mistake(
        "loss-shortcut-misused",
        "the shortcut p − y is used where the loss is not cross-entropy, or p(1 − p) is applied on top of it",
        "p − y is the gradient of cross-entropy with respect to the logits, complete; with any other loss, "
        "multiply dL/dp by the derivative of the output activation.",
    ),
    Mistake(
        "clipping-mismatch",
        "the loss clips or adds an ε, and its gradient does not (or the reverse)",
        "Differentiate the loss that is computed, ε and clipping included, or compute it from logits without either.",
    ),
    Mistake(
        "penalty-factor",
        "the penalty's gradient has the wrong factor or sign (λ where 2λ is meant, or the reverse)",
        "The gradient of λ Σw² is 2λ w, that of λ/2 Σw² is λ w.",
    ),
    Mistake(
        "penalty-on-bias",
        "the penalty is applied to a bias in the gradient and not in the loss, or the reverse",
        "Let loss and gradient agree on which parameters are penalised; biases usually are not.",
    ),
    Mistake(
        "dropout-mask-missing",
        "the dropout mask is not applied in the backward pass",
        "Multiply the gradient by the very mask of the forward pass.",
    ),
    Mistake(
        "dropout-scale",
        "the dropout's scale is another one in the backward than in the forward pass",
        "Scale the gradient as the forward scales: by 1/(1 − p) with inverted dropout, p the probability to drop.",
    ),
    Mistake(
        "dropout-mask-resampled",
        "the backward pass draws a dropout mask of its own",
        "Keep the forward's mask in the cache and use that.",
    ),
    Mistake(
        "batchnorm-stats-constant",
        "mean and variance are taken as constants",
        "Both depend on the input: dx = (dx̂ − mean(dx̂) − x̂ mean(dx̂ x̂)) / σ.",
    ),
    Mistake(
        "batchnorm-mean-term",
        "the term that comes from the mean is missing",
        "Subtract mean(dx̂): dx = (dx̂ − mean(dx̂) − x̂ mean(dx̂ x̂)) / σ.",
    ),
    Mistake(
        "batchnorm-var-term",
        "the term that comes from the variance is missing",
        "Subtract x̂ mean(dx̂ x̂): dx = (dx̂ − mean(dx̂) − x̂ mean(dx̂ x̂)) / σ.",
    ),
    Mistake(
        "gamma-missing",
        "γ, the parameter that scales, is left out of dx",
        "Multiply by γ before going on back: dx̂ = dy γ.",
    ),
    Mistake(
        "grads-accumulate",
        "gradients are added to what was there: a second call gives more",
        "Overwrite (=, out=), or set the gradients to zero before every backward pass.",
    ),
    Mistake(
        "aliasing",
        "an input, a cache, a parameter or the upstream gradient is changed in place",
        "Write into an array of your own: x = x * m, not x *= m, where x is somebody else's.",
    ),
    Mistake(
        "rounding",
        "no mistake: the difference is the rounding of float32 and is gone in float64",
        "Nothing to mend.",
        convention=True,
    ),
    Mistake(
        "adam-no-bias-correction",
        "the moments are not corrected for their start at zero, or with a step that never advances",
        "Divide m by 1 − β₁ᵗ and v by 1 − β₂ᵗ, with t = 1, 2, 3, …",
    ),
    Mistake(
        "adam-eps-placement",
        "ε stands in another place than the reference's (inside the root, or before the correction)",
        "w ← w − lr m̂ / (√v̂ + ε): add ε after the root of the corrected second moment.",
    ),
    Mistake(
        "momentum-convention",
        "the learning rate stands inside the velocity, or the gradient has a factor 1 − μ",
        "Nothing to mend, but it is another rule once the learning rate changes: torch has v ← μ v + g, w ← w − lr v.",
        convention=True,
    ),
    Mistake(
        "decay-coupled",
        "weight decay goes through Adam's moments where decoupled decay is meant",
        "Decay the weights by themselves, w ← w − lr λ w, and leave λ w out of the gradient.",
    ),
]  # fmt: skip

CATALOGUE = {mistake.name: mistake for mistake in _ROWS}
