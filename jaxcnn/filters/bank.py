"""The classical kernels by name: to initialise a first layer, or to say what a learned one is like.

All kernels are for cross-correlation, which is what a layer computes: `sobel_x` answers with a
positive number where the image gets brighter from left to right.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxcnn.arguments import nearest

Kernel = np.ndarray[Any, np.dtype[np.float64]]
_ANGLES = (0, 45, 90, 135)


def classical_kernels(size: int = 3) -> dict[str, Kernel]:
    """Named kernels [size, size], float64, for an odd size of at least 3.

    Smoothing (sum 1): identity, box, gaussian (binomial weights), sharpen. Derivatives (sum 0):
    prewitt_x/y, sobel_x/y, scharr_x/y, laplacian, laplacian8. By orientation in degrees,
    anticlockwise from the x axis (sum 0): edge_45, edge_135 (Sobel turned; the brighter side lies
    in that direction) and line_0, 45, 90, 135 (a bright line that runs so). From size 5, gabor_*
    (a wave across a line that runs so) and log (Laplacian of Gaussian). Sobel's larger forms are
    binomial weights across and their difference along; Scharr's 3x3 is smoothed by binomials.
    """
    if size < 3 or size % 2 == 0:
        raise ValueError(f"size={size} cannot work: kernels have an odd size of at least 3.")
    smooth = _binomial(size)
    across = np.convolve(_binomial(size - 2), [-1.0, 0.0, 1.0])
    scharr = np.convolve(_binomial(size - 2), np.array([3.0, 10.0, 3.0]) / 16)
    identity = np.zeros((size, size))
    identity[size // 2, size // 2] = 1
    laplacian = _widen([[0, 1, 0], [1, -4, 1], [0, 1, 0]], size)
    sobel_x = np.outer(smooth, across)
    kernels = {
        "identity": identity,
        "box": np.full((size, size), 1 / size**2),
        "gaussian": np.outer(smooth, smooth),
        "sharpen": identity - laplacian,
        "laplacian": laplacian,
        "laplacian8": _widen([[1, 1, 1], [1, -8, 1], [1, 1, 1]], size),
        "prewitt_x": np.outer(np.ones(size) / size, across),
        "prewitt_y": np.outer(across, np.ones(size) / size),
        "sobel_x": sobel_x,
        "sobel_y": sobel_x.T,
        "scharr_x": np.outer(scharr, across),
        "scharr_y": np.outer(across, scharr),
        "edge_45": (sobel_x - sobel_x.T) / 2,
        "edge_135": (-sobel_x - sobel_x.T) / 2,
    }
    kernels |= {f"line_{angle}": _line(size, angle) for angle in _ANGLES}
    if size >= 5:
        kernels["log"] = _laplacian_of_gaussian(size)
        kernels |= {f"gabor_{angle}": gabor_kernel(size, angle) for angle in _ANGLES}
    return {name: np.asarray(kernel, np.float64) for name, kernel in kernels.items()}


def gabor_kernel(
    size: int, angle: float, *, wavelength: float | None = None, phase: float = 0.0
) -> Kernel:
    """A wave under a Gaussian, [size, size], sum 0, whose bright line runs at `angle` degrees.

    Wavelength in pixels, size / 2 unless told; sigma is size / 5; phase 0 is a line, 90 degrees an
    edge. (Daugman 1985, "Uncertainty relation for resolution in space, spatial frequency, and
    orientation".)
    """
    y, x = _grid(size)
    turn = math.radians(angle)
    distance = x * math.sin(turn) - y * math.cos(turn)
    wave = np.cos(2 * np.pi * distance / (wavelength or size / 2) + math.radians(phase))
    window = np.exp(-(x**2 + y**2) / (2 * (size / 5) ** 2))
    return window * wave - window * (window * wave).sum() / window.sum()


@dataclasses.dataclass(frozen=True)
class Match:
    """The classical kernel nearest to another: its name and the normalised correlation, -1 to 1.

    A negative correlation means the kernel with its signs exchanged.
    """

    name: str
    correlation: float


def nearest_filter(kernel: Any) -> Match:
    """The classical kernel with the largest absolute normalised correlation.

    `kernel` is [h, w], or [h, w, C], of which the mean over channels is compared. It is laid in the
    middle of the smallest odd square that holds it, and compared with the bank of that size by
    <a, b> / (|a| |b|); the mean is not removed, so that a blur is not taken for an edge. A kernel
    of zeros is near to nothing: correlation 0 with 'identity'.
    """
    values = np.asarray(kernel, np.float64)
    if values.ndim == 3:
        values = values.mean(axis=-1)
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(f"a kernel of shape {np.shape(kernel)}: it must be [h, w] or [h, w, C].")
    if not np.isfinite(values).all():
        raise ValueError("the kernel has values that are not finite; nothing is near to it.")
    side = max(*values.shape, 3)
    side += 1 - side % 2
    frame = np.zeros((side, side))
    top, left = (side - values.shape[0]) // 2, (side - values.shape[1]) // 2
    frame[top : top + values.shape[0], left : left + values.shape[1]] = values
    norm = np.linalg.norm(frame)
    if norm == 0:
        return Match("identity", 0.0)
    scores = {
        name: float((frame * other).sum() / norm / np.linalg.norm(other))
        for name, other in classical_kernels(side).items()
    }
    best = max(scores, key=lambda name: abs(scores[name]))
    return Match(best, scores[best])


def classical_init(
    names: Sequence[str] | None = None,
    *,
    gain: float = math.sqrt(2),
    rest: nn.initializers.Initializer = nn.initializers.he_normal(),  # noqa: B008
) -> nn.initializers.Initializer:
    """A Linen kernel_init that fills a first layer [h, w, C, features] with classical kernels.

    Filter i is the i-th of `names` (all kernels of that size but identity, unless told), the same
    on every channel, scaled to the norm `gain`: He initialisation's in the mean. Filters beyond the
    names are drawn by `rest`. Needs a square kernel of odd size.
    """

    def init(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32, **_: Any) -> jax.Array:
        if len(shape) != 4 or shape[0] != shape[1]:
            raise ValueError(
                f"a layer's kernel of shape {tuple(shape)}: classical_init fills square ones, "
                "[size, size, channels, features]."
            )
        size, channels, features = shape[0], shape[2], shape[3]
        bank = classical_kernels(size)
        chosen = [n for n in bank if n != "identity"] if names is None else list(names)
        for name in chosen:
            if name not in bank:
                raise ValueError(
                    f"There is no kernel {name!r} of size {size}{nearest(name, bank)}; there are "
                    f"{', '.join(bank)}."
                )
        filled = [
            np.repeat(bank[n][..., None], channels, -1)
            * gain
            / (np.linalg.norm(bank[n]) * math.sqrt(channels))
            for n in chosen[:features]
        ]
        drawn = rest(key, tuple(shape), dtype)
        if not filled:
            return drawn
        fixed = jnp.asarray(np.stack(filled, -1), dtype)
        return jnp.concatenate([fixed, drawn[..., len(filled) :]], axis=-1)

    return init


def _binomial(size: int) -> Kernel:
    row = np.array([math.comb(size - 1, k) for k in range(size)], np.float64)
    return row / row.sum()


def _widen(kernel: Any, size: int) -> Kernel:
    """A 3x3 kernel smoothed by binomials up to [size, size]."""
    smooth = np.outer(_binomial(size - 2), _binomial(size - 2))
    out = np.zeros((size, size))
    for i in range(3):
        for j in range(3):
            out[i : i + size - 2, j : j + size - 2] += kernel[i][j] * smooth
    return out


def _line(size: int, angle: int) -> Kernel:
    """A bright line through the centre, as wide as one pixel, its surroundings as dark."""
    y, x = _grid(size)
    turn = math.radians(angle)
    distance = np.abs(x * math.sin(turn) - y * math.cos(turn))
    bright = (distance < 0.5).astype(np.float64)
    dark = (distance >= 0.5) & (distance < 1.5)
    return bright / bright.sum() - dark / dark.sum()


def _laplacian_of_gaussian(size: int) -> Kernel:
    y, x = _grid(size)
    square = (x**2 + y**2) / (2 * (size / 6) ** 2)
    weights = np.exp(-square)
    out = (square - 1) * weights
    return out - weights * out.sum() / weights.sum()


def _grid(size: int) -> tuple[Kernel, Kernel]:
    """Coordinates from the centre, y upwards, x to the right."""
    line = np.arange(size) - (size - 1) / 2
    y, x = np.meshgrid(-line, line, indexing="ij")
    return y, x
