"""What happens to a picture between its file and a network, as a plain record."""

from __future__ import annotations

import dataclasses
from typing import Literal

from jaxcnn.arguments import check_fields

# Statistics of ImageNet's training pixels in [0, 1], as torchvision and timm use them.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class Preprocess:
    """How an image becomes a network's input, for evaluation and prediction.

    The host decodes, resizes and crops to uint8 `[H, W, C]`; the device casts to float, divides
    by 255, subtracts `mean` and divides by `std`.

    Attributes:
      image_size: height and width of the network's input in pixels.
      channels: 1 (gray) or 3 (RGB).
      mean: per channel, of pixels in [0, 1].
      std: per channel, of pixels in [0, 1].
      resize: `shorter` scales the shorter side to `image_size / crop_pct` and crops the centre
        (torchvision, timm); `squash` scales both sides to the size, whatever the aspect;
        `none` takes images that have the size already and refuses others.
      crop_pct: share of the resized shorter side that the centre crop keeps.
      interpolation: filter of the antialiased resize, as PIL defines it.
    """

    image_size: tuple[int, int]
    channels: int = 3
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    resize: Literal["shorter", "squash", "none"] = "shorter"
    crop_pct: float = 0.875
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"

    def __post_init__(self) -> None:
        check_fields(self)
        if min(self.image_size) < 1:
            raise ValueError(f"image_size={self.image_size}: both sides must be at least 1 pixel.")
        if self.channels not in (1, 3):
            raise ValueError(f"channels={self.channels}: images are gray (1) or RGB (3).")
        if len(self.mean) != self.channels or len(self.std) != self.channels:
            raise ValueError(
                f"mean={self.mean} and std={self.std} need one value for each of the "
                f"{self.channels} channels."
            )
        if min(self.std) <= 0:
            raise ValueError(
                f"std={self.std}: every value must be positive; 1 leaves pixels as is."
            )
        if not 0 < self.crop_pct <= 1:
            raise ValueError(f"crop_pct={self.crop_pct} must lie in (0, 1]; 1 crops nothing.")
