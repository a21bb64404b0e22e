"""How fast a network predicts."""

from __future__ import annotations

import time
from typing import Any

import jax
import numpy as np

from jaxcnn.evaluation.exact import EvaluationSetup

WARMUP, REPEATS = 3, 20


def measure(setup: EvaluationSetup, *, repeats: int = REPEATS) -> dict[str, Any]:
    """Latency and throughput of the scoring step, on images that lie in the host's memory.

    Copying the batch to the devices and the scores back is part of what is timed; reading and
    decoding are not.

    Args:
      setup: the network on its devices; its first batch serves as input.
      repeats: how often each is measured, after three that are not counted.

    Returns:
      `latency_ms`: median and 95th percentile of the time for one image on each device;
      `batch_ms` of the evaluation's batch; `images_per_second` at the batch's median; and the
      devices.
    """
    mapping = setup.evaluator.mapping
    batch = next(iter(setup.batches()))
    share = max(1, mapping.local_size)
    one = {name: values[:share] for name, values in batch.items()}
    single, whole = _milliseconds(setup, one, repeats), _milliseconds(setup, batch, repeats)
    rows = len(batch["index"]) * jax.process_count()
    return {
        "devices": mapping.size,
        "device": mapping.devices[0].device_kind,
        "batch_size": rows,
        "latency_ms": _quantiles(single),
        "batch_ms": _quantiles(whole),
        "images_per_second": float(f"{1000 * rows / float(np.median(whole)):.4g}"),
    }


def _milliseconds(setup: EvaluationSetup, batch: dict[str, Any], repeats: int) -> np.ndarray:
    taken = []
    for _ in range(WARMUP + repeats):
        started = time.perf_counter()
        setup.evaluator.mapping.get_rows(setup.evaluator.score(setup.variables, batch))
        taken.append(1000 * (time.perf_counter() - started))
    return np.array(taken[WARMUP:])


def _quantiles(values: np.ndarray) -> dict[str, float]:
    return {
        "median": round(float(np.median(values)), 3),
        "p95": round(float(np.percentile(values, 95)), 3),
    }
