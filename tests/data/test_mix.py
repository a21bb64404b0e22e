"""Erasing, mixup and CutMix fit their labels; flips alternate; all of it is replayed."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.data import Augment, Order, replay
from jaxcnn.data.augment import alternating_flips, augment_batch
from jaxcnn.data.mix import erase, mix, partners
from jaxcnn.preprocess import Preprocess
from jaxcnn.train.step import _cross_entropy, _targets

KEYS = jax.random.split(jax.random.key(0), 400)
ONES = np.full((400, 24, 32, 3), 200, np.uint8)
ZEROS = np.zeros_like(ONES)


def mixed(mixup: float, cutmix: float) -> list[np.ndarray]:
    out = jax.jit(mix, static_argnums=(3, 4))(ONES, ZEROS, KEYS, mixup, cutmix)
    return [np.asarray(x) for x in out]


def test_erasing_fills_one_rectangle_of_the_papers_area_and_aspect_with_noise():
    image = jnp.full((40, 60, 3), 7, jnp.uint8)
    out = np.asarray(jax.jit(jax.vmap(lambda key: erase(image, key, 0.5)))(KEYS))
    changed = (out != 7).any(-1)
    erased = changed.any((1, 2))
    assert abs(erased.mean() - 0.5) < 0.1
    shares = []
    for mask, pixels in zip(changed[erased], out[erased], strict=True):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        # Noise hits 7 in all three channels once in 16 million.
        assert mask.sum() == height * width
        shares.append(mask.mean())
        assert 0.2 < height / width < 5
        if mask.sum() > 300:
            assert 110 < pixels[mask].mean() < 145 and pixels[mask].std() > 60
    assert 0.01 < min(shares) and max(shares) < 0.43 and np.ptp(shares) > 0.25
    assert not np.asarray(erase(image, KEYS[0], 0.0) != 7).any()


def test_mixup_is_the_weighted_mean_of_both_and_the_weight_is_beta():
    out, weight = mixed(0.4, 0.0)
    np.testing.assert_allclose(out[:, 0, 0, 0], 200 * weight, atol=0.51)
    assert (out == out[:, :1, :1, :1]).all()
    # Beta(a, a): mean 1/2, variance 1 / (4 (2 a + 1)).
    assert abs(weight.mean() - 0.5) < 0.06
    assert abs(weight.var() - 1 / (4 * 1.8)) < 0.02


def test_cutmix_pastes_one_rectangle_and_weighs_by_its_area():
    out, weight = mixed(0.0, 1.0)
    pasted = out[..., 0] == 0
    assert set(np.unique(out)) == {0, 200}
    np.testing.assert_allclose(1 - pasted.mean((1, 2)), weight, atol=1e-6)
    for mask in pasted[pasted.any((1, 2))]:
        height, width = (np.ptp(np.flatnonzero(mask.any(axis))) + 1 for axis in (1, 0))
        assert mask.sum() == height * width
    # Before clipping at the border the pasted share is uniform; clipping lowers its mean of 1/2.
    assert 0.55 < weight.mean() < 0.75


def test_with_both_each_is_taken_half_of_the_time():
    out, _ = mixed(1.0, 1.0)
    blended = np.array([len(np.unique(x)) == 1 and x[0, 0, 0] not in (0, 200) for x in out])
    assert 0.4 < blended.mean() < 0.6


def test_neighbours_are_partners():
    assert partners(jnp.arange(6)).tolist() == [1, 0, 3, 2, 5, 4]
    with pytest.raises(ValueError, match="share of 3 images is odd"):
        partners(jnp.arange(3))


def test_the_loss_is_the_weighted_mean_of_both_labels_losses():
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(4, 5)), jnp.float32)
    labels, own = jnp.array([0, 3, 1, 1]), jnp.array([0.9, 0.2, 1.0, 0.5])
    log = np.asarray(jax.nn.log_softmax(logits))
    other = np.array([3, 0, 1, 1])
    rows = np.arange(4)
    expected = -np.mean(own * log[rows, labels] + (1 - own) * log[rows, other])
    loss = _cross_entropy(logits, _targets(labels, own, 5, 0.0))
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    smooth = _targets(labels, own, 5, 0.1)
    np.testing.assert_allclose(smooth[0], [0.83, 0.02, 0.02, 0.11, 0.02], atol=1e-6)


def test_alternating_flips_show_each_image_both_ways_in_any_two_epochs():
    index = np.arange(500, dtype=np.int32)
    epochs = [np.asarray(alternating_flips(0, np.full(500, e, np.int32), index)) for e in range(4)]
    assert 0.4 < epochs[0].mean() < 0.6
    for first, second in itertools.pairwise(epochs):
        assert (first != second).all()
    other = np.asarray(alternating_flips(1, np.zeros(500, np.int32), index))
    assert 0.3 < (other != epochs[0]).mean() < 0.7


def test_replay_rebuilds_a_mixed_and_alternated_image(array_source):
    class Photos(array_source):
        def __getitem__(self, index):
            example = super().__getitem__(index)
            pixels = np.random.default_rng(index).integers(0, 256, (8, 8, 3), np.uint8)
            return type(example)(pixels, example.label, example.key)

    source, record, order = Photos(20), Preprocess((8, 8), resize="none"), Order(20, 8, seed=5)
    config = Augment(
        pad_crop=1, flip="alternating", policy="randaugment", erase=0.5, mixup=0.8, cutmix=1.0
    )
    index, epoch = order.rows(3)
    batch = {
        "image": jnp.asarray(np.stack([source[i].image for i in index])),
        "index": jnp.asarray(index.astype(np.int32)),
        "epoch": jnp.asarray(epoch),
    }
    seen, own = jax.jit(lambda b: augment_batch(b, config, 5))(batch)
    assert own.shape == (8,)
    for row in (0, 5):
        numbers = {"seed": 5, "epoch": int(epoch[row]), "index": int(index[row])}
        partner = (int(epoch[row ^ 1]), int(index[row ^ 1]))
        again = replay(source, record, config, **numbers, partner=partner)
        np.testing.assert_array_equal(again, seen[row])
        with pytest.raises(ValueError, match="give the partner"):
            replay(source, record, config, **numbers)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"flip": "sideways"}, "flip='sideways'; choose from none, random, alternating"),
        ({"policy": "auto"}, "policy='auto'; choose from"),
        ({"magnitude": 31}, "magnitude=31: .* 0 to 30"),
        ({"jitter": (0.1, 0.1, 0.1, 0.6)}, "hue at most 0.5"),
        ({"erase": 1.5}, r"erase=1.5 .* must lie in \[0, 1\]"),
        ({"mixup": -1.0}, "mixup=-1.0 must not be negative"),
    ],
)
def test_values_that_cannot_be_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Augment(**fields)


def test_colours_of_gray_images_are_refused():
    with pytest.raises(ValueError, match="need RGB images, and there are 1 channels"):
        Augment(lighting=0.1).check_channels(1)
