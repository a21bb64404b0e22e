"""A network's features of every image of a split, computed once."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from jaxcnn import parallel
from jaxcnn.data import EvalLoader, Source
from jaxcnn.data.augment import normalize
from jaxcnn.models import features
from jaxcnn.nn import global_avg_pool
from jaxcnn.preprocess import Preprocess

# What the head reads, beside the taps of `jaxcnn.features`.
LAST = "last"


@dataclasses.dataclass(frozen=True)
class Features:
    """Feature vectors of a split.

    Attributes:
      arrays: float32 `[N, C]` by tap, from the images to the head; `last` is what the head reads.
      labels: int64 `[N]`.
    """

    arrays: dict[str, np.ndarray]
    labels: np.ndarray


def compute_features(
    model: nn.Module,
    variables: Any,
    source: Source,
    preprocess: Preprocess,
    *,
    taps: bool = False,
    batch_size: int = 256,
    mapping: parallel.DeviceMapping | None = None,
    threads: int = 4,
) -> Features:
    """The features of every image of a source, as evaluation sees it, in the source's order.

    Args:
      model: a network of ours.
      variables: its variables; a head is not used.
      source: the images.
      preprocess: how an image becomes an input.
      taps: also each tap's map, averaged over its extent in space.
      batch_size: over all devices; rounded up to a multiple of their number.
      mapping: the devices; default: all.
      threads: threads that decode.
    """
    mapping = mapping or parallel.make_mapping()
    bare = model.clone(num_classes=0)
    compute = _compiled(mapping, bare, preprocess.mean, preprocess.std, taps)
    state = mapping.put_state(variables)
    loader = EvalLoader(
        source,
        preprocess,
        -(-batch_size // mapping.size) * mapping.size,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        threads=threads,
    )
    parts: dict[str, list[np.ndarray]] = {}
    for batch in loader:
        placed = mapping.put_batch({k: batch[k] for k in ("image", "label", "mask")})
        found = compute(state, {"image": placed["image"]})
        rows = mapping.get_rows({**found, "label": placed["label"], "mask": placed["mask"]})
        keep = rows.pop("mask")
        for name, values in rows.items():
            parts.setdefault(name, []).append(values[keep])
    arrays = {name: np.concatenate(values) for name, values in parts.items()}
    labels = arrays.pop("label").astype(np.int64)
    if len(labels) != len(source):
        raise ValueError(f"{len(source)} images gave {len(labels)} features; some lack a label.")
    order = [tap.name for tap in getattr(model, "taps", ()) if taps] + [LAST]
    return Features({n: np.asarray(arrays[n], np.float32) for n in order}, labels)


@functools.lru_cache(maxsize=8)
def _compiled(
    mapping: parallel.DeviceMapping,
    bare: nn.Module,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    taps: bool,
) -> Callable[..., dict[str, jax.Array]]:
    """The mapped features; kept, since several splits and sets of weights are asked for."""
    return mapping.map_eval(functools.partial(_step, bare, mean, std, taps))


def _step(
    bare: nn.Module,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    taps: bool,
    variables: Any,
    batch: dict[str, jax.Array],
) -> dict[str, jax.Array]:
    images = normalize(batch["image"], mean, std)
    maps = features(bare, variables, images) if taps else {}
    pooled = {n: global_avg_pool(x) if x.ndim == 4 else x for n, x in maps.items()}
    last: Any = bare.apply(variables, images, train=False)
    return {**pooled, LAST: last}
