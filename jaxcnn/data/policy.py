"""RandAugment and TrivialAugment on the device, of one uint8 image `[H, W, C]`.

The operations and ranges are torchvision's, with nearest sampling and black outside. Whatever was
drawn, an image goes once through a warp, a blend and a table of 256 values, two of which then
change nothing: under `vmap` a choice among functions would compute all of them.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from jaxcnn.data import colour

OPERATIONS = (
    "identity",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
    "rotate",
    "brightness",
    "color",
    "contrast",
    "sharpness",
    "posterize",
    "solarize",
    "autocontrast",
    "equalize",
)
BINS = 31  # magnitudes are 0..30


@dataclasses.dataclass(frozen=True)
class Ranges:
    """The strongest form of each operation.

    Attributes:
      shear: as a slope.
      translate: in pixels, or as a share of the side where `relative`.
      relative: see `translate`.
      rotate: in degrees.
      enhance: how far a factor goes from 1.
      bits: how many bits posterize takes away.
    """

    shear: float
    translate: float
    relative: bool
    rotate: float
    enhance: float
    bits: int


RANDAUGMENT = Ranges(0.3, 150 / 331, True, 30.0, 0.9, 4)
TRIVIALAUGMENT = Ranges(0.99, 32.0, False, 135.0, 0.99, 6)


def randaugment(image: jax.Array, key: jax.Array, layers: int, magnitude: int) -> jax.Array:
    """`layers` operations of one magnitude (0..30), drawn with replacement.

    Cubuk et al. 2019 ("RandAugment"), section 3.
    """
    for layer in range(layers):
        bits = jax.random.bits(jax.random.fold_in(key, layer), (2,), jnp.uint32)
        which = (bits[0] % len(OPERATIONS)).astype(jnp.int32)
        image = apply(image, which, jnp.int32(magnitude), bits[1] >> 31, RANDAUGMENT)
    return image


def trivialaugment(image: jax.Array, key: jax.Array) -> jax.Array:
    """One operation of any magnitude, all equally likely (Müller & Hutter 2021; wide ranges)."""
    bits = jax.random.bits(key, (3,), jnp.uint32)
    which = (bits[0] % len(OPERATIONS)).astype(jnp.int32)
    magnitude = (bits[1] % BINS).astype(jnp.int32)
    return apply(image, which, magnitude, bits[2] >> 31, TRIVIALAUGMENT)


def apply(
    image: jax.Array, which: jax.Array, magnitude: jax.Array, negate: jax.Array, ranges: Ranges
) -> jax.Array:
    """The operation `OPERATIONS[which]` at `magnitude` of 0..30.

    Args:
      image: uint8 `[H, W, C]`.
      which: a scalar.
      magnitude: a scalar.
      negate: 1 turns the direction of what has one.
      ranges: what a magnitude of 30 means.
    """
    share = magnitude / (BINS - 1)
    sign = jnp.where(negate == 1, -1.0, 1.0)
    drawn = {name: which == i for i, name in enumerate(OPERATIONS)}
    image = warp(image, _matrix(image.shape, drawn, share * sign, ranges))
    factor = 1 + share * sign * ranges.enhance
    for name, enhance in (
        ("brightness", colour.brightness),
        ("color", colour.saturation),
        ("contrast", colour.contrast),
        ("sharpness", colour.sharpness),
    ):
        image = jnp.where(drawn[name], enhance(image, factor), image)
    bits = jnp.round(share * ranges.bits).astype(jnp.int32)
    for name, table in (
        ("posterize", _posterize(image, bits)),
        ("solarize", _solarize(image, 255 * (1 - share))),
        ("autocontrast", _autocontrast(image)),
        ("equalize", _equalize(image)),
    ):
        image = jnp.where(drawn[name], table, image)
    return image


def _matrix(
    shape: tuple[int, ...], drawn: dict[str, jax.Array], level: jax.Array, ranges: Ranges
) -> jax.Array:
    """`[2, 3]`: from the output's coordinates to the input's, in pixels from the upper left."""
    height, width = shape[:2]
    shear = level * ranges.shear
    sides = (width, height) if ranges.relative else (1, 1)
    shift = [jnp.trunc(level * ranges.translate * side) for side in sides]
    angle = jnp.where(drawn["rotate"], jnp.deg2rad(level * ranges.rotate), 0.0)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    x, y = width / 2, height / 2
    return jnp.array(
        [
            [
                cos,
                jnp.where(drawn["shear_x"], shear, -sin),
                x - cos * x + sin * y - jnp.where(drawn["translate_x"], shift[0], 0.0),
            ],
            [
                jnp.where(drawn["shear_y"], shear, sin),
                cos,
                y - sin * x - cos * y - jnp.where(drawn["translate_y"], shift[1], 0.0),
            ],
        ]
    )


def warp(image: jax.Array, matrix: jax.Array) -> jax.Array:
    """`PIL.Image.transform` with AFFINE and NEAREST: the pixel under each centre, black outside."""
    height, width = image.shape[:2]
    x, y = jnp.meshgrid(jnp.arange(width) + 0.5, jnp.arange(height) + 0.5)
    column = jnp.floor(matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2]).astype(jnp.int32)
    row = jnp.floor(matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2]).astype(jnp.int32)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    found = image[jnp.clip(row, 0, height - 1), jnp.clip(column, 0, width - 1)]
    return jnp.where(inside[..., None], found, 0).astype(jnp.uint8)


def _posterize(image: jax.Array, bits: jax.Array) -> jax.Array:
    return image & (jnp.int32(255) << bits).astype(jnp.uint8)


def _solarize(image: jax.Array, threshold: jax.Array) -> jax.Array:
    return jnp.where(image < threshold, image, 255 - image).astype(jnp.uint8)


def _autocontrast(image: jax.Array) -> jax.Array:
    """`ImageOps.autocontrast`: each channel stretched to 0..255."""
    pixels = image.astype(jnp.float32)
    low, high = pixels.min((0, 1)), pixels.max((0, 1))
    scale = 255 / jnp.maximum(high - low, 1)
    # 1e-4, as 255 must not become 254 by rounding.
    stretched = jnp.floor((pixels - low) * scale + 1e-4).astype(jnp.uint8)
    return jnp.where(high > low, stretched, image)


def _equalize(image: jax.Array) -> jax.Array:
    """`ImageOps.equalize`: each channel's histogram made flat."""

    def channel(pixels: jax.Array) -> jax.Array:
        count = jnp.zeros(256, jnp.int32).at[pixels.reshape(-1)].add(1)
        top = count[jnp.max(pixels)]
        step = (pixels.size - top) // 255
        below = jnp.cumsum(count) - count + step // 2
        table = jnp.clip(below // jnp.maximum(step, 1), 0, 255).astype(jnp.uint8)
        return jnp.where(step > 0, table[pixels], pixels)

    return jax.vmap(channel, in_axes=-1, out_axes=-1)(image)
