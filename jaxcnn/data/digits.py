"""Scikit-learn's handwritten digits as a TFDS dataset that needs no download."""

from __future__ import annotations

import contextlib
import io
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from jaxcnn.data.errors import DataError
from jaxcnn.data.prepared import cache_dir

VERSION = "1.0.0"
# The first of every five images of a class, in the file's order, is a test image.
TEST_EVERY = 5


def split_digits(labels: np.ndarray) -> np.ndarray:
    """Which examples are test images, bool `[N]`: the 1st, 6th, 11th, ... of each class."""
    is_test = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        is_test[np.flatnonzero(labels == label)[::TEST_EVERY]] = True
    return is_test


class Digits(tfds.core.GeneratorBasedBuilder):
    """1,797 scans of handwritten digits, 8x8 gray (UCI Optical Recognition, test part).

    Scikit-learn's wheel holds them with values 0..16; here 16 becomes 255. E. Alpaydin and
    C. Kaynak, "Optical Recognition of Handwritten Digits", UCI repository, 1998.
    """

    VERSION = tfds.core.Version(VERSION)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="Scikit-learn's handwritten digits, 8x8, in a fixed stratified split.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(8, 8, 1), encoding_format="png"),
                    "label": tfds.features.ClassLabel(names=[str(digit) for digit in range(10)]),
                }
            ),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[Any]]:
        return {"train": self._generate_examples(False), "test": self._generate_examples(True)}

    def _generate_examples(self, test: bool) -> Iterator[Any]:
        from sklearn.datasets import load_digits

        digits = load_digits()
        pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
        for i in np.flatnonzero(split_digits(digits.target) == test):
            # An encoded file is stored as it is; an array would be encoded by TensorFlow.
            file = io.BytesIO()
            Image.fromarray(pixels[i]).save(file, "PNG")
            file.seek(0)
            yield f"{i:04d}", {"image": file, "label": int(digits.target[i])}


def prepare_digits() -> pathlib.Path:
    """Prepares the digits in the cache, once, and returns their folder.

    Two processes may do so at the same time: each prepares a folder of its own and the first to
    rename it wins.

    Raises:
      DataError: if the cache cannot be written.
    """
    final = cache_dir() / "digits" / VERSION
    if (final / "dataset_info.json").is_file():
        return final
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        scratch = pathlib.Path(tempfile.mkdtemp(prefix=".digits-", dir=cache_dir()))
    except OSError as error:
        raise DataError(
            f"The digits are prepared in {cache_dir()}, which cannot be written ({error}). "
            "Set JAXCNN_CACHE to a folder that can."
        ) from error
    try:
        builder = Digits(data_dir=os.fspath(scratch), file_format="array_record")
        # TFDS announces a download and shows progress bars; neither fits a tenth of a second.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            builder.download_and_prepare(
                download_config=tfds.download.DownloadConfig(try_download_gcs=False)
            )
        try:
            os.rename(builder.data_dir, final)
        except OSError:
            if not (final / "dataset_info.json").is_file():
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return final
