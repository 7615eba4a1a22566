"""Right code as people publish it: how a case is registered, whatever form the code has.

Each function below takes the code as its author would hand it over, and nothing that the verifier could find out by
itself. ``adapter=True`` marks a case that needs a wrapper written for the verifier alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Kind = Literal["functions", "derivative", "layer", "network", "file"]


@dataclass(frozen=True)
class Case:
    """Right code, and what it is called with."""

    kind: Kind
    name: str
    code: Any
    inputs: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    adapter: bool = False


CASES: list[Case] = []


def functions(
    name: str,
    forward: Callable[..., Any],
    backward: Callable[..., Any] | None,
    inputs: Mapping[str, Any],
    *,
    loss: Callable[..., Any] | None = None,
    adapter: bool = False,
) -> None:
    """A pair of functions; None for ``backward`` where ``forward`` returns (value, gradients) itself.

    ``inputs`` are the arguments of ``forward`` by name, dicts and lists of parameters too. With ``loss``, a function of
    what ``forward`` returns and of ``inputs``, ``backward`` begins at the loss: it takes no upstream gradient.
    """
    CASES.append(Case("functions", name, (forward, backward), inputs, {"loss": loss} if loss else {}, adapter))


def derivative(name: str, f: Callable[..., Any], f_prime: Callable[..., Any], x: Any) -> None:
    """An elementwise function and its derivative, which takes f's input or f's output."""
    CASES.append(Case("derivative", name, (f, f_prime), {"x": x}))


def layer(name: str, make: Callable[[], Any], x: Any, *, adapter: bool = False) -> None:
    """An object with ``forward(x)`` and ``backward(dout)``, whatever the two are called."""
    CASES.append(Case("layer", name, make, {"x": x}, {}, adapter))


def network(name: str, make: Callable[[], Any], x: Any, y: Any, *, loss: Any = None, adapter: bool = False) -> None:
    """An object that ends in a loss, or to which ``loss`` belongs: an object or function, as its author has it."""
    CASES.append(Case("network", name, make, {"x": x, "y": y}, {"loss": loss} if loss is not None else {}, adapter))


def file(name: str, source: str, *, adapter: bool = False) -> None:
    """A whole file, verified by ``python -m experiments verify FILE.py`` with no options."""
    CASES.append(Case("file", name, source, {}, {}, adapter))
