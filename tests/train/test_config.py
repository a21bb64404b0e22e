"""Configs: typed, complete, there and back as JSON, and refused where they cannot work."""

from __future__ import annotations

import dataclasses
import importlib.util
import pathlib

import pytest

from jaxcnn.preprocess import Preprocess
from jaxcnn.train.config import (
    DataConfig,
    OptimizerConfig,
    TrainConfig,
    differences,
    from_dict,
    to_dict,
)
from jaxcnn.train.duration import Duration, epochs, examples, steps
from jaxcnn.transfer import TransferConfig

RECIPES = sorted((pathlib.Path(__file__).parents[2] / "configs").glob("*.py"))


@pytest.mark.parametrize(
    ("duration", "expected"),
    [(steps(7), 7), (epochs(2), 782), (epochs(0.5), 196), (examples(1000), 8), (examples(1024), 8)],
)
def test_durations_become_steps_rounded_up(duration, expected):
    assert duration.to_steps(num_examples=50_000, batch_size=128) == expected


@pytest.mark.parametrize("text", ["500steps", "2.5epochs", "1e6examples", "1 epoch"])
def test_durations_are_read_and_written(text):
    duration = Duration.parse(text)
    assert Duration.parse(str(duration)) == duration


@pytest.mark.parametrize("amount", [2 / 3, 1e-7, 0.1 + 0.2, 1_281_167, 1e16, 1 / 3 * 1e7])
def test_a_duration_is_read_back_as_it_was(amount):
    assert Duration.parse(str(epochs(amount))) == epochs(amount)
    assert Duration.parse(str(epochs(2 / 3))).to_steps(3840, batch_size=128) == 20
    assert (str(steps(500)), str(examples(1e6))) == ("500steps", "1000000examples")


@pytest.mark.parametrize("text", ["5", "5 weeks", "steps", "-1steps", "1.2.3steps", "nansteps"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match="is no duration; write for example 500steps"):
        Duration.parse(text)


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_every_recipe_is_made_and_survives_json(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.config()
    assert from_dict(to_dict(config)) == config


def test_the_cifar_recipe_is_the_papers():
    spec = importlib.util.spec_from_file_location("c", RECIPES[0].parent / "cifar10_resnet20.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.config()
    optimizer = config.optimizer
    assert (optimizer.learning_rate, optimizer.momentum, optimizer.weight_decay) == (0.1, 0.9, 1e-4)
    assert (config.batch_size, config.length, config.data.pad_crop) == (128, steps(64_000), 4)
    assert config.data.flip and optimizer.milestones == (steps(32_000), steps(48_000))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"batch_size": 0}, "batch_size=0 must be at least 1"),
        ({"batch_size": 10, "accumulate": 3}, r"not divisible by accumulate=3"),
        ({"label_smoothing": 1.0}, r"must lie in \[0, 1\)"),
        ({"ema": 1.0}, r"must lie in \(0, 1\)"),
        ({"length": steps(0)}, "must be longer than 0"),
        ({"seed": -1}, "seed=-1 must be at least 0"),
    ],
)
def test_values_that_cannot_work_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(model="mlp", **fields)


