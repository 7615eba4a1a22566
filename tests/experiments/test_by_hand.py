import re

import pytest

from experiments.__main__ import main
from experiments.commands.backprop_by_hand import PARTS, draw, work_through


def test_every_number_is_autograds():
    for seed in range(100):
        for steps in work_through(draw(seed, 0.5)).values():
            for step in steps:
                assert step.by_hand == pytest.approx(step.by_torch, rel=1e-13, abs=1e-15), (seed, step)


def test_a_wrong_formula_is_seen(monkeypatch):
    monkeypatch.setitem(PARTS["Backward"], "∂z1", "∂h1 h1")
    wrong = {
        s.symbol for steps in work_through(draw(0, 0.5)).values() for s in steps if abs(s.by_hand - s.by_torch) > 1e-9
    }
    assert wrong == {"∂z1", "∂w11", "∂w12", "∂b1", "new w11", "new w12", "new b1"}


def test_it_prints_every_step_with_its_numbers(capsys):
    assert main(["backprop-by-hand", "--seed", "3"]) == 0
    printed = re.sub(r"[\s│]+", " ", capsys.readouterr().out)
    given = draw(3, 0.5)
    for step in (step for steps in work_through(given).values() for step in steps):
        assert f"{step.symbol} {step.formula}" in printed
        assert f"{abs(step.by_hand):.6f}" in printed
    assert all(n * 10 == round(n * 10) != 0 for name, n in given.items() if name != "t")


@pytest.mark.parametrize(("arguments", "message"), [(["--seed", "-1"], "seed is -1"), (["--lr", "-1"], "lr is -1.0")])
def test_bad_input_is_named(arguments, message, capsys):
    assert main(["backprop-by-hand", *arguments]) == 2
    assert message in capsys.readouterr().err
