"""Occlusion: every number is the network's answer to a photo that is really covered there."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from jaxcnn.visualize import occlusion


def test_probabilities_are_those_of_photos_covered_by_hand(small):
    model, variables, images = small
    found = occlusion(
        model, variables, images, classes=[1, 4], patch=(3, 2), stride=2, value=0.7, batch_size=7
    )
    np.testing.assert_array_equal(found.tops, [0, 2, 4, 5])
    np.testing.assert_array_equal(found.lefts, [0, 2, 4, 6])
    apply = jax.jit(lambda x: jax.nn.softmax(model.apply(variables, x, train=False)))
    total, times = np.zeros((2, 8, 8)), np.zeros((8, 8))
    whole = np.asarray(apply(images))[[0, 1], [1, 4]]
    for row, top in enumerate(found.tops):
        for column, left in enumerate(found.lefts):
            hidden = images.copy()
            hidden[:, top : top + 3, left : left + 2] = 0.7
            answer = np.asarray(apply(hidden))[[0, 1], [1, 4]]
            np.testing.assert_allclose(found.covered[:, row, column], answer, atol=1e-6)
            total[:, top : top + 3, left : left + 2] += (whole - answer)[:, None, None]
            times[top : top + 3, left : left + 2] += 1
    np.testing.assert_allclose(found.probabilities, whole, atol=1e-6)
    np.testing.assert_allclose(found.pixels, total / times, atol=1e-6)


def test_a_patch_may_be_a_numpy_integer(small):
    assert occlusion(*small, patch=np.int64(5)).patch == (5, 5)


def test_patches_that_cannot_work_are_refused(small):
    with pytest.raises(ValueError, match="patch of 9x9 does not fit a photo of 8x8"):
        occlusion(*small, patch=9)
    with pytest.raises(ValueError, match="patch=0: give a whole number of at least 1"):
        occlusion(*small, patch=0)
    with pytest.raises(ValueError, match=r"stride=4 with a patch of 3x3: use 1\.\.3"):
        occlusion(*small, patch=3, stride=4)
