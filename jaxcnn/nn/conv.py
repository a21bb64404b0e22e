"""Two-dimensional convolution with its padding in numbers."""

from __future__ import annotations

import operator
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype

from jaxcnn.nn import conv_forms
from jaxcnn.nn.conv_forms import Window, convolve
from jaxcnn.nn.forms import fast_forms_enabled

Pair = int | tuple[int, int]

# He et al. 2015 (Delving deep into rectifiers): variance 2 / fan_out keeps the gradient's size.
he_normal = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


def pair(value: Pair, name: str = "size", least: int = 0) -> tuple[int, int]:
    """`(value, value)`, or the pair as it is.

    Raises:
      ValueError: unless they are whole numbers of at least `least`; it names the argument.
    """
    try:
        both: Any = (value, value) if hasattr(value, "__index__") else value
        height, width = map(operator.index, both)
    except (TypeError, ValueError):
        height = width = -1
    if min(height, width) < least:
        same = (
            " Of padding: the same on both sides; for 'SAME' half of an odd kernel, rounded down."
        )
        raise ValueError(
            f"{name}={value!r}: give a whole number of at least {least}, or one for height and one "
            f"for width.{same if name.endswith('padding') else ''}"
        )
    return height, width


def check_rank(x: jax.Array, what: str) -> None:
    """Raises ValueError unless `x` is `[B, H, W, C]`."""
    if x.ndim != 4:
        raise ValueError(
            f"{what} takes images [B, H, W, C], not an array of shape {x.shape}; a single image is "
            "images[None]."
        )


def conv2d(
    x: jax.Array,
    kernel: jax.Array,
    *,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> jax.Array:
    """The cross-correlation that CNNs call convolution.

    Args:
      x: `[B, H, W, C]`.
      kernel: `[h, w, C / groups, F]`.
      stride: step of the window in pixels.
      padding: zeros on each side, in pixels.
      dilation: distance between the kernel's taps.
      groups: in how many groups channels and filters are cut.

    Returns:
      `[B, (H + 2 padding - dilation (h - 1) - 1) // stride + 1, ..., F]`.

    Raises:
      ValueError: if the kernel does not fit the images, or the groups do not divide the channels.
    """
    window = _window(x, kernel.shape, stride, padding, dilation, groups, "conv2d")
    if fast_forms_enabled(x, kernel) and conv_forms.has_fast_form(x, kernel, window):
        return conv_forms.conv(x, kernel, window=window)
    return convolve(x, kernel, window)


class Conv(nn.Module):
    """A convolution layer: `conv2d` and a bias; parameters `kernel` [h, w, C/groups, F], `bias`."""

    features: int
    kernel_size: Pair
    stride: Pair = 1
    padding: Pair = 0
    dilation: Pair = 1
    groups: int = 1
    use_bias: bool = True
    dtype: Any = None
    param_dtype: Any = jnp.float32
    kernel_init: nn.initializers.Initializer = he_normal
    bias_init: nn.initializers.Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        layer = "/".join(self.path) or "Conv"
        size = pair(self.kernel_size, f"{layer}: kernel_size", 1)
        shape = (*size, x.shape[-1] // max(self.groups, 1), self.features)
        _window(x, shape, self.stride, self.padding, self.dilation, self.groups, layer)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        bias = None
        if self.use_bias:
            bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype)
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = conv2d(
            x,
            kernel,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )
        return y if bias is None else y + bias


def _window(
    x: jax.Array,
    kernel: tuple[int, ...],
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
    layer: str,
) -> Window:
    """The geometry of a kernel `[h, w, C / groups, F]` over `x`; ValueError if it has none."""
    check_rank(x, layer)
    window = Window(
        pair(stride, f"{layer}: stride", 1),
        pair(padding, f"{layer}: padding"),
        pair(dilation, f"{layer}: dilation", 1),
        groups,
    )
    channels, features = x.shape[3], kernel[3]
    if groups < 1 or channels % groups or features % groups:
        raise ValueError(
            f"{layer}: groups={groups} must divide both the {channels} input channels and the "
            f"{features} filters."
        )
    if kernel[2] != channels // groups:
        raise ValueError(
            f"{layer}: a kernel [h, w, C / groups, F] of shape {kernel} does not suit {channels} "
            f"input channels in {groups} groups."
        )
    for axis, name in ((0, "height"), (1, "width")):
        pad, reach = window.padding[axis], window.dilation[axis] * (kernel[axis] - 1) + 1
        if x.shape[1 + axis] + 2 * pad < reach:
            raise ValueError(
                f"{layer}: a kernel that reaches {reach} pixels does not fit a {name} of "
                f"{x.shape[1 + axis]} with padding {pad}; use larger images."
            )
    return window
