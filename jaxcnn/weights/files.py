"""Files of weights: safetensors and npz, their headers checked before memory is taken."""

from __future__ import annotations

import os
import pathlib
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from flax import linen as nn

from jaxcnn.weights.convert import WeightsError, from_torch, to_torch

# Far above any network of the line (VGG-19: 575 MB), far below what a lying header may ask for.
MAX_BYTES = 8 * 2**30


def load(path: str | os.PathLike[str], model: nn.Module) -> dict[str, Any]:
    """The variables of a network from a file with PyTorch's names.

    Raises:
      WeightsError: a file that is no safetensors or npz, is cut off or lies about its size; or
        weights that do not fit the network.
    """
    return from_torch(read(path), model)


def save(path: str | os.PathLike[str], variables: Mapping[str, Any], model: nn.Module) -> None:
    """Writes what `load` reads; whole, or not at all."""
    target = pathlib.Path(path)
    state_dict = to_torch(variables, model)
    temporary = target.with_name(f".{target.name}.tmp")
    if target.suffix == ".safetensors":
        safetensors.numpy.save_file(state_dict, temporary)
    elif target.suffix == ".npz":
        with temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **state_dict)
    else:
        raise WeightsError(f"{target}: the ending must be .safetensors or .npz.")
    temporary.replace(target)


def read(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays of a safetensors or npz file by name.

    Raises:
      WeightsError: as `load`.
    """
    source = pathlib.Path(path)
    if not source.is_file():
        raise WeightsError(f"{source} is no file.")
    try:
        if source.suffix == ".safetensors":
            return safetensors.numpy.load_file(source)
        if source.suffix == ".npz":
            return _read_npz(source)
    except (safetensors.SafetensorError, zipfile.BadZipFile, OSError, EOFError) as error:
        raise WeightsError(f"{source} is damaged or no {source.suffix} file: {error}") from error
    raise WeightsError(
        f"{source}: only .safetensors and .npz are read. A .pth file holds a pickle, which can "
        "run code when it is opened."
    )


def _read_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            with archive.open(member) as file:
                _check_header(path, member, file)
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _check_header(path: pathlib.Path, member: zipfile.ZipInfo, file: Any) -> None:
    try:
        version = np.lib.format.read_magic(file)
        reader = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = reader(file)
    except ValueError as error:
        raise WeightsError(f"{path}: {member.filename} is no array: {error}") from error
    if dtype.hasobject:
        raise WeightsError(f"{path}: {member.filename} holds a pickle, which is never opened.")
    size = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if size > min(MAX_BYTES, member.file_size):
        raise WeightsError(
            f"{path}: {member.filename} declares {size:,} bytes and holds {member.file_size:,}."
        )
