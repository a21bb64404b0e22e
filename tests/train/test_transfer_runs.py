"""Whole runs that start from the weights of others."""

from __future__ import annotations

import dataclasses
import importlib.util
import logging
import pathlib
import shutil

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from PIL import Image

from jaxcnn import Preprocess, weights
from jaxcnn.models import create_model
from jaxcnn.probe.head import save_folder
from jaxcnn.train import DataConfig, TransferConfig, fit, load_run, plan
from jaxcnn.train.config import from_dict, to_dict
from jaxcnn.train.duration import steps
from jaxcnn.train.setup import prepare

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def run(tiny_config, tmp_path_factory):
    """A run of the perceptron whose weights others start from."""
    folder = tmp_path_factory.mktemp("source")
    fit(tiny_config, folder)
    return folder


def _params(variables) -> dict[str, np.ndarray]:
    return flatten_dict(jax.device_get(variables["params"]), sep="/")


def _with(config, **fields):
    return dataclasses.replace(config, transfer=TransferConfig(**fields))


def test_a_run_starts_from_another_with_its_head_kept_for_the_same_classes(tiny_config, run):
    source = _params(load_run(run).variables)
    for head, kept in (("auto", True), ("keep", True), ("new", False)):
        state = prepare(_with(tiny_config, weights=str(run), head=head)).initial_state()
        start = _params(state.variables)
        for name, value in source.items():
            assert np.array_equal(start[name], value) is (kept or "head" not in name), (head, name)
    fresh = prepare(tiny_config).initial_state()
    np.testing.assert_array_equal(start["head/kernel"], _params(fresh.variables)["head/kernel"])


def test_a_run_that_freezes_resumes_exactly_and_is_loaded_as_any_other(tiny_config, run, tmp_path):
    config = _with(tiny_config, weights=str(run), head="new", regime="top_layers", stage_decay=0.5)
    config = dataclasses.replace(config, ema=0.9)
    whole = fit(config, tmp_path / "a")
    source, end = _params(load_run(run).variables), _params(load_run(tmp_path / "a").variables)
    assert {k for k in end if np.array_equal(end[k], source[k])} == {"dense1/kernel", "dense1/bias"}
    jax.tree.map(
        np.testing.assert_array_equal,
        load_run(tmp_path / "a").variables,
        whole.state.eval_variables,
    )
    # What a kill leaves: an older checkpoint. The weights it came from are not needed for it.
    shutil.rmtree(tmp_path / "a" / "checkpoints" / "12")
    again = fit(config, tmp_path / "a")
    for one, two in zip(jax.tree.leaves(whole.state), jax.tree.leaves(again.state), strict=True):
        if not jax.dtypes.issubdtype(one.dtype, jax.dtypes.prng_key):
            np.testing.assert_array_equal(one, two)


def test_a_run_starts_from_a_repository_for_the_same_image_size(tiny_config, tmp_path):
    model, preprocess = create_model("lenet5"), Preprocess((28, 28), 1, (0.5,), (0.5,))
    init = jax.jit(lambda: model.init(jax.random.key(3), np.zeros((1, 28, 28, 1)), train=False))
    variables = init()
    save_folder(tmp_path / "net", "lenet5", model, variables, preprocess, list("abcdefghij"))
    data = dataclasses.replace(tiny_config.data, image_size=(28, 28), resize="squash")
    config = dataclasses.replace(tiny_config, model="lenet5", data=data)
    config = _with(config, weights=str(tmp_path / "net"), head="keep")
    start = _params(prepare(config).initial_state().variables)
    for name, value in _params(variables).items():
        np.testing.assert_array_equal(start[name], value)


def test_weights_of_a_file_are_adapted_to_the_channels_and_classes(tiny_config, tmp_path):
    model = create_model("cifar_resnet20", num_classes=7)
    variables = model.init(jax.random.key(3), np.zeros((1, 8, 8, 3), np.float32), train=False)
    weights.save(tmp_path / "net.safetensors", variables, model)
    path = str(tmp_path / "net.safetensors")
    config = dataclasses.replace(tiny_config, model="cifar_resnet20")
    state = prepare(_with(config, weights=path, regime="linear_probe")).initial_state()
    start, source = _params(state.variables), _params(variables)
    np.testing.assert_allclose(
        start["stem_conv/kernel"], source["stem_conv/kernel"].sum(2, keepdims=True), rtol=1e-6
    )
    assert start["head/kernel"].shape == (64, 10) and set(state.params) == {"head"}
    kernel = "stage2_block1/conv1/kernel"
    np.testing.assert_array_equal(start[kernel], source[kernel])
    with pytest.raises(ValueError, match=r"keep: .*7 classes and the data 10; transfer.head=new"):
        prepare(_with(config, weights=path, head="keep"))
    with pytest.raises(ValueError, match="do not fit CifarResNet"):
        other = dataclasses.replace(config, model="cifar_resnet32")
        prepare(_with(other, weights=path))


