"""Filters equal scipy.ndimage and scikit-image on photos."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage
from skimage import color, filters

import jaxcnn.filters as jf

MODES = ["reflect", "mirror", "nearest", "wrap", "constant"]
UNEVEN = np.array([[1.0, 2, 3], [0, -1, 0], [4, 0, -6]])


def channels(function, image):
    """A function of [H, W] in float64 on every channel."""
    image = image.astype(np.float64)
    return np.stack([function(image[..., c]) for c in range(image.shape[-1])], -1)


def same(ours, theirs, tolerance=1e-5):
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance)


def test_convolution_is_the_textbooks_sum():
    image = np.random.default_rng(0).uniform(size=(6, 7))
    expected = np.zeros_like(image)
    for y in range(6):
        for x in range(7):
            for i in (-1, 0, 1):
                for j in (-1, 0, 1):
                    if 0 <= y - i < 6 and 0 <= x - j < 7:
                        expected[y, x] += UNEVEN[i + 1, j + 1] * image[y - i, x - j]
    ours = jf.convolve(image[..., None].astype(np.float32), UNEVEN, mode="constant")
    same(ours[..., 0], expected)


def test_convolution_and_correlation_differ_by_half_a_turn_of_the_kernel():
    spot = np.zeros((5, 5, 1), np.float32)
    spot[2, 2] = 1
    np.testing.assert_array_equal(jf.convolve(spot, UNEVEN)[1:4, 1:4, 0], UNEVEN)
    np.testing.assert_array_equal(jf.correlate(spot, UNEVEN)[1:4, 1:4, 0], UNEVEN[::-1, ::-1])
    layer = jax.lax.conv_general_dilated(
        spot[None],
        UNEVEN[..., None, None].astype(np.float32),
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    np.testing.assert_array_equal(layer[0], jf.correlate(spot, UNEVEN, mode="constant"))


@pytest.mark.parametrize(
    ("shape", "mode"),
    [((4, 3), mode) for mode in MODES] + [((3, 3), "reflect"), ((2, 5), "wrap"), ((1, 1), "wrap")],
)
def test_both_equal_scipy(photo, mode, shape):
    kernel = np.random.default_rng(1).normal(size=shape) / np.prod(shape)
    for ours, theirs in ((jf.correlate, ndimage.correlate), (jf.convolve, ndimage.convolve)):
        expected = channels(lambda c, f=theirs: f(c, kernel, mode=mode, cval=0.3), photo)
        same(ours(photo, kernel, mode=mode, cval=0.3), expected)


@pytest.mark.parametrize("mode", MODES)
def test_padding_wider_than_the_image_equals_scipy(mode):
    image = np.random.default_rng(0).uniform(size=(4, 3, 1)).astype(np.float32)
    expected = channels(lambda c: ndimage.gaussian_filter(c, 3.0, mode=mode), image)
    same(jf.gaussian_blur(image, 3.0, mode=mode), expected)


@pytest.mark.parametrize("mode", MODES)
def test_blurs_equal_scipy(photo, mode):
    for sigma in (0.5, 3.0):
        expected = channels(lambda c, s=sigma: ndimage.gaussian_filter(c, s, mode=mode), photo)
        same(jf.gaussian_blur(photo, sigma, mode=mode), expected)
    for size in (4, 9):
        expected = channels(lambda c, s=size: ndimage.uniform_filter(c, s, mode=mode), photo)
        same(jf.box_blur(photo, size, mode=mode), expected)


def test_sigma_0_changes_nothing(photo):
    same(jf.gaussian_blur(photo, 0.0), photo)


@pytest.mark.parametrize("mode", MODES)
def test_edges_equal_scipy_and_skimage(photo, mode):
    for axis in (None, 0, 1):
        for ours, theirs in ((jf.sobel, filters.sobel), (jf.scharr, filters.scharr)):
            expected = channels(lambda c, f=theirs, a=axis: f(c, axis=a, mode=mode), photo)
            same(ours(photo, axis, mode=mode), expected)
    same(jf.laplacian(photo, mode=mode), channels(lambda c: ndimage.laplace(c, mode=mode), photo))
    expected = channels(lambda c: ndimage.sobel(c, 0, mode=mode), photo)
    same(4 * jf.sobel(photo, 0, mode=mode), expected)


def test_sharpening_equals_skimage_and_the_kernel_of_five(photo):
    for radius, amount in ((1.0, 1.0), (3.0, 0.5)):
        expected = channels(
            lambda c, r=radius, a=amount: filters.unsharp_mask(c, r, a, preserve_range=True), photo
        )
        same(jf.unsharp_mask(photo, radius, amount), expected)
    kernel = np.array([[0, -1, 0], [-1, 5, -1], [0, -1, 0]])
    same(jf.sharpen(photo), channels(lambda c: ndimage.correlate(c, kernel), photo))


def test_gray_and_channels_equal_skimage(photo):
    parts = jf.split_channels(photo)
    np.testing.assert_array_equal(np.concatenate(parts, -1), photo)
    if photo.shape[-1] == 3:
        same(jf.to_gray(photo)[..., 0], color.rgb2gray(photo.astype(np.float64)))
    else:
        with pytest.raises(ValueError, match="1 channels; gray needs RGB"):
            jf.to_gray(photo)


def test_batches_and_bytes_work_like_single_images():
    rng = np.random.default_rng(0)
    batch = rng.integers(0, 256, (2, 3, 16, 20, 3), np.uint8)
    for function in (lambda x: jf.gaussian_blur(x, 1.0), jf.sobel, jf.canny, jf.otsu_threshold):
        out = function(batch)
        for index in np.ndindex(2, 3):
            np.testing.assert_allclose(out[index], function(batch[index]), atol=1e-4)


def test_filters_are_differentiable_in_images_and_kernel():
    image = jnp.asarray(np.random.default_rng(0).uniform(size=(12, 12, 1)), jnp.float32)
    flat = jnp.zeros((12, 12, 1))
    for function in (jf.sobel, jf.laplacian, jf.sharpen, lambda x: jf.gaussian_blur(x, 1.0)):
        for value in (image, flat):
            gradient = jax.grad(lambda x, f=function: (f(x) ** 2).sum())(value)
            assert jnp.isfinite(gradient).all()
    kernel = jnp.asarray(UNEVEN, jnp.float32)
    # The response is linear in the kernel: its gradient times the kernel is the response.
    total, gradient = jax.value_and_grad(lambda k: jf.convolve(image, k).sum())(kernel)
    assert float((gradient * kernel).sum()) == pytest.approx(float(total), rel=1e-4)


def test_compiled_once_for_each_shape():
    before = jf.correlate._cache_size()
    for seed in range(3):
        image = np.random.default_rng(seed).uniform(size=(9, 11, 1)).astype(np.float32)
        jf.correlate(image, image[:3, :3, 0], mode="wrap")
    assert jf.correlate._cache_size() == before + 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: jf.sobel(np.zeros((8, 8))), r"take \[..., H, W, C\]; .*images\[..., None\]"),
        (lambda: jf.sobel(np.zeros((0, 8, 1))), "have no pixels"),
        (lambda: jf.sobel(np.zeros((8, 8, 1), complex)), "real numbers"),
        (lambda: jf.sobel(np.zeros((8, 8, 1)), mode="mirorr"), "did you mean 'mirror'"),
        (lambda: jf.sobel(np.zeros((8, 8, 1)), axis=2), "axis=2 cannot work"),
        (lambda: jf.convolve(np.zeros((8, 8, 1)), np.zeros(3)), r"must be \[height, width\]"),
        (lambda: jf.box_blur(np.zeros((8, 8, 1)), 0), "size=0 cannot work"),
        (lambda: jf.gaussian_blur(np.zeros((8, 8, 1)), -1.0), "sigma=-1.0 cannot work"),
        (lambda: jf.otsu_threshold(np.zeros((8, 8, 1)), bins=1), "bins=1 cannot work"),
    ],
)
def test_errors_name_the_value_and_the_rule(call, message):
    with pytest.raises(ValueError, match=message):
        call()
