"""A dry run says what a run would do, and does nothing."""

from __future__ import annotations

import dataclasses
import json

import pytest

from jaxcnn.train import DataConfig, OptimizerConfig, TrainConfig, epochs, steps
from jaxcnn.train import plan as plan_run

GB = 10**9


@pytest.fixture(scope="module")
def config() -> TrainConfig:
    return TrainConfig(
        model="small_cnn",
        data=DataConfig(pad_crop=1),
        optimizer=OptimizerConfig(
            learning_rate=0.2, warmup=steps(10), milestones=(epochs(2), epochs(3)), drop=0.1
        ),
        batch_size=64,
        length=epochs(4),
        ema=0.99,
        num_devices=1,
    )


def test_steps_batches_and_rates_are_those_of_the_run(config):
    found = plan_run(config, compile=False, limit=GB)
    assert (found.examples, found.classes) == (1433, 10)
    assert found.total_steps == 90  # 4 * 1433 / 64, rounded up
    assert found.steps_per_epoch == pytest.approx(22.390625)
    assert found.evaluations == 4  # every 23 steps, and at the end
    rates = {rate.step: rate.learning_rate for rate in found.rates}
    assert rates == pytest.approx({0: 0.0, 10: 0.2, 45: 0.02, 68: 0.002, 89: 0.002})


def test_memory_is_that_of_the_run_s_own_state(config):
    found = plan_run(config, compile=False, limit=GB)
    memory = found.step.memory
    assert memory.params == 4 * found.params
    # The velocity of each parameter, and the counter of the schedule.
    assert memory.params <= memory.optimizer <= memory.params + 16
    assert memory.ema == memory.params + memory.statistics
    bare = dataclasses.replace(
        config, ema=None, optimizer=dataclasses.replace(config.optimizer, momentum=0.0)
    )
    assert plan_run(bare, compile=False, limit=GB).step.memory.ema == 0
    assert plan_run(bare, compile=False, limit=GB).step.memory.optimizer <= 16


def test_micro_batches_save_activations_and_not_work(config):
    whole = plan_run(config, compile=False, limit=GB)
    cut = plan_run(dataclasses.replace(config, accumulate=4), compile=False, limit=GB)
    assert (cut.per_device_batch, cut.micro_batch) == (64, 16)
    assert cut.step.memory.activations == pytest.approx(whole.step.memory.activations / 4, rel=0.01)
    assert cut.step.memory.macs_per_step == whole.step.memory.macs_per_step
    assert cut.step.memory.batch == whole.step.memory.batch
    assert cut.step.largest_batch % 4 == 0


def test_a_batch_with_statistics_of_its_own_is_differentiated_at_once(config):
    def found(**fields):
        return plan_run(dataclasses.replace(config, **fields), compile=False, limit=GB)

    whole, batch = found(), found(accumulate=4, accumulate_norm="batch")
    micro = found(accumulate=4)
    assert (batch.per_device_batch, batch.micro_batch) == (64, 64)
    assert "at once" in str(micro) and "at once" not in str(batch)
    # What convolutions give of the whole batch is kept, what BatchNorm and ReLU give is not.
    halves = found(accumulate=2, accumulate_norm="batch")
    assert batch.step.memory.activations == halves.step.memory.activations
    assert 0.1 < batch.step.memory.activations / whole.step.memory.activations < 0.8
    assert batch.step.memory.macs_per_step == whole.step.memory.macs_per_step
    assert batch.step.memory.batch == whole.step.memory.batch


@pytest.mark.parametrize("compile", [False, True])
def test_a_split_on_the_device_leaves_less_for_the_batch(config, compile):
    streamed = dataclasses.replace(config, data=dataclasses.replace(config.data, resident_mb=0))
    held = plan_run(config, compile=compile, limit=20 * 10**6)
    size = 1433 * (8 * 8 + 4)
    assert held.step.data == size
    assert "97.4 kB" in next(x for x in str(held).splitlines() if "Data on each device" in x)
    alone = plan_run(streamed, compile=compile, limit=20 * 10**6 - size)
    assert alone.step.data == 0 and alone.step.largest_batch == held.step.largest_batch > 0


@pytest.mark.parametrize("mapping", ["jit", "pmap"])
def test_the_run_s_own_step_is_compiled_for_its_devices(config, mapping):
    config = dataclasses.replace(config, mapping=mapping, num_devices=4)
    found = plan_run(config, limit=GB)
    assert found.per_device_batch == 16
    state = found.step.memory.params + found.step.memory.optimizer + found.step.memory.ema
    assert found.step.compiled.arguments >= state
    assert 0.3 < found.step.compiled.total / found.step.memory.total < 3
    assert found.step.largest_batch == 1432  # the whole split, divided by 4


def test_data_that_are_not_at_hand_can_be_assumed(config):
    away = dataclasses.replace(config, data=dataclasses.replace(config.data, dataset="not_there"))
    found = plan_run(away, assume=(1_281_167, 1000), compile=False, limit=GB)
    assert found.total_steps == 80073  # 4 * 1281167 / 64, rounded up
    assert found.classes == 1000 and "1,281,167 of 1,000 classes" in str(found)
    assert json.loads(json.dumps(found.to_dict()))["config"]["data"]["dataset"] == "not_there"
    with pytest.raises(ValueError, match="at least one example"):
        plan_run(away, assume=(0, 10), compile=False)
