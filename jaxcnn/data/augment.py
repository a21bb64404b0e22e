"""What the device does to a batch inside the compiled step: cast, normalise, flip, shift-crop."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.preprocess import Preprocess

if TYPE_CHECKING:
    from jaxcnn.data.source import Source
    from jaxcnn.data.transforms import RandomResizedCrop

_PAD_MODES = ("constant", "reflect")


@dataclasses.dataclass(frozen=True)
class Augment:
    """Random changes of training images.

    Attributes:
      flip: mirror left to right, with probability one half.
      pad_crop: pad all sides by this many pixels and crop the size back at a random place
        (He et al. 2015, section 4.2, with 4 for CIFAR).
      pad_mode: `constant` pads black, `reflect` mirrors at the border pixel.
    """

    flip: bool = False
    pad_crop: int = 0
    pad_mode: Literal["constant", "reflect"] = "constant"

    def __post_init__(self) -> None:
        if self.pad_crop < 0:
            raise ValueError(f"pad_crop={self.pad_crop} must not be negative; 0 crops nothing.")
        if self.pad_mode not in _PAD_MODES:
            raise ValueError(f"pad_mode={self.pad_mode!r}; choose from {', '.join(_PAD_MODES)}.")


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


def augment(images: jax.Array, keys: jax.Array, config: Augment) -> jax.Array:
    """Applies `config` to each image by its own key; shape and dtype `[B, H, W, C]` stay.

    An image's change depends on its key alone, not on the batch or the devices.

    Raises:
      ValueError: if `reflect` is to pad by as much as the image's side or more.
    """
    if not config.flip and not config.pad_crop:
        return images
    bits = jax.vmap(lambda key: jax.random.bits(key, (3,), jnp.uint32))(keys)
    if config.pad_crop:
        images = _pad_crop(images, bits[:, 1:], config)
    if config.flip:
        # The highest bit of a uniform number is a fair coin.
        mirror = (bits[:, 0] >> 31).astype(bool)
        images = jnp.where(mirror[:, None, None, None], images[:, :, ::-1], images)
    return images


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

    Raises:
      DataError: if the example cannot be decoded.
      IndexError: if there is no such example.
    """
    from jaxcnn.data.reader import BadImages, ExampleReader

    if not 0 <= index < len(source):
        raise IndexError(f"index={index} must lie in 0..{len(source) - 1}.")
    reader = ExampleReader(source, preprocess, BadImages(source, 0), augment=crop, seed=seed)
    rows = reader.allocate(np.array([index], np.int64), np.array([epoch], np.int32))
    reader.read(rows)
    keys = example_keys(seed, jnp.array([epoch], jnp.int32), jnp.array([index], jnp.int32))
    changed = jax.jit(functools.partial(augment, config=config))(rows["image"], keys)
    return np.asarray(changed[0])
