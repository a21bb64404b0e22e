"""Weights, images and labels that anyone can rebuild from names, shapes and numbers.

Both sides use them: tests here, and `make_goldens.py` in PyTorch.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence

import numpy as np


def tensor(name: str, shape: Sequence[int]) -> np.ndarray:
    """The tensor of a state dict that follows from its name and PyTorch shape."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    z = rng.standard_normal(tuple(shape))
    if name.endswith("running_var"):
        z = 0.5 + np.abs(z)
    elif name.endswith(("running_mean", "bias")):
        z = 0.1 * z
    elif len(shape) == 1:
        z = 1 + 0.1 * z
    else:
        z = z * np.sqrt(2 / np.prod(shape[1:]))
    return z.astype(np.float32)


def images(image_size: int) -> np.ndarray:
    """Two images `[2, 3, S, S]`."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((2, 3, image_size, image_size)).astype(np.float32)


def training_batch() -> tuple[np.ndarray, np.ndarray]:
    """16 images `[16, 3, 64, 64]` and their labels."""
    return np.random.default_rng(1).standard_normal((16, 3, 64, 64)), np.arange(16) * 61 % 1000


def digest(shapes: Mapping[str, Sequence[int]]) -> str:
    """One hash of all names and shapes of a state dict, whatever their order."""
    text = json.dumps(sorted((name, list(shape)) for name, shape in shapes.items()))
    return hashlib.sha256(text.encode()).hexdigest()


def pooled(tap: np.ndarray) -> np.ndarray:
    """A small trace of an activation `[B, C, H, W]`: the means of every 8th channel."""
    return tap.mean((2, 3))[:, ::8]
