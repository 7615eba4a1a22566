"""Wrong arguments: every public callable of scratch and torch_impl, one wrong argument at a time.

``CALLS`` has an entry for each: what is called, and the kind of every argument. A kind has a good value and says of any
other whether it is good too; what is generated and is not, the call must refuse with a TypeError or a ValueError that
names the argument. A callable or an argument without an entry, here or in ``SKIPPED``, is a fault of the campaign.
"""

import dataclasses
import functools
import importlib
import inspect
import itertools
import math
import pkgutil
import random
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

import scratch
import torch_impl
from scratch import State
from tests.faults import Outcome
from torch_impl import TwinState, lit_train
from torch_impl.counterparts import EXAMPLES

WHAT = "generated wrong arguments of every public callable: refused with a sentence that names the argument"
COUNT = 3_000

NETWORK = scratch.mlp((5, 4, 3), scratch.Tanh(), dropout=0.2)
OTHER = scratch.mlp((5, 6, 3), scratch.Tanh())
NORMED = scratch.mlp((5, 4, 3), scratch.Tanh(), norm=scratch.BatchNorm)
RECIPE = scratch.Recipe(loss=scratch.CrossEntropy(), optimizer=scratch.Adam(), epochs=2, batch_size=4)
X, Y = np.random.default_rng(0).standard_normal((12, 5)), np.arange(12) % 3


def params(network: scratch.Network = NETWORK, dtype: str = "float64") -> scratch.Parameters:
    return scratch.initial_parameters(network, np.random.default_rng(0), dtype=dtype)


@dataclasses.dataclass(frozen=True)
class Kind:
    """The values that an argument may have: a good one, a test for others, and wrong ones that are nearly good."""

    good: Callable[[], Any]
    valid: Callable[[Any], bool]
    nearly: Callable[[], list[Any]] = list


def kind(good: Any, valid: Callable[[Any], bool] | None = None, *nearly: Any) -> Kind:
    """The kind of a value that need not be made anew; without ``valid`` no generated value is good."""
    return Kind(lambda: good, valid or (lambda value: False), lambda: list(nearly))


def among(*known: Any) -> Callable[[Any], bool]:
    """Whether a value is one of these; an array is compared with nothing."""
    return lambda value: any(type(value) is type(one) and value == one for one in known)


def whole(good: int, least: int = 1) -> Kind:
    return kind(good, lambda v: isinstance(v, int | np.integer) and not isinstance(v, bool) and v >= least)


def number(good: float, least: float, below: float = math.inf, above: bool = False) -> Kind:
    def valid(v: Any) -> bool:
        if isinstance(v, bool) or not isinstance(v, int | float | np.integer | np.floating):
            return False
        v = v.item() if isinstance(v, np.generic) else v
        return (least < v if above else least <= v) and v < below and abs(v) <= sys.float_info.max

    return kind(good, valid)


def optional(of: Kind) -> Kind:
    return dataclasses.replace(of, valid=lambda v: v is None or of.valid(v))


def array(
    shape: tuple[int, ...],
    free: tuple[int, ...] = (),
    dtype: Any = None,
    classes: int | None = None,
    any_shape: bool = False,
    finite: bool = False,
) -> Kind:
    """An array of that shape, whose ``free`` axes may have any length; of floats, or of integers below ``classes``."""
    good = np.random.default_rng(1).standard_normal(shape) if classes is None else np.arange(math.prod(shape)) % classes
    good = good.reshape(shape).astype(dtype or good.dtype)

    def valid(v: Any) -> bool:
        if type(v) is not np.ndarray:
            return False
        fits = any_shape or (
            v.ndim == len(shape)
            and all(n == m or (i in free and n) for i, (n, m) in enumerate(zip(v.shape, shape, strict=True)))
        )
        if classes is not None:
            return fits and v.dtype.kind in "iu" and v.min() >= 0 and v.max() < classes
        known = v.dtype in ((dtype,) if dtype else (np.float32, np.float64))
        return fits and known and (not finite or bool(np.isfinite(v).all()))

    def nearly() -> list[Any]:
        values: list[Any] = [
            np.ma.masked_array(good, good == good.flat[0]),
            good.astype("float16"),
            good.astype(complex),
            good.astype(object),
            good.astype(str),
            good.astype(bool),
            good[:0],
            good[..., None],
            good[0],
            good.tolist(),
            torch.from_numpy(good),
            good.astype(np.float32 if good.dtype == np.float64 else np.float64),
            good.astype(good.dtype.newbyteorder()) if classes is None else -1 - good,
            np.concatenate([good, good], axis=-1),
            np.full_like(good, np.nan) if classes is None else good + classes,
            np.array([tuple(range(2))] * len(good), dtype=[("a", int), ("b", int)]),
        ]
        return [*values, good.view(np.matrix)] if good.ndim == 2 else values

    return Kind(good.copy, valid, nearly)


