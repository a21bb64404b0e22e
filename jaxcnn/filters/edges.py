"""Derivatives: Laplacian, Sobel, Scharr."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxcnn.filters.boundary import as_float
from jaxcnn.filters.linear import correlate

_DIFFERENCE = np.array([-1.0, 0.0, 1.0], np.float32)
_SOBEL = np.array([1.0, 2.0, 1.0], np.float32) / 4
_SCHARR = np.array([3.0, 10.0, 3.0], np.float32) / 16
_LAPLACE = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]], np.float32)


@functools.partial(jax.jit, static_argnames=("mode", "cval"))
def laplacian(images: ArrayLike, *, mode: str = "reflect", cval: float = 0.0) -> jax.Array:
    """Sum of second differences, 0 1 0 / 1 -4 1 / 0 1 0: `scipy.ndimage.laplace`.

    It is negative on a bright spot; `skimage.filters.laplace` has the other sign.
    """
    return correlate(images, _LAPLACE, mode=mode, cval=cval)


@functools.partial(jax.jit, static_argnames=("axis", "mode", "cval"))
def sobel(
    images: ArrayLike, axis: int | None = None, *, mode: str = "reflect", cval: float = 0.0
) -> jax.Array:
    """Difference f(x + 1) - f(x - 1), smoothed by (1, 2, 1) / 4 across: `skimage.filters.sobel`.

    `axis` 0 is the derivative down the rows, 1 along the columns; None is the magnitude
    sqrt((d0^2 + d1^2) / 2). One axis of `scipy.ndimage.sobel`, unscaled, is 4 times this.
    """
    return _gradient(images, _SOBEL, axis, mode, cval)


@functools.partial(jax.jit, static_argnames=("axis", "mode", "cval"))
def scharr(
    images: ArrayLike, axis: int | None = None, *, mode: str = "reflect", cval: float = 0.0
) -> jax.Array:
    """As `sobel` with (3, 10, 3) / 16, whose response depends less on the edge's angle.

    `skimage.filters.scharr` (Scharr 2000, "Optimale Operatoren in der digitalen Bildverarbeitung").
    """
    return _gradient(images, _SCHARR, axis, mode, cval)


def _gradient(
    images: ArrayLike, smooth: np.ndarray, axis: int | None, mode: str, cval: float
) -> jax.Array:
    if axis not in (None, 0, 1):
        raise ValueError(f"axis={axis} cannot work: 0 is rows, 1 is columns, None the magnitude.")
    images = as_float(images)
    kernels = np.outer(_DIFFERENCE, smooth), np.outer(smooth, _DIFFERENCE)
    if axis is not None:
        return correlate(images, kernels[axis], mode=mode, cval=cval)
    down, right = (correlate(images, k, mode=mode, cval=cval) for k in kernels)
    return magnitude(down, right) * np.float32(np.sqrt(0.5))


def magnitude(down: jax.Array, right: jax.Array) -> jax.Array:
    """sqrt(down^2 + right^2), with gradient 0 instead of NaN where both are 0."""
    square = down**2 + right**2
    flat = square == 0
    return jnp.where(flat, 0, jnp.sqrt(jnp.where(flat, 1, square)))
