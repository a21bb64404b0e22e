"""GoogLeNet, the first Inception network (Szegedy et al. 2014)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcnn.models.checks import check_images
from jaxcnn.models.taps import Tap
from jaxcnn.nn import (
    Conv,
    NormConfig,
    adaptive_avg_pool,
    avg_pool,
    call_block,
    conv_norm,
    global_avg_pool,
    local_response_norm,
    max_pool,
)

PAPER = "Szegedy et al. 2014: Going deeper with convolutions, table 1"

# Table 1: 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection.
Widths = tuple[int, int, int, int, int, int]
STAGES: Mapping[int, Mapping[str, Widths]] = {
    3: {"a": (64, 96, 128, 16, 32, 32), "b": (128, 128, 192, 32, 96, 64)},
    4: {
        "a": (192, 96, 208, 16, 48, 64),
        "b": (160, 112, 224, 24, 64, 64),
        "c": (128, 128, 256, 24, 64, 64),
        "d": (112, 144, 288, 32, 64, 64),
        "e": (256, 160, 320, 32, 128, 128),
    },
    5: {"a": (256, 160, 320, 32, 128, 128), "b": (384, 192, 384, 48, 128, 128)},
}
# The two auxiliary heads read these modules' outputs.
AUX_AFTER = {"inception4a": "aux1", "inception4d": "aux2"}
AUX_GRID = (4, 4)


@dataclasses.dataclass(frozen=True)
class Spec:
    """A row of the table.

    Attributes:
      batch_norm: BatchNorm (epsilon 1e-3) in place of biases and local response normalisation.
      third: kernel of the third branch; PyTorch's weights have 3 where the paper has 5.
      last_pool: window of the last max pooling (stride 2).
      dropout: before the classifier.
      min_size: the smallest image that leaves the last pooling a window, rounded up.
    """

    batch_norm: bool
    third: int
    last_pool: int
    dropout: float
    min_size: int
    image_size: tuple[int, int] = (224, 224)
    channels: int = 3


SPECS: Mapping[str, Spec] = {
    "googlenet": Spec(batch_norm=True, third=3, last_pool=2, dropout=0.2, min_size=15),
    "googlenet_paper": Spec(batch_norm=False, third=5, last_pool=3, dropout=0.4, min_size=31),
}


class ConvLayer(nn.Module):
    """A convolution and ReLU; with BatchNorm between if there is a `norm`, else with a bias."""

    features: int
    size: int
    norm: NormConfig | None
    dtype: Any
    param_dtype: Any
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        geometry: dict[str, Any] = {"stride": self.stride, "padding": self.size // 2}
        if self.norm is None:
            return nn.relu(Conv(self.features, self.size, name="conv", **geometry, **types)(x))
        names = ("conv", "norm")
        x = conv_norm(
            x, self.features, self.size, names, self.norm, train=train, stride=self.stride, **types
        )
        return nn.relu(x)


class Inception(nn.Module):
    """1x1, 3x3 and 5x5 convolutions and a pooling side by side (figure 2b)."""

    widths: Widths
    third: int
    norm: NormConfig | None
    dtype: Any
    param_dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        def conv(y: jax.Array, index: int, size: int, name: str) -> jax.Array:
            types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
            layer = ConvLayer(self.widths[index], size, self.norm, name=name, **types)
            return layer(y, train=train)

        branches = [
            conv(x, 0, 1, "branch1"),
            conv(conv(x, 1, 1, "branch2_reduce"), 2, 3, "branch2"),
            conv(conv(x, 3, 1, "branch3_reduce"), 4, self.third, "branch3"),
            conv(max_pool(x, 3, stride=1, padding=1), 5, 1, "branch4"),
        ]
        return jnp.concatenate(branches, axis=-1)


class AuxHead(nn.Module):
    """A small classifier on an inner map, for training only (section 5)."""

    spec: Spec
    num_classes: int
    dropout: float
    norm: NormConfig | None
    dtype: Any
    param_dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        if not self.spec.batch_norm and min(x.shape[1:3]) >= 5:
            x = avg_pool(x, 5, stride=3)  # the paper's; gives the 4x4 grid for 224 pixels
        x = adaptive_avg_pool(x, AUX_GRID)
        x = ConvLayer(128, 1, self.norm, name="layer", **types)(x, train=train)
        x = x.reshape(x.shape[0], -1)
        x = nn.relu(nn.Dense(1024, name="dense", **types)(x))
        x = nn.Dropout(self.dropout, deterministic=not train, name="dropout")(x)
        return nn.Dense(self.num_classes, name="head", **types)(x).astype(jnp.float32)


class GoogLeNet(nn.Module):
    """Nine inception modules between a stem of three convolutions and a global average.

    In training with `aux_heads` the logits of both auxiliary heads are sown into the collection
    `aux_logits` as `aux1_logits` and `aux2_logits`, float32 [B, num_classes]; the loss takes
    `aux_weight` times the cross entropy of each (section 5). Evaluation never computes them.
    """

    spec: Spec
    num_classes: int = 1000
    aux_heads: bool = True
    aux_weight: float = 0.3
    dropout: float = 0.2
    aux_dropout: float = 0.7
    norm: NormConfig | None = None
    remat: bool = False
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @property
    def taps(self) -> tuple[Tap, ...]:
        widths = (64, 192, 480, 832, 1024)
        names = ("stem", "stage1", "stage2", "stage3", "stage4")
        return tuple(Tap(n, 2**i, w) for i, (n, w) in enumerate(zip(names, widths, strict=True), 1))

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        check_images("GoogLeNet", images, self.spec.min_size)
        x = self._stem(images.astype(self.dtype), train)
        for stage, modules in STAGES.items():
            window = self.spec.last_pool if stage == 5 else 3
            x = max_pool(x, window, stride=2, ceil_mode=True)
            for letter, widths in modules.items():
                name = f"inception{stage}{letter}"
                block = Inception(widths, self.spec.third, self.norm, name=name, **self._types)
                x = call_block(block, x, train=train, remat=self.remat)
                if name in AUX_AFTER:
                    self._aux(AUX_AFTER[name], x, train)
            self.sow("intermediates", f"stage{stage - 1}", x)
        x = global_avg_pool(x)
        if not self.num_classes:
            return x.astype(jnp.float32)
        x = nn.Dropout(self.dropout, deterministic=not train, name="dropout")(x)
        return nn.Dense(self.num_classes, name="head", **self._types)(x).astype(jnp.float32)

    @property
    def _types(self) -> dict[str, Any]:
        return {"dtype": self.dtype, "param_dtype": self.param_dtype}

    def _stem(self, x: jax.Array, train: bool) -> jax.Array:
        def conv(y: jax.Array, index: int, features: int, size: int, stride: int = 1) -> jax.Array:
            layer = ConvLayer(
                features, size, self.norm, stride=stride, name=f"stem_layer{index}", **self._types
            )
            return layer(y, train=train)

        x = conv(x, 1, 64, 7, stride=2)
        self.sow("intermediates", "stem", x)
        x = max_pool(x, 3, stride=2, ceil_mode=True)
        if not self.spec.batch_norm:
            x = local_response_norm(x)
        x = conv(conv(x, 2, 64, 1), 3, 192, 3)
        self.sow("intermediates", "stage1", x)
        return x if self.spec.batch_norm else local_response_norm(x)

    def _aux(self, name: str, x: jax.Array, train: bool) -> None:
        if not self.aux_heads or not self.num_classes or not (train or self.is_initializing()):
            return
        head = AuxHead(
            self.spec, self.num_classes, self.aux_dropout, self.norm, name=name, **self._types
        )
        logits = head(x, train=train)
        if train:
            self.sow("aux_logits", f"{name}_logits", logits)


def build(name: str, **fields: Any) -> nn.Module:
    """The network of a row of `SPECS`."""
    spec = SPECS[name]
    if not spec.batch_norm and fields.get("norm") is not None:
        raise ValueError(f"{name} has no BatchNorm, so that norm must be None; take googlenet.")
    defaults: dict[str, Any] = {"dropout": spec.dropout}
    if spec.batch_norm:
        defaults["norm"] = NormConfig(epsilon=1e-3)
    return GoogLeNet(spec=spec, **defaults | fields)
