"""Learning curves."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from jaxcnn.visualize.canvas import BLUE, GRAY, ORANGE, new_figure, quiet, save


def draw_curves(
    rows: Sequence[Mapping[str, Any]],
    path: pathlib.Path,
    *,
    title: str = "",
    steps_per_epoch: float = 1.0,
) -> None:
    """Loss, accuracy and learning rate over epochs, from the rows of a `metrics.jsonl`."""
    train = [r for r in rows if r["kind"] == "train"]
    evals = [r for r in rows if r["kind"] == "eval"]
    figure = new_figure(12, 3.8)
    loss, accuracy, rate = figure.subplots(1, 3)
    x_train = [r["step"] / steps_per_epoch for r in train]
    x_eval = [r["step"] / steps_per_epoch for r in evals]
    marker = "o" if len(evals) < 30 else None

    loss.plot(x_train, [r["loss"] for r in train], color=BLUE, label="training, as optimised")
    loss.plot(
        x_eval, [r["loss"] for r in evals], color=ORANGE, marker=marker, ms=4, label="evaluation"
    )
    loss.set_yscale("log")
    loss.set_title("Loss (cross entropy)")

    accuracy.plot(x_train, [100 * r["accuracy"] for r in train], color=BLUE, label="training")
    top1 = [r["top1"] for r in evals]
    accuracy.plot(x_eval, top1, color=ORANGE, marker=marker, ms=4, label="evaluation")
    accuracy.set_title("Accuracy (%)")
    if top1:
        accuracy.annotate(
            f"{top1[-1]:.2f}%",
            (x_eval[-1], top1[-1]),
            xytext=(0, -16),
            textcoords="offset points",
            ha="right",
            color=ORANGE,
        )

    rate.plot(x_train, [r["learning_rate"] for r in train], color=GRAY)
    rate.set_title("Learning rate")
    for axes in (loss, accuracy, rate):
        axes.set_xlabel("epoch")
        quiet(axes)
    loss.legend(frameon=False)
    figure.suptitle(title, fontweight="bold")
    save(figure, path)
