"""What ``python -m experiments verify`` verifies: everything in scratch, or what it finds in a file of yours."""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import scratch
from scratch import checks
from scratch.layers import Layer
from scratch.losses import Loss
from scratch.optim import Optimizer
from torch_impl.parity import every_layer, every_loss
from torch_impl.train import OPTIMIZERS
from torch_impl.verify import (
    Model,
    Report,
    could_not_be_checked,
    merged,
    verify_function,
    verify_layer,
    verify_loss,
    verify_network,
    verify_optimizer,
    verify_penalty,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    Job = Callable[[], Report]


def verify_scratch(seed: int = 0) -> Report:
    """Every layer and loss in float64 and float32, every optimizer, the penalty, and whole networks."""
    start, rng = time.perf_counter(), np.random.default_rng(seed)
    reports = [
        verify_layer(layer, (7, 5), dtype=dtype, seed=seed).renamed(f"{layer}, {dtype}")
        for layer in every_layer().values() for dtype in ("float64", "float32")
    ]  # fmt: skip
    for dtype in ("float64", "float32"):
        logits = rng.standard_normal((7, 5)).astype(dtype)
        for name, (loss, y) in every_loss(logits, rng).items():
            reports.append(verify_loss(loss, logits, y, seed=seed).renamed(f"{name}, {dtype}"))
    reports.append(verify_penalty(scratch.Penalty(l1=0.03, l2=0.2), seed=seed))
    for cls in OPTIMIZERS:
        reports.append(verify_optimizer(cls(), seed=seed))
    reports += [
        verify_optimizer(o, seed=seed) for o in (scratch.SGD(momentum=0.9), scratch.SGD(momentum=0.9, nesterov=True))
    ]
    x = rng.standard_normal((11, 5))
    for network, loss, y in (
        (scratch.mlp((5, 9, 7, 3), scratch.ReLU(), dropout=0.3), scratch.CrossEntropy(), rng.integers(0, 3, 11)),
        (scratch.mlp((5, 9, 3), scratch.GELU()), scratch.MSE(), rng.standard_normal((11, 3))),
    ):
        reports.append(verify_network(network, loss, x=x, y=y, seed=seed))
    return merged("Everything in scratch", reports, seconds=time.perf_counter() - start)


def verify_file(target: str, shapes: list[str], seed: int = 0) -> Report:
    """The pairs, layers, losses, networks, models and optimizers of ``FILE.py``, or one of them: ``FILE.py:NAME``.

    Raises
        ValueError: no such file or name, or nothing to verify in it; a shape that is none
    """
    start = time.perf_counter()
    path, _, wanted = target.partition(".py:")
    file = Path(path + ".py" if wanted else target)
    if file.suffix != ".py" or not file.is_file():
        raise ValueError(
            f"target is {target!r}, expected a Python file that exists, such as layers.py or layers.py:affine"
        )
    given = _arrays(shapes, np.random.default_rng(seed))
    try:
        module = _load(file)
    except (Exception, SystemExit) as error:  # whatever the file does, it is reported with its place
        return could_not_be_checked(file.name, f"importing {file.name} raised {_place(error)}")
    jobs = dict(_jobs(module, given, seed))
    if not jobs:
        raise ValueError(
            f"{file} holds nothing to verify; expected functions NAME_forward and NAME_backward, or module-level "
            "instances of layers, losses, networks, optimizers or torch_impl.verify.Model"
        )
    for name in given:
        checks.choice("the name in shapes", name, dict.fromkeys(sorted(_argument_names(module))))
    if wanted:
        checks.choice("NAME", wanted.removesuffix("_forward").removesuffix("_backward"), jobs)
        jobs = {
            name: job for name, job in jobs.items() if name == wanted.removesuffix("_forward").removesuffix("_backward")
        }
    reports = []
    for name, job in jobs.items():
        try:
            reports.append(job())
        except Exception as error:  # one that fails must not hide the others
            reports.append(could_not_be_checked(name, _place(error)))
    return merged(f"{file.name}{':' + wanted if wanted else ''}", reports, seconds=time.perf_counter() - start)


def _load(file: Path) -> ModuleType:
    """The file as a module; what it imports from beside it is found."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(file.parent.resolve()))
    sys.modules.setdefault(file.stem, module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def _jobs(module: ModuleType, given: dict[str, Any], seed: int) -> Iterator[tuple[str, Job]]:
    """What can be verified in a module, by name."""
    things = {name: thing for name, thing in vars(module).items() if not name.startswith("_")}
    for name, forward in things.items():
        base = "" if name == "forward" else name.removesuffix("_forward") if name.endswith("_forward") else None
        if base is None or not inspect.isfunction(forward) or forward.__module__ != module.__name__:
            continue
        backward = things.get(f"{base}_backward" if base else "backward")
        if inspect.isfunction(backward):
            label = base or "forward"
            yield (
                label,
                lambda f=forward, b=backward, n=label: verify_function(  # type: ignore[misc]
                    f, b, seed=seed, **_inputs(module, given, seed, n, f)
                ),
            )
    losses = {name: t for name, t in things.items() if isinstance(t, Loss) and not isinstance(t, type)}
    for name, thing in things.items():
        if isinstance(thing, type):
            continue
        if isinstance(thing, scratch.Network):
            yield name, lambda t=thing: _network(module, given, seed, t, losses)  # type: ignore[misc]
        elif isinstance(thing, Model):
            yield name, lambda t=thing, n=name: verify_network(t, **_data(module, given, seed, n), seed=seed)  # type: ignore[misc]
        elif isinstance(thing, Optimizer):
            yield name, lambda t=thing: verify_optimizer(t, seed=seed)  # type: ignore[misc]
        elif isinstance(thing, Loss):
            yield name, lambda t=thing, n=name: _loss(module, given, seed, n, t)  # type: ignore[misc]
        elif isinstance(thing, Layer):
            yield name, lambda t=thing, n=name: _layer(module, given, seed, n, t)  # type: ignore[misc]


def _argument_names(module: ModuleType) -> set[str]:
    """What the inputs in a module are called."""
    forwards = [
        f for n, f in vars(module).items() if inspect.isfunction(f) and (n == "forward" or n.endswith("_forward"))
    ]
    return {"x", "y", "logits"} | {p for f in forwards for p in inspect.signature(f).parameters}


def _sampled(module: ModuleType, given: dict[str, Any], seed: int, name: str) -> dict[str, Any]:
    """The inputs by name: from NAME_sample_inputs or sample_inputs in the file, those of the command line over them."""
    draw = getattr(module, f"{name}_sample_inputs", None) or getattr(module, "sample_inputs", None)
    drawn = draw(np.random.default_rng(seed)) if draw is not None else {}
    if not isinstance(drawn, dict):
        raise ValueError(f"sample_inputs returned a {type(drawn).__name__}, expected a dict of the inputs by name")
    return drawn | given


def _inputs(module: ModuleType, given: dict[str, Any], seed: int, name: str, forward: Any) -> dict[str, Any]:
    inputs = _sampled(module, given, seed, name)
    parameters = inspect.signature(forward).parameters
    missing = [
        n
        for n, p in parameters.items()
        if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD and n not in inputs
    ]
    if missing:
        raise ValueError(
            f"no {' and no '.join(missing)} to call it with; expected {name}_sample_inputs(rng) or sample_inputs(rng) "
            f"in the file, returning a dict of the inputs by name, or --shapes {' '.join(f'{n}=…' for n in missing)}, "
            "as in x=7x5"
        )
    return {n: v for n, v in inputs.items() if n in parameters}


def _data(module: ModuleType, given: dict[str, Any], seed: int, name: str) -> dict[str, Any]:
    inputs = _sampled(module, given, seed, name)
    missing = [n for n in ("x", "y") if n not in inputs]
    if missing:
        raise ValueError(f"no {' and no '.join(missing)}; expected sample_inputs(rng) in the file to return x and y")
    return {n: inputs[n] for n in ("x", "y")}


def _network(module: ModuleType, given: dict[str, Any], seed: int, network: Any, losses: dict[str, Any]) -> Report:
    if len(losses) != 1:
        raise ValueError(f"the file holds {len(losses)} losses, expected one beside a network, such as loss = MSE()")
    return verify_network(network, next(iter(losses.values())), **_data(module, given, seed, "network"), seed=seed)


def _loss(module: ModuleType, given: dict[str, Any], seed: int, name: str, loss: Any) -> Report:
    inputs = _sampled(module, given, seed, name)
    if "logits" in inputs and "y" in inputs:
        return verify_loss(loss, inputs["logits"], inputs["y"], seed=seed)
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((7, 5))
    for y in (rng.integers(0, 5, 7), rng.random((7, 5))):
        try:
            loss(logits, y)
        except Exception:  # this kind of target is none of this loss
            continue
        return verify_loss(loss, logits, y, seed=seed)
    raise ValueError(
        "neither classes nor floats are targets it takes; expected sample_inputs(rng) to return logits and y"
    )


def _layer(module: ModuleType, given: dict[str, Any], seed: int, name: str, layer: Any) -> Report:
    x = _sampled(module, given, seed, name).get("x")
    width = next((s[-1] for n, s in layer.shapes().items() if len(s) == 1 and n != "bias"), 5)
    shape = x.shape if x is not None else (7, getattr(layer, "n_in", width))
    return verify_layer(layer, shape, seed=seed)


def _arrays(shapes: list[str], rng: np.random.Generator) -> dict[str, Any]:
    """Arrays from NAME=7x5 (floats) and NAME=7:3 (7 classes out of 3).

    Raises
        ValueError: something else
    """
    arrays: dict[str, Any] = {}
    for text in shapes:
        match = re.fullmatch(r"(\w+)=(\d+(?:x\d+)*)(?::(\d+))?", text)
        if match is None:
            raise ValueError(f"shapes holds {text!r}, expected NAME=7x5 for floats or NAME=7:3 for classes 0, 1, 2")
        name, sizes, classes = match.groups()
        shape = tuple(int(n) for n in sizes.split("x"))
        if 0 in shape or classes == "0":
            raise ValueError(f"shapes holds {text!r}, expected lengths of at least 1")
        arrays[name] = rng.integers(0, int(classes), shape) if classes else rng.standard_normal(shape)
    return arrays


def _place(error: BaseException) -> str:
    """An exception in a sentence, with the last line of the user's code in it."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "site-packages" not in f.filename]
    own = [
        f
        for f in frames
        if Path(__file__).parent.parent not in Path(f.filename).parents and "importlib" not in f.filename
    ]
    where = f" ({Path(own[-1].filename).name}, line {own[-1].lineno}: {own[-1].line})" if own else ""
    if isinstance(error, SyntaxError):
        where = ""  # its own text has the line
    said = str(error) if isinstance(error, ValueError | TypeError) and not own else f"{type(error).__name__}: {error}"
    return said + where
