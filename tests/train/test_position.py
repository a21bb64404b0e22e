"""Where a run may go on: other devices only where they do not decide the result."""

from __future__ import annotations

import dataclasses

import jax
import pytest

from jaxcnn.train.position import check_position, position
from jaxcnn.train.setup import prepare


def _setup(config, devices=4, **fields):
    config = dataclasses.replace(config, model="small_cnn", **fields)
    return prepare(config, jax.devices("cpu")[:devices])


def test_the_same_place_needs_no_word(tiny_config):
    setup = _setup(tiny_config)
    assert check_position(setup, position(setup, 5, skipped=2)) is None


def test_other_devices_are_said_and_taken(tiny_config):
    found = dataclasses.replace(position(_setup(tiny_config), 5), devices=2, processes=2)
    said = check_position(_setup(tiny_config), found)
    assert "2 devices in 2 processes" in said and "4 devices in 1 processes" in said


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"batchnorm": "device"}, "batchnorm='device' takes its statistics"),
        ({"accumulate": 4}, "accumulate=4 micro-batches"),
        ({"mapping": "pmap"}, "each device draws its own dropout"),
    ],
)
def test_devices_that_decide_the_result_are_refused_with_the_reason(tiny_config, fields, reason):
    setup = _setup(tiny_config, **fields)
    found = dataclasses.replace(position(setup, 5), devices=2)
    with pytest.raises(ValueError, match=reason) as caught:
        check_position(setup, found)
    assert "Resume on 2 devices" in str(caught.value)


def test_whole_statistics_go_on_on_other_devices(tiny_config):
    setup = _setup(tiny_config, accumulate=4, accumulate_norm="batch")
    assert check_position(setup, dataclasses.replace(position(setup, 5), devices=2))


def test_other_data_are_refused(tiny_config):
    setup = _setup(tiny_config)
    found = dataclasses.replace(position(setup, 5), fingerprint="other")
    with pytest.raises(ValueError, match="stands in other data"):
        check_position(setup, found)
