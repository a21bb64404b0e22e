"""Memory for time: activations that are computed again when the gradient needs them."""

from __future__ import annotations

import jax
from flax import linen as nn


def call_block(block: nn.Module, x: jax.Array, *, train: bool, remat: bool) -> jax.Array:
    """`block(x, train=train)`; with `remat` only its input is kept for the gradient.

    The forward pass of the block then runs twice in training (Chen et al. 2016, Training deep
    nets with sublinear memory cost). Names and values are the same either way.
    """
    if not remat:
        return block(x, train=train)
    return nn.remat(lambda module, y: module(y, train=train))(block, x)
