"""A multilayer perceptron: what a network is before it knows that pixels have neighbours."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcnn.models.checks import check_images
from jaxcnn.models.taps import Tap

PAPER = "Rumelhart, Hinton, Williams 1986: Learning representations by back-propagating errors"


@dataclasses.dataclass(frozen=True)
class Spec:
    """A row of the table: widths of the hidden layers."""

    hidden: tuple[int, ...] = (256, 128)
    image_size: tuple[int, int] = (8, 8)
    channels: int = 1
    min_size: int = 1


SPECS: Mapping[str, Spec] = {"mlp": Spec()}


class MLP(nn.Module):
    """Flattened pixels through dense layers with ReLU; each image size is another network."""

    spec: Spec
    num_classes: int = 10
    dropout: float = 0.0
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @property
    def taps(self) -> tuple[Tap, ...]:
        return tuple(Tap(f"hidden{i}", 0, n) for i, n in enumerate(self.spec.hidden, 1))

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        check_images("mlp", images, self.spec.min_size)
        x = images.reshape(images.shape[0], -1).astype(self.dtype)
        for i, width in enumerate(self.spec.hidden, 1):
            x = nn.Dense(
                width,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                kernel_init=nn.initializers.he_normal(),
                name=f"dense{i}",
            )(x)
            x = nn.relu(x)
            self.sow("intermediates", f"hidden{i}", x)
            x = nn.Dropout(self.dropout, name=f"dropout{i}")(x, deterministic=not train)
        if not self.num_classes:
            return x.astype(jnp.float32)
        x = nn.Dense(self.num_classes, dtype=self.dtype, param_dtype=self.param_dtype, name="head")(
            x
        )
        return x.astype(jnp.float32)


def build(name: str, **fields: Any) -> nn.Module:
    """The network of a row of `SPECS`."""
    return MLP(spec=SPECS[name], **fields)
