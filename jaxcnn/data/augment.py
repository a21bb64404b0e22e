"""What the device does to a batch inside the compiled step: augment, cast, normalise."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.data import colour, mix, policy
from jaxcnn.preprocess import Preprocess

if TYPE_CHECKING:
    from jaxcnn.data.source import Source
    from jaxcnn.data.transforms import RandomResizedCrop

_PAD_MODES = ("constant", "reflect")
_FLIPS = ("none", "random", "alternating")
_POLICIES = ("none", "randaugment", "trivialaugment")
# The random stream of each change, so that turning one on moves no other.
_STREAMS = {"policy": 1, "jitter": 2, "lighting": 3, "erase": 4, "mix": 5}


@dataclasses.dataclass(frozen=True)
class Augment:
    """Random changes of training images, in the order of the fields.

    Attributes:
      pad_crop: pad all sides by this many pixels and crop the size back at a random place
        (He et al. 2015, section 4.2, with 4 for CIFAR).
      pad_mode: `constant` pads black, `reflect` mirrors at the border pixel.
      flip: mirror left to right: `random` by a fair coin; `alternating` by a coin in epoch 0 and
        then in turn (Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU").
      policy: `randaugment` (Cubuk et al. 2019) or `trivialaugment` (Müller & Hutter 2021).
      layers: of RandAugment: how many operations.
      magnitude: of RandAugment: how strong, 0 to 30.
      jitter: strengths of brightness, contrast, saturation and hue.
      lighting: standard deviation of AlexNet's PCA lighting (Krizhevsky et al. 2012, section 4.1,
        with 0.1).
      erase: probability of random erasing (Zhong et al. 2017).
      mixup: alpha of mixup (Zhang et al. 2017); mixes labels.
      cutmix: alpha of CutMix (Yun et al. 2019); mixes labels.
    """

    pad_crop: int = 0
    pad_mode: Literal["constant", "reflect"] = "constant"
    flip: bool | Literal["none", "random", "alternating"] = "none"
    policy: Literal["none", "randaugment", "trivialaugment"] = "none"
    layers: int = 2
    magnitude: int = 9
    jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    lighting: float = 0.0
    erase: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        for name, value, known in (
            ("pad_mode", self.pad_mode, _PAD_MODES),
            ("flip", self.flip, (*_FLIPS, True, False)),
            ("policy", self.policy, _POLICIES),
        ):
            if value not in known:
                raise ValueError(f"{name}={value!r}; choose from {', '.join(map(str, known))}.")
        if self.pad_crop < 0:
            raise ValueError(f"pad_crop={self.pad_crop} must not be negative; 0 crops nothing.")
        if self.layers < 1 or not 0 <= self.magnitude < policy.BINS:
            raise ValueError(
                f"layers={self.layers}, magnitude={self.magnitude}: RandAugment takes at least one "
                f"layer and a magnitude of 0 to {policy.BINS - 1}."
            )
        for name in ("lighting", "mixup", "cutmix"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} must not be negative; 0 is off.")
        if not 0 <= self.erase <= 1:
            raise ValueError(f"erase={self.erase} is a probability and must lie in [0, 1].")
        if len(self.jitter) != 4 or min(self.jitter) < 0 or self.jitter[3] > 0.5:
            raise ValueError(
                f"jitter={self.jitter}: give brightness, contrast, saturation and hue, none of "
                "them negative and the hue at most 0.5, half a circle."
            )

    @property
    def mixes(self) -> bool:
        """Whether images and labels are mixed."""
        return bool(self.mixup or self.cutmix)

    def check_channels(self, channels: int) -> None:
        """Raises a ValueError where a change needs RGB images and `channels` is not 3."""
        if channels != 3 and (self.lighting or self.jitter[3]):
            raise ValueError(
                f"lighting and the hue of jitter need RGB images, and there are {channels} "
                "channels; set them to 0."
            )


def normalize(
    images: jax.Array, mean: Sequence[float], std: Sequence[float], dtype: Any = jnp.float32
) -> jax.Array:
    """`(images / 255 - mean) / std` of uint8 `[B, H, W, C]`, in float32, then cast to `dtype`."""
    scaled = images.astype(jnp.float32) / 255.0
    centred = scaled - jnp.asarray(mean, jnp.float32)
    return (centred / jnp.asarray(std, jnp.float32)).astype(dtype)


def example_keys(seed: int, epoch: jax.Array, index: jax.Array) -> jax.Array:
    """One random key for each example, from its seed, epoch `[B]` and index `[B]` alone.

    The implementation is named, so that a changed `jax_default_prng_impl` changes no augmentation.
    """
    root = jax.random.key(seed, impl="threefry2x32")
    fold = jax.vmap(lambda e, i: jax.random.fold_in(jax.random.fold_in(root, e), i))
    return fold(jnp.asarray(epoch), jnp.asarray(index))


def alternating_flips(seed: int, epoch: jax.Array, index: jax.Array) -> jax.Array:
    """Which images are mirrored, bool `[B]`: a coin for each example, turned over every epoch."""
    first = jax.vmap(lambda key: jax.random.bits(key, (), jnp.uint32))(
        example_keys(seed, jnp.zeros_like(epoch), index)
    )
    return ((first >> 31) + epoch.astype(jnp.uint32)) % 2 == 1


def augment(
    images: jax.Array, keys: jax.Array, config: Augment, mirror: jax.Array | None = None
) -> jax.Array:
    """Applies `config` to each image by its own key; shape and dtype `[B, H, W, C]` stay.

    An image's change depends on its key alone, not on the batch or the devices. Mixing is left to
    `mix_batch`.

    Args:
      images: uint8.
      keys: `[B]`.
      config: what to do.
      mirror: which images are mirrored, where `flip` is `alternating`.

    Raises:
      ValueError: if `reflect` is to pad by as much as the image's side or more, for colours of
        gray images, or without `mirror` where it is needed.
    """
    config.check_channels(images.shape[-1])
    flips = "random" if config.flip is True else config.flip
    if config.pad_crop or flips == "random":
        bits = jax.vmap(lambda key: jax.random.bits(key, (3,), jnp.uint32))(keys)
        # The highest bit of a uniform number is a fair coin.
        mirror = (bits[:, 0] >> 31).astype(bool) if flips == "random" else mirror
    if config.pad_crop:
        images = _pad_crop(images, bits[:, 1:], config)
    if flips in ("random", "alternating"):
        if mirror is None:
            raise ValueError("flip='alternating' needs the mirror of alternating_flips().")
        images = jnp.where(mirror[:, None, None, None], images[:, :, ::-1], images)
    for name, change in _changes(config).items():
        images = jax.vmap(change)(images, _stream(keys, name))
    return images


def _changes(config: Augment) -> dict[str, Callable[[jax.Array, jax.Array], jax.Array]]:
    """What is done to each image by its key, in order, by the name of its random stream."""
    changes: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {}
    if config.policy == "randaugment":
        changes["policy"] = functools.partial(
            policy.randaugment, layers=config.layers, magnitude=config.magnitude
        )
    if config.policy == "trivialaugment":
        changes["policy"] = policy.trivialaugment
    if any(config.jitter):
        changes["jitter"] = functools.partial(colour.jitter, strength=config.jitter)
    if config.lighting:
        changes["lighting"] = functools.partial(colour.lighting, std=config.lighting)
    if config.erase:
        changes["erase"] = functools.partial(mix.erase, probability=config.erase)
    return changes


def _stream(keys: jax.Array, name: str) -> jax.Array:
    return jax.vmap(lambda key: jax.random.fold_in(key, _STREAMS[name]))(keys)


def augment_batch(
    batch: Mapping[str, jax.Array], config: Augment, seed: int
) -> tuple[jax.Array, jax.Array | None]:
    """Augments a batch of a run, by each example's epoch and index.

    Returns:
      uint8 images, and where they were mixed the weight of each image's own label, float32 `[B]`;
      the rest of its label is its neighbour's (`mix.partners`).
    """
    keys = example_keys(seed, batch["epoch"], batch["index"])
    mirror = None
    if config.flip == "alternating":
        mirror = alternating_flips(seed, batch["epoch"], batch["index"])
    images = augment(batch["image"], keys, config, mirror)
    if not config.mixes:
        return images, None
    return mix.mix(images, mix.partners(images), _stream(keys, "mix"), config.mixup, config.cutmix)


def _pad_crop(images: jax.Array, bits: jax.Array, config: Augment) -> jax.Array:
    pad, shape = config.pad_crop, images.shape[1:]
    if config.pad_mode == "reflect" and pad >= min(shape[:2]):
        raise ValueError(
            f"pad_crop={pad} reflects beyond the image of {shape[0]} x {shape[1]} pixels; use at "
            f"most {min(shape[:2]) - 1}."
        )
    padded = jnp.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode=config.pad_mode)
    offsets = (bits % jnp.uint32(2 * pad + 1)).astype(jnp.int32)

    def crop(image: jax.Array, offset: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(image, (offset[0], offset[1], 0), shape)

    return jax.vmap(crop)(padded, offsets)


def replay(
    source: Source,
    preprocess: Preprocess,
    config: Augment,
    *,
    seed: int,
    epoch: int,
    index: int,
    crop: RandomResizedCrop | None = None,
    partner: tuple[int, int] | None = None,
) -> np.ndarray:
    """The image that training saw at (seed, epoch, index): uint8 `[H, W, C]`, before `normalize`.

    Args:
      source: the split that was trained on.
      preprocess: as in training.
      config: the augmentation on the device.
      seed: of the run.
      epoch: counts from 0.
      index: of the example in the split.
      crop: the augmentation on the host, if there was one.
      partner: where images are mixed, (epoch, index) of the neighbour in the batch: of row
        `r ^ 1` for row r, as `Order.rows(step)` lists them.

    Raises:
      DataError: if the example cannot be decoded.
      IndexError: if there is no such example.
      ValueError: if images are mixed and there is no partner.
    """
    from jaxcnn.data.reader import BadImages, ExampleReader

    if config.mixes and partner is None:
        raise ValueError("Images were mixed: give the partner's (epoch, index).")
    wanted = [(epoch, index), *([partner] if config.mixes and partner is not None else [])]
    for _, i in wanted:
        if not 0 <= i < len(source):
            raise IndexError(f"index={i} must lie in 0..{len(source) - 1}.")
    reader = ExampleReader(source, preprocess, BadImages(source, 0), augment=crop, seed=seed)
    epochs, indices = np.array(wanted, np.int64).T
    rows = reader.allocate(indices, epochs.astype(np.int32))
    reader.read(rows)
    batch = {name: jnp.asarray(rows[name]) for name in ("image", "epoch")}
    batch["index"] = jnp.asarray(rows["index"].astype(np.int32))
    images, _ = jax.jit(functools.partial(augment_batch, config=config, seed=seed))(batch)
    return np.asarray(images[0])
