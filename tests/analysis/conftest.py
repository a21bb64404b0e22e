"""Modules that people write: branches, lax calls, slices, shared and lifted modules."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn


class Plain(nn.Module):
    """Two 3x3 convolutions and a pooling with uneven padding."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(4, (3, 3), padding=((1, 1), (1, 1)), name="a")(x))
        x = nn.relu(nn.Conv(4, (3, 3), padding=((1, 1), (1, 1)), name="b")(x))
        self.sow("intermediates", "convs", x)
        x = nn.max_pool(x, (3, 3), (2, 2), padding=((0, 1), (1, 0)))
        self.sow("intermediates", "out", x)
        return x


class Same(nn.Module):
    """SAME padding of strided convolutions is uneven."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(4, (3, 3), strides=2, padding="SAME", name="a")(x))
        x = nn.relu(nn.Conv(4, (5, 4), strides=(2, 1), padding="SAME", name="b")(x))
        self.sow("intermediates", "out", x)
        return x


class Branches(nn.Module):
    """An Inception block: 1x1, dilated 3x3, 5x5 and a pooled branch, side by side."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(4, (3, 3), strides=2, padding=1, name="stem")(x))
        one = nn.Conv(2, (1, 1), name="one")(x)
        three = nn.Conv(2, (3, 3), kernel_dilation=2, padding=2, name="three")(x)
        five = nn.Conv(3, (5, 5), padding=2, name="five")(x)
        pool = nn.avg_pool(x, (3, 3), (1, 1), padding="SAME")
        x = jnp.concatenate([one, three, five, pool], axis=-1)
        self.sow("intermediates", "joined", x)
        x = nn.relu(nn.Conv(4, (3, 3), feature_group_count=2, padding=0, name="last")(x[..., :10]))
        self.sow("intermediates", "out", x)
        return x


class OptionA(nn.Module):
    """A residual block whose shortcut drops pixels and pads channels (He et al. 2015, 4.2)."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(4, (3, 3), padding=1, name="stem")(x))
        y = nn.relu(nn.Conv(8, (3, 3), strides=2, padding=1, name="conv1")(x))
        y = nn.Conv(8, (3, 3), padding=1, name="conv2")(y)
        shortcut = jnp.pad(x[:, ::2, ::2], ((0, 0), (0, 0), (0, 0), (2, 2)))
        self.sow("intermediates", "shortcut", shortcut)
        x = nn.relu(y + shortcut)
        self.sow("intermediates", "out", x)
        return x


class Slices(nn.Module):
    """Convolution as products of shifted slices; pooling as the maximum of shifted slices."""

    @nn.compact
    def __call__(self, x):
        kernel = self.param("kernel", nn.initializers.ones, (3, 3, x.shape[-1], 4))
        size = x.shape[1:3]
        padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        y = sum(
            padded[:, i : i + size[0], j : j + size[1]] @ kernel[i, j]
            for i in range(3)
            for j in range(3)
        )
        self.sow("intermediates", "conv", y)
        y = jnp.pad(y, ((0, 0), (0, 1), (0, 1), (0, 0)), constant_values=-jnp.inf)
        rows, columns = (y.shape[1] - 3) // 2 + 1, (y.shape[2] - 3) // 2 + 1
        y = jax.lax.reduce(
            jnp.stack(
                [
                    y[:, i : i + 2 * rows - 1 : 2, j : j + 2 * columns - 1 : 2]
                    for i in range(3)
                    for j in range(3)
                ]
            ),
            -jnp.inf,
            jax.lax.max,
            (0,),
        )
        self.sow("intermediates", "out", y)
        return y


class Lifted(nn.Module):
    """jit, remat and scan around modules."""

    @nn.compact
    def __call__(self, x):
        x = nn.jit(nn.Conv)(4, (3, 3), padding=1, name="jitted")(x)
        x = nn.remat(nn.Conv)(4, (3, 3), strides=2, padding=1, name="remat")(x)

        class Step(nn.Module):
            @nn.compact
            def __call__(self, carry, _):
                return nn.Conv(4, (3, 3), padding=1, name="conv")(carry), None

        stack = nn.scan(Step, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)
        x, _ = stack(name="scanned")(x, None)
        self.sow("intermediates", "out", x)
        return x


class SpaceToDepth(nn.Module):
    """A stride-2 convolution as a stride-1 convolution on 2x2 blocks, then flips and a resize."""

    @nn.compact
    def __call__(self, x):
        b, h, w, c = x.shape
        x = x.reshape(b, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5)
        x = x.reshape(b, h // 2, w // 2, 4 * c)
        x = nn.Conv(4, (2, 2), padding=((1, 0), (1, 0)), name="conv")(x)
        self.sow("intermediates", "blocks", x)
        x = x[:, ::-1] + jnp.roll(x, 1, axis=2)
        x = jax.image.resize(x, (b, h, w, 4), "nearest")
        self.sow("intermediates", "out", x)
        return x


class Gated(nn.Module):
    """Squeeze and excitation: every unit sees the whole image through the gate."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(4, (3, 3), padding=1, name="conv")(x)
        gate = nn.sigmoid(nn.Dense(4, name="gate")(x.mean(axis=(1, 2))))
        x = x * gate[:, None, None]
        self.sow("intermediates", "out", x)
        return x


class Transposed(nn.Module):
    """Down by two and up by two."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(4, (3, 3), strides=2, padding=1, name="down")(x)
        x = nn.ConvTranspose(4, (3, 3), strides=(2, 2), name="up")(x)
        self.sow("intermediates", "out", x)
        return x


class Deformed(nn.Module):
    """A loop whose number of turns the program does not tell."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(4, (3, 3), padding=1, name="conv")(x)
        x = jax.lax.while_loop(lambda v: v.sum() > 1e9, lambda v: v / 2, x)
        self.sow("intermediates", "out", x)
        return x


MODULES = {
    m.__name__: m
    for m in (Plain, Same, Branches, OptionA, Slices, Lifted, SpaceToDepth, Gated, Transposed)
}
MODULES["Deformed"] = Deformed


@pytest.fixture
def build() -> Callable[[str], nn.Module]:
    """A module of this file by name."""
    return lambda name: MODULES[name]()
