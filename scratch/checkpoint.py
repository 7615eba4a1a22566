"""Checkpoints: one .safetensors file, that either twin reads. Nothing is ever unpickled.

The parameters stand in it under their names, as in a torch state dict; beside them, where a whole training is saved,
the optimizer's vectors under ``"optimizer."`` and the best epoch's parameters as ``"best"``. The metadata hold the
progress, what the training is (see scratch/identity.py), and a SHA-256 of all the rest.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
_CHECKSUM = "sha256"


def write_atomically(path: str | Path, data: bytes, like: Path | None = None) -> None:
    """Write a file so that at any moment, and after any crash, ``path`` is the whole old or the whole new one.

    A crash may leave a ``.NAME.….part`` beside it, which nothing reads: see :func:`unfinished`. The new one has the
    mode and, where the system lets it, the owner of the file ``like``, if one is given.

    Raises
        FileNotFoundError: the folder is not there
        OSError: the file cannot be written, and what was there still is; or its new name cannot be made to last
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"the folder {path.parent} is not there; make it first, to write {path.name} into it")
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with temporary.open("xb") as file:  # x: a link that stands there is not followed
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if like is not None:
            _own_as(temporary, like.stat())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):  # a disk that takes nothing may not give up anything either: see unfinished()
            temporary.unlink(missing_ok=True)
        raise OSError(f"{path} cannot be written ({error.strerror or error}); what was there still is") from error
    try:
        _sync_folder(path.parent)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that cannot do this
            reason = error.strerror or error
            raise OSError(f"{path} is written, but may not outlive a power failure ({reason})") from error


def _own_as(path: Path, like: os.stat_result) -> None:
    with suppress(OSError, AttributeError):  # only root gives files away, and Windows has no owners
        os.chown(path, like.st_uid, like.st_gid)
    path.chmod(stat.S_IMODE(like.st_mode))


def unfinished(folder: Path) -> list[Path]:
    """The files that writes left in ``folder`` when they were cut short."""
    return list(folder.glob(".*.part"))


def _sync_folder(folder: Path) -> None:
    """Make sure that a new name outlives a power failure."""
    if os.name == "nt":
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def save_parameters(path: str | Path, params: Parameters) -> None:
    """Write parameters to a .safetensors file, replacing an old one only when the new one is whole.

    Raises
        TypeError: ``params`` are no Parameters
        FileNotFoundError: the folder is not there
        ValueError: a parameter is NaN or infinite; nothing is written
    """
    checks.instance("params", params, Parameters, "Parameters (path comes first)")
    _write(path, _finite(params.to("cpu")), {})


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
    _write(
        path,
        tensors,
        {"progress": json.dumps(dataclasses.asdict(state.progress)), "training": json.dumps(state.training)},
    )


def save_while_finite(path: str | Path, state: State) -> None:
    """``save_state`` within a training; nothing where weights turned NaN or infinite, which its next loss will tell."""
    if np.isfinite(state.params.to("cpu").vector).all():
        save_state(path, state)


def load_parameters(path: str | Path, network: Network) -> Parameters:
    """The parameters of ``network`` from a file that either function wrote, in the dtype that they have there.

    A file of another program, which has no metadata and so no checksum, is read as well.

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
        _check(f"{key} in {path}", vector, like.shape, params.dtype)
    slots = {key.removeprefix(_SLOT): value for key, value in vectors.items() if key.startswith(_SLOT)}
    progress = _record(path, "progress", metadata, Progress)
    return State(params, slots, progress, vectors.get("best"), _record(path, "training", metadata, dict))


def _finite(params: Parameters) -> dict[str, Array]:
    for name, value in params.items():
        checks.finite(name, value)
    return dict(params)


def _write(path: str | Path, tensors: dict[str, Array], metadata: dict[str, str]) -> None:
    write_atomically(path, save(tensors, {**metadata, _CHECKSUM: _checksum(tensors, metadata)}))


def _read(path: str | Path) -> tuple[dict[str, Array], dict[str, str]]:
    if Path(path).is_dir():
        raise ValueError(f"{path} is a folder, expected a .safetensors checkpoint")
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} is not there, expected a .safetensors checkpoint")
    try:
        with safe_open(str(path), "np") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except (SafetensorError, TypeError, ValueError, AttributeError) as error:  # of a dtype that NumPy does not have
        raise ValueError(f"{path} is damaged or no .safetensors file ({error})") from error
    if metadata and metadata.pop(_CHECKSUM, None) != _checksum(tensors, metadata):
        raise ValueError(f"{path} is damaged: its contents are not those that its checksum was made of")
    return tensors, metadata


def _checksum(tensors: dict[str, Array], metadata: dict[str, str]) -> str:
    """The SHA-256 of all that a file holds."""
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        digest.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        digest.update(array.data)
    return digest.hexdigest()


def _record(path: str | Path, name: str, metadata: dict[str, str], kind: Any) -> Any:
    """What the metadata hold under that name."""
    try:
        return kind(**json.loads(metadata[name]))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: its {name} is {metadata.get(name)!r:.80} ({error})") from error


def _check(name: str, a: Array, shape: tuple[int, ...], dtype: Any) -> None:
    try:
        checks.float_array(name, a, shape, dtype)
    except TypeError as error:  # bad content of a file
        raise ValueError(str(error)) from error


def _parameters(path: str | Path, network: Network, tensors: dict[str, Array]) -> Parameters:
    checks.instance("network", network, Network, "a Network, as mlp() makes it")
    shapes = network.shapes()
    own = {key: value for key, value in tensors.items() if not key.startswith(_SLOT) and key != "best"}
    if own.keys() != shapes.keys():
        raise ValueError(f"{path} holds the parameters {sorted(own)}, expected those of the network: {sorted(shapes)}")
    first = next(iter(own.values()), np.zeros(0))
    _check(f"{next(iter(own), 'nothing')} in {path}", first, first.shape, None)
    params = network.parameters(first.dtype)
    for name, shape in shapes.items():
        _check(f"{name} in {path}", own[name], shape, params.dtype)
        params[name] = own[name]
    return params
