"""Colours, bars and frames say what the numbers say."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest

from jaxcnn.analysis import Box
from jaxcnn.visualize import OcclusionResult, UnitView, draw_occlusion, draw_views
from jaxcnn.visualize.pictures import _cam_layer
from jaxcnn.visualize.saliency import _signed


@pytest.fixture
def figures(monkeypatch):
    """The figures that are saved, in place of files."""
    kept = []
    for module in ("canvas", "receptive"):
        monkeypatch.setattr(
            f"jaxcnn.visualize.{module}.save", lambda figure, path: kept.append(figure)
        )
    return kept


def occluded(drop: float) -> OcclusionResult:
    covered = np.full((1, 1, 1), 0.9 - drop)
    none = np.zeros(1, int)
    return OcclusionResult(none, np.full(1, 0.9), covered, none, none, (4, 4), (4, 4))


def test_orange_is_for_the_class_in_every_picture(figures):
    draw_occlusion(np.zeros((1, 4, 4, 1), np.uint8), occluded(0.3), ["cat"], "x.png")
    below = next(a for a in figures[0].axes if a.images and a.images[0].get_array().max() > 1)
    gradient = np.zeros((1, 2, 2, 1))
    gradient[0, 0, 0] = 5
    (panel,) = _signed(gradient)
    for name, value, limits in (
        (below.images[0].get_cmap().name, below.images[0].get_array()[0, 0], (-40, 40)),
        (panel.cmap, panel.image[0, 0], panel.limits),
    ):
        share = (value - limits[0]) / (limits[1] - limits[0])
        red, _, blue, _ = matplotlib.colormaps[name](share)
        assert share > 0.8 and red > 2 * blue


@pytest.mark.parametrize(
    ("drop", "ticks"),
    [
        (0.87, [-100, -50, 0, 50, 100]),
        (-0.052, [-6, -3, 0, 3, 6]),
        (0.0004, [-0.04, -0.02, 0, 0.02, 0.04]),
        (0, [-1, -0.5, 0, 0.5, 1]),
    ],
)
def test_a_colour_bar_is_labelled_at_both_ends(figures, drop, ticks):
    draw_occlusion(np.zeros((1, 4, 4, 1), np.uint8), occluded(drop), ["cat"], "x.png")
    bar = next(a for a in figures[0].axes if a.get_ylabel() == "probability lost (points)")
    np.testing.assert_allclose(bar.get_yticks(), ticks, atol=1e-12)
    np.testing.assert_allclose(bar.get_ylim(), (ticks[0], ticks[-1]))


def test_a_frame_leaves_what_it_frames_to_be_seen(figures):
    box = Box(100, 50, 103, 53)
    assert box.size == (3, 3)
    view = UnitView("stem", (0, 0), (224, 224), None, (3, 3), box, None)
    draw_views(np.zeros((224, 224, 3), np.uint8), [view], "x.png")
    (figure,) = figures
    figure.canvas.draw()
    axes = figure.axes[0]
    (left, bottom), (right, top) = axes.transData.transform([(49.5, 102.5), (52.5, 99.5)])
    assert len(axes.patches) == 2
    for frame in axes.patches:
        line = frame.get_linewidth() / 2 * figure.dpi / 72
        edge = frame.get_window_extent()
        assert edge.x0 + line < left + 0.5 and edge.x1 - line > right - 0.5
        assert edge.y0 + line < bottom + 0.5 and edge.y1 - line > top - 0.5


@pytest.mark.parametrize(
    ("name", "shape", "layer"),
    [
        ("small_cnn", (8, 8, 1), "stage2"),  # stage3 is 2x2
        ("small_cnn", (16, 16, 1), "stage3"),
        ("cifar_resnet20", (32, 32, 3), "stage3"),
        ("mlp", (8, 8, 1), None),
    ],
)
def test_class_activation_maps_are_drawn_of_four_by_four_places_or_more(draw, name, shape, layer):
    from jaxcnn.preprocess import Preprocess
    from jaxcnn.visualize import Subject

    channels = shape[-1]
    record = Preprocess(shape[:2], channels, (0.5,) * channels, (0.5,) * channels)
    subject = Subject(name, *draw(name, shape), record, list("0123456789"))
    assert _cam_layer(subject) == layer
