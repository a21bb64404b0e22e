"""Which part of a picture an input shows, drawn by libjpeg in one pass or by Pillow."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from PIL import Image

from jaxcnn.data import native
from jaxcnn.data.decode import MAX_PIXELS, UndecodableImage, open_image, to_array
from jaxcnn.preprocess import Preprocess

Interpolation = Literal["bilinear", "bicubic"]
Box = tuple[int, int, int, int]

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_SHRINKS = (8, 4, 2, 1)


@dataclasses.dataclass(frozen=True, slots=True)
class View:
    """A rectangle of a picture, resized, and the part of that which is kept.

    Attributes:
      box: left, top, right and bottom in the picture as it is decoded.
      size: width and height that the box is resized to.
      window: left, top, right and bottom of what is kept of that.
      shrink: the picture is decoded at this fraction of its size: 1, 2, 4 or 8.
    """

    box: Box
    size: tuple[int, int]
    window: Box
    shrink: int = 1


# A view of a picture of some width and height; the flag says whether it can be decoded smaller.
Plan = Callable[[int, int, bool], View]


def evaluation_view(width: int, height: int, preprocess: Preprocess) -> View:
    """The resize and crop of evaluation, of a `width` x `height` picture decoded in full.

    Sizes and offsets are rounded as torchvision's `Resize` and `CenterCrop` round them.

    Raises:
      UndecodableImage: the picture is so narrow that it would be resized to too many pixels.
      ValueError: if `preprocess.resize` is `none` and the picture has another size.
    """
    goal_h, goal_w = preprocess.image_size
    whole, goal = (0, 0, width, height), (0, 0, goal_w, goal_h)
    if preprocess.resize == "none" and (width, height) != (goal_w, goal_h):
        raise ValueError(
            f"The image has {height} x {width} pixels and the network takes {goal_h} x {goal_w}. "
            'Use resize="shorter" or "squash" (--resize), or another image_size.'
        )
    if preprocess.resize != "shorter":
        return View(whole, (goal_w, goal_h), goal)
    size = cover((width, height), preprocess)
    if math.prod(size) > MAX_PIXELS:
        raise UndecodableImage(
            f"{width} x {height} pixels would be resized to {size[0]} x {size[1]}, more than the "
            f'limit of {MAX_PIXELS} pixels; cut the image, or use resize="squash".'
        )
    left, top = round((size[0] - goal_w) / 2), round((size[1] - goal_h) / 2)
    return View(whole, size, (left, top, left + goal_w, top + goal_h))


def keeps_its_size(preprocess: Preprocess) -> bool:
    """Whether evaluation shows a picture that has the network's size as it is."""
    height, width = preprocess.image_size
    whole = (0, 0, width, height)
    return evaluation_view(width, height, preprocess) == View(whole, (width, height), whole)


def cover(size: tuple[int, int], preprocess: Preprocess) -> tuple[int, int]:
    """The smallest size of the picture's aspect that covers `image_size / crop_pct`."""
    width, height = size
    goal_h, goal_w = (math.floor(side / preprocess.crop_pct) for side in preprocess.image_size)
    if width * goal_h <= height * goal_w:
        return goal_w, int(goal_w * height / width)
    return int(goal_h * width / height), goal_h


def crop_view(box: Box, preprocess: Preprocess, *, may_shrink: bool) -> View:
    """A box of a picture, resized to the network's size.

    Where the picture may be decoded at 1/2, 1/4 or 1/8, the smallest of these is taken at which
    the box still has at least the network's size; it is widened to whole pixels there.
    """
    height, width = preprocess.image_size
    left, top, right, bottom = box
    shrink = next(
        s
        for s in _SHRINKS
        if s == 1 or (may_shrink and right - left >= s * width and bottom - top >= s * height)
    )
    scaled = (left // shrink, top // shrink, -(-right // shrink), -(-bottom // shrink))
    return View(scaled, (width, height), (0, 0, width, height), shrink)


def draw(
    image: bytes | np.ndarray, plan: Plan, interpolation: Interpolation, out: np.ndarray
) -> None:
    """Writes the view of an encoded or decoded image into uint8 `[H, W, channels]`.

    Plain JPEGs are decoded, cropped and resized in one pass where the library was built with it;
    everything else goes through Pillow, and the pixels are the same.

    Raises:
      UndecodableImage: if it cannot be decoded; `out` is then undefined.
      ValueError: from the plan.
    """
    fast = native.load() if isinstance(image, bytes) else None
    if fast is None or not _draw_native(fast, image, plan, interpolation, out):
        draw_with_pillow(image, plan, interpolation, out)


def _draw_native(
    fast: native.Native, image: Any, plan: Plan, interpolation: Interpolation, out: np.ndarray
) -> bool:
    size = fast.size(image, out.shape[2])
    if size is None:
        return False
    view = plan(*size, True)
    return fast.draw(
        image,
        out,
        view.box,
        view.size,
        view.window,
        shrink=view.shrink,
        bicubic=interpolation == "bicubic",
    )


def draw_with_pillow(
    image: bytes | np.ndarray, plan: Plan, interpolation: Interpolation, out: np.ndarray
) -> None:
    """As `draw`, always by Pillow."""
    views: list[View] = []

    def shrink(width: int, height: int) -> int:
        views.append(plan(width, height, True))
        return views[0].shrink

    picture = open_image(image, out.shape[2], shrink=shrink)
    view = views[0] if views else plan(*picture.size, False)
    out[...] = view_of(picture, view, interpolation)


def view_of(picture: Image.Image, view: View, interpolation: Interpolation) -> np.ndarray:
    """The view of a decoded picture: uint8 `[H, W, C]`."""
    if view.box != (0, 0, *picture.size):
        picture = picture.crop(view.box)
    picture = picture.resize(view.size, FILTERS[interpolation])
    if view.window != (0, 0, *picture.size):
        picture = picture.crop(view.window)
    return to_array(picture)
