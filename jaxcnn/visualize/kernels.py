"""First-layer kernels, and the classical filter that each one is nearest to."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flax import linen as nn
from matplotlib.patches import Rectangle

from jaxcnn import filters
from jaxcnn.visualize.canvas import GRAY, new_figure, save
from jaxcnn.visualize.program import NotApplicable, Program


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


@dataclasses.dataclass(frozen=True)
class FirstLayer:
    """The kernels of a network's first convolution.

    Attributes:
      layer: its path.
      kernels: float [h, w, C, F].
      matches: what each of the F is nearest to.
    """

    layer: str
    kernels: np.ndarray
    matches: list[FilterMatch]


def first_layer(
    model: nn.Module,
    variables: Any,
    image_shape: Sequence[int],
    *,
    layer: str | None = None,
    call_args: Mapping[str, Any] | None = None,
) -> FirstLayer:
    """The kernels of the first convolution that runs, or of another, with their nearest filters.

    Args:
      model: any Linen module.
      variables: its variables.
      image_shape: `[H, W, C]` of its images.
      layer: the path of another convolution.
      call_args: further arguments of the module's call.

    Raises:
      ValueError: the network has no convolution, or none at that path.
    """
    program = Program(model, variables, np.empty((1, *image_shape)), call_args=call_args)
    found = dict(program.convolutions())
    if not found:
        raise NotApplicable(f"{type(model).__name__} has no convolution, so no kernels to show.")
    name = next(iter(found)) if layer is None else layer
    if name not in found:
        raise ValueError(program.unknown(name, list(found), "convolution"))
    kernels = np.asarray(found[name], np.float64)
    return FirstLayer(
        name, kernels, [nearest_filter(kernels[..., i]) for i in range(kernels.shape[-1])]
    )


def draw_kernels(found: FirstLayer, path: pathlib.Path, *, title: str = "") -> None:
    """Each kernel beside the classical filter that it is nearest to, the nearest pairs first.

    Kernels of three channels are shown as colours, others as their dominant pattern; in both
    mid-gray is zero and each is stretched to its largest value.
    """
    height, width, channels, count = found.kernels.shape
    order = sorted(range(count), key=lambda i: -found.matches[i].similarity)
    columns = min(8, max(4, round(count**0.5)))
    lines = -(-count // columns)
    figure = new_figure(1.75 * columns, 1.08 * lines + 0.9)
    grid = figure.subplots(lines, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    bank = filters.classical_kernels(max(height, width, 3) + 1 - max(height, width, 3) % 2)
    for axes, i in zip(grid.flat, order, strict=False):
        match = found.matches[i]
        kernel = found.kernels[..., i] if channels == 3 else match.pattern
        classical = bank.get(match.name, np.zeros((3, 3))) * (np.sign(match.correlation) or 1)
        for left, values in ((0.0, kernel), (1.06, classical)):
            axes.imshow(
                _around_gray(values),
                cmap="gray",
                vmin=0,
                vmax=1,
                interpolation="nearest",
                extent=(left, left + 1, 0, 1),
            )
            axes.add_patch(Rectangle((left, 0), 1, 1, fill=False, edgecolor=GRAY, linewidth=0.8))
        axes.set_xlim(-0.02, 2.08)
        axes.set_ylim(-0.02, 1.02)
        sign = "\N{MINUS SIGN}" if match.correlation < 0 else ""
        axes.set_title(f"{i}: {sign}{match.name} {match.similarity:.2f}", fontsize=9)
    figure.suptitle(
        f"{title}: the {count} kernels of {found.layer} ({height}x{width}),\neach beside the "
        "classical filter nearest to it",
        fontweight="bold",
        fontsize=12,
    )
    figure.supxlabel(
        "number: name of the filter, cosine (\N{MINUS SIGN}: signs exchanged); mid-gray is zero",
        fontsize=10,
    )
    save(figure, path)


def _around_gray(values: np.ndarray) -> np.ndarray:
    largest = np.abs(values).max() or 1.0
    return 0.5 + 0.5 * values / largest
