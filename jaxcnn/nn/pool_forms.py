"""Max pooling and its gradient, each in a plain form and a fast one for CPUs.

The plain gradient is XLA's select-and-scatter, which a CPU runs element by element. The fast one
knows by its number which tap of each window was the largest, and adds the cotangents up by the
position that a tap has within a stride: elementwise work throughout.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcnn.nn import native
from jaxcnn.nn.forms import Form

Dims = tuple[int, ...]
Pads = tuple[tuple[int, int], ...]

# Taps of a window up to which they are spelled out; a network's largest pooling window is 3x3.
_MOST_TAPS = 16


def reduce_max(x: jax.Array, *, size: Dims, stride: Dims, pads: Pads) -> jax.Array:
    """The largest value of each window of `[B, H, W, C]`, by the platform's own operation.

    Args:
      x: `[B, H, W, C]`.
      size: of the window, height and width.
      stride: of the window.
      pads: below and above, for each of the two.
    """
    lowest = -jnp.inf if jnp.issubdtype(x.dtype, jnp.inexact) else jnp.iinfo(x.dtype).min
    return lax.reduce_window(
        x,
        np.array(lowest, x.dtype),
        lax.max,
        (1, *size, 1),
        (1, *stride, 1),
        ((0, 0), *pads, (0, 0)),
    )


def has_fast_form(x: jax.Array, size: Dims) -> bool:
    """Whether the fast forms are meant for this input."""
    return jnp.issubdtype(x.dtype, jnp.floating) and size[0] * size[1] <= _MOST_TAPS


def _taps(x: jax.Array, fill: float, size: Dims, stride: Dims, pads: Pads) -> Iterator[jax.Array]:
    """For each place in the window, row by row, the pixels that lie there: `[B, H', W', C]`."""
    x = lax.pad(x, np.array(fill, x.dtype), [(0, 0, 0), *((*p, 0) for p in pads), (0, 0, 0)])
    ends = [(x.shape[1 + a] - size[a]) // stride[a] * stride[a] + 1 for a in (0, 1)]
    for i, j in itertools.product(range(size[0]), range(size[1])):
        yield x[:, i : i + ends[0] : stride[0], j : j + ends[1] : stride[1]]


def _max_of_taps(x: jax.Array, *, size: Dims, stride: Dims, pads: Pads) -> jax.Array:
    return functools.reduce(jnp.maximum, _taps(x, -np.inf, size, stride, pads))


def _winner(x: jax.Array, size: Dims, stride: Dims, pads: Pads) -> jax.Array:
    """Number of the first largest tap of each window, int8."""
    best = winner = None
    for number, tap in enumerate(_taps(x, -np.inf, size, stride, pads)):
        if best is None or winner is None:
            best, winner = tap, jnp.zeros(tap.shape, jnp.int8)
            continue
        winner = jnp.where(tap > best, jnp.int8(number), winner)
        best = jnp.maximum(best, tap)
    # Once, and not again in each of the sums that use it.
    return lax.optimization_barrier(winner)


def _plain_pick(t: jax.Array, x: jax.Array, *, size: Dims, stride: Dims, pads: Pads) -> jax.Array:
    pool = functools.partial(reduce_max, size=size, stride=stride, pads=pads)
    return jax.jvp(pool, (x,), (t,))[1]


def _pick(t: jax.Array, x: jax.Array, *, size: Dims, stride: Dims, pads: Pads) -> jax.Array:
    winner = _winner(x, size, stride, pads)
    picked = jnp.zeros(winner.shape, t.dtype)
    for number, tap in enumerate(_taps(t, 0, size, stride, pads)):
        picked = jnp.where(winner == number, tap, picked)
    return picked


def _plain_spread(
    ct: jax.Array, x: jax.Array, *, size: Dims, stride: Dims, pads: Pads
) -> jax.Array:
    pool = functools.partial(reduce_max, size=size, stride=stride, pads=pads)
    return jax.vjp(pool, x)[1](ct)[0]


def _spread(ct: jax.Array, x: jax.Array, *, size: Dims, stride: Dims, pads: Pads) -> jax.Array:
    winner = _winner(x, size, stride, pads)
    # Tap i of output o lies at input stride * o + i: phase i % stride of cell o + i // stride.
    reach = [(size[a] - 1) // stride[a] for a in (0, 1)]
    phases: dict[Dims, jax.Array] = {}
    for n, tap in enumerate(itertools.product(range(size[0]), range(size[1]))):
        shift = [i // s for i, s in zip(tap, stride, strict=True)]
        room = [(k, r - k) for k, r in zip(shift, reach, strict=True)]
        part = jnp.pad(jnp.where(winner == n, ct, 0), [(0, 0), *room, (0, 0)])
        phase = tuple(i % s for i, s in zip(tap, stride, strict=True))
        phases[phase] = phases[phase] + part if phase in phases else part
    zero = jnp.zeros_like(next(iter(phases.values())))
    rows = [
        jnp.stack([phases.get((i, j), zero) for j in range(stride[1])], axis=3)
        for i in range(stride[0])
    ]
    dx = jnp.stack(rows, axis=2)
    dx = dx.reshape(x.shape[0], dx.shape[1] * stride[0], -1, x.shape[3])
    # Away with the padding; pixels that no window reaches get zeros.
    for axis in (1, 2):
        low = pads[axis - 1][0]
        missing = max(0, low + x.shape[axis] - dx.shape[axis])
        dx = jnp.pad(dx, [(0, missing * (a == axis)) for a in range(4)])
        dx = lax.slice_in_dim(dx, low, low + x.shape[axis], axis=axis)
    return dx


def _compiled_spread(
    ct: jax.Array, x: jax.Array, *, size: Dims, stride: Dims, pads: Pads, parts: int
) -> jax.Array:
    if x.dtype != jnp.float32 or not x.size or not native.available():
        return _spread(ct, x, size=size, stride=stride, pads=pads)
    window = (*size, *stride, pads[0][0], pads[1][0])
    return native.call("pool_gradient", x.shape, ct, x, window, parts)


max_pool = Form("max_pool", reduce_max, _max_of_taps)
pick = Form("max_pool_pick", _plain_pick, _pick)
spread = Form("max_pool_spread", _plain_spread, _spread, _compiled_spread)

max_pool.derived(lambda t, x, **params: pick(t, x, **params))
pick.linear(lambda ct, t, x, **params: spread(ct, x, **params))
spread.linear(lambda ct, t, x, **params: pick(ct, x, **params))
max_pool.folds((0,))
pick.folds((0, 1))
spread.folds((0, 1))
