"""First-layer kernels, and the classical filter that each one is nearest to."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from jaxcnn import filters


@dataclasses.dataclass(frozen=True)
class FilterMatch:
    """What a kernel is like.

    Attributes:
      name: of the classical kernel (`filters.classical_kernels`), "none" for a kernel of zeros.
      similarity: |correlation|, 0 to 1.
      correlation: the cosine <a, b> / (|a| |b|) of the kernel's pattern with the classical one,
        -1 to 1; a negative one means exchanged signs.
      pattern: float [h, w], the dominant pattern in space, of norm 1.
      color: float [C], how much of the pattern each channel takes, of norm 1 and with a sum that
        is not negative; equal values are gray, opposite signs a colour contrast.
      share: of the kernel's squared norm that pattern times colour explains, 0 to 1; 1 for one
        channel.
    """

    name: str
    similarity: float
    correlation: float
    pattern: np.ndarray
    color: np.ndarray
    share: float


def nearest_filter(kernel: Any) -> FilterMatch:
    """The classical filter nearest to a kernel [h, w, C] or [h, w].

    The kernel is first written as a pattern in space times a colour: the product that is nearest
    to it in squares (its first singular vectors, as [h w, C]). Other than the mean over channels
    this finds the pattern of a kernel that sets red against green. The pattern is compared by
    `filters.nearest_filter` with the bank of its size: the largest absolute cosine, over
    orientations in steps of 45 degrees and both signs, whatever the scale.

    Raises:
      ValueError: for another shape, or values that are not finite.
    """
    values = np.asarray(kernel, np.float64)
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim != 3 or 0 in values.shape:
        raise ValueError(f"a kernel of shape {np.shape(kernel)}: it must be [h, w] or [h, w, C].")
    if not np.isfinite(values).all():
        raise ValueError("the kernel has values that are not finite; nothing is near to it.")
    height, width, channels = values.shape
    left, sizes, right = np.linalg.svd(values.reshape(-1, channels), full_matrices=False)
    if sizes[0] == 0:
        gray = np.full(channels, channels**-0.5)
        return FilterMatch("none", 0.0, 0.0, np.zeros((height, width)), gray, 1.0)
    sign = -1.0 if right[0].sum() < 0 else 1.0
    pattern = sign * left[:, 0].reshape(height, width)
    match = filters.nearest_filter(pattern)
    return FilterMatch(
        name=match.name,
        similarity=abs(match.correlation),
        correlation=match.correlation,
        pattern=pattern,
        color=sign * right[0],
        share=float(sizes[0] ** 2 / (sizes**2).sum()),
    )
