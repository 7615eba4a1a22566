"""Whether the published functions are right: central differences, and nothing of the verifier.

``python -m tests.verify.published.differences`` prints, for each case, the inputs whose differences equal nothing that
the code returns, and what the code returns that equals no differences. Targets and constants stay in the first list:
nobody returns their gradients.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import pkgutil

import numpy as np

from .cases import CASES

# How many of the results are outputs, where it is more than the first.
OUTPUTS = {"LSTM step with two outputs": 2, "LSTM cell, samples as columns, eight parameters in a dict": 2}
# Where the loss takes the last of the results.
LAST = {"forward returns Z1, A1, Z2, A2, the prediction last"}
# Where float32 inside allows no smaller step.
COARSE = {"recurrent step cast to float32 inside"}
# What the backward pass takes of the results, where their order there is another one.
TAKEN = {"XOR with two sigmoid layers, inputs and targets of ints": lambda result: [result[1], result[0]]}
STEP = 1e-6


def of_floats(value):
    return isinstance(value, list) and value != [] and all(isinstance(v, float) or of_floats(v) for v in value)


def leaves(value, path=()):
    """Each number, array or list of numbers within nested dicts, lists and tuples, with its path."""
    if of_floats(value):
        return [(path, value)]
    if isinstance(value, dict):
        return [leaf for key, item in value.items() for leaf in leaves(item, (*path, key))]
    if isinstance(value, list | tuple):
        return [leaf for key, item in enumerate(value) for leaf in leaves(item, (*path, key))]
    return [(path, value)] if isinstance(value, float | np.ndarray | np.floating) else []


def replaced(value, path, new):
    """A copy of nested containers with another leaf at the path."""
    if not path:
        return new
    items = dict(value) if isinstance(value, dict) else list(value)
    items[path[0]] = replaced(value[path[0]], path[1:], new)
    return tuple(items) if isinstance(value, tuple) else items


def in_float64(value):
    if isinstance(value, dict):
        return {key: in_float64(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(in_float64(item) for item in value)
    return value.astype(np.float64) if isinstance(value, np.ndarray) and value.dtype == np.float32 else value


def called(function, by_name, in_order):
    """The function's result, its arguments taken by name, and those without a name there in order."""
    in_order = list(in_order)
    arguments = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if name in by_name:
            arguments[name] = by_name[name]
        elif parameter.default is inspect.Parameter.empty:
            arguments[name] = in_order.pop(0)
    return function(**arguments)


def run(case, inputs):
    """The forward pass's results as a list, and the outputs among them."""
    inputs = copy.deepcopy(inputs)
    np.random.seed(0)  # noqa: NPY002 (dropout draws from it)
    result = called(case.code[0], inputs, [])
    if isinstance(result, dict) and case.code[1] is None:
        result = tuple(result.values())
    results = list(result) if isinstance(result, tuple) else [result]
    if case.code[1] is None:
        return results, [next(r for r in results if np.ndim(r) == 0 and not isinstance(r, dict))]
    if "loss" in case.options:
        loss = case.options["loss"]
        first = next(iter(inspect.signature(loss).parameters))
        others = {name: value for name, value in inputs.items() if name != first}
        return results, [called(loss, others, results[-1:] if case.name in LAST else results)]
    return results, results[: OUTPUTS.get(case.name, 1)]


def returned(case, douts):
    """What the code returns as gradients."""
    inputs = copy.deepcopy(in_float64(case.inputs))
    results, outputs = run(case, inputs)
    backward = case.code[1]
    if backward is None:
        return [r for r in results if r is not outputs[0]]
    if case.name in TAKEN:
        return called(backward, inputs, TAKEN[case.name](results))
    free = [
        name
        for name, p in inspect.signature(backward).parameters.items()
        if name not in inputs and p.default is p.empty
    ]
    if "loss" in case.options:
        return called(backward, inputs, results[-len(free) :] if free else [])
    rest = results[len(outputs) :]
    scalar = np.ndim(outputs[0]) == 0 and len(free) <= len(rest)
    return called(backward, inputs, rest if scalar else [*douts, *(rest or results)])


def numerical(case, douts, path):
    """Central differences of the outputs' sum, weighted by the upstream gradients, at one leaf."""
    inputs = in_float64(case.inputs)
    original = dict(leaves(inputs))[path]
    leaf = np.array(original, dtype=np.float64)
    gradient = np.zeros_like(leaf)
    size = 1e-2 if case.name in COARSE else STEP
    for index in np.ndindex(leaf.shape):
        values = []
        for step in (size, -size):
            moved = leaf.copy()
            moved[index] += step
            _, outputs = run(
                case, replaced(inputs, path, moved if isinstance(original, np.ndarray) else moved.tolist())
            )
            values.append(sum(np.sum(o * d) for o, d in zip(outputs, douts, strict=True)))
        gradient[index] = (values[0] - values[1]) / (2 * size)
    return gradient


def same(a, b, tolerance=1e-5):
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    return a.size == b.size and np.allclose(a.ravel(), b.ravel(), rtol=tolerance, atol=tolerance / 100)


def check_functions(case):
    """The names of inputs and of returned gradients that nothing equals."""
    _, outputs = run(case, in_float64(case.inputs))
    rng = np.random.default_rng(0)
    douts = [np.float64(1) if np.ndim(o) == 0 else rng.normal(size=np.shape(o)) for o in outputs]
    gradients = leaves(returned(case, [d.copy() for d in douts]))
    expected = [(path, numerical(case, douts, path)) for path, leaf in leaves(case.inputs) if is_float(leaf)]
    tolerance = 2e-2 if case.name in COARSE else 1e-5
    missing = [path for path, g in expected if not any(same(g, other, tolerance) for _, other in gradients)]
    surplus = [path for path, g in gradients if not any(same(g, other, tolerance) for _, other in expected)]
    shapes = [
        (path, np.shape(g), np.shape(other))
        for path, g in gradients
        for _, other in expected
        if same(g, other) and np.shape(g) != np.shape(other)
    ]
    return missing, surplus, shapes


def is_float(leaf):
    return np.issubdtype(np.asarray(leaf).dtype, np.floating)


def check_derivative(case):
    f, f_prime = case.code
    x = np.asarray(case.inputs["x"], dtype=np.float64)
    slope = (f(x + STEP) - f(x - STEP)) / (2 * STEP)
    return [] if same(slope, f_prime(x)) or same(slope, f_prime(f(x))) else ["x"]


def main():
    package = importlib.import_module(__package__)
    for module in pkgutil.iter_modules(package.__path__):
        if module.name.startswith("functions"):
            importlib.import_module(f"{__package__}.{module.name}")
    for case in CASES:
        try:
            found = check_functions(case) if case.kind == "functions" else check_derivative(case)
        except Exception as error:
            found = [repr(error)]
        if any(found):
            print(case.name, *found, sep="\n    ")
    print(len(CASES), "cases", len({case.name for case in CASES}), "names")


if __name__ == "__main__":
    main()
