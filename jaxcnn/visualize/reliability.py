"""The reliability diagram."""

from __future__ import annotations

import pathlib

import numpy as np

from jaxcnn.visualize.canvas import BLUE, GRAY, ORANGE, new_figure, quiet, save


def draw_reliability(
    edges: np.ndarray,
    count: np.ndarray,
    accuracy: np.ndarray,
    confidence: np.ndarray,
    path: pathlib.Path,
    *,
    title: str = "",
) -> None:
    """Accuracy over confidence (Guo et al. 2017, figure 1), and the examples in each bin.

    Args:
      edges: bounds of the bins `[bins + 1]`.
      count: examples in each bin `[bins]`.
      accuracy: share that was right, in [0, 1].
      confidence: mean confidence, in [0, 1].
      path: where to write.
      title: above the figure.
    """
    figure = new_figure(5.5, 6)
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    middle, width = (edges[:-1] + edges[1:]) / 2, 0.92 * np.diff(edges)
    used = count > 0
    axes.bar(middle[used], accuracy[used], width[used], color=BLUE, label="right")
    axes.vlines(
        middle[used],
        accuracy[used],
        confidence[used],
        color=ORANGE,
        lw=2,
        label="gap to confidence",
    )
    axes.plot([0, 1], [0, 1], color=GRAY, linestyle="--", lw=1, label="well calibrated")
    axes.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="accuracy")
    axes.legend(frameon=False, loc="upper left")
    below.bar(middle, count, width, color=GRAY)
    below.set(xlabel="confidence", ylabel="examples")
    quiet(axes)
    quiet(below)
    error = np.sum(count * np.abs(accuracy - confidence)) / max(1, count.sum())
    axes.set_title(f"{title}\nexpected calibration error {error:.4f}", fontweight="bold")
    save(figure, path)
