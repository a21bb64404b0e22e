"""The named kernels: what they answer to, what is nearest to them, and layers filled with them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import jaxcnn.filters as jf


@pytest.mark.parametrize("size", [3, 5, 7, 11])
def test_smoothing_kernels_sum_to_1_and_derivatives_to_0(size):
    ones = {"identity", "box", "gaussian", "sharpen"}
    for name, kernel in jf.classical_kernels(size).items():
        assert kernel.shape == (size, size)
        assert kernel.sum() == pytest.approx(1 if name in ones else 0, abs=1e-9), name


def test_the_3x3_kernels_are_the_classical_ones():
    bank = jf.classical_kernels()
    np.testing.assert_array_equal(bank["sobel_x"] * 4, [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    np.testing.assert_array_equal(bank["sobel_y"] * 4, [[-1, -2, -1], [0, 0, 0], [1, 2, 1]])
    np.testing.assert_array_equal(bank["gaussian"] * 16, [[1, 2, 1], [2, 4, 2], [1, 2, 1]])
    np.testing.assert_array_equal(bank["sharpen"], [[0, -1, 0], [-1, 5, -1], [0, -1, 0]])
    np.testing.assert_allclose(bank["edge_45"] * 4, [[0, 1, 1], [-1, 0, 1], [-1, -1, 0]])


def test_kernels_are_the_filters_of_the_same_name():
    image = np.random.default_rng(0).uniform(size=(12, 12, 1)).astype(np.float32)
    bank = jf.classical_kernels()
    for name, ours in (
        ("sobel_x", jf.sobel(image, 1)),
        ("sobel_y", jf.sobel(image, 0)),
        ("scharr_x", jf.scharr(image, 1)),
        ("laplacian", jf.laplacian(image)),
        ("sharpen", jf.sharpen(image)),
        ("box", jf.box_blur(image, 3)),
    ):
        np.testing.assert_allclose(jf.correlate(image, bank[name]), ours, atol=1e-5)


@pytest.mark.parametrize("size", [3, 5, 7])
@pytest.mark.parametrize("kind", ["line", "gabor"])
def test_oriented_kernels_answer_most_to_their_own_orientation(size, kind):
    bank = jf.classical_kernels(size)
    if f"{kind}_0" not in bank:
        pytest.skip("gabor kernels begin at size 5")
    for angle in (0, 45, 90, 135):
        y, x = np.mgrid[size // 2 : -size // 2 : -1, -(size // 2) : size // 2 + 1]
        turn = np.radians(angle)
        line = (np.abs(x * np.sin(turn) - y * np.cos(turn)) < 0.5).astype(float)
        answers = {a: (bank[f"{kind}_{a}"] * line).sum() for a in (0, 45, 90, 135)}
        assert max(answers, key=answers.get) == angle


def test_every_kernel_is_nearest_to_itself_with_either_sign_and_any_scale():
    for size in (3, 5, 7):
        for name, kernel in jf.classical_kernels(size).items():
            found = jf.nearest_filter(-2.5 * kernel)
            assert found.correlation == pytest.approx(-1)
            assert found.name == name


def test_nearest_takes_the_mean_over_channels_and_any_size():
    sobel = jf.classical_kernels()["sobel_y"]
    coloured = np.stack([sobel, 2 * sobel, 0 * sobel], -1)
    assert jf.nearest_filter(coloured).name == "sobel_y"
    assert jf.nearest_filter(np.ones((2, 2))).name in jf.classical_kernels()
    assert jf.nearest_filter(np.zeros((3, 3))).correlation == 0
    noisy = sobel + np.random.default_rng(0).normal(scale=0.02, size=(3, 3))
    assert jf.nearest_filter(noisy).name in ("sobel_y", "scharr_y", "prewitt_y")
    with pytest.raises(ValueError, match="not finite"):
        jf.nearest_filter(np.full((3, 3), np.nan))
    with pytest.raises(ValueError, match=r"must be \[h, w\]"):
        jf.nearest_filter(np.zeros(3))


def test_a_first_layer_filled_with_kernels_filters_as_they_do():
    names = ("sobel_x", "gaussian")
    layer = nn.Conv(5, (3, 3), use_bias=False, kernel_init=jf.classical_init(names))
    image = jnp.asarray(np.random.default_rng(0).uniform(size=(1, 10, 10, 3)), jnp.float32)
    out, variables = layer.init_with_output(jax.random.key(0), image)
    kernel = variables["params"]["kernel"]
    assert kernel.shape == (3, 3, 3, 5)
    np.testing.assert_allclose(jnp.linalg.norm(kernel[..., :2].reshape(27, 2), axis=0), 2**0.5)
    gray = image.sum(-1, keepdims=True)
    for i, name in enumerate(names):
        expected = jf.correlate(gray, jf.classical_kernels()[name], mode="constant")[..., 0]
        ratio = out[..., i] / expected
        np.testing.assert_allclose(ratio, ratio[0, 0, 0], rtol=1e-3)
        assert jf.nearest_filter(kernel[..., i]).name == name
    assert float(jnp.std(kernel[..., 2:])) > 0
    assert not np.allclose(kernel[..., 2], kernel[..., 3])


def test_wrong_names_and_shapes_are_errors_that_help():
    key = jax.random.key(0)
    with pytest.raises(ValueError, match=r"no kernel 'sobelx' of size 3 \(did you mean 'sobel_x'"):
        jf.classical_init(["sobelx"])(key, (3, 3, 3, 8))
    with pytest.raises(ValueError, match="fills square ones"):
        jf.classical_init()(key, (3, 5, 3, 8))
    with pytest.raises(ValueError, match="size=4 cannot work"):
        jf.classical_init()(key, (4, 4, 3, 8))
