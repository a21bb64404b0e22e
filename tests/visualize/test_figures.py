"""Figures: files of a stated size with something on them, for many classes and for none wrong."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from jaxcnn.visualize import draw_confusion, draw_curves, draw_mistakes


def _drawn(path) -> bool:
    pixels = np.asarray(Image.open(path).convert("L"))
    return min(pixels.shape) >= 300 and pixels.std() > 3


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_a_confusion_matrix_is_drawn_for_any_number_of_classes(tmp_path, classes):
    counts = np.diag(np.full(classes, 5))
    counts[0, 1] = 3
    draw_confusion(counts, [f"class {i}" for i in range(classes)], tmp_path / "c.png", title="t")
    assert _drawn(tmp_path / "c.png")


def test_curves_are_drawn_with_and_without_evaluations(tmp_path):
    rows = [
        {"kind": "train", "step": s, "loss": 1 / s, "accuracy": 0.5, "learning_rate": 0.1}
        for s in range(1, 9)
    ]
    draw_curves(rows, tmp_path / "a.png", title="t", steps_per_epoch=4)
    draw_curves([*rows, {"kind": "eval", "step": 8, "loss": 0.3, "top1": 70.0}], tmp_path / "b.png")
    assert _drawn(tmp_path / "a.png") and _drawn(tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(("number", "channels"), [(0, 1), (1, 3), (24, 1)])
def test_mistakes_are_drawn_gray_or_coloured_few_or_many(tmp_path, number, channels):
    rng = np.random.default_rng(0)
    draw_mistakes(
        list(rng.integers(0, 256, (number, 8, 8, channels), dtype=np.uint8)),
        labels=["cat"] * number,
        predictions=["dog"] * number,
        confidences=[0.9] * number,
        total=number,
        path=tmp_path / "m.png",
        title="t",
    )
    assert _drawn(tmp_path / "m.png") or number == 0
    assert (tmp_path / "m.png").stat().st_size > 1000
