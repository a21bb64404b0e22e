"""What the channels of each stage see in a photo."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxcnn.visualize.canvas import Panel, Row, draw_grid
from jaxcnn.visualize.program import NotApplicable, Program


@dataclasses.dataclass(frozen=True)
class FeatureMaps:
    """The chosen channels of one layer for one photo.

    Attributes:
      layer: its name.
      total: how many channels it has.
      channels: int [n], which are here.
      maps: float [n, h, w], their activations.
    """

    layer: str
    total: int
    channels: np.ndarray
    maps: np.ndarray


def feature_maps(
    model: nn.Module,
    variables: Any,
    image: Any,
    *,
    layers: Sequence[str] | None = None,
    count: int = 8,
    call_args: Mapping[str, Any] | None = None,
) -> list[FeatureMaps]:
    """The most structured channels of each layer, in the network's order.

    Channels are sorted by the standard deviation of their activations over space, the largest
    first: a map that is the same everywhere shows nothing of the photo.

    Args:
      model: any Linen module.
      variables: its variables.
      image: float [H, W, C], normalised.
      layers: taps or modules; all taps with an extent in space by default, or the convolutions
        of a network that declares none.
      count: channels of each layer, at most.
      call_args: further arguments of the module's call.

    Raises:
      ValueError: an unknown layer, one without an extent in space, a network that has none.
    """
    images = jnp.asarray(image, jnp.float32)[None]
    program = Program(model, variables, images, call_args=call_args)
    names = list(layers) if layers else spatial_layers(program)
    for name in names:
        if len(program.shape(name)) != 4:
            raise ValueError(
                f"layer {name!r} gives {list(program.shape(name))}: there are no rows and columns "
                "to show."
            )
    run = jax.jit(lambda weights, x: program.run(weights, x, capture=names)[1])
    values = {name: np.asarray(v[0]) for name, v in run(program.weights, images).items()}
    return [_choose(name, values[name], count) for name in names]


def spatial_layers(program: Program) -> list[str]:
    """The taps with an extent in space; without taps, the convolutions.

    Raises:
      NotApplicable: there are none.
    """
    found = [n for n in program.taps if len(program.shapes[n]) == 4]
    found = found or [n for n, _ in program.convolutions() if n in program.shapes]
    if not found:
        raise NotApplicable(f"{type(program.model).__name__} has no layer with rows and columns.")
    return found


def _choose(name: str, value: np.ndarray, count: int) -> FeatureMaps:
    order = np.argsort(-value.std(axis=(0, 1)), kind="stable")[:count]
    return FeatureMaps(name, value.shape[-1], order, np.moveaxis(value[..., order], -1, 0))


def draw_maps(
    photo: np.ndarray, maps: Sequence[FeatureMaps], path: pathlib.Path, *, title: str = ""
) -> None:
    """A row for each layer; the photo uint8 [H, W, C] stands at the head of the first."""
    rows = []
    for index, layer in enumerate(maps):
        height, width = layer.maps.shape[1:]
        label = f"{layer.layer}\n{layer.total} x {height}x{width}"
        first = Panel(photo, title="photo") if index == 0 else Panel(np.ones((1, 1)))
        panels = [
            Panel(m, "viridis", (float(m.min()), float(max(m.max(), m.min() + 1e-9))), title=f"{c}")
            for c, m in zip(layer.channels, layer.maps, strict=True)
        ]
        rows.append(Row(label, [first, *panels]))
    draw_grid(
        rows,
        path,
        title=f"{title}: what the channels of each layer see\n(channels x height x width; the "
        "most varied channels, by number, each stretched to its own range)",
        side=1.3,
    )
