"""Two-dimensional convolution with its padding in numbers."""

from __future__ import annotations

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


def pair(value: Pair) -> tuple[int, int]:
    """`(value, value)`, or the pair as it is."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


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
    """
    window = Window(pair(stride), pair(padding), pair(dilation), groups)
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
        channels = x.shape[-1]
        if channels % self.groups or self.features % self.groups:
            raise ValueError(
                f"{self.name}: groups={self.groups} must divide both the {channels} input "
                f"channels and the {self.features} filters."
            )
        height, width = pair(self.kernel_size)
        self._check_size(x, (height, width))
        shape = (height, width, channels // self.groups, self.features)
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

    def _check_size(self, x: jax.Array, kernel: tuple[int, int]) -> None:
        pad, dilation = pair(self.padding), pair(self.dilation)
        for axis, name in ((0, "height"), (1, "width")):
            reach = dilation[axis] * (kernel[axis] - 1) + 1
            size = x.shape[1 + axis] + 2 * pad[axis]
            if size < reach:
                raise ValueError(
                    f"{'/'.join(self.path)}: a kernel that reaches {reach} pixels does not fit a "
                    f"{name} of {x.shape[1 + axis]} with padding {pad[axis]}; use larger images."
                )
