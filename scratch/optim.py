"""Optimizers on flat vectors; the L1/L2 penalty and the clipping of gradients beside them.

An optimizer is a record of hyperparameters, with torch's names and defaults. Its state is a dict of vectors as long as
the parameters, with the keys of torch's state: ``slots()`` makes them, ``update()`` changes both in place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from scratch import checks
from scratch.parameters import is_weight

if TYPE_CHECKING:
    from scratch.device import Array
    from scratch.parameters import Parameters

    Slots = dict[str, Array]

__all__ = ["SGD", "AdaGrad", "Adam", "AdamW", "Penalty", "RMSprop", "clip_by_global_norm"]


@runtime_checkable
class Optimizer(Protocol):
    """A rule that turns gradients into steps."""

    @property
    def lr(self) -> float: ...

    def slots(self, w: Array) -> Slots:
        """The state before the first step, for parameters like ``w``."""
        ...

    def update(self, w: Array, g: Array, slots: Slots, lr: float, t: int) -> None:
        """Step number ``t`` (1, 2, …): change ``w`` and ``slots`` in place by the gradient ``g``.

        ``lr`` and ``t`` are numbers, or arrays of one, which a captured step reads anew whenever it is replayed.
        """
        ...


@dataclass(frozen=True)
class SGD:
    """v ← μ v + (1 − dampening) g,  w ← w − lr v  (v = g at the first step);  Nesterov: w ← w − lr (g + μ v).

    As in torch the learning rate stands outside the velocity, so that it acts at once when it changes
    (Sutskever et al., 2013, and many textbooks have it inside). ``weight_decay`` λ adds λ w to g.
    """

    lr: float = 1e-3
    momentum: float = 0.0
    dampening: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        _check(self)
        checks.settle(self, nesterov=checks.flag("nesterov", self.nesterov))
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            raise ValueError(
                f"nesterov is True with momentum {self.momentum:g} and dampening {self.dampening:g}, "
                "expected momentum > 0 and dampening 0"
            )

    def slots(self, w: Array) -> Slots:
        return {"momentum_buffer": np.zeros_like(w)} if self.momentum else {}

    def update(self, w: Array, g: Array, slots: Slots, lr: float, t: int) -> None:
        g = _decayed(g, w, self.weight_decay)
        if self.momentum:
            v = slots["momentum_buffer"]
            v *= self.momentum
            v += g if self.dampening == 0 else (1 - self.dampening * (t > 1)) * g  # v ← μ v + (1 − dampening) g
            g = g + self.momentum * v if self.nesterov else v
        w -= lr * g


@dataclass(frozen=True)
class AdaGrad:
    """s ← s + g²,  w ← w − lr g / (√s + ε)  (Duchi et al., 2011)."""

    lr: float = 1e-2
    weight_decay: float = 0.0
    eps: float = 1e-10

    def __post_init__(self) -> None:
        _check(self)

    def slots(self, w: Array) -> Slots:
        return {"sum": np.zeros_like(w)}

    def update(self, w: Array, g: Array, slots: Slots, lr: float, t: int) -> None:  # noqa: ARG002
        g = _decayed(g, w, self.weight_decay)
        s = slots["sum"]
        s += g * g
        w -= lr * g / (np.sqrt(s) + self.eps)


@dataclass(frozen=True)
class RMSprop:
    """s ← α s + (1 − α) g²,  u = g / (√s + ε),  w ← w − lr u;  with momentum v ← μ v + u,  w ← w − lr v.

    Hinton's lecture 6e (2012), with ε outside the root as in torch.
    """

    lr: float = 1e-2
    alpha: float = 0.99
    eps: float = 1e-8
    weight_decay: float = 0.0
    momentum: float = 0.0

    def __post_init__(self) -> None:
        _check(self)

    def slots(self, w: Array) -> Slots:
        slots = {"square_avg": np.zeros_like(w)}
        return slots | {"momentum_buffer": np.zeros_like(w)} if self.momentum else slots

    def update(self, w: Array, g: Array, slots: Slots, lr: float, t: int) -> None:  # noqa: ARG002
        g = _decayed(g, w, self.weight_decay)
        s = slots["square_avg"]
        s *= self.alpha
        s += (1 - self.alpha) * g * g  # s ← α s + (1 − α) g²
        u = g / (np.sqrt(s) + self.eps)
        if self.momentum:
            v = slots["momentum_buffer"]
            v *= self.momentum
            v += u  # v ← μ v + u
            u = v
        w -= lr * u


@dataclass(frozen=True)
class Adam:
    """m ← β₁ m + (1 − β₁) g,  v ← β₂ v + (1 − β₂) g²,  w ← w − lr m̂ / (√v̂ + ε).

    m̂ = m / (1 − β₁ᵗ) and v̂ = v / (1 − β₂ᵗ) correct the start at zero (Kingma & Ba, 2015, algorithm 1).
    ``weight_decay`` λ adds λ w to g, so it is scaled by 1/√v̂ too; :class:`AdamW` decouples it.
    """

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        _check(self)

    def slots(self, w: Array) -> Slots:
        return {"exp_avg": np.zeros_like(w), "exp_avg_sq": np.zeros_like(w)}

    def update(self, w: Array, g: Array, slots: Slots, lr: float, t: int) -> None:
        g = _decayed(g, w, self.weight_decay)
        _adam_step(w, g, slots, lr, t, self.betas, self.eps)


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay: first w ← w − lr λ w, then Adam's step (Loshchilov & Hutter, 2019)."""

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 1e-2

    def __post_init__(self) -> None:
        _check(self)

    def slots(self, w: Array) -> Slots:
        return {"exp_avg": np.zeros_like(w), "exp_avg_sq": np.zeros_like(w)}

    def update(self, w: Array, g: Array, slots: Slots, lr: float, t: int) -> None:
        w *= 1 - lr * self.weight_decay
        _adam_step(w, g, slots, lr, t, self.betas, self.eps)


