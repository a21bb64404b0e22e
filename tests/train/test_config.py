"""Configs: typed, complete, there and back as JSON, and refused where they cannot work."""

from __future__ import annotations

import dataclasses
import importlib.util
import pathlib

import pytest

from jaxcnn.train.config import OptimizerConfig, TrainConfig, differences, from_dict, to_dict
from jaxcnn.train.duration import Duration, epochs, examples, steps

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


def test_unknown_fields_of_a_saved_config_are_named():
    with pytest.raises(ValueError, match="TrainConfig has no field colour"):
        from_dict({"model": "mlp", "colour": 1})
