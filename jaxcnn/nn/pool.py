"""Pooling with its padding in numbers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.nn import pool_forms
from jaxcnn.nn.conv import Pair, pair
from jaxcnn.nn.forms import fast_forms_enabled


def max_pool(
    x: jax.Array,
    window: Pair,
    *,
    stride: Pair | None = None,
    padding: Pair = 0,
    ceil_mode: bool = False,
) -> jax.Array:
    """The largest value of each window of `[B, H, W, C]`; padding never wins.

    With `ceil_mode` the output size is rounded up, as long as the last window starts inside the
    image or its left padding (PyTorch's rule).
    """
    size, steps, pads = _geometry(x, window, stride, padding, ceil_mode)
    fast = fast_forms_enabled(x) and pool_forms.has_fast_form(x, size)
    pool = pool_forms.max_pool if fast else pool_forms.reduce_max
    return pool(x, size=size, stride=steps, pads=pads)


def avg_pool(
    x: jax.Array,
    window: Pair,
    *,
    stride: Pair | None = None,
    padding: Pair = 0,
) -> jax.Array:
    """The mean of each window of `[B, H, W, C]`; padding counts as zeros, as in PyTorch."""
    size, steps, pads = _geometry(x, window, stride, padding, ceil_mode=False)
    total = jax.lax.reduce_window(
        x,
        np.array(0, x.dtype),
        jax.lax.add,
        (1, *size, 1),
        (1, *steps, 1),
        ((0, 0), *pads, (0, 0)),
    )
    return total / (size[0] * size[1])


def adaptive_avg_pool(x: jax.Array, size: Pair) -> jax.Array:
    """The mean of each cell of a grid laid over `[B, H, W, C]`: `[B, size, size, C]`.

    Cell i of n covers the pixels from `floor(i H / n)` to `ceil((i + 1) H / n)`, as in PyTorch:
    cells overlap where n does not divide H, and repeat pixels where H is smaller. A map that has
    the size already is returned as it is.
    """
    for axis, cells in enumerate(pair(size), 1):
        length = x.shape[axis]
        if length == cells:
            continue
        bounds = [(i * length // cells, -(-(i + 1) * length // cells)) for i in range(cells)]
        slices = (jax.lax.slice_in_dim(x, start, end, axis=axis) for start, end in bounds)
        means = [jnp.mean(s, axis, dtype=jnp.float32).astype(x.dtype) for s in slices]
        x = jnp.stack(means, axis)
    return x


def global_avg_pool(x: jax.Array) -> jax.Array:
    """The mean of each channel: `[B, H, W, C]` to `[B, C]` (Lin et al. 2013, section 3.2)."""
    return jnp.mean(x, axis=(1, 2), dtype=jnp.float32).astype(x.dtype)


def _geometry(
    x: jax.Array, window: Pair, stride: Pair | None, padding: Pair, ceil_mode: bool
) -> tuple[tuple[int, int], tuple[int, int], tuple[tuple[int, int], ...]]:
    """Window, stride, and padding on both sides, for height and width."""
    size, step, pad = pair(window), pair(window if stride is None else stride), pair(padding)
    pads = []
    for axis in (0, 1):
        length = x.shape[1 + axis]
        room = length + 2 * pad[axis] - size[axis]
        # Rounded up, a window that is less than a stride too large still has its first place.
        if room < 0 and not (ceil_mode and room > -step[axis]):
            raise ValueError(
                f"A pooling window of {size[axis]} does not fit {length} pixels with padding "
                f"{pad[axis]}; use larger images."
            )
        extra = 0
        if ceil_mode and room % step[axis]:
            last_start = (room // step[axis] + 1) * step[axis]
            if last_start < length + pad[axis]:
                extra = step[axis] - room % step[axis]
        pads.append((pad[axis], pad[axis] + extra))
    return size, step, tuple(pads)
