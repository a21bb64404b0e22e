"""Corruptions change images as they say, the same everywhere, and are counted exactly."""

from __future__ import annotations

import io

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from flax import linen as nn
from PIL import Image

from jaxcnn import parallel
from jaxcnn.evaluation import EvaluationSetup, measure_robustness
from jaxcnn.evaluation.corruptions import Condition, blur, compress, conditions, noise, shift
from jaxcnn.evaluation.robustness import to_csv
from jaxcnn.preprocess import Preprocess


@pytest.fixture(scope="module")
def image():
    smooth = scipy.ndimage.gaussian_filter(
        np.random.default_rng(0).normal(size=(24, 20, 3)), (2, 2, 0)
    )
    return np.clip(128 + 200 * smooth, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("down", "right"), [(3, 0), (-2, 0), (0, 5), (0, -1), (2, -4)])
def test_a_shift_moves_whole_pixels_and_fills_with_black(image, down, right):
    expected = scipy.ndimage.shift(image, (down, right, 0), order=0, cval=0)
    np.testing.assert_array_equal(shift(image, down, right), expected)
    np.testing.assert_array_equal(
        shift(image, down, right, "wrap"), np.roll(image, (down, right), (0, 1))
    )


def test_other_borders_repeat_or_mirror():
    row = np.arange(1, 5, dtype=np.uint8)[None, :, None]
    assert shift(row, 0, 2, "edge").ravel().tolist() == [1, 1, 1, 2]
    assert shift(row, 0, 2, "reflect").ravel().tolist() == [2, 1, 1, 2]
    assert shift(row, 0, -2, "edge").ravel().tolist() == [3, 4, 4, 4]
    assert shift(row, 0, 9).ravel().tolist() == [0] * 4


@pytest.mark.parametrize("sigma", [0.5, 1.0, 3.0])
def test_blur_is_scipys_gaussian(image, sigma):
    expected = scipy.ndimage.gaussian_filter(image.astype(float), (sigma, sigma, 0), mode="nearest")
    np.testing.assert_allclose(blur(image, sigma), expected, atol=0.5 + 1e-9)


def test_noise_depends_on_the_index_alone_and_has_its_deviation():
    gray = np.full((200, 200, 1), 128, np.uint8)
    first, again, other = (noise(gray, 0.05, i) for i in (7, 7, 8))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    values = first.astype(float) - 128
    assert abs(values.mean()) < 0.3 and values.std() == pytest.approx(0.05 * 255, rel=0.02)


def test_compression_is_pillows_jpeg(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=25)
    np.testing.assert_array_equal(compress(image, 25), np.asarray(Image.open(file)))
    assert compress(image[:, :, :1], 25).shape == (24, 20, 1)


def test_every_condition_is_there_once_and_the_untouched_image_first():
    found = conditions()
    assert found[0] == Condition("clean", None) and len(set(found)) == len(found)
    levels = {c.level for c in found if c.kind == "shift" and c.direction == "up"}
    assert levels == set(range(1, 9))
    with pytest.raises(ValueError, match="'fog' is no corruption; choose from shift, blur"):
        conditions(("fog",))


class FirstPixel(nn.Module):
    """Says class 1 if the top left pixel is bright."""

    @nn.compact
    def __call__(self, images, *, train):
        value = images[:, 0, 0, 0]
        return jnp.stack([0.5 - value, value - 0.5], axis=1)


def test_counts_under_shifts_equal_a_plain_loop(pictures):
    rng = np.random.default_rng(2)
    source = pictures(rng.integers(0, 2, 37), ("dark", "bright"))
    preprocess = Preprocess((8, 8), mean=(0.0,) * 3, std=(1.0,) * 3, resize="none")
    mapping = parallel.make_mapping()
    setup = EvaluationSetup.prepare(
        FirstPixel(), {}, source, preprocess, batch_size=16, mapping=mapping
    )
    result = measure_robustness(setup, "first pixel", kinds=("shift", "noise"), border="wrap")

    def right(change):
        pixels = [change(image, i)[0, 0, 0] for i, image in enumerate(source.images)]
        return int(np.sum((np.array(pixels) > 127) == source.label))

    for condition, correct in result.correct.items():
        expected = right(lambda image, i, c=condition: c.apply(image, i, "wrap"))
        assert correct == expected, condition
    rows = result.rows("shift")
    assert [row["level"] for row in rows] == [None, *range(1, 9)]
    # With wrap a shift by the whole size brings the image back.
    assert rows[8]["top1"] == rows[0]["top1"] == result.clean
    found = [result.correct[Condition("shift", 3, d)] for d in ("up", "down", "left", "right")]
    assert rows[3]["top1"] == pytest.approx(np.mean(found) / 37)
    assert (rows[3]["worst"], rows[3]["best"]) == (min(found) / 37, max(found) / 37)
    assert len(to_csv([result]).splitlines()) == 1 + 9 + 6