def record(good: Any, kind_: Any, *nearly: Any) -> Kind:
    """An instance of a class."""
    return kind(good, lambda v: isinstance(v, kind_) and not isinstance(v, type), kind_, *nearly)


FLAG = kind(True, lambda v: isinstance(v, bool | np.bool), "False", 1, 0, np.array(True))
RNG = Kind(lambda: np.random.default_rng(0), lambda v: False, lambda: [np.random, np.random.RandomState(0)])
LAYER = kind(scratch.Tanh(), lambda v: isinstance(v, scratch.Layer) and not isinstance(v, type), scratch.ReLU, "relu")
NETWORK_KIND = kind(NETWORK, None, scratch.Network, scratch.Linear(5, 3), NETWORK.layers, params)
LOSS = kind(scratch.CrossEntropy(), None, scratch.CrossEntropy, "cross entropy", scratch.Tanh())
OPTIMIZER = kind(
    scratch.Adam(), lambda v: isinstance(v, scratch.Adam), scratch.Adam, "adam", scratch.Tanh(), torch.optim.Adam
)
SCHEDULE = kind(scratch.CosineDecay(9), None, scratch.CosineDecay, print, len, lambda step: "1", lambda: 1)
DTYPE = kind("float32", among(float, np.float32, np.float64, "float32", "float64", "d", "f"), "float16", int, ">f8")
DEVICE = kind("cpu", among("cpu"), "gpu", "cuda:x", "CPU", "cuda:99")
PRECISION = kind("float32", among("float32"), "float64", "bf16", "tf32")
RECIPE_KIND = kind(RECIPE, None, scratch.Recipe, "recipe")
PARAMS = Kind(
    params,
    lambda v: False,
    lambda: [scratch.Parameters, dict(params()), params(OTHER), params().vector, params().gradients],
)
PAIR = kind((0.9, 0.99), None, (0.9,), (0.9, 0.99, 0.999), 0.9, (0.9, 1.0), (0.9, "0.9"), (math.nan, 0.9), {0.9, 0.99})
XY = Kind(
    lambda: (X, Y),
    lambda v: v is None,
    lambda: [
        (X,),
        (X, Y, Y),
        [X, Y],
        (X, Y.astype(float)),
        (X.astype("f4"), Y),
        (X, Y[:-1]),
        (X, Y + 1),
        (X * math.inf, Y),
    ],
)
BATCH = {"x": array((12, 5), (0,), np.float64, finite=True), "y": array((12,), classes=3)}


def _spoiled(change: Callable[[Any], Any]) -> State:
    state = State.start(params(), RECIPE)
    change(state)
    return state


STATE = Kind(
    lambda: State.start(params(), RECIPE),
    lambda v: False,
    lambda: [
        State,
        params(),
        State.start(params(OTHER), RECIPE),
        State.start(params(), scratch.SGD()),
        _spoiled(lambda s: s.slots.update(exp_avg=s.slots["exp_avg"].astype("float32"))),
        _spoiled(lambda s: s.slots.update(exp_avg=s.slots["exp_avg"][:1])),
        _spoiled(lambda s: s.slots.update(exp_avg=None)),
        _spoiled(lambda s: setattr(s, "best", s.params.vector[:3])),
        _spoiled(lambda s: setattr(s, "params", None)),
    ],
)


def _twin_state() -> TwinState:
    return TwinState.start(NETWORK, RECIPE, State.start(params(), RECIPE))


def _twin() -> torch_impl.Twin:
    return torch_impl.twin(NETWORK, params())


@dataclasses.dataclass(frozen=True)
class Call:
    """A callable and the kinds of its arguments, which are given by name."""

    function: Callable[..., Any]
    kinds: dict[str, Kind]


@functools.cache
def folder() -> Path:
    """A folder with a good file of either sort."""
    path = Path(tempfile.mkdtemp())
    scratch.save_parameters(path / "params", params())
    scratch.save_state(path / "state", State.start(params(), RECIPE))
    return path


