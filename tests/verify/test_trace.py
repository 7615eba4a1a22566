"""What the tracer goes through: NumPy as people write it, at the numbers that are there.

It stands on parts of torch that are not promised (see trace/recording.py); these tests run against the newest torch.
"""

import copy
import math

import numpy as np
import pytest
import torch
from scipy.special import erf, expit
from torch.nn import functional as F

from torch_impl.verify.tolerances import STEP
from torch_impl.verify.trace.arrays import trace
from torch_impl.verify.trace.isolation import isolated
from torch_impl.verify.trace.recording import TraceError, record
from torch_impl.verify.trace.tape import aten, line, packet_of

RNG = np.random.default_rng(3)
X, W, B = RNG.standard_normal((7, 5)), RNG.standard_normal((5, 3)), RNG.standard_normal(3)
IMAGES, KERNELS = RNG.standard_normal((2, 3, 5, 6)), RNG.standard_normal((4, 3, 3, 2))
FORWARDS = {}


def forward(**inputs):
    """Register the decorated function, to be traced at these inputs."""

    def register(function):
        FORWARDS[function.__name__] = (function, inputs)
        return function

    return register


@forward(x=X, w=W, b=B)
def affine(x, w, b):
    return x @ w + b


@forward(x=X[0], w=W)
def one_dimensional(x, w):
    return x @ w


@forward(x=X)
def a_masked_product_in_place(x):
    out = x.copy()
    out[x < 0] *= 0.1
    return out


@forward(x=X, w=W)
def three_loops_into_zeros(x, w):
    out = np.zeros((len(x), w.shape[1]))
    for i in range(len(x)):
        for j in range(w.shape[1]):
            for k in range(x.shape[1]):
                out[i, j] += x[i, k] * w[k, j]
    return out


@forward(x=X, w=W)
def a_view_of_an_empty_array(x, w):
    out = np.empty((len(x), w.shape[1]))
    for i in range(len(x)):
        row = out[i]
        row[:] = x[i] @ w
    return out


@forward(x=IMAGES, w=KERNELS)
def a_naive_convolution(x, w):
    x = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), "constant")
    n, _, rows, columns = x.shape
    out = np.zeros((n, len(w), rows - 2, columns - 1))
    for i, j, a, b in np.ndindex(out.shape):
        out[i, j, a, b] = np.sum(x[i, :, a : a + 3, b : b + 2] * w[j])
    return out


@forward(x=IMAGES)
def padding_in_other_forms(x):
    p = np.pad(x, ((0,), (0,), (2,), (1,)))
    return np.pad(array=p, pad_width=1, mode="constant", constant_values=2.0) ** 2


@forward(x=X)
def columns_and_rows_put_together(x):
    return np.c_[np.ones(len(x)), x].sum(axis=1) ** 2 + np.r_[x[0], x[1]][:7] ** 2


@forward(x=X)
def lists_and_arrays_of_them(x):
    rows = [row.sum() for row in x]
    return np.array(rows) * np.stack([np.asarray(x)[:, 0], np.ascontiguousarray(x)[:, 1]]).max(axis=0)


@forward(x=X)
def numbers_that_are_only_asserted_on(x):
    assert float(np.abs(x).sum()) > 0
    assert isinstance(x, np.ndarray)
    return x * 2 if x.mean() > -10 else x


@forward(x=X)
def a_value_made_a_float(x):
    return float(np.squeeze(np.sum(x**2)))


@forward(x=X)
def a_value_by_item(x):
    return (x**2).sum().item()


@forward(x=X)
def a_branch_for_each_element(x):
    return np.array([[max(0, v) * v if v > 0 else -v for v in row] for row in x])


