"""Code as people publish it: right code is right, and wrong code is found; the scripts beside print whole tables."""

import numpy as np
import pytest

from tests.verify.found.cases import normal
from tests.verify.published import mutants
from tests.verify.published.__main__ import load
from tests.verify.published.cases import CASES
from tests.verify.published.judging import report_of
from torch_impl.verify import verify_function

load()
# What takes long is left to `python -m tests.verify.published`.
SLOW = ("file: ",)
QUICK = [case for case in CASES if not case.name.startswith(SLOW)]
FILES = [case for case in CASES if case.kind == "file"]


@pytest.mark.parametrize("case", [*QUICK[::7], *FILES[::6]], ids=lambda case: f"{case.kind}: {case.name}")
def test_right_code_is_right(case):
    report = report_of(case)
    assert report.ok, str(report)
    assert [f.mistake for f in report.findings if f.verdict == "wrong"] == []


@pytest.mark.parametrize("seed", range(5))
def test_mutants_are_found(seed):
    # A few here, more in `python -m tests.verify.published.mutants`.
    results = list(mutants.mutants(5, seed))
    assert [str(r) for r in results if r.status in ("MISSED", "CRASH")] == []
    assert [r for r in results if r.status == "wrong"] != []


# --- what the mutants found: where a guess would make a wrong gradient right ------------------------------------------


def test_a_gradient_with_the_wrong_sign_is_not_taken_for_that_of_the_targets():
    def mse(y_true, y_pred):
        return np.mean((y_pred - y_true) ** 2)

    def gradient(y_true, y_pred):
        return 2 * (y_true - y_pred) / y_pred.size

    report = verify_function(mse, gradient, {"y_true": normal(5), "y_pred": normal(5, seed=1)})
    assert [f.mistake for f in report.findings] == ["wrong-sign"]


def test_gradients_of_one_shape_are_taken_in_the_order_of_the_inputs():
    inputs = {name: normal(3, 4, seed=i) for i, name in enumerate("abc")}
    report = verify_function(lambda a, b, c: a * b + c, lambda dout, a, b, c: (dout * b, dout, dout * a), inputs)
    assert report.verdict == "wrong"


def test_the_gradient_of_a_bias_that_is_a_number_has_to_be_summed():
    inputs = {"x": normal(8, 3), "w": normal(3, seed=1), "b": 0.3}
    report = verify_function(
        lambda x, w, b: x @ w + b, lambda dout, x, w, b: (np.outer(dout, w), x.T @ dout, dout), inputs
    )
    assert [f.mistake for f in report.findings] == ["bias-not-summed"]


@pytest.mark.parametrize("name", ["weights", "layers"])
def test_a_weight_in_a_list_for_which_there_is_no_gradient_is_seen(name):
    def forward(x, layers):
        return np.tanh(x @ layers[0]) @ layers[1], (x, layers)

    def backward(dout, cache):
        x, layers = cache
        return [x.T @ (dout @ layers[1].T * (1 - np.tanh(x @ layers[0]) ** 2))]

    code = {"layers": forward, "weights": lambda x, weights: forward(x, weights)}
    inputs = {"x": normal(5, 4), name: [normal(4, 6, seed=1), normal(6, 2, seed=2)]}
    assert verify_function(code[name], backward, inputs).verdict == "could not be checked"


def test_lists_of_gradients_in_another_order_than_the_inputs_are_all_checked():
    def forward(x, weights, biases):
        return np.tanh(x @ weights[0] + biases[0]) @ weights[1] + biases[1], (x, weights, biases)

    def backward(dout, cache, factor=1.0):
        x, weights, biases = cache
        h = np.tanh(x @ weights[0] + biases[0])
        d = dout @ weights[1].T * (1 - h**2)
        return [d.sum(axis=0), dout.sum(axis=0)], [x.T @ d, factor * (h.T @ dout)]

    inputs = {
        "x": normal(5, 4),
        "weights": [normal(4, 6, seed=1), normal(6, 2, seed=2)],
        "biases": [normal(6, seed=3), normal(2, seed=4)],
    }
    right = verify_function(forward, backward, inputs)
    assert right.verdict == "right"
    assert len(right.sections[0].checks) == 4
    assert "taken for the gradients of biases.0, biases.1, weights.0, weights.1" in right.notes[0]
    wrong = verify_function(forward, lambda dout, cache: backward(dout, cache, 2.0), inputs)
    assert [f.mistake for f in wrong.findings] == ["constant-factor"]
