"""Colours and channels."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxcnn.filters.boundary import as_float

# Luminance of linear RGB with the primaries of ITU-R BT.709, as scikit-image rounds it.
LUMINANCE = (0.2125, 0.7154, 0.0721)


@jax.jit
def to_gray(images: ArrayLike) -> jax.Array:
    """Luminance [..., H, W, 1] of RGB images [..., H, W, 3]; `skimage.color.rgb2gray`."""
    images = as_float(images)
    if images.shape[-1] != 3:
        raise ValueError(
            f"images of shape {images.shape} have {images.shape[-1]} channels; gray needs RGB, 3."
        )
    return (images * jnp.asarray(LUMINANCE, images.dtype)).sum(-1, keepdims=True)


def split_channels(images: ArrayLike) -> tuple[jax.Array, ...]:
    """The channels of [..., H, W, C], each [..., H, W, 1], unchanged in type."""
    images = jnp.asarray(images)
    if images.ndim < 3:
        raise ValueError(f"images of shape {images.shape}: filters take [..., H, W, C].")
    return tuple(images[..., c : c + 1] for c in range(images.shape[-1]))
