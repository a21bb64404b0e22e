"""What can be known to be wrong with a dataset before the first step."""

from __future__ import annotations

import dataclasses

import numpy as np

from jaxcnn.data.errors import DataError
from jaxcnn.data.source import Source, check_label, read_labels
from jaxcnn.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess

# Above this the labels are not read ahead: in array_record a label lies beside its image, so a
# scan reads every byte. The loaders check each label as it passes, whatever the size.
SCAN_LIMIT_BYTES = 2 * 2**30

# Pixels of a side up to which `default_preprocess` takes images of one fixed size as they are.
_SMALL = 96


def check_source(source: Source, num_classes: int, batch_size: int) -> None:
    """Checks the size and the labels of a split.

    Raises:
      DataError: an empty split, one smaller than a batch, or a label outside
        `0..num_classes-1`, naming the first such example. (A label of -1 would train as the last
        class, without an error.)
    """
    if num_classes < 1:
        raise DataError(f"num_classes={num_classes} must be positive.")
    where = f"{source.name!r}, split {source.split!r}"
    if not len(source):
        raise DataError(f"{where} has no examples. Choose another split or fill it.")
    if len(source) < batch_size:
        raise DataError(
            f"{where} has {len(source)} examples, fewer than one batch of {batch_size}. Use a "
            f"batch size of at most {len(source)}."
        )
    if getattr(source, "num_bytes", 0) > SCAN_LIMIT_BYTES and hasattr(source, "read_many"):
        return
    labels = read_labels(source)
    wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(wrong):
        check_label(source, int(wrong[0]), int(labels[wrong[0]]), num_classes)


def default_preprocess(source: Source) -> Preprocess:
    """A preprocessing for a source about which nothing else is known.

    Images of one small fixed size are taken as they are; others are scaled to 256 and cropped to
    224 pixels. Three channels get ImageNet's statistics, one channel mean and deviation 0.5.
    """
    height, width, channels = getattr(source, "image_shape", (None, None, 3))
    gray = channels == 1
    record = Preprocess(
        image_size=(224, 224),
        channels=1 if gray else 3,
        mean=(0.5,) if gray else IMAGENET_MEAN,
        std=(0.5,) if gray else IMAGENET_STD,
    )
    if height and width and max(height, width) <= _SMALL:
        return dataclasses.replace(record, image_size=(height, width), resize="none")
    return record
