"""The torch counterpart of every layer, loss and optimizer of scratch: the one registry.

For a layer of your own add an entry, an ``nn.Module`` whose parameters have the names of the layer's arrays; for a loss
or an optimizer likewise:

    LAYERS[MyLayer] = lambda layer: MyModule(layer.n_in, layer.n_out)
"""

from __future__ import annotations

from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import skip_init

import scratch
from scratch.layers import dropout_mask
from scratch.parameters import is_weight

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.random import Generator

    from scratch.layers import Layer
    from scratch.losses import Loss
    from scratch.optim import Optimizer, Penalty

    Masks = Generator | torch.Generator  # what masks are drawn from: NumPy's as scratch's are, or where the tensors are
    TorchLoss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class SharedDropout(nn.Dropout):
    """Dropout that applies the very mask that ``scratch.Dropout`` would draw from the same generator of NumPy's.

    From one of torch's, on the device of x, it draws the mask there.
    """

    takes_rng: ClassVar[bool] = True

    def forward(self, x: torch.Tensor, rng: Masks | None = None) -> torch.Tensor:
        if rng is None or not self.training or self.p == 0:
            return super().forward(x)
        if isinstance(rng, torch.Generator):
            return x * torch.empty_like(x).bernoulli_(1 - self.p, generator=rng).div_(1 - self.p)
        dtype = "float64" if x.dtype == torch.float64 else "float32"
        return x * torch.from_numpy(dropout_mask(rng, tuple(x.shape), self.p, dtype)).to(x)


class Twin(nn.Sequential):
    """An ``nn.Sequential`` whose dropout can draw its masks from NumPy's generator, as scratch does."""

    takes_rng: ClassVar[bool] = True

    def forward(self, x: torch.Tensor, rng: Masks | None = None) -> torch.Tensor:
        """The output for x (batch, …). In training mode, masks come from ``rng``, a generator of NumPy's or of torch's,
        else from torch's global one."""
        for module in self:
            x = run(module, x, rng)
        return x


