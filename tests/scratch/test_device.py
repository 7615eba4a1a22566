"""What runs on a GPU, as far as a CPU can tell: on a stand-in for CuPy. On a GPU: tests/torch_impl/test_cuda.py."""

import numpy as np
import pytest

import scratch
from scratch import SGD, AdaGrad, Adam, AdamW, CrossEntropy, DivergenceError, EarlyStopping, Parameters, RMSprop, State
from scratch.device import is_available
from scratch.engine import NumpyEngine
from scratch.epochs import WholeEpochs
from scratch.train import train
from tests.scratch import foreign
from tests.torch_impl.trainings import SEQUENCES, data, recipe

NETWORK = scratch.mlp((5, 8, 6, 3), scratch.GELU())
NORMED = scratch.mlp((5, 8, 8, 3), scratch.Tanh(), norm=scratch.BatchNorm, residual=True)


@pytest.fixture
def gpu(monkeypatch):
    foreign.install(monkeypatch)


def start(r, dtype="float64", network=NETWORK):
    return State.start(scratch.initial_parameters(network, np.random.default_rng(5), bias=0.1, dtype=dtype), r)


OPTIMIZERS = [SGD(0.1, momentum=0.9, dampening=0.2), AdaGrad(0.05), RMSprop(0.01), Adam(0.02), AdamW(0.02)]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: type(o).__name__)
def test_a_training_on_the_device_is_the_one_on_the_cpu(gpu, optimizer):
    r = recipe(optimizer=optimizer)
    x, y, validation = data()
    here, there = start(r), start(r).to("cuda")
    ours = list(scratch.fit(NETWORK, r, x, y, here, validation))
    theirs = list(scratch.fit(NETWORK, r, x, y, there, validation))
    back = there.to("cpu")
    np.testing.assert_allclose(back.params.vector, here.params.vector, rtol=0, atol=1e-13)
    for key, slot in here.slots.items():
        np.testing.assert_allclose(back.slots[key], slot, rtol=0, atol=1e-13)
    assert [g.launches for g in foreign.graphs] == [11, 5], "12 whole batches and 6 short ones, the first of each eager"
    for i, record in enumerate(theirs):
        steps = ours[3 * i : 3 * i + 3]
        assert (record.step, record.epoch, record.epoch_ends, record.lr) == (3 * i + 3, i, True, steps[-1].lr)
        assert record.loss == pytest.approx(np.mean([s.loss for s in steps]), rel=1e-12)
        np.testing.assert_array_equal(record.batch, np.concatenate([s.batch for s in steps]))
        np.testing.assert_allclose(record.logits, np.concatenate([s.logits for s in steps]), rtol=0, atol=1e-13)
        assert record.validation.loss == pytest.approx(steps[-1].validation.loss, rel=1e-12)


def test_moved_images_are_those_of_the_cpu(gpu):
    r, network = recipe(augment=scratch.Shift((2, 4))), scratch.mlp((8, 6, 3), scratch.Tanh())
    x, y = np.random.default_rng(0).standard_normal((23, 8)), data()[1]
    here, there = start(r, network=network), start(r, network=network).to("cuda")
    list(scratch.fit(network, r, x, y, here))
    list(scratch.fit(network, r, x, y, there))
    np.testing.assert_allclose(there.to("cpu").params.vector, here.params.vector, rtol=0, atol=1e-13)
    assert len(foreign.graphs) == 2


@pytest.mark.parametrize("network", [NORMED, SEQUENCES], ids=["norms", "sequences"])
def test_norms_and_integers_on_the_device_are_those_on_the_cpu(gpu, network):
    """Running statistics too, which every replay of a captured step moves."""
    r = recipe(optimizer=Adam(0.02), early_stopping=EarlyStopping(50))
    x, y, validation = data(network=network)
    here, there = start(r, network=network), start(r, network=network).to("cuda")
    list(scratch.fit(network, r, x, y, here, validation))
    list(scratch.fit(network, r, x, y, there, validation))
    np.testing.assert_allclose(there.to("cpu").params.vector, here.params.vector, rtol=0, atol=1e-13)
    np.testing.assert_allclose(there.to("cpu").best, here.best, rtol=0, atol=1e-13)
    assert len(foreign.graphs) == 2


def test_dropout_masks_are_the_hosts_and_are_not_captured(gpu):
    r, network = recipe(), scratch.mlp((5, 8, 3), scratch.ReLU(), dropout=0.3)
    x, y, _ = data()
    here, there = start(r, network=network), start(r, network=network).to("cuda")
    list(scratch.fit(network, r, x, y, here))
    list(scratch.fit(network, r, x, y, there))
    np.testing.assert_allclose(there.to("cpu").params.vector, here.params.vector, rtol=0, atol=1e-13)
    assert not foreign.graphs


def test_a_training_goes_on_in_the_middle_of_an_epoch(gpu):
    r = recipe(early_stopping=EarlyStopping(50))
    x, y, validation = data()
    whole, part = start(r), start(r)
    list(scratch.fit(NETWORK, r, x, y, whole, validation))
    records = scratch.fit(NETWORK, r, x, y, part, validation)
    for _ in range(4):
        next(records)
    part = part.to("cuda")
    records = list(scratch.fit(NETWORK, r, x, y, part, validation))
    assert [record.step for record in records] == [6, 9, 12, 15, 18]
    assert len(records[0].batch) == 15, "the first of its epoch's three batches was done before"
    np.testing.assert_allclose(part.to("cpu").params.vector, whole.params.vector, rtol=0, atol=1e-13)
    assert part.progress.best_epoch == whole.progress.best_epoch


