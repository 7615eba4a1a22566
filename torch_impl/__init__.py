"""The same networks in PyTorch and Lightning, gradients by autograd.

``torch_impl.lit`` is imported by those who need it: Lightning takes seconds to load.
"""

from torch_impl.convert import copy_to_module, parameters_of
from torch_impl.counterparts import Twin
from torch_impl.engine import evaluate
from torch_impl.network import twin
from torch_impl.state import TwinState
from torch_impl.train import fit

__all__ = ["Twin", "TwinState", "copy_to_module", "evaluate", "fit", "parameters_of", "twin"]
