"""The typed description of a run: everything that decides its result, checked when it is made."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Mapping
from typing import Any, Literal

from jaxcnn.arguments import check_fields
from jaxcnn.data.augment import Augment
from jaxcnn.preprocess import IMAGENET_MEAN, IMAGENET_STD
from jaxcnn.train.duration import Duration, DurationArg, epochs, steps
from jaxcnn.transfer import TransferConfig

Value = int | float | str

# Fields of DataConfig that Augment has under the same names.
_AUGMENT_FIELDS = (
    "pad_crop",
    "pad_mode",
    "policy",
    "jitter",
    "lighting",
    "erase",
    "mixup",
    "cutmix",
)


def _at_least(name: str, value: float, low: float) -> None:
    if value < low:
        raise ValueError(f"{name}={value} must be at least {low}.")


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which images, and how they become a batch."""

    dataset: str = "digits"
    """A TFDS name prepared as array_record, `folder:PATH`, or `digits`."""
    train_split: str = "train"
    """The split that is trained on."""
    eval_split: str = "test"
    """The split that is evaluated during and after training."""
    data_dir: str | None = None
    """Where prepared TFDS datasets lie; then TFDS_DATA_DIR, ~/tensorflow_datasets and the
    library's cache are looked into."""
    image_size: tuple[int, int] = (8, 8)
    """Height and width of the network's input in pixels."""
    channels: int = 1
    """1 for gray, 3 for RGB."""
    mean: tuple[float, ...] = (0.5,)
    """Per channel, of pixels in [0, 1]; subtracted on the device."""
    std: tuple[float, ...] = (0.5,)
    """Per channel, of pixels in [0, 1]; divided by on the device."""
    resize: Literal["shorter", "squash", "none"] = "none"
    """`shorter` scales the shorter side and crops the centre, `squash` scales both sides, `none`
    takes only images that have the size."""
    crop_pct: float = 0.875
    """With `shorter`: the share of the resized shorter side that the crop keeps."""
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    """Filter of the antialiased resize."""
    random_resized_crop: bool = False
    """Train on random crops of random size and aspect (Szegedy et al. 2015) instead of the
    evaluation crop."""
    scaled_decoding: bool = True
    """With random crops: decode a JPEG at 1/2, 1/4 or 1/8 where the crop stays large enough."""
    flip: bool = False
    """Mirror half of the training images left to right, on the device."""
    pad_crop: int = 0
    """Pad the training images by this many pixels and crop them back at a random place, on the
    device."""
    pad_mode: Literal["constant", "reflect"] = "constant"
    """`constant` pads black, `reflect` mirrors at the border pixel."""
    alternating_flip: bool = False
    """With `flip`: a coin in the first epoch, and each image in turn from then on (Jordan 2024)."""
    policy: Literal["none", "randaugment", "trivialaugment"] = "none"
    """RandAugment (Cubuk et al. 2019) or TrivialAugment (Müller & Hutter 2021), on the device."""
    policy_layers: int = 2
    """Of RandAugment: how many operations."""
    policy_magnitude: int = 9
    """Of RandAugment: how strong, 0 to 30."""
    jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    """Strengths of random brightness, contrast, saturation and hue, on the device."""
    lighting: float = 0.0
    """Standard deviation of AlexNet's PCA lighting (Krizhevsky et al. 2012: 0.1)."""
    erase: float = 0.0
    """Probability of random erasing (Zhong et al. 2017)."""
    mixup: float = 0.0
    """Alpha of mixup (Zhang et al. 2017); 0 is off."""
    cutmix: float = 0.0
    """Alpha of CutMix (Yun et al. 2019); 0 is off. With mixup, each half of the time."""
    threads: int = 4
    """Threads that read and decode images, where the dataset is not held on the device."""
    resident_mb: float = 512.0
    """Datasets up to this size as uint8 pixels are held on the device; 0 streams every dataset."""
    max_bad_images: int = 0
    """How many undecodable images are skipped and counted before the run stops."""

    def __post_init__(self) -> None:
        check_fields(self, "data.")
        _at_least("data.threads", self.threads, 1)
        _at_least("data.pad_crop", self.pad_crop, 0)
        _at_least("data.resident_mb", self.resident_mb, 0)
        _at_least("data.max_bad_images", self.max_bad_images, 0)
        self.augment.check_channels(self.channels)

    @property
    def augment(self) -> Augment:
        """What the device does to a batch of training images."""
        flip: Literal["none", "random", "alternating"] = "random" if self.flip else "none"
        return Augment(
            flip="alternating" if self.flip and self.alternating_flip else flip,
            layers=self.policy_layers,
            magnitude=self.policy_magnitude,
            **{name: getattr(self, name) for name in _AUGMENT_FIELDS},
        )


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """SGD with momentum or LARS, the learning rate over time, and what is decayed."""

    name: Literal["sgd", "lars"] = "sgd"
    """`lars` scales each kernel's update to the norm of its weights (You et al. 2017), for batches
    of 8,192 and more."""
    trust: float = 0.001
    """With `lars`: the share of a kernel's norm that one update at learning rate 1 has."""
    learning_rate: float = 0.1
    """The peak learning rate, for the global batch size."""
    momentum: float = 0.9
    """Share of the old velocity; 0 for plain SGD."""
    nesterov: bool = False
    """Nesterov's form of momentum."""
    weight_decay: float = 1e-4
    """Added to the gradient as weight_decay times the parameter, as in PyTorch's SGD."""
    decay: Literal["all", "kernels"] = "all"
    """`kernels` leaves biases and norms undecayed (every parameter of one dimension)."""
    schedule: Literal["constant", "step", "cosine", "polynomial"] = "step"
    """After the warm-up: constant, dropped at the milestones, a half cosine down to 0, or `(1 -
    share done) ** power`."""
    power: float = 2.0
    """With `polynomial`: the exponent."""
    warmup: DurationArg = steps(0)
    """Linear rise from `warmup_from` to the peak."""
    warmup_from: float = 0.0
    """Where the warm-up starts."""
    milestones: tuple[DurationArg, ...] = ()
    """With `step`: when the rate is multiplied by `drop`."""
    drop: float = 0.1
    """With `step`: the factor at each milestone."""
    clip_norm: float | None = None
    """Scale gradients down to this global norm."""

    def __post_init__(self) -> None:
        check_fields(self, "optimizer.")
        for name in ("weight_decay", "warmup_from"):
            _at_least(f"optimizer.{name}", getattr(self, name), 0)
        for name in ("trust", "power"):
            if getattr(self, name) <= 0:
                raise ValueError(f"optimizer.{name}={getattr(self, name)} must be positive.")
        if self.learning_rate <= 0:
            raise ValueError(f"optimizer.learning_rate={self.learning_rate} must be positive.")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"optimizer.momentum={self.momentum} must lie in [0, 1).")
        if self.nesterov and not self.momentum:
            raise ValueError("optimizer.nesterov=True needs a momentum above 0.")
        if self.clip_norm is not None and self.clip_norm <= 0:
            raise ValueError(f"optimizer.clip_norm={self.clip_norm} must be positive, or None.")


