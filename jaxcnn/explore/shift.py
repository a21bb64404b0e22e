"""Class scores of a photo that is moved by some pixels; what moves in is black."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.data.augment import normalize
from jaxcnn.evaluation.corruptions import shift
from jaxcnn.preprocess import Preprocess

# Multiply-adds that all shifts of all photos together may take: about a minute on two cores.
_MOST_MACS = 1.5e12
_MOST_SHIFTS = 8


@dataclasses.dataclass(frozen=True)
class Offsets:
    """The shifts along each axis, in pixels: -reach, ..., 0, ..., reach."""

    pixels: tuple[int, ...]


def offsets(image_size: tuple[int, int], macs: int, photos: int) -> Offsets:
    """Up to half the image each way, on a grid as fine as `macs` per image allow."""
    reach = max(min(image_size) // 2, 1)
    for count in range(min(reach, _MOST_SHIFTS), 0, -1):
        if macs * photos * (2 * count + 1) ** 2 <= _MOST_MACS or count == 1:
            break
    step = max(reach // count, 1)
    return Offsets(tuple(step * i for i in range(-count, count + 1)))


def shift_scores(
    model: Any,
    variables: Any,
    preprocess: Preprocess,
    photos: Iterable[np.ndarray],
    grid: Sequence[int],
) -> Iterator[np.ndarray]:
    """Probabilities float32 [down, right, classes] on a grid, of each photo uint8 [H, W, C]."""

    @jax.jit
    def scores(variables: Any, images: Any) -> Any:
        inputs = normalize(images, preprocess.mean, preprocess.std)
        return jax.nn.softmax(model.apply(variables, inputs, train=False))

    for pixels in photos:
        rows = []
        for down in grid:
            moved = np.stack([shift(pixels, down, right) for right in grid])
            rows.append(np.asarray(scores(variables, jnp.asarray(moved))))
        yield np.stack(rows)
