"""How an object is called: which methods are its forward, its loss and its backward, and what each takes."""

from __future__ import annotations

import inspect
import re
from functools import partial
from types import FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from torch_impl.verify.units.objects import walk

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch_impl.verify.units.unit import Inputs, Outputs

FORWARDS = (
    "forward", "forward_pass", "forward_propagation", "forward_prop", "forwardprop", "forward_propagate", "fprop",
    "feedforward", "feed_forward", "__call__", "f", "fn", "predict",
)  # fmt: skip
LOSSES = (
    "loss", "compute_loss", "calculate", "cost", "compute_cost", "get_loss", "loss_fn", "criterion", "objective",
    "test_on_batch",
)  # fmt: skip
DERIVATIVES = ("gradient", "gradients", "grad", "derivative", "prime", "deriv", "delta")
BACKWARDS = (
    "backward", "backward_pass", "backward_propagation", "backprop", "back_propagation", "backpropagation", "back_prop",
    "backpropagate", "backward_prop", "bprop", *DERIVATIVES, "compute_gradients", "compute_gradient", "compute_grads",
    "train_step", "step", "update", "fit_step", "train_on_batch", "partial_fit", "train", "fit",
)  # fmt: skip

_ROLES = {
    "lr": "lr learning_rate learn_rate lrate eta alpha step_size",
    "training": "training train is_training train_flg train_flag is_train mode phase",
    "epochs": "epochs n_epochs num_epochs iterations n_iter n_iters num_iterations n_iterations",
    "x": "x xs x_batch x_train input inputs input_data data images batch features z",
    "out": "out output outputs o a al pred preds y_pred y_hat yhat prediction predictions p probs scores logits",
    "cache": "cache caches",
    "dout": "dout d grad grads gradient upstream up dy dz dl dl_dout grad_output output_gradient accum_grad delta",
}
_ROLE = {name: role for role, names in _ROLES.items() for name in names.split()}
_RATES = {"lr", "learning_rate", "learn_rate", "lrate", "eta"}
_FUNCTIONS = (FunctionType, MethodType, partial)
_TARGETS = (  # y_true before y
    r"true|target|label|truth|actual|expected|desired|^(t|ts|gt|y_gt|t_batch|t_train)$",
    r"^(y|ys|y_batch|y_train|correct)$",
)


def parameters(function: Any) -> dict[str, inspect.Parameter]:
    """The named parameters of a function."""
    try:
        listed = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # written in C, or no function
        return {}
    return {p.name: p for p in listed if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}


def required(function: Any) -> list[str]:
    """The names of the parameters without defaults."""
    return [n for n, p in parameters(function).items() if p.default is p.empty]


def role(name: Any) -> str | None:
    """What a parameter of this name takes: "x", "dout", "lr" and so on; None where the name does not tell."""
    return _ROLE.get(str(name).lower())


def is_rate(name: Any) -> bool:
    """Whether an attribute of this name is a learning rate."""
    return str(name).lower() in _RATES


def _target_of(function: Any) -> str | None:
    """Which parameter takes the targets, by its name."""
    found = (n for pattern in _TARGETS for n in parameters(function) if re.search(pattern, n.lower()))
    return next(found, None)


def _takes_targets(function: Any) -> bool:
    """Whether a function must be given targets beside something else."""
    return len(required(function)) > 1 and _target_of(function) in required(function)


def _method(thing: Any, names: Sequence[str]) -> Callable[..., Any] | None:
    """The first of some methods that an object, a module or a class with static methods has; abstract ones are none."""
    for name in names:
        if name in ("__call__", "f", "fn") and isinstance(thing, ModuleType | FunctionType):
            continue
        if isinstance(thing, type):  # an unbound method wants an object first, save where that is a context
            kind = inspect.getattr_static(thing, name, None)
            if not isinstance(kind, staticmethod | classmethod) and "ctx" not in parameters(kind):
                continue
        found = getattr(thing, name, None)
        if callable(found):
            return found
    return None


