"""Gradient norms by layer over training."""

from __future__ import annotations

import jax
import numpy as np
import optax
import pytest

from jaxcnn.models import create_model
from jaxcnn.visualize import draw_gradient_flow, gradient_flow, kernel_norms
from jaxcnn.visualize.program import initial_variables


def batches(number: int):
    rng = np.random.default_rng(0)
    images = rng.normal(size=(16, 8, 8, 1)).astype(np.float32)
    return [(images, rng.integers(0, 3, 16))] * number


def test_norms_are_those_of_jax_grad_and_the_loss_falls(tmp_path, is_picture):
    model = create_model("mlp", num_classes=3)
    flow = gradient_flow(model, batches(8), seed=5)
    assert flow.layers == ("dense1", "dense2", "head")  # from the input to the output
    assert flow.losses[-1] < 0.5 * flow.losses[0]
    params = initial_variables(model, (8, 8, 1), 5)["params"]
    images, labels = batches(1)[0]

    def loss(params):
        logits = model.apply({"params": params}, images, train=True)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    gradients = jax.grad(loss)(params)
    expected = [np.linalg.norm(gradients[name]["kernel"]) for name in flow.layers]
    np.testing.assert_allclose(flow.norms[0], expected, rtol=1e-4)
    assert flow.losses[0] == pytest.approx(float(loss(params)), rel=1e-5)
    np.testing.assert_allclose(flow.spread, flow.norms.max(1) / flow.norms.min(1))
    norms = jax.jit(kernel_norms)(gradients)
    assert float(norms["head"]) == pytest.approx(expected[2], rel=1e-4)
    draw_gradient_flow([flow, flow], tmp_path / "two.png", title="t")
    is_picture(tmp_path / "two.png")


def test_no_batches_and_a_diverging_loss_are_errors():
    model = create_model("mlp", num_classes=3)
    with pytest.raises(ValueError, match="at least one"):
        gradient_flow(model, [])
    with pytest.raises(FloatingPointError, match="lower learning_rate than 1000000000000"):
        gradient_flow(model, batches(20), learning_rate=1e12)
