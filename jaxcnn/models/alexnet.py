"""AlexNet (Krizhevsky, Sutskever, Hinton 2012)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcnn.models.checks import check_images
from jaxcnn.models.taps import Tap
from jaxcnn.nn import Conv, adaptive_avg_pool, local_response_norm, max_pool
from jaxcnn.nn.conv import he_normal

PAPER = "Krizhevsky et al. 2012: ImageNet classification with deep convolutional neural networks"

HIDDEN = 4096
GRID = (6, 6)


@dataclasses.dataclass(frozen=True)
class Spec:
    """A row of the table.

    Attributes:
      widths: channels of the five convolutions.
      stem_padding: of the first convolution; 0 for images of 227 pixels, 2 for 224.
      groups: in which conv2, conv4 and conv5 are cut (the paper's two GPUs).
      response_norm: local response normalisation after conv1 and conv2.
      dropout_first: dropout before the hidden layers (PyTorch) or after them (the paper).
      paper_init: normal weights of deviation 0.01, and biases of 1 in the layers that section 5
        names; otherwise He et al. 2015 for convolutions and biases of 0.
      min_size: the smallest image that leaves the last pooling a window.
    """

    widths: tuple[int, int, int, int, int]
    stem_padding: int
    min_size: int
    image_size: tuple[int, int]
    groups: int = 1
    response_norm: bool = False
    dropout_first: bool = True
    paper_init: bool = False
    channels: int = 3


SPECS: Mapping[str, Spec] = {
    # Krizhevsky 2014 (One weird trick), one tower: the form of PyTorch's weights.
    "alexnet": Spec((64, 192, 384, 256, 256), 2, min_size=63, image_size=(224, 224)),
    # The paper says 224, but its 55x55 maps belong to 227 pixels.
    "alexnet_paper": Spec(
        (96, 256, 384, 384, 256),
        0,
        min_size=67,
        image_size=(227, 227),
        groups=2,
        response_norm=True,
        dropout_first=False,
        paper_init=True,
    ),
}


class AlexNet(nn.Module):
    """Five convolutions, three overlapping max poolings (3x3, stride 2), three dense layers.

    Without classes it gives the 4096 activations before the last layer. An image of another size
    is averaged to the 6x6 grid that the dense layers read.
    """

    spec: Spec
    num_classes: int = 1000
    dropout: float = 0.5
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @property
    def taps(self) -> tuple[Tap, ...]:
        widths = self.spec.widths
        return (
            Tap("stem", 4, widths[0]),
            Tap("stage1", 8, widths[1]),
            Tap("stage2", 16, widths[4]),
        )

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        spec = self.spec
        check_images("AlexNet", images, spec.min_size)
        x = images.astype(self.dtype)
        x = self._conv(1, x, 11, stride=4, padding=spec.stem_padding)
        self.sow("intermediates", "stem", x)
        x = self._conv(2, self._normalise_and_pool(x), 5, padding=2, groups=spec.groups)
        self.sow("intermediates", "stage1", x)
        x = self._conv(3, self._normalise_and_pool(x), 3, padding=1)
        x = self._conv(4, x, 3, padding=1, groups=spec.groups)
        x = self._conv(5, x, 3, padding=1, groups=spec.groups)
        self.sow("intermediates", "stage2", x)
        x = adaptive_avg_pool(max_pool(x, 3, stride=2), GRID)
        x = x.reshape(x.shape[0], -1)
        for i in (1, 2):
            drop = nn.Dropout(self.dropout, deterministic=not train, name=f"dropout{i}")
            x = drop(x) if spec.dropout_first else x
            x = nn.relu(self._dense(f"dense{i}", HIDDEN, bias=1.0)(x))
            x = x if spec.dropout_first else drop(x)
        if not self.num_classes:
            return x.astype(jnp.float32)
        return self._dense("head", self.num_classes, bias=0.0)(x).astype(jnp.float32)

    def _conv(self, index: int, x: jax.Array, size: int, **geometry: Any) -> jax.Array:
        paper = self.spec.paper_init
        layer = Conv(
            self.spec.widths[index - 1],
            size,
            **geometry,
            kernel_init=nn.initializers.normal(0.01) if paper else he_normal,
            bias_init=nn.initializers.constant(1.0 if paper and index in (2, 4, 5) else 0.0),
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name=f"conv{index}",
        )
        return nn.relu(layer(x))

    def _dense(self, name: str, features: int, bias: float) -> nn.Dense:
        return nn.Dense(
            features,
            kernel_init=nn.initializers.normal(0.01),
            bias_init=nn.initializers.constant(bias if self.spec.paper_init else 0.0),
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name=name,
        )

    def _normalise_and_pool(self, x: jax.Array) -> jax.Array:
        if self.spec.response_norm:
            x = local_response_norm(x, size=5, alpha=1e-4, beta=0.75, k=2.0)
        return max_pool(x, 3, stride=2)


def build(name: str, **fields: Any) -> nn.Module:
    """The network of a row of `SPECS`."""
    return AlexNet(spec=SPECS[name], **fields)
