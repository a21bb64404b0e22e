"""What is measured."""

from __future__ import annotations

import dataclasses
from typing import Literal

from jaxcnn.models import model_info

MODES = ("train", "infer")
SIDES = ("jaxcnn", "plain", "synthetic", "torch", "torch.compile")
# A dataset of random images that lies on the device, as many as CIFAR-10's.
RANDOM = "random"


@dataclasses.dataclass(frozen=True)
class Case:
    """One network's step on one machine.

    Attributes:
      model: a name of `jaxcnn.list_models()`.
      mode: `train`, a whole optimizer step (SGD with momentum and weight decay), or `infer`, the
        logits of a batch.
      batch_size: images in a step, over all devices.
      image_size: pixels of the square images; None: what the network is made for.
      dtype: what the network computes in; parameters are float32.
      devices: how many are used. On a CPU, into how many virtual devices it is cut.
      mapping: of the step over the devices.
      cores: processor cores that each side may use; None: all.
      dataset: where training images come from, as in a config's `data.dataset`; `random`: 50,000
        random images held on the device; None: one batch that stays there, so that the step alone
        is measured.
      split: of the dataset.
      data_dir: where the dataset lies; None: where TFDS datasets are looked for.
      steps_per_dispatch: steps in one program, of a dataset that is held on the device.
      steps: in a round.
      rounds: that each side does, in turn with the others.
      warmup: steps before the first round, after the one that compiles.
    """

    model: str
    mode: Literal["train", "infer"] = "train"
    batch_size: int = 32
    image_size: int | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"
    devices: int = 1
    mapping: Literal["jit", "fsdp", "pmap"] = "jit"
    cores: int | None = None
    dataset: str | None = None
    split: str = "train"
    data_dir: str | None = None
    steps_per_dispatch: int = 1
    steps: int = 5
    rounds: int = 5
    warmup: int = 2

    def __post_init__(self) -> None:
        model_info(self.model)  # An unknown name is an error that names the nearest.
        if self.mode not in MODES:
            raise ValueError(f"mode={self.mode!r} is unknown; use one of {', '.join(MODES)}.")
        for name in (
            "batch_size",
            "devices",
            "steps",
            "rounds",
            "cores",
            "image_size",
            "steps_per_dispatch",
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}={value} must be at least 1.")
        if self.batch_size % self.devices:
            raise ValueError(
                f"batch_size={self.batch_size} is not divisible by {self.devices} devices."
            )
        if self.dataset and self.mode == "infer":
            raise ValueError("dataset is for mode='train'; scripts/evaluate.py scores a dataset.")
        if self.steps_per_dispatch > 1 and not self.dataset:
            raise ValueError(
                f"steps_per_dispatch={self.steps_per_dispatch} needs data on the device; give a "
                f"dataset, or {RANDOM!r}."
            )
        if self.steps % self.steps_per_dispatch:
            raise ValueError(
                f"steps={self.steps} is not a multiple of the {self.steps_per_dispatch} in a "
                "dispatch."
            )

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images."""
        return (self.image_size,) * 2 if self.image_size else model_info(self.model).image_size

    def check_side(self, side: str) -> None:
        """Raises ValueError for a side that is unknown or cannot run the case."""
        if side not in SIDES:
            raise ValueError(f"{side!r} is no side; there are {', '.join(SIDES)}.")
        if side.startswith("torch") and self.dataset and self.dataset != RANDOM:
            raise ValueError("Real input is measured on jaxcnn's side alone; leave torch out.")
        if side == "synthetic" and not self.dataset:
            raise ValueError("The side 'synthetic' stands beside a dataset; give --dataset.")
