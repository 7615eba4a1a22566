"""The state of a torch training: the twin of scratch/state.py."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch

from scratch import Recipe, checks
from scratch.state import Progress, State, check_state
from torch_impl.convert import arrays_of, copy_to_optimizer, parameters_of, restore, slots_of, snapshot
from torch_impl.counterparts import OPTIMIZERS, Twin, torch_optimizer
from torch_impl.network import twin

if TYPE_CHECKING:
    from scratch import Network


@dataclass
class TwinState:
    """scratch's State with torch's tensors: all that a training changes."""

    module: Twin
    optimizer: torch.optim.Optimizer
    progress: Progress
    best: dict[str, torch.Tensor] | None = None  # the parameters of the best epoch, by name, with early stopping
    training: dict[str, str] = field(default_factory=dict)  # as scratch's

    @classmethod
    def start(cls, network: Network, recipe: Recipe, state: State, device: str | torch.device = "cpu") -> TwinState:
        """Where scratch's ``state`` is, which stays as it is: either twin may take over from the other.

        Raises
            TypeError, ValueError: no State, one of another optimizer or network, or a device that is not there
        """
        check_state(network, recipe, state)
        module = twin(network, state.params.to("cpu"), device)
        optimizer = torch_optimizer(recipe.optimizer, module)
        copy_to_optimizer(state.slots, state.progress.step, optimizer)
        return cls(module, optimizer, replace(state.progress), best_of(state, device), dict(state.training))

    def check(self, network: Network, recipe: Recipe) -> None:
        """Raise ValueError unless the module is the network's twin and the optimizer the recipe's counterpart."""
        shapes = {name: tuple(value.shape) for name, value in arrays_of(self.module).items()}
        if list(shapes.items()) != list(network.shapes().items()):
            raise ValueError(f"state.module has the parameters {shapes}, expected {network.shapes()}")
        expected = vars(recipe.optimizer) | {"lr": self.optimizer.defaults["lr"]}  # the loop sets it at each step
        options = {name: self.optimizer.defaults.get(name) for name in expected}
        if type(self.optimizer) is not OPTIMIZERS.get(type(recipe.optimizer)) or options != expected:
            came = f"{type(self.optimizer).__name__} with {options}"
            raise ValueError(f"state.optimizer is {came}, expected the counterpart of {recipe.optimizer}")

    def to_scratch(self, recipe: Recipe) -> State:
        """A copy of it in NumPy, which scratch can go on with, or save.

        Raises
            TypeError: no Recipe
        """
        checks.instance("recipe", recipe, Recipe, "a Recipe")
        params = parameters_of(self.module)
        slots = slots_of(self.optimizer, recipe.optimizer.slots(params.trained))
        state = State(params, slots, replace(self.progress), training=dict(self.training))
        if self.best is not None:
            best = params.copy()
            for name, value in self.best.items():
                best[name] = value.cpu().numpy()
            state.best = best.vector
        return state

    def keep_best(self) -> None:
        """Note the parameters as those of the best epoch so far."""
        self.best = snapshot(self.module)

    def restore_best(self) -> None:
        """Put them back, if some were noted."""
        restore(self.module, self.best)


def best_of(state: State, device: str | torch.device) -> dict[str, torch.Tensor] | None:
    """The best epoch's parameters, by name, on that device; None where none were noted."""
    if state.best is None:
        return None
    best = state.params.to("cpu")
    best.vector[:] = state.best
    return {name: torch.from_numpy(value.copy()).to(device) for name, value in best.items()}
