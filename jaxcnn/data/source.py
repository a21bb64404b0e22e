"""Where examples come from: one interface for TFDS datasets, image folders and the digits."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from jaxcnn.data.errors import DataError


@dataclasses.dataclass(frozen=True, slots=True)
class Example:
    """One labelled image, as it is stored.

    Attributes:
      image: an encoded file (JPEG, PNG, ...), or uint8 pixels `[H, W, C]`.
      label: position of the class in the source's `class_names`.
      key: what names the example to a person: a path or a record's number.
    """

    image: bytes | np.ndarray
    label: int
    key: str


class Source(Protocol):
    """A split of a dataset with random access; safe to read from several threads.

    A source may also have `read_many(indices) -> list[Example]`, `labels() -> int64 [N]` (without
    reading images, where it can), `key(i) -> str`, `image_shape` (`(H, W, C)`, None where it
    varies) and `num_bytes`; without them each example is read on its own. Evaluation also asks
    for `targets` and `logit_index` (see `EvalSource`).

    Attributes:
      name: as it was asked for.
      split: as it was asked for.
      class_names: the names of the classes; a label is a position in it.
      fingerprint: a hash that changes when the dataset, its version, split or size does.
    """

    # Properties, so that a frozen record is a source too.
    @property
    def name(self) -> str: ...

    @property
    def split(self) -> str: ...

    @property
    def class_names(self) -> tuple[str, ...]: ...

    @property
    def fingerprint(self) -> str: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...


def open_source(name: str, split: str, *, data_dir: str | None = None) -> Source:
    """Opens a split of a dataset by name.

    Args:
      name: `digits`; `folder:PATH`; or a TFDS dataset that is prepared as array_record, as
        `name`, `name:1.0.0`, `name/config` or `name/config:1.0.0`.
      split: a split of the dataset; for TFDS also a part of one, as `train[:80%]`.
      data_dir: where prepared TFDS datasets are looked for first. Nothing is written there.

    Raises:
      DataError: an unknown dataset, version or split (with the nearest name), a dataset in a
        format without random access (with the command that converts it), a folder that has no
        images or another layout.
    """
    if name.startswith("folder:"):
        from jaxcnn.data.folder import open_folder

        return open_folder(name, split)
    from jaxcnn.data.tfds_source import open_prepared

    return open_prepared(name, split, data_dir=data_dir)


class Subset:
    """Some examples of a source, in a given order, as a source of their own."""

    def __init__(self, source: Source, indices: Sequence[int] | np.ndarray) -> None:
        self.source = source
        self.indices = np.asarray(indices, np.int64)
        self.name, self.split = source.name, source.split
        self.class_names = source.class_names
        self.fingerprint = hash_identity(source.fingerprint, self.indices.tolist())
        # What holds for the whole, as far as the source has it (see `Source` and `EvalSource`).
        self.image_shape = getattr(source, "image_shape", (None, None, 3))
        self.num_bytes = getattr(source, "num_bytes", 0)
        self.network_classes = getattr(source, "network_classes", source.class_names)
        self.logit_index = getattr(source, "logit_index", None)
        targets = getattr(source, "targets", None)
        self.targets = None if targets is None else targets[self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Example:
        return self.source[int(self.indices[index])]

    def key(self, index: int) -> str:
        """The source's key of an example."""
        return key_of(self.source, int(self.indices[index]))

    def read_many(self, indices: Sequence[int]) -> list[Example]:
        return read_many(self.source, self.indices[list(indices)].tolist())

    def labels(self) -> np.ndarray:
        return read_labels(self.source)[self.indices]


def sample(source: Source, most: int, seed: int = 0, *, fewest: int = 0) -> Source:
    """The source itself, or `most` of its examples with each class's share kept, at random.

    Of each class come `fewest` first, or all that it has.
    """
    if len(source) <= most:
        return source
    labels = read_labels(source)
    order = np.random.default_rng(seed).permutation(len(labels))
    # The n-th example of a class with N of them stands at n / N: cut there, each keeps its share.
    place = np.empty(len(labels))
    for label in np.unique(labels):
        own = order[labels[order] == label]
        place[own] = (np.arange(len(own)) + 0.5) / len(own)
        place[own[:fewest]] = 0
    return Subset(source, np.sort(np.argsort(place, kind="stable")[:most]))


def hash_identity(*parts: Any) -> str:
    """A stable hash of JSON values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def describe(source: Source, index: int) -> str:
    """Names an example in an error: dataset, split, index and key."""
    key = getattr(source, "key", None)
    named = f", key {key(index)!r}" if key is not None else ""
    return f"{source.name!r}, split {source.split!r}, index {index}{named}"


def key_of(source: Source, index: int) -> str:
    """What names an example to a person: its index, where the source has no keys."""
    key = getattr(source, "key", None)
    return key(index) if key is not None else str(index)


def read_many(source: Source, indices: Sequence[int]) -> list[Example]:
    """Reads several examples at once where the source can, which saves a seek for each."""
    batched = getattr(source, "read_many", None)
    return batched(indices) if batched is not None else [source[i] for i in indices]


def read_labels(source: Source) -> np.ndarray:
    """The label of every example, int64 `[N]`; images are not decoded."""
    scan = getattr(source, "labels", None)
    if scan is not None:
        return np.asarray(scan(), np.int64)
    return np.asarray([source[i].label for i in range(len(source))], np.int64)


def check_label(source: Source, index: int, label: int, num_classes: int) -> None:
    """Raises a DataError that names the example if its label is no class."""
    if not 0 <= label < num_classes:
        raise DataError(
            f"Label {label} of {describe(source, index)} lies outside 0..{num_classes - 1}. "
            "Leave unlabelled examples out of the split, or give the network more classes."
        )
