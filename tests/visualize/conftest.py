"""A network small enough to be worked out by hand, and a few that users might write."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from PIL import Image

from jaxcnn.models import create_model


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


def draw_variables(model: nn.Module, shape: tuple[int, ...], **arguments):
    """Random variables of a module for images of a shape; quicker than compiling its init."""
    shapes = jax.eval_shape(
        lambda: model.init(jax.random.key(0), jnp.zeros((1, *shape)), **arguments)
    )
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        name = path[-1].key
        if name in ("scale", "var"):
            return np.asarray(rng.uniform(0.5, 1.5, leaf.shape), np.float32)
        size = leaf.shape[-1] if name == "kernel" else 4
        fan = np.prod(leaf.shape) / size if name == "kernel" else 16
        return np.asarray(rng.normal(0, (2 / fan) ** 0.5, leaf.shape), np.float32)

    kept = {k: v for k, v in shapes.items() if k != "intermediates"}
    return jax.tree_util.tree_map_with_path(draw, kept)


def drawn_model(name: str, shape: tuple[int, ...], **fields):
    model = create_model(name, **fields)
    return model, draw_variables(model, shape, train=False)


@pytest.fixture
def tiny():
    """The network and its weights: A_1 = relu(x), A_2 = relu(-x); logits (A_1 - A_2, A_2)."""
    kernel = np.array([[[[1.0, -1.0]]]], np.float32)
    head = np.array([[1.0, 0.0], [-1.0, 1.0]], np.float32)
    return Tiny(), {"params": {"conv": {"kernel": kernel}, "head": {"kernel": head}}}


@pytest.fixture(scope="session")
def foreign():
    model = Foreign()
    images = np.random.default_rng(1).normal(size=(2, 8, 8, 3)).astype(np.float32)
    return model, draw_variables(model, (8, 8, 3)), images


@pytest.fixture(scope="session")
def small():
    """`small_cnn` with random weights and two images."""
    images = np.random.default_rng(2).normal(size=(2, 8, 8, 1)).astype(np.float32)
    return *drawn_model("small_cnn", (8, 8, 1), dropout=0.0), images


@pytest.fixture(scope="session")
def draw():
    """The function that draws a named network's variables."""
    return drawn_model


def check_picture(path, kind: str = "", ink: float = 0.1) -> None:
    pixels = np.asarray(Image.open(path).convert("RGB"))
    height, width = pixels.shape[:2]
    assert 400 <= height <= 2600 and 600 <= width <= 2600, f"{kind}: {height}x{width}"
    assert (pixels != 255).any(axis=-1).mean() > ink, f"{kind}: blank"
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 40, f"{kind}: empty"


@pytest.fixture(scope="session")
def is_picture():
    """A check of a file: of a size for a slide, not blank, with more than text on it."""
    return check_picture
