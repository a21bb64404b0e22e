"""Reads rows of examples into uint8 arrays, and deals with those that cannot be decoded."""

from __future__ import annotations

import dataclasses
import threading

import numpy as np

from jaxcnn.data import native
from jaxcnn.data.decode import UndecodableImage
from jaxcnn.data.errors import DataError
from jaxcnn.data.source import Example, Source, check_label, describe, read_many
from jaxcnn.data.transforms import RandomResizedCrop, draw_evaluation, draw_random_crop
from jaxcnn.data.view import keeps_its_size
from jaxcnn.preprocess import Preprocess

Rows = dict[str, np.ndarray]


class BadImages:
    """Counts the examples that cannot be decoded, each once, up to a limit."""

    def __init__(self, source: Source, limit: int) -> None:
        if limit < 0:
            raise ValueError(f"max_bad={limit} must not be negative.")
        self._source = source
        self._limit = limit
        self._indices: set[int] = set()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._indices)

    def __contains__(self, index: int) -> bool:
        return index in self._indices

    def add(self, index: int, cause: Exception) -> None:
        """Counts an example.

        Raises:
          DataError: above the limit, naming dataset, split, index, key and cause.
        """
        with self._lock:
            if index in self._indices:
                return
            # One above the limit is not kept: every thread that meets it has to fail, and none
            # may put another example in its place.
            if len(self._indices) < self._limit:
                self._indices.add(index)
                return
        before = f" after {self._limit} others that were skipped" if self._limit else ""
        raise DataError(
            f"Cannot decode {describe(self._source, index)}{before}: {cause}. Repair or "
            f"remove it, or raise the number of bad images that are skipped (max_bad, now "
            f"{self._limit})."
        ) from cause


@dataclasses.dataclass
class ExampleReader:
    """Turns rows (example and epoch) into host arrays.

    Attributes:
      source: the examples.
      preprocess: size, channels and filter.
      bad: where undecodable examples are counted.
      augment: the random crop of training; None for the crop of evaluation.
      seed: of the random crop.
      replace: put the next good example in a bad one's place, else mask the row.
    """

    source: Source
    preprocess: Preprocess
    bad: BadImages
    augment: RandomResizedCrop | None = None
    seed: int = 0
    replace: bool = False

    def allocate(self, index: np.ndarray, epoch: np.ndarray) -> Rows:
        """Rows that nothing was read into yet; index -1 is padding.

        Returns:
          `image` uint8 `[b, H, W, C]`, `label` int32, `mask` bool, `index` int64, `epoch` int32.
        """
        size, channels = self.preprocess.image_size, self.preprocess.channels
        return {
            "image": np.zeros((len(index), *size, channels), np.uint8),
            "label": np.zeros(len(index), np.int32),
            "mask": np.zeros(len(index), bool),
            "index": index.copy(),
            "epoch": epoch.copy(),
        }

    def read(self, rows: Rows) -> None:
        """Reads a block of rows in place.

        Raises:
          DataError: for an example that cannot be used, beyond the limit of bad ones.
        """
        index = rows["index"]
        wanted = np.flatnonzero(index >= 0)
        try:
            examples: list[Example | None] = list(read_many(self.source, index[wanted].tolist()))
        except Exception:
            # One of them is damaged; reading each on its own finds out which.
            examples = [None] * len(wanted)
        drawn = self._draw_whole(rows, wanted, examples)
        for row, example, done in zip(wanted, examples, drawn, strict=True):
            if not done:
                self._fill(rows, int(row), example)

    def _draw_whole(
        self, rows: Rows, wanted: np.ndarray, examples: list[Example | None]
    ) -> np.ndarray:
        """Fills the rows whose files are of the network's size at once; gives which, bool."""
        none = np.zeros(len(wanted), bool)
        if self.augment is not None or None in examples or not keeps_its_size(self.preprocess):
            return none
        # Padding stands at the end only, so that the rows before it lie together.
        count = len(wanted)
        if not count or wanted[-1] != count - 1:
            return none
        labels = np.fromiter((e.label for e in examples if e is not None), np.int64, count)
        if labels.min() < 0 or labels.max() >= len(self.source.class_names):
            return none  # one by one, the error names the example
        done = native.draw_whole(
            [e.image for e in examples if e is not None], rows["image"][:count]
        )
        rows["label"][:count] = np.where(done, labels, 0)
        rows["mask"][:count] = done
        return done

    def _fill(self, rows: Rows, row: int, example: Example | None) -> None:
        """Decodes one row in place; a bad one is replaced or left masked."""
        first, epoch = int(rows["index"][row]), int(rows["epoch"][row])
        for ahead in range(len(self.source) if self.replace else 1):
            index = (first + ahead) % len(self.source)
            if self.replace and index in self.bad:
                continue
            try:
                if example is None or ahead:
                    example = self._read_one(index)
                self._draw(example.image, index, epoch, rows["image"][row])
            except UndecodableImage as cause:
                self.bad.add(index, cause)
                rows["image"][row] = 0
                continue
            check_label(self.source, index, example.label, len(self.source.class_names))
            rows["label"][row] = example.label
            rows["mask"][row] = True
            rows["index"][row] = index
            return
        if self.replace:
            raise DataError(
                f"None of the {len(self.source)} examples of {self.source.name!r}, split "
                f"{self.source.split!r}, can be decoded."
            )

    def _read_one(self, index: int) -> Example:
        try:
            return self.source[index]
        except Exception as cause:
            raise UndecodableImage(f"{type(cause).__name__}: {cause}") from cause

    def _draw(self, image: bytes | np.ndarray, index: int, epoch: int, out: np.ndarray) -> None:
        try:
            if self.augment is None:
                draw_evaluation(image, self.preprocess, out)
            else:
                key = (self.seed, epoch, index)
                draw_random_crop(image, self.preprocess, self.augment, key, out)
        except UndecodableImage:
            raise
        except ValueError as error:
            raise DataError(f"{describe(self.source, index)}: {error}") from error