@forward(x=X)
def cross_entropy_with_one_hot_rows(x):
    p = np.exp(x - x.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    hot = np.zeros_like(p)
    hot[np.arange(7), np.arange(7) % 5] = 1
    return -np.nansum(hot * np.log(p)) / len(x) - np.log(p[range(7), np.arange(7) % 5]).mean()


@forward(x=X)
def out_arguments(x):
    y = np.empty_like(x)
    np.multiply(x, 2, out=y)
    np.maximum(y, 0, out=y)
    return np.divide(y, 1 + y, out=np.zeros_like(y), where=y > 0.1)


@forward(x=X)
def scattered_additions(x):
    table = np.zeros((3, 5))
    np.add.at(table, np.array([0, 1, 0, 2, 1, 1, 0]), x)
    return table**2


@forward(x=X)
def the_largest_by_index(x):
    return x[np.arange(len(x)), x.argmax(axis=1)] * x.max(axis=1)


@forward(x=X)
def draws_of_the_global_generator_and_of_ones_own(x):
    np.random.seed(0)  # noqa: NPY002
    mask = (np.random.rand(*x.shape) < 0.5) / 0.5  # noqa: NPY002
    return x * mask + np.random.default_rng(0).standard_normal(x.shape)


@forward(x=X)
def functions_of_scipy(x):
    return 0.5 * x * (1 + erf(x / math.sqrt(2))) + expit(x)


@forward(x=X)
def windows(x):
    return np.lib.stride_tricks.sliding_window_view(x, (2, 3)).sum(axis=(-1, -2)) ** 2


@forward(x=X)
def deep_copies(x):
    y = copy.deepcopy(x)
    y[0] = 3.0
    return y * x


@forward(x=X)
def statistics(x):
    return (x - x.mean(axis=0)) / np.sqrt(np.var(x, axis=0) + 1e-5) + np.std(x, axis=1, keepdims=True)


@pytest.mark.parametrize("name", FORWARDS)
def test_a_forward_is_traced_with_its_numbers_and_its_slopes(name):
    function, inputs = FORWARDS[name]

    def value(**moved):
        with isolated(0):
            return np.asarray(function(**{n: a.copy() for n, a in moved.items()}), np.float64)

    with isolated(0):
        tape = trace(lambda given: (function(**given),), {n: a.copy() for n, a in inputs.items()})
    out = value(**inputs)
    np.testing.assert_allclose(tape.values[tape.outputs[0]].numpy(), out, rtol=1e-12, atol=1e-12)
    upstream = np.random.default_rng(1).standard_normal(out.shape)
    seeds = [torch.from_numpy(np.asarray(upstream))]
    gradients, arrived = tape.gradients(seeds), tape.backward(seeds)
    for argument, array in inputs.items():
        direction = np.random.default_rng(2).standard_normal(array.shape)
        ahead, behind = (value(**inputs | {argument: array + h * direction}) for h in (STEP, -STEP))
        slope = float((upstream * (ahead - behind)).sum() / (2 * STEP))
        assert float((gradients[argument].numpy() * direction).sum()) == pytest.approx(slope, rel=1e-6, abs=1e-8)
        np.testing.assert_allclose(arrived[tape.leaves[argument]].numpy(), gradients[argument].numpy(), atol=1e-10)


def test_what_is_computed_with_a_python_number_is_said_to_have_left_the_tape():
    assert not trace(lambda i: (i["x"] * 2,), {"x": X}).read_elsewhere
    assert trace(lambda i: (i["x"] * float(i["x"].sum()),), {"x": X}).read_elsewhere
    with pytest.raises(TraceError, match="an output of the forward is a float that no array was traced to"):
        trace(lambda i: (float(i["x"].sum()) + 1.0,), {"x": X})


def test_what_cannot_be_traced_is_named():
    with pytest.raises(TraceError, match="numpy.partition is not traced"):
        trace(lambda i: (np.partition(i["x"], 2),), {"x": X})


def test_a_node_knows_the_users_line():
    tape = trace(lambda i: (np.tanh(i["x"]),), {"x": X})
    assert "test_trace.py, line" in line(tape.outputs[0])
    assert "np.tanh(i[" in line(tape.outputs[0])


def test_a_module_is_taken_apart_and_what_it_writes_to_itself_is_no_part_of_it():
    norm = torch.nn.BatchNorm1d(5).double().train()
    tape = record(lambda _, t: [F.linear(norm(t["x"]), t["w"].T, t["b"])], {"x": X, "w": W, "b": B})
    packets = {packet_of(node) for node in tape.nodes}
    assert {aten.mm, aten.var_mean} <= packets
    assert packets.isdisjoint({aten.addmm, aten.native_batch_norm, aten._native_batch_norm_legit_functional})
    upstream = torch.from_numpy(np.random.default_rng(1).standard_normal((7, 3)))
    x = torch.from_numpy(X).requires_grad_()
    (F.linear(norm(x), torch.from_numpy(W).T, torch.from_numpy(B)) * upstream).sum().backward()
    torch.testing.assert_close(tape.gradients([upstream])["x"], x.grad, rtol=1e-10, atol=1e-12)


def test_another_function_at_a_node():
    tape = trace(lambda i: (np.exp(i["x"]) * 2,), {"x": X})
    (node,) = [n for n in tape.nodes if packet_of(n) is aten.exp]
    assert torch.equal(tape.with_targets({node: torch.sin}).values[tape.outputs[0]], torch.sin(torch.from_numpy(X)) * 2)
