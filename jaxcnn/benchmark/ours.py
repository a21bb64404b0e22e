"""This library's side of a measurement."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import resource
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from jaxcnn.benchmark.case import RANDOM, Case
from jaxcnn.models import model_info
from jaxcnn.nn import fast_forms
from jaxcnn.train import DataConfig, TrainConfig, steps
from jaxcnn.train.feed import TableFeed, training_batches
from jaxcnn.train.run_plan import AssumedSource
from jaxcnn.train.setup import Setup, prepare

# Images of a random table: as many as CIFAR-10's, or fewer of a larger size.
_CIFAR = 50_000
_TABLE_BYTES = 5 * 10**8
_SMALL = 64


class Ours:
    """A compiled step with its inputs; `run(n)` does n of them and waits for the last."""

    def __init__(self, case: Case, side: str) -> None:
        # Read when the CPU backend starts, so before anything else; other backends ignore it.
        jax.config.update("jax_num_cpu_devices", case.devices)
        # JAX would take most of a GPU's memory at once, which the other sides need too.
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        self._setup = _setup(case)
        if side == "synthetic":
            case = dataclasses.replace(case, dataset=None, steps_per_dispatch=1)
        self._state = self._setup.mapping.put_state(self._setup.initial_state())
        self._batches = _batches(self._setup, case)
        self._trains, self._block = case.mode == "train", case.steps_per_dispatch
        step: Any = self._setup.compile_steps() if self._block > 1 else self._setup.compile_step()
        if not self._trains:
            step = _inference(self._setup)
        arguments = self._arguments()
        started = time.perf_counter()
        with fast_forms(side != "plain"):
            self._step = step.lower(self._state, *arguments).compile()
        self.facts: dict[str, Any] = {
            "compile_seconds": round(time.perf_counter() - started, 2),
            "step_bytes": _bytes(self._step),
        }
        if self._block == 1:  # XLA counts a loop's body once, whatever its number of turns.
            with fast_forms(False):  # XLA does not see into compiled functions.
                plain = step.lower(self._state, *arguments)
            self.facts["step_flops"] = _cost(plain, "flops")
            self.facts["step_traffic_bytes"] = _cost(self._step, "bytes accessed")

    def _arguments(self) -> tuple[Any, ...]:
        """What a dispatch takes besides the state."""
        if self._block > 1 and isinstance(self._batches, TableFeed):
            return self._batches.table, self._batches.rows(self._block)
        return (next(self._batches),)

    def run(self, count: int) -> None:
        out = None
        for _ in range(-(-count // self._block)):
            out = self._step(self._state, *self._arguments())
            if self._trains:
                self._state, out = out
        jax.block_until_ready(out)

    def peak_bytes(self) -> dict[str, int]:
        """Most memory so far: of this process, and of the device where it says."""
        peak = {"process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
        with contextlib.suppress(Exception):
            stats = self._setup.mapping.devices[0].memory_stats()
            if stats:
                peak["device"] = stats["peak_bytes_in_use"]
        return peak


def _setup(case: Case) -> Setup:
    info = model_info(case.model)
    channels = info.channels
    data = DataConfig(
        dataset=case.dataset or "digits",
        data_dir=case.data_dir,
        train_split=case.split,
        eval_split=case.split,
        # Photos as recipes take them; smaller images are decoded once and held on the device.
        random_resized_crop=case.dataset not in (None, RANDOM) and min(case.size) > _SMALL,
        image_size=case.size,
        channels=channels,
        mean=(0.5,) * channels,
        std=(0.25,) * channels,
        resize="squash",
    )
    never = steps(1_000_000)
    config = TrainConfig(
        model=case.model,
        data=data,
        batch_size=case.batch_size,
        dtype=case.dtype,
        mapping=case.mapping,
        num_devices=case.devices,
        steps_per_dispatch=case.steps_per_dispatch,
        length=never,
        log_every=never,
        eval_every=never,
        checkpoint_every=never,
    )
    sources = None
    if case.dataset in (None, RANDOM):
        count = case.batch_size
        if case.dataset:
            count = max(count, min(_CIFAR, _TABLE_BYTES // (math.prod(case.size) * channels)))
        assumed = AssumedSource(count, info.num_classes)
        sources = (assumed, assumed)
    return prepare(config, sources=sources)


def _batches(setup: Setup, case: Case) -> Iterator[dict[str, jax.Array]]:
    if case.dataset is None:
        return _fixed(setup, case)
    if case.dataset == RANDOM:
        rng, count = np.random.default_rng(0), len(setup.source)
        table: dict[str, np.ndarray] = {
            "image": rng.integers(0, 256, (count, *setup.image_shape), dtype=np.uint8),
            "label": np.arange(count, dtype=np.int32) % len(setup.source.class_names),
        }
        return TableFeed(table, setup.order, setup.mapping, start_step=0)
    return training_batches(
        setup.source, setup.preprocess, setup.order, setup.mapping, setup.config.data, 0
    )


def _fixed(setup: Setup, case: Case) -> Iterator[dict[str, jax.Array]]:
    rng = np.random.default_rng(0)
    shape = (case.batch_size, *setup.image_shape)
    index = np.arange(case.batch_size, dtype=np.int32)
    rows: dict[str, np.ndarray]
    if case.mode == "infer":
        rows = {"image": rng.normal(size=shape).astype(np.float32)}
    else:
        rows = {
            "image": rng.integers(0, 256, shape, dtype=np.uint8),
            "label": index % len(setup.source.class_names),
            "index": index,
            "epoch": np.zeros_like(index),
        }
    batch = setup.mapping.put_batch(rows)
    while True:
        yield batch


def _inference(setup: Setup) -> Any:
    def logits(state: Any, batch: dict[str, jax.Array]) -> Any:
        return setup.task.model.apply(state.variables, batch["image"], train=False)

    return setup.mapping.map_eval(logits)


def _cost(program: Any, what: str) -> float | None:
    """An entry of XLA's own estimate, where it makes one."""
    with contextlib.suppress(Exception):
        found = program.cost_analysis()
        return float((found[0] if isinstance(found, list) else found)[what])
    return None


def _bytes(step: Any) -> int | None:
    analysis = step.memory_analysis()
    if analysis is None:
        return None
    parts = ("argument", "output", "temp")
    total = sum(getattr(analysis, f"{part}_size_in_bytes") for part in parts)
    return int(total - analysis.alias_size_in_bytes)
