"""The host's resize and crop: torchvision's sizes, Pillow's pixels, Inception's random crops."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from jaxcnn.data import RandomResizedCrop, open_source, prepare_image
from jaxcnn.data.transforms import draw_random_crop, example_rng
from jaxcnn.data.view import cover
from jaxcnn.preprocess import Preprocess

RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 256, (75, 100, 3), np.uint8)


def crop_of(image, side: int, key: tuple[int, int, int], **fields) -> np.ndarray:
    out = np.empty((side, side, 3), np.uint8)
    draw_random_crop(image, Preprocess((side, side)), RandomResizedCrop(**fields), key, out)
    return out


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        # width, height after torchvision's Resize(256): int(256 * long / short)
        ((500, 375), (341, 256)),
        ((375, 500), (256, 341)),
        ((500, 333), (384, 256)),
        ((300, 300), (256, 256)),
        ((200, 1001), (256, 1281)),
        ((10, 13), (256, 332)),
    ],
)
def test_the_shorter_side_is_scaled_as_torchvision_rounds_it(size, expected):
    assert cover(size, Preprocess((224, 224))) == expected


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_shorter_is_pillows_resize_and_a_centre_crop(interpolation):
    filters = {"bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC}
    # Shorter side 75 to int(28 / 0.875) = 32, the longer to int(32 * 100 / 75) = 42; then the
    # crop begins at round((42 - 28) / 2) = 7 and round((32 - 28) / 2) = 2.
    scaled = np.asarray(Image.fromarray(PHOTO).resize((42, 32), filters[interpolation]))
    out = prepare_image(PHOTO, Preprocess((28, 28), interpolation=interpolation))
    np.testing.assert_array_equal(out, scaled[2:30, 7:35])


def test_half_a_pixel_of_offset_rounds_to_even_as_in_torchvision():
    # 341 - 224 = 117: round(58.5) is 58.
    wide = np.zeros((256, 341, 3), np.uint8)
    wide[:, 58] = 255
    out = prepare_image(wide, Preprocess((224, 224)))
    assert out[0, 0, 0] == 255 and out[0, 1, 0] == 0


def test_the_crop_of_another_aspect_than_the_image_is_covered():
    out = prepare_image(PHOTO, Preprocess((10, 30), crop_pct=1.0))
    assert out.shape == (10, 30, 3)
    scaled = np.asarray(Image.fromarray(PHOTO).resize((30, 22), Image.BILINEAR))
    np.testing.assert_array_equal(out, scaled[6:16])


def test_squash_scales_both_sides():
    out = prepare_image(PHOTO, Preprocess((20, 30), resize="squash"))
    expected = np.asarray(Image.fromarray(PHOTO).resize((30, 20), Image.BILINEAR))
    np.testing.assert_array_equal(out, expected)


def test_none_takes_the_size_and_refuses_others():
    record = Preprocess((75, 100), resize="none")
    np.testing.assert_array_equal(prepare_image(PHOTO, record), PHOTO)
    with pytest.raises(ValueError, match=r"has 75 x 100 pixels and the network takes 32 x 32"):
        prepare_image(PHOTO, Preprocess((32, 32), resize="none"))


def test_gray_output_has_one_channel():
    gray = Preprocess((28, 28), channels=1, mean=(0.5,), std=(0.5,))
    out = prepare_image(PHOTO, gray)
    assert out.shape == (28, 28, 1) and out.dtype == np.uint8


def test_the_random_crop_depends_on_seed_epoch_and_index_alone():
    def view(*key: int) -> bytes:
        return crop_of(PHOTO, 16, key).tobytes()

    assert view(0, 1, 2) == view(0, 1, 2)
    assert len({view(0, 1, 2), view(1, 1, 2), view(0, 2, 2), view(0, 1, 3), view(0, 2, 1)}) == 5


def test_random_crops_have_the_areas_and_aspects_that_are_asked_for():
    crop, rng = RandomResizedCrop(), np.random.default_rng(0)
    boxes = np.array([crop.box(400, 300, rng) for _ in range(4000)])
    left, top, right, bottom = boxes.T
    assert left.min() == 0 and top.min() == 0 and right.max() == 400 and bottom.max() == 300
    width, height = right - left, bottom - top
    share, aspect = width * height / (400 * 300), width / height
    assert 0.075 < share.min() < 0.09 and 0.95 < share.max() <= 1.0
    assert aspect.min() > 0.74 and aspect.max() < 1.35
    # Uniform in log aspect: as many wide crops as tall ones among the small, which always fit.
    assert abs(np.mean(np.log(aspect[share < 0.4]))) < 0.02
    # The areas are those of uniform draws, less what does not fit the image.
    draws = rng.uniform(0.08, 1, 200_000)
    aspects = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3), 200_000))
    fits = (draws * aspects <= 400 / 300) & (draws / aspects <= 300 / 400)
    for quantile in (0.1, 0.5, 0.9):
        expected = np.quantile(draws[fits], quantile)
        assert abs(np.quantile(share, quantile) - expected) < 0.03


def test_an_image_too_narrow_for_any_crop_gives_its_centre():
    crop = RandomResizedCrop(scale=(1.0, 1.0))
    rng = np.random.default_rng(0)
    assert crop.box(10, 1000, rng) == (0, 493, 10, 506)
    assert crop.box(1000, 10, rng) == (493, 0, 506, 10)


def test_the_random_crop_is_pillows_resize_of_its_box():
    box = RandomResizedCrop().box(100, 75, example_rng(3, 0, 0))
    expected = np.asarray(Image.fromarray(PHOTO).crop(box).resize((16, 16), Image.BILINEAR))
    out = crop_of(PHOTO, 16, (3, 0, 0))
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("fields", [{"scale": (0.0, 1.0)}, {"scale": (0.5, 2)}, {"ratio": (2, 1)}])
def test_bounds_that_cannot_be_are_refused(fields):
    with pytest.raises(ValueError, match=r"need 0 < lower|at most the whole image"):
        RandomResizedCrop(**fields)


def test_photos_come_out_within_one_of_a_plain_pillow_pipeline(shared):
    source = open_source("imagenet_sample", "test", data_dir=shared / "tfds")
    record = Preprocess((224, 224), interpolation="bicubic")
    for i in range(0, 100, 20):
        from io import BytesIO

        image = Image.open(BytesIO(source[i].image)).convert("RGB")
        short, long = sorted(image.size)
        size = (256, int(256 * long / short))
        image = image.resize(size if image.width == short else size[::-1], Image.BICUBIC)
        x, y = round((image.width - 224) / 2), round((image.height - 224) / 2)
        expected = np.asarray(image)[y : y + 224, x : x + 224]
        np.testing.assert_array_equal(prepare_image(source[i].image, record), expected)
