"""Gradients for the pixels: plain ones are jax.grad's, guided ones follow Springenberg's rule."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxcnn.visualize import guided_backprop, guided_grad_cam, saliency


def test_saliency_is_the_gradient_of_the_logit(small):
    model, variables, images = small
    found = saliency(model, variables, images, classes=[3, 7])

    def score(x):
        logits = model.apply(variables, x, train=False)
        return logits[0, 3] + logits[1, 7]

    expected = jax.jit(jax.grad(score))(images)
    np.testing.assert_allclose(found.gradients, expected, atol=1e-6)
    np.testing.assert_allclose(found.maps, np.abs(expected).max(-1), atol=1e-6)


def test_guided_gradients_are_those_worked_out_by_hand(tiny):
    # Pixels 1, -2, 3, -4. Class 0 is mean relu(x) - mean relu(-x): the first ReLU passes +1/4 where
    # x > 0; the second is stopped, since the gradient that comes to it, -1/4, is negative.
    image = np.array([[[[1.0], [-2.0]], [[3.0], [-4.0]]]], np.float32)
    plain = saliency(*tiny, image, classes=0).gradients[0, ..., 0]
    guided = guided_backprop(*tiny, image, classes=0).gradients[0, ..., 0]
    np.testing.assert_allclose(plain, np.full((2, 2), 0.25))
    np.testing.assert_allclose(guided, [[0.25, 0], [0.25, 0]])


def guided_by_hand(variables, images, label):
    """The same rule, written into a copy of the module."""

    @jax.custom_vjp
    def relu(x):
        return jnp.maximum(x, 0)

    relu.defvjp(lambda x: (relu(x), x), lambda x, g: (g * (x > 0) * (g > 0),))
    params = variables["params"]

    def logits(x):
        x = relu(nn.Conv(4, (3, 3)).apply({"params": params["Conv_0"]}, x))
        x = relu(nn.Conv(6, (3, 3)).apply({"params": params["CheckpointConv_0"]}, x))
        x = nn.max_pool(x, (2, 2), (2, 2)).reshape(2, -1)
        return nn.Dense(3).apply({"params": params["Dense_0"]}, x)

    return jax.jit(jax.grad(lambda x: logits(x)[:, label].sum()))(images)


def test_relus_are_found_however_they_are_written(foreign):
    model, variables, images = foreign
    found = guided_backprop(model, variables, images, classes=1).gradients
    np.testing.assert_allclose(found, guided_by_hand(variables, images, 1), atol=1e-6)
    assert np.abs(found - saliency(model, variables, images, classes=1).gradients).max() > 1e-3


class Looped(nn.Module):
    """A layer that is applied three times by a scan."""

    @nn.compact
    def __call__(self, x):
        def body(layer, x, _):
            return nn.relu(layer(x)), None

        scan = nn.scan(body, variable_broadcast="params", split_rngs={"params": False}, length=3)
        x, _ = scan(nn.Conv(2, (3, 3), name="conv"), x, None)
        return nn.Dense(2, name="head")(x.mean(axis=(1, 2)))


def test_relus_inside_a_loop_are_guided_too():
    images = np.random.default_rng(0).normal(size=(1, 5, 5, 2)).astype(np.float32)
    variables = Looped().init(jax.random.key(0), images)
    params = variables["params"]

    @jax.custom_vjp
    def relu(x):
        return jnp.maximum(x, 0)

    relu.defvjp(lambda x: (relu(x), x), lambda x, g: (g * (x > 0) * (g > 0),))

    def score(x):
        for _ in range(3):
            x = relu(nn.Conv(2, (3, 3)).apply({"params": params["conv"]}, x))
        return (x.mean(axis=(1, 2)) @ params["head"]["kernel"])[0, 0]

    found = guided_backprop(Looped(), variables, images, classes=0).gradients
    np.testing.assert_allclose(found, jax.jit(jax.grad(score))(images), atol=1e-6)


def test_guided_grad_cam_is_the_product(tiny):
    image = np.array([[[[1.0], [-2.0]], [[3.0], [-4.0]]]], np.float32)
    result = guided_grad_cam(*tiny, image, classes=0, layer="maps")
    # Guided gradients 1/4 where x > 0, times relu(x) over its largest value, 3.
    np.testing.assert_allclose(result.cam.upsampled[0], [[1 / 3, 0], [1, 0]], atol=1e-6)
    np.testing.assert_allclose(result.product[0, ..., 0], [[1 / 12, 0], [1 / 4, 0]], atol=1e-6)


def test_a_network_without_relu_is_told_so(draw):
    model, variables = draw("lenet5", (32, 32, 1))
    with pytest.raises(ValueError, match="LeNet5 has no ReLU"):
        guided_backprop(model, variables, np.zeros((1, 32, 32, 1), np.float32))
