"""The memory plan against hand calculation and against XLA's own account."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

from jaxcnn.analysis import (
    TraceError,
    compiled_memory,
    device_bytes,
    largest_batch,
    memory_plan,
    summarize,
)


class Tiny(nn.Module):
    """Two convolutions, a norm, a head; 10 classes."""

    width: int = 8
    dtype: type = jnp.float32

    @nn.compact
    def __call__(self, x, *, train):
        x = nn.relu(nn.Conv(self.width, (3, 3), padding=1, dtype=self.dtype, name="a")(x))
        x = nn.Conv(2 * self.width, (3, 3), padding=1, dtype=self.dtype, name="b")(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, name="norm")(x))
        return nn.Dense(10, name="head")(x.mean(axis=(1, 2)))


def step(model):
    """A jitted training step with momentum, and its abstract arguments for a batch."""

    def loss(params, stats, images, labels):
        logits, new = model.apply(
            {"params": params, **stats}, images, train=True, mutable=["batch_stats"]
        )
        hot = jax.nn.one_hot(labels, 10)
        return -(jax.nn.log_softmax(logits) * hot).sum(-1).mean(), new

    def run(params, momentum, stats, images, labels):
        images = images.astype(jnp.float32) / 255
        (value, stats), gradients = jax.value_and_grad(loss, has_aux=True)(
            params, stats, images, labels
        )
        momentum = jax.tree.map(lambda m, g: 0.9 * m + g, momentum, gradients)
        params = jax.tree.map(lambda p, m: p - 0.1 * m, params, momentum)
        return params, momentum, stats, value

    def arguments(batch):
        images = jax.ShapeDtypeStruct((batch, 32, 32, 3), jnp.float32)
        variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images)
        params = variables["params"]
        stats = {"batch_stats": variables["batch_stats"]}
        images = jax.ShapeDtypeStruct(images.shape, jnp.uint8)
        return params, params, stats, images, jax.ShapeDtypeStruct((batch,), jnp.int32)

    return jax.jit(run, donate_argnums=(0, 1, 2)), arguments


def test_state_is_what_the_parameters_make_it():
    model = Tiny()
    count = (27 * 8 + 8) + (72 * 16 + 16) + 32 + (160 + 10)
    plan = memory_plan(model, image_size=32, batch_size=64, optimizer_slots=2, ema=True)
    assert plan.params == plan.gradients == plan.ema == 4 * count
    assert plan.optimizer == 8 * count
    assert plan.statistics == 4 * 32
    assert plan.batch == 64 * (5 * 32 * 32 * 3 + 4)
    assert plan.fixed + 64 * plan.per_example == pytest.approx(plan.total)
    bare = memory_plan(model, image_size=32, batch_size=64, optimizer_slots=0)
    assert bare.total == plan.total - 12 * count


def test_a_step_costs_three_forward_passes_but_for_the_images_gradient():
    plan = memory_plan(Tiny(), image_size=32, batch_size=64)
    summary = summarize(Tiny(), 32, 64)
    first = summary["a"].macs
    assert summary["a"].backward_macs == first
    assert summary["b"].backward_macs == 2 * summary["b"].macs
    assert plan.macs_per_step == 3 * summary.total_macs - first
    assert plan.flops_per_step == 2 * plan.macs_per_step


def test_saved_activations_cover_what_backward_must_have():
    """At least the inputs of the second convolution, of the norm, and of both ReLUs' masks."""
    plan = memory_plan(Tiny(), image_size=32, batch_size=64)
    pixels = 64 * 32 * 32
    least = pixels * (8 + 16) * 4 + pixels * (8 + 16)
    assert least <= plan.activations <= 4 * least


def test_formula_and_xla_agree_within_a_half():
    model = Tiny()
    run, arguments = step(model)
    plan = memory_plan(model, image_size=32, batch_size=64)
    account = compiled_memory(run, *arguments(64))
    assert account.arguments >= 2 * plan.params + 64 * 32 * 32 * 3
    assert account.aliased >= 2 * plan.params
    assert 0.5 <= account.total / plan.total <= 1.5


def test_devices_share_the_batch_but_not_the_state():
    one = memory_plan(Tiny(), image_size=32, batch_size=64)
    four = memory_plan(Tiny(), image_size=32, batch_size=64, devices=4)
    assert four.fixed == one.fixed
    assert four.batch == one.batch // 4
    assert four.activations == pytest.approx(one.activations / 4, rel=0.01)
    assert four.macs_per_step == one.macs_per_step
    assert four.per_device_batch == 16


def test_largest_batch_by_formula_is_the_last_that_fits():
    plan = memory_plan(Tiny(), image_size=32, batch_size=64, devices=2)
    limit = 500_000_000
    best = largest_batch(plan, limit)
    assert best % 2 == 0

    def need(batch):
        return memory_plan(Tiny(), image_size=32, batch_size=batch, devices=2).total

    assert need(best) <= limit * 1.001
    assert need(best + 20) > limit
    assert largest_batch(plan, plan.fixed) == 0


@pytest.mark.parametrize("factor", [0.6, 1.0, 1.7])
def test_largest_batch_is_corrected_by_what_is_measured(factor):
    plan = memory_plan(Tiny(), image_size=32, batch_size=64)
    tried = []

    def measure(batch):
        tried.append(batch)
        return int(plan.fixed + 12_345 + factor * plan.per_example * batch)

    limit = 300_000_000
    best = largest_batch(plan, limit, measure=measure)
    assert len(tried) <= 4
    assert best in tried
    assert measure(best) <= limit < measure(int(best * 1.01) + 1)


def test_largest_batch_verified_by_compiling():
    model = Tiny()
    run, arguments = step(model)
    plan = memory_plan(model, image_size=32, batch_size=64)
    limit = 60_000_000

    def measure(batch):
        return compiled_memory(run, *arguments(batch)).total

    best = largest_batch(plan, limit, measure=measure)
    assert 0 < measure(best) <= limit


def test_cpu_does_not_say_how_much_it_has():
    assert device_bytes(jax.devices("cpu")[0]) is None


def test_errors_name_the_value_and_the_remedy():
    with pytest.raises(ValueError, match="batch_size=10 is not divisible by 4 devices; use 8"):
        memory_plan(Tiny(), image_size=32, batch_size=10, devices=4)
    with pytest.raises(ValueError, match="optimizer_slots=-1"):
        memory_plan(Tiny(), image_size=32, batch_size=8, optimizer_slots=-1)
    with pytest.raises(TraceError, match="Conv cannot be traced"):
        memory_plan(nn.Conv(4, (3, 3), feature_group_count=2), image_size=8, batch_size=8)
    with pytest.raises(TypeError, match=r"wrap it in jax\.jit"):
        compiled_memory(lambda x: x, 1)
    plan = memory_plan(Tiny(), image_size=32, batch_size=8)
    with pytest.raises(ValueError, match="limit=0 cannot work"):
        largest_batch(plan, 0)
