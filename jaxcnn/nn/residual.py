"""Residual blocks (He et al. 2015), for networks of small and of large images."""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcnn.nn.conv import Conv
from jaxcnn.nn.norm import BatchNorm, NormConfig

# What a block does where it changes the shape: `A` takes every second pixel and pads the new
# channels with zeros, `B` projects by a 1x1 convolution; `none` has no shortcut anywhere.
Shortcut = Literal["A", "B", "none"]


def conv_norm(
    x: jax.Array,
    features: int,
    size: int,
    names: tuple[str, str],
    norm: NormConfig,
    *,
    train: bool,
    stride: int = 1,
    groups: int = 1,
    use_bias: bool = False,
    scale_init: nn.initializers.Initializer = nn.initializers.ones,
    **types: Any,
) -> jax.Array:
    """A convolution and its BatchNorm, as two layers of the module that calls.

    The padding is `size // 2` on each side, so that a stride of 1 keeps the size of the map. A
    bias would be taken away again with the mean; only published weights ask for one.
    """
    x = Conv(
        features,
        size,
        stride=stride,
        padding=size // 2,
        groups=groups,
        use_bias=use_bias,
        name=names[0],
        **types,
    )(x)
    return BatchNorm(norm, scale_init=scale_init, name=names[1], **types)(x, train=train)


_NAMES = {i: (f"conv{i}", f"norm{i}") for i in (1, 2, 3)}


class _Block(nn.Module):
    """A residual block: `[B, H, W, C]` to `[B, ceil(H / stride), ceil(W / stride), F]`.

    Attributes:
      width: channels of the inner convolutions.
      stride: of the block.
      shortcut: what it does where the shape changes.
      norm: of every BatchNorm.
      zero_init: starts the last scale at 0, so that the block starts as the identity (Goyal et
        al. 2017, section 5.1).
    """

    width: int
    stride: int = 1
    shortcut: Shortcut = "B"
    norm: NormConfig = NormConfig()
    zero_init: bool = False
    dtype: Any = None
    param_dtype: Any = jnp.float32

    def _layer(
        self,
        x: jax.Array,
        features: int,
        size: int,
        names: tuple[str, str],
        train: bool,
        **kwargs: Any,
    ) -> jax.Array:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        return conv_norm(x, features, size, names, self.norm, train=train, **kwargs, **types)

    @property
    def _last_scale(self) -> nn.initializers.Initializer:
        return nn.initializers.zeros if self.zero_init else nn.initializers.ones

    def _join(self, x: jax.Array, y: jax.Array, train: bool) -> jax.Array:
        """Adds the shortcut from `x` to `y`, and the ReLU."""
        if self.shortcut == "none":
            return nn.relu(y)
        if x.shape[-1] == y.shape[-1] and self.stride == 1:
            return nn.relu(y + x)
        if self.shortcut == "B":
            names = ("project", "project_norm")
            return nn.relu(y + self._layer(x, y.shape[-1], 1, names, train, stride=self.stride))
        extra = y.shape[-1] - x.shape[-1]
        x = x[:, :: self.stride, :: self.stride]
        x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (extra // 2, extra - extra // 2)))
        return nn.relu(y + x)


class BasicBlock(_Block):
    """Two 3x3 convolutions with a shortcut around them; `F = width` (figure 5, left)."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        y = nn.relu(self._layer(x, self.width, 3, _NAMES[1], train, stride=self.stride))
        y = self._layer(y, self.width, 3, _NAMES[2], train, scale_init=self._last_scale)
        return self._join(x, y, train)


class Bottleneck(_Block):
    """1x1, 3x3 and 1x1 convolutions with a shortcut around them (figure 5, right).

    Attributes:
      features: channels of the output.
      groups: of the 3x3 convolution (Xie et al. 2016, figure 3c).
      stride_first: the stride sits in the first 1x1, as in the paper ("v1"); otherwise in the
        3x3 ("v1.5"), as in all published weights of PyTorch.
    """

    features: int = 256
    groups: int = 1
    stride_first: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        strides = (self.stride, 1) if self.stride_first else (1, self.stride)
        y = nn.relu(self._layer(x, self.width, 1, _NAMES[1], train, stride=strides[0]))
        y = nn.relu(
            self._layer(y, self.width, 3, _NAMES[2], train, stride=strides[1], groups=self.groups)
        )
        y = self._layer(y, self.features, 1, _NAMES[3], train, scale_init=self._last_scale)
        return self._join(x, y, train)
