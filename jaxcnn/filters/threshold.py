"""From grey to black and white."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxcnn.filters.boundary import as_float


@jax.jit
def threshold(images: ArrayLike, value: float | jax.Array) -> jax.Array:
    """Bool [..., H, W, C]: where an image is brighter than `value`, which broadcasts."""
    return as_float(images) > value


@functools.partial(jax.jit, static_argnames="bins")
def otsu_threshold(images: ArrayLike, bins: int = 256) -> jax.Array:
    """The threshold that divides each channel's pixels best: [..., 1, 1, C].

    The one that maximises the variance between the two classes (Otsu 1979, "A threshold selection
    method from gray-level histograms", section II), among the centres of `bins` equal bins from the
    darkest to the brightest pixel; for uint8 images, among the 256 values. A channel of one value
    gives that value. `skimage.filters.threshold_otsu`, channel by channel;
    `threshold(images, otsu_threshold(images))` is the binary image.
    """
    if bins < 2:
        raise ValueError(f"bins={bins} cannot work: two classes need at least 2.")
    bytes_ = jnp.asarray(images).dtype == jnp.uint8
    values = as_float(images)
    planes = jnp.moveaxis(values, -1, -3)
    flat = planes.reshape(-1, planes.shape[-2] * planes.shape[-1])
    low, high = flat.min(-1, keepdims=True), flat.max(-1, keepdims=True)
    if bytes_:
        bins = 256
        place, centres = flat, jnp.broadcast_to(jnp.arange(256.0), (len(flat), 256))
    else:
        width = jnp.where(high > low, high - low, 1)
        place = (flat - low) / width * bins
        centres = low + (jnp.arange(bins) + 0.5) / bins * width
    place = jnp.clip(place.astype(jnp.int32), 0, bins - 1)
    counts = jax.vmap(lambda p: jnp.bincount(p, length=bins))(place).astype(flat.dtype)
    best = jnp.take_along_axis(centres, _split(counts, centres)[:, None], axis=1)
    best = jnp.where(high > low, best, low)
    return jnp.moveaxis(best.reshape(*planes.shape[:-2], 1, 1), -3, -1)


def _split(counts: jax.Array, centres: jax.Array) -> jax.Array:
    """The bin that ends the darker class: [N] for counts and centres [N, bins]."""
    share = counts / counts.sum(-1, keepdims=True)
    # Relative to the mean, the sums stay small and float32 keeps neighbouring bins apart.
    offset = centres - (share * centres).sum(-1, keepdims=True)
    below = jnp.cumsum(share, -1)
    moment = jnp.cumsum(share * offset, -1)
    above = 1 - below
    spread = below * above
    # Both classes' means follow from the one moment, as the whole has mean 0.
    variance = jnp.where(spread > 1e-12, moment**2 / jnp.where(spread > 1e-12, spread, 1), 0)
    return jnp.argmax(variance[:, :-1], axis=-1)
