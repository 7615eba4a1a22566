"""How an object is called: which methods are its forward, its loss and its backward, and what each takes."""

from __future__ import annotations

import inspect
import re
from functools import partial
from types import FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from torch_impl.verify.units.objects import Snapshot, walk

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


def method(thing: Any, names: Sequence[str]) -> tuple[str, Callable[..., Any]] | None:
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
            return name, found
    return None


def parameters(function: Any) -> dict[str, inspect.Parameter]:
    """The named parameters of a function."""
    try:
        listed = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # written in C, or no function
        return {}
    return {p.name: p for p in listed if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}


def _takes_any(function: Any) -> bool:
    """Whether a function without named parameters takes arguments all the same: *args, or one written in C."""
    try:
        return bool(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return True


def target_of(function: Any) -> str | None:
    """Which parameter takes the targets, by its name: y_true before t before y."""
    best, score = None, 0
    for name, p in parameters(function).items():
        low = name.lower()
        sure = re.search(r"true|target|label|truth|actual|expected|desired", low) or low in ("t", "ts", "gt", "y_gt")
        maybe = (
            low in ("y", "ys", "y_batch", "y_train", "t_batch", "t_train", "correct") and p.kind is not p.VAR_KEYWORD
        )
        if (2 if sure else 1 if maybe else 0) > score:
            best, score = name, 2 if sure else 1
    return best


def role(name: str) -> str | None:
    """What a parameter of this name takes: "x", "dout", "lr" and so on; None where the name does not tell."""
    return _ROLE.get(name.lower())


def is_rate(name: Any) -> bool:
    """Whether an attribute of this name is a learning rate."""
    return str(name).lower() in _RATES


def ask(function: Callable[..., Any], given: Mapping[str, Any], order: Sequence[str]) -> Any:
    """Call a function with what its parameters are named for; the others get what is left, in this order.

    ``given`` holds what there is by role, and further arguments by their own name.
    """
    arguments: dict[str, Any] = {}
    target = target_of(function) if "y" in given else None
    listed = parameters(function)
    unnamed = []
    for name, p in listed.items():
        known = "y" if name == target else name if name in given and name not in ("x", "y") else role(name)
        if known == "epochs":
            arguments[name] = 1
        elif known == "training":
            arguments[name] = "train" if isinstance(p.default, str) else True
        elif known in given and (p.default is p.empty or known in ("y", "lr", "dout") or known == name):
            arguments[name] = given[str(known)]
        elif p.default is p.empty:
            unnamed.append(name)
    used = {("y" if n == target else n if n in given and n not in ("x", "y") else role(n)) for n in arguments}
    left = [key for key in order if key in given and key not in used]
    arguments |= {name: given[key] for name, key in zip(unnamed, left, strict=False)}
    positional = [n for n in listed if n in arguments and listed[n].kind is inspect.Parameter.POSITIONAL_ONLY]
    named = {n: v for n, v in arguments.items() if n not in positional}
    if not listed and _takes_any(function):
        return function(*(given[key] for key in order[:1]))
    return function(*(arguments[n] for n in positional), **named)


class Context:
    """What torch hands to the methods of a function of its own: a place for what backward needs."""

    def __init__(self) -> None:
        self.saved_tensors: tuple[Any, ...] = ()
        self.needs_input_grad = (True,) * 9

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
        if loss is not None and not hasattr(loss, "backward") and len(_required(loss)) == 3:
            ahead = partial(loss, obj)
        elif "y" in data:
            ahead = self._with_loss(ahead, loss, data)
        if ahead is None:
            raise TypeError(f"{_said(obj)}; expected a method called forward (or {', '.join(FORWARDS[1:8])})")
        if target_of(ahead) in _required(ahead) and "y" not in data and len(_required(ahead)) > 1 and len(data) == 1:
            raise ValueError(f"forward takes {', '.join(_required(ahead))}; give the targets as y=…")
        wants = [role(n) for n in _required(self.back)]
        if self.loss is not None and self.slope is None and "dout" in wants and loss is not None:
            # The author's loss has a value alone: what is left to verify is the network, for any upstream gradient.
            self.loss, self.ends_in_a_loss = None, False
        if next(iter(parameters(ahead)), "") in ("ctx", "context"):
            self.roots.append(Context())
            ahead, self.back = partial(ahead, self.roots[-1]), partial(self.back, self.roots[-1])
        name = getattr(self.back, "__name__", "")
        alone = "y" not in data and len(wants) == 1
        self.derivative = alone and (wants[0] in ("x", "out") or (name in DERIVATIVES and wants[0] is None))
        self.of_output = False  # the derivative takes f(x) for x
        self.first = ahead

    def _chosen(self, said: Any, names: Sequence[str]) -> Any:
        if isinstance(said, str):
            return getattr(self.obj, said)
        if said is not None:
            return said if getattr(said, "__self__", None) is self.obj else partial(said, self.obj)
        found = method(self.obj, names)
        return None if found is None else found[1]

    def _with_loss(self, ahead: Any, loss: Any, data: Inputs) -> Any:
        """The forward down to a number, or up to the predictions that ``self.loss`` takes."""
        named = [getattr(self.obj, n) for n in (*LOSSES, "loss_function", "loss_layer") if hasattr(self.obj, n)]
        own = next((v for v in named if isinstance(v, FunctionType | MethodType | partial)), None)
        inside = [v for v in named if v is not own and method(v, BACKWARDS) and method(v, (*LOSSES, *FORWARDS))]
        takes_y = ahead is not None and target_of(ahead) in _required(ahead) and len(_required(ahead)) > 1
        if loss is not None:
            return self._take(loss, ahead)
        if own is not None and (ahead is None or takes_y or self._from_x(own, data)):
            return own
        if own is not None:
            self.loss, self.slope = own, getattr(self.obj, "loss_prime", None)
            return ahead
        if takes_y or (ahead is not None and target_of(ahead) and not inside):
            return ahead
        if inside:
            return self._take(inside[0], ahead)
        raise ValueError(
            f"{_said(self.obj)}, none of which gives a loss; expected one called loss, or give the loss that backward "
            "is the gradient of: verify_network(net, loss, x=x, y=y)"
        )

    def _take(self, loss: Any, ahead: Any) -> Any:
        value = method(loss, (*LOSSES, *FORWARDS)) if not isinstance(loss, FunctionType | MethodType) else ("", loss)
        if value is None:
            came = f"the class {loss.__name__}" if isinstance(loss, type) else f"a {type(loss).__name__}"
            raise TypeError(f"loss is {came}, expected a function loss(p, y) or an object with forward and backward")
        slope = method(loss, BACKWARDS)
        self.loss, self.slope = value[1], None if slope is None else slope[1]
        self.roots.append(loss)
        return ahead

    def _from_x(self, own: Callable[..., Any], data: Inputs) -> bool:
        """Whether the object's loss takes x, and not the predictions."""
        others = [n for n in _required(own) if n != target_of(own) and role(n) not in ("lr", "training")]
        if not others or role(others[0]) in ("x", "out") or others[0].lower() in ("y", "ys"):
            return bool(others) and role(others[0]) == "x"
        before = Snapshot([self.obj])
        try:
            ask(own, data, ("x", "y"))
        except Exception:  # it did not take x: then it takes what the forward gives
            return False
        finally:
            before.restore()
        return True

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
        if self.derivative:
            return self.back(p if self.of_output else given["x"])
        if not self.ends_in_a_loss and len([n for n in _required(self.back) if role(n) != "lr"]) == 1:
            given = {n: v for n, v in given.items() if n == "lr"}  # whatever its name, it is the upstream gradient
            p = None
        roles = dict(given) | {f"dout{i}": u for i, u in enumerate(upstream)} | {"dout": upstream[0]}
        roles |= {} if p is None else {"out": p}
        order = ["dout", *(f"dout{i}" for i in range(1, len(upstream))), "cache", "x", "out"]
        if self.loss is not None:
            order = ["x", "y", "out"]
            if self.slope is not None or isinstance(result, tuple):
                roles["dout"] = self._sent(given, p, result)
                order = ["dout", "y", "x"]
        elif self.ends_in_a_loss:
            # A softmax with its loss takes its own output, which a network keeps in its last layer.
            shown = [a for path, a in walk(self.obj) if path and path[-1] == "output" and np.ndim(a)]
            roles["out"] = shown[-1] if shown else given.get("x")
            order = ["out", "y"]
        elif isinstance(result, tuple) and len(result) > n_outputs:
            roles["cache"] = result[-1]
        return ask(self.back, roles, order)

    def _sent(self, given: Inputs, p: Any, result: Any) -> Any:
        """The gradient that the loss sends back."""
        if self.slope is None:
            return result[1]
        sent = ask(self.slope, {"x": p, "out": p, "y": given["y"], "dout": 1.0}, ("out", "y"))
        owner = getattr(self.slope, "__self__", None)
        return sent if sent is not None else getattr(owner, "dinputs", None)


def _required(function: Any) -> list[str]:
    return [n for n, p in parameters(function).items() if p.default is p.empty]


def _said(obj: Any) -> str:
    """The object and its methods, in words."""
    kind = f"the class {obj.__name__}" if isinstance(obj, type) else f"a {type(obj).__name__}"
    kinds = FunctionType | MethodType | staticmethod | classmethod
    names = [n for n in dir(obj) if not n.startswith("_") and isinstance(inspect.getattr_static(obj, n, None), kinds)]
    return f"network is {kind} with {'the methods ' + ', '.join(names) if names else 'no methods'}"
