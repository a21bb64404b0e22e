"""A network small enough to be worked out by hand, and a few that users might write."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn


class Tiny(nn.Module):
    """One 1x1 convolution to two channels, ReLU, the mean over space, a dense layer."""

    @nn.compact
    def __call__(self, x, *, train: bool):
        x = nn.relu(nn.Conv(2, (1, 1), use_bias=False, name="conv")(x))
        self.sow("intermediates", "maps", x)
        return nn.Dense(2, use_bias=False, name="head")(x.mean(axis=(1, 2)))


class Foreign(nn.Module):
    """A user's own module: no taps, no `train`, ReLU written as a maximum, recomputed blocks."""

    @nn.compact
    def __call__(self, x):
        x = jnp.maximum(nn.Conv(4, (3, 3))(x), 0)
        x = nn.remat(nn.Conv)(6, (3, 3))(x)
        x = nn.max_pool(nn.relu(x), (2, 2), (2, 2))
        return nn.Dense(3)(x.reshape(x.shape[0], -1))


@pytest.fixture
def tiny():
    """The network and its weights: A_1 = relu(x), A_2 = relu(-x); logits (A_1 - A_2, A_2)."""
    kernel = np.array([[[[1.0, -1.0]]]], np.float32)
    head = np.array([[1.0, 0.0], [-1.0, 1.0]], np.float32)
    return Tiny(), {"params": {"conv": {"kernel": kernel}, "head": {"kernel": head}}}


@pytest.fixture
def foreign():
    model = Foreign()
    images = jax.random.normal(jax.random.key(1), (2, 8, 8, 3))
    return model, model.init(jax.random.key(0), images), images