def ask(function: Callable[..., Any], given: Mapping[str, Any], order: Sequence[str]) -> Any:
    """Call a function with what its parameters are named for; the others get what is left, in this order.

    ``given`` holds what there is by role, and further arguments by their own name.
    """
    arguments: dict[str, Any] = {}
    unnamed, used = [], set()
    target = _target_of(function) if "y" in given else None
    for name, p in parameters(function).items():
        known = "y" if name == target else name if name in given and name not in ("x", "y") else role(name)
        if known == "epochs":
            arguments[name] = 1
        elif known == "training":
            arguments[name] = "train" if isinstance(p.default, str) else True
        elif known in given and (p.default is p.empty or known in ("y", "lr", "dout", name)):
            arguments[name] = given[str(known)]
            used.add(known)
        elif p.default is p.empty:
            unnamed.append(name)
    left = [given[key] for key in order if key in given and key not in used]
    return function(**arguments, **dict(zip(unnamed, left, strict=False)))


class Context:
    """What torch hands to the methods of a function of its own: a place for what backward needs."""

    saved_tensors: tuple[Any, ...] = ()
    needs_input_grad = (True,) * 9

    def save_for_backward(self, *tensors: Any) -> None:
        self.saved_tensors = tensors


class Plan:
    """How an object is called: its forward, the loss that follows, what that sends back, and its backward."""

    def __init__(self, obj: Any, data: Inputs, loss: Any, forward: Any, backward: Any) -> None:
        self.obj, self.roots = obj, []
        self.loss: Callable[..., Any] | None = None  # of the predictions, where the forward does not end in it
        self.slope: Callable[..., Any] | None = None  # its gradient
        self.ends_in_a_loss = "y" in data
        ahead = self._chosen(forward, FORWARDS)
        self.back = self._chosen(backward, BACKWARDS)
        if loss is not None and not hasattr(loss, "backward") and len(required(loss)) == 3:
            ahead = partial(loss, obj)
        elif "y" in data:
            ahead = self._with_loss(ahead, loss)
        if ahead is None:
            other = f"an instance, {obj.__name__}(…)" if isinstance(obj, type) else "an object"
            raise TypeError(f"{_said(obj)}; expected {other} with a method forward (or {', '.join(FORWARDS[1:8])})")
        if _takes_targets(ahead) and list(data) == ["x"]:
            raise ValueError(f"forward takes {', '.join(required(ahead))}; give the targets as y=…")
        wants = [role(n) for n in required(self.back)]
        if self.loss is not None and self.slope is None and "dout" in wants and loss is not None:
            # The author's loss has a value alone: what is left to verify is the network, for any upstream gradient.
            self.loss, self.ends_in_a_loss = None, False
        if next(iter(parameters(ahead)), "") in ("ctx", "context"):
            self.roots.append(Context())
            ahead, self.back = partial(ahead, self.roots[-1]), partial(self.back, self.roots[-1])
        # What is called gradient or backward may be f′, of x or of f(x).
        unnamed = wants == [None] and getattr(self.back, "__name__", "") in DERIVATIVES
        self.may_be_derivative = list(data) == ["x"] and (wants in (["x"], ["out"]) or unnamed)
        self.first = ahead

    def _chosen(self, said: Any, names: Sequence[str]) -> Any:
        if said is None:
            return _method(self.obj, names)
        return getattr(self.obj, said) if isinstance(said, str) else partial(said, self.obj)

    def _with_loss(self, ahead: Any, loss: Any) -> Any:
        """The forward down to a number, or up to the predictions that ``self.loss`` takes."""
        if loss is not None:
            return self._before(loss, ahead)
        named = [getattr(self.obj, n) for n in (*LOSSES, "loss_function", "loss_layer") if hasattr(self.obj, n)]
        own = next((v for v in named if isinstance(v, _FUNCTIONS)), None)
        if own is not None:
            takes_x = [role(n) for n in required(own) if n != _target_of(own)][:1] == ["x"]
            return own if ahead is None or takes_x or _takes_targets(ahead) else self._before(own, ahead)
        inside = next((v for v in named if _method(v, BACKWARDS)), None)
        if inside is None and _target_of(ahead) is None:
            raise ValueError(
                f"{_said(self.obj)}, none of which gives a loss; expected one called loss, or give the loss that "
                "backward is the gradient of: verify_network(net, loss, x=x, y=y)"
            )
        return ahead if _target_of(ahead) else self._before(inside, ahead)

    def _before(self, loss: Any, ahead: Any) -> Any:
        """The forward, before a loss that is a function or an object."""
        self.loss = loss if isinstance(loss, _FUNCTIONS) else _method(loss, (*LOSSES, *FORWARDS))
        self.slope = _method(loss, BACKWARDS) or getattr(self.obj, "loss_prime", None)
        if self.loss is None:
            came = f"the class {loss.__name__}" if isinstance(loss, type) else f"a {type(loss).__name__}"
            raise TypeError(f"loss is {came}, expected a function loss(p, y) or an object with forward and backward")
        self.roots.append(loss)
        return ahead

    def predict(self, given: Inputs) -> Any:
        """What the forward returns."""
        return ask(self.first, given, [n for n in given if n not in ("y", "lr")] + ["y"])

    def value(self, given: Inputs, p: Any) -> Any:
        """What the loss returns for the predictions."""
        assert self.loss is not None
        return ask(self.loss, {"x": p, "out": p, "y": given["y"]}, ("out", "y"))

    def backward(self, given: Inputs, upstream: Outputs, p: Any, result: Any, n_outputs: int) -> Any:
        """What backward returns; the gradients that came with the forward, where there is none."""
        if self.back is None:
            return result[1] if len(result) == 2 else result[1:]
        more = {f"dout{i}": u for i, u in enumerate(upstream)}
        if not self.ends_in_a_loss:
            if len([n for n in required(self.back) if role(n) != "lr"]) == 1:  # whatever its name, it takes dout
                return ask(self.back, {n: v for n, v in given.items() if n == "lr"} | {"dout": upstream[0]}, ["dout"])
            roles = dict(given) | more | {"dout": upstream[0], "out": p}
            if isinstance(result, tuple) and len(result) > n_outputs:
                roles["cache"] = result[-1]
            return ask(self.back, roles, ["dout", *list(more)[1:], "cache", "x", "out"])
        roles = dict(given) | {"dout": upstream[0], "out": p}
        if self.slope is not None or (self.loss is not None and isinstance(result, tuple)):
            roles["dout"] = self._sent(given, p, result)
            return ask(self.back, roles, ["dout", "y", "x"])
        if self.loss is not None:
            return ask(self.back, roles, ["x", "y", "out"])
        # A softmax with its loss takes its own output, which a network keeps in its last layer.
        shown = [a for path, a in walk(self.obj) if path and path[-1] == "output" and np.ndim(a)]
        roles["out"] = shown[-1] if shown else given.get("x")
        return ask(self.back, roles, ["out", "y"])

    def _sent(self, given: Inputs, p: Any, result: Any) -> Any:
        """The gradient that the loss sends back."""
        if self.slope is None:
            return result[1]
        sent = ask(self.slope, {"x": p, "out": p, "y": given["y"], "dout": 1.0}, ("out", "y"))
        return getattr(getattr(self.slope, "__self__", None), "dinputs", None) if sent is None else sent


def _said(obj: Any) -> str:
    """The object and its methods, in words."""
    kind = f"the class {obj.__name__}" if isinstance(obj, type) else f"a {type(obj).__name__}"
    names = [n for n in dir(obj) if not n.startswith("_") and callable(inspect.getattr_static(obj, n, None))]
    return f"network is {kind} with {'the methods ' + ', '.join(names) if names else 'no methods'}"
