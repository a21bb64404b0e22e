"""The optimizer: PyTorch's SGD by hand, and the learning rate at its milestones."""

from __future__ import annotations

import jax
import numpy as np
import optax
import pytest

from jaxcnn.train.config import OptimizerConfig
from jaxcnn.train.duration import epochs, steps
from jaxcnn.train.optimizer import make_optimizer, make_schedule

SIZES = {"num_examples": 1000, "batch_size": 100, "total_steps": 100}


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("decay", ["all", "kernels"])
def test_five_steps_are_pytorchs_sgd_by_hand(nesterov, decay):
    config = OptimizerConfig(
        learning_rate=0.1, nesterov=nesterov, weight_decay=0.01, decay=decay, schedule="constant"
    )
    optimizer = make_optimizer(config, make_schedule(config, **SIZES))
    rng = np.random.default_rng(0)
    params = {"kernel": rng.normal(size=(3, 2)), "bias": rng.normal(size=2)}
    expected = {k: v.copy() for k, v in params.items()}
    velocity = {k: np.zeros_like(v) for k, v in params.items()}
    params = jax.tree.map(np.float32, params)
    state = optimizer.init(params)
    for _ in range(5):
        grads = {k: rng.normal(size=v.shape) for k, v in expected.items()}
        updates, state = optimizer.update(jax.tree.map(np.float32, grads), state, params)
        params = optax.apply_updates(params, updates)
        for k, p in expected.items():
            g = grads[k] + (0.01 * p if decay == "all" or k == "kernel" else 0)
            velocity[k] = 0.9 * velocity[k] + g
            expected[k] = p - 0.1 * (g + 0.9 * velocity[k] if nesterov else velocity[k])
    for k in expected:
        np.testing.assert_allclose(params[k], expected[k], rtol=1e-5, atol=1e-6)


def test_clipping_scales_the_whole_gradient():
    config = OptimizerConfig(
        learning_rate=1.0, momentum=0, weight_decay=0, schedule="constant", clip_norm=1.0
    )
    optimizer = make_optimizer(config, make_schedule(config, **SIZES))
    grads = {"a": np.array([3, 0], np.float32), "b": np.array([4], np.float32)}
    updates, _ = optimizer.update(grads, optimizer.init(grads), grads)
    np.testing.assert_allclose(updates["a"], [-0.6, 0], rtol=1e-6)
    np.testing.assert_allclose(updates["b"], [-0.8], rtol=1e-6)


def test_step_schedule_drops_at_its_milestones():
    config = OptimizerConfig(
        learning_rate=0.4, warmup=steps(10), milestones=(epochs(3), steps(60)), drop=0.1
    )
    rate = make_schedule(config, **SIZES)
    for step, expected in [(0, 0), (5, 0.2), (10, 0.4), (29, 0.4), (30, 0.04), (60, 0.004)]:
        assert rate(step) == pytest.approx(expected), step


def test_cosine_runs_from_the_warmup_to_zero():
    rate = make_schedule(
        OptimizerConfig(learning_rate=0.4, schedule="cosine", warmup=steps(20)), **SIZES
    )
    for step in (20, 40, 60, 99, 100):
        assert rate(step) == pytest.approx(0.2 * (1 + np.cos(np.pi * (step - 20) / 80)), abs=1e-6)


def test_schedules_that_cannot_work_are_refused():
    with pytest.raises(ValueError, match="is 100 of the run's 100 steps"):
        make_schedule(OptimizerConfig(warmup=epochs(10)), **SIZES)
    with pytest.raises(ValueError, match="must rise and lie after the warm-up's 30"):
        make_schedule(OptimizerConfig(warmup=steps(30), milestones=(steps(20),)), **SIZES)
