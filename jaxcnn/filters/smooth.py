"""Blur and its opposite."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxcnn.filters.boundary import as_float
from jaxcnn.filters.edges import laplacian
from jaxcnn.filters.linear import separable


@functools.partial(jax.jit, static_argnames=("size", "mode", "cval"))
def box_blur(
    images: ArrayLike, size: int, *, mode: str = "reflect", cval: float = 0.0
) -> jax.Array:
    """The mean of size x size pixels; `scipy.ndimage.uniform_filter` over the two image axes."""
    if size < 1:
        raise ValueError(f"size={size} cannot work: a box has at least 1 pixel.")
    weights = jnp.full(size, 1 / size, jnp.float32)
    return separable(images, weights, weights, mode=mode, cval=cval)


def gaussian_kernel(sigma: float, truncate: float = 4.0) -> np.ndarray:
    """Samples of a Gaussian, float64 [2 r + 1], sum 1, r = round(truncate sigma) as in scipy."""
    if not math.isfinite(sigma) or sigma < 0:
        raise ValueError(f"sigma={sigma} cannot work: it is a width in pixels, 0 or more.")
    radius = int(truncate * sigma + 0.5)
    if not radius:
        return np.ones(1)
    x = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (x / sigma) ** 2)
    return weights / weights.sum()


@functools.partial(jax.jit, static_argnames=("sigma", "truncate", "mode", "cval"))
def gaussian_blur(
    images: ArrayLike,
    sigma: float,
    *,
    truncate: float = 4.0,
    mode: str = "reflect",
    cval: float = 0.0,
) -> jax.Array:
    """Gaussian blur with standard deviation `sigma` in pixels; `scipy.ndimage.gaussian_filter`."""
    weights = jnp.asarray(gaussian_kernel(sigma, truncate), jnp.float32)
    return separable(images, weights, weights, mode=mode, cval=cval)


@functools.partial(jax.jit, static_argnames=("mode", "cval"))
def sharpen(
    images: ArrayLike, amount: float = 1.0, *, mode: str = "reflect", cval: float = 0.0
) -> jax.Array:
    """The image minus `amount` times its Laplacian: the kernel 0 -1 0 / -1 5 -1 / 0 -1 0 for 1.

    Values may leave the range of the input; clip them where that matters.
    """
    return as_float(images) - amount * laplacian(images, mode=mode, cval=cval)


@functools.partial(jax.jit, static_argnames=("radius", "mode", "cval"))
def unsharp_mask(
    images: ArrayLike,
    radius: float = 1.0,
    amount: float = 1.0,
    *,
    mode: str = "reflect",
    cval: float = 0.0,
) -> jax.Array:
    """The image plus `amount` times what a Gaussian blur of sigma `radius` takes away.

    `skimage.filters.unsharp_mask` with preserve_range=True; nothing is clipped.
    """
    images = as_float(images)
    return images + amount * (images - gaussian_blur(images, radius, mode=mode, cval=cval))
