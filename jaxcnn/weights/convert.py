"""One engine that renames and reshapes weights by a family's table, in both directions."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxcnn.weights.tables import TABLES, torch_module

Path = tuple[str, ...]

# Leaf by leaf: ours, PyTorch's. A kernel's layout follows from its number of dimensions.
_LEAVES = {
    ("params", "kernel"): "weight",
    ("params", "bias"): "bias",
    ("params", "scale"): "weight",
    ("batch_stats", "mean"): "running_mean",
    ("batch_stats", "var"): "running_var",
}
_COUNTER = "num_batches_tracked"


class WeightsError(ValueError):
    """Weights that do not fit a network, or a file that holds none; every mismatch is named."""


def from_torch(state_dict: Mapping[str, Any], model: nn.Module) -> dict[str, Any]:
    """A PyTorch state dict as the variables of a network.

    Args:
      state_dict: names to arrays, PyTorch layout: convolutions OIHW, dense layers [out, in].
      model: the network; its `num_classes` must be that of the weights.

    Returns:
      `{"params", "batch_stats"}`, each key of the state dict used once.

    Raises:
      WeightsError: naming all keys that are missing, left over, or of another shape.
    """
    template, names = _names(model, _input_channels(state_dict))
    problems = [f"missing: {name}" for name in names.values() if name not in state_dict]
    counters = {k for k in state_dict if k.rpartition(".")[2] == _COUNTER}
    left_over = sorted(set(state_dict) - set(names.values()) - counters)
    problems += [f"left over: {name}" for name in left_over]
    flat: dict[Path, Any] = {}
    for path, name in names.items():
        if name not in state_dict:
            continue
        value = np.asarray(state_dict[name])
        wanted = _to_torch_layout(np.empty(template[path].shape, np.bool_)).shape
        if value.shape != wanted:
            problems.append(f"shape of {name}: {value.shape}, the network's is {wanted}")
            continue
        flat[path] = jnp.asarray(_from_torch_layout(value), template[path].dtype)
    if problems:
        raise WeightsError(
            f"The weights do not fit {type(model).__name__}: {len(problems)} mismatches.\n  "
            + "\n  ".join(problems)
        )
    return unflatten_dict(flat)


def to_torch(variables: Mapping[str, Any], model: nn.Module) -> dict[str, np.ndarray]:
    """The exact inverse of `from_torch`, without PyTorch's batch counters."""
    flat = flatten_dict(jax.device_get(dict(variables)))
    return {
        _torch_name(model, path): np.ascontiguousarray(_to_torch_layout(np.asarray(value)))
        for path, value in flat.items()
    }


def _names(model: nn.Module, channels: int) -> tuple[dict[Path, Any], dict[Path, str]]:
    """The network's abstract variables by path, and each one's PyTorch name."""
    images = jax.ShapeDtypeStruct((1, *model.spec.image_size, channels), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))

    def init(k: jax.Array, x: jax.Array) -> Any:
        return model.init(k, x, train=False)

    template = flatten_dict(jax.eval_shape(init, key, images))
    template = {p: v for p, v in template.items() if p[0] in ("params", "batch_stats")}
    return template, {path: _torch_name(model, path) for path in template}


def _torch_name(model: nn.Module, path: Path) -> str:
    family = inspect.getmodule(type(model)).__name__.rpartition(".")[2]  # type: ignore[union-attr]
    if family not in TABLES:
        raise WeightsError(
            f"{type(model).__name__} has no table of PyTorch names; there are {', '.join(TABLES)}."
        )
    collection, *modules, leaf = path
    return f"{torch_module(family, '/'.join(modules))}.{_LEAVES[collection, leaf]}"


def _input_channels(state_dict: Mapping[str, Any]) -> int:
    # The first convolution is the first array of four dimensions and fewest inputs.
    inputs = [np.shape(v)[1] for v in state_dict.values() if np.ndim(v) == 4]
    return min(inputs, default=3)


def _from_torch_layout(value: np.ndarray) -> np.ndarray:
    if value.ndim == 4:
        return value.transpose(2, 3, 1, 0)
    return value.T if value.ndim == 2 else value


def _to_torch_layout(value: np.ndarray) -> np.ndarray:
    if value.ndim == 4:
        return value.transpose(3, 2, 0, 1)
    return value.T if value.ndim == 2 else value
