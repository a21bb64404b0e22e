"""The compiled JPEG and PNG paths, where the library was built with them; Pillow's pixels."""

from __future__ import annotations

import dataclasses
import functools
import io
import os
from typing import Any

import numpy as np
from PIL import Image, ImageFile

from jaxcnn.data.decode import MAX_PIXELS

# Set to 0, Pillow decodes everything; the pixels are the same.
SWITCH = "JAXCNN_NATIVE"
# libjpeg's longest side, which the compiled path sets to what it resizes to as well.
_MAX_SIDE = 65500


@dataclasses.dataclass(frozen=True)
class Native:
    """The compiled functions, fitted to the installed Pillow.

    Attributes:
      module: `jaxcnn.data._jpeg`.
      columns_first: whether this Pillow resizes columns first where that saves much; the pixels
        between the two passes are rounded, so that the order shows.
    """

    module: Any
    columns_first: bool

    def size(self, image: bytes, channels: int) -> tuple[int, int] | None:
        """Width and height of a JPEG; None for a file that is left to Pillow."""
        found = self.module.probe(image)
        if found is None or ImageFile.LOAD_TRUNCATED_IMAGES:
            return None
        width, height, components = found
        if width * height > MAX_PIXELS or (channels == 1 and components == 3):
            return None
        return width, height

    def draw(
        self,
        image: bytes,
        out: np.ndarray,
        box: tuple[int, int, int, int],
        size: tuple[int, int],
        window: tuple[int, int, int, int],
        *,
        shrink: int,
        bicubic: bool,
    ) -> bool:
        """Writes a view (see `View`) into uint8 `[H, W, C]`; False leaves `out` undefined."""
        if max(size) > _MAX_SIDE:
            return False
        left, top, right, bottom = box
        # Pillow's rule for the order of the passes.
        saved = bottom - top - size[1]
        columns_first = self.columns_first and saved > max(0, 2 * (right - left - size[0]))
        return self.module.draw(
            image,
            out,
            out.shape[2],
            (left, top, right - left, bottom - top),
            size,
            (window[0], window[1], window[2] - window[0], window[3] - window[1]),
            shrink,
            bicubic,
            columns_first,
        )


@functools.cache
def load() -> Native | None:
    """The compiled path; None where it is missing, switched off, or differs from this Pillow."""
    if os.environ.get(SWITCH) == "0":
        return None
    try:
        from jaxcnn.data import _jpeg  # type: ignore[attr-defined]
    except ImportError:
        return None
    return next((n for n in (Native(_jpeg, True), Native(_jpeg, False)) if _agrees(n)), None)


def draw_whole(images: list[Any], out: np.ndarray) -> np.ndarray:
    """Decodes many small files in one call, without Python's lock.

    Args:
      images: encoded files; other things are passed over.
      out: contiguous uint8 `[N, H, W, C]`; a file of another size than H x W is left alone.

    Returns:
      bool `[N]`: which rows of `out` were written. The rest is Pillow's, its rows undefined.
    """
    done = np.zeros(len(images), bool)
    if ImageFile.LOAD_TRUNCATED_IMAGES or out[0].size > MAX_PIXELS or max(out.shape[1:3]) > 65535:
        return done
    jpeg = load()
    for module in (jpeg.module if jpeg else None, _png()):
        if module is not None and not done.all():
            module.whole(images, out, out.shape[1:], done)
    return done


@functools.cache
def _png() -> Any:
    if os.environ.get(SWITCH) == "0":
        return None
    try:
        from jaxcnn.data import _png as module  # type: ignore[attr-defined]
    except ImportError:
        return None
    return module


def _agrees(native: Native) -> bool:
    """Whether a noisy JPEG comes out as from Pillow, in either order of the passes and smaller."""
    noise = np.random.default_rng(0).integers(0, 256, (96, 64, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG", quality=90)
    for shrink, box, size in ((1, (3, 9, 43, 91), (30, 20)), (2, (1, 0, 32, 30), (14, 28))):
        picture = Image.open(io.BytesIO(file.getvalue()))
        picture.draft(None, (64 // shrink, 96 // shrink))
        expected = picture.crop(box).resize(size, Image.Resampling.BICUBIC)
        out = np.empty((size[1], size[0], 3), np.uint8)
        window = (0, 0, *size)
        done = native.draw(file.getvalue(), out, box, size, window, shrink=shrink, bicubic=True)
        if not done or not np.array_equal(out, np.asarray(expected)):
            return False
    return True
