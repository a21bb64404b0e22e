"""Other classes and other channels than the weights were made for, as timm adapts them."""

from __future__ import annotations

import jax
import numpy as np
import pytest
import recipe

import jaxcnn
from jaxcnn.models import create_model, googlenet
from jaxcnn.models.cifar_resnet import CifarResNet, Spec
from jaxcnn.weights import (
    WeightsError,
    decided_fields,
    from_torch,
    layout,
    names,
    to_torch,
    write,
)

SPEC = Spec(8, "B")


@pytest.fixture(scope="module")
def state_dict():
    shapes = names(CifarResNet(spec=SPEC))
    return {key: recipe.tensor(key, shape) for key, shape in shapes.items()}


@pytest.mark.parametrize("channels", [1, 2, 4, 5, 7])
def test_the_first_kernel_is_summed_or_repeated_and_scaled(state_dict, channels):
    model = CifarResNet(spec=SPEC)
    adapted = to_torch(from_torch(state_dict, model, in_channels=channels), model)
    old, new = state_dict["conv1.weight"], adapted["conv1.weight"]
    assert new.shape == (16, channels, 3, 3)
    if channels == 1:
        np.testing.assert_allclose(new[:, 0], old.sum(1), rtol=1e-5, atol=1e-6)
    else:
        for c in range(channels):
            np.testing.assert_allclose(new[:, c], old[:, c % 3] * (3 / channels), rtol=1e-6)
    for key in state_dict.keys() - {"conv1.weight"}:
        np.testing.assert_array_equal(adapted[key], state_dict[key])


def test_gray_images_give_what_their_rgb_copies_gave(state_dict):
    model = CifarResNet(spec=SPEC)
    gray = np.random.default_rng(0).standard_normal((2, 16, 16, 1)).astype(np.float32)
    apply = jax.jit(model.apply, static_argnames="train")
    rgb_logits = apply(from_torch(state_dict, model), np.repeat(gray, 3, -1), train=False)
    logits = apply(from_torch(state_dict, model, in_channels=1), gray, train=False)
    np.testing.assert_allclose(logits, rgb_logits, rtol=1e-4, atol=1e-4)


def test_three_channels_are_left_as_they_are(state_dict):
    model = CifarResNet(spec=SPEC)
    adapted = to_torch(from_torch(state_dict, model, in_channels=3), model)
    np.testing.assert_array_equal(adapted["conv1.weight"], state_dict["conv1.weight"])


def test_weights_of_another_number_of_channels_come_in_as_they_are(state_dict):
    model = CifarResNet(spec=SPEC)
    four = state_dict | {"conv1.weight": recipe.tensor("conv1.weight", (16, 4, 3, 3))}
    variables = from_torch(four, model)
    assert variables["params"]["stem_conv"]["kernel"].shape == (3, 3, 4, 16)
    np.testing.assert_array_equal(to_torch(variables, model)["conv1.weight"], four["conv1.weight"])


def test_another_number_of_classes_is_refused_unless_a_new_head_is_asked_for(state_dict):
    model = CifarResNet(spec=SPEC, num_classes=4)
    with pytest.raises(WeightsError, match="num_classes=10 fits the weights; new_head="):
        from_torch(state_dict, model)
    key = jax.random.key(3)
    adapted = from_torch(state_dict, model, new_head=key)
    init = jax.jit(model.init, static_argnames="train")
    fresh = init(key, np.zeros((1, 32, 32, 3), np.float32), train=False)
    head = adapted["params"]["head"]
    assert head["kernel"].shape == (64, 4) and np.std(head["kernel"]) > 0.01
    np.testing.assert_array_equal(head["kernel"], fresh["params"]["head"]["kernel"])
    np.testing.assert_array_equal(head["bias"], np.zeros(4))
    back = to_torch(adapted, model)
    for name in state_dict.keys() - {"linear.weight", "linear.bias"}:
        np.testing.assert_array_equal(back[name], state_dict[name])


