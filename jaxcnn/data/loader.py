"""Batches for training and evaluation, read by Grain's threads."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from typing import Self

import grain
import numpy as np

from jaxcnn.data.errors import DataError
from jaxcnn.data.order import Order
from jaxcnn.data.reader import BadImages, ExampleReader, Rows
from jaxcnn.data.source import Source
from jaxcnn.data.transforms import RandomResizedCrop
from jaxcnn.preprocess import Preprocess

# A thread reads this many rows at once: few enough to share a batch of photos among the threads,
# enough that what Grain and a call of the reader cost does not show beside small images.
_CHUNKS = (32, 512)
_CHUNK_PIXELS = 2**20
# And so many small batches, so that the first one does not wait for many.
_BATCHES = 4
# Steps of an endless loader; with the chunks of a batch it must fit a C integer.
_ENDLESS = 2**40


class _Closed(Exception):
    """The loader was closed while a thread was reading for it."""


class _Chunks:
    """Blocks of rows with random access, which is what Grain's threads read.

    A chunk is a part of a batch, or several small batches of small images. A batch's arrays are
    allocated by the thread that comes to it first; each fills its own rows.
    """

    def __init__(
        self,
        reader: ExampleReader,
        rows: Callable[[int], tuple[np.ndarray, np.ndarray]],
        start_step: int,
        num_steps: int,
        block: slice,
    ) -> None:
        self._reader = reader
        self._rows = rows
        self._start_step = start_step
        self._first, self._size = block.start, block.stop - block.start
        pixels = math.prod(reader.preprocess.image_size)
        self._chunk = min(max(_CHUNK_PIXELS // pixels, _CHUNKS[0]), _CHUNKS[1])
        # Batches that are read, and lie, together.
        self._group = max(1, min(self._chunk // self._size, _BATCHES, num_steps))
        if self._group == 1:
            # At most half a batch, so that two threads share it.
            self._chunk = min(self._chunk, max(_CHUNKS[0], self._size // 2))
        else:
            self._chunk = self._group * self._size
        self.per_group = -(-self._group * self._size // self._chunk)
        self.num_groups = -(-num_steps // self._group)
        self._num_steps = num_steps
        self.closed = threading.Event()
        self._lock = threading.Lock()
        self._groups: dict[int, Rows] = {}

    def __len__(self) -> int:
        return self.num_groups * self.per_group

    def __getitem__(self, chunk: int) -> int:
        if self.closed.is_set():
            raise _Closed
        group, part = divmod(chunk, self.per_group)
        block = slice(part * self._chunk, (part + 1) * self._chunk)
        self._reader.read({name: x[block] for name, x in self._allocate(group).items()})
        return chunk  # Grain would drop a None

    def _allocate(self, group: int) -> Rows:
        with self._lock:
            if group not in self._groups:
                block = slice(self._first, self._first + self._size)
                parts = [self._rows(self._start_step + step) for step in self._steps(group)]
                index, epoch = (
                    np.concatenate([x[block] for x in xs]) for xs in zip(*parts, strict=True)
                )
                self._groups[group] = self._reader.allocate(index, epoch)
            return self._groups[group]

    def _steps(self, group: int) -> range:
        first = group * self._group
        return range(first, min(first + self._group, self._num_steps))

    def take(self, group: int) -> Iterator[Rows]:
        """The batches of a group whose chunks were all read."""
        with self._lock:
            rows = self._groups.pop(group)
        for begin in range(0, len(rows["index"]), self._size):
            yield {name: x[begin : begin + self._size] for name, x in rows.items()}


class _Loader:
    """What both loaders share: the block of this process, the threads, and closing."""

    def __init__(
        self,
        reader: ExampleReader,
        rows: Callable[[int], tuple[np.ndarray, np.ndarray]],
        *,
        batch_size: int,
        start_step: int,
        num_steps: int,
        process_index: int,
        process_count: int,
        threads: int,
    ) -> None:
        if not 0 <= process_index < process_count:
            raise ValueError(f"process_index={process_index} must lie in 0..{process_count - 1}.")
        if batch_size < 1 or batch_size % process_count:
            raise ValueError(
                f"batch_size={batch_size} is not a positive multiple of the {process_count} "
                "processes."
            )
        if threads < 1:
            raise ValueError(f"threads={threads}: at least one has to read.")
        size = batch_size // process_count
        self._reader = reader
        self._threads = threads
        self._make_chunks = lambda: _Chunks(
            reader,
            rows,
            start_step,
            num_steps,
            slice(process_index * size, (process_index + 1) * size),
        )
        self._open: list[tuple[_Chunks, grain.DatasetIterator[int]]] = []

    @property
    def bad_count(self) -> int:
        """How many examples could not be decoded so far, each counted once."""
        return len(self._reader.bad)

    def __iter__(self) -> Iterator[Rows]:
        chunks = self._make_chunks()
        # Two groups ahead, and work for every thread: this bounds the memory.
        ahead = max(self._threads, 2 * chunks.per_group)
        options = grain.ReadOptions(num_threads=self._threads, prefetch_buffer_size=ahead)
        iterator = iter(grain.MapDataset.source(chunks).to_iter_dataset(options))
        entry = (chunks, iterator)
        self._open.append(entry)
        try:
            for group in range(chunks.num_groups):
                try:
                    for _ in range(chunks.per_group):
                        next(iterator)
                except Exception:
                    if chunks.closed.is_set():
                        return
                    raise
                for batch in chunks.take(group):
                    if chunks.closed.is_set():
                        return
                    yield batch
        finally:
            self._close(entry)

    def close(self) -> None:
        """Stops reading ahead; iterators of this loader end. May be called again."""
        for entry in list(self._open):
            self._close(entry)

    def _close(self, entry: tuple[_Chunks, grain.DatasetIterator[int]]) -> None:
        chunks, iterator = entry
        chunks.closed.set()
        iterator.close()
        if entry in self._open:
            self._open.remove(entry)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class TrainLoader(_Loader):
    """The endless batches of a training run, for one process.

    The position is the step alone: a loader with `start_step=k` gives what one that ran k steps
    would give next, and reads nothing of what came before. A host batch is
    `{"image": uint8 [b, H, W, C], "label": int32 [b], "mask": bool [b], "index": int64 [b],
    "epoch": int32 [b]}` with `b = batch_size / process_count`; process i gets the i-th contiguous
    block of the global batch. The random crop depends on (seed, epoch, index) alone.

    Where up to `max_bad` examples may be undecodable, the next good one in the split takes a bad
    one's place, and `index` names the one that is shown.

    Args:
      source: the examples.
      preprocess: size, channels and filter.
      order: which example stands where; its seed is the random crop's too.
      start_step: the first step to give.
      process_index: this process.
      process_count: of how many.
      threads: that read and decode.
      augment: a random crop for each example; None takes the crop of evaluation.
      max_bad: how many undecodable examples are replaced before it is an error.

    Raises:
      DataError: while iterating, for an example that cannot be used.
    """

    def __init__(
        self,
        source: Source,
        preprocess: Preprocess,
        order: Order,
        *,
        start_step: int = 0,
        process_index: int = 0,
        process_count: int = 1,
        threads: int = 8,
        augment: RandomResizedCrop | None = None,
        max_bad: int = 0,
    ) -> None:
        if order.num_examples != len(source):
            raise ValueError(
                f"The order is of {order.num_examples} examples and the source has {len(source)}."
            )
        reader = ExampleReader(
            source,
            preprocess,
            BadImages(source, max_bad),
            augment=augment,
            seed=order.seed,
            replace=True,
        )
        super().__init__(
            reader,
            order.rows,
            batch_size=order.batch_size,
            start_step=start_step,
            num_steps=_ENDLESS,
            process_index=process_index,
            process_count=process_count,
            threads=threads,
        )


class EvalLoader(_Loader):
    """Each example of a split once, in order, in batches of one size, for one process.

    The last batch is padded with black images of index -1 and label 0, whose mask is False. Every
    process gets the same number of batches. Undecodable examples keep their index, are masked,
    and are counted in `bad_count`.

    Args:
      source: the examples.
      preprocess: size, channels and filter.
      batch_size: over all processes.
      process_index: this process.
      process_count: of how many.
      threads: that read and decode.
      max_bad: how many undecodable examples are masked before it is an error.

    Raises:
      DataError: while iterating, for an example that cannot be used.
    """

    def __init__(
        self,
        source: Source,
        preprocess: Preprocess,
        batch_size: int,
        *,
        process_index: int = 0,
        process_count: int = 1,
        threads: int = 8,
        max_bad: int = 0,
    ) -> None:
        self._num_batches = -(-len(source) // max(batch_size, 1))
        reader = ExampleReader(source, preprocess, BadImages(source, max_bad))

        def rows(step: int) -> tuple[np.ndarray, np.ndarray]:
            index = np.arange(step * batch_size, (step + 1) * batch_size, dtype=np.int64)
            return np.where(index < len(source), index, -1), np.zeros(batch_size, np.int32)

        super().__init__(
            reader,
            rows,
            batch_size=batch_size,
            start_step=0,
            num_steps=self._num_batches,
            process_index=process_index,
            process_count=process_count,
            threads=threads,
        )

    def __len__(self) -> int:
        """Number of batches, the same on every process."""
        return self._num_batches


def load_all(
    source: Source, preprocess: Preprocess, *, threads: int = 8
) -> tuple[np.ndarray, np.ndarray]:
    """Decodes a whole split: uint8 `[N, H, W, C]` and int32 `[N]`.

    Raises:
      DataError: for an example that cannot be used, or an empty split.
    """
    if not len(source):
        raise DataError(f"{source.name!r}, split {source.split!r}, has no examples.")
    images = np.empty((len(source), *preprocess.image_size, preprocess.channels), np.uint8)
    labels = np.empty(len(source), np.int32)
    for batch in EvalLoader(source, preprocess, 512, threads=threads):
        index = batch["index"][batch["mask"]]
        images[index[0] : index[-1] + 1] = batch["image"][: len(index)]
        labels[index] = batch["label"][: len(index)]
    return images, labels
