"""TFDS datasets in array_record, read without TensorFlow and with decoding skipped."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.proto import tf_example_pb2

from jaxcnn.data.errors import DataError, unknown_name
from jaxcnn.data.prepared import Prepared, find_prepared
from jaxcnn.data.records import Records
from jaxcnn.data.source import Example, hash_identity

# Records are read in blocks: one call for each costs 65 us, one for a block 7 us a record.
_SCAN_BLOCK = 1024


def open_prepared(name: str, split: str, *, data_dir: str | None = None) -> TFDSSource:
    """Opens a split of a prepared dataset; `digits` prepares itself.

    Raises:
      DataError: as `find_prepared`; an unknown split; no image or label feature; missing files.
    """
    base = name.partition(":")[0]
    if base == "digits":
        try:
            return TFDSSource(name, find_prepared(name, data_dir), split)
        except DataError:
            from jaxcnn.data.digits import prepare_digits

            prepare_digits()
    return TFDSSource(name, find_prepared(name, data_dir), split)


class TFDSSource:
    """One split of a prepared dataset as labelled, still encoded images."""

    def __init__(self, name: str, prepared: Prepared, split: str) -> None:
        builder = tfds.builder_from_directory(os.fspath(prepared.path), file_format="array_record")
        self.name, self.split = name, split
        self._image, self._label = _find_features(name, builder.info)
        self._features = tuple(builder.info.features)
        label, image = builder.info.features[self._label], builder.info.features[self._image]
        self.class_names: tuple[str, ...] = tuple(label.names)
        self.image_shape: tuple[int | None, ...] = tuple(image.shape)
        info = _split_info(name, split, builder.info)
        self._length = int(info.num_examples)
        files = info.file_instructions if self._length else []
        _check_files(name, files)
        self.num_bytes = sum(os.path.getsize(file.filename) for file in files)
        self._records = Records(files)
        self.fingerprint = hash_identity(
            prepared.full_name,
            split,
            self._length,
            self.class_names,
            [(os.path.basename(file.filename), file.skip, file.take) for file in files],
            self.num_bytes,
        )

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Example:
        return self.read_many([index])[0]

    def key(self, index: int) -> str:
        """The record's number: TFDS keeps no names."""
        return f"record {index}"

    def read_many(self, indices: Sequence[int]) -> list[Example]:
        """Reads a block of records in one call."""
        wanted = [int(i) for i in indices]
        records = self._records.read(wanted)
        return [self._parse(raw, i) for raw, i in zip(records, wanted, strict=True)]

    def labels(self) -> np.ndarray:
        """The label of every example, int64 `[N]`; reads all records, decodes no image."""
        labels = np.empty(self._length, np.int64)
        for start in range(0, self._length, _SCAN_BLOCK):
            stop = min(start + _SCAN_BLOCK, self._length)
            block = self.read_many(range(start, stop))
            labels[start:stop] = [example.label for example in block]
        return labels

    def read_ints(self, feature: str) -> list[list[int]]:
        """Another feature's integers for every example, as many as each has; reads all records.

        Raises:
          DataError: the dataset has no such feature.
        """
        if feature not in self._features:
            known = ", ".join(sorted(self._features))
            raise DataError(f"{self.name!r} has no feature {feature!r}; it has {known}.")
        values = []
        for block in self._raw_blocks():
            for raw in block:
                features = tf_example_pb2.Example.FromString(raw).features.feature
                values.append([int(x) for x in features[feature].int64_list.value])
        return values

    def _raw_blocks(self) -> Iterator[list[bytes]]:
        for start in range(0, self._length, _SCAN_BLOCK):
            yield self._records.read(range(start, min(start + _SCAN_BLOCK, self._length)))

    def _parse(self, raw: bytes, index: int) -> Example:
        features = tf_example_pb2.Example.FromString(raw).features.feature
        label = features[self._label].int64_list.value
        image = features[self._image].bytes_list.value
        if len(label) != 1 or len(image) != 1:
            raise DataError(
                f"Record {index} of {self.name!r}, split {self.split!r}, has {len(image)} images "
                f"and {len(label)} labels; prepare the dataset again."
            )
        return Example(image[0], label[0], self.key(index))


def _find_features(name: str, info: Any) -> tuple[str, str]:
    """The keys of the image and of its class among the features of a dataset."""
    features = info.features
    images = [key for key in features if isinstance(features[key], tfds.features.Image)]
    labels = [key for key in features if isinstance(features[key], tfds.features.ClassLabel)]
    wanted = info.supervised_keys or ()
    image = _choose(images, (*wanted, "image"))
    label = _choose(labels, (*wanted, "label"))
    if image is None or label is None:
        missing = "image" if image is None else "label"
        listed = ", ".join(f"{key} ({type(features[key]).__name__})" for key in sorted(features))
        raise DataError(
            f"{name!r} has no single {missing} to classify by. Its features: {listed}. Choose a "
            "dataset for image classification, or export it to a folder and use folder:PATH."
        )
    if np.dtype(features[image].np_dtype) not in (np.uint8, np.uint16):
        raise DataError(
            f"{name!r} stores {features[image].np_dtype} images; only uint8 and uint16 are read."
        )
    return image, label


def _choose(keys: list[str], preferred: Sequence[str]) -> str | None:
    if len(keys) == 1:
        return keys[0]
    return next((key for key in preferred if key in keys), None)


def _split_info(name: str, split: str, info: Any) -> Any:
    """TFDS's record of a split or a part of one, after a check of the names in it."""
    known = [*info.splits, "all"]
    for part in split.split("+"):
        base = part.partition("[")[0].strip()
        if base not in known:
            raise unknown_name(f"split of {name!r}:", base, known)
    try:
        return info.splits[split]
    except Exception as error:
        raise DataError(
            f"Cannot read split {split!r} of {name!r}. Write a part as train[:80%] or "
            "train[100:200]."
        ) from error


def _check_files(name: str, files: Sequence[Any]) -> None:
    missing = [file.filename for file in files if not os.path.isfile(file.filename)]
    if missing:
        raise DataError(
            f"{name!r} lacks {len(missing)} of its files, first {missing[0]}. Prepare it again "
            "or copy the whole folder."
        )
