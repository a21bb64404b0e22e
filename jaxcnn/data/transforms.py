"""What the host does to one decoded image: resize and crop to the network's size, as uint8."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from PIL import Image

from jaxcnn.data.view import View, crop_view, draw, evaluation_view, view_of
from jaxcnn.preprocess import Preprocess

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
      scaled_decoding: decode a JPEG at 1/2, 1/4 or 1/8 where the crop still has the network's
        size there. Faster, and no less sharp; pixels differ from those of full decoding.
    """

    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    scaled_decoding: bool = True

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
    out = np.empty((*preprocess.image_size, preprocess.channels), np.uint8)
    draw_evaluation(image, preprocess, out)
    return out


def draw_evaluation(image: bytes | np.ndarray, preprocess: Preprocess, out: np.ndarray) -> None:
    """As `prepare_image`, into `out`."""

    def plan(width: int, height: int, jpeg: bool) -> View:
        return evaluation_view(width, height, preprocess)

    draw(image, plan, preprocess.interpolation, out)


def resize_and_crop(picture: Image.Image, preprocess: Preprocess) -> np.ndarray:
    """The evaluation transform of a decoded picture of mode L or RGB: uint8 `[H, W, C]`.

    Raises:
      ValueError: if `preprocess.resize` is `none` and the picture has another size.
    """
    view = evaluation_view(*picture.size, preprocess)
    return view_of(picture, view, preprocess.interpolation)


def draw_random_crop(
    image: bytes | np.ndarray,
    preprocess: Preprocess,
    crop: RandomResizedCrop,
    key: tuple[int, int, int],
    out: np.ndarray,
) -> None:
    """Writes a random crop into uint8 `[H, W, C]`, equal for equal keys (seed, epoch, index).

    Raises:
      UndecodableImage: if it cannot be decoded; `out` is then undefined.
    """

    def plan(width: int, height: int, jpeg: bool) -> View:
        box = crop.box(width, height, example_rng(*key))
        return crop_view(box, preprocess, may_shrink=jpeg and crop.scaled_decoding)

    draw(image, plan, preprocess.interpolation, out)