def _path(name: str) -> Kind:
    # A file that is not there is refused with a sentence, too; what no path can be is not called one.
    return kind(folder() / name, lambda v: isinstance(v, str | Path | bytes) or v is None)


def records() -> dict[str, Call]:
    rate, share = number(0.1, 0), number(0.5, 0, 1)
    eps = number(0.1, 0, above=True)
    mistakes = kind((3, 0), among((), [], [1], (1, 2)), (-1,), (0.5,))
    layers = kind((scratch.Tanh(),), None, (), [scratch.ReLU], ("relu",), scratch.Tanh())
    shapes = kind({"a": (2, 3), "b": (2,)}, among({}), {"a": 3}, {"a": (-1,)}, {1: (2,)}, {"a": (2.0,)}, [("a", (2,))])
    found: dict[str, tuple[type, dict[str, Kind]]] = {
        name: (getattr(scratch, name), {"n_in": whole(5), "n_out": whole(3)})
        for name in ("Linear", "Projection", "Embedding")
    }
    optimizers: dict[str, dict[str, Kind]] = {
        "SGD": {"momentum": share, "dampening": share, "nesterov": FLAG},
        "AdaGrad": {"eps": rate},
        "RMSprop": {"alpha": share, "eps": rate, "momentum": share},
        "Adam": {"betas": PAIR, "eps": rate},
        "AdamW": {"betas": PAIR, "eps": rate},
    }
    optimizers["SGD"]["dampening"] = number(0.0, 0, 1)
    for name, own in optimizers.items():
        found[name] = getattr(scratch, name), {"lr": rate, "weight_decay": rate} | own
    for name in ("CosineDecay", "LinearDecay"):
        found[name] = getattr(scratch, name), {"steps": whole(9), "final": rate}
    found |= {
        "Dropout": (scratch.Dropout, {"p": share}),
        "LeakyReLU": (scratch.LeakyReLU, {"slope": rate}),
        "ELU": (scratch.ELU, {"alpha": rate}),
        "GELU": (scratch.GELU, {"approximate": kind("tanh", among("none", "tanh"), "tan", True)}),
        "BatchNorm": (
            scratch.BatchNorm,
            {"channels": whole(5), "momentum": number(0.5, 0, math.nextafter(1, 2)), "eps": eps, "affine": FLAG},
        ),
        "LayerNorm": (scratch.LayerNorm, {"n_in": whole(5), "eps": eps, "affine": FLAG}),
        "CrossEntropy": (scratch.CrossEntropy, {"label_smoothing": share}),
        "Penalty": (scratch.Penalty, {"l1": rate, "l2": rate}),
        "StepDecay": (scratch.StepDecay, {"every": whole(5), "gamma": eps}),
        "ExponentialDecay": (scratch.ExponentialDecay, {"gamma": eps}),
        "Warmup": (scratch.Warmup, {"steps": whole(10), "after": SCHEDULE}),
        "EarlyStopping": (scratch.EarlyStopping, {"patience": whole(3)}),
        "Shift": (
            scratch.Shift,
            {"shape": kind((2, 3), among((1, 2)), (2,), (2, 3, 4), 6, (0, 3), (2.0, 3), "23"), "pixels": whole(1)},
        ),
        "Residual": (
            scratch.Residual,
            {"inner": LAYER, "shortcut": optional(kind(None, LAYER.valid, scratch.ReLU, scratch.Embedding(5, 3)))},
        ),
        "Network": (scratch.Network, {"layers": layers}),
        "Perceptron": (
            scratch.Perceptron,
            {"w": array((5,), (0,)), "b": number(0.0, -math.inf), "mistakes": mistakes},
        ),
        "Recipe": (
            scratch.Recipe,
            {
                "loss": LOSS,
                "optimizer": OPTIMIZER,
                "epochs": whole(2),
                "batch_size": whole(4),
                "schedule": SCHEDULE,
                "penalty": record(scratch.Penalty(l2=0.1), scratch.Penalty, 0.1),
                "augment": optional(record(None, scratch.Shift, (28, 28))),
                "max_norm": optional(number(1.0, 0, above=True)),
                "early_stopping": optional(record(None, scratch.EarlyStopping, 3)),
                "seed": whole(0, 0),
            },
        ),
        "Parameters": (
            scratch.Parameters,
            {
                "shapes": shapes,
                "dtype": DTYPE,
                "device": DEVICE,
                "untrained": kind(("b",), among((), []), "b", ("c",), ("b", "b"), (1,), {"b"}),
            },
        ),
    }  # fmt: skip
    made = {name: Call(function, kinds) for name, (function, kinds) in found.items()}
    for name in ("Constant", "CosineDecay", "LinearDecay", "StepDecay", "ExponentialDecay", "Warmup"):
        good = {key: of.good() for key, of in found[name][1].items()} if name in found else {}
        made[f"{name}.__call__"] = Call(getattr(scratch, name)(**good), {"step": whole(3, 0)})
    for name in ("CrossEntropy", "BCEWithLogits", "MSE", "MAE"):
        targets = array((12, 3), (), np.float64, finite=True) if name != "CrossEntropy" else array((12,), classes=3)
        if name == "BCEWithLogits":
            targets = dataclasses.replace(targets, good=lambda: np.full((12, 3), 0.5), valid=lambda v: False)
        loss = getattr(scratch, name)()
        # Good logits of another shape or dtype than the targets are the targets' fault.
        logits = dataclasses.replace(array((12, 3)), valid=lambda v: _floats(v) and v.size > 0 and v.ndim > 1)
        made[f"{name}.__call__"] = Call(loss, {"logits": logits, "y": targets})
        made[f"{name}.check_targets"] = Call(
            functools.partial(lambda check, y: check(y, (12, 3), np.float64), loss.check_targets), {"y": targets}
        )
    return made


