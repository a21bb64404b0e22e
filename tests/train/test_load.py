"""A network comes from a run or from a file of weights, with all that is needed to use it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcnn
from jaxcnn import Preprocess, weights
from jaxcnn.train import fit
from jaxcnn.train.bucket import RunFolder


@pytest.fixture(scope="module")
def run(tiny_config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return folder, fit(tiny_config, folder)


def test_a_run_gives_its_last_state_and_the_names_of_its_classes(run):
    folder, result = run
    network = jaxcnn.load_network(folder)
    assert (network.name, network.step) == ("mlp", 12)
    assert network.class_names == tuple("0123456789")
    assert network.preprocess.image_size == (8, 8)
    for found, wanted in zip(
        jax.tree.leaves(network.variables), jax.tree.leaves(result.state.variables), strict=True
    ):
        np.testing.assert_array_equal(found, wanted)


def test_a_run_in_the_home_is_written_and_read_there(run, monkeypatch):
    folder, _ = run
    monkeypatch.setenv("HOME", str(folder.parent))
    assert RunFolder(f"~/{folder.name}").local == folder
    assert jaxcnn.load_network(f"~/{folder.name}").step == 12


def test_a_run_of_another_network_than_the_one_named_is_an_error(run):
    with pytest.raises(ValueError, match="is a run of 'mlp', not of 'lenet5'"):
        jaxcnn.load_network(run[0], "lenet5")


def test_bare_weights_tell_their_classes_and_logits(tmp_path):
    model = jaxcnn.create_model("cifar_resnet20", num_classes=3)
    images = jnp.linspace(-1, 1, 2 * 32 * 32 * 3).reshape(2, 32, 32, 3)
    variables = jax.jit(lambda: model.init(jax.random.key(1), images, train=False))()
    path = tmp_path / "net.safetensors"
    weights.save(path, variables, model)
    network = jaxcnn.load_network(path, "cifar_resnet20")
    assert network.class_names == ("0", "1", "2")
    assert network.preprocess.mean == (0.485, 0.456, 0.406)
    assert len(network.sha256) == 64 and network.step is None
    np.testing.assert_array_equal(
        network.model.apply(network.variables, images, train=False),
        model.apply(variables, images, train=False),
    )
    own = Preprocess((32, 32), mean=(0.5,) * 3, std=(0.5,) * 3)
    assert jaxcnn.load_network(path, "cifar_resnet20", preprocess=own).preprocess == own


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("net.safetensors", "name it"),
        ("missing.safetensors", "does not exist"),
        ("", "is no run's folder"),
    ],
)
def test_what_is_no_network_is_named(name, message, tmp_path):
    model = jaxcnn.create_model("small_cnn")
    variables = model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)), train=False)
    weights.save(tmp_path / "net.safetensors", variables, model)
    with pytest.raises((ValueError, OSError), match=message):
        jaxcnn.load_network(tmp_path / name)
