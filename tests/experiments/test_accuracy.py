"""The default configs reach what the README says, with either twin."""

import statistics

import numpy as np
import pytest

import scratch
import torch_impl
from experiments.experiment import Experiment
from experiments.tasks import MNIST, XOR, Circles, Digits, Moons


def trained(config):
    """The test accuracies of scratch and torch."""
    experiment = Experiment.of(config)
    x, y, validation = experiment.training_data
    state = scratch.State.start(experiment.initial, experiment.recipe)
    twin = torch_impl.TwinState.start(experiment.network, experiment.recipe, state)
    for _ in scratch.fit(experiment.network, experiment.recipe, x, y, state, validation):
        pass
    for _ in torch_impl.fit(experiment.network, experiment.recipe, x, y, twin, validation):
        pass
    ends = {"scratch": state.params, "torch": torch_impl.parameters_of(twin.module)}
    return [experiment.trained(impl, params, []).test_accuracy for impl, params in ends.items()]


def test_xor_is_solved_from_every_one_of_twenty_seeds():
    assert [trained(XOR(seed=seed)) for seed in range(20)] == [[1.0, 1.0]] * 20


@pytest.mark.parametrize(("task", "least"), [(Moons, 0.96), (Circles, 0.98), (Digits, 0.975)])
def test_median_test_accuracy_of_five_seeds(task, least):
    by_scratch, by_torch = zip(*(trained(task(seed=seed)) for seed in range(5)), strict=True)
    assert statistics.median(by_scratch) >= least, by_scratch
    assert statistics.median(by_torch) >= least, by_torch


@pytest.mark.mnist
def test_mnist_is_learned_in_two_epochs():
    """The figure of the full training is in docs/results.md; this one is what a minute allows."""
    experiment = Experiment.of(MNIST(epochs=2))
    x, y, _ = experiment.training_data
    state = scratch.State.start(experiment.initial, experiment.recipe)
    assert all(np.isfinite(record.loss) for record in scratch.fit(experiment.network, experiment.recipe, x, y, state))
    assert experiment.trained("scratch", state.params, []).test_accuracy >= 0.97
