"""What a file of yours holds is verified: python -m experiments verify FILE.py."""

import inspect
import re
import time
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from experiments.verifiable.classes import NothingToVerifyError
from experiments.verifiable.discovery import Found, Kind, found_in, label
from experiments.verifiable.functions import (
    verify_derivative,
    verify_gradient,
    verify_loss,
    verify_pair,
    verify_three,
)
from experiments.verifiable.inputs import Inputs
from experiments.verifiable.isolation import (
    Interrupts,
    as_program,
    load,
    noted_interrupts,
    package_root,
    settings_kept,
)
from experiments.verifiable.objects import verify_class, verify_instance, way_of
from scratch import checks
from torch_impl import verify
from torch_impl.verify import Report, could_not_be_checked


def verify_file(target: str, shapes: list[str], seed: int = 0, roles: Mapping[str, list[str]] | None = None) -> Report:
    """What ``FILE.py`` holds, or one of it: ``FILE.py:NAME``.

    The file runs in this process, with everything that it may do here; what it changes is put back.

    Args:
        target: FILE.py or FILE.py:NAME
        shapes: arrays of these shapes as inputs: NAME=7x5, or NAME=7:3 for classes
        seed: of everything random
        roles: which inputs are "targets", "constant" or "probabilities": see verify_function

    Raises
        ValueError: no such file or name, or nothing to verify in it; a shape that is none
        KeyboardInterrupt: Ctrl-C; one that the file raises itself is reported
        Stopped: Ctrl-C, after some of it was verified
    """
    file, wanted = file_and_name(target)
    given, roles = arrays(shapes, np.random.default_rng(seed)), roles or {}
    with noted_interrupts() as interrupts, as_program(file):
        return _verified(file, wanted, given, seed, roles, interrupts)


def file_and_name(target: str) -> tuple[Path, str]:
    """The file of ``FILE.py`` or ``FILE.py:NAME``, and the name, which may be "".

    Raises
        ValueError: no such file
    """
    path, _, wanted = target.partition(".py:")
    file = Path(path + ".py" if wanted else target)
    if file.suffix != ".py" or not file.is_file():
        example = "such as layers.py or layers.py:affine"
        raise ValueError(f"target is {target!r}, expected a Python file that exists, {example}")
    return file, wanted


class Stopped(KeyboardInterrupt):
    """Ctrl-C, with the report of what was verified before it."""

    def __init__(self, report: Report) -> None:
        super().__init__()
        self.report = report


def _verified(
    file: Path, wanted: str, given: dict[str, Any], seed: int, roles: Mapping[str, list[str]], interrupts: Interrupts
) -> Report:
    start = time.perf_counter()
    tried = partial(_tried, file=file, seed=seed, interrupts=interrupts)
    module, problem = tried(lambda: load(file))
    if problem:
        return could_not_be_checked(file.name, f"importing {file.name} raised {problem}")
    inputs = Inputs(module, given, seed, roles)
    found, problem = tried(lambda: verifiable_in(module))
    if problem:
        return could_not_be_checked(file.name, problem)
    if not found:
        raise ValueError(_nothing(file))
    names = dict.fromkeys(sorted(argument_names(found)))
    for option, asked in {"shapes": given, **roles}.items():
        for name in asked:
            checks.choice(f"the name in {option}", name, names)
    title = f"{file.name}{':' + wanted if wanted else ''}"
    reports: list[Report] = []
    for one in _asked(found, wanted):
        try:
            report, problem = tried(partial(WAYS[one.kind], one, inputs))
        except KeyboardInterrupt as error:
            if not reports:
                raise
            missing = could_not_be_checked(one.name, "Ctrl-C was pressed before it was verified")
            raise Stopped(verify.merged(title, [*reports, missing], seconds=time.perf_counter() - start)) from error
        if problem and not (report is SKIPPED and not wanted):
            report = could_not_be_checked(one.name, problem)
        if isinstance(report, Report):
            reports.append(report)
    if not reports:
        raise ValueError(_nothing(file))
    return verify.merged(title, reports, seconds=time.perf_counter() - start)


