"""VGG (Simonyan and Zisserman 2014), with and without BatchNorm."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcnn.models.checks import check_images
from jaxcnn.models.taps import Tap
from jaxcnn.nn import Conv, NormConfig, adaptive_avg_pool, call_block, conv_norm, max_pool

PAPER = "Simonyan and Zisserman 2014: Very deep convolutional networks, table 1"

WIDTHS = (64, 128, 256, 512, 512)
HIDDEN = 4096
GRID = (7, 7)


@dataclasses.dataclass(frozen=True)
class Spec:
    """A row of the table: 3x3 convolutions of each stage, and whether BatchNorm follows each."""

    layers: tuple[int, int, int, int, int]
    batch_norm: bool = False
    image_size: tuple[int, int] = (224, 224)
    channels: int = 3
    # Five poolings halve it.
    min_size: int = 32


# Configurations A, B, D and E of the paper's table 1.
_LAYERS = {
    "vgg11": (1, 1, 2, 2, 2),
    "vgg13": (2, 2, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
}
SPECS: Mapping[str, Spec] = {name: Spec(layers) for name, layers in _LAYERS.items()} | {
    f"{name}_bn": Spec(layers, batch_norm=True) for name, layers in _LAYERS.items()
}


class ConvLayer(nn.Module):
    """A 3x3 convolution with a bias, BatchNorm if there is a `norm`, and ReLU."""

    features: int
    norm: NormConfig | None
    dtype: Any
    param_dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        if self.norm is None:
            return nn.relu(Conv(self.features, 3, padding=1, name="conv", **types)(x))
        names = ("conv", "norm")
        x = conv_norm(x, self.features, 3, names, self.norm, train=train, use_bias=True, **types)
        return nn.relu(x)


class VGG(nn.Module):
    """Five stages of 3x3 convolutions, each halved by max pooling, and three dense layers.

    Without classes it gives the 4096 activations before the last layer. An image of another size
    is averaged to the 7x7 grid that the dense layers read. `norm` is None in a network without
    BatchNorm; `remat` computes the layers' activations again for the gradient.
    """

    spec: Spec
    num_classes: int = 1000
    dropout: float = 0.5
    norm: NormConfig | None = None
    remat: bool = False
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @property
    def taps(self) -> tuple[Tap, ...]:
        stages = (Tap(f"stage{i}", 2 ** (i - 1), n) for i, n in enumerate(WIDTHS, 1))
        return (Tap("stem", 1, WIDTHS[0]), *stages)

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        check_images("VGG", images, self.spec.min_size)
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        x = images.astype(self.dtype)
        for stage, (width, layers) in enumerate(zip(WIDTHS, self.spec.layers, strict=True), 1):
            for layer in range(1, layers + 1):
                block = ConvLayer(width, self.norm, name=f"stage{stage}_layer{layer}", **types)
                x = call_block(block, x, train=train, remat=self.remat)
                if (stage, layer) == (1, 1):
                    self.sow("intermediates", "stem", x)
            self.sow("intermediates", f"stage{stage}", x)
            x = max_pool(x, 2)
        x = adaptive_avg_pool(x, GRID)
        x = x.reshape(x.shape[0], -1)
        init = nn.initializers.normal(0.01)
        for i in (1, 2):
            x = nn.relu(nn.Dense(HIDDEN, kernel_init=init, name=f"dense{i}", **types)(x))
            x = nn.Dropout(self.dropout, deterministic=not train, name=f"dropout{i}")(x)
        if not self.num_classes:
            return x.astype(jnp.float32)
        head = nn.Dense(self.num_classes, kernel_init=init, name="head", **types)
        return head(x).astype(jnp.float32)


def build(name: str, **fields: Any) -> nn.Module:
    """The network of a row of `SPECS`."""
    spec = SPECS[name]
    if not spec.batch_norm and fields.get("norm") is not None:
        raise ValueError(f"{name} has no BatchNorm, so that norm must be None; take {name}_bn.")
    return VGG(spec=spec, **({"norm": NormConfig()} if spec.batch_norm else {}) | fields)
