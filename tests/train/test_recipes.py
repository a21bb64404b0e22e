"""The ImageNet recipes: the numbers that their papers give, and a step of each."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import pathlib

import jax
import numpy as np
import optax
import pytest

from jaxcnn.data import Example
from jaxcnn.train.config import OptimizerConfig, TrainConfig
from jaxcnn.train.duration import steps
from jaxcnn.train.optimizer import make_optimizer, make_schedule
from jaxcnn.train.setup import prepare
from jaxcnn.train.step import train_step

CONFIGS = pathlib.Path(__file__).resolve().parents[2] / "configs"
NAMES = sorted(path.stem for path in CONFIGS.glob("imagenet_*.py") if "weights" not in path.stem)
IMAGES = 1_281_167


def recipe(name: str) -> TrainConfig:
    spec = importlib.util.spec_from_file_location(name, CONFIGS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.config()


# Batch, peak rate, decay, epochs, and the rate in epochs 1, 31, 61 and 81 by the paper.
PAPERS = {
    "imagenet_alexnet": (128, 0.01, 5e-4, 90, (1, 0.1, 0.01, 0.001)),
    "imagenet_vgg16": (256, 0.01, 5e-4, 74, (None, 0.1, 0.001, None)),
    "imagenet_resnet18": (256, 0.1, 1e-4, 90, (1, 0.1, 0.01, 0.01)),
    "imagenet_resnet152": (256, 0.1, 1e-4, 90, (1, 0.1, 0.01, 0.01)),
    "imagenet_resnet50": (256, 0.1, 1e-4, 90, (1, 0.1, 0.01, 0.001)),
    "imagenet_resnet50_8": (8 * 256, 0.1 * 8, 1e-4, 90, (None, 0.1, 0.01, 0.001)),
    "imagenet_resnet50_64": (64 * 256, 25.0, 1e-4, 90, (None, (59 / 85) ** 2, None, None)),
    "imagenet_googlenet": (256, 0.1, 1e-4, 90, (None, None, None, None)),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_has_its_papers_numbers(name):
    config = recipe(name)
    batch, peak, decay, length, factors = PAPERS[name]
    assert config.batch_size == batch and config.length.to_steps(1000, 1000) == length
    assert (config.optimizer.momentum, config.optimizer.weight_decay) == (0.9, decay)
    total = config.length.to_steps(IMAGES, batch)
    schedule = make_schedule(
        config.optimizer, num_examples=IMAGES, batch_size=batch, total_steps=total
    )
    assert max(float(schedule(s)) for s in range(0, total, total // 500)) <= peak * (1 + 1e-6)
    for epoch, factor in zip((1, 31, 61, 81), factors, strict=True):
        if factor is not None:
            step = round(
                (epoch + (0.5 if config.optimizer.schedule == "step" else 0)) * IMAGES / batch
            )
            assert float(schedule(step)) == pytest.approx(factor * peak, rel=2e-3), epoch


def test_linear_scaling_keeps_the_rate_per_example():
    base, eight = recipe("imagenet_resnet50"), recipe("imagenet_resnet50_8")
    assert base.optimizer.learning_rate / base.batch_size == pytest.approx(
        eight.optimizer.learning_rate / eight.batch_size
    )
    assert eight.optimizer.warmup_from == base.optimizer.learning_rate
    for config in (base, eight, recipe("imagenet_resnet50_64")):
        assert config.optimizer.decay == "kernels" and config.model_args["zero_init"]


class StandIn:
    """A thousand classes of noise."""

    name, split, fingerprint = "stand-in", "train", "0"
    class_names = tuple(map(str, range(1000)))
    image_shape = (80, 80, 3)

    def __len__(self) -> int:
        return IMAGES

    def labels(self) -> np.ndarray:
        return np.arange(IMAGES) % 1000

    def __getitem__(self, index: int) -> Example:
        pixels = np.random.default_rng(index).integers(0, 256, (80, 80, 3), dtype=np.uint8)
        return Example(pixels, index % 1000, str(index))


def _batch(size: int, side: int) -> dict[str, np.ndarray]:
    index = np.arange(size, dtype=np.int32)
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (size, side, side, 3), dtype=np.uint8)
    return {"image": image, "label": index, "index": index, "epoch": 0 * index}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_fits_together_at_full_size(name):
    config = recipe(name)
    setup = prepare(config, jax.devices("cpu")[:8], sources=(StandIn(), StandIn()))
    assert setup.total_steps == config.length.to_steps(IMAGES, config.batch_size)
    state = jax.eval_shape(setup.initial_state)
    side = config.data.image_size[0]
    assert side == (227 if "alexnet" in name else 224)
    batch = {
        k: jax.ShapeDtypeStruct((config.batch_size, *v.shape[1:]), v.dtype)
        for k, v in _batch(2, side).items()
    }
    after, metrics = jax.eval_shape(functools.partial(train_step, setup.task), state, batch)
    assert jax.tree.map(lambda x: x.shape, after) == jax.tree.map(lambda x: x.shape, state)
    assert metrics["loss"].shape == ()


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in NAMES if n != "imagenet_resnet152"])
def test_a_recipe_steps_at_small_size(name):
    config = recipe(name)
    data = dataclasses.replace(config.data, image_size=(72, 72))
    config = dataclasses.replace(config, data=data, batch_size=4)
    setup = prepare(config, jax.devices("cpu")[:1], sources=(StandIn(), StandIn()))
    state = setup.initial_state()
    before = np.asarray(jax.tree.leaves(state.params)[-1])
    state, metrics = setup.compile_step()(setup.mapping.put_state(state), _batch(4, 72))
    assert metrics["finite"] and 4 < float(metrics["loss"]) < 30
    # The first rate of a warm-up is 0.
    moved = not np.array_equal(before, np.asarray(jax.tree.leaves(state.params)[-1]))
    assert moved == (float(setup.schedule(0)) > 0)


def test_lars_is_the_papers_algorithm():
    config = OptimizerConfig(
        name="lars",
        trust=0.01,
        learning_rate=2.0,
        weight_decay=0.1,
        decay="kernels",
        schedule="constant",
    )
    optimizer = make_optimizer(config, lambda step: 2.0)
    rng = np.random.default_rng(0)
    params = {"kernel": rng.normal(size=(3, 4)), "bias": rng.normal(size=4)}
    state = optimizer.init(params)
    kernel, bias = params["kernel"], params["bias"]
    v, u = np.zeros((3, 4)), np.zeros(4)
    for _ in range(3):
        grads = {"kernel": rng.normal(size=(3, 4)), "bias": rng.normal(size=4)}
        updates, state = optimizer.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        g = grads["kernel"] + 0.1 * kernel
        trust = 0.01 * np.linalg.norm(kernel) / np.linalg.norm(g)
        v = 0.9 * v + 2.0 * trust * g
        u = 0.9 * u + 2.0 * grads["bias"]
        kernel, bias = kernel - v, bias - u
        np.testing.assert_allclose(params["kernel"], kernel, rtol=1e-5)
        np.testing.assert_allclose(params["bias"], bias, rtol=1e-5)


def test_the_polynomial_falls_from_the_peak_to_zero():
    config = OptimizerConfig(
        schedule="polynomial", power=2.0, learning_rate=4.0, warmup=steps(10), warmup_from=1.0
    )
    schedule = make_schedule(config, num_examples=100, batch_size=10, total_steps=110)
    values = [float(schedule(s)) for s in (0, 5, 10, 60, 110)]
    assert values == pytest.approx([1.0, 2.5, 4.0, 1.0, 0.0], abs=1e-6)
