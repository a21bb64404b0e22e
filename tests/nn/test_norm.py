"""BatchNorm: its running statistics are a numpy computation, its groups are devices."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.nn import BatchNorm, NormConfig


def _batches(number: int = 3) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.normal(size=(number, 8, 5, 6, 4)) * 3 + 2).astype(np.float32)


def _run(config: NormConfig, batches: np.ndarray):
    layer = BatchNorm(config)
    variables = layer.init(jax.random.key(0), batches[0], train=False)
    outputs = []
    for x in batches:
        y, updated = layer.apply(variables, x, train=True, mutable=["batch_stats"])
        variables = {"params": variables["params"], **updated}
        outputs.append(y)
    return np.stack(outputs), variables["batch_stats"]


@pytest.mark.parametrize("unbiased", [False, True])
def test_running_statistics_over_three_steps_equal_numpy(unbiased):
    batches = _batches()
    outputs, stats = _run(NormConfig(momentum=0.8, unbiased=unbiased), batches)
    mean, var = np.zeros(4), np.ones(4)
    for x, y in zip(batches.astype(np.float64), outputs, strict=True):
        m, v = x.mean((0, 1, 2)), x.var((0, 1, 2))
        np.testing.assert_allclose(y, (x - m) / np.sqrt(v + 1e-5), atol=2e-5)
        mean = 0.8 * mean + 0.2 * m
        var = 0.8 * var + 0.2 * x.var((0, 1, 2), ddof=int(unbiased))
    np.testing.assert_allclose(stats["mean"], mean, rtol=1e-5)
    np.testing.assert_allclose(stats["var"], var, rtol=1e-5)


def test_with_double_precision_only_the_outputs_are_rounded():
    batches = _batches()
    batches[:, :, :, :, 0] += 4000  # where float32 loses the variance's last digits
    with jax.enable_x64(True):
        outputs, stats = _run(NormConfig(precision=jnp.float64), batches)
    assert outputs.dtype == stats["var"].dtype == np.float32
    for x, y in zip(batches.astype(np.float64), outputs, strict=True):
        exact = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5)
        np.testing.assert_allclose(y, exact, rtol=1e-6, atol=1e-7)
    with pytest.raises(ValueError, match=r"precision=float64 needs jax_enable_x64"):
        _run(NormConfig(precision=jnp.float64), batches)
    with pytest.raises(ValueError, match=r"must be float32 or float64"):
        NormConfig(precision=jnp.bfloat16)


def test_groups_are_normalised_by_their_own_statistics():
    batches = _batches(1)
    outputs, stats = _run(NormConfig(groups=4), batches)
    groups = batches[0].reshape(4, 2, 5, 6, 4).astype(np.float64)
    m, v = groups.mean((1, 2, 3), keepdims=True), groups.var((1, 2, 3), keepdims=True)
    expected = ((groups - m) / np.sqrt(v + 1e-5)).reshape(batches[0].shape)
    np.testing.assert_allclose(outputs[0], expected, atol=2e-5)
    np.testing.assert_allclose(stats["mean"], 0.1 * m.mean((0, 1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(stats["var"], 0.9 + 0.1 * v.mean((0, 1, 2, 3)), rtol=1e-5)


@pytest.mark.parametrize("unbiased", [False, True])
def test_a_pmap_axis_shares_the_statistics_of_the_whole_batch(unbiased):
    batches = _batches(1)
    whole, stats = _run(NormConfig(unbiased=unbiased), batches)
    layer = BatchNorm(NormConfig(axis_name="d", unbiased=unbiased))
    variables = layer.init(jax.random.key(0), batches[0], train=False)
    step = functools.partial(layer.apply, variables, train=True, mutable=["batch_stats"])
    devices = jax.devices("cpu")[:4]
    split, updated = jax.pmap(step, axis_name="d", devices=devices)(
        batches[0].reshape(4, 2, 5, 6, 4)
    )
    np.testing.assert_allclose(split.reshape(whole[0].shape), whole[0], atol=1e-5)
    for name in ("mean", "var"):
        np.testing.assert_allclose(updated["batch_stats"][name][0], stats[name], rtol=1e-5)


def test_evaluation_uses_the_running_statistics_and_leaves_them():
    x = _batches(1)[0]
    layer = BatchNorm()
    variables = layer.init(jax.random.key(0), x, train=False)
    stats = {"mean": jnp.full(4, 2.0), "var": jnp.full(4, 9.0)}
    y = layer.apply({"params": variables["params"], "batch_stats": stats}, x, train=False)
    np.testing.assert_allclose(y, (x - 2) / np.sqrt(9 + 1e-5), rtol=1e-5, atol=1e-6)


def test_statistics_of_bfloat16_are_taken_in_float32():
    x = (_batches(1)[0] + 100).astype(jnp.bfloat16)
    layer = BatchNorm(dtype=jnp.bfloat16)
    variables = layer.init(jax.random.key(0), x, train=False)
    y, updated = layer.apply(variables, x, train=True, mutable=["batch_stats"])
    assert y.dtype == jnp.bfloat16
    expected = np.asarray(x, np.float64).var((0, 1, 2))
    np.testing.assert_allclose(updated["batch_stats"]["var"], 0.9 + 0.1 * expected, rtol=2e-3)


def test_a_batch_that_groups_do_not_divide_is_an_error():
    layer = BatchNorm(NormConfig(groups=3))
    with pytest.raises(ValueError, match="batch of 8 does not divide into 3 groups"):
        layer.init(jax.random.key(0), _batches(1)[0], train=True)
