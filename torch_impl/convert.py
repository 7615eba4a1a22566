"""From NumPy to torch and back: parameters and optimizer state. Always copies, never shared memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from scratch import Parameters, checks

if TYPE_CHECKING:
    from scratch.device import Array


def arrays_of(module: nn.Module) -> dict[str, torch.Tensor]:
    """The module's parameters and buffers, by name, as a state dict refers to them.

    The counters of batches that torch keeps beside its running statistics are left out: nothing depends on them.

    Raises
        TypeError: no module, or another array that is not of floating-point numbers, which scratch has no place for
    """
    checks.instance("module", module, nn.Module, "an nn.Module")
    arrays = {n: v for n, v in module.state_dict().items() if n.rpartition(".")[2] != "num_batches_tracked"}
    for name, value in arrays.items():
        if not value.is_floating_point():
            raise TypeError(f"{name} of the module has dtype {value.dtype}, expected a floating-point buffer")
    return arrays


def tensor(a: Array) -> torch.Tensor:
    """NumPy's array as a tensor on the CPU: of its dtype, or of int64 where it holds integers, which torch asks for.

    It shares the array's memory where torch can: not with another byte order, negative strides, or none to write to.
    """
    wanted = a.dtype.newbyteorder("=") if a.dtype.kind == "f" else np.dtype(np.int64)
    return torch.from_numpy(np.require(a, wanted, ("C_CONTIGUOUS", "WRITEABLE")))


def copy_to_module(params: Parameters, module: nn.Module) -> None:
    """Copy ``params`` into the parameters and buffers of ``module`` that have their names.

    Raises
        TypeError: ``params`` is no Parameters, or ``module`` no module
        ValueError: other names, shapes or order; nothing has been copied
    """
    checks.instance("params", params, Parameters, "Parameters, as initial_parameters() makes them")
    arrays = arrays_of(module)
    shapes = {name: tuple(value.shape) for name, value in arrays.items()}
    if list(shapes.items()) != list(params.shapes.items()):
        raise ValueError(f"module has the parameters {shapes}, expected those of params, in order: {params.shapes}")
    for name, value in params.items():
        arrays[name].copy_(torch.from_numpy(value))


def parameters_of(module: nn.Module) -> Parameters:
    """A copy of the parameters and buffers of ``module``, as NumPy sees them.

    Raises
        TypeError: no module, or one of several dtypes
    """
    arrays = arrays_of(module)
    dtypes = {value.dtype for value in arrays.values()}
    if len(dtypes) != 1:
        raise TypeError(f"module has parameters of dtypes {sorted(map(str, dtypes))}, expected one dtype")
    params = Parameters(
        {name: tuple(value.shape) for name, value in arrays.items()},
        str(dtypes.pop()).removeprefix("torch."),
        untrained=[name for name in arrays if name not in dict(module.named_parameters())],
    )
    for name, value in arrays.items():
        params[name] = value.detach().cpu().numpy()
    return params


def snapshot(module: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of the module's parameters and buffers, by name, where they are."""
    return {name: value.detach().clone() for name, value in arrays_of(module).items()}


def restore(module: nn.Module, kept: dict[str, torch.Tensor] | None) -> None:
    """Copy a snapshot back into the module; None changes nothing."""
    for name, value in (kept or {}).items():
        arrays_of(module)[name].copy_(value)


def largest(module: nn.Module) -> float:
    """The largest absolute value of any parameter or buffer; NaN or infinite if one is."""
    return (
        torch.stack([value.detach().abs().max() for value in arrays_of(module).values() if value.numel()]).max().item()
    )


def copy_to_optimizer(slots: dict[str, Array], step: int, optimizer: torch.optim.Optimizer) -> None:
    """Give a torch optimizer the state ``slots`` that one of scratch's has after ``step`` steps."""
    if step == 0:
        return  # torch makes its state at the first step
    start = 0
    counts_there = optimizer.defaults.get("capturable") or optimizer.defaults.get("fused")
    for p in _parameters(optimizer):
        end = start + p.numel()
        values = {key: torch.from_numpy(v[start:end].copy()).view(p.shape).to(p.device) for key, v in slots.items()}
        if not isinstance(optimizer, torch.optim.SGD):  # the one that does not count its steps
            values["step"] = torch.tensor(float(step), dtype=torch.float32, device=p.device if counts_there else "cpu")
        optimizer.state[p] = values
        start = end


def slots_of(optimizer: torch.optim.Optimizer, slots: dict[str, Array]) -> dict[str, Array]:
    """A copy of a torch optimizer's state, in vectors like ``slots`` (those of scratch before the first step)."""
    found = {key: vector.copy() for key, vector in slots.items()}
    start = 0
    for p in _parameters(optimizer):
        end = start + p.numel()
        for key, vector in found.items():
            if key in optimizer.state[p]:  # one that has had no gradient has no state yet
                vector[start:end] = optimizer.state[p][key].detach().cpu().numpy().ravel()
        start = end
    return found


def _parameters(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]
