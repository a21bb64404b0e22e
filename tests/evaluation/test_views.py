"""Test-time augmentation: the views are the paper's, and their probabilities are averaged."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from flax import linen as nn

from jaxcnn.evaluation import Scoring, predict_step
from jaxcnn.evaluation.views import loaded_preprocess, make_views
from jaxcnn.preprocess import Preprocess


class Linear(nn.Module):
    """Not symmetric, so that each view scores differently."""

    @nn.compact
    def __call__(self, images, *, train):
        return nn.Dense(5)(images.reshape(len(images), -1))


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (3, 8, 9, 3), dtype=np.uint8)


def test_ten_crops_are_corners_and_centre_and_their_mirror_images(images):
    views = np.asarray(make_views(images, "ten_crop", (6, 5)))
    assert views.shape == (10, 3, 6, 5, 3)
    places = ((0, 0), (0, 4), (2, 0), (2, 4), (1, 2))
    for i, (top, left) in enumerate(places):
        crop = images[:, top : top + 6, left : left + 5]
        np.testing.assert_array_equal(views[i], crop)
        np.testing.assert_array_equal(views[i + 5], crop[:, :, ::-1])


@pytest.mark.parametrize("views", ["flip", "ten_crop"])
def test_probabilities_are_averaged_over_the_views(images, views):
    size = (6, 5) if views == "ten_crop" else (8, 9)
    preprocess = Preprocess(size, mean=(0.4,) * 3, std=(0.2,) * 3)
    model = Linear()
    variables = model.init(jax.random.key(0), jnp.zeros((1, *size, 3)), train=False)
    batch = {"image": images, "label": np.zeros(3, np.int32)}
    step = jax.jit(functools.partial(predict_step, model, Scoring(preprocess, views, scores=-1)))
    scores = step(variables, batch)
    kernel, bias = (np.asarray(variables["params"]["Dense_0"][k]) for k in ("kernel", "bias"))
    each = [
        scipy.special.softmax(((view / 255 - 0.4) / 0.2).reshape(3, -1) @ kernel + bias, axis=1)
        for view in np.asarray(make_views(images, views, size), np.float32)
    ]
    expected = np.mean(each, axis=0)
    np.testing.assert_allclose(scores["scores"], expected, rtol=1e-4)
    np.testing.assert_allclose(scores["loss"], -np.log(expected[:, 0]), rtol=1e-4)


def test_ten_crops_are_cut_from_the_image_with_its_margin():
    loaded = loaded_preprocess(Preprocess((224, 224)), "ten_crop")
    assert (loaded.image_size, loaded.crop_pct) == ((256, 256), 1.0)


@pytest.mark.parametrize("fields", [{"resize": "none"}, {"crop_pct": 1.0}, {"resize": "squash"}])
def test_ten_crops_without_a_margin_are_refused(fields):
    with pytest.raises(ValueError, match="Ten crops need a margin around the network's 32 x 32"):
        loaded_preprocess(Preprocess((32, 32), **fields), "ten_crop")
