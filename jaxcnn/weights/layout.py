"""Each of a network's arrays beside PyTorch's: its name, its shape, and how the axes go."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict

from jaxcnn.weights.tables import Row, Size, Table

Path = tuple[str, ...]

LEAVES = {
    ("params", "kernel"): "weight",
    ("params", "bias"): "bias",
    ("params", "scale"): "weight",
    ("batch_stats", "mean"): "running_mean",
    ("batch_stats", "var"): "running_var",
}
COUNTER = "num_batches_tracked"


@dataclasses.dataclass(frozen=True)
class Entry:
    """One array: where it lies in our variables, and how PyTorch's is shaped.

    Attributes:
      path: collection, modules and leaf.
      shape: ours.
      dtype: ours.
      row: of the table; None where a file keeps our own layout.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: Any
    row: Row | None

    @property
    def their_shape(self) -> tuple[int, ...]:
        """The shape in the file: PyTorch has convolutions OIHW, dense layers [out, in]."""
        if self.row is None or self.path[-1] != "kernel":
            return self.shape
        if len(self.shape) == 4:
            height, width, inputs, outputs = self.shape
            return (outputs, inputs, height, width)
        inputs, outputs = self.shape
        if self.row.as_conv:
            return (outputs, inputs // math.prod(self.row.grid), *self.row.grid)
        return (outputs, inputs)

    def to_ours(self, value: np.ndarray) -> np.ndarray:
        """An array of the file in our layout."""
        if self.row is None or self.path[-1] != "kernel":
            return value
        if len(self.shape) == 4:
            return value.transpose(2, 3, 1, 0)
        grid = value.reshape(self.shape[1], -1, *self.row.grid)
        return grid.transpose(2, 3, 1, 0).reshape(self.shape)

    def to_theirs(self, value: np.ndarray) -> np.ndarray:
        """The exact inverse of `to_ours`."""
        if self.row is None or self.path[-1] != "kernel":
            return np.ascontiguousarray(value)
        if len(self.shape) == 4:
            return np.ascontiguousarray(value.transpose(3, 2, 0, 1))
        grid = value.reshape(*self.row.grid, -1, self.shape[1])
        return np.ascontiguousarray(grid.transpose(3, 2, 0, 1)).reshape(self.their_shape)


@dataclasses.dataclass(frozen=True)
class Naming:
    """One way of naming a network's arrays; without a `table`, our own names and layout."""

    table: Table | None

    def name(self, path: Path) -> str:
        """What the array at a path is called."""
        if self.table is None:
            return "/".join(path)
        collection, *modules, leaf = path
        return f"{self.table.find('/'.join(modules))[0]}.{LEAVES[collection, leaf]}"

    def prefix(self, module: str) -> str:
        """What the names of a module's arrays start with."""
        return f"params/{module}/" if self.table is None else f"{self.table.find(module)[0]}."

    def entries(self, shapes: Mapping[Path, Any]) -> dict[str, Entry]:
        """Every array of `shapes` by its name."""
        found = {}
        for path, value in shapes.items():
            row = None if self.table is None else self.table.find("/".join(path[1:-1]))[1]
            found[self.name(path)] = Entry(path, tuple(value.shape), value.dtype, row)
        return found

    def counters(self, shapes: Mapping[Path, Any]) -> dict[str, Path]:
        """The names of PyTorch's batch counters, and where `from_torch` may keep them."""
        if self.table is None:
            return {}
        norms = [p[1:-1] for p in shapes if p[0] == "batch_stats" and p[-1] == "mean"]
        return {f"{self.prefix('/'.join(n))}{COUNTER}": (COUNTER, *n, "count") for n in norms}


def shapes(model: nn.Module, image_size: Size, channels: int) -> dict[Path, Any]:
    """The network's variables as shapes, by path; nothing is computed."""
    try:
        hash(model)
    except TypeError:  # a module of one's own with a list among its fields
        return _shapes.__wrapped__(model, image_size, channels)
    return _shapes(model, image_size, channels)


@functools.lru_cache(maxsize=64)
def _shapes(model: nn.Module, image_size: Size, channels: int) -> dict[Path, Any]:
    images = jax.ShapeDtypeStruct((1, *image_size, channels), jnp.float32)

    def init(x: jax.Array) -> Any:
        return model.init(jax.random.key(0), x, train=False)

    flat = flatten_dict(jax.eval_shape(init, images))
    return {path: value for path, value in flat.items() if path[0] in ("params", "batch_stats")}


def channels_of(kernel_shape: tuple[int, ...], naming: Naming, image_size: Size) -> int | None:
    """The image channels that the first kernel of a file reads; None if no such image fits it."""
    if len(kernel_shape) == 4:
        return kernel_shape[2 if naming.table is None else 1]
    if len(kernel_shape) == 2:
        values = kernel_shape[0 if naming.table is None else 1]
        channels, rest = divmod(values, math.prod(image_size))
        return None if rest else channels
    return None
