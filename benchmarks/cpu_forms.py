"""What each fast form gains on a CPU, by processor time on one core, fast and plain in turn.

    python benchmarks/cpu_forms.py [--rounds 9]

Shapes are those of ResNet-50 and ResNet-20. Processor time of one thread says how much work a form
is; how well it spreads over cores shows in scripts/benchmark.py. Writes
benchmarks/results/cpu_forms.json.
"""

from __future__ import annotations

import argparse
import functools
import os
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

# Read when the CPU backend starts.
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false"

import jax
import jax.numpy as jnp
import numpy as np
import report

from jaxcnn.nn import conv2d, fast_forms, max_pool

# Pixels, channels, filters, stride, images.
POINTWISE = [
    (56, 64, 256, 1, 4),
    (56, 256, 64, 1, 4),
    (56, 256, 512, 2, 4),
    (28, 512, 128, 1, 8),
    (14, 256, 1024, 1, 16),
    (7, 2048, 512, 1, 16),
]


def normal(*shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


def norm_of_three_sums(x: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
    mean, square = jnp.mean(x, (0, 1, 2)), jnp.mean(x * x, (0, 1, 2))
    return (x - mean) * (jax.lax.rsqrt(square - mean**2 + 1e-5) * scale) + bias


def norm_of_two_sums(x: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
    mean, square = jnp.mean(x, (0, 1, 2)), jnp.mean(x * x, (0, 1, 2))
    factor = jax.lax.rsqrt(square - mean**2 + 1e-5) * scale
    center = jax.lax.stop_gradient(mean)
    return (x - center) * factor + (bias - (mean - center) * factor)


def gradient(function: Callable[..., jax.Array]) -> Callable[..., Any]:
    """Value and gradients by all arrays, for a cotangent given last."""
    return lambda *a: (lambda out, pull: (out, pull(a[-1])))(*jax.vjp(function, *a[:-1]))


def cases() -> Iterator[tuple[str, Callable[..., Any], Callable[..., Any], tuple[Any, ...]]]:
    """Name, fast and plain function, arrays."""
    for size, channels, filters, stride, images in POINTWISE:
        x, kernel = normal(images, size, size, channels), normal(1, 1, channels, filters)
        layer = functools.partial(conv2d, stride=stride)
        dy = jnp.ones(jax.eval_shape(layer, x, kernel).shape)
        name = f"1x1 {channels}->{filters} at {size}, stride {stride}"
        forms = {
            "forward": (layer, (x, kernel)),
            "image gradient": (
                lambda dy, k, x=x, f=layer: jax.linear_transpose(lambda x: f(x, k), x)(dy),
                (dy, kernel),
            ),
            "kernel gradient": (
                lambda x, dy, k=kernel, f=layer: jax.linear_transpose(lambda k: f(x, k), k)(dy),
                (x, dy),
            ),
        }
        for what, (function, arrays) in forms.items():
            yield f"{name}: {what}", function, plain(function), arrays
    pool = functools.partial(max_pool, window=3, stride=2, padding=1)
    x = normal(4, 112, 112, 64)
    yield "max pool 3x3/2 at 112: forward", pool, plain(pool), (x,)
    both, dy = gradient(pool), normal(4, 56, 56, 64)
    yield "max pool 3x3/2 at 112: with gradient", both, plain(both), (x, dy)
    for images, size, channels in ((8, 56, 64), (64, 32, 16), (8, 14, 1024)):
        x, one = normal(images, size, size, channels), jnp.ones(channels)
        two, three = (
            gradient(lambda *a, f=f: jax.nn.relu(f(*a)))
            for f in (norm_of_two_sums, norm_of_three_sums)
        )
        name = f"BatchNorm and ReLU, {channels} channels at {size}: with gradient"
        yield name, two, three, (x, one, one, x)


def plain(function: Callable[..., Any]) -> Callable[..., Any]:
    def wrapped(*arrays: Any) -> Any:
        with fast_forms(False):
            return function(*arrays)

    return wrapped


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    results = {}
    for name, fast, slow, arrays in cases():
        sides = [jax.jit(fast), jax.jit(slow)]
        times: list[list[float]] = [[], []]
        for side in sides:
            jax.block_until_ready(side(*arrays))
        for _ in range(options.rounds):
            for side, seconds in zip(sides, times, strict=True):
                started = time.process_time()
                jax.block_until_ready(side(*arrays))
                seconds.append(time.process_time() - started)
        ratios = [b / a for a, b in zip(*times, strict=True)]
        results[name] = {
            "fast_milliseconds": round(1e3 * statistics.median(times[0]), 3),
            "plain_milliseconds": round(1e3 * statistics.median(times[1]), 3),
            "times_as_fast": round(statistics.median(ratios), 2),
        }
        print(name, results[name], flush=True)
    report.write("cpu_forms.json", {"rounds": options.rounds, "forms": results})


if __name__ == "__main__":
    main()
