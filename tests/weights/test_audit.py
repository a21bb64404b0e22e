"""The audit finds each fault that is planted, names the first tap, and says what it was."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxcnn.models import create_model
from jaxcnn.models.cifar_resnet import CifarResNet, Spec
from jaxcnn.nn import NormConfig, conv2d
from jaxcnn.weights import WeightsError, audit, from_torch, names, record, to_torch, write

IMAGES = np.random.default_rng(0).standard_normal((2, 32, 32, 3)).astype(np.float32)


def _weights(model):
    return from_torch({k: recipe.tensor(k, shape) for k, shape in names(model).items()}, model)


@pytest.fixture(scope="module")
def net():
    """A network of three residual blocks, its weights, and what they give."""
    model = CifarResNet(spec=Spec(8, "B"))
    variables = _weights(model)
    return model, variables, record(model, variables, IMAGES)


def test_a_faithful_import_agrees_from_a_file_too(net, tmp_path):
    model, variables, reference = net
    assert reference["images"].shape == (2, 3, 32, 32)
    assert reference["stage3"].shape == (2, 64, 8, 8)
    write(tmp_path / "reference.npz", reference)
    result = audit(model, variables, tmp_path / "reference.npz")
    assert result.ok and result.first is None and result.hint == ""
    assert [row.name for row in result.rows] == ["stem", "stage1", "stage2", "stage3", "logits"]
    assert max(row.error for row in result.rows) < 1e-6
    assert "All agree within 0.0001" in str(result)


def test_a_changed_weight_is_found_behind_the_last_tap_that_agrees(net):
    model, variables, reference = net
    flat = flatten_dict(variables)
    path = ("params", "stage2_block1", "conv2", "kernel")
    flat[path] = flat[path].at[0, 0].multiply(1.5)
    result = audit(model, unflatten_dict(flat), reference)
    assert result.first == "stage2"
    assert "None of the usual causes" in result.hint and "after stage1" in result.hint
    assert "stage2  " in str(result) and "<- first divergence" in str(result)


def test_images_in_bgr(net):
    model, variables, reference = net
    reference = reference | {"images": reference["images"][:, ::-1]}
    result = audit(model, variables, reference)
    assert result.first == "stem" and result.hint.startswith("Channel order")
    assert "everything agrees" in result.hint


def test_channels_of_a_layer_in_another_order(net):
    model, variables, reference = net
    order = np.random.default_rng(1).permutation(16)
    flat = flatten_dict(variables)
    for path in flat:
        if path[1] in ("stem_conv", "stem_norm"):
            flat[path] = flat[path][..., order]
    result = audit(model, unflatten_dict(flat), reference)
    assert result.first == "stem" and "channel order of its weights" in result.hint


def test_another_epsilon(net):
    model, variables, _ = net
    other = model.clone(norm=NormConfig(epsilon=1e-3))
    result = audit(model, variables, record(other, variables, IMAGES))
    assert result.first == "stem" and "NormConfig(epsilon=0.001)" in result.hint
    assert "everything agrees" in result.hint


def test_same_padding_of_strided_convolutions(net, monkeypatch):
    model, variables, _ = net

    def same(x, kernel, *, stride: Any = 1, padding: Any = 0, **rest):
        if stride == 1:
            return conv2d(x, kernel, padding=padding, **rest)
        numbers = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            x, kernel, (stride, stride), "SAME", dimension_numbers=numbers
        )

    with monkeypatch.context() as patched:
        patched.setattr("jaxcnn.nn.conv.conv2d", same)
        reference = record(model, variables, IMAGES)
    result = audit(model, variables, reference)
    assert result.first == "stage2" and result.hint.startswith("Padding: the reference has SAME")
    assert "everything agrees" in result.hint


def test_a_padding_that_only_its_border_tells(net, monkeypatch):
    model, variables, _ = net

    def mirrored(x, kernel, *, padding: Any = 0, **rest):
        pads = ((0, 0), (padding, padding), (padding, padding), (0, 0))
        return conv2d(jnp.pad(x, pads, mode="reflect"), kernel, **rest)

    with monkeypatch.context() as patched:
        patched.setattr("jaxcnn.nn.conv.conv2d", mirrored)
        reference = record(model, variables, IMAGES)
    result = audit(model, variables, reference)
    assert result.first == "stem" and "border differs and the inside agrees" in result.hint


@pytest.mark.parametrize(
    ("norm", "words"),
    [
        (NormConfig(momentum=0.99), ("momentum", "0.99", "PyTorch calls that momentum=0.01")),
        (NormConfig(unbiased=True), ("unbiased=True",)),
    ],
    ids=["momentum", "unbiased"],
)
def test_running_statistics_after_a_pass_in_training(net, norm, words):
    model, variables, reference = net
    other = model.clone(norm=norm)
    _, updated = other.apply(variables, IMAGES, train=True, mutable=["batch_stats"])
    state_dict = to_torch({**variables, **updated}, other)
    trained = {f"trained.{k}": v for k, v in state_dict.items() if "running" in k}
    result = audit(model, variables, reference | trained)
    assert result.first is not None and result.first.startswith("trained.")
    for word in words:
        assert word in result.hint
    assert audit(other, variables, reference | trained).ok


@pytest.mark.parametrize("back", [False, True])
def test_the_other_flatten_order(back):
    model = create_model("lenet5")
    variables = _weights(model)
    images = np.random.default_rng(0).standard_normal((2, 32, 32, 1)).astype(np.float32)
    flat = flatten_dict(variables)
    kernel = np.asarray(flat["params", "dense1", "kernel"])
    if back:
        wrong = kernel.reshape(16, 5, 5, 120).transpose(1, 2, 0, 3)
    else:
        wrong = kernel.reshape(5, 5, 16, 120).transpose(2, 0, 1, 3)
    flat["params", "dense1", "kernel"] = wrong.reshape(400, 120)
    result = audit(model, unflatten_dict(flat), record(model, variables, images))
    assert result.first == "logits" and result.hint.startswith("Flatten order: dense1")
    assert "everything agrees" in result.hint


def test_values_that_are_not_numbers_diverge(net):
    model, variables, reference = net
    result = audit(model, variables, reference | {"stage1": reference["stage1"] * np.nan})
    assert result.first == "stage1"


def test_a_reference_that_cannot_be_compared_says_what_is_wrong(net):
    model, variables, reference = net
    with pytest.raises(WeightsError, match=r"needs 'images' \[B, C, H, W\]"):
        audit(model, variables, {"stem": reference["stem"]})
    with pytest.raises(WeightsError, match=r"holds 'stag1' \(did you mean 'stage1'\?\)"):
        audit(model, variables, reference | {"stag1": reference["stage1"]})
    with pytest.raises(WeightsError, match="nothing to compare"):
        audit(model, variables, {"images": reference["images"]})
    with pytest.raises(WeightsError, match="missing: params/head/bias"):
        audit(model, {"params": {}, "batch_stats": {}}, reference)
    shifted = reference | {"stage2": reference["stage2"][:, :, 1:]}
    result = audit(model, variables, shifted)
    assert result.first == "stage2" and "The shapes differ" in result.hint
    assert "the reference's (2, 15, 16, 32)" in str(result)