@pytest.mark.parametrize(
    ("make", "fields", "message"),
    [
        (OptimizerConfig, {"name": "adam"}, "optimizer.name='adam' is not one of 'sgd', 'lars'"),
        (OptimizerConfig, {"schedule": "cosin"}, "did you mean 'cosine'"),
        (OptimizerConfig, {"decay": "none"}, "is not one of 'all', 'kernels'"),
        (OptimizerConfig, {"milestones": [steps(5)]}, r"milestones=\[.* not of the type tuple"),
        (OptimizerConfig, {"nesterov": 1}, "nesterov=1 is not of the type bool"),
        (OptimizerConfig, {"learning_rate": float("nan")}, "learning_rate=nan must be finite"),
        (DataConfig, {"resize": "crop"}, "data.resize='crop' is not one of"),
        (DataConfig, {"interpolation": "lanczos"}, "is not one of 'bilinear', 'bicubic'"),
        (DataConfig, {"image_size": (8, 8, 1)}, "image_size=.* is not of the type tuple"),
        (TransferConfig, {"head": "fresh"}, "transfer.head='fresh' is not one of"),
        (Preprocess, {"image_size": (8, 8), "interpolation": "cubic"}, "did you mean 'bicubic'"),
        (Preprocess, {"image_size": (8.0, 8)}, "image_size=.* is not of the type tuple"),
        (TrainConfig, {"model": "mlp", "batchnorm": "sync"}, "is not one of 'global', 'device'"),
        (TrainConfig, {"model": "mlp", "accumulate_norm": "whole"}, "is not one of"),
        (TrainConfig, {"model": "mlp", "on_save_error": "ignore"}, "is not one of"),
        (TrainConfig, {"model": "mlp", "batch_size": 128.0}, "=128.0 is not of the type int"),
        (TrainConfig, {"model": "mlp", "length": 10}, "length=10 is not of the type Duration"),
        (TrainConfig, {"model": "mlp", "length": "10epochs"}, "is not of the type Duration"),
        (TrainConfig, {"model": "mlp", "data": {}}, "data={} is not of the type DataConfig"),
        (TrainConfig, {"model": "mlp", "model_args": {"norm": object()}}, "is not of the type"),
        (TrainConfig, {"model": "mlp", "model_args": {"num_classes": 5}}, "leave it out"),
        (Duration, {"amount": "5", "unit": "steps"}, "amount='5' is not of the type float"),
        (Duration, {"amount": 5, "unit": "epoch"}, "did you mean 'epochs'"),
    ],
)
def test_a_field_of_another_type_is_refused_where_the_config_is_made(make, fields, message):
    with pytest.raises(ValueError, match=message):
        make(**fields)


def test_optimizer_values_that_cannot_work_are_refused():
    with pytest.raises(ValueError, match=r"momentum=1\.0 must lie"):
        OptimizerConfig(momentum=1.0)
    with pytest.raises(ValueError, match="nesterov=True needs a momentum"):
        OptimizerConfig(momentum=0.0, nesterov=True)


def test_only_fields_that_decide_the_result_count_as_differences():
    old = TrainConfig(model="mlp")
    new = dataclasses.replace(
        old, seed=1, log_every=steps(7), data=dataclasses.replace(old.data, pad_crop=2, threads=1)
    )
    assert differences(to_dict(old), to_dict(new)) == ["data.pad_crop: 0 -> 2", "seed: 0 -> 1"]


def test_a_field_of_the_network_is_a_difference_by_its_own_name():
    old = TrainConfig(model="mlp", model_args={"dropout": 0.5})
    new = dataclasses.replace(old, model_args={"dropout": 0.1})
    assert differences(to_dict(old), to_dict(new)) == ["model_args.dropout: 0.5 -> 0.1"]


def test_unknown_fields_of_a_saved_config_are_named():
    with pytest.raises(ValueError, match="TrainConfig has no field colour"):
        from_dict({"model": "mlp", "colour": 1})


def test_a_run_of_an_older_version_had_the_defaults_of_fields_that_came_later():
    config = TrainConfig(model="mlp", length=steps(7), seed=3)
    old = to_dict(config)
    del old["data"]["erase"], old["transfer"]
    assert differences(old, to_dict(config)) == []
    erasing = dataclasses.replace(config, data=dataclasses.replace(config.data, erase=0.5))
    assert differences(old, to_dict(erasing)) == ["data.erase: 0.0 -> 0.5"]


def test_another_spelling_of_a_duration_is_no_difference():
    config = to_dict(TrainConfig(model="mlp", length=examples(1e6)))
    assert differences(config | {"length": "1000000.0examples"}, config) == []