def _adam_step(w: Array, g: Array, slots: Slots, lr: float, t: int, betas: tuple[float, float], eps: float) -> None:
    (beta1, beta2), m, v = betas, slots["exp_avg"], slots["exp_avg_sq"]
    root = (1 - beta2**t) ** 0.5  # √v̂ = √v / root
    u = g - m  # the one buffer: each line below is a pass over memory, and a new array would be a second
    u *= 1 - beta1
    m += u  # m ← β₁ m + (1 − β₁) g
    np.multiply(g, g, out=u)
    u *= 1 - beta2
    v *= beta2
    v += u  # v ← β₂ v + (1 − β₂) g²
    np.sqrt(v, out=u)
    u += eps * root
    np.divide(m, u, out=u)
    u *= lr * root / (1 - beta1**t)
    w -= u  # w ← w − lr m̂ / (√v̂ + ε), both sides of the fraction times root


@dataclass(frozen=True)
class Penalty:
    """l1 Σ|w| + l2/2 Σw²  over the weights: trained arrays with at least two axes, so no bias.

    The ½ makes the gradient l2 · w, so that ``l2`` means what ``weight_decay`` means. The derivative of |w| at 0 is 0.
    """

    l1: float = 0.0
    l2: float = 0.0

    def __post_init__(self) -> None:
        _check(self)

    def __bool__(self) -> bool:
        return self.l1 > 0 or self.l2 > 0

    def add_grad(self, params: Parameters, grads: Parameters) -> Any:
        """Add the penalty's gradient to ``grads``; return its value, a scalar.

        Raises
            TypeError: ``params`` or ``grads`` is no Parameters
            ValueError: ``params`` lack an array of ``grads``, or it has another shape
        """
        checks.instance("params", params, Mapping, "Parameters")
        checks.instance("grads", grads, Mapping, "Parameters, as params.gradients() makes them")
        value: Any = 0.0
        for name, dW in grads.items():
            shape = getattr(dW, "shape", None)
            if name not in params or shape != params[name].shape:
                raise ValueError(f"grads has {name!r} of shape {shape}, expected the names and the shapes of params")
            W = params[name]
            if is_weight(W):
                value += self.l1 * np.abs(W).sum() + self.l2 / 2 * (W * W).sum()
                dW += self.l1 * np.sign(W) + self.l2 * W  # ∂/∂W = l1 sign W + l2 W
        return value


def clip_by_global_norm(g: Array, max_norm: float) -> Any:
    """Scale ``g`` in place so that its norm is at most ``max_norm``; return the norm it had (Pascanu et al., 2013).

    The factor is min(1, max_norm / (norm + 1e-6)), as in torch.nn.utils.clip_grad_norm_.

    Raises
        TypeError: ``g`` is no float array, or ``max_norm`` no number
        ValueError: ``g`` is no vector, or ``max_norm`` not greater than 0
    """
    checks.number("max_norm", max_norm, 0, above=True)
    checks.float_array("g", g, ("n",))
    norm = np.sqrt(g.dot(g))
    g *= np.minimum(1, max_norm / (norm + 1e-6))
    return norm


def _decayed(g: Array, w: Array, weight_decay: float) -> Array:
    return g + weight_decay * w if weight_decay else g


def _check(optimizer: Any) -> None:
    """Raise unless every hyperparameter is in its range; make it a Python float, beside which float32 stays float32."""
    for name, value in list(vars(optimizer).items()):
        if name == "betas":
            pair = checks.sequence("betas", value, "a tuple of two numbers, such as (0.9, 0.999)", 2)
            settled: Any = tuple(checks.number(f"betas[{i}]", beta, 0, below=1) for i, beta in enumerate(pair))
        elif name == "nesterov":
            continue
        else:
            settled = checks.number(name, value, 0, below=1 if name in ("momentum", "dampening", "alpha") else math.inf)
        checks.settle(optimizer, **{name: settled})
