"""How fast a dataset becomes batches: the whole loader, alone or in turn with others."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
from typing import Any, Literal

from jaxcnn.data import Order, RandomResizedCrop, TrainLoader, default_preprocess, open_source
from jaxcnn.data.native import SWITCH
from jaxcnn.preprocess import Preprocess

SIDES = ("jaxcnn", "pillow", "tf.data")


@dataclasses.dataclass(frozen=True)
class InputCase:
    """A dataset read by the training loader: records, decoding, crop, resize, batch.

    Attributes:
      dataset: as in a config's `data.dataset`.
      split: of it.
      data_dir: where it lies; None: where TFDS datasets are looked for.
      batch_size: images in a batch.
      image_size: pixels of the square images; None: the records' own size where they are small,
        else 224.
      crop: `random`, as in training on photos, or `evaluation`; None: random unless the records
        are small and of one size.
      threads: that read and decode; None: as many as cores.
      cores: processor cores that each side may use; None: all.
      tensorflow: an interpreter with TensorFlow, for the side `tf.data`; None: this one.
      steps: batches in a round.
      rounds: that each side does, in turn with the others.
      warmup: batches before the first round.
    """

    dataset: str
    split: str = "train"
    data_dir: str | None = None
    batch_size: int = 64
    image_size: int | None = None
    crop: Literal["random", "evaluation"] | None = None
    threads: int | None = None
    cores: int | None = None
    tensorflow: str | None = None
    steps: int = 24
    rounds: int = 5
    warmup: int = 4

    def __post_init__(self) -> None:
        for name in ("batch_size", "image_size", "threads", "cores", "steps", "rounds"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}={value} must be at least 1.")
        if self.crop not in (None, "random", "evaluation"):
            raise ValueError(f"crop={self.crop!r} is unknown; use random or evaluation.")
        self.open()

    def open(self) -> tuple[Any, Preprocess]:
        """The source, and how its images are shown."""
        source = open_source(self.dataset, self.split, data_dir=self.data_dir)
        preprocess = default_preprocess(source)
        if self.image_size is not None:
            size = (self.image_size, self.image_size)
            preprocess = dataclasses.replace(preprocess, image_size=size, resize="shorter")
        return source, preprocess

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images."""
        return self.open()[1].image_size

    def check_side(self, side: str) -> None:
        """Raises ValueError for a side that is unknown or cannot run the case."""
        if side not in SIDES:
            raise ValueError(f"{side!r} is no side of an input; there are {', '.join(SIDES)}.")
        if side == "tf.data" and not self.crops_at_random:
            raise ValueError("tf.data's side takes random crops of photos; use crop='random'.")

    @property
    def crops_at_random(self) -> bool:
        """Whether each image is a random resized crop."""
        return self.crop == "random" or (self.crop is None and self.open()[1].resize != "none")

    @property
    def workers(self) -> int:
        """Threads of each side."""
        if hasattr(os, "sched_getaffinity"):  # Linux: fewer where a job has a part of the machine
            return self.threads or self.cores or len(os.sched_getaffinity(0))
        return self.threads or self.cores or os.cpu_count() or 1


def cores_for(rate: float, images_per_second: float, cores: int) -> int:
    """How many cores give `rate` images/s, where `cores` of them give `images_per_second`."""
    return math.ceil(rate * cores / images_per_second)


class Loader:
    """This library's side; `run(n)` takes n batches."""

    def __init__(self, case: InputCase, side: str) -> None:
        if side == "pillow":
            os.environ[SWITCH] = "0"
        source, preprocess = case.open()
        self.facts: dict[str, Any] = {"threads": case.workers}
        self._stream = iter(
            TrainLoader(
                source,
                preprocess,
                Order(len(source), case.batch_size, seed=0),
                threads=case.workers,
                augment=RandomResizedCrop() if case.crops_at_random else None,
            )
        )

    def run(self, count: int) -> None:
        for _ in range(count):
            next(self._stream)

    def cpu_seconds(self) -> float:
        return time.process_time()

    def peak_bytes(self) -> dict[str, int]:
        """Most memory of this process so far."""
        return {"process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


class TensorFlow:
    """tf.data's side, in its own interpreter, which has the photos in memory."""

    def __init__(self, case: InputCase, side: str) -> None:
        source, preprocess = case.open()
        self._folder = tempfile.TemporaryDirectory()
        for i in range(min(len(source), 500)):
            image = source[i].image
            if not isinstance(image, bytes) or image[:2] != b"\xff\xd8":
                raise ValueError(f"tf.data's side reads JPEGs, and {case.dataset!r} has others.")
            (pathlib.Path(self._folder.name) / f"{i:03}.jpg").write_bytes(image)
        script = pathlib.Path(__file__).with_name("tfdata.py")
        numbers = (case.workers, case.batch_size, preprocess.image_size[0])
        command = [case.tensorflow or sys.executable, str(script), self._folder.name]
        self._process = subprocess.Popen(
            [*command, *map(str, numbers)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._used = 0.0
        self.facts: dict[str, Any] = {"threads": case.workers}

    def run(self, count: int) -> None:
        talk = self._process
        assert talk.stdin is not None and talk.stdout is not None
        try:
            print(count, file=talk.stdin, flush=True)
            self._used += json.loads(talk.stdout.readline())
        except (ValueError, OSError):
            raise ValueError(
                "tf.data's side ended; give an interpreter with TensorFlow (--tensorflow PYTHON)."
            ) from None

    def cpu_seconds(self) -> float:
        return self._used

    def peak_bytes(self) -> dict[str, int]:
        """Most memory of children that have ended, so nothing of one that still runs."""
        return {}
