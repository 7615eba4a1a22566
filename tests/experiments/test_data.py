import shutil

import numpy as np
import pytest

from experiments.data import MNIST_FILES
from experiments.tasks import MNIST, XOR, Circles, Digits, Moons


@pytest.mark.parametrize("task", [Moons, Circles])
def test_points_are_split_in_shares_of_every_class_and_standardised(task):
    points = task(samples=1000, noise=0.1, seed=3, dtype="float32").load()
    sizes = [len(split.x) for split in (points.train, points.validation, points.test)]
    assert sizes == [600, 200, 200]
    for split in (points.train, points.validation, points.test):
        assert split.x.dtype == split.y.dtype == np.float32
        assert split.y.shape == (len(split.x), 1)
        np.testing.assert_array_equal(split.y[:, 0], split.labels)
        assert split.labels.mean() == pytest.approx(0.5)
    np.testing.assert_allclose(points.train.x.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(points.train.x.std(axis=0), 1, rtol=1e-6)


def test_one_seed_gives_the_same_data_in_either_dtype_and_another_gives_others():
    a, b, c = (
        Moons(samples=50, noise=0.1, seed=seed, dtype=dtype).load()
        for seed, dtype in ((3, "float64"), (3, "float32"), (4, "float64"))
    )
    np.testing.assert_array_equal(a.train.x.astype("float32"), b.train.x)
    assert not np.array_equal(a.train.x, c.train.x)


def test_digits_are_1797_images_that_no_two_parts_share():
    digits = Digits(dtype="float64").load()
    parts = [digits.train, digits.validation, digits.test]
    assert sum(len(part.x) for part in parts) == 1797
    rows = [{row.tobytes() for row in part.x} for part in parts]
    assert not rows[0] & rows[1] | rows[0] & rows[2] | rows[1] & rows[2]
    assert digits.train.y.dtype == np.int64
    assert Digits().n_out == 10


def test_xor_is_exclusive_or():
    xor = XOR(dtype="float64").load()
    np.testing.assert_array_equal(xor.train.x[:, 0] != xor.train.x[:, 1], xor.train.labels)
    assert xor.validation is None
    assert XOR().n_out == 1


@pytest.mark.mnist
def test_mnist_is_split_off_its_training_set():
    mnist = MNIST().load()
    assert [len(part.x) for part in (mnist.train, mnist.validation, mnist.test)] == [55_000, 5_000, 10_000]
    assert mnist.train.x.dtype == np.float32
    assert mnist.train.x.mean() == pytest.approx(0, abs=1e-4)
    assert mnist.train.x.std() == pytest.approx(1, abs=1e-4)
    assert mnist.test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    other = MNIST(seed=1).load()
    assert not np.array_equal(mnist.validation.labels, other.validation.labels)


@pytest.fixture
def offline(monkeypatch):
    import urllib.request

    def refuse(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


def test_missing_mnist_names_the_folder_the_files_and_a_way_out(tmp_path, offline):
    with pytest.raises(FileNotFoundError) as error:
        MNIST(data_dir=str(tmp_path)).load()
    for words in (str(tmp_path), *MNIST_FILES, "--data-dir", "$TWINGRAD_DATA", "python -m experiments digits"):
        assert words in str(error.value)


def test_a_mnist_file_cut_short_is_named(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, size in MNIST_FILES.items():
        (raw / name).write_bytes(bytes(min(size, 60_008)))
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte has 60,008 bytes, expected 47,040,016; delete it"):
        MNIST(data_dir=str(tmp_path)).load()
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (Moons(samples=3), "samples is 3, expected at least 10"),
        (Moons(noise=-0.1), "noise is -0.1"),
        (Circles(samples=10.5), "samples is 10.5, expected an integer"),
    ],
)
def test_bad_input_is_named(task, message):
    with pytest.raises((ValueError, TypeError), match=message):
        task.load()
