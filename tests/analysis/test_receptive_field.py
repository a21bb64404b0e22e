"""Receptive fields against what really happens when one pixel changes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxcnn.analysis import Box, receptive_field

SIZE = (14, 12)
EXACT = [
    "Plain",
    "Same",
    "Branches",
    "OptionA",
    "Slices",
    "Lifted",
    "SpaceToDepth",
    "Gated",
    "Transposed",
]


def sown(model, variables, images):
    """The sown values, by name, as [units..., channels] for one image."""
    _, state = model.apply(variables, images, mutable=["intermediates"])
    return {name: value[0] for name, value in state["intermediates"].items()}


def support(model, size):
    """Per tap, bool [pixels, *value shape]: whether a NaN in that pixel reaches that element."""
    image = jnp.ones((1, *size, 3))
    variables = model.init(jax.random.key(0), image)
    variables = {"params": variables["params"]}

    def reached(row, column):
        return jax.tree.map(
            jnp.isnan, sown(model, variables, image.at[0, row, column].set(jnp.nan))
        )

    grid = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), -1).reshape(-1, 2)
    return grid, jax.jit(jax.vmap(reached))(grid[:, 0], grid[:, 1])


def bounding_box(grid, mask):
    if not mask.any():
        return (0, 0)
    rows, columns = grid[mask].T
    return Box(rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)


@pytest.mark.parametrize("name", EXACT)
def test_box_is_exactly_the_pixels_from_which_nan_spreads(build, name):
    model = build(name)
    fields = receptive_field(model, SIZE)
    assert fields.inexact == ()
    grid, reached = support(model, SIZE)
    for tap in fields.taps:
        hit = np.asarray(reached[tap])[:, 0]
        for unit in np.ndindex(*hit.shape[1:-1]):
            expected = bounding_box(grid, hit[(slice(None), *unit)].any(axis=-1))
            assert fields.box(tap, unit) == expected, (tap, unit)
        for channel in range(hit.shape[-1]):
            unit = tuple(n // 2 for n in hit.shape[1:-1])
            box = fields.box(tap, unit, channel=channel)
            mask = hit[(slice(None), *unit, channel)]
            if mask.any():
                assert box == bounding_box(grid, mask), (tap, unit, channel)
            else:
                assert 0 in box.size
