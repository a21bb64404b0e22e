"""From a config to the parts of a run, with every check that needs no training."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import optax
from flax import linen as nn

from jaxcnn import parallel
from jaxcnn.data import Order, Source, check_source, open_source
from jaxcnn.preprocess import Preprocess
from jaxcnn.train.config import DataConfig, TrainConfig
from jaxcnn.train.dispatch import check_dispatch
from jaxcnn.train.network import make_model, make_preprocess, plan_of, with_norm
from jaxcnn.train.optimizer import make_optimizer, make_schedule
from jaxcnn.train.pretrained import load_pretrained
from jaxcnn.train.state import TrainState, create_state
from jaxcnn.train.step import Task, train_step
from jaxcnn.transfer import Plan


@dataclasses.dataclass(frozen=True)
class Setup:
    """The parts of a run, ready to be stepped.

    Attributes:
      config: what was asked for.
      source: the training split.
      eval_source: the evaluation split.
      preprocess: how an image becomes an input.
      order: which examples make up each batch.
      mapping: the devices.
      schedule: the learning rate by step.
      task: what a step does.
      total_steps: length of the run.
      pretrained: variables to start from, on the host; None for fresh ones.
    """

    config: TrainConfig
    source: Source
    eval_source: Source
    preprocess: Preprocess
    order: Order
    mapping: parallel.DeviceMapping
    schedule: optax.Schedule
    task: Task
    total_steps: int
    pretrained: Any = None

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return (*self.preprocess.image_size, self.preprocess.channels)

    def every(self, name: str) -> int:
        """A duration field of the config in steps, at least 1."""
        duration = getattr(self.config, name)
        return max(1, duration.to_steps(self.order.num_examples, self.config.batch_size))

    def initial_state(self) -> TrainState:
        """A fresh state on the host's default device, equal for equal configs."""
        # Initialising sees one example on one device, where statistics by device mean nothing.
        make = functools.partial(
            create_state,
            with_norm(self.task.model, groups=1, axis_name=None),
            self.task.optimizer,
            self.image_shape,
            seed=self.config.seed,
            ema=self.config.ema is not None,
            plan=self.task.plan,
        )
        return jax.jit(lambda pretrained: make(pretrained=pretrained))(self.pretrained)

    def compile_step(self) -> Callable[..., Any]:
        """The mapped step `(state, batch) -> (state, metrics)`."""
        return self.mapping.map_train(functools.partial(train_step, self.task))

    def compile_steps(self) -> Callable[..., Any]:
        """Many of them in one program: `(state, table, rows) -> (state, metrics [steps])`."""
        return self.mapping.map_steps(functools.partial(train_step, self.task))


def _open_splits(data: DataConfig) -> tuple[Source, Source]:
    return (
        open_source(data.dataset, data.train_split, data_dir=data.data_dir),
        open_source(data.dataset, data.eval_split, data_dir=data.data_dir),
    )


def _check_pairs(config: TrainConfig, mapping: parallel.DeviceMapping) -> None:
    if config.data.augment.mixes and config.batch_size // mapping.size // config.accumulate % 2:
        raise ValueError(
            f"data.mixup and data.cutmix pair neighbours: batch_size={config.batch_size} must be "
            f"a multiple of {2 * mapping.size * config.accumulate}, twice the devices times "
            "accumulate."
        )


def _check_splits(config: TrainConfig, source: Source, eval_source: Source) -> None:
    num_classes = len(source.class_names)
    check_source(source, num_classes=num_classes, batch_size=config.batch_size)
    check_source(eval_source, num_classes=num_classes, batch_size=1)
    if tuple(eval_source.class_names) != tuple(source.class_names):
        raise ValueError(
            f"{config.data.train_split!r} and {config.data.eval_split!r} of "
            f"{config.data.dataset!r} have different classes; give each the same class folders."
        )


def prepare(
    config: TrainConfig,
    devices: list[jax.Device] | None = None,
    *,
    sources: tuple[Source, Source] | None = None,
) -> Setup:
    """Opens the data, builds the parts, and checks all that can be checked before a step.

    Args:
      config: the run.
      devices: what to run on; default: all.
      sources: the splits to train and to evaluate on, in place of the config's.

    Raises:
      ValueError: a batch that the devices don't divide, an unknown name, labels outside the
        classes, an empty or too small dataset: each with the rule and the remedy.
    """
    mapping = parallel.make_mapping(config.mapping, devices, limit=config.num_devices)
    mapping.check_batch_size(config.batch_size, config.accumulate)
    _check_pairs(config, mapping)
    source, eval_source = sources or _open_splits(config.data)
    _check_splits(config, source, eval_source)
    total_steps = config.length.to_steps(len(source), config.batch_size)
    schedule = make_schedule(
        config.optimizer,
        num_examples=len(source),
        batch_size=config.batch_size,
        total_steps=total_steps,
    )
    plain = make_model(config, len(source.class_names))
    plan = plan_of(config, plain)
    setup = Setup(
        config=config,
        source=source,
        eval_source=eval_source,
        preprocess=make_preprocess(config.data),
        order=Order(len(source), config.batch_size, config.seed),
        mapping=mapping,
        schedule=schedule,
        task=_make_task(config, plain, plan, schedule, mapping),
        total_steps=total_steps,
        pretrained=load_pretrained(config, plain, plan, tuple(source.class_names)),
    )
    check_dispatch(setup)
    return setup


def _make_task(
    config: TrainConfig,
    plain: nn.Module,
    plan: Plan,
    schedule: optax.Schedule,
    mapping: parallel.DeviceMapping,
) -> Task:
    """What a step does: the model with BatchNorm's scope set, the optimizer, the augmentation."""
    by_device = config.batchnorm == "device"
    model = with_norm(
        plain,
        groups=mapping.shards if by_device else 1,
        axis_name=None if by_device else mapping.axis_name,
    )
    return Task(
        model=model,
        optimizer=make_optimizer(config.optimizer, schedule, plan.factors),
        mean=config.data.mean,
        std=config.data.std,
        augment=config.data.augment,
        seed=config.seed,
        label_smoothing=config.label_smoothing,
        accumulate=config.accumulate,
        whole_statistics=config.accumulate > 1 and config.accumulate_norm == "batch",
        ema=config.ema,
        axis_name=mapping.axis_name,
        shards=mapping.shards,
        plan=plan,
        skip=config.max_skipped_steps > 0,
        gathered=mapping.gathered,
    )
