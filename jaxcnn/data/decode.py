"""From an encoded image to uint8 pixels, with one policy for every kind of file."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageFile, ImageOps, JpegImagePlugin, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
# 8192 x 8192. Pillow only warns above 89 million pixels and refuses above 179 million.
MAX_PIXELS = 2**26

_ORIENTATION = 0x0112  # the EXIF tag
_SIDEWAYS = (5, 6, 7, 8)
_MODES = {1: "L", 3: "RGB"}


class UndecodableImage(ValueError):
    """An image file that is damaged, too large, or of a kind without a defined meaning."""


def decode(image: bytes | np.ndarray, channels: int, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decodes an image to uint8 `[H, W, channels]`.

    Gray becomes RGB by repetition and RGB becomes gray by ITU-R 601 luma. Alpha is dropped, as
    torchvision's and timm's loaders do. Palettes are looked up. CMYK is converted by Pillow's
    formula, without a colour profile. 16-bit gray is scaled to 8 bits. An EXIF orientation is
    applied. Of an animation the first frame is taken.

    Args:
      image: an encoded file, or uint8 pixels `[H, W]` or `[H, W, C]` with 1, 3 or 4 channels.
      channels: 1 or 3.
      max_pixels: larger images are refused before memory is taken for them.

    Raises:
      UndecodableImage: with the cause.
    """
    return to_array(open_image(image, channels, max_pixels=max_pixels))


def open_image(
    image: bytes | np.ndarray,
    channels: int,
    *,
    max_pixels: int = MAX_PIXELS,
    shrink: Callable[[int, int], int] | None = None,
) -> Image.Image:
    """As `decode`, but gives a PIL image of mode L or RGB, for resizing.

    Args:
      image: as in `decode`.
      channels: 1 or 3.
      max_pixels: as in `decode`.
      shrink: asked for a JPEG of so much width and height, upright, by how much to divide its
        sides while it is decoded: 1, 2, 4 or 8. Divided sides are rounded up.
    """
    if isinstance(image, np.ndarray):
        return _from_pixels(image).convert(_MODES[channels])
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise UndecodableImage(
            "PIL.ImageFile.LOAD_TRUNCATED_IMAGES is set, so damaged images would train as gray "
            "areas without an error. Set it to False."
        )
    try:
        opened = Image.open(io.BytesIO(image), formats=FORMATS)
        width, height = opened.size
        if width * height > max_pixels:
            raise UndecodableImage(
                f"{width} x {height} pixels are more than the limit of {max_pixels}; scale the "
                "image down."
            )
        if shrink is not None and isinstance(opened, JpegImagePlugin.JpegImageFile):
            on_its_side = opened.getexif().get(_ORIENTATION, 1) in _SIDEWAYS
            upright = (height, width) if on_its_side else (width, height)
            try:
                factor = shrink(*upright)
            except ValueError as error:  # what the caller says of the size, in its own words
                raise UndecodableImage(str(error)) from error
            if factor > 1:
                opened.draft(None, (max(1, width // factor), max(1, height // factor)))
        opened.load()
        turned: Image.Image = opened
        if opened.getexif().get(_ORIENTATION, 1) != 1:
            turned = ImageOps.exif_transpose(opened)
        return _convert(turned, _MODES[channels])
    except UndecodableImage:
        raise
    except UnidentifiedImageError as error:
        raise UndecodableImage(
            f"The {len(image)} bytes are no image in a known format ({', '.join(FORMATS)})."
        ) from error
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error, ...
        raise UndecodableImage(f"{type(error).__name__}: {error}") from error


def to_array(image: Image.Image) -> np.ndarray:
    """The pixels of an image of mode L or RGB, uint8 `[H, W, C]`."""
    pixels = np.asarray(image)
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def _convert(image: Any, mode: str) -> Image.Image:
    """To mode L or RGB."""
    if image.mode == mode:
        return image
    # Of a PPM, Pillow gives 16 bits as 32, scaled to 65535.
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        # Pillow would clip: 300 of 65535 would be white.
        wide = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((wide * 255 + 32767) // 65535).astype(np.uint8)).convert(mode)
    if image.mode in ("I", "F"):
        raise UndecodableImage(
            f"32-bit pixels (Pillow mode {image.mode!r}) have no defined white; save the image "
            "with 8 or 16 bits."
        )
    if image.mode in ("P", "PA"):
        # By way of RGBA, since Pillow warns of transparent palettes that go to RGB directly.
        image = image.convert("RGBA")
    if image.mode in ("RGBA", "RGBa", "CMYK", "YCbCr", "LAB", "HSV"):
        image = image.convert("RGB")
    return image.convert(mode)


def _from_pixels(pixels: np.ndarray) -> Image.Image:
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3):
        raise UndecodableImage(
            f"Pixels of dtype {pixels.dtype} and shape {pixels.shape}; uint8 [H, W, C] is needed."
        )
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.ndim == 3 and pixels.shape[2] not in (3, 4):
        raise UndecodableImage(f"{pixels.shape[2]} channels; 1, 3 or 4 are understood.")
    image = Image.fromarray(pixels)
    return image.convert("RGB") if image.mode == "RGBA" else image