# ImageNet as everybody trains on it: random crops and flips, judged by the centre crop of 256.
IMAGENET = DataConfig(
    dataset="imagenet2012",
    train_split="train",
    eval_split="validation",
    image_size=(224, 224),
    channels=3,
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
    resize="shorter",
    random_resized_crop=True,
    flip=True,
    threads=16,
)


# What may change between two starts of one run: it does not decide the result.
FREE_FIELDS = frozenset(
    {
        "data.data_dir",
        "data.threads",
        "log_every",
        "checkpoint_every",
        "keep_checkpoints",
        "num_devices",
        "steps_per_dispatch",
        "on_save_error",
        "watchdog_seconds",
        "compilation_cache",
        "figures",
    }
)


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """One training run. Batch sizes are global, over all devices and processes."""

    model: str
    """A name of `jaxcnn.list_models()`."""
    model_args: dict[str, Value] = dataclasses.field(default_factory=dict)
    """Fields of the network that differ from its defaults."""
    data: DataConfig = DataConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    transfer: TransferConfig = TransferConfig()
    batch_size: int = 128
    """Examples in one optimizer step, over all devices."""
    accumulate: int = 1
    """Micro-batches that a step is computed in, to save memory."""
    accumulate_norm: Literal["micro", "batch"] = "micro"
    """With micro-batches: BatchNorm takes each one's statistics, or exactly the whole batch's,
    which costs a second forward pass (docs/training.md)."""
    length: DurationArg = epochs(10)
    """How long to train."""
    label_smoothing: float = 0.0
    """Share of the label's probability that is spread over all classes."""
    ema: float | None = None
    """Decay of the moving average of the parameters that is evaluated; None keeps none."""
    batchnorm: Literal["global", "device"] = "global"
    """Whose batch BatchNorm's statistics are taken over: all devices', or each device's own."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """The networks' compute type; parameters stay float32."""
    mapping: Literal["jit", "fsdp", "pmap"] = "jit"
    """How the step is mapped over the devices; `fsdp` splits the state over them as well."""
    num_devices: int | None = None
    """Use the first so many devices; default: all."""
    steps_per_dispatch: int = 1
    """Run so many steps as one program, where the data are held on the device and nothing is due in
    between (docs/training.md). For GPUs and small networks; on a CPU it is slower."""
    seed: int = 0
    """Decides initial weights, the order of the data, augmentation and dropout."""
    eval_every: DurationArg = epochs(1)
    """How often the evaluation split is scored, and a checkpoint with its score written."""
    eval_batch_size: int = 500
    """Examples in one evaluation step, over all devices; rounded up to divide among them."""
    checkpoint_every: DurationArg = epochs(1)
    """How often a checkpoint is written besides those with a score."""
    keep_checkpoints: int = 2
    """How many of the newest checkpoints are kept, besides the best."""
    log_every: DurationArg = steps(50)
    """How often training metrics are written."""
    on_save_error: Literal["stop", "continue"] = "stop"
    """What a checkpoint that could not be written does to the run. One that goes on says so, and
    fails at its end if the last save failed; several processes always stop."""
    max_skipped_steps: int = 0
    """How many steps with a loss or gradient that is not finite leave everything as it was,
    before the run stops."""
    watchdog_seconds: float = 1800.0
    """End the process, with every thread's stack, after so long without a step; it must be longer
    than a compilation. 0 turns it off."""
    compilation_cache: str | None = None
    """Folder in which compiled programs are kept from run to run; None keeps none. One that other
    kinds of processors use too is to be avoided on CPU."""
    figures: bool = True
    """Draw learning curves, confusion matrix and mistakes at the end."""

    def __post_init__(self) -> None:
        check_fields(self)
        for name in (
            "batch_size",
            "accumulate",
            "eval_batch_size",
            "keep_checkpoints",
            "steps_per_dispatch",
        ):
            _at_least(name, getattr(self, name), 1)
        for name in ("seed", "max_skipped_steps", "watchdog_seconds"):
            _at_least(name, getattr(self, name), 0)
        if "num_classes" in self.model_args:
            raise ValueError(
                f"model_args num_classes={self.model_args['num_classes']}: the dataset decides the "
                "number of classes; leave it out."
            )
        for name in ("length", "eval_every", "checkpoint_every", "log_every"):
            if getattr(self, name).amount <= 0:
                raise ValueError(f"{name}={getattr(self, name)} must be longer than 0.")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing={self.label_smoothing} must lie in [0, 1).")
        if self.ema is not None and not 0 < self.ema < 1:
            raise ValueError(f"ema={self.ema} must lie in (0, 1), or be None.")
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"batch_size={self.batch_size} is not divisible by accumulate={self.accumulate}."
            )


