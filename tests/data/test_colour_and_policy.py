"""Changes of colour and RandAugment's operations are Pillow's; lighting is as published."""

from __future__ import annotations

import colorsys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from jaxcnn.data import colour, policy
from jaxcnn.data.augment import Augment, augment, example_keys

RNG = np.random.default_rng(0)
IMAGE = np.clip(
    RNG.integers(0, 256, (23, 31, 3)) * 0.6 + np.linspace(0, 90, 31)[None, :, None], 0, 255
).astype(np.uint8)
PICTURE = Image.fromarray(IMAGE)
KEY = jax.random.key(3)


@pytest.mark.parametrize("factor", [0.0, 0.35, 1.0, 1.7])
@pytest.mark.parametrize(
    ("change", "enhancer"),
    [
        (colour.brightness, ImageEnhance.Brightness),
        (colour.contrast, ImageEnhance.Contrast),
        (colour.saturation, ImageEnhance.Color),
        (colour.sharpness, ImageEnhance.Sharpness),
    ],
)
def test_the_four_enhancers_are_pillows(change, enhancer, factor):
    expected = np.asarray(enhancer(PICTURE).enhance(factor)).astype(int)
    out = np.asarray(jax.jit(change)(IMAGE, jnp.float32(factor))).astype(int)
    # Truncation turns a difference in the last bit of a float into one level, here and there.
    assert np.abs(out - expected).max() <= 1
    assert np.mean(out != expected) < 0.03


def test_smoothing_is_pillows():
    expected = np.asarray(PICTURE.filter(ImageFilter.SMOOTH))
    np.testing.assert_array_equal(jax.jit(colour.sharpness)(IMAGE, 0.0), expected)


@pytest.mark.parametrize("shift", [0.0, 0.1, -0.25, 0.5])
def test_hue_is_the_standard_librarys(shift):
    out = np.asarray(jax.jit(colour.hue)(IMAGE, jnp.float32(shift)))
    for y, x in RNG.integers(0, 23, (40, 2)):
        h, s, v = colorsys.rgb_to_hsv(*(IMAGE[y, x] / 255))
        expected = np.array(colorsys.hsv_to_rgb((h + shift) % 1, s, v)) * 255
        np.testing.assert_allclose(out[y, x], expected, atol=0.51)


def test_jitter_stays_within_its_strengths_and_nothing_is_nothing():
    gray_image = np.full((4, 4, 3), 100, np.uint8)
    keys = jax.random.split(KEY, 200)
    some = jax.jit(jax.vmap(lambda k: colour.jitter(gray_image, k, (0.4, 0.0, 0.0, 0.0))))
    out = some(keys)
    seen = np.asarray(out)[:, 0, 0, 0]
    assert 59 <= seen.min() < 68 and 132 < seen.max() <= 140
    same = colour.jitter(IMAGE, KEY, (0.0, 0.0, 0.0, 0.0))
    np.testing.assert_array_equal(same, IMAGE)


def test_lighting_adds_the_principal_colours():
    alphas = np.asarray(jax.random.normal(KEY, (3,))) * 0.1
    shift = np.array(colour.IMAGENET_EIGENVECTORS) @ (alphas * colour.IMAGENET_EIGENVALUES) * 255
    expected = np.clip(np.rint(IMAGE + shift), 0, 255)
    np.testing.assert_allclose(colour.lighting(IMAGE, KEY, 0.1), expected, atol=1)
    assert np.abs(shift).max() > 0.5
    vectors = np.array(colour.IMAGENET_EIGENVECTORS)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(3), atol=1e-3)


def test_principal_colours_are_those_of_the_pixels():
    axes = np.linalg.qr(RNG.normal(size=(3, 3)))[0]
    pixels = 128 + (RNG.normal(size=(200_000, 3)) * [40, 20, 5]) @ axes.T
    values, vectors = colour.principal_colours(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))
    np.testing.assert_allclose(np.sqrt(values) * 255, [40, 20, 5], rtol=0.02)
    np.testing.assert_allclose(np.abs(np.sum(vectors * axes, 0)), 1, atol=1e-3)


