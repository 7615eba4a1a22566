import errno
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from safetensors.torch import load_file

import scratch
from scratch import Adam, CrossEntropy, EarlyStopping, Recipe, State, Tanh, mlp
from scratch import checkpoint as checkpoints
from tests.faults import bits
from torch_impl import parameters_of, twin

NETWORK = mlp((5, 4, 3), Tanh())


NORMED = mlp((5, 4, 4, 3), Tanh(), norm=scratch.BatchNorm, residual=True)


def trained(rng, dtype="float64", network=NETWORK):
    recipe = Recipe(
        loss=CrossEntropy(), optimizer=Adam(), epochs=2, batch_size=4, early_stopping=EarlyStopping(5), seed=3
    )
    state = State.start(scratch.initial_parameters(network, rng, dtype=dtype), recipe)
    x, y = rng.standard_normal((10, 5)).astype(dtype), rng.integers(0, 3, 10)
    list(scratch.fit(network, recipe, x, y, state, (x, y)))
    return state


@pytest.mark.parametrize("network", [NETWORK, NORMED], ids=["mlp", "norms"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_loaded_is_what_was_saved(rng, tmp_path, dtype, network):
    state = trained(rng, dtype, network)
    path = tmp_path / "state.safetensors"
    scratch.save_state(path, state)
    loaded = scratch.load_state(path, network)
    np.testing.assert_array_equal(loaded.params.vector, state.params.vector)
    assert loaded.params.dtype == dtype
    assert loaded.progress == state.progress
    np.testing.assert_array_equal(loaded.best, state.best)
    assert loaded.slots.keys() == state.slots.keys() == {"exp_avg", "exp_avg_sq"}
    for key in state.slots:
        np.testing.assert_array_equal(loaded.slots[key], state.slots[key])
    np.testing.assert_array_equal(scratch.load_parameters(path, network).vector, state.params.vector)


@pytest.mark.parametrize("network", [NETWORK, NORMED], ids=["mlp", "norms"])
def test_torch_reads_the_parameters_as_a_state_dict(rng, tmp_path, network):
    state = trained(rng, network=network)
    scratch.save_parameters(tmp_path / "weights.safetensors", state.params)
    module = twin(network, network.parameters())
    module.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    np.testing.assert_array_equal(parameters_of(module).vector, state.params.vector)


def test_the_names_in_a_file_are_the_released_ones(rng, tmp_path):
    state = trained(rng)
    scratch.save_state(tmp_path / "state.safetensors", state)
    assert {*state.params, "optimizer.exp_avg", "optimizer.exp_avg_sq", "best"} <= {
        *load_file(tmp_path / "state.safetensors")
    }


@pytest.mark.parametrize(("where", "call"), [(os, "fsync"), (Path, "replace")], ids=["while writing", "at the end"])
def test_a_write_that_fails_leaves_the_old_file(where, call, rng, tmp_path, monkeypatch):
    state = trained(rng)
    path = tmp_path / "state.safetensors"
    scratch.save_state(path, state)
    before = path.read_bytes()

    def fail(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(where, call, fail)
    state.params.vector[:] = 0
    with pytest.raises(OSError, match="no space"):
        scratch.save_state(path, state)
    assert path.read_bytes() == before


def test_weights_that_are_not_finite_are_not_written(rng, tmp_path):
    state = trained(rng)
    state.params["2.bias"][1] = np.nan
    for save, what in ((scratch.save_state, state), (scratch.save_parameters, state.params)):
        with pytest.raises(ValueError, match=r"2.bias holds nan at index \(1,\)"):
            save(tmp_path / "state.safetensors", what)
    assert list(tmp_path.iterdir()) == []


def test_bad_files_are_named(rng, tmp_path):
    state = trained(rng)
    path = tmp_path / "state.safetensors"
    with pytest.raises(FileNotFoundError, match=r"state.safetensors is not there"):
        scratch.load_state(path, NETWORK)
    with pytest.raises(ValueError, match=r"is a folder, expected a .safetensors checkpoint"):
        scratch.load_state(tmp_path, NETWORK)
    with pytest.raises(FileNotFoundError, match=r"the folder .*nowhere is not there; make it first"):
        scratch.save_state(tmp_path / "nowhere" / "state.safetensors", state)
    with pytest.raises(TypeError, match=r"params is a PosixPath, expected Parameters \(path comes first\)"):
        scratch.save_parameters(state.params, path)
    with pytest.raises(TypeError, match=r"state is a Parameters, expected a State"):
        scratch.save_state(path, state.params)
    scratch.save_state(path, state)
    with pytest.raises(ValueError, match=r"holds the parameters .* expected those of the network"):
        scratch.load_state(path, mlp((5, 4, 4, 3), Tanh()))
    with pytest.raises(ValueError, match=r"0.weight in .* has shape \(4, 5\), expected \(6, 5\)"):
        scratch.load_state(path, mlp((5, 6, 3), Tanh()))
    for length in (0, 5, 100, path.stat().st_size - 1):
        (tmp_path / "cut").write_bytes(path.read_bytes()[:length])
        with pytest.raises(ValueError, match="cut is damaged or no .safetensors file"):
            scratch.load_state(tmp_path / "cut", NETWORK)
    scratch.save_parameters(path, state.params)
    with pytest.raises(ValueError, match="holds parameters alone"):
        scratch.load_state(path, NETWORK)


def test_every_flipped_bit_is_noticed():
    """Some of them: python -m tests.faults bits flips a thousand."""
    for outcome in bits.outcomes(24, seed=1):
        assert outcome.problem is None, outcome


def test_files_of_others_hold_parameters_and_no_training(rng, tmp_path):
    state, path = trained(rng), tmp_path / "theirs.safetensors"
    save_file(dict(state.params), path)
    np.testing.assert_array_equal(scratch.load_parameters(path, NETWORK).vector, state.params.vector)
    with pytest.raises(ValueError, match="theirs.safetensors holds parameters alone, expected a training saved by"):
        scratch.load_state(path, NETWORK)
    save_file(dict(state.params), path, {"made by": "somebody"})
    with pytest.raises(ValueError, match="theirs.safetensors is damaged: its contents are not those that its checksum"):
        scratch.load_parameters(path, NETWORK)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("progress", "[1]", "its progress is '\\[1\\]'"),
        ("progress", '{"step": "many"}', "step is 'many', expected an integer"),
        ("progress", '{"step": -1}', "step is -1, expected at least 0"),
        ("progress", '{"best_epoch": -2}', "best_epoch is -2, expected at least -1"),
        ("progress", '{"best_loss": "low"}', "best_loss is a str, expected a float"),
        ("progress", '{"stopped": 1}', "stopped is 1, expected True or False|stopped is a int"),
        ("progress", '{"colour": 1}', "its progress is .*colour"),
        ("progress", "[" * 100_000, "its progress is"),
        ("training", "3", "its training is '3'"),
    ],
)
def test_whatever_a_checkpoint_says_is_checked(name, value, message, rng, tmp_path):
    """Who can write the file can write its checksum too."""
    path = tmp_path / "state.safetensors"
    scratch.save_state(path, trained(rng))
    tensors, metadata = checkpoints._read(path)
    checkpoints._write(path, tensors, {**metadata, name: value})
    with pytest.raises(ValueError, match=f"state.safetensors is damaged: .*{message}"):
        scratch.load_state(path, NETWORK)


def test_a_write_follows_no_link_and_leaves_nothing_beside_it(rng, tmp_path, monkeypatch):
    outside = tmp_path / "outside"
    outside.write_text("precious")
    (tmp_path / "run").mkdir()
    path = tmp_path / "run" / "state.safetensors"
    path.symlink_to(outside)
    monkeypatch.setattr(checkpoints.secrets, "token_hex", lambda n: "0" * 2 * n)
    planted = tmp_path / "run" / ".state.safetensors.00000000.part"
    planted.symlink_to(outside)
    with pytest.raises(OSError, match="state.safetensors cannot be written .*; what was there still is"):
        scratch.save_state(path, trained(rng))
    planted.unlink(missing_ok=True)
    scratch.save_state(path, trained(rng))
    assert outside.read_text() == "precious"
    assert not path.is_symlink()
    assert [p.name for p in path.parent.iterdir()] == ["state.safetensors"]
    assert checkpoints.unfinished(path.parent) == []
    planted.touch()
    assert checkpoints.unfinished(path.parent) == [planted]


def test_the_file_is_on_the_disk_before_it_has_its_name_and_then_the_name_is(rng, tmp_path, monkeypatch):
    done, fsync, rename = [], os.fsync, Path.replace
    kinds = {True: "folder", False: "file"}
    monkeypatch.setattr(os, "fsync", lambda n: (done.append(kinds[stat.S_ISDIR(os.fstat(n).st_mode)]), fsync(n)))
    monkeypatch.setattr(Path, "replace", lambda *paths: (done.append("name"), rename(*paths)))
    scratch.save_state(tmp_path / "state.safetensors", trained(rng))
    assert done == ["file", "name", "folder"]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EIO])
def test_a_folder_that_cannot_be_synchronised_is_no_file_that_was_not_written(number, rng, tmp_path, monkeypatch):
    """Some file systems synchronise no folders, and nothing is wrong with the file there."""

    def fail(folder):
        raise OSError(number, "no")

    monkeypatch.setattr(checkpoints, "_sync_folder", fail)
    path = tmp_path / "state.safetensors"
    if number == errno.EINVAL:
        scratch.save_state(path, trained(rng))
    else:
        with pytest.raises(
            OSError, match=r"^.*state.safetensors is written, but may not outlive a power failure \(no\)"
        ):
            scratch.save_state(path, trained(rng))
    assert scratch.load_state(path, NETWORK).progress.step == 6


def test_within_a_training_weights_that_are_not_finite_are_left_to_the_next_loss(rng, tmp_path):
    state, path = trained(rng), tmp_path / "state.safetensors"
    checkpoints.save_while_finite(path, state)
    before = path.read_bytes()
    state.params["2.bias"][1] = np.inf
    checkpoints.save_while_finite(path, state)
    assert path.read_bytes() == before


def test_nothing_is_unpickled():
    import inspect

    assert "pickle" not in inspect.getsource(checkpoints).replace("unpickled", "")
