"""The confusion matrix."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import numpy as np

from jaxcnn.visualize.canvas import new_figure, save

# Above these numbers of classes the cells, then the names, no longer fit.
_MOST_COUNTS, _MOST_NAMES = 20, 60


def draw_confusion(
    counts: np.ndarray, class_names: Sequence[str], path: pathlib.Path, *, title: str = ""
) -> None:
    """Rows are the true classes, columns the predicted; the colour is the share of the row."""
    n = len(class_names)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(max(4.5, 0.55 * n + 2), 14)
    figure = new_figure(side + 1, side)
    axes = figure.subplots()
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    if n <= _MOST_COUNTS:
        for row, column in zip(*np.nonzero(counts), strict=True):
            axes.text(
                column,
                row,
                str(counts[row, column]),
                ha="center",
                va="center",
                fontsize=9,
                color="white" if share[row, column] > 0.5 else "#111827",
            )
    if n <= _MOST_NAMES:
        longest = max(map(len, class_names))
        axes.set_xticks(range(n), class_names, rotation=90 if longest > 3 else 0)
        axes.set_yticks(range(n), class_names)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    correct = np.trace(counts)
    axes.set_title(f"{title}\n{correct:,} of {counts.sum():,} right", fontweight="bold")
    figure.colorbar(image, label="share of the true class", shrink=0.8)
    save(figure, path)
