"""The command line, as a person would use it."""

import csv
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

import scratch
from experiments import report
from experiments.__main__ import main
from experiments.commands.depth import gradient_norms
from experiments.experiment import Experiment
from experiments.run_folder import RunFolder
from experiments.tasks import TASKS, XOR, Digits, Moons
from tests.faults import damage

ROOT = Path(__file__).parent.parent.parent
QUICK = ["--samples", "100", "--epochs", "3", "--hidden", "8"]


def command(*arguments, **options):
    process = [sys.executable, "-m", "experiments", *map(str, arguments)]
    return subprocess.Popen(process, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)


def rows(folder):
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("impl", ["both", "all"])
def test_a_run_leaves_everything_in_its_folder(impl, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["moons", *QUICK, "--impl", impl, "--out", str(out)]) == 0
    impls = ["scratch", "torch"] + ["lightning"] * (impl == "all")
    assert [(row["impl"], int(row["epoch"])) for row in rows(out)] == [(i, e) for i in impls for e in (1, 2, 3)]
    pictures = {"learning-curves.png", "decision-boundary.png"}
    weights = {f"{i}.safetensors" for i in impls}
    states = {f"{i}-training.safetensors" for i in impls} | {name for name in ["tensorboard"] if impl == "all"}
    assert {p.name for p in out.iterdir()} == {".lock", "config.yaml", "metrics.csv"} | pictures | weights | states
    printed = capsys.readouterr().out
    for words in (
        "moons: 60 train, 20 validation, 20 test",
        "2-8-1 relu",
        "test accuracy",
        "largest difference",
        str(out),
    ):
        assert words in re.sub(r"\s+", " ", printed), printed


