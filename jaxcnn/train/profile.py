"""A trace of a few steps, for TensorBoard's profiler and for Perfetto."""

from __future__ import annotations

import pathlib
from typing import Any

import jax

# Steps before the trace: compilation and the first batches would fill it.
_SKIP = 3


class Profile:
    """While entered, traces `steps` steps from the fourth on; none with 0.

    TensorBoard reads the folder (`tensorboard --logdir`, with its profile plugin); the
    `perfetto_trace.json.gz` inside is what ui.perfetto.dev opens.
    """

    def __init__(self, folder: pathlib.Path, steps: int) -> None:
        if steps < 0:
            raise ValueError(f"profile_steps={steps} must not be negative.")
        self._folder, self._steps, self._done = folder, steps, 0
        self._tracing = False

    def after_step(self, metrics: Any) -> None:
        """Counts a step that was begun; at the trace's ends it waits for it."""
        self._done += 1
        if self._steps and self._done == _SKIP:
            jax.block_until_ready(metrics)
            jax.profiler.start_trace(str(self._folder), create_perfetto_trace=True)
            self._tracing = True
        elif self._done == _SKIP + self._steps:
            jax.block_until_ready(metrics)
            self._stop()

    def _stop(self) -> None:
        if self._tracing:
            self._tracing = False
            jax.profiler.stop_trace()

    def __enter__(self) -> Profile:
        return self

    def __exit__(self, *error: object) -> None:
        self._stop()
