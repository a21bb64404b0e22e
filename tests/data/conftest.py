"""Small datasets that are made on the spot."""

from __future__ import annotations

import io
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from jaxcnn.data import Example
from jaxcnn.preprocess import Preprocess


def encode(pixels: np.ndarray | Image.Image, file_format: str = "PNG", **options: Any) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


class ArraySource:
    """A source of small gray images; entry i is filled with i modulo 251."""

    name, split = "arrays", "train"

    def __init__(self, size: int, num_classes: int = 10, bad: Sequence[int] = ()) -> None:
        self.size, self.bad = size, set(bad)
        self.class_names = tuple(str(c) for c in range(num_classes))
        self.fingerprint = f"arrays-{size}"

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Example:
        label = index % len(self.class_names)
        if index in self.bad:
            return Example(b"this is no image", label, f"file-{index}")
        return Example(np.full((4, 4, 1), index % 251, np.uint8), label, f"file-{index}")

    def key(self, index: int) -> str:
        return f"file-{index}"


@pytest.fixture(scope="session")
def to_bytes() -> Callable[..., bytes]:
    return encode


@pytest.fixture(scope="session")
def array_source() -> type[ArraySource]:
    return ArraySource


@pytest.fixture(scope="session")
def tiny() -> Preprocess:
    """Takes the images of `array_source` as they are."""
    return Preprocess((4, 4), channels=1, mean=(0.5,), std=(0.5,), resize="none")


@pytest.fixture
def home(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """An empty home: no datasets but those that a test makes."""
    monkeypatch.setenv("HOME", os.fspath(tmp_path / "home"))
    monkeypatch.setenv("JAXCNN_CACHE", os.fspath(tmp_path / "cache"))
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    return tmp_path


@pytest.fixture(scope="session")
def make_dataset() -> Callable[..., pathlib.Path]:
    """Prepares a TFDS dataset as array_record: splits map names to (images, labels)."""

    def make(
        root: pathlib.Path,
        splits: Mapping[str, Sequence[tuple[bytes, int]]],
        *,
        name: str = "shapes",
        version: str = "1.0.0",
        config: str = "",
        features: Mapping[str, Any] | None = None,
        class_names: Sequence[str] = ("circle", "square", "star"),
    ) -> pathlib.Path:
        label = tfds.features.ClassLabel(names=list(class_names))
        connectors = features or {"image": tfds.features.Image(), "label": label}
        configs = [tfds.core.BuilderConfig(name=config, version=version)] if config else []

        def info(self: Any) -> tfds.core.DatasetInfo:
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(dict(connectors))
            )

        def generators(self: Any, dl_manager: Any) -> dict[str, Any]:
            keys = list(connectors)
            return {
                split: (
                    (f"{i:05d}", {keys[0]: io.BytesIO(image), keys[1]: label})
                    for i, (image, label) in enumerate(examples)
                )
                for split, examples in splits.items()
            }

        members = {
            "name": name,
            "VERSION": tfds.core.Version(version),
            "BUILDER_CONFIGS": configs,
            "_info": info,
            "_split_generators": generators,
            "_generate_examples": lambda self: iter(()),
            "__module__": __name__,
        }
        with tfds.core.registered.skip_registration():
            builder_class = type("Shapes", (tfds.core.GeneratorBasedBuilder,), members)
        builder = builder_class(data_dir=os.fspath(root), file_format="array_record")
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(try_download_gcs=False)
        )
        return pathlib.Path(builder.data_dir)

    return make


@pytest.fixture(scope="session")
def shapes(
    tmp_path_factory: pytest.TempPathFactory, make_dataset: Callable[..., pathlib.Path]
) -> pathlib.Path:
    """A data_dir with `shapes` 1.0.0: 30 training and 7 test images of 6x5 pixels, 3 classes."""
    root = tmp_path_factory.mktemp("tfds")
    rng = np.random.default_rng(0)

    def examples(number: int) -> list[tuple[bytes, int]]:
        images = rng.integers(0, 256, (number, 6, 5, 3), np.uint8)
        return [(encode(image), i % 3) for i, image in enumerate(images)]

    make_dataset(root, {"train": examples(30), "test": examples(7)})
    return root
