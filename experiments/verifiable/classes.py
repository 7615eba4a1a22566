"""Classes with a forward and a backward method: how they are constructed, and called."""

import ast
import copy
import inspect
import re
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.verifiable.calls import finite, needed, output, quiet, takes_probabilities
from experiments.verifiable.names import is_target, is_value, values_of
from experiments.verifiable.shapes import Guess, targets_of

FORWARD = (
    "forward", "forward_pass", "forward_propagation", "forward_propagate", "forward_prop", "forwardPass",
    "forwardPropagation", "forwardProp", "feedforward", "feed_forward", "fwd", "__call__",
)  # fmt: skip
BACKWARD = (
    "backward", "backward_pass", "backward_propagation", "backward_propagate", "backward_prop", "backwardPass",
    "backwardPropagation", "backprop", "back_prop", "backpropagation", "back_propagation", "backpropagate",
    "back_propagate", "backProp", "bwd",
)  # fmt: skip
GRADIENT = ("gradient", "derivative", "grad", "prime")  # beside __call__ alone


def forward_method(cls: type) -> str:
    """The name of its forward method; "" if it has none."""
    return next((name for name in FORWARD if inspect.isfunction(getattr(cls, name, None))), "")


def is_empty(cls: type) -> bool:
    """Whether its forward method is there for other classes to fill: it raises NotImplementedError, or does nothing."""
    with suppress(OSError, TypeError, SyntaxError):
        function = ast.parse(textwrap.dedent(inspect.getsource(getattr(cls, forward_method(cls))))).body[0]
        assert isinstance(function, ast.FunctionDef)
        body = [line for line in function.body if not (isinstance(line, ast.Expr) and _is_text(line.value))]
        if len(body) == 1 and isinstance(body[0], ast.Raise):
            return "NotImplemented" in ast.unparse(body[0])
        return all(isinstance(line, ast.Pass) for line in body)
    return False