def test_weights_that_do_not_fit_stop_the_run_before_anything_is_written(
    tiny_config, run, tmp_path
):
    def refused(message, config):
        with pytest.raises((ValueError, OSError), match=message):
            fit(config, tmp_path / "none")
        assert not (tmp_path / "none").exists()

    refused("does not exist", _with(tiny_config, weights=str(tmp_path / "no.safetensors")))
    small = dataclasses.replace(tiny_config, model="small_cnn")
    refused("is a run of 'mlp', not of 'small_cnn'", _with(small, weights=str(run)))
    patterns = {"regime": "patterns", "patterns": ("dense2",), "head": "new"}
    refused("leave the new head untrained", _with(tiny_config, weights=str(run), **patterns))
    refused("no checkpoint of step 7", _with(tiny_config, weights=str(run), checkpoint="7"))


def test_another_normalisation_than_the_weights_expect_is_said(tiny_config, run, caplog):
    config = _with(tiny_config, weights=str(run))
    with caplog.at_level(logging.WARNING, logger="jaxcnn"):
        prepare(config)
        assert "expect" not in caplog.text
        prepare(dataclasses.replace(config, data=DataConfig(mean=(0.1,))))
    assert "expect data.mean=(0.5,)" in caplog.text


def test_a_transfer_config_goes_to_json_and_back(tiny_config):
    config = _with(tiny_config, weights="x", regime="patterns", patterns=("a*", "b"))
    assert from_dict(to_dict(config)) == config
    assert from_dict({"model": "mlp"}).transfer == TransferConfig()


def test_a_dry_run_shows_what_freezing_saves(tiny_config):
    config = dataclasses.replace(tiny_config, model="small_cnn", ema=0.9)
    whole = plan(config, compile=False)
    probe = plan(_with(config, weights="random", regime="linear_probe"), compile=False)
    assert (whole.params, whole.trainable, whole.passes) == (288_170, 288_170, None)
    assert (probe.params, probe.trainable) == (288_170, 1290) and 1 <= probe.passes <= 1.1
    memory = probe.step.memory
    assert memory.gradients == memory.ema == 4 * 1290
    assert memory.optimizer == 4 * 1290 + 4  # and the schedule's count of steps
    assert memory.activations < whole.step.memory.activations / 50
    assert memory.flops_per_step < whole.step.memory.flops_per_step / 2.5
    assert "1,290 (linear_probe)" in str(probe) and "Of them train" not in str(whole)


@pytest.mark.slow
def test_the_recipe_for_imagenets_weights_trains_from_a_file_laid_out_like_them(tmp_path):
    spec = importlib.util.spec_from_file_location(
        "recipe", ROOT / "configs" / "imagenet_weights_finetune.py"
    )
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    rng = np.random.default_rng(0)
    for name in ("train/ant", "train/bee", "val/ant", "val/bee"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(2):
            pixels = rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{i}.jpg")
    model = create_model("resnet18")
    random = model.init(jax.random.key(5), np.zeros((1, 64, 64, 3), np.float32), train=False)
    weights.save(tmp_path / "model.safetensors", random, model)

    config = recipe.config()
    config = dataclasses.replace(
        config,
        transfer=dataclasses.replace(config.transfer, weights=str(tmp_path / "model.safetensors")),
        data=dataclasses.replace(
            config.data, dataset=f"folder:{tmp_path / 'images'}", image_size=(32, 32), threads=1
        ),
        optimizer=dataclasses.replace(config.optimizer, warmup=steps(0)),
        batch_size=4,
        num_devices=1,
        length=steps(1),
        figures=False,
    )
    setup = prepare(config)
    start, source = _params(setup.initial_state().variables), _params(random)
    changed = {name for name in start if not np.array_equal(start[name], source.get(name))}
    assert changed == {"head/kernel", "head/bias"} and start["head/kernel"].shape == (512, 2)
    factors = setup.task.plan.factors
    assert [factors[f"{n}/kernel"] for n in ("head", "stage4_block1/conv1", "stem_conv")] == [
        1,
        0.5,
        0.5**5,
    ]
    result = fit(config, tmp_path / "run")
    assert result.status == "finished" and result.evaluation.count == 4
    assert load_run(tmp_path / "run").class_names == ("ant", "bee")
