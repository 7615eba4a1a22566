"""What can be verified: everything in scratch, or what a file of yours holds."""

import importlib.util
import inspect
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

import scratch
from scratch import checks
from scratch.layers import Layer
from scratch.losses import Loss
from scratch.optim import Optimizer
from torch_impl import verify
from torch_impl.counterparts import EXAMPLES, OPTIMIZERS
from torch_impl.parity import every_loss
from torch_impl.verify import Model, Report, could_not_be_checked


def verify_scratch(seed: int = 0) -> Report:
    """Every layer and loss in float64 and float32, every optimizer, the penalty, and whole networks."""
    start, rng = time.perf_counter(), np.random.default_rng(seed)
    reports = [
        verify.verify_layer(layer, (7, *shape), dtype=dtype, seed=seed).renamed(f"{name}, {dtype}")
        for name, (layer, shape) in EXAMPLES.items() for dtype in ("float64", "float32")
    ]  # fmt: skip
    for dtype in ("float64", "float32"):
        logits = rng.standard_normal((7, 5)).astype(dtype)
        for name, (loss, y) in every_loss(logits, rng).items():
            reports.append(verify.verify_loss(loss, logits, y, seed=seed).renamed(f"{name}, {dtype}"))
    reports.append(verify.verify_penalty(scratch.Penalty(l1=0.03, l2=0.2), seed=seed))
    optimizers = [cls() for cls in OPTIMIZERS]
    for optimizer in (*optimizers, scratch.SGD(momentum=0.9), scratch.SGD(momentum=0.9, nesterov=True)):
        reports.append(verify.verify_optimizer(optimizer, seed=seed))
    x = rng.standard_normal((11, 5))
    for network, loss, y in (
        (scratch.mlp((5, 9, 7, 3), scratch.ReLU(), dropout=0.3), scratch.CrossEntropy(), rng.integers(0, 3, 11)),
        (scratch.mlp((5, 9, 3), scratch.GELU()), scratch.MSE(), rng.standard_normal((11, 3))),
    ):
        reports.append(verify.verify_network(network, loss, x=x, y=y, seed=seed))
    return verify.merged("Everything in scratch", reports, seconds=time.perf_counter() - start)


def verify_file(target: str, shapes: list[str], seed: int = 0) -> Report:
    """The pairs, layers, losses, networks, models and optimizers of ``FILE.py``, or one of them: ``FILE.py:NAME``.

    Raises
        ValueError: no such file or name, or nothing to verify in it; a shape that is none
    """
    start = time.perf_counter()
    path, _, wanted = target.partition(".py:")
    file = Path(path + ".py" if wanted else target)
    if file.suffix != ".py" or not file.is_file():
        example = "such as layers.py or layers.py:affine"
        raise ValueError(f"target is {target!r}, expected a Python file that exists, {example}")
    given = _arrays(shapes, np.random.default_rng(seed))
    try:
        own = UserModule(_load(file), given, seed)
    except (Exception, SystemExit) as error:  # whatever the file does, it is reported with its place
        return could_not_be_checked(file.name, f"importing {file.name} raised {_place(error)}")
    jobs = dict(own.jobs())
    if not jobs:
        raise ValueError(
            f"{file} holds nothing to verify; expected functions NAME_forward and NAME_backward, or module-level "
            "instances of layers, losses, networks, optimizers or torch_impl.verify.Model"
        )
    for name in given:
        checks.choice("the name in shapes", name, dict.fromkeys(sorted(own.argument_names())))
    if wanted:
        name = wanted.removesuffix("_forward").removesuffix("_backward")
        jobs = {name: checks.choice("NAME", name, jobs)}
    reports = []
    for name, job in jobs.items():
        try:
            reports.append(job())
        except Exception as error:  # one that fails must not hide the others
            reports.append(could_not_be_checked(name, _place(error)))
    return verify.merged(f"{file.name}{':' + wanted if wanted else ''}", reports, seconds=time.perf_counter() - start)


