"""The mistakes that the verifier knows, a file for each family; importing them fills the catalogue."""

from torch_impl.verify.mistakes import (
    activations,
    dropout,
    factors,
    indices,
    losses,
    normalisation,
    optimizers,
    penalties,
    products,
    shapes,
    softmax,
    state,
)

__all__ = [
    "activations", "dropout", "factors", "indices", "losses", "normalisation", "optimizers", "penalties", "products",
    "shapes", "softmax", "state",
]  # fmt: skip
