"""The images that a network is surest of, and wrong about."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Sequence

import numpy as np

from jaxcnn.visualize.canvas import new_figure, save


def draw_mistakes(
    images: Sequence[np.ndarray],
    *,
    labels: Sequence[str],
    predictions: Sequence[str],
    confidences: Sequence[float],
    total: int,
    path: pathlib.Path,
    title: str = "",
) -> None:
    """A grid of uint8 images `[H, W, C]` with what was predicted, how surely, and the truth."""
    columns = max(1, min(6, len(images)))
    rows = max(1, math.ceil(len(images) / columns))
    figure = new_figure(max(6, 1.9 * columns), 2.3 * rows + 0.8)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, image, label, prediction, confidence in zip(
        grid.flat, images, labels, predictions, confidences, strict=False
    ):
        gray = image.shape[-1] == 1
        axes.imshow(image[..., 0] if gray else image, cmap="gray" if gray else None)
        axes.set_title(f"{prediction} ({confidence:.0%})\nis {label}", fontsize=9)
    shown = f"the {len(images)} surest of {total}" if total > len(images) else f"all {total}"
    heading = f"Mistakes ({shown})" if images else "No mistakes"
    figure.suptitle(f"{title}\n{heading}", fontweight="bold")
    save(figure, path)