def test_a_new_head_is_new_even_where_the_old_one_would_fit(state_dict):
    model = CifarResNet(spec=SPEC)
    adapted = from_torch(state_dict, model, new_head=jax.random.key(0))
    assert not np.allclose(adapted["params"]["head"]["kernel"], state_dict["linear.weight"].T)


def test_without_classes_the_head_of_the_weights_is_left_over_unless_ignored(state_dict):
    model = CifarResNet(spec=SPEC, num_classes=0)
    with pytest.raises(WeightsError, match=r"left over: linear.bias[\s\S]*ignore=\('linear.\*',\)"):
        from_torch(state_dict, model)
    variables = from_torch(state_dict, model, ignore=("linear.*",))
    assert "head" not in variables["params"]


def test_new_heads_of_googlenet_are_three():
    model = create_model("googlenet", num_classes=5)
    shapes = names(create_model("googlenet"))
    state_dict = {key: np.zeros(shape, np.float32) for key, shape in shapes.items()}
    adapted = from_torch(state_dict, model, new_head=jax.random.key(0))["params"]
    heads = [adapted["head"], adapted["aux1"]["head"], adapted["aux2"]["head"]]
    assert [head["bias"].shape for head in heads] == [(5,)] * 3
    assert all(np.any(head["kernel"]) for head in heads)
    assert not np.any(adapted["aux1"]["dense"]["kernel"])


@pytest.fixture
def slim_googlenet(monkeypatch):
    """A GoogLeNet of one module a stage, so that its weights are small."""
    few = {stage: {"a": googlenet.STAGES[stage]["a"]} for stage in googlenet.STAGES}
    monkeypatch.setattr(googlenet, "STAGES", few)
    monkeypatch.setattr(googlenet, "AUX_AFTER", {"inception4a": "aux1"})
    layout._shapes.cache_clear()
    yield
    layout._shapes.cache_clear()


def test_weights_without_auxiliary_heads_give_a_network_without(slim_googlenet, tmp_path):
    bare = create_model("googlenet_paper", num_classes=7, aux_heads=False)
    state_dict = {key: recipe.tensor(key, shape) for key, shape in names(bare).items()}
    write(tmp_path / "net.safetensors", state_dict)
    network = jaxcnn.load_network(tmp_path / "net.safetensors", "googlenet_paper")
    assert network.model.num_classes == 7 and network.model.aux_heads is False
    back = to_torch(network.variables, network.model)
    assert back.keys() == state_dict.keys()
    np.testing.assert_array_equal(back["fc.weight"], state_dict["fc.weight"])

    whole = create_model("googlenet_paper", num_classes=7)
    assert len(names(whole)) == len(state_dict) + 6
    with pytest.raises(WeightsError, match=r"missing: aux1[\s\S]*aux_heads=False leaves them out"):
        from_torch(state_dict, whole)
    # With a new head the auxiliary ones start anew too, so that fine-tuning has them.
    adapted = from_torch(state_dict, whole, new_head=jax.random.key(0))["params"]
    assert np.std(adapted["aux1"]["dense"]["kernel"]) > 0
    np.testing.assert_array_equal(
        adapted["stem_layer1"]["conv"]["kernel"],
        network.variables["params"]["stem_layer1"]["conv"]["kernel"],
    )


def test_weights_with_auxiliary_heads_give_a_network_with_them(slim_googlenet, tmp_path):
    whole = create_model("googlenet_paper", num_classes=7)
    state_dict = {key: recipe.tensor(key, shape) for key, shape in names(whole).items()}
    write(tmp_path / "net.safetensors", state_dict)
    assert decided_fields(tmp_path / "net.safetensors", whole) == {"num_classes": 7}
    bare = create_model("googlenet_paper", num_classes=7, aux_heads=False)
    with pytest.raises(WeightsError, match=r"left over: aux1[\s\S]*ignore=\('aux1\.\*',\)"):
        from_torch(state_dict, bare)
    # Half of an auxiliary head is damage, not a choice.
    del state_dict["aux1.fc2.bias"]
    with pytest.raises(WeightsError, match=r"1 mismatch\.\s+missing: aux1\.fc2\.bias"):
        from_torch(state_dict, whole)
