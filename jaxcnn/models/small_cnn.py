"""A small network of convolution, BatchNorm and ReLU, for digits and other small images."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcnn.models.checks import check_images
from jaxcnn.models.taps import Tap
from jaxcnn.nn import NormConfig, conv_norm, global_avg_pool, max_pool

PAPER = "after Simonyan and Zisserman 2014 (3x3 stacks) with Ioffe and Szegedy 2015 (BatchNorm)"


@dataclasses.dataclass(frozen=True)
class Spec:
    """A row of the table: channels of each stage; a stage has two 3x3 convolutions."""

    widths: tuple[int, ...] = (32, 64, 128)
    image_size: tuple[int, int] = (8, 8)
    channels: int = 1

    @property
    def min_size(self) -> int:
        """Each pooling between stages halves the image."""
        return 2 ** (len(self.widths) - 1)


SPECS: Mapping[str, Spec] = {"small_cnn": Spec()}


class SmallCNN(nn.Module):
    """Stages of two 3x3 convolutions, halved by max pooling between them, then a global average."""

    spec: Spec
    num_classes: int = 10
    dropout: float = 0.2
    norm: NormConfig = NormConfig()
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @property
    def taps(self) -> tuple[Tap, ...]:
        return tuple(Tap(f"stage{i}", 2 ** (i - 1), n) for i, n in enumerate(self.spec.widths, 1))

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        check_images("small_cnn", images, self.spec.min_size)
        x = images.astype(self.dtype)
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        for stage, width in enumerate(self.spec.widths, 1):
            if stage > 1:
                x = max_pool(x, 2)
            for layer in (1, 2):
                names = (f"stage{stage}_conv{layer}", f"stage{stage}_norm{layer}")
                x = nn.relu(conv_norm(x, width, 3, names, self.norm, train=train, **types))
            self.sow("intermediates", f"stage{stage}", x)
        x = global_avg_pool(x)
        if not self.num_classes:
            return x.astype(jnp.float32)
        x = nn.Dropout(self.dropout, name="dropout")(x, deterministic=not train)
        return nn.Dense(self.num_classes, name="head", **types)(x).astype(jnp.float32)


def build(name: str, **fields: Any) -> nn.Module:
    """The network of a row of `SPECS`."""
    return SmallCNN(spec=SPECS[name], **fields)
