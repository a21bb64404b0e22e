"""The large networks have exactly the parameters of the networks whose weights the world has."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from jaxcnn.models import create_model, model_info

COUNTS = {
    "alexnet": 61_100_840,
    "vgg11": 132_863_336,
    "vgg13": 133_047_848,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
    "vgg16_bn": 138_365_992,
    "googlenet": 13_004_888,
    "alexnet_paper": 60_965_224,  # Caffe's reference network, with groups
    "vgg11_bn": 132_868_840,
    "vgg13_bn": 133_053_736,
    "vgg19_bn": 143_678_248,
    "resnext50_32x4d": 25_028_904,
    "wide_resnet50_2": 68_883_240,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
}


def _count(name: str, **fields) -> int:
    info, model = model_info(name), create_model(name, **fields)
    images = jnp.zeros((1, *info.image_size, info.channels))
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), images, train=False))
    return sum(p.size for p in jax.tree.leaves(variables["params"]))


@pytest.mark.parametrize("name", COUNTS)
def test_parameters_are_counted_exactly(name):
    assert _count(name) == COUNTS[name]


def test_googlenet_without_its_auxiliary_heads():
    assert _count("googlenet", aux_heads=False) == 6_624_904
