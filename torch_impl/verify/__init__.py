"""Anyone's hand-written backward beside autograd: what is wrong with it, and where it began.

    report = verify_function(affine_forward, affine_backward, x=x, w=w, b=b)
    report.raise_if_wrong()

Three ways in: :func:`verify_function` for plain NumPy functions, :func:`verify_layer` for a layer of this project's
protocol, :func:`verify_network` for a whole network with its loss, or for any object that holds its weights
(:class:`Model`). Beside them :func:`verify_loss` and :func:`verify_optimizer`. Each returns a :class:`Report`.
"""

from torch_impl.verify.functions import verify_derivative, verify_function
from torch_impl.verify.layers import verify_layer, verify_loss, verify_penalty
from torch_impl.verify.limits import limited
from torch_impl.verify.mistakes.catalogue import CATALOGUE, Mistake
from torch_impl.verify.networks import verify_network
from torch_impl.verify.optimizer import verify_optimizer
from torch_impl.verify.report import Finding, Report, Section, WrongGradientError, could_not_be_checked, merged
from torch_impl.verify.tensor import TensorCheck
from torch_impl.verify.units.models import Model

__all__ = [
    "CATALOGUE",
    "Finding",
    "Mistake",
    "Model",
    "Report",
    "Section",
    "TensorCheck",
    "WrongGradientError",
    "could_not_be_checked",
    "limited",
    "merged",
    "verify_derivative",
    "verify_function",
    "verify_layer",
    "verify_loss",
    "verify_network",
    "verify_optimizer",
    "verify_penalty",
]
