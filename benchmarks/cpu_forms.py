"""What each fast form gains on a CPU, fast and plain in turn, on all cores.

    python benchmarks/cpu_forms.py [--rounds 9] [--table]

Shapes are those of ResNet-50, ResNet-18 and ResNet-20. Writes benchmarks/results/cpu_forms.json;
--table prints it as docs/performance.md shows it.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import report

from jaxcnn.nn import conv2d, fast_forms, max_pool

# Images, pixels, channels, filters, kernel, stride.
CONVOLUTIONS = [
    (32, 224, 3, 64, 7, 2),
    (32, 56, 64, 64, 3, 1),
    (32, 28, 128, 128, 3, 1),
    (32, 14, 256, 256, 3, 1),
    (32, 7, 512, 512, 3, 1),
    (32, 56, 64, 128, 3, 2),
    (32, 14, 256, 512, 3, 2),
    (128, 32, 16, 16, 3, 1),
    (128, 16, 32, 32, 3, 1),
    (128, 8, 64, 64, 3, 1),
    (16, 56, 64, 256, 1, 1),
    (16, 56, 256, 64, 1, 1),
    (16, 56, 256, 512, 1, 2),
    (16, 28, 512, 128, 1, 1),
    (16, 14, 256, 1024, 1, 1),
    (16, 7, 2048, 512, 1, 1),
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


def cases() -> Iterator[tuple[str, float, Callable[..., Any], Callable[..., Any], tuple[Any, ...]]]:
    """Name, products and sums, fast and plain function, arrays."""
    for images, size, channels, filters, taps, stride in CONVOLUTIONS:
        x, kernel = normal(images, size, size, channels), normal(taps, taps, channels, filters)
        layer = functools.partial(conv2d, stride=stride, padding=taps // 2)
        shape = jax.eval_shape(layer, x, kernel).shape
        dy, flops = normal(*shape), 2.0 * math.prod(shape) * taps * taps * channels
        name = f"{taps}x{taps}/{stride}, {channels} to {filters}, {images} images of {size}"
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
        if channels == 3:  # nobody asks for the gradient of a photo
            del forms["image gradient"]
        for what, (function, arrays) in forms.items():
            yield f"{name}: {what}", flops, function, plain(function), arrays
    pool = functools.partial(max_pool, window=3, stride=2, padding=1)
    x = normal(4, 112, 112, 64)
    yield "max pool 3x3/2 at 112: forward", 0, pool, plain(pool), (x,)
    both, dy = gradient(pool), normal(4, 56, 56, 64)
    yield "max pool 3x3/2 at 112: with gradient", 0, both, plain(both), (x, dy)
    for images, size, channels in ((8, 56, 64), (64, 32, 16), (8, 14, 1024)):
        x, one = normal(images, size, size, channels), jnp.ones(channels)
        two, three = (
            gradient(lambda *a, f=f: jax.nn.relu(f(*a)))
            for f in (norm_of_two_sums, norm_of_three_sums)
        )
        name = f"BatchNorm and ReLU, {channels} channels at {size}: with gradient"
        yield name, 0, two, three, (x, one, one, x)


def plain(function: Callable[..., Any]) -> Callable[..., Any]:
    def wrapped(*arrays: Any) -> Any:
        with fast_forms(False):
            return function(*arrays)

    return wrapped


def measure(rounds: int) -> dict[str, dict[str, float]]:
    results = {}
    for name, flops, fast, slow, arrays in cases():
        sides = [jax.jit(fast), jax.jit(slow)]
        times: list[list[float]] = [[], []]
        for side in sides:
            jax.block_until_ready(side(*arrays))
        for _ in range(rounds):
            for side, seconds in zip(sides, times, strict=True):
                started = time.perf_counter()
                jax.block_until_ready(side(*arrays))
                seconds.append(time.perf_counter() - started)
        middle = [statistics.median(seconds) for seconds in times]
        result = {
            "fast_milliseconds": round(1e3 * middle[0], 3),
            "plain_milliseconds": round(1e3 * middle[1], 3),
            "times_as_fast": round(
                statistics.median(b / a for a, b in zip(*times, strict=True)), 2
            ),
        }
        if flops:
            result["fast_gflops"] = round(flops / middle[0] / 1e9)
            result["plain_gflops"] = round(flops / middle[1] / 1e9)
        results[name] = result
        print(name, result, flush=True)
    return results


def table(results: dict[str, dict[str, float]]) -> str:
    lines = ["| GFLOP/s, plain and fast | forward | image gradient | kernel gradient |"]
    lines.append("|---|---|---|---|")
    rows: dict[str, dict[str, str]] = {}
    for name, result in results.items():
        layer, _, what = name.rpartition(": ")
        if "fast_gflops" in result:
            cell = f"{result['plain_gflops']:.0f}, {result['fast_gflops']:.0f}"
            rows.setdefault(layer, {})[what] = cell
    for layer, cells in rows.items():
        whats = ("forward", "image gradient", "kernel gradient")
        lines.append(f"| {layer} | " + " | ".join(cells.get(w, "") for w in whats) + " |")
    lines += ["", "| milliseconds | plain | fast |", "|---|---|---|"]
    for name, result in results.items():
        if "fast_gflops" not in result:
            lines.append(
                f"| {name} | {result['plain_milliseconds']} | {result['fast_milliseconds']} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--table", action="store_true", help="print the kept results")
    options = parser.parse_args()
    if options.table:
        print(table(json.loads((report.RESULTS / "cpu_forms.json").read_text())["forms"]))
        return
    report.write("cpu_forms.json", {"rounds": options.rounds, "forms": measure(options.rounds)})


if __name__ == "__main__":
    main()
