import random

import numpy as np
import pytest

from experiments.data import MNIST_FILES, read_images
from experiments.tasks import MNIST, XOR, Circles, Digits, Moons
from tests.faults.mnist import DAMAGES, faulty_mnist


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


def test_a_mnist_file_cut_short_is_named_and_no_download_is_tried(tmp_path, monkeypatch):
    monkeypatch.setattr("experiments.data._download", None)
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / "t10k-labels-idx1-ubyte").write_bytes(MNIST_FILES["t10k-labels-idx1-ubyte"].header)
    with pytest.raises(ValueError, match=r"t10k-labels-idx1-ubyte has 8 bytes, expected 10,008; delete it"):
        MNIST(data_dir=str(tmp_path)).load()


@pytest.mark.parametrize("place", ["", "MNIST", "MNIST/raw"])
def test_a_place_where_mnist_cannot_be_put_is_no_failed_download(place, tmp_path):
    (tmp_path / "data" / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "data" / place).write_text("a file")
    with pytest.raises(ValueError, match=r"nothing can be written to .*(Not a directory|File exists)") as error:
        MNIST(data_dir=str(tmp_path / "data")).load()
    assert "could not be downloaded" not in str(error.value)


@pytest.mark.mnist
@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("gzip under the plain name", "is compressed by gzip"),
        ("another magic number", r"begins with the magic number and lengths \[2055, 10000\], expected \[2049, 10000\]"),
        ("another count", r"lengths \[2049, 9984\], expected"),
        ("a label or pixel of 200", "holds a label of 200, expected 0 to 9"),
        ("another data set of the same form", "has the form of MNIST's, but not its content"),
        ("another of the four files", "begins as .* does: the two may have changed places"),
        ("a folder", "is a folder, expected a file of MNIST"),
        ("a pipe", "is no regular file"),
    ],
)
def test_a_file_that_is_not_mnists_is_named_with_the_reason(what, message, tmp_path):
    name = "t10k-labels-idx1-ubyte"
    faulty_mnist(tmp_path, name, DAMAGES[what], random.Random(0))
    with pytest.raises(ValueError, match=message) as error:
        read_images(tmp_path)
    assert str(error.value).startswith(str(tmp_path / "MNIST" / "raw" / name))


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (lambda: Moons(samples=3), "samples is 3, expected at least 10"),
        (lambda: Moons(noise=-0.1), "noise is -0.1"),
        (lambda: Circles(samples=10.5), "samples is 10.5, expected an integer"),
        (
            lambda: Moons(samples=10**12),
            "samples is 1,000,000,000,000: that needs at least .* of memory, and .* are free",
        ),
        (lambda: Moons(hidden=8), "hidden is 8, expected a list of integers"),
        (lambda: Moons(hidden=(8, None)), r"hidden\[1\] is None, expected an integer"),
        (lambda: Moons(epochs=None), "epochs is None, expected an integer"),
        (lambda: Moons(epochs=2**63), "epochs is 9223372036854775808, expected at most"),
        (lambda: Moons(lr=True), "lr is True, expected a number"),
        (lambda: Moons(lr=float("nan")), "lr is nan, expected a number at least 0"),
        (lambda: Moons(nesterov="no"), "nesterov is 'no', expected true or false"),
        (lambda: Moons(dtype="float16"), "dtype is 'float16', expected one of 'float32', 'float64'"),
        (lambda: Moons(out="a\nb"), r"out is 'a\\nb', expected a name without control characters"),
        (lambda: Moons(out=""), "out is '', expected a name"),
        (lambda: Digits(shift=9), "shift is 9, expected at most 8, the images' side"),
    ],
)
def test_bad_input_is_named(task, message):
    with pytest.raises((ValueError, TypeError), match=message):
        task()
