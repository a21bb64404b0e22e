"""Random erasing, mixup and CutMix on the device.

Mixing pairs neighbours: rows 0 and 1 of a batch, 2 and 3, and so on. A pair lies on one device and
in one micro-batch whatever their number, so that a mixed image does not depend on them.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

_TRIES = 10


def erase(
    image: jax.Array,
    key: jax.Array,
    probability: float,
    area: tuple[float, float] = (0.02, 0.4),
    aspect: tuple[float, float] = (0.3, 1 / 0.3),
) -> jax.Array:
    """Fills a random rectangle of uint8 `[H, W, C]` with noise (Zhong et al. 2017, section 3).

    Its share of the area is uniform in `area`, its aspect uniform in the logarithm; the first of
    ten draws that fits into the image is taken, and none where none fits.
    """
    height, width = image.shape[:2]
    draws = jax.random.uniform(jax.random.fold_in(key, 0), (_TRIES, 4))
    share = area[0] + draws[:, 0] * (area[1] - area[0])
    low, high = jnp.log(aspect[0]), jnp.log(aspect[1])
    ratio = jnp.exp(low + draws[:, 1] * (high - low))
    h = jnp.round(jnp.sqrt(share * height * width * ratio)).astype(jnp.int32)
    w = jnp.round(jnp.sqrt(share * height * width / ratio)).astype(jnp.int32)
    fits = (h < height) & (w < width)
    first = jnp.argmax(fits)
    h, w, fits = h[first], w[first], fits[first]
    top = jnp.floor(draws[first, 2] * (height - h + 1)).astype(jnp.int32)
    left = jnp.floor(draws[first, 3] * (width - w + 1)).astype(jnp.int32)
    wanted = jax.random.uniform(jax.random.fold_in(key, 1)) < probability
    noise = _noise(jax.random.fold_in(key, 2), image.shape)
    inside = _rectangle(image.shape, top, left, top + h, left + w)
    return jnp.where(inside & fits & wanted, noise, image)


def _noise(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """uint8 noise: the pixels' numbers, hashed from a place that the key decides.

    Threefry for each byte took longer on a CPU than all else that is done to an image. The hash is
    Wellons' lowbias32 (2018, "Prospecting for Hash Functions").
    """
    seeds = jax.random.bits(key, (2,), jnp.uint32)
    x = (jnp.arange(math.prod(shape), dtype=jnp.uint32) ^ seeds[0]) + seeds[1]
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return (x >> 24).astype(jnp.uint8).reshape(shape)


def partners(rows: jax.Array) -> jax.Array:
    """Each row's partner: neighbours change places.

    Raises:
      ValueError: for an odd number of rows.
    """
    if len(rows) % 2:
        raise ValueError(
            f"mixup and cutmix pair neighbours, and a device's share of {len(rows)} images is odd; "
            "choose a batch_size that is a multiple of twice the devices times accumulate."
        )
    return rows.reshape(-1, 2, *rows.shape[1:])[:, ::-1].reshape(rows.shape)


def mix(
    images: jax.Array, others: jax.Array, keys: jax.Array, mixup: float, cutmix: float
) -> tuple[jax.Array, jax.Array]:
    """Mixes uint8 images `[B, H, W, C]` with others, each by its own key.

    Args:
      images: uint8.
      others: uint8, their partners.
      keys: `[B]`.
      mixup: alpha of the Beta distribution of the weight (Zhang et al. 2017); 0 for none.
      cutmix: the same for CutMix (Yun et al. 2019); with both, each is taken half of the time.

    Returns:
      uint8 images, and the weight of the image's own label, float32 `[B]`.
    """

    def one(image: jax.Array, other: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        keys = [jax.random.fold_in(key, i) for i in range(4)]
        if cutmix and mixup:
            cut, blended = _cut(image, other, keys, cutmix), _blend(image, other, keys[0], mixup)
            coin = jax.random.bernoulli(keys[3])
            return jax.tree.map(lambda a, b: jnp.where(coin, a, b), cut, blended)
        if cutmix:
            return _cut(image, other, keys, cutmix)
        return _blend(image, other, keys[0], mixup)

    return jax.vmap(one)(images, others, keys)


def _blend(
    image: jax.Array, other: jax.Array, key: jax.Array, alpha: float
) -> tuple[jax.Array, jax.Array]:
    weight = jax.random.beta(key, alpha, alpha)
    mixed = weight * image.astype(jnp.float32) + (1 - weight) * other.astype(jnp.float32)
    return jnp.round(mixed).astype(jnp.uint8), weight


def _cut(
    image: jax.Array, other: jax.Array, keys: list[jax.Array], alpha: float
) -> tuple[jax.Array, jax.Array]:
    height, width = image.shape[:2]
    side = jnp.sqrt(1 - jax.random.beta(keys[1], alpha, alpha))
    h, w = (jnp.floor(side * length).astype(jnp.int32) for length in (height, width))
    y, x = jnp.floor(jax.random.uniform(keys[2], (2,)) * jnp.array([height, width]))
    top = jnp.clip(y.astype(jnp.int32) - h // 2, 0, height)
    left = jnp.clip(x.astype(jnp.int32) - w // 2, 0, width)
    bottom = jnp.clip(y.astype(jnp.int32) - h // 2 + h, 0, height)
    right = jnp.clip(x.astype(jnp.int32) - w // 2 + w, 0, width)
    inside = _rectangle(image.shape, top, left, bottom, right)
    share = (bottom - top) * (right - left) / (height * width)
    return jnp.where(inside, other, image), (1 - share).astype(jnp.float32)


def _rectangle(
    shape: tuple[int, ...], top: jax.Array, left: jax.Array, bottom: jax.Array, right: jax.Array
) -> jax.Array:
    """bool `[H, W, 1]`."""
    y, x = jnp.arange(shape[0])[:, None, None], jnp.arange(shape[1])[None, :, None]
    return (y >= top) & (y < bottom) & (x >= left) & (x < right)
