"""What each augmentation costs: on the device inside the compiled step, and on the host.

    python benchmarks/augmentation.py [--rounds 5] [--sizes 32 224]

On the device: microseconds an image that a compiled `augment_batch` takes with one change turned on
more than with none, batches of 128 of 32x32 and of 32 of 224x224 pixels, medians over the rounds in
turn. On the host: a random resized crop's Python and resampling beside the evaluation's crop, from
pixels of 500x375, on one thread. Writes benchmarks/results/augmentation.json.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import report

from jaxcnn.data import Augment, RandomResizedCrop
from jaxcnn.data.augment import augment_batch
from jaxcnn.data.transforms import draw_evaluation, draw_random_crop
from jaxcnn.preprocess import Preprocess

CHANGES = {
    "flip": Augment(flip="random"),
    "alternating flip": Augment(flip="alternating"),
    "pad and crop": Augment(pad_crop=4),
    "colour jitter (0.4, 0.4, 0.4, 0.1)": Augment(jitter=(0.4, 0.4, 0.4, 0.1)),
    "PCA lighting": Augment(lighting=0.1),
    "RandAugment (2 layers)": Augment(policy="randaugment"),
    "TrivialAugment": Augment(policy="trivialaugment"),
    "random erasing": Augment(erase=0.25),
    "mixup": Augment(mixup=0.2),
    "CutMix": Augment(cutmix=1.0),
}
BATCH = {32: 128}


def device_costs(size: int, rounds: int) -> dict[str, float]:
    """Microseconds an image, by change."""
    count = BATCH.get(size, 32)
    rng = np.random.default_rng(0)
    batch = {
        "image": jax.device_put(rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8)),
        "index": jax.device_put(np.arange(count, dtype=np.int32)),
        "epoch": jax.device_put(np.zeros(count, np.int32)),
    }
    calls: dict[str, Callable[[], Any]] = {}
    for name, config in {"nothing": Augment(), **CHANGES}.items():
        run = jax.jit(functools.partial(augment_batch, config=config, seed=0))
        calls[name] = functools.partial(run, batch)
    seen = in_turn(calls, rounds, repeat=max(2, 2_000_000 // (count * size * size)))
    base = statistics.median(seen.pop("nothing"))
    return {name: 1e6 * (statistics.median(s) - base) / count for name, s in seen.items()}


def host_costs(rounds: int) -> dict[str, float]:
    """Microseconds an image, of pixels: decoding has a benchmark of its own."""
    pixels = np.random.default_rng(0).integers(0, 256, (375, 500, 3), np.uint8)
    record, crop = Preprocess((224, 224)), RandomResizedCrop()
    out = np.empty((224, 224, 3), np.uint8)
    draws = iter(range(10**9))
    calls: dict[str, Callable[[], Any]] = {
        "evaluation crop": lambda: draw_evaluation(pixels, record, out),
        "random resized crop": lambda: draw_random_crop(
            pixels, record, crop, (0, 0, next(draws)), out
        ),
    }
    seen = in_turn(calls, rounds, repeat=100)
    return {name: 1e6 * statistics.median(s) for name, s in seen.items()}


def in_turn(
    calls: dict[str, Callable[[], Any]], rounds: int, repeat: int
) -> dict[str, list[float]]:
    """Seconds of a call, by name, round by round."""
    for call in calls.values():
        jax.block_until_ready(call())
    seen: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            began = time.perf_counter()
            for _ in range(repeat):
                jax.block_until_ready(call())
            seen[name].append((time.perf_counter() - began) / repeat)
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 224])
    options = parser.parse_args()
    device = {str(size): device_costs(size, options.rounds) for size in options.sizes}
    values = {"device": device, "host": host_costs(options.rounds)}
    rounded = jax.tree.map(lambda x: round(x, 2), values)
    report.write("augmentation.json", {"microseconds_an_image": rounded})


if __name__ == "__main__":
    main()
