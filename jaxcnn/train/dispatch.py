"""Steps by dispatch: one each, or many as one program over data that lie on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import jax

from jaxcnn.train.feed import TableFeed, is_resident

if TYPE_CHECKING:
    from jaxcnn.train.meter import Meter
    from jaxcnn.train.setup import Setup

DUE = ("log", "eval", "checkpoint")
OnBatch = Callable[[int, Mapping[str, jax.Array]], None]


class Dispatcher:
    """Takes a run's steps, waiting for as little as it can.

    Blocks begin at multiples of `steps_per_dispatch` and hold nothing that is due between their
    steps; what does not fit is stepped singly. So which steps form a block depends on their
    number alone, and a resumed run computes what one that was not stopped would have.
    """

    def __init__(
        self,
        setup: Setup,
        feed: Iterator[dict[str, jax.Array]],
        meter: Meter,
        on_batch: OnBatch | None = None,
    ) -> None:
        self._feed, self._meter, self._on_batch = feed, meter, on_batch
        # Who wants to see each batch gets it, one by one.
        self._size = 1 if on_batch is not None else setup.config.steps_per_dispatch
        self._every = [setup.every(f"{name}_every") for name in DUE]
        self._total = setup.total_steps
        self._step_fn = setup.compile_step()
        self._steps_fn = setup.compile_steps() if self._size > 1 else None

    def count(self, step: int) -> int:
        """How many steps, after `step` of them, are dispatched together."""
        end = step + self._size
        if step % self._size or end > self._total:
            return 1
        return 1 if any((end - 1) // n > step // n for n in self._every) else self._size

    def advance(self, state: Any, step: int) -> tuple[Any, dict[str, jax.Array], int]:
        """The state after the next steps, their metrics, and how many there were."""
        count = self.count(step)
        if count > 1 and self._steps_fn is not None and isinstance(self._feed, TableFeed):
            rows = self._feed.rows(count)
            state, metrics = self._steps_fn(state, self._feed.table, rows)
        else:
            batch = self._meter.next_batch(self._feed)
            if self._on_batch is not None:
                self._on_batch(step, batch)
            state, metrics = self._step_fn(state, batch)
        self._meter.add(step + count, metrics)
        return state, metrics, count


def check_dispatch(setup: Setup) -> None:
    """Raises ValueError where `steps_per_dispatch` asks for what the run cannot do."""
    config, size = setup.config, setup.config.steps_per_dispatch
    if size == 1:
        return
    asked = f"steps_per_dispatch={size}"
    if config.mapping == "pmap":
        raise ValueError(f"{asked} has no form under pmap; use mapping='jit', or 1.")
    if not is_resident(config.data, len(setup.source)):
        raise ValueError(
            f"{asked} needs data that are held on the device, and these are streamed: raise "
            "data.resident_mb, leave random_resized_crop and max_bad_images out, or use 1."
        )
    for name in DUE:
        every = setup.every(f"{name}_every")
        if every < size:
            raise ValueError(
                f"{asked} is more than {name}_every, {every} steps, so that no block fits; use at "
                f"most {every}, best a divisor of it."
            )
