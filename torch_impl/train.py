"""A plain torch training: the loop of scratch/train.py, driving torch's engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scratch import Network, Recipe, checks
from scratch.device import Precision, check_precision
from scratch.epochs import WholeEpochs
from scratch.identity import identify
from scratch.train import check_data, outputs, train
from torch_impl.engine import TorchEngine
from torch_impl.state import TwinState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scratch import Record
    from scratch.device import Array


def fit(
    network: Network,
    recipe: Recipe,
    x: Array,
    y: Array,
    state: TwinState,
    validation: tuple[Array, Array] | None = None,
    precision: Precision = "float32",
    capture: bool = False,
) -> Iterator[Record]:
    """Train ``state`` in place, from where it is; yield a record after every step.

    The arguments, batches, masks, records and errors are those of :func:`scratch.fit`, the logits in the records are
    tensors. The data are NumPy arrays; they are copied to the module's device once.

    With ``capture`` the host stays out of an epoch, for which it yields one record: on a GPU the whole step is captured
    as a CUDA graph and replayed. Dropout's masks are then drawn where the module is, from a torch.Generator of this
    training, whose seed follows from (seed, the step at which this epoch was begun). What torch can only run from the
    host (AdaGrad; SGD in float64) is not captured.
    """
    checks.flag("capture", capture)
    checks.instance("state", state, TwinState, "a TwinState, as TwinState.start() makes it")
    checks.instance("network", network, Network, "a Network, as mlp() makes it")
    checks.instance("recipe", recipe, Recipe, "a Recipe")
    state.check(network, recipe)
    weight = next(state.module.parameters())
    dtype = str(weight.dtype).removeprefix("torch.")
    check_data(network, recipe, x, y, dtype, validation)
    check_precision(precision, weight.device.type, np.dtype(dtype))
    identify(state, network, recipe, x, y, validation)
    own_masks = capture and network.stochastic
    engine: Any = TorchEngine(network, recipe, x, y, state, validation, precision, own_masks)
    if capture:
        engine = WholeEpochs(engine, recipe, len(x), outputs(network, x, dtype), dtype)
    return train(engine, recipe, len(x))
