"""LeNet-5 (LeCun, Bottou, Bengio, Haffner 1998, section II.B)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcnn.models.checks import check_images
from jaxcnn.models.taps import Tap
from jaxcnn.nn import Conv, avg_pool

PAPER = "LeCun et al. 1998: Gradient-based learning applied to document recognition"


@dataclasses.dataclass(frozen=True)
class Spec:
    """A row of the table: the image that the paper's layer sizes belong to."""

    image_size: tuple[int, int] = (32, 32)
    channels: int = 1
    # Two 5x5 convolutions without padding and two poolings leave one pixel of it.
    min_size: int = 16


SPECS: Mapping[str, Spec] = {"lenet5": Spec()}


class LeNet5(nn.Module):
    """Two 5x5 convolutions with tanh and average pooling, then dense layers of 120 and 84.

    Differs from the paper, as every later LeNet-5 does: each map of C3 sees all maps of S2 (the
    paper cuts connections by its table I), pooling has no weights of its own, and the output is
    a dense layer in place of radial basis functions. 61,706 parameters for 32x32 gray images.
    """

    spec: Spec = Spec()
    num_classes: int = 10
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @property
    def taps(self) -> tuple[Tap, ...]:
        return (Tap("stage1", 1, 6), Tap("stage2", 2, 16))

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        check_images("lenet5", images, self.spec.min_size)
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        init = nn.initializers.lecun_normal()
        x = images.astype(self.dtype)
        x = nn.tanh(Conv(6, 5, name="conv1", kernel_init=init, **types)(x))
        self.sow("intermediates", "stage1", x)
        x = avg_pool(x, 2)
        x = nn.tanh(Conv(16, 5, name="conv2", kernel_init=init, **types)(x))
        self.sow("intermediates", "stage2", x)
        x = avg_pool(x, 2)
        x = x.reshape(x.shape[0], -1)
        x = nn.tanh(nn.Dense(120, name="dense1", **types)(x))
        x = nn.tanh(nn.Dense(84, name="dense2", **types)(x))
        if not self.num_classes:
            return x.astype(jnp.float32)
        return nn.Dense(self.num_classes, name="head", **types)(x).astype(jnp.float32)


def build(name: str, **fields: Any) -> nn.Module:
    """The network of a row of `SPECS`."""
    return LeNet5(spec=SPECS[name], **fields)
