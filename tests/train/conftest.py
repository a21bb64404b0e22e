"""Small runs that the tests of the training room share."""

from __future__ import annotations

import dataclasses
import functools

import jax
import numpy as np
import optax
import pytest

from jaxcnn import parallel
from jaxcnn.data import Augment
from jaxcnn.models import create_model
from jaxcnn.train.config import DataConfig, OptimizerConfig, TrainConfig
from jaxcnn.train.duration import steps
from jaxcnn.train.setup import with_norm
from jaxcnn.train.state import create_state
from jaxcnn.train.step import Task, train_step


@pytest.fixture(scope="session")
def tiny_config() -> TrainConfig:
    """Twelve steps of the perceptron on digits: a second or two."""
    return TrainConfig(
        model="mlp",
        data=DataConfig(pad_crop=1),
        optimizer=OptimizerConfig(learning_rate=0.05, schedule="constant"),
        batch_size=64,
        length=steps(12),
        eval_every=steps(6),
        checkpoint_every=steps(4),
        log_every=steps(2),
        figures=False,
    )


class StepRunner:
    """Runs the training step of a BatchNorm network on fixed random batches."""

    batch_size = 32

    def __init__(self, **task_fields) -> None:
        self.fields = task_fields

    def batches(self, number: int):
        rng = np.random.default_rng(0)
        for step in range(number):
            yield {
                "image": rng.integers(0, 256, (self.batch_size, 8, 8, 1), dtype=np.uint8),
                "label": rng.integers(0, 10, self.batch_size, dtype=np.int32),
                "index": np.arange(self.batch_size, dtype=np.int32) + 100 * step,
                "epoch": np.full(self.batch_size, step // 4, np.int32),
            }

    def __call__(self, kind: str, devices: int, number: int = 10, scope: str = "global"):
        """Losses, the final state on the host, and the last metrics."""
        mapping = parallel.make_mapping(kind, jax.devices("cpu")[:devices])
        by_device = scope == "device"
        model = with_norm(
            create_model("small_cnn", dropout=0.0),
            groups=mapping.shards if by_device else 1,
            axis_name=None if by_device else mapping.axis_name,
        )
        optimizer = optax.chain(optax.trace(0.9), optax.scale_by_learning_rate(0.05))
        task = Task(
            model=model,
            optimizer=optimizer,
            mean=(0.5,),
            std=(0.5,),
            augment=Augment(flip=True, pad_crop=1),
            axis_name=mapping.axis_name,
            shards=mapping.shards,
            gathered=mapping.gathered,
        )
        task = dataclasses.replace(task, **self.fields)
        plain = with_norm(model, groups=1, axis_name=None)
        state = create_state(plain, optimizer, (8, 8, 1), seed=0, ema=task.ema is not None)
        state = mapping.put_state(state)
        step = mapping.map_train(functools.partial(train_step, task))
        losses = []
        for batch in self.batches(number):
            state, metrics = step(state, mapping.put_batch(batch))
            metrics = mapping.get_metrics(metrics)
            losses.append(metrics["loss"])
        return (
            np.array(losses),
            jax.device_get(mapping.get_state(state).params),
            jax.device_get(mapping.get_state(state).batch_stats),
        )


@pytest.fixture(scope="session")
def step_runner():
    """The class, to be made with fields of `Task`."""
    return StepRunner
