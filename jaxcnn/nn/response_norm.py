"""Local response normalisation."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.nn.conv import check_rank
from jaxcnn.nn.pool import sum_type


def local_response_norm(
    x: jax.Array, *, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0
) -> jax.Array:
    """Divides each unit of `[B, H, W, C]` by the activity of its `size` neighbour channels.

    `x / (k + alpha * sum of squares) ** beta` (Krizhevsky et al. 2012, section 3.3). The sum is
    not divided by `size`: PyTorch and Caffe do, so that their `alpha` is `size` times ours.
    """
    check_rank(x, "local_response_norm")
    squares = jnp.square(x.astype(sum_type(x)))
    pads = [(0, 0), (0, 0), (0, 0), (size // 2, (size - 1) // 2)]
    total = jax.lax.reduce_window(
        squares, np.array(0, squares.dtype), jax.lax.add, (1, 1, 1, size), (1, 1, 1, 1), pads
    )
    return (x * (k + alpha * total) ** -beta).astype(x.dtype)
