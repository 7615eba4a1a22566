"""Wrong commands end with status 2 and one line, before any work; names are printed as they are."""

import io
import os
import random
import re
import resource
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments import plots, report
from experiments.__main__ import main
from experiments.data import Data, Split
from experiments.experiment import Experiment
from experiments.memory import free_bytes
from experiments.options_file import read_options
from experiments.run_folder import Row, RunFolder
from experiments.tasks import XOR, Moons
from tests.faults import commands
from tests.faults.commands import by_hand, generate, problem_of

FEW = random.Random(0).sample(list(by_hand()), 24) + random.Random(0).sample(list(generate()), 24)


@pytest.mark.parametrize("arguments", FEW, ids=lambda arguments: " ".join(arguments)[:80])
def test_a_wrong_command_ends_with_2_and_one_line_and_writes_nothing(arguments):
    assert problem_of(arguments) is None


def test_a_right_command_goes_to_work(monkeypatch):
    """So that the tests above do not pass because nothing can begin."""
    assert "it went to work" in problem_of(["moons"])
    monkeypatch.setattr(commands, "WORK", ())
    assert "0; " in problem_of(["xor", "--epochs", "1", "--impl", "scratch"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hidden: 8", "hidden is 8 in .*o.yaml, expected a list"),
        ("epoch: 8", "o.yaml holds 'epoch', which is no option; did you mean 'epochs'"),
        ("epochs: 8\nepochs: 9", "o.yaml is damaged, line 2: epochs stands in it twice"),
        ("epochs: null", "epochs is None, expected an integer"),
        ("epochs: {a: 8}", "epochs is {'a': 8} in .*o.yaml, expected a number, a word or a list"),
        ("[1, 2]", r"o.yaml holds \[1, 2\], expected options with their values"),
        ("", "o.yaml holds nothing, expected options"),
        ("epochs: " + "[" * 500, "o.yaml is damaged: its values are nested too deeply"),
        ("hidden: [8", "o.yaml is damaged, line 2: .*, expected YAML"),
    ],
)
def test_a_config_is_refused_by_its_name_with_the_reason(text, message, tmp_path, capsys):
    (tmp_path / "o.yaml").write_text(text + "\n")
    assert main(["moons", "--config", str(tmp_path / "o.yaml"), "--out", str(tmp_path / "run")]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "run").exists()


def test_the_options_after_a_config_come_over_it(tmp_path):
    (tmp_path / "o.yaml").write_text("epochs: 3\nhidden: [4, 4]\nlr: 1e-3\nmax_norm: null\n")
    assert main(["moons", "--config", str(tmp_path / "o.yaml"), "--epochs", "1", "--out", str(tmp_path / "run")]) == 0
    values = read_options(tmp_path / "run" / "config.yaml")
    assert (values["epochs"], values["hidden"], values["lr"], values["max_norm"]) == (1, [4, 4], 1e-3, None)


def test_a_network_that_memory_cannot_hold_is_refused_before_it_is_made(monkeypatch, capsys):
    monkeypatch.setattr("scratch.network.Network.parameters", None)
    assert main(["moons", "--hidden", "1000000000", "4"]) == 2
    said = capsys.readouterr().err
    assert "a network of 2-1000000000-4-1, with 7,000,000,009 parameters, their gradients" in said
    assert "GiB of memory, and" in said


def test_the_limits_of_the_process_count_as_memory(monkeypatch):
    before = free_bytes()
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (2**34, 2**34))
    assert free_bytes() < min(before + 1, 2**34)


@pytest.mark.parametrize("name", ["run[lr]", "run[/]", "run[bold]x", "a$b_c$", ":smile:", "[link=x]y"])
def test_a_name_is_printed_as_it_is(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    report.header(Experiment.of(XOR()), RunFolder(Path(name)))
    report.console.print(report.make_table(name, name), name)
    report.console.rule(name)
    Path(name).mkdir(parents=True)
    report.contents(RunFolder(Path(name)))
    printed = "".join(capsys.readouterr().out.split())
    assert printed.count(name) == 6
    row = Row(name + "$_{$", 1, 1, 0.1, 0.5, 0.5, 0.5, 0.5, 0.1, 10.0)
    plots.save(plots.learning_curves([[row]]), Path(name) / "picture.png")


@pytest.mark.parametrize(
    ("x", "labels", "message"),
    [
        (np.full((4, 2), np.nan, np.float32), [0, 1, 1, 0], "test x holds nan at index"),
        (np.zeros((4, 3), np.float32), [0, 1, 1, 0], "test x has shape"),
        (np.zeros((4, 2), np.float64), [0, 1, 1, 0], "test x has dtype float64"),
        (np.zeros((4, 2), np.float32), [0, 2, 1, 0], "test labels holds classes from 0 to 2|test y"),
    ],
)
def test_bad_test_data_are_found_before_the_training(x, labels, message, monkeypatch):
    load = Moons.load

    def loaded(self):
        data = load(self)
        return Data(data.train, data.validation, Split.of(x, np.array(labels), 2))

    monkeypatch.setattr(Moons, "load", loaded)
    with pytest.raises((ValueError, TypeError), match=message):
        Experiment.of(Moons())


def test_a_loss_that_has_grown_ends_with_a_warning(tmp_path, capsys):
    options = ["--schedule", "constant", "--impl", "scratch", "--epochs", "2"]
    assert main(["moons", *options, "--lr", "30", "--out", str(tmp_path / "grown")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Warning: the training loss of scratch has grown from 1.178 before the training to 1.27e+05" in said
    assert "Train with a smaller learning rate (--lr)" in said
    assert main(["moons", *options, "--lr", "0.01", "--out", str(tmp_path / "fallen")]) == 0
    assert "Warning" not in capsys.readouterr().out


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
@pytest.mark.parametrize("command", ["backprop-by-hand", "xor --epochs 1"])
def test_a_terminal_without_the_letters_is_written_others(command, encoding, tmp_path, monkeypatch):
    written = io.BytesIO()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding))
    assert main(command.split()) == 0
    assert len(written.getvalue().decode(encoding).splitlines()) > 10


def test_a_pipe_that_nobody_reads_ends_with_2_and_a_sentence(monkeypatch, capsys):
    read, write = os.pipe()
    os.close(read)
    with open(write, "w") as broken:  # noqa: PTH123 - a descriptor
        monkeypatch.setattr(sys, "stdout", broken)
        assert main(["backprop-by-hand"]) == 2
    assert capsys.readouterr().err == "error: standard output could not be written (Broken pipe)\n"


def test_streams_that_are_closed_are_no_hindrance(monkeypatch):
    for name in ("stdin", "stdout"):
        monkeypatch.setattr(sys, name, None)
    assert main(["backprop-by-hand"]) == 0
    sys.stdin.close()
    sys.stdout.close()


@pytest.mark.parametrize("impl", ["scratch", "torch", "lightning"])
def test_a_divergence_at_the_last_step_ends_with_1(impl, tmp_path, capsys):
    options = ["--optimizer", "sgd", "--lr", "1e300", "--epochs", "1", "--impl", impl, "--out", str(tmp_path / "run")]
    assert main(["xor", *options]) == 1
    assert re.search(
        r"error: the largest weight is (inf|nan) at step 0 \(learning rate 1e\+300\)", capsys.readouterr().err
    )
    assert not list((tmp_path / "run").glob("*.safetensors"))