def test_it_stops_early_with_the_best_weights(gpu):
    r = recipe(epochs=100, early_stopping=EarlyStopping(3), schedule=scratch.Constant())
    x, y, validation = data()
    here, there = start(r), start(r).to("cuda")
    list(scratch.fit(NETWORK, r, x, y, here, validation))
    assert len(list(scratch.fit(NETWORK, r, x, y, there, validation))) == here.progress.step // 3 < 100
    np.testing.assert_allclose(there.to("cpu").params.vector, here.params.vector, rtol=0, atol=1e-13)


def test_a_divergence_names_its_step(gpu):
    r = recipe(optimizer=SGD(1e30), max_norm=None, schedule=scratch.Constant())
    x, y, _ = data()
    with pytest.raises(DivergenceError) as here:
        list(scratch.fit(NETWORK, r, x, y, start(r)))
    with pytest.raises(DivergenceError) as there, np.errstate(all="ignore"):
        list(scratch.fit(NETWORK, r, x, y, start(r).to("cuda")))
    assert str(here.value) == str(there.value)


def test_an_epoch_at_a_time_is_the_same_on_the_cpu():
    r = recipe()
    x, y, validation = data("float32")
    here, there = start(r, "float32"), start(r, "float32")
    list(scratch.fit(NETWORK, r, x, y, here, validation))
    engine = NumpyEngine(NETWORK, r, x, y, there, validation, "float32")
    list(train(WholeEpochs(engine, r, len(x), (3,), np.float32), r, len(x)))
    np.testing.assert_allclose(there.params.vector, here.params.vector, rtol=0, atol=1e-6)


def test_a_state_on_the_device_is_saved_and_comes_back(gpu, tmp_path):
    r = recipe()
    x, y, _ = data()
    state = start(r).to("cuda")
    list(scratch.fit(NETWORK, r, x, y, state))
    scratch.save_state(tmp_path / "s.safetensors", state)
    scratch.save_parameters(tmp_path / "p.safetensors", state.params)
    loaded = scratch.load_state(tmp_path / "s.safetensors", NETWORK)
    here = state.to("cpu")
    assert loaded.progress == here.progress
    for a in (loaded.params.vector, scratch.load_parameters(tmp_path / "p.safetensors", NETWORK).vector):
        np.testing.assert_array_equal(a, here.params.vector)
    for key, slot in here.slots.items():
        np.testing.assert_array_equal(loaded.slots[key], slot)


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_the_precision_holds_while_an_epoch_runs_and_no_longer(gpu, precision, monkeypatch):
    import sys

    r, core = recipe(epochs=1), sys.modules["cupy._core._routines_linalg"]
    x, y, _ = data("float32")
    seen = set()
    step = NumpyEngine.step
    monkeypatch.setattr(NumpyEngine, "step", lambda *a: (seen.add(core.get_compute_type(None)), step(*a))[1])
    list(scratch.fit(NETWORK, r, x, y, start(r, "float32").to("cuda"), precision=precision))
    assert seen == {f"COMPUTE_TYPE_{precision.upper()}"}
    assert core.get_compute_type(None) == "COMPUTE_TYPE_FP32"


def test_where_parameters_are(gpu):
    params = Parameters({"0.weight": (3, 5)}, device="cuda")
    assert params.device == "cuda:0"
    assert params.gradients().device == "cuda:0"
    assert params.to("cpu").device == "cpu"


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "cuda:", "CPU"])
def test_a_device_that_is_none_is_named(device):
    with pytest.raises(ValueError, match=f"device is '{device}', expected 'cpu', 'cuda' or 'cuda:N'"):
        Parameters({"0.weight": (3, 5)}, device=device)


def test_a_gpu_is_available_where_cupy_finds_one(gpu, monkeypatch):
    import sys

    assert is_available() is True
    monkeypatch.setattr(sys.modules["cupy"].cuda.runtime, "getDeviceCount", lambda: 0)
    assert is_available() is False
    with pytest.raises(ValueError, match="^device is 'cuda', but CuPy finds no CUDA GPUs here"):
        Parameters({"0.weight": (3, 5)}, device="cuda")
    monkeypatch.delattr(sys.modules["cupy"].cuda.runtime, "getDeviceCount")
    monkeypatch.setattr(sys.modules["cupy"].cuda.runtime, "CUDARuntimeError", AttributeError)  # no driver
    with pytest.raises(ValueError, match="^device is 'cuda', but CuPy finds no CUDA GPUs here"):
        Parameters({"0.weight": (3, 5)}, device="cuda")
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert is_available() is False


@pytest.mark.parametrize("device", ["cuda:1", "cuda:7"])
def test_a_gpu_that_is_not_there_is_named(device, gpu):
    with pytest.raises(ValueError, match=f"^device is '{device}', but CuPy finds 1 CUDA GPUs"):
        Parameters({"0.weight": (3, 5)}, device=device)


def test_without_cupy_it_says_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(ValueError, match=r"needs CuPy; install it with pip install -e '\.\[cuda\]'"):
        State.start(scratch.initial_parameters(NETWORK, np.random.default_rng(0)), recipe()).to("cuda")


@pytest.mark.parametrize(("precision", "dtype"), [("tf32", "float32"), ("bf16", "float64"), ("fp8", "float32")])
def test_a_precision_that_is_not_to_be_had_is_named(precision, dtype):
    r = recipe(loss=CrossEntropy())
    x, y, _ = data(dtype)
    with pytest.raises(ValueError, match=f"precision is '{precision}'"):
        scratch.fit(NETWORK, r, x, y, start(r, dtype), precision=precision)
