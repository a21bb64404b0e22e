"""One engine that renames and reshapes weights by a family's table, in both directions."""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxcnn.weights import layout
from jaxcnn.weights.errors import WeightsError
from jaxcnn.weights.layout import COUNTER, Entry, Naming, Path
from jaxcnn.weights.sizes import (
    described_channels,
    image_channels,
    size_hint,
    size_of,
    usual_channels,
)
from jaxcnn.weights.tables import NO_TABLE, TABLES, Size, Table, tables


@dataclasses.dataclass(frozen=True)
class Options:
    """How weights may differ from the network; see `from_torch`."""

    image_size: int | Size | None = None
    in_channels: int | None = None
    new_head: jax.Array | None = None
    ignore: Sequence[str] = ()
    keep_counters: bool = False


def from_torch(
    state_dict: Mapping[str, Any],
    model: nn.Module,
    *,
    image_size: int | Size | None = None,
    in_channels: int | None = None,
    new_head: jax.Array | None = None,
    ignore: Sequence[str] = (),
    keep_counters: bool = False,
) -> dict[str, Any]:
    """A PyTorch state dict as the variables of a network; every key is used once.

    Args:
      state_dict: names to arrays, PyTorch layout: convolutions OIHW, dense layers [out, in].
        torchvision's and timm's names are told apart by themselves.
      model: the network.
      image_size: of the images that the weights are for, where their number depends on it
        (`lenet5`, `mlp`); by default the network's own, 224 for a module of one's own.
      in_channels: channels of the images that the network will see. Where the weights have
        others, the first kernel is summed for 1, and repeated, cut and scaled for more (timm).
      new_head: a key of `jax.random`: the layers that are as wide as there are classes start
        anew, and those of the state dict are left out.
      ignore: shell patterns of keys that are left out on purpose.
      keep_counters: keeps PyTorch's counts of batches in a collection `num_batches_tracked`, so
        that `to_torch` gives them back; nothing else uses them.

    Returns:
      `{"params", "batch_stats"}`, as `model.init` gives them.

    Raises:
      WeightsError: naming all keys that are missing, left over, or of another shape or type.
    """
    options = Options(image_size, in_channels, new_head, tuple(ignore), keep_counters)
    arrays = {name: np.asarray(value) for name, value in state_dict.items()}
    return assemble(arrays, arrays.__getitem__, model, options)


def to_torch(
    variables: Mapping[str, Any],
    model: nn.Module,
    *,
    naming: str = "torch",
    image_size: int | Size | None = None,
) -> dict[str, np.ndarray]:
    """The exact inverse of `from_torch`: arrays by name, PyTorch layout.

    Args:
      variables: `{"params", "batch_stats"}` of the network.
      model: the network.
      naming: `torch` (torchvision's names, or those of the published weights), `timm`, or
        `jaxcnn` (our own names and layout), which any Linen module has.
      image_size: as for `from_torch`.

    Returns:
      Among them torchvision's counts of batches, zeros unless `from_torch` kept them.

    Raises:
      WeightsError: for variables that are not the network's, or an unknown naming.
    """
    size = size_of(model, image_size)
    chosen = _naming(model, size, naming)
    flat = flatten_dict(jax.device_get(dict(variables)))
    kept = {path: value for path, value in flat.items() if path[0] == COUNTER}
    flat = {path: np.asarray(value) for path, value in flat.items() if path[0] != COUNTER}
    check_variables(variables, model, image_size)

    found = chosen.entries(flat)
    state_dict = {name: entry.to_theirs(flat[entry.path]) for name, entry in found.items()}
    for name, path in chosen.counters(flat).items():
        if path in kept if COUNTER in variables else chosen.table.counters:  # type: ignore[union-attr]
            state_dict[name] = np.asarray(kept.get(path, 0), np.int64)
    return state_dict


def names(
    model: nn.Module, *, naming: str = "torch", image_size: int | Size | None = None
) -> dict[str, tuple[int, ...]]:
    """The arrays that a state dict of the network has: name and shape, without computing any.

    Arguments and errors as for `to_torch`; a module of one's own is taken to see RGB images.
    """
    size = size_of(model, image_size)
    chosen = _naming(model, size, naming)
    ours = layout.shapes(model, size, usual_channels(model))
    found = {name: entry.their_shape for name, entry in chosen.entries(ours).items()}
    counted = chosen.table is not None and chosen.table.counters
    return found | dict.fromkeys(chosen.counters(ours) if counted else (), ())


def statistics(model: nn.Module, image_size: int | Size | None = None) -> dict[str, Path]:
    """Where the running statistics lie in our variables, by any of their names."""
    size = size_of(model, image_size)
    ours = layout.shapes(model, size, usual_channels(model))
    norms = [path for path in ours if path[0] == "batch_stats"]
    return {naming.name(p): p for naming in _namings(model, size).values() for p in norms}


