"""What the verifier is told of an object that holds its weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scratch import checks
from torch_impl.verify.units.objects import contents, dotted, reach, walk
from torch_impl.verify.units.unit import float_arrays

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


@dataclass(frozen=True)
class Model:
    """An object that holds its weights, with what the verifier is told of it; the rest it finds out.

        Model(net)
        Model(net, gradients={"W1": "dW1", "b1": "db1"})
        Model(net, loss=lambda net, x, y: net.loss(x, y), backward=lambda net, x, y: net.train_step(x, y, lr=0.1),
              weights=("W1", "b1"), lr=0.1)

    ``gradients`` names the attribute of each weight and that of its gradient; with ``lr`` the gradients of weights that
    backward updates are recovered from the update, (before − after) / lr. A dotted name goes through attributes, list
    indices and dict keys: "layers.0.W". ``loss`` is the author's function or object, loss(p, y), or a function of
    (model, x, y) that is the forward pass down to one number. ``forward`` and ``backward`` are names of methods, or
    functions of (model, x) and (model, x, y) or (model, dout); backward is called right after forward.
    """

    model: Any
    loss: Any = None
    backward: str | Callable[..., Any] | None = None
    gradients: Mapping[str, str] | None = None
    weights: Sequence[str] = ()
    lr: float | None = None
    forward: str | Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        if self.model is None or isinstance(self.model, int | float | str | list | tuple | dict | np.ndarray):
            raise TypeError(f"network is a {type(self.model).__name__}, expected an object with forward and backward")
        if self.gradients and self.weights:
            raise ValueError("expected either gradients={weight: gradient} or weights=(…) with lr=…, given are both")
        if self.lr is not None:
            checks.number("lr (the learning rate of the update)", self.lr, 0, above=True)
        there = {dotted(path): value for path, value in walk(self.model)}
        for name in self.names:
            try:
                value = there[name] if name in there else reach(self.model, tuple(name.split(".")))
            except KeyError:
                held = ", ".join(str(k) for k in contents(self.model, True) or {}) or "no attributes"
                raise ValueError(f"there is no weight {name!r}; the {type(self.model).__name__} has {held}") from None
            if not float_arrays({name: value}):
                raise TypeError(f"the weight {name!r} is a {type(value).__name__}, expected a float array")

    @property
    def names(self) -> tuple[str, ...]:
        """The weights that are named."""
        return tuple(self.gradients or self.weights)
