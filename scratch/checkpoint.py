"""Checkpoints: one .safetensors file, that either twin reads. Nothing is ever unpickled.

The parameters stand in it under their names, as in a torch state dict; beside them, where a whole training is saved,
the optimizer's vectors under ``"optimizer."``, the best epoch's parameters as ``"best"``, the progress in the metadata.
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from scratch import checks
from scratch.network import Network
from scratch.parameters import Parameters
from scratch.state import Progress, State

if TYPE_CHECKING:
    from scratch.device import Array

__all__ = ["load_parameters", "load_state", "save_parameters", "save_state"]


_SLOT = "optimizer."


def write_atomically(path: str | Path, data: bytes) -> None:
    """Write a file so that at any moment, and after any crash, ``path`` is the whole old or the whole new one."""
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"the folder {path.parent} is not there; make it first, to write {path.name} into it")
    temporary = path.with_name(f".{path.name}.part")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def save_parameters(path: str | Path, params: Parameters) -> None:
    """Write parameters to a .safetensors file, replacing an old one only when the new one is whole.

    Raises
        TypeError: ``params`` are no Parameters
        FileNotFoundError: the folder is not there
        ValueError: a parameter is NaN or infinite; nothing is written
    """
    checks.instance("params", params, Parameters, "Parameters (path comes first)")
    write_atomically(path, save(_finite(params.to("cpu"))))


def save_state(path: str | Path, state: State) -> None:
    """Write a whole training to a .safetensors file, replacing an old one only when the new one is whole.

    Raises
        TypeError: ``state`` is no State
        FileNotFoundError: the folder is not there
        ValueError: a parameter is NaN or infinite; nothing is written
    """
    checks.instance("state", state, State, "a State (path comes first)")
    state = state.to("cpu")
    tensors = _finite(state.params) | {_SLOT + key: vector for key, vector in state.slots.items()}
    if state.best is not None:
        tensors["best"] = state.best
    write_atomically(path, save(tensors, {"progress": json.dumps(dataclasses.asdict(state.progress))}))


def load_parameters(path: str | Path, network: Network) -> Parameters:
    """The parameters of ``network`` from a file that either function wrote, in the dtype that they have there.

    Raises
        FileNotFoundError: no such file
        ValueError: a damaged file, or parameters of another network
    """
    return _parameters(path, network, _read(path)[0])


def load_state(path: str | Path, network: Network) -> State:
    """The training that ``save_state`` wrote.

    Raises
        FileNotFoundError: no such file
        ValueError: a damaged file, one of another network, or one with parameters alone
    """
    tensors, metadata = _read(path)
    params = _parameters(path, network, tensors)
    if "progress" not in metadata:
        raise ValueError(f"{path} holds parameters alone, expected a training saved by save_state")
    vectors = {key: value for key, value in tensors.items() if key not in params}
    for key, vector in vectors.items():
        like = params.vector if key == "best" else params.trained
        checks.float_array(f"{key} in {path}", vector, like.shape, params.dtype)
    slots = {key.removeprefix(_SLOT): value for key, value in vectors.items() if key.startswith(_SLOT)}
    return State(params, slots, Progress(**json.loads(metadata["progress"])), vectors.get("best"))


def _finite(params: Parameters) -> dict[str, Array]:
    for name, value in params.items():
        checks.finite(name, value)
    return dict(params)


def _read(path: str | Path) -> tuple[dict[str, Array], dict[str, str]]:
    if Path(path).is_dir():
        raise ValueError(f"{path} is a folder, expected a .safetensors checkpoint")
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} is not there, expected a .safetensors checkpoint")
    try:
        with safe_open(str(path), "np") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or no .safetensors file ({error})") from error


def _parameters(path: str | Path, network: Network, tensors: dict[str, Array]) -> Parameters:
    checks.instance("network", network, Network, "a Network, as mlp() makes it")
    shapes = network.shapes()
    own = {key: value for key, value in tensors.items() if not key.startswith(_SLOT) and key != "best"}
    if own.keys() != shapes.keys():
        raise ValueError(f"{path} holds the parameters {sorted(own)}, expected those of the network: {sorted(shapes)}")
    params = network.parameters(own[next(iter(shapes))].dtype if shapes else np.float64)
    for name, shape in shapes.items():
        checks.float_array(f"{name} in {path}", own[name], shape, params.dtype)
        params[name] = own[name]
    return params
