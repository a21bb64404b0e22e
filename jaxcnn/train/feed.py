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


def training_batches(
    source: Source,
    preprocess: Preprocess,
    order: Order,
    mapping: DeviceMapping,
    config: DataConfig,
    start_step: int,
) -> Generator[Batch, None, None]:
    """A run's batches from a step on: from a table on the devices, or else from the loader."""
    if fits_on_device(config, len(source)) and not config.max_bad_images:
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
) -> Generator[Batch, None, None]:
    """Decodes the whole split once; then the host sends indices only."""
    images, labels = load_all(source, preprocess, threads=threads)
    table = {"image": images, "label": labels}
    return table_batches(table, order, mapping, start_step=start_step)


def table_batches(
    host_table: Mapping[str, np.ndarray],
    order: Order,
    mapping: DeviceMapping,
    *,
    start_step: int,
) -> Generator[Batch, None, None]:
    """The batches of an order, gathered on the devices from a table that is copied there."""
    table = mapping.put_table(host_table)
    gather = mapping.map_gather()
    step = start_step
    while True:
        index, epoch = order.rows(step)
        rows = {"index": index.astype(np.int32), "epoch": epoch}
        yield gather(table, mapping.put_batch(_local(rows)))
        step += 1


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
