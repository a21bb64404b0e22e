"""What may happen to a picture on its way: shifts, blur, noise and compression.

Each takes uint8 `[H, W, C]` of the network's size and gives the same; all run on the host with
integers or fixed random numbers, so that a corrupted image has the same bytes on every machine
with the same Pillow and NumPy.
"""

from __future__ import annotations

import dataclasses
import io
from typing import Literal, get_args

import numpy as np
from PIL import Image

from jaxcnn.filters.smooth import gaussian_kernel

Border = Literal["black", "edge", "reflect", "wrap"]
_PAD = {"black": "constant", "edge": "edge", "reflect": "symmetric", "wrap": "wrap"}
DIRECTIONS = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}


def shift(image: np.ndarray, down: int, right: int, border: Border = "black") -> np.ndarray:
    """Moves an image by whole pixels; what comes in from outside is filled by `border`.

    `black` fills with zeros, `edge` repeats the border pixel, `reflect` mirrors at the image's
    edge, `wrap` brings back what went out on the other side.
    """
    if border not in get_args(Border):
        raise ValueError(f"border={border!r}; choose from {', '.join(get_args(Border))}.")
    height, width = image.shape[:2]
    before = (max(down, 0), max(right, 0))
    after = (max(-down, 0), max(-right, 0))
    pads = ((before[0], after[0]), (before[1], after[1]), (0, 0))
    padded = np.pad(image, pads, mode=_PAD[border])  # type: ignore[call-overload]
    return padded[after[0] : after[0] + height, after[1] : after[1] + width]


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur by a standard deviation in pixels; beyond the border its pixels repeat."""
    weights = gaussian_kernel(sigma)
    radius = len(weights) // 2
    values = image.astype(np.float64)
    for axis in (0, 1):
        pads = [(radius, radius) if i == axis else (0, 0) for i in range(3)]
        padded = np.pad(values, pads, mode="edge")
        length = image.shape[axis]
        values = np.zeros(image.shape)
        for start, weight in enumerate(weights):
            cut = padded[start : start + length] if axis == 0 else padded[:, start : start + length]
            values += weight * cut
    return np.rint(values).astype(np.uint8)


def noise(image: np.ndarray, deviation: float, index: int) -> np.ndarray:
    """Adds normal noise, whose standard deviation is a share of the range 0 to 255.

    The noise depends on the example's index alone, and grows in proportion to the deviation.
    """
    if deviation <= 0:
        return image
    generator = np.random.Generator(np.random.Philox(counter=[0, 0, index, 2], key=0))
    values = generator.standard_normal(image.shape, np.float32)
    return np.clip(np.rint(image + 255 * deviation * values), 0, 255).astype(np.uint8)


def compress(image: np.ndarray, quality: int) -> np.ndarray:
    """What a JPEG file of a quality (1 to 100, Pillow's) keeps of the image."""
    gray = image.shape[2] == 1
    file = io.BytesIO()
    Image.fromarray(image[:, :, 0] if gray else image).save(file, "JPEG", quality=quality)
    pixels = np.asarray(Image.open(file))
    return pixels[:, :, None] if gray else pixels


@dataclasses.dataclass(frozen=True)
class Condition:
    """One change of one strength.

    Attributes:
      kind: `shift`, `blur`, `noise` or `jpeg`.
      level: pixels, standard deviation in pixels, standard deviation as a share of the range, or
        quality. None is the image as it is.
      direction: of a shift.
    """

    kind: str
    level: float | None
    direction: str = ""

    def apply(self, image: np.ndarray, index: int, border: Border = "black") -> np.ndarray:
        """The changed image of the example `index`."""
        if self.level is None:
            return image
        if self.kind == "shift":
            down, right = DIRECTIONS[self.direction]
            pixels = int(self.level)
            return shift(image, down * pixels, right * pixels, border)
        if self.kind == "blur":
            return blur(image, self.level)
        if self.kind == "noise":
            return noise(image, self.level, index)
        return compress(image, int(self.level))


# The levels of each kind, from none to strong; None is the image as it is.
LEVELS: dict[str, tuple[float | None, ...]] = {
    "shift": (None, 1, 2, 3, 4, 5, 6, 7, 8),
    "blur": (None, 0.5, 1.0, 1.5, 2.0, 3.0),
    "noise": (None, 0.02, 0.05, 0.1, 0.2, 0.3),
    "jpeg": (None, 90, 75, 50, 25, 10, 5),
}


def conditions(kinds: tuple[str, ...] = tuple(LEVELS)) -> list[Condition]:
    """Every condition of some kinds; the untouched image first, and once."""
    unknown = [kind for kind in kinds if kind not in LEVELS]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no corruption; choose from {', '.join(LEVELS)}.")
    found = [Condition("clean", None)]
    for kind in kinds:
        for level in LEVELS[kind]:
            if level is not None:
                directions = DIRECTIONS if kind == "shift" else ("",)
                found += [Condition(kind, level, direction) for direction in directions]
    return found
