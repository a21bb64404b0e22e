"""The textbook's convolution, and cross-correlation, which CNNs call convolution."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxcnn.filters.boundary import as_float, pad


@functools.partial(jax.jit, static_argnames=("mode", "cval"))
def correlate(
    images: ArrayLike, kernel: ArrayLike, *, mode: str = "reflect", cval: float = 0.0
) -> jax.Array:
    """Cross-correlation g(y, x) = sum over i, j of w(i, j) f(y + i, x + j).

    The kernel [h, w] lies on the image as it is written; its centre is element (h // 2, w // 2).
    This is what a CNN's layer computes, and `scipy.ndimage.correlate`. Images [..., H, W, C] keep
    their shape; each channel is filtered alone.
    """
    height, width = _kernel_shape(kernel)
    rows = (height // 2, height - height // 2 - 1)
    columns = (width // 2, width - width // 2 - 1)
    return _slide(images, kernel, rows, columns, mode, cval)


@functools.partial(jax.jit, static_argnames=("mode", "cval"))
def convolve(
    images: ArrayLike, kernel: ArrayLike, *, mode: str = "reflect", cval: float = 0.0
) -> jax.Array:
    """Convolution g(y, x) = sum over i, j of w(i, j) f(y - i, x - j).

    The kernel [h, w] is turned by 180 degrees, so that one bright pixel becomes the kernel itself.
    Equal to `correlate` for kernels that the turn leaves alone, and to `scipy.ndimage.convolve`.
    """
    height, width = _kernel_shape(kernel)
    rows, columns = ((height - 1) // 2, height // 2), ((width - 1) // 2, width // 2)
    return _slide(images, jnp.flip(jnp.asarray(kernel)), rows, columns, mode, cval)


def separable(
    images: ArrayLike,
    column: jax.Array,
    row: jax.Array,
    *,
    mode: str = "reflect",
    cval: float = 0.0,
) -> jax.Array:
    """`correlate` with the outer product of a column [h] and a row [w], in h + w multiply-adds.

    As in scipy, the constant mode pads the first pass' result with `cval` again.
    """
    images = correlate(images, column[:, None], mode=mode, cval=cval)
    return correlate(images, row[None, :], mode=mode, cval=cval)


def _kernel_shape(kernel: ArrayLike) -> tuple[int, int]:
    shape = jnp.shape(kernel)
    if len(shape) != 2 or 0 in shape:
        raise ValueError(f"a kernel of shape {shape} cannot work: it must be [height, width].")
    return shape[0], shape[1]


def _slide(
    images: ArrayLike,
    kernel: ArrayLike,
    rows: tuple[int, int],
    columns: tuple[int, int],
    mode: str,
    cval: float,
) -> jax.Array:
    images = as_float(images)
    shape = images.shape
    # Channels join the batch: one channel at a time is what a kernel without channels means.
    planes = jnp.moveaxis(pad(images, rows, columns, mode, cval), -1, -3)
    planes = planes.reshape(-1, 1, *planes.shape[-2:])
    out = jax.lax.conv_general_dilated(
        planes,
        jnp.asarray(kernel, images.dtype)[None, None],
        window_strides=(1, 1),
        padding="VALID",
        # GPUs and TPUs would round the factors to 10 or 8 bits otherwise.
        precision=jax.lax.Precision.HIGHEST,
    )
    return jnp.moveaxis(out.reshape(*shape[:-3], shape[-1], *shape[-3:-1]), -3, -1)
