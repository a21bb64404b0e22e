"""How a config's training scales over the devices of one machine, and what a step waits for.

Three ways of doing the same steps are timed in turn. On devices that don't speak to each other:
the computation. With the collectives, on a batch that lies on the devices already: what that takes
longer is the time of collectives that nothing hid. With the config's own input: what that takes
longer again is the wait for batches.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import itertools
import multiprocessing
import os
import signal
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax

from jaxcnn import parallel
from jaxcnn.train import TrainConfig
from jaxcnn.train.feed import training_batches
from jaxcnn.train.network import with_norm
from jaxcnn.train.setup import Setup, prepare

_PARTS = ("compute", "collectives", "input")
# Steps whose batches may lie ready when a round begins: groups of small images are read ahead.
_READ_AHEAD = 16


@dataclasses.dataclass(frozen=True)
class Point:
    """What was measured on so many devices; medians over the rounds.

    Attributes:
      devices: N.
      batch: examples on each device.
      images_per_second: of training with the config's input.
      compute: milliseconds of a step without collectives.
      collectives: milliseconds that they add to a step.
      input: milliseconds that a step waits for its batch.
    """

    devices: int
    batch: int
    images_per_second: float
    compute: float
    collectives: float
    input: float

    @property
    def verdict(self) -> str:
        """What takes the largest part of a step, in words."""
        return f"{max(_PARTS, key=lambda part: getattr(self, part))}-bound"


def measure_scaling(
    config: TrainConfig,
    devices: Sequence[int],
    *,
    batch: int | None = None,
    steps: int = 5,
    rounds: int = 5,
) -> list[Point]:
    """Times a config on each number of devices, each in a process of its own.

    Args:
      config: what is trained; its `batch_size` and `num_devices` are set here.
      devices: how many; on a CPU they are virtual and share its cores.
      batch: examples on each device; None: the config's batch on the most devices.
      steps: in a round of each of the three ways.
      rounds: of all three.

    Raises:
      ValueError: numbers or data that cannot work.
    """
    least = {"devices": min(devices, default=0), "steps": steps, "rounds": rounds}
    for name, value in least.items():
        if value < 1:
            raise ValueError(f"{name}={value} must be at least 1.")
    if batch is None:
        batch = max(1, config.batch_size // max(devices))
    points = []
    for count in devices:
        own = dataclasses.replace(config, batch_size=batch * count, num_devices=count)
        # The number of CPU devices is fixed once JAX has begun, and memory stays taken on GPUs.
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(1, context, _leave_ctrl_c) as pool:
            worker = pool.submit(os.getpid).result()
            try:
                points.append(pool.submit(measure_point, own, steps, rounds).result())
            except KeyboardInterrupt:
                os.kill(worker, signal.SIGKILL)  # The pool would wait for what it measures.
                raise
    return points


def _leave_ctrl_c() -> None:
    """To the parent, which ends its worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def measure_point(config: TrainConfig, steps: int, rounds: int) -> Point:
    """Times a config on its `num_devices`, in this process, before JAX is used."""
    assert config.num_devices is not None
    jax.config.update("jax_num_cpu_devices", config.num_devices)
    return time_ways(prepare(config), steps, rounds)


def time_ways(setup: Setup, steps: int, rounds: int) -> Point:
    """Times the three ways on a setup's devices."""
    config = setup.config
    feed = training_batches(
        setup.source, setup.preprocess, setup.order, setup.mapping, config.data, 0
    )
    rows = setup.mapping.get_rows(next(feed))
    alone = _alone(setup)
    step = setup.compile_step()
    ways = (
        _Way(alone, alone.compile_step(), itertools.repeat(alone.mapping.put_batch(rows))),
        _Way(setup, step, itertools.repeat(setup.mapping.put_batch(rows))),
        _Way(setup, step, feed),
    )
    for way in ways:
        way.run(2)
    times = []
    for _ in range(rounds):
        ways[2].run(max(steps, _READ_AHEAD))  # What was read ahead while the others ran.
        times.append([way.run(steps) for way in reversed(ways)][::-1])
    feed.close()
    compute, both, whole = ([1e3 * row[i] for row in times] for i in range(3))
    return Point(
        setup.mapping.size,
        config.batch_size // setup.mapping.size,
        round(1e3 * config.batch_size / statistics.median(whole), 1),
        round(statistics.median(compute), 2),
        round(max(0.0, _median_difference(both, compute)), 2),
        round(max(0.0, _median_difference(whole, both)), 2),
    )


def _median_difference(a: Sequence[float], b: Sequence[float]) -> float:
    return statistics.median(x - y for x, y in zip(a, b, strict=True))


def _alone(setup: Setup) -> Setup:
    """The same step on each device's share, with nothing averaged over devices."""
    mapping = parallel.DeviceMapping("pmap", setup.mapping.devices)
    model = with_norm(setup.task.model, groups=1, axis_name=None)
    task = dataclasses.replace(setup.task, model=model, axis_name=None, shards=1, gathered=None)
    return dataclasses.replace(setup, mapping=mapping, task=task)


class _Way:
    """Steps of one of the three ways, with a state of its own."""

    def __init__(self, setup: Setup, step: Callable[..., Any], batches: Iterator[Any]) -> None:
        self._step, self._batches = step, batches
        self._state = setup.mapping.put_state(setup.initial_state())

    def run(self, count: int) -> float:
        """Does so many steps and waits for the last; seconds a step."""
        started = time.perf_counter()
        metrics = None
        for _ in range(count):
            self._state, metrics = self._step(self._state, next(self._batches))
        jax.block_until_ready(metrics)
        return (time.perf_counter() - started) / count


def efficiencies(points: Sequence[Point]) -> list[float]:
    """Images/s on each device over those of the first point."""
    first = points[0].images_per_second / points[0].devices
    return [point.images_per_second / point.devices / first for point in points]


def scaling_lines(points: Sequence[Point]) -> str:
    """A table in Markdown, with the verdict in words."""
    lines = [
        "| devices | images/s | efficiency | step, ms | compute | collectives | input | it is |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for point, efficiency in zip(points, efficiencies(points), strict=True):
        whole = point.compute + point.collectives + point.input
        shares = (f"{getattr(point, part) / whole:.0%}" for part in _PARTS)
        lines.append(
            f"| {point.devices} | {point.images_per_second:,.0f} | {efficiency:.0%} "
            f"| {whole:.1f} | {' | '.join(shares)} | {point.verdict} |"
        )
    return "\n".join(lines)