WAYS: dict[Kind, Callable[[Found, Inputs], Report | None]] = {
    "pair": verify_pair, "derivative": verify_derivative, "gradient": verify_gradient, "loss": verify_loss,
    "network": verify_three, "class": verify_class, "instance": verify_instance,
}  # fmt: skip
SKIPPED = object()


def verifiable_in(module: ModuleType) -> list[Found]:
    """What the module holds; instances of nothing that is known are left out."""
    return [one for one in found_in(module) if one.kind != "instance" or way_of(one.parts[0], module.__name__)]


def argument_names(found: list[Found]) -> set[str]:
    """What the inputs are called."""
    forwards = [f for one in found for f in (one.functions[:1] if one.kind != "network" else one.functions[::2])]
    return {"x", "y", "logits"}.union(*(inspect.signature(f).parameters for f in forwards))


def _tried(work: Callable[[], Any], *, file: Path, seed: int, interrupts: Interrupts) -> tuple[Any, str]:
    """What ``work`` returns, or what the file raised in it, in a sentence; whatever it raises ends nothing.

    Raises
        KeyboardInterrupt: Ctrl-C was pressed
    """
    try:
        with settings_kept(seed):
            found: tuple[Any, str] = work(), ""
    except NothingToVerifyError as error:
        found = SKIPPED, str(error)
    except BaseException as error:  # a file that raises SystemExit must not choose the exit status
        found = None, place(error, file)
    interrupts.raise_if_arrived()
    return found


def _asked(found: list[Found], wanted: str) -> list[Found]:
    """What to verify: what is called ``wanted``; else everything, but for classes that have an instance there."""
    if wanted:
        by_name = {one.name: one for one in found}
        functions = {f.__name__: one for one in found for f in one.functions}
        if wanted not in by_name and wanted in functions:
            return [functions[wanted]]
        return [checks.choice("NAME", wanted if wanted in by_name else label(wanted), by_name)]
    constructed = {type(part) for one in found if one.kind == "instance" for part in one.parts}
    return [one for one in found if not (one.kind == "class" and one.parts[0] in constructed)]


def _nothing(file: Path) -> str:
    return (
        f"{file} holds nothing to verify; expected functions NAME_forward and NAME_backward, f and f_derivative, "
        "losses that return a value and its gradient, classes with forward and backward, or module-level instances of "
        "such classes, of layers, losses, networks, optimizers or torch_impl.verify.Model"
    )


def arrays(shapes: list[str], rng: np.random.Generator) -> dict[str, Any]:
    """Arrays from NAME=7x5 (floats) and NAME=7:3 (7 classes out of 3).

    Raises
        ValueError: something else
    """
    found: dict[str, Any] = {}
    for text in shapes:
        match = re.fullmatch(r"(\w+)=(\d+(?:x\d+)*)(?::(\d+))?", text)
        if match is None:
            raise ValueError(f"shapes holds {text!r}, expected NAME=7x5 for floats or NAME=7:3 for classes 0, 1, 2")
        name, sizes, classes = match.groups()
        shape = tuple(int(n) for n in sizes.split("x"))
        if 0 in shape or classes == "0":
            raise ValueError(f"shapes holds {text!r}, expected lengths of at least 1")
        found[name] = rng.integers(0, int(classes), shape) if classes else rng.standard_normal(shape)
    return found


OURS = tuple(Path(__file__).parents[2] / name for name in ("experiments", "scratch", "torch_impl"))


def place(error: BaseException, file: Path) -> str:
    """An exception in a sentence, with the last line of the user's code in it."""
    folder = package_root(file)[0]

    def is_theirs(name: str) -> bool:
        path = Path(name).resolve()
        return folder in path.parents and "site-packages" not in name and not any(o in path.parents for o in OURS)

    own = [frame for frame in traceback.extract_tb(error.__traceback__) if is_theirs(frame.filename)]
    where = ""
    if own and not isinstance(error, SyntaxError):  # whose own text has the line
        where = f" ({Path(own[-1].filename).name}, line {own[-1].lineno}: {own[-1].line})"
    said = str(error) if isinstance(error, ValueError | TypeError) and not own else f"{type(error).__name__}: {error}"
    return said + where
