"""Trainings beside each other in one process stay what they are alone. Many more of them: tests/faults/threads.py."""

import logging
import threading
import warnings
from dataclasses import replace
from itertools import combinations_with_replacement

import numpy as np
import pytest
import torch

import scratch
import torch_impl
from scratch import Adam, State
from tests.faults import threads
from tests.faults.threads import KINDS, Training, in_threads, interleaved, of_the_process, run
from tests.torch_impl.trainings import NETWORK, NORMED, data, initial, recipe
from torch_impl import TwinState
from torch_impl.device import computing
from torch_impl.lit import loader
from torch_impl.lit_shared import QUIET

EVERY = [Training(kind, NETWORK, recipe(optimizer=Adam(0.02)), "float32") for kind in KINDS]


@pytest.mark.parametrize("beside", [interleaved, in_threads])
@pytest.mark.parametrize("kinds", list(combinations_with_replacement(KINDS, 2)), ids=" and ".join)
def test_two_trainings_have_the_weights_that_each_has_alone(kinds, beside):
    pair = [Training(kinds[0], NETWORK, recipe(), "float32"), Training(kinds[1], NORMED, recipe(seed=3), "float64")]
    assert threads.problem(beside, pair, [run(training) for training in pair]) is None


@pytest.mark.cuda
@pytest.mark.parametrize("beside", [interleaved, in_threads])
@pytest.mark.parametrize("kinds", list(combinations_with_replacement(KINDS, 2)), ids=" and ".join)
def test_two_trainings_on_a_gpu_have_the_weights_that_each_has_alone(kinds, beside):
    if "scratch" in kinds:
        pytest.importorskip("cupy")
    pair = [
        Training(kinds[0], NETWORK, recipe(optimizer=Adam(0.02)), "float32", "cuda"),
        Training(kinds[1], NORMED, recipe(optimizer=Adam(0.02), seed=3), "float32", "cuda"),
    ]
    assert threads.problem(beside, pair, [run(training) for training in pair]) is None


@pytest.mark.parametrize("training", EVERY, ids=KINDS)
def test_a_training_neither_draws_from_global_generators_nor_seeds_them(training, monkeypatch):
    for owner, name in [(torch, "manual_seed"), (torch, "set_default_dtype"), (torch, "set_num_threads")]:
        monkeypatch.setattr(owner, name, lambda *_, name=name: pytest.fail(f"{name} is of the whole process"))
    seen = []
    before = of_the_process()
    run(training, lambda: seen.append(torch.get_rng_state()))
    assert of_the_process() == before
    assert all(torch.equal(state, seen[0]) for state in seen)


@pytest.mark.parametrize("training", EVERY, ids=KINDS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_default_dtype_of_torch_changes_nothing(training, dtype):
    training = replace(training, dtype=dtype)
    expected = run(training)
    torch.set_default_dtype(torch.float64)
    try:
        np.testing.assert_array_equal(run(training), expected)
    finally:
        torch.set_default_dtype(torch.float32)


def test_nor_the_dtype_in_which_an_optimizer_that_takes_over_counts():
    r = recipe(optimizer=Adam(0.02))
    begun = State.start(initial("float32"), r)
    next(scratch.fit(NETWORK, r, *data("float32")[:2], begun))
    torch.set_default_dtype(torch.float64)
    try:
        optimizer = TwinState.start(NETWORK, r, begun).optimizer
    finally:
        torch.set_default_dtype(torch.float32)
    assert {state["step"].dtype for state in optimizer.state.values()} == {torch.float32}


def test_the_loader_of_lightnings_users_leaves_torchs_generator_alone():
    before = torch.get_rng_state()
    x, y, _ = data()
    assert len(list(loader(recipe(), x, y))) == 3
    assert torch.equal(torch.get_rng_state(), before)


def test_a_captured_training_that_is_taken_over_at_an_epochs_start_goes_on_as_it_was():
    r, (x, y, validation), ends = recipe(), data(), []
    for pause in (0, 2):
        state = TwinState.start(NETWORK, r, State.start(initial(), r))
        records = torch_impl.fit(NETWORK, r, x, y, state, validation, capture=True)
        for _ in range(pause):
            next(records)
        if pause:
            state = TwinState.start(NETWORK, r, state.to_scratch(r))
            records = torch_impl.fit(NETWORK, r, x, y, state, validation, capture=True)
        for _ in records:
            pass
        ends.append(state.to_scratch(r).params.vector)
    np.testing.assert_array_equal(*ends)


def test_lightning_is_quiet_until_the_last_of_two_trainings_has_ended():
    logger, before = logging.getLogger("lightning.pytorch"), of_the_process()
    with QUIET:
        hushed = of_the_process()
        QUIET.__enter__()
    assert of_the_process() == hushed
    assert logger.level == logging.ERROR
    with warnings.catch_warnings(record=True) as seen:
        warnings.warn("The loader does not have many workers", stacklevel=1)
    assert not seen
    QUIET.__exit__()
    assert of_the_process() == before


def test_on_a_gpu_threads_compute_by_turns():
    gpu, inside, done = torch.device("cuda"), threading.Event(), threading.Event()
    seen = []

    def other():
        inside.wait()
        with computing(gpu):
            seen.append((done.is_set(), torch.get_float32_matmul_precision()))

    before = torch.get_float32_matmul_precision()
    thread = threading.Thread(target=other)
    thread.start()
    with computing(gpu, "tf32"), computing(gpu):  # one thread may do so twice
        inside.set()
        thread.join(0.05)
        assert torch.get_float32_matmul_precision() == "high"
        done.set()
    thread.join()
    assert seen == [(True, before)]
