"""Training batches on the devices: from a table held there, or streamed from the host."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

import jax
import numpy as np

from jaxcnn.data import Order, Source, TrainLoader, load_all
from jaxcnn.data.transforms import RandomResizedCrop
from jaxcnn.parallel import DeviceMapping
from jaxcnn.preprocess import Preprocess
from jaxcnn.train.config import DataConfig

Batch = dict[str, jax.Array]


def fits_on_device(config: DataConfig, num_examples: int) -> bool:
    """Whether the decoded split is held on the device: small, and without host augmentation."""
    height, width = config.image_size
    megabytes = num_examples * height * width * config.channels / 1e6
    return megabytes <= config.resident_mb and not config.random_resized_crop


def is_resident(config: DataConfig, num_examples: int) -> bool:
    """Whether a run trains from a table on the device; skipped images need the streaming loader."""
    return fits_on_device(config, num_examples) and not config.max_bad_images


def training_batches(
    source: Source,
    preprocess: Preprocess,
    order: Order,
    mapping: DeviceMapping,
    config: DataConfig,
    start_step: int,
) -> TableFeed | Generator[Batch, None, None]:
    """A run's batches from a step on: from a table on the devices, or else from the loader."""
    if is_resident(config, len(source)):
        return resident_batches(
            source, preprocess, order, mapping, start_step=start_step, threads=config.threads
        )
    return streamed_batches(make_loader(source, preprocess, order, config, start_step), mapping)


def resident_batches(
    source: Source,
    preprocess: Preprocess,
    order: Order,
    mapping: DeviceMapping,
    *,
    start_step: int,
    threads: int,
) -> TableFeed:
    """Decodes the whole split once; then the host sends indices only."""
    images, labels = load_all(source, preprocess, threads=threads)
    table = {"image": images, "label": labels}
    return TableFeed(table, order, mapping, start_step=start_step)


class TableFeed:
    """The batches of an order, gathered on the devices from a table that is copied there.

    Iterating gives the next step's batch; `rows` leaves the gathering to the steps.

    Attributes:
      table: `{"image": uint8 [N, H, W, C], "label": int32 [N]}`, on every device.
    """

    def __init__(
        self,
        host_table: Mapping[str, np.ndarray],
        order: Order,
        mapping: DeviceMapping,
        *,
        start_step: int,
    ) -> None:
        self.table = mapping.put_table(host_table)
        self._order, self._mapping, self._step = order, mapping, start_step
        self._gather = mapping.map_gather()

    def __iter__(self) -> TableFeed:
        return self

    def __next__(self) -> Batch:
        return self._gather(self.table, self._next_rows())

    def rows(self, count: int) -> Batch:
        """Which examples the next `count` steps see: `{"index", "epoch": int32 [count, B]}`."""
        steps = [self._next_rows() for _ in range(count)]
        return self._mapping.put_rows(
            {name: np.stack([s[name] for s in steps]) for name in steps[0]}
        )

    def _next_rows(self) -> dict[str, np.ndarray]:
        index, epoch = self._order.rows(self._step)
        self._step += 1
        return _local({"index": index.astype(np.int32), "epoch": epoch})

    def close(self) -> None:
        """There is nothing to stop."""


def streamed_batches(loader: TrainLoader, mapping: DeviceMapping) -> Generator[Batch, None, None]:
    """Places the loader's batches, one ahead of the step that is computed."""
    placed: Batch | None = None
    with loader:
        for batch in loader:
            ahead = mapping.put_batch(
                {
                    "image": batch["image"],
                    "label": batch["label"],
                    "index": batch["index"].astype(np.int32),
                    "epoch": batch["epoch"],
                }
            )
            if placed is not None:
                yield placed
            placed = ahead


def make_loader(
    source: Source, preprocess: Preprocess, order: Order, config: DataConfig, start_step: int
) -> TrainLoader:
    """The streaming loader of this process."""
    return TrainLoader(
        source,
        preprocess,
        order,
        start_step=start_step,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        threads=config.threads,
        augment=(
            RandomResizedCrop(scaled_decoding=config.scaled_decoding)
            if config.random_resized_crop
            else None
        ),
        max_bad=config.max_bad_images,
    )


def _local(rows: Mapping[str, Any]) -> dict[str, Any]:
    """This process's contiguous block of a global batch."""
    size = len(rows["index"]) // jax.process_count()
    first = size * jax.process_index()
    return {name: x[first : first + size] for name, x in rows.items()}
