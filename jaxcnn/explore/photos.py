"""The photos of a page: what the network takes in, and the larger picture for the playground."""

from __future__ import annotations

import dataclasses
import pathlib

import numpy as np
from PIL import Image

from jaxcnn.data.decode import open_image, to_array
from jaxcnn.data.source import Source, describe, read_labels
from jaxcnn.data.transforms import resize_and_crop
from jaxcnn.preprocess import Preprocess

# The longer side of a picture in the playground, in pixels.
PICTURE_SIDE = 192


@dataclasses.dataclass(frozen=True)
class Photo:
    """A photo.

    Attributes:
      name: for a person.
      pixels: uint8 [H, W, C], as the network takes it.
      picture: uint8 [h, w, C], the whole photo, at most 192 pixels a side.
      truth: the name of its class, where it is known.
    """

    name: str
    pixels: np.ndarray
    picture: np.ndarray
    truth: str | None = None


def read_photo(path: pathlib.Path, preprocess: Preprocess) -> Photo:
    """A photo from a file.

    Raises:
      ValueError: it cannot be decoded, or has a size that the network does not take.
      OSError: it cannot be read.
    """
    return _photo(path.read_bytes(), path.name, preprocess, str(path))


def source_photos(source: Source, preprocess: Preprocess, count: int) -> list[Photo]:
    """The first photo of each class, then the second of each, up to `count`."""
    labels = read_labels(source)
    turn = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        mine = np.flatnonzero(labels == label)
        turn[mine] = np.arange(len(mine))
    order = np.lexsort((labels, turn))[:count]
    photos = []
    for index in map(int, order):
        example = source[index]
        truth = source.class_names[example.label]
        where = describe(source, index)
        photos.append(_photo(example.image, f"{truth}, example {index}", preprocess, where, truth))
    return photos


def _photo(
    data: bytes | np.ndarray,
    name: str,
    preprocess: Preprocess,
    where: str,
    truth: str | None = None,
) -> Photo:
    try:
        image = open_image(data, preprocess.channels)
        pixels = resize_and_crop(image, preprocess)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    scale = PICTURE_SIDE / max(image.size)
    if scale < 1:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.BICUBIC)
    return Photo(name, pixels, to_array(image), truth)
