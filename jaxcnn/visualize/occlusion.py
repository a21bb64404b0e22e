"""What happens to a class's probability where a patch of the photo is covered."""

from __future__ import annotations

import dataclasses
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxcnn.nn.conv import pair
from jaxcnn.visualize.cam import class_titles
from jaxcnn.visualize.canvas import SIGNED, Panel, Row, Scale, draw_grid
from jaxcnn.visualize.program import Program, choose_classes


@dataclasses.dataclass(frozen=True)
class OcclusionResult:
    """The network's answers to covered photos.

    Attributes:
      classes: int [B], whose probability.
      probabilities: float [B], of the whole photo.
      covered: float [B, rows, columns], with the patch at that place.
      tops, lefts: int, where the patch begins, in pixels; the last ones end at the edge.
      patch: height and width of the patch in pixels.
      image_size: of the photos.
    """

    classes: np.ndarray
    probabilities: np.ndarray
    covered: np.ndarray
    tops: np.ndarray
    lefts: np.ndarray
    patch: tuple[int, int]
    image_size: tuple[int, int]

    @property
    def drops(self) -> np.ndarray:
        """float [B, rows, columns]: what covering takes from the probability, -1 to 1."""
        return self.probabilities[:, None, None] - self.covered

    @property
    def pixels(self) -> np.ndarray:
        """float [B, H, W]: the mean drop over all patches that cover a pixel."""
        total = np.zeros((len(self.classes), *self.image_size))
        times = np.zeros(self.image_size)
        for row, top in enumerate(self.tops):
            for column, left in enumerate(self.lefts):
                here = np.s_[top : top + self.patch[0], left : left + self.patch[1]]
                total[(slice(None), *here)] += self.drops[:, row, column, None, None]
                times[here] += 1
        return total / times


def occlusion(
    model: nn.Module,
    variables: Any,
    images: Any,
    *,
    classes: int | Sequence[int] | None = None,
    patch: int | tuple[int, int] | None = None,
    stride: int | None = None,
    value: float | Sequence[float] = 0.0,
    batch_size: int = 64,
    call_args: Mapping[str, Any] | None = None,
) -> OcclusionResult:
    """Slide a patch over each photo and record the class's probability (Zeiler and Fergus 2014).

    Args:
      model: any Linen module that gives logits [B, classes].
      variables: its variables.
      images: float [B, H, W, C], normalised.
      classes: one for all images or one for each; the predicted ones by default.
      patch: side, or height and width, in pixels; a quarter of the shorter side by default.
      stride: pixels between places; half of the patch by default.
      value: of the patch, for all channels or each, in normalised units; 0 is the mean that the
        normalisation subtracts, the gray of the paper.
      batch_size: covered photos at once.
      call_args: further arguments of the module's call.

    Raises:
      ValueError: as `grad_cam`; a patch that does not fit, or a stride that leaves gaps.
    """
    images = jnp.asarray(images, jnp.float32)
    first = Program(model, variables, images, call_args=call_args)
    logits = jax.jit(lambda w, x: first.run(w, x)[0])(first.weights, images)
    chosen = choose_classes(logits, classes)
    count, height, width, _ = images.shape
    size = _patch(patch, height, width)
    step = stride or max(1, min(size) // 2)
    if not 1 <= step <= min(size):
        raise ValueError(f"stride={stride} with a patch of {size[0]}x{size[1]}: use 1..{min(size)}")
    tops, lefts = _starts(height, size[0], step), _starts(width, size[1], step)
    corners = np.array([(i, t, c) for i in range(count) for t in tops for c in lefts])
    batch = jnp.zeros((min(batch_size, len(corners)), *images.shape[1:]))
    program = Program(model, variables, batch, call_args=call_args)
    answers = _answers(program, images, corners, size, value)
    answers = answers[np.arange(len(corners)), chosen[corners[:, 0]]]
    return OcclusionResult(
        classes=chosen,
        probabilities=np.asarray(jax.nn.softmax(logits))[np.arange(count), chosen],
        covered=answers.reshape(count, len(tops), len(lefts)),
        tops=tops,
        lefts=lefts,
        patch=size,
        image_size=(height, width),
    )


def _answers(
    program: Program, images: jax.Array, corners: np.ndarray, size: tuple[int, int], value: Any
) -> np.ndarray:
    """Probabilities [n, classes] with a patch at each of `corners` [n, (image, top, left)]."""
    height, width = images.shape[1:3]

    @jax.jit
    def covered(weights: Any, photos: Any, which: Any, top: Any, left: Any) -> jax.Array:
        row = jnp.arange(height)[:, None]
        column = jnp.arange(width)[None]
        top, left = top[:, None, None], left[:, None, None]
        inside = (row >= top) & (row < top + size[0]) & (column >= left) & (column < left + size[1])
        hidden = jnp.where(inside[..., None], jnp.asarray(value, jnp.float32), photos[which])
        return jax.nn.softmax(program.run(weights, hidden)[0])

    length = program.image_shape[0]
    found = []
    for start in range(0, len(corners), length):
        part = corners[start : start + length]
        rows = np.resize(part, (length, 3))  # the last batch is filled up by repetition
        found.append(np.asarray(covered(program.weights, images, *rows.T))[: len(part)])
    return np.concatenate(found)


def _patch(patch: int | tuple[int, int] | None, height: int, width: int) -> tuple[int, int]:
    if patch is None:
        patch = max(1, min(height, width) // 4)
    size = pair(patch, "patch", 1)
    if size[0] > height or size[1] > width:
        raise ValueError(
            f"a patch of {size[0]}x{size[1]} does not fit a photo of {height}x{width}; take a "
            "smaller one."
        )
    return size


def _starts(length: int, size: int, step: int) -> np.ndarray:
    """Where patches begin so that every pixel is covered by one."""
    return np.unique(np.append(np.arange(0, length - size + 1, step), length - size))


def _rounded_up(value: float) -> float:
    """The next 1, 2, 4, 6, 8 or 10 times a power of ten, whose half is as short to write."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * n for n in (1, 2, 4, 6, 8, 10) if value <= power * n)


def draw_occlusion(
    photos: np.ndarray,
    result: OcclusionResult,
    class_names: Sequence[str],
    path: pathlib.Path,
    *,
    title: str = "",
    truths: Sequence[str] = (),
) -> None:
    """Photos uint8 [B, H, W, C] above what covering each pixel takes from the probability."""
    titles = class_titles(result.classes, class_names, result.probabilities, truths)
    pixels = 100 * result.pixels
    most = _rounded_up(float(np.abs(pixels).max()) or 1.0)
    height, width = result.patch
    draw_grid(
        [
            Row("photo", [Panel(p, title=t) for p, t in zip(photos, titles, strict=True)]),
            Row(
                f"{height}x{width} pixels\ncovered",
                [Panel(p, SIGNED, (-most, most)) for p in pixels],
                Scale("probability lost (points)", SIGNED, (-most, most)),
            ),
        ],
        path,
        title=f"{title}: what the network misses when it is covered\n(occlusion; orange: covering "
        "costs probability, purple: covering helps)",
    )
