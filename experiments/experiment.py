"""An experiment: a config, and all that follows from it before and after the training.

Torch takes seconds to load, and ``--help`` need not wait for it: it is imported where it is used.
"""

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

import scratch
from experiments.config import Config
from experiments.data import Data
from experiments.run_folder import Row
from scratch import Network, Parameters, Recipe, checks
from scratch.device import Precision, check_precision, is_available
from scratch.engine import Evaluation
from scratch.train import check_data, check_smallest_batch


@dataclass(frozen=True)
class TrainedTwin:
    """A trained network; the logits of ``test`` are NumPy's, whichever implementation made them."""

    impl: str
    params: Parameters
    test: Evaluation
    test_accuracy: float
    rows: list[Row]


@dataclass(frozen=True)
class Experiment:
    """A config, and all that follows from it."""

    config: Config
    data: Data
    network: Network
    recipe: Recipe
    initial: Parameters
    device: Any  # the torch.device of the torch twins
    scratch_device: str

    @classmethod
    def of(cls, config: Config) -> Self:
        """Load the data and build the rest.

        Raises
            ValueError, FileNotFoundError: a device or data that are not to be had
        """
        device = choose_device(config.device)  # first, since the data may take a download
        check_precision(config.precision, device.type, np.dtype(config.dtype))
        scratch_device = "cpu"
        if device.type == "cuda" and (config.impl == "scratch" or is_available()):
            scratch_device = scratch.device.check_device(str(device))
        data = config.load()
        if config.patience is not None and data.validation is None:
            raise ValueError(f"patience is {config.patience}, but {config.task} has no validation data to watch")
        config.check_memory(data.train.x.shape[1], len(data.train.x))
        network = config.network(data.train.x.shape[1])
        initial = config.initial_parameters(network)
        made = cls(config, data, network, config.recipe(len(data.train.x)), initial, device, scratch_device)
        x, y, validation = made.training_data
        check_data(network, made.recipe, x, y, initial.dtype, validation)  # before a folder is made
        made.check_test()
        check_smallest_batch(network, made.recipe, x, initial.dtype, config.devices * config.num_nodes)
        return made

    def check_test(self) -> None:
        """Raise TypeError or ValueError unless the test data are as the training data must be."""
        test, dtype = self.data.test, self.initial.dtype
        self.network.check_input("test x", test.x, dtype)
        checks.finite("test x", test.x)
        self.recipe.loss.check_targets(test.y, (len(test.x), self.config.n_out), dtype, "test y")
        checks.class_array("test labels", test.labels, (len(test.x),), self.config.n_classes)

    def precision(self, device: str) -> Precision:
        """That of matrix products on a device: the one that was asked for is for GPUs."""
        return "float32" if device == "cpu" else self.config.precision

    @property
    def training_data(self) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray] | None]:
        """x, y and (validation x, y), as the twins' fit() takes them."""
        train, validation = self.data.train, self.data.validation
        return train.x, train.y, None if validation is None else (validation.x, validation.y)

    def trained(self, impl: str, params: Parameters, rows: list[Row]) -> TrainedTwin:
        """What an implementation has come to, evaluated on the test samples by the twin that was trained."""
        test = self.data.test
        if impl == "scratch":
            evaluation = scratch.evaluate(self.network, self.recipe.loss, params, test.x, test.y)
        else:
            import torch

            import torch_impl

            module = torch_impl.twin(self.network, params, self.device)
            x, y = (torch.from_numpy(a).to(self.device) for a in (test.x, test.y))
            evaluation = torch_impl.evaluate(module, self.recipe.loss, x, y)
            evaluation = replace(evaluation, logits=evaluation.logits.cpu().numpy())
        accuracy = scratch.accuracy(test.labels, scratch.predicted_classes(evaluation.logits))
        return TrainedTwin(impl, params, evaluation, accuracy, rows)


def choose_device(device: str) -> Any:
    """The torch.device of that name, "auto" being cuda where there is one; a ValueError if it is not there."""
    import torch

    from torch_impl.device import check_device

    return check_device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
