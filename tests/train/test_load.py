"""A network comes from a run or from a file of weights, with all that is needed to use it."""

from __future__ import annotations

import functools
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcnn
from jaxcnn import Preprocess, weights
from jaxcnn.probe.head import save_folder
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


def _saved(folder, name, shape, **fields):
    """A network for images of `shape`, as a folder of the Hub and as bare weights; some logits."""
    model = jaxcnn.create_model(name, **fields)
    images = jnp.asarray(np.random.default_rng(0).standard_normal((2, *shape)), jnp.float32)
    variables = jax.jit(lambda: model.init(jax.random.key(1), images, train=False))()
    gray = shape[2] == 1
    preprocess = Preprocess(
        shape[:2], shape[2], **({"mean": (0.1,), "std": (0.3,)} if gray else {})
    )
    save_folder(folder / "net", name, model, variables, preprocess, list("abcdefghij"))
    shutil.copy(folder / "net/model.safetensors", folder / "bare.safetensors")
    return images, model.apply(variables, images, train=False)


@pytest.mark.parametrize(
    ("name", "shape"), [("mlp", (16, 16, 1)), ("mlp", (12, 20, 3)), ("lenet5", (28, 28, 1))]
)
def test_weights_for_another_image_size_give_the_logits_they_gave(name, shape, tmp_path):
    images, logits = _saved(tmp_path, name, shape)
    for source, size in ((tmp_path / "net", None), (tmp_path / "bare.safetensors", shape)):
        own = size and Preprocess(shape[:2], shape[2], (0.5,) * shape[2], (0.5,) * shape[2])
        network = jaxcnn.load_network(source, name, preprocess=own)
        found = network.model.apply(network.variables, images, train=False)
        np.testing.assert_allclose(found, logits, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "shape"), [("mlp", (16, 16, 1)), ("lenet5", (28, 28, 1))])
def test_bare_weights_for_another_image_size_are_refused(name, shape, tmp_path):
    _saved(tmp_path, name, shape)
    with pytest.raises(ValueError, match=r"Images of another size than [\s\S]* from preprocess="):
        jaxcnn.load_network(tmp_path / "bare.safetensors", name)


def _zeros(path, name, first, channels):
    """Bare weights, all zero, for images of so many channels; `first` is the first kernel."""
    shapes = weights.names(jaxcnn.create_model(name))
    shapes[first] = (shapes[first][0], channels, *shapes[first][2:])
    weights.write(path, {key: np.zeros(shape, np.float32) for key, shape in shapes.items()})
    return path


@pytest.mark.parametrize(
    ("name", "first", "channels"),
    [("small_cnn", "stage1_conv1.weight", 3), ("cifar_resnet20", "conv1.weight", 1)],
)
def test_bare_weights_tell_the_channels_of_their_images(name, first, channels, tmp_path):
    network = jaxcnn.load_network(_zeros(tmp_path / "a.npz", name, first, channels), name)
    preprocess = network.preprocess
    assert preprocess.channels == channels
    assert preprocess.mean == ((0.5,) if channels == 1 else (0.485, 0.456, 0.406))
    images = jnp.zeros((1, *preprocess.image_size, preprocess.channels))
    apply = functools.partial(network.model.apply, train=False)
    assert jax.eval_shape(apply, network.variables, images).shape == (1, 10)


def test_a_preprocessing_of_other_channels_than_the_weights_is_refused(tmp_path):
    first = "stage1_conv1.weight"
    path = _zeros(tmp_path / "rgb.npz", "small_cnn", first, 3)
    gray = Preprocess((8, 8), 1, mean=(0.5,), std=(0.5,))
    with pytest.raises(ValueError, match="images of 3 channels, and its preprocessing gives 1"):
        jaxcnn.load_network(path, "small_cnn", preprocess=gray)
    path = _zeros(tmp_path / "four.npz", "small_cnn", first, 4)
    with pytest.raises(ValueError, match="images of 4 channels, and a picture has 1 or 3"):
        jaxcnn.load_network(path, "small_cnn")