def layers() -> dict[str, Call]:
    """Every layer's passes: x and the arrays, dy and the gradients."""
    made = {}
    for name, (layer, shape) in EXAMPLES.items():
        if not isinstance(layer, scratch.Layer) or name != type(layer).__name__:
            continue
        arrays, x_shape, integers = layer.shapes(), (12, *shape), getattr(layer, "integer_input", False)
        rng = np.random.default_rng(0)
        x = rng.integers(0, 3, x_shape) if integers else rng.standard_normal(x_shape)
        weights = [np.abs(rng.standard_normal(s)) for s in arrays.values()]
        draws = {"training": None} if "training" in inspect.signature(layer.forward).parameters else {}
        y, cache = layer.forward(x, *weights, **draws)
        free = tuple(range(1, len(x_shape))) if name == "Flatten" else ()
        whole_x = array(x_shape, (0, *free), classes=11) if integers else array(x_shape, (0, *free), np.float64)
        if isinstance(layer, scratch.activations.Activation) or name in ("Dropout", "Flatten"):
            whole_x = dataclasses.replace(array(x_shape, any_shape=name != "Flatten"), valid=_any_floats(name))
        if integers:  # the range is the network's to check, as the layer says
            whole_x = dataclasses.replace(whole_x, valid=lambda v: type(v) is np.ndarray and v.dtype.kind in "iu")
        called = _named(name, list(arrays), "")
        kinds = {"x": whole_x} | {
            n: array(s, (), None if integers else np.float64) for n, s in zip(called, arrays.values(), strict=True)
        }
        if name in ("Network", "Residual"):
            kinds = {"x": whole_x}  # their arrays are the layers' to check
        elif draws:
            kinds["training"] = optional(RNG)
        made[f"{name}.forward"] = Call(functools.partial(_forward, layer, weights), kinds)
        grads = {n: s for n, s in arrays.items() if n not in getattr(layer, "untrained", ())}
        loose = name in ("Identity", "Dropout")
        dy = dataclasses.replace(array(y.shape, (), None if loose or integers or name == "Flatten" else y.dtype))
        if loose:
            dy = dataclasses.replace(dy, valid=_any_floats(name))
        kinds = {"dy": dy}
        if name not in ("Network", "Residual"):
            named = _named(name, list(grads), "d")
            kinds |= {n: array(s, (), np.float64) for n, s in zip(named, grads.values(), strict=True)}
        zeros = [np.zeros(s) for s in grads.values()]
        made[f"{name}.backward"] = Call(functools.partial(_backward, layer, cache, zeros), kinds)
    return made


def _any_floats(name: str) -> Callable[[Any], bool]:
    least = 1 if name == "Flatten" else 0
    return lambda v: (
        type(v) is np.ndarray and v.dtype in (np.float32, np.float64) and (not least or v.size > 0 < v.ndim)
    )


def _floats(v: Any) -> bool:
    return type(v) is np.ndarray and v.dtype in (np.float32, np.float64)


