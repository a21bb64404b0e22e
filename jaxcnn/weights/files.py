"""Files of weights: safetensors and npz, their headers checked before memory is taken."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import pathlib
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from flax import linen as nn

from jaxcnn.weights import convert
from jaxcnn.weights.convert import Options, assemble, to_torch
from jaxcnn.weights.errors import WeightsError
from jaxcnn.weights.hub import locate
from jaxcnn.weights.tables import Size

# Endings of PyTorch's checkpoints, which scripts/convert_weights.py opens.
PICKLES = (".pth", ".pt", ".th", ".bin", ".ckpt", ".tar")
# Far above any network of the line (VGG-19: 575 MB), far below what a lying header may ask for.
MAX_BYTES = 8 * 2**30
# Weights hardly compress; a file that unpacks to so many times its size is no file of weights.
MAX_RATIO = 100

_DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": jnp.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}


@dataclasses.dataclass(frozen=True)
class Header:
    """What a file says of one array before it is read."""

    shape: tuple[int, ...]
    dtype: Any


def load(path: str | os.PathLike[str], model: nn.Module, **options: Any) -> dict[str, Any]:
    """The variables of a network from a file; nothing is read before all names and shapes fit.

    Args:
      path: a `.safetensors` or `.npz` file, a folder with `model.safetensors`, or a name on the
        Hugging Face Hub such as `hf://timm/resnet50.tv_in1k` (see `describe`).
      model: the network.
      **options: as for `from_torch`: `image_size`, `in_channels`, `new_head`, `ignore`,
        `keep_counters`.

    Raises:
      WeightsError: a file that is no safetensors or npz, is cut off or lies about its size; or
        weights that do not fit the network.
    """
    chosen = Options(**options)
    with _open(locate(path)) as (headers, get):
        return assemble(headers, get, model, chosen)


def decided_fields(path: str | os.PathLike[str], model: nn.Module) -> dict[str, Any]:
    """The fields of a network that a file of weights decides, for `model.clone`.

    Args:
      path: as for `load`; only the file's header is read.
      model: a network of the same family, of any number of classes.

    Returns:
      `num_classes`, 0 where the weights have no head; and `aux_heads=False` where the network
      has auxiliary heads and the weights have none.

    Raises:
      WeightsError: as `load`.
    """
    with _open(locate(path)) as (headers, _):
        return convert.decided_fields(headers, model)


def save(
    path: str | os.PathLike[str],
    variables: Mapping[str, Any],
    model: nn.Module,
    *,
    naming: str = "torch",
    image_size: int | Size | None = None,
) -> None:
    """Writes what `load` reads; whole, or not at all. Arguments as for `to_torch`."""
    write(path, to_torch(variables, model, naming=naming, image_size=image_size))


def write(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays by name to a `.safetensors` or `.npz` file; whole, or not at all.

    An npz has no bfloat16: there its values are widened to float32.

    Raises:
      WeightsError: another ending, no such folder, or an array of Python objects.
    """
    target = pathlib.Path(path)
    if not target.parent.is_dir():
        raise WeightsError(f"{target}: there is no folder {target.parent}; make it first.")
    nested = [name for name, value in arrays.items() if isinstance(value, Mapping)]
    if nested:
        raise WeightsError(
            f"{nested[0]!r} is a dictionary, and write takes arrays by name; save(path, variables, "
            "model, naming='jaxcnn') writes the variables of any module."
        )
    objects = [name for name, value in arrays.items() if np.asarray(value).dtype.hasobject]
    if objects:
        raise WeightsError(f"{objects[0]} holds Python objects; weights are arrays of numbers.")
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        if target.suffix == ".safetensors":
            safetensors.numpy.save_file(dict(arrays), temporary)
        elif target.suffix == ".npz":
            members: dict[str, Any] = {name: _for_npz(value) for name, value in arrays.items()}
            with temporary.open("wb") as file:
                np.savez(file, **members)  # NumPy 2.0 would store allow_pickle as an array
        else:
            raise WeightsError(f"{target}: the ending must be .safetensors or .npz.")
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _for_npz(value: np.ndarray) -> np.ndarray:
    return value.astype(np.float32) if value.dtype == jnp.bfloat16 else value


