"""Thresholds and Canny's edges against scikit-image on photos."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data
from skimage import feature, filters

import jaxcnn.filters as jf


def test_otsu_equals_skimage_on_bytes_and_floats(whole_photo):
    ours = jf.otsu_threshold(whole_photo)
    assert ours.shape == (1, 1, whole_photo.shape[-1])
    expected = [filters.threshold_otsu(whole_photo[..., c]) for c in range(whole_photo.shape[-1])]
    np.testing.assert_array_equal(ours[0, 0], expected)
    floats = (whole_photo / 255).astype(np.float32)
    expected = [filters.threshold_otsu(floats[..., c]) for c in range(floats.shape[-1])]
    np.testing.assert_allclose(jf.otsu_threshold(floats)[0, 0], expected, atol=1e-5)


def test_threshold_is_the_binary_image(whole_photo):
    binary = jf.threshold(whole_photo, 100)
    assert binary.dtype == bool
    np.testing.assert_array_equal(binary, whole_photo > 100)


def test_otsu_of_one_value_is_that_value():
    assert float(jf.otsu_threshold(np.full((4, 4, 1), 0.25, np.float32))[0, 0, 0]) == 0.25


@pytest.mark.parametrize("sigma", [1.0, 3.0])
def test_canny_marks_the_pixels_that_skimage_marks(whole_photo, sigma):
    image = (whole_photo / 255).astype(np.float32)
    ours = np.asarray(jf.canny(image, sigma))
    theirs = np.stack(
        [feature.canny(image[..., c], sigma) for c in range(image.shape[-1])], axis=-1
    )
    assert theirs.any()
    assert (ours != theirs).sum() <= 0.01 * theirs.sum()


@pytest.mark.parametrize("mode", ["nearest", "reflect"])
def test_canny_takes_thresholds_and_boundary_modes(mode):
    whole_photo = skimage.data.camera()[..., None]
    image = (whole_photo[..., :1] / 255).astype(np.float32)
    ours = np.asarray(jf.canny(image, 1.5, 0.05, 0.4, mode=mode))[..., 0]
    theirs = feature.canny(image[..., 0], 1.5, 0.05, 0.4, mode=mode)
    assert (ours != theirs).sum() <= 0.01 * theirs.sum()


def test_canny_of_a_plain_image_is_empty():
    assert not jf.canny(np.full((16, 16, 1), 0.5, np.float32)).any()


def test_canny_links_weak_pixels_to_strong_ones_and_drops_the_others():
    image = np.zeros((40, 60, 1), np.float32)
    # A step that fades from left to right, and a weak one that touches nothing strong.
    image[8:20, 5:55] = np.linspace(1, 0.1, 50)[None, :, None]
    image[28:36, 5:55] = 0.1
    strict = np.asarray(jf.canny(image, 1.0, 2.0, 2.0))
    linked = np.asarray(jf.canny(image, 1.0, 0.15, 2.0))
    assert 0 < strict.sum() < linked.sum() / 2
    assert linked[strict].all()
    assert not linked[25:].any()
    assert np.asarray(jf.canny(image, 1.0, 0.15, 0.15))[25:].any()