def _finite(v: Any) -> bool:
    return _floats(v) and v.size > 0 and bool(np.isfinite(v).all()) and v.ndim > 0


def _named(layer: str, arrays: list[str], prefix: str) -> list[str]:
    """What the arguments of a layer's passes are called."""
    if layer in ("Linear", "Projection", "Embedding"):
        arrays = [{"weight": "W", "bias": "b"}[name] for name in arrays]
    return [prefix + name for name in arrays]


def _forward(layer: Any, weights: list[Any], x: Any, training: Any = None, **arrays: Any) -> Any:
    keywords = {"training": training} if "training" in inspect.signature(layer.forward).parameters else {}
    return layer.forward(x, *(arrays.values() if arrays else weights), **keywords)


def _backward(layer: Any, cache: Any, zeros: list[Any], dy: Any, **grads: Any) -> Any:
    return layer.backward(dy, cache, *(grads.values() if grads else [g.copy() for g in zeros]))


def functions() -> dict[str, Call]:
    both = array((12,), (), classes=3)
    any_class = dataclasses.replace(
        both, valid=lambda v: both.valid(abs(v) % 3) if type(v) is np.ndarray and v.dtype.kind in "iu" else False
    )
    network, of_network = NETWORK, array((12, 5), (0,), np.float64)
    state_step = {
        "optimizer": OPTIMIZER,
        "grads": Kind(lambda: params().gradients(), lambda v: False, lambda: [params(OTHER), params(dtype="float32")]),
        "lr": number(0.1, 0),
        "network": optional(kind(None, None, OTHER, scratch.Network, "net")),
    }
    data = {"network": NETWORK_KIND, "recipe": RECIPE_KIND} | BATCH
    weights = kind(
        "he",
        among("he", "xavier", "normal"),
        "hee",
        lambda rng, shape: np.ones(3),
        lambda rng, shape: np.full(shape, math.nan),
        lambda rng, shape: np.ones(shape, int),
    )
    one = scratch.Perceptron(np.ones(5), 0.0, (0,))
    return {
        "predicted_classes": Call(
            scratch.predicted_classes,
            {"logits": dataclasses.replace(array((12, 3), finite=True), valid=lambda v: _finite(v) and v.ndim > 1)},
        ),
        "accuracy": Call(
            scratch.accuracy,
            {"labels": any_class, "predicted": any_class},
        ),
        "confusion_matrix": Call(scratch.confusion_matrix, {"labels": both, "predicted": both, "n_classes": whole(3)}),
        "per_class": Call(
            scratch.per_class,
            {
                "confusion": dataclasses.replace(
                    array((3, 3), classes=9),
                    valid=lambda v: (
                        type(v) is np.ndarray
                        and v.dtype.kind in "iu"
                        and v.ndim == 2
                        and v.shape[0] == v.shape[1] > 0 <= v.min()
                    ),
                )
            },
        ),
        "clip_by_global_norm": Call(
            scratch.clip_by_global_norm, {"g": array((5,), (0,)), "max_norm": number(1.0, 0, above=True)}
        ),
        "Penalty.add_grad": Call(
            scratch.Penalty(l2=0.1).add_grad,
            {
                "params": Kind(params, lambda v: False, lambda: [params(OTHER), scratch.Parameters, params().vector]),
                "grads": Kind(lambda: params().gradients(), among({}), lambda: [params(OTHER), params().vector]),
            },
        ),
        "initial_parameters": Call(
            scratch.initial_parameters,
            {"network": NETWORK_KIND, "rng": RNG, "weights": weights, "bias": number(0.1, -math.inf), "dtype": DTYPE},
        ),
        "mlp": Call(
            scratch.mlp,
            {
                "sizes": kind((5, 4, 3), among((1, 2)), (5,), (5, 0, 3), (5, 4.0, 3), "543", 5, (5, True)),
                "activation": LAYER,
                "dropout": number(0.5, 0, 1),
                "input_dropout": number(0.5, 0, 1),
                "norm": kind(
                    None, lambda v: v is None, scratch.BatchNorm(4), "batch", 3, lambda n: "norm", lambda n: None
                ),
                "residual": FLAG,
            },
        ),
        "Network.parameters": Call(network.parameters, {"dtype": DTYPE, "device": DEVICE}),
        "Network.check_input": Call(
            lambda x: network.check_input("x", x, np.float64),
            {"x": dataclasses.replace(of_network, valid=lambda v: of_network.valid(v) or (_finite(v) and v.ndim != 2))},
        ),
        "Network.check_parameters": Call(lambda params: network.check_parameters("params", params), {"params": PARAMS}),
        "Network.apply": Call(
            network.apply, {"params": PARAMS, "x": array((12, 5), (0,), np.float64), "training": optional(RNG)}
        ),
        "Embedding.initial": Call(scratch.Embedding(5, 3).initial, {"rng": RNG}),
        "Parameters.__getitem__": Call(
            lambda name: params()[name], {"name": kind("0.weight", among(*params()), "0.weigth", 0)}
        ),
        "Parameters.__setitem__": Call(
            lambda name, value: params().__setitem__(name, value),
            {"name": kind("0.bias", among(*params()), "0.bais"), "value": array((4,), (), np.float64)},
        ),
        "Parameters.group": Call(lambda prefix: params().group(prefix), {"prefix": kind("0", among("0"), "1", 0)}),
        "Parameters.to": Call(lambda device: params().to(device), {"device": DEVICE}),
        "Shift.padded": Call(scratch.Shift((2, 3)).padded, {"x": array((12, 6), (0,))}),
        "Shift.start": Call(scratch.Shift((2, 3)).start, {"rng": RNG}),
        "fit_perceptron": Call(
            scratch.fit_perceptron,
            {"x": array((12, 5), (1,), finite=True), "y": array((12,), classes=2), "rng": RNG, "epochs": whole(2)},
        ),
        "Perceptron.predict": Call(one.predict, {"x": array((12, 5), (0,), np.float64, finite=True)}),
        "gradcheck": Call(
            scratch.gradcheck,
            {
                "network": NETWORK_KIND,
                "loss": LOSS,
                "params": PARAMS,
                **BATCH,
                "rng": RNG,
                "directions": whole(1),
                "tolerance": number(1e-7, 0),
            },
        ),
        "Recipe.lr": Call(RECIPE.lr, {"step": whole(3, 0)}),
        "Recipe.steps_per_epoch": Call(RECIPE.steps_per_epoch, {"n": whole(3)}),
        "minibatches": Call(scratch.minibatches, {"n": whole(9), "batch_size": whole(2), "rng": RNG}),
        "evaluate": Call(
            scratch.evaluate,
            {"network": NETWORK_KIND, "loss": LOSS, "params": PARAMS, **BATCH, "x": of_network, "batch_size": whole(5)},
        ),
        "State.start": Call(
            State.start,
            {
                "params": dataclasses.replace(PARAMS, valid=lambda v: isinstance(v, scratch.Parameters)),
                "recipe": kind(RECIPE, None, scratch.Recipe, scratch.Adam, "adam"),
            },
        ),
        "State.step": Call(lambda **given: State.start(params(), RECIPE).step(**given), state_step),
        "State.to": Call(lambda device: State.start(params(), RECIPE).to(device), {"device": DEVICE}),
        "fit": Call(scratch.fit, data | {"state": STATE, "validation": XY, "precision": PRECISION}),
        "save_parameters": Call(
            lambda params: scratch.save_parameters(folder() / "saved", params),
            {"params": dataclasses.replace(PARAMS, valid=lambda v: isinstance(v, scratch.Parameters))},
        ),
        "save_state": Call(
            lambda state: scratch.save_state(folder() / "saved", state),
            {"state": kind(State.start(params(), RECIPE), lambda v: isinstance(v, State), State, params())},
        ),
        "load_parameters": Call(
            lambda network: scratch.load_parameters(folder() / "params", network), {"network": NETWORK_KIND}
        ),
        "load_state": Call(lambda network: scratch.load_state(folder() / "state", network), {"network": NETWORK_KIND}),
        "torch_impl.copy_to_module": Call(
            torch_impl.copy_to_module,
            {"params": PARAMS, "module": Kind(_twin, lambda v: False, lambda: [torch.nn.Linear])},
        ),
        "torch_impl.parameters_of": Call(torch_impl.parameters_of, {"module": Kind(_twin, lambda v: False)}),
        "torch_impl.twin": Call(torch_impl.twin, {"network": NETWORK_KIND, "params": PARAMS, "device": DEVICE}),
        "torch_impl.TwinState.start": Call(
            TwinState.start, {"network": NETWORK_KIND, "recipe": RECIPE_KIND, "state": STATE, "device": DEVICE}
        ),
        "torch_impl.TwinState.to_scratch": Call(
            lambda recipe: _twin_state().to_scratch(recipe), {"recipe": RECIPE_KIND}
        ),
        "torch_impl.lit_train.fit": Call(
            lit_train.fit,
            data
            | {
                "state": Kind(lambda: State.start(params(), RECIPE), lambda v: False),
                "validation": XY,
                "precision": PRECISION,
                "on_record": kind(None, lambda v: v is None or callable(v)),
                "checkpoint": kind(None, lambda v: v is None or isinstance(v, str | Path)),
                "checkpoint_every": number(0.0, 0),
                "tensorboard": kind(None, lambda v: v is None or isinstance(v, str | Path)),
                "device": kind("cpu"),
                "devices": kind(1, among(1, 2, 3, 4, np.int8(3))),  # of a batch of 4
                "num_nodes": kind(1, among(1)),
                "strategy": kind("auto", among("auto", "ddp", "ddp_spawn")),
                "chunk": whole(1),
            },
        ),
        "torch_impl.fit": Call(
            torch_impl.fit,
            data
            | {"state": Kind(_twin_state, lambda v: False), "validation": XY, "precision": PRECISION, "capture": FLAG},
        ),
    }


