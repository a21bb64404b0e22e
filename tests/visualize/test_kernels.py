"""Kernels: planted classical filters are found, through colours, scales and signs."""

from __future__ import annotations

import numpy as np
import pytest

from jaxcnn.filters import classical_kernels
from jaxcnn.visualize import nearest_filter


@pytest.mark.parametrize("name", ["sobel_x", "sobel_y", "gaussian", "laplacian", "edge_45"])
@pytest.mark.parametrize("color", [(1, 1, 1), (1, -1, 0), (0, -0.2, 0.7)])
def test_planted_filters_are_found_in_any_colour_scale_and_sign(name, color):
    bank = classical_kernels(3)
    for scale in (3.0, -0.01):
        found = nearest_filter(scale * bank[name][..., None] * np.array(color))
        assert found.name == name
        assert found.similarity == pytest.approx(1) and found.share == pytest.approx(1)
        # Up to its scale, the pattern times the colour is the kernel.
        rebuilt = found.pattern[..., None] * found.color
        kernel = scale * bank[name][..., None] * np.array(color)
        np.testing.assert_allclose(rebuilt, kernel / np.linalg.norm(kernel), atol=1e-12)


def test_the_dominant_pattern_wins_and_its_share_is_stated():
    bank = classical_kernels(3)
    unit = {n: bank[n] / np.linalg.norm(bank[n]) for n in ("sobel_x", "gaussian")}
    kernel = np.stack([3 * unit["sobel_x"], 1 * unit["gaussian"]], -1)  # orthogonal patterns
    found = nearest_filter(kernel)
    assert found.name == "sobel_x" and found.share == pytest.approx(0.9)
    np.testing.assert_allclose(found.color, [1, 0], atol=1e-12)


def test_zeros_are_like_nothing_and_what_is_no_kernel_is_refused():
    assert nearest_filter(np.zeros((3, 3, 3))).similarity == 0
    with pytest.raises(ValueError, match="not finite"):
        nearest_filter(np.full((3, 3), np.nan))
    with pytest.raises(ValueError, match=r"must be \[h, w\] or \[h, w, C\]"):
        nearest_filter(np.zeros((3, 3, 3, 8)))
