"""What the training loop costs outside the compiled step, in turn with the bare step.

    python benchmarks/loop_overhead.py [--rounds 5] [--steps 20]

Trains ResNet-20 at batch 128 on random 32x32 images held on the device, as `fit` runs it: order,
gather, dispatch, metrics. The bare side calls the same compiled step on one fixed batch.
Writes benchmarks/results/loop_overhead.json.
"""

from __future__ import annotations

import argparse
import statistics
import time

import jax
import numpy as np
import report

from jaxcnn.data import Order
from jaxcnn.train import DataConfig, TrainConfig
from jaxcnn.train.feed import TableFeed
from jaxcnn.train.meter import Meter
from jaxcnn.train.setup import prepare


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    data = DataConfig(image_size=(32, 32), resize="squash", flip=True, pad_crop=4)
    setup = prepare(TrainConfig(model="cifar_resnet20", data=data, batch_size=128))
    mapping, order = setup.mapping, Order(5000, 128, 0)
    rng = np.random.default_rng(0)
    table = {
        "image": rng.integers(0, 256, (5000, 32, 32, 1), dtype=np.uint8),
        "label": rng.integers(0, 10, 5000, dtype=np.int32),
    }
    feed = TableFeed(table, order, mapping, start_step=0)
    step, state = setup.compile_step(), mapping.put_state(setup.initial_state())
    fixed = next(feed)
    state, metrics = step(state, fixed)
    jax.block_until_ready(metrics)

    ratios, bare_rates = [], []
    for _ in range(options.rounds):
        started = time.perf_counter()
        for _ in range(options.steps):
            state, metrics = step(state, fixed)
        jax.block_until_ready(metrics)
        bare = time.perf_counter() - started
        meter, started = Meter(setup), time.perf_counter()
        for number in range(options.steps):
            state, metrics = step(state, next(feed))
            meter.add(number + 1, metrics)
        rows = meter.check()
        meter.means(rows, options.steps)
        ratios.append((time.perf_counter() - started) / bare)
        bare_rates.append(options.steps * 128 / bare)
    report.write(
        "loop_overhead.json",
        {
            "overhead_percent_median": round(100 * (statistics.median(ratios) - 1), 2),
            "overhead_percent_rounds": [round(100 * (r - 1), 2) for r in ratios],
            "bare_images_per_second": round(statistics.median(bare_rates), 1),
            "batch_size": 128,
            "steps_per_round": options.steps,
        },
    )


if __name__ == "__main__":
    main()
