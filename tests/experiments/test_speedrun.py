"""The time to an accuracy: what is trained, what it is tested on, and what is said of it. No times."""

import dataclasses

import numpy as np
import pytest

from experiments.commands import speedrun
from experiments.commands.speedrun import RECIPES, Run, SpeedRecipe, recipe_for
from experiments.data import Images


@pytest.fixture(scope="module")
def images():
    """Ten patterns under noise."""
    rng = np.random.default_rng(0)
    patterns = rng.integers(0, 200, (10, 784))

    def draw(n):
        y = rng.integers(0, 10, n)
        return np.clip(patterns[y] + rng.normal(0, 40, (n, 784)), 0, 255).astype(np.uint8), y

    return Images(*draw(3000), *draw(500))


SMALL = SpeedRecipe(90.0, (32, 16), epochs=2, batch_size=64, shift=1)


def test_both_twins_train_the_same(images, monkeypatch):
    monkeypatch.setattr(speedrun, "HELD_OUT", 500)
    hits = [speedrun.train(SMALL, images, 3, impl, "cpu", "float32") for impl in ("scratch", "torch")]
    assert abs(hits[0] - hits[1]) <= 2
    assert hits[0] >= 450


def test_runs_differ_by_their_seed_alone(images):
    def accuracies():
        return [r.accuracy for r in speedrun.speedrun(SMALL, images, 3, "scratch", "cpu", "float32", validate=False)]

    first = accuracies()
    assert first == accuracies()
    runs = list(speedrun.speedrun(SMALL, images, 2, "scratch", "cpu", "float32", validate=False))
    assert [run.seed for run in runs] == [0, 1]
    assert [run.accuracy for run in runs] == first[:2]


def test_a_recipe_is_chosen_without_the_test_images(images, monkeypatch):
    monkeypatch.setattr(speedrun, "HELD_OUT", 500)
    spoiled = dataclasses.replace(images, test_x=np.zeros_like(images.test_x), test_y=np.full(500, -1))
    (run,) = speedrun.speedrun(SMALL, spoiled, 1, "scratch", "cpu", "float32", validate=True)
    assert run.accuracy >= 90
    part = speedrun.held_out(images, seed=4)
    assert (len(part.train_x), len(part.test_x)) == (2500, 500)
    rows = {row.tobytes() for row in part.train_x}
    assert not any(row.tobytes() in rows for row in part.test_x)


def test_bytes_are_scaled_by_the_training_images(images):
    x, test_x = speedrun.standardised(images.train_x, images.test_x)
    assert x.dtype == test_x.dtype == np.float32
    assert abs(x.mean()) < 1e-3
    assert abs(x.std() - 1) < 1e-3
    mean, std = images.train_x.mean(), images.train_x.std()
    np.testing.assert_allclose(test_x, (images.test_x - mean) / std, rtol=0, atol=1e-4)


def test_a_target_takes_the_shortest_recipe_that_exceeds_it():
    assert recipe_for(97.0) is recipe_for(98.0) is RECIPES[0]
    assert recipe_for(98.2) is RECIPES[1]
    with pytest.raises(ValueError, match=r"target is 99.9, expected at most 98.5 %"):
        recipe_for(99.9)


def test_the_summary():
    runs = [Run(0, 1.0, 98.1), Run(1, 2.0, 97.9), Run(2, 3.0, 98.0)]
    found = speedrun.summary(runs, 98.0)
    assert found == pytest.approx(
        {"seconds": 2.0, "seconds_sd": 1.0, "accuracy": 98.0, "accuracy_sd": 0.1, "reached": 2 / 3}
    )
    assert speedrun.summary(runs[:1], 98.0)["seconds_sd"] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "99.9"], "target is 99.9, expected at most"),
        (["--runs", "0"], "runs is 0, expected at least 1"),
        (["--device", "cuda:99"], "device is 'cuda:99'"),
        (["--precision", "bf16"], "precision is 'bf16' with float32 on cpu, expected 'float32'"),
        (["--data-dir", "nowhere/at/all"], "MNIST could not be downloaded"),
    ],
)
def test_bad_input_is_named(arguments, message, tmp_path, monkeypatch, capsys):
    from experiments.__main__ import main

    monkeypatch.chdir(tmp_path)
    assert main(["speedrun", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.mnist
def test_the_command_says_what_it_timed(capsys, monkeypatch):
    from experiments.__main__ import main

    monkeypatch.setattr(speedrun, "RECIPES", (SpeedRecipe(98.0, (16,), epochs=1, batch_size=1024),))
    assert main(["speedrun", "--runs", "1"]) == 0
    printed = capsys.readouterr().out
    assert "of the 10,000 test images" in printed
    assert "of 1 runs reached 98 %" in printed
    assert "Timed: from the images' bytes in memory" in printed
