"""This library's side of a measurement."""

from __future__ import annotations

import contextlib
import os
import resource
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from jaxcnn.benchmark.case import Case
from jaxcnn.models import model_info
from jaxcnn.nn import fast_forms
from jaxcnn.train import DataConfig, TrainConfig, steps
from jaxcnn.train.feed import fits_on_device, make_loader, resident_batches, streamed_batches
from jaxcnn.train.run_plan import AssumedSource
from jaxcnn.train.setup import Setup, prepare


class Ours:
    """A compiled step with its inputs; `run(n)` does n of them and waits for the last."""

    def __init__(self, case: Case, side: str) -> None:
        # Read when the CPU backend starts, so before anything else; other backends ignore it.
        jax.config.update("jax_num_cpu_devices", case.devices)
        # JAX would take most of a GPU's memory at once, which the other sides need too.
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        self._setup = _setup(case)
        state = self._setup.initial_state()
        self._state = self._setup.mapping.put_state(state)
        self._batches = _batches(self._setup, case)
        batch = next(self._batches)
        started = time.perf_counter()
        with fast_forms(side != "plain"):
            train = case.mode == "train"
            step: Any = self._setup.compile_step() if train else _inference(self._setup)
            step = step.lower(self._state, batch).compile()
        self.facts: dict[str, Any] = {
            "compile_seconds": round(time.perf_counter() - started, 2),
            "step_bytes": _bytes(step),
        }
        self._step: Callable[..., Any] = step
        self._trains = case.mode == "train"

    def run(self, count: int) -> None:
        out = None
        for _ in range(count):
            out = self._step(self._state, next(self._batches))
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
        image_size=case.size,
        channels=channels,
        mean=(0.5,) * channels,
        std=(0.25,) * channels,
        resize="squash",
    )
    config = TrainConfig(
        model=case.model,
        data=data,
        batch_size=case.batch_size,
        dtype=case.dtype,
        mapping=case.mapping,
        num_devices=case.devices,
        length=steps(1_000_000),
    )
    sources = None
    if case.dataset is None:
        assumed = AssumedSource(case.batch_size, info.num_classes)
        sources = (assumed, assumed)
    return prepare(config, sources=sources)


def _batches(setup: Setup, case: Case) -> Iterator[dict[str, jax.Array]]:
    data = setup.config.data
    if case.dataset is None:
        return _fixed(setup, case)
    if fits_on_device(data, len(setup.source)):
        return resident_batches(
            setup.source,
            setup.preprocess,
            setup.order,
            setup.mapping,
            start_step=0,
            threads=data.threads,
        )
    loader = make_loader(setup.source, setup.preprocess, setup.order, data, 0)
    return streamed_batches(loader, setup.mapping)


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


def _bytes(step: Any) -> int | None:
    analysis = step.memory_analysis()
    if analysis is None:
        return None
    parts = ("argument", "output", "temp")
    total = sum(getattr(analysis, f"{part}_size_in_bytes") for part in parts)
    return int(total - analysis.alias_size_in_bytes)
