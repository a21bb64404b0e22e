"""From a config to its network, how images reach it, and which of its parameters train."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
from flax import linen as nn

from jaxcnn.models import create_model
from jaxcnn.preprocess import Preprocess
from jaxcnn.train.config import DataConfig, TrainConfig
from jaxcnn.transfer import Plan, make_plan


def make_preprocess(config: DataConfig) -> Preprocess:
    """The record that evaluation and prediction share with training."""
    return Preprocess(
        image_size=config.image_size,
        channels=config.channels,
        mean=config.mean,
        std=config.std,
        resize=config.resize,
        crop_pct=config.crop_pct,
        interpolation=config.interpolation,
    )


def make_model(config: TrainConfig, num_classes: int) -> nn.Module:
    """The config's network, as it is built for evaluation."""
    dtype = jax.numpy.dtype(config.dtype).type
    return create_model(
        config.model, num_classes=num_classes, **({"dtype": dtype} | config.model_args)
    )


def with_norm(model: nn.Module, **fields: Any) -> nn.Module:
    """The network with other fields in its `norm` record; itself where it has no BatchNorm."""
    norm = getattr(model, "norm", None)
    if norm is None:
        return model
    return model.clone(norm=dataclasses.replace(norm, **fields))


def plan_of(config: TrainConfig, model: nn.Module) -> Plan:
    """Which of the network's parameters the config trains.

    Raises:
      ValueError: as `jaxcnn.transfer.make_plan`.
    """
    if config.transfer.regime == "all" and config.transfer.stage_decay == 1:
        return Plan()
    return make_plan(config.transfer, model, (*config.data.image_size, config.data.channels))