def read(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays of a safetensors or npz file by name.

    Raises:
      WeightsError: as `load`.
    """
    with _open(pathlib.Path(path)) as (headers, get):
        return {name: get(name) for name in headers}


def check_ending(path: pathlib.Path) -> None:
    """Raises WeightsError for a file that is not read, and says what to do about a pickle."""
    if path.suffix in (".safetensors", ".npz"):
        return
    hint = f"scripts/convert_weights.py converts PyTorch's checkpoints ({', '.join(PICKLES)})."
    if path.suffix in PICKLES:
        hint = (
            f"A {path.suffix} file holds a pickle, which can run code when it is opened; "
            "scripts/convert_weights.py turns it into safetensors where PyTorch is installed."
        )
    raise WeightsError(f"{path}: only .safetensors and .npz are read. {hint}")


Opened = tuple[dict[str, Header], Callable[[str], np.ndarray]]


@contextlib.contextmanager
def _open(path: pathlib.Path) -> Iterator[Opened]:
    """A file's headers, checked, and a function that reads one of its arrays."""
    if not path.is_file():
        raise WeightsError(f"{path} is no file.")
    check_ending(path)
    openers = {".safetensors": _open_safetensors, ".npz": _open_npz}
    with contextlib.ExitStack() as stack:
        with _named(path):
            headers, get = stack.enter_context(openers[path.suffix](path))
            _check_total(path, headers)

        def get_named(name: str) -> np.ndarray:
            with _named(path):
                return get(name)

        yield headers, get_named


@contextlib.contextmanager
def _named(path: pathlib.Path) -> Iterator[None]:
    """Gives the many errors of damaged files one type and the file's name."""
    damage = (safetensors.SafetensorError, zipfile.BadZipFile, zlib.error, OSError, EOFError)
    try:
        yield
    except (*damage, NotImplementedError, RuntimeError) as error:
        raise WeightsError(f"{path} is damaged or no {path.suffix} file: {error}") from error


def _check_total(path: pathlib.Path, headers: Mapping[str, Header]) -> None:
    total = sum(math.prod(h.shape) * np.dtype(h.dtype).itemsize for h in headers.values())
    size = path.stat().st_size
    if total > MAX_BYTES or total > max(MAX_RATIO * size, 2**26):
        raise WeightsError(
            f"{path} declares {total:,} bytes of weights in a file of {size:,}; at most "
            f"{MAX_RATIO} times its size and {MAX_BYTES:,} bytes are read."
        )


@contextlib.contextmanager
def _open_safetensors(path: pathlib.Path) -> Iterator[Opened]:
    with safetensors.safe_open(path, framework="numpy") as file:
        headers = {}
        for name in file.keys():
            part = file.get_slice(name)
            if part.get_dtype() not in _DTYPES:
                raise WeightsError(f"{path}: {name} has the type {part.get_dtype()}; use F32.")
            headers[name] = Header(tuple(part.get_shape()), _DTYPES[part.get_dtype()])
        yield headers, file.get_tensor


@contextlib.contextmanager
def _open_npz(path: pathlib.Path) -> Iterator[Opened]:
    with zipfile.ZipFile(path) as archive:
        headers = {}
        for member in archive.infolist():
            with archive.open(member) as file:
                headers[member.filename.removesuffix(".npy")] = _npy_header(path, member, file)
    try:
        arrays = np.load(path, allow_pickle=False)
    except ValueError as error:  # an archive behind other bytes: zipfile reads it, NumPy does not
        raise WeightsError(f"{path} is damaged or no .npz file: {error}") from error

    def get(name: str) -> np.ndarray:
        try:
            return arrays[name]
        except (ValueError, KeyError) as error:
            raise WeightsError(f"{path}: {name} cannot be read: {error}") from error

    with arrays:
        yield headers, get


def _npy_header(path: pathlib.Path, member: zipfile.ZipInfo, file: Any) -> Header:
    try:
        version = np.lib.format.read_magic(file)
        old = version == (1, 0)
        reader = np.lib.format.read_array_header_1_0 if old else np.lib.format.read_array_header_2_0
        shape, _, dtype = reader(file)
    except ValueError as error:
        raise WeightsError(f"{path}: {member.filename} is no array: {error}") from error
    if dtype.hasobject:
        raise WeightsError(f"{path}: {member.filename} holds a pickle, which is never opened.")
    if min(shape, default=0) < 0:
        raise WeightsError(f"{path}: {member.filename} declares the shape {shape}.")
    size = math.prod(shape) * dtype.itemsize
    if size > member.file_size:
        raise WeightsError(
            f"{path}: {member.filename} declares {size:,} bytes and holds {member.file_size:,}."
        )
    return Header(tuple(shape), dtype)
