"""Learning curves."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, NullFormatter

from jaxcnn.visualize.canvas import BLUE, GRAY, LINES, ORANGE, new_figure, quiet, save


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
    _as_loss(loss)

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


def draw_runs(
    runs: Mapping[str, tuple[Sequence[Mapping[str, Any]], int]],
    path: pathlib.Path,
    *,
    title: str = "Learning curves",
) -> None:
    """Learning curves of several runs in one figure, a colour for each.

    They share the number of images seen as their axis, so that runs of other batch sizes compare.

    Args:
      runs: by name, the rows of its `metrics.jsonl` and its batch size.
      path: PNG or SVG.
      title: of the figure.

    Raises:
      ValueError: no runs, or one that has no rows yet.
    """
    if not runs:
        raise ValueError("draw_runs needs at least one run.")
    figure = new_figure(12, 4.6)
    loss, accuracy = figure.subplots(1, 2)
    for number, (name, (rows, batch_size)) in enumerate(runs.items()):
        if not rows:
            raise ValueError(f"run {name!r} has no rows in its metrics.jsonl yet; train it first.")
        color = LINES[number % len(LINES)]
        train = [r for r in rows if r["kind"] == "train"]
        evals = [r for r in rows if r["kind"] == "eval"]
        x = [r["step"] * batch_size for r in train]
        loss.plot(x, [r["loss"] for r in train], ":", color=color, linewidth=1.4)
        accuracy.plot(x, [100 * r["accuracy"] for r in train], ":", color=color, linewidth=1.4)
        x = [r["step"] * batch_size for r in evals]
        marker = "o" if len(evals) < 30 else None
        style: dict[str, Any] = {"color": color, "linewidth": 2, "marker": marker, "ms": 4}
        label = f"{name}: {evals[-1]['top1']:.2f}%" if evals else name
        loss.plot(x, [r["loss"] for r in evals], **style)
        accuracy.plot(x, [r["top1"] for r in evals], **style, label=label)
    loss.plot([], [], ":", color=GRAY, label="training, as optimised")
    loss.plot([], [], color=GRAY, linewidth=2, label="evaluation")
    _as_loss(loss)
    accuracy.set_title("Accuracy (%)")
    for axes in (loss, accuracy):
        axes.set_xlabel("training images seen")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.legend(frameon=False)
        quiet(axes)
    figure.suptitle(title, fontweight="bold")
    save(figure, path)


def _as_loss(axes: Axes) -> None:
    """A logarithmic axis with plain numbers: 1, 0.5, 0.2."""
    axes.set_title("Loss (cross entropy)")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
