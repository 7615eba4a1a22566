"""Classes with a forward and a backward method, and how they are constructed."""

import ast
import copy
import inspect
import re
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from experiments.verifiable.calls import needed, returns_several
from experiments.verifiable.shapes import Guess

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


LOSS = ("loss", "compute_loss", "cost", "compute_cost", "cost_function", "loss_and_gradients", "loss_and_grads")


def forward_method(cls: type) -> str:
    """The name of its forward method, or of one that returns a loss and its gradients; "" if it has neither."""
    found = next((name for name in FORWARD if inspect.isfunction(getattr(cls, name, None))), "")
    return found if found and _backward_method(cls, found) else loss_method(cls) or found


def loss_method(cls: type) -> str:
    """The name of a method loss(X, y) -> loss, gradients; "" if it has none."""
    methods = {name: getattr(cls, name, None) for name in LOSS}
    return next((name for name, f in methods.items() if inspect.isfunction(f) and returns_several(f)), "")


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
    """The name of its backward method, which is its forward method where that returns gradients; "" if it has none."""
    forward = forward_method(cls)
    return forward if forward and forward == loss_method(cls) else _backward_method(cls, forward)


def _backward_method(cls: type, forward: str) -> str:
    names = (*BACKWARD, *GRADIENT) if forward == "__call__" else BACKWARD
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
    (r"x|x_?train|x_?data", (("x",),)),
    (r"y|y_?train|labels?|targets?", (("y",),)),
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
    "x": (Guess((7, 5)),),
    "y": (Guess((7, 1), "0 or 1"),),
    "scale": (Guess((5,)), Guess((1, 5)), Guess((3,))),
}


@dataclass(frozen=True)
class Instance:
    """An object, how it was constructed ("" for a module-level one), and the x and y that its constructor took."""

    thing: Any
    how: str = ""
    data: dict[str, Any] = field(default_factory=dict)


class NothingToVerifyError(Exception):
    """It is the base of others, without a forward pass of its own."""


def constructed(cls: type) -> Iterator[Instance]:
    """Instances of the class, with no arguments or with guessed ones.

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
        taken = zip(choices, arguments, strict=True)
        data = {values[0][0]: value for values, (value, _) in taken if values[0] in (("x",), ("y",))}
        yield Instance(instance, f"{cls.__name__}({said})" if names else "", data)
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
    return isinstance(value, tuple) and len(value) == 1 and value[0] in ARRAYS
