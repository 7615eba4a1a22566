"""The inputs of what a file holds: from the file, from the command line, else guessed."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np

from experiments.verifiable.calls import Call, called, needed
from torch_impl.verify import Report

Function = Callable[..., Any]


@dataclass(frozen=True)
class Inputs:
    """A module to verify, and what the command line says of the inputs: arrays, and which of them are targets, …"""

    module: ModuleType
    given: dict[str, Any]
    seed: int
    roles: Mapping[str, list[str]]

    def of(self, name: str) -> dict[str, Any]:
        """The inputs: from NAME_sample_inputs or sample_inputs in the file, those of the command line over them."""
        draw = getattr(self.module, f"{name}_sample_inputs", None) or getattr(self.module, "sample_inputs", None)
        drawn = draw(np.random.default_rng(self.seed)) if draw is not None else {}
        if not isinstance(drawn, dict):
            raise ValueError(f"sample_inputs returned a {type(drawn).__name__}, expected a dict of the inputs by name")
        return drawn | self.given

    def data(self, name: str) -> dict[str, Any]:
        """x and y.

        Raises
            ValueError: one of them is not given
        """
        inputs = self.of(name)
        missing = [n for n in ("x", "y") if n not in inputs]
        if missing:
            raise ValueError(
                f"no {' and no '.join(missing)}; expected sample_inputs(rng) in the file to return x and y"
            )
        return {n: inputs[n] for n in ("x", "y")}

    def call(self, name: str, function: Function, **conditions: Function) -> Call | None:
        """A call of ``function`` with given or guessed inputs, which meet the conditions; None if none is found."""
        inputs, parameters = self.of(name), inspect.signature(function).parameters
        given = {n: v for n, v in inputs.items() if n in parameters}
        if all(n in given for n in needed(function)):
            return Call(given, {})
        return called(function, given, self.seed, **conditions)

    def certain_call(self, name: str, function: Function, **conditions: Function) -> Call:
        """The same.

        Raises
            ValueError: none is found; the text says what to give
        """
        found = self.call(name, function, **conditions)
        if found is None:
            given = self.of(name)
            missing = [n for n in needed(function) if n not in given]
            raise ValueError(
                f"no {' and no '.join(missing)} to call it with, and no guess fits; expected {name}_sample_inputs(rng) "
                "or sample_inputs(rng) in the file, returning a dict of the inputs by name, or --shapes "
                f"{' '.join(f'{n}=…' for n in missing)}, as in x=7x5"
            )
        return found


def with_note(report: Report, name: str, guessed: str, instead: str = "--shapes or sample_inputs(rng)") -> Report:
    """The report, with a note of what was guessed; without one where that is nothing."""
    if not guessed:
        return report
    note = f"{name}: {guessed}, which were guessed; give others with {instead}"
    return replace(report, notes=(*report.notes, note))
