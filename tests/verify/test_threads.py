"""Verifications beside each other, and beside a training: each gives what it gives alone, and nothing stays changed."""

import random
import threading

import numpy as np

import scratch
from scratch import Adam, CrossEntropy, Dropout, Linear, Network, Recipe, ReLU, State
from torch_impl.verify import verify_function, verify_layer
from torch_impl.verify.trace.isolation import isolated

ROUNDS = 25  # in each of two threads


def dropout_forward(x, w):
    np.random.seed(3)  # noqa: NPY002
    out = np.zeros((len(x), w.shape[1]))
    mask = (np.random.rand(*out.shape) < 0.7) / 0.7  # noqa: NPY002
    for i in range(len(x)):
        out[i] = x[i] @ w
    return np.asarray(out) * mask, (x, w, mask)


def dropout_backward(dout, cache):
    x, w, mask = cache
    d = dout * mask
    return d @ w.T, x.T @ d


def wrong_backward(dout, cache):
    dx, dw = dropout_backward(dout, cache)
    return dx, -dw


def reports(backward):
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((5, 4)), rng.standard_normal((4, 3))
    pair = verify_function(dropout_forward, backward, x=x, w=w)
    layer = verify_layer(Dropout(0.4), (3, 2))
    return pair.sections, pair.findings, layer.sections


def trained():
    rng = np.random.default_rng(1)
    network = Network((Linear(4, 16), ReLU(), Dropout(0.3), Linear(16, 3)))
    recipe = Recipe(loss=CrossEntropy(), optimizer=Adam(), epochs=20, batch_size=10, seed=0)
    state = State.start(scratch.initial_parameters(network, rng), recipe)
    scratch.fit(network, recipe, rng.standard_normal((60, 4)), rng.integers(0, 3, 60), state)
    return state.params.vector


def in_threads(*jobs, rounds=ROUNDS):
    """What each job returns, all of them at the same time, over and over."""
    results = [[] for _ in jobs]

    def repeat(job, into):
        for _ in range(rounds):
            into.append(job())

    threads = [threading.Thread(target=repeat, args=pair) for pair in zip(jobs, results, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def patched():
    return {name: getattr(module, name) for module in (np, np.random, random) for name in dir(module)}


def same(a, b):
    return repr(a) == repr(b)


def test_two_verifications_at_once_say_what_each_says_alone_and_leave_nothing_behind():
    right, wrong, before = reports(dropout_backward), reports(wrong_backward), patched()
    first, second = in_threads(lambda: reports(dropout_backward), lambda: reports(wrong_backward))
    assert len(first) == len(second) == ROUNDS
    assert all(same(r, right) for r in first)
    assert all(same(r, wrong) for r in second)
    assert patched() == before


def test_two_searches_for_an_edit_find_what_each_finds_alone_and_leave_the_functions_as_they_were(searching):
    wrong, code = reports(wrong_backward), (wrong_backward.__code__, dropout_backward.__code__)
    first, second = in_threads(lambda: reports(wrong_backward), lambda: reports(dropout_backward), rounds=2)
    assert "-    return dx, -dw\n+    return dx, dw\n" in wrong[1][0].repair.diff
    assert all(same(r, wrong) for r in first)
    assert not any(found for _, found, _ in second)
    assert (wrong_backward.__code__, dropout_backward.__code__) == code
    assert not any("switch" in name or "watch" in name for name in globals())


def test_a_training_with_dropout_beside_a_verification_ends_with_the_weights_it_has_alone():
    alone, right, before = trained(), reports(dropout_backward), patched()
    weights, made = in_threads(trained, lambda: reports(dropout_backward))
    assert len(weights) == len(made) == ROUNDS
    assert all((w == alone).all() for w in weights)
    assert all(same(r, right) for r in made)
    assert patched() == before


def test_another_thread_draws_from_the_global_generator_as_if_there_were_no_verification():
    np.random.seed(0)  # noqa: NPY002
    expected = [np.random.rand() for _ in range(4)]  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    drawn, inside, leave = [], threading.Event(), threading.Event()

    def verify():
        with isolated(7):
            np.random.rand(100)  # noqa: NPY002
            inside.set()
            leave.wait(30)

    thread = threading.Thread(target=verify)
    thread.start()
    inside.wait(30)
    drawn += [np.random.rand(), np.random.rand()]  # noqa: NPY002
    leave.set()
    thread.join()
    drawn += [np.random.rand(), np.random.rand()]  # noqa: NPY002
    assert drawn == expected
