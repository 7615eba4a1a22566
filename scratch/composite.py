"""Layers made of layers: who gets which arrays, and what is watched on the way."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from scratch.layers import Layer, check_layer, takes, trained_shapes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.random import Generator

    from scratch.device import Array
    from scratch.layers import Shapes

__all__ = ["Composite", "Residual"]


@dataclass(frozen=True, slots=True)  # whose fields are read at every layer of every step
class Part:
    """A layer within a composite, and where its arrays stand among those of the composite."""

    name: str
    layer: Layer
    arrays: slice  # of all arrays
    grads: slice  # of the trained ones
    untrained: slice  # of the untrained ones
    takes_training: bool
    takes_need_dx: bool


class Composite:
    """A layer made of layers. A record that inherits from it writes ``parts``, ``forward`` and ``backward``.

    ``parts()`` names the layers; their arrays get these names as prefixes, as in a torch state dict
    (``"inner.weight"``). ``forward`` calls :meth:`forward_part` for each part, ``backward`` calls
    :meth:`backward_part`, once a part, and both hand on all of their arrays: the part gets its own. The cache is a
    sequence that begins with the caches of the parts, in the order of ``parts()``; ``track`` takes it apart.
    """

    def parts(self) -> Mapping[str, Layer]:
        """The layers that it is made of, by name, in the order of their arrays."""
        raise NotImplementedError

    def place(self, name: str) -> str:
        """What an error calls the part of that name."""
        return name

    def forward(self, x: Array, *arrays: Array, training: Generator | None = None) -> tuple[Array, Any]:
        raise NotImplementedError

    def backward(self, dy: Array, cache: Any, *grads: Array, need_dx: bool = True) -> Array | None:
        raise NotImplementedError

    def shapes(self) -> Shapes:
        """The shape of every array, by name, in order."""
        return dict(self._shapes)

    @cached_property
    def _shapes(self) -> Shapes:
        return {f"{name}.{key}": s for name, part in self.parts().items() for key, s in part.shapes().items()}

    @cached_property
    def untrained(self) -> tuple[str, ...]:
        """The names of the arrays that no optimizer changes, in order."""
        return tuple(f"{name}.{key}" for name, part in self.parts().items() for key in getattr(part, "untrained", ()))

    @cached_property
    def stochastic(self) -> bool:
        """Whether the forward pass in training draws random numbers; a composite that does so itself says True."""
        return any(getattr(part, "stochastic", False) for part in self.parts().values())

    @cached_property
    def differs_in_training(self) -> bool:
        """Whether the forward pass in training is another one than in evaluation."""
        parts = self.parts().values()
        return self.stochastic or any(
            getattr(part, "differs_in_training", takes(part.forward, "training")) for part in parts
        )

    @cached_property
    def _parts(self) -> tuple[Part, ...]:
        made, a, g, u = [], 0, 0, 0
        for name, layer in self.parts().items():
            arrays, grads = len(layer.shapes()), len(trained_shapes(layer))
            untrained = arrays - grads
            places = slice(a, a + arrays), slice(g, g + grads), slice(u, u + untrained)
            made.append(Part(name, layer, *places, takes(layer.forward, "training"), takes(layer.backward, "need_dx")))
            a, g, u = a + arrays, g + grads, u + untrained
        return tuple(made)

    def forward_part(self, k: int, x: Array, arrays: Sequence[Array], training: Generator | None) -> tuple[Array, Any]:
        """The output and the cache of part ``k``, with its share of the composite's ``arrays``.

        Raises
            TypeError, ValueError: those of the part, with its place before them
        """
        part = self._parts[k]
        try:
            if (trace := _TRACE.get()) is None:
                if part.takes_training:
                    return part.layer.forward(x, *arrays[part.arrays], training=training)
                return part.layer.forward(x, *arrays[part.arrays])
            keywords = {"training": training} if part.takes_training else {}
            with trace.within(part.name) as path:
                trace.layers[path], trace.inputs[path] = part.layer, x
                return part.layer.forward(x, *arrays[part.arrays], **keywords)
        except (TypeError, ValueError) as error:
            raise self._located(part, error) from error

    def backward_part(
        self, k: int, dy: Array, cache: Any, grads: Sequence[Array], need_dx: bool = True
    ) -> Array | None:
        """∂L/∂(input of part ``k``), with its gradients written into its share of the composite's ``grads``.

        Raises
            TypeError, ValueError: those of the part, with its place before them; ``need_dx`` and it returned None
        """
        part = self._parts[k]
        try:
            if (trace := _TRACE.get()) is None:
                if part.takes_need_dx:
                    dx = part.layer.backward(dy, cache, *grads[part.grads], need_dx=need_dx)
                else:
                    dx = part.layer.backward(dy, cache, *grads[part.grads])
            else:
                keywords = {"need_dx": need_dx} if part.takes_need_dx else {}
                with trace.within(part.name) as path:
                    dx = part.layer.backward(dy, cache, *grads[part.grads], **keywords)
                    trace.input_gradients[path] = dx
            if dx is None and need_dx and not getattr(part.layer, "integer_input", False):
                raise TypeError(
                    "backward returned None, expected ∂L/∂x: only a layer called with need_dx=False may return none"
                )
            return dx if need_dx else None
        except (TypeError, ValueError) as error:
            raise self._located(part, error) from error

    def track(self, caches: Sequence[Any], *untrained: Array) -> None:
        """Let the parts move their untrained arrays, in a training step whose forward pass gave ``caches``."""
        if not untrained:
            return
        for part, cache in zip(self._parts, caches, strict=False):
            if untrained[part.untrained]:
                part.layer.track(cache, *untrained[part.untrained])  # type: ignore[attr-defined]

    def _located(self, part: Part, error: Exception) -> Exception:
        """The error with the path to the layer that raised it: ``layers[3].inner, Linear(5, 3): x has shape …``."""
        place, inside = self.place(part.name), getattr(error, "inside", None)
        said = f"{place}.{error}" if inside else f"{place}, {part.layer}: {error}"
        made: Exception = (TypeError if isinstance(error, TypeError) else ValueError)(said)
        made.inside = True  # type: ignore[attr-defined]
        return made


@dataclass(frozen=True)
class Residual(Composite):
    """y = s(x) + f(x), f the inner layer and s the shortcut: x itself, or a layer that gives it the width of f(x).

    He et al. (2016); their shortcut between different widths is a Projection.

    Raises
        TypeError: ``inner`` or ``shortcut`` is no layer, or takes integers
        ValueError: they say that their outputs differ in width
    """

    inner: Layer
    shortcut: Layer | None = None

    def __post_init__(self) -> None:
        for name, layer in self.parts().items():
            check_layer(name, layer, "a layer of floats, such as Linear(8, 8)")
            if getattr(layer, "integer_input", False):
                raise TypeError(f"{name} is {layer!r}, expected a layer of floats, such as Linear(8, 8)")
        expected = self.n_in if self.shortcut is None else getattr(self.shortcut, "n_out", None)
        if None not in (expected, self.n_out) and self.n_out != expected:
            raise ValueError(f"inner is {self.inner}, expected n_out={expected}: the width of the shortcut")

    @property
    def keeps_shape(self) -> bool:
        """Whether the output has the shape of the input."""
        return self.shortcut is None

    @property
    def n_in(self) -> int | None:
        """The width of the input; None where the inner layer does not say."""
        return getattr(self.inner, "n_in", None)

    @property
    def n_out(self) -> int | None:
        """The width of the output; None where the inner layer does not say."""
        return getattr(self.inner, "n_out", None)

    def parts(self) -> dict[str, Layer]:
        return {"inner": self.inner} | ({} if self.shortcut is None else {"shortcut": self.shortcut})

    def forward(self, x: Array, *arrays: Array, training: Generator | None = None) -> tuple[Array, list[Any]]:
        f, f_cache = self.forward_part(0, x, arrays, training)
        s, caches = x, [f_cache]
        if self.shortcut is not None:
            s, s_cache = self.forward_part(1, x, arrays, training)
            caches.append(s_cache)
        if f.shape != s.shape:
            raise ValueError(f"inner made shape {f.shape} of x with shape {x.shape}, expected {s.shape}")
        return s + f, caches

    def backward(self, dy: Array, cache: list[Any], *grads: Array, need_dx: bool = True) -> Array | None:
        through_f = self.backward_part(0, dy, cache[0], grads, need_dx)
        through_s = dy if self.shortcut is None else self.backward_part(1, dy, cache[1], grads, need_dx)
        return None if through_f is None else through_s + through_f  # ∂L/∂x = s′ᵀ dy + f′ᵀ dy


def leaves(layer: Layer, prefix: str = "") -> Iterator[tuple[str, Layer]]:
    """Every layer that is made of no others, in order, with what the names of its arrays begin with ("3.inner.")."""
    parts = getattr(layer, "parts", None)
    if parts is None:
        yield prefix, layer
        return
    for name, part in parts().items():
        yield from leaves(part, f"{prefix}{name}.")


@dataclass
class Trace:
    """What the layers within a composite were given and gave, each by its path ("3.inner.0")."""

    layers: dict[str, Layer] = field(default_factory=dict)
    inputs: dict[str, Array] = field(default_factory=dict)
    input_gradients: dict[str, Array | None] = field(default_factory=dict)
    path: tuple[str, ...] = ()

    @contextmanager
    def within(self, name: str) -> Iterator[str]:
        self.path = (*self.path, name)
        try:
            yield ".".join(self.path)
        finally:
            self.path = self.path[:-1]


_TRACE: ContextVar[Trace | None] = ContextVar("trace", default=None)


@contextmanager
def traced() -> Iterator[Trace]:
    """A trace of every forward and backward pass that runs within it."""
    token = _TRACE.set(Trace())
    try:
        yield _TRACE.get()  # type: ignore[misc]
    finally:
        _TRACE.reset(token)
