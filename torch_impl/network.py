"""The twin of a network: an nn.Module with the same parameter names and values, its gradients by autograd."""

from __future__ import annotations

from typing import cast

import torch

from scratch import Network, Parameters, checks
from torch_impl.convert import copy_to_module
from torch_impl.counterparts import Twin, module
from torch_impl.device import check_device


def twin(network: Network, params: Parameters, device: str | torch.device = "cpu") -> Twin:
    """The twin of ``network``, with a copy of ``params`` and of their dtype, in training mode.

    Its ``state_dict()`` has the names and values of ``params``; torch draws no initial weights of its own.

    Raises
        TypeError: a layer whose torch counterpart is not known; add it to :mod:`torch_impl.counterparts`. No Network,
            or no Parameters
        ValueError: ``params`` are not those of ``network``, or the device is not there
    """
    checks.instance("network", network, Network, "a Network, as mlp() makes it")
    checks.instance("params", params, Parameters, "Parameters, as initial_parameters() makes them")
    checks.instance("device", device, str | torch.device, "'cpu', 'cuda' or 'cuda:N'")
    twin = cast("Twin", module(network))
    twin.to(check_device(device), getattr(torch, params.dtype.name))
    copy_to_module(params, twin)
    return twin
