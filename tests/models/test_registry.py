"""Networks by name: the papers' parameter counts, taps, and errors that help."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcnn
from jaxcnn.models import create_model, features, list_models, model_info

# He et al. 2015, table 6, in millions as printed; counted without BatchNorm's running statistics.
PAPER_MILLIONS = {20: 0.27, 32: 0.46, 44: 0.66, 56: 0.85, 110: 1.7}
SMALL = ["mlp", "small_cnn", "lenet5", "cifar_resnet20", "cifar_resnet20_b", "cifar_plain20"]


def _shapes(name: str, **fields):
    info, model = model_info(name), create_model(name, **fields)
    images = jnp.zeros((2, *info.image_size, info.channels))
    return model, images, jax.eval_shape(lambda: model.init(jax.random.key(0), images, train=False))


def _count(variables) -> int:
    return sum(p.size for p in jax.tree.leaves(variables["params"]))


@pytest.mark.parametrize("depth", PAPER_MILLIONS)
def test_cifar_resnets_have_the_papers_parameters(depth):
    count = _count(_shapes(f"cifar_resnet{depth}")[2])
    assert round(count / 1e6, 1 if depth == 110 else 2) == PAPER_MILLIONS[depth]
    assert _count(_shapes(f"cifar_plain{depth}")[2]) == count
    # Two projections, 16 -> 32 and 32 -> 64, with a scale and a bias for each channel.
    assert _count(_shapes(f"cifar_resnet{depth}_b")[2]) == count + 16 * 32 + 32 * 64 + 2 * 96


def test_other_counts_are_the_hand_calculations():
    assert _count(_shapes("lenet5")[2]) == 61_706
    assert _count(_shapes("mlp")[2]) == 64 * 256 + 256 + 256 * 128 + 128 + 128 * 10 + 10


@pytest.mark.parametrize("name", list_models())
def test_taps_have_the_strides_and_channels_that_they_state(name):
    order: list[str] = []
    model, images, variables = _shapes(name)

    def traced(v, x):
        maps = features(model, v, x)
        order.extend(maps)
        return maps

    maps = jax.eval_shape(traced, variables, images)
    taps = model_info(name).taps
    assert order == [tap.name for tap in taps]
    assert [maps[tap.name].shape[-1] for tap in taps] == [tap.channels for tap in taps]
    if name in ("mlp", "lenet5"):  # each image size is another network
        return
    larger = images.shape[1] + 64
    more = jax.eval_shape(traced, variables, jnp.zeros((2, larger, larger, images.shape[-1])))
    # An image that is 64 pixels larger has a map that is 64 / stride units larger.
    for tap in taps:
        growth = more[tap.name].shape[1] - maps[tap.name].shape[1]
        assert growth * tap.stride == 64, tap


@pytest.mark.parametrize("name", SMALL)
def test_without_classes_pooled_features_come_out(name):
    info = model_info(name)
    model, images, variables = _shapes(name, num_classes=0)
    out = jax.eval_shape(lambda v: model.apply(v, images, train=False), variables)
    assert out.shape == (2, 84 if name == "lenet5" else info.taps[-1].channels)


def test_names_are_sorted_naturally_and_matched_by_pattern():
    assert list_models("cifar_resnet???") == ["cifar_resnet110"]
    names = list_models("cifar_plain*")
    assert names == [f"cifar_plain{d}" for d in (20, 32, 44, 56, 110)]
    assert jaxcnn.list_models() == list_models()


def test_unknown_names_and_fields_suggest_the_nearest():
    with pytest.raises(ValueError, match=r"no model 'smal_cnn' \(did you mean 'small_cnn'\?\)"):
        create_model("smal_cnn")
    with pytest.raises(ValueError, match=r"no field 'numclasses' \(did you mean 'num_classes'\?\)"):
        create_model("mlp", numclasses=3)
    with pytest.raises(ValueError, match="at least 16x16 pixels, not 8x8"):
        create_model("lenet5").init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)), train=False)


@pytest.mark.parametrize("value", ["3", -3, 2.0, None])
def test_a_number_of_classes_is_whole_and_not_negative(value):
    with pytest.raises(ValueError, match=rf"num_classes={value!r} must be a whole number"):
        create_model("small_cnn", num_classes=value)
    assert create_model("small_cnn", num_classes=np.int64(3)).num_classes == 3


def test_a_module_that_sows_nothing_is_told_how():
    import flax.linen as nn

    class Mine(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            return nn.Dense(3)(x)

    model, x = Mine(), jax.numpy.zeros((1, 4))
    variables = model.init(jax.random.key(0), x, train=False)
    for taps in (None, ["c"]):
        with pytest.raises(
            ValueError, match=r"Mine declares no taps: .*self\.sow\('intermediates'"
        ):
            features(model, variables, x, taps)
