"""The mistakes that the verifier knows, a file for each family; importing them fills the catalogue."""

# ruff: noqa: F401, I001
from torch_impl.verify.mistakes import activations, dropout, factors, indices, losses, normalisation, optimizers
from torch_impl.verify.mistakes import attention, couplings, recurrent, residual, upstream
from torch_impl.verify.mistakes import penalties, products, shapes, softmax, state
from torch_impl.verify.mistakes import axes, returned, windows