def test_config_yaml_holds_every_option_and_makes_the_same_run(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    assert main(["moons", *QUICK, "--seed", "4", "--impl", "scratch", "--out", str(first)]) == 0
    config = yaml.safe_load((first / "config.yaml").read_text())
    assert config.keys() - {"task"} == vars(Moons()).keys() - {"out", "data_dir"}
    assert main(["moons", "--config", str(first / "config.yaml"), "--out", str(second)]) == 0
    a, b = ((p / "scratch.safetensors").read_bytes() for p in (first, second))
    assert a == b


def test_pictures_of_images(tmp_path):
    out = tmp_path / "run"
    assert main(["digits", "--epochs", "2", "--impl", "torch", "--out", str(out)]) == 0
    for name in ("learning-curves", "confusion-matrix", "most-wrong"):
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["moons", "--batch-size", "0"], "batch_size is 0, expected at least 1"),
        (["moons", "--lr", "-1"], "lr is -1.0, expected a number at least 0"),
        (["moons", "--noise", "-1"], "noise is -1.0"),
        (["moons", "--hidden", "8", "0"], r"hidden\[1\] is 0, expected at least 1"),
        (["moons", "--dropout", "1"], "dropout is 1.0, expected a number at least 0 and less than 1"),
        (["moons", "--momentum", "0.9"], "momentum is 0.9 with optimizer 'adam', which has none"),
        (["moons", "--batch-norm", "--layer-norm"], "layer_norm is True with batch_norm, expected one of the two"),
        (
            ["moons", "--batch-norm", "--batch-size", "599"],
            r"batch_size is 599, and the last batch of 600 samples has 1: layers\[1\], BatchNorm.* at least two values",
        ),
        (["depth", "--depth", "0"], "depth is 0, expected at least 1"),
        (["depth", "--activation", "sigmod"], "activation is 'sigmod', expected one of .* did you mean 'sigmoid'"),
        (["moons", "--device", "cuda:99"], "device is 'cuda:99', but torch finds .* CUDA GPUs here"),
        (["moons", "--device", "gpu"], "device is 'gpu'"),
        (["moons", "--devices", "2"], "devices is 2 with impl 'both', expected impl 'lightning'"),
        (
            ["moons", "--num-nodes", "2"],
            "num_nodes is 2 with impl 'both' and strategy 'auto', expected impl 'lightning'",
        ),
        (["moons", "--num-nodes", "0"], "num_nodes is 0, expected at least 1"),
        (["moons", "--precision", "bf16"], "precision is 'bf16' with float32 on cpu, expected 'float32'"),
        (["moons", "--shift", "1"], "shift is 1, but moons has no images, expected 0"),
        (["digits", "--shift", "-1"], "shift is -1, expected at least 0"),
        (["xor", "--label-smoothing", "0.1"], "label_smoothing is 0.1, but xor has two classes, expected 0"),
        (["digits", "--label-smoothing", "1"], "label_smoothing is 1.0, expected a number at least 0 and less than 1"),
        (["moons", "--resume", "nowhere"], "resume is 'nowhere', expected the folder of a run"),
        (["xor", "--patience", "3"], "patience is 3, but xor has no validation data"),
        (["moons", "--patience", "0"], "patience is 0"),
        (["moons", "--out", "/dev/null/run"], "out is '/dev/null/run', where no folder can be made"),
        (["results", "--tasks", "mnits"], "tasks is 'mnits', expected one of .* did you mean 'mnist'"),
        (["results", "--seeds", "0"], "seeds is 0, expected at least 1"),
        (["demo", "--seed", "-1"], "seed is -1, expected at least 0"),
        (["mnist", "--data-dir", "nowhere"], "MNIST could not be downloaded, and it is not in the folder nowhere"),
    ],
)
def test_bad_options_are_named_and_nothing_is_written(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert re.search(message, error), error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mnits"], "invalid choice: 'mnits'"),
        (["moons", "--epochs", "many"], "epochs"),
        (
            ["moons", "--optimizer", "adan"],
            "--optimizer: Expected one of ['sgd', 'adagrad', 'rmsprop', 'adam', 'adamw']",
        ),
        (["moons", "--lr", "nan"], "--lr: Expected float. Got value: nan"),
        (["moons", "--epoch", "3"], "did you mean --epochs?"),
        ([], "xor"),
    ],
)
def test_what_the_parser_refuses_exits_with_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    assert main(["moons", *QUICK, "--out", str(tmp_path)]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("task", TASKS)
def test_help_names_every_option_that_does_something(task, capsys):
    with pytest.raises(SystemExit) as exit_:
        main([task, "--help"])
    assert exit_.value.code == 0
    text = capsys.readouterr().out
    for name in vars(TASKS[task]()):
        assert (f"--{name.replace('_', '-')} " in text) == (name not in TASKS[task].without()), name


def test_a_training_that_diverges_exits_with_1(tmp_path, capsys):
    out = tmp_path / "run"
    arguments = ["--optimizer", "sgd", "--lr", "1e30", "--epochs", "20", "--impl", "scratch", "--out", str(out)]
    with np.errstate(all="ignore"):
        assert main(["moons", *arguments]) == 1
    assert re.search(r"error: the loss is (nan|inf) at step \d+ \(learning rate", capsys.readouterr().err)


@pytest.mark.parametrize("impl", ["scratch", "torch", "lightning"])
def test_a_divergence_that_shows_in_the_validation_says_so(impl, tmp_path, capsys):
    """One step an epoch: the loss before it is finite, the weights after it are not."""
    options = [
        "--optimizer",
        "sgd",
        "--lr",
        "1e30",
        "--batch-size",
        "600",
        "--impl",
        impl,
        "--out",
        str(tmp_path / "run"),
    ]
    assert main(["moons", *options]) == 1
    assert "error: the validation loss is nan at step 0 (learning rate 1e+30)" in capsys.readouterr().err


def test_compare_fails_where_the_twins_are_not_equal(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("experiments.commands.compare.EQUAL", -1.0)
    assert main(["compare", "xor", "--epochs", "3", "--out", str(tmp_path / "run")]) == 1
    assert "NO." in capsys.readouterr().out


def test_compare_says_how_far_all_three_are_apart(tmp_path, capsys):
    assert main(["compare", "moons", *QUICK, "--out", str(tmp_path / "run")]) == 0
    printed = capsys.readouterr().out
    assert "scratch – lightning" in printed
    assert "Equal to 1e-12: yes" in re.sub(r"\s+", " ", printed)


LONG = ["--samples", "400", "--epochs", "40", "--hidden", "16", "--dropout", "0.2", "--checkpoint-every", "0"]
LONG += ["--batch-norm", "--residual"]


@pytest.mark.parametrize("impl", ["scratch", "torch", "lightning"])
def test_a_training_that_is_killed_and_resumed_ends_with_the_same_weights(impl, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert main(["moons", *LONG, "--impl", impl, "--out", str(whole)]) == 0
    process = command("moons", *LONG, "--impl", impl, "--out", killed)
    wait_for(lambda: (killed / "metrics.csv").exists() and len(rows(killed)) >= 10, process)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (killed / f"{impl}.safetensors").exists()
    assert main(["moons", "--resume", str(killed)]) == 0
    a, b = (scratch_weights(folder, impl) for folder in (whole, killed))
    np.testing.assert_array_equal(a.vector, b.vector)
    assert [row["epoch"] for row in rows(killed)] == [str(i) for i in range(1, 41)]
    for name in ("train_loss", "val_loss", "val_accuracy"):
        assert [row[name] for row in rows(killed)] == [row[name] for row in rows(whole)]


@pytest.mark.parametrize(
    ("impl", "number", "status"),
    [
        ("scratch", signal.SIGINT, 130),
        ("torch", signal.SIGHUP, 129),
        ("lightning", signal.SIGTERM, 143),
    ],
)
def test_a_signal_saves_and_says_how_to_go_on(impl, number, status, tmp_path):
    whole, stopped = tmp_path / "whole", tmp_path / "stop ped"
    arguments = ["moons", *LONG, "--impl", impl, "--checkpoint-every", "1000"]
    assert main([*arguments, "--out", str(whole)]) == 0
    process = command(*arguments, "--out", stopped)
    wait_for(lambda: (stopped / "metrics.csv").exists() and len(rows(stopped)) >= 5, process)
    process.send_signal(number)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == status, printed
    assert f"python -m experiments moons --resume '{stopped}'" in printed
    assert "Traceback" not in printed
    state = scratch.load_state(stopped / f"{impl}-training.safetensors", network_of(stopped))
    assert 0 < state.progress.step < 160
    assert main(["moons", "--resume", str(stopped)]) == 0
    a, b = (scratch_weights(folder, impl) for folder in (whole, stopped))
    np.testing.assert_array_equal(a.vector, b.vector)


def test_a_training_whose_terminal_is_closed_saves_and_ends_with_129(tmp_path):
    """Whatever it prints then is an error."""
    out = tmp_path / "run"
    arguments = ["xor", "--epochs", "100000", "--impl", "scratch", "--checkpoint-every", "1e6", "--out", str(out)]
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-m", "experiments", *arguments])
    printed, end = b"", time.monotonic() + 120
    while b"samples/s" not in printed and time.monotonic() < end:
        printed += os.read(terminal, 4096)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 129
    assert (out / "scratch-training.safetensors").is_file()


def test_two_processes_do_not_train_in_one_folder(tmp_path, capsys):
    out = tmp_path / "run"
    with RunFolder.create(XOR(out=str(out), epochs=2)) as folder:
        (out / ".scratch-training.safetensors.1234.part").write_bytes(b"what a crash left")
        for command in (["xor", "--resume", str(out)], ["xor", "--out", str(out)]):
            assert main(command) == 2
            assert re.search("another process trains in|which is not empty", capsys.readouterr().err)
    assert main(["xor", "--resume", str(folder.path)]) == 0
    assert not list(out.glob(".*.part"))


@pytest.mark.parametrize("kind", ["link to a file", "link to a folder", "pipe"])
@pytest.mark.parametrize("name", ["metrics.csv", "config.yaml", "scratch-training.safetensors", "tensorboard/x"])
def test_nothing_leads_out_of_a_run_of_somebody_elses(kind, name, tmp_path, capsys):
    out, outside = tmp_path / "run", tmp_path / "outside"
    with RunFolder.create(XOR(out=str(out), epochs=2)):
        pass
    outside.mkdir()
    (outside / "precious").write_text("precious")
    path = out / name
    path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(outside / "precious" if kind == "link to a file" else outside)
    assert main(["xor", "--resume", str(out)]) == 2
    error = capsys.readouterr().err
    assert f"{path} is a link, or no plain file" in error or "expected the folder of a run" in error
    assert [p.name for p in outside.iterdir()] == ["precious"]
    assert (outside / "precious").read_text() == "precious"


def test_a_folder_with_a_link_is_not_opened_to_go_on_with(tmp_path):
    with RunFolder.create(XOR(out=str(tmp_path / "run"), epochs=2)) as folder:
        pass
    folder.metrics.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=r"metrics.csv is a link, or no plain file"), folder.resumed():
        pytest.fail("it was opened")


def test_damaged_files_of_a_run_end_in_a_sentence_or_do_no_harm():
    """A few of the campaign's: python -m tests.faults damage."""
    assert [outcome for outcome in damage.outcomes(9, seed=2) if outcome.problem is not None] == []


@pytest.mark.parametrize("name", ["out", "data_dir", "config", "resume", "epoch"])
def test_a_config_of_somebody_elses_leads_nowhere_either(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with RunFolder.create(XOR(out=str(tmp_path / "run"), epochs=2)) as folder:
        pass
    folder.config.write_text(folder.config.read_text() + f"{name}: {tmp_path}/elsewhere\n")
    assert main(["xor", "--resume", str(folder.path)]) == 2
    assert f"config.yaml also has {name}: it is damaged" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_a_resumed_run_keeps_its_options(tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["moons", *QUICK, "--impl", "scratch", "--out", str(out)]) == 0
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    assert main(["moons", "--resume", str(out), "--epochs", "9"]) == 2
    assert f"epochs is 9, but 3 in {out}" in capsys.readouterr().err
    assert main(["circles", "--resume", str(out)]) == 2
    assert "a run of 'moons', expected one of 'circles'" in capsys.readouterr().err
    assert main(["moons", "--resume", str(out), "--out", str(tmp_path / "other")]) == 2
    assert "a resumed run stays in its folder" in capsys.readouterr().err
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before


def test_a_run_without_its_history_can_be_resumed_and_one_with_damaged_files_says_so(tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["moons", *QUICK, "--out", str(out)]) == 0
    whole = (out / "metrics.csv").read_text()
    (out / "metrics.csv").write_text(whole + "torch,4,4,0.0")  # a line cut short by a crash
    assert main(["moons", "--resume", str(out)]) == 0
    assert (out / "metrics.csv").read_text() == whole
    (out / "metrics.csv").unlink()
    assert main(["moons", "--resume", str(out)]) == 0
    for name, content in (
        ("metrics.csv", b"a,b\nc,d\n"),
        ("scratch-training.safetensors", b"nothing"),
        ("config.yaml", b"\x89\x00"),
        ("config.yaml", b""),
    ):
        before = (out / name).read_bytes()
        (out / name).write_bytes(content)
        assert main(["moons", "--resume", str(out)]) == 2
        assert re.search(f"{name} (is damaged|holds nothing, expected options)", capsys.readouterr().err)
        (out / name).write_bytes(before)


def test_results_goes_on_with_the_runs_that_it_finds(tmp_path, capsys):
    command = ["results", "--tasks", "xor", "xor", "--seeds", "2", "--out", str(tmp_path)]
    assert main(command) == 0
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(table) == 4
    assert table[2].startswith("| xor | 2-8-1 tanh | 0–1 | scratch | 100.00% ± 0.00% |")
    trained = (tmp_path / "xor-seed0" / "scratch.safetensors").read_bytes()
    assert main(command) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")] == table
    assert (tmp_path / "xor-seed0" / "scratch.safetensors").read_bytes() == trained


def test_two_processes_train_as_one_from_the_command_line(installed, tmp_path):
    """The last batch has one sample, so one of the two processes has none of it."""
    options = ["moons", *QUICK, "--layer-norm", "--residual", "--batch-size", "59", "--dtype", "float64"]
    options += ["--impl", "lightning"]
    one, two = tmp_path / "one", tmp_path / "two"
    assert main([*options, "--out", str(one)]) == 0
    done = installed.run(*options, "--devices", 2, "--strategy", "ddp", "--out", two)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [row["epoch"] for row in rows(two)] == ["1", "2", "3"]
    a, b = (scratch_weights(folder, "lightning").vector for folder in (one, two))
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


def network_of(folder):
    config = yaml.safe_load((folder / "config.yaml").read_text())
    return TASKS[config.pop("task")](**{**config, "hidden": tuple(config["hidden"])}).network(2)


def scratch_weights(folder, impl):
    return scratch.load_parameters(folder / f"{impl}.safetensors", network_of(folder))


def wait_for(condition, process):
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.mnist
def test_one_mnist_epoch_is_equal_to_1e_12_in_all_three(tmp_path, capsys):
    """784-256-128-10, Adam, batch 128, float64."""
    assert main(["compare", "mnist", "--dtype", "float64", "--epochs", "1", "--out", str(tmp_path / "run")]) == 0
    printed = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert "784-256-128-10" in printed
    assert "adam, " in printed
    assert "batches of 128, float64" in printed
    assert "Equal to 1e-12: yes" in printed


@pytest.mark.parametrize("name", ["RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"])
def test_only_the_first_process_of_ddp_is_to_be_seen(name, tmp_path, monkeypatch, capsys):
    from experiments import training

    monkeypatch.chdir(tmp_path)
    joined = []
    monkeypatch.setattr(training, "join", lambda experiment, start, folder: joined.append(experiment.config.impl))
    monkeypatch.setenv(name, "1")
    assert main(["xor", "--impl", "lightning", "--devices", "2", "--strategy", "ddp"]) == 0
    assert joined == ["lightning"]
    assert not list(tmp_path.iterdir())
    assert capsys.readouterr().out == ""


def test_moved_and_softened_images_train_equally_in_all_three(tmp_path):
    options = ["--shift", "1", "--label-smoothing", "0.1", "--schedule", "linear", "--epochs", "2", "--hidden", "16"]
    assert main(["compare", "digits", *options, "--out", str(tmp_path / "run")]) == 0
    # An epoch has 17 steps, of which Lightning's records hold 16 and 1.
    losses = {impl: [] for impl in ("scratch", "torch", "lightning")}
    for row in rows(tmp_path / "run"):
        losses[row["impl"]].append(float(row["train_loss"]))
    assert losses["scratch"] == pytest.approx(losses["lightning"], rel=1e-12)
    assert losses["scratch"] == pytest.approx(losses["torch"], rel=1e-12)


@pytest.mark.parametrize("task", [name for name in TASKS if name != "mnist"])
def test_norms_and_residual_blocks_for_every_task(task):
    for option in ("batch_norm", "layer_norm", "residual"):
        experiment = Experiment.of(TASKS[task](epochs=2, **{option: True}))
        assert option.replace("_", " ") in report.network_line(experiment)
        x, y, validation = experiment.training_data
        state = scratch.State.start(experiment.initial, experiment.recipe)
        records = list(scratch.fit(experiment.network, experiment.recipe, x, y, state, validation))
        assert records[-1].epoch == 1


def test_an_option_that_is_given_without_a_value_is_on(tmp_path):
    out = ["--impl", "scratch", "--out", str(tmp_path / "run")]
    assert main(["moons", *QUICK, "--layer-norm", "--residual", *out]) == 0
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert (config["layer_norm"], config["residual"], config["batch_norm"]) == (True, True, False)


def test_batch_norm_in_two_processes_says_whose_statistics_it_takes(tmp_path, capsys):
    options = ["--batch-norm", "--impl", "lightning", "--devices", "2", "--out", str(tmp_path / "run")]
    experiment = Experiment.of(Moons(batch_norm=True, impl="lightning", devices=2))
    report.header(experiment, RunFolder(tmp_path))
    assert "each process normalises by its own share of a batch" in " ".join(capsys.readouterr().out.split())
    assert main(["moons", *options, "--batch-size", "199"]) == 2
    assert not (tmp_path / "run").exists()
    message = "batch_size is 199, and the smallest share of a process has 1: layers[1], BatchNorm"
    assert message in capsys.readouterr().err


def test_the_depth_of_networks_is_shown(tmp_path, capsys):
    command = ["depth", "--depth", "3", "--width", "8", "--epochs", "2", "--out", str(tmp_path)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "residual, batch norm" in printed
    assert (tmp_path / "gradient-norms.png").read_bytes().startswith(b"\x89PNG")
    assert main(command) == 0, "runs that are there are gone on with"
    assert main([*command, "--lr", "0.1"]) == 2
    assert f"lr is 0.1, but 0.01 in {tmp_path}/plain; take another folder" in capsys.readouterr().err


def test_a_deep_network_trains_with_residual_blocks_and_not_without():
    accuracies = {}
    for residual in (False, True):
        config = Digits(
            hidden=(32,) * 24, activation="sigmoid", weights="xavier", lr=1e-2, epochs=20, residual=residual,
            dropout=0.0, input_dropout=0.0,
        )  # fmt: skip
        experiment = Experiment.of(config)
        x, y, _ = experiment.training_data
        state = scratch.State.start(experiment.initial, experiment.recipe)
        list(scratch.fit(experiment.network, experiment.recipe, x, y, state))
        accuracies[residual] = experiment.trained("scratch", state.params, []).test_accuracy
        norms = gradient_norms(experiment)
        np.testing.assert_allclose(norms["scratch"], norms["torch"], rtol=1e-3 if residual else 0.1)
        assert (norms["scratch"][0] < 1e-6 * norms["scratch"][-1]) != residual
    assert accuracies[False] < 0.2
    assert accuracies[True] > 0.9
