"""Accuracy over the strength of what was done to the images."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from jaxcnn.visualize.canvas import BLUE, GRAY, ORANGE, new_figure, quiet, save

_COLORS = (BLUE, ORANGE, "#2a8a57", "#8b4fb3", GRAY, "#a3402f", "#0e7c86", "#b58900")
_MARKERS = "osD^vPX*"
_AXES = {
    "shift": "shift (pixels)",
    "blur": "blur (standard deviation, pixels)",
    "noise": "noise (standard deviation, share of the range)",
    "jpeg": "JPEG quality",
}


def draw_robustness(
    curves: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]],
    path: pathlib.Path,
    *,
    title: str = "",
    chance: float | None = None,
) -> None:
    """One panel for each corruption, one line for each network.

    Args:
      curves: by network, then by corruption: rows with `level`, `top1`, `worst` and `best`, as
        `Robustness.rows` gives them. Between worst and best (a shift's directions) is shaded.
      path: where to write.
      title: above the panels.
      chance: accuracy of guessing, drawn as a dotted line.
    """
    kinds = list(next(iter(curves.values())))
    columns = min(2, len(kinds))
    rows = -(-len(kinds) // columns)
    figure = new_figure(5.6 * columns, 3.7 * rows + 0.5)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for kind, axes in zip(kinds, panels, strict=False):
        none = "0" if kind == "shift" else "none"
        _draw_panel(axes, none, {name: by_kind[kind] for name, by_kind in curves.items()}, chance)
        axes.set_xlabel(_AXES.get(kind, kind))
    for axes in panels[len(kinds) :]:
        axes.axis("off")
    panels[0].legend(frameon=False, loc="best")
    figure.suptitle(title, fontweight="bold")
    save(figure, path)


def _draw_panel(
    axes: Axes,
    none: str,
    curves: Mapping[str, Sequence[Mapping[str, Any]]],
    chance: float | None,
) -> None:
    for number, (name, points) in enumerate(curves.items()):
        x = range(len(points))
        color = _COLORS[number % len(_COLORS)]
        low, mean, high = ([100 * row[k] for row in points] for k in ("worst", "top1", "best"))
        if low != high:
            axes.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)
        marker = _MARKERS[number % len(_MARKERS)]
        axes.plot(x, mean, color=color, marker=marker, ms=5, label=name)
        levels = [row["level"] for row in points]
    labels = [none if level is None else f"{level:g}" for level in levels]
    axes.set_xticks(range(len(labels)), labels)
    if chance is not None:
        axes.axhline(100 * chance, color=GRAY, linestyle=":", linewidth=1, label="chance")
    axes.set_ylim(0, 102)
    axes.set_ylabel("top-1 (%)")
    quiet(axes)
