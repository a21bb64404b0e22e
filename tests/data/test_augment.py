"""Augmentation on the device: by example alone, the same on any number of devices, replayable."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxcnn.data import Augment, Order, RandomResizedCrop, TrainLoader, replay
from jaxcnn.data.augment import augment, example_keys, normalize
from jaxcnn.preprocess import Preprocess

IMAGES = np.random.default_rng(0).integers(0, 256, (16, 8, 6, 3), np.uint8)
INDEX = np.arange(100, 116, dtype=np.int32)
BOTH = Augment(flip=True, pad_crop=2)


def changed(config: Augment, images=IMAGES, epoch=0, index=INDEX, seed=0) -> np.ndarray:
    epochs = np.full(len(index), epoch, np.int32)
    return np.asarray(augment(jnp.asarray(images), example_keys(seed, epochs, index), config))


def candidates(image: np.ndarray, config: Augment) -> dict[bytes, tuple[int, int, bool]]:
    """All images that the augmentation may give, computed by numpy."""
    pad = config.pad_crop
    padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)), mode=config.pad_mode)
    height, width = image.shape[:2]
    found = {}
    for y in range(2 * pad + 1):
        for x in range(2 * pad + 1):
            crop = padded[y : y + height, x : x + width]
            found[crop.tobytes()] = (y, x, False)
            if config.flip:
                found[crop[:, ::-1].tobytes()] = (y, x, True)
    return found


def test_normalize_is_torchvisions_arithmetic():
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    expected = (IMAGES.astype(np.float32) / 255 - np.float32(mean)) / np.float32(std)
    out = normalize(jnp.asarray(IMAGES), mean, std)
    assert out.dtype == jnp.float32
    np.testing.assert_allclose(out, expected, rtol=1e-6, atol=1e-6)
    half = normalize(jnp.asarray(IMAGES), mean, std, jnp.bfloat16)
    np.testing.assert_array_equal(half, out.astype(jnp.bfloat16))


@pytest.mark.parametrize("mode", ["constant", "reflect"])
def test_every_shift_and_both_directions_occur_and_nothing_else(mode):
    config = Augment(flip=True, pad_crop=1, pad_mode=mode)
    image = IMAGES[0]
    index = np.arange(600, dtype=np.int32)
    out = changed(config, np.broadcast_to(image, (600, *image.shape)), index=index)
    possible = candidates(image, config)
    seen = np.array([possible[x.tobytes()] for x in out])
    assert {tuple(s) for s in seen} == set(possible.values())
    # 600 draws: a fair coin and uniform shifts within four standard errors.
    assert abs(seen[:, 2].mean() - 0.5) < 0.08
    counts = np.bincount(seen[:, 0] * 3 + seen[:, 1], minlength=9)
    assert np.abs(counts - 600 / 9).max() < 31


def test_nothing_to_do_gives_the_image_back():
    np.testing.assert_array_equal(changed(Augment()), IMAGES)


def test_an_image_does_not_depend_on_its_batch():
    whole = changed(BOTH)
    order = np.random.default_rng(1).permutation(16)[:5]
    np.testing.assert_array_equal(changed(BOTH, IMAGES[order], index=INDEX[order]), whole[order])
    np.testing.assert_array_equal(changed(BOTH, IMAGES[3:4], index=INDEX[3:4]), whole[3:4])


def test_seed_epoch_and_index_each_matter():
    views = {
        changed(BOTH, np.broadcast_to(IMAGES[:1], IMAGES.shape), **kw).tobytes()
        for kw in ({}, {"epoch": 1}, {"seed": 1}, {"index": INDEX + 16})
    }
    assert len(views) == 4


@pytest.mark.parametrize("devices", [1, 8])
def test_one_and_eight_devices_give_the_same_images(devices):
    mesh = Mesh(np.array(jax.devices("cpu")[:devices]), ("data",))
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    rows = jax.device_put((IMAGES, np.full(16, 2, np.int32), INDEX), sharding)

    @jax.jit
    def step(images, epoch, index):
        return augment(images, example_keys(0, epoch, index), BOTH)

    out = step(*rows)
    assert len(out.sharding.device_set) == devices
    np.testing.assert_array_equal(out, changed(BOTH, epoch=2))


def test_the_draws_are_pinned():
    keys = example_keys(0, np.array([1], np.int32), np.array([2], np.int32))
    expected = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), 1), 2)
    assert jax.random.key_data(keys[0]).tolist() == jax.random.key_data(expected).tolist()


def test_the_keys_do_not_follow_the_default_implementation():
    rows = np.array([1], np.int32)
    with jax.default_prng_impl("rbg"):
        other = jax.random.key_data(example_keys(0, rows, rows))
    np.testing.assert_array_equal(other, jax.random.key_data(example_keys(0, rows, rows)))


def test_replay_rebuilds_what_training_saw(array_source):
    class Photos(array_source):
        def __getitem__(self, index):
            example = super().__getitem__(index)
            pixels = np.random.default_rng(index).integers(0, 256, (20, 24, 3), np.uint8)
            return type(example)(pixels, example.label, example.key)

    source, record, crop = Photos(20), Preprocess((8, 8)), RandomResizedCrop()
    order = Order(20, 8, seed=5)
    with TrainLoader(source, record, order, start_step=3, augment=crop, threads=2) as loader:
        batch = next(iter(loader))
    keys = example_keys(5, batch["epoch"], batch["index"])
    seen = np.asarray(augment(jnp.asarray(batch["image"]), keys, BOTH))
    for row in (0, 3, 7):
        again = replay(
            source,
            record,
            BOTH,
            seed=5,
            epoch=int(batch["epoch"][row]),
            index=int(batch["index"][row]),
            crop=crop,
        )
        np.testing.assert_array_equal(again, seen[row])
    with pytest.raises(IndexError, match=r"index=20 must lie in 0\.\.19"):
        replay(source, record, BOTH, seed=5, epoch=0, index=20)


def test_values_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="pad_crop=-1"):
        Augment(pad_crop=-1)
    with pytest.raises(ValueError, match=r"pad_mode='wrap'; choose from constant, reflect"):
        Augment(pad_mode="wrap")
    with pytest.raises(
        ValueError, match="reflects beyond the image of 8 x 6 pixels; use at most 5"
    ):
        changed(Augment(pad_crop=6, pad_mode="reflect"))
