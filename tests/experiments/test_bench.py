"""The benchmark: that all train the same network, that what is said was timed, and what bad input gets. No times."""

import json
from dataclasses import replace

import numpy as np
import pytest

from experiments import plots
from experiments.benchmark import scaling, tables
from experiments.benchmark.cases import Case, Work, random_data
from experiments.benchmark.contenders import CONTENDERS, RATE
from experiments.benchmark.timing import WARM_UP, CaseTimings, Timing, time_case
from experiments.tasks import Digits

CASE = Case("digits", (64, 32, 10), "relu", 64, 1077, 3, 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("case")
    CASE.save(Digits().load(), folder)
    return folder


def trained(folder, name, own):
    """The classes that a contender gives the test digits, and the turns that it took."""
    taken = []

    def turns():
        for turn in range(CASE.turns):
            taken.append(turn)
            yield turn

    own.mkdir()
    return CONTENDERS[name](Work(folder, own, turns())), taken


SLOW_TO_COMPILE = {"torch loop, compiled"}
OWN_ORDER = {"lightning as usual"}  # its loader shuffles


@pytest.mark.filterwarnings("ignore")  # Lightning's advice to those who use it as usual
@pytest.mark.parametrize("name", sorted(set(CONTENDERS) - {"scratch", RATE} - SLOW_TO_COMPILE))
def test_all_train_the_same_network_on_the_same_batches(folder, name, tmp_path):
    ours, _ = trained(folder, "scratch", tmp_path / "ours")
    theirs, turns = trained(folder, name, tmp_path / "theirs")
    assert turns == [0, 1, 2]
    assert theirs.shape == ours.shape
    apart = (theirs != ours).mean()
    assert apart <= (0.05 if name in OWN_ORDER else 0.01), f"{apart:.1%} of the classes differ"


def test_contenders_take_turns_and_their_seconds_are_an_epochs():
    names = ("scratch", "textbook NumPy", "scikit-learn")
    timed = time_case(CASE, Digits().load(), names, threads=1)
    assert [timing.contender for timing in timed.timings] == list(names)
    assert len(timed.flops_per_second) == CASE.turns - WARM_UP
    for timing in timed.timings:
        assert timing.problem is None
        assert len(timing.seconds) == CASE.turns - WARM_UP
        assert timing.accuracy > 0.8
        assert 10e6 < timing.peak_bytes < 1e9
    a, b = timed.timings[1], timed.timings[0]
    assert timed.ratios(a, to="scratch") == [x / y for x, y in zip(a.seconds, b.seconds, strict=True)]
    assert tables.problems(timed) == []
    assert len(tables.rows(timed)) == 4
    assert len(plots.bench([timed]).axes) == 1


def test_a_contender_that_fails_is_said_and_does_not_stop_the_others():
    case = replace(CASE, turns=2)
    timed = time_case(case, Digits().load(), ("torch twin, captured?", "scratch"), threads=1)
    failed, good = timed.timings
    assert "KeyError" in failed.problem
    assert good.problem is None
    assert tables.problems(timed) == [f"digits: torch twin, captured? did not run: {failed.problem}"]
    assert tables.rows(timed)[1][1] == "did not run"


def test_the_arithmetic_is_counted():
    case = Case("", (784, 256, 128, 10), "relu", 128, 60_000, 1, 1)
    by_hand = 2 * 60_000 * (2 * 784 * 256 + 3 * 256 * 128 + 3 * 128 * 10)
    assert case.flops == by_hand == pytest.approx(60.4e9, rel=2e-3)
    assert case.parameters == 784 * 256 + 256 + 256 * 128 + 128 + 128 * 10 + 10


def timings_of(case, seconds, rates):
    timings = [Timing(name, values, 0.9, 2**20) for name, values in seconds.items()]
    return CaseTimings(case, timings, rates)


def test_ratios_and_rates_are_taken_within_a_round():
    case = replace(CASE, name="digits", samples=1000)
    f = case.flops
    timed = timings_of(case, {"torch loop": [1.0, 4.0, 2.0], "scratch": [0.5, 1.0, 1.5]}, [2 * f, 4 * f, 2 * f])
    _, ours = timed.timings
    assert timed.ratios(ours) == [0.5, 0.25, 0.75]
    assert timed.rate_fractions(ours) == [1.0, 0.25, pytest.approx(1 / 3)]
    assert tables.rows(timed)[2] == ["scratch", "1.00 ±0.50 s", "1.0k", "0.50 ±0.25", "33%", "1", "90.00%"]


def test_a_sweep_has_every_value_beside_its_floor(monkeypatch, tmp_path):
    def timed(case, dataset, contenders, threads):
        rate = 1e10
        return timings_of(case, dict(zip(contenders, ([case.flops / rate] * 5, [1.0] * 5), strict=True)), [rate] * 5)

    monkeypatch.setattr(scaling, "time_case", timed)
    monkeypatch.setattr(scaling, "random_data", lambda case: None)  # it has a test of its own
    sweeps = list(scaling.scaling(5, 1, "cpu"))
    assert [sweep.quantity for sweep in sweeps] == ["width", "depth", "batch", "samples"]
    width = sweeps[0]
    assert (width.values[0], width.values[-1]) == (64, 4096)
    for sweep in sweeps:
        for least, products in zip(sweep.floors, sweep.seconds("scratch"), strict=True):
            assert least > products, "the floor has Adam beside the products"
        assert len(tables.rows(sweep)) == 1 + len(sweep.values)
    assert len(plots.scaling(sweeps).axes) == 4


@pytest.mark.parametrize(
    ("values", "digits", "text"),
    [([0.5, 0.7, 0.6], 2, "0.60 ±0.10"), ([120, 100, 110], 3, "110 ±10"), ([8.0, 12.0, 10.0], 2, "10 ±2")],
)
def test_a_spread_is_the_median_and_half_of_least_to_most(values, digits, text):
    assert tables.spread(values, digits) == text


def test_the_command_prints_json_and_leaves_tables_and_a_chart(installed, tmp_path):
    done = installed.run(
        "bench", "--sizes", "xor", "--contenders", "scratch", "textbook NumPy", "--threads", "1",
        "--json", "-", "--out", tmp_path / "out",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout)
    (result,) = values["results"]
    assert result["case"]["name"] == "xor"
    assert [len(timing["seconds"]) for timing in result["timings"]] == [5, 5]
    assert values["threads"] == 1
    assert json.loads((tmp_path / "out" / "bench.json").read_text()) == values
    assert "| scratch |" in (tmp_path / "out" / "bench.md").read_text()
    assert (tmp_path / "out" / "bench.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rounds", "4"], "rounds is 4, expected at least 5"),
        (["--sizes", "mnist-129"], "sizes is 'mnist-129', expected one of"),
        (["--contenders", "torch-loop"], "did you mean 'torch loop'"),
        (["--threads", "0"], "threads is 0, expected at least 1"),
        (["--sizes", "xor", "--out", "/dev/null/run"], "out is '/dev/null/run', where no folder can be made"),
        (["--scaling", "--quick"], "quick is given with scaling"),
        (["--scaling", "--rounds", "1"], "rounds is 1, expected at least 5"),
        (["--device", "cuda:99"], "device is 'cuda:99'"),
        (["--sizes", "mnist-128", "--data-dir", "nowhere/at/all"], "MNIST could not be downloaded"),
        (["--json", "nowhere/at/all.json"], "json is 'nowhere/at/all.json', expected a file in a folder that exists"),
    ],
)
def test_bad_input_is_named_and_nothing_is_written(arguments, message, tmp_path, monkeypatch, capsys):
    from experiments.__main__ import main

    monkeypatch.chdir(tmp_path)
    assert main(["bench", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_random_data_have_the_shape_of_the_case():
    data = random_data(CASE)
    assert data.train.x.shape == (1077, 64)
    assert data.train.x.dtype == np.float32
    assert set(data.train.y) == set(range(10))