def dense_after_flatten(
    model: nn.Module, image_size: int | Size | None = None
) -> list[tuple[Path, Size]]:
    """The dense layers that read a flattened map: their modules, and the map's size."""
    size = size_of(model, image_size)
    table = _table(model, size)
    if table is NO_TABLE:
        return []
    modules = {path[1:-1] for path in layout.shapes(model, size, usual_channels(model))}
    grids = {module: table.find("/".join(module))[1].grid for module in modules}
    return sorted((module, grid) for module, grid in grids.items() if grid != (1, 1))


def assemble(
    described: Mapping[str, Any],
    read: Callable[[str], np.ndarray],
    model: nn.Module,
    options: Options,
) -> dict[str, Any]:
    """The variables of `from_torch`, from arrays that are read only when all are known to fit.

    Args:
      described: by name, anything that has `shape` and `dtype`.
      read: gives one of the arrays.
      model: the network.
      options: the arguments of `from_torch`.
    """
    size = size_of(model, options.image_size)
    naming = _detect(described, model, size)
    table = _table(model, size)
    if table is NO_TABLE and (options.new_head is not None or options.in_channels is not None):
        raise WeightsError(
            f"new_head and in_channels need a network of jaxcnn.models; which layers of "
            f"{type(model).__name__} they mean is unknown."
        )
    first = naming.name(("params", *table.first.split("/"), "kernel"))
    channels = described_channels(described, naming, model, options.image_size)
    ours = layout.shapes(model, size, channels)
    found = naming.entries(ours)

    replaced: set[str] = set()
    if options.new_head is not None:
        replaced = _heads(described, found, naming, table)
    wanted = {name: entry for name, entry in found.items() if name not in replaced}
    unused = _unused(described, wanted, naming.counters(ours), replaced, options.ignore)
    problems = _mismatches(described, wanted) + [f"left over: {name}" for name in unused]
    if problems:
        hints = _hints(problems, described, wanted, unused, naming, model, size)
        raise WeightsError.of_mismatches(
            f"The weights do not fit {type(model).__name__}", problems, hints
        )

    flat: dict[Path, Any] = {}
    for name, entry in wanted.items():
        value = entry.to_ours(read(name))
        if name == first and options.in_channels not in (None, channels):
            value = adapt_channels(value, options.in_channels or channels)
        flat[entry.path] = jnp.asarray(value, entry.dtype)
    if options.new_head is not None:
        flat |= _fresh(
            model,
            options.new_head,
            size,
            channels,
            {found[n].path for n in replaced & found.keys()},
        )
    if options.keep_counters:
        counters = naming.counters(ours).items()
        flat |= {path: np.asarray(read(n), np.int64) for n, path in counters if n in described}
    return unflatten_dict(flat)


def _heads(
    described: Mapping[str, Any], found: Mapping[str, Any], naming: Any, table: Any
) -> set[str]:
    """The names of the head's arrays, and of auxiliary heads that the weights lack."""
    prefixes = tuple(naming.prefix(head) for head in table.heads)
    heads = {name for name in {*found, *described} if name.startswith(prefixes)}
    auxiliary = _auxiliary(table, found)
    return heads | auxiliary if auxiliary.isdisjoint(described) else heads


def decided_fields(described: Mapping[str, Any], model: nn.Module) -> dict[str, Any]:
    """As `jaxcnn.weights.decided_fields`, of arrays that have a `shape`, by name."""
    size = size_of(model, None)
    naming, table = _detect(described, model, size), _table(model, size)
    if table is NO_TABLE:
        return {}
    name = naming.name(("params", table.heads[0], "bias"))
    classes = int(described[name].shape[0]) if name in described else 0
    auxiliary = _auxiliary(table, naming.entries(layout.shapes(model, size, usual_channels(model))))
    # torchvision leaves the auxiliary heads out of the network after training.
    without = bool(auxiliary) and auxiliary.isdisjoint(described)
    return {"num_classes": classes} | ({"aux_heads": False} if without else {})