@functools.cache
def calls() -> dict[str, Call]:
    return records() | layers() | functions()


# What has no entry, and why. A name stands for its methods too; "*.name" for a method or an argument of every class.
SKIPPED = {
    "Layer": "a protocol",
    "Composite": "a base class: its methods are called by the layers that inherit from it",
    "Record": "made by fit, and taken by nothing",
    "Stop": "made by interruptible",
    "State": "a constructor without checks: fit, State.step and save_state check the state that they are given",
    "torch_impl.Twin": "torch's own Sequential",
    "torch_impl.TwinState": "a constructor without checks: fit checks the state",
    "torch_impl.TwinState.check": "called by fit",
    "torch_impl.evaluate": "of tensors, which torch checks",
    "save_parameters(path)": "the campaign of files",
    "save_state(path)": "the campaign of files",
    "load_parameters(path)": "the campaign of files",
    "load_state(path)": "the campaign of files",
    "*.value_and_grad": "unchecked, as it says; __call__ checks",
    "*.update": "unchecked, as Optimizer says; fit and State.step check",
    "*.slots": "unchecked, as Optimizer says; State.start checks",
    "*.track": "of a cache, within a step",
    "*.place": "called by errors",
    "*.forward_part": "called by a composite's own forward",
    "*.backward_part": "called by a composite's own backward",
    "*.backward(cache)": "what forward returned; nothing else is one",
    "*.backward(caches)": "what forward returned; nothing else is one",
    "*.backward(need_dx)": "called by composites",
    "*.forward(arrays)": "by the names of shapes()",
    "*.backward(grads)": "by the names of shapes()",
    "*.forward(affine)": "by the names of shapes()",
    "*.forward(training)": "of a composite: its layers check",
    "*.check_targets(shape)": "given by __call__ and fit",
    "*.check_targets(dtype)": "given by __call__ and fit",
    "*.check_targets(name)": "given by __call__ and fit",
    "*.check_input(name)": "a word of a message",
    "*.check_input(dtype)": "given by apply and fit",
    "*.check_parameters(name)": "a word of a message",
    "BatchNorm.initial": "draws nothing",
    "LayerNorm.initial": "draws nothing",
    "State.step(caches)": "what forward returned; nothing else is one",
}  # fmt: skip


