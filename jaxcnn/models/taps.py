"""Named places inside a network where its activations can be taken."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
from flax import linen as nn


@dataclasses.dataclass(frozen=True)
class Tap:
    """A named activation.

    Attributes:
      name: as `features` gives it.
      stride: input pixels between neighbouring units; 0 where there is no spatial extent.
      channels: size of the last axis.
    """

    name: str
    stride: int
    channels: int


def features(model: nn.Module, variables: Any, images: jax.Array) -> dict[str, jax.Array]:
    """The activations at every tap, in the order in which the network computes them.

    Args:
      model: any network that sows its taps into `intermediates`, as ours do.
      variables: its variables.
      images: `[B, H, W, C]` float, normalised.

    Returns:
      `{"stem": [B, h, w, c], "stage1": ..., ...}`. Under `jit`, what an unused tap needs is not
      computed.
    """
    _, sown = model.apply(variables, images, train=False, mutable=["intermediates"])
    found = {name: values[0] for name, values in sown["intermediates"].items() if _is_tap(values)}
    taps = getattr(model, "taps", None)
    names = [tap.name for tap in taps] if taps is not None else list(found)
    return {name: found[name] for name in names}


def _is_tap(values: Any) -> bool:
    return isinstance(values, tuple)
