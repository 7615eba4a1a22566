import functools
import os
import signal
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:
    # The tests run in several processes, and a thread each is enough. NumPy and torch read this when they are imported.
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

for name, handler in {"SIGINT": signal.default_int_handler, "SIGHUP": signal.SIG_DFL}.items():
    if signal.getsignal(getattr(signal, name)) == signal.SIG_IGN:  # in the background, or under nohup
        signal.signal(getattr(signal, name), handler)

import numpy as np
import pytest
import torch

from experiments.data import read_images
from tests.installed import install
from torch_impl.verify import limits


@pytest.fixture
def rng():
    return np.random.default_rng(20240607)


@pytest.fixture(autouse=True)
def _no_search(request, monkeypatch):
    """A wrong gradient is only judged and named; the tests of blame and repair ask for ``searching``."""
    if "searching" not in request.fixturenames:
        monkeypatch.setattr(limits, "SECONDS", 0.0)


@pytest.fixture
def searching():
    """The first wrong line and the edit that mends it are looked for, as they are for a user."""


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    return install(tmp_path_factory.mktemp("installed"))


@pytest.fixture(autouse=True)
def _marks(request):
    """Skip, with the reason, what this machine cannot run."""
    if request.node.get_closest_marker("cuda") and not torch.cuda.is_available():
        pytest.skip("no CUDA GPU here")
    if request.node.get_closest_marker("mnist"):
        problem = _mnist_problem(Path(os.environ.get("TWINGRAD_DATA") or "data"))
        if problem:
            pytest.skip(f"no MNIST: {problem}; set TWINGRAD_DATA to its folder")


@functools.cache
def _mnist_problem(folder):
    try:
        read_images(folder)
    except (ValueError, FileNotFoundError) as error:
        return str(error)