class TwinResidual(nn.Module):
    """shortcut(x) + inner(x); the shortcut of None is x itself."""

    takes_rng: ClassVar[bool] = True

    def __init__(self, inner: nn.Module, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.inner, self.shortcut = inner, shortcut

    def forward(self, x: torch.Tensor, rng: Masks | None = None) -> torch.Tensor:
        y = run(self.inner, x, rng)
        return y + (x if self.shortcut is None else run(self.shortcut, x, rng))


class TwinBatchNorm(nn.BatchNorm1d):
    """torch's batch normalisation, of whatever comes after the channels: (batch, in), sequences or images."""

    def _check_input_dim(self, input: torch.Tensor) -> None:  # noqa: A002 - torch's name
        pass


def run(module: nn.Module, x: torch.Tensor, rng: Masks | None) -> torch.Tensor:
    """The output of a module, which gets ``rng`` if it takes one."""
    return module(x, rng) if getattr(module, "takes_rng", False) else module(x)


LAYERS: dict[type, Callable[[Any], nn.Module]] = {
    scratch.Network: lambda layer: Twin(*map(module, layer.layers)),
    scratch.Residual: lambda layer: TwinResidual(*map(module, layer.parts().values())),
    scratch.BatchNorm: lambda layer: TwinBatchNorm(layer.channels, layer.eps, layer.momentum, layer.affine),
    scratch.LayerNorm: lambda layer: nn.LayerNorm(layer.n_in, layer.eps, layer.affine),
    scratch.Embedding: lambda layer: skip_init(nn.Embedding, layer.n_in, layer.n_out),
    scratch.Flatten: lambda _: nn.Flatten(),
    scratch.Linear: lambda layer: skip_init(nn.Linear, layer.n_in, layer.n_out),
    scratch.Projection: lambda layer: skip_init(nn.Linear, layer.n_in, layer.n_out, bias=False),
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


# Each layer with the shape of a sample: what is compared with autograd in the tests, the demo and `verify`.
EXAMPLES: dict[str, tuple[Layer, tuple[int, ...]]] = {
    "Linear": (scratch.Linear(5, 3), (5,)),
    "Projection": (scratch.Projection(5, 3), (5,)),
    "Dropout": (scratch.Dropout(0.3), (5,)),
    "Identity": (scratch.Identity(), (5,)),
    "ReLU": (scratch.ReLU(), (5,)),
    "LeakyReLU": (scratch.LeakyReLU(0.1), (5,)),
    "ELU": (scratch.ELU(0.7), (5,)),
    "Sigmoid": (scratch.Sigmoid(), (5,)),
    "Tanh": (scratch.Tanh(), (5,)),
    "SiLU": (scratch.SiLU(), (5,)),
    "GELU": (scratch.GELU(), (5,)),
    "GELU, tanh": (scratch.GELU("tanh"), (5,)),
    "Softmax": (scratch.Softmax(), (5,)),
    "Softmax of sequences": (scratch.Softmax(), (4, 5)),
    "BatchNorm": (scratch.BatchNorm(5, momentum=0.2), (5,)),
    "BatchNorm of sequences": (scratch.BatchNorm(5), (5, 4)),
    "BatchNorm of images": (scratch.BatchNorm(3, eps=1e-3), (3, 4, 5)),
    "BatchNorm, not affine": (scratch.BatchNorm(5, affine=False), (5,)),
    "LayerNorm": (scratch.LayerNorm(5), (5,)),
    "LayerNorm of sequences": (scratch.LayerNorm(5, eps=1e-3), (4, 5)),
    "LayerNorm of images": (scratch.LayerNorm(5), (3, 4, 5)),
    "LayerNorm, not affine": (scratch.LayerNorm(5, affine=False), (5,)),
    "Embedding": (scratch.Embedding(11, 3), ()),
    "Embedding of sequences": (scratch.Embedding(3, 5), (4,)),
    "Flatten": (scratch.Flatten(), (3, 4, 5)),
    "Residual": (scratch.Residual(scratch.mlp((5, 4, 5), scratch.Tanh(), dropout=0.3, norm=scratch.BatchNorm)), (5,)),
    "Residual, projected": (scratch.Residual(scratch.Linear(5, 3), scratch.Projection(5, 3)), (5,)),
    "Network": (scratch.Network((scratch.mlp((5, 7, 4), scratch.GELU()), scratch.LayerNorm(4))), (5,)),
}


def cross_entropy(logits: torch.Tensor, y: torch.Tensor, label_smoothing: float = 0.0) -> torch.Tensor:
    """torch's cross-entropy, with the classes on the last axis of ``logits`` instead of the second."""
    if logits.ndim > 2:
        y = y.flatten(0, logits.ndim - 2)
    return F.cross_entropy(logits.flatten(0, -2), y, label_smoothing=label_smoothing)


LOSSES: dict[type, TorchLoss] = {  # each takes the hyperparameters of scratch's as keywords
    scratch.CrossEntropy: cross_entropy,
    scratch.BCEWithLogits: F.binary_cross_entropy_with_logits,
    scratch.MSE: F.mse_loss,
    scratch.MAE: F.l1_loss,
}

OPTIMIZERS: dict[type, Callable[..., torch.optim.Optimizer]] = {  # with the same hyperparameters and the same state
    scratch.SGD: torch.optim.SGD,
    scratch.AdaGrad: torch.optim.Adagrad,
    scratch.RMSprop: torch.optim.RMSprop,
    scratch.Adam: torch.optim.Adam,
    scratch.AdamW: torch.optim.AdamW,
}
FUSED = {scratch.SGD, scratch.Adam, scratch.AdamW}  # those that torch has in one kernel
CAPTURABLE = {scratch.RMSprop, scratch.Adam, scratch.AdamW}  # those that torch can make count their steps on the GPU


def module(layer: Layer) -> nn.Module:
    """The torch counterpart of a layer.

    Raises
        TypeError: LAYERS has none
    """
    return _known(LAYERS, layer, "LAYERS")(layer)


def torch_loss(loss: Loss) -> TorchLoss:
    """The torch counterpart of a loss: (logits, y) -> a scalar.

    Raises
        TypeError: LOSSES has none
    """
    _known(LOSSES, loss, "LOSSES")
    return with_options(type(loss), loss)


def with_options(kind: type, loss: Loss) -> TorchLoss:
    """The torch counterpart of ``kind``, a class of LOSSES, with those of its hyperparameters that ``loss`` has."""
    return partial(LOSSES[kind], **{f.name: getattr(loss, f.name) for f in fields(kind)})


def torch_optimizer(optimizer: Optimizer, module: nn.Module) -> torch.optim.Optimizer:
    """The torch counterpart of an optimizer, for the parameters of ``module``; fused and capturable where it can be.

    Raises
        TypeError: OPTIMIZERS has none
    """
    make, kind, parameters = _known(OPTIMIZERS, optimizer, "OPTIMIZERS"), type(optimizer), list(module.parameters())
    options: dict[str, Any] = {}
    if all(p.is_cuda for p in parameters) and kind in CAPTURABLE:
        options["capturable"] = True
    # On a GPU the fused kernel reads the learning rate in float32, which float64 would notice.
    if kind in FUSED and all(not p.is_cuda or p.dtype == torch.float32 for p in parameters):
        options["fused"] = True
    return make(parameters, **vars(optimizer), **options)


def torch_penalty(penalty: Penalty, module: nn.Module) -> torch.Tensor:
    """l1 Σ|w| + l2/2 Σw²  over the weights of ``module``."""
    parameters = list(module.parameters())
    weights = [W for W in parameters if is_weight(W)]
    zero = torch.zeros((), dtype=parameters[0].dtype)  # torch's default dtype is the process's, and may be another
    return sum((penalty.l1 * W.abs().sum() + penalty.l2 / 2 * W.square().sum() for W in weights), zero)


def _known(registry: dict[type, Any], record: Any, name: str) -> Any:
    if type(record) not in registry:
        raise TypeError(f"no torch counterpart of {record!r} is known; add one to torch_impl.counterparts.{name}")
    return registry[type(record)]