SAID = {"Parameters.__setitem__(value)": "0.bias"}  # what an error calls an argument by, where not by its name


def public() -> Iterator[tuple[str, list[str]]]:
    """The name and the arguments of every public callable of scratch and torch_impl, methods included."""
    modules = [importlib.import_module(f"scratch.{file.name}") for file in pkgutil.iter_modules(scratch.__path__)]
    names = [(name, getattr(scratch, name)) for m in modules for name in getattr(m, "__all__", ())]
    names += [(f"torch_impl.{name}", getattr(torch_impl, name)) for name in torch_impl.__all__]
    names += [("torch_impl.lit_train.fit", lit_train.fit)]
    for name, value in names:
        if inspect.isclass(value) and issubclass(value, Exception):
            continue  # made by what raises it
        yield name, _arguments(value)
        if inspect.isclass(value) and not name.endswith(".Twin"):
            for method, function in inspect.getmembers(value, inspect.isroutine):
                special = method in ("__call__", "__getitem__", "__setitem__")
                if (special or not method.startswith("_")) and getattr(function, "__module__", "").startswith(
                    ("scratch", "torch_impl")
                ):
                    yield f"{name}.{method}", [a for a in _arguments(function) if a not in ("self", "cls")]


def _arguments(value: Any) -> list[str]:
    return [name for name in inspect.signature(value).parameters if name != "_"]


