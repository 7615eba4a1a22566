"""The twin of a network: an nn.Module with the same parameter names and values, its gradients by autograd."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.utils import skip_init

import scratch
from scratch.layers import dropout_mask
from torch_impl.convert import copy_to_module

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.random import Generator

    from scratch import Network, Parameters
    from scratch.layers import Layer


class Twin(nn.Sequential):
    """An ``nn.Sequential`` whose dropout can draw its masks from NumPy's generator, as scratch does."""

    def forward(self, x: torch.Tensor, rng: Generator | None = None) -> torch.Tensor:
        """Logits (batch, out) for x (batch, in).

        In training mode, masks come from ``rng`` if it is given, else from torch's own generator.
        """
        for module in self:
            x = module(x, rng) if isinstance(module, SharedDropout) else module(x)
        return x


class SharedDropout(nn.Dropout):
    """Dropout that applies the very mask that ``scratch.Dropout`` would draw from the same generator."""

    def forward(self, x: torch.Tensor, rng: Generator | None = None) -> torch.Tensor:
        if rng is None or not self.training or self.p == 0:
            return super().forward(x)
        dtype = "float64" if x.dtype == torch.float64 else "float32"
        return x * torch.from_numpy(dropout_mask(rng, tuple(x.shape), self.p, dtype)).to(x)


def twin(network: Network, params: Parameters, device: str | torch.device = "cpu") -> Twin:
    """The twin of ``network``, with a copy of ``params`` and of their dtype, in training mode.

    Its ``state_dict()`` has the names and values of ``params``; torch draws no initial weights of its own.

    Raises
        TypeError: a layer whose torch counterpart is not known; add it to MODULES
        ValueError: ``params`` are not those of ``network``, or the device is not there
    """
    twin = Twin(*(module(layer) for layer in network.layers))
    twin.to(check_device(device), getattr(torch, params.dtype.name))
    copy_to_module(params, twin)
    return twin


def check_device(device: str | torch.device) -> torch.device:
    """The device.

    Raises
        ValueError: no such device, or none on this machine
    """
    try:
        parsed = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device is {device!r}, expected 'cpu', 'cuda' or 'cuda:N'") from error
    gpus = torch.cuda.device_count()
    if parsed.type == "cuda" and (parsed.index or 0) >= gpus:
        raise ValueError(f"device is {str(device)!r}, but torch finds {gpus or 'no'} CUDA GPUs here; expected 'cpu'")
    if parsed.type not in ("cpu", "cuda"):
        raise ValueError(f"device is {str(device)!r}, expected 'cpu', 'cuda' or 'cuda:N'")
    return parsed


# The torch counterpart of every layer. For a layer of your own add an entry:
#     MODULES[MyLayer] = lambda layer: MyModule(layer.n_in, layer.n_out)
MODULES: dict[type, Callable[[Any], nn.Module]] = {
    scratch.Linear: lambda layer: skip_init(nn.Linear, layer.n_in, layer.n_out),
    scratch.Dropout: lambda layer: SharedDropout(layer.p),
    scratch.Identity: lambda _: nn.Identity(),
    scratch.ReLU: lambda _: nn.ReLU(),
    scratch.LeakyReLU: lambda layer: nn.LeakyReLU(layer.slope),
    scratch.ELU: lambda layer: nn.ELU(layer.alpha),
    scratch.Sigmoid: lambda _: nn.Sigmoid(),
    scratch.Tanh: lambda _: nn.Tanh(),
    scratch.SiLU: lambda _: nn.SiLU(),
    scratch.GELU: lambda layer: nn.GELU(layer.approximate),
    scratch.Softmax: lambda _: nn.Softmax(dim=-1),
}


def module(layer: Layer) -> nn.Module:
    """The torch counterpart of a layer.

    Raises
        TypeError: MODULES has none
    """
    if type(layer) not in MODULES:
        raise TypeError(f"no torch counterpart of {layer!r} is known; add one to torch_impl.network.MODULES")
    return MODULES[type(layer)](layer)
