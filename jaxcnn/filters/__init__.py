"""Classical image processing: the filters that were designed by hand before they were learned.

Images are [..., H, W, C]; every filter works on each channel of each image, is jit-compiled, and is
differentiable unless it decides (threshold, Canny). Integers are converted to float32 without
rescaling, so thresholds are in the images' own units.
"""

from __future__ import annotations

from jaxcnn.filters.bank import (
    Match,
    classical_init,
    classical_kernels,
    gabor_kernel,
    nearest_filter,
)
from jaxcnn.filters.boundary import MODES, pad
from jaxcnn.filters.canny import canny
from jaxcnn.filters.color import split_channels, to_gray
from jaxcnn.filters.edges import laplacian, scharr, sobel
from jaxcnn.filters.linear import convolve, correlate
from jaxcnn.filters.smooth import box_blur, gaussian_blur, gaussian_kernel, sharpen, unsharp_mask
from jaxcnn.filters.threshold import otsu_threshold, threshold

__all__ = [
    "MODES",
    "Match",
    "box_blur",
    "canny",
    "classical_init",
    "classical_kernels",
    "convolve",
    "correlate",
    "gabor_kernel",
    "gaussian_blur",
    "gaussian_kernel",
    "laplacian",
    "nearest_filter",
    "otsu_threshold",
    "pad",
    "scharr",
    "sharpen",
    "sobel",
    "split_channels",
    "threshold",
    "to_gray",
    "unsharp_mask",
]
