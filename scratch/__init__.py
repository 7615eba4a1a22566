"""Neural networks in NumPy, every gradient written by hand."""

from scratch.activations import *
from scratch.augment import *
from scratch.batches import *
from scratch.checkpoint import *
from scratch.composite import *
from scratch.engine import *
from scratch.gradcheck import *
from scratch.init import *
from scratch.interrupts import *
from scratch.layers import *
from scratch.losses import *
from scratch.metrics import *
from scratch.network import *
from scratch.normalisation import *
from scratch.optim import *
from scratch.parameters import *
from scratch.perceptron import *
from scratch.recipe import *
from scratch.schedules import *
from scratch.state import *
from scratch.train import *

__version__ = "0.2.0"
