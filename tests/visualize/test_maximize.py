"""Inputs made for a unit: its activation rises, pixels stay a photo's, equal seeds are equal."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from jaxcnn.models import features
from jaxcnn.preprocess import Preprocess
from jaxcnn.visualize import Ascent, maximize, maximize_stages

GRAY = Preprocess((8, 8), 1, (0.5,), (0.25,), resize="none")
QUICK = Ascent(steps=40, decay=0.0, smoothness=0.2, jitter=0)


def test_a_units_activation_rises_and_is_the_networks_own(small):
    model, variables, _ = small
    found = maximize(model, variables, GRAY, [3, 20], layer="stage2", unit=(1, 2), ascent=QUICK)
    assert (found.after > found.before + 0.1).all()
    assert found.pixels.min() >= 0 and found.pixels.max() <= 1
    value = features(model, variables, (found.pixels - 0.5) / 0.25)["stage2"]
    np.testing.assert_allclose(
        [value[0, 1, 2, 3], value[1, 1, 2, 20]], found.after, rtol=1e-3, atol=1e-4
    )


@pytest.mark.slow
def test_logits_rise_and_equal_seeds_give_equal_pictures(small):
    model, variables, _ = small
    found = maximize(model, variables, GRAY, range(10), ascent=QUICK)
    assert found.layer == "logits" and (found.after > found.before).all()
    again = maximize(model, variables, GRAY, range(10), ascent=QUICK)
    np.testing.assert_array_equal(found.pixels, again.pixels)
    other = maximize(model, variables, GRAY, range(10), ascent=dataclasses.replace(QUICK, seed=1))
    assert np.abs(found.pixels - other.pixels).max() > 0.01


@pytest.mark.slow
def test_regularisation_smooths(small):
    model, variables, _ = small

    def roughness(smoothness):
        ascent = dataclasses.replace(QUICK, smoothness=smoothness)
        pixels = maximize(model, variables, GRAY, [0, 1, 2], ascent=ascent).pixels
        return np.abs(np.diff(pixels, axis=1)).mean()

    assert roughness(2.0) < 0.7 * roughness(0.0)


@pytest.mark.slow
def test_each_stage_gives_channels_that_answer(small):
    model, variables, _ = small
    found = maximize_stages(model, variables, GRAY, count=2, ascent=QUICK)
    assert [r.layer for r in found] == ["stage1", "stage2", "stage3"]
    assert all((r.after >= r.before).all() and len(r.channels) == 2 for r in found)


def test_what_is_not_there_is_named(small):
    model, variables, _ = small
    with pytest.raises(ValueError, match=r"channels \[64\] of layer 'stage2': there are 0..63"):
        maximize(model, variables, GRAY, [64], layer="stage2")
    with pytest.raises(ValueError, match=r"unit \(4, 0\) is not in layer 'stage2'"):
        maximize(model, variables, GRAY, [0], layer="stage2", unit=(4, 0))
    with pytest.raises(ValueError, match="both must be positive"):
        Ascent(steps=0)
    with pytest.raises(ValueError, match=r"is more than 0\.25"):
        Ascent(smoothness=3.0)
