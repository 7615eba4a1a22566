"""What a file holds that can be verified: pairs of functions, derivatives, losses, networks, classes, instances."""

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

import torch

from experiments.verifiable.calls import needed
from experiments.verifiable.classes import backward_method, forward_method, is_empty
from experiments.verifiable.names import kinds_of

Function = Callable[..., Any]
Kind = Literal["pair", "derivative", "gradient", "loss", "network", "class", "instance"]


@dataclass(frozen=True)
class Found:
    """Something to verify: its name, and the functions, the class or the instance that it is."""

    name: str
    kind: Kind
    parts: tuple[Any, ...]

    @property
    def functions(self) -> tuple[Function, ...]:
        return tuple(part for part in self.parts if inspect.isfunction(part))


PROPAGATION = r"(?:_?(?:pass|prop|propagation|propagate))?"
FORWARD = re.compile(rf"(?:^|_)(?:feed_?)?(?:forward|fwd){PROPAGATION}(?=_|$)")
BACKWARD = re.compile(rf"(?:^|_)(?:(?:backward|bwd){PROPAGATION}|back_?(?:prop|propagation|propagate))(?=_|$)")
DERIVATIVE = r"derivative|deriv|der|prime|gradient|grad"
LOSS = re.compile(
    r"(?:^|_)(?:loss|losses|cost|objective|propagate|criterion|entropy|crossentropy|mse|mae|bce|nll|hinge|svm)(?:_|$|\d)"
)


def found_in(module: ModuleType) -> list[Found]:
    """Everything in the module that can be verified; classes that have an instance there come last."""
    functions = own_functions(module)
    pairs = list(_pairs(functions))
    used = {id(part) for found in pairs for part in found.parts}
    derivatives = [found for found in _derivatives(functions) if id(found.parts[1]) not in used]
    used |= {id(part) for found in derivatives for part in found.parts}
    losses = [
        Found(name, "loss", (f,)) for name, f in functions.items()
        if id(f) not in used and LOSS.search(snake(name)) and needed(f)
    ]  # fmt: skip
    return [*pairs, *derivatives, *losses, *_instances(module), *_classes(module)]


def own_functions(module: ModuleType) -> dict[str, Function]:
    """The public functions that the module itself defines, each under its first name."""
    found: dict[int, tuple[str, Function]] = {}
    for name, thing in vars(module).items():
        if inspect.isfunction(thing) and thing.__module__ == module.__name__ and not name.startswith("_"):
            found.setdefault(id(thing), (name, thing))
    return dict(found.values())


def snake(name: str) -> str:
    """The name in small letters, with an underscore between its words."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def label(name: str) -> str:
    """What a pair is called, by the name of one of its two functions: affine for affine_forward."""
    for suffix in ("_forward", "_backward"):
        if name.endswith(suffix):
            return name.removesuffix(suffix)
    base, _ = _split(name)
    return base or name


def _split(name: str) -> tuple[str, str]:
    """The name without its word for a direction, and the direction: forward, backward, or "" for none."""
    for direction, pattern in {"backward": BACKWARD, "forward": FORWARD}.items():
        if pattern.search(snake(name)):
            return pattern.sub("", snake(name), count=1).strip("_"), direction
    return snake(name), ""


def _pairs(functions: dict[str, Function]) -> Iterator[Found]:
    split = {name: _split(name) for name in functions}
    backwards = {base: functions[name] for name, (base, direction) in split.items() if direction == "backward"}
    # A loss that is a pair itself is no loss of a network.
    names = [n for n, (base, direction) in split.items() if LOSS.search(snake(n)) and not direction and base]
    losses = [functions[name] for name in names if len(needed(functions[name])) == 2 and _has_target(functions[name])]
    for name, (base, direction) in split.items():
        forward, backward = functions[name], backwards.get(base)
        if direction != "forward" or backward is None:
            continue
        if len(losses) == 1 and not _has_target(forward) and _begins_at_loss(backward):
            yield Found(label(name), "network", (forward, backward, losses[0]))
        else:
            yield Found(label(name), "pair", (forward, backward))


def _has_target(function: Function) -> bool:
    return "target" in kinds_of(needed(function)).values()


def _begins_at_loss(backward: Function) -> bool:
    """Whether it is a backward(AL, Y, caches)."""
    names = needed(backward)
    return len(names) == 3 and kinds_of(names)[names[1]] == "target"


def _derivatives(functions: dict[str, Function]) -> Iterator[Found]:
    """A function f beside f_derivative, f_prime, f_grad, d_f, df or, where there is no f_forward, f_backward."""
    by_name = {snake(name): name for name in functions}
    forwards = {base for name in functions for base, direction in (_split(name),) if direction == "forward"}
    for name, derivative in functions.items():
        base, is_backward = _differentiated(snake(name))
        if base is None or base not in by_name or (is_backward and base in forwards):
            continue
        function = functions[by_name[base]]
        n, n_derivative = len(needed(function)), len(needed(derivative))
        kinds = kinds_of(needed(function))
        arrays = [kind for kind in kinds.values() if kind not in ("", "options")]
        if n_derivative == n and len(arrays) == 1:
            yield Found(by_name[base], "derivative", (function, derivative))
        elif is_backward or n_derivative == n + 1 or (n == 1 and n_derivative == 2):
            yield Found(by_name[base], "pair", (function, derivative))
        elif n_derivative == n:
            yield Found(by_name[base], "gradient", (function, derivative))


def _differentiated(name: str) -> tuple[str | None, bool]:
    """What a function of this name is the derivative of, and whether it is called a backward."""
    base, direction = _split(name)
    if direction == "backward":
        return base, True
    for pattern in (rf"(\w+?)_?(?:{DERIVATIVE})", rf"(?:d|{DERIVATIVE})_(?:of_)?(\w+)", r"d(\w+)", r"(\w+)_d"):
        match = re.fullmatch(pattern, name)
        if match is not None:
            return match[1], False
    return None, False


def _instances(module: ModuleType) -> Iterator[Found]:
    for name, thing in vars(module).items():
        if not name.startswith("_") and not isinstance(thing, type) and not inspect.isroutine(thing):
            yield Found(name, "instance", (thing,))


def _classes(module: ModuleType) -> Iterator[Found]:
    for name, thing in vars(module).items():
        own = isinstance(thing, type) and thing.__module__ == module.__name__ and not name.startswith("_")
        if not own or issubclass(thing, torch.nn.Module | torch.autograd.Function) or inspect.isabstract(thing):
            continue  # autograd has its own ways
        if forward_method(thing) and backward_method(thing) and not is_empty(thing):
            yield Found(name, "class", (thing,))
