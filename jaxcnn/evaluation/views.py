"""Test-time augmentation: several views of an image, whose probabilities are averaged."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal, get_args

import jax
import jax.numpy as jnp

from jaxcnn.preprocess import Preprocess

Views = Literal["none", "flip", "ten_crop"]
NUM_VIEWS: dict[Views, int] = {"none": 1, "flip": 2, "ten_crop": 10}


def loaded_preprocess(preprocess: Preprocess, views: Views) -> Preprocess:
    """What the host has to load for the views: for ten crops the image with its margin.

    Raises:
      ValueError: unknown views, or ten crops of an image that has no margin to crop from.
    """
    if views not in get_args(Views):
        raise ValueError(f"views={views!r} is unknown; use {', '.join(get_args(Views))}.")
    if views != "ten_crop":
        return preprocess
    height, width = (math.floor(side / preprocess.crop_pct) for side in preprocess.image_size)
    if preprocess.resize != "shorter" or (height, width) == preprocess.image_size:
        raise ValueError(
            f"Ten crops need a margin around the network's {preprocess.image_size[0]} x "
            f"{preprocess.image_size[1]} pixels, and there is none with "
            f"resize={preprocess.resize!r} and crop_pct={preprocess.crop_pct}. Use the views "
            '"flip", or a preprocessing with resize="shorter" and crop_pct below 1.'
        )
    return dataclasses.replace(preprocess, image_size=(height, width), crop_pct=1.0)


def make_views(images: jax.Array, views: Views, size: tuple[int, int]) -> jax.Array:
    """The views of a batch `[B, H, W, C]`, as `[views, B, *size, C]`.

    `flip` is the image and its mirror image. `ten_crop` is the four corners and the centre, and
    their mirror images (Krizhevsky et al. 2012, section 4.1).
    """
    if views == "none":
        return images[None]
    if views == "flip":
        return jnp.stack([images, images[:, :, ::-1]])
    down, right = images.shape[1] - size[0], images.shape[2] - size[1]
    corners = [(0, 0), (0, right), (down, 0), (down, right)]
    places = [*corners, (round(down / 2), round(right / 2))]
    crops = [images[:, top : top + size[0], left : left + size[1]] for top, left in places]
    return jnp.stack([*crops, *(crop[:, :, ::-1] for crop in crops)])
