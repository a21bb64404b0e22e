"""What the host does to one decoded image: resize and crop to the network's size, as uint8."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from PIL import Image

from jaxcnn.data.decode import open_image, to_array
from jaxcnn.preprocess import Preprocess

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_TRIES = 10


@dataclasses.dataclass(frozen=True)
class RandomResizedCrop:
    """A random crop of random area and aspect, resized to the network's size.

    Szegedy et al. 2015 ("Going deeper with convolutions", section 6), sampled as torchvision does:
    ten tries at an area in `scale` and an aspect in `ratio` that is uniform in its logarithm,
    then the largest centred crop of an allowed aspect.

    Attributes:
      scale: bounds of the crop's share of the image's area.
      ratio: bounds of width over height.
    """

    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        for name, (low, high) in (("scale", self.scale), ("ratio", self.ratio)):
            if not 0 < low <= high:
                raise ValueError(f"{name}=({low}, {high}): need 0 < lower <= upper.")
        if self.scale[1] > 1:
            raise ValueError(f"scale={self.scale}: a crop is at most the whole image, 1.0.")

    def box(self, width: int, height: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
        """Samples a crop of a `width` x `height` image: left, top, right, bottom."""
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        for _ in range(_TRIES):
            share, aspect, x, y = rng.random(4)
            area = width * height * (self.scale[0] + share * (self.scale[1] - self.scale[0]))
            aspect = math.exp(low + aspect * (high - low))
            w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < w <= width and 0 < h <= height:
                left, top = int(x * (width - w + 1)), int(y * (height - h + 1))
                return left, top, left + w, top + h
        w, h = width, height
        if width / height < self.ratio[0]:
            h = round(width / self.ratio[0])
        elif width / height > self.ratio[1]:
            w = round(height * self.ratio[1])
        left, top = (width - w) // 2, (height - h) // 2
        return left, top, left + w, top + h


def example_rng(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The host's random numbers for one example in one epoch.

    Philox with `(seed, epoch)` as its key, and the index in a part of the counter that the order
    of the epoch, with the same key, never reaches.
    """
    key = np.array([seed, epoch], np.uint64)
    return np.random.Generator(np.random.Philox(counter=[0, 0, index, 1], key=key))


def prepare_image(image: bytes | np.ndarray, preprocess: Preprocess) -> np.ndarray:
    """Decodes, resizes and crops one image as evaluation does: uint8 `[H, W, C]`.

    Raises:
      UndecodableImage: if it cannot be decoded.
      ValueError: if `preprocess.resize` is `none` and the image has another size.
    """
    return resize_and_crop(open_image(image, preprocess.channels), preprocess)


def resize_and_crop(image: Image.Image, preprocess: Preprocess) -> np.ndarray:
    """The evaluation transform of a decoded image: uint8 `[H, W, C]`.

    Sizes and offsets are rounded as torchvision's `Resize` and `CenterCrop` round them.

    Raises:
      ValueError: if `preprocess.resize` is `none` and the image has another size.
    """
    height, width = preprocess.image_size
    if preprocess.resize == "none":
        if image.size != (width, height):
            raise ValueError(
                f"The image has {image.height} x {image.width} pixels and the network takes "
                f'{height} x {width}. Use resize="shorter" or "squash", or another image_size.'
            )
        return to_array(image)
    resample = _FILTERS[preprocess.interpolation]
    if preprocess.resize == "squash":
        return to_array(image.resize((width, height), resample))
    image = image.resize(_cover(image.size, preprocess), resample)
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return to_array(image.crop((left, top, left + width, top + height)))


def random_crop(
    image: Image.Image,
    preprocess: Preprocess,
    crop: RandomResizedCrop,
    rng: np.random.Generator,
) -> np.ndarray:
    """The training transform of a decoded image: uint8 `[H, W, C]`."""
    box = crop.box(image.width, image.height, rng)
    height, width = preprocess.image_size
    resample = _FILTERS[preprocess.interpolation]
    return to_array(image.crop(box).resize((width, height), resample))


def _cover(size: tuple[int, int], preprocess: Preprocess) -> tuple[int, int]:
    """The smallest size of the image's aspect that covers `image_size / crop_pct`."""
    width, height = size
    goal_h, goal_w = (math.floor(side / preprocess.crop_pct) for side in preprocess.image_size)
    if width * goal_h <= height * goal_w:
        return goal_w, int(goal_w * height / width)
    return int(goal_h * width / height), goal_h
