"""ResNets for large images (He et al. 2015), their wide and grouped forms, and plain twins."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcnn.models.checks import check_images
from jaxcnn.models.taps import Tap
from jaxcnn.nn import (
    BasicBlock,
    Bottleneck,
    NormConfig,
    Shortcut,
    call_block,
    conv_norm,
    global_avg_pool,
    max_pool,
)

PAPER = "He et al. 2015: Deep residual learning for image recognition, table 1"

WIDTHS = (64, 128, 256, 512)


@dataclasses.dataclass(frozen=True)
class Spec:
    """A row of the table.

    Attributes:
      block: two 3x3 convolutions, or 1x1, 3x3 and 1x1 around a bottleneck.
      depths: blocks of each stage.
      groups: of a bottleneck's 3x3 convolution.
      group_width: channels of one of these groups in the first stage.
      stride_first: bottlenecks stride in their first 1x1 convolution (the paper's "v1").
      shortcut: `B` projects where the shape changes, `none` makes a plain network.
    """

    block: Literal["basic", "bottleneck"]
    depths: tuple[int, int, int, int]
    groups: int = 1
    group_width: int = 64
    stride_first: bool = False
    shortcut: Shortcut = "B"
    image_size: tuple[int, int] = (224, 224)
    channels: int = 3
    # Each of the five strides needs two pixels to step over.
    min_size: int = 17


_18, _34, _50 = (2, 2, 2, 2), (3, 4, 6, 3), (3, 4, 6, 3)
_101, _152 = (3, 4, 23, 3), (3, 8, 36, 3)
SPECS: Mapping[str, Spec] = {
    "resnet18": Spec("basic", _18),
    "resnet34": Spec("basic", _34),
    "resnet50": Spec("bottleneck", _50),
    "resnet101": Spec("bottleneck", _101),
    "resnet152": Spec("bottleneck", _152),
    "resnet50_v1": Spec("bottleneck", _50, stride_first=True),
    "resnet101_v1": Spec("bottleneck", _101, stride_first=True),
    "resnet152_v1": Spec("bottleneck", _152, stride_first=True),
    # Xie et al. 2016 (Aggregated residual transformations), table 1.
    "resnext50_32x4d": Spec("bottleneck", _50, groups=32, group_width=4),
    # Zagoruyko and Komodakis 2016 (Wide residual networks), table 8.
    "wide_resnet50_2": Spec("bottleneck", _50, group_width=128),
    "plain18": Spec("basic", _18, shortcut="none"),
    "plain34": Spec("basic", _34, shortcut="none"),
}


class ResNet(nn.Module):
    """A 7x7 stem, max pooling, four stages of residual blocks, and a global average.

    Attributes:
      zero_init: starts the last scale of each block at 0, so that each block starts as the
        identity; without effect in a plain network, which would not start at all.
      remat: computes the blocks' activations again for the gradient, which saves memory.
    """

    spec: Spec
    num_classes: int = 1000
    norm: NormConfig = NormConfig()
    zero_init: bool = False
    remat: bool = False
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @property
    def taps(self) -> tuple[Tap, ...]:
        expansion = 4 if self.spec.block == "bottleneck" else 1
        stages = (Tap(f"stage{i}", 2 ** (i + 1), expansion * n) for i, n in enumerate(WIDTHS, 1))
        return (Tap("stem", 2, WIDTHS[0]), *stages)

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        check_images("ResNet", images, self.spec.min_size)
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        x = images.astype(self.dtype)
        names = ("stem_conv", "stem_norm")
        x = nn.relu(conv_norm(x, WIDTHS[0], 7, names, self.norm, train=train, stride=2, **types))
        self.sow("intermediates", "stem", x)
        x = max_pool(x, 3, stride=2, padding=1)
        for stage, depth in enumerate(self.spec.depths, 1):
            for index in range(1, depth + 1):
                x = call_block(self._block(stage, index), x, train=train, remat=self.remat)
            self.sow("intermediates", f"stage{stage}", x)
        x = global_avg_pool(x)
        if not self.num_classes:
            return x.astype(jnp.float32)
        return nn.Dense(self.num_classes, name="head", **types)(x).astype(jnp.float32)

    def _block(self, stage: int, index: int) -> nn.Module:
        spec, width = self.spec, WIDTHS[stage - 1]
        common: dict[str, Any] = {
            "stride": 2 if stage > 1 and index == 1 else 1,
            "shortcut": spec.shortcut,
            "norm": self.norm,
            "zero_init": self.zero_init and spec.shortcut != "none",
            "dtype": self.dtype,
            "param_dtype": self.param_dtype,
            "name": f"stage{stage}_block{index}",
        }
        if spec.block == "basic":
            return BasicBlock(width, **common)
        return Bottleneck(
            width * spec.groups * spec.group_width // 64,
            features=4 * width,
            groups=spec.groups,
            stride_first=spec.stride_first,
            **common,
        )


def build(name: str, **fields: Any) -> nn.Module:
    """The network of a row of `SPECS`."""
    return ResNet(spec=SPECS[name], **fields)