def to_dict(config: Any) -> dict[str, Any]:
    """The config as JSON values; durations as text."""
    return json.loads(json.dumps(_plain(config)))


def from_dict(values: Mapping[str, Any], cls: type = TrainConfig) -> Any:
    """The inverse of `to_dict`.

    Raises:
      ValueError: for a field that the config does not have or needs, or of another type.
    """
    hints = typing.get_type_hints(cls)
    unknown = sorted(map(str, set(values) - set(hints)))
    if unknown:
        raise ValueError(f"{cls.__name__} has no field {', '.join(unknown)}; it has {list(hints)}.")
    missing = [
        field.name
        for field in dataclasses.fields(cls)
        if field.default is field.default_factory is dataclasses.MISSING
        and field.name not in values
    ]
    if missing:
        raise ValueError(f"{cls.__name__} needs {', '.join(missing)}.")
    return cls(**{name: _read(value, hints[name]) for name, value in values.items()})


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The fields that decide a result and differ between two configs, as `name: old -> new`.

    Raises:
      ValueError: as `from_dict`.
    """
    # An older config lacks fields that came later; such a run had what is now their default.
    flat_old, flat_new = (flatten(to_dict(from_dict(values))) for values in (old, new))
    return [
        f"{name}: {flat_old.get(name)!r} -> {flat_new.get(name)!r}"
        for name in sorted(flat_old.keys() | flat_new.keys())
        if name not in FREE_FIELDS and flat_old.get(name) != flat_new.get(name)
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, Duration):
        return str(value)
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return value


def _read(value: Any, hint: Any) -> Any:
    """A JSON value as what a field of this type holds; as it is where it cannot be that."""
    if hint is Duration and isinstance(value, str):
        return Duration.parse(value)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type) and isinstance(value, Mapping):
        return from_dict(value, hint)
    if typing.get_origin(hint) is tuple and isinstance(value, list):
        return tuple(_read(v, typing.get_args(hint)[0]) for v in value)
    return value


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The fields of a config as JSON values by their whole names, such as `data.pad_crop`."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
