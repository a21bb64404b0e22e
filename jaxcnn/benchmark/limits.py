"""What a device can do at most, measured: products of large matrices, copies of large arrays."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

# Large enough to be bound by what is measured, small enough for the smallest device.
_SIDE = {"cpu": 2048, "other": 8192}
_BYTES = {"cpu": 2**28, "other": 2**31}
_SECONDS = 0.3


def measure_limits(dtype: str) -> dict[str, float]:
    """`{"flops_per_second", "bytes_per_second"}` of the first device, in `dtype`.

    The first is of a matrix product, two operations a multiply-add; the second counts each byte
    that is read or written.
    """
    kind = "cpu" if jax.default_backend() == "cpu" else "other"
    side = _SIDE[kind]
    matrix = jnp.full((side, side), 1 / side, dtype)
    products = _per_second(lambda x: x @ matrix, matrix)
    array = jnp.zeros(_BYTES[kind] // 4, jnp.float32)
    copies = _per_second(lambda x: x + 1, array)
    return {
        "flops_per_second": 2.0 * side**3 * products,
        "bytes_per_second": 2.0 * array.nbytes * copies,
    }


def _per_second(function: Callable[[Any], Any], x: Any) -> float:
    call = jax.jit(function)
    jax.block_until_ready(call(x))
    best, began = 0.0, time.perf_counter()
    while time.perf_counter() - began < _SECONDS:
        started, out = time.perf_counter(), x
        for _ in range(4):
            out = call(out)
        jax.block_until_ready(out)
        best = max(best, 4 / (time.perf_counter() - started))
    return best