def _load(file: Path) -> ModuleType:
    """The file as a module; what it imports from beside it is found."""
    spec: Any = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(file.parent.resolve()))
    sys.modules.setdefault(file.stem, module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class UserModule:
    """A module to verify, and the inputs that the command line gives it."""

    module: ModuleType
    given: dict[str, Any]
    seed: int

    def jobs(self) -> Iterator[tuple[str, Callable[[], Report]]]:
        """What can be verified in the module, by name."""
        for name, forward in self.forwards().items():
            backward = getattr(self.module, name.removesuffix("forward") + "backward", None)
            own = forward.__module__ == self.module.__name__ and not name.startswith("_")
            if own and backward is not None and inspect.isfunction(backward):
                label = name.removesuffix("_forward")
                yield label, partial(self.pair, label, forward, backward)
        kinds: dict[Any, Callable[[str, Any], Report]] = {
            scratch.Network: self.network, Model: self.model, Optimizer: self.optimizer, Loss: self.loss,
            Layer: self.layer,
        }  # fmt: skip
        for name, thing in self.instances().items():
            verifies = next((way for kind, way in kinds.items() if isinstance(thing, kind)), None)
            if verifies is not None:
                yield name, partial(verifies, name, thing)

    def instances(self) -> dict[str, Any]:
        public = {name: thing for name, thing in vars(self.module).items() if not name.startswith("_")}
        return {name: thing for name, thing in public.items() if not isinstance(thing, type)}

    def forwards(self) -> dict[str, Callable[..., Any]]:
        named = {n: f for n, f in vars(self.module).items() if n == "forward" or n.endswith("_forward")}
        return {name: f for name, f in named.items() if inspect.isfunction(f)}

    def argument_names(self) -> set[str]:
        """What the inputs are called."""
        parameters = (inspect.signature(f).parameters for f in self.forwards().values())
        return {"x", "y", "logits"}.union(*parameters)

    def inputs(self, name: str) -> dict[str, Any]:
        """The inputs: from NAME_sample_inputs or sample_inputs in the file, those of the command line over them."""
        draw = getattr(self.module, f"{name}_sample_inputs", None) or getattr(self.module, "sample_inputs", None)
        drawn = draw(np.random.default_rng(self.seed)) if draw is not None else {}
        if not isinstance(drawn, dict):
            raise ValueError(f"sample_inputs returned a {type(drawn).__name__}, expected a dict of the inputs by name")
        return drawn | self.given

    def data(self, name: str) -> dict[str, Any]:
        """x and y."""
        inputs = self.inputs(name)
        missing = [n for n in ("x", "y") if n not in inputs]
        if missing:
            raise ValueError(
                f"no {' and no '.join(missing)}; expected sample_inputs(rng) in the file to return x and y"
            )
        return {n: inputs[n] for n in ("x", "y")}

    def pair(self, name: str, forward: Callable[..., Any], backward: Callable[..., Any]) -> Report:
        inputs, parameters = self.inputs(name), inspect.signature(forward).parameters
        needed = (n for n, p in parameters.items() if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD)
        missing = [n for n in needed if n not in inputs]
        if missing:
            raise ValueError(
                f"no {' and no '.join(missing)} to call it with; expected {name}_sample_inputs(rng) or "
                "sample_inputs(rng) in the file, returning a dict of the inputs by name, or --shapes "
                f"{' '.join(f'{n}=…' for n in missing)}, as in x=7x5"
            )
        taken = {n: v for n, v in inputs.items() if n in parameters}
        return verify.verify_function(forward, backward, seed=self.seed, **taken)

    def network(self, _: str, network: scratch.Network) -> Report:
        losses = [thing for thing in self.instances().values() if isinstance(thing, Loss)]
        if len(losses) != 1:
            example = "such as loss = MSE()"
            raise ValueError(f"the file holds {len(losses)} losses, expected one beside a network, {example}")
        return verify.verify_network(network, losses[0], **self.data("network"), seed=self.seed)

    def model(self, name: str, model: Model) -> Report:
        return verify.verify_network(model, **self.data(name), seed=self.seed)

    def optimizer(self, _: str, optimizer: Optimizer) -> Report:
        return verify.verify_optimizer(optimizer, seed=self.seed)

    def loss(self, name: str, loss: Loss) -> Report:
        inputs = self.inputs(name)
        if "logits" in inputs and "y" in inputs:
            return verify.verify_loss(loss, inputs["logits"], inputs["y"], seed=self.seed)
        rng = np.random.default_rng(self.seed)
        logits = rng.standard_normal((7, 5))
        for y in (rng.integers(0, 5, 7), rng.random((7, 5))):
            try:
                loss(logits, y)
            except Exception:  # this kind of target is none of this loss
                continue
            return verify.verify_loss(loss, logits, y, seed=self.seed)
        expected = "expected sample_inputs(rng) to return logits and y"
        raise ValueError(f"neither classes nor floats are targets it takes; {expected}")

    def layer(self, name: str, layer: Layer) -> Report:
        x = self.inputs(name).get("x")
        width = next((s[-1] for n, s in layer.shapes().items() if len(s) == 1 and n != "bias"), 5)
        shape = x.shape if x is not None else (7, getattr(layer, "n_in", width))
        return verify.verify_layer(layer, shape, seed=self.seed)


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
    ours = Path(__file__).parent.parent
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "site-packages" not in f.filename]
    own = [f for f in frames if ours not in Path(f.filename).parents and "importlib" not in f.filename]
    where = ""
    if own and not isinstance(error, SyntaxError):  # whose own text has the line
        where = f" ({Path(own[-1].filename).name}, line {own[-1].lineno}: {own[-1].line})"
    said = str(error) if isinstance(error, ValueError | TypeError) and not own else f"{type(error).__name__}: {error}"
    return said + where
