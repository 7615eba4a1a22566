"""The state of a training: what its steps change, and what is saved to resume it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from scratch import checks
from scratch.device import device_of, to_device
from scratch.network import Network
from scratch.optim import Optimizer
from scratch.parameters import Parameters
from scratch.recipe import Recipe

if TYPE_CHECKING:
    from scratch.device import Array
    from scratch.optim import Slots
    from scratch.recipe import EarlyStopping

__all__ = ["State"]


@dataclass
class Progress:
    """How far a training is, and its best epoch so far by validation loss."""

    step: int = 0
    best_loss: float = math.inf
    best_epoch: int = -1
    stopped: bool = False  # by early stopping

    def __post_init__(self) -> None:
        checks.whole("step", self.step, 0)
        checks.instance("best_loss", self.best_loss, float, "a float")
        checks.whole("best_epoch", self.best_epoch, -1)
        checks.instance("stopped", self.stopped, bool, "True or False")

    def observe(self, epoch: int, validation_loss: float, rule: EarlyStopping) -> bool:
        """Note an epoch's validation loss; True if it is the best so far."""
        if validation_loss < self.best_loss:
            self.best_loss, self.best_epoch = validation_loss, epoch
            return True
        self.stopped = epoch - self.best_epoch >= rule.patience
        return False


@dataclass
class State:
    """All that a training changes. Between two records of fit() it is whole: save it, and resume from it."""

    params: Parameters
    slots: Slots
    progress: Progress = field(default_factory=Progress)
    best: Array | None = None  # the parameter vector of the best epoch, with early stopping
    training: dict[str, str] = field(default_factory=dict)  # what it is the state of: fit() says, and heeds it

    @classmethod
    def start(cls, params: Parameters, recipe: Recipe | Optimizer) -> State:
        """The state before the first step of a recipe, or of an optimizer in a loop of your own.

        It trains a copy: ``params`` stays as it is.

        Raises
            TypeError: if ``params`` is not a ``Parameters``, or ``recipe`` neither a ``Recipe`` nor an optimizer
        """
        checks.instance("params", params, Parameters, "Parameters, as initial_parameters() makes them")
        checks.instance("recipe", recipe, Recipe | Optimizer, "a Recipe, or an optimizer such as Adam(lr=1e-3)")
        optimizer = recipe.optimizer if isinstance(recipe, Recipe) else recipe
        params = params.copy()
        return cls(params, optimizer.slots(params.trained))

    def step(
        self, optimizer: Optimizer, grads: Parameters, lr: float, network: Network | None = None, caches: Any = None
    ) -> None:
        """Take a step of ``optimizer`` down ``grads``, in a loop of your own; the progress counts it.

        A network with running statistics, and the caches of the forward pass in training, are given as well: they move.

        Raises
            TypeError, ValueError: an argument of another kind, of another network, or of another optimizer than the
                state's; no network, though there are untrained arrays
        """
        self._check_step(optimizer, grads, lr, network)
        if network is not None:
            network.track(caches, *self.params.untrained_arrays)  # first: the update ends the caches' validity
        self.progress.step += 1
        optimizer.update(self.params.trained, grads.vector, self.slots, lr, self.progress.step)

    def _check_step(self, optimizer: Optimizer, grads: Parameters, lr: float, network: Network | None) -> None:
        checks.instance("optimizer", optimizer, Optimizer, "an optimizer such as Adam(lr=1e-3)")
        check_slots(optimizer, self)
        checks.instance("grads", grads, Parameters, "Parameters, as params.gradients() makes them")
        trained = {name: shape for name, shape in self.params.shapes.items() if name not in self.params.untrained}
        if list(grads.shapes.items()) != list(trained.items()):
            raise ValueError(f"grads has {grads.shapes}, expected {trained}")
        checks.float_array("grads.vector", grads.vector, self.params.trained.shape, self.params.dtype)
        checks.number("lr", lr, 0)
        if network is not None:
            checks.instance("network", network, Network, "a Network, as mlp() makes it")
            network.check_parameters("network is another than the state's: state.params", self.params)
        elif self.params.untrained:
            names = ", ".join(self.params.untrained)
            raise ValueError(f"network is None, expected it and its caches: this step moves {names} too")

    def to(self, device: str) -> State:
        """A copy on that device: "cpu", "cuda" or "cuda:N".

        Raises
            ValueError: it is not there
        """
        params = self.params.to(device)
        slots = {key: to_device(v, device).copy() for key, v in self.slots.items()}
        best = None if self.best is None else to_device(self.best, device).copy()
        return State(params, slots, replace(self.progress), best, dict(self.training))


def check_state(network: Network, recipe: Recipe, state: State) -> None:
    """Raise TypeError or ValueError unless the state is one, of the network and of the recipe's optimizer."""
    checks.instance("network", network, Network, "a Network, as mlp() makes it")
    checks.instance("recipe", recipe, Recipe, "a Recipe")
    checks.instance("state", state, State, "a scratch.State, as State.start() makes it")
    network.check_parameters("state.params", state.params)
    check_slots(recipe.optimizer, state)


def check_slots(optimizer: Optimizer, state: State) -> None:
    """Raise TypeError or ValueError unless the state's vectors are those of the optimizer, like its parameters."""
    checks.instance("state.slots", state.slots, dict, "a dict, as State.start() makes it")
    expected = sorted(optimizer.slots(state.params.trained[:0]))
    if sorted(state.slots) != expected:
        raise ValueError(f"state holds the optimizer state {sorted(state.slots)}, expected {expected} for {optimizer}")
    vectors = {f"state.slots[{key!r}]": (vector, state.params.trained) for key, vector in state.slots.items()}
    if state.best is not None:
        vectors["state.best"] = state.best, state.params.vector
    for name, (vector, like) in vectors.items():
        checks.float_array(name, vector, like.shape, like.dtype)
        if device_of(vector) != state.params.device:
            raise ValueError(f"{name} is on {device_of(vector)}, expected {state.params.device}")
