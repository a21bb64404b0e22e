"""One look for every figure, and no window: figures are files."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

# What figures are written as. Without the date equal figures give equal files.
_OPTIONS: dict[str, dict[str, Any]] = {
    "png": {"pil_kwargs": {"optimize": True}},
    "svg": {"metadata": {"Date": None}},
    "pdf": {"metadata": {"CreationDate": None}},
}
FORMATS = tuple(_OPTIONS)
BLUE, ORANGE, GRAY = "#2563b0", "#d9661f", "#6b7280"
# Okabe and Ito's colours, which stay apart for colour-blind eyes, without the yellow.
LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
# Amounts, and signed values, whose orange is for a class and purple against it: both are read
# without red against green, the first also in gray.
AMOUNT, SIGNED = "inferno", "PuOr_r"


def new_figure(width: float, height: float) -> Figure:
    """A figure of a size in inches, independent of matplotlib's global state."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def quiet(axes: Axes) -> None:
    """Leaves the lines that carry information."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e5e7eb", linewidth=0.8)
    axes.set_axisbelow(True)


def check_ending(path: pathlib.Path) -> str:
    """The format that a figure's file is to have; raises ValueError if figures have no such."""
    form = path.suffix.lower().removeprefix(".")
    if form not in FORMATS:
        raise ValueError(f"{path}: the ending of a figure must be .{', .'.join(FORMATS)}.")
    return form


def save(figure: Figure, path: pathlib.Path) -> None:
    """Writes one of `FORMATS`, by the file's ending; equal figures give equal files."""
    options = _OPTIONS[check_ending(path)]
    path.parent.mkdir(parents=True, exist_ok=True)
    # Cut to what is drawn: square panels leave strips of a figure's own size empty.
    with matplotlib.rc_context({"svg.hashsalt": "jaxcnn"}):
        figure.savefig(path, dpi=150, bbox_inches="tight", pad_inches=0.08, **options)


@dataclasses.dataclass
class Panel:
    """One picture of a grid.

    Attributes:
      image: uint8 or float in [0, 1], [H, W] or [H, W, C]; values [H, W] where `cmap` is given.
      cmap: of values, with their range `limits`; the values' own without one.
      light: values [H, W] in [0, 1]: the image is dark where they are 0.
      note: text across the picture.
      title: text above it.
    """

    image: np.ndarray
    cmap: str | None = None
    limits: tuple[float, float] | None = None
    light: np.ndarray | None = None
    note: str = ""
    title: str = ""

    def draw(self, axes: Axes) -> None:
        values = self.image[..., 0] if self.image.ndim == 3 and self.image.shape[-1] == 1 else None
        values = self.image if values is None else values
        if self.light is not None:
            values = _lit(values, self.light)
        low, high = self.limits or (None, None)
        options: dict[str, Any] = {"cmap": self.cmap, "vmin": low, "vmax": high}
        if self.cmap is None:
            white = 255 if values.dtype == np.uint8 else 1
            options = {"cmap": "gray", "vmin": 0, "vmax": white} if values.ndim == 2 else {}
        axes.imshow(values, interpolation="nearest", **options)
        if self.title:
            axes.set_title(self.title, fontsize=11)
        if self.note:
            box = {"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 3}
            axes.text(
                *(0.5, 0.5, self.note),
                transform=axes.transAxes,
                ha="center",
                va="center",
                fontsize=10,
                bbox=box,
            )


@dataclasses.dataclass(frozen=True)
class Scale:
    """A colour bar beside a row: what its colours mean."""

    label: str
    cmap: str
    limits: tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of panels, what it shows, and what its colours mean."""

    label: str
    panels: Sequence[Panel]
    scale: Scale | None = None


def draw_grid(rows: Sequence[Row], path: pathlib.Path, *, title: str, side: float = 1.9) -> None:
    """A table of pictures: a labelled row for each kind, a column for each photo."""
    columns = max(len(row.panels) for row in rows)
    wide = any(row.scale for row in rows)
    width = max(side * columns + 1.1 + 1.3 * wide, 5.5)
    figure = new_figure(width, (side + 0.25) * len(rows) + 0.75)
    # The colour bars have a column of their own, so that the photos stay one below the other.
    widths = [1.0] * columns + [0.07] * wide
    grid = figure.subplots(len(rows), len(widths), squeeze=False, width_ratios=widths)
    for axes in grid.flat:
        axes.set_axis_off()
    for line, row in zip(grid, rows, strict=True):
        for axes, panel in zip(line[:columns], row.panels, strict=False):
            panel.draw(axes)
        axes = line[0]
        axes.set_axis_on()
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        axes.set_ylabel(row.label, fontsize=11)
        if row.scale is not None:
            shades = ScalarMappable(Normalize(*row.scale.limits), row.scale.cmap)
            line[-1].set_axis_on()
            # With both ends, so that the range can be read.
            bar = figure.colorbar(shades, cax=line[-1], ticks=np.linspace(*row.scale.limits, 5))
            bar.set_label(row.scale.label, fontsize=9)
    figure.suptitle(title, fontweight="bold", fontsize=13)
    save(figure, path)


def _lit(image: np.ndarray, light: np.ndarray) -> np.ndarray:
    """A photo in [0, 1] that is dark, but not black, where the light is 0."""
    values = image / 255 if image.dtype == np.uint8 else image
    shade = 0.12 + 0.88 * np.clip(light, 0, 1)
    return values * (shade[..., None] if values.ndim == 3 else shade)