OPERATE = jax.jit(policy.apply, static_argnums=4)


def run(name: str, magnitude: int, negate: int = 0, image=IMAGE) -> np.ndarray:
    which = policy.OPERATIONS.index(name)
    return np.asarray(OPERATE(image, which, magnitude, negate, policy.RANDAUGMENT))


def affine(matrix) -> np.ndarray:
    size = PICTURE.size
    return np.asarray(
        PICTURE.transform(size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST)
    )


@pytest.mark.parametrize("negate", [0, 1])
@pytest.mark.parametrize("name", policy.OPERATIONS)
def test_each_operation_is_pillows(name, negate):
    sign, level = (-1 if negate else 1), 18 / 30
    factor = 1 + sign * 0.9 * level
    expected = {
        "identity": lambda: IMAGE,
        "shear_x": lambda: affine((1, sign * 0.3 * level, 0, 0, 1, 0)),
        "shear_y": lambda: affine((1, 0, 0, sign * 0.3 * level, 1, 0)),
        # 150 / 331 of the side, cut to whole pixels: 8 of 31 and 6 of 23.
        "translate_x": lambda: affine((1, 0, -sign * 8, 0, 1, 0)),
        "translate_y": lambda: affine((1, 0, 0, 0, 1, -sign * 6)),
        "rotate": lambda: np.asarray(PICTURE.rotate(sign * 30 * level)),
        "brightness": lambda: np.asarray(ImageEnhance.Brightness(PICTURE).enhance(factor)),
        "color": lambda: np.asarray(ImageEnhance.Color(PICTURE).enhance(factor)),
        "contrast": lambda: np.asarray(ImageEnhance.Contrast(PICTURE).enhance(factor)),
        "sharpness": lambda: np.asarray(ImageEnhance.Sharpness(PICTURE).enhance(factor)),
        "posterize": lambda: np.asarray(ImageOps.posterize(PICTURE, 8 - 2)),
        "solarize": lambda: np.asarray(ImageOps.solarize(PICTURE, 255 * (1 - level))),
        "autocontrast": lambda: np.asarray(ImageOps.autocontrast(PICTURE)),
        "equalize": lambda: np.asarray(ImageOps.equalize(PICTURE)),
    }[name]()
    out = run(name, 18, negate).astype(int)
    enhancer = name in ("brightness", "color", "contrast", "sharpness")
    differ = np.abs(out - expected) > enhancer
    # Where a sample falls on the border of two pixels, or a float on that of two levels.
    assert np.mean(differ) < 0.012, name
    assert name == "identity" or np.mean(np.abs(expected - IMAGE.astype(int)) > 0) > 0.2


def test_a_magnitude_of_0_changes_nothing_that_has_a_strength():
    for name in policy.OPERATIONS[:11]:
        np.testing.assert_array_equal(run(name, 0), IMAGE, err_msg=name)


def test_equalize_and_autocontrast_of_one_colour_change_nothing():
    flat = jnp.full(IMAGE.shape, 77, jnp.uint8)
    for name in ("equalize", "autocontrast"):
        np.testing.assert_array_equal(run(name, 9, image=flat), np.asarray(flat))


@pytest.mark.parametrize("kind", ["randaugment", "trivialaugment"])
def test_a_policy_draws_every_operation_by_the_key_alone(kind):
    images = np.broadcast_to(IMAGE, (64, *IMAGE.shape))
    keys = example_keys(0, np.zeros(64, np.int32), np.arange(64, dtype=np.int32))
    config = Augment(policy=kind, layers=1, magnitude=20)
    change = jax.jit(augment, static_argnums=2)
    out = np.asarray(change(images, keys, config))
    assert len({x.tobytes() for x in out}) > 15
    some = np.array([5, 40, 3])
    np.testing.assert_array_equal(change(images[some], keys[some], config), out[some])