def adapt_channels(kernel: np.ndarray, channels: int) -> np.ndarray:
    """A first kernel `[h, w, C, F]` for images of other channels, as timm adapts it.

    The sum over the inputs for 1 channel; for more, the inputs repeated, cut to the number, and
    scaled by `C / channels`, which keeps the size of the activations.
    """
    if kernel.ndim != 4:
        raise WeightsError("in_channels: only a network that starts with a convolution adapts.")
    old = kernel.shape[2]
    if channels == 1:
        return kernel.sum(axis=2, keepdims=True)
    repeats = -(-channels // old)
    return np.tile(kernel, (1, 1, repeats, 1))[:, :, :channels] * np.float32(old / channels)


def _namings(model: nn.Module, size: Size) -> dict[str, Naming]:
    return {n: Naming(t) for n, t in tables(model, size).items()} | {"jaxcnn": Naming(None)}


def _table(model: nn.Module, size: Size) -> Table:
    return tables(model, size).get("torch", NO_TABLE)


def _naming(model: nn.Module, size: Size, name: str) -> Naming:
    namings = _namings(model, size)
    if len(namings) == 1 and name != "jaxcnn":
        raise WeightsError(
            f"{type(model).__name__} has no table of PyTorch's names, as {', '.join(TABLES)} have: "
            "naming='jaxcnn' takes any module."
        )
    if name not in namings:
        raise WeightsError(
            f"naming={name!r} is unknown for {type(model).__name__}: it has {', '.join(namings)}."
        )
    return namings[name]


def _detect(described: Mapping[str, Any], model: nn.Module, size: Size) -> Naming:
    """The naming that shares most names with the keys."""
    namings = list(_namings(model, size).values())
    if len(namings) == 1:
        return namings[0]
    ours = layout.shapes(model, size, usual_channels(model))

    def shared(naming: Naming) -> int:
        return sum(naming.name(path) in described for path in ours)

    return max(namings, key=shared)


def _auxiliary(table: Table, entries: Mapping[str, Entry]) -> set[str]:
    """The names of all arrays of auxiliary heads."""
    modules = {head.partition("/")[0] for head in table.heads if "/" in head}
    return {name for name, entry in entries.items() if entry.path[1] in modules}


def _unused(
    described: Mapping[str, Any],
    wanted: Mapping[str, Entry],
    counters: Mapping[str, Path],
    replaced: set[str],
    ignore: Sequence[str],
) -> list[str]:
    rest = set(described) - set(wanted) - set(counters) - replaced
    return sorted(n for n in rest if not any(fnmatch.fnmatchcase(n, p) for p in ignore))


def _mismatches(described: Mapping[str, Any], wanted: Mapping[str, Entry]) -> list[str]:
    problems = []
    for name, entry in wanted.items():
        if name not in described:
            problems.append(f"missing: {name} {entry.their_shape}")
            continue
        shape, dtype = tuple(described[name].shape), described[name].dtype
        if shape != entry.their_shape:
            problems.append(f"shape of {name}: {shape}, the network's is {entry.their_shape}")
        elif not jnp.issubdtype(dtype, jnp.floating):
            problems.append(f"type of {name}: {dtype}, weights are floats")
    return problems


def _hints(
    problems: list[str],
    described: Mapping[str, Any],
    wanted: Mapping[str, Entry],
    unused: list[str],
    naming: Naming,
    model: nn.Module,
    size: Size,
) -> list[str]:
    """What would explain the problems."""
    table = _table(model, size)
    lines = []
    others = [
        n
        for n, e in wanted.items()
        if n in described and tuple(described[n].shape) != e.their_shape
    ]
    prefixes = tuple(naming.prefix(head) for head in table.heads)
    heads = [
        described[n].shape
        for n in others
        if n.startswith(prefixes) and len(described[n].shape) == len(wanted[n].their_shape)
    ]
    if heads:
        lines.append(
            f"Another number of classes? num_classes={heads[0][-1 if naming.table is None else 0]} "
            "fits the weights; new_head=jax.random.key(0) starts that layer anew."
        )
    lines += size_hint([wanted[n].path for n in others], model, size)
    auxiliary = _auxiliary(table, wanted)
    if auxiliary and auxiliary.isdisjoint(described):
        lines.append("The weights have no auxiliary heads: aux_heads=False leaves them out.")
    if unused and len(unused) == len(problems):
        modules = sorted({n.partition(".")[0] + ".*" for n in unused})
        lines.append(f"To leave keys out on purpose: ignore={tuple(modules)!r}.")
    if described and all(name.startswith("module.") for name in described):
        lines.append("Every key starts with 'module.' (DataParallel): take that off the names.")
    return lines


def _fresh(
    model: nn.Module, key: jax.Array, size: Size, channels: int, paths: set[Path]
) -> dict[Path, Any]:
    """Newly initialised variables at some paths; under jit the others cost nothing."""

    def init(k: jax.Array) -> dict[Path, Any]:
        images = jnp.zeros((1, *size, channels))
        flat = flatten_dict(model.init(k, images, train=False))
        return {path: flat[path] for path in sorted(paths)}

    return jax.jit(init)(key) if paths else {}


def check_variables(
    variables: Mapping[str, Any], model: nn.Module, image_size: int | Size | None = None
) -> None:
    """Raises WeightsError, naming every mismatch, unless the variables are the network's."""
    size = size_of(model, image_size)
    flat = {path: v for path, v in flatten_dict(dict(variables)).items() if path[0] != COUNTER}
    wanted = layout.shapes(model, size, image_channels(variables, model, image_size))
    problems = [f"missing: {'/'.join(path)}" for path in wanted if path not in flat]
    problems += [f"left over: {'/'.join(path)}" for path in flat if path not in wanted]
    others = [p for p, v in wanted.items() if p in flat and tuple(flat[p].shape) != v.shape]
    problems += [
        f"shape of {'/'.join(p)}: {flat[p].shape}, the network's is {wanted[p].shape}"
        for p in others
    ]
    if problems:
        raise WeightsError.of_mismatches(
            f"The variables are not those of this {type(model).__name__}",
            problems,
            size_hint(others, model, size),
        )
