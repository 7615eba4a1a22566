"""Every gradient of every course equals central differences of its forward."""

import ast
import inspect
import textwrap

import numpy as np
import pytest

from tests.verify.courses import CACHES, COURSES, Course

STEP = 1e-5
TOLERANCE = 1e-6


def outputs(course: Course, inputs: dict) -> tuple:
    """What forward computes, as a tuple of arrays, without its cache or gradients."""
    result = course.forward(**inputs)
    if course.backward is None:
        return (result[0],)
    if not isinstance(result, tuple):
        return (result,)
    return result[:-1] if takes_cache(course) else result


def takes_cache(course: Course) -> bool:
    return any(name in CACHES for name in inspect.signature(course.backward).parameters)


def gradients(course: Course, inputs: dict, upstream: list) -> dict:
    """The gradients that the course computes, by the names of the inputs."""
    result = course.forward(**inputs)
    if course.backward is None:
        found = result[1]
    else:
        grads = iter(upstream)
        arguments = {}
        for name in inspect.signature(course.backward).parameters:
            if name in inputs:
                arguments[name] = inputs[name]
            elif name in CACHES:
                arguments[name] = result[-1]
            else:
                arguments[name] = next(grads)
        found = course.backward(**arguments)
        assert not list(grads) or not takes_upstream(course, inputs), "backward takes too few upstream gradients"
    if isinstance(course.wrt, dict):
        assert set(found) == set(course.wrt)
        return {name: found[key] for key, name in course.wrt.items()}
    found = found if isinstance(found, (tuple, list)) else (found,)
    return dict(zip(course.wrt, found, strict=True))


def takes_upstream(course: Course, inputs: dict) -> bool:
    if course.backward is None:
        return False
    return any(name not in CACHES and name not in inputs for name in inspect.signature(course.backward).parameters)


def numerical(course: Course, inputs: dict, name: str, upstream: list) -> np.ndarray:
    """Central differences of Σ upstream · output for each element of one input."""
    grad = np.zeros_like(inputs[name])
    for index in np.ndindex(grad.shape):
        sides = []
        for step in (STEP, -STEP):
            moved = {key: value.copy() for key, value in inputs.items()}
            moved[name][index] += step
            sides.append(sum(np.sum(g * y) for g, y in zip(upstream, outputs(course, moved), strict=True)))
        grad[index] = (sides[0] - sides[1]) / (2 * STEP)
    return grad


@pytest.mark.parametrize("course", COURSES, ids=lambda course: course.name)
def test_gradients_match_central_differences(course):
    rng = np.random.default_rng(7)
    inputs = course.inputs()
    values = outputs(course, inputs)
    upstream = [rng.standard_normal(np.shape(value)) for value in values]
    if not takes_upstream(course, inputs):
        assert len(values) == 1
        assert np.ndim(values[0]) == 0
        upstream = [1.0]
    given = {key: value.copy() for key, value in inputs.items()}
    taken = [np.copy(g) for g in upstream]
    found = gradients(course, given, taken)
    for name, value in inputs.items():
        np.testing.assert_array_equal(given[name], value, err_msg=f"{name} was changed in place")
    for before, after in zip(upstream, taken, strict=True):
        np.testing.assert_array_equal(after, before, err_msg="an upstream gradient was changed in place")
    for name, grad in found.items():
        expected = numerical(course, inputs, name, upstream)
        assert np.shape(grad) == expected.shape, f"{name}: {np.shape(grad)} is not {expected.shape}"
        error = np.abs(grad - expected).max() / max(np.abs(expected).max(), 1e-3)
        assert error < TOLERANCE, f"{name}: the largest relative difference is {error:.1e}"
        assert np.abs(expected).max() > 1e-4, f"{name}: the gradient is zero, so nothing was tested"


@pytest.mark.parametrize("course", COURSES, ids=lambda course: course.name)
def test_inputs_are_small_and_fresh_and_their_gradients_are_named(course):
    inputs, again = course.inputs(), course.inputs()
    assert list(inputs) == [name for name in inspect.signature(course.forward).parameters if name in inputs]
    for name, value in inputs.items():
        assert isinstance(value, np.ndarray)
        assert value.size <= 60
        assert value is not again[name]
        np.testing.assert_array_equal(value, again[name])
    names = list(course.wrt.values()) if isinstance(course.wrt, dict) else list(course.wrt)
    assert names
    assert all(inputs[name].dtype == np.float64 for name in names)


def statements(function) -> int:
    """How many statements a function has, without its docstring."""
    body = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    return (
        sum(
            isinstance(node, ast.stmt) and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
            for node in ast.walk(body)
        )
        - 1
    )


def test_the_corpus_is_large_and_its_names_are_unique():
    names = [course.name for course in COURSES]
    assert len(names) == len(set(names))
    assert len(names) >= 70
    assert sum(statements(c.backward) for c in COURSES if c.backward) >= 3 * sum(
        c.backward is not None for c in COURSES
    )
