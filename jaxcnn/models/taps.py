"""Named places inside a network where its activations can be taken."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
from flax import linen as nn

from jaxcnn.arguments import nearest


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


def spatial_tap(taps: Sequence[Tap]) -> str | None:
    """The last tap with an extent in space, which class activation maps look at."""
    return next((tap.name for tap in reversed(taps) if tap.stride), None)


def features(
    model: nn.Module, variables: Any, images: jax.Array, taps: Sequence[str] | None = None
) -> dict[str, jax.Array]:
    """The activations at the taps, in the order in which the network computes them.

    Args:
      model: any network that sows its taps into `intermediates`, as ours do.
      variables: its variables.
      images: `[B, H, W, C]` float, normalised.
      taps: the names to give, or a single one; all of them by default.

    Returns:
      `{"stem": [B, h, w, c], "stage1": ..., ...}`. Under `jit`, what no returned tap needs is not
      computed.

    Raises:
      ValueError: for a module that sows nothing, or a tap that the network does not have; it
        suggests the nearest.
    """
    if isinstance(taps, str):
        taps = (taps,)
    _, sown = model.apply(variables, images, train=False, mutable=["intermediates"])
    # A sown value is a tuple; the rest is what inner modules sow under their own names.
    found = {k: v[0] for k, v in sown.get("intermediates", {}).items() if isinstance(v, tuple)}
    known = [tap.name for tap in getattr(model, "taps", ())] or list(found)
    if not known:
        raise ValueError(
            f"{type(model).__name__} declares no taps: sow them in its call, "
            "self.sow('intermediates', 'stage1', x)."
        )
    for name in taps or ():
        if name not in known:
            raise ValueError(
                f"{type(model).__name__} has no tap {name!r}{nearest(name, known)}; it has "
                f"{', '.join(known)}."
            )
    return {name: found[name] for name in known if taps is None or name in taps}
