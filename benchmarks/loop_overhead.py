"""What the training loop costs outside the compiled step.

    python benchmarks/loop_overhead.py [--rounds 20] [--steps 4]

Trains ResNet-20 at batch 128 on random 32x32 images held on the device, as `fit` runs it: order,
gather, dispatch, metrics. Two measures. The host's work: the loop around a step that computes
nothing, in milliseconds a step and as a share of the real step; nothing of it is hidden behind the
device there. And the whole: in turn with the same compiled step on one fixed batch, which sees a
machine's own swings too. Writes benchmarks/results/loop_overhead.json.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

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
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=4)
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

    def nothing(state: Any, batch: Any) -> tuple[Any, Any]:
        return state, metrics

    def loop(step: Callable[..., Any], state: Any, count: int) -> tuple[Any, float]:
        meter, started = Meter(setup), time.perf_counter()
        for number in range(count):
            state, found = step(state, meter.next_batch(feed))
            meter.add(number + 1, found)
        meter.means(meter.check(), count)
        return state, time.perf_counter() - started

    loop(nothing, state, 50)
    ratios, bare, host = [], [], []
    for _ in range(options.rounds):
        started = time.perf_counter()
        for _ in range(options.steps):
            state, last = step(state, fixed)
        jax.block_until_ready(last)
        bare.append((time.perf_counter() - started) / options.steps)
        state, seconds = loop(step, state, options.steps)
        ratios.append(seconds / options.steps / bare[-1])
        host.append(loop(nothing, state, 50)[1] / 50)
    milliseconds, seconds = 1e3 * statistics.median(host), statistics.median(bare)
    report.write(
        "loop_overhead.json",
        {
            "host_milliseconds_per_step": round(milliseconds, 3),
            "host_percent_of_a_step": round(milliseconds / seconds / 10, 2),
            "in_turn_percent_median": round(100 * (statistics.median(ratios) - 1), 2),
            "in_turn_percent_quartiles": [
                round(100 * (q - 1), 2) for q in statistics.quantiles(ratios, n=4)
            ],
            "bare_images_per_second": round(128 / seconds, 1),
            "batch_size": 128,
            "rounds": options.rounds,
            "steps_per_round": options.steps,
        },
    )


if __name__ == "__main__":
    main()
