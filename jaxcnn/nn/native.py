"""Compiled functions for CPUs, where the library was built with them."""

from __future__ import annotations

import functools
import logging
import os
from typing import Any

import jax
import numpy as np

from jaxcnn.nn.native_parts import call_in_parts

# Set to 0, XLA's own convolutions run; the values are the same within float32 rounding.
SWITCH = "JAXCNN_NATIVE"
# Of AVX-512, and two of AVX2; blocks of filters are whole vectors.
VECTOR = 16
# Of the compiled functions' arguments; csrc/module.cc has the same number.
INTERFACE = 2

_log = logging.getLogger(__name__)


@functools.cache
def available() -> bool:
    """Whether the compiled functions are there, this processor runs them, and XLA takes them."""
    if os.environ.get(SWITCH) == "0":
        return False
    try:
        from jaxcnn.nn import _conv  # type: ignore[attr-defined]
    except ImportError:
        return False
    if getattr(_conv, "INTERFACE", 0) != INTERFACE:
        _log.warning(
            "The compiled convolutions are of another version of jaxcnn; XLA's own are used. "
            "Install jaxcnn again to build them anew."
        )
        return False
    if not _conv.use(""):
        return False
    try:
        for name, handler in _conv.handlers().items():
            jax.ffi.register_ffi_target(name, handler, platform="cpu")
            jax.ffi.register_ffi_target_as_batch_partitionable(name)
    except Exception as error:
        _log.warning(
            "The compiled convolutions were built for another jaxlib (%s); XLA's own are used. "
            "Install jaxcnn again to build them anew.",
            error,
        )
        return False
    return True


def call(
    name: str,
    shape: tuple[int, ...],
    first: jax.Array,
    second: jax.Array,
    window: tuple[int, ...],
    parts: int = 1,
) -> jax.Array:
    """One of the functions of csrc/module.cc on float32 arrays.

    Args:
      name: `convolve`, `image_gradient`, `kernel_gradient` or `pool_gradient`.
      shape: the result's.
      first: image, or the output's gradient for `image_gradient` and `pool_gradient`.
      second: kernel; the output's gradient for `kernel_gradient`, the image for `pool_gradient`.
      window: stride, padding and dilation, each down and across, groups and how many of them are
        joined; of pooling size, stride and padding.
      parts: in how many the images are cut, each for a device of the program.
    """
    if parts > 1:
        return call_in_parts(name, shape, first, second, window, parts)
    result = jax.ShapeDtypeStruct(shape, np.float32)
    function: Any = jax.ffi.ffi_call(f"jaxcnn_{name}", result)
    return function(first, second, window=np.asarray(window, np.int64))
