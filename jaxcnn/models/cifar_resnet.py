"""ResNets for 32x32 images, and their plain twins (He et al. 2015, section 4.2)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcnn.models.checks import check_images
from jaxcnn.models.taps import Tap
from jaxcnn.nn import BasicBlock, NormConfig, Shortcut, call_block, conv_norm, global_avg_pool

PAPER = "He et al. 2015: Deep residual learning for image recognition, section 4.2"

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
    # Each of the two strides needs two pixels to step over.
    min_size: int = 3


DEPTHS = (20, 32, 44, 56, 110)
SPECS: Mapping[str, Spec] = (
    {f"cifar_resnet{d}": Spec(d) for d in DEPTHS}
    | {f"cifar_resnet{d}_b": Spec(d, "B") for d in DEPTHS}
    | {f"cifar_plain{d}": Spec(d, "none") for d in DEPTHS}
)


class CifarResNet(nn.Module):
    """A 3x3 stem, three stages of n blocks with 16, 32 and 64 channels, and a global average."""

    spec: Spec
    num_classes: int = 10
    norm: NormConfig = NormConfig()
    remat: bool = False
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @property
    def taps(self) -> tuple[Tap, ...]:
        stages = (Tap(f"stage{i}", 2 ** (i - 1), width) for i, width in enumerate(WIDTHS, 1))
        return (Tap("stem", 1, WIDTHS[0]), *stages)

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        check_images(f"A CIFAR network of depth {self.spec.depth}", images, self.spec.min_size)
        x = images.astype(self.dtype)
        names = ("stem_conv", "stem_norm")
        x = nn.relu(conv_norm(x, WIDTHS[0], 3, names, self.norm, train=train, **types))
        self.sow("intermediates", "stem", x)
        for stage, width in enumerate(WIDTHS, 1):
            for block in range(1, (self.spec.depth - 2) // 6 + 1):
                module = BasicBlock(
                    width,
                    stride=2 if stage > 1 and block == 1 else 1,
                    shortcut=self.spec.shortcut,
                    norm=self.norm,
                    name=f"stage{stage}_block{block}",
                    **types,
                )
                x = call_block(module, x, train=train, remat=self.remat)
            self.sow("intermediates", f"stage{stage}", x)
        x = global_avg_pool(x)
        if not self.num_classes:
            return x.astype(jnp.float32)
        return nn.Dense(self.num_classes, name="head", **types)(x).astype(jnp.float32)


def build(name: str, **fields: Any) -> nn.Module:
    """The network of a row of `SPECS`."""
    return CifarResNet(spec=SPECS[name], **fields)