def _is_text(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and (isinstance(value.value, str) or value.value is ...)


def backward_method(cls: type) -> str:
    """The name of its backward method; "" if it has none."""
    names = (*BACKWARD, *GRADIENT) if forward_method(cls) == "__call__" else BACKWARD
    return next((name for name in names if inspect.isfunction(getattr(cls, name, None))), "")


# What the arguments of a constructor are called, and what they are tried as, one after another.
ARGUMENTS: tuple[tuple[str, tuple[Any, ...]], ...] = (
    (r"in_?channels?|n_?channels|c_?in|channels_?in|input_?channels|depth", (3,)),
    (r"out_?channels?|c_?out|n_?filters|num_?filters|n_?kernels|filters|output_?channels", (4,)),
    (r"kernel_?(size|shape)?|filter_?(size|shape)|k_?size|k", (3, (3, 3))),
    (r"pool_?(size|shape)?|pool_?(height|width)", (2, (2, 2))),
    (r"strides?", (1, 2)),
    (r"pad|padding", (1, 0, "same")),
    (r"(n_?|num_?)?(hidden|h)(_?(size|dim|units|nodes|neurons|features|width))?s?|hidden_?n|n_?h", (4, [4])),
    (r"(n_?|num_?)?(hidden)_?(sizes|dims|layers|layer_sizes)", ([4], 1)),
    (r"(layer_?)?(sizes|dims|layers|dimensions|structure|architecture|topology|widths|units_per_layer)", ([5, 4, 3],)),
    (r"n_?in|n_?inputs?|in_?(size|dim|features|put)?|inputs?|inputs?_?(size|dim|units|width|nodes|n|features|neurons)s?"
     r"|d_?in|fan_?in|n_?x|n_?features|num_?features|in_?f|nin|n_?prev|input_?shape|d_?model|features|dim|dims|d"
     r"|normalized_shape|embed_?dim|num_?inputs", (5, (5,))),
    (r"n_?out|n_?outputs?|out_?(size|dim|features|put)?|outputs?|outputs?_?(size|dim|units|width|nodes|n|features"
     r"|neurons)s?|d_?out|fan_?out|n_?y|n_?classes|num_?classes|out_?f|nout|units|n_?units|n_?neurons|neurons"
     r"|num_?outputs|n_?nodes|n_?next|classes|num_?(units|neurons)", (3,)),
    (r"w|weights?", (("W",),)),
    (r"b|bias(es)?", (("b",), True)),
    (r"gamma|beta", (("scale",),)),
    (r"lr|learning_?rate|alpha|slope|negative_slope|eta|l2|reg\w*|lambd\w*|weight_decay", (0.1,)),
    (r"p|rate|dropout\w*|drop_?prob|keep_?prob|drop_?rate|dropout_ratio", (0.5,)),
    (r"eps|epsilon", (1e-5,)),
    (r"momentum|decay", (0.9,)),
    (r"seed|random_state", (0,)),
    (r"rng|generator", (np.random.default_rng(0),)),
    (r"(hidden_)?activation\w*|act|nonlinearity", ("relu", "sigmoid", "tanh")),
    (r"(num_?|n_?)?(embeddings|tokens|vocab)(_size)?|vocab_?size", (6,)),
    (r"batch_?size", (7,)),
    (r"groups|num_groups|n_?heads|num_heads", (1,)),
    (r"axis|dim", (1,)),
)  # fmt: skip

ARRAYS = {  # in one layout and in the other
    "W": (Guess((5, 3)), Guess((3, 5)), Guess((4, 3, 3, 3))),
    "b": (Guess((3,)), Guess((3, 1)), Guess((1, 3)), Guess((4,))),
    "scale": (Guess((5,)), Guess((1, 5)), Guess((3,))),
}

INPUTS = (
    Guess((7, 5)), Guess((7, 5), "probabilities"), Guess((5, 7)), Guess((2, 3, 7, 7)), Guess((2, 3, 8, 8)),
    Guess((2, 6, 5)), Guess((5,)), Guess((5, 1)), Guess((1, 5)), Guess((7, 7, 3)), Guess((2, 3, 9)), Guess((7, 3)),
    Guess((7,), "classes out of 5"), Guess((2, 6), "classes out of 5"),
)  # fmt: skip


@dataclass(frozen=True)
class Made:
    """An instance, how it was constructed, and the inputs that it takes."""

    instance: Any
    how: str
    inputs: dict[str, Any]
    said: str


class NothingToVerifyError(Exception):
    """It is the base of others, without a forward pass of its own."""


def constructed(cls: type) -> Iterator[tuple[Any, str]]:
    """Instances of the class with no arguments, or with guessed ones, and how each is made.

    Raises
        ValueError: an argument whose name says nothing
        NothingToVerifyError: it says that it is a base of others
    """
    names, last = needed(cls) if cls.__init__ is not object.__init__ else [], None  # type: ignore[misc]
    choices = []
    for name in names:
        low = name.strip("_").lower()
        values = next((values for pattern, values in ARGUMENTS if re.fullmatch(pattern, low)), None)
        if values is None:
            raise ValueError(
                f"no {name} to construct it with; expected a module-level instance, as in "
                f"{cls.__name__.lower()} = {cls.__name__}({', '.join(f'{n}=…' for n in names)})"
            )
        choices.append(values)
    made = False
    for arguments in _combinations(choices):
        try:
            instance = cls(**dict(zip(names, [value for value, _ in arguments], strict=True)))
        except NotImplementedError as error:
            raise NothingToVerifyError("its constructor raises NotImplementedError") from error
        except Exception as error:  # other arguments may do
            last = error
            continue
        made = True
        said = ", ".join(f"{n}={said}" for n, (_, said) in zip(names, arguments, strict=True))
        yield instance, f"{cls.__name__}({said})" if names else ""
    if not made and last is not None:
        raise last


def _combinations(choices: list[tuple[Any, ...]]) -> Iterator[list[tuple[Any, str]]]:
    """The first of each; then, where there are others, those at the same place."""
    most = max((len(ARRAYS[v[0][0]]) if _is_array(v[0]) else len(v) for v in choices), default=1)
    rng = np.random.default_rng(0)
    for k in range(most):
        found: list[tuple[Any, str]] = []
        for values in choices:
            if _is_array(values[0]):
                arrays = ARRAYS[values[0][0]]
                guess = arrays[min(k, len(arrays) - 1)]
                found.append((guess.draw(rng), f"array {guess.shape}"))
            else:
                value = copy.deepcopy(values[min(k, len(values) - 1)])
                found.append((value, "rng" if isinstance(value, np.random.Generator) else repr(value)))
        yield found


def _is_array(value: Any) -> bool:
    return isinstance(value, tuple) and value in (("W",), ("b",), ("scale",))


def made(things: Iterator[tuple[Any, str]], given: dict[str, Any], seed: int) -> Made:
    """The first instance whose forward method runs and gives finite numbers, and the inputs that it ran with.

    Raises
        ValueError: none does; the text says what to give
        NothingToVerifyError: its forward method raises NotImplementedError
    """
    first, name = "", ""
    for instance, how in things:
        name = type(instance).__name__
        for x, said in _first_inputs(instance, given, seed):
            try:
                inputs, result, y_said = _run(instance, x, given, seed)
            except NotImplementedError as error:
                raise NothingToVerifyError("its forward method raises NotImplementedError") from error
            except Exception as error:  # another shape may do
                first = first or f"; with {said or 'the given x'} it raised {type(error).__name__}: {error}"
                continue
            if finite(result) and np.size(output(result)):
                return Made(instance, how, inputs, ", ".join(filter(None, (said, y_said))))
    raise ValueError(
        f"no guessed inputs fit {name}{first}; expected a module-level instance, and {name}_sample_inputs(rng) or "
        "sample_inputs(rng) in the file that returns its x (and y), or --shapes x=…"
    )


def _first_inputs(instance: Any, given: dict[str, Any], seed: int) -> Iterator[tuple[Any, str]]:
    if "x" in given:
        yield given["x"], ""
        return
    names = needed(getattr(instance, forward_method(type(instance))))
    is_loss = len(names) > 1 and any(map(is_target, names))
    of_logs = is_loss and takes_probabilities(type(instance), ["x", "y"])
    # Arrays that an instance holds say how wide its input is.
    widths = dict.fromkeys(n for shape in _shapes_in(instance) for n in shape)
    own = [Guess(shape) for n in widths for shape in ((7, n), (n, 7), (2, n, 7, 7))]
    for guess in (*(INPUTS[1:] if of_logs else INPUTS), *own):
        if not (is_loss and guess.kind.startswith("classes")):
            yield guess.draw(np.random.default_rng([seed, 0])), guess.said("x")


def _shapes_in(thing: Any, depth: int = 0) -> list[tuple[int, ...]]:
    """The shapes of the arrays in an object, its lists and dicts, and the objects in them."""
    if isinstance(thing, np.ndarray):
        return [thing.shape]
    if depth > 3:
        return []
    parts = thing.values() if isinstance(thing, dict) else thing if isinstance(thing, list | tuple) else None
    parts = getattr(thing, "__dict__", {}).values() if parts is None else parts
    return [shape for part in parts for shape in _shapes_in(part, depth + 1)]


def _run(instance: Any, x: Any, given: dict[str, Any], seed: int) -> tuple[dict[str, Any], Any, str]:
    """x, and y where a method takes it; what the forward method returned; the guessed y in words."""
    cls = type(instance)
    names = needed(getattr(instance, forward_method(cls)))
    if len(names) > 1 and any(map(is_target, names)):  # a loss, or a network that ends in one
        return _run_with_target(instance, names, x, [(given["y"], "")] if "y" in given else _targets(np.shape(x), seed))
    extra = {name: values_of(name, "")[0] for name in names[1:] if is_value(name)}
    result = forward(instance, dict.fromkeys(names[:1], x) | extra)
    others = [backward_method(cls), *(name for name in dir(cls) if "loss" in name or "cost" in name)]
    methods = [method for name in others for method in (getattr(instance, name, None),) if inspect.ismethod(method)]
    if not any(is_target(name) for method in methods for name in inspect.signature(method).parameters):
        return {"x": x} | extra, result, ""
    y, said = (given["y"], "") if "y" in given else _targets(np.shape(output(result)), seed)[0]
    return {"x": x, "y": y} | extra, result, said


def _run_with_target(
    instance: Any, names: list[str], x: Any, targets: list[tuple[Any, str]]
) -> tuple[dict[str, Any], Any, str]:
    last: Exception | None = None
    for y, said in targets:
        try:
            result = forward(instance, {name: y if is_target(name) else x for name in names})
        except NotImplementedError:
            raise
        except Exception as error:  # another kind of target may do
            last = error
            continue
        return {"x": x, "y": y}, result, said
    assert last is not None  # there is at least one target
    raise last


def forward(instance: Any, arguments: dict[str, Any]) -> Any:
    """What the forward method returns, of a copy that may remember it."""
    return quiet(getattr(copy.deepcopy(instance), forward_method(type(instance))), arguments)


def _targets(shape: tuple[int, ...], seed: int) -> list[tuple[Any, str]]:
    return [(guess.draw(np.random.default_rng([seed, 1])), guess.said("y")) for guess in targets_of(shape)]
