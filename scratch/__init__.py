"""Neural networks in NumPy, every gradient written by hand."""

from scratch.activations import ELU, GELU, Identity, LeakyReLU, ReLU, Sigmoid, SiLU, Softmax, Tanh
from scratch.augment import Shift
from scratch.batches import minibatches
from scratch.checkpoint import load_parameters, load_state, save_parameters, save_state
from scratch.engine import evaluate
from scratch.gradcheck import gradcheck
from scratch.init import initial_parameters
from scratch.layers import Dropout, Layer, Linear
from scratch.losses import MAE, MSE, BCEWithLogits, CrossEntropy
from scratch.metrics import accuracy, confusion_matrix, per_class, predicted_classes
from scratch.network import Network, mlp
from scratch.optim import SGD, AdaGrad, Adam, AdamW, Penalty, RMSprop, clip_by_global_norm
from scratch.parameters import Parameters
from scratch.perceptron import Perceptron, fit_perceptron
from scratch.recipe import EarlyStopping, Recipe
from scratch.schedules import Constant, CosineDecay, ExponentialDecay, LinearDecay, StepDecay, Warmup
from scratch.state import State
from scratch.train import DivergenceError, Record, fit

__all__ = [
    "ELU",
    "GELU",
    "MAE",
    "MSE",
    "SGD",
    "AdaGrad",
    "Adam",
    "AdamW",
    "BCEWithLogits",
    "Constant",
    "CosineDecay",
    "CrossEntropy",
    "DivergenceError",
    "Dropout",
    "EarlyStopping",
    "ExponentialDecay",
    "Identity",
    "Layer",
    "LeakyReLU",
    "Linear",
    "LinearDecay",
    "Network",
    "Parameters",
    "Penalty",
    "Perceptron",
    "RMSprop",
    "ReLU",
    "Recipe",
    "Record",
    "Shift",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "State",
    "StepDecay",
    "Tanh",
    "Warmup",
    "accuracy",
    "clip_by_global_norm",
    "confusion_matrix",
    "evaluate",
    "fit",
    "fit_perceptron",
    "gradcheck",
    "initial_parameters",
    "load_parameters",
    "load_state",
    "minibatches",
    "mlp",
    "per_class",
    "predicted_classes",
    "save_parameters",
    "save_state",
]  # fmt: skip
