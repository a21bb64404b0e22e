"""Training metrics that stay on the device until someone wants to see them."""

from __future__ import annotations

import collections
import functools
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax

from jaxcnn.train.setup import Setup

# How many dispatches the host may be ahead of the devices: enough to keep them busy, few enough
# that Ctrl-C is answered at once.
_AHEAD = 2


class NonFiniteLoss(FloatingPointError):
    """The loss or its gradient became NaN or infinite."""


class Meter:
    """The metrics of the steps that were begun, fetched late.

    Attributes:
      skipped: steps of the run so far that changed nothing, since they were not finite.
      input_seconds: that the host waited for batches, while the devices may have been idle.
      device_seconds: that the host waited for the devices.
    """

    def __init__(self, setup: Setup, skipped: int = 0) -> None:
        self._setup = setup
        self.skipped = skipped
        self._pending: collections.deque[tuple[int, Any]] = collections.deque()
        self._since = time.monotonic()
        self.input_seconds = self.device_seconds = 0.0

    @functools.cached_property
    def _schedule(self) -> Callable[[int], jax.Array]:
        # Compiled: its operations one by one take longer than all else in a line of the log.
        return jax.jit(self._setup.schedule)

    def next_batch(self, feed: Iterator[Any]) -> Any:
        """The next batch, the wait for it counted."""
        started = time.monotonic()
        batch = next(feed)
        self.input_seconds += time.monotonic() - started
        return batch

    def verdict(self) -> str:
        """What the run waited for, in words."""
        bound = "input" if self.input_seconds > self.device_seconds else "compute"
        return (
            f"{bound}-bound: the host waited {self.input_seconds:.1f} s for batches and "
            f"{self.device_seconds:.1f} s for the devices"
        )

    def add(self, step: int, metrics: Any) -> None:
        """What a dispatch gave: a step's metrics, or of several `[steps]`; `step` is the last."""
        self._pending.append((step, metrics))
        if len(self._pending) > _AHEAD:
            started = time.monotonic()
            jax.block_until_ready(self._pending[-1 - _AHEAD][1])
            self.device_seconds += time.monotonic() - started

    def check(self) -> list[dict[str, float]]:
        """Fetches what has come in.

        Raises:
          NonFiniteLoss: for the first step that is not finite and may not be skipped.
        """
        rows = []
        while self._pending:
            step, metrics = self._pending.popleft()
            for row in _by_step(step, self._setup.mapping.get_metrics(metrics)):
                if not row["finite"]:
                    self.skipped += 1
                    self._judge(row)
                rows.append(row)
        return rows

    def _judge(self, row: dict[str, float]) -> None:
        limit = self._setup.config.max_skipped_steps
        if self.skipped <= limit:
            return
        step = int(row["step"])
        rate = float(self._schedule(step - 1))
        many = f" It is number {self.skipped}, and max_skipped_steps={limit}." if limit else ""
        raise NonFiniteLoss(
            f"Step {step}: loss {row['loss']}, gradient norm {row['grad_norm']}, at learning rate "
            f"{rate:g}.{many} The state was not saved. Lower optimizer.learning_rate, lengthen "
            "optimizer.warmup or set optimizer.clip_norm, then start again from the last "
            "checkpoint."
        )

    def means(self, rows: list[dict[str, float]], step: int) -> dict[str, float] | None:
        """Averages since the last call, with learning rate and speed; None without a step."""
        now = time.monotonic()
        seconds, self._since = now - self._since, now
        good = [row for row in rows if row["finite"]]
        if not good:
            return None
        values = {k: sum(r[k] for r in good) / len(good) for k in ("loss", "accuracy", "grad_norm")}
        rate = len(rows) * self._setup.config.batch_size / seconds
        return values | {
            "learning_rate": float(self._schedule(step - 1)),
            "images_per_second": rate,
            "images_per_second_per_device": rate / self._setup.mapping.size,
        }

    def pause(self, seconds: float) -> None:
        """Leaves time out of the speed that was spent on something else."""
        self._since += seconds


def _by_step(last: int, metrics: dict[str, Any]) -> list[dict[str, float]]:
    """A row for each step of a dispatch."""
    if not isinstance(metrics["loss"], list):
        return [metrics | {"step": last}]
    first = last - len(metrics["loss"]) + 1
    columns = zip(*metrics.values(), strict=True)
    return [dict(zip(metrics, c, strict=True)) | {"step": first + i} for i, c in enumerate(columns)]
