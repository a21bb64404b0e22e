"""What a network may be given."""

from __future__ import annotations

import operator
from typing import Any

import jax
import jax.numpy as jnp


def check_num_classes(value: Any) -> int:
    """The number of classes as an int; raises ValueError unless it is whole and at least 0."""
    try:
        number = operator.index(value)
    except TypeError:
        number = -1
    if number < 0:
        raise ValueError(
            f"num_classes={value!r} must be a whole number of at least 0; 0 leaves the head out."
        )
    return number


def check_images(network: str, images: jax.Array, min_size: int) -> None:
    """Raises ValueError unless `images` are `[B, H, W, C]` floats of at least `min_size` pixels."""
    if images.ndim != 4:
        raise ValueError(
            f"{network} takes images [B, H, W, C], not an array of shape {images.shape}; a single "
            "image is images[None]."
        )
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(
            f"{network} takes normalised floats, not {images.dtype}: divide by 255, subtract the "
            "mean and divide by the deviation that its weights were trained with."
        )
    height, width = images.shape[1:3]
    if min(height, width) < min_size:
        if height in (1, 3) and images.shape[3] > 4:
            raise ValueError(
                f"{network} takes images [B, H, W, C], channels last; {images.shape} looks like "
                "[B, C, H, W]: transpose it by (0, 2, 3, 1)."
            )
        raise ValueError(
            f"{network} needs images of at least {min_size}x{min_size} pixels, not "
            f"{height}x{width}: its strides leave nothing of a smaller one. Resize them, or take "
            "a network for small images (small_cnn, cifar_resnet20)."
        )