def missing() -> list[str]:
    """Every public callable and argument that has no entry, here or in SKIPPED."""
    found = []
    for name, arguments in public():
        owner, method = name.rpartition(".")[0], name.rpartition(".")[2]
        if {name, owner, f"*.{method}"} & SKIPPED.keys() and name not in calls():
            continue
        called = calls().get(name)
        for argument in arguments:
            skipped = {f"{name}({argument})", f"*.{method}({argument})"} & SKIPPED.keys()
            # A layer's own arrays, W or dweight, are named by shapes().
            own = called is not None and method in ("forward", "backward")
            if (called is None or argument not in called.kinds) and not skipped and not own:
                found.append(f"{name}({argument})")
    return found


@functools.cache
def junk() -> list[Any]:
    """Values that are wrong for most arguments."""
    # fmt: off
    return [
        None, True, False, 0, -1, 2, 10**400, 0.5, 1.0, -0.5, 1e300, math.nan, math.inf, -math.inf, 1j,
        "", "no", "1", b"1", (), [], [1], (1, 2), {}, {"a": 1}, {1, 2}, ..., object(), int, np.ndarray, len, np.random,
        lambda *given: None, np.float64(1), np.float64(math.nan), np.int8(3), np.uint64(2**63), np.bool(True),
        np.float16(1), np.datetime64("2026-11-21"), np.array(1.0), np.array(3), np.array([]), np.ones(3),
        np.ones((2, 2)), np.ones((12, 5), "float32"), np.ones((0, 5)), np.array([1, None], object), np.array(["a"]),
        np.array([True]), np.ma.masked_array([1.0, 2.0], [True, False]), np.ones((2, 2)).view(np.matrix),
        np.zeros(2, [("a", float)]), torch.ones(3), torch.ones((12, 5), dtype=torch.float64), scratch.Tanh(),
        scratch.Adam(), scratch.Penalty, Path("somewhere"),
    ]
    # fmt: on


def wrong_values(of: Kind) -> st.SearchStrategy[Any]:
    """Values that are none of the kind."""
    listed = [value for value in [*of.nearly(), *of.nearly(), *junk()] if not of.valid(value)]
    numbers = st.one_of(st.floats(), st.integers(), st.text(max_size=5), st.binary(max_size=3), st.complex_numbers())
    return st.one_of(
        st.sampled_from(listed), st.sampled_from(listed), numbers.filter(lambda value: not of.valid(value))
    )


def problem(name: str, argument: str, value: Any) -> str | None:
    """What is wrong with how the callable takes ``value`` as that argument; None if it refuses it by name."""
    called = calls()[name]
    given = {key: of.good() for key, of in called.kinds.items()} | {argument: value}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            called.function(**given)
    except (TypeError, ValueError) as error:
        called_by = SAID.get(f"{name}({argument})", argument)
        named = re.search(rf"(?<!\w){re.escape(called_by)}(?!\w)", str(error))
        return None if named else f"without the argument's name: {type(error).__name__}: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "silent"


def outcomes(count: int, seed: int) -> Iterator[Outcome]:
    """So many wrong values, spread over all arguments of all public callables."""
    for name in missing():
        yield Outcome(name, "has no entry in tests/faults/arguments.py")
    every = [(name, argument) for name, called in calls().items() for argument in called.kinds]
    random.Random(seed).shuffle(every)
    shares = [count // len(every) + (i < count % len(every)) for i in range(len(every))]
    for i, ((name, argument), share) in enumerate(zip(every, shares, strict=True)):
        for value in drawn(wrong_values(calls()[name].kinds[argument]), share, seed + i):
            said = " ".join(repr(value).split())[:80]
            yield Outcome(f"{name}({argument}={said})", problem(name, argument, value))


def drawn(strategy: st.SearchStrategy[Any], count: int, number: int) -> list[Any]:
    """So many values of a strategy."""
    values: list[Any] = []
    if count:

        @seed(number)
        @settings(
            max_examples=count,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(strategy)
        def note(value: Any) -> None:
            values.append(value)

        note()
    return list(itertools.islice(values, count))
