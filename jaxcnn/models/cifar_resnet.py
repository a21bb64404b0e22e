"""ResNets for 32x32 images, and their plain twins (He et al. 2015, section 4.2)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcnn.models.taps import Tap
from jaxcnn.nn import BatchNorm, Conv, NormConfig, global_avg_pool

PAPER = "He et al. 2015: Deep residual learning for image recognition, section 4.2"

Shortcut = Literal["A", "B", "none"]
WIDTHS = (16, 32, 64)


@dataclasses.dataclass(frozen=True)
class Spec:
    """A row of the table.

    Attributes:
      depth: layers with weights, 6n + 2.
      shortcut: where a block changes the shape, `A` takes every second pixel and pads the new
        channels with zeros, `B` projects by a 1x1 convolution; `none` has no shortcuts at all.
    """

    depth: int
    shortcut: Shortcut = "A"
    image_size: tuple[int, int] = (32, 32)
    channels: int = 3


DEPTHS = (20, 32, 44, 56, 110)
SPECS: Mapping[str, Spec] = (
    {f"cifar_resnet{d}": Spec(d) for d in DEPTHS}
    | {f"cifar_resnet{d}_b": Spec(d, "B") for d in DEPTHS}
    | {f"cifar_plain{d}": Spec(d, "none") for d in DEPTHS}
)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut around them."""

    width: int
    stride: int
    shortcut: Shortcut
    norm: NormConfig
    dtype: Any
    param_dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}

        def conv_norm(y: jax.Array, size: int, stride: int, names: tuple[str, str]) -> jax.Array:
            y = Conv(
                self.width,
                size,
                stride=stride,
                padding=size // 2,
                use_bias=False,
                name=names[0],
                **types,
            )(y)
            return BatchNorm(self.norm, name=names[1], **types)(y, train=train)

        y = nn.relu(conv_norm(x, 3, self.stride, ("conv1", "norm1")))
        y = conv_norm(y, 3, 1, ("conv2", "norm2"))
        if self.shortcut == "none":
            return nn.relu(y)
        if x.shape[-1] == self.width and self.stride == 1:
            return nn.relu(y + x)
        if self.shortcut == "B":
            return nn.relu(y + conv_norm(x, 1, self.stride, ("project", "project_norm")))
        extra = self.width - x.shape[-1]
        x = x[:, :: self.stride, :: self.stride]
        x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (extra // 2, extra - extra // 2)))
        return nn.relu(y + x)


class CifarResNet(nn.Module):
    """A 3x3 stem, three stages of n blocks with 16, 32 and 64 channels, and a global average."""

    spec: Spec
    num_classes: int = 10
    norm: NormConfig = NormConfig()
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @property
    def taps(self) -> tuple[Tap, ...]:
        stages = (Tap(f"stage{i}", 2 ** (i - 1), width) for i, width in enumerate(WIDTHS, 1))
        return (Tap("stem", 1, WIDTHS[0]), *stages)

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        x = images.astype(self.dtype)
        x = Conv(WIDTHS[0], 3, padding=1, use_bias=False, name="stem_conv", **types)(x)
        x = nn.relu(BatchNorm(self.norm, name="stem_norm", **types)(x, train=train))
        self.sow("intermediates", "stem", x)
        for stage, width in enumerate(WIDTHS, 1):
            for block in range(1, (self.spec.depth - 2) // 6 + 1):
                x = BasicBlock(
                    width=width,
                    stride=2 if stage > 1 and block == 1 else 1,
                    shortcut=self.spec.shortcut,
                    norm=self.norm,
                    name=f"stage{stage}_block{block}",
                    **types,
                )(x, train=train)
            self.sow("intermediates", f"stage{stage}", x)
        x = global_avg_pool(x)
        if not self.num_classes:
            return x.astype(jnp.float32)
        return nn.Dense(self.num_classes, name="head", **types)(x).astype(jnp.float32)


def build(name: str, **fields: Any) -> nn.Module:
    """The network of a row of `SPECS`."""
    return CifarResNet(spec=SPECS[name], **fields)
