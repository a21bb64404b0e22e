"""One look for every figure, and no window: figures are files."""

from __future__ import annotations

import pathlib

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

BLUE, ORANGE, GRAY = "#2563b0", "#d9661f", "#6b7280"


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


def save(figure: Figure, path: pathlib.Path) -> None:
    """Writes PNG or SVG, by the file's ending."""
    figure.savefig(path, dpi=150)
