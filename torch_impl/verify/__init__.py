"""Anyone's hand-written backward beside autograd: what is wrong with it, and where it began."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from scratch import checks
from scratch.layers import Layer
from torch_impl.verify.catalogue import CATALOGUE, Mistake
from torch_impl.verify.check import verify_unit
from torch_impl.verify.report import Finding, Report, Section, TensorCheck, WrongGradientError
from torch_impl.verify.unit import Model, UserCodeError, function_unit, layer_unit

if TYPE_CHECKING:
    import dataclasses
    from collections.abc import Callable, Sequence


def verify_function(forward, backward, *, reference=None, seed=0, **inputs):
    start = time.perf_counter()
    unit = function_unit(forward, backward, inputs, reference)
    ordered = {n: inputs[n] for n in inputs}
    from torch_impl.verify.unit import _in_order
    return _timed(verify_unit(unit, _in_order(forward, inputs), seed), start)


def verify_layer(layer, x_shape, *, reference=None, seed=0, dtype="float64"):
    start = time.perf_counter()
    rng = np.random.default_rng(seed)
    inputs = {"x": rng.standard_normal(x_shape).astype(dtype) * 2}
    inputs |= {n: rng.standard_normal(s).astype(dtype) for n, s in layer.shapes().items()}
    if getattr(layer, "stochastic", False):
        inputs["rng"] = np.random.default_rng(seed)
    return _timed(verify_unit(layer_unit(layer, inputs, reference), inputs, seed), start)


def _timed(report, start):
    import dataclasses
    return dataclasses.replace(report, seconds=time.perf_counter() - start)
