"""The library's own networks against published and hand-calculated numbers."""

from __future__ import annotations

import time

import jax
import pytest

import jaxcnn
from jaxcnn.analysis import compare, receptive_field, summarize


# Parameters and multiply-adds as torchvision documents them (GMACs to three digits).
@pytest.mark.parametrize(
    ("name", "params", "gmacs"),
    [
        ("alexnet", 61_100_840, 0.714),
        ("googlenet", 13_004_888, 1.498),
        ("resnet18", 11_689_512, 1.814),
        ("resnet50", 25_557_032, 4.089),
        ("vgg16", 138_357_544, 15.47),
        ("vgg19_bn", 143_678_248, 19.632),
    ],
)
def test_parameters_and_multiply_adds_are_the_documented_ones(name, params, gmacs):
    summary = summarize(name)
    assert summary.total_params == params
    assert summary.total_macs / 1e9 == pytest.approx(gmacs, abs=6e-4)
    assert sum(row.params for row in summary.rows) == params


@pytest.mark.parametrize(
    ("name", "size", "stride", "padding"),
    [
        ("alexnet", 195, 32, 66),  # 2 more than published: the first layer is padded here
        ("vgg16", 212, 32, 90),
        ("resnet18", 435, 32, 217),
        ("resnet50", 427, 32, 213),
        ("resnet50_v1", 483, 32, 241),
        ("cifar_resnet20", 81, 4, 40),
    ],
)
def test_receptive_field_of_the_last_map(name, size, stride, padding):
    summary = summarize(name)
    assert summary.receptive_field == (size, size)
    row = next(r for r in summary.rows if r.receptive_field == (size, size))
    assert (row.effective_stride, row.effective_padding) == ((stride,) * 2, (padding,) * 2)
    assert summary.inexact == ()


def test_taps_have_the_strides_that_the_registry_says():
    for name in ("cifar_resnet20", "resnet18", "googlenet", "vgg11", "alexnet"):
        info = jaxcnn.model_info(name)
        fields = receptive_field(jaxcnn.create_model(name), info.image_size, channels=info.channels)
        for tap in info.taps:
            if tap.stride:
                assert fields[tap.name].stride == (tap.stride, tap.stride), (name, tap)
            assert fields[tap.name].shape[-1] == tap.channels, (name, tap)


def test_googlenet_has_9_times_fewer_parameters_than_alexnet_not_12():
    alexnet, googlenet = compare(["alexnet", "googlenet"]).records
    assert googlenet["params_called"] == 6_624_904
    assert alexnet["params"] / googlenet["params_called"] == pytest.approx(9.22, abs=0.01)
    assert 1 / googlenet["params_called_ratio"] == pytest.approx(9.22, abs=0.01)
    assert 1 / googlenet["params_ratio"] == pytest.approx(4.70, abs=0.01)


def test_resnet152_takes_less_than_3_seconds():
    jax.clear_caches()
    start = time.perf_counter()
    summary = summarize("resnet152")
    assert time.perf_counter() - start < 3
    assert summary.receptive_field == (1451, 1451)


def test_pooling_after_a_concatenation_is_seen_as_such():
    summary = summarize("googlenet")
    assert summary["inception4b/max_pool"].kernel == (3, 3)
    assert summary["global_average_pool"].kernel == (7, 7)
