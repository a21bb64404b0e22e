"""Grad-CAM: hand-computed maps, any module, no evidence said so, errors in one line."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxcnn.analysis import TraceError
from jaxcnn.models import features
from jaxcnn.visualize import grad_cam

IMAGE = np.array([[[[1.0], [2.0]], [[-3.0], [0.0]]]], np.float32)


def test_maps_are_those_worked_out_by_hand(tiny):
    # Class 0 is mean(A_1) - mean(A_2): a = (1/4, -1/4), so relu(A_1 - A_2) / 4 = relu(x) / 4.
    result = grad_cam(*tiny, IMAGE, classes=0, layer="maps")
    np.testing.assert_allclose(result.maps[0], [[0.25, 0.5], [0, 0]])
    np.testing.assert_allclose(result.normalized[0], [[0.5, 1], [0, 0]])
    assert result.scores[0] == pytest.approx(0.75 - 0.75)
    # Before the ReLU the gradient passes two pixels of channel 1 and one of channel 2: a = (1/8,
    # -1/16), and the channels are x and -x.
    before = grad_cam(*tiny, IMAGE, classes=0)
    assert before.layer == "conv"
    np.testing.assert_allclose(before.maps[0], [[3 / 16, 3 / 8], [0, 0]])
    # Class 1 is mean(A_2), which sees the negative pixel.
    np.testing.assert_allclose(grad_cam(*tiny, IMAGE, classes=1, layer="maps").maps[0, 1, 0], 0.75)


def test_no_positive_evidence_is_said_and_is_not_nan(tiny):
    # Nothing but a negative pixel: everything in the maps speaks against class 0.
    result = grad_cam(*tiny, -np.ones((1, 2, 2, 1), np.float32), classes=0, layer="maps")
    assert not result.evidence[0]
    np.testing.assert_array_equal(result.normalized, np.zeros((1, 2, 2)))
    np.testing.assert_array_equal(result.upsampled, np.zeros((1, 2, 2)))


def test_the_gradient_at_a_tap_or_module_is_that_of_the_rest_of_the_network(small):
    model, variables, images = small
    result = grad_cam(model, variables, images, classes=[1, 3])
    assert result.layer == "stage3"
    maps = features(model, variables, images)["stage3"]
    weights = variables["params"]["head"]["kernel"][:, np.array([1, 3])].T / (2 * 2)
    expected = np.maximum((maps * weights[:, None, None]).sum(-1), 0)
    np.testing.assert_allclose(result.maps, expected, atol=1e-6)


@pytest.mark.xfail(
    jax.__version__.startswith("0.11."),
    reason="jaxlib's CPU compiler gives NaN: half precision in docs/performance.md",
    strict=False,
)
def test_a_network_that_computes_in_bfloat16_has_nearly_the_same_maps(small):
    model, variables, images = small
    exact = grad_cam(model, variables, images, classes=1, layer="stage2")
    half = grad_cam(model.clone(dtype=jnp.bfloat16), variables, images, classes=1, layer="stage2")
    assert half.maps.dtype == np.float32
    np.testing.assert_allclose(half.maps, exact.maps, atol=0.15 * exact.maps.max())


@pytest.mark.parametrize("layer", ["stage2", "stage2_block1/conv2"])
def test_a_block_that_recomputes_has_the_same_maps(layer, draw):
    model, variables = draw("cifar_resnet20", (8, 8, 3))
    images = np.random.default_rng(1).normal(size=(1, 8, 8, 3)).astype(np.float32)
    plain = grad_cam(model, variables, images, layer=layer)
    again = grad_cam(model.clone(remat=True), variables, images, layer=layer)
    assert plain.evidence.all()
    np.testing.assert_allclose(plain.maps, again.maps, atol=1e-6)


def test_a_module_of_ones_own_is_mapped_at_its_last_convolution(foreign):
    model, variables, images = foreign
    result = grad_cam(model, variables, images, classes=2)
    assert result.layer == "CheckpointConv_0" and result.maps.shape == (2, 8, 8)

    def tail(y):
        y = nn.max_pool(nn.relu(y), (2, 2), (2, 2)).reshape(2, -1)
        return (y @ variables["params"]["Dense_0"]["kernel"])[:, 2].sum()

    first = nn.Conv(4, (3, 3)).apply({"params": variables["params"]["Conv_0"]}, images)
    last = nn.Conv(6, (3, 3)).apply(
        {"params": variables["params"]["CheckpointConv_0"]}, jnp.maximum(first, 0)
    )
    weights = jax.grad(tail)(last).mean(axis=(1, 2), keepdims=True)
    expected = np.maximum((weights * last).sum(-1), 0)
    np.testing.assert_allclose(result.maps, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "shape", "options", "message"),
    [
        ("small_cnn", (1, 8, 8, 1), {"layer": "stge3"}, "did you mean 'stage3'"),
        ("small_cnn", (1, 8, 8, 1), {"layer": "head"}, "take one that has, such as 'stage3'"),
        ("small_cnn", (1, 8, 8, 1), {"classes": 10}, "class 10 is not one of the network's 10"),
        ("small_cnn", (1, 8, 8, 3), {}, "The weights do not fit images of 8x8x3"),
        ("small_cnn", (8, 8, 1), {}, "a batch [B, H, W, C] is needed"),
        ("mlp", (1, 8, 8, 1), {}, "has no convolution"),
        ("mlp", (1, 9, 9, 1), {}, "The weights do not fit images of 9x9x1"),
    ],
)
def test_what_cannot_be_mapped_is_one_clear_error(name, shape, options, message, draw):
    model, variables = draw(name, (8, 8, 1))
    with pytest.raises(ValueError) as caught:
        grad_cam(model, variables, np.zeros(shape, np.float32), **options)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_module_that_cannot_be_traced_is_named():
    class Broken(nn.Module):
        @nn.compact
        def __call__(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(TraceError, match="Broken cannot be traced"):
        grad_cam(Broken(), {"params": {}}, np.zeros((1, 8, 8, 3), np.float32))
