"""What part of a photo a unit can see."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from jaxcnn.analysis import Box, receptive_field
from jaxcnn.visualize.canvas import ORANGE, Panel, new_figure, save
from jaxcnn.visualize.maps import spatial_layers
from jaxcnn.visualize.program import Program

# Of a photo, in inches.
_SIDE = 2.5


@dataclasses.dataclass(frozen=True)
class UnitView:
    """A unit and the pixels that can change it.

    Attributes:
      layer: its name.
      unit: row and column in the layer's grid.
      grid: rows and columns of the grid.
      channel: None where the box is of all channels.
      size: height and width of the receptive field, continued beyond the photo.
      box: the pixels inside the photo.
      activation: float [rows, columns], the channel's map for the photo; None without weights.
    """

    layer: str
    unit: tuple[int, int]
    grid: tuple[int, int]
    channel: int | None
    size: tuple[float, float]
    box: Box
    activation: np.ndarray | None = None


def unit_views(
    model: nn.Module,
    image_size: tuple[int, int],
    layers: Sequence[str] | None = None,
    *,
    channels: int = 3,
    unit: tuple[int, int] | None = None,
    call_args: Mapping[str, Any] | None = None,
) -> list[UnitView]:
    """The exact boxes of one unit of each layer, whatever the weights; nothing is computed.

    Args:
      model: any Linen module.
      image_size: height and width of the photo.
      layers: taps or modules; all taps with an extent in space by default.
      channels: of the photo.
      unit: row and column; the middle one of each layer by default.
      call_args: further arguments of the module's call.

    Raises:
      TraceError: the module cannot be traced.
      ValueError: an unknown layer, one without an extent in space, a unit that is not there.
    """
    fields = receptive_field(model, image_size, channels=channels, call_args=call_args)
    declared = [tap.name for tap in getattr(model, "taps", ()) if tap.name in fields.taps]
    names = layers or [n for n in declared or fields.names if len(fields[n].shape) == 4]
    views = []
    for name in names:
        shape = fields[name].shape
        if len(shape) != 4:
            raise ValueError(f"layer {name!r} gives {list(shape)}: its units have no place.")
        grid = (shape[1], shape[2])
        place = (grid[0] // 2, grid[1] // 2) if unit is None else unit
        box = fields.box(name, place)
        views.append(UnitView(name, place, grid, None, _size(fields, name, place, None), box))
    return views


def strongest_units(
    model: nn.Module,
    variables: Any,
    image: Any,
    layers: Sequence[str] | None = None,
    *,
    call_args: Mapping[str, Any] | None = None,
) -> list[UnitView]:
    """For each layer the unit that answers most to a photo [H, W, C], and what it can see.

    "Most" is the largest activation over places and channels. Errors as `unit_views`, and
    weights that do not fit the photo.
    """
    images = jnp.asarray(image, jnp.float32)[None]
    program = Program(model, variables, images, call_args=call_args)
    names = list(layers) if layers else spatial_layers(program)
    height, width, depth = images.shape[1:]
    fields = receptive_field(model, (height, width), channels=depth, call_args=call_args)
    run = jax.jit(lambda weights, x: program.run(weights, x, capture=names)[1])
    values = run(program.weights, images)
    views = []
    for name in names:
        value = np.asarray(values[name][0])
        if value.ndim != 3:
            raise ValueError(f"layer {name!r} gives {[1, *value.shape]}: its units have no place.")
        row, column, channel = map(int, np.unravel_index(value.argmax(), value.shape))
        size = _size(fields, name, (row, column), channel)
        box = fields.box(name, (row, column), channel=channel)
        grid = (value.shape[0], value.shape[1])
        views.append(UnitView(name, (row, column), grid, channel, size, box, value[..., channel]))
    return views


def _size(fields: Any, name: str, unit: tuple[int, int], channel: int | None) -> Any:
    return fields.box(name, unit, channel=channel, clipped=False).size


def _frame(axes: Axes, box: Box, pixels: int) -> None:
    """A frame just outside of a box, so that it does not cover what the smallest boxes hold."""
    beside = 1.5 * pixels / (72 * _SIDE)
    corner = (box.left - 0.5 - beside, box.top - 0.5 - beside)
    height, width = (length + 2 * beside for length in box.size)
    for color, line in (("white", 3.0), (ORANGE, 1.5)):
        axes.add_patch(
            Rectangle(
                *(corner, width, height),
                fill=False,
                edgecolor=color,
                linewidth=line,
                clip_on=False,
            )
        )


def draw_views(
    photo: np.ndarray, views: Sequence[UnitView], path: pathlib.Path, *, title: str = ""
) -> None:
    """The photo uint8 [H, W, C] with each unit's box, and its map below, if there is one."""
    known = [view for view in views if view.activation is not None]
    figure = new_figure((_SIDE + 0.1) * len(views) + 0.3, 6.0 if known else 3.5)
    grid = figure.subplots(2 if known else 1, len(views), squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for column, view in enumerate(views):
        axes, box = grid[0][column], view.box
        Panel(photo).draw(axes)
        _frame(axes, box, max(photo.shape[:2]))
        height, width = view.size
        cut = "" if view.size == box.size else f"\n{box.size[0]}x{box.size[1]} of them in the photo"
        axes.set_title(f"{view.layer}\n{height:g}x{width:g} pixels{cut}", fontsize=11)
        if view.activation is not None:
            below = grid[1][column]
            Panel(view.activation, "viridis").draw(below)
            place = (view.unit[1] - 0.5, view.unit[0] - 0.5)
            below.add_patch(Rectangle(place, 1, 1, fill=False, edgecolor=ORANGE, linewidth=2.5))
            below.set_title(
                f"channel {view.channel}, row {view.unit[0]}, column {view.unit[1]}", fontsize=10
            )
    which = "the strongest unit" if known else "the middle unit"
    figure.suptitle(f"{title}: what {which} of each layer can see", fontweight="bold", fontsize=13)
    save(figure, path)
