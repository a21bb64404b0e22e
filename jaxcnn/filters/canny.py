"""Canny's edge detector."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxcnn.filters.boundary import as_float
from jaxcnn.filters.edges import magnitude, sobel
from jaxcnn.filters.smooth import gaussian_blur


@functools.partial(jax.jit, static_argnames=("sigma", "mode", "cval"))
def canny(
    images: ArrayLike,
    sigma: float = 1.0,
    low: float | jax.Array = 0.1,
    high: float | jax.Array = 0.2,
    *,
    mode: str = "constant",
    cval: float = 0.0,
) -> jax.Array:
    """Thin, connected edges: bool [..., H, W, C], each channel alone.

    Gaussian blur; Sobel gradient; a pixel stays where its magnitude is at least that of both
    interpolated neighbours along the gradient; then those of at least `low` that are connected
    (eight neighbours) to one of at least `high`. Thresholds are on the unscaled Sobel magnitude
    (weights 1 2 1), in units of the images: the defaults are for images in [0, 1], as in
    `skimage.feature.canny`, which this follows. With the constant mode, the blur at the edges is
    divided by the weight that lay inside. (Canny 1986, "A Computational Approach to Edge
    Detection", sections V to VIII.)
    """
    images = as_float(images)
    shape = images.shape
    planes = jnp.moveaxis(images, -1, -3).reshape(-1, *shape[-3:-1], 1)
    smooth = gaussian_blur(planes, sigma, mode=mode, cval=cval)
    if mode == "constant":
        inside = gaussian_blur(jnp.ones_like(planes[:1]), sigma, mode=mode, cval=0.0)
        smooth = smooth / (inside + jnp.finfo(smooth.dtype).eps)
    down, right = 4 * sobel(smooth, 0)[..., 0], 4 * sobel(smooth, 1)[..., 0]
    strength = magnitude(down, right)
    ridge = _ridges(down, right, strength) & (strength >= low)
    edges = _linked(ridge & (strength >= high), ridge)
    return jnp.moveaxis(edges.reshape(*shape[:-3], shape[-1], *shape[-3:-1]), -3, -1)


def _ridges(down: jax.Array, right: jax.Array, strength: jax.Array) -> jax.Array:
    """Bool [N, H, W]: local maxima along the gradient; never the outermost pixels."""
    steep = jnp.abs(down) >= jnp.abs(right)
    same = (down >= 0) & (right >= 0) | (down <= 0) & (right <= 0)
    long = jnp.where(steep, jnp.abs(down), jnp.abs(right))
    short = jnp.where(steep, jnp.abs(right), jnp.abs(down))
    weight = short / jnp.where(long > 0, long, 1)

    def shifted(rows: int, columns: int) -> jax.Array:
        return jnp.roll(strength, (-rows, -columns), (1, 2))

    def beyond(way: int) -> jax.Array:
        # The two of the eight neighbours between which the gradient points, forwards or back.
        straight = jnp.where(steep, shifted(way, 0), shifted(0, way))
        falling = shifted(way, way)
        rising = jnp.where(steep, shifted(way, -way), shifted(-way, way))
        return (1 - weight) * straight + weight * jnp.where(same, falling, rising)

    inner = jnp.zeros(strength.shape[1:], bool).at[1:-1, 1:-1].set(True)
    return inner & (strength >= beyond(1)) & (strength >= beyond(-1)) & (strength > 0)


def _linked(strong: jax.Array, ridge: jax.Array) -> jax.Array:
    """The pixels of `ridge` [N, H, W] that chains of neighbours connect to `strong` ones."""

    def grow(edges: jax.Array) -> jax.Array:
        near = jax.lax.reduce_window(edges, False, jax.lax.bitwise_or, (1, 3, 3), (1, 1, 1), "SAME")
        return near & ridge

    def step(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        edges, _ = state
        grown = grow(edges)
        return grown, jnp.any(grown != edges)

    return jax.lax.while_loop(lambda state: state[1], step, (strong, jnp.any(strong)))[0]
