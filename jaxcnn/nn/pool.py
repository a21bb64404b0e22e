"""Pooling with its padding in numbers."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.nn import pool_forms
from jaxcnn.nn.conv import Pair, check_rank, pair
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
    dtype = sum_type(x)
    total = jax.lax.reduce_window(
        x.astype(dtype),
        np.array(0, dtype),
        jax.lax.add,
        (1, *size, 1),
        (1, *steps, 1),
        ((0, 0), *pads, (0, 0)),
    )
    mean = total / (size[0] * size[1])
    return mean.astype(x.dtype) if jnp.issubdtype(x.dtype, jnp.floating) else mean


def adaptive_avg_pool(x: jax.Array, size: Pair) -> jax.Array:
    """The mean of each cell of a grid laid over `[B, H, W, C]`: `[B, size, size, C]`.

    Cell i of n covers the pixels from `floor(i H / n)` to `ceil((i + 1) H / n)`, as in PyTorch:
    cells overlap where n does not divide H, and repeat pixels where H is smaller. A map that has
    the size already is returned as it is.
    """
    check_rank(x, "adaptive_avg_pool")
    for axis, cells in enumerate(pair(size, "size", 1), 1):
        length = x.shape[axis]
        if length == cells:
            continue
        bounds = [(i * length // cells, -(-(i + 1) * length // cells)) for i in range(cells)]
        slices = (jax.lax.slice_in_dim(x, start, end, axis=axis) for start, end in bounds)
        means = [jnp.mean(s, axis, dtype=sum_type(x)).astype(x.dtype) for s in slices]
        x = jnp.stack(means, axis)
    return x


def global_avg_pool(x: jax.Array) -> jax.Array:
    """The mean of each channel: `[B, H, W, C]` to `[B, C]` (Lin et al. 2013, section 3.2)."""
    check_rank(x, "global_avg_pool")
    return jnp.mean(x, axis=(1, 2), dtype=sum_type(x)).astype(x.dtype)


def sum_type(x: jax.Array) -> Any:
    """The type in which sums are taken: float32, or float64 of such an `x`."""
    return jnp.float64 if x.dtype == jnp.float64 else jnp.float32


def _geometry(
    x: jax.Array, window: Pair, stride: Pair | None, padding: Pair, ceil_mode: bool
) -> tuple[tuple[int, int], tuple[int, int], tuple[tuple[int, int], ...]]:
    """Window, stride, and padding on both sides, for height and width."""
    check_rank(x, "Pooling")
    size, pad = pair(window, "window", 1), pair(padding, "padding")
    step = size if stride is None else pair(stride, "stride", 1)
    pads = []
    for axis in (0, 1):
        if pad[axis] > size[axis] // 2:  # a window of nothing but padding has no largest value
            raise ValueError(
                f"padding={padding} is more than half of a pooling window of {size[axis]}; use at "
                f"most {size[axis] // 2}."
            )
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
